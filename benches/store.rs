//! How fast the embedded store takes events, and how fast they go through it to the end, against
//! a bare append-only file with `fdatasync` that commits in groups: the same callers, the same
//! bytes, the same disk, the same run.
//!
//! `cargo bench --bench store`; with `-- --test` each part runs once and short. The files lie in
//! `RINGBACK_BENCH_DIR`, or in the system's temporary folder.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use jiff::Timestamp;
use ringback::context::{CallId, CallKey};
use ringback::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
use ringback::store::embedded::{Embedded, Options};
use ringback::store::{
    Acceptance, Accepted, Attempt, CallWrite, CallbackRow, CallbackState, DedupeKey, DeliveryRequest,
    DestinationLimits, EventRow, EventState, NewDelivery, Next, OutcomeKind, Settlement, SharedStore,
};
use tokio::sync::{Semaphore, oneshot};

/// Requests that wait at a time.
const CALLERS: usize = 64;
const DESTINATIONS: usize = 100;
const MAX_IN_FLIGHT: usize = 512;
const BODY: usize = 1_024;
const CONTEXT: usize = 512;

/// What one event brings: its body, its call's context, and its delivery's body.
const RECORD: usize = BODY + CONTEXT + BODY;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let time = Duration::from_millis(if is_test { 100 } else { 3_000 });
    let place = std::env::var_os("RINGBACK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(place).expect("the folder can be written");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads start");
    runtime.block_on(async {
        println!("{CALLERS} callers, {BODY} bytes a body, {CONTEXT} a context, {DESTINATIONS} destinations");
        let bare = append_only(folder.path(), time).await;
        bare.print("append-only file, fdatasync");
        let intake = through_the_store(&folder.path().join("intake.db"), time, false).await;
        intake.print("store: accept");
        let cycle = through_the_store(&folder.path().join("cycle.db"), time, true).await;
        cycle.print("store: accept, claim, settle");
        println!("accept / append-only file: {:.2}", intake.rate() / bare.rate());
        println!("whole cycle / append-only file: {:.2}", cycle.rate() / bare.rate());
    });
}

/// What a part measured.
struct Measured {
    time: Duration,
    done: u64,
    latencies: Vec<Duration>,
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    fn rate(&self) -> f64 {
        self.done as f64 / self.time.as_secs_f64()
    }

    fn print(&self, name: &str) {
        let at = |share: usize| self.latencies[(self.latencies.len() - 1) * share / 100];
        println!("{name:<32} {:>9.0}/s   p50 {:>9.2?}   p99 {:>9.2?}", self.rate(), at(50), at(99));
    }
}

/// Runs the callers for a while; each calls again as soon as it is answered.
async fn call<F: Future<Output = ()> + Send>(
    time: Duration,
    once: impl Fn() -> F + Send + Sync + 'static,
) -> Vec<Duration> {
    let once = Arc::new(once);
    let until = Instant::now() + time;
    let callers: Vec<_> = (0..CALLERS)
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

async fn append_only(folder: &Path, time: Duration) -> Measured {
    let mut file = File::create(folder.join("append-only")).expect("the folder can be written");
    let (outbox, inbox) = sync_channel::<(Vec<u8>, oneshot::Sender<()>)>(CALLERS);
    let writer = std::thread::spawn(move || {
        while let Ok(first) = inbox.recv() {
            let mut batch = first.0;
            let mut waiting = vec![first.1];
            while let Ok((record, answer)) = inbox.try_recv() {
                batch.extend(record);
                waiting.push(answer);
            }
            file.write_all(&batch).expect("there is room");
            file.sync_data().expect("the disk works");
            for answer in waiting {
                answer.send(()).expect("the caller waits");
            }
        }
    });
    let started = Instant::now();
    let latencies = call(time, move || append(outbox.clone())).await;
    let time = started.elapsed();
    writer.join().expect("the writer ends with its callers");
    Measured { time, done: latencies.len() as u64, latencies }
}

async fn append(outbox: SyncSender<(Vec<u8>, oneshot::Sender<()>)>) {
    let (answer, done) = oneshot::channel();
    outbox.try_send((vec![b'x'; RECORD], answer)).expect("it has room for every caller");
    done.await.expect("the writer answers");
}

async fn through_the_store(path: &Path, time: Duration, deliver: bool) -> Measured {
    let options = Options { max_in_flight: MAX_IN_FLIGHT, ..Options::default() };
    let store: SharedStore = Arc::new(Embedded::open(path, options).expect("a new file opens"));
    let mut destinations = Vec::new();
    for _ in 0..DESTINATIONS {
        let row = registration();
        destinations.push(row.id);
        store.put_callback(row).await.expect("it is stored");
    }
    let settled = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let worker = deliver.then(|| tokio::spawn(work(store.clone(), settled.clone(), stop.clone())));
    let started = Instant::now();
    let turn = AtomicU64::new(0);
    let intake = store.clone();
    let latencies = call(time, move || {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let destination = destinations[usize::try_from(turn).expect("64 bits") % DESTINATIONS];
        let store = intake.clone();
        async move {
            let accepted = store.accept(acceptance(turn, destination)).await.expect("it is stored");
            assert_eq!(accepted, Accepted::Stored);
        }
    })
    .await;
    let accepted = latencies.len() as u64;
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

/// Claims and settles like the delivery worker, with a receiver that answers at once.
async fn work(store: SharedStore, settled: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    while !stop.load(Ordering::Acquire) {
        let free = slots.available_permits().max(1);
        for claim in store.claim(free).await.expect("the store works") {
            let slot = slots.clone().acquire_owned().await.expect("it is never closed");
            let (store, settled) = (store.clone(), settled.clone());
            tokio::spawn(async move {
                let attempt = Attempt {
                    number: claim.attempt,
                    started_at: Timestamp::now(),
                    latency: Duration::from_millis(1),
                    outcome: OutcomeKind::Delivered,
                    status: Some(200),
                    error: None,
                    response: Bytes::from_static(b"ok"),
                };
                let lease = claim.lease;
                let settlement = Settlement { lease, attempt, next: Next::Delivered, pause_callback: None };
                assert!(store.settle(settlement).await.expect("the store works"));
                settled.fetch_add(1, Ordering::Release);
                drop(slot);
            });
        }
    }
}

fn registration() -> CallbackRow {
    CallbackRow {
        id: CallbackId::new(),
        account: AccountName::from("acme"),
        state: CallbackState::Active,
        limits: DestinationLimits { max_in_flight: 64, rate: None, paused: false },
        definition: b"{}".to_vec(),
    }
}

fn acceptance(turn: u64, callback: CallbackId) -> Acceptance {
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
        dedupe: DedupeKey { source: "pbx".to_owned(), digest, expires_at: now + Duration::from_hours(24) },
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
            request: DeliveryRequest {
                method: "POST".to_owned(),
                url: "https://receiver.example/hook".to_owned(),
                content_type: "application/json".to_owned(),
                headers: Vec::new(),
                body: Bytes::from(vec![b'd'; BODY]),
            },
        }],
        failed: Vec::new(),
    }
}
