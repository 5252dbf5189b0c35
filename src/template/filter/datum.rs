//! A value on its way through filters: borrowed from the data until a filter makes a new one.

use std::borrow::Cow;

use crate::context::{Json, Value};

/// A value, borrowed or not.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::template) enum Datum<'a> {
    Missing,
    Bool(bool),
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    Array(Cow<'a, [Json]>),
    Object(Cow<'a, [(Box<str>, Json)]>),
}

impl<'a> From<Value<'a>> for Datum<'a> {
    fn from(value: Value<'a>) -> Self {
        match value {
            Value::Missing => Self::Missing,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(spelling) => Self::Number(Cow::Borrowed(spelling)),
            Value::Text(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::Array(Cow::Borrowed(items)),
            Value::Object(members) => Self::Object(Cow::Borrowed(members)),
        }
    }
}

impl<'a> From<&'a Json> for Datum<'a> {
    fn from(json: &'a Json) -> Self {
        Value::from(json).into()
    }
}

impl From<Json> for Datum<'_> {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Missing,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(spelling) => Self::Number(Cow::Owned(spelling.into())),
            Json::Text(text) => Self::Text(Cow::Owned(text.into())),
            Json::Array(items) => Self::Array(Cow::Owned(items)),
            Json::Object(members) => Self::Object(Cow::Owned(members)),
        }
    }
}

impl Datum<'_> {
    pub(in crate::template) fn as_value(&self) -> Value<'_> {
        match self {
            Self::Missing => Value::Missing,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(spelling) => Value::Number(spelling),
            Self::Text(text) => Value::Text(text),
            Self::Array(items) => Value::Array(items),
            Self::Object(members) => Value::Object(members),
        }
    }

    pub(super) fn is_empty_text(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}
