//! The contract of speech requests.

use jiff::SignedDuration;
use ringback::context::CallKey;
use ringback::event::{CallbackId, DeliveryId, EventId, SpeechRequestId};
use ringback::store::{
    Acceptance, Accepted, Answered, AnsweredRequest, CallbackRow, DeliveryFilter, DeliveryState,
    FailedDelivery, FinishJob, JobEnd, NewJob, NewSpeechRequest, Page, PutJob, PutSpeechRequest, Remember,
    RequestedCall, RequestedState, SharedStore,
};

use super::jobs::{job, open, past, shares};
use super::sample::{
    UNLIMITED, acceptance, account, call_key, call_write, callback, claim_now, delivered, name, now, state_of,
};
use super::{Opened, every_store};

/// A request with these calls. What it delivers at once is for those that are ready.
pub(super) fn request(calls: Vec<RequestedCall>) -> NewSpeechRequest {
    let id = SpeechRequestId::new();
    let mut model = acceptance(&[id.into()]);
    let model_delivery = model.deliveries.remove(0);
    let mut deliveries = Vec::new();
    for call in &calls {
        if let RequestedState::Ready(delivery) = call.state {
            let mut made = model_delivery.clone();
            made.id = delivery;
            made.call = Some(call.key.id.clone());
            deliveries.push(made);
        }
    }
    let mut event = model.event;
    "ringback".clone_into(&mut event.source);
    event.call = None;
    NewSpeechRequest {
        id,
        account: account(),
        created_at: now(),
        calls,
        event: (!deliveries.is_empty()).then_some(event),
        deliveries,
        failed: Vec::new(),
        remember: None,
    }
}

fn requested(id: &str, read_version: u64, state: RequestedState) -> RequestedCall {
    RequestedCall { key: call_key(id), read_version, state }
}

fn submitted(id: &str, read_version: u64) -> RequestedCall {
    requested(id, read_version, RequestedState::Submitted)
}

/// Lets a call become known; it has version 1 then.
async fn tell(store: &SharedStore, id: &str) {
    let mut told = acceptance(&[]);
    told.call = Some(call_write(id, 0, "{}"));
    assert_eq!(store.accept(told).await.unwrap(), Accepted::Stored);
}

/// The event that brings a call's speech to those who wait for it: a delivery for each.
fn speech(id: &str, read_version: u64, waiting: &[SpeechRequestId]) -> Acceptance {
    let callbacks: Vec<CallbackId> = waiting.iter().map(|id| (*id).into()).collect();
    let mut brought = acceptance(&callbacks);
    brought.call = Some(call_write(id, read_version, "speech"));
    brought.answered = waiting
        .iter()
        .zip(&brought.deliveries)
        .map(|(id, delivery)| AnsweredRequest { id: *id, state: RequestedState::Ready(delivery.id) })
        .collect();
    brought
}

/// Puts a request as its ledger does, after what it sends.
pub(super) async fn put(opened: &Opened, new: NewSpeechRequest) -> PutSpeechRequest {
    let sends = CallbackRow { id: new.id.into(), ..callback(UNLIMITED) };
    opened.store.put_callback(sends).await.unwrap();
    opened.requests.put_speech_request(new).await.unwrap()
}

async fn states(opened: &Opened, id: SpeechRequestId) -> Vec<RequestedState> {
    let view = opened.requests.speech_request(&account(), id).await.unwrap().expect("it is there");
    view.calls.into_iter().map(|(_, state)| state).collect()
}

async fn deliveries_of(store: &SharedStore, id: SpeechRequestId) -> Vec<DeliveryId> {
    let filter = DeliveryFilter { callback: Some(id.into()), ..DeliveryFilter::default() };
    let page = Page { before: None, limit: 100 };
    store.deliveries(&account(), &filter, page).await.unwrap().iter().map(|row| row.id).collect()
}

