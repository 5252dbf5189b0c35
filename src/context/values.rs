//! The values of one rendering, borrowed: what the template engine reads.

use super::{Json, Name};

/// One value as the template engine sees it. `null` is [`Value::Missing`]: a template cannot tell
/// them apart, and neither can a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// Null, or not there.
    #[default]
    Missing,
    /// A boolean.
    Bool(bool),
    /// A number in its JSON spelling, kept as the provider wrote it.
    Number(&'a str),
    /// A text.
    Text(&'a str),
    /// An array.
    Array(&'a [Json]),
    /// An object: its members in their order.
    Object(&'a [(Box<str>, Json)]),
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Missing,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(spelling) => Self::Number(spelling),
            Json::Text(text) => Self::Text(text),
            Json::Array(items) => Self::Array(items),
            Json::Object(members) => Self::Object(members),
        }
    }
}

/// A value for every name of the catalogue, indexed by the name: no look-up by text happens while
/// a template is rendered.
#[derive(Clone, Debug)]
pub struct Values<'a>([Value<'a>; Name::COUNT]);

impl<'a> Values<'a> {
    /// All names missing.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        // A copy of a constant. Made at run time, it would be filled in one place and then moved.
        const EMPTY: Values<'static> = Values([Value::Missing; Name::COUNT]);
        EMPTY
    }

    /// Sets the value of a name; an earlier one is replaced.
    #[inline]
    pub fn set(&mut self, name: Name, value: Value<'a>) {
        self.0[name.index()] = value;
    }

    /// The value of a name.
    #[inline]
    #[must_use]
    pub fn get(&self, name: Name) -> Value<'a> {
        self.0[name.index()]
    }
}

impl Default for Values<'_> {
    fn default() -> Self {
        Self::new()
    }
}
