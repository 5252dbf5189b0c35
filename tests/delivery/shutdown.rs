//! The worker's shutdown: what is under way is finished, or given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringback::store::Next;
use tokio::time::sleep;

use super::receiver::{Receiver, answer, closed, read_request};
use super::scripted_store::ScriptedStore;
use super::worker::{AMPLE, Running, claim, waiting};

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way_and_claims_no_more() {
    let open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&open);
    let receiver = Receiver::raw(move |mut stream, _| {
        let opened = Arc::clone(&opened);
        async move {
            read_request(&mut stream).await;
            while !opened.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5)).await;
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (store, registry, claims) = waiting(&receiver, 2);
    let worker = Running::start(store.clone(), registry, 2, AMPLE);
    while receiver.connections() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    let stopping = tokio::spawn(worker.stop());
    sleep(Duration::from_millis(100)).await;
    store.push(claim(claims[0].callback, &receiver.url("/hook"), 3));
    assert!(!stopping.is_finished(), "it waits for its attempts");
    open.store(true, Ordering::SeqCst);
    stopping.await.unwrap();
    let settled = store.settled();
    assert_eq!(settled.len(), 2);
    assert!(settled.iter().all(|settlement| settlement.next == Next::Delivered));
    assert!(store.released().is_empty());
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_shutdown_gives_back_what_does_not_finish_in_time() {
    let dead = Receiver::raw(|mut stream, _| async move { closed(&mut stream).await }).await;
    let (store, registry, claims) = waiting(&dead, 3);
    let drain = Duration::from_millis(300);
    let worker = Running::start(store.clone(), registry, 3, drain);
    while dead.connections() < 3 {
        sleep(Duration::from_millis(5)).await;
    }
    let took = worker.stop().await;
    assert!(took >= drain, "{took:?}");
    let mut released = store.released();
    released.sort_by_key(|lease| lease.token);
    assert_eq!(released, claims.iter().map(|claim| claim.lease).collect::<Vec<_>>());
    assert!(store.settled().is_empty());
}

#[tokio::test]
async fn a_shutdown_gives_back_an_outcome_that_the_store_would_not_take() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let (store, registry, claims) = waiting(&receiver, 1);
    store.fail(0, usize::MAX);
    let worker = Running::start(store.clone(), registry, 1, Duration::from_millis(200));
    while receiver.seen().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    worker.stop().await;
    assert_eq!(store.released(), [claims[0].lease], "it will be sent again: at least once");
}

#[tokio::test]
async fn a_worker_without_work_stops_at_once() {
    let store = Arc::new(ScriptedStore::default());
    let worker = Running::start(store, Arc::default(), 0, AMPLE);
    sleep(Duration::from_millis(20)).await;
    assert!(worker.stop().await < AMPLE / 2, "it waits for nothing");
}
