//! The store's contract, run over every store that there is: a store joins with a line in
//! [`every_store`].
#![allow(clippy::unwrap_used, reason = "everything here is a part of tests")]

mod accepting;
mod announcing;
mod auditing;
mod bringing_up;
mod circuits;
mod claiming;
mod cluster;
mod crashing;
mod embedded;
mod erasing;
mod indexing;
mod jobs;
mod late;
mod listing;
mod ordering;
mod outages;
mod proxy;
mod reading;
mod redis;
mod registering;
mod replaying;
mod replicas;
mod sample;
mod searching;
mod shared_jobs;
mod speech_requests;
mod spread;
mod storing;
mod together;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use ringback::store::audit::{Audit, Finding};
use ringback::store::embedded::{self as embedded_store, Embedded};
use ringback::store::redis::{self as redis_store, Redis};
use ringback::store::scheduler::CircuitRules;
use ringback::store::{SharedJobs, SharedSpeechRequests, SharedStore};

use crate::redis_cluster::RedisCluster;
use crate::redis_server::RedisServer;

/// A store that is open, and what it keeps beside deliveries.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) store: SharedStore,
    pub(crate) jobs: SharedJobs,
    pub(crate) requests: SharedSpeechRequests,
}

/// A place in which a store keeps its data, and the way to open it.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// Opens the store with all that it keeps, or opens it again, with circuits of these rules.
    async fn open_all(&self, circuit: CircuitRules) -> Opened;

    /// Opens the store, or opens it again, with circuits of these rules.
    async fn open_with(&self, circuit: CircuitRules) -> SharedStore {
        self.open_all(circuit).await.store
    }

    /// Opens the store, or opens it again.
    async fn open(&self) -> SharedStore {
        self.open_with(CircuitRules::default()).await
    }

    /// Leaves what would be left if the power were cut now, after as much time as it takes until the
    /// leases of those who died run out.
    async fn cut_power(&self);

    /// Opens the store after [`Place::cut_power`].
    async fn open_after_power_cut(&self) -> SharedStore {
        self.cut_power().await;
        self.open().await
    }

    /// Whether everything in it is where it should be.
    async fn audit(&self) -> Audit;

    /// How many bytes of all accounts are really there, looked at from outside.
    fn weigh(&self) -> u64;
}

/// A place that is looked at when a rule is done with it.
#[async_trait]
impl Place for Arc<dyn Place> {
    async fn open_all(&self, circuit: CircuitRules) -> Opened {
        self.as_ref().open_all(circuit).await
    }

    async fn cut_power(&self) {
        self.as_ref().cut_power().await;
    }

    async fn audit(&self) -> Audit {
        self.as_ref().audit().await
    }

    fn weigh(&self) -> u64 {
        self.as_ref().weigh()
    }
}

struct EmbeddedPlace {
    folder: tempfile::TempDir,
    cuts: std::sync::atomic::AtomicU32,
}

impl EmbeddedPlace {
    fn path(&self) -> PathBuf {
        let cuts = self.cuts.load(std::sync::atomic::Ordering::Relaxed);
        self.folder.path().join(format!("store-{cuts}.db"))
    }
}

#[async_trait]
impl Place for EmbeddedPlace {
    async fn open_all(&self, circuit: CircuitRules) -> Opened {
        let options = embedded_store::Options { max_in_flight: MAX_IN_FLIGHT, circuit, ..Default::default() };
        let store = Arc::new(Embedded::open(&self.path(), options).unwrap());
        Opened { store: Arc::clone(&store) as _, jobs: Arc::clone(&store) as _, requests: store }
    }

    async fn cut_power(&self) {
        let before = self.path();
        self.cuts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        copy_as_after_power_cut(&before, &self.path());
    }

    async fn audit(&self) -> Audit {
        embedded_store::audit(&self.path(), false).unwrap()
    }

