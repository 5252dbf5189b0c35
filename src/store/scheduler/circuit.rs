//! The circuit of a destination: closed while its receiver takes deliveries, open once it has
//! shown that it takes none, so that nobody wears himself out on it.

use crate::event::CallbackId;
use crate::store::OutcomeKind;

/// Why a registration is paused whose circuit was open for longer than anybody waits.
pub const GIVEN_UP: &str = "its receiver took no delivery for 5 days";

/// How many parts the time has over which the share of failures is counted. What is older than the
/// last part but so many is forgotten, so the share is of the last four to five parts.
pub(super) const SLICES: usize = 5;

/// When a circuit opens, and what happens then. Times are in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitRules {
    /// So many failures in a row open it.
    pub consecutive: u32,
    /// Of at least so many attempts, more than half failed: that opens it too.
    pub share_of: u32,
    /// The length of a fifth of the time over which these are counted.
    pub slice: i64,
    /// From its opening to the first probe. Each probe that fails doubles it.
    pub first_probe: i64,
    /// The longest time between two probes.
    pub longest_probe: i64,
    /// After so long a probe that fails is the last: the registration is to be paused.
    pub give_up: i64,
}

impl Default for CircuitRules {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000;
        Self {
            consecutive: 20,
            share_of: 50,
            slice: 60 * SECOND,
            first_probe: 30 * SECOND,
            longest_probe: 15 * 60 * SECOND,
            give_up: 5 * 24 * 3_600 * SECOND,
        }
    }
}

/// What an attempt says of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes deliveries.
    Delivered,
    /// It did not take this one.
    Failed,
    /// Nothing: the attempt never got so far, for a reason of ours.
    Unknown,
}

impl From<OutcomeKind> for Verdict {
    fn from(outcome: OutcomeKind) -> Self {
        match outcome {
            OutcomeKind::Delivered => Self::Delivered,
            OutcomeKind::Unsendable | OutcomeKind::Crashed => Self::Unknown,
            OutcomeKind::Gone
            | OutcomeKind::Unavailable
            | OutcomeKind::Refused
            | OutcomeKind::Unexpected
            | OutcomeKind::Dns
            | OutcomeKind::AddressRefused
            | OutcomeKind::Connection
            | OutcomeKind::Tls
            | OutcomeKind::Timeout => Self::Failed,
        }
    }
}

/// What a settlement did to the circuit of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitChange {
    /// Nothing.
    Unchanged,
    /// It is open now.
    Opened,
    /// It stays open: a probe failed, and the next one comes later.
    ProbeFailed,
    /// A probe failed, and it has been open for longer than anybody waits.
    GivenUp,
    /// It is closed again.
    Closed,
}

impl CircuitChange {
    /// Tells the operator; `callback` is the registration whose delivery showed it.
    pub(in crate::store) fn log(self, callback: CallbackId) {
        match self {
            Self::Unchanged | Self::ProbeFailed => {}
            Self::Opened => {
                tracing::warn!(%callback, "its receiver takes nothing: from now on it is only probed");
            }
            Self::Closed => tracing::info!(%callback, "its receiver takes deliveries again"),
            Self::GivenUp => tracing::warn!(%callback, "its receiver has taken nothing for days"),
        }
    }
}

/// A circuit that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Since when.
    pub since: i64,
    /// Probes that failed.
    pub probes: u32,
    /// When the next one may start.
    pub probe_at: i64,
    /// Leases from this token on are probes; those before were granted when it was closed.
    pub(super) from_token: u64,
}

impl Open {
    /// A circuit as it was kept over a restart, when no lease of before is held any more.
    #[must_use]
    pub const fn restored(since: i64, probes: u32, probe_at: i64) -> Self {
        Self { since, probes, probe_at, from_token: 0 }
    }
}

/// What is known of a destination's attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circuit {
    /// Failures since the last success.
    failures: u32,
    /// The number of the slice that is being counted in.
    slice: i64,
    /// Attempts and failures, the slice that is being counted in first.
    counts: [(u32, u32); SLICES],
    pub(super) open: Option<Open>,
}

