//! The filters: what stands behind a bar.
//!
//! | kind | takes | where |
//! | --- | --- | --- |
//! | [`text`] | the text form of anything | a text |
//! | [`number`] | a number, or text in JSON's number syntax | a number or a text |
//! | [`time`] | what [`crate::context::read_time`] reads | a text or a number |
//! | [`list`] | an array; anything else is an array of one | an array, an item, a text, a number |
//!
//! What cannot be read becomes missing; missing passes through all but `default` and `required`.

mod arguments;
mod datum;
mod list;
mod number;
mod text;
mod time;

use std::borrow::Cow;

use super::diagnostic::{Code, Problems};
use super::grammar::excerpt;
use super::suggest;
use super::tree::Call;
use crate::context::Json;
use arguments::Arguments;
use number::DurationStyle;
use time::Format;

pub(super) use datum::Datum;

/// A filter with its arguments.
#[derive(Debug)]
pub(super) enum Filter {
    Default(Json),
    Required,
    Upper,
    Lower,
    Trim,
    Truncate { most: usize, suffix: Box<str> },
    Capitalize,
    Replace { from: Box<str>, to: Box<str> },
    Split(Box<str>),
    Join(Box<str>),
    First,
    Last,
    Length,
    Pluck(Box<str>),
    Date(Box<Format>),
    Unix,
    Duration(DurationStyle),
    Round(usize),
    Text,
    Number,
    Bool,
    Json,
    Mask(usize),
    Sha256,
    Urlencode,
    Base64,
}

/// The filters' names, in the order of the documentation.
pub(super) const NAMES: [&str; 26] = [
    "default",
    "required",
    "upper",
    "lower",
    "trim",
    "truncate",
    "capitalize",
    "replace",
    "split",
    "join",
    "first",
    "last",
    "length",
    "pluck",
    "date",
    "unix",
    "duration",
    "round",
    "text",
    "number",
    "bool",
    "json",
    "mask",
    "sha256",
    "urlencode",
    "base64",
];

/// Why a value did not come out of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A required value is missing.
    Required,
    /// The filters of this rendering have had more work than they may.
    Overworked,
}

/// How much work the filters of one rendering may still do, in bytes read or made. Without it a
/// small template could ask for any amount: `replace` multiplies, and filters can be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    left: usize,
}

impl Work {
    pub(super) const fn new(most: usize) -> Self {
        Self { left: most }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Stop> {
        self.left = self.left.checked_sub(bytes).ok_or(Stop::Overworked)?;
        Ok(())
    }
}

impl Filter {
    /// Compiles a filter; what is wrong with it is added to `problems`.
    pub(super) fn compile(source: &str, call: &Call, problems: &mut Problems) -> Option<Self> {
        if problems.is_full() {
            return None;
        }
        let name = call.name.of(source);
        let mut arguments = Arguments::new(call, name, problems);
        let filter = match name {
            "default" => Self::Default(arguments.any()?),
            "required" => Self::Required,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "trim" => Self::Trim,
            "truncate" => {
                Self::Truncate { most: arguments.count(usize::MAX)?, suffix: arguments.text_or_nothing()? }
            }
            "capitalize" => Self::Capitalize,
            "replace" => Self::Replace { from: arguments.text_that_is_not_empty()?, to: arguments.text()? },
            "split" => Self::Split(arguments.text_that_is_not_empty()?),
            "join" => Self::Join(arguments.text()?),
            "first" => Self::First,
            "last" => Self::Last,
            "length" => Self::Length,
            "pluck" => Self::Pluck(arguments.text()?),
            "date" => Self::Date(Box::new(Format::compile(&mut arguments)?)),
            "unix" => Self::Unix,
            "duration" => Self::Duration(DurationStyle::compile(&mut arguments)?),
            "round" => Self::Round(arguments.count_or_zero(number::MOST_DECIMALS)?),
            "text" => Self::Text,
            "number" => Self::Number,
            "bool" => Self::Bool,
            "json" => Self::Json,
            "mask" => Self::Mask(arguments.count(usize::MAX)?),
            "sha256" => Self::Sha256,
            "urlencode" => Self::Urlencode,
            "base64" => Self::Base64,
            _ => {
                let suggestion = suggest::meant(name, NAMES).map(str::to_owned);
                let message = format!("there is no filter `{}`", excerpt(name));
                problems.suggest(Code::UnknownFilter, call.name, message, suggestion);
                return None;
            }
        };
        arguments.end()?;
        Some(filter)
    }

