//! Rates: how much a source may post and an account may ask.
//!
//! The limits are known when the process starts and never change, so that a check is one look-up
//! and one compare-and-swap: no lock, nothing that grows.

mod rate;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

pub use rate::{InvalidRate, Rate};

type Cell<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A limit for each of a fixed set of names: sources, or accounts. GCRA: a quiet name may use its
/// whole count at once, and then as fast as the count comes back.
#[derive(Debug)]
pub struct Limiter<C: Clock = DefaultClock> {
    cells: HashMap<Arc<str>, Cell<C>>,
    clock: C,
}

/// A name has used up its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate is used up; the next request may come in {retry_after:?}")]
pub struct Limited {
    /// When the next one may come; not 0. In an HTTP header it is rounded up to whole seconds.
    pub retry_after: Duration,
}

impl Limiter {
    /// These limits; names that are not among them, or that have none, are not limited.
    #[must_use]
    pub fn new(limits: impl IntoIterator<Item = (Arc<str>, Option<Rate>)>) -> Self {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(limits: impl IntoIterator<Item = (Arc<str>, Option<Rate>)>, clock: C) -> Self {
        let limited = limits.into_iter().filter_map(|(name, rate)| Some((name, rate?)));
        let cells =
            limited.map(|(name, rate)| (name, RateLimiter::direct_with_clock(quota(rate), clock.clone())));
        Self { cells: cells.collect(), clock }
    }

    /// Counts one request of this name.
    ///
    /// # Errors
    /// It comes too early, and was not counted.
    pub fn check(&self, name: &str) -> Result<(), Limited> {
        let Some(cell) = self.cells.get(name) else { return Ok(()) };
        cell.check().map_err(|early| Limited {
            retry_after: early.wait_time_from(self.clock.now()).max(Duration::from_millis(1)),
        })
    }
}

fn quota(rate: Rate) -> Quota {
    let count = NonZeroU32::new(rate.count).unwrap_or(NonZeroU32::MIN);
    let each = (rate.period / count.get()).max(Duration::from_nanos(1));
    Quota::with_period(each).expect("a nanosecond at least").allow_burst(count)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(clock: &FakeRelativeClock) -> Limiter<FakeRelativeClock> {
        let rate = |text: &str| Some(text.parse().unwrap());
        Limiter::with_clock(
            [("fast".into(), rate("10/s")), ("slow".into(), rate("2/m")), ("free".into(), None)],
            clock.clone(),
        )
    }

    #[test]
    fn a_count_may_be_used_at_once_and_comes_back_evenly() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(&clock);
        for _ in 0..10 {
            assert_eq!(limiter.check("fast"), Ok(()));
        }
        assert_eq!(limiter.check("fast"), Err(Limited { retry_after: Duration::from_millis(100) }));
        clock.advance(Duration::from_millis(99));
        assert_eq!(limiter.check("fast"), Err(Limited { retry_after: Duration::from_millis(1) }));
        clock.advance(Duration::from_millis(1));
        assert_eq!(limiter.check("fast"), Ok(()));
        assert!(limiter.check("fast").is_err());
    }

    #[test]
    fn names_do_not_share_and_those_without_a_limit_have_none() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(&clock);
        assert!(limiter.check("slow").is_ok() && limiter.check("slow").is_ok());
        assert_eq!(limiter.check("slow"), Err(Limited { retry_after: Duration::from_secs(30) }));
        assert_eq!(limiter.check("fast"), Ok(()));
        for _ in 0..1000 {
            assert_eq!(limiter.check("free"), Ok(()));
            assert_eq!(limiter.check("unknown"), Ok(()));
        }
    }

    #[test]
    fn refused_requests_do_not_prolong_the_wait() {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(&clock);
        for _ in 0..100 {
            let _ = limiter.check("slow");
        }
        clock.advance(Duration::from_secs(30));
        assert_eq!(limiter.check("slow"), Ok(()));
    }
}
