//! The erasure of a call.

use std::sync::Arc;
use std::time::Duration;

use ringback::context::{CallContext, CallKey, Facts, Json, Name};
use ringback::event::{CallbackId, DeliveryId};
use ringback::filter::Filter;
use ringback::store::scheduler::CircuitRules;
use ringback::store::{
    Acceptance, Accepted, CallQuery, CallWrite, DeliveryState, EventFilter, JobPhase, NewJob, Next, PutJob,
    PutSpeechRequest, RequestedCall, RequestedState, SharedStore,
};
use ringback::store::{embedded as embedded_store, redis as redis_store};

use super::jobs::{job, past, shares, standing};
use super::sample::{
    UNLIMITED, acceptance, account, call_key, callback, claim_now, delivered, failed, name, now, prove,
};
use super::speech_requests::{put, request};
use super::{every_store, every_store_and_cluster, open_embedded, open_redis};
use crate::redis_server::RedisServer;

/// An event of a call with a delivery to each of these registrations.
fn event_of(key: &CallKey, read_version: u64, callbacks: &[CallbackId]) -> Acceptance {
    let mut new = acceptance(callbacks);
    let mut facts = Facts::default();
    facts.put(Name::SpeechResult, Json::from("something to be forgotten"), &mut Vec::new());
    let mut context = CallContext::default();
    context.merge(&facts, now());
    new.event.call = Some(key.clone());
    new.event.account.clone_from(&key.account);
    for delivery in &mut new.deliveries {
        delivery.call = Some(key.id.clone());
    }
    new.call = Some(CallWrite { key: key.clone(), read_version, context: context.to_bytes() });
    new
}

async fn store_it(store: &SharedStore, new: &Acceptance) -> Vec<DeliveryId> {
    assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Stored);
    new.deliveries.iter().map(|delivery| delivery.id).collect()
}

async fn found(store: &SharedStore) -> Vec<CallKey> {
    let filter = Filter { phrase: Some("FORGOTTEN".to_owned().into()), ..Filter::default() };
    let query = CallQuery { filter, token: None };
    let part = store.calls(&account(), &query, None, 9).await.unwrap();
    part.rows.into_iter().map(|row| row.key).collect()
}