#[test]
fn a_request_is_written_with_its_calls_and_with_what_it_delivers_at_once() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, requests, .. } = &opened;
        tell(store, "there").await;
        tell(store, "waits").await;
        let (ready, lame) = (DeliveryId::new(), DeliveryId::new());
        let calls = vec![
            requested("refused", 0, RequestedState::Refused("no_recording".to_owned())),
            // Those that it does not wait for may have changed meanwhile.
            requested("there", 7, RequestedState::Ready(ready)),
            submitted("waits", 1),
            requested("lame", 0, RequestedState::Ready(lame)),
            requested("failed", 0, RequestedState::Failed("no speech".to_owned())),
        ];
        let mut new = request(calls);
        new.deliveries.retain(|delivery| delivery.id == ready);
        let event = new.event.clone().unwrap();
        new.failed.push(FailedDelivery {
            id: lame,
            account: account(),
            callback: new.id.into(),
            event: event.id,
            event_type: ringback::event::EventType::SpeechCompleted,
            call: None,
            created_at: now(),
            reason: "it cannot be rendered".to_owned(),
        });
        assert_eq!(put(&opened, new.clone()).await, PutSpeechRequest::Stored);

        let view = requests.speech_request(&account(), new.id).await.unwrap().unwrap();
        let expected: Vec<(CallKey, RequestedState)> =
            new.calls.iter().map(|call| (call.key.clone(), call.state.clone())).collect();
        assert_eq!((view.created_at, view.calls), (new.created_at, expected));
        assert!(requests.speech_request(&name("other"), new.id).await.unwrap().is_none());
        assert!(requests.speech_request(&account(), SpeechRequestId::new()).await.unwrap().is_none());
        assert_eq!(requests.waiting_for(&call_key("waits")).await.unwrap(), [new.id]);
        for others in ["there", "refused", "failed", "unknown"] {
            assert!(requests.waiting_for(&call_key(others)).await.unwrap().is_empty(), "{others}");
        }

        let written = store.event(&account(), event.id).await.unwrap();
        assert_eq!(written, Some(event));
        assert_eq!(state_of(store, lame).await, DeliveryState::Failed);
        let claims = store.claim(5).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!((claims[0].lease.delivery, claims[0].callback), (ready, new.id.into()));
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
    });
}

#[test]
fn a_call_that_was_written_to_is_a_conflict_and_nothing_of_the_request_is_written() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, requests, .. } = &opened;
        tell(store, "a").await;
        tell(store, "b").await;
        for (first, second) in [(1, 2), (2, 1), (0, 1)] {
            let ready = DeliveryId::new();
            let new = request(vec![
                requested("c", 0, RequestedState::Ready(ready)),
                submitted("a", first),
                submitted("b", second),
            ]);
            let event = new.event.clone().unwrap();
            assert_eq!(put(&opened, new.clone()).await, PutSpeechRequest::Conflict);
            assert!(requests.speech_request(&account(), new.id).await.unwrap().is_none());
            assert!(store.event(&account(), event.id).await.unwrap().is_none());
            assert!(store.delivery(&account(), ready).await.unwrap().is_none());
            for id in ["a", "b"] {
                assert!(requests.waiting_for(&call_key(id)).await.unwrap().is_empty());
                assert_eq!(store.call(&call_key(id)).await.unwrap().unwrap().version, 1);
            }
        }
        let unknown = request(vec![submitted("unknown", 0)]);
        assert_eq!(put(&opened, unknown).await, PutSpeechRequest::Conflict);
        assert!(claim_now(store, 5).await.is_empty());
    });
}

#[test]
fn the_end_of_a_job_answers_those_who_wait_once_and_whoever_read_before_reads_again() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, jobs, requests } = &opened;
        tell(store, "a").await;
        jobs.put_job(job("a", past()), 9).await.unwrap();
        let lease = jobs.claim_jobs(1, &shares(1)).await.unwrap()[0].lease;
        // The end of the job was planned before there was anybody who waits.
        let early = speech("a", 1, &[]);
        let (one, other) = (request(vec![submitted("a", 1)]), request(vec![submitted("a", 2)]));
        assert_eq!(put(&opened, one.clone()).await, PutSpeechRequest::Stored);
        let finished = jobs.finish_job(lease, JobEnd::Completed, early).await.unwrap();
        assert_eq!(finished, FinishJob::Accepted(Accepted::Conflict));
        assert_eq!(put(&opened, other.clone()).await, PutSpeechRequest::Stored);

        let version = store.call(&call_key("a")).await.unwrap().unwrap().version;
        let waiting = requests.waiting_for(&call_key("a")).await.unwrap();
        let mut expected = vec![one.id, other.id];
        expected.sort_unstable();
        assert_eq!(waiting, expected);
        let brought = speech("a", version, &waiting);
        let finished = jobs.finish_job(lease, JobEnd::Completed, brought.clone()).await.unwrap();
        assert_eq!(finished, FinishJob::Accepted(Accepted::Stored));
        for (id, delivery) in waiting.iter().zip(&brought.deliveries) {
            assert_eq!(states(&opened, *id).await, [RequestedState::Ready(delivery.id)]);
            assert_eq!(deliveries_of(store, *id).await, [delivery.id]);
        }
        assert!(requests.waiting_for(&call_key("a")).await.unwrap().is_empty());
        // What comes later answers nobody again.
        let mut late = speech("a", version + 1, &[one.id]);
        late.deliveries.clear();
        assert_eq!(store.accept(late).await.unwrap(), Accepted::Stored);
        let before = brought.deliveries[usize::from(waiting[0] != one.id)].id;
        assert_eq!(states(&opened, one.id).await, [RequestedState::Ready(before)]);
        assert_eq!(claim_now(store, 9).await.len(), 2);
    });
}

