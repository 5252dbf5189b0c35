//! Claims: asked for by workers one after the other, served by one task, and given back when the
//! worker is gone by the time they arrive.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::failure::away;
use super::shard::Shard;
use super::{Held, LEASE_TIME, Shared, becomes_true, form};
use crate::event::{CallbackId, DeliveryId};
use crate::store::{Claim, Lease, StoreError};

/// The longest sleep of somebody who waits for work and hears of none: a process that was told of
/// some may have died.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// How long `BLPOP` waits; longer costs less where commands are metered.
const BLOCK: Duration = Duration::from_secs(5);

/// How long what a look at one of several shards found is believed, if nobody waited for work since.
const FRESH: Duration = Duration::from_millis(50);

/// How long what came with its event waits for somebody who asks for work, before it is given back.
const UNASKED: Duration = Duration::from_secs(1);

/// When to look again while all slots are offered to events that are being written.
const SHORTLY: Duration = Duration::from_millis(5);

/// How long the others wait for one of several shards.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How long the waker leaves Redis alone after it failed.
const RECOVERY_TIME: Duration = Duration::from_secs(1);

/// After how many bytes of requests a claim takes no further one.
const CLAIM_BYTES: usize = 16 << 20;

/// The most deliveries that one claim leases.
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
            for claim in &self.claims {
                self.shared.of_token(claim.lease.token).0.give_back(claim.lease);
            }
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
    /// Claims of one shard: so many, and so many of them by destinations on trial.
    pub(super) async fn claim_some(
        &self,
        shard: &Shard,
        slots: usize,
        trials: usize,
    ) -> Result<Found, StoreError> {
        let (granted, next, unreadable): (Vec<Granted>, i64, Vec<Vec<u8>>) = shard
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
            let lease = Lease { delivery: DeliveryId::from_bytes(delivery), token: shard.token(token) };
            self.held().insert(lease.delivery, Held { token: lease.token, on_trial, since: Instant::now() });
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
        let wait = u64::try_from(next.saturating_sub(shard.now())).unwrap_or(0);
        Ok(Found { claims, next: (next > 0).then(|| Duration::from_micros(wait)) })
    }
}

/// Serves the requests.
pub(super) struct Claimer {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<ClaimRequest>,
    /// Claims that nobody looked for: they came with their events.
    arrivals: mpsc::Receiver<Claim>,
    /// Those that came while nobody asked.
    early: Vec<Claim>,
    /// Says whether somebody waits for work.
    idle: watch::Sender<bool>,
    /// There is work again.
    woken: Arc<Notify>,
    looks: Vec<Look>,
    /// The shard that is looked at first.
    turn: usize,
}

/// When a shard was looked at, and when it is to be looked at again, if nobody says that there is
/// something to claim.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    again: Instant,
    /// There may have been more than there were slots for.
    was_short: bool,
    /// Nothing was left that could have been claimed.
    is_done: bool,
}

