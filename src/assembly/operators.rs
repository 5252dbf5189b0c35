//! What operators ask: whether the process lives, whether it can do its work, and its numbers; and the
//! console, with what it asks for, since a page may ask only where it came from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;

use super::service::{Customers, INGEST, not_found};
use crate::console;
use crate::delivery;
use crate::http::{Answer, Handler, Problem, json, text};
use crate::metric::{CONTENT_TYPE, Gauge, Metrics};
use crate::store::{SharedStore, Standing, StoreError};

/// How long a delivery may be due, and this process be given none, until its queue is said to stand
/// still: longer than any attempt lasts.
const STILL: Duration = Duration::from_mins(2);

/// Answers operators.
pub(super) struct Operators {
    store: SharedStore,
    customers: Customers,
    metrics: Arc<Metrics>,
    meter: delivery::Meter,
    up: Gauge,
    standing: Gauges,
}

/// How the store stands, at each look.
struct Gauges {
    metrics: Metrics,
    deliveries: [Gauge; 2],
    oldest: Gauge,
    open_circuits: Gauge,
    paused: Gauge,
    jobs: [Gauge; 2],
}

impl Gauges {
    fn new() -> Self {
        let metrics = Metrics::default();
        Self {
            deliveries: metrics.gauges(
                "ringback_deliveries_open",
                "Deliveries that are not over: those that wait, and those that are leased to a process.",
                "state",
                ["queued", "leased"],
            ),
            oldest: metrics.gauge(
                "ringback_oldest_due_seconds",
                "For how long the oldest delivery is due that waits for nothing but a slot; 0 if none does.",
            ),
            open_circuits: metrics
                .gauge("ringback_circuits_open", "Destinations that are only probed, because they fail."),
            paused: metrics.gauge("ringback_callbacks_paused", "Registrations that are paused."),
            jobs: metrics.gauges(
                "ringback_jobs_open",
                "Speech jobs that are not over: those that wait, and those at which a process is at work.",
                "state",
                ["waiting", "leased"],
            ),
            metrics,
        }
    }

    fn show(&self, standing: &Standing) -> String {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let [queued, leased] = &self.deliveries;
        set(queued, standing.queued);
        set(leased, standing.leased);
        self.oldest.set(due_for(standing));
        set(&self.open_circuits, standing.open_circuits);
        set(&self.paused, standing.paused_callbacks);
        let [waiting, leased] = &self.jobs;
        set(waiting, standing.waiting_jobs);
        set(leased, standing.leased_jobs);
        self.metrics.to_text()
    }
}

/// For how many seconds the oldest delivery is due.
fn due_for(standing: &Standing) -> i64 {
    standing.oldest_due.map_or(0, |due| (Timestamp::now().as_second() - due.as_second()).max(0))
}

/// Whether deliveries are due and this process, which was last given some at `last_claim`, is given
/// none. Its slots may all be taken, but not for as long as this.
fn stands_still(due_for: i64, last_claim: i64, now: i64) -> bool {
    let still = i64::try_from(STILL.as_secs()).expect("it is short");
    due_for > still && now - last_claim > still
}

impl Operators {
    pub(super) fn new(
        store: SharedStore,
        customers: Customers,
        metrics: Arc<Metrics>,
        meter: delivery::Meter,
    ) -> Self {
        let up = metrics.gauge(
            "ringback_store_up",
            "Whether the store says how it stands: 1, or 0 and its numbers are missing.",
        );
        Self { store, customers, metrics, meter, up, standing: Gauges::new() }
    }

    /// Whether the store takes writes, and deliveries that are due are taken up.
    async fn ready(&self) -> Result<(), Problem> {
        let not_ready = |error: StoreError| {
            tracing::warn!(%error, "not ready");
            Problem::from(error)
        };
        self.store.ready().await.map_err(not_ready)?;
        let due_for = due_for(&self.store.standing().await.map_err(not_ready)?);
        if stands_still(due_for, self.meter.last_claim(), Timestamp::now().as_second()) {
            tracing::warn!(due_for_s = due_for, "not ready: deliveries are due, and none is taken up");
            let detail = "deliveries are due, and this process takes none up";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "queue_stands_still", detail));
        }
        Ok(())
    }

    /// The process's numbers, and the store's where it says them.
    async fn numbers(&self) -> String {
        match self.store.standing().await {
            Ok(standing) => {
                self.up.set(1);
                self.metrics.to_text() + &self.standing.show(&standing)
            }
            Err(error) => {
                tracing::warn!(%error, "the store does not say how it stands");
                self.up.set(0);
                self.metrics.to_text()
            }
        }
    }
}

#[async_trait::async_trait]
impl Handler for Operators {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Answer {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        if let Some(answer) = console::answer(request.method(), path) {
            return answer;
        }
        // Providers are told another address.
        if Customers::knows(path) && !path.starts_with(INGEST) {
            return self.customers.answer(request).await;
        }
        match path {
            "/healthz" | "/readyz" | "/metrics" if !reads => Problem::method_not_allowed("GET, HEAD").into(),
            "/healthz" => json(StatusCode::OK, r#"{"status":"alive"}"#),
            "/readyz" => match self.ready().await {
                Ok(()) => json(StatusCode::OK, r#"{"status":"ready"}"#),
                Err(problem) => problem.into(),
            },
            "/metrics" => text(StatusCode::OK, CONTENT_TYPE, self.numbers().await),
            _ => not_found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_stands_still_if_what_is_due_is_not_taken_up() {
        let now = 1_000_000;
        for (due_for, last_claim, expected) in [
            (0, 0, false),
            (121, 0, true),
            (120, 0, false),
            (100_000, now - 121, true),
            // There is a backlog, and it goes down.
            (100_000, now - 60, false),
        ] {
            assert_eq!(stands_still(due_for, last_claim, now), expected, "{due_for} {last_claim}");
        }
    }
}
