//! The worker: claims what is due, makes the attempts, settles them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use super::back_off::{BackOff, random_share};
use super::client::{Client, Outgoing};
use super::meter::Meter;
use super::outcome::attempt_of;
use super::schedule::{Decision, next};
use super::turns::{Lot, Turns};
use crate::event::CallbackId;
use crate::registration::{DeliverySettings, LateRenderer, Ledger};
use crate::store::{
    Attempt, Claim, DeliveryRequest, LateRendering, Lease, Next, OutcomeKind, Rendition, Settlement,
    SharedStore, StoreError,
};

/// How long leases may take to be given back at a shutdown. What is not given back by then runs out by
/// itself, or is freed by the next start.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// How many attempts are begun before everybody else has a turn: until one waits for its receiver it takes
/// some 50 µs of a core, and what comes in meanwhile (an event, an answer, another claim) is looked at only
/// behind what was begun.
const BEGUN_TOGETHER: usize = 16;

/// In how many turns at most everything is begun that waits for it. A lease has a few seconds more than its
/// attempt may take, and where all cores are busy a turn comes every 5 ms or so.
const MOST_TURNS: usize = 32;

/// Makes the attempts, at most so many at once.
pub struct Worker {
    slots: Arc<Semaphore>,
    parts: Arc<Parts>,
}

/// What every attempt needs.
struct Parts {
    store: SharedStore,
    client: Client,
    ledger: Ledger,
    late: LateRenderer,
    meter: Meter,
    on_paused: Box<OnPaused>,
}

type OnPaused = dyn Fn(CallbackId, &str) + Send + Sync;

/// The attempts under way, each with the lease that must be given back if it is not finished.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    leases: HashMap<Id, Lease>,
}

impl Worker {
    /// A worker that makes at most `max_in_flight` attempts at once (0 counts as 1).
    ///
    /// `on_paused` is told of each registration that the store has paused because its receiver
    /// answered 410, with the reason, so that what is held in memory of it can follow. It must not
    /// block.
    #[must_use]
    pub fn new(
        store: SharedStore,
        client: Client,
        ledger: Ledger,
        late: LateRenderer,
        meter: Meter,
        max_in_flight: usize,
        on_paused: impl Fn(CallbackId, &str) + Send + Sync + 'static,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let parts = Parts { store, client, ledger, late, meter, on_paused: Box::new(on_paused) };
        Self { slots, parts: Arc::new(parts) }
    }

    /// Works until `stop` completes. Then claims no more, gives what is under way up to `drain` to
    /// finish, gives the leases of the rest back, and returns.
    ///
    /// A store that is away is waited for, for as long as it takes: claims resume by themselves,
    /// and an outcome is kept and written when the store is back.
    pub async fn run(self, stop: impl Future<Output = ()>, drain: Duration) {
        let mut under_way = UnderWay::default();
        let not_begun = self.work(stop, &mut under_way).await;
        let (mut unfinished, kept) = tokio::join!(under_way.drain(drain), self.release(not_begun));
        unfinished.extend(kept);
        self.release(unfinished).await;
    }

    /// Claims and begins until `stop` completes; the leases of what was not begun by then.
    async fn work(&self, stop: impl Future<Output = ()>, under_way: &mut UnderWay) -> Vec<Lease> {
        let mut stop = pin!(stop);
        let mut claimed = pin!(self.claim());
        let mut turns = Turns::default();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                lot = &mut claimed => {
                    claimed.set(self.claim());
                    turns.add(lot);
                }
                // Lets everybody else have a turn.
                () = yield_now(), if !turns.is_empty() => {}
            }
            under_way.forget_finished();
            self.begin_some(&mut turns, under_way);
        }
        turns.into_leases()
    }

    /// Claims as much as there are free slots, at least one, however long that takes.
    async fn claim(&self) -> Lot {
        let mut back_off = BackOff::default();
        loop {
            let acquire = Arc::clone(&self.slots).acquire_owned();
            let mut slots = acquire.await.expect("nobody closes this semaphore");
            let free = u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX);
            if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(free) {
                slots.merge(more);
            }
            let pause = match self.parts.store.claim(slots.num_permits()).await {
                Ok(claims) if !claims.is_empty() => {
                    self.parts.meter.claimed();
                    return Lot::new(claims, slots);
                }
                // A store that was closed has nothing; the word to stop is on its way.
                Ok(_) => back_off.next(Duration::ZERO),
                Err(error) => {
                    let pause = back_off.next(wished_pause(&error));
                    tracing::warn!(%error, ?pause, "claiming deliveries failed; trying again");
                    pause
                }
            };
            drop(slots);
            sleep(pause).await;
        }
    }

    fn begin_some(&self, turns: &mut Turns, under_way: &mut UnderWay) {
        let together = BEGUN_TOGETHER.max(turns.waiting().div_ceil(MOST_TURNS));
        for _ in 0..together {
            let Some((claim, slot)) = turns.next() else { return };
            self.begin(claim, slot, under_way);
        }
    }

    fn begin(&self, claim: Claim, slot: Option<OwnedSemaphorePermit>, under_way: &mut UnderWay) {
        let lease = claim.lease;
        let parts = Arc::clone(&self.parts);
        // Ids only: what a URL, a header, a body or an answer holds is the customer's.
        let span = tracing::info_span!(
            "attempt",
            delivery = %lease.delivery, callback = %claim.callback, attempt = claim.attempt
        );
        let is_under_way = parts.meter.begin();
        let attempt = async move {
            let _is_under_way = is_under_way;
            parts.deliver(claim).await;
            drop(slot);
        };
        let task = under_way.tasks.spawn(attempt.instrument(span));
        under_way.leases.insert(task.id(), lease);
    }

    /// Gives leases back; those that could not be given back.
    async fn release(&self, leases: Vec<Lease>) -> Vec<Lease> {
        if leases.is_empty() {
            return leases;
        }
        let count = leases.len();
        match timeout(RELEASE_LIMIT, self.parts.store.release(leases.clone())).await {
            Ok(Ok(())) => {
                tracing::info!(count, "deliveries that the shutdown left unfinished were given back");
                return Vec::new();
            }
            Ok(Err(error)) => tracing::warn!(count, %error, "leases could not be given back"),
            Err(_elapsed) => tracing::warn!(count, "leases could not be given back in time"),
        }
        leases
    }
}

