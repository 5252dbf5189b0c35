//! The worker: its slots, and what it does when a store or a receiver fails.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ringback::delivery::{Meter, Worker};
use ringback::destination::TargetUrl;
use ringback::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
use ringback::metric::Metrics;
use ringback::registration::{
    Callback, CallbackUrl, DeliverySettings, Filter, LateRenderer, Ledger, Method, Registry, RequestTemplate,
    RetrySchedule, SigningSecrets,
};
use ringback::signature::SigningSecret;
use ringback::store::embedded::{Embedded, Options};
use ringback::store::{
    Acceptance, Accepted, CallbackState, Claim, DedupeKey, DefinitionVersion, DeliveryState, EventRow,
    EventState, Lease, NewDelivery, Next, OutcomeKind, SharedStore, Store,
};
use ringback::template::{Limits, Template};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::receiver::{Receiver, SECRET, answer, client, closed, loopback, read_request, request};
use super::scripted_store::ScriptedStore;

pub(super) const AMPLE: Duration = Duration::from_mins(1);

fn account() -> AccountName {
    AccountName::from("acme")
}

/// A registration of this receiver.
fn callback(url: &str, timeout: Duration, delays: &[Duration]) -> Callback {
    Callback {
        id: CallbackId::new(),
        account: account(),
        request: RequestTemplate {
            method: Method::Post,
            url: CallbackUrl::Fixed(TargetUrl::parse(url, &loopback()).unwrap()),
            headers: Arc::new([]),
            content_type: RequestTemplate::JSON.to_owned(),
            body: Template::compile("{}", &Limits::default()).unwrap(),
        },
        events: vec![EventType::CallEnded],
        sources: Vec::new(),
        filter: Filter::default(),
        delivery: Arc::new(DeliverySettings {
            secrets: SigningSecrets::new(SigningSecret::parse(SECRET).unwrap()),
            timeout,
            retry: RetrySchedule::new(delays.to_vec()).unwrap(),
        }),
        max_in_flight: 100,
        rate_limit: None,
        ordered: false,
        description: None,
        expires_at: None,
        state: CallbackState::Active,
        created_at: Timestamp::now(),
        token: None,
        is_speech_request: false,
        version: DefinitionVersion::new(),
    }
}

/// A registration of this receiver, and so many claims of it that a store gives out.
pub(super) fn waiting(receiver: &Receiver, count: u64) -> (Arc<ScriptedStore>, Arc<Registry>, Vec<Claim>) {
    let url = receiver.url("/hook");
    let callback = callback(&url, AMPLE, &[Duration::ZERO, Duration::from_mins(1)]);
    let store = Arc::new(ScriptedStore::default());
    let claims: Vec<_> = (0..count).map(|number| claim(callback.id, &url, number)).collect();
    for claim in &claims {
        store.push(claim.clone());
    }
    let registry = Registry::default();
    registry.put(callback);
    (store, Arc::new(registry), claims)
}

pub(super) fn claim(callback: CallbackId, url: &str, number: u64) -> Claim {
    Claim {
        lease: Lease { delivery: DeliveryId::new(), token: number },
        account: account(),
        callback,
        attempt: 1,
        request: request(url, &format!("{{\"number\":{number}}}")).into(),
    }
}

/// A running worker.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    paused: Arc<Mutex<Vec<(CallbackId, String)>>>,
}

impl Running {
    pub(super) fn start(store: SharedStore, registry: Arc<Registry>, slots: usize, drain: Duration) -> Self {
        let (stop, stopped) = oneshot::channel();
        let paused = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&paused);
        let ledger = Ledger::new(Arc::clone(&store), Arc::clone(&registry), None, 1, 1 << 20);
        let late = LateRenderer::new(Arc::clone(&store), registry, 1 << 20);
        let worker = Worker::new(
            store,
            client(),
            ledger,
            late,
            Meter::new(&Metrics::default()),
            slots,
            move |id, reason| {
                kept.lock().unwrap().push((id, reason.to_owned()));
            },
        );
        let stopped = async { stopped.await.unwrap_or(()) };
        Self { stop, task: tokio::spawn(worker.run(stopped, drain)), paused }
    }

    /// Stops it; how long that took.
    pub(super) async fn stop(self) -> Duration {
        let start = Instant::now();
        self.stop.send(()).unwrap();
        tokio::time::timeout(AMPLE, self.task).await.expect("it stops").unwrap();
        start.elapsed()
    }
}

