//! What came of an attempt.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;
use jiff::Timestamp;

use super::client::Exchange;
use crate::store::{Attempt, OutcomeKind};

/// When a receiver wants the next attempt (RFC 9110, 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long after the response.
    Delay(Duration),
    /// At this time.
    At(Timestamp),
}

impl RetryAfter {
    /// Reads the header. What is not a number of seconds or an HTTP date is ignored.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get_all(RETRY_AFTER).iter().find_map(|value| Self::parse(value.to_str().ok()?))
    }

    /// Reads the header's value.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number has are a long time too.
            return Some(Self::Delay(Duration::from_secs(value.parse().unwrap_or(u64::MAX))));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        Timestamp::try_from(date).ok().map(Self::At)
    }
}

/// The record of an exchange.
#[must_use]
pub fn attempt_of(number: u32, exchange: &Exchange) -> Attempt {
    let status = exchange.response.as_ref().map(|response| response.status);
    let outcome = match (&exchange.error, status) {
        (Some(error), _) => error.kind(),
        (None, Some(status)) => kind_of(status),
        // Nothing came back and nothing went wrong: no exchange is so.
        (None, None) => OutcomeKind::Connection,
    };
    let error = match &exchange.error {
        Some(error) => Some(error.to_string()),
        None => match status {
            Some(300..400) => {
                Some("the receiver answered with a redirect, and redirects are not followed".to_owned())
            }
            _ => None,
        },
    };
    Attempt {
        number,
        started_at: exchange.started_at,
        latency: exchange.latency,
        outcome,
        status,
        error,
        response: exchange.response.as_ref().map(|response| response.body.clone()).unwrap_or_default(),
    }
}

/// The kind of a complete response.
fn kind_of(status: u16) -> OutcomeKind {
    match status {
        200..300 => OutcomeKind::Delivered,
        410 => OutcomeKind::Gone,
        408 | 425 | 429 | 500.. => OutcomeKind::Unavailable,
        400..500 => OutcomeKind::Refused,
        0..200 | 300..400 => OutcomeKind::Unexpected,
    }
}