#[test]
fn a_call_that_is_erased_leaves_nothing_but_that_there_were_deliveries() {
    every_store(|place| async move {
        let opened = place.open_all(CircuitRules::default()).await;
        let (store, jobs) = (opened.store, opened.jobs);
        let registration = callback(UNLIMITED);
        store.put_callback(registration.clone()).await.unwrap();
        prove(&store, registration.id).await;
        let to = [registration.id];
        let erased = call_key("42");
        let others = [CallKey { space: "other".into(), ..erased.clone() }, call_key("43")];

        let first = event_of(&erased, 0, &to);
        let done = store_it(&store, &first).await[0];
        let claims = store.claim(8).await.unwrap();
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
        let second = event_of(&erased, 1, &to);
        let under_way = store_it(&store, &second).await[0];
        let claims = store.claim(8).await.unwrap();
        assert_eq!(claims[0].lease.delivery, under_way);
        let third = event_of(&erased, 2, &to);
        let waiting = store_it(&store, &third).await[0];
        let mut kept = Vec::new();
        for key in &others {
            kept.extend(store_it(&store, &event_of(key, 0, &to)).await);
        }

        let job_of = |key: &CallKey, name: &str| NewJob { call: key.clone(), ..job(name, past()) };
        let (worked_on, waits) = (job_of(&erased, "worked on"), job_of(&erased, "waits"));
        let not_its = job_of(&others[0], "not its");
        assert_eq!(jobs.put_job(worked_on.clone(), 9).await.unwrap(), PutJob::Stored);
        let claim = jobs.claim_jobs(1, &shares(9)).await.unwrap().remove(0);
        for job in [&waits, &not_its] {
            assert_eq!(jobs.put_job(job.clone(), 9).await.unwrap(), PutJob::Stored);
        }

        assert!(!store.erase_call(&call_key("no such call")).await.unwrap());
        let of_another = CallKey { account: name("umbrella"), ..erased.clone() };
        assert!(!store.erase_call(&of_another).await.unwrap());
        assert_eq!(found(&store).await.len(), 3);
        assert!(store.erase_call(&erased).await.unwrap());
        assert!(!store.erase_call(&erased).await.unwrap());

        assert_eq!(found(&store).await, [others[1].clone(), others[0].clone()]);
        assert_eq!(store.call(&erased).await.unwrap(), None);
        for gone in [&first, &second, &third] {
            assert_eq!(store.event(&account(), gone.event.id).await.unwrap(), None);
        }
        let of_id = EventFilter { call: Some(erased.id.clone()), ..EventFilter::default() };
        let events = store.events(&account(), &of_id, None, 9).await.unwrap().rows;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].call.as_ref(), Some(&others[0]));

        assert!(!jobs.settle_job(claim.lease, standing(JobPhase::Processing, now())).await.unwrap());
        for (job, is_left) in [(worked_on, false), (waits, false), (not_its, true)] {
            assert_eq!(jobs.job(&account(), job.id).await.unwrap().is_some(), is_left);
        }

        // What is under way fails, and is not tried again.
        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        for (id, state) in [
            (done, DeliveryState::Delivered),
            (under_way, DeliveryState::Cancelled),
            (waiting, DeliveryState::Cancelled),
        ] {
            let view = store.delivery(&account(), id).await.unwrap().unwrap();
            assert_eq!((view.row.state, view.request, view.attempts), (state, None, Vec::new()));
            let reason = (state == DeliveryState::Cancelled).then_some("its call was erased");
            assert_eq!(view.row.reason.as_deref(), reason);
            assert!(!store.retry(&account(), id).await.unwrap());
        }
        let claims = claim_now(&store, 8).await;
        let mut claimed: Vec<DeliveryId> = claims.iter().map(|claim| claim.lease.delivery).collect();
        // The receiver's failure puts the registration on trial: one at a time.
        for claim in &claims {
            assert!(store.settle(delivered(claim)).await.unwrap());
        }
        claimed.extend(claim_now(&store, 8).await.iter().map(|claim| claim.lease.delivery));
        claimed.sort_unstable();
        kept.sort_unstable();
        assert_eq!(claimed, kept);

        // What comes later starts anew.
        let anew = event_of(&erased, 0, &[]);
        assert_eq!(store.accept(anew).await.unwrap(), Accepted::Stored);
        assert_eq!(found(&store).await[0], erased);
        drop((store, jobs));
        let store = place.open_after_power_cut().await;
        assert_eq!(store.event(&account(), first.event.id).await.unwrap(), None);
        assert_eq!(found(&store).await.len(), 3);
    });
}

#[test]
fn what_was_read_of_a_call_before_it_was_removed_writes_over_none_that_is_made_anew() {
    every_store_and_cluster(|place| async move {
        let store = place.open().await;
        let key = call_key("42");
        let version = async || store.call(&key).await.unwrap().map_or(0, |call| call.version);
        let mut read = Vec::new();
        for round in 0..6 {
            for _ in 0..=round {
                let now = version().await;
                assert!(!read.contains(&now) || now == 0, "{now} of {read:?}");
                for before in &read {
                    let late = event_of(&key, *before, &[]);
                    assert_eq!(store.accept(late).await.unwrap(), Accepted::Conflict, "{before} of {read:?}");
                }
                store_it(&store, &event_of(&key, now, &[])).await;
            }
            // However long it was, and however it goes; the last ones are of several versions.
            for older in (0..=round).rev() {
                read.push(version().await - older);
            }
            if round % 2 == 0 {
                assert!(store.erase_call(&key).await.unwrap());
            } else {
                while store.sweep(now() + Duration::from_hours(24 * 400)).await.unwrap() > 0 {}
            }
            assert_eq!(version().await, 0);
        }
    });
}

