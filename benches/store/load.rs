//! What is put upon a store: callers that hand in events, a worker that delivers, and what is
//! measured of both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use jiff::Timestamp;
use ringback::context::{CallId, CallKey};
use ringback::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
use ringback::store::{
    Acceptance, Accepted, Attempt, CallWrite, CallbackRow, CallbackState, Claim, DedupeKey,
    DefinitionVersion, DeliveryRequest, DestinationLimits, EventRow, EventState, NewDelivery, Next,
    OutcomeKind, Settlement, SharedStore,
};
use tokio::sync::Semaphore;

/// Slots of the worker.
pub(crate) const MAX_IN_FLIGHT: usize = 512;
pub(crate) const BODY: usize = 1_024;
pub(crate) const CONTEXT: usize = 512;

/// What one event brings: its body, its call's context, and its delivery's body.
pub(crate) const RECORD: usize = BODY + CONTEXT + BODY;

/// How much is put upon a store.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) time: Duration,
    /// Requests that wait at a time.
    pub(crate) callers: usize,
    pub(crate) destinations: usize,
    /// Deliveries of an event.
    pub(crate) deliveries: usize,
    /// How many deliveries may be open; callers wait for more.
    pub(crate) open: usize,
}

/// As many deliveries may be open as come: what is not delivered yet waits in the store.
pub(crate) const UNBOUNDED: usize = Semaphore::MAX_PERMITS;

/// What a part measured.
pub(crate) struct Measured {
    pub(crate) time: Duration,
    pub(crate) done: u64,
    pub(crate) latencies: Vec<Duration>,
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.time.as_secs_f64()
    }

    pub(crate) fn print(&self, name: &str) {
        let at = |share: usize| self.latencies[(self.latencies.len() - 1) * share / 100];
        println!("{name:<32} {:>9.0}/s   p50 {:>9.2?}   p99 {:>9.2?}", self.rate(), at(50), at(99));
    }
}

/// Runs the callers for a while; each calls again as soon as it is answered.
pub(crate) async fn call<F: Future<Output = ()> + Send>(
    time: Duration,
    callers: usize,
    once: impl Fn() -> F + Send + Sync + 'static,
) -> Vec<Duration> {
    let once = Arc::new(once);
    let until = Instant::now() + time;
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let once = Arc::clone(&once);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let started = Instant::now();
                    once().await;
                    latencies.push(started.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await.expect("no caller panics"));
    }
    latencies.sort_unstable();
    latencies
}

/// Hands in events for a while, and delivers all of them if `deliver`.
pub(crate) async fn through(store: SharedStore, load: &Load, deliver: bool) -> Measured {
    let mut destinations = Vec::new();
    for _ in 0..load.destinations {
        let row = registration();
        destinations.push(row.id);
        store.put_callback(row).await.expect("it is stored");
    }
    let settled = Arc::new(AtomicU64::new(0));
    let room = Arc::new(Semaphore::new(load.open));
    let stop = Arc::new(AtomicBool::new(false));
    let worker =
        deliver.then(|| tokio::spawn(work(store.clone(), settled.clone(), room.clone(), stop.clone())));
    let started = Instant::now();
    let turn = AtomicU64::new(0);
    let intake = store.clone();
    let deliveries = load.deliveries;
    let latencies = call(load.time, load.callers, move || {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let first = usize::try_from(turn).expect("64 bits") * deliveries;
        let its = (first..first + deliveries).map(|place| destinations[place % destinations.len()]);
        let event = to_each(acceptance(turn, destinations[0]), its);
        let (store, room) = (intake.clone(), room.clone());
        async move {
            let needed = u32::try_from(deliveries).expect("an event has few");
            room.acquire_many(needed).await.expect("it is never closed").forget();
            let accepted = store.accept(event).await.expect("it is stored");
            assert_eq!(accepted, Accepted::Stored);
        }
    })
    .await;
    let accepted = (latencies.len() * load.deliveries) as u64;
    if let Some(worker) = worker {
        // What was taken in must also have gone out before the clock stops.
        while settled.load(Ordering::Acquire) < accepted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let time = started.elapsed();
        stop.store(true, Ordering::Release);
        store.close().await;
        worker.await.expect("the worker does not panic");
        return Measured { time, done: accepted, latencies };
    }
    let time = started.elapsed();
    store.close().await;
    Measured { time, done: accepted, latencies }
}

