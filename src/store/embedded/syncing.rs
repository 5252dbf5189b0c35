//! Making commits durable, beside the writer.
//!
//! SQLite would sync the log in each commit, and the writer would stand still meanwhile. So it commits
//! without (`synchronous=NORMAL`: the log is whole and in order, and not yet on the disk), and a thread
//! of its own syncs the log, and only then another one answers those who wait, while the writer is at the
//! next transaction. One sync serves all that was committed before it began.
//!
//! What is committed can be read before it is durable. Whoever is told of it waits for that
//! ([`Durability::settled`]); who only writes with it what is synced later, does not.
//!
//! After a sync that failed nobody knows what is on the disk: the system forgets what it could not
//! write, and the next sync says nothing of it. So the store takes no more, and is to be opened anew,
//! which reads what is there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::failure::sync_failed;
use super::schema;
use super::seen::{Mark, Recent};
use super::standing::Meter;
use super::writer::{Handover, Job};
use crate::store::StoreError;

/// Commits that may wait for a sync at once; beyond them the writer waits.
const WAITING_COMMITS: usize = 8;

/// Makes durable what is in the log.
pub(super) type Sync = Box<dyn FnMut() -> io::Result<()> + Send>;

/// Syncs the log of the file at `path`, which must be open.
pub(super) fn log_of(path: &Path) -> Result<Sync, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    // SQLite keeps no locks on this file that closing it could lose. Some systems sync only what
    // may be written.
    let file = File::options().write(true).open(&log).map_err(|error| {
        StoreError::Unusable(format!("the log {} cannot be opened: {error}", log.display()))
    })?;
    Ok(Box::new(move || file.sync_data()))
}

/// How far what is committed is durable, for all who read.
#[derive(Debug)]
pub(super) struct Durability {
    /// The newest transaction that can be read.
    committed: AtomicU64,
    synced: watch::Sender<Synced>,
    /// How long the last sync took, in microseconds.
    last_sync: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Synced {
    up_to: u64,
    failed: Option<Arc<io::Error>>,
}

impl Durability {
    pub(super) fn new() -> Self {
        Self { committed: AtomicU64::new(0), synced: watch::Sender::default(), last_sync: AtomicU64::new(0) }
    }

    /// Returns when all is durable that could be read before.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        let committed = self.committed.load(Ordering::Acquire);
        let mut synced = self.synced.subscribe();
        let settled = synced.wait_for(|synced| synced.up_to >= committed || synced.failed.is_some()).await;
        match settled.as_deref() {
            Ok(Synced { up_to, failed: Some(error) }) if *up_to < committed => Err(sync_failed(error)),
            // The sender is ours, so there is no other error.
            _ => Ok(()),
        }
    }

    pub(super) fn failure(&self) -> Option<Arc<io::Error>> {
        self.synced.borrow().failed.clone()
    }

    /// A sync failed: nothing is taken from now on.
    pub(super) fn fail(&self, error: io::Error) -> Arc<io::Error> {
        tracing::error!(%error, "the store could not be synced: start again once the disk works");
        let error = Arc::new(error);
        self.synced.send_modify(|synced| synced.failed = Some(Arc::clone(&error)));
        error
    }
}

/// A transaction that is committed, and who waits for it to be durable.
pub(super) struct Committed {
    pub(super) jobs: Vec<Box<dyn Job>>,
    pub(super) handovers: Vec<(oneshot::Sender<Handover>, Handover)>,
    /// What was seen.
    pub(super) marks: Vec<Mark>,
    /// Whether it wrote anything.
    pub(super) is_written: bool,
    /// When its commit began.
    pub(super) started: Instant,
    pub(super) number: u64,
}

