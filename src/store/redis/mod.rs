//! The Redis store: several processes on several machines share one Redis, or a Redis Cluster, and any
//! may die.
//!
//! Every write is one script (the `.lua` files beside this one), so it happens as a whole or not
//! at all. Events and outcomes that come while a script is under way go together in the next, each as
//! if it were alone (`together.rs`). Scripts take the time from Redis; what a process knows as a time of its own clock is
//! told as a span from now. Each process asks for as many deliveries as it has free slots, and
//! waits for more with `BLPOP`; what it writes itself meanwhile comes back leased, if nobody else's turn
//! is before (`vacancies.rs`). Leases of a process that died are ended by the others.
//!
//! The rules of who is served next are those of [`crate::store::scheduler`], and a test holds the
//! two against each other. The slots themselves are counted in each process, so that nothing is
//! left over of one that died; what a registration may have in flight, and how often, is counted
//! in Redis and holds over all of them.
//!
//! # Shards
//!
//! Everything of an account is in one shard, chosen by a hash of its name, and nothing is in two: a
//! script writes one shard and knows of no other. In a single Redis there is one. In a Cluster there
//! are as many as its first start has recorded, each in a slot of its own, wherever that is at the
//! time. What goes over accounts goes over the shards: claims begin with another shard each time, each
//! shard has its own upkeep and its own waiters, and one that is away holds up no other. A lease's
//! token says in its first byte which shard it is of. How often a source's provider may be asked is
//! counted in the shard of the source's name.
//!
#![doc = include_str!("keys.md")]
#![allow(clippy::similar_names, reason = "a shard, and what its tasks have shared, are called so")]

mod address;
mod announcing;
mod audit;
mod bringing_up;
mod claiming;
mod cluster;
mod erasing;
mod failure;
mod form;
mod inspection;
mod jobs;
mod kept;
mod late;
mod link;
mod lists;
mod nodes;
mod reading;
#[cfg(test)]
#[allow(dead_code, reason = "it serves the tests outside too")]
#[path = "../../../tests/redis_server.rs"]
mod redis_server;
mod replicas;
mod revisions;
mod scripts;
mod search;
mod shard;
mod shared;
mod speech_requests;
mod standing;
#[cfg(test)]
mod tests;
mod together;
mod upkeep;
mod vacancies;
mod writing;

pub use self::address::nodes_of_cluster;
pub use self::audit::audit;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::claiming::{ClaimRequest, Claimer};
use self::failure::{closed, full};
use self::shared::{Held, Shared};
use super::scheduler::CircuitRules;
use super::{
    Acceptance, Accepted, Announcement, Answered, CallMark, CallQuery, CallbackChanges, CallbackRow, Claim,
    DedupeKey, DefinitionVersion, DeliveryFilter, DeliveryRow, DeliveryView, EventFilter, EventRow,
    EventView, Found, LateRendering, Lease, ListedCall, Page, Recall, Remember, Replay, Replayed, Retention,
    Settlement, Standing, Store, StoreError, StoredCall,
};
use crate::context::CallKey;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};
use crate::metric::Histogram;

/// The version of the keys. A newer binary reads an older one's, an older binary refuses newer.
const FORMAT: u32 = 7;

/// Deliveries of one account that may be open at once; past it, its events are refused. What
/// bounds all accounts together is Redis' `maxmemory`.
pub const BACKLOG: usize = 4_000_000;

/// Writes of one process that may be under way at once, apart from those that leases bound.
const WAITING_WRITES: usize = 1_024;

/// Claims that may wait at once. A worker has one.
const WAITING_CLAIMS: usize = 1_024;

/// The longest deadline that a registration may set.
const LONGEST_DEADLINE: Duration = Duration::from_mins(1);

/// How much longer than its delivery's deadline a lease lasts. A worker that lives settles before.
const LEASE_SLACK: Duration = Duration::from_secs(5);

/// The longest lease, and that of a delivery whose registration is not known.
const LEASE_TIME: Duration = Duration::from_secs(LONGEST_DEADLINE.as_secs() + LEASE_SLACK.as_secs());

/// How long a close waits for leases to be given back. What is not given back runs out by itself.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What an answer stands for, where it says that something is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Redis has it, as well as its `appendfsync` keeps things.
    #[default]
    Local,
    /// It is on the disk of the master, and on that of a replica (`WAITAOF`, Redis 7.2 and later).
    Replica,
}

