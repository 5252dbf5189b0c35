//! Who is served next: the scheduling rules, as a state machine without I/O and without a clock.
//!
//! Every delivery waits in the queue of its destination, ordered by its due time. A destination is
//! in one of three places: *aside* (empty, paused or full), *waiting* for a time (its first
//! delivery's, or its rate limit's), or *in line* (may be served now), least recently served
//! first. Serving takes one delivery and puts the destination behind all others, so nobody's
//! backlog delays anybody, and a claim costs `O(log destinations + log queue)`, whatever waits.
//!
//! A destination on *trial* – its last attempt failed, or it has had none yet – gets one slot; all
//! grants to such destinations together take at most half of all slots, so that the dead ones
//! never crowd out the living.
//!
//! Of the deliveries that go out in an order only the first is in the queue (`order`).
//! A destination whose circuit is open takes nothing but a probe now and then ([`CircuitRules`]).
//!
//! Changes are kept in a journal until [`Scheduler::commit`], and [`Scheduler::rollback`] takes
//! them back: the store that drives it writes the same changes to disk, and a write may fail.
//!
//! Times are microseconds since the Unix epoch.

mod circuit;
mod destination;
mod filing;
mod journal;
mod order;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use self::circuit::Circuit;
pub use self::circuit::{CircuitChange, CircuitRules, GIVEN_UP, Open, Verdict};
use self::destination::{Destination, Trial, UNCONFIGURED};
use self::journal::Change;
use super::{DestinationId, DestinationLimits, Lease, OrderKey};
use crate::event::DeliveryId;

/// How far the clock may be set back before the destinations are sorted anew, in µs. Below that
/// the order of serving is at worst this much early.
const CLOCK_STEP: i64 = 1_000_000;

/// A place in the line: the grant that served it last, then its id, so that the order is the same
/// wherever it is worked out.
type InLine = (u64, DestinationId, u32);

/// The scheduling rules and everything that they decide on.
#[derive(Debug)]
pub struct Scheduler {
    /// Destinations by place; a place is used again after its destination was forgotten.
    places: Vec<Option<Destination>>,
    vacant: Vec<u32>,
    index: HashMap<DestinationId, u32>,
    waiting: BTreeSet<(i64, u32)>,
    proven_line: BTreeSet<InLine>,
    trial_line: BTreeSet<InLine>,
    held: HashMap<DeliveryId, Held>,
    /// Deliveries that go out in an order and have not ended, with their place in it.
    ordered: HashMap<DeliveryId, (OrderKey, u64)>,
    next_sequence: u64,
    max_in_flight: usize,
    rules: CircuitRules,
    /// How many of `held` were granted on trial.
    on_trial: usize,
    queued: usize,
    /// Cancelled with their destinations, and not taken yet.
    cancelled: Vec<DeliveryId>,
    grants: u64,
    next_token: u64,
    now: i64,
    journal: Vec<Change>,
}

/// A delivery that is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    token: u64,
    destination: DestinationId,
    due: i64,
    trial: Trial,
}

/// A delivery that was granted to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The right to attempt it.
    pub lease: Lease,
    /// Whose turn it took.
    pub destination: DestinationId,
    /// When it was due.
    pub due: i64,
}

impl Scheduler {
    /// An empty scheduler that grants at most `max_in_flight` (at least 1) leases at a time, the
    /// first with the token `first_token`.
    #[must_use]
    pub fn new(max_in_flight: usize, first_token: u64, rules: CircuitRules) -> Self {
        Self {
            places: Vec::new(),
            vacant: Vec::new(),
            index: HashMap::new(),
            waiting: BTreeSet::new(),
            proven_line: BTreeSet::new(),
            trial_line: BTreeSet::new(),
            held: HashMap::new(),
            ordered: HashMap::new(),
            next_sequence: 0,
            max_in_flight: max_in_flight.max(1),
            rules,
            on_trial: 0,
            queued: 0,
            cancelled: Vec::new(),
            grants: 0,
            next_token: first_token,
            now: i64::MIN,
            journal: Vec::new(),
        }
    }

