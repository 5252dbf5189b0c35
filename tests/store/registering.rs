//! Registrations and what waits for them; how long things are kept.

use std::time::Duration;

use ringback::event::{CallbackId, DeliveryId};
use ringback::store::{
    Accepted, CallbackRow, CallbackState, DeliveryState, DestinationId, DestinationLimits, Next, Rate,
    SharedStore,
};

use super::every_store_and_cluster;
use super::sample::{
    UNLIMITED, acceptance, account, call_key, call_write, callback, claim_now, delivered, event, failed,
    name, now, prove, queue, state_of,
};

async fn settles_as(store: &SharedStore, id: DeliveryId, state: DeliveryState) {
    for _ in 0..200 {
        if state_of(store, id).await == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(state_of(store, id).await, state);
}

#[test]
fn registrations_are_kept_as_they_were_put() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let first = callback(DestinationLimits {
            max_in_flight: 3,
            rate: Some(Rate { count: 50, period: Duration::from_mins(1) }),
            paused: true,
        });
        let first = CallbackRow { state: CallbackState::Paused("by the customer".to_owned()), ..first };
        tokio::time::sleep(Duration::from_millis(2)).await;
        let second = CallbackRow { account: name("umbrella"), ..callback(UNLIMITED) };
        store.put_callback(second.clone()).await.unwrap();
        store.put_callback(first.clone()).await.unwrap();
        assert_eq!(store.callbacks().await.unwrap(), [first.clone(), second.clone()]);

        let changed = CallbackRow { definition: b"{}".to_vec(), limits: UNLIMITED, ..first };
        let changed = CallbackRow { deadline: Duration::from_secs(7), ..changed };
        let changed = CallbackRow { state: CallbackState::Active, ..changed };
        store.put_callback(changed.clone()).await.unwrap();
        assert_eq!(store.callbacks().await.unwrap(), [changed.clone(), second.clone()]);
        store.close().await;
        assert_eq!(place.open().await.callbacks().await.unwrap(), [changed, second]);
    });
}

#[test]
fn a_paused_registration_collects_and_goes_on() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(DestinationLimits { paused: true, ..UNLIMITED });
        store.put_callback(row.clone()).await.unwrap();
        let ids = queue(&store, row.id, 3).await;
        assert!(claim_now(&store, 10).await.is_empty());
        assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Queued);
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.claim(10).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.put_callback(CallbackRow { limits: UNLIMITED, ..row }).await.unwrap();
        assert_eq!(waiting.await.unwrap().len(), 1);
    });
}

#[test]
fn a_removed_registration_takes_what_waits_with_it() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let (row, other) = (callback(UNLIMITED), callback(UNLIMITED));
        store.put_callback(row.clone()).await.unwrap();
        store.put_callback(other.clone()).await.unwrap();
        prove(&store, row.id).await;
        let waiting = queue(&store, row.id, 1_000).await;
        let in_flight = store.claim(3).await.unwrap();
        assert_eq!(in_flight.len(), 3);

        assert!(!store.remove_callback(&name("umbrella"), row.id).await.unwrap());
        assert!(!store.remove_callback(&account(), CallbackId::new()).await.unwrap());
        assert!(store.remove_callback(&account(), row.id).await.unwrap());
        assert!(!store.remove_callback(&account(), row.id).await.unwrap());
        assert_eq!(store.callbacks().await.unwrap(), std::slice::from_ref(&other));
        assert!(claim_now(&store, 100).await.is_empty());

        // What was on its way may still arrive, but does not come again.
        assert!(store.settle(delivered(&in_flight[0])).await.unwrap());
        assert!(store.settle(failed(&in_flight[1], Next::RetryAt(now()))).await.unwrap());
        store.release(vec![in_flight[2].lease]).await.unwrap();
        settles_as(&store, in_flight[0].lease.delivery, DeliveryState::Delivered).await;
        settles_as(&store, in_flight[1].lease.delivery, DeliveryState::Cancelled).await;
        assert!(claim_now(&store, 100).await.is_empty());
        settles_as(&store, in_flight[2].lease.delivery, DeliveryState::Cancelled).await;
        for id in waiting.into_iter().filter(|id| *id != in_flight[0].lease.delivery) {
            settles_as(&store, id, DeliveryState::Cancelled).await;
        }
        assert!(!store.retry(&account(), in_flight[1].lease.delivery).await.unwrap());

        // An event that was matched before the removal, and a change that crosses it.
        let late = acceptance(&[row.id, other.id]);
        assert_eq!(store.accept(late.clone()).await.unwrap(), Accepted::Stored);
        assert_eq!(state_of(&store, late.deliveries[0].id).await, DeliveryState::Cancelled);
        assert_eq!(store.claim(10).await.unwrap()[0].lease.delivery, late.deliveries[1].id);
        store.put_callback(row).await.unwrap();
        assert_eq!(store.callbacks().await.unwrap(), [other]);
    });
}

