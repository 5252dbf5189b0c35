//! The embedded store: an SQLite file beside the process, which owns it alone.
//!
//! One thread writes. Whoever wants something written puts it into a bounded channel and waits;
//! the thread takes all that waits and writes it in one transaction; another syncs once and answers
//! everybody (group commit), while the first is at the next transaction (`syncing`). The writer owns
//! the [`Scheduler`](super::scheduler::Scheduler), and serves claims in the same transaction as the
//! writes that made their deliveries due, so that a delivery can start one sync after its event came
//! in. What is leased is known in memory, and marked in the file so that a process that dies of an
//! attempt is found out.
//!
//! What searches of calls need is written by the same thread, and made by another (`search`).
//!
//! Reads run on connections of their own and never wait for a write. So does what writes SQLite's
//! log back into the file, all but its last bit, which is the writer's.

mod announcements;
mod audit;
mod callbacks;
mod checkpoint;
mod chores;
mod circuits;
mod claiming;
mod desk;
mod erasing;
mod failure;
mod gathering;
mod intake;
mod jobs;
mod late;
mod lists;
mod opening;
mod reader;
mod recovery;
mod replay;
mod schema;
mod search;
mod seen;
mod speech_requests;
mod standing;
mod stored;
mod syncing;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::audit::audit;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, oneshot};

use self::desk::{Desk, Pauses};
use self::erasing::Erased;
use self::failure::{closed, full};
use self::reader::Readers;
use self::search::Indexer;
use self::seen::Recent;
use self::standing::Meter;
use self::writer::{ClaimRequest, Message, Pending, Write};
use super::scheduler::CircuitRules;
use super::{
    Acceptance, Accepted, Announcement, Answered, CallMark, CallQuery, CallbackChanges, CallbackRow, Claim,
    DedupeKey, DefinitionVersion, DeliveryFilter, DeliveryRow, DeliveryView, EventFilter, EventRow,
    EventView, Found, LateRendering, Lease, ListedCall, Page, Recall, Remember, Replay, Replayed, Retention,
    Settlement, Standing, Store, StoreError, StoredCall,
};
use crate::context::CallKey;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};

/// Deliveries that may wait at once: about 250 MB of scheduler. Past it, events are refused.
pub const BACKLOG: usize = 4_000_000;

/// Writes that may wait for the writer at once, apart from those that leases bound. It drains
/// thousands a second, so more would only be a longer wait.
const WAITING_WRITES: usize = 1_024;

/// Claims, releases and wake-ups that may wait at once, beyond the writes and one settlement a
/// lease.
const WAITING_OTHERS: usize = 1_024;

/// The settings of an embedded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Leases that are held at once, over all destinations.
    pub max_in_flight: usize,
    /// How long things are kept.
    pub retention: Retention,
    /// When a receiver is only probed.
    pub circuit: CircuitRules,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_in_flight: 512, retention: Retention::default(), circuit: CircuitRules::default() }
    }
}

