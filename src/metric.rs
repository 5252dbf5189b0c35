//! What is counted and measured, in the form that Prometheus reads.
//!
//! A room owns what it counts and says so when it is built ([`Metrics`]); an observation is a few
//! atomic additions, without a lock and without memory of its own. Labels have values that are known
//! from the start: sources by their configured names, outcomes. What tells one account, call, delivery
//! or receiver from another is never a label.
//!
//! Names follow Prometheus' conventions: base units, `_total` for what only grows
//! (<https://prometheus.io/docs/practices/naming/>). They stay as they are once there.

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, TextEncoder};

pub use prometheus::{Histogram, IntCounter as Counter, IntGauge as Gauge};

/// The content type of [`Metrics::to_text`]: the text format, version 0.0.4.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds of the buckets of a duration, in seconds: from what a write to a fast disk takes to the
/// longest deadline of an attempt.
const DURATIONS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// All that is counted and measured by one process.
#[derive(Debug, Default)]
pub struct Metrics(prometheus::Registry);

impl Metrics {
    /// Nothing yet, but which version this is and since when it runs.
    #[must_use]
    pub fn of_process() -> Self {
        let metrics = Self::default();
        let version = [env!("CARGO_PKG_VERSION")];
        let [build] =
            metrics.gauges("ringback_build_info", "Which version this is; always 1.", "version", version);
        build.set(1);
        let started =
            metrics.gauge("process_start_time_seconds", "When the process began, in seconds since 1970.");
        started.set(Timestamp::now().as_second());
        metrics
    }

    /// Adds what was made elsewhere. Each name is added once.
    pub fn add(&self, collector: impl Collector + 'static) {
        self.0.register(Box::new(collector)).expect("each name is added once, and is one");
    }

    /// What only grows.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::new(name, help).expect("a name of ours is one");
        self.add(counter.clone());
        counter
    }

    /// What only grows, apart for each value of a label.
    #[must_use]
    pub fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&str; N],
    ) -> [Counter; N] {
        let family = prometheus::IntCounterVec::new(Opts::new(name, help), &[label]);
        let family = family.expect("a name of ours is one");
        self.add(family.clone());
        values.map(|value| family.with_label_values(&[value]))
    }

    /// What only grows, apart for each of some sources and for each value of a second label.
    #[must_use]
    pub fn counters_by_source<'s, const N: usize>(
        &self,
        name: &str,
        help: &str,
        sources: impl IntoIterator<Item = &'s str>,
        label: &str,
        values: [&str; N],
    ) -> Vec<[Counter; N]> {
        let family = prometheus::IntCounterVec::new(Opts::new(name, help), &["source", label]);
        let family = family.expect("a name of ours is one");
        self.add(family.clone());
        let of_source = |source| values.map(|value| family.with_label_values(&[source, value]));
        sources.into_iter().map(of_source).collect()
    }

    /// What grows and shrinks.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::new(name, help).expect("a name of ours is one");
        self.add(gauge.clone());
        gauge
    }

    /// What grows and shrinks, apart for each value of a label.
    #[must_use]
    pub fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&str; N],
    ) -> [Gauge; N] {
        let family = prometheus::IntGaugeVec::new(Opts::new(name, help), &[label]);
        let family = family.expect("a name of ours is one");
        self.add(family.clone());
        values.map(|value| family.with_label_values(&[value]))
    }

    /// How long something takes, in seconds.
    #[must_use]
    pub fn durations(&self, name: &str, help: &str) -> Histogram {
        let histogram = durations(name, help);
        self.add(histogram.clone());
        histogram
    }

    /// All of it as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.0.gather()).expect("a text takes whatever is written to it")
    }
}

/// How long something takes, in seconds; of one who is built before [`Metrics`] are at hand.
#[must_use]
pub fn durations(name: &str, help: &str) -> Histogram {
    sizes_in(name, help, DURATIONS.to_vec())
}

/// How many there are at a time, up to some thousands.
#[must_use]
pub fn sizes(name: &str, help: &str) -> Histogram {
    sizes_in(name, help, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0].to_vec())
}

fn sizes_in(name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets);
    Histogram::with_opts(options).expect("a name of ours is one, and the buckets grow")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_observed_is_told_in_the_format_of_prometheus() {
        let metrics = Metrics::of_process();
        let [first, _] = metrics.counters("a_total", "Of \"a\".", "kind", ["x\n\"y\\", "z"]);
        first.inc_by(3);
        let took = metrics.durations("took_seconds", "How long.");
        took.observe(0.003);
        took.observe(100.0);
        let text = metrics.to_text();
        for line in [
            "# TYPE a_total counter",
            "a_total{kind=\"x\\n\\\"y\\\\\"} 3",
            "a_total{kind=\"z\"} 0",
            "took_seconds_bucket{le=\"0.0025\"} 0",
            "took_seconds_bucket{le=\"0.005\"} 1",
            "took_seconds_bucket{le=\"60\"} 1",
            "took_seconds_bucket{le=\"+Inf\"} 2",
            "took_seconds_count 2",
            "# TYPE process_start_time_seconds gauge",
        ] {
            assert!(text.lines().any(|one| one == line), "`{line}` is missing:\n{text}");
        }
        assert!(
            text.contains(&format!("ringback_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")))
        );
    }
}
