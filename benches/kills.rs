//! Nothing that was answered with 200 is lost, whoever is killed: `cargo bench --bench kills`.
//!
//! Providers post events without a pause, each until it is answered with 200; a receiver fails one
//! request in seven, so that retries are in the queue too. Meanwhile `ringback serve`, or the Redis
//! under it, is killed with SIGKILL at random moments and started again. In the end every event that
//! was answered with 200 must have been delivered, under one id and with the same bytes however
//! often; and delivered a second time is only what was in flight at a kill. With `-- --test` there
//! are few kills.

#[allow(dead_code, reason = "it makes texts too")]
mod chance;
#[path = "../tests/redis_server.rs"]
#[allow(dead_code, reason = "it serves the tests too")]
mod redis_server;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "it serves the tests too")]
mod support;

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::body::Bytes;
use ringback::http::Client;
use serde_json::json;

use self::chance::Chance;
use self::redis_server::RedisServer;
use self::support::{Home, OPEN_DIALER, Process, Received, Receiver, soon_again};

/// Providers that post at a time.
const PROVIDERS: usize = 16;

/// How long after a kill, and before it, a delivery counts as in flight: answered by the receiver, and
/// its outcome perhaps not written yet. Far more than a write takes, on a machine that does all of
/// this at once.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// How long everything may take to arrive in the end: the leases of those who were killed last 20 s.
const PATIENCE: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (of_ringback, of_redis) = if is_test { (2, 1) } else { (100, 20) };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").subsec_nanos();
    let mut chance = Chance::new(seed.into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads start");
    println!(
        "{:<38} {:>6} {:>9} {:>9} {:>6} {:>8} {:>22}",
        "SIGKILL of", "kills", "200", "delivered", "lost", "repeated", "not in flight at a kill"
    );
    let is_whole = runtime.block_on(async {
        let homes = vec![Home::new(OPEN_DIALER)];
        let embedded = kill(homes, Target::Ringback, of_ringback, &mut chance).await;
        embedded.print("ringback, embedded store", of_ringback);

        let server = RedisServer::durable();
        let homes =
            vec![Home::with_store(&server.url(), OPEN_DIALER), Home::with_store(&server.url(), OPEN_DIALER)];
        let several = kill(homes, Target::Ringback, of_ringback, &mut chance).await;
        several.print("one of two ringbacks on a Redis", of_ringback);
        drop(server);

        let server = RedisServer::durable();
        let homes =
            vec![Home::with_store(&server.url(), OPEN_DIALER), Home::with_store(&server.url(), OPEN_DIALER)];
        let redis = kill(homes, Target::Redis(server), of_redis, &mut chance).await;
        redis.print("Redis (always) under two ringbacks", of_redis);
        [embedded, several, redis].iter().all(Outcome::is_whole)
    });
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Who is killed.
enum Target {
    Ringback,
    Redis(RedisServer),
}

/// What was seen in the end.
struct Outcome {
    accepted: usize,
    delivered: usize,
    repeated: usize,
    /// Repeated although not in flight at a kill, delivered under two ids, or with other bytes.
    wrong: usize,
}

impl Outcome {
    fn print(&self, what: &str, kills: usize) {
        let Self { accepted, delivered, repeated, wrong } = self;
        let lost = accepted - delivered;
        println!("{what:<38} {kills:>6} {accepted:>9} {delivered:>9} {lost:>6} {repeated:>8} {wrong:>22}");
    }

    fn is_whole(&self) -> bool {
        self.accepted == self.delivered && self.wrong == 0
    }
}

/// Puts load upon these homes, which share a store, kills `kills` times, and waits for the end.
async fn kill(homes: Vec<Home>, mut target: Target, kills: usize, chance: &mut Chance) -> Outcome {
    let homes: Arc<[Home]> = homes.into();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let receiver = {
        let seen = Arc::clone(&seen);
        Receiver::start(move |number, received| seen.lock().expect("nobody panics").note(number, received))
            .await
    };
    let mut processes: Vec<Process> = homes.iter().map(Home::start).collect();
    let callback = json!({
        "callback_url": receiver.url(),
        "callback_method": "POST",
        "callback_data": r#"{"call": "{call_id}"}"#,
        "events": ["call.ended"],
        "retry": soon_again(),
    });
    homes[0].register(&Client::new(), &callback).await;
    // Registrations are known to the other processes within a second.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let load = Load::start(&homes);
    let mut outages = Vec::new();
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(20 + chance.below(400) as u64)).await;
        let began = Instant::now();
        match &mut target {
            Target::Ringback => {
                let one = chance.below(homes.len());
                processes.swap_remove(one).kill();
                processes.push(homes[one].start());
                let last = processes.len() - 1;
                processes.swap(one, last);
            }
            Target::Redis(server) => {
                server.kill();
                tokio::time::sleep(Duration::from_millis(chance.below(400) as u64)).await;
                server.start_again();
            }
        }
        outages.push((began, Instant::now()));
    }
    let accepted = load.end().await;
    let until = Instant::now() + PATIENCE;
    while seen.lock().expect("nobody panics").missing(&accepted) > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for process in processes {
        process.signal("TERM");
        assert_eq!(process.wait(Duration::from_mins(1)), 0, "a drained shutdown");
    }
    let seen = seen.lock().expect("nobody panics");
    seen.outcome(&accepted, &outages)
}

