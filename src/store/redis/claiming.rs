//! Claims: asked for by workers one after the other, served by one task, and given back when the
//! worker is gone by the time they arrive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::link::PREFIX;
use super::{Held, LEASE_TIME, Shared, becomes_true, form};
use crate::event::{CallbackId, DeliveryId};
use crate::store::{Claim, Lease, StoreError};

/// The longest sleep of somebody who waits for work and hears of none: a process that was told of
/// some may have died.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// How long `BLPOP` waits; longer costs less where commands are metered.
const BLOCK: Duration = Duration::from_secs(5);

/// How long the waker leaves Redis alone after it failed.
const RECOVERY_TIME: Duration = Duration::from_secs(1);

/// After how many bytes of requests a claim takes no further one.
const CLAIM_BYTES: usize = 16 << 20;

/// The most deliveries that one script leases.
const CLAIM_CHUNK: usize = 256;

/// Somebody waits for deliveries.
pub(super) struct ClaimRequest {
    pub(super) slots: usize,
    pub(super) answer: oneshot::Sender<Result<Handover, StoreError>>,
}

/// Claims on their way to a caller who may be gone when they arrive: what is dropped unopened
/// goes back.
pub(super) struct Handover {
    claims: Vec<Claim>,
    shared: Arc<Shared>,
}

impl Handover {
    pub(super) fn open(mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            self.shared
                .given_back
                .lock()
                .expect("no holder of this lock panics")
                .extend(self.claims.iter().map(|claim| claim.lease));
            self.shared.given_back_some.notify_one();
        }
    }
}

/// One answer of `claim.lua`: delivery, token, registration, attempt, whether on trial, request.
type Granted = ([u8; 16], u64, [u8; 16], u32, bool, Vec<u8>);

/// What a look for work found.
pub(super) struct Found {
    pub(super) claims: Vec<Claim>,
    /// When to look again, as far as that depends on time.
    pub(super) next: Option<Duration>,
}

impl Shared {
    /// How many may be claimed now, and how many of them by destinations on trial: half of all
    /// slots, as in scheduler/mod.rs.
    fn capacity(&self) -> (usize, usize) {
        let most = self.options.max_in_flight.max(1);
        let held = self.held();
        let on_trial = held.values().filter(|one| one.on_trial).count();
        (most.saturating_sub(held.len()), (most / 2).max(1).saturating_sub(on_trial))
    }

    pub(super) async fn claim_some(&self, slots: usize) -> Result<Found, StoreError> {
        let (free, trials) = self.capacity();
        let slots = slots.min(free).min(CLAIM_CHUNK);
        if slots == 0 {
            return Ok(Found { claims: Vec::new(), next: None });
        }
        let (granted, next, unreadable): (Vec<Granted>, i64, Vec<Vec<u8>>) = self
            .link
            .run(&self.scripts.claim, |command| {
                command
                    .arg(slots)
                    .arg(trials)
                    .arg(u64::try_from(LEASE_TIME.as_micros()).expect("a minute is short"))
                    .arg(CLAIM_BYTES)
                    .arg(self.options.circuit.longest_probe);
            })
            .await?;
        for id in unreadable {
            let id = id.try_into().map(DeliveryId::from_bytes).unwrap_or_default();
            tracing::error!(delivery = %id, "a delivery cannot be read and is set aside");
        }
        let mut claims = Vec::with_capacity(granted.len());
        for (delivery, token, callback, attempt, on_trial, request) in granted {
            let lease = Lease { delivery: DeliveryId::from_bytes(delivery), token };
            self.held().insert(lease.delivery, Held { token, on_trial, since: Instant::now() });
            match form::read_rendition(request) {
                Ok((account, request)) => claims.push(Claim {
                    lease,
                    account,
                    callback: CallbackId::from_bytes(callback),
                    attempt,
                    request,
                }),
                Err(error) => {
                    tracing::error!(delivery = %lease.delivery, %error, "a delivery cannot be read and is set aside");
                    self.set_aside(lease, attempt).await?;
                }
            }
        }
        let wait = u64::try_from(next.saturating_sub(self.link.now())).unwrap_or(0);
        Ok(Found { claims, next: (next > 0).then(|| Duration::from_micros(wait)) })
    }
}

