//! The thread that writes the index: it reads the calls that the index does not know, makes what is
//! to be written of them, and has the store's writer write it, a bit at a time.
//!
//! Nobody else writes the index, so what it reads stays as it is until it writes. A bit that is
//! written alone, because the process died, does no harm: the calls are noted until all is written.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::batch::{Batch, Change};
use crate::store::StoreError;
use crate::store::embedded::desk::Desk;
use crate::store::embedded::failure::WriteError;
use crate::store::embedded::schema;
use crate::store::embedded::writer::{Message, Pending, Write};

/// Calls of an account that the index need not know: until there are more, a search looks at them,
/// and what is written for one of them is written for all at once.
const WORTH: usize = 128;

/// Accounts that may wait for the thread; past it, it looks for them itself.
const WAITING_ACCOUNTS: usize = 1_024;

/// The most rows, and bytes, that are written in one transaction of the writer's: a few
/// milliseconds of it.
const PIECE_ROWS: usize = 400;
const PIECE_BYTES: usize = 512 << 10;

/// When it is tried again after the store could not be read or written.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When it is tried again after the writer's queue was full.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(20);

/// What the thread is to do.
#[derive(Debug)]
pub(in super::super) enum Order {
    /// To look at this account.
    Account(i64),
    /// To put everything that there is into the index, and say so.
    All(oneshot::Sender<()>),
    /// To end.
    End,
}

/// What the writer knows of the index: for which accounts it is worth to write it.
#[derive(Debug)]
pub(in super::super) struct Orders {
    thread: SyncSender<Order>,
    has_more: Arc<AtomicBool>,
    /// How many calls of each account were noted since it was named.
    noted: HashMap<i64, usize>,
    now: Vec<i64>,
}

impl Orders {
    pub(super) fn note_changed(&mut self, account: i64) {
        let noted = self.noted.entry(account).or_default();
        *noted += 1;
        if *noted >= WORTH {
            self.noted.remove(&account);
            self.now.push(account);
        }
    }

    pub(super) fn note_removed(&mut self, account: i64) {
        if self.now.last() != Some(&account) {
            self.now.push(account);
        }
    }

    /// What was noted is in the file.
    pub(in super::super) fn commit(&mut self) {
        for account in self.now.drain(..) {
            if self.thread.try_send(Order::Account(account)).is_err() {
                self.has_more.store(true, Ordering::Release);
            }
        }
    }

    /// What was noted is not. Counts that are too high do no harm.
    pub(in super::super) fn rollback(&mut self) {
        self.now.clear();
    }
}

/// The thread, from outside.
#[derive(Debug)]
pub(in super::super) struct Indexer {
    orders: SyncSender<Order>,
    is_ending: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The inbox of a thread that is to be started once the store writes.
#[derive(Debug)]
pub(in super::super) struct Inbox {
    orders: Receiver<Order>,
    sender: SyncSender<Order>,
    has_more: Arc<AtomicBool>,
}

/// The two ends: for the writer, and for the thread.
pub(in super::super) fn orders() -> (Orders, Inbox) {
    let (sender, orders) = sync_channel(WAITING_ACCOUNTS);
    // What was noted before the start.
    let has_more = Arc::new(AtomicBool::new(true));
    let ours = Orders {
        thread: sender.clone(),
        has_more: Arc::clone(&has_more),
        noted: HashMap::new(),
        now: Vec::new(),
    };
    (ours, Inbox { orders, sender, has_more })
}

impl Indexer {
    pub(in super::super) fn start(
        path: &Path,
        inbox: Inbox,
        outbox: Weak<SyncSender<Message>>,
    ) -> Result<Self, StoreError> {
        let connection = schema::open_reader(path).map_err(|error| schema::unusable(path, &error))?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let work = Work {
            connection,
            orders: inbox.orders,
            has_more: inbox.has_more,
            outbox,
            is_ending: Arc::clone(&is_ending),
        };
        let thread = std::thread::Builder::new()
            .name("ringback-index".to_owned())
            .spawn(move || work.run())
            .map_err(|error| StoreError::Unusable(format!("no thread for the store's index: {error}")))?;
        Ok(Self { orders: inbox.sender, is_ending, thread: Mutex::new(Some(thread)) })
    }

    /// Has everything that is noted now put into the index, and waits for it.
    pub(in super::super) async fn all(&self) {
        let (done, waiting) = oneshot::channel();
        let mut order = Order::All(done);
        while let Err(TrySendError::Full(back)) = self.orders.try_send(order) {
            order = back;
            tokio::time::sleep(FULL_RETRY_AFTER).await;
        }
        // One that has ended drops what it was asked for.
        let _ = waiting.await;
    }

