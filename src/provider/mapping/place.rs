//! Where in a request a value is.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::context::Json;

/// A request as pointers see it.
pub(super) struct Document<'a> {
    body: &'a Json,
    query: Vec<(Cow<'a, str>, Json)>,
}

impl<'a> Document<'a> {
    pub(super) fn new(body: &'a Json, query: &'a str) -> Self {
        let parameters = form_urlencoded::parse(query.as_bytes());
        Self { body, query: parameters.map(|(name, text)| (name, Json::from(&*text))).collect() }
    }

    /// An item of an array of the body, with the same query.
    pub(super) fn item(item: &'a Json) -> Self {
        Self { body: item, query: Vec::new() }
    }
}

/// A JSON pointer (RFC 6901), or the name of a parameter of the query behind `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pointer {
    Body(Vec<String>),
    Query(String),
}

impl Pointer {
    /// Reads a pointer: empty for the whole body, else beginning with `/` or `?`.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected a JSON pointer such as \"/call/id\", or a parameter of the query such as \"?call_id\"";
        if let Some(name) = text.strip_prefix('?') {
            return if name.is_empty() { Err(EXPECTED) } else { Ok(Self::Query(name.to_owned())) };
        }
        if text.is_empty() {
            return Ok(Self::Body(Vec::new()));
        }
        let tokens = text.strip_prefix('/').ok_or(EXPECTED)?.split('/');
        tokens.map(read_token).collect::<Result<_, _>>().map(Self::Body)
    }

    /// The value, if it is there and not null.
    fn of<'d>(&self, document: &'d Document<'_>) -> Option<&'d Json> {
        let found = match self {
            Self::Query(name) => document.query.iter().find(|(other, _)| other == name).map(|(_, text)| text),
            Self::Body(tokens) => tokens.iter().try_fold(document.body, |json, token| match json {
                Json::Array(items) => index(token).and_then(|index| items.get(index)),
                object => object.get(token),
            }),
        };
        found.filter(|value| **value != Json::Null)
    }
}

fn read_token(token: &str) -> Result<String, &'static str> {
    let mut pieces = token.split('~');
    let mut read = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, rest) = match piece.as_bytes().first() {
            Some(b'0') => ('~', &piece[1..]),
            Some(b'1') => ('/', &piece[1..]),
            _ => return Err("in a JSON pointer `~` is written `~0`, and `/` within a name `~1`"),
        };
        read.push(escaped);
        read.push_str(rest);
    }
    Ok(read)
}

/// An index as RFC 6901 spells it: without leading zeros.
fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { token.parse().ok() } else { None }
}

/// Places of one value: the first where there is one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(pub(super) Vec<Pointer>);

impl Places {
    pub(super) fn find<'d>(&self, document: &'d Document<'_>) -> Option<&'d Json> {
        self.0.iter().find_map(|pointer| pointer.of(document))
    }

    /// The value, of the texts the first that is not empty: forms send empty ones for nothing.
    pub(super) fn of<'d>(&self, document: &'d Document<'_>) -> Option<Cow<'d, Json>> {
        let full = |value: &&Json| value.as_str() != Some("");
        let values = || self.0.iter().filter_map(|pointer| pointer.of(document));
        values().find(full).or_else(|| values().next()).map(Cow::Borrowed)
    }
}
