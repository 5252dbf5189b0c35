//! How much is stored for an account.

use std::time::Duration;

use ringback::event::EventType;
use ringback::store::{Accepted, FailedDelivery, SharedStore};

use super::sample::{UNLIMITED, acceptance, account, call_key, call_write, callback, event, later_id, now};
use super::{Place, every_store};

async fn stored(store: &SharedStore, place: &dyn Place) -> u64 {
    let stored = store.stored(&account()).await.unwrap();
    assert_eq!(stored, place.weigh(), "what is counted is what is there");
    stored
}

#[test]
fn what_is_stored_is_counted_and_given_back() {
    every_store(|place| async move {
        let store = place.open().await;
        assert_eq!(stored(&store, &*place).await, 0);
        let row = callback(UNLIMITED);
        let mut first = acceptance(&[row.id, row.id]);
        first.call = Some(call_write("42", 0, "a context"));
        first.failed.push(FailedDelivery {
            id: later_id(),
            account: account(),
            callback: row.id,
            event: first.event.id,
            event_type: EventType::CallEnded,
            call: None,
            created_at: first.event.received_at,
            reason: "no reason".to_owned(),
        });
        store.accept(first.clone()).await.unwrap();
        let after_first = stored(&store, &*place).await;
        let bodies: usize = first.deliveries.iter().map(|new| new.request.size()).sum();
        assert!(after_first >= (first.event.body.len() + bodies + "a context".len()) as u64);

        // What is not written is not counted.
        let mut again = acceptance(&[row.id]);
        again.dedupe = first.dedupe.clone();
        assert_eq!(store.accept(again).await.unwrap(), Accepted::Duplicate(first.event.id));
        let mut behind = acceptance(&[row.id]);
        behind.call = Some(call_write("42", 0, "of another version"));
        assert_eq!(store.accept(behind).await.unwrap(), Accepted::Conflict);
        assert_eq!(stored(&store, &*place).await, after_first);

        // A context that is written again counts as what it is now.
        let mut second = acceptance(&[]);
        second.call = Some(call_write("42", 1, "short"));
        store.accept(second).await.unwrap();
        let after_second = stored(&store, &*place).await;
        let mut third = acceptance(&[]);
        third.call = Some(call_write("42", 2, "a much longer context than before"));
        store.accept(third).await.unwrap();
        assert!(stored(&store, &*place).await > after_second);
        store.reject(event()).await.unwrap();
        let before = stored(&store, &*place).await;
        drop(store);

        let store = place.open_after_power_cut().await;
        assert_eq!(stored(&store, &*place).await, before);
        // Of what is erased the deliveries stay, without what they sent.
        assert!(store.erase_call(&call_key("42")).await.unwrap());
        assert!(stored(&store, &*place).await < before);
        store.accept(acceptance(&[row.id])).await.unwrap();
        // Cancelled, so that retention takes it; and events, then calls.
        store.put_callback(row.clone()).await.unwrap();
        assert!(store.remove_callback(&account(), row.id).await.unwrap());
        let later = now() + Duration::from_hours(24 * 400);
        loop {
            while store.sweep(later).await.unwrap() > 0 {}
            match stored(&store, &*place).await {
                0 => break,
                // What waited is cancelled bit by bit, by the store itself.
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
}
