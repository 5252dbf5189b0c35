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

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const HOUR: u64 = 3600;

    fn attempt(number: u32, outcome: OutcomeKind, status: Option<u16>) -> Attempt {
        Attempt {
            number,
            // Long before its end: delays count from the end.
            started_at: NOW.checked_sub(Duration::from_secs(15)).unwrap(),
            latency: Duration::from_secs(15),
            outcome,
            status,
            error: None,
            response: Bytes::new(),
        }
    }

    fn standard(attempt: &Attempt, retry_after: Option<RetryAfter>, jitter: f64) -> Decision {
        next(NOW, attempt, retry_after, &RetrySchedule::standard(), jitter)
    }

    /// Seconds from the attempt's end to the next attempt.
    fn delay(decision: &Decision) -> i64 {
        match decision.next {
            Next::RetryAt(time) => time.duration_since(NOW).as_secs(),
            Next::Delivered | Next::Dead(_) => panic!("no retry: {decision:?}"),
        }
    }

    #[test]
    fn the_standard_schedule_is_kept_and_ends() {
        for (number, expected) in (1..).zip([5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]) {
            let attempt = attempt(number, OutcomeKind::Timeout, None);
            assert_eq!(delay(&standard(&attempt, None, 0.0)), expected, "after attempt {number}");
            assert_eq!(delay(&standard(&attempt, None, 1.0)), expected + expected / 10);
        }
        let last = attempt(10, OutcomeKind::Unavailable, Some(503));
        let expected = Next::Dead("10 attempts failed; the last: the receiver answered 503".to_owned());
        assert_eq!(standard(&last, None, 0.5), Decision { next: expected.clone(), pause: None });
        // A wish cannot lengthen the schedule.
        let wish = Some(RetryAfter::Delay(Duration::from_secs(1)));
        assert_eq!(standard(&last, wish, 0.5).next, expected);
    }

    #[test]
    fn every_outcome_has_its_consequence() {
        for outcome in OutcomeKind::ALL {
            let decision = standard(&attempt(1, outcome, None), None, 0.0);
            match outcome {
                OutcomeKind::Delivered => assert_eq!(decision.next, Next::Delivered),
                OutcomeKind::Unsendable => assert_eq!(decision.next, Next::Dead("unsendable".to_owned())),
                _ => assert_eq!(delay(&decision), 5, "{outcome}"),
            }
            assert_eq!(decision.pause.is_some(), outcome == OutcomeKind::Gone, "{outcome}");
        }
    }

    #[test]
    fn gone_pauses_even_at_the_end_of_the_schedule() {
        let once = RetrySchedule::new(vec![Duration::ZERO]).unwrap();
        let decision = next(NOW, &attempt(1, OutcomeKind::Gone, Some(410)), None, &once, 0.0);
        assert_eq!(
            decision.next,
            Next::Dead("the only attempt failed: the receiver answered 410".to_owned())
        );
        assert_eq!(decision.pause, Some("the receiver answered 410 Gone"));
    }

    #[test]
    fn the_reason_is_the_sentence_of_the_last_attempt() {
        let mut last = attempt(10, OutcomeKind::Dns, None);
        last.error = Some("the name `x.example` could not be resolved".to_owned());
        let reason = "10 attempts failed; the last: the name `x.example` could not be resolved";
        assert_eq!(standard(&last, None, 0.0).next, Next::Dead(reason.to_owned()));
    }

    #[test]
    fn retry_after_moves_the_next_attempt_later_never_earlier() {
        let day = 24 * i64::try_from(HOUR).unwrap();
        let delayed = |seconds| Some(RetryAfter::Delay(Duration::from_secs(seconds)));
        let at =
            |seconds: i64| Some(RetryAfter::At(Timestamp::from_second(NOW.as_second() + seconds).unwrap()));
        // After attempt 2 the back-off is 300 s.
        for (wish, expected) in [
            (None, 300),
            (delayed(0), 300),
            (delayed(299), 300),
            (delayed(301), 301),
            (delayed(24 * HOUR), day),
            (delayed(24 * HOUR + 1), day),
            (delayed(u64::MAX), day),
            (at(-1_000_000), 300),
            (at(0), 300),
            (at(299), 300),
            (at(3600), 3600),
            (at(day + 1), day),
            (Some(RetryAfter::At(Timestamp::MAX)), day),
            (Some(RetryAfter::At(Timestamp::MIN)), 300),
        ] {
            for status in [429, 503] {
                let attempt = attempt(2, OutcomeKind::Unavailable, Some(status));
                assert_eq!(delay(&standard(&attempt, wish, 0.0)), expected, "{wish:?}");
            }
            for (outcome, status) in [
                (OutcomeKind::Unavailable, 500),
                (OutcomeKind::Unavailable, 502),
                (OutcomeKind::Unavailable, 408),
                (OutcomeKind::Refused, 404),
                (OutcomeKind::Gone, 410),
                (OutcomeKind::Unexpected, 301),
                (OutcomeKind::Timeout, 503),
            ] {
                let attempt = attempt(2, outcome, Some(status));
                assert_eq!(delay(&standard(&attempt, wish, 0.0)), 300, "{status} {wish:?}");
            }
        }
    }

    #[test]
    fn a_back_off_longer_than_the_cap_is_kept_in_full() {
        let week = RetrySchedule::new(vec![Duration::ZERO, RetrySchedule::MAX_DELAY]).unwrap();
        let attempt = attempt(1, OutcomeKind::Unavailable, Some(503));
        let wish = Some(RetryAfter::Delay(Duration::MAX));
        assert_eq!(delay(&next(NOW, &attempt, wish, &week, 0.0)), 7 * 24 * 3600);
    }

    #[test]
    fn no_delay_stays_no_delay() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, Duration::ZERO]).unwrap();
        let attempt = attempt(1, OutcomeKind::Connection, None);
        assert_eq!(next(NOW, &attempt, None, &schedule, 1.0).next, Next::RetryAt(NOW));
    }

    proptest! {
        #[test]
        fn the_next_attempt_lies_between_the_delay_and_a_tenth_more(
            delay_ms in 0..=7 * 24 * HOUR * 1000, jitter in -1.0..2.0
        ) {
            let delay = Duration::from_millis(delay_ms);
            let schedule = RetrySchedule::new(vec![Duration::ZERO, delay]).unwrap();
            let attempt = attempt(1, OutcomeKind::Connection, None);
            let Next::RetryAt(time) = next(NOW, &attempt, None, &schedule, jitter).next else {
                panic!("no retry")
            };
            let actual = Duration::try_from(time.duration_since(NOW)).unwrap();
            prop_assert!(actual >= delay, "{actual:?} before {delay:?}");
            prop_assert!(actual <= delay + delay / 10 + Duration::from_nanos(1), "{actual:?} for {delay:?}");
        }
    }
}
