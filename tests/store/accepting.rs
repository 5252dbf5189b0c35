//! What intake relies on.

use std::time::Duration;

use ringback::event::EventType;
use ringback::store::{
    Accepted, DeliveryFilter, DeliveryState, EventState, FailedDelivery, Page, StoreError,
};

use super::every_store_and_cluster;
use super::sample::{
    UNLIMITED, acceptance, account, call_key, call_write, callback, claim_now, event, later_id, name,
    state_of,
};

#[test]
fn an_event_is_stored_with_all_that_it_causes() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        let mut new = acceptance(&[row.id]);
        new.call = Some(call_write("42", 0, "first"));
        new.failed.push(FailedDelivery {
            id: later_id(),
            account: account(),
            callback: row.id,
            event: new.event.id,
            event_type: EventType::CallEnded,
            call: None,
            created_at: new.event.received_at,
            reason: "`lead.id` is required and has no value".to_owned(),
        });
        assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Stored);

        assert_eq!(store.event(&account(), new.event.id).await.unwrap(), Some(new.event.clone()));
        let recall = store.recall(&new.dedupe, Some(&call_key("42"))).await.unwrap();
        assert_eq!(recall.duplicate_of, Some(new.event.id));
        let call = recall.call.unwrap();
        assert_eq!((call.version, call.context.as_slice()), (1, b"first".as_slice()));

        let sent = store.delivery(&account(), new.deliveries[0].id).await.unwrap().unwrap();
        assert_eq!(sent.request.as_ref(), new.deliveries[0].request.request());
        assert_eq!(sent.row.state, DeliveryState::Queued);
        assert_eq!(sent.row.next_attempt_at, Some(new.deliveries[0].due));
        let failed = store.delivery(&account(), new.failed[0].id).await.unwrap().unwrap();
        assert_eq!(failed.row.state, DeliveryState::Failed);
        assert_eq!(failed.row.reason.as_deref(), Some("`lead.id` is required and has no value"));
        assert_eq!((failed.request, failed.row.finished_at), (None, Some(new.event.received_at)));
    });
}

#[test]
fn the_same_event_is_stored_once() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let first = acceptance(&[callback(UNLIMITED).id]);
        let mut again = acceptance(&[callback(UNLIMITED).id]);
        again.dedupe = first.dedupe.clone();
        again.call = Some(call_write("42", 0, "never written"));
        assert_eq!(store.accept(first.clone()).await.unwrap(), Accepted::Stored);
        assert_eq!(store.accept(again.clone()).await.unwrap(), Accepted::Duplicate(first.event.id));

        assert_eq!(store.event(&account(), again.event.id).await.unwrap(), None);
        assert_eq!(store.delivery(&account(), again.deliveries[0].id).await.unwrap(), None);
        assert_eq!(store.recall(&first.dedupe, Some(&call_key("42"))).await.unwrap().call, None);

        // The same digest from another source is another event.
        again.dedupe.source = "other".to_owned();
        assert_eq!(store.accept(again).await.unwrap(), Accepted::Stored);
    });
}

#[test]
fn a_repeat_after_its_key_expired_is_a_new_event() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let mut first = acceptance(&[]);
        first.dedupe.expires_at = first.event.received_at + Duration::from_secs(1);
        assert_eq!(store.accept(first.clone()).await.unwrap(), Accepted::Stored);

        let mut late = acceptance(&[]);
        late.dedupe.digest = first.dedupe.digest;
        late.event.received_at = first.dedupe.expires_at;
        assert_eq!(store.accept(late.clone()).await.unwrap(), Accepted::Stored);
        let recall = store.recall(&late.dedupe, None).await.unwrap();
        assert_eq!(recall.duplicate_of, Some(late.event.id));
    });
}

