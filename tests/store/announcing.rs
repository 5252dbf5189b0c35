//! What the store did by itself, for those who want to hear of it.

use std::time::Duration;

use ringback::event::EventType;
use ringback::store::{Accepted, Announced, Next, OutcomeKind, Settlement, SharedStore};

use super::every_store;
use super::sample::{UNLIMITED, acceptance, account, attempt, callback, failed, now, queue};

async fn announced(store: &SharedStore) {
    tokio::time::timeout(Duration::from_mins(1), store.announces()).await.expect("it announces something");
}

#[test]
fn a_death_is_announced_until_it_is_forgotten() {
    every_store(|place| async move {
        let store = place.open().await;
        assert!(store.announcements(10).await.unwrap().is_empty());
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        let ids = queue(&store, row.id, 2).await;
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        assert!(store.announcements(10).await.unwrap().is_empty(), "it is not dead yet");
        for _ in &ids {
            let claims = store.claim(1).await.unwrap();
            assert!(store.settle(failed(&claims[0], Next::Dead("0\0 no".to_owned()))).await.unwrap());
        }
        announced(&store).await;
        store.close().await;
        let store = place.open().await;
        let found = store.announcements(10).await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(store.announcements(1).await.unwrap().len(), 1);
        for one in &found {
            assert_eq!((&one.account, one.callback, one.reason.as_str()), (&account(), row.id, "0\0 no"));
            assert!(matches!(one.what, Announced::Dead(id) if ids.contains(&id)));
            // An attempt ends as much later than it began as it says that it took, here or not.
            let latency = super::sample::LATENCY;
            assert!(one.at <= now() + latency && one.at > now() - Duration::from_mins(10));
        }
        assert_ne!(found[0].what, found[1].what);
        store.forget_announcements(&[found[0].mark.clone()]).await.unwrap();
        assert_eq!(store.announcements(10).await.unwrap(), [found[1].clone()]);
    });
}

#[test]
fn what_tells_of_such_a_thing_dies_in_silence() {
    every_store(|place| async move {
        let store = place.open().await;
        for event_type in [EventType::DeliveryDead, EventType::CallbackPaused] {
            let mut new = acceptance(&[callback(UNLIMITED).id]);
            new.deliveries[0].event_type = event_type;
            assert_eq!(store.accept(new).await.unwrap(), Accepted::Stored);
            let claims = store.claim(1).await.unwrap();
            assert!(store.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());
        }
        assert!(store.announcements(10).await.unwrap().is_empty());
    });
}

#[test]
fn a_pause_is_announced_once_and_one_by_the_customer_is_not() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        super::sample::prove(&store, row.id).await;
        queue(&store, row.id, 2).await;
        // Both are under way when the first answer comes.
        let claims = store.claim(2).await.unwrap();
        for claim in &claims {
            let settlement = Settlement {
                pause_callback: Some("410 from the receiver".to_owned()),
                attempt: attempt(claim, OutcomeKind::Gone),
                ..failed(claim, Next::RetryAt(now()))
            };
            assert!(store.settle(settlement).await.unwrap());
        }
        announced(&store).await;
        let found = store.announcements(10).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].callback, found[0].what), (row.id, Announced::Paused));
        assert_eq!(found[0].reason, "410 from the receiver");
        store.forget_announcements(&[found[0].mark.clone()]).await.unwrap();
        let limits = ringback::store::DestinationLimits { paused: true, ..UNLIMITED };
        let state = ringback::store::CallbackState::Paused("by the customer".to_owned());
        store.put_callback(ringback::store::CallbackRow { limits, state, ..row }).await.unwrap();
        assert!(store.announcements(10).await.unwrap().is_empty());
    });
}
