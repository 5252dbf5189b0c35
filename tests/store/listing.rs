//! Lists of events and of calls, and answers that are remembered.

use std::time::Duration;

use jiff::Timestamp;
use ringback::context::{CallId, CallKey};
use ringback::event::{EventId, EventType};
use ringback::store::{
    Acceptance, Accepted, Answered, CallQuery, EventFilter, EventRow, EventState, Remember, SharedStore,
};

use super::every_store_and_cluster;
use super::sample::{UNLIMITED, account, call_key, call_write, callback, dedupe, event, name, now};

/// An event that came in at this time, with an id of then.
fn event_at(at: Timestamp) -> EventRow {
    let mut id = EventId::new().to_bytes();
    let millis = u64::try_from(at.as_millisecond()).unwrap().to_be_bytes();
    id[..6].copy_from_slice(&millis[2..]);
    EventRow { id: EventId::from_bytes(id), received_at: at, ..event() }
}

async fn accept(store: &SharedStore, event: &EventRow) {
    let acceptance = Acceptance {
        dedupe: dedupe(event),
        call: None,
        deliveries: Vec::new(),
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
        event: event.clone(),
    };
    assert_eq!(store.accept(acceptance).await.unwrap(), Accepted::Stored);
}

async fn listed(store: &SharedStore, filter: EventFilter) -> Vec<EventId> {
    let found = store.events(&account(), &filter, None, 250).await.unwrap();
    assert_eq!(found.next, None);
    found.rows.into_iter().map(|row| row.id).collect()
}

#[test]
fn events_are_listed_newest_first_page_by_page_and_by_their_filters() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let start = now() - Duration::from_hours(12);
        let at = |minutes| start + Duration::from_mins(minutes);
        let mut events: Vec<EventRow> = (0..25).map(|number| event_at(at(number))).collect();
        events[3].source = "other".to_owned();
        events[4].types = vec![EventType::CallStarted];
        events[5].call = Some(call_key("43"));
        events[6].call = None;
        for event in &events {
            accept(&store, event).await;
        }
        let rejected = EventRow {
            state: EventState::Rejected("no JSON".to_owned()),
            types: Vec::new(),
            ..event_at(at(30))
        };
        store.reject(rejected.clone()).await.unwrap();
        accept(&store, &EventRow { account: name("umbrella"), ..event_at(at(31)) }).await;

        let mut expected: Vec<EventRow> = events.clone();
        expected.push(rejected.clone());
        expected.reverse();
        for event in &mut expected {
            // Bodies are not in a list.
            event.body = hyper::body::Bytes::new();
        }
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let part = store.events(&account(), &EventFilter::default(), before, 10).await.unwrap();
            assert!(part.rows.len() <= 10);
            found.extend(part.rows);
            before = part.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);

        let all = EventFilter::default();
        let ids = |numbers: &[usize]| numbers.iter().map(|number| events[*number].id).collect::<Vec<_>>();
        let source = EventFilter { source: Some("other".to_owned()), ..all.clone() };
        assert_eq!(listed(&store, source.clone()).await, ids(&[3]));
        let started = EventFilter { event_type: Some(EventType::CallStarted), ..all.clone() };
        assert_eq!(listed(&store, started.clone()).await, ids(&[4]));
        let call = EventFilter { call: CallId::from_text("43"), ..all.clone() };
        assert_eq!(listed(&store, call).await, ids(&[5]));
        assert_eq!(
            listed(&store, EventFilter { is_rejected: Some(true), ..all.clone() }).await,
            [rejected.id]
        );
        assert_eq!(listed(&store, EventFilter { is_rejected: Some(false), ..all.clone() }).await.len(), 25);
        let between = EventFilter { since: Some(at(7)), until: Some(at(9)), ..all.clone() };
        assert_eq!(listed(&store, between).await, ids(&[8, 7]));
        assert!(listed(&store, EventFilter { source: Some("other".to_owned()), ..started }).await.is_empty());

        // What retention has removed is in no list.
        let later = now() + Duration::from_hours(31 * 24);
        while store.sweep(later).await.unwrap() > 0 {}
        assert!(listed(&store, all).await.is_empty());
    });
}