#[tokio::test]
async fn what_is_claimed_is_delivered_and_settled() {
    let receiver = Receiver::http(|_| answer(200, "thanks")).await;
    let (store, registry, claims) = waiting(&receiver, 20);
    let worker = Running::start(store.clone(), registry, 4, AMPLE);
    let mut settled = store.wait_for(20).await;
    worker.stop().await;
    settled.sort_by_key(|settlement| settlement.lease.token);
    for (claim, settlement) in claims.iter().zip(&settled) {
        assert_eq!(settlement.lease, claim.lease);
        assert_eq!((&settlement.next, &settlement.pause_callback), (&Next::Delivered, &None));
        assert_eq!((settlement.attempt.number, settlement.attempt.status), (1, Some(200)));
        assert_eq!(settlement.attempt.response, "thanks");
    }
    assert_eq!(receiver.seen().len(), 20);
    assert!(store.asked().iter().all(|slots| (1..=4).contains(slots)), "{:?}", store.asked());
    assert!(store.released().is_empty());
}

#[tokio::test]
async fn never_more_attempts_at_once_than_slots() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_once, at_most) = (Arc::clone(&now), Arc::clone(&most));
    let receiver = Receiver::raw(move |mut stream, _| {
        let (now, most) = (Arc::clone(&at_once), Arc::clone(&at_most));
        async move {
            read_request(&mut stream).await;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(30)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (store, registry, _) = waiting(&receiver, 30);
    let worker = Running::start(store.clone(), registry, 3, AMPLE);
    store.wait_for(30).await;
    worker.stop().await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn one_delivery_does_not_wait_behind_hundreds_that_were_claimed_before() {
    const MANY: usize = 300;
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let (store, registry, claims) = waiting(&receiver, MANY as u64);
    let one = claim(claims[0].callback, &receiver.url("/hook"), MANY as u64);
    let worker = Running::start(store.clone(), registry, 2 * MANY, AMPLE);
    while store.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    store.push(one.clone());
    let settled = store.wait_for(MANY + 1).await;
    worker.stop().await;
    assert_eq!(store.asked()[0], 2 * MANY, "all of them were claimed together");
    let of_one = settled.iter().find(|settlement| settlement.lease == one.lease).unwrap();
    let began = of_one.attempt.started_at;
    let before = settled.iter().filter(|settlement| settlement.attempt.started_at < began).count();
    assert!(before < MANY / 3, "{before} of {MANY} were begun before");
}

#[tokio::test]
async fn what_was_claimed_and_not_begun_is_given_back_before_the_rest_has_ended() {
    const MANY: usize = 300;
    let (answers, are_held) = tokio::sync::watch::channel(true);
    let receiver = Receiver::raw(move |mut stream, _| {
        let mut are_held = are_held.clone();
        async move {
            read_request(&mut stream).await;
            let _ = are_held.wait_for(|are_held| !are_held).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
    })
    .await;
    let (store, registry, claims) = waiting(&receiver, MANY as u64);
    let worker = Running::start(store.clone(), registry, MANY, AMPLE);
    while store.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(worker.stop());
    let released = async {
        while store.released().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(AMPLE, released).await.expect("they are given back while others are under way");
    assert!(store.settled().is_empty() && !stopping.is_finished());
    answers.send(false).unwrap();
    stopping.await.unwrap();
    let mut ended: Vec<u64> = store.settled().iter().map(|settlement| settlement.lease.token).collect();
    assert!(!ended.is_empty(), "some were begun");
    ended.extend(store.released().iter().map(|lease| lease.token));
    ended.sort_unstable();
    assert_eq!(ended, claims.iter().map(|claim| claim.lease.token).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dead_receiver_frees_its_slot_at_the_deadline() {
    let dead = Receiver::raw(|mut stream, _| async move { closed(&mut stream).await }).await;
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let registry = Registry::default();
    let slow =
        callback(&dead.url("/"), Duration::from_millis(300), &[Duration::ZERO, Duration::from_mins(1)]);
    let fast = callback(&receiver.url("/"), AMPLE, &[Duration::ZERO]);
    let store = Arc::new(ScriptedStore::default());
    store.push(claim(slow.id, &dead.url("/"), 1));
    store.push(claim(fast.id, &receiver.url("/"), 2));
    registry.put(slow);
    registry.put(fast);
    let worker = Running::start(store.clone(), Arc::new(registry), 1, AMPLE);
    let settled = store.wait_for(2).await;
    worker.stop().await;
    assert_eq!(settled[0].attempt.outcome, OutcomeKind::Timeout);
    let Next::RetryAt(at) = settled[0].next else { panic!("{:?}", settled[0].next) };
    let delay = at.duration_since(settled[0].attempt.started_at).as_secs_f64();
    assert!((60.3..=66.3 + 3.0).contains(&delay), "{delay} s: counted from the end of the attempt");
    assert_eq!(settled[1].next, Next::Delivered);
}

#[tokio::test]
async fn gone_pauses_the_registration_and_tells_of_it() {
    let receiver = Receiver::http(|_| answer(410, "")).await;
    let (store, registry, claims) = waiting(&receiver, 1);
    let worker = Running::start(store.clone(), registry, 1, AMPLE);
    let settled = store.wait_for(1).await;
    let paused = Arc::clone(&worker.paused);
    worker.stop().await;
    assert_eq!(settled[0].attempt.outcome, OutcomeKind::Gone);
    assert!(matches!(settled[0].next, Next::RetryAt(_)), "it waits in the queue: {:?}", settled[0].next);
    let reason = "the receiver answered 410 Gone";
    assert_eq!(settled[0].pause_callback.as_deref(), Some(reason));
    assert_eq!(*paused.lock().unwrap(), [(claims[0].callback, reason.to_owned())]);
}

#[tokio::test]
async fn a_wish_of_the_receiver_moves_the_next_attempt() {
    let receiver = Receiver::http(|_| {
        let mut response = answer(503, "");
        response.headers_mut().insert("retry-after", "3600".parse().unwrap());
        response
    })
    .await;
    let (store, registry, _) = waiting(&receiver, 1);
    let worker = Running::start(store.clone(), registry, 1, AMPLE);
    let settled = store.wait_for(1).await;
    worker.stop().await;
    let Next::RetryAt(at) = settled[0].next else { panic!("{:?}", settled[0].next) };
    let delay = at.duration_since(settled[0].attempt.started_at).as_secs();
    assert!((3600..3620).contains(&delay), "{delay} s");
}

#[tokio::test]
async fn a_panic_costs_no_slot() {
    let receiver = Receiver::http(|_| answer(410, "")).await;
    let (store, registry, _) = waiting(&receiver, 4);
    let (stop, stopped) = oneshot::channel::<()>();
    let ledger = Ledger::new(store.clone(), Arc::clone(&registry), None, 1, 1 << 20);
    let late = LateRenderer::new(store.clone(), registry, 1 << 20);
    let worker =
        Worker::new(store.clone(), client(), ledger, late, Meter::new(&Metrics::default()), 2, |_, _| {
            panic!("for the test")
        });
    let task = tokio::spawn(worker.run(async { stopped.await.unwrap_or(()) }, AMPLE));
    store.wait_for(4).await;
    stop.send(()).unwrap();
    tokio::time::timeout(AMPLE, task).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn a_registration_that_was_removed_ends_its_deliveries() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let store = Arc::new(ScriptedStore::default());
    store.push(claim(CallbackId::new(), &receiver.url("/"), 1));
    let worker = Running::start(store.clone(), Arc::default(), 1, AMPLE);
    let settled = store.wait_for(1).await;
    worker.stop().await;
    assert_eq!(settled[0].next, Next::Dead("the registration was removed".to_owned()));
    assert_eq!(settled[0].attempt.outcome, OutcomeKind::Unsendable);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_registration_that_another_process_has_just_taken_in_is_asked_for() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let url = receiver.url("/");
    let callback = callback(&url, AMPLE, &[Duration::ZERO]);
    let store = Arc::new(ScriptedStore::default());
    store.register(callback.to_row(None), 2);
    store.push(claim(callback.id, &url, 1));
    let worker = Running::start(store.clone(), Arc::default(), 1, AMPLE);
    let settled = store.wait_for(1).await;
    worker.stop().await;
    assert_eq!((settled[0].attempt.outcome, &settled[0].next), (OutcomeKind::Delivered, &Next::Delivered));
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_no_outcome_is_lost() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let (store, registry, _) = waiting(&receiver, 3);
    store.fail(3, 9);
    let worker = Running::start(store.clone(), registry, 3, AMPLE);
    let settled = store.wait_for(3).await;
    worker.stop().await;
    assert!(settled.iter().all(|settlement| settlement.next == Next::Delivered));
    assert_eq!(receiver.seen().len(), 3, "an outcome is written again, the request is not sent again");
}

#[tokio::test]
async fn a_lease_that_was_lost_ends_the_attempt_and_pauses_nothing() {
    let receiver = Receiver::http(|_| answer(410, "")).await;
    let (store, registry, _) = waiting(&receiver, 1);
    store.lose_leases();
    let worker = Running::start(store.clone(), registry, 1, AMPLE);
    while receiver.seen().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let paused = Arc::clone(&worker.paused);
    worker.stop().await;
    assert!(paused.lock().unwrap().is_empty());
    assert!(store.settled().is_empty() && store.released().is_empty());
}

/// With the store that Ringback runs on: what fails is tried again with the same id and bytes,
/// until it is delivered, or dead with its reason.
#[tokio::test]
async fn with_the_embedded_store_attempts_follow_their_schedule() {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = open(&dir.path().join("ringback.db"));
    let receiver = Receiver::http(|seen| match (seen.uri.path(), seen.header("ringback-attempt")) {
        ("/recovers", "3") => answer(200, "at last"),
        ("/recovers", _) => answer(500, "not yet"),
        _ => answer(404, "never"),
    })
    .await;
    let delays = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(50)];
    let registry = Arc::new(Registry::default());
    let mut ids = Vec::new();
    for path in ["/recovers", "/never"] {
        let callback = callback(&receiver.url(path), AMPLE, &delays);
        store.put_callback(callback.to_row(None)).await.unwrap();
        ids.push(accept(&*store, callback.id, &receiver.url(path)).await);
        registry.put(callback);
    }
    let worker = Running::start(Arc::clone(&store), registry, 8, AMPLE);
    let recovered = finished(&*store, ids[0]).await;
    let died = finished(&*store, ids[1]).await;
    worker.stop().await;
    store.close().await;

    assert_eq!(recovered.row.state, DeliveryState::Delivered);
    let statuses = |view: &ringback::store::DeliveryView| {
        view.attempts.iter().map(|attempt| (attempt.number, attempt.status.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&recovered), [(1, 500), (2, 500), (3, 200)]);
    assert_eq!(recovered.attempts[2].response, "at last");
    assert_eq!(died.row.state, DeliveryState::Dead);
    assert_eq!(statuses(&died), [(1, 404), (2, 404), (3, 404)]);
    assert_eq!(died.row.reason.as_deref(), Some("3 attempts failed; the last: the receiver answered 404"));
    for (id, path) in ids.iter().zip(["/recovers", "/never"]) {
        let seen: Vec<_> = receiver.seen().into_iter().filter(|seen| seen.uri.path() == path).collect();
        assert_eq!(seen.len(), 3);
        for seen in &seen {
            assert_eq!(seen.header("webhook-id"), id.to_string());
            assert_eq!(seen.body, format!("{{\"to\":\"{path}\"}}"));
        }
    }
}

fn open(path: &Path) -> SharedStore {
    Arc::new(Embedded::open(path, Options::default()).unwrap())
}

/// Accepts an event that causes one delivery.
async fn accept(store: &dyn Store, callback: CallbackId, url: &str) -> DeliveryId {
    let (id, event) = (DeliveryId::new(), EventId::new());
    let now = Timestamp::now();
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&event.to_bytes());
    let path = url.rsplit('/').next().unwrap();
    let acceptance = Acceptance {
        event: EventRow {
            id: event,
            account: account(),
            source: "dialer".to_owned(),
            provider: "commpeak".to_owned(),
            state: EventState::Accepted,
            types: vec![EventType::CallEnded],
            call: None,
            received_at: now,
            method: "POST".to_owned(),
            path: String::new(),
            content_type: "application/json".to_owned(),
            body: "{}".into(),
        },
        dedupe: DedupeKey {
            account: account(),
            source: "dialer".to_owned(),
            digest,
            expires_at: now + jiff::SignedDuration::from_hours(24),
        },
        call: None,
        deliveries: vec![NewDelivery {
            id,
            account: account(),
            callback,
            destination: callback.into(),
            event,
            event_type: EventType::CallEnded,
            call: None,
            created_at: now,
            due: now,
            order: None,
            request: request(url, &format!("{{\"to\":\"/{path}\"}}")).into(),
        }],
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
    };
    assert_eq!(store.accept(acceptance).await.unwrap(), Accepted::Stored);
    id
}

/// A delivery as soon as it is delivered or dead.
async fn finished(store: &dyn Store, id: DeliveryId) -> ringback::store::DeliveryView {
    let end = Instant::now() + AMPLE;
    loop {
        let view = store.delivery(&account(), id).await.unwrap().unwrap();
        if matches!(view.row.state, DeliveryState::Delivered | DeliveryState::Dead) {
            return view;
        }
        assert!(Instant::now() < end, "{view:?}");
        sleep(Duration::from_millis(10)).await;
    }
}
