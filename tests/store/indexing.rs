//! The index of calls over Redis: whoever writes it, whoever writes beside it, and whatever it was.

use std::sync::Arc;
use std::time::Duration;

use ringback::filter::Filter;
use ringback::store::redis::{self as redis_store, Redis};
use ringback::store::{Accepted, CallQuery, SharedStore};

use super::open_redis;
use super::sample::{acceptance, account, call_write, now};
use super::searching::World;
use crate::redis_server::RedisServer;

/// What a script answers, as it comes over the wire.
fn eval(server: &RedisServer, script: &str) -> String {
    let answer = server.ask(&[b"EVAL", script.as_bytes(), b"0"]);
    assert!(!answer.starts_with(b"-"), "{}", String::from_utf8_lossy(&answer));
    String::from_utf8(answer).unwrap()
}

/// How many keys begin so.
fn keys(server: &RedisServer, begins: &str) -> usize {
    let answer = eval(server, &format!("return #redis.call('KEYS', '{{rb0}}:{begins}*')"));
    answer.trim_start_matches(':').trim_end().parse().unwrap()
}

/// Makes a key space of format 6 what a format before the index left: without notes and blocks, and with
/// calls that were first heard of in one microsecond.
const BACK_TO_3: &str = "
    for _, kind in ipairs({ 'in:*', 'nu', 'nl', 'np', 'ng', 'ib:*', 'it:*', 'iv:*', 'ce:*' }) do
      for _, key in ipairs(redis.call('KEYS', '{rb0}:' .. kind)) do redis.call('DEL', key) end
    end
    for _, key in ipairs(redis.call('KEYS', '{rb0}:c:*')) do redis.call('HDEL', key, 'p', 'm') end
    for _, key in ipairs(redis.call('KEYS', '{rb0}:e:*')) do redis.call('HDEL', key, 'c') end
    for _, list in ipairs(redis.call('KEYS', '{rb0}:il:*')) do
      local calls = redis.call('ZRANGE', list, 0, -1, 'WITHSCORES')
      local first, name
      for at = 1, #calls, 2 do
        if name and name < calls[at] and at % 5 > 0 then
          redis.call('ZADD', list, first, calls[at])
        else
          first = calls[at + 1]
        end
        name = calls[at]
      end
    end
    redis.call('HDEL', '{rb0}:n', 'C')
    redis.call('HSET', '{rb0}:n', 'F', 3)";

