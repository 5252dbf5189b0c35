//! Records to put into a store.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use ringback::context::{CallId, CallKey};
use ringback::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
use ringback::store::{
    Acceptance, Accepted, Attempt, CallWrite, CallbackRow, CallbackState, Claim, DedupeKey,
    DefinitionVersion, DeliveryRequest, DeliveryState, DestinationLimits, EventRow, EventState, NewDelivery,
    Next, OutcomeKind, Settlement, SharedStore,
};

pub(crate) fn account() -> AccountName {
    AccountName::from("acme")
}

/// Now, as exact as a store keeps it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

pub(crate) fn event() -> EventRow {
    EventRow {
        id: EventId::new(),
        account: account(),
        source: "pbx".to_owned(),
        provider: "commpeak".to_owned(),
        state: EventState::Accepted,
        types: vec![EventType::CallEnded, EventType::SpeechCompleted],
        call: Some(call_key("42")),
        received_at: now(),
        method: "POST".to_owned(),
        path: "/sub?a=b".to_owned(),
        content_type: "application/json".to_owned(),
        body: Bytes::from_static(b"{\"id\": 42}"),
    }
}

pub(crate) fn call_key(id: &str) -> CallKey {
    CallKey { account: account(), space: "main".into(), id: CallId::from_text(id).unwrap() }
}

pub(crate) fn dedupe(event: &EventRow) -> DedupeKey {
    let mut digest = [7; 32];
    digest[..16].copy_from_slice(&event.id.to_bytes());
    DedupeKey {
        account: event.account.clone(),
        source: event.source.clone(),
        digest,
        expires_at: event.received_at + Duration::from_hours(24),
    }
}

pub(crate) fn request(body: &str) -> DeliveryRequest {
    DeliveryRequest {
        method: "POST".to_owned(),
        url: "https://receiver.example/hook?x=1".to_owned(),
        content_type: "application/json".to_owned(),
        headers: vec![("x-one".to_owned(), "1 \"quoted\"".to_owned()), ("x-one".to_owned(), "2".to_owned())],
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// An id that sorts behind all before it: ids of one millisecond are in no order, and a test that
/// speaks of first and last must not meet such.
pub(crate) fn later_id() -> DeliveryId {
    std::thread::sleep(Duration::from_millis(1));
    DeliveryId::new()
}

/// An event with one delivery to each of these registrations, due at once.
pub(crate) fn acceptance(callbacks: &[CallbackId]) -> Acceptance {
    let event = event();
    let at = event.received_at;
    let deliveries = callbacks
        .iter()
        .map(|callback| NewDelivery {
            id: later_id(),
            account: account(),
            callback: *callback,
            destination: (*callback).into(),
            event: event.id,
            event_type: EventType::CallEnded,
            call: Some(CallId::from_text("42").unwrap()),
            created_at: at,
            due: at,
            order: None,
            request: request("{\"rendered\": true}").into(),
        })
        .collect();
    Acceptance {
        dedupe: dedupe(&event),
        call: None,
        deliveries,
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
        event,
    }
}

pub(crate) fn call_write(id: &str, read_version: u64, context: &str) -> CallWrite {
    CallWrite { key: call_key(id), read_version, context: context.as_bytes().to_vec() }
}

pub(crate) const UNLIMITED: DestinationLimits =
    DestinationLimits { max_in_flight: 100, rate: None, paused: false };

pub(crate) fn callback(limits: DestinationLimits) -> CallbackRow {
    CallbackRow {
        id: CallbackId::new(),
        account: account(),
        state: CallbackState::Active,
        limits,
        definition: b"{\"url\": \"https://receiver.example\"}".to_vec(),
        deadline: Duration::from_secs(15),
        version: DefinitionVersion::default(),
    }
}

/// Stores an event with `count` deliveries to one registration; their ids.
pub(crate) async fn queue(store: &SharedStore, callback: CallbackId, count: usize) -> Vec<DeliveryId> {
    let acceptance = acceptance(&vec![callback; count]);
    let ids = acceptance.deliveries.iter().map(|delivery| delivery.id).collect();
    assert_eq!(store.accept(acceptance).await.unwrap(), Accepted::Stored);
    ids
}

/// What every attempt says that it took, which no test waits for.
pub(crate) const LATENCY: Duration = Duration::from_millis(12);

pub(crate) fn attempt(claim: &Claim, outcome: OutcomeKind) -> Attempt {
    Attempt {
        number: claim.attempt,
        started_at: now(),
        latency: LATENCY,
        outcome,
        status: (outcome == OutcomeKind::Delivered).then_some(204),
        error: (outcome == OutcomeKind::Connection).then(|| "refused".to_owned()),
        response: Bytes::from_static(b"thanks"),
    }
}

pub(crate) fn delivered(claim: &Claim) -> Settlement {
    Settlement {
        lease: claim.lease,
        attempt: attempt(claim, OutcomeKind::Delivered),
        next: Next::Delivered,
        pause_callback: None,
    }
}

pub(crate) fn failed(claim: &Claim, next: Next) -> Settlement {
    Settlement {
        lease: claim.lease,
        attempt: attempt(claim, OutcomeKind::Connection),
        next,
        pause_callback: None,
    }
}

/// Claims and delivers one, so that its registration is not on trial any more.
pub(crate) async fn prove(store: &SharedStore, callback: CallbackId) {
    queue(store, callback, 1).await;
    let claims = store.claim(1).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].callback, callback);
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
}

pub(crate) async fn state_of(store: &SharedStore, id: DeliveryId) -> DeliveryState {
    store.delivery(&account(), id).await.unwrap().expect("it is stored").row.state
}

/// What a claim answers at once; nothing if it goes on waiting although a tenth of a second has passed
/// and the store, which may be slow on a busy machine, has since done something else.
pub(crate) async fn claim_now(store: &SharedStore, slots: usize) -> Vec<Claim> {
    let others = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Their answers say nothing here, a refusal included: what counts is that there is one. As many as
        // there are shards of a Cluster to look at, and more; and of every shard.
        for _ in 0..40 {
            let _ = store.remove_callback(&account(), CallbackId::new()).await;
        }
        for _ in 0..3 {
            let _ = store.standing().await;
        }
    };
    tokio::select! {
        biased;
        claims = store.claim(slots) => claims.unwrap(),
        () = others => Vec::new(),
    }
}

/// A shared name as the records have it.
pub(crate) fn name(text: &str) -> AccountName {
    Arc::from(text)
}
