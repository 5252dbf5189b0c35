//! The members of a request: each is taken out once, in its type, and what is left is unknown.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value as Request};

use crate::context::{Value, read_time};
use crate::registration::{Callback, Issue};

/// The most unknown members that are told of one by one.
const MAX_UNKNOWN: usize = 50;

/// The longest name, in bytes, that others are compared with. No name of ours is half as long.
const MAX_COMPARED: usize = 64;

/// The members of a request, taken out one by one; what is left at the end is unknown.
pub(super) struct Members {
    /// Where they stand, as a JSON pointer.
    base: &'static str,
    left: Map<String, Request>,
    /// The names asked for so far, for suggestions.
    known: BTreeSet<&'static str>,
    pub(super) issues: Vec<Issue>,
}

impl Members {
    /// The members of the object at `base`.
    pub(super) fn new(base: &'static str, members: Map<String, Request>) -> Self {
        Self { base, left: members, known: BTreeSet::new(), issues: Vec::new() }
    }

    /// Notes a problem at a pointer from here; the `None` is for the value that is not there.
    pub(super) fn issue<T>(
        &mut self,
        pointer: &str,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Option<T> {
        self.issues.push(Issue::new(format!("{}{pointer}", self.base), code, detail));
        None
    }

    /// Takes a member out; `null` is as if it were not there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Request> {
        self.known.insert(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// The registration that is being changed, if the change leaves this member as it is.
    pub(super) fn kept<'a>(
        &mut self,
        name: &'static str,
        base: Option<&'a Callback>,
    ) -> Option<&'a Callback> {
        self.known.insert(name);
        base.filter(|_| !self.left.contains_key(name))
    }

    /// Reads a member that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.left.get(name).is_none_or(Request::is_null) {
            self.take(name);
            return self.issue(&format!("/{name}"), "missing", format!("`{name}` is mandatory"));
        }
        read(self, name)
    }

    /// Takes a text out.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Request::String(text) => Some(text),
            _ => self.issue(&format!("/{name}"), "not_a_text", format!("`{name}` must be a text")),
        }
    }

    /// Takes a text of at most so many characters out.
    pub(super) fn bounded_text(&mut self, name: &'static str, most: usize) -> Option<String> {
        let text = self.text(name)?;
        if text.chars().count() <= most {
            return Some(text);
        }
        self.issue(&format!("/{name}"), "too_long", format!("`{name}` may have {most} characters at most"))
    }

    /// Takes a whole number in a range out.
    pub(super) fn integer(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.take(name)?;
        // Forms and queries know only texts.
        let number = match &value {
            Request::Number(number) => number.as_u64(),
            Request::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.issue(
                &format!("/{name}"),
                "out_of_range",
                format!("`{name}` must be a whole number from {least} to {most}"),
            ),
        }
    }

    /// Takes a time out.
    pub(super) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let spelling;
        let time = match &value {
            Request::String(text) => read_time(Value::Text(text)),
            Request::Number(number) => {
                spelling = number.to_string();
                read_time(Value::Number(&spelling))
            }
            _ => None,
        };
        time.or_else(|| {
            self.issue(
                &format!("/{name}"),
                "bad_time",
                format!(
                    "`{name}` must be a time such as `2026-03-30T14:22:00Z` or `2026-03-30 14:22:00` (UTC)"
                ),
            )
        })
    }

    /// Refuses what nobody asked for.
    pub(super) fn unknown_members(&mut self) {
        let left = std::mem::take(&mut self.left);
        for name in left.keys().take(MAX_UNKNOWN) {
            let pointer = Issue::pointer(self.base, name);
            let mut issue = Issue::new(pointer, "unknown_member", format!("there is no member `{name}`"));
            issue.suggestion = closest(name, self.known.iter().copied());
            self.issues.push(issue);
        }
        if left.len() > MAX_UNKNOWN {
            let detail = format!("there are {} more members that are unknown", left.len() - MAX_UNKNOWN);
            self.issue::<()>("", "unknown_member", detail);
        }
    }
}

/// The closest of some names, if one is close: at most a third of its letters differ.
pub(super) fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // What is that long was not meant to be one of ours, and comparing it would take long.
    let comparable = name.len() <= MAX_COMPARED;
    names
        .into_iter()
        .filter(|_| comparable)
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, other)| *distance * 3 <= other.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other.to_owned())
}