async fn tell(store: &SharedStore, key: CallKey, read_version: u64, at: Timestamp) {
    let mut event = event_at(at);
    event.account.clone_from(&key.account);
    event.call = Some(key.clone());
    let mut call = call_write("x", read_version, &format!("version {}", read_version + 1));
    call.key = key;
    let acceptance = Acceptance {
        dedupe: dedupe(&event),
        call: Some(call),
        deliveries: Vec::new(),
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
        event,
    };
    assert_eq!(store.accept(acceptance).await.unwrap(), Accepted::Stored);
}

#[test]
fn calls_are_listed_by_when_they_were_first_heard_of() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let start = now() - Duration::from_hours(12);
        let key = |space: &str, id: &str| CallKey { space: space.into(), ..call_key(id) };
        let mut keys = Vec::new();
        for number in 0..10 {
            // Two at a time in one microsecond, one id in two spaces.
            let at = start + Duration::from_secs(number);
            for space in ["main", "main-2"] {
                let key = key(space, &format!("call {number}"));
                tell(&store, key.clone(), 0, at).await;
                keys.push((key, at));
            }
        }
        keys.reverse();
        tell(&store, CallKey { account: name("umbrella"), ..call_key("theirs") }, 0, now()).await;
        // What is told later of a call leaves it in its place.
        tell(&store, key("main", "call 3"), 1, now()).await;

        let all = CallQuery::default();
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let part = store.calls(&account(), &all, before.as_ref(), 3).await.unwrap();
            assert!(part.rows.len() <= 3);
            found.extend(part.rows);
            before = part.next;
            if before.is_none() {
                break;
            }
        }
        let listed: Vec<_> = found.iter().map(|call| (call.key.clone(), call.created_at)).collect();
        assert_eq!(listed, keys);
        for call in found {
            let told_twice = &*call.key.space == "main" && call.key.id.as_str() == "call 3";
            let expected = if told_twice { "version 2" } else { "version 1" };
            assert_eq!(String::from_utf8(call.stored.context).unwrap(), expected);
            assert_eq!(call.stored.version, if told_twice { 2 } else { 1 });
        }

        let later = now() + Duration::from_hours(366 * 24);
        while store.sweep(later).await.unwrap() > 0 {}
        assert!(store.calls(&account(), &all, None, 10).await.unwrap().rows.is_empty());
    });
}

#[test]
fn an_answer_is_remembered_with_its_registration_or_not_at_all() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let answered = |text: &str| Answered { fingerprint: [1; 32], answer: text.as_bytes().to_vec() };
        let remember =
            |text: &str| Remember { key: [7; 32], answered: answered(text), keep: Duration::from_hours(24) };
        let (one, other) = (callback(UNLIMITED), callback(UNLIMITED));
        assert_eq!(store.answered(&account(), &[7; 32]).await.unwrap(), None);
        assert_eq!(store.put_callback_once(one.clone(), remember("one")).await.unwrap(), None);
        let again = store.put_callback_once(other.clone(), remember("other")).await.unwrap();
        assert_eq!(again, Some(answered("one")));
        assert_eq!(store.callbacks().await.unwrap(), std::slice::from_ref(&one));
        drop(store);

        let store = place.open_after_power_cut().await;
        assert_eq!(store.callbacks().await.unwrap(), [one]);
        assert_eq!(store.answered(&account(), &[7; 32]).await.unwrap(), Some(answered("one")));
        assert_eq!(store.answered(&account(), &[8; 32]).await.unwrap(), None);
        assert_eq!(store.answered(&name("umbrella"), &[7; 32]).await.unwrap(), None);
        // Another key of this account, and the same of another.
        let brief = Remember { key: [8; 32], keep: Duration::from_millis(1), ..remember("brief") };
        assert_eq!(store.put_callback_once(other, brief.clone()).await.unwrap(), None);
        let theirs = ringback::store::CallbackRow { account: name("umbrella"), ..callback(UNLIMITED) };
        assert_eq!(store.put_callback_once(theirs, remember("theirs")).await.unwrap(), None);
        assert_eq!(store.answered(&name("umbrella"), &[7; 32]).await.unwrap(), Some(answered("theirs")));
        // One whose time is over is as if it had never been.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(store.answered(&account(), &[8; 32]).await.unwrap(), None);
        assert_eq!(store.put_callback_once(callback(UNLIMITED), brief).await.unwrap(), None);
        assert_eq!(store.callbacks().await.unwrap().len(), 4);
    });
}
