//! Writing the log back into the file, beside the writer.
//!
//! A checkpoint costs three syncs and the writing of every page that changed. Were it the writer's
//! work, everybody would wait for it several times a second. So a thread with a connection of its
//! own writes back, while the writer goes on at the log's end. That alone would never get to the end:
//! the last bit, which the writer has written meanwhile, the writer writes back itself, and the log
//! begins anew.
//!
//! For that end everybody waits: SQLite syncs the log, the file, and the new log's header, one after
//! the other. So it is rare, and has little to do: the log is written back in parts, of which only the
//! last is followed by the end, and the thread syncs the file after each. SQLite itself does that only
//! once nothing is left (`walCheckpoint` in `wal.c`), so that the writer would wait for all that the
//! thread has written.
//!
//! After a sync of the file that failed the system may have forgotten what it could not write, and the
//! next sync may say nothing of it. Only the log has it then: the store takes no more, the log does not
//! begin anew, and the next start writes all of it back.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::schema;
use super::syncing::{Durability, Sync};
use crate::store::StoreError;

/// Pages of log that are written back together: 8 MiB. Were it more, what is answered meanwhile would
/// wait longer behind the sync of the file.
const PART: u32 = (8 << 20) / schema::PAGE_SIZE;

/// Pages of log after which it begins anew: 160 MiB. An event takes some 21 KiB of it, so that fewer than
/// one request in a hundred meets that. With some of what comes meanwhile it stays below
/// [`schema::JOURNAL_SIZE_LIMIT`]; a log that is cut has to be made longer again.
const PAGES: u32 = 20 * PART;

/// Pages of log beyond which the writer waits for the disk: 512 MiB.
const MOST_PAGES: u32 = 64 * PART;

/// How often the thread writes back before the writer does the rest: the second time is for what the
/// writer has written during the first.
const PASSES: u32 = 2;

/// Nothing is under way.
const IDLE: u8 = 0;
/// The thread writes back.
const RUNNING: u8 = 1;
/// What the thread was asked for is in the file, and synced.
const DONE: u8 = 2;

/// Syncs the file at `path` beside SQLite. The system drops all of a process' locks on a file when any
/// of its descriptors is closed, and SQLite keeps others from deleting the log by such a lock: this one
/// is to be dropped after the connection that writes.
pub(super) fn sync_of(path: &Path) -> Result<Sync, StoreError> {
    let file = File::options().write(true).open(path).map_err(|error| {
        StoreError::Unusable(format!("the file {} cannot be opened: {error}", path.display()))
    })?;
    Ok(Box::new(move || file.sync_data()))
}

/// What the writer knows of it. Dropped after the connection that writes ([`sync_of`]).
pub(super) struct Checkpoints {
    /// Pages in the log.
    pages: Arc<AtomicU32>,
    /// Commits that wrote to the log.
    commits: Arc<AtomicU64>,
    state: Arc<AtomicU8>,
    /// Pages of log with which the thread is asked again.
    next: u32,
    /// Whether the log begins anew after what the thread was asked for.
    is_last: bool,
    /// How many passes the thread is to make. Dropped to end it.
    requests: Option<SyncSender<u32>>,
    thread: Option<JoinHandle<Sync>>,
    /// What the thread has synced with, once it has ended.
    ended: Option<Sync>,
}