impl Circuit {
    /// Counts an attempt that ended at `now`, made with the lease `token`; `next_token` is that of
    /// the next lease.
    pub(super) fn count(
        &mut self,
        rules: &CircuitRules,
        verdict: Verdict,
        token: u64,
        next_token: u64,
        now: i64,
    ) -> CircuitChange {
        match (verdict, &mut self.open) {
            (Verdict::Unknown, _) => CircuitChange::Unchanged,
            (Verdict::Delivered, Some(_)) => {
                *self = Self::default();
                CircuitChange::Closed
            }
            (Verdict::Delivered, None) => {
                self.note(rules, now, false);
                CircuitChange::Unchanged
            }
            // It began when nobody knew.
            (Verdict::Failed, Some(open)) if token < open.from_token => CircuitChange::Unchanged,
            (Verdict::Failed, Some(open)) => {
                open.probes = open.probes.saturating_add(1);
                open.probe_at = now.saturating_add(pause(rules, open.probes));
                if now.saturating_sub(open.since) >= rules.give_up {
                    CircuitChange::GivenUp
                } else {
                    CircuitChange::ProbeFailed
                }
            }
            (Verdict::Failed, None) => {
                self.note(rules, now, true);
                if !self.is_to_open(rules) {
                    return CircuitChange::Unchanged;
                }
                let probe_at = now.saturating_add(pause(rules, 0));
                self.open = Some(Open { since: now, probes: 0, probe_at, from_token: next_token });
                CircuitChange::Opened
            }
        }
    }

    fn note(&mut self, rules: &CircuitRules, now: i64, failed: bool) {
        let slice = now.div_euclid(rules.slice.max(1));
        match usize::try_from(slice - self.slice) {
            Ok(0) => {}
            Ok(passed) if passed < SLICES => {
                self.counts.rotate_right(passed);
                self.counts[..passed].fill((0, 0));
            }
            // So long ago that nothing of it counts, or the clock was set back.
            _ => self.counts = <[(u32, u32); SLICES]>::default(),
        }
        self.slice = slice;
        let (attempts, failures) = &mut self.counts[0];
        *attempts = attempts.saturating_add(1);
        *failures = failures.saturating_add(u32::from(failed));
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
    }

    fn is_to_open(&self, rules: &CircuitRules) -> bool {
        let sum = |part: fn(&(u32, u32)) -> u32| self.counts.iter().map(|count| u64::from(part(count))).sum();
        let (attempts, failures): (u64, u64) = (sum(|count| count.0), sum(|count| count.1));
        self.failures >= rules.consecutive
            || (attempts >= u64::from(rules.share_of) && failures * 2 > attempts)
    }

    /// After the clock was set back: no probe is further away than the longest pause.
    pub(super) fn clamp(&mut self, rules: &CircuitRules, now: i64) {
        // Before the first claim there is no clock that could have been set back.
        if let Some(open) = &mut self.open
            && now > i64::MIN
        {
            open.probe_at = open.probe_at.min(now.saturating_add(rules.longest_probe));
        }
    }
}

