//! The store's contract: what must be durable, what is one atomic write, and who may claim what.
//!
//! Two implementations stand behind it: the embedded one (SQLite, one process) and Redis (several
//! processes). The rest of Ringback sees [`Store`] and the records beside it, never an engine.
//!
//! Four writes are atomic, and everything else follows from them: [`Store::accept`] (event,
//! call context and deliveries), [`Store::settle`] (an attempt's outcome and what happens next),
//! [`Store::put_rendering`] (the bytes of a delivery that was too much to render with its event), and
//! [`Store::put_callback`] (a registration and its limits).

pub mod audit;
mod delivery;
pub mod embedded;
mod jobs;
mod list;
mod quota;
mod record;
pub mod redis;
pub mod scheduler;
mod seats;
mod speech_requests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::Timestamp;

pub use delivery::{
    Attempt, Claim, DefinitionVersion, DeliveryRequest, DeliveryRow, DeliveryState, DeliveryView,
    DestinationId, FailedDelivery, Late, LateRendering, Lease, NewDelivery, Next, OrderKey, OutcomeKind,
    Rendition, Replay, Replayed, Settlement, Snapshot,
};
pub use jobs::{
    FinishJob, JobClaim, JobEnd, JobLease, JobPhase, JobRow, JobStanding, Jobs, NewJob, PutJob, SharedJobs,
    SourceShare, Turn,
};
pub use list::{
    CALLS_LIMIT, CONTEXTS_LIMIT, CallMark, CallQuery, DeliveryFilter, EventFilter, Found, ListedCall, Page,
    SCAN_LIMIT,
};
pub use quota::{NoRoom, Quotas, SharedQuotas};
pub use record::{
    Acceptance, Accepted, Announced, Announcement, Answered, CallWrite, CallbackChanges, CallbackRow,
    CallbackState, DedupeKey, DestinationLimits, EventRow, EventState, EventView, Rate, Recall, Remember,
    Retention, Standing, StoredCall,
};
pub use speech_requests::{
    AnsweredRequest, NewSpeechRequest, PutSpeechRequest, RequestedCall, RequestedState, SharedSpeechRequests,
    SpeechRequestView, SpeechRequests,
};

use crate::context::CallKey;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};

/// A store, shared by every room that reads or writes.
pub type SharedStore = Arc<dyn Store>;

