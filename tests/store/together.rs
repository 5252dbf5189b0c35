//! What comes while a script of the store in Redis runs goes together in the next, each as if it were
//! alone.

use std::sync::Arc;

use ringback::store::redis as redis_store;
use ringback::store::{Acceptance, Accepted, CallbackRow, Next, SharedStore, StoreError};
use tokio::task::JoinHandle;

use super::open_redis;
use super::sample::{
    UNLIMITED, acceptance, call_key, call_write, callback, claim_now, delivered, failed, now, prove,
};
use crate::redis_server::RedisServer;

/// So many that most must wait while the first are done.
const CALLERS: usize = 64;

type Answers = Vec<JoinHandle<Result<Accepted, StoreError>>>;

async fn open(server: &RedisServer) -> SharedStore {
    Arc::new(open_redis(&server.url()).await)
}

/// With a registration.
async fn open_with_one(server: &RedisServer) -> (SharedStore, CallbackRow) {
    let (store, row) = (open(server).await, callback(UNLIMITED));
    store.put_callback(row.clone()).await.unwrap();
    (store, row)
}

/// Hands in events while Redis stands still, and lets it go on when all of them wait.
async fn while_redis_stands_still(
    server: &RedisServer,
    store: &SharedStore,
    events: impl Iterator<Item = Acceptance>,
) -> Answers {
    server.signal("STOP");
    let mut answers = Answers::new();
    for event in events {
        let store = Arc::clone(store);
        answers.push(tokio::spawn(async move { store.accept(event).await }));
    }
    // Each has been polled, and waits for Redis by now.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    server.signal("CONT");
    answers
}

/// The same event, telling of a call that nothing was known of.
fn of_call(mut new: Acceptance, id: &str) -> Acceptance {
    new.call = Some(call_write(id, 0, "{}"));
    new
}

/// How many scripts Redis has run.
fn scripts(server: &RedisServer) -> usize {
    let info = server.ask(&[b"INFO", b"commandstats"]);
    let info = String::from_utf8_lossy(&info);
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    calls.and_then(|calls| calls.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn events_that_wait_go_together() {
    let server = RedisServer::start(&[]);
    let (store, row) = open_with_one(&server).await;
    let before = scripts(&server);
    let events = (0..CALLERS).map(|_| acceptance(&[row.id]));
    for answer in while_redis_stands_still(&server, &store, events).await {
        assert_eq!(answer.await.unwrap().unwrap(), Accepted::Stored);
    }
    let run = scripts(&server) - before;
    assert!(run < CALLERS, "{run} scripts for {CALLERS} events");
}

#[tokio::test]
async fn one_that_cannot_be_written_takes_no_other_with_it() {
    let server = RedisServer::start(&[]);
    let (store, row) = open_with_one(&server).await;
    let events: Vec<Acceptance> =
        (0..CALLERS).map(|number| of_call(acceptance(&[row.id]), &format!("call-{number}"))).collect();
    // Damaged: where a call is to be, something else is.
    let damaged = call_key(&format!("call-{}", CALLERS / 2));
    let name = format!("{{rb0}}:c:{}\0{}\0{}", damaged.account, damaged.space, damaged.id.as_str());
    assert!(server.ask(&[b"SET", name.as_bytes(), b"?"]).starts_with(b"+OK"));
    let answers = while_redis_stands_still(&server, &store, events.into_iter()).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        if number == CALLERS / 2 {
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
        } else {
            assert_eq!(answer.unwrap(), Accepted::Stored);
        }
    }
    assert_eq!(claim_now(&store, CALLERS).await.len(), 1, "its destination is on trial");
}

#[tokio::test]
async fn events_of_one_call_that_go_together_see_each_other() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    // All have read that there is no such call yet.
    let events = (0..CALLERS).map(|_| of_call(acceptance(&[]), "one"));
    let mut stored = 0;
    for answer in while_redis_stands_still(&server, &store, events).await {
        match answer.await.unwrap().unwrap() {
            Accepted::Stored => stored += 1,
            Accepted::Conflict => {}
            Accepted::Duplicate(id) => panic!("{id} is another event"),
        }
    }
    assert_eq!(stored, 1);
}

#[tokio::test]
async fn outcomes_that_wait_go_together() {
    let server = RedisServer::start(&[]);
    let (store, row) = open_with_one(&server).await;
    prove(&store, row.id).await;
    let other = callback(UNLIMITED);
    store.put_callback(other.clone()).await.unwrap();
    for _ in 0..CALLERS {
        assert_eq!(store.accept(acceptance(&[row.id])).await.unwrap(), Accepted::Stored);
    }
    assert_eq!(store.accept(acceptance(&[other.id])).await.unwrap(), Accepted::Stored);
    let claims = claim_now(&store, CALLERS + 1).await;
    server.signal("STOP");
    let settled: Vec<_> = claims
        .iter()
        .enumerate()
        .map(|(number, claim)| {
            let settlement = match number % 3 {
                0 => delivered(claim),
                1 => failed(claim, Next::RetryAt(now())),
                _ => failed(claim, Next::Dead("no".to_owned())),
            };
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.settle(settlement).await })
        })
        .collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    server.signal("CONT");
    for one in settled {
        assert!(one.await.unwrap().unwrap());
    }
    // None is lost, and no slot of their destination with them.
    let audit = redis_store::audit(&server.url()).await.unwrap();
    assert!(audit.findings.is_empty(), "{:?}", audit.findings);
}