    /// What the filter makes of a value.
    pub(super) fn apply<'a>(&'a self, input: Datum<'a>, work: &mut Work) -> Result<Datum<'a>, Stop> {
        work.charge(input.weight())?;
        let is_missing = matches!(input, Datum::Missing);
        Ok(match self {
            Self::Default(value) if is_missing || input.is_empty_text() => Datum::from(value),
            Self::Required if is_missing => return Err(Stop::Required),
            Self::Default(_) | Self::Required => input,
            _ if is_missing => Datum::Missing,
            Self::Split(separator) => list::split(&input.into_text(work)?, separator, work)?,
            Self::Join(separator) => list::join(input, separator, work)?,
            Self::First => list::first(input),
            Self::Last => list::last(input),
            Self::Length => list::length(&input),
            Self::Pluck(name) => list::pluck(input, name),
            Self::Date(format) => {
                let text = format.apply(input.as_value());
                work.charge(text.as_ref().map_or(0, String::len))?;
                text.map_or(Datum::Missing, Datum::text)
            }
            Self::Unix => time::unix(input.as_value()).map_or(Datum::Missing, Datum::number),
            Self::Duration(style) => number::duration(&input, *style).map_or(Datum::Missing, Datum::text),
            Self::Round(decimals) => number::round(&input, *decimals).map_or(Datum::Missing, Datum::number),
            Self::Number => number::read(input),
            Self::Bool => number::bool(&input.into_text(work)?),
            Self::Json => match Json::parse(input.into_text(work)?.as_bytes()) {
                Ok(json) => Datum::from(json),
                Err(_) => Datum::Missing,
            },
            Self::Text => Datum::Text(input.into_text(work)?),
            Self::Upper => Datum::text(input.into_text(work)?.to_uppercase()),
            Self::Lower => Datum::text(input.into_text(work)?.to_lowercase()),
            Self::Trim => Datum::Text(text::trim(input.into_text(work)?)),
            Self::Truncate { most, suffix } => {
                Datum::Text(text::truncate(input.into_text(work)?, *most, suffix))
            }
            Self::Capitalize => Datum::Text(text::capitalize(input.into_text(work)?)),
            Self::Replace { from, to } => Datum::Text(text::replace(input.into_text(work)?, from, to, work)?),
            Self::Mask(shown) => Datum::Text(text::mask(input.into_text(work)?, *shown)),
            Self::Sha256 => Datum::text(text::sha256(&input.into_text(work)?)),
            Self::Urlencode => Datum::text(text::urlencode(&input.into_text(work)?)),
            Self::Base64 => Datum::text(text::base64(&input.into_text(work)?)),
        })
    }
}

impl<'a> Datum<'a> {
    fn text(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    fn number(spelling: String) -> Self {
        Self::Number(Cow::Owned(spelling))
    }

    /// How much work it is to look at the value once. At least something: an endless row of
    /// filters is work even where there is no data.
    fn weight(&self) -> usize {
        const LEAST: usize = 16;
        LEAST
            + match self {
                Self::Missing | Self::Bool(_) => 0,
                Self::Number(text) | Self::Text(text) => text.len(),
                Self::Array(items) => size_of_val::<[Json]>(items),
                Self::Object(members) => size_of_val::<[(Box<str>, Json)]>(members),
            }
    }

    /// The text form.
    fn into_text(self, work: &mut Work) -> Result<Cow<'a, str>, Stop> {
        Ok(match self {
            Self::Missing => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Number(text) | Self::Text(text) => text,
            Self::Array(_) | Self::Object(_) => {
                let mut json = Vec::new();
                self.as_value().write(&mut json);
                work.charge(json.len())?;
                Cow::Owned(String::from_utf8(json).expect("JSON made of texts is text"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Limits, Template};

    #[test]
    fn every_name_is_a_filter() {
        for name in NAMES {
            let template = format!("{{email | {name}}}");
            let problems = Template::compile(&template, &Limits::default()).err().unwrap_or_default();
            assert!(problems.iter().all(|problem| problem.code == Code::BadArgument), "{name}");
        }
    }
}