impl Claimer {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<ClaimRequest>,
        idle: watch::Sender<bool>,
        woken: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        let looks = vec![Look { at: now, again: now, was_short: false, is_done: false }; shared.shards.len()];
        let arrivals = shared.arrivals.lock().expect("no holder of this lock panics").take();
        let arrivals = arrivals.expect("a store is started once");
        Self { shared, requests, arrivals, early: Vec::new(), idle, woken, looks, turn: 0 }
    }

    pub(super) async fn run(mut self) {
        let mut closing = self.shared.closing.subscribe();
        let mut give_back_at = Instant::now();
        loop {
            let request = tokio::select! {
                biased;
                () = becomes_true(&mut closing) => break,
                request = self.requests.recv() => request,
                () = sleep_until(give_back_at), if !self.early.is_empty() => {
                    drop(self.arrived(usize::MAX));
                    continue;
                }
                Some(claim) = self.arrivals.recv() => {
                    if self.early.is_empty() {
                        give_back_at = Instant::now() + UNASKED;
                    }
                    self.early.push(claim);
                    continue;
                }
            };
            let Some(request) = request else { break };
            self.shared.vacancies.await_work();
            let is_answered = self.serve(request, closing.clone()).await;
            self.shared.vacancies.note_answer(!is_answered);
            self.idle.send_replace(false);
        }
    }

    /// What has come with its event, at most so many.
    fn arrived(&mut self, most: usize) -> Handover {
        let mut claims: Vec<Claim> = self.early.drain(..self.early.len().min(most)).collect();
        while claims.len() < most
            && let Ok(claim) = self.arrivals.try_recv()
        {
            claims.push(claim);
        }
        Handover { claims, shared: Arc::clone(&self.shared) }
    }

    /// Whether whoever asked was given work.
    async fn serve(&mut self, mut request: ClaimRequest, mut closing: watch::Receiver<bool>) -> bool {
        let shared = Arc::clone(&self.shared);
        let woken = Arc::clone(&self.woken);
        // While nobody waited, nobody was told either.
        let stale = Instant::now().checked_sub(FRESH);
        let is_alone = shared.shards.len() == 1;
        let are_filled = shared.vacancies.are_filled();
        for look in &mut self.looks {
            if stale.is_none_or(|stale| look.at <= stale) || is_alone && !(are_filled && look.is_done) {
                look.again = look.at;
            }
        }
        loop {
            if request.answer.is_closed() || *closing.borrow() {
                return false;
            }
            let mut handover = self.arrived(request.slots);
            // What happens from here on is not missed by the wait below.
            let freed = shared.freed.notified();
            match self.look_around(request.slots - handover.claims.len()).await {
                Ok(mut found) => handover.claims.append(&mut found.claims),
                Err(error) if handover.claims.is_empty() => {
                    let _ = request.answer.send(Err(error));
                    return false;
                }
                Err(_) => {}
            }
            let mut arrived = self.arrived(request.slots - handover.claims.len());
            handover.claims.append(&mut arrived.claims);
            // Whoever is gone meanwhile: the handover gives the leases back.
            if !handover.claims.is_empty() {
                return request.answer.send(Ok(handover)).is_ok();
            }
            let has_room = shared.has_room();
            self.idle.send_replace(has_room);
            let next = self.looks.iter().map(|look| look.again).min().expect("there is a shard");
            tokio::select! {
                () = request.answer.closed() => {}
                () = becomes_true(&mut closing) => {}
                claim = self.arrivals.recv() => {
                    let Some(claim) = claim else { return false };
                    let mut handover = self.arrived(request.slots.saturating_sub(1));
                    handover.claims.insert(0, claim);
                    return request.answer.send(Ok(handover)).is_ok();
                }
                () = freed => {
                    for look in self.looks.iter_mut().filter(|look| look.was_short) {
                        look.again = look.at;
                    }
                }
                () = woken.notified() => {}
                // Without room, nothing can be claimed before something is freed.
                () = sleep_until(next), if has_room => {}
                () = sleep(LONGEST_SLEEP), if !has_room => {}
            }
        }
    }

    /// Claims of those shards where there may be something, beginning with another one each time. An
    /// error, if none of them answers.
    async fn look_around(&mut self, slots: usize) -> Result<Handover, StoreError> {
        let shards = self.shared.shards.len();
        let mut handover = Handover { claims: Vec::new(), shared: Arc::clone(&self.shared) };
        if slots == 0 || !self.shared.has_room() {
            return Ok(handover);
        }
        let (mut refused, mut is_answered) = (None, false);
        let first = self.turn;
        for number in (0..shards).map(|step| (first + step) % shards) {
            let wanted = slots.saturating_sub(handover.claims.len());
            if wanted == 0 {
                break;
            }
            let now = Instant::now();
            let is_woken = self.shared.shards[number].was_woken();
            if !is_woken && self.looks[number].again > now {
                is_answered = true;
                continue;
            }
            match self.look(number, wanted).await {
                Ok((mut found, next)) => {
                    handover.claims.append(&mut found.claims);
                    let (free, trials) = self.shared.capacity();
                    let wait = next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP));
                    let again = Instant::now() + wait;
                    let (was_short, is_done) = (free == 0 || trials == 0, !wait.is_zero());
                    self.looks[number] = Look { at: now, again, was_short, is_done };
                    is_answered = true;
                }
                Err(error) => {
                    self.looks[number].again = now + RECOVERY_TIME;
                    refused = Some(error);
                }
            }
            self.turn = (number + 1) % shards;
        }
        match refused {
            Some(error) if !is_answered => Err(error),
            _ => Ok(handover),
        }
    }

    /// Claims of one shard. One of several that does not answer soon is left alone, and what it grants
    /// after all is given back.
    async fn look(&self, number: usize, slots: usize) -> Result<(Handover, Option<Duration>), StoreError> {
        let shared = Arc::clone(&self.shared);
        let is_alone = shared.shards.len() == 1;
        if shared.is_left_alone(&shared.shards[number]) {
            return Err(away());
        }
        let reserved = Arc::new(Mutex::new(None));
        let reserve = Arc::clone(&reserved);
        let mut look = Box::pin(async move {
            let shard = &shared.shards[number];
            let _line = shard.line().write().await;
            let reservation = shared.reserve(slots.min(CLAIM_CHUNK));
            let (slots, trials, is_short) = (reservation.slots, reservation.trials, reservation.is_short);
            *reserve.lock().expect("no holder of this lock panics") = Some(reservation);
            let mut found = Found { claims: Vec::new(), next: None };
            if slots > 0 {
                found = shared.claim_some(shard, slots, trials).await?;
            }
            // What others leave is not told of.
            let next = if is_short {
                Some(found.next.map_or(SHORTLY, |next| next.min(SHORTLY)))
            } else {
                found.next
            };
            Ok((Handover { claims: found.claims, shared: Arc::clone(&shared) }, next))
        });
        let found = tokio::select! {
            found = &mut look => found,
            () = sleep(LOOK_PATIENCE), if !is_alone => {
                self.shared.shards[number].note_away(true);
                tokio::spawn(look);
                Err(away())
            }
        };
        // Also those of one that goes on: what it grants after all is given back.
        drop(reserved.lock().expect("no holder of this lock panics").take());
        found
    }
}

