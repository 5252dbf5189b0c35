//! Deliveries, from the queue to how they ended: what goes into a store and what comes out of it.

use std::fmt;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;

use super::{Answered, Remember};
use crate::context::CallId;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};

/// A delivery to be made.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Its id, and the `webhook-id` of its attempts.
    pub id: DeliveryId,
    /// Whose it is.
    pub account: AccountName,
    /// The registration that asked for it.
    pub callback: CallbackId,
    /// Whose turn it takes.
    pub destination: DestinationId,
    /// The event that caused it.
    pub event: EventId,
    /// What of the event it is for.
    pub event_type: EventType,
    /// The call, where there is one.
    pub call: Option<CallId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its first attempt is due.
    pub due: Timestamp,
    /// Of those with this key, and of its destination, only one goes out at a time, in the order in
    /// which their events were accepted; `None` if it waits for no other.
    pub order: Option<OrderKey>,
    /// What it sends.
    pub request: Rendition,
}

/// What a delivery sends: the request, or what it is made from at the first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendition {
    /// The request, the same on every attempt.
    Done(DeliveryRequest),
    /// It is yet to be rendered: there was too much to render with its event.
    Late(Late),
}

/// What a delivery is rendered from, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The event, of which there is a [`Snapshot`].
    pub event: EventId,
    /// What of the event it is for.
    pub event_type: EventType,
    /// The registration's definition when the event came in.
    pub version: DefinitionVersion,
}

impl Rendition {
    /// How many bytes of a body it holds.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Done(request) => request.body.len(),
            Self::Late(_) => 0,
        }
    }

    /// The request, if it is rendered.
    #[must_use]
    pub const fn request(&self) -> Option<&DeliveryRequest> {
        match self {
            Self::Done(request) => Some(request),
            Self::Late(_) => None,
        }
    }
}

impl From<DeliveryRequest> for Rendition {
    fn from(request: DeliveryRequest) -> Self {
        Self::Done(request)
    }
}

/// Everything that late deliveries of an event are rendered from but their definitions. It is kept
/// once, until the last of them is rendered or will never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The event.
    pub event: EventId,
    /// The registration room's own form, opaque to the store.
    pub bytes: Bytes,
}

/// Tells the definitions apart that a registration has had one after the other. One that was stored
/// before there were versions has the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DefinitionVersion(pub [u8; 16]);

impl DefinitionVersion {
    /// A version that no other definition has.
    #[must_use]
    pub fn new() -> Self {
        Self(ulid::Ulid::generate().to_bytes())
    }
}

/// What became of the rendering of a late delivery: one atomic write, before anything is sent.
#[derive(Clone, Debug)]
pub struct LateRendering {
    /// The right to write it.
    pub lease: Lease,
    /// Whose the delivery is.
    pub account: AccountName,
    /// The request, or why there is none: a sentence without data. Then nothing is ever sent.
    pub rendered: Result<DeliveryRequest, String>,
}

/// The request that a delivery sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRequest {
    /// `POST` or `PUT`.
    pub method: String,
    /// The rendered URL.
    pub url: String,
    /// Content type of the body.
    pub content_type: String,
    /// The registration's rendered headers.
    pub headers: Vec<(String, String)>,
    /// The rendered body.
    pub body: Bytes,
}

/// Deliveries that are made anew in place of earlier ones, with new ids: one atomic write.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Whose they are.
    pub account: AccountName,
    /// Each with the one in whose place it is made.
    pub deliveries: Vec<(DeliveryId, NewDelivery)>,
    /// Whether one that was made anew before is so once more.
    pub again: bool,
    /// The answer to remember, in the same write.
    pub remember: Option<Remember>,
}

/// What became of a [`Replay`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Written and durable.
    Stored,
    /// One of the earlier deliveries is gone, or was made anew since it was read; nothing was
    /// written. Read and try again.
    Conflict,
    /// The same request was answered before; nothing was written.
    Answered(Answered),
}

/// A delivery whose rendering failed.
#[derive(Clone, Debug)]
pub struct FailedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub account: AccountName,
    /// The registration that asked for it.
    pub callback: CallbackId,
    /// The event that caused it.
    pub event: EventId,
    /// What of the event it is for.
    pub event_type: EventType,
    /// The call, where there is one.
    pub call: Option<CallId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Why: a sentence without data.
    pub reason: String,
}