    fn weigh(&self) -> u64 {
        let sum = "SELECT coalesce(sum(bytes), 0) FROM (SELECT length(body) AS bytes FROM event \
                   UNION ALL SELECT length(context) FROM call UNION ALL SELECT length(body) FROM request UNION ALL SELECT length(bytes) FROM snapshot)";
        let file = rusqlite::Connection::open(self.path()).unwrap();
        file.query_row(sum, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    }
}

/// Copies a file and its log, which is what is left of a store whose process was killed.
pub(crate) fn copy_as_after_power_cut(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        std::fs::copy(with_suffix(from), with_suffix(to)).unwrap();
    }
}

/// Opens what is at a URL, a Redis or a Cluster.
async fn open_all_at(url: &str, circuit: CircuitRules) -> Opened {
    let options = redis_store::Options { max_in_flight: MAX_IN_FLIGHT, circuit, ..Default::default() };
    let store = Arc::new(Redis::open(url, options).await.unwrap());
    Opened { store: Arc::clone(&store) as _, jobs: Arc::clone(&store) as _, requests: store }
}

struct RedisPlace(Mutex<RedisServer>);

#[async_trait]
impl Place for RedisPlace {
    async fn open_all(&self, circuit: CircuitRules) -> Opened {
        let url = self.0.lock().unwrap().url();
        open_all_at(&url, circuit).await
    }

    async fn cut_power(&self) {
        let mut server = self.0.lock().unwrap();
        server.kill();
        server.start_again();
        run_leases_out(&server);
    }

    async fn audit(&self) -> Audit {
        let url = self.0.lock().unwrap().url();
        redis_store::audit(&url).await.unwrap()
    }

    fn weigh(&self) -> u64 {
        weigh(&self.0.lock().unwrap())
    }
}

/// Makes a store in a Redis what one of format 6 is.
const BACK_TO_6: &str = include_str!("back_to_6.lua");

/// How many bytes of all accounts are in a server.
fn weigh(server: &RedisServer) -> u64 {
    let script = "local sum = 0 \
                  for _, key in ipairs(redis.call('KEYS', '{rb*}:c:*')) do \
                  sum = sum + redis.call('HSTRLEN', key, 'b') end \
                  for _, key in ipairs(redis.call('KEYS', '{rb*}:e:*')) do \
                  local event = redis.call('GET', key) \
                  local _, _, _, _, behind = struct.unpack('>I8Hc0Hc0Hc0', event) \
                  sum = sum + #event - behind + 1 end \
                  for _, key in ipairs(redis.call('KEYS', '{rb*}:sn:*')) do \
                  sum = sum + redis.call('HSTRLEN', key, 'b') end \
                  for _, key in ipairs(redis.call('KEYS', '{rb*}:r:*')) do \
                  sum = sum + redis.call('STRLEN', key) end return sum";
    let answer = server.ask(&[b"EVAL", script.as_bytes(), b"0"]);
    let answer = String::from_utf8(answer).unwrap();
    answer.trim_start_matches(':').trim_end().parse().unwrap()
}

/// A Cluster, which is one rule's at a time.
struct ClusterPlace(Mutex<tokio::sync::OwnedMutexGuard<RedisCluster>>);

/// The Cluster that runs at present: to make one takes longer than most rules do. It is gone when no
/// rule waits for it any more.
static CLUSTER: Mutex<Weak<tokio::sync::Mutex<RedisCluster>>> = Mutex::new(Weak::new());

impl ClusterPlace {
    fn empty() -> Self {
        let cluster = {
            let mut running = CLUSTER.lock().unwrap();
            running.upgrade().unwrap_or_else(|| {
                let cluster = Arc::new(tokio::sync::Mutex::new(RedisCluster::start()));
                *running = Arc::downgrade(&cluster);
                cluster
            })
        };
        let cluster = cluster.blocking_lock_owned();
        for master in &cluster.masters {
            assert!(master.ask(&[b"FLUSHALL"]).starts_with(b"+OK"));
        }
        Self(Mutex::new(cluster))
    }
}

