//! Deliveries of one call that go out one after the other.

use std::time::Duration;

use ringback::event::{CallbackId, DeliveryId};
use ringback::store::{CallbackRow, Claim, DeliveryState, DestinationLimits, Next, OrderKey, SharedStore};

use super::every_store;
use super::sample::{
    UNLIMITED, acceptance, account, callback, claim_now, delivered, failed, now, prove, state_of,
};

const ONE: OrderKey = OrderKey([1; 16]);
const OTHER: OrderKey = OrderKey([2; 16]);

/// An event with a delivery in each of these orders; their ids.
async fn queue_in(store: &SharedStore, callback: CallbackId, orders: &[OrderKey]) -> Vec<DeliveryId> {
    let mut new = acceptance(&vec![callback; orders.len()]);
    for (delivery, order) in new.deliveries.iter_mut().zip(orders) {
        delivery.order = Some(*order);
    }
    // Ids do not make the order, acceptance does.
    new.deliveries.reverse();
    let ids = new.deliveries.iter().map(|delivery| delivery.id).collect();
    store.accept(new).await.unwrap();
    ids
}

fn ids(claims: &[Claim]) -> Vec<DeliveryId> {
    claims.iter().map(|claim| claim.lease.delivery).collect()
}

/// A registration that has shown that it takes deliveries.
async fn proven(store: &SharedStore) -> CallbackRow {
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    prove(store, row.id).await;
    row
}

#[test]
fn a_failing_one_holds_back_its_call_and_no_other() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = proven(&store).await;
        let first = queue_in(&store, row.id, &[ONE, ONE]).await;
        let others = queue_in(&store, row.id, &[OTHER]).await;
        let last = queue_in(&store, row.id, &[ONE]).await;
        let claims = store.claim(5).await.unwrap();
        assert_eq!(ids(&claims), [first[0], others[0]]);
        let later = Next::RetryAt(now() + Duration::from_hours(1));
        assert!(store.settle(failed(&claims[0], later)).await.unwrap());
        assert!(store.settle(delivered(&claims[1])).await.unwrap());
        assert!(claim_now(&store, 5).await.is_empty());
        assert_eq!(state_of(&store, last[0]).await, DeliveryState::Queued);

        // One that is held back stays so when it is retried by hand; the first goes now.
        assert!(store.retry(&account(), last[0]).await.unwrap());
        assert!(claim_now(&store, 5).await.is_empty());
        assert!(store.retry(&account(), first[0]).await.unwrap());
        let claims = store.claim(5).await.unwrap();
        assert_eq!(ids(&claims), [first[0]]);
        // Dead is an end too.
        assert!(store.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());
        let claims = store.claim(5).await.unwrap();
        assert_eq!(ids(&claims), [first[1]]);
        // What is retried after its death waits for nobody, and nobody for it.
        assert!(store.retry(&account(), first[0]).await.unwrap());
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
        let mut rest = Vec::new();
        while rest.len() < 2 {
            rest.extend(store.claim(5).await.unwrap());
        }
        let mut found = ids(&rest);
        found.sort_unstable();
        let mut expected = [first[0], last[0]];
        expected.sort_unstable();
        assert_eq!(found, expected);
    });
}

#[test]
fn an_order_outlives_leases_that_are_given_back_restarts_and_power_cuts() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = proven(&store).await;
        let all = queue_in(&store, row.id, &[ONE, ONE, ONE]).await;
        let claims = store.claim(5).await.unwrap();
        assert_eq!(ids(&claims), [all[0]]);
        store.release(vec![claims[0].lease]).await.unwrap();
        let claims = store.claim(5).await.unwrap();
        assert_eq!(ids(&claims), [all[0]]);
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
        let later = queue_in(&store, row.id, &[ONE]).await;
        store.close().await;
        let store = place.open().await;
        let claims = store.claim(5).await.unwrap();
        assert_eq!(ids(&claims), [all[1]]);

        // Cut off in its attempt: it is repeated, and the others still wait.
        let store = place.open_after_power_cut().await;
        for id in [all[1], all[2], later[0]] {
            let claims = store.claim(5).await.unwrap();
            assert_eq!(ids(&claims), [id]);
            assert!(store.settle(delivered(&claims[0])).await.unwrap());
        }
    });
}

#[test]
fn what_is_held_back_is_cancelled_with_its_registration() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = proven(&store).await;
        let mut all = queue_in(&store, row.id, &[ONE, ONE, ONE]).await;
        let leased = store.claim(5).await.unwrap();
        all.extend(queue_in(&store, row.id, &[OTHER, OTHER]).await);
        assert!(store.remove_callback(&account(), row.id).await.unwrap());
        assert!(store.settle(failed(&leased[0], Next::RetryAt(now()))).await.unwrap());
        assert!(claim_now(&store, 5).await.is_empty());
        let until = std::time::Instant::now() + Duration::from_mins(1);
        for id in all {
            while state_of(&store, id).await != DeliveryState::Cancelled {
                assert!(std::time::Instant::now() < until, "{id} is not cancelled");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

#[test]
fn a_paused_registration_keeps_its_order() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = proven(&store).await;
        let all = queue_in(&store, row.id, &[ONE, ONE]).await;
        let limits = DestinationLimits { paused: true, ..UNLIMITED };
        store.put_callback(CallbackRow { limits, ..row.clone() }).await.unwrap();
        assert!(claim_now(&store, 5).await.is_empty());
        store.put_callback(row).await.unwrap();
        for id in all {
            let claims = store.claim(5).await.unwrap();
            assert_eq!(ids(&claims), [id]);
            assert!(store.settle(delivered(&claims[0])).await.unwrap());
        }
    });
}