/// How long to wait after so many probes have failed.
fn pause(rules: &CircuitRules, probes: u32) -> i64 {
    rules.first_probe.saturating_mul(1 << probes.min(32)).min(rules.longest_probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_000_000 * SECOND;

    fn count(circuit: &mut Circuit, verdict: Verdict, now: i64) -> CircuitChange {
        circuit.count(&CircuitRules::default(), verdict, 7, 7, now)
    }

    #[test]
    fn twenty_failures_in_a_row_open_it_and_a_success_between_does_not() {
        let mut circuit = Circuit::default();
        for _ in 0..2 {
            for _ in 0..19 {
                assert_eq!(count(&mut circuit, Verdict::Failed, NOW), CircuitChange::Unchanged);
                assert_eq!(count(&mut circuit, Verdict::Unknown, NOW), CircuitChange::Unchanged);
            }
            assert_eq!(count(&mut circuit, Verdict::Delivered, NOW), CircuitChange::Unchanged);
            // Days apart, so that the share does not count.
            circuit.counts = Default::default();
        }
        for number in 1..=20 {
            let change = count(&mut circuit, Verdict::Failed, NOW + number * 3_600 * SECOND);
            let expected = if number == 20 { CircuitChange::Opened } else { CircuitChange::Unchanged };
            assert_eq!(change, expected, "{number}");
        }
    }

    #[test]
    fn more_than_half_of_fifty_attempts_in_five_minutes_open_it() {
        // 24 of 48, then a failure, then another: 26 of 50.
        let mut circuit = Circuit::default();
        for number in 0..24 {
            let now = NOW + number * 5 * SECOND;
            assert_eq!(count(&mut circuit, Verdict::Failed, now), CircuitChange::Unchanged);
            assert_eq!(count(&mut circuit, Verdict::Delivered, now), CircuitChange::Unchanged);
        }
        let last = NOW + 120 * SECOND;
        let mut later = circuit;
        assert_eq!(count(&mut circuit, Verdict::Failed, last), CircuitChange::Unchanged);
        assert_eq!(count(&mut circuit, Verdict::Failed, last), CircuitChange::Opened);
        // Five minutes later they are forgotten.
        for _ in 0..19 {
            assert_eq!(count(&mut later, Verdict::Failed, last + 300 * SECOND), CircuitChange::Unchanged);
        }
        // Exactly half is not over half.
        let mut half = Circuit::default();
        for _ in 0..50 {
            assert_eq!(count(&mut half, Verdict::Delivered, NOW), CircuitChange::Unchanged);
            assert_eq!(count(&mut half, Verdict::Failed, NOW), CircuitChange::Unchanged);
        }
    }

    #[test]
    fn probes_come_at_growing_intervals_until_nobody_waits_any_longer() {
        let mut circuit = Circuit::default();
        let mut now = NOW;
        for _ in 0..20 {
            count(&mut circuit, Verdict::Failed, now);
        }
        let mut pauses = Vec::new();
        let mut last = CircuitChange::Opened;
        while last != CircuitChange::GivenUp {
            let probe_at = circuit.open.unwrap().probe_at;
            pauses.push((probe_at - now) / SECOND);
            now = probe_at;
            last = count(&mut circuit, Verdict::Failed, now);
        }
        assert_eq!(pauses[..7], [30, 60, 120, 240, 480, 900, 900]);
        assert!((432_000..432_900).contains(&((now - NOW) / SECOND)));
        assert_eq!(count(&mut circuit, Verdict::Delivered, now), CircuitChange::Closed);
        assert_eq!(circuit, Circuit::default());
    }

    #[test]
    fn what_was_under_way_when_it_opened_is_no_probe() {
        let rules = CircuitRules::default();
        let mut circuit = Circuit::default();
        for _ in 0..20 {
            circuit.count(&rules, Verdict::Failed, 1, 100, NOW);
        }
        let before = circuit;
        assert_eq!(circuit.count(&rules, Verdict::Failed, 99, 100, NOW), CircuitChange::Unchanged);
        assert_eq!(circuit, before);
        assert_eq!(circuit.count(&rules, Verdict::Failed, 100, 101, NOW), CircuitChange::ProbeFailed);
        assert_eq!(circuit.count(&rules, Verdict::Delivered, 99, 101, NOW), CircuitChange::Closed);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_probe_wait_longer() {
        let rules = CircuitRules::default();
        let mut circuit =
            Circuit { open: Some(Open::restored(NOW, 3, NOW + 60 * SECOND)), ..Circuit::default() };
        circuit.clamp(&rules, NOW);
        assert_eq!(circuit.open.unwrap().probe_at, NOW + 60 * SECOND);
        circuit.clamp(&rules, NOW - 86_400 * SECOND);
        assert_eq!(circuit.open.unwrap().probe_at, NOW - 86_400 * SECOND + rules.longest_probe);
    }
}