impl UnderWay {
    fn forget_finished(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let _ = self.forget(ended);
        }
    }

    /// The lease of a task that ended without settling, if it was not its own fault: the lease of
    /// one that panicked is left to run out, so that the store counts it and gives up in the end.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) -> Option<Lease> {
        match ended {
            Ok((id, ())) => {
                self.leases.remove(&id);
                None
            }
            Err(error) => {
                let lease = self.leases.remove(&error.id())?;
                if error.is_panic() {
                    tracing::error!(delivery = %lease.delivery, "settling an attempt panicked");
                    return None;
                }
                Some(lease)
            }
        }
    }

    /// Waits for what is under way, then cuts it off; the leases of what was cut off.
    async fn drain(mut self, limit: Duration) -> Vec<Lease> {
        let finish = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let _ = self.forget(ended);
            }
        };
        if timeout(limit, finish).await.is_err() {
            self.tasks.abort_all();
        }
        let mut unfinished = Vec::new();
        while let Some(ended) = self.tasks.join_next_with_id().await {
            unfinished.extend(self.forget(ended));
        }
        unfinished
    }
}

impl Parts {
    /// One attempt, from the claim to the settlement.
    async fn deliver(&self, claim: Claim) {
        let Some(request) = self.request(&claim).await else { return };
        let (attempt, decision) = match self.settings(claim.callback).await {
            Some(settings) => self.attempt(&claim, &request, &settings).await,
            None => removed(&claim),
        };
        let latency_ms = u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(outcome = %attempt.outcome, status = attempt.status, latency_ms, "attempt ended");
        let settlement = Settlement {
            lease: claim.lease,
            attempt,
            next: decision.next,
            pause_callback: decision.pause.map(str::to_owned),
        };
        let is_settled = self.settle(&settlement).await;
        if is_settled {
            self.meter.settled(&settlement);
        }
        if is_settled && let Some(reason) = &settlement.pause_callback {
            (self.on_paused)(claim.callback, reason);
        }
    }