#[test]
fn a_call_is_written_only_over_the_version_that_was_read() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let with_call = |version, context| {
            let mut new = acceptance(&[]);
            new.call = Some(call_write("42", version, context));
            new
        };
        assert_eq!(store.accept(with_call(0, "one")).await.unwrap(), Accepted::Stored);
        let stale = with_call(0, "two");
        assert_eq!(store.accept(stale.clone()).await.unwrap(), Accepted::Conflict);
        assert_eq!(store.accept(with_call(5, "two")).await.unwrap(), Accepted::Conflict);
        assert_eq!(store.event(&account(), stale.event.id).await.unwrap(), None);
        // A refused event is not a known one.
        let recall = store.recall(&stale.dedupe, Some(&call_key("42"))).await.unwrap();
        assert_eq!(recall.duplicate_of, None);
        assert_eq!(recall.call.unwrap().version, 1);

        assert_eq!(store.accept(with_call(1, "two")).await.unwrap(), Accepted::Stored);
        let call = store.recall(&stale.dedupe, Some(&call_key("42"))).await.unwrap().call.unwrap();
        assert_eq!((call.version, call.context.as_slice()), (2, b"two".as_slice()));
        // Another space, another account: other calls.
        let mut other = call_key("42");
        other.space = "elsewhere".into();
        assert_eq!(store.recall(&stale.dedupe, Some(&other)).await.unwrap().call, None);
        let other = ringback::context::CallKey { account: name("umbrella"), ..call_key("42") };
        assert_eq!(store.recall(&stale.dedupe, Some(&other)).await.unwrap().call, None);
    });
}

#[test]
fn of_many_writers_of_one_call_none_is_lost() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let writers: Vec<_> = (0..32)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    loop {
                        let mut new = acceptance(&[]);
                        let call = store.recall(&new.dedupe, Some(&call_key("42"))).await.unwrap().call;
                        let call =
                            call.unwrap_or(ringback::store::StoredCall { version: 0, context: Vec::new() });
                        let mut context = call.context;
                        context.push(writer);
                        new.call = Some(ringback::store::CallWrite {
                            key: call_key("42"),
                            read_version: call.version,
                            context,
                        });
                        match store.accept(new).await.unwrap() {
                            Accepted::Stored => return,
                            Accepted::Conflict => {}
                            Accepted::Duplicate(_) => panic!("every event is its own"),
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let call = store.recall(&acceptance(&[]).dedupe, Some(&call_key("42"))).await.unwrap().call.unwrap();
        assert_eq!(call.version, 32);
        let mut context = call.context;
        context.sort_unstable();
        assert_eq!(context, (0..32).collect::<Vec<u8>>());
    });
}

#[test]
fn a_write_that_cannot_be_done_fails_alone_and_as_a_whole() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        let known = acceptance(&[row.id]);
        store.accept(known.clone()).await.unwrap();

        let writers: Vec<_> = (0..40)
            .map(|number| {
                let (store, known) = (store.clone(), known.clone());
                let mut new = acceptance(&[row.id, row.id]);
                tokio::spawn(async move {
                    if number % 8 == 3 {
                        // Its second delivery has an id that is stored already.
                        new.deliveries[1].id = known.deliveries[0].id;
                    }
                    (new.clone(), store.accept(new).await)
                })
            })
            .collect();
        let mut stored = 0;
        for writer in writers {
            let (new, answer) = writer.await.unwrap();
            let is_bad = new.deliveries[1].id == known.deliveries[0].id;
            match answer {
                Ok(accepted) => {
                    assert!(!is_bad);
                    assert_eq!(accepted, Accepted::Stored);
                    assert_eq!(state_of(&store, new.deliveries[1].id).await, DeliveryState::Queued);
                    stored += 1;
                }
                Err(error) => {
                    assert!(is_bad, "{error}");
                    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                    assert_eq!(store.event(&account(), new.event.id).await.unwrap(), None);
                    assert_eq!(store.delivery(&account(), new.deliveries[0].id).await.unwrap(), None);
                    assert_eq!(store.recall(&new.dedupe, None).await.unwrap().duplicate_of, None);
                }
            }
        }
        assert_eq!(stored, 35);
        // The scheduler holds what the disk holds.
        let page = Page { before: None, limit: 250 };
        let listed = store.deliveries(&account(), &DeliveryFilter::default(), page).await.unwrap();
        assert_eq!(listed.len(), 71);
        for _ in 0..71 {
            let claims = store.claim(1).await.unwrap();
            assert!(store.settle(super::sample::delivered(&claims[0])).await.unwrap());
        }
        assert!(claim_now(&store, 1).await.is_empty());
    });
}

#[test]
fn a_rejected_event_is_kept() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let mut rejected = event();
        rejected.state = EventState::Rejected("not JSON".to_owned());
        rejected.types.clear();
        rejected.call = None;
        store.reject(rejected.clone()).await.unwrap();
        assert_eq!(store.event(&account(), rejected.id).await.unwrap(), Some(rejected.clone()));
        assert_eq!(store.event(&name("umbrella"), rejected.id).await.unwrap(), None);
    });
}