/// A destination: what deliveries take turns for. A registration is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(pub [u8; 16]);

impl From<CallbackId> for DestinationId {
    fn from(id: CallbackId) -> Self {
        Self(id.to_bytes())
    }
}

/// What deliveries have in common that go out one after the other: a digest of their call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(pub [u8; 16]);

/// The right to make one attempt of one delivery. Whoever settles must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Tells this lease from every other one of the same delivery.
    pub token: u64,
}

/// A delivery that was leased to a worker.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The right to make the attempt.
    pub lease: Lease,
    /// Whose it is.
    pub account: AccountName,
    /// The registration that asked for it.
    pub callback: CallbackId,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// What it sends.
    pub request: Rendition,
}

/// One attempt, as it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, to the last byte of the response.
    pub latency: Duration,
    /// What came of it.
    pub outcome: OutcomeKind,
    /// The response's status, if there was a response.
    pub status: Option<u16>,
    /// What went wrong, in a sentence, where the status does not say it.
    pub error: Option<String>,
    /// The response's body, at most its first 16 KiB.
    pub response: Bytes,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// 2xx.
    Delivered,
    /// 410: the receiver wants no more.
    Gone,
    /// 408, 425, 429 or 5xx.
    Unavailable,
    /// Another 4xx.
    Refused,
    /// 1xx or 3xx, redirects among them.
    Unexpected,
    /// The name could not be resolved.
    Dns,
    /// The name resolves to an address that must not be dialled.
    AddressRefused,
    /// No connection, or it broke.
    Connection,
    /// The TLS handshake failed.
    Tls,
    /// The deadline passed.
    Timeout,
    /// Nothing was sent, and nothing ever can be: its registration is gone, or the stored request
    /// is not one.
    Unsendable,
    /// The process died during it.
    Crashed,
}

impl OutcomeKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Delivered,
        Self::Gone,
        Self::Unavailable,
        Self::Refused,
        Self::Unexpected,
        Self::Dns,
        Self::AddressRefused,
        Self::Connection,
        Self::Tls,
        Self::Timeout,
        Self::Unsendable,
        Self::Crashed,
    ];

    /// Its name in the store, in the API and in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Unexpected => "unexpected",
            Self::Dns => "dns",
            Self::AddressRefused => "address_refused",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Unsendable => "unsendable",
            Self::Crashed => "crashed",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One atomic write of delivery: an attempt and what happens next.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The right to write it.
    pub lease: Lease,
    /// How the attempt went.
    pub attempt: Attempt,
    /// What happens next.
    pub next: Next,
    /// Pauses the registration, for this reason, in the same write.
    pub pause_callback: Option<String>,
}

/// What happens to a delivery after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was delivered.
    Delivered,
    /// Another attempt at this time.
    RetryAt(Timestamp),
    /// Nothing, for this reason; it is kept, and may be retried by hand.
    Dead(String),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waits for its time, its turn or its registration.
    Queued,
    /// An attempt is under way.
    Leased,
    /// The receiver has it.
    Delivered,
    /// The last attempt failed; kept.
    Dead,
    /// It could not be rendered, so nothing was ever sent; kept.
    Failed,
    /// Its registration was removed.
    Cancelled,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Leased, Self::Delivered, Self::Dead, Self::Failed, Self::Cancelled];

    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// The registration that asked for it.
    pub callback: CallbackId,
    /// The event that caused it.
    pub event: EventId,
    /// What of the event it is for.
    pub event_type: EventType,
    /// The call, where there is one.
    pub call: Option<CallId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it is dead, failed or cancelled.
    pub reason: Option<String>,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next attempt is due, while it is queued.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was delivered, died, failed or was cancelled.
    pub finished_at: Option<Timestamp>,
    /// The delivery that a replay made in its place, the last one if there were several.
    pub replayed_as: Option<DeliveryId>,
}

/// A delivery with everything: its request (absent if it was not rendered) and its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryView {
    /// What the list shows.
    pub row: DeliveryRow,
    /// What is sent.
    pub request: Option<DeliveryRequest>,
    /// Whether there is no request because it is rendered at the first attempt.
    pub is_late: bool,
    /// How the attempts went, the first first.
    pub attempts: Vec<Attempt>,
}
