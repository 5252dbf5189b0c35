//! What the tasks of a store in Redis share with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::bringing_up::bring_up;
use super::jobs::HeldJob;
use super::nodes::Nodes;
use super::revisions::Revisions;
use super::scripts::Scripts;
use super::shard::{MOST_SHARDS, Shard, of_token, shard_of};
use super::together::Queues;
use super::vacancies::Vacancies;
use super::{FORMAT, Options, inspection, newer, upkeep};
use crate::event::{AccountName, DeliveryId, JobId};
use crate::metric::Histogram;
use crate::store::{Claim, Lease, StoreError};

/// What the tasks share with the store.
pub(super) struct Shared {
    /// There is at least one.
    pub(super) shards: Vec<Shard>,
    pub(super) scripts: Scripts,
    pub(super) options: Options,
    /// What waits to be done together, once the store is started.
    pub(super) queues: OnceLock<Queues>,
    pub(super) held: Mutex<HashMap<DeliveryId, Held>>,
    /// Slots that wait for work.
    pub(super) vacancies: Vacancies,
    /// What fills them without a claim, until somebody waits for that.
    pub(super) arrivals: Mutex<Option<mpsc::Receiver<Claim>>>,
    /// Something that was held is not any more.
    pub(super) freed: Notify,
    /// The leases of jobs that this process holds, and keeps from running out.
    pub(super) held_jobs: Mutex<HashMap<JobId, HeldJob>>,
    /// Counts claims of jobs: each begins with another shard.
    pub(super) job_turn: AtomicUsize,
    /// Somebody waits for jobs here.
    pub(super) idle_for_jobs: watch::Sender<bool>,
    /// There are jobs again.
    pub(super) woken_for_jobs: Arc<Notify>,
    /// What is known of the registrations' revisions.
    pub(super) revisions: Revisions,
    /// How long scripts take.
    pub(super) meter: Histogram,
    /// There is something to announce.
    pub(super) announcing: Notify,
    pub(super) closed: AtomicBool,
    pub(super) closing: watch::Sender<bool>,
}

/// A lease that this process holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) token: u64,
    pub(super) on_trial: bool,
    pub(super) since: Instant,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("shards", &self.shards)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Looks at the servers' settings, says in the log what they can lose, and opens every shard.
    pub(super) async fn connect(
        url: &str,
        options: Options,
        time: Option<Arc<AtomicI64>>,
    ) -> Result<Self, StoreError> {
        let nodes = Arc::new(Nodes::open(url, options.durability).await?);
        let exposures = inspection::inspect(&nodes, options.durability).await?;
        let scripts = Scripts::new();
        let shards = open_shards(&nodes, &scripts, time).await.map_err(|error| nodes.unusable(error))?;
        let (vacancies, arrivals) = Vacancies::new(options.max_in_flight);
        let shared = Self {
            vacancies,
            arrivals: Mutex::new(Some(arrivals)),
            revisions: Revisions::new(shards.len()),
            meter: nodes.meter().clone(),
            shards,
            scripts,
            options,
            queues: OnceLock::new(),
            held: Mutex::default(),
            freed: Notify::new(),
            held_jobs: Mutex::default(),
            job_turn: AtomicUsize::new(0),
            idle_for_jobs: watch::Sender::new(false),
            woken_for_jobs: Arc::default(),
            announcing: Notify::new(),
            closed: AtomicBool::new(false),
            closing: watch::Sender::new(false),
        };
        // So that one whose replicas are not as they must be does not start only to refuse everything.
        for shard in &shared.shards {
            shard.keep_all().await.map_err(|error| nodes.unusable(inspection::keeps_nothing(error)))?;
        }
        for exposure in exposures {
            if exposure.is_grave {
                tracing::warn!("the store is open; {}", exposure.sentence);
            } else {
                tracing::info!("the store is open; {}", exposure.sentence);
            }
        }
        for shard in &shared.shards {
            upkeep::tick(&shared, shard, i64::MAX).await.map_err(|error| nodes.unusable(error))?;
        }
        Ok(shared)
    }

    /// The shard of an account.
    pub(super) fn of(&self, account: &AccountName) -> &Shard {
        self.of_name(account)
    }

    /// The shard of whatever has this name.
    pub(super) fn of_name(&self, name: &str) -> &Shard {
        &self.shards[shard_of(name, self.shards.len())]
    }

    /// The shard of a lease, and its token as Redis knows it. One that nobody gave out is of the first.
    pub(super) fn of_token(&self, token: u64) -> (&Shard, u64) {
        let (number, token) = of_token(token);
        (self.shards.get(number).unwrap_or(&self.shards[0]), token)
    }

    /// Whether a shard is left alone because it did not answer, so that the others need not wait for it.
    /// Where there is no other, it is asked.
    pub(super) fn is_left_alone(&self, shard: &Shard) -> bool {
        self.shards.len() > 1 && shard.is_away()
    }

    /// Leases, by the shard that each is of.
    pub(super) fn by_shard(&self, leases: &[Lease]) -> impl Iterator<Item = (&Shard, Vec<Lease>)> {
        let mut leases = leases.to_vec();
        leases.sort_by_key(|lease| of_token(lease.token).0);
        let of_one = |one: &Lease, other: &Lease| of_token(one.token).0 == of_token(other.token).0;
        let groups: Vec<Vec<Lease>> = leases.chunk_by(of_one).map(<[Lease]>::to_vec).collect();
        groups.into_iter().map(|leases| (self.of_token(leases[0].token).0, leases))
    }

    pub(super) fn held(&self) -> std::sync::MutexGuard<'_, HashMap<DeliveryId, Held>> {
        self.held.lock().expect("no holder of this lock panics")
    }

    /// A lease is not held any more, whoever ended it.
    pub(super) fn forget(&self, lease: Lease) {
        let mut held = self.held();
        if held.get(&lease.delivery).is_some_and(|one| one.token == lease.token) {
            held.remove(&lease.delivery);
            drop(held);
            self.of_token(lease.token).0.wake();
            self.freed.notify_one();
        }
    }
}

/// Opens all shards: as many as the first says that there are, or, if it is new, as many as suit the
/// place.
async fn open_shards(
    nodes: &Arc<Nodes>,
    scripts: &Scripts,
    time: Option<Arc<AtomicI64>>,
) -> Result<Vec<Shard>, StoreError> {
    let mut shards: Vec<Shard> = Vec::new();
    let mut count = nodes.shards();
    let mut nobody_else = false;
    while shards.len() < count {
        let shard = Shard::new(shards.len(), Arc::clone(nodes), time.clone());
        let name = ulid::Ulid::generate().to_string();
        let (format, mut epoch, recorded, is_old): (u32, Vec<u8>, usize, bool) = shard
            .run(&scripts.open, |command| {
                command.arg(FORMAT).arg(&name).arg(count);
            })
            .await?;
        if format > FORMAT {
            return Err(newer(format));
        }
        if shards.is_empty() && (1..=MOST_SHARDS).contains(&recorded) {
            count = recorded;
        }
        if recorded != count {
            return Err(StoreError::Unusable(format!(
                "its shard {} says that there are {recorded} shards, and the first says {count}: these are \
                 parts of different stores",
                shards.len()
            )));
        }
        if is_old {
            epoch = bring_up(&shard, scripts, &mut nobody_else).await?;
        }
        shard.expect_epoch(epoch);
        shards.push(shard);
    }
    Ok(shards)
}