/// Serves the requests.
pub(super) struct Claimer {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::Receiver<ClaimRequest>,
    /// Says whether somebody waits for work.
    pub(super) idle: watch::Sender<bool>,
    /// There is work again.
    pub(super) woken: Arc<Notify>,
}

impl Claimer {
    pub(super) async fn run(mut self) {
        let mut closing = self.shared.closing.subscribe();
        loop {
            let request = tokio::select! {
                biased;
                () = becomes_true(&mut closing) => break,
                request = self.requests.recv() => request,
            };
            let Some(request) = request else { break };
            self.serve(request, closing.clone()).await;
            self.idle.send_replace(false);
        }
    }

    async fn serve(&self, mut request: ClaimRequest, mut closing: watch::Receiver<bool>) {
        loop {
            if request.answer.is_closed() || *closing.borrow() {
                return;
            }
            // What happens from here on is not missed by the wait below.
            let freed = self.shared.freed.notified();
            let found = match self.shared.claim_some(request.slots).await {
                Ok(found) => found,
                Err(error) => {
                    let _ = request.answer.send(Err(error));
                    return;
                }
            };
            if !found.claims.is_empty() {
                let handover = Handover { claims: found.claims, shared: Arc::clone(&self.shared) };
                // Whoever is gone meanwhile: the handover gives the leases back.
                let _ = request.answer.send(Ok(handover));
                return;
            }
            let has_room = self.shared.capacity().0 > 0;
            self.idle.send_replace(has_room);
            let sleep = found.next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP));
            tokio::select! {
                () = request.answer.closed() => {}
                () = becomes_true(&mut closing) => {}
                () = freed => {}
                () = self.woken.notified() => {}
                () = sleep_until(Instant::now() + sleep) => {}
            }
        }
    }
}

/// The list at which those are told who wait for deliveries, and that of jobs.
pub(super) const DELIVERIES: &str = "wake";
pub(super) const JOBS: &str = "jb";

/// Waits at a list of Redis for work as long as somebody waits for it here.
pub(super) async fn wait_for_work(
    shared: Arc<Shared>,
    list: &'static str,
    mut idle: watch::Receiver<bool>,
    woken: Arc<Notify>,
) {
    let mut closing = shared.closing.subscribe();
    let mut connection = None;
    loop {
        tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            () = becomes_true(&mut idle) => {}
        }
        let mut blocking = match connection.take() {
            Some(connection) => connection,
            None => match shared.link.separate(BLOCK).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "nobody can be woken while Redis is away");
                    sleep(RECOVERY_TIME).await;
                    continue;
                }
            },
        };
        let mut pop = redis::cmd("BLPOP");
        pop.arg(format!("{PREFIX}{list}")).arg(BLOCK.as_secs());
        let popped: Result<Option<(String, u32)>, _> = tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            popped = pop.query_async(&mut blocking) => popped,
        };
        match popped {
            Ok(Some(_)) if *idle.borrow() => {
                woken.notify_one();
                connection = Some(blocking);
            }
            Ok(Some(_)) => {
                // The one who waited is served already: it is for another process.
                let mut push = redis::cmd("LPUSH");
                push.arg(format!("{PREFIX}{list}")).arg(1);
                if push.exec_async(&mut blocking).await.is_ok() {
                    connection = Some(blocking);
                }
            }
            Ok(None) => connection = Some(blocking),
            Err(error) => {
                if !shared.closed.load(Ordering::Acquire) {
                    tracing::debug!(%error, "waiting for work failed; trying again");
                    sleep(RECOVERY_TIME).await;
                }
            }
        }
    }
}
