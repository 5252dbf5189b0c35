//! What a claim costs while many deliveries wait.

use std::path::Path;
use std::time::{Duration, Instant};

use ringback::store::{Accepted, SharedStore};

use crate::load::{acceptance, delivered, registration, to_each};
use crate::redis_server::RedisServer;
use crate::{EVERY_SECOND, embedded, in_redis};

const DESTINATIONS: usize = 1_000;

/// Deliveries of an event: as many as one may cause.
const OF_AN_EVENT: usize = 1_000;

/// Slots of a claim.
const SLOTS: usize = 64;

/// How many waiting deliveries there are, and how many of them are claimed and settled.
struct Size {
    few: usize,
    many: usize,
    claimed: usize,
}

pub(crate) async fn run(folder: &Path, is_test: bool) {
    let size = if is_test {
        Size { few: 2_000, many: 4_000, claimed: 200 }
    } else {
        Size { few: 10_000, many: 1_000_000, claimed: 8_000 }
    };
    println!("\nbacklog: {DESTINATIONS} destinations, {SLOTS} slots");
    measure("embedded", embedded(&folder.join("backlog.db")), &size).await;
    let server = RedisServer::start(EVERY_SECOND);
    measure("Redis", in_redis(&server).await, &size).await;
}

async fn measure(name: &str, store: SharedStore, size: &Size) {
    let mut destinations = Vec::new();
    for _ in 0..DESTINATIONS {
        let row = registration();
        destinations.push(row.id);
        store.put_callback(row).await.expect("it is stored");
    }
    let mut costs = Vec::new();
    let (mut waiting, mut events) = (0, 0);
    for backlog in [size.few, size.many] {
        while waiting < backlog {
            let event = to_each(acceptance(events, destinations[0]), destinations.iter().copied());
            let accepted = store.accept(event).await.expect("it is stored");
            assert_eq!(accepted, Accepted::Stored);
            waiting += OF_AN_EVENT;
            events += 1;
        }
        let (claim, settle) = claimed(&store, size.claimed).await;
        waiting -= size.claimed;
        println!(
            "{name:<10} {backlog:>9} waiting: {claim:>9.2?} a claimed delivery, {settle:>9.2?} a settled one"
        );
        costs.push(claim.as_secs_f64());
    }
    println!("{name:<10} claims with {} waiting / with {}: {:.2}", size.many, size.few, costs[1] / costs[0]);
    println!("{name:<10} most memory of this process so far: {} MB", peak_megabytes());
    store.close().await;
}

/// Claims and settles so many; what one takes of each, on average.
async fn claimed(store: &SharedStore, count: usize) -> (Duration, Duration) {
    let (mut claiming, mut settling) = (Duration::ZERO, Duration::ZERO);
    let mut done = 0;
    while done < count {
        let started = Instant::now();
        let claims = store.claim(SLOTS.min(count - done)).await.expect("the store works");
        claiming += started.elapsed();
        let started = Instant::now();
        let settlements: Vec<_> = claims
            .iter()
            .map(|claim| {
                let (store, settlement) = (store.clone(), delivered(claim));
                tokio::spawn(async move { store.settle(settlement).await.expect("the store works") })
            })
            .collect();
        for settlement in settlements {
            assert!(settlement.await.expect("it does not panic"));
        }
        settling += started.elapsed();
        done += claims.len();
    }
    let count = u32::try_from(count).expect("some thousands");
    (claiming / count, settling / count)
}

/// The most memory that this process has had in use (`VmHWM`).
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes >> 10
}