/// The list at which those are told who wait for deliveries, and that of jobs.
pub(super) const DELIVERIES: &str = "wake";
pub(super) const JOBS: &str = "jb";

/// Waits at a list of Redis for work as long as somebody waits for it here.
pub(super) async fn wait_for_work(
    shared: Arc<Shared>,
    shard: usize,
    list: &'static str,
    mut idle: watch::Receiver<bool>,
    woken: Arc<Notify>,
) {
    let mut closing = shared.closing.subscribe();
    let shard = &shared.shards[shard];
    let key = shard.key(list, b"");
    let mut connection = None;
    loop {
        tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            () = becomes_true(&mut idle) => {}
        }
        let mut blocking = match connection.take() {
            Some(connection) => connection,
            None => match shard.separate(BLOCK).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "nobody can be woken while Redis is away");
                    sleep(RECOVERY_TIME).await;
                    continue;
                }
            },
        };
        let mut pop = redis::cmd("BLPOP");
        pop.arg(&key).arg(BLOCK.as_secs());
        let popped: Result<Option<(Vec<u8>, u32)>, _> = tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            popped = pop.query_async(&mut blocking) => popped,
        };
        match popped {
            Ok(Some(_)) if *idle.borrow() => {
                shard.wake();
                woken.notify_one();
                connection = Some(blocking);
            }
            Ok(Some(_)) => {
                // The one who waited is served already: it is for another process.
                let mut push = redis::cmd("LPUSH");
                push.arg(&key).arg(1);
                if push.exec_async(&mut blocking).await.is_ok() {
                    connection = Some(blocking);
                }
            }
            Ok(None) => connection = Some(blocking),
            Err(error) => {
                shard.suspect();
                if !shared.closed.load(Ordering::Acquire) {
                    tracing::debug!(%error, "waiting for work failed; trying again");
                    sleep(RECOVERY_TIME).await;
                }
            }
        }
    }
}
