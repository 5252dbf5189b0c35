//! What lists ask of a store, and what they get.

use std::sync::Arc;

use jiff::Timestamp;

use super::{DeliveryRow, DeliveryState, EventRow, EventState, StoredCall};
use crate::context::{CallContext, CallId, CallKey, Values};
use crate::event::{CallbackId, DeliveryId, EventType};
use crate::filter::{Filter, Occasion};

/// The most rows that one look at a list of events, or at deliveries from the oldest on, goes
/// through, whether or not they match.
pub const SCAN_LIMIT: usize = 5_000;

/// The most calls that one look at a list of calls reads, whether or not they match.
pub const CALLS_LIMIT: usize = 500;

/// The most bytes of contexts that one look at a list of calls brings, but for its first row.
pub const CONTEXTS_LIMIT: usize = 16 << 20;

/// A part of a list that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T, C> {
    /// The rows, in the order of the list.
    pub rows: Vec<T>,
    /// Where to go on. There may be nothing behind it; without it there is nothing more. A part may
    /// have fewer rows than were asked for, or none, and yet not be the last: one look is bounded.
    pub next: Option<C>,
}

impl Found<DeliveryRow, DeliveryId> {
    /// Of two lists from the oldest on, a part each, the same part of the list of both, with at most
    /// `limit` rows.
    #[must_use]
    pub fn merge(self, other: Self, limit: usize) -> Self {
        // As far as both were looked at.
        let mut next = self.next.into_iter().chain(other.next).min();
        let mut rows = self.rows;
        rows.extend(other.rows);
        rows.retain(|row| next.is_none_or(|next| row.id <= next));
        rows.sort_unstable_by_key(|row| row.id);
        if rows.len() > limit {
            rows.truncate(limit);
            next = rows.last().map(|row| row.id);
        }
        Self { rows, next }
    }
}

/// Which deliveries a list shows; `None` takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of this registration.
    pub callback: Option<CallbackId>,
    /// Of this call.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
}

impl DeliveryFilter {
    /// Whether a delivery is one of these.
    #[must_use]
    pub fn takes(&self, row: &DeliveryRow) -> bool {
        self.callback.is_none_or(|callback| row.callback == callback)
            && self.call.as_ref().is_none_or(|call| row.call.as_ref() == Some(call))
            && self.state.is_none_or(|state| row.state == state)
            && self.since.is_none_or(|since| row.created_at >= since)
            && self.until.is_none_or(|until| row.created_at < until)
    }
}

/// A part of a list: at most `limit` (not 0) rows, those before `before` (an exclusive cursor; ids
/// fall from newest to oldest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor: the last id of the part before.
    pub before: Option<DeliveryId>,
    /// How many rows.
    pub limit: usize,
}

/// Which events a list shows; `None` takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Posted to this source.
    pub source: Option<String>,
    /// Of this type, among others perhaps.
    pub event_type: Option<EventType>,
    /// Rejected, or accepted.
    pub is_rejected: Option<bool>,
    /// Of this call.
    pub call: Option<CallId>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Whether an event is one of these.
    #[must_use]
    pub fn takes(&self, event: &EventRow) -> bool {
        let is_rejected = matches!(event.state, EventState::Rejected(_));
        self.source.as_ref().is_none_or(|source| event.source == *source)
            && self.event_type.is_none_or(|event_type| event.types.contains(&event_type))
            && self.is_rejected.is_none_or(|wanted| wanted == is_rejected)
            && self.call.as_ref().is_none_or(|call| event.call.as_ref().is_some_and(|key| key.id == *call))
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at < until)
    }
}

/// Which calls a list shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallQuery {
    /// What they have.
    pub filter: Filter,
    /// As whom they are looked at: speech that another token owns is missing.
    pub token: Option<Arc<str>>,
}

impl CallQuery {
    /// Whether every call is one of these.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.filter == Filter::default()
    }

    /// Whether a call whose context is stored so is one of these. One that cannot be read is none,
    /// so that it does not hide the others.
    #[must_use]
    pub fn takes(&self, context: &[u8]) -> bool {
        if self.takes_all() {
            return true;
        }
        match CallContext::from_bytes(context) {
            Ok(context) => {
                let mut values = Values::new();
                context.fill_for(self.token.as_deref(), &mut values);
                self.filter.takes(&Occasion::new(&values))
            }
            Err(error) => {
                tracing::error!(%error, "a call is left out of a search");
                false
            }
        }
    }
}

/// A call's place in the list of its account's calls, which falls from newest to oldest. What it
/// says is its store's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallMark {
    /// Where, by age.
    pub place: u64,
    /// Tells it from others of that age.
    pub name: Box<str>,
}

/// A call in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCall {
    /// Its place.
    pub mark: CallMark,
    /// Which.
    pub key: CallKey,
    /// When its first event came in.
    pub created_at: Timestamp,
    /// What is known of it.
    pub stored: StoredCall,
}
