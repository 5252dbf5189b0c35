//! A call's stored context: everything that its events have told so far.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Facts, Json, Name, Values};
use crate::event::AccountName;

/// A call's id in its text form (`42` and `"42"` are the same call). Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Box<str>);

impl CallId {
    /// The longest id that is taken, in bytes; what is longer is no id.
    pub const MAX_LENGTH: usize = 512;

    /// From a text or a number; anything else, and an empty or overlong text, is no id.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Text(text) | Json::Number(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// From its text form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= Self::MAX_LENGTH).then(|| Self(text.into()))
    }

    /// Its text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes a call the same call: whose it is, the space in which its source counts, its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// The account that owns the source.
    pub account: AccountName,
    /// The source's `call_space`; sources that share it speak of the same calls.
    pub space: Arc<str>,
    /// The call's id in that space.
    pub id: CallId,
}

/// Everything known of one call, each value with the time from which it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallContext {
    entries: Vec<(Name, Json, Timestamp)>,
}

/// A stored context that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored call context cannot be read: {0}")]
pub struct InvalidContext(pub String);

impl CallContext {
    /// Merges what an event tells, which is of the time `at`: a newer value replaces an older
    /// one, an absent value replaces nothing, of two values of the same time the later merged
    /// stays. Members of `custom` are merged one by one.
    pub fn merge(&mut self, _facts: &Facts, _at: Timestamp) {
        unimplemented!()
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&Json> {
        self.entries.iter().find(|(other, _, _)| *other == name).map(|(_, value, _)| value)
    }

    /// Puts every value of the context where the template engine reads it.
    pub fn fill<'a>(&'a self, values: &mut Values<'a>) {
        for (name, value, _) in &self.entries {
            values.set(*name, value.into());
        }
    }

    /// The stored form: JSON with a version.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Reads the stored form. A name that this binary does not know is left out.
    ///
    /// # Errors
    /// The bytes are not a stored context, or one of a newer version.
    pub fn from_bytes(_bytes: &[u8]) -> Result<Self, InvalidContext> {
        unimplemented!()
    }
}
