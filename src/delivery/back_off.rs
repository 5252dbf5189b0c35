//! How long to wait for a store that is away.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Doubles from [`BackOff::FIRST`] to [`BackOff::MAX`], with jitter: all slots, and all processes,
/// lose the store at the same moment and must not come back at the same moment.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(5);

    /// The next pause: at least half of the step, at most all of it; and what the store wished, up
    /// to the longest step.
    pub(super) fn next(&mut self, wished: Duration) -> Duration {
        let step = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::MAX);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + 0.5 * random_share()).max(wished.min(Self::MAX))
    }
}

/// A random number from 0 to 1, for jitter and nothing secret.
#[must_use]
pub fn random_share() -> f64 {
    // Each state has keys of its own, drawn from the system's randomness once a thread.
    let bits = RandomState::new().hash_one(());
    f64::from(u32::try_from(bits >> 32).expect("32 bits are left")) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_limit_and_no_further() {
        let mut back_off = BackOff::default();
        let pauses: Vec<_> = (0..100).map(|_| back_off.next(Duration::ZERO)).collect();
        assert!(pauses[0] >= BackOff::FIRST / 2 && pauses[0] <= BackOff::FIRST, "{:?}", pauses[0]);
        assert!(pauses[10..].iter().all(|pause| *pause >= BackOff::MAX / 2 && *pause <= BackOff::MAX));
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
    }

    #[test]
    fn the_stores_wish_is_kept_within_the_limit() {
        assert_eq!(BackOff::default().next(Duration::from_secs(1)), Duration::from_secs(1));
        assert_eq!(BackOff::default().next(Duration::from_hours(1)), BackOff::MAX);
    }

    #[test]
    fn random_shares_lie_from_0_to_1_and_differ() {
        let shares: Vec<_> = (0..1000).map(|_| random_share()).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.1) && shares.iter().any(|share| *share > 0.9));
    }
}