/// The same event, with a delivery to each of these.
pub(crate) fn to_each(
    mut acceptance: Acceptance,
    destinations: impl Iterator<Item = CallbackId>,
) -> Acceptance {
    let one = acceptance.deliveries.remove(0);
    acceptance.deliveries = destinations
        .map(|destination| NewDelivery {
            id: DeliveryId::new(),
            callback: destination,
            destination: destination.into(),
            ..one.clone()
        })
        .collect();
    acceptance
}

/// Claims and settles like the delivery worker, with a receiver that answers at once.
async fn work(store: SharedStore, settled: Arc<AtomicU64>, room: Arc<Semaphore>, stop: Arc<AtomicBool>) {
    let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    while !stop.load(Ordering::Acquire) {
        let free = slots.available_permits().max(1);
        for claim in store.claim(free).await.expect("the store works") {
            let slot = slots.clone().acquire_owned().await.expect("it is never closed");
            let (store, settled, room) = (store.clone(), settled.clone(), room.clone());
            tokio::spawn(async move {
                assert!(store.settle(delivered(&claim)).await.expect("the store works"));
                settled.fetch_add(1, Ordering::Release);
                room.add_permits(1);
                drop(slot);
            });
        }
    }
}

/// A receiver has taken it at once.
pub(crate) fn delivered(claim: &Claim) -> Settlement {
    let attempt = Attempt {
        number: claim.attempt,
        started_at: Timestamp::now(),
        latency: Duration::from_millis(1),
        outcome: OutcomeKind::Delivered,
        status: Some(200),
        error: None,
        response: Bytes::from_static(b"ok"),
    };
    Settlement { lease: claim.lease, attempt, next: Next::Delivered, pause_callback: None }
}

/// A registration that takes what comes.
pub(crate) fn registration() -> CallbackRow {
    CallbackRow {
        id: CallbackId::new(),
        account: AccountName::from("acme"),
        state: CallbackState::Active,
        limits: DestinationLimits { max_in_flight: 64, rate: None, paused: false },
        definition: b"{}".to_vec(),
        deadline: Duration::from_secs(15),
        version: DefinitionVersion::default(),
    }
}

/// An event of a call of its own, with one delivery.
pub(crate) fn acceptance(turn: u64, callback: CallbackId) -> Acceptance {
    let account = AccountName::from("acme");
    let now = Timestamp::now();
    let id = EventId::new();
    let call = CallId::from_text(&format!("call-{turn}")).expect("it is short");
    let key = CallKey { account: account.clone(), space: "main".into(), id: call.clone() };
    // As random as a SHA-256 is for an index: its order has nothing to do with time.
    let mut digest = [0; 32];
    for (number, part) in digest.chunks_mut(8).enumerate() {
        let seed = turn.wrapping_add(number as u64 + 1);
        part.copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).to_be_bytes());
    }
    Acceptance {
        event: EventRow {
            id,
            account: account.clone(),
            source: "pbx".to_owned(),
            provider: "commpeak".to_owned(),
            state: EventState::Accepted,
            types: vec![EventType::CallEnded],
            call: Some(key.clone()),
            received_at: now,
            method: "POST".to_owned(),
            path: String::new(),
            content_type: "application/json".to_owned(),
            body: Bytes::from(vec![b'e'; BODY]),
        },
        dedupe: DedupeKey {
            account: account.clone(),
            source: "pbx".to_owned(),
            digest,
            expires_at: now + Duration::from_hours(24),
        },
        call: Some(CallWrite { key, read_version: 0, context: vec![b'c'; CONTEXT] }),
        deliveries: vec![NewDelivery {
            id: DeliveryId::new(),
            account,
            callback,
            destination: callback.into(),
            event: id,
            event_type: EventType::CallEnded,
            call: Some(call),
            created_at: now,
            due: now,
            order: None,
            request: DeliveryRequest {
                method: "POST".to_owned(),
                url: "https://receiver.example/hook".to_owned(),
                content_type: "application/json".to_owned(),
                headers: Vec::new(),
                body: Bytes::from(vec![b'd'; BODY]),
            }
            .into(),
        }],
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
    }
}