/// What every store does. All methods are cancel-safe: a future that is dropped leaves either
/// nothing done or everything done, never half.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What intake needs before it can merge and render: whether the event is known already, and
    /// its call as it is stored now. Reads only, and may be stale: [`Store::accept`] checks again.
    async fn recall(&self, dedupe: &DedupeKey, call: Option<&CallKey>) -> Result<Recall, StoreError>;

    /// Writes an event, its merged call context and the deliveries that it causes, in one atomic
    /// and durable write. Returns only when that is on disk.
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError>;

    /// Keeps an event that its provider's adapter could not read, for the operator to see.
    async fn reject(&self, event: EventRow) -> Result<(), StoreError>;

    /// Writes a registration, new or changed; `limits.paused` holds its deliveries back. One that
    /// was removed stays removed.
    async fn put_callback(&self, row: CallbackRow) -> Result<(), StoreError>;

    /// Writes a registration as [`Store::put_callback`] does, and remembers the answer, in one atomic
    /// write; unless there is an answer for this key already: then that is returned, and nothing is
    /// written.
    async fn put_callback_once(
        &self,
        row: CallbackRow,
        remember: Remember,
    ) -> Result<Option<Answered>, StoreError>;

    /// The answer that is remembered for a key of this account, until its time is over.
    async fn answered(&self, account: &AccountName, key: &[u8; 32]) -> Result<Option<Answered>, StoreError>;

    /// How many bytes are kept for an account: bodies of events, contexts of calls, rendered bodies,
    /// and what others are to be rendered from.
    /// Counted in the write that stores or removes them.
    async fn stored(&self, account: &AccountName) -> Result<u64, StoreError>;

    /// Removes a registration of this account and cancels what waits for it; `false` if there is
    /// none.
    async fn remove_callback(&self, account: &AccountName, id: CallbackId) -> Result<bool, StoreError>;

    /// All registrations of all accounts, in the order of their ids.
    async fn callbacks(&self) -> Result<Vec<CallbackRow>, StoreError>;

    /// Returns when registrations have been changed since this revision, by another process or by
    /// the store itself; at most a second late.
    async fn callbacks_changed(&self, since: u64) {
        let _ = since;
        std::future::pending::<()>().await;
    }

    /// Registrations that were changed since this revision, in the order of their ids; since
    /// revision 0, all of them.
    async fn callback_changes(&self, since: u64) -> Result<CallbackChanges, StoreError> {
        let changed = self.callbacks().await?;
        Ok(CallbackChanges { revision: since, is_complete: true, changed, removed: Vec::new() })
    }

    /// Takes up to `slots` deliveries whose time has come, fairly over their destinations, and
    /// leases them to the caller. Waits until there is at least one, or until the store is
    /// closed (then the answer is empty). If the future is dropped, whatever it would have
    /// returned is not leased.
    async fn claim(&self, slots: usize) -> Result<Vec<Claim>, StoreError>;

    /// Writes an attempt and what happens next, in one atomic and durable write. Does nothing and
    /// answers `false` if the lease is not held any more.
    async fn settle(&self, settlement: Settlement) -> Result<bool, StoreError>;

    /// Writes what a late delivery sends, before anything is sent; or ends it as failed, if it could
    /// not be rendered. `true` if it is to be sent now. `false`, and nothing is to be sent, if it is
    /// not: it has failed, its registration was removed or its call erased meanwhile, or the lease is
    /// not held any more. If it answers with an error, it may be asked again.
    async fn put_rendering(&self, rendering: LateRendering) -> Result<bool, StoreError>;

    /// What late deliveries of this event are rendered from; `None` if none is left that needs it.
    async fn snapshot(&self, account: &AccountName, event: EventId) -> Result<Option<Bytes>, StoreError>;

    /// The definition that a registration had in this version, as long as it has it or a late
    /// delivery names it; `None` if the registration was removed.
    async fn definition(
        &self,
        account: &AccountName,
        id: CallbackId,
        version: DefinitionVersion,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Gives leases back unused (at shutdown): the deliveries are due at once, and no attempt is
    /// counted.
    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError>;

    /// A call as it is stored now.
    async fn call(&self, key: &CallKey) -> Result<Option<StoredCall>, StoreError>;

    /// One event of this account.
    async fn event(&self, account: &AccountName, id: EventId) -> Result<Option<EventView>, StoreError>;

    /// Events of this account, newest first, without their bodies: at most `limit` (not 0), those
    /// before the cursor. One look goes through at most [`SCAN_LIMIT`] events.
    async fn events(
        &self,
        account: &AccountName,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Found<EventRow, EventId>, StoreError>;

    /// Calls of this account that the query takes, those first that were first heard of last: at most
    /// `limit` (not 0), those before the cursor. One look reads at most [`CALLS_LIMIT`] calls that
    /// turn out to be others, and [`CONTEXTS_LIMIT`] bytes of contexts.
    async fn calls(
        &self,
        account: &AccountName,
        query: &CallQuery,
        before: Option<&CallMark>,
        limit: usize,
    ) -> Result<Found<ListedCall, CallMark>, StoreError>;

    /// Erases a call: what is known of it, its events, and what its deliveries sent and were answered;
    /// those that wait are cancelled, and its jobs are forgotten. What comes later for it starts anew.
    /// `false` if there is no such call. One with thousands of events is erased in several writes,
    /// what is known of it in the last: if it was interrupted, it is to be asked for again.
    async fn erase_call(&self, key: &CallKey) -> Result<bool, StoreError>;

    /// One delivery of this account, with its body and its attempts.
    async fn delivery(
        &self,
        account: &AccountName,
        id: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError>;

    /// Deliveries of this account, newest first.
    async fn deliveries(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Deliveries of this account, the oldest first: at most `limit` (not 0) of those made after
    /// `after`. One look goes through at most [`SCAN_LIMIT`] of them.
    async fn deliveries_after(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Found<DeliveryRow, DeliveryId>, StoreError>;

    /// Makes a delivery that is dead, or waits for its next attempt, due now, with its schedule from
    /// the beginning: same id, same bytes. `false` if this account has none such, if it could not be
    /// rendered, or if its registration was removed.
    async fn retry(&self, account: &AccountName, id: DeliveryId) -> Result<bool, StoreError> {
        Ok(self.retry_all(account, &[id]).await? == 1)
    }

    /// The same for several, in one atomic write: how many it was done with. The others are passed
    /// over.
    async fn retry_all(&self, account: &AccountName, ids: &[DeliveryId]) -> Result<usize, StoreError>;

    /// Writes deliveries that are made anew in place of earlier ones, and that they are, in one atomic
    /// and durable write.
    async fn replay(&self, replay: Replay) -> Result<Replayed, StoreError>;

    /// What the store did by itself and nobody was told of, at most `limit`.
    async fn announcements(&self, limit: usize) -> Result<Vec<Announcement>, StoreError>;

    /// Forgets announcements, by their marks.
    async fn forget_announcements(&self, marks: &[Vec<u8>]) -> Result<(), StoreError>;

    /// Returns when there may be announcements that there were not at the last look; at most a
    /// second late.
    async fn announces(&self);

    /// Removes some of what has outlived its retention at `now`, a bounded bit that stops nobody,
    /// and says how many rows that were; 0 when nothing is left. A store does this by itself.
    async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError>;

    /// How much waits, and for how long.
    async fn standing(&self) -> Result<Standing, StoreError>;

    /// Whether a write would succeed now; for readiness.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Finishes what was begun, frees what is leased, and refuses everything after.
    async fn close(&self);
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not now; the same call may succeed later. Intake answers 503.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// What is in the way, in a few words: "queue full", "disk full", "closed" …
        reason: &'static str,
        /// When to try again.
        retry_after: Duration,
        /// The engine's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store cannot be used at all: another process owns it, it is of a newer version, or it
    /// is damaged. Only opening fails so.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// Something stored cannot be read back.
    #[error("a stored {what} cannot be read: {reason}")]
    Corrupt {
        /// What it was.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}
