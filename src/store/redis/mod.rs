//! The Redis store: several processes on several machines share one Redis, and any may die.
//!
//! Every write is one script (the `.lua` files beside this one), so it happens as a whole or not
//! at all. Scripts take the time from Redis; what a process knows as a time of its own clock is
//! told as a span from now. Each process asks for as many deliveries as it has free slots, and
//! waits for more with `BLPOP`. Leases of a process that died are ended by the others.
//!
//! The rules of who is served next are those of [`crate::store::scheduler`], and a test holds the
//! two against each other. The slots themselves are counted in each process, so that nothing is
//! left over of one that died; what a registration may have in flight, and how often, is counted
//! in Redis and holds over all of them.
//!
//! # Keys
//!
//! All begin with `{rb0}:`. Ids are 16 bytes, times are µs.
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `n` | hash | `F` format, `E` the name of the data, `k` last token, `t` last time, `v` last revision |
//! | `e:<event>` | hash | `b` record, `s` its dedupe key, `a` account |
//! | `s:<source>\0<digest>` | string | the event with this dedupe key, and until when; expires by itself |
//! | `c:<account>\0<space>\0<call>` | hash | `v` version, `b` context |
//! | `k:<registration>` | hash | account, limits, state, definition; `r` removed at: a stone |
//! | `y:<account>\0<key>` | string | the answer that a repeated request gets again; expires by itself |
//! | `kr`, `kp` | zset | registrations by revision; the paused ones |
//! | `h:<delivery>` | hash | all of a delivery that changes: state, token, attempts, due … |
//! | `r:<delivery>` | string | its request |
//! | `a:<delivery>` | list | its attempts |
//! | `d:<destination>` | hash | limits, in flight, rate, whose turn, circuit |
//! | `q:<destination>` | zset | what waits for it, by time |
//! | `g:<destination><order>` | zset | deliveries that go out in this order, by their place in it |
//! | `qx:<destination>`, `zx` | zset, set | what waited for a removed registration; which those are |
//! | `w`, `lp`, `lt` | zset | destinations whose time will come, in line, in line on trial |
//! | `l` | zset | leased deliveries, by when the lease runs out |
//! | `an` | zset | what is to be announced, by time |
//! | `wake`, `jb` | list | one element while there is work, or a job, that nobody was told of |
//! | `i:<account>`, `ic:<registration>`, `ik:<account>\0<call>` | zset | deliveries, in the order of ids |
//! | `ie:<account>` | zset | events, in the order of ids |
//! | `il:<account>` | zset | its calls (`<space>\0<call>`), by when they were first heard of |
//! | `o:<account>`, `is:<state>:<account>` | zset | those that are open, or ended without success |
//! | `xd`, `xf`, `xe`, `xk`, `xc` | zset | what retention removes: delivered, failed, events, kept events, calls |
//! | `j:<job>` | hash | a speech job: source, key, account, phase, due, records; `n` token while it is leased; `e` its end |
//! | `jk:<source>\0<key>` | string | the job with this key that has not failed |
//! | `jp:<source>\0<provider's id>` | zset | its jobs, in the order of ids |
//! | `js:<source>`, `jw:<source>` | zset | jobs that wait to be submitted, and the others that wait, by time |
//! | `ja:<source>` | set | jobs that its provider is at work on, or that are being handed over |
//! | `jl` | zset | leased jobs, by when the lease runs out |
//! | `u:<request>` | hash | a speech request: account, when it was made, and of each call `k` which, `s` state, `r` reason or delivery |
//! | `uw:<account>\0<space>\0<call>` | hash | the speech requests that wait for a call, with its place in each |
//! | `jo:<account>`, `xj` | set, zset | jobs that are not over; all of them, by their end or else their deadline |

mod audit;
mod claiming;
mod erasing;
mod failure;
mod form;
mod inspection;
mod jobs;
mod link;
mod lists;
mod reading;
#[cfg(test)]
#[allow(dead_code, reason = "it serves the tests outside too")]
#[path = "../../../tests/redis_server.rs"]
mod redis_server;
mod speech_requests;
#[cfg(test)]
mod tests;
mod upkeep;
mod writing;

