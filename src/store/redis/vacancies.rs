//! Slots that wait for work: as many as may be leased, while somebody asks. They are filled by claims, and by
//! events that are written meanwhile: where nobody else's turn is before, these come back with their
//! deliveries leased, which saves a claim, its way there and back, and most of what both cost Redis.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::Cmd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::shard::Shard;
use super::{Durability, Held, Shared, form, together, writing};
use crate::store::{Claim, Lease};

/// How long after an event has filled slots others are expected to.
const MEANWHILE: Duration = Duration::from_millis(50);

/// How soon whoever was given work and has slots left asks again.
const ASKS_AGAIN: Duration = Duration::from_millis(20);

/// The slots of this process that wait for work.
#[derive(Debug)]
pub(super) struct Vacancies {
    state: Mutex<State>,
    filled: mpsc::Sender<Claim>,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody waits for work.
    is_awaited: bool,
    /// How many scripts that write events wait until a claim is over.
    events: usize,
    /// Until when whoever was given some is expected to ask for more.
    expected_until: Option<Instant>,
    /// How many scripts under way may fill, and how many of them on trial.
    reserved: usize,
    on_trial: usize,
    /// When an event last filled some.
    filled_at: Option<Instant>,
}

impl Vacancies {
    /// There are at most so many; what fills them without a claim arrives here.
    pub(super) fn new(most: usize) -> (Self, mpsc::Receiver<Claim>) {
        let (filled, arrivals) = mpsc::channel(most.max(1));
        (Self { state: Mutex::default(), filled }, arrivals)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Somebody waits for work.
    pub(super) fn await_work(&self) {
        self.state().is_awaited = true;
    }

    /// Whoever waited has been answered, or is gone. Where events fill slots or wait for that, it is expected to be
    /// back at once: they would stand in line otherwise, and what comes behind them too.
    pub(super) fn note_answer(&self, is_gone: bool) {
        let are_filled = self.are_filled();
        let mut state = self.state();
        let is_expected = !is_gone && (are_filled || state.events > 0);
        state.is_awaited = false;
        state.expected_until = is_expected.then(|| Instant::now() + ASKS_AGAIN);
    }

    /// Whether events fill them these days.
    pub(super) fn are_filled(&self) -> bool {
        self.state().filled_at.is_some_and(|at| at.elapsed() < MEANWHILE)
    }
}

/// A script that writes events, and waits until a claim is over.
pub(super) struct EventsWait<'a>(&'a Vacancies);

impl Vacancies {
    pub(super) fn events_wait(&self) -> EventsWait<'_> {
        self.state().events += 1;
        EventsWait(self)
    }
}

impl Drop for EventsWait<'_> {
    fn drop(&mut self) {
        self.0.state().events -= 1;
    }
}

/// Slots that a script may fill. What it leaves waits on.
pub(super) struct Reservation {
    shared: Arc<Shared>,
    pub(super) slots: usize,
    /// How many of them for destinations on trial.
    pub(super) trials: usize,
    /// Others have reserved what would have been asked for.
    pub(super) is_short: bool,
}

impl Reservation {
    /// For a script that leases nothing.
    pub(super) fn none(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), slots: 0, trials: 0, is_short: false }
    }

    /// Gives up all but so many.
    fn shrink(&mut self, slots: usize, trials: usize) {
        if slots >= self.slots && trials >= self.trials {
            return;
        }
        let (slots, trials) = (self.slots.min(slots), self.trials.min(trials));
        let mut state = self.shared.vacancies.state();
        state.reserved -= self.slots - slots;
        state.on_trial -= self.trials - trials;
        drop(state);
        (self.slots, self.trials) = (slots, trials);
    }

    /// Gives up what the script has not filled.
    pub(super) fn keep_filled(&mut self, claims: &[(Claim, bool)]) {
        self.shrink(claims.len(), claims.iter().filter(|(_, on_trial)| *on_trial).count());
    }

    /// Hands over what an event came back with.
    pub(super) fn fill(mut self, shard: &Shard, claims: Vec<(Claim, bool)>) {
        if !claims.is_empty() {
            self.shared.vacancies.state().filled_at = Some(Instant::now());
        }
        for (claim, on_trial) in claims {
            let held = Held { token: claim.lease.token, on_trial, since: Instant::now() };
            self.shared.held().insert(claim.lease.delivery, held);
            self.shrink(self.slots.saturating_sub(1), self.trials.saturating_sub(on_trial.into()));
            // There is room for as many as there are slots; whoever waited may be gone.
            if let Err(error) = self.shared.vacancies.filled.try_send(claim) {
                shard.give_back(error.into_inner().lease);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(0, 0);
    }
}

/// What is leased with its event: its place among the event's deliveries, the token, whether on trial.
pub(super) type Leased = (usize, u64, bool);

impl Shared {
    /// Whether something more may be leased, now or when a script leaves what it has reserved.
    pub(super) fn has_room(&self) -> bool {
        self.held().len() < self.options.max_in_flight.max(1)
    }

    /// How many may be leased now, and how many of them by destinations on trial: half of all slots, as in
    /// scheduler/mod.rs.
    pub(super) fn capacity(&self) -> (usize, usize) {
        self.capacity_beside(&self.vacancies.state())
    }

    fn capacity_beside(&self, state: &State) -> (usize, usize) {
        let most = self.options.max_in_flight.max(1);
        let held = self.held();
        let on_trial = state.on_trial + held.values().filter(|one| one.on_trial).count();
        (most.saturating_sub(state.reserved + held.len()), (most / 2).max(1).saturating_sub(on_trial))
    }

    /// Of the slots that wait for work at most so many, for a script that may fill them.
    pub(super) fn reserve(self: &Arc<Self>, most: usize) -> Reservation {
        let mut state = self.vacancies.state();
        let (free, trials) = self.capacity_beside(&state);
        let is_expected = || state.expected_until.is_some_and(|until| Instant::now() < until);
        let slots = if state.is_awaited || is_expected() { most.min(free) } else { 0 };
        let trials = trials.min(slots);
        let is_short = state.reserved > 0 && slots < most || state.on_trial > 0 && trials < slots;
        state.reserved += slots;
        state.on_trial += trials;
        drop(state);
        Reservation { shared: Arc::clone(self), slots, trials, is_short }
    }

    /// How many slots events of a shard may fill, of which so many come: none that would be leased for nobody.
    pub(super) fn share_of_events(&self, shard: &Shard, deliveries: usize) -> usize {
        // The wait for a replica would take of the leases' time, and of the slots of everybody else.
        if self.options.durability == Durability::Replica || self.is_left_alone(shard) {
            return 0;
        }
        // A shard that does not answer must not keep all of them from the others.
        if self.shards.len() > 1 { deliveries.min(self.capacity().0 / 2) } else { deliveries }
    }
}

/// What an event came back with, as the claims that they are, and whether each is on trial.
pub(super) fn claims_of(shard: &Shard, event: &Cmd, leased: &[Leased]) -> Vec<(Claim, bool)> {
    let arguments: Vec<&[u8]> = together::arguments(event).collect();
    let claim = |&(place, token, on_trial): &Leased| {
        let (delivery, callback, record) = writing::delivery_of(&arguments, place)?;
        let lease = Lease { delivery, token: shard.token(token) };
        match form::read_rendition(record.to_vec()) {
            Ok((account, request)) => {
                Some((Claim { lease, account, callback, attempt: 1, request }, on_trial))
            }
            Err(error) => {
                tracing::error!(%delivery, %error, "a delivery cannot be read");
                shard.give_back(lease);
                None
            }
        }
    };
    leased.iter().filter_map(claim).collect()
}
