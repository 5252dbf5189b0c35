//! What one event tells of a call: values of the types that the catalogue promises.

use super::{Json, Name};

/// Names with values of the names' own types. The only way in is [`Facts::put`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(Vec<(Name, Json)>);

impl Facts {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts a value under a name, in the name's type: text that is a JSON number becomes a number
    /// for a number name, a time is normalised to RFC 3339 in UTC, `null` is absent. What cannot
    /// be read in that type is left out, and `warnings` says so (without the value).
    pub fn put(&mut self, _name: Name, _value: Json, _warnings: &mut Vec<String>) {
        unimplemented!()
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&Json> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All names that have a value.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &Json)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}