pub use self::audit::audit;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::Client;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::claiming::{ClaimRequest, Claimer};
use self::failure::{closed, full};
use self::jobs::HeldJob;
use self::link::{Link, Script};
use super::scheduler::CircuitRules;
use super::{
    Acceptance, Accepted, Announcement, Answered, CallMark, CallQuery, CallbackChanges, CallbackRow, Claim,
    DedupeKey, DeliveryFilter, DeliveryRow, DeliveryView, EventFilter, EventRow, EventView, Found, Lease,
    ListedCall, Page, Recall, Remember, Replay, Replayed, Retention, Settlement, Store, StoreError,
    StoredCall,
};
use crate::context::CallKey;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId, JobId};

/// The version of the keys. A newer binary reads an older one's, an older binary refuses newer.
const FORMAT: u32 = 3;

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

/// The settings of a store in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Leases that this process holds at once, over all destinations.
    pub max_in_flight: usize,
    /// How long things are kept.
    pub retention: Retention,
    /// When a receiver is only probed. Processes of one Redis should agree.
    pub circuit: CircuitRules,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_in_flight: 512, retention: Retention::default(), circuit: CircuitRules::default() }
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

/// What the tasks share with the store.
struct Shared {
    link: Link,
    scripts: Scripts,
    options: Options,
    held: Mutex<HashMap<DeliveryId, Held>>,
    /// Something that was held is not any more.
    freed: Notify,
    /// Leases that nobody took after all, on their way back. At most as many as are held.
    given_back: Mutex<Vec<Lease>>,
    given_back_some: Notify,
    /// The leases of jobs that this process holds, and keeps from running out.
    held_jobs: Mutex<HashMap<JobId, HeldJob>>,
    /// Somebody waits for jobs here.
    idle_for_jobs: watch::Sender<bool>,
    /// There are jobs again.
    woken_for_jobs: Arc<Notify>,
    /// The newest revision of the registrations that is known of.
    revision: watch::Sender<u64>,
    /// There is something to announce.
    announcing: Notify,
    closed: AtomicBool,
    closing: watch::Sender<bool>,
}

/// A lease that this process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    token: u64,
    on_trial: bool,
    since: Instant,
}

#[derive(Debug)]
struct Scripts {
    accept: Script,
    put_speech_request: Script,
    reject: Script,
    claim: Script,
    settle: Script,
    release: Script,
    tick: Script,
    put_callback: Script,
    remove_callback: Script,
    retry: Script,
    replay: Script,
    sweep: Script,
    view: Script,
    heads: Script,
    erase_deliveries: Script,
    erase_events: Script,
    erase_jobs: Script,
    open: Script,
    put_job: Script,
    claim_jobs: Script,
    next_job: Script,
    settle_job: Script,
    hasten_job: Script,
    keep_jobs: Script,
}

impl Scripts {
    fn new() -> Self {
        // What touches jobs, or writes deliveries, has their rules before it.
        let of_jobs = |text: &str| Script::new(&[include_str!("jobs.lua"), text].concat());
        let of_deliveries = |text: &str| [include_str!("deliveries.lua"), text].concat();
        Self {
            accept: of_jobs(&of_deliveries(include_str!("accept.lua"))),
            put_speech_request: Script::new(&of_deliveries(include_str!("put_speech_request.lua"))),
            reject: Script::new(include_str!("reject.lua")),
            claim: Script::new(include_str!("claim.lua")),
            settle: Script::new(include_str!("settle.lua")),
            release: Script::new(include_str!("release.lua")),
            tick: of_jobs(include_str!("tick.lua")),
            put_callback: Script::new(include_str!("put_callback.lua")),
            remove_callback: Script::new(include_str!("remove_callback.lua")),
            retry: Script::new(include_str!("retry.lua")),
            replay: Script::new(include_str!("replay.lua")),
            sweep: of_jobs(include_str!("sweep.lua")),
            view: Script::new(include_str!("view.lua")),
            heads: Script::new(include_str!("heads.lua")),
            erase_deliveries: Script::new(include_str!("erase_deliveries.lua")),
            erase_events: Script::new(include_str!("erase_events.lua")),
            erase_jobs: of_jobs(include_str!("erase_jobs.lua")),
            open: Script::new(include_str!("open.lua")),
            put_job: of_jobs(include_str!("put_job.lua")),
            claim_jobs: of_jobs(include_str!("claim_jobs.lua")),
            next_job: of_jobs(include_str!("next_job.lua")),
            settle_job: of_jobs(include_str!("settle_job.lua")),
            hasten_job: of_jobs(include_str!("hasten_job.lua")),
            keep_jobs: Script::new(include_str!("keep_jobs.lua")),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("link", &self.link)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Opens the store at `url` (`redis://` or `rediss://`, with user, password and database as
    /// needed), looks at the server's settings, and says in the log what they can lose.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: the server cannot be reached, is too old, is a replica, throws data
    /// away when its memory is full, or holds what a newer version wrote.
    pub async fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        // The library's words may hold the URL, and with it the password.
        let client = Client::open(url)
            .map_err(|_| StoreError::Unusable("the URL of the store is not one of a Redis".to_owned()))?;
        let place = client.get_connection_info().addr().to_string();
        let shared = Shared::connect(client, options, None).await.map_err(|error| unusable(&place, error))?;
        Ok(Self::start(Arc::new(shared)))
    }

    fn start(shared: Arc<Shared>) -> Self {
        let (claims, requests) = mpsc::channel(WAITING_CLAIMS);
        let (idle, is_idle) = watch::channel(false);
        let woken = Arc::new(Notify::new());
        let claimer = Claimer { shared: Arc::clone(&shared), requests, idle, woken: Arc::clone(&woken) };
        let tasks = vec![
            tokio::spawn(claimer.run()),
            tokio::spawn(claiming::wait_for_work(Arc::clone(&shared), claiming::DELIVERIES, is_idle, woken)),
            tokio::spawn(claiming::wait_for_work(
                Arc::clone(&shared),
                claiming::JOBS,
                shared.idle_for_jobs.subscribe(),
                Arc::clone(&shared.woken_for_jobs),
            )),
            tokio::spawn(upkeep::run(Arc::clone(&shared))),
        ];
        Self { shared, claims, turns: Semaphore::new(WAITING_WRITES), tasks: Mutex::new(tasks) }
    }

    fn open_only(&self) -> Result<&Shared, StoreError> {
        if self.shared.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(&self.shared) }
    }

    /// For writes that anybody may ask for: at most so many are under way.
    fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        self.turns.try_acquire().map_err(|_| full())
    }
}

