//! What happens after an attempt, and when. Pure: the time and the jitter are parameters.

use std::time::Duration;

use jiff::Timestamp;

use super::outcome::RetryAfter;
use crate::registration::RetrySchedule;
use crate::store::{Attempt, Next, OutcomeKind};

/// The most that a receiver can put the next attempt off by `Retry-After`.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The most that jitter lengthens a delay, as a share of it.
pub const MAX_JITTER: f64 = 0.1;

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens to the delivery.
    pub next: Next,
    /// Why the registration is paused, if it is to be.
    pub pause: Option<&'static str>,
}

/// Decides what follows from an attempt that ended at `now`.
///
/// `jitter`, from 0 to 1, lengthens the delay by up to [`MAX_JITTER`] of it. Attempts that failed
/// together would otherwise come again together.
#[must_use]
pub fn next(
    now: Timestamp,
    attempt: &Attempt,
    retry_after: Option<RetryAfter>,
    schedule: &RetrySchedule,
    jitter: f64,
) -> Decision {
    let pause = match attempt.outcome {
        OutcomeKind::Delivered => return Decision { next: Next::Delivered, pause: None },
        // Nothing about it will be different later.
        OutcomeKind::Unsendable => return Decision { next: Next::Dead(what(attempt)), pause: None },
        OutcomeKind::Gone => Some("the receiver answered 410 Gone"),
        OutcomeKind::Unavailable
        | OutcomeKind::Refused
        | OutcomeKind::Unexpected
        | OutcomeKind::Dns
        | OutcomeKind::AddressRefused
        | OutcomeKind::Connection
        | OutcomeKind::Tls
        | OutcomeKind::Timeout
        | OutcomeKind::Crashed => None,
    };
    let next = match schedule.before_attempt(attempt.number.saturating_add(1)) {
        None => Next::Dead(exhausted(attempt)),
        Some(delay) => {
            let back_off = after(now, delay.mul_f64(1.0 + MAX_JITTER * jitter.clamp(0.0, 1.0)));
            let wished = match attempt.status {
                Some(429 | 503) if attempt.outcome == OutcomeKind::Unavailable => retry_after,
                _ => None,
            };
            let wished = wished.map(|wish| match wish {
                RetryAfter::Delay(delay) => after(now, delay.min(MAX_RETRY_AFTER)),
                RetryAfter::At(time) => time.min(after(now, MAX_RETRY_AFTER)),
            });
            Next::RetryAt(wished.map_or(back_off, |wished| wished.max(back_off)))
        }
    };
    Decision { next, pause }
}

fn after(now: Timestamp, delay: Duration) -> Timestamp {
    // Of durations, only those with calendar units can fail, and this type has none.
    now.saturating_add(delay).unwrap_or(Timestamp::MAX)
}

fn exhausted(attempt: &Attempt) -> String {
    match attempt.number {
        0 | 1 => format!("the only attempt failed: {}", what(attempt)),
        number => format!("{number} attempts failed; the last: {}", what(attempt)),
    }
}

/// What went wrong, in a few words.
fn what(attempt: &Attempt) -> String {
    match (&attempt.error, attempt.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("the receiver answered {status}"),
        (None, None) => attempt.outcome.to_string(),
    }
}
