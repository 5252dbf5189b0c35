//! What the workers rely on: claims, leases, outcomes, fairness.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringback::event::CallbackId;
use ringback::store::{
    DeliveryState, DestinationLimits, Lease, Next, OutcomeKind, Rate, Settlement, StoreError,
};

use super::sample::{
    UNLIMITED, acceptance, account, attempt, callback, claim_now, delivered, failed, name, now, prove, queue,
    state_of,
};
use super::{MAX_IN_FLIGHT, every_store_and_cluster};

#[test]
fn a_claim_carries_the_request_as_it_was_stored() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        let new = acceptance(&[row.id]);
        store.accept(new.clone()).await.unwrap();
        let claims = store.claim(5).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].request, new.deliveries[0].request);
        assert_eq!(claims[0].lease.delivery, new.deliveries[0].id);
        assert_eq!(
            (claims[0].account.clone(), claims[0].callback, claims[0].attempt),
            (account(), row.id, 1)
        );
        assert_eq!(state_of(&store, new.deliveries[0].id).await, DeliveryState::Leased);
    });
}

/// Whether something was done at once, at least one time: a busy machine may delay some, not each of
/// them.
fn is_one_soon(delays: &[Duration]) -> bool {
    assert!(delays.len() < 20, "{delays:?}");
    delays.iter().any(|delay| *delay < Duration::from_millis(500))
}

#[test]
fn a_claim_waits_for_work_and_wakes_at_once() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let mut delays = Vec::new();
        while !is_one_soon(&delays) {
            let waiting = tokio::spawn({
                let store = store.clone();
                async move { (store.claim(5).await.unwrap(), Instant::now()) }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!waiting.is_finished());
            let queued_at = Instant::now();
            let ids = queue(&store, CallbackId::new(), 1).await;
            let (claims, claimed_at) = waiting.await.unwrap();
            assert_eq!(claims[0].lease.delivery, ids[0]);
            assert!(store.settle(delivered(&claims[0])).await.unwrap());
            delays.push(claimed_at - queued_at);
        }
    });
}

#[test]
fn a_delivery_is_claimed_when_it_is_due_and_not_before() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let mut delays = Vec::new();
        while !is_one_soon(&delays) {
            let mut new = acceptance(&[CallbackId::new()]);
            let due = now() + Duration::from_millis(400);
            new.deliveries[0].due = due;
            store.accept(new).await.unwrap();
            let claims = store.claim(1).await.unwrap();
            assert_eq!(claims.len(), 1);
            assert!(now() >= due);
            delays.push(now().duration_since(due).unsigned_abs());
            assert!(store.settle(delivered(&claims[0])).await.unwrap());
        }
    });
}

#[test]
fn a_delivered_one_is_finished_and_its_attempt_kept() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        let claims = store.claim(1).await.unwrap();
        let settlement = delivered(&claims[0]);
        assert!(store.settle(settlement.clone()).await.unwrap());
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!(view.row.state, DeliveryState::Delivered);
        assert_eq!((view.row.attempts, view.row.next_attempt_at), (1, None));
        let ended_at = settlement.attempt.started_at + settlement.attempt.latency;
        assert_eq!(view.row.finished_at, Some(ended_at));
        assert_eq!(view.attempts, std::slice::from_ref(&settlement.attempt));
        assert!(claim_now(&store, 1).await.is_empty());
        // The lease is gone with it.
        assert!(!store.settle(settlement).await.unwrap());
    });
}

#[test]
fn a_failed_one_comes_again_until_it_is_dead() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        for number in 1..=3 {
            let claims = store.claim(1).await.unwrap();
            assert_eq!((claims[0].lease.delivery, claims[0].attempt), (ids[0], number));
            let next = if number < 3 {
                Next::RetryAt(now() + Duration::from_millis(50))
            } else {
                Next::Dead("no more attempts".to_owned())
            };
            assert!(store.settle(failed(&claims[0], next)).await.unwrap());
        }
        assert!(claim_now(&store, 1).await.is_empty());
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!(view.row.state, DeliveryState::Dead);
        assert_eq!(view.row.reason.as_deref(), Some("no more attempts"));
        assert_eq!(view.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(view.attempts[2].error.as_deref(), Some("refused"));
    });
}

#[test]
fn only_the_lease_that_is_held_settles() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        let first = store.claim(1).await.unwrap();
        store.release(vec![first[0].lease]).await.unwrap();
        let second = store.claim(1).await.unwrap();
        assert_ne!(first[0].lease, second[0].lease);
        assert_eq!(second[0].attempt, 1);
        assert!(!store.settle(delivered(&first[0])).await.unwrap());
        assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Leased);
        // Giving a foreign lease back changes nothing either.
        store.release(vec![first[0].lease]).await.unwrap();
        assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Leased);
        assert!(store.settle(delivered(&second[0])).await.unwrap());
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!(view.attempts.len(), 1);
    });
}

#[test]
fn what_is_released_is_due_at_once_and_counts_no_attempt() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        for _ in 0..20 {
            let claims = store.claim(1).await.unwrap();
            assert_eq!(claims[0].attempt, 1);
            store.release(vec![claims[0].lease]).await.unwrap();
        }
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!((view.row.attempts, view.row.state), (0, DeliveryState::Queued));
        assert!(view.attempts.is_empty());
    });
}