#[async_trait]
impl Place for ClusterPlace {
    async fn open_all(&self, circuit: CircuitRules) -> Opened {
        let url = self.0.lock().unwrap().url();
        open_all_at(&url, circuit).await
    }

    async fn cut_power(&self) {
        let mut cluster = self.0.lock().unwrap();
        for master in &mut cluster.masters {
            master.kill();
        }
        for master in &mut cluster.masters {
            master.start_again();
        }
        cluster.is_well();
        for master in &cluster.masters {
            run_leases_out(master);
        }
    }

    async fn audit(&self) -> Audit {
        let url = self.0.lock().unwrap().url();
        redis_store::audit(&url).await.unwrap()
    }

    fn weigh(&self) -> u64 {
        self.0.lock().unwrap().masters.iter().map(weigh).sum()
    }
}

/// Lets the time of all leases pass, of deliveries and of jobs.
pub(crate) fn run_leases_out(server: &RedisServer) {
    let script = "for _, pattern in ipairs({ '{rb*}:l', '{rb*}:jl' }) do \
                  for _, leases in ipairs(redis.call('KEYS', pattern)) do \
                  for _, id in ipairs(redis.call('ZRANGE', leases, 0, -1)) do \
                  redis.call('ZADD', leases, 1, id) end end end";
    let answer = server.ask(&[b"EVAL", script.as_bytes(), b"0"]);
    assert!(answer.starts_with(b"$-1"), "{}", String::from_utf8_lossy(&answer));
}

pub(crate) const MAX_IN_FLIGHT: usize = 8;

pub(crate) fn open_embedded(path: &Path) -> Embedded {
    Embedded::open(path, embedded_store::Options { max_in_flight: MAX_IN_FLIGHT, ..Default::default() })
        .unwrap()
}

pub(crate) async fn open_redis(url: &str) -> Redis {
    Redis::open(url, redis_store::Options { max_in_flight: MAX_IN_FLIGHT, ..Default::default() })
        .await
        .unwrap()
}

/// What is wrong, but for what rules leave out because it does not matter to them: registrations that
/// deliveries are of, and calls that jobs are of.
fn wrong(audit: &Audit) -> Vec<&Finding> {
    let left_out = ["a registration that there never was", "its call is not there"];
    let is_left_out = |finding: &&Finding| left_out.iter().any(|end| finding.detail.ends_with(end));
    audit.findings.iter().filter(|finding| !is_left_out(finding)).collect()
}

/// Runs a rule of the contract over every store. Whatever it does, everything is where it should be
/// in the end.
pub(crate) fn every_store<F: Future<Output = ()>>(rule: impl Fn(Box<dyn Place>) -> F) {
    let embedded =
        EmbeddedPlace { folder: tempfile::tempdir().unwrap(), cuts: std::sync::atomic::AtomicU32::new(0) };
    run(
        [Arc::new(embedded) as Arc<dyn Place>, Arc::new(RedisPlace(Mutex::new(RedisServer::durable())))],
        &rule,
    );
}

/// Runs a rule over every store, and over a Redis Cluster: those rules whose keys are shared out.
pub(crate) fn every_store_and_cluster<F: Future<Output = ()>>(rule: impl Fn(Box<dyn Place>) -> F) {
    every_store(&rule);
    run([Arc::new(ClusterPlace::empty()) as Arc<dyn Place>], &rule);
}

fn run<F: Future<Output = ()>>(
    places: impl IntoIterator<Item = Arc<dyn Place>>,
    rule: &impl Fn(Box<dyn Place>) -> F,
) {
    for place in places {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(rule(Box::new(Arc::clone(&place))));
        let audit = runtime.block_on(place.audit());
        assert_eq!((wrong(&audit), audit.more), (Vec::new(), 0));
    }
}
