//! Problems, as RFC 9457 has them: a status, a stable code, a sentence, and one entry a mistake.
//! The one place where errors become HTTP.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::{Answer, BodyFault};
use crate::registration::Issue;
use crate::store::StoreError;

/// When to send a body again that there was no room for.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The most mistakes that one answer lists. Somebody who made more mends these first.
const MAX_ISSUES: usize = 500;

/// An answer that says what went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    issues: Vec<Issue>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    provider_status: Option<u16>,
}

/// The members of `application/problem+json`.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_status: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Entry<'a>>,
}

/// One mistake in `errors`.
#[derive(Serialize)]
pub(crate) struct Entry<'a> {
    pointer: &'a str,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'a str>,
}

impl<'a> From<&'a Issue> for Entry<'a> {
    fn from(issue: &'a Issue) -> Self {
        Self {
            pointer: &issue.pointer,
            code: issue.code,
            detail: &issue.detail,
            offset: issue.place.map(|place| place.offset),
            length: issue.place.map(|place| place.length),
            line: issue.place.map(|place| place.line),
            column: issue.place.map(|place| place.column),
            suggestion: issue.suggestion.as_deref(),
        }
    }
}

impl Problem {
    /// A problem with its stable code and a sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (detail, issues) = (detail.into(), Vec::new());
        Self { status, code, detail, issues, retry_after: None, allow: None, provider_status: None }
    }

    /// There is no such thing, or it is not this caller's.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The path knows other methods, these.
    #[must_use]
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        let allow = allow.into();
        let detail = format!("this path takes {allow}");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        Self { allow: Some(allow), ..problem }
    }

    /// The request is understood, and wrong in these places.
    #[must_use]
    pub fn invalid(mut issues: Vec<Issue>) -> Self {
        let detail = match issues.len() {
            1 => "the request has a mistake".to_owned(),
            count @ ..=MAX_ISSUES => format!("the request has {count} mistakes"),
            count => format!("the request has {count} mistakes; the first {MAX_ISSUES} are listed"),
        };
        issues.truncate(MAX_ISSUES);
        Self { issues, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail) }
    }

    /// Too many; try again after this time.
    #[must_use]
    pub fn rate_limited(retry_after: Duration, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// The body is JSON, and no object.
    #[must_use]
    pub fn not_an_object() -> Self {
        Self::invalid(vec![Issue::new("", "not_an_object", "the body must be a JSON object")])
    }

    /// The same, because a provider that was asked answered with this status.
    #[must_use]
    pub fn of_provider(self, status: u16) -> Self {
        Self { provider_status: Some(status), ..self }
    }

    /// Something stored cannot be read; what it is, the log says.
    #[must_use]
    pub fn damaged() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "store_damaged",
            "something stored cannot be read; the operator's log names it",
        )
    }

    /// The status that it answers with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        let (status, code) = match &fault {
            BodyFault::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            BodyFault::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            BodyFault::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "too_busy"),
            BodyFault::Broken(_) => (StatusCode::BAD_REQUEST, "body_broken"),
        };
        let retry_after = matches!(fault, BodyFault::NoRoom).then_some(BUSY_RETRY_AFTER);
        Self { retry_after, ..Self::new(status, code, fault.to_string()) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { retry_after, .. } => {
                let detail = "nothing was kept: the store is not available; send it again";
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail);
                Self { retry_after: Some(retry_after), ..problem }
            }
            StoreError::Unusable(_) | StoreError::Corrupt { .. } => {
                tracing::error!(%error, "a request cannot be answered");
                Self::damaged()
            }
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let body = Body {
            kind: "about:blank",
            title: problem.status.canonical_reason().unwrap_or("Error"),
            status: problem.status.as_u16(),
            code: problem.code,
            detail: &problem.detail,
            provider_status: problem.provider_status,
            errors: problem.issues.iter().map(Entry::from).collect(),
        };
        let body = serde_json::to_vec(&body).expect("texts and numbers are always JSON");
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = problem.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = problem.retry_after {
            // Whole seconds, rounded up: earlier would be too early.
            let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = problem.allow {
            headers.insert(ALLOW, HeaderValue::try_from(allow).expect("names of methods are visible ASCII"));
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_lists_so_many_mistakes_and_counts_the_others() {
        let issue = |number: usize| Issue::new(format!("/{number}"), "unknown_member", "there is none");
        for (count, detail) in [
            (1, "the request has a mistake"),
            (2, "the request has 2 mistakes"),
            (500, "the request has 500 mistakes"),
            (501, "the request has 501 mistakes; the first 500 are listed"),
        ] {
            let problem = Problem::invalid((0..count).map(issue).collect());
            assert_eq!((problem.detail.as_str(), problem.issues.len()), (detail, count.min(MAX_ISSUES)));
        }
    }
}