/// The settings of a store in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Leases that this process holds at once, over all destinations.
    pub max_in_flight: usize,
    /// How long things are kept.
    pub retention: Retention,
    /// When a receiver is only probed. Processes of one Redis should agree.
    pub circuit: CircuitRules,
    /// What answers stand for.
    pub durability: Durability,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_in_flight: 512,
            retention: Retention::default(),
            circuit: CircuitRules::default(),
            durability: Durability::Local,
        }
    }
}

/// A store in a Redis.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    claims: mpsc::Sender<ClaimRequest>,
    /// Turns of the writes that may be under way.
    turns: Semaphore,
    /// What runs by itself: the claimer, its waker, the upkeep.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Redis {
    /// Opens the store at `url` (`redis://` or `rediss://`, with user, password and database as
    /// needed; `redis-cluster://` or `rediss-cluster://` and some of its nodes), looks at the servers'
    /// settings, and says in the log what they can lose.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: a server cannot be reached, is too old, is a replica, throws data
    /// away when its memory is full, or holds what a newer version wrote.
    pub async fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        Ok(Self::start(Arc::new(Shared::connect(url, options, None).await?)))
    }

    /// What is measured of its scripts, for those who show it.
    #[must_use]
    pub fn meter(&self) -> Histogram {
        self.shared.meter.clone()
    }

    fn start(shared: Arc<Shared>) -> Self {
        let (claims, requests) = mpsc::channel(WAITING_CLAIMS);
        let (idle, is_idle) = watch::channel(false);
        let woken = Arc::new(Notify::new());
        let claimer = Claimer::new(Arc::clone(&shared), requests, idle, Arc::clone(&woken));
        let mut tasks = together::start(&shared);
        tasks.push(tokio::spawn(claimer.run()));
        for shard in 0..shared.shards.len() {
            tasks.extend([
                tokio::spawn(claiming::wait_for_work(
                    Arc::clone(&shared),
                    shard,
                    claiming::DELIVERIES,
                    is_idle.clone(),
                    Arc::clone(&woken),
                )),
                tokio::spawn(claiming::wait_for_work(
                    Arc::clone(&shared),
                    shard,
                    claiming::JOBS,
                    shared.idle_for_jobs.subscribe(),
                    Arc::clone(&shared.woken_for_jobs),
                )),
                tokio::spawn(upkeep::run(Arc::clone(&shared), shard)),
                tokio::spawn(search::index(Arc::clone(&shared), shard)),
            ]);
        }
        Self { shared, claims, turns: Semaphore::new(WAITING_WRITES), tasks: Mutex::new(tasks) }
    }

    /// Has every call that is noted now put into the index of calls, which happens by itself; for
    /// benches and tests.
    ///
    /// # Errors
    /// As those of [`Store::calls`].
    pub async fn indexed(&self) -> Result<(), StoreError> {
        search::index_all(self.open_only()?).await
    }

    fn open_only(&self) -> Result<&Shared, StoreError> {
        if self.shared.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(&self.shared) }
    }

    /// For writes that anybody may ask for: at most so many are under way.
    fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        self.turns.try_acquire().map_err(|_| full())
    }
}

/// What is stored is of a format that this version does not know.
fn newer(format: u32) -> StoreError {
    StoreError::Unusable(format!(
        "it was written by a newer ringback (format {format}; this one reads up to {FORMAT}): start the \
         newer one, or name another database"
    ))
}

