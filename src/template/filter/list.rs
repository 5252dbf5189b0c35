//! Filters that make, take apart or look into arrays.

use std::borrow::Cow;

use super::{Datum, Stop, Work};
use crate::context::Json;

/// The parts of a text between separators.
pub(super) fn split(text: &str, separator: &str, work: &mut Work) -> Result<Datum<'static>, Stop> {
    let mut parts = Vec::new();
    for part in text.split(separator) {
        work.charge(size_of::<Json>() + part.len())?;
        parts.push(Json::Text(part.into()));
    }
    Ok(Datum::Array(Cow::Owned(parts)))
}

/// The text forms of all items with a separator between them.
pub(super) fn join<'a>(input: Datum<'a>, separator: &str, work: &mut Work) -> Result<Datum<'a>, Stop> {
    let Datum::Array(items) = &input else { return Ok(Datum::Text(input.into_text(work)?)) };
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            work.charge(separator.len())?;
            joined.push_str(separator);
        }
        let datum = Datum::from(item);
        work.charge(datum.weight())?;
        joined.push_str(&datum.into_text(work)?);
    }
    Ok(Datum::text(joined))
}

/// The first item; missing where there is none.
pub(super) fn first(input: Datum<'_>) -> Datum<'_> {
    match input {
        Datum::Array(Cow::Borrowed(items)) => items.first().map_or(Datum::Missing, Datum::from),
        Datum::Array(Cow::Owned(items)) => items.into_iter().next().map_or(Datum::Missing, Datum::from),
        one => one,
    }
}

/// The last item; missing where there is none.
pub(super) fn last(input: Datum<'_>) -> Datum<'_> {
    match input {
        Datum::Array(Cow::Borrowed(items)) => items.last().map_or(Datum::Missing, Datum::from),
        Datum::Array(Cow::Owned(mut items)) => items.pop().map_or(Datum::Missing, Datum::from),
        one => one,
    }
}

/// How many items there are.
pub(super) fn length(input: &Datum<'_>) -> Datum<'static> {
    let count = match input {
        Datum::Array(items) => items.len(),
        _ => 1,
    };
    Datum::number(count.to_string())
}

/// That member of each object that has it.
pub(super) fn pluck<'a>(input: Datum<'a>, name: &str) -> Datum<'a> {
    let of = |members: &[(Box<str>, Json)]| {
        let member = members.iter().rev().find(|(key, _)| &**key == name);
        member.map(|(_, value)| value.clone()).filter(|value| *value != Json::Null)
    };
    let plucked = match input {
        Datum::Array(items) => items
            .iter()
            .filter_map(|item| match item {
                Json::Object(members) => of(members),
                _ => None,
            })
            .collect(),
        Datum::Object(members) => of(&members).into_iter().collect(),
        _ => Vec::new(),
    };
    Datum::Array(Cow::Owned(plucked))
}