impl Shared {
    async fn connect(
        client: Client,
        options: Options,
        time: Option<Arc<std::sync::atomic::AtomicI64>>,
    ) -> Result<Self, StoreError> {
        let shared = Self {
            link: Link::new(client, time),
            scripts: Scripts::new(),
            options,
            held: Mutex::default(),
            freed: Notify::new(),
            given_back: Mutex::default(),
            given_back_some: Notify::new(),
            held_jobs: Mutex::default(),
            idle_for_jobs: watch::Sender::new(false),
            woken_for_jobs: Arc::default(),
            revision: watch::Sender::new(0),
            announcing: Notify::new(),
            closed: AtomicBool::new(false),
            closing: watch::Sender::new(false),
        };
        let exposure = inspection::inspect(&shared.link).await?;
        let name = ulid::Ulid::generate().to_string();
        let (format, epoch): (u32, Vec<u8>) = shared
            .link
            .run(&shared.scripts.open, |command| {
                command.arg(FORMAT).arg(&name);
            })
            .await?;
        if format > FORMAT {
            return Err(newer(format));
        }
        shared.link.expect_epoch(epoch);
        if exposure.is_grave {
            tracing::warn!("the store is open; {}", exposure.sentence);
        } else {
            tracing::info!("the store is open; {}", exposure.sentence);
        }
        upkeep::tick(&shared, i64::MAX).await?;
        Ok(shared)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<DeliveryId, Held>> {
        self.held.lock().expect("no holder of this lock panics")
    }

    /// A lease is not held any more, whoever ended it.
    fn forget(&self, lease: Lease) {
        let mut held = self.held();
        if held.get(&lease.delivery).is_some_and(|one| one.token == lease.token) {
            held.remove(&lease.delivery);
            drop(held);
            self.freed.notify_one();
        }
    }
}

/// An error that says which Redis it is about.
fn unusable(place: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Unusable(reason) => StoreError::Unusable(format!("Redis at {place}: {reason}")),
        StoreError::Unavailable { reason, source, .. } => {
            let cause = source.map_or_else(String::new, |source| format!(": {source}"));
            StoreError::Unusable(format!("Redis at {place}: {reason}{cause}"))
        }
        error @ StoreError::Corrupt { .. } => error,
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

    async fn remove_callback(&self, account: &AccountName, id: CallbackId) -> Result<bool, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.remove_callback(account, id).await
    }

    async fn callbacks(&self) -> Result<Vec<CallbackRow>, StoreError> {
        Ok(self.open_only()?.callback_changes(0).await?.changed)
    }

    async fn callbacks_changed(&self, since: u64) {
        let mut revision = self.shared.revision.subscribe();
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
