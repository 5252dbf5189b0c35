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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_kind() {
        for (statuses, kind) in [
            (vec![200, 201, 202, 204, 206, 299], OutcomeKind::Delivered),
            (vec![410], OutcomeKind::Gone),
            (vec![408, 425, 429, 500, 502, 503, 504, 599, 600, 999], OutcomeKind::Unavailable),
            (vec![400, 401, 403, 404, 405, 409, 411, 413, 422, 499], OutcomeKind::Refused),
            (vec![100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 399], OutcomeKind::Unexpected),
        ] {
            for status in statuses {
                assert_eq!(kind_of(status), kind, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_or_nothing() {
        let at = |text: &str| Some(RetryAfter::At(text.parse().unwrap()));
        let seconds = |seconds| Some(RetryAfter::Delay(Duration::from_secs(seconds)));
        for (value, expected) in [
            ("120", seconds(120)),
            ("0", seconds(0)),
            (" 5 ", seconds(5)),
            ("007", seconds(7)),
            ("18446744073709551615", seconds(u64::MAX)),
            ("99999999999999999999999999", seconds(u64::MAX)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", at("1999-12-31T23:59:59Z")),
            ("Friday, 31-Dec-99 23:59:59 GMT", at("1999-12-31T23:59:59Z")),
            ("Fri Dec 31 23:59:59 1999", at("1999-12-31T23:59:59Z")),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None), // past the calendar's end
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e3", None),
            ("soon", None),
            ("１２", None),
            ("Fri, 32 Dec 1999 23:59:59 GMT", None),
            ("2030-01-01T00:00:00Z", None),
        ] {
            assert_eq!(RetryAfter::parse(value), expected, "{value:?}");
        }
    }

    #[test]
    fn the_first_retry_after_that_can_be_read_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(RetryAfter::of(&headers), None);
        headers.append(RETRY_AFTER, hyper::header::HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append(RETRY_AFTER, "junk".parse().unwrap());
        headers.append(RETRY_AFTER, "7".parse().unwrap());
        headers.append(RETRY_AFTER, "9".parse().unwrap());
        assert_eq!(RetryAfter::of(&headers), Some(RetryAfter::Delay(Duration::from_secs(7))));
    }
}
