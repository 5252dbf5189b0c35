//! What is counted of the requests of providers.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use hyper::StatusCode;

use crate::http::Problem;
use crate::metric::{Counter, Histogram, Metrics};

/// What became of a request to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A new event, which is durable with all that it causes.
    Accepted,
    /// An event that was accepted before.
    Duplicate,
    /// Nothing to keep: a look whether somebody is there, or what is answered at once.
    Answered,
    /// It cannot be read or merged, and is kept to be looked at.
    Rejected,
    /// Its signature is not believed.
    Refused,
    /// The source, or what its account may store, is at its limit.
    Limited,
    /// The store does not take it now.
    Unavailable,
    /// Anything else that is wrong with it: too large, cut off, another method.
    Invalid,
}

impl Outcome {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Accepted, "accepted"),
        (Self::Duplicate, "duplicate"),
        (Self::Answered, "answered"),
        (Self::Rejected, "rejected"),
        (Self::Refused, "refused"),
        (Self::Limited, "limited"),
        (Self::Unavailable, "unavailable"),
        (Self::Invalid, "invalid"),
    ];

    pub(super) fn of(problem: &Problem) -> Self {
        match problem.status() {
            StatusCode::UNPROCESSABLE_ENTITY => Self::Rejected,
            StatusCode::UNAUTHORIZED => Self::Refused,
            StatusCode::TOO_MANY_REQUESTS => Self::Limited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Invalid,
        }
    }
}

/// Counts the requests of providers.
pub struct Meter {
    requests: HashMap<String, [Counter; Outcome::ALL.len()]>,
    accepting: Histogram,
}

impl Meter {
    /// A meter for the requests to these sources.
    #[must_use]
    pub fn new(metrics: &Metrics, sources: &[&str]) -> Self {
        let counters = metrics.counters_by_source(
            "ringback_events_total",
            "Requests of providers, by what became of them.",
            sources.iter().copied(),
            "outcome",
            Outcome::ALL.map(|(_, name)| name),
        );
        Self {
            requests: sources.iter().map(|source| (*source).to_owned()).zip(counters).collect(),
            accepting: metrics.durations(
                "ringback_accept_duration_seconds",
                "From a provider's request to the answer that its event is durable, of accepted events.",
            ),
        }
    }

    pub(super) fn count(&self, source: &str, outcome: Outcome, took: Duration) {
        if let Some(counters) = self.requests.get(source) {
            let place = Outcome::ALL.iter().position(|(one, _)| *one == outcome);
            counters[place.expect("every outcome is in the table")].inc();
        }
        if outcome == Outcome::Accepted {
            self.accepting.observe(took.as_secs_f64());
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("sources", &self.requests.len()).finish_non_exhaustive()
    }
}
