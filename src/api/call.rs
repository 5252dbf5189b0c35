//! A customer's request: who asks, and what is read of its query and its body.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value as Body};

use super::AccountRules;
use super::routes::Operation;
use crate::event::AccountName;
use crate::http::{Held, Problem, Query};
use crate::registration::{Issue, Once};

/// The most rows of a list, and of what is done with many deliveries at once.
pub(super) const MAX_LIMIT: usize = 250;

/// The rows of a list where the request does not say.
const DEFAULT_LIMIT: usize = 50;

/// The most unknown names that are told of one by one.
const MAX_UNKNOWN: usize = 50;

/// A request of a known account, its body read.
pub(super) struct Call<'a> {
    pub(super) account: AccountName,
    /// The name of the token that was shown.
    pub(super) token: Arc<str>,
    pub(super) rules: &'a AccountRules,
    pub(super) operation: Operation,
    pub(super) query: Query,
    pub(super) body: Held,
    /// Whether the body is called a form.
    pub(super) is_form: bool,
    /// What makes it the same request, if it is to be done once.
    pub(super) once: Option<Once>,
}

/// The members of a body's object.
pub(super) struct BodyMembers(Map<String, Body>);

impl BodyMembers {
    /// Takes a member out; `null` is as if it were not there.
    pub(super) fn take(&mut self, name: &str) -> Option<Body> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text out, read; a bad one is an issue.
    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        issues: &mut Vec<Issue>,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let read = value.as_str().and_then(read);
        if read.is_none() {
            let detail = format!("`{name}` must be {expected}");
            issues.push(Issue::new(format!("/{name}"), "bad_parameter", detail));
        }
        read
    }

    /// All that were not taken out.
    pub(super) fn all(self) -> Map<String, Body> {
        self.0
    }

    /// Refuses what was not taken out.
    pub(super) fn refuse_rest(self, issues: &mut Vec<Issue>) {
        unknown("member", self.0.keys().map(String::as_str), issues);
    }
}

impl Call<'_> {
    /// What is wrong with the query, so far: parameters that this path does not know.
    pub(super) fn issues(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let known = self.operation.parameters();
        let names = self.query.unknown(known).filter(|name| *name != "token");
        unknown("parameter", names, &mut issues);
        issues
    }

    /// For an operation that takes neither parameters nor members.
    pub(super) fn takes_nothing(&self) -> Result<(), Problem> {
        let mut issues = self.issues();
        if self.operation.takes_no_members() {
            self.members()?.refuse_rest(&mut issues);
        }
        if issues.is_empty() { Ok(()) } else { Err(Problem::invalid(issues)) }
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Body, Problem> {
        if self.body.bytes().is_empty() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "not_json", "a JSON body is needed"));
        }
        serde_json::from_slice(self.body.bytes()).map_err(|error| {
            // serde_json's sentences name the place and the token that was expected, never data.
            Problem::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
        })
    }

    /// The members of a body that may be left out.
    pub(super) fn members(&self) -> Result<BodyMembers, Problem> {
        if self.body.bytes().is_empty() {
            return Ok(BodyMembers(Map::new()));
        }
        match self.json()? {
            Body::Object(members) => Ok(BodyMembers(members)),
            _ => Err(Problem::not_an_object()),
        }
    }

    /// How many rows a list may have.
    pub(super) fn limit(&self, issues: &mut Vec<Issue>) -> usize {
        match self.query.get("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => match text.parse() {
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
                _ => {
                    let detail = format!("`limit` must be a whole number from 1 to {MAX_LIMIT}");
                    issues.push(Issue::new("/limit", "out_of_range", detail));
                    DEFAULT_LIMIT
                }
            },
        }
    }

    /// The cursor of a list.
    pub(super) fn cursor<T>(
        &self,
        issues: &mut Vec<Issue>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.parameter("cursor", issues, "the `next` of a list before", read)
    }

    /// A parameter of the query, read; a bad one is an issue.
    pub(super) fn parameter<T>(
        &self,
        name: &'static str,
        issues: &mut Vec<Issue>,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.query.get(name)?;
        let value = read(text);
        if value.is_none() {
            issues.push(Issue::new(
                format!("/{name}"),
                "bad_parameter",
                format!("`{name}` must be {expected}"),
            ));
        }
        value
    }
}

/// Refuses names that nobody asked for.
pub(super) fn unknown<'a>(what: &str, names: impl Iterator<Item = &'a str>, issues: &mut Vec<Issue>) {
    let mut more = 0_usize;
    for (position, name) in names.enumerate() {
        if position < MAX_UNKNOWN {
            let detail = format!("there is no {what} `{name}`");
            issues.push(Issue::new(Issue::pointer("", name), "unknown_member", detail));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let detail = format!("there are {more} more {what}s that are unknown");
        issues.push(Issue::new("", "unknown_member", detail));
    }
}