#[test]
fn registrations_may_share_a_destination() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let shared = DestinationId([9; 16]);
        let (removed, kept) = (callback(UNLIMITED), callback(UNLIMITED));
        let mut new = acceptance(&[removed.id, kept.id]);
        for delivery in &mut new.deliveries {
            delivery.destination = shared;
        }
        store.put_callback(removed.clone()).await.unwrap();
        store.accept(new.clone()).await.unwrap();
        // On trial, so one slot for both.
        let claims = store.claim(10).await.unwrap();
        assert_eq!(claims.len(), 1);
        store.release(vec![claims[0].lease]).await.unwrap();
        assert!(store.remove_callback(&account(), removed.id).await.unwrap());
        store.close().await;
        let store = place.open().await;
        let claims = store.claim(10).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].callback, kept.id);
        assert!(store.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());
        // The other is found out when its turn comes.
        assert!(claim_now(&store, 10).await.is_empty());
        settles_as(&store, new.deliveries[0].id, DeliveryState::Cancelled).await;
        assert!(store.retry(&account(), new.deliveries[1].id).await.unwrap());
        assert_eq!(store.claim(10).await.unwrap().len(), 1);
    });
}

async fn sweep_all(store: &SharedStore, days: u64) {
    while store.sweep(now() + Duration::from_hours(24 * days)).await.unwrap() > 0 {}
}

#[test]
fn what_has_outlived_its_retention_goes_and_nothing_else() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        prove(&store, row.id).await;

        let mut good = acceptance(&[row.id]);
        good.call = Some(call_write("42", 0, "context"));
        store.accept(good.clone()).await.unwrap();
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
        let bad = acceptance(&[row.id]);
        store.accept(bad.clone()).await.unwrap();
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());
        let mut rejected = event();
        rejected.state = ringback::store::EventState::Rejected("no".to_owned());
        store.reject(rejected.clone()).await.unwrap();
        let mut waiting = acceptance(&[row.id]);
        waiting.deliveries[0].due = now() + Duration::from_hours(24 * 300);
        store.accept(waiting.clone()).await.unwrap();

        let known = async |id| store.delivery(&account(), id).await.unwrap().is_some();
        let event_known = async |id| store.event(&account(), id).await.unwrap().is_some();
        sweep_all(&store, 6).await;
        assert!(known(good.deliveries[0].id).await && event_known(good.event.id).await);

        sweep_all(&store, 8).await;
        assert!(!known(good.deliveries[0].id).await && !event_known(good.event.id).await);
        assert!(known(bad.deliveries[0].id).await && event_known(bad.event.id).await);
        assert!(event_known(rejected.id).await);
        assert!(known(waiting.deliveries[0].id).await);
        // The key of an event that has expired may be used again.
        let mut again = acceptance(&[]);
        again.dedupe.digest = good.dedupe.digest;
        assert_eq!(store.accept(again).await.unwrap(), Accepted::Stored);
        assert!(store.recall(&good.dedupe, Some(&call_key("42"))).await.unwrap().call.is_some());

        sweep_all(&store, 31).await;
        assert!(!known(bad.deliveries[0].id).await && !event_known(bad.event.id).await);
        assert!(!event_known(rejected.id).await);
        assert!(known(waiting.deliveries[0].id).await, "it waits for its time");
        sweep_all(&store, 366).await;
        assert_eq!(store.recall(&good.dedupe, Some(&call_key("42"))).await.unwrap().call, None);
        assert_eq!(store.callbacks().await.unwrap(), [row]);
    });
}

#[test]
fn a_paused_registration_does_not_collect_for_ever() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(DestinationLimits { paused: true, ..UNLIMITED });
        store.put_callback(row.clone()).await.unwrap();
        let ids = queue(&store, row.id, 500).await;
        sweep_all(&store, 29).await;
        assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Queued);
        while store.sweep(now() + Duration::from_hours(24 * 31)).await.unwrap() > 0 {
            if store.delivery(&account(), ids[499]).await.unwrap().is_none() {
                break;
            }
        }
        store.put_callback(CallbackRow { limits: UNLIMITED, ..row }).await.unwrap();
        assert!(claim_now(&store, 10).await.is_empty());
    });
}