/// A store in a file of its own.
pub struct Embedded {
    /// Held here alone, so that the writer ends with the store.
    outbox: Arc<SyncSender<Message>>,
    indexer: Arc<Indexer>,
    /// Turns of the writes that may wait.
    turns: Arc<Semaphore>,
    readers: Readers,
    recent: Recent,
    pauses: Arc<Pauses>,
    announcing: Arc<Notify>,
    meter: Meter,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Returns when searches look at no call by itself that was written before. They find the same
    /// calls without it, if more slowly; it is for those who measure them.
    pub async fn indexed(&self) {
        self.indexer.all().await;
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.outbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => full(),
            TrySendError::Disconnected(_) => closed(),
        })
    }

    /// Has something written that anybody may ask for, if it may still wait.
    async fn write<W: Write>(&self, write: W) -> Result<W::Outcome, StoreError> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().map_err(|_| full())?;
        self.submit(write, Some(turn)).await
    }

    /// Has something written that frees leases: it never waits behind a full queue of new work.
    async fn write_first<W: Write>(&self, write: W) -> Result<W::Outcome, StoreError> {
        self.submit(write, None).await
    }

    async fn submit<W: Write>(
        &self,
        write: W,
        permit: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Result<W::Outcome, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.send(Message::Write(Box::new(Pending { write, outcome: None, answer, permit })))?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

#[async_trait]
impl Store for Embedded {
    async fn recall(&self, dedupe: &DedupeKey, call: Option<&CallKey>) -> Result<Recall, StoreError> {
        let (dedupe, call, recent) = (dedupe.clone(), call.cloned(), self.recent.clone());
        self.readers
            .read_ahead(move |connection| {
                reader::recall(connection, &recent, &dedupe, call.as_ref(), Timestamp::now())
            })
            .await
    }

    async fn call(&self, key: &CallKey) -> Result<Option<StoredCall>, StoreError> {
        let key = key.clone();
        self.readers.read(move |connection| reader::stored_call(connection, &key)).await
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        self.write(Box::new(acceptance)).await
    }

    async fn reject(&self, event: EventRow) -> Result<(), StoreError> {
        self.write(intake::Reject(Box::new(event))).await
    }

    async fn put_callback(&self, row: CallbackRow) -> Result<(), StoreError> {
        self.write(Box::new(row)).await
    }

    async fn put_callback_once(
        &self,
        row: CallbackRow,
        remember: Remember,
    ) -> Result<Option<Answered>, StoreError> {
        self.write(callbacks::PutOnce { row: Box::new(row), remember, now: Timestamp::now() }).await
    }

    async fn answered(&self, account: &AccountName, key: &[u8; 32]) -> Result<Option<Answered>, StoreError> {
        let (account, key, now) = (Arc::clone(account), *key, Timestamp::now());
        self.readers.read(move |connection| callbacks::answered(connection, &account, &key, now)).await
    }

    async fn stored(&self, account: &AccountName) -> Result<u64, StoreError> {
        let account = Arc::clone(account);
        self.readers.read(move |connection| stored::of(connection, &account)).await
    }

    async fn remove_callback(&self, account: &AccountName, id: CallbackId) -> Result<bool, StoreError> {
        self.write(callbacks::Remove { account: Arc::clone(account), id, now: Timestamp::now() }).await
    }

    async fn callbacks(&self) -> Result<Vec<CallbackRow>, StoreError> {
        self.readers.read(reader::callbacks).await
    }

    async fn callbacks_changed(&self, since: u64) {
        let mut revision = self.pauses.revision();
        if revision.wait_for(|now| *now != since).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn callback_changes(&self, since: u64) -> Result<CallbackChanges, StoreError> {
        let revision = *self.pauses.revision().borrow();
        if since == 0 {
            let changed = self.callbacks().await?;
            return Ok(CallbackChanges { revision, is_complete: true, changed, removed: Vec::new() });
        }
        // Nobody else writes; all that is not known already is what the store itself has paused.
        let paused = self.pauses.since(since);
        let mut changed = if paused.is_empty() { Vec::new() } else { self.callbacks().await? };
        changed.retain(|row| paused.contains(&row.id));
        Ok(CallbackChanges { revision, is_complete: false, changed, removed: Vec::new() })
    }

    async fn claim(&self, slots: usize) -> Result<Vec<Claim>, StoreError> {
        if slots == 0 || self.closed.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        // Dropped after the receiver, whatever may be in that.
        let mut wake = WakeOnDrop { outbox: &self.outbox, armed: true };
        let (answer, handover) = oneshot::channel();
        self.send(Message::Claim(ClaimRequest { slots, answer }))?;
        let handover = handover.await;
        wake.armed = false;
        match handover {
            Ok(handover) => Ok(handover.open()),
            Err(_) if self.closed.load(Ordering::Acquire) => Ok(Vec::new()),
            Err(_) => Err(closed()),
        }
    }

    async fn settle(&self, settlement: Settlement) -> Result<bool, StoreError> {
        self.write_first(Box::new(settlement)).await
    }

    async fn put_rendering(&self, rendering: LateRendering) -> Result<bool, StoreError> {
        self.write_first(Box::new(rendering)).await
    }

    async fn snapshot(&self, account: &AccountName, event: EventId) -> Result<Option<Bytes>, StoreError> {
        let account = Arc::clone(account);
        let read = self.readers.read(move |connection| late::snapshot(connection, &account, event)).await?;
        Ok(read.map(Bytes::from))
    }

    async fn definition(
        &self,
        _: &AccountName,
        id: CallbackId,
        version: DefinitionVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.read(move |connection| late::definition(connection, id, version)).await
    }

    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError> {
        self.write_first(claiming::Release(leases)).await
    }

    async fn event(&self, account: &AccountName, id: EventId) -> Result<Option<EventView>, StoreError> {
        let account = Arc::clone(account);
        self.readers.read(move |connection| reader::event(connection, &account, id)).await
    }

    async fn events(
        &self,
        account: &AccountName,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Found<EventRow, EventId>, StoreError> {
        let (account, filter) = (Arc::clone(account), filter.clone());
        self.readers.read(move |connection| lists::events(connection, &account, &filter, before, limit)).await
    }

    async fn calls(
        &self,
        account: &AccountName,
        query: &CallQuery,
        before: Option<&CallMark>,
        limit: usize,
    ) -> Result<Found<ListedCall, CallMark>, StoreError> {
        let (account, query, before) = (Arc::clone(account), query.clone(), before.cloned());
        self.readers
            .read(move |connection| search::calls(connection, &account, &query, before.as_ref(), limit))
            .await
    }

    async fn erase_call(&self, key: &CallKey) -> Result<bool, StoreError> {
        let mut is_known = false;
        loop {
            let bit = erasing::Erase { key: key.clone(), now: Timestamp::now() };
            match self.write(bit).await? {
                Erased::Unknown => return Ok(is_known),
                Erased::Partly => is_known = true,
                Erased::Wholly => return Ok(true),
            }
        }
    }

    async fn delivery(
        &self,
        account: &AccountName,
        id: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError> {
        let account = Arc::clone(account);
        self.readers.read(move |connection| reader::delivery(connection, &account, id)).await
    }

    async fn deliveries(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let (account, filter) = (Arc::clone(account), filter.clone());
        self.readers.read(move |connection| reader::deliveries(connection, &account, &filter, page)).await
    }

    async fn deliveries_after(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Found<DeliveryRow, DeliveryId>, StoreError> {
        let (account, filter) = (Arc::clone(account), filter.clone());
        self.readers
            .read(move |connection| lists::deliveries_after(connection, &account, &filter, after, limit))
            .await
    }

    async fn retry_all(&self, account: &AccountName, ids: &[DeliveryId]) -> Result<usize, StoreError> {
        let (account, ids) = (Arc::clone(account), ids.to_vec());
        self.write(claiming::Retry { account, ids, now: Timestamp::now() }).await
    }

    async fn replay(&self, replay: Replay) -> Result<Replayed, StoreError> {
        self.write(replay::MakeAnew { replay: Box::new(replay), now: Timestamp::now() }).await
    }

    async fn announcements(&self, limit: usize) -> Result<Vec<Announcement>, StoreError> {
        self.readers.read(move |connection| announcements::oldest(connection, limit)).await
    }

    async fn forget_announcements(&self, marks: &[Vec<u8>]) -> Result<(), StoreError> {
        self.write(announcements::Forget(marks.to_vec())).await
    }

    async fn announces(&self) {
        self.announcing.notified().await;
    }

    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write(chores::Sweep(now)).await
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        self.look_at_standing().await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.write(Probe).await
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // First, because it writes through the writer, and holds the log as long as it reads.
        let indexer = Arc::clone(&self.indexer);
        let _ = tokio::task::spawn_blocking(move || indexer.stop()).await;
        let (answer, done) = oneshot::channel();
        let mut message = Message::Close(answer);
        while let Err(TrySendError::Full(back)) = self.outbox.try_send(message) {
            message = back;
            tokio::time::sleep(CLOSE_POLL).await;
        }
        let _ = done.await;
        self.readers.close();
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            // It has answered; what is left of it is to let the file go.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Tells the writer that somebody does not wait for deliveries any more.
struct WakeOnDrop<'a> {
    outbox: &'a SyncSender<Message>,
    armed: bool,
}

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            // If the channel is full, the writer is awake.
            let _ = self.outbox.try_send(Message::Wake);
        }
    }
}

/// How long a close waits before it looks again whether the writer has taken something.
const CLOSE_POLL: Duration = Duration::from_millis(1);

/// A write that changes nothing but the disk: fails if it cannot be written.
struct Probe;

impl Write for Probe {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), failure::WriteError> {
        if desk.scheduler.queued() >= BACKLOG {
            return Err(failure::WriteError::Refused(full()));
        }
        desk.connection
            .prepare_cached("UPDATE probe SET at = ?1")?
            .execute([Timestamp::now().as_microsecond()])?;
        Ok(())
    }
}

impl Drop for Embedded {
    /// A store that is dropped unclosed is closed by its writer; the drop waits for that, so that
    /// the file is free afterwards.
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.indexer.stop();
        let (unused, _) = sync_channel(0);
        drop(std::mem::replace(&mut self.outbox, Arc::new(unused)));
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