/// Providers that post to all homes in turn, each event until one has answered it with 200.
struct Load {
    stop: Arc<AtomicBool>,
    providers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(homes: &Arc<[Home]>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicUsize::new(0));
        let providers = (0..PROVIDERS)
            .map(|_| tokio::spawn(post(Arc::clone(homes), Arc::clone(&stop), Arc::clone(&next))))
            .collect();
        Self { stop, providers }
    }

    /// The calls whose event was accepted.
    async fn end(self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut accepted = HashSet::new();
        for provider in self.providers {
            accepted.extend(provider.await.expect("no provider panics"));
        }
        accepted
    }
}

async fn post(homes: Arc<[Home]>, stop: Arc<AtomicBool>, next: Arc<AtomicUsize>) -> Vec<String> {
    let client = Client::new();
    let mut accepted = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let call = format!("call-{number}");
        let event = json!({"call_id": call, "end_at": "2026-03-30 14:27:12"}).to_string();
        for attempt in number.. {
            let url = homes[attempt % homes.len()].url("/v1/ingest/dialer");
            match client.send("POST", &url, &[], event.clone()).await {
                Ok((StatusCode::OK, _)) => break,
                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok((status, body)) => panic!("{status}: {body:?}"),
            }
        }
        accepted.push(call);
    }
    accepted
}

/// What the receiver saw of one delivery.
struct Delivery {
    call: String,
    body: Bytes,
    /// When it was answered with 200.
    taken: Vec<Instant>,
    is_same: bool,
}

#[derive(Default)]
struct Seen {
    deliveries: HashMap<String, Delivery>,
    /// Of each call, the deliveries that were answered with 200.
    calls: HashMap<String, HashSet<String>>,
}

impl Seen {
    fn note(&mut self, number: usize, received: &Received) -> StatusCode {
        let id = received.header("webhook-id").to_owned();
        let delivery = self.deliveries.entry(id.clone()).or_insert_with(|| Delivery {
            call: received.json()["call"].as_str().expect("the template says so").to_owned(),
            body: received.body.clone(),
            taken: Vec::new(),
            is_same: true,
        });
        delivery.is_same &= delivery.body == received.body;
        if number.is_multiple_of(7) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        delivery.taken.push(Instant::now());
        self.calls.entry(delivery.call.clone()).or_default().insert(id);
        StatusCode::OK
    }

    fn missing(&self, accepted: &HashSet<String>) -> usize {
        accepted.iter().filter(|call| !self.calls.contains_key(*call)).count()
    }

    fn outcome(&self, accepted: &HashSet<String>, outages: &[(Instant, Instant)]) -> Outcome {
        let was_in_flight = |taken: &Instant| {
            outages.iter().any(|(began, ended)| *taken + IN_FLIGHT > *began && *taken < *ended + IN_FLIGHT)
        };
        // All but the last of them are repeated later.
        let repeated = |delivery: &Delivery| delivery.taken.len().saturating_sub(1);
        let unexplained = |delivery: &Delivery| {
            delivery.taken[..repeated(delivery)].iter().filter(|taken| !was_in_flight(taken)).count()
        };
        let is_wrong = |delivery: &&Delivery| {
            !delivery.is_same || self.calls.get(&delivery.call).is_some_and(|ids| ids.len() > 1)
        };
        let deliveries = self.deliveries.values();
        Outcome {
            accepted: accepted.len(),
            delivered: accepted.len() - self.missing(accepted),
            repeated: deliveries.clone().map(repeated).sum(),
            wrong: deliveries.clone().map(unexplained).sum::<usize>() + deliveries.filter(is_wrong).count(),
        }
    }
}
