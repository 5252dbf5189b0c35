//! What an older version left in a Redis.

use std::sync::Arc;
use std::time::Duration;

use ringback::store::redis::{self as redis_store, Options, Redis};
use ringback::store::{DeliveryState, DestinationLimits, Next, Rate, SharedStore};

use super::auditing::inhabit;
use super::open_redis;
use super::sample::{UNLIMITED, account, callback, claim_now, delivered, failed, now, queue};
use crate::redis_server::RedisServer;

/// Every string in a Redis, with its key.
fn strings(server: &RedisServer) -> Vec<u8> {
    let script = "local found = {} \
                  for _, key in ipairs(redis.call('KEYS', '*')) do \
                  if redis.call('TYPE', key).ok == 'string' then \
                  found[#found + 1] = key .. ' ' .. redis.call('GET', key) end end \
                  table.sort(found) return table.concat(found, '\\n')";
    server.ask(&[b"EVAL", script.as_bytes(), b"0"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_format_6_left_in_a_redis_is_brought_up() {
    let server = RedisServer::start(&[]);
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    let there = inhabit(&store).await;
    // One that has met its limits, and one whose circuit is open.
    let rate = Some(Rate { count: 2, period: Duration::from_mins(1) });
    let limited = callback(DestinationLimits { rate, ..UNLIMITED });
    store.put_callback(limited.clone()).await.unwrap();
    queue(&store, limited.id, 3).await;
    let claims = claim_now(&store, 3).await;
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
    let broken = callback(UNLIMITED);
    store.put_callback(broken.clone()).await.unwrap();
    queue(&store, broken.id, 1).await;
    for _ in 0..20 {
        let Some(claim) = claim_now(&store, 1).await.pop() else { break };
        assert!(store.settle(failed(&claim, Next::RetryAt(now()))).await.unwrap());
    }
    store.close().await;
    drop(store);
    let as_it_was = strings(&server);

    let answer = server.ask(&[b"EVAL", super::BACK_TO_6.as_bytes(), b"0"]);
    assert!(answer.starts_with(b"$-1"), "{}", String::from_utf8_lossy(&answer));
    let refusal = redis_store::audit(&server.url()).await.unwrap_err().to_string();
    assert!(refusal.contains("format 6") && refusal.contains("ringback serve"), "{refusal}");
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    store.close().await;
    assert_eq!(
        String::from_utf8_lossy(&strings(&server)).replace('\0', "."),
        String::from_utf8_lossy(&as_it_was).replace('\0', ".")
    );
    let audit = redis_store::audit(&server.url()).await.unwrap();
    assert_eq!(audit.findings, []);
    // What was interrupted begins again, and finds that it is done.
    server.ask(&[b"HSET", b"{rb0}:n", b"U", b"1"]);
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    assert_eq!(server.ask(&[b"HEXISTS", b"{rb0}:n", b"U"]), b":0\r\n");
    let view = store.delivery(&account(), there.dead).await.unwrap().unwrap();
    assert_eq!((view.row.state, view.attempts.len()), (DeliveryState::Dead, 1));
    let event = store.event(&account(), there.event).await.unwrap().unwrap();
    assert_eq!(event.account, account());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_brought_up_while_an_older_process_runs() {
    let server = RedisServer::start(&[]);
    let older: SharedStore = Arc::new(open_redis(&server.url()).await);
    // It waits for work, as one does that has nothing to do.
    let claiming = tokio::spawn({
        let older = older.clone();
        async move { older.claim(1).await }
    });
    server.ask(&[b"EVAL", super::BACK_TO_6.as_bytes(), b"0"]);
    let refusal = Redis::open(&server.url(), Options::default()).await.unwrap_err().to_string();
    assert!(refusal.contains("an older ringback still runs"), "{refusal}");
    older.close().await;
    let _ = claiming.await.unwrap();
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    store.ready().await.unwrap();
}