async fn assert_nothing_wrong(server: &RedisServer) {
    assert_eq!(redis_store::audit(&server.url()).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_find_the_same_calls_before_and_after_these_are_indexed() {
    let server = RedisServer::start(&[]);
    let mut world = World::new();
    let store = Arc::new(open_redis(&server.url()).await);
    let shared: SharedStore = store.clone();
    for _ in 0..10 {
        for _ in 0..40 {
            world.tell(&shared).await;
        }
        for _ in 0..4 {
            world.erase(&shared).await;
        }
        world.ask(&shared, 20).await;
        store.indexed().await.unwrap();
        world.ask(&shared, 20).await;
    }
    assert_eq!((keys(&server, "in:"), keys(&server, "nu")), (0, 0));
    assert!(keys(&server, "iv:acme") > 12, "columns of the account and of its tokens");
    assert_nothing_wrong(&server).await;
    shared.close().await;

    eval(&server, super::BACK_TO_6);
    eval(&server, BACK_TO_3);
    let store = Arc::new(open_redis(&server.url()).await);
    let shared: SharedStore = store.clone();
    world.ask(&shared, 20).await;
    for _ in 0..10 {
        world.tell(&shared).await;
    }
    world.erase(&shared).await;
    world.ask(&shared, 20).await;
    store.indexed().await.unwrap();
    world.ask(&shared, 20).await;
    assert_eq!((keys(&server, "in:"), keys(&server, "nu")), (0, 0));
    assert!(eval(&server, "return redis.call('HGET', '{rb0}:n', 'C')").contains('1'));
    assert_nothing_wrong(&server).await;
    world.erase(&shared).await;
    store.indexed().await.unwrap();
    world.ask(&shared, 20).await;
    assert_nothing_wrong(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_index_one_account_while_it_changes() {
    let server = RedisServer::start(&[]);
    let mut world = World::new();
    let stores: [Arc<Redis>; 3] = [
        Arc::new(open_redis(&server.url()).await),
        Arc::new(open_redis(&server.url()).await),
        Arc::new(open_redis(&server.url()).await),
    ];
    let shared: SharedStore = stores[0].clone();
    let (is_over, over) = tokio::sync::watch::channel(false);
    let indexing = stores[1..].iter().map(|store| {
        let (store, over) = (Arc::clone(store), over.clone());
        tokio::spawn(async move {
            while !*over.borrow() {
                store.indexed().await.unwrap();
            }
        })
    });
    let indexing: Vec<_> = indexing.collect();
    for _ in 0..20 {
        for _ in 0..20 {
            world.tell(&shared).await;
        }
        world.erase(&shared).await;
        world.ask(&shared, 5).await;
    }
    is_over.send_replace(true);
    for task in indexing {
        task.await.unwrap();
    }
    stores[0].indexed().await.unwrap();
    world.ask(&shared, 40).await;
    assert_eq!(keys(&server, "in:"), 0);
    assert_nothing_wrong(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_indexed_by_themselves() {
    let server = RedisServer::start(&[]);
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    let mut world = World::new();
    for _ in 0..400 {
        world.tell(&store).await;
    }
    // Some may stay noted, because there are few.
    let until = std::time::Instant::now() + super::redis::PATIENCE;
    while keys(&server, "iv:acme") == 0 {
        assert!(std::time::Instant::now() < until, "nobody indexes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.ask(&store, 20).await;
    assert_nothing_wrong(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_removed_call_is_left_in_the_index() {
    let server = RedisServer::start(&[]);
    let store = Arc::new(open_redis(&server.url()).await);
    let shared: SharedStore = store.clone();
    let mut world = World::new();
    for _ in 0..100 {
        world.tell(&shared).await;
    }
    store.indexed().await.unwrap();
    let left = "local left = 0
        for _, key in ipairs(redis.call('KEYS', '{rb0}:iv:*')) do
          -- Places of calls that are gone stay, until their block is.
          if string.sub(key, -1) ~= 'c' and string.find(redis.call('GET', key), '%Z') then left = left + 1 end
        end
        return left";
    assert!(!eval(&server, left).starts_with(":0\r"));
    let later = now() + Duration::from_hours(366 * 24);
    while shared.sweep(later).await.unwrap() > 0 {}
    store.indexed().await.unwrap();
    assert_eq!(eval(&server, left), ":0\r\n");
    for kind in ["c:", "il:", "in:", "ce:", "nu", "xc"] {
        assert_eq!(keys(&server, kind), 0, "{kind}");
    }
    let mut world = World::new();
    for _ in 0..50 {
        world.tell(&shared).await;
    }
    world.ask(&shared, 20).await;
    store.indexed().await.unwrap();
    world.ask(&shared, 20).await;
    assert_nothing_wrong(&server).await;
}

/// More calls than a block has seats, whose clocks do not agree; and a search that finds none of them
/// reads none.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_block_that_is_full_is_followed_by_another() {
    let server = RedisServer::start(&[]);
    let store = Arc::new(open_redis(&server.url()).await);
    let shared: SharedStore = store.clone();
    let tell = |number: usize| {
        let store = Arc::clone(&shared);
        async move {
            let mut new = acceptance(&[]);
            new.event.received_at = now() - Duration::from_secs(u64::try_from(number % 7).unwrap());
            new.call = Some(call_write(&number.to_string(), 0, "{}"));
            assert_eq!(store.accept(new).await.unwrap(), Accepted::Stored);
        }
    };
    for chunk in (0..8_300).collect::<Vec<_>>().chunks(500) {
        all_of(chunk.iter().map(|number| tell(*number))).await;
    }
    store.indexed().await.unwrap();
    assert_eq!(eval(&server, "return redis.call('ZCARD', '{rb0}:ib:acme')"), ":2\r\n");
    let query = |filter| CallQuery { filter, token: None };
    let none = query(Filter { rank_min: Some(1), ..Filter::default() });
    let found = shared.calls(&account(), &none, None, 9).await.unwrap();
    assert_eq!((found.rows.len(), found.next), (0, None), "in one look");
    assert_nothing_wrong(&server).await;
    let later = now() + Duration::from_hours(366 * 24);
    while shared.sweep(later).await.unwrap() > 0 {}
    store.indexed().await.unwrap();
    assert_eq!(eval(&server, "return redis.call('ZCARD', '{rb0}:ib:acme')"), ":1\r\n", "the last stays");
    assert_nothing_wrong(&server).await;
}

/// Waits for all of these, which go on side by side.
async fn all_of<F: Future<Output = ()> + Send + 'static>(futures: impl Iterator<Item = F>) {
    let mut tasks: tokio::task::JoinSet<()> = futures.collect();
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