#[test]
fn no_delivery_is_leased_twice_and_none_is_left_out() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let mut expected = HashSet::new();
        for _ in 0..20 {
            expected.extend(queue(&store, CallbackId::new(), 15).await);
        }
        let (settled, all) = (Arc::new(AtomicUsize::new(0)), expected.len());
        let (is_over, over) = tokio::sync::watch::channel(false);
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (store, settled) = (store.clone(), Arc::clone(&settled));
                let (is_over, mut over) = (is_over.clone(), over.clone());
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    loop {
                        let claims = tokio::select! {
                            claims = store.claim(3) => claims.unwrap(),
                            _ = over.wait_for(|over| *over) => return done,
                        };
                        for claim in claims {
                            done.push(claim.lease.delivery);
                            assert!(store.settle(delivered(&claim)).await.unwrap());
                            if settled.fetch_add(1, Ordering::Relaxed) + 1 == all {
                                is_over.send_replace(true);
                            }
                        }
                    }
                })
            })
            .collect();
        let mut done = Vec::new();
        for worker in workers {
            let one = tokio::time::timeout(Duration::from_mins(5), worker).await;
            done.extend(one.expect("none is left out").unwrap());
        }
        assert!(claim_now(&store, 3).await.is_empty());
        assert_eq!(done.len(), expected.len());
        assert_eq!(done.into_iter().collect::<HashSet<_>>(), expected);
    });
}

#[test]
fn a_claim_that_nobody_waits_for_any_more_leases_nothing() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        prove(&store, row.id).await;
        // Dropped before there is work, at the very moment, and after it was answered.
        for delay in [0, 20, 200, 1_000, 3_000, 10_000] {
            let waiting = tokio::spawn({
                let store = store.clone();
                async move { store.claim(3).await }
            });
            tokio::task::yield_now().await;
            let ids = queue(&store, row.id, 2).await;
            tokio::time::sleep(Duration::from_micros(delay)).await;
            waiting.abort();
            let mut held = match waiting.await {
                Ok(claims) => claims.unwrap(),
                Err(_) => Vec::new(),
            };
            let deadline = Instant::now() + Duration::from_mins(1);
            while held.len() < 2 {
                held.extend(claim_now(&store, 5).await);
                assert!(Instant::now() < deadline, "leased to nobody");
            }
            assert_eq!(
                held.iter().map(|claim| claim.lease.delivery).collect::<HashSet<_>>(),
                ids.into_iter().collect()
            );
            for claim in held {
                assert!(store.settle(delivered(&claim)).await.unwrap());
            }
        }
        // Given up while nothing was due: does not take what comes later.
        for _ in 0..50 {
            assert!(tokio::time::timeout(Duration::from_millis(1), store.claim(1)).await.is_err());
        }
        queue(&store, row.id, 1).await;
        assert_eq!(store.claim(1).await.unwrap().len(), 1);
    });
}

#[test]
fn a_backlog_of_one_delays_no_other() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let (busy, quiet) = (callback(UNLIMITED), callback(UNLIMITED));
        for row in [&busy, &quiet] {
            store.put_callback(row.clone()).await.unwrap();
            prove(&store, row.id).await;
        }
        queue(&store, busy.id, 500).await;
        queue(&store, quiet.id, 2).await;
        let claims = store.claim(4).await.unwrap();
        assert_eq!(claims.iter().filter(|claim| claim.callback == quiet.id).count(), 2);
    });
}

#[test]
fn destinations_on_trial_take_one_slot_each_and_half_together() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let good = callback(UNLIMITED);
        store.put_callback(good.clone()).await.unwrap();
        prove(&store, good.id).await;
        for _ in 0..MAX_IN_FLIGHT {
            queue(&store, CallbackId::new(), 5).await;
        }
        let trying = claim_now(&store, 100).await;
        assert_eq!(trying.len(), MAX_IN_FLIGHT / 2);
        assert_eq!(trying.iter().map(|claim| claim.callback).collect::<HashSet<_>>().len(), trying.len());

        // They hold their slots, and the good one has the others.
        queue(&store, good.id, 50).await;
        let claims = store.claim(100).await.unwrap();
        assert_eq!(claims.len(), MAX_IN_FLIGHT / 2);
        assert!(claims.iter().all(|claim| claim.callback == good.id));
        assert!(claim_now(&store, 100).await.is_empty(), "all slots are taken");

        // Its next failure puts it on trial too.
        for claim in &claims[1..] {
            assert!(store.settle(delivered(claim)).await.unwrap());
        }
        let next = Next::RetryAt(now() + Duration::from_hours(1));
        assert!(store.settle(failed(&claims[0], next)).await.unwrap());
        assert!(claim_now(&store, 100).await.is_empty());
    });
}