/// Whether what a delivery sends is still there.
async fn has_request(store: &SharedStore, id: DeliveryId) -> bool {
    store.delivery(&account(), id).await.unwrap().unwrap().request.is_some()
}

#[test]
fn what_a_speech_request_delivers_is_erased_with_its_own_call() {
    every_store(|place| async move {
        let opened = place.open_all(CircuitRules::default()).await;
        let store = SharedStore::clone(&opened.store);
        let registration = callback(UNLIMITED);
        let erased = call_key("42");
        let namesake = CallKey { space: "other".into(), ..erased.clone() };
        let of_event = store_it(&store, &event_of(&erased, 0, &[registration.id])).await[0];
        store_it(&store, &event_of(&namesake, 0, &[])).await;
        let delivery = DeliveryId::new();
        let calls = vec![RequestedCall {
            key: namesake.clone(),
            read_version: 1,
            state: RequestedState::Ready(delivery),
        }];
        assert_eq!(put(&opened, request(calls)).await, PutSpeechRequest::Stored);

        assert!(store.erase_call(&erased).await.unwrap());
        assert!(!has_request(&store, of_event).await);
        assert!(has_request(&store, delivery).await);
        assert!(store.erase_call(&namesake).await.unwrap());
        assert!(!has_request(&store, delivery).await);
    });
}

/// Deliveries that wait outlive their events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_knows_the_space_of_its_call_without_its_event() {
    let server = RedisServer::start(&[]);
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    let erased = call_key("42");
    let namesake = CallKey { space: "other".into(), ..erased.clone() };
    let paused = callback(UNLIMITED);
    let mut deliveries = Vec::new();
    for key in [&erased, &namesake] {
        deliveries.extend(store_it(&store, &event_of(key, 0, &[paused.id])).await);
    }
    let later = now() + Duration::from_hours(8 * 24);
    while store.sweep(later).await.unwrap() > 0 {}
    assert!(store.events(&account(), &EventFilter::default(), None, 9).await.unwrap().rows.is_empty());
    assert!(store.erase_call(&erased).await.unwrap());
    assert!(!has_request(&store, deliveries[0]).await);
    assert!(has_request(&store, deliveries[1]).await);
    assert!(
        redis_store::audit(&server.url())
            .await
            .unwrap()
            .findings
            .iter()
            .all(|finding| { finding.detail.ends_with("a registration that there never was") })
    );
}

#[test]
fn a_call_of_many_events_is_erased_to_the_end() {
    every_store(|place| async move {
        let store = place.open().await;
        let paused = callback(UNLIMITED);
        let key = call_key("42");
        for version in 0..600 {
            store_it(&store, &event_of(&key, version, &[paused.id])).await;
        }
        assert!(store.erase_call(&key).await.unwrap());
        let none = store.events(&account(), &EventFilter::default(), None, 9).await.unwrap();
        assert_eq!((none.rows.len(), none.next), (0, None));
        let waiting = claim_now(&store, 8).await;
        assert!(waiting.is_empty(), "{waiting:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_finds_nothing_wrong_with_what_an_erasure_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let server = RedisServer::durable();
    let stores: [SharedStore; 2] =
        [Arc::new(open_embedded(&path)), Arc::new(open_redis(&server.url()).await)];
    for (number, store) in stores.into_iter().enumerate() {
        let audit = async || match number {
            0 => embedded_store::audit(&path, false).unwrap(),
            _ => redis_store::audit(&server.url()).await.unwrap(),
        };
        let registration = callback(UNLIMITED);
        store.put_callback(registration.clone()).await.unwrap();
        prove(&store, registration.id).await;
        let key = call_key("42");
        store_it(&store, &event_of(&key, 0, &[registration.id])).await;
        let claims = store.claim(8).await.unwrap();
        store_it(&store, &event_of(&key, 1, &[registration.id])).await;
        assert!(store.erase_call(&key).await.unwrap());
        assert_eq!(audit().await.findings, []);
        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        assert_eq!(audit().await.findings, []);
        store.close().await;
    }
}