    /// Ends the thread, which lets its connection go. Blocks.
    pub(in super::super) fn stop(&self) {
        self.is_ending.store(true, Ordering::Release);
        // If there is no room, it has something to do, and sees then that it is to end.
        let _ = self.orders.try_send(Order::End);
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the store's index has panicked");
        }
    }
}

/// Why a round of work came to nothing.
enum Interrupted {
    /// The store is closed.
    Ending,
    /// It is tried again.
    Failed,
}

struct Work {
    connection: Connection,
    orders: Receiver<Order>,
    has_more: Arc<AtomicBool>,
    /// Not held on to: the writer ends when nobody can send it anything any more.
    outbox: Weak<SyncSender<Message>>,
    is_ending: Arc<AtomicBool>,
}

impl Work {
    fn run(self) {
        let mut patience = Duration::ZERO;
        loop {
            let mut asked = Vec::new();
            let order = if self.has_more.load(Ordering::Acquire) {
                match self.orders.recv_timeout(patience) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match self.orders.recv() {
                    Ok(order) => Some(order),
                    Err(_) => return,
                }
            };
            let result = match order {
                Some(Order::Account(account)) => self.account(account),
                Some(Order::All(done)) => {
                    asked.push(done);
                    self.every_account(1)
                }
                Some(Order::End) => return,
                None => {
                    self.has_more.store(false, Ordering::Release);
                    self.every_account(WORTH)
                }
            };
            match result {
                Ok(()) => patience = Duration::ZERO,
                Err(Interrupted::Ending) => return,
                Err(Interrupted::Failed) => {
                    self.has_more.store(true, Ordering::Release);
                    patience = RETRY_AFTER;
                }
            }
        }
    }

    /// Those that have so many calls noted, or one that was removed.
    fn every_account(&self, least: usize) -> Result<(), Interrupted> {
        let found = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT account FROM unindexed GROUP BY account \
                     HAVING count(*) >= ?1 OR max(removals) > 0",
                )?
                .query_map([i64::try_from(least).unwrap_or(i64::MAX)], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()
        })?;
        found.into_iter().try_for_each(|account| self.account(account))
    }

    /// Goes once through the calls of an account that are noted.
    fn account(&self, account: i64) -> Result<(), Interrupted> {
        let mut after = i64::MIN;
        loop {
            let batch = self.read(|connection| Batch::make(connection, account, after))?;
            let Some(last) = batch.last else { return Ok(()) };
            self.write(batch.changes)?;
            after = last;
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Interrupted> {
        if self.is_ending.load(Ordering::Acquire) {
            return Err(Interrupted::Ending);
        }
        read(&self.connection).map_err(|error| {
            tracing::warn!(%error, "calls could not be read for their index; trying again");
            Interrupted::Failed
        })
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), Interrupted> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for change in changes {
            bytes += change.weight();
            piece.push(change);
            if piece.len() == PIECE_ROWS || bytes >= PIECE_BYTES {
                self.write_piece(std::mem::take(&mut piece))?;
                bytes = 0;
            }
        }
        if piece.is_empty() { Ok(()) } else { self.write_piece(piece) }
    }

    fn write_piece(&self, piece: Vec<Change>) -> Result<(), Interrupted> {
        let (answer, written) = oneshot::channel();
        let pending = Pending { write: Piece(piece), outcome: None, answer, permit: None };
        let mut message = Message::Write(Box::new(pending));
        loop {
            if self.is_ending.load(Ordering::Acquire) {
                return Err(Interrupted::Ending);
            }
            let Some(outbox) = self.outbox.upgrade() else { return Err(Interrupted::Ending) };
            match outbox.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(Interrupted::Ending),
                Err(TrySendError::Full(back)) => {
                    message = back;
                    drop(outbox);
                    std::thread::sleep(FULL_RETRY_AFTER);
                }
            }
        }
        match written.blocking_recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the index of calls could not be written; trying again");
                Err(Interrupted::Failed)
            }
            Err(_) => Err(Interrupted::Ending),
        }
    }
}

/// A bit of the index.
struct Piece(Vec<Change>);

impl Write for Piece {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), WriteError> {
        for change in &self.0 {
            change.write(&desk.connection)?;
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.0.iter().map(Change::weight).sum()
    }
}