/// The thread that syncs, as the writer has it.
pub(super) struct Syncs {
    durability: Arc<Durability>,
    /// Dropped to end the thread.
    outbox: Option<SyncSender<Committed>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncs {
    pub(super) fn start(
        path: &Path,
        sync: Sync,
        durability: Arc<Durability>,
        recent: Recent,
        meter: Meter,
    ) -> Result<Self, StoreError> {
        let (synced, answers) = sync_channel::<(Committed, Option<Arc<io::Error>>)>(WAITING_COMMITS);
        let answering = std::thread::Builder::new().name("ringback-answer".to_owned()).spawn(move || {
            for (committed, failure) in answers {
                answer(committed, failure.as_ref(), &meter);
            }
        });
        let answering = answering.map_err(|error| schema::no_thread(path, &error))?;
        let (outbox, inbox) = sync_channel(WAITING_COMMITS);
        let work =
            Work { inbox, sync, durability: Arc::clone(&durability), recent, outbox: synced, answering };
        let thread = std::thread::Builder::new().name("ringback-sync".to_owned()).spawn(move || work.run());
        let thread = thread.map_err(|error| schema::no_thread(path, &error))?;
        Ok(Self { durability, outbox: Some(outbox), thread: Some(thread) })
    }

    /// The number of a transaction that is about to be committed. It is to be handed over.
    pub(super) fn announce(&self) -> u64 {
        // Nobody else counts it up.
        self.durability.committed.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Has a commit synced, and those who wait for it answered.
    pub(super) fn hand(&self, committed: Committed) {
        let outbox = self.outbox.as_ref().expect("the writer ends the thread last");
        // It ends with us, or has panicked: then everybody is answered by being dropped.
        let _ = outbox.send(committed);
    }

    /// Why nothing can be written any more, if so.
    pub(super) fn failure(&self) -> Option<Arc<io::Error>> {
        self.durability.failure()
    }

    /// How long the last sync took.
    pub(super) fn last_sync(&self) -> Duration {
        Duration::from_micros(self.durability.last_sync.load(Ordering::Relaxed))
    }

    /// Syncs what waits, answers, and ends the thread.
    pub(super) fn stop(&mut self) {
        self.outbox = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the store's log has panicked");
        }
    }
}

struct Work {
    inbox: Receiver<Committed>,
    sync: Sync,
    durability: Arc<Durability>,
    recent: Recent,
    /// What was synced, or why it was not, for those who answer. Dropped to end their thread.
    outbox: SyncSender<(Committed, Option<Arc<io::Error>>)>,
    answering: JoinHandle<()>,
}

impl Work {
    fn run(mut self) {
        while let Ok(first) = self.inbox.recv() {
            let mut waiting = vec![first];
            waiting.extend(self.inbox.try_iter());
            let failure = self.sync_for(&waiting);
            for committed in waiting {
                if failure.is_none() {
                    self.recent.synced(&committed.marks);
                    self.durability.synced.send_modify(|synced| synced.up_to = committed.number);
                }
                // It ends with us, or has panicked: then everybody is answered by being dropped.
                let _ = self.outbox.send((committed, failure.clone()));
            }
        }
        drop(self.outbox);
        if self.answering.join().is_err() {
            tracing::error!("the thread that answers for the store has panicked");
        }
    }

    fn sync_for(&mut self, waiting: &[Committed]) -> Option<Arc<io::Error>> {
        if let Some(error) = self.durability.failure() {
            return Some(error);
        }
        if !waiting.iter().any(|committed| committed.is_written) {
            return None;
        }
        let started = Instant::now();
        if let Err(error) = (self.sync)() {
            return Some(self.durability.fail(error));
        }
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.durability.last_sync.store(took, Ordering::Relaxed);
        None
    }
}

/// Answers those who waited. Were it the work of the thread that syncs, the disk would stand still
/// meanwhile: to wake 64 of them takes a good part of a sync.
fn answer(committed: Committed, failure: Option<&Arc<io::Error>>, meter: &Meter) {
    let Committed { jobs, handovers, started, .. } = committed;
    if let Some(error) = failure {
        // The handovers give their leases back.
        for job in jobs {
            job.answer(Err(sync_failed(error)));
        }
        return;
    }
    if !jobs.is_empty() {
        meter.commit.observe(started.elapsed().as_secs_f64());
        meter.batch.observe(f64::from(u32::try_from(jobs.len()).unwrap_or(u32::MAX)));
    }
    for job in jobs {
        job.answer(Ok(()));
    }
    for (answer, handover) in handovers {
        // Whoever is gone meanwhile: the handover gives the leases back.
        let _ = answer.send(handover);
    }
}