    /// What to send, which is on disk when this returns; `None` if there is nothing to send any more.
    async fn request<'c>(&self, claim: &'c Claim) -> Option<Cow<'c, DeliveryRequest>> {
        let late = match &claim.request {
            Rendition::Done(request) => return Some(Cow::Borrowed(request)),
            Rendition::Late(late) => *late,
        };
        let mut back_off = BackOff::default();
        let rendered = loop {
            match self.late.render(claim, late).await {
                Ok(rendered) => break rendered,
                Err(error) => {
                    let pause = back_off.next(wished_pause(&error));
                    tracing::warn!(%error, ?pause, "what a delivery is rendered from cannot be read; trying again");
                    sleep(pause).await;
                }
            }
        };
        if let Err(reason) = &rendered {
            tracing::warn!(reason, "delivery could not be rendered");
        }
        let rendering = LateRendering { lease: claim.lease, account: Arc::clone(&claim.account), rendered };
        let is_to_be_sent = self.written(|| self.store.put_rendering(rendering.clone())).await;
        rendering.rendered.ok().filter(|_| is_to_be_sent).map(Cow::Owned)
    }

    /// How to send, however long the store is away that must say so; `None` if the registration was
    /// removed. Should the lease run out meanwhile, others attempt it as well.
    async fn settings(&self, callback: CallbackId) -> Option<Arc<DeliverySettings>> {
        let mut back_off = BackOff::default();
        loop {
            match self.ledger.delivery_settings(callback).await {
                Ok(settings) => return settings,
                Err(error) => {
                    let pause = back_off.next(wished_pause(&error));
                    tracing::warn!(%error, ?pause, "a registration cannot be read; trying again");
                    sleep(pause).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        claim: &Claim,
        request: &DeliveryRequest,
        settings: &DeliverySettings,
    ) -> (Attempt, Decision) {
        let outgoing = Outgoing {
            id: claim.lease.delivery,
            attempt: claim.attempt,
            request,
            secrets: settings.secrets.valid_at(Timestamp::now()),
            timeout: settings.timeout,
        };
        let started_at = Timestamp::now();
        let start = Instant::now();
        let exchange = caught(self.client.send(&outgoing)).await;
        let (attempt, retry_after) = match &exchange {
            Ok(exchange) => (
                attempt_of(claim.attempt, exchange),
                exchange.response.as_ref().and_then(|response| response.retry_after),
            ),
            Err(Panicked) => (crashed(claim.attempt, started_at, start.elapsed()), None),
        };
        let decision = next(Timestamp::now(), &attempt, retry_after, &settings.retry, random_share());
        (attempt, decision)
    }

    /// Writes an outcome, however long the store is away; whether it was ours to write.
    ///
    /// The slot stays taken meanwhile, which bounds how many outcomes wait. The wait ends with the
    /// outage, with another's lease on the delivery, or with the shutdown.
    async fn settle(&self, settlement: &Settlement) -> bool {
        let is_ours = self.written(|| self.store.settle(settlement.clone())).await;
        if !is_ours {
            tracing::warn!("the attempt was not settled: its lease ran out, or it cannot be written");
        }
        is_ours
    }

    /// Writes something, however long the store is away; what it says to that.
    async fn written<F: Future<Output = Result<bool, StoreError>>>(&self, write: impl Fn() -> F) -> bool {
        let mut back_off = BackOff::default();
        loop {
            match write().await {
                Ok(answer) => return answer,
                Err(error @ StoreError::Unavailable { .. }) => {
                    let pause = back_off.next(wished_pause(&error));
                    tracing::warn!(%error, ?pause, "writing of an attempt failed; trying again");
                    sleep(pause).await;
                }
                Err(error @ (StoreError::Unusable(_) | StoreError::Corrupt { .. })) => {
                    tracing::error!(%error, "what came of an attempt cannot be written");
                    return false;
                }
            }
        }
    }
}

/// The record of an attempt that panicked.
fn crashed(number: u32, started_at: Timestamp, latency: Duration) -> Attempt {
    Attempt {
        number,
        started_at,
        latency,
        outcome: OutcomeKind::Crashed,
        status: None,
        error: Some("the attempt failed inside ringback, which is a defect of it".to_owned()),
        response: Bytes::new(),
    }
}

/// What becomes of a delivery whose registration was removed while it was being claimed.
fn removed(claim: &Claim) -> (Attempt, Decision) {
    let reason = "the registration was removed";
    let attempt = Attempt {
        number: claim.attempt,
        started_at: Timestamp::now(),
        latency: Duration::ZERO,
        outcome: OutcomeKind::Unsendable,
        status: None,
        error: Some(format!("nothing was sent: {reason}")),
        response: Bytes::new(),
    };
    (attempt, Decision { next: Next::Dead(reason.to_owned()), pause: None })
}

/// When a store that failed wants to be asked again.
fn wished_pause(error: &StoreError) -> Duration {
    match error {
        StoreError::Unavailable { retry_after, .. } => *retry_after,
        StoreError::Unusable(_) | StoreError::Corrupt { .. } => Duration::ZERO,
    }
}

/// A panic where none should be; the panic hook has told of it.
#[derive(Debug, PartialEq, Eq)]
struct Panicked;

/// Turns a panic of an attempt into its outcome: a defect that one body or one receiver brings out
/// must cost that delivery its attempts, and never the process its slots.
async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // The future is not polled again after a panic, so nothing sees a state that it broke.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(_payload) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("free_slots", &self.slots.available_permits()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let later = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "for the test");
        };
        assert_eq!(caught(later).await, Err(Panicked));
    }

    #[test]
    fn the_record_of_a_panic_is_retried_and_counted() {
        let attempt = crashed(1, Timestamp::UNIX_EPOCH, Duration::ZERO);
        let schedule = crate::registration::RetrySchedule::standard();
        let decision = next(Timestamp::UNIX_EPOCH, &attempt, None, &schedule, 0.0);
        assert_eq!(decision.next, Next::RetryAt(Timestamp::from_second(5).unwrap()));
        let last = crashed(10, Timestamp::UNIX_EPOCH, Duration::ZERO);
        let decision = next(Timestamp::UNIX_EPOCH, &last, None, &schedule, 0.0);
        assert!(matches!(decision.next, Next::Dead(_)));
    }
}
