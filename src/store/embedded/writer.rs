//! The one thread that writes: it gathers what waits, writes all of it in one transaction, and has it
//! synced and answered.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::checkpoint::Checkpoints;
use super::desk::Desk;
use super::failure::{WriteError, is_of_the_place, store_error, sync_failed};
use super::gathering::Gathering;
use super::syncing::{Committed, Syncs};
use super::{chores, claiming, seen};
use crate::store::{Claim, Lease, StoreError};

/// The most writes of one transaction.
pub(super) const MAX_BATCH: usize = 512;

/// The most bytes of bodies after which a batch takes no further write.
const MAX_BATCH_BYTES: usize = 32 << 20;

/// The longest sleep, so that a clock that was set forward is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// How long the writer leaves its own work alone after the engine failed at it.
const RECOVERY_TIME: Duration = Duration::from_secs(1);

/// How often retention is looked at while there is nothing to remove.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// How often a bit is removed while there is more.
const SWEEP_PACE: Duration = Duration::from_millis(100);

/// One kind of write.
pub(super) trait Write: Send + 'static {
    /// What the caller learns.
    type Outcome: Send + 'static;

    /// Writes, inside the batch's transaction. Everything that can fail comes before the first
    /// change of the scheduler. Called again, alone, if the batch failed because of another.
    fn write(&self, desk: &mut Desk) -> Result<Self::Outcome, WriteError>;

    /// About how many bytes of body it holds.
    fn weight(&self) -> usize {
        0
    }
}

/// What reaches the writer.
pub(super) enum Message {
    Write(Box<dyn Job>),
    Claim(ClaimRequest),
    /// Somebody does not wait for deliveries any more, and may have left leases in [`GivenBack`].
    Wake,
    Close(oneshot::Sender<()>),
}

/// A write with its answer, whatever kind it is of.
pub(super) trait Job: Send {
    fn run(&mut self, desk: &mut Desk) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
    fn weight(&self) -> usize;
}

