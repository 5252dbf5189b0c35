//! How fast the stores take events, and how fast they go through them to the end. The embedded one
//! against a bare append-only file with `fdatasync` that commits in groups; the one in Redis
//! against a bare `SET` of the same bytes to the same `redis-server` with `appendfsync everysec`:
//! the same callers, the same disk, the same run.
//!
//! `cargo bench --bench store`; with `-- --test` each part runs once and short. The files lie in
//! `RINGBACK_BENCH_DIR`, or in the system's temporary folder. `redis-server` must be installed.

#[path = "../tests/redis_server.rs"]
#[allow(dead_code, reason = "it serves the tests too")]
mod redis_server;

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
use ringback::store::redis::{Options as RedisOptions, Redis};
use ringback::store::{
    Acceptance, Accepted, Attempt, CallWrite, CallbackRow, CallbackState, DedupeKey, DeliveryRequest,
    DestinationLimits, EventRow, EventState, NewDelivery, Next, OutcomeKind, Settlement, SharedStore,
};
use tokio::sync::{Semaphore, oneshot};

use self::redis_server::RedisServer;

/// Requests that wait at a time.
const CALLERS: usize = 64;
const DESTINATIONS: usize = 100;
/// The same for the store in Redis, whose callers are on several machines.
const REDIS_CALLERS: usize = 256;
const REDIS_DESTINATIONS: usize = 1_000;
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
        let intake = through(embedded(&folder.path().join("intake.db")), &Load::small(time), false).await;
        intake.print("store: accept");
        let cycle = through(embedded(&folder.path().join("cycle.db")), &Load::small(time), true).await;
        cycle.print("store: accept, claim, settle");
        println!("accept / append-only file: {:.2}", intake.rate() / bare.rate());
        println!("whole cycle / append-only file: {:.2}", cycle.rate() / bare.rate());

        println!("Redis, everysec: {REDIS_CALLERS} callers, {REDIS_DESTINATIONS} destinations");
        let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let bare = bare_set(&server, time).await;
        bare.print("bare SET");
        let intake = through(in_redis(&server).await, &Load::large(time), false).await;
        intake.print("store: accept");
        drop(server);
        let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let cycle = through(in_redis(&server).await, &Load::large(time), true).await;
        cycle.print("store: accept, claim, settle");
        println!("accept / bare SET: {:.2}", intake.rate() / bare.rate());
        println!("whole cycle / bare SET: {:.2}", cycle.rate() / bare.rate());
    });
}

/// What is put upon a store.
struct Load {
    time: Duration,
    callers: usize,
    destinations: usize,
}

impl Load {
    const fn small(time: Duration) -> Self {
        Self { time, callers: CALLERS, destinations: DESTINATIONS }
    }

    const fn large(time: Duration) -> Self {
        Self { time, callers: REDIS_CALLERS, destinations: REDIS_DESTINATIONS }
    }
}

fn embedded(path: &Path) -> SharedStore {
    let options = Options { max_in_flight: MAX_IN_FLIGHT, ..Options::default() };
    Arc::new(Embedded::open(path, options).expect("a new file opens"))
}

async fn in_redis(server: &RedisServer) -> SharedStore {
    let options = RedisOptions { max_in_flight: MAX_IN_FLIGHT, ..RedisOptions::default() };
    Arc::new(Redis::open(&server.url(), options).await.expect("a new server opens"))
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
    let latencies = call(time, CALLERS, move || append(outbox.clone())).await;
    let time = started.elapsed();
    writer.join().expect("the writer ends with its callers");
    Measured { time, done: latencies.len() as u64, latencies }
}

async fn append(outbox: SyncSender<(Vec<u8>, oneshot::Sender<()>)>) {
    let (answer, done) = oneshot::channel();
    outbox.try_send((vec![b'x'; RECORD], answer)).expect("it has room for every caller");
    done.await.expect("the writer answers");
}

/// One connection over which all callers send at once, as the store has one.
async fn bare_set(server: &RedisServer, time: Duration) -> Measured {
    let client = redis::Client::open(server.url()).expect("it is a URL");
    let connection = client.get_multiplexed_async_connection().await.expect("it answers");
    let turn = AtomicU64::new(0);
    let started = Instant::now();
    let latencies = call(time, REDIS_CALLERS, move || {
        let mut connection = connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(turn.fetch_add(1, Ordering::Relaxed)).arg(vec![b'x'; RECORD]);
        async move { set.exec_async(&mut connection).await.expect("it answers") }
    })
    .await;
    Measured { time: started.elapsed(), done: latencies.len() as u64, latencies }
}

async fn through(store: SharedStore, load: &Load, deliver: bool) -> Measured {
    let mut destinations = Vec::new();
    for _ in 0..load.destinations {
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
    let latencies = call(load.time, load.callers, move || {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let destination = destinations[usize::try_from(turn).expect("64 bits") % destinations.len()];
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
        deadline: Duration::from_secs(15),
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
            order: None,
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