/// Waits until it is so; for ever, if nobody is left who could make it so.
async fn becomes_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Store for Redis {
    async fn recall(&self, dedupe: &DedupeKey, call: Option<&CallKey>) -> Result<Recall, StoreError> {
        self.open_only()?.recall(dedupe, call).await
    }

    async fn call(&self, key: &CallKey) -> Result<Option<StoredCall>, StoreError> {
        self.open_only()?.call(key).await
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.accept(&acceptance).await
    }

    async fn reject(&self, event: EventRow) -> Result<(), StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.reject(&event).await
    }

    async fn put_callback(&self, row: CallbackRow) -> Result<(), StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.put_callback(&row).await
    }

    async fn put_callback_once(
        &self,
        row: CallbackRow,
        remember: Remember,
    ) -> Result<Option<Answered>, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.put_callback_once(&row, &remember).await
    }

    async fn answered(&self, account: &AccountName, key: &[u8; 32]) -> Result<Option<Answered>, StoreError> {
        self.open_only()?.answered(account, key).await
    }

    async fn stored(&self, account: &AccountName) -> Result<u64, StoreError> {
        self.open_only()?.stored(account).await
    }

    async fn remove_callback(&self, account: &AccountName, id: CallbackId) -> Result<bool, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.remove_callback(account, id).await
    }

    async fn callbacks(&self) -> Result<Vec<CallbackRow>, StoreError> {
        Ok(self.open_only()?.callback_changes(0).await?.changed)
    }

    async fn callbacks_changed(&self, since: u64) {
        let mut revision = self.shared.revisions.subscribe();
        if revision.wait_for(|now| *now != since).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn callback_changes(&self, since: u64) -> Result<CallbackChanges, StoreError> {
        self.open_only()?.callback_changes(since).await
    }

    async fn claim(&self, slots: usize) -> Result<Vec<Claim>, StoreError> {
        if slots == 0 || self.shared.closed.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let (answer, handover) = oneshot::channel();
        self.claims.try_send(ClaimRequest { slots, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => full(),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        match handover.await {
            Ok(handover) => Ok(handover?.open()),
            Err(_) if self.shared.closed.load(Ordering::Acquire) => Ok(Vec::new()),
            Err(_) => Err(closed()),
        }
    }

    async fn settle(&self, settlement: Settlement) -> Result<bool, StoreError> {
        Ok(self.open_only()?.settle(&settlement).await?.is_some())
    }

    async fn put_rendering(&self, rendering: LateRendering) -> Result<bool, StoreError> {
        self.open_only()?.put_rendering(&rendering).await
    }

    async fn snapshot(&self, account: &AccountName, event: EventId) -> Result<Option<Bytes>, StoreError> {
        self.open_only()?.snapshot(account, event).await
    }

    async fn definition(
        &self,
        account: &AccountName,
        id: CallbackId,
        version: DefinitionVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.open_only()?.definition(account, id, version).await
    }

    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError> {
        self.open_only()?.release(&leases).await
    }

    async fn event(&self, account: &AccountName, id: EventId) -> Result<Option<EventView>, StoreError> {
        self.open_only()?.event(account, id).await
    }

    async fn events(
        &self,
        account: &AccountName,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Found<EventRow, EventId>, StoreError> {
        self.open_only()?.events(account, filter, before, limit).await
    }

    async fn calls(
        &self,
        account: &AccountName,
        query: &CallQuery,
        before: Option<&CallMark>,
        limit: usize,
    ) -> Result<Found<ListedCall, CallMark>, StoreError> {
        self.open_only()?.calls(account, query, before, limit).await
    }

    async fn erase_call(&self, key: &CallKey) -> Result<bool, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.erase_call(key).await
    }

    async fn delivery(
        &self,
        account: &AccountName,
        id: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError> {
        self.open_only()?.delivery(account, id).await
    }

    async fn deliveries(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.open_only()?.deliveries(account, filter, page).await
    }

    async fn deliveries_after(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Found<DeliveryRow, DeliveryId>, StoreError> {
        self.open_only()?.deliveries_after(account, filter, after, limit).await
    }

    async fn retry_all(&self, account: &AccountName, ids: &[DeliveryId]) -> Result<usize, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.retry_all(account, ids).await
    }

    async fn replay(&self, replay: Replay) -> Result<Replayed, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.replay(&replay).await
    }

    async fn announcements(&self, limit: usize) -> Result<Vec<Announcement>, StoreError> {
        self.open_only()?.announcements(limit).await
    }

    async fn forget_announcements(&self, marks: &[Vec<u8>]) -> Result<(), StoreError> {
        self.open_only()?.forget_announcements(marks).await
    }

    async fn announces(&self) {
        self.shared.announcing.notified().await;
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.open_only()?.sweep(now).await
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        self.open_only()?.standing().await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.open_only()?.probe().await
    }

    async fn close(&self) {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no holder of this lock panics"));
        let give_back = async {
            for task in tasks {
                // One that panicked has nothing to finish.
                let _ = task.await;
            }
            let leases: Vec<Lease> = self
                .shared
                .held()
                .iter()
                .map(|(delivery, held)| Lease { delivery: *delivery, token: held.token })
                .collect();
            self.shared.release(&leases).await?;
            self.shared.give_back_jobs().await
        };
        match tokio::time::timeout(CLOSE_LIMIT, give_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "leases could not be given back; they will run out"),
            Err(_) => tracing::warn!("leases could not be given back in time; they will run out"),
        }
    }
}

impl Drop for Redis {
    /// A store that is dropped unclosed leaves what a process that died would leave.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        for task in self.tasks.lock().expect("no holder of this lock panics").drain(..) {
            task.abort();
        }
    }
}
