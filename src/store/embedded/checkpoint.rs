//! Writing the log back into the file, beside the writer.
//!
//! A checkpoint costs three syncs and the writing of every page that changed. Were it the writer's
//! work, everybody would wait for it several times a second. So a thread with a connection of its
//! own writes back, while the writer goes on at the log's end. That alone would never get to the end:
//! the last bit, which the writer has written meanwhile, the writer writes back itself, and the log
//! begins anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::schema;
use crate::store::StoreError;

/// Pages of log after which it is written back: 16 MiB. Hot pages (queue, newest rows) are then
/// written once for many transactions.
const PAGES: u32 = (16 << 20) / schema::PAGE_SIZE;

/// Pages of log beyond which the writer waits for the disk: 256 MiB.
const MOST_PAGES: u32 = 16 * PAGES;

/// How often the thread writes back before the writer does the rest: the second time is for what the
/// writer has written during the first.
const PASSES: u32 = 2;

/// Nothing is under way.
const IDLE: u8 = 0;
/// The thread writes back.
const RUNNING: u8 = 1;
/// The rest is the writer's.
const DONE: u8 = 2;

/// What the writer knows of it.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Pages in the log.
    pages: Arc<AtomicU32>,
    /// Commits that wrote to the log.
    commits: Arc<AtomicU64>,
    state: Arc<AtomicU8>,
    /// Dropped to end the thread.
    requests: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Takes the place of the writer's own checkpoints.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Result<Self, StoreError> {
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
        let (requests, inbox) = sync_channel::<()>(1);
        let thread = std::thread::Builder::new()
            .name("ringback-log".to_owned())
            .spawn(move || {
                while inbox.recv().is_ok() {
                    for _ in 0..PASSES {
                        write_back(&connection);
                    }
                    shared.store(DONE, Ordering::Release);
                }
            })
            .map_err(|error| StoreError::Unusable(format!("no thread for the store's log: {error}")))?;
        Ok(Self { pages, commits, state, requests: Some(requests), thread: Some(thread) })
    }

    /// How many transactions have written anything.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Looks at the log, after a transaction.
    pub(super) fn look(&self, writer: &Connection) {
        match self.state.load(Ordering::Acquire) {
            IDLE if self.pages.load(Ordering::Relaxed) >= PAGES => {
                self.state.store(RUNNING, Ordering::Release);
                if let Some(requests) = &self.requests {
                    // It has room: the last one was taken out before its state changed.
                    let _ = requests.try_send(());
                }
            }
            DONE => {
                write_back(writer);
                self.state.store(IDLE, Ordering::Release);
            }
            RUNNING if self.pages.load(Ordering::Relaxed) >= MOST_PAGES => write_back(writer),
            _ => {}
        }
    }

    /// Ends the thread, so that nobody else works at the log.
    pub(super) fn stop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the store's log has panicked");
        }
    }
}

/// Writes back what can be without anybody's waiting for it.
fn write_back(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log could not be written back; it is tried again");
    }
}