#[test]
fn a_destination_has_no_more_in_flight_than_it_may() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(DestinationLimits { max_in_flight: 3, ..UNLIMITED });
        store.put_callback(row.clone()).await.unwrap();
        prove(&store, row.id).await;
        queue(&store, row.id, 10).await;
        let claims = claim_now(&store, 100).await;
        assert_eq!(claims.len(), 3);
        assert!(claim_now(&store, 100).await.is_empty());
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
        assert_eq!(claim_now(&store, 100).await.len(), 1);
    });
}

#[test]
fn a_rate_is_kept() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let rate = Some(Rate { count: 2, period: Duration::from_secs(2) });
        let row = callback(DestinationLimits { rate, ..UNLIMITED });
        store.put_callback(row.clone()).await.unwrap();
        prove(&store, row.id).await;
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        queue(&store, row.id, 6).await;
        let started = Instant::now();
        let mut starts = Vec::new();
        while starts.len() < 6 {
            for claim in store.claim(100).await.unwrap() {
                starts.push(started.elapsed());
                assert!(store.settle(delivered(&claim)).await.unwrap());
            }
        }
        // A burst of two, then one each second.
        assert!(starts[1] < Duration::from_millis(900), "{starts:?}");
        assert!(starts[5] >= Duration::from_millis(3_950), "{starts:?}");
        assert!(starts[5] < Duration::from_secs(8), "{starts:?}");
    });
}

#[test]
fn a_registration_is_paused_with_the_outcome_that_says_so() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        queue(&store, row.id, 3).await;
        let claims = store.claim(1).await.unwrap();
        let settlement = Settlement {
            pause_callback: Some("410 from the receiver".to_owned()),
            attempt: attempt(&claims[0], OutcomeKind::Gone),
            ..failed(&claims[0], Next::Dead("gone".to_owned()))
        };
        assert!(store.settle(settlement).await.unwrap());
        assert!(claim_now(&store, 10).await.is_empty());
        let rows = store.callbacks().await.unwrap();
        assert_eq!(rows[0].state, ringback::store::CallbackState::Paused("410 from the receiver".to_owned()));
        assert!(rows[0].limits.paused);
        assert_eq!(rows[0].definition, row.definition);

        store.put_callback(row.clone()).await.unwrap();
        assert_eq!(claim_now(&store, 10).await.len(), 1);
    });
}

#[test]
fn a_dead_one_is_retried_by_hand_from_the_beginning() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        for _ in 0..2 {
            let claims = store.claim(1).await.unwrap();
            assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        }
        let claims = store.claim(1).await.unwrap();
        assert_eq!(claims[0].attempt, 3);
        assert!(!store.retry(&account(), ids[0]).await.unwrap(), "an attempt is under way");
        assert!(store.settle(failed(&claims[0], Next::Dead("enough".to_owned()))).await.unwrap());

        assert!(!store.retry(&name("umbrella"), ids[0]).await.unwrap());
        assert!(store.retry(&account(), ids[0]).await.unwrap());
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!(view.row.state, DeliveryState::Queued);
        assert_eq!((view.row.reason.clone(), view.row.finished_at, view.row.attempts), (None, None, 3));
        let again = store.claim(1).await.unwrap();
        assert_eq!((again[0].attempt, &again[0].request), (1, &claims[0].request));
        assert!(store.settle(delivered(&again[0])).await.unwrap());
        assert!(!store.retry(&account(), ids[0]).await.unwrap(), "it was delivered");
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!((view.row.attempts, view.attempts.len()), (4, 4));
        assert_eq!(view.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3, 1]);
    });
}

#[test]
fn one_that_waits_for_its_next_attempt_is_retried_now() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        let claims = store.claim(1).await.unwrap();
        let next = Next::RetryAt(now() + Duration::from_hours(1));
        assert!(store.settle(failed(&claims[0], next)).await.unwrap());
        assert!(claim_now(&store, 1).await.is_empty());
        assert!(store.retry(&account(), ids[0]).await.unwrap());
        let again = store.claim(1).await.unwrap();
        assert_eq!((again[0].lease.delivery, again[0].attempt), (ids[0], 1));
        assert!(claim_now(&store, 1).await.is_empty(), "it is queued once");
    });
}

#[test]
fn a_closed_store_refuses_and_lets_go() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        let claims = store.claim(1).await.unwrap();
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.claim(1).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.close().await;
        assert!(waiting.await.unwrap().unwrap().is_empty());
        assert!(store.claim(1).await.unwrap().is_empty());
        let refused = store.accept(acceptance(&[])).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { reason: "closed", .. }), "{refused}");
        assert!(store.settle(delivered(&claims[0])).await.is_err());
        assert!(store.ready().await.is_err());
        assert!(store.event(&account(), acceptance(&[]).event.id).await.is_err());
        store.close().await;

        // The lease was given back, and nobody counts a crash.
        let store = place.open().await;
        store.ready().await.unwrap();
        let again = store.claim(1).await.unwrap();
        assert_eq!((again[0].lease.delivery, again[0].attempt), (ids[0], 1));
        assert!(store.delivery(&account(), ids[0]).await.unwrap().unwrap().attempts.is_empty());
        let stale = Lease { token: claims[0].lease.token, ..again[0].lease };
        assert_ne!(stale, again[0].lease);
    });
}
