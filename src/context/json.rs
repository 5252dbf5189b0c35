//! Foreign JSON, kept as it was written: numbers in their spelling, members in their order.

/// A JSON value. Unlike `serde_json::Value` it keeps the spelling of numbers (`12.0`, integers
/// beyond 2^53), the order of members, and members of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number in its spelling, which is valid JSON.
    Number(Box<str>),
    /// A text.
    Text(Box<str>),
    /// An array.
    Array(Vec<Json>),
    /// An object: its members in their order.
    Object(Vec<(Box<str>, Json)>),
}

/// Why a text is not JSON, or not JSON that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (byte {offset})")]
pub struct InvalidJson {
    /// Where, in bytes from the beginning.
    pub offset: usize,
    /// What, in a few words that hold none of the data.
    pub reason: &'static str,
}

impl Json {
    /// The deepest nesting that is read.
    pub const MAX_DEPTH: usize = 512;

    /// Reads one JSON text (RFC 8259, UTF-8). A lone surrogate (`"\ud800"`) becomes U+FFFD; a
    /// leading byte order mark is ignored.
    ///
    /// # Errors
    /// The first place where it is not JSON, or where it is nested deeper than
    /// [`Self::MAX_DEPTH`].
    pub fn parse(_bytes: &[u8]) -> Result<Self, InvalidJson> {
        unimplemented!()
    }

    /// Appends the value as compact JSON.
    pub fn write(&self, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// A member of an object: of several by that name the last, as most readers do.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => {
                members.iter().rev().find(|(key, _)| &**key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, where it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text form, as inside a string of a template: a text is its characters, a number its
    /// spelling, null is empty, an array or object is its compact JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        unimplemented!()
    }
}
