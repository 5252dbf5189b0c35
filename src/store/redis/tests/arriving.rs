//! What comes back leased with its event, without a claim.

use std::time::Duration;

use jiff::Timestamp;

use super::{Bench, SECOND, START, acceptance};
use crate::event::{CallbackId, DeliveryId};
use crate::store::redis::redis_server::RedisServer;
use crate::store::redis::{Options, Redis};
use crate::store::{Accepted, DestinationLimits, Next, Store};

#[test]
fn what_comes_while_somebody_waits_for_work_is_leased_at_once_if_it_is_its_turn() {
    let server = RedisServer::start(&[]);
    let mut bench = Bench::new(&server);
    let [first, second, third] = [(); 3].map(|()| CallbackId::new());
    for callback in [first, second, third] {
        bench.configure(callback, DestinationLimits { max_in_flight: 2, rate: None, paused: false });
    }
    let mut arrive = |callback, delay| bench.arrive(callback, DeliveryId::new(), START + delay, None);
    let lease = arrive(first, 0).expect("nobody else's turn is before");
    assert!(arrive(first, 0).is_none(), "it is on trial");
    assert!(arrive(second, 1).is_none(), "it is not due");
    assert!(arrive(third, 0).is_some(), "neither of them is in line");
    assert!(bench.settle(lease, Next::Delivered));
    assert!(bench.arrive(second, DeliveryId::new(), START, None).is_none(), "another is in line now");
    assert_eq!(bench.claim(6).0.len(), 2);
    assert!(
        bench.arrive(first, DeliveryId::new(), START, None).is_some(),
        "it has shown that it takes deliveries"
    );
}

#[test]
fn what_is_put_in_line_by_an_event_is_before_what_comes_behind_it() {
    let server = RedisServer::start(&[]);
    let mut bench = Bench::new(&server);
    let [first, second] = [(); 2].map(|()| CallbackId::new());
    bench.enqueue(first, DeliveryId::new(), START + SECOND, None);
    // Its first delivery is for one for which something waits already, so that it stands in line.
    let mut both = acceptance(first, DeliveryId::new(), START, START);
    both.deliveries.extend(acceptance(second, DeliveryId::new(), START, START).deliveries);
    bench.shared.vacancies.await_work();
    assert_eq!(bench.runtime.block_on(bench.shared.accept(&both)).unwrap(), Accepted::Stored);
    assert!(bench.arrivals.try_recv().is_err());
    let mut expected: Vec<DeliveryId> = both.deliveries.iter().map(|delivery| delivery.id).collect();
    let mut claimed: Vec<DeliveryId> = bench.claim(6).0.iter().map(|lease| lease.delivery).collect();
    expected.sort();
    claimed.sort();
    assert_eq!(claimed, expected);
}

#[test]
fn what_came_leased_and_nobody_asks_for_is_given_back() {
    let server = RedisServer::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = async || Redis::open(&server.url(), Options::default()).await.unwrap();
        let (store, other) = (open().await, open().await);
        let (callback, delivery) = (CallbackId::new(), DeliveryId::new());
        let now = Timestamp::now().as_microsecond();
        // As if somebody had asked, and was answered by another event.
        store.shared.vacancies.await_work();
        assert_eq!(store.accept(acceptance(callback, delivery, now, now)).await.unwrap(), Accepted::Stored);
        store.shared.vacancies.note_answer(true);
        assert_eq!(store.shared.held().len(), 1);
        let claims = tokio::time::timeout(Duration::from_secs(20), other.claim(1)).await.unwrap().unwrap();
        assert_eq!((claims[0].lease.delivery, claims[0].attempt), (delivery, 1));
        assert!(store.shared.held().is_empty());
        store.close().await;
        other.close().await;
    });
}
