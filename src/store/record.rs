//! Events, calls and registrations: what goes into a store and what comes out of it.

use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;

use super::{AnsweredRequest, DefinitionVersion, FailedDelivery, NewDelivery, Snapshot};
use crate::context::CallKey;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
pub use crate::limit::Rate;

/// What makes an event the same event: its source and a digest of the provider's event id, or of
/// the signature's message id, or of the whole request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DedupeKey {
    /// Whose the source is.
    pub account: AccountName,
    /// The source that it came from.
    pub source: String,
    /// SHA-256 of what identifies it.
    pub digest: [u8; 32],
    /// Until when a repeat is one. A later one is a new event.
    pub expires_at: Timestamp,
}

/// The answer to [`super::Store::recall`].
#[derive(Clone, Debug, Default)]
pub struct Recall {
    /// The first event with this key, if there was one.
    pub duplicate_of: Option<EventId>,
    /// The call as it is stored now.
    pub call: Option<StoredCall>,
}

/// A call's context as it is stored, with the version that a write must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCall {
    /// Grows by one with each write; a call that is not stored has version 0. One that is made anew
    /// after it was removed has no version that it had before.
    pub version: u64,
    /// `CallContext::to_bytes`.
    pub context: Vec<u8>,
}

/// One atomic write of intake.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The event.
    pub event: EventRow,
    /// What makes it the same event.
    pub dedupe: DedupeKey,
    /// Its call's merged context, if it belongs to a call.
    pub call: Option<CallWrite>,
    /// What must be delivered because of it.
    pub deliveries: Vec<NewDelivery>,
    /// What those of them are rendered from that are late.
    pub snapshot: Option<Snapshot>,
    /// What should have been delivered but could not be rendered: kept and shown, never sent.
    pub failed: Vec<FailedDelivery>,
    /// Speech requests that wait for the call no more.
    pub answered: Vec<AnsweredRequest>,
}

/// A call's context to be written.
#[derive(Clone, Debug)]
pub struct CallWrite {
    /// Which call.
    pub key: CallKey,
    /// The version that was read, 0 if there was none. If it is not the stored one any more, the
    /// write is refused as [`Accepted::Conflict`].
    pub read_version: u64,
    /// `CallContext::to_bytes`.
    pub context: Vec<u8>,
}

/// What became of an [`Acceptance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Written and durable.
    Stored,
    /// The same event was written before, under this id; nothing was written now.
    Duplicate(EventId),
    /// The call has changed since it was read, or the registration of a late delivery has another
    /// definition than it says; nothing was written. Read, merge and try again.
    Conflict,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its id.
    pub id: EventId,
    /// Whose it is.
    pub account: AccountName,
    /// The source it was posted to.
    pub source: String,
    /// The source's provider.
    pub provider: String,
    /// Accepted or rejected.
    pub state: EventState,
    /// What it means; empty if it was rejected.
    pub types: Vec<EventType>,
    /// The call it belongs to.
    pub call: Option<CallKey>,
    /// When it came in.
    pub received_at: Timestamp,
    /// The request's method.
    pub method: String,
    /// The request's path and query behind the source's name.
    pub path: String,
    /// The request's content type, empty if it had none.
    pub content_type: String,
    /// The raw body.
    pub body: Bytes,
}

/// Whether an event was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventState {
    /// It was.
    Accepted,
    /// It was not, for this reason.
    Rejected(String),
}

/// What the scheduler must know of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationLimits {
    /// Attempts under way at once.
    pub max_in_flight: u32,
    /// Attempts started within `rate_period`; `None` for no limit.
    pub rate: Option<Rate>,
    /// Whether its deliveries wait.
    pub paused: bool,
}

/// Something that the store did and that registrations may want to hear of. It is noted in the same
/// write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Tells it from the others, when it is to be forgotten.
    pub mark: Vec<u8>,
    /// Whose it is.
    pub account: AccountName,
    /// The registration that was paused, or whose delivery is dead.
    pub callback: CallbackId,
    /// What was done.
    pub what: Announced,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What an [`Announcement`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// A registration was paused, and not by its customer.
    Paused,
    /// This delivery is dead. There is no announcement of one that tells of an announcement.
    Dead(DeliveryId),
}

/// A registration as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackRow {
    /// Its id.
    pub id: CallbackId,
    /// Whose it is.
    pub account: AccountName,
    /// Whether it is delivered to.
    pub state: CallbackState,
    /// What the scheduler must know.
    pub limits: DestinationLimits,
    /// How long one attempt may take, to the last byte of the response.
    pub deadline: Duration,
    /// The registration room's own JSON, opaque to the store.
    pub definition: Vec<u8>,
    /// Which this is of the definitions that it has had. With another than the stored one, that one
    /// is kept as long as a late delivery names it.
    pub version: DefinitionVersion,
}

/// An answer that is remembered, so that whoever asks again with the same key gets it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// SHA-256 of the request that it answered.
    pub fingerprint: [u8; 32],
    /// The answer, opaque to the store.
    pub answer: Vec<u8>,
}

/// What to remember of an answer, in the same write as what it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remember {
    /// SHA-256 of the key, which is the account's.
    pub key: [u8; 32],
    /// The answer.
    pub answered: Answered,
    /// For how long.
    pub keep: Duration,
}

/// Whether a registration is delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackState {
    /// It is.
    Active,
    /// It is not, for this reason ("by the customer", "410 from the receiver"); what comes in for
    /// it is collected.
    Paused(String),
}

/// The answer to [`super::Store::callback_changes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackChanges {
    /// What to ask with the next time.
    pub revision: u64,
    /// Whether `changed` are all registrations that there are: any other is gone.
    pub is_complete: bool,
    /// Registrations that are new or changed, as they are now, in the order of their ids.
    pub changed: Vec<CallbackRow>,
    /// Registrations that were removed.
    pub removed: Vec<CallbackId>,
}

/// An event with everything.
pub type EventView = EventRow;

/// How a store stands, for operators. Looked up without going through what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Deliveries that wait: for their time, their turn, their registration or a limit.
    pub queued: u64,
    /// Deliveries that are leased, to whichever process.
    pub leased: u64,
    /// When the oldest delivery was due that could be sent now, had anybody a free slot; as far as it
    /// is among those of the destinations that were served least recently.
    pub oldest_due: Option<Timestamp>,
    /// Destinations that are only probed.
    pub open_circuits: u64,
    /// Registrations that are paused.
    pub paused_callbacks: u64,
    /// Speech jobs that are not over and wait for their time.
    pub waiting_jobs: u64,
    /// Speech jobs of which a step is under way.
    pub leased_jobs: u64,
}

/// How long things are kept after they are finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Delivered deliveries with their attempts, and events all of whose deliveries were.
    pub delivered: Duration,
    /// Dead, failed and cancelled deliveries with their attempts; their events; rejected events.
    /// A paused registration collects as long.
    pub failed: Duration,
    /// Calls, from their last event on.
    pub calls: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24;
        Self {
            delivered: Duration::from_hours(7 * DAY),
            failed: Duration::from_hours(30 * DAY),
            calls: Duration::from_hours(365 * DAY),
        }
    }
}