#[test]
fn a_job_that_fails_ends_the_wait_with_its_reason_for_its_call_only() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, requests, .. } = &opened;
        tell(store, "a").await;
        tell(store, "b").await;
        let new = request(vec![submitted("a", 1), submitted("b", 1)]);
        assert_eq!(put(&opened, new.clone()).await, PutSpeechRequest::Stored);
        let mut failed = acceptance(&[]);
        failed.call = Some(call_write("b", 2, "{}"));
        let state = RequestedState::Failed("status 400".to_owned());
        // One that waits for something else, or is not known, is passed over.
        failed.answered =
            [new.id, SpeechRequestId::new()].map(|id| AnsweredRequest { id, state: state.clone() }).to_vec();
        assert_eq!(store.accept(failed).await.unwrap(), Accepted::Stored);
        assert_eq!(states(&opened, new.id).await, [RequestedState::Submitted, state]);
        assert_eq!(requests.waiting_for(&call_key("a")).await.unwrap(), [new.id]);
        assert!(requests.waiting_for(&call_key("b")).await.unwrap().is_empty());
    });
}

#[test]
fn a_call_that_is_erased_takes_its_jobs_with_it_and_nobody_waits_for_it() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, jobs, requests } = &opened;
        let of_call = |key: &str, id: &str| NewJob { call: call_key(id), ..job(key, past()) };
        for id in ["a", "b"] {
            tell(store, id).await;
            assert_eq!(jobs.put_job(of_call(id, id), 9).await.unwrap(), PutJob::Stored);
        }
        let claims = jobs.claim_jobs(9, &shares(9)).await.unwrap();
        let new = request(vec![submitted("a", 1), submitted("b", 1)]);
        assert_eq!(put(&opened, new.clone()).await, PutSpeechRequest::Stored);
        assert!(store.erase_call(&call_key("a")).await.unwrap());

        let reason = "its call was erased".to_owned();
        let expected = [RequestedState::Failed(reason), RequestedState::Submitted];
        assert_eq!(states(&opened, new.id).await, expected);
        assert!(requests.waiting_for(&call_key("a")).await.unwrap().is_empty());
        assert_eq!(requests.waiting_for(&call_key("b")).await.unwrap(), [new.id]);
        for claim in claims {
            let is_erased = claim.job.job.call == call_key("a");
            assert_eq!(jobs.job(claim.lease.job).await.unwrap().is_none(), is_erased);
            let finished = jobs.finish_job(claim.lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
            assert_eq!(finished == FinishJob::Lost, is_erased);
        }
        assert_eq!(jobs.put_job(of_call("a", "a"), 1).await.unwrap(), PutJob::Stored, "it starts anew");
    });
}

/// Makes a request for a call as the speech desk does, from reading to writing, until it is written.
async fn make(opened: &Opened, id: &str) -> SpeechRequestId {
    loop {
        let call = opened.store.call(&call_key(id)).await.unwrap().unwrap();
        let state = match call.context.as_slice() {
            b"speech" => RequestedState::Ready(DeliveryId::new()),
            _ => RequestedState::Submitted,
        };
        let new = request(vec![requested(id, call.version, state)]);
        let made = new.id;
        if put(opened, new).await == PutSpeechRequest::Stored {
            return made;
        }
    }
}

/// Brings a call's speech as intake does.
async fn bring(opened: &Opened, id: &str) {
    loop {
        let version = opened.store.call(&call_key(id)).await.unwrap().unwrap().version;
        let waiting = opened.requests.waiting_for(&call_key(id)).await.unwrap();
        let accepted = opened.store.accept(speech(id, version, &waiting)).await.unwrap();
        if accepted == Accepted::Stored {
            return;
        }
    }
}

#[test]
fn a_request_that_races_with_the_end_of_its_job_is_delivered_exactly_once() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        for round in 0..40 {
            let id = format!("call-{round}");
            tell(&opened.store, &id).await;
            let (one, other, ()) = tokio::join!(make(&opened, &id), make(&opened, &id), bring(&opened, &id));
            for made in [one, other] {
                let state = states(&opened, made).await;
                let deliveries = deliveries_of(&opened.store, made).await;
                assert_eq!(deliveries.len(), 1);
                assert_eq!(state, [RequestedState::Ready(deliveries[0])]);
            }
            assert!(opened.requests.waiting_for(&call_key(&id)).await.unwrap().is_empty());
        }
    });
}

