//! One destination: what waits for it, what it may take, how it fared.

use std::collections::BTreeSet;

use super::circuit::Circuit;
use super::order::Groups;
use crate::store::{DestinationId, DestinationLimits, Rate};

/// What is known of a destination that nobody configured: one of a registration that was removed
/// while an event for it was on its way, or one that several registrations share.
pub(super) const UNCONFIGURED: DestinationLimits =
    DestinationLimits { max_in_flight: 16, rate: None, paused: false };

/// A queued delivery, ordered by its time and then by its age. 24 bytes, so that a million of them
/// fit into less than 60 MB of tree.
pub(super) type Queued = (i64, [u8; 16]);

/// Where the scheduler keeps a destination at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filed {
    /// Nowhere: nothing waits for it, or it may not take anything whatever the time.
    Aside,
    /// Among those whose time will come.
    Waiting(i64),
    /// In the line of those that may be served now, at this place.
    Line(Trial, u64),
}

/// Whether a destination has yet to show that it takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// Its last attempt failed, or there was none.
    Yes,
    /// Its last attempt was delivered.
    No,
}

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) id: DestinationId,
    pub(super) limits: DestinationLimits,
    /// Whether `limits` were given; a destination without is forgotten when it is idle.
    pub(super) configured: bool,
    pub(super) queue: BTreeSet<Queued>,
    /// Those that go out in an order.
    pub(super) groups: Groups,
    pub(super) in_flight: u32,
    pub(super) trial: Trial,
    /// The number of the grant that served it last; 0 for none.
    pub(super) served: u64,
    pub(super) bucket: Option<Bucket>,
    pub(super) circuit: Circuit,
    pub(super) filed: Filed,
}

impl Destination {
    pub(super) fn new(id: DestinationId) -> Self {
        Self {
            id,
            limits: UNCONFIGURED,
            configured: false,
            queue: BTreeSet::new(),
            groups: Groups::new(),
            in_flight: 0,
            trial: Trial::Yes,
            served: 0,
            bucket: None,
            circuit: Circuit::default(),
            filed: Filed::Aside,
        }
    }

    /// Takes new limits. A rate that is the same as before goes on counting.
    pub(super) fn configure(&mut self, limits: DestinationLimits) {
        if limits.rate != self.limits.rate {
            self.bucket = limits.rate.map(Bucket::new);
        }
        self.limits = limits;
    }

    /// The time from which it may be served, as far as that depends on itself; `None` if time
    /// alone will not do.
    pub(super) fn eligible_at(&self) -> Option<i64> {
        let cap = match self.trial {
            Trial::Yes => self.limits.max_in_flight.min(1),
            Trial::No => self.limits.max_in_flight,
        };
        if self.limits.paused || self.in_flight >= cap {
            return None;
        }
        let (due, _) = self.queue.first()?;
        let free_at = self.bucket.map_or(i64::MIN, Bucket::free_at);
        // One whose circuit is open is on trial, and has one slot: a probe at a time.
        let probe_at = self.circuit.open.map_or(i64::MIN, |open| open.probe_at);
        Some(free_at.max(probe_at).max(*due))
    }

    pub(super) fn is_forgettable(&self) -> bool {
        !self.configured && self.in_flight == 0 && self.queue.is_empty()
    }
}

/// A rate limit: the generic cell rate algorithm (ITU-T I.371) as a virtual schedule in whole
/// microseconds. A full burst may come at once, after which starts are spaced evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Between two starts when they come evenly; rounded up, so that the rate is never passed.
    interval: i64,
    /// How far ahead of the even spacing a start may be.
    tolerance: i64,
    /// When the next start would come if they came evenly.
    even: i64,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        let period = i64::try_from(rate.period.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let count = i64::from(rate.count.max(1));
        let interval = period.saturating_add(count - 1).div_euclid(count).max(1);
        Self { interval, tolerance: interval.saturating_mul(count - 1), even: i64::MIN / 2 }
    }

    /// When the next start is allowed.
    pub(super) const fn free_at(self) -> i64 {
        self.even - self.tolerance
    }

    pub(super) fn take(&mut self, now: i64) {
        self.even = self.even.max(now) + self.interval;
    }

    /// Takes the last start back.
    pub(super) const fn give_back(&mut self) {
        self.even -= self.interval;
    }

    /// After the clock was set back: no start waits longer than it would have to after a full
    /// burst at `now`.
    pub(super) fn clamped(self, now: i64) -> Self {
        Self { even: self.even.min(now.saturating_add(self.tolerance + self.interval)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_lets_a_burst_through_and_then_spaces_evenly() {
        let mut bucket = Bucket::new(Rate { count: 3, period: Duration::from_secs(1) });
        let mut starts = Vec::new();
        let mut now = 1_000_000;
        for _ in 0..6 {
            now = now.max(bucket.free_at());
            bucket.take(now);
            starts.push(now - 1_000_000);
        }
        assert_eq!(starts, [0, 0, 0, 333_334, 666_668, 1_000_002]);
    }

    #[test]
    fn a_rate_keeps_whole_microseconds_and_never_divides_by_nothing() {
        let bucket = Bucket::new(Rate { count: u32::MAX, period: Duration::from_nanos(1) });
        assert_eq!(bucket.interval, 1);
        let bucket = Bucket::new(Rate { count: 1, period: Duration::MAX });
        assert_eq!(bucket.tolerance, 0);
        assert!(bucket.interval > 0);
    }

    #[test]
    fn a_queued_delivery_is_small() {
        assert_eq!(size_of::<Queued>(), 24);
    }
}
