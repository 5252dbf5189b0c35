//! What is counted of attempts.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::metric::{Counter, Gauge, Histogram, Metrics};
use crate::store::{Next, OutcomeKind, Settlement};

/// Counts attempts, and what comes of deliveries.
#[derive(Clone)]
pub struct Meter {
    attempts: [Counter; OutcomeKind::ALL.len()],
    took: Histogram,
    delivered: Counter,
    dead: Counter,
    retried: Counter,
    in_flight: Gauge,
    last_claim: Gauge,
}

impl Meter {
    /// A meter.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let [delivered, dead] = metrics.counters(
            "ringback_deliveries_total",
            "Deliveries that ended with an attempt of this process.",
            "state",
            ["delivered", "dead"],
        );
        Self {
            attempts: metrics.counters(
                "ringback_attempts_total",
                "Attempts, by their outcome.",
                "outcome",
                OutcomeKind::ALL.map(OutcomeKind::as_str),
            ),
            took: metrics.durations(
                "ringback_attempt_duration_seconds",
                "How long attempts took, to the last byte of the response.",
            ),
            delivered,
            dead,
            retried: metrics
                .counter("ringback_retries_total", "Attempts that failed and are followed by another."),
            in_flight: metrics
                .gauge("ringback_attempts_in_flight", "Deliveries that this process is at work on."),
            last_claim: metrics.gauge(
                "ringback_last_claim_timestamp_seconds",
                "When this process was last given deliveries to attempt, in seconds since 1970; 0 if never.",
            ),
        }
    }

    /// When deliveries were claimed last, in seconds since 1970; 0 if never.
    #[must_use]
    pub fn last_claim(&self) -> i64 {
        self.last_claim.get()
    }

    pub(super) fn claimed(&self) {
        self.last_claim.set(Timestamp::now().as_second());
    }

    /// Counts a delivery as under way, until what it returns is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.in_flight.inc();
        UnderWay(self.in_flight.clone())
    }

    /// Counts an attempt that was settled.
    pub(super) fn settled(&self, settlement: &Settlement) {
        let attempt = &settlement.attempt;
        let place = OutcomeKind::ALL.iter().position(|kind| *kind == attempt.outcome);
        self.attempts[place.expect("every kind is in the list of them")].inc();
        if attempt.latency > Duration::ZERO {
            self.took.observe(attempt.latency.as_secs_f64());
        }
        match settlement.next {
            Next::Delivered => self.delivered.inc(),
            Next::RetryAt(_) => self.retried.inc(),
            Next::Dead(_) => self.dead.inc(),
        }
    }
}

/// A delivery that is under way.
pub(super) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("in_flight", &self.in_flight.get()).finish_non_exhaustive()
    }
}