impl Checkpoints {
    /// Takes the place of the writer's own checkpoints.
    pub(super) fn start(
        path: &Path,
        writer: &mut Connection,
        mut sync: Sync,
        durability: Arc<Durability>,
    ) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&pages);
        let commits = Arc::new(AtomicU64::new(0));
        let counted_commits = Arc::clone(&commits);
        let hooked = writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            counted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            counted_commits.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        hooked.map_err(|error| schema::unusable(path, &error))?;
        let connection = schema::open_log(path).map_err(|error| schema::unusable(path, &error))?;
        let state = Arc::new(AtomicU8::new(IDLE));
        let shared = Arc::clone(&state);
        let (requests, inbox) = sync_channel::<u32>(1);
        let thread = std::thread::Builder::new()
            .name("ringback-log".to_owned())
            .spawn(move || {
                while let Ok(passes) = inbox.recv() {
                    for _ in 0..passes {
                        write_back(&connection);
                        if let Err(error) = sync() {
                            durability.fail(error);
                            // It stays as if under way, so that nothing begins anew.
                            return sync;
                        }
                    }
                    shared.store(DONE, Ordering::Release);
                }
                sync
            })
            .map_err(|error| StoreError::Unusable(format!("no thread for the store's log: {error}")))?;
        let (requests, thread) = (Some(requests), Some(thread));
        Ok(Self { pages, commits, state, next: PART, is_last: false, requests, thread, ended: None })
    }

    /// How many transactions have written anything.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Looks at the log, after a transaction.
    pub(super) fn look(&mut self, writer: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        match self.state.load(Ordering::Acquire) {
            IDLE if pages >= self.next => {
                self.is_last = pages >= PAGES;
                self.state.store(RUNNING, Ordering::Release);
                if let Some(requests) = &self.requests {
                    // It has room: the last one was taken out before its state changed.
                    let _ = requests.try_send(if self.is_last { PASSES } else { 1 });
                }
            }
            DONE => {
                if self.is_last {
                    write_back(writer);
                    self.next = PART;
                } else {
                    self.next = (self.next + PART).min(PAGES);
                }
                self.state.store(IDLE, Ordering::Release);
            }
            RUNNING if pages >= MOST_PAGES => write_back(writer),
            _ => {}
        }
    }

    /// Ends the thread, so that nobody else works at the log.
    pub(super) fn stop(&mut self) {
        self.requests = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(sync)) => self.ended = Some(sync),
            Some(Err(_)) => tracing::error!("the thread of the store's log has panicked"),
            None => {}
        }
    }
}

/// Writes back what can be without anybody's waiting for it.
fn write_back(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log could not be written back; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes more than a part, looks, and lets the thread come to its end.
    fn written_back(sync: Sync) -> (Checkpoints, Arc<Durability>, Connection, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let _ownership = schema::own(&path).unwrap();
        let mut writer = schema::open_writer(&path).unwrap();
        let durability = Arc::new(Durability::new());
        let mut checkpoints = Checkpoints::start(&path, &mut writer, sync, Arc::clone(&durability)).unwrap();
        let bytes = (PART + 1) * schema::PAGE_SIZE;
        writer
            .execute_batch(&format!("CREATE TABLE t (b); INSERT INTO t VALUES (zeroblob({bytes}))"))
            .unwrap();
        checkpoints.look(&writer);
        checkpoints.stop();
        (checkpoints, durability, writer, folder)
    }

    #[test]
    fn a_part_is_synced_when_it_is_in_the_file() {
        let (synced, syncs) = std::sync::mpsc::channel();
        let (mut checkpoints, durability, writer, folder) = written_back(Box::new(move || {
            synced.send(()).unwrap();
            Ok(())
        }));
        assert_eq!(syncs.try_iter().count(), 1);
        assert!(
            std::fs::metadata(folder.path().join("store.db")).unwrap().len()
                > u64::from(PART) * u64::from(schema::PAGE_SIZE)
        );
        assert!(durability.failure().is_none());
        assert_eq!(checkpoints.state.load(Ordering::Acquire), DONE);
        checkpoints.look(&writer);
        // The log goes on until it is worth to begin anew.
        assert_eq!((checkpoints.state.load(Ordering::Acquire), checkpoints.next), (IDLE, 2 * PART));
    }

    #[test]
    fn after_a_sync_of_the_file_that_failed_the_store_takes_nothing_and_the_log_stays() {
        let (mut checkpoints, durability, writer, _folder) =
            written_back(Box::new(|| Err(std::io::Error::other("no disk"))));
        assert!(durability.failure().is_some());
        checkpoints.look(&writer);
        assert_eq!(checkpoints.state.load(Ordering::Acquire), RUNNING);
    }
}
