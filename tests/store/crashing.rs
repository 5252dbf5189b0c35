//! What is left when the process dies.

use std::time::Duration;

use ringback::event::CallbackId;
use ringback::store::{Accepted, CallbackState, DeliveryState, Next, OutcomeKind};

use super::every_store;
use super::sample::{
    UNLIMITED, acceptance, account, callback, claim_now, delivered, failed, now, prove, queue, state_of,
};

#[test]
fn what_was_accepted_survives_a_power_cut() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        let new = acceptance(&[row.id]);
        store.accept(new.clone()).await.unwrap();

        let store = place.open_after_power_cut().await;
        assert_eq!(store.callbacks().await.unwrap(), [row]);
        assert_eq!(store.event(&account(), new.event.id).await.unwrap(), Some(new.event.clone()));
        assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Duplicate(new.event.id));
        let claims = store.claim(5).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].request, new.deliveries[0].request);
    });
}

#[test]
fn an_attempt_that_a_crash_cut_off_is_repeated_and_uses_up_no_place() {
    every_store(|place| async move {
        let store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        let claims = store.claim(1).await.unwrap();
        assert_eq!(claims[0].attempt, 2);

        let store = place.open_after_power_cut().await;
        let again = store.claim(1).await.unwrap();
        assert_eq!((again[0].lease.delivery, again[0].attempt), (ids[0], 2));
        assert_ne!(again[0].lease.token, claims[0].lease.token);
        assert!(!store.settle(delivered(&claims[0])).await.unwrap(), "its lease died with the process");
        assert!(store.settle(delivered(&again[0])).await.unwrap());
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!(view.row.attempts, 2);
        let outcomes: Vec<_> =
            view.attempts.iter().map(|attempt| (attempt.number, attempt.outcome)).collect();
        assert_eq!(
            outcomes,
            [(1, OutcomeKind::Connection), (2, OutcomeKind::Crashed), (2, OutcomeKind::Delivered)]
        );
    });
}

#[test]
fn ten_crashes_in_a_row_are_poison_and_a_settled_attempt_starts_anew() {
    every_store(|place| async move {
        let mut store = place.open().await;
        let ids = queue(&store, CallbackId::new(), 1).await;
        for _ in 0..9 {
            assert_eq!(store.claim(1).await.unwrap().len(), 1);
            store = place.open_after_power_cut().await;
        }
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        for _ in 0..10 {
            assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Queued);
            let claims = store.claim(1).await.unwrap();
            assert_eq!(claims[0].attempt, 2);
            store = place.open_after_power_cut().await;
        }
        let view = store.delivery(&account(), ids[0]).await.unwrap().unwrap();
        assert_eq!((view.row.state, view.row.reason.as_deref()), (DeliveryState::Dead, Some("poison")));
        assert_eq!((view.row.attempts, view.attempts.len()), (1, 20));
        assert!(claim_now(&store, 1).await.is_empty());
        // It may be retried by hand, and has ten lives again.
        assert!(store.retry(&account(), ids[0]).await.unwrap());
        assert_eq!(store.claim(1).await.unwrap()[0].attempt, 1);
        let store = place.open_after_power_cut().await;
        assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Queued);
    });
}

#[test]
fn the_neighbours_of_a_poison_delivery_outlive_it() {
    every_store(|place| async move {
        let mut store = place.open().await;
        // Made first, so claimed first; the process dies as soon as it has it.
        let poison = queue(&store, CallbackId::new(), 1).await[0];
        let mut innocent = Vec::new();
        for _ in 0..2 {
            innocent.extend(queue(&store, CallbackId::new(), 1).await);
        }
        for _ in 0..10 {
            let mut claims = store.claim(8).await.unwrap();
            while claims.iter().all(|claim| claim.lease.delivery != poison) {
                for claim in claims {
                    assert!(store.settle(delivered(&claim)).await.unwrap());
                }
                claims = store.claim(8).await.unwrap();
            }
            store = place.open_after_power_cut().await;
        }
        assert_eq!(state_of(&store, poison).await, DeliveryState::Dead);
        // Those that were in flight with it at each crash are due one after the other.
        for id in innocent {
            while state_of(&store, id).await == DeliveryState::Queued {
                for claim in store.claim(8).await.unwrap() {
                    assert!(store.settle(delivered(&claim)).await.unwrap());
                }
            }
            assert_eq!(state_of(&store, id).await, DeliveryState::Delivered);
        }
    });
}

#[test]
fn outcomes_pauses_and_removals_survive() {
    every_store(|place| async move {
        let store = place.open().await;
        let (paused, removed, kept) = (callback(UNLIMITED), callback(UNLIMITED), callback(UNLIMITED));
        for row in [&paused, &removed, &kept] {
            store.put_callback(row.clone()).await.unwrap();
        }
        queue(&store, paused.id, 3).await;
        let claims = store.claim(1).await.unwrap();
        let mut gone = failed(&claims[0], Next::Dead("gone".to_owned()));
        gone.pause_callback = Some("410".to_owned());
        assert!(store.settle(gone).await.unwrap());
        let waiting = queue(&store, removed.id, 2_000).await;
        assert!(store.remove_callback(&account(), removed.id).await.unwrap());

        // What the removal has not reached yet is reached after the restart.
        let store = place.open_after_power_cut().await;
        let rows = store.callbacks().await.unwrap();
        assert_eq!(rows.len(), 2);
        let paused = rows.iter().find(|row| row.id == paused.id).unwrap();
        assert_eq!(paused.state, CallbackState::Paused("410".to_owned()));
        assert!(claim_now(&store, 10).await.is_empty());
        prove(&store, kept.id).await;
        for id in [waiting[0], waiting[1_000], waiting[1_999]] {
            for _ in 0..100 {
                if state_of(&store, id).await == DeliveryState::Cancelled {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(state_of(&store, id).await, DeliveryState::Cancelled);
        }
    });
}