#[test]
fn a_request_that_is_removed_waits_for_nothing_and_delivers_nothing() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, requests, .. } = &opened;
        tell(store, "a").await;
        let ready = DeliveryId::new();
        let new = request(vec![submitted("a", 1), requested("b", 0, RequestedState::Ready(ready))]);
        let mut row = callback(UNLIMITED);
        row.id = new.id.into();
        store.put_callback(row).await.unwrap();
        assert_eq!(put(&opened, new.clone()).await, PutSpeechRequest::Stored);
        // Its speech was on its way.
        let late = speech("a", 2, &[new.id]);
        assert!(!store.remove_callback(&name("other"), new.id.into()).await.unwrap());
        assert_eq!(requests.waiting_for(&call_key("a")).await.unwrap(), [new.id]);
        assert!(store.remove_callback(&account(), new.id.into()).await.unwrap());
        assert!(requests.speech_request(&account(), new.id).await.unwrap().is_none());
        assert!(requests.waiting_for(&call_key("a")).await.unwrap().is_empty());
        let late_delivery = late.deliveries[0].id;
        assert_eq!(store.accept(late).await.unwrap(), Accepted::Stored);
        assert!(requests.speech_request(&account(), new.id).await.unwrap().is_none());
        assert!(claim_now(store, 9).await.is_empty());
        for id in [ready, late_delivery] {
            let cancelled = async {
                while state_of(store, id).await != DeliveryState::Cancelled {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            };
            let patience = std::time::Duration::from_mins(1);
            tokio::time::timeout(patience, cancelled).await.expect("it is cancelled");
        }
    });
}

#[test]
fn an_answer_that_is_remembered_is_given_again_and_nothing_is_written() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        let Opened { store, requests, .. } = &opened;
        let remember = |answer: &[u8]| {
            let answered = Answered { fingerprint: [3; 32], answer: answer.to_vec() };
            Some(Remember { key: [9; 32], answered, keep: std::time::Duration::from_hours(24) })
        };
        let make = || request(vec![requested("a", 0, RequestedState::Ready(DeliveryId::new()))]);
        let (first, again) = (make(), make());
        let first = NewSpeechRequest { remember: remember(b"first"), ..first };
        assert_eq!(put(&opened, first.clone()).await, PutSpeechRequest::Stored);
        let again = NewSpeechRequest { remember: remember(b"again"), ..again };
        let earlier = first.remember.unwrap().answered;
        let answered = put(&opened, again.clone()).await;
        assert_eq!(answered, PutSpeechRequest::Answered(earlier.clone()));
        assert_eq!(store.answered(&account(), &[9; 32]).await.unwrap(), Some(earlier));
        assert!(requests.speech_request(&account(), again.id).await.unwrap().is_none());
        assert!(deliveries_of(store, again.id).await.is_empty());
        // A conflict is not remembered.
        tell(store, "b").await;
        let conflict = NewSpeechRequest {
            remember: Some(Remember { key: [8; 32], ..again.remember.unwrap() }),
            ..request(vec![submitted("b", 5)])
        };
        assert_eq!(put(&opened, conflict).await, PutSpeechRequest::Conflict);
        assert_eq!(store.answered(&account(), &[8; 32]).await.unwrap(), None);
    });
}

#[test]
fn a_request_survives_a_power_cut_and_its_event_goes_when_its_time_has_passed() {
    every_store(|place| async move {
        let opened = open(&*place).await;
        tell(&opened.store, "a").await;
        let ready = DeliveryId::new();
        let new = request(vec![submitted("a", 1), requested("b", 0, RequestedState::Ready(ready))]);
        let event: EventId = new.event.as_ref().unwrap().id;
        assert_eq!(put(&opened, new.clone()).await, PutSpeechRequest::Stored);
        drop(opened);
        place.cut_power().await;

        let opened = open(&*place).await;
        assert_eq!(states(&opened, new.id).await, [RequestedState::Submitted, RequestedState::Ready(ready)]);
        assert_eq!(opened.requests.waiting_for(&call_key("a")).await.unwrap(), [new.id]);
        let claims = opened.store.claim(1).await.unwrap();
        assert_eq!(claims[0].lease.delivery, ready);
        assert!(opened.store.settle(delivered(&claims[0])).await.unwrap());
        let later = now() + SignedDuration::from_hours(24 * 8);
        while opened.store.sweep(later).await.unwrap() > 0 {}
        assert!(opened.store.event(&account(), event).await.unwrap().is_none());
        assert!(opened.store.delivery(&account(), ready).await.unwrap().is_none());
    });
}
