//! Circuits: a receiver that takes nothing is probed, its queue waits, and nothing is lost.

use std::time::Duration;

use ringback::event::CallbackId;
use ringback::store::scheduler::{CircuitRules, GIVEN_UP};
use ringback::store::{CallbackState, DestinationLimits, Next, SharedStore};

use super::every_store;
use super::sample::{UNLIMITED, account, callback, claim_now, delivered, failed, now, prove, queue};

const FIRST_PROBE: Duration = Duration::from_millis(300);

fn rules() -> CircuitRules {
    let first_probe = i64::try_from(FIRST_PROBE.as_micros()).unwrap();
    CircuitRules { consecutive: 3, first_probe, ..CircuitRules::default() }
}

/// Rules of a circuit that stays open as long as any test runs.
fn for_hours() -> CircuitRules {
    CircuitRules { first_probe: 3_600_000_000, longest_probe: 3_600_000_000, ..rules() }
}

/// Lets three attempts of this registration fail; the deliveries are due again at once.
async fn open_circuit(store: &SharedStore, id: CallbackId) {
    for _ in 0..3 {
        let claims = store.claim(1).await.unwrap();
        assert_eq!(claims[0].callback, id);
        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
    }
}

#[test]
fn a_receiver_that_takes_nothing_is_probed_and_served_when_a_probe_is_delivered() {
    every_store(|place| async move {
        let store = place.open_with(rules()).await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        queue(&store, row.id, 5).await;
        open_circuit(&store, row.id).await;
        let mut since = now();
        for pause in [FIRST_PROBE, 2 * FIRST_PROBE] {
            let probes = store.claim(5).await.unwrap();
            assert_eq!(probes.len(), 1);
            // The scripts take the time from Redis, whose clock is this one too.
            assert!(now() >= since + pause - Duration::from_millis(50));
            assert!(claim_now(&store, 5).await.is_empty(), "one probe at a time");
            since = now();
            assert!(store.settle(failed(&probes[0], Next::RetryAt(now()))).await.unwrap());
        }
        let probes = store.claim(5).await.unwrap();
        assert_eq!(probes.len(), 1);
        assert!(store.settle(delivered(&probes[0])).await.unwrap());
        let mut rest = 0;
        while rest < 4 {
            for claim in store.claim(5).await.unwrap() {
                assert!(store.settle(delivered(&claim)).await.unwrap());
                rest += 1;
            }
        }
        assert!(claim_now(&store, 5).await.is_empty());
    });
}

#[test]
fn an_open_circuit_delays_nobody_else_and_outlives_a_restart() {
    every_store(|place| async move {
        let store = place.open_with(for_hours()).await;
        let (dead, alive) = (callback(UNLIMITED), callback(UNLIMITED));
        store.put_callback(dead.clone()).await.unwrap();
        store.put_callback(alive.clone()).await.unwrap();
        queue(&store, dead.id, 4).await;
        open_circuit(&store, dead.id).await;
        assert!(claim_now(&store, 5).await.is_empty());
        prove(&store, alive.id).await;
        store.close().await;

        let store = place.open_with(for_hours()).await;
        assert!(claim_now(&store, 5).await.is_empty());
        prove(&store, alive.id).await;
        // A change of another kind leaves it open.
        let limits = DestinationLimits { max_in_flight: 2, ..UNLIMITED };
        store.put_callback(ringback::store::CallbackRow { limits, ..dead.clone() }).await.unwrap();
        assert!(claim_now(&store, 5).await.is_empty());
        // Whoever pauses and resumes it wants to see it tried.
        let limits = DestinationLimits { paused: true, ..UNLIMITED };
        store.put_callback(ringback::store::CallbackRow { limits, ..dead.clone() }).await.unwrap();
        store.put_callback(dead.clone()).await.unwrap();
        assert_eq!(store.claim(5).await.unwrap().len(), 1);
        store.close().await;
        let store = place.open_with(for_hours()).await;
        assert_eq!(store.claim(5).await.unwrap().len(), 1);
    });
}

#[test]
fn a_registration_whose_circuit_was_open_for_too_long_is_paused_and_those_who_hold_it_hear_of_it() {
    every_store(|place| async move {
        let store = place.open_with(CircuitRules { give_up: 0, ..rules() }).await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        let ids = queue(&store, row.id, 4).await;
        let revision = store.callback_changes(0).await.unwrap().revision;
        open_circuit(&store, row.id).await;
        let probes = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&probes[0], Next::RetryAt(now()))).await.unwrap());
        tokio::time::timeout(Duration::from_mins(1), store.callbacks_changed(revision)).await.unwrap();
        let changes = store.callback_changes(revision).await.unwrap();
        assert_eq!(changes.changed.len(), 1);
        assert_eq!(changes.changed[0].state, CallbackState::Paused(GIVEN_UP.to_owned()));
        assert!(changes.changed[0].limits.paused && changes.changed[0].definition == row.definition);
        assert!(claim_now(&store, 5).await.is_empty());
        // Nothing of it is lost.
        for id in &ids {
            let view = store.delivery(&account(), *id).await.unwrap().unwrap();
            assert_eq!(view.row.state, ringback::store::DeliveryState::Queued);
        }
        store.put_callback(row).await.unwrap();
        assert_eq!(store.claim(5).await.unwrap().len(), 1);
    });
}
