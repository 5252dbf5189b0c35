//! When a failed attempt is repeated.

use std::time::Duration;

/// The delays before each attempt of a delivery, each counted from the end of the attempt before.
/// The first is the delay before the first attempt. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

impl RetrySchedule {
    /// The most attempts that a registration may ask for.
    pub const MAX_ATTEMPTS: usize = 50;
    /// The longest delay before an attempt: 7 days.
    pub const MAX_DELAY: Duration = Duration::from_hours(7 * 24);

    /// Standard Webhooks' recommendation: 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
    #[must_use]
    pub fn standard() -> Self {
        const HOUR: u64 = 3600;
        Self(
            [0, 5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]
                .map(Duration::from_secs)
                .to_vec(),
        )
    }

    /// A schedule of these delays; `None` if there are none, or more than
    /// [`Self::MAX_ATTEMPTS`], or one is longer than [`Self::MAX_DELAY`].
    #[must_use]
    pub fn new(delays: Vec<Duration>) -> Option<Self> {
        let fits = (1..=Self::MAX_ATTEMPTS).contains(&delays.len())
            && delays.iter().all(|delay| *delay <= Self::MAX_DELAY);
        fits.then_some(Self(delays))
    }

    /// The delay before an attempt, numbered from 1; `None` when there are no more.
    #[must_use]
    pub fn before_attempt(&self, number: u32) -> Option<Duration> {
        self.0.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
    }

    /// All delays, the first attempt's first.
    #[must_use]
    pub fn delays(&self) -> &[Duration] {
        &self.0
    }
}