/// A write that waits for its commit.
pub(super) struct Pending<W: Write> {
    pub(super) write: W,
    pub(super) outcome: Option<Result<W::Outcome, StoreError>>,
    pub(super) answer: oneshot::Sender<Result<W::Outcome, StoreError>>,
    /// Its place among the writes that may wait; none for those that leases bound.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl<W: Write> Job for Pending<W> {
    fn run(&mut self, desk: &mut Desk) -> rusqlite::Result<()> {
        self.outcome = Some(match self.write.write(desk) {
            Ok(outcome) => Ok(outcome),
            Err(WriteError::Refused(error)) => Err(error),
            Err(WriteError::Engine(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { outcome, answer, permit, .. } = *self;
        drop(permit);
        let outcome = committed.and_then(|()| outcome.expect("a write that was committed has been run"));
        // Nobody may be waiting any more; what is written stays written.
        let _ = answer.send(outcome);
    }

    fn weight(&self) -> usize {
        self.write.weight()
    }
}

/// Somebody waits for deliveries.
pub(super) struct ClaimRequest {
    pub(super) slots: usize,
    pub(super) answer: oneshot::Sender<Handover>,
}

/// Leases that nobody took after all, on their way back. At most as many as there are leases.
pub(super) type GivenBack = Arc<Mutex<Vec<Lease>>>;

/// Claims on their way to a caller who may be gone when they arrive: what is dropped unopened
/// goes back.
pub(super) struct Handover {
    claims: Vec<Claim>,
    given_back: GivenBack,
}

impl Handover {
    pub(super) fn open(mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            self.given_back
                .lock()
                .expect("no holder of this lock panics")
                .extend(self.claims.iter().map(|claim| claim.lease));
        }
    }
}

/// The writer.
pub(super) struct Writer {
    /// The first to be dropped: the others may hold the file open ([`super::checkpoint::sync_of`]).
    pub(super) desk: Desk,
    pub(super) inbox: Receiver<Message>,
    pub(super) given_back: GivenBack,
    claims: VecDeque<ClaimRequest>,
    /// Of `given_back`, what the present transaction releases.
    releasing: Vec<Lease>,
    closing: Option<oneshot::Sender<()>>,
    /// The engine failed at the writer's own work; not again before this.
    quiet_until: Option<Instant>,
    /// Whether that was for the disk's sake.
    place_failed: bool,
    next_sweep: Instant,
    gathering: Gathering,
    checkpoints: Checkpoints,
    syncs: Syncs,
}

impl Writer {
    pub(super) fn new(
        desk: Desk,
        inbox: Receiver<Message>,
        given_back: GivenBack,
        checkpoints: Checkpoints,
        syncs: Syncs,
    ) -> Self {
        Self {
            desk,
            inbox,
            given_back,
            claims: VecDeque::new(),
            releasing: Vec::new(),
            closing: None,
            quiet_until: None,
            place_failed: false,
            next_sweep: Instant::now() + SWEEP_PACE,
            gathering: Gathering::default(),
            checkpoints,
            syncs,
        }
    }

    /// Works until the store is closed or dropped.
    pub(super) fn run(mut self) {
        let mut open = true;
        while open && self.closing.is_none() {
            let (jobs, connected) = self.gather();
            open = connected;
            self.cycle(jobs);
            if self.syncs.failure().is_none() {
                self.checkpoints.look(&self.desk.connection);
            }
        }
        self.finish();
    }

    /// Waits for something to do, and takes everything that waits, up to a batch.
    fn gather(&mut self) -> (Vec<Box<dyn Job>>, bool) {
        let mut jobs = Vec::new();
        let mut weight = 0;
        let first = match self.sleep_time() {
            Duration::ZERO => self.inbox.try_recv().ok(),
            time => match self.inbox.recv_timeout(time) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return (jobs, false),
            },
        };
        let mut next = first;
        let most = self.gathering.most();
        while let Some(message) = next {
            match message {
                Message::Write(job) => {
                    weight += job.weight();
                    jobs.push(job);
                }
                Message::Claim(request) => self.claims.push_back(request),
                Message::Wake => self.claims.retain(|request| !request.answer.is_closed()),
                Message::Close(answer) => self.closing = Some(answer),
            }
            if jobs.len() >= most || weight >= MAX_BATCH_BYTES {
                break;
            }
            next = self.inbox.try_recv().ok().or_else(|| {
                let patience = self.gathering.patience(jobs.len())?;
                self.inbox.recv_timeout(patience).ok()
            });
        }
        self.gathering.gathered(jobs.len());
        (jobs, true)
    }

    fn sleep_time(&self) -> Duration {
        let now = Instant::now();
        let mut sleep = self.next_sweep.saturating_duration_since(now).min(MAX_SLEEP);
        if let Some(expiry) = self.desk.next_expiry() {
            sleep = sleep.min(expiry.saturating_duration_since(now));
        }
        if self.desk.scheduler.has_cancelled()
            || !self.given_back.lock().expect("no holder of this lock panics").is_empty()
        {
            sleep = Duration::ZERO;
        }
        if !self.claims.is_empty() {
            let now = Timestamp::now().as_microsecond();
            if let Some(at) = self.desk.scheduler.next_wakeup(now) {
                sleep = sleep.min(Duration::from_micros(at.saturating_sub(now).unsigned_abs()));
            }
        }
        match self.quiet_until {
            Some(until) => sleep.max(until.saturating_duration_since(now)),
            None => sleep,
        }
    }

    /// One round: all of `jobs`, the claims that can be served, and a bit of the writer's own work,
    /// in one transaction.
    fn cycle(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if let Some(error) = self.syncs.failure() {
            self.refuse(jobs, &error);
            return;
        }
        let quiet = self.quiet_until.is_some_and(|until| until > Instant::now());
        let error = match self.transact(&mut jobs, !quiet) {
            Ok(committed) => {
                // If the disk had failed, a write that succeeds shows that it works again.
                if !quiet || (self.place_failed && !jobs.is_empty()) {
                    self.quiet_until = None;
                }
                self.syncs.hand(Committed { jobs, ..committed });
                return;
            }
            Err(error) => error,
        };
        self.place_failed = is_of_the_place(&error);
        if self.place_failed {
            tracing::warn!(%error, writes = jobs.len(), "a batch could not be written");
            self.quiet_until = Some(Instant::now() + RECOVERY_TIME);
            let error = Arc::new(error);
            for job in jobs {
                job.answer(Err(store_error(&error)));
            }
            return;
        }
        // One of them is to blame, or the writer's own work: each goes alone, so that only that
        // one fails.
        let mut found = false;
        for mut job in jobs {
            match self.transact(std::slice::from_mut(&mut job), false) {
                Ok(committed) => self.syncs.hand(Committed { jobs: vec![job], ..committed }),
                Err(error) => {
                    found = true;
                    tracing::error!(%error, "a write failed");
                    job.answer(Err(store_error(&Arc::new(error))));
                }
            }
        }
        if !found {
            tracing::error!(%error, "claims and upkeep failed");
            self.quiet_until = Some(Instant::now() + RECOVERY_TIME);
        }
    }

    /// The disk failed, and nobody knows what is on it: nothing is written any more.
    fn refuse(&mut self, jobs: Vec<Box<dyn Job>>, error: &Arc<io::Error>) {
        for job in jobs {
            job.answer(Err(sync_failed(error)));
        }
        self.claims.clear();
        self.quiet_until = Some(Instant::now() + RECOVERY_TIME);
    }

    /// Writes and commits; who waits is not answered yet.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>], with_own_work: bool) -> rusqlite::Result<Committed> {
        let result = self.write_all(jobs, with_own_work);
        match result {
            Ok(committed) => {
                self.releasing.clear();
                Ok(committed)
            }
            Err(error) => {
                self.desk.rollback();
                let mut given_back = self.given_back.lock().expect("no holder of this lock panics");
                given_back.append(&mut self.releasing);
                Err(error)
            }
        }
    }

    fn write_all(&mut self, jobs: &mut [Box<dyn Job>], with_own_work: bool) -> rusqlite::Result<Committed> {
        self.desk.begin()?;
        for job in jobs {
            job.run(&mut self.desk)?;
        }
        let mut served = Vec::new();
        if with_own_work {
            self.upkeep()?;
            served = self.serve_claims()?;
        }
        let mut committed = Committed {
            jobs: Vec::new(),
            handovers: Vec::new(),
            marks: Vec::new(),
            is_written: false,
            started: Instant::now(),
            // Before it can be read.
            number: self.syncs.announce(),
        };
        let commits = self.checkpoints.commits();
        match self.desk.commit() {
            Ok(marks) => committed.marks = marks,
            Err(error) => {
                self.syncs.hand(committed);
                self.put_back(served);
                return Err(error);
            }
        }
        committed.is_written = self.checkpoints.commits() != commits;
        self.gathering.committed(committed.started.elapsed(), self.syncs.last_sync());
        committed.handovers = served
            .into_iter()
            .map(|(request, claims)| {
                let given_back = Arc::clone(&self.given_back);
                (request.answer, Handover { claims, given_back })
            })
            .collect();
        Ok(committed)
    }

    fn upkeep(&mut self) -> rusqlite::Result<()> {
        self.releasing = std::mem::take(&mut *self.given_back.lock().expect("no holder of this lock panics"));
        claiming::release(&mut self.desk, &self.releasing)?;
        let now = Instant::now();
        if self.desk.next_expiry().is_some_and(|expiry| expiry <= now) {
            let expired = self.desk.expired(now);
            chores::expire_leases(&mut self.desk, &expired, Timestamp::now())?;
        }
        chores::cancel_some(&mut self.desk, Timestamp::now())?;
        seen::file_some(&mut self.desk)?;
        if self.next_sweep <= now {
            let removed = chores::sweep_some(&mut self.desk, Timestamp::now())?;
            self.next_sweep = now + if removed == 0 { SWEEP_INTERVAL } else { SWEEP_PACE };
        }
        Ok(())
    }

    fn serve_claims(&mut self) -> rusqlite::Result<Vec<(ClaimRequest, Vec<Claim>)>> {
        let mut served = Vec::new();
        while let Some(request) = self.claims.front() {
            if request.answer.is_closed() {
                self.claims.pop_front();
                continue;
            }
            match claiming::claim(&mut self.desk, request.slots, Timestamp::now()) {
                Ok(claims) if claims.is_empty() => break,
                Ok(claims) => {
                    let request = self.claims.pop_front().expect("it is the front of the queue");
                    served.push((request, claims));
                }
                Err(error) => {
                    self.put_back(served);
                    return Err(error);
                }
            }
        }
        Ok(served)
    }

    /// Requests whose claims were not written after all wait again, in their old order.
    fn put_back(&mut self, served: Vec<(ClaimRequest, Vec<Claim>)>) {
        for (request, _) in served.into_iter().rev() {
            self.claims.push_front(request);
        }
    }

    /// Writes what still waits, gives all leases back, and leaves a file without a log.
    fn finish(mut self) {
        self.claims.clear();
        let mut jobs = Vec::new();
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Write(job) => jobs.push(job),
                // A request that is dropped is an answer: there is nothing more to claim.
                Message::Claim(_) | Message::Close(_) | Message::Wake => {}
            }
        }
        self.cycle(jobs);
        self.syncs.stop();
        let is_whole = self.syncs.failure().is_none();
        if !is_whole {
            // What is left is for the next start to read.
            let kept = self.desk.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            if let Err(error) = kept {
                tracing::warn!(%error, "the log is written back though the disk failed");
            }
        }
        if is_whole && let Err(error) = self.release_all() {
            tracing::warn!(%error, "leases could not be given back; they will count as crashes");
        }
        self.checkpoints.stop();
        if is_whole
            && let Err(error) =
                self.desk.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        {
            tracing::warn!(%error, "the log could not be written back; the next start does it");
        }
        let closing = self.closing.take();
        drop(self);
        if let Some(answer) = closing {
            let _ = answer.send(());
        }
    }

    fn release_all(&mut self) -> rusqlite::Result<()> {
        let leases: Vec<Lease> = self.desk.scheduler.leases().collect();
        self.desk.begin()?;
        let released =
            claiming::release(&mut self.desk, &leases).and_then(|()| self.desk.commit().map(|_| ()));
        if released.is_err() {
            self.desk.rollback();
        }
        released
    }
}