    /// How many deliveries wait, over all destinations.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// How many deliveries are leased.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.held.len()
    }

    /// Whether this lease is held.
    #[must_use]
    pub fn holds(&self, lease: Lease) -> bool {
        self.held.get(&lease.delivery).is_some_and(|held| held.token == lease.token)
    }

    /// Whose turn this lease took, if it is held.
    #[must_use]
    pub fn destination_of(&self, lease: Lease) -> Option<DestinationId> {
        let held = self.held.get(&lease.delivery)?;
        (held.token == lease.token).then_some(held.destination)
    }

    /// When the oldest delivery was due that waits for nothing but a slot; of each line the first
    /// `most` destinations are looked at, which were served least recently.
    #[must_use]
    pub fn oldest_due(&self, now: i64, most: usize) -> Option<i64> {
        let in_line = [&self.proven_line, &self.trial_line];
        let in_line = in_line.into_iter().flat_map(|line| line.iter().take(most).map(|(_, _, place)| *place));
        let due = self.waiting.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, place)| *place);
        let first = |place: u32| self.places[place as usize].as_ref()?.queue.first().map(|(due, _)| *due);
        in_line.chain(due).filter_map(first).min()
    }

    /// All leases that are held.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.held.iter().map(|(delivery, held)| Lease { delivery: *delivery, token: held.token })
    }

    /// The circuit of this destination, if it is open.
    #[must_use]
    pub fn open_circuit(&self, destination: DestinationId) -> Option<Open> {
        let place = *self.index.get(&destination)?;
        self.places[place as usize].as_ref()?.circuit.open
    }

    /// Puts a circuit back that was open before a restart; `false` if nothing else is known of its
    /// destination. Not taken back by a rollback.
    pub fn restore_circuit(&mut self, destination: DestinationId, open: Open) -> bool {
        let Some(&place) = self.index.get(&destination) else { return false };
        self.entry(place).circuit.open = Some(open);
        self.refile(place);
        true
    }

    /// Sets a destination's limits. One that was paused and is not any more is tried at once: its
    /// circuit is closed.
    pub fn configure(&mut self, destination: DestinationId, limits: DestinationLimits) {
        let place = self.place_of(destination);
        let entry = self.entry(place);
        let before = entry.configured.then_some(entry.limits);
        let (bucket, circuit) = (entry.bucket, entry.circuit);
        entry.configure(limits);
        entry.configured = true;
        if before.is_some_and(|before| before.paused) && !limits.paused {
            entry.circuit = Circuit::default();
        }
        self.refile(place);
        self.journal.push(Change::Configured { destination, before, bucket, circuit });
    }

    /// Puts a delivery into its destination's queue.
    pub fn enqueue(&mut self, destination: DestinationId, delivery: DeliveryId, due: i64) {
        if self.put(destination, (due, delivery.to_bytes())) {
            self.journal.push(Change::Queued { destination, item: (due, delivery.to_bytes()) });
        }
    }

    /// Takes a delivery out of its queue, for good; `false` if it does not wait there for that time.
    pub fn withdraw(&mut self, destination: DestinationId, delivery: DeliveryId, due: i64) -> bool {
        let item = (due, delivery.to_bytes());
        if self.held_back(destination, item).is_some() {
            self.leave(destination, delivery);
            return true;
        }
        let taken = self.take(destination, item);
        if taken {
            self.journal.push(Change::Withdrawn { destination, item });
            self.leave(destination, delivery);
        }
        taken
    }

    /// Empties a destination's queue and forgets its limits. What waited there is handed out by
    /// [`Self::take_cancelled`], bit by bit; what is leased stays so.
    pub fn cancel(&mut self, destination: DestinationId) {
        let Some(&place) = self.index.get(&destination) else { return };
        let entry = self.entry(place);
        let queue = std::mem::take(&mut entry.queue);
        let groups = std::mem::take(&mut entry.groups);
        let limits = entry.configured.then_some(entry.limits);
        let (bucket, circuit) = (entry.bucket, entry.circuit);
        entry.configure(UNCONFIGURED);
        entry.configured = false;
        entry.circuit = Circuit::default();
        self.queued -= queue.len() + order::held_back(&groups).count();
        self.refile(place);
        for (_, delivery) in order::members(&groups) {
            self.ordered.remove(&delivery);
        }
        self.journal.push(Change::Cancelled { destination, queue, groups, limits, bucket, circuit });
    }

    /// Up to `limit` deliveries whose destination was cancelled in an earlier commit.
    pub fn take_cancelled(&mut self, limit: usize) -> Vec<DeliveryId> {
        let from = self.cancelled.len().saturating_sub(limit);
        let taken = self.cancelled.split_off(from);
        if !taken.is_empty() {
            self.journal.push(Change::TookCancelled { taken: taken.clone() });
        }
        taken
    }

    /// Whether [`Self::take_cancelled`] has more.
    #[must_use]
    pub const fn has_cancelled(&self) -> bool {
        !self.cancelled.is_empty()
    }

    /// Leases up to `slots` deliveries that are due: one at a time to the destination that was
    /// served least recently, as far as its limits and the slots allow.
    pub fn claim(&mut self, now: i64, slots: usize) -> Vec<Grant> {
        self.advance(now);
        let mut grants = Vec::new();
        while grants.len() < slots && self.held.len() < self.max_in_flight {
            let Some(place) = self.next_in_line() else { break };
            grants.push(self.grant(place));
        }
        grants
    }

    /// Ends a lease whose attempt ended at `now`, and queues the delivery again for `next`, if there
    /// is a next attempt; what that did to the destination's circuit. Nothing, if the lease is not
    /// held.
    pub fn settle(
        &mut self,
        lease: Lease,
        verdict: Verdict,
        next: Option<i64>,
        now: i64,
    ) -> Option<CircuitChange> {
        let trial = if verdict == Verdict::Delivered { Trial::No } else { Trial::Yes };
        let (rules, next_token) = (self.rules, self.next_token);
        self.end(lease, next, |entry| {
            entry.trial = trial;
            entry.circuit.count(&rules, verdict, lease.token, next_token, now)
        })
    }

    /// Ends a lease unused: the delivery waits again as before, and its start does not count
    /// against the rate. `false`, and nothing, if the lease is not held.
    pub fn release(&mut self, lease: Lease) -> bool {
        let due = self.held.get(&lease.delivery).map(|held| held.due);
        let give_back = |entry: &mut Destination| {
            if let Some(bucket) = &mut entry.bucket {
                bucket.give_back();
            }
        };
        self.end(lease, due, give_back).is_some()
    }

    /// Ends a lease whose holder is lost: the destination is on trial again, and the delivery
    /// waits again as before if it `waits` at all. `false`, and nothing, if the lease is not held.
    pub fn expire(&mut self, lease: Lease, waits: bool) -> bool {
        let due = self.held.get(&lease.delivery).map(|held| held.due);
        self.end(lease, due.filter(|_| waits), |entry| entry.trial = Trial::Yes).is_some()
    }

    fn end<T>(
        &mut self,
        lease: Lease,
        next: Option<i64>,
        change: impl FnOnce(&mut Destination) -> T,
    ) -> Option<T> {
        if !self.holds(lease) {
            return None;
        }
        let held = self.drop_lease(lease.delivery);
        let place = self.place_of(held.destination);
        let entry = self.entry(place);
        let (trial, bucket, circuit) = (entry.trial, entry.bucket, entry.circuit);
        let changed = change(entry);
        self.refile(place);
        let requeued = next.map(|due| (due, lease.delivery.to_bytes()));
        if let Some(item) = requeued {
            self.put(held.destination, item);
        }
        self.journal.push(Change::Ended { delivery: lease.delivery, held, trial, bucket, circuit, requeued });
        if requeued.is_none() {
            self.leave(held.destination, lease.delivery);
        }
        Some(changed)
    }

    /// When a claim could next be granted something that it cannot be granted now, as far as that
    /// depends on time; `None` if only a settlement or new work can change that.
    #[must_use]
    pub fn next_wakeup(&self, now: i64) -> Option<i64> {
        if self.held.len() >= self.max_in_flight {
            return None;
        }
        if !self.proven_line.is_empty() || (!self.trial_line.is_empty() && self.may_try()) {
            return Some(now);
        }
        self.waiting.first().map(|(at, _)| (*at).max(now))
    }

    fn grant(&mut self, place: u32) -> Grant {
        let now = self.now;
        self.grants += 1;
        let grants = self.grants;
        let token = self.next_token;
        self.next_token += 1;
        let entry = self.entry(place);
        let (served, bucket) = (entry.served, entry.bucket);
        let (due, id) = entry.queue.pop_first().expect("a destination in line has something queued");
        entry.in_flight += 1;
        entry.served = grants;
        if let Some(bucket) = &mut entry.bucket {
            bucket.take(now);
        }
        let (destination, trial) = (entry.id, entry.trial);
        let delivery = DeliveryId::from_bytes(id);
        self.queued -= 1;
        self.hold(delivery, Held { token, destination, due, trial });
        self.refile(place);
        self.journal.push(Change::Granted { delivery, served, bucket });
        Grant { lease: Lease { delivery, token }, destination, due }
    }

    fn hold(&mut self, delivery: DeliveryId, held: Held) {
        self.on_trial += usize::from(held.trial == Trial::Yes);
        let before = self.held.insert(delivery, held);
        debug_assert!(before.is_none(), "a delivery is queued or leased, never both");
    }

    /// Removes a lease that is held, without deciding what becomes of its delivery.
    fn drop_lease(&mut self, delivery: DeliveryId) -> Held {
        let held = self.held.remove(&delivery).expect("the caller has checked the lease");
        self.on_trial -= usize::from(held.trial == Trial::Yes);
        let place = self.place_of(held.destination);
        self.entry(place).in_flight -= 1;
        self.refile(place);
        held
    }
}
