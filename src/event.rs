//! Normalised events and the ids of everything that Ringback stores.
//!
//! An id is 128 bits, sortable by the time of its making (a ULID: 48 bits of milliseconds, then 80
//! random bits), and prints with a prefix that says what it names: `ev_`, `cb_`, `dl_`, `sj_`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::context::{CallId, Facts, Json};

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// What every printed id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, later than all ids made in earlier milliseconds.
            #[must_use]
            pub fn new() -> Self {
                Self(ulid::Ulid::generate().0)
            }

            /// The id as the store keeps it: 16 bytes whose order is the order of making.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The inverse of [`Self::to_bytes`].
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str($prefix)?;
                f.write_str(ulid::Ulid(self.0).array_to_str(&mut buffer))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix).ok_or(InvalidId { expected: $prefix })?;
                let id = ulid::Ulid::from_string(digits).map_err(|_| InvalidId { expected: $prefix })?;
                // Crockford's base 32 reads several spellings of one number; an id has one.
                if Self(id.0).to_string() == text {
                    Ok(Self(id.0))
                } else {
                    Err(InvalidId { expected: $prefix })
                }
            }
        }
    };
}

id!(
    /// Names one event that a provider posted: `ev_…`.
    EventId,
    "ev_"
);
id!(
    /// Names one registered callback: `cb_…`.
    CallbackId,
    "cb_"
);
id!(
    /// Names one delivery, and is the `webhook-id` of each of its attempts: `dl_…`.
    DeliveryId,
    "dl_"
);

id!(
    /// Names one speech job: `sj_…`.
    JobId,
    "sj_"
);

/// A text that is not an id of the kind that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected `{expected}` and 26 characters of Crockford's base 32")]
pub struct InvalidId {
    /// The prefix that the id would have had.
    pub expected: &'static str,
}

pub use crate::context::AccountName;

/// What happened, in Ringback's words, whichever provider said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// `call.started`
    CallStarted,
    /// `call.updated`
    CallUpdated,
    /// `call.ended`
    CallEnded,
    /// `call.recording_ready`
    CallRecordingReady,
    /// `call.transferred`
    CallTransferred,
    /// `speech.completed`
    SpeechCompleted,
    /// `speech.failed`
    SpeechFailed,
    /// `survey.completed`
    SurveyCompleted,
    /// `callback.paused`, from Ringback itself
    CallbackPaused,
    /// `delivery.dead`, from Ringback itself
    DeliveryDead,
    /// `provider.other`: understood, but none of the others
    ProviderOther,
}

impl EventType {
    /// Every event type, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::CallStarted,
        Self::CallUpdated,
        Self::CallEnded,
        Self::CallRecordingReady,
        Self::CallTransferred,
        Self::SpeechCompleted,
        Self::SpeechFailed,
        Self::SurveyCompleted,
        Self::CallbackPaused,
        Self::DeliveryDead,
        Self::ProviderOther,
    ];

    /// The name that registrations subscribe to and `{event_type}` renders.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallStarted => "call.started",
            Self::CallUpdated => "call.updated",
            Self::CallEnded => "call.ended",
            Self::CallRecordingReady => "call.recording_ready",
            Self::CallTransferred => "call.transferred",
            Self::SpeechCompleted => "speech.completed",
            Self::SpeechFailed => "speech.failed",
            Self::SurveyCompleted => "survey.completed",
            Self::CallbackPaused => "callback.paused",
            Self::DeliveryDead => "delivery.dead",
            Self::ProviderOther => "provider.other",
        }
    }

    /// Whether it tells of Ringback's own doing.
    #[must_use]
    pub const fn is_of_ringback(self) -> bool {
        matches!(self, Self::CallbackPaused | Self::DeliveryDead)
    }

    /// The event type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.as_str() == name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an adapter read out of one verified request.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it means. One webhook may mean several things; never empty, never the same twice.
    pub types: Vec<EventType>,
    /// The provider's own id of the event: the same id again is the same event.
    pub provider_event_id: Option<String>,
    /// When the provider says that it happened, which orders it among the call's other events.
    pub at: Option<Timestamp>,
    /// The call that it belongs to; an event without one has only itself as context.
    pub call_id: Option<CallId>,
    /// What it tells of the call, in the catalogue's names and types.
    pub facts: Facts,
    /// The provider's body as data, for `{raw}`.
    pub raw: Json,
    /// What could not be read and was left out, a sentence each. No values: these may be logged.
    pub warnings: Vec<String>,
    /// What it only gives notice of.
    pub notice: Option<Notice>,
}

/// What a thin event gives notice of: its provider must be asked for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The job of this id, by the provider's count, stands otherwise than before.
    Job(String),
    /// There are results of the event's call.
    Results,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_parses_and_sorts_by_time() {
        let first = EventId::new();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = EventId::new();
        assert!(first < second);
        assert!(first.to_string() < second.to_string());
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(EventId::from_bytes(first.to_bytes()), first);
        assert!(first.to_string().parse::<DeliveryId>().is_err());
        assert!(first.to_string().to_lowercase().parse::<EventId>().is_err());
    }

    #[test]
    fn event_types_are_found_by_their_names() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::from_name(event_type.as_str()), Some(event_type));
        }
        assert_eq!(EventType::from_name("call.Started"), None);
    }
}
