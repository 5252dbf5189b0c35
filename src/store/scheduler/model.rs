//! The rules once more, the plain way: every claim looks at everything. What the scheduler answers
//! is held against it in [`agreement`].

mod agreement;

use std::collections::BTreeMap;

use super::destination::UNCONFIGURED;
use super::{CLOCK_STEP, CircuitChange, CircuitRules, Verdict};
use crate::event::DeliveryId;
use crate::store::{DestinationId, DestinationLimits, Lease, Rate};

const MAX_IN_FLIGHT: usize = 6;
const FIRST_TOKEN: u64 = 100;

/// So short and so few that a few steps reach all of it.
const RULES: CircuitRules = CircuitRules {
    consecutive: 3,
    share_of: 5,
    slice: 1_000_000,
    first_probe: 400_000,
    longest_probe: 1_500_000,
    give_up: 4_000_000,
};

#[derive(Clone, Debug)]
struct Place {
    limits: DestinationLimits,
    configured: bool,
    queue: Vec<Queued>,
    proven: bool,
    served: u64,
    /// When the next start would come if they came evenly.
    even: Option<i64>,
    /// Attempts: the slice of time that each ended in, and whether it failed.
    history: Vec<(i64, bool)>,
    failures_in_a_row: u32,
    open: Option<Open>,
}

/// When it is due, which it is, and of which order with which place in it.
type Queued = (i64, DeliveryId, Option<(u8, u128)>);

#[derive(Clone, Copy, Debug)]
struct Open {
    since: i64,
    probes: u32,
    probe_at: i64,
    from_token: u64,
}

impl Place {
    fn close(&mut self) {
        (self.failures_in_a_row, self.open) = (0, None);
        self.history.clear();
    }

    fn count(&mut self, verdict: Verdict, token: u64, next_token: u64, now: i64) -> CircuitChange {
        let failed = verdict == Verdict::Failed;
        match &mut self.open {
            _ if verdict == Verdict::Unknown => CircuitChange::Unchanged,
            Some(open) if failed && token < open.from_token => CircuitChange::Unchanged,
            Some(open) if failed => {
                open.probes += 1;
                open.probe_at = now + (400_000 << open.probes.min(2)).min(1_500_000);
                if now - open.since >= 4_000_000 {
                    CircuitChange::GivenUp
                } else {
                    CircuitChange::ProbeFailed
                }
            }
            Some(_) => {
                self.close();
                CircuitChange::Closed
            }
            None => {
                let slice = now.div_euclid(1_000_000);
                if self.history.last().is_some_and(|(last, _)| *last > slice) {
                    self.history.clear();
                }
                self.history.retain(|(other, _)| *other > slice - 5);
                self.history.push((slice, failed));
                self.failures_in_a_row = if failed { self.failures_in_a_row + 1 } else { 0 };
                let failures = self.history.iter().filter(|(_, failed)| *failed).count();
                let is_bad = self.history.len() >= 5 && failures * 2 > self.history.len();
                if failed && (is_bad || self.failures_in_a_row >= 3) {
                    let from_token = next_token;
                    self.open = Some(Open { since: now, probes: 0, probe_at: now + 400_000, from_token });
                    return CircuitChange::Opened;
                }
                CircuitChange::Unchanged
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    lease: Lease,
    destination: DestinationId,
    due: i64,
    on_trial: bool,
    order: Option<(u8, u128)>,
}

#[derive(Clone, Debug, Default)]
struct State {
    places: BTreeMap<DestinationId, Place>,
    held: Vec<Held>,
    cancelled: Vec<DeliveryId>,
    cancelled_now: Vec<DeliveryId>,
}

#[derive(Debug)]
struct Model {
    state: State,
    committed: State,
    now: i64,
    grants: u64,
    token: u64,
}

fn interval(rate: Rate) -> i64 {
    let period = i64::try_from(rate.period.as_micros()).unwrap();
    (period + i64::from(rate.count) - 1) / i64::from(rate.count)
}

impl State {
    fn place(&mut self, id: DestinationId) -> &mut Place {
        self.places.entry(id).or_insert_with(|| Place {
            limits: UNCONFIGURED,
            configured: false,
            queue: Vec::new(),
            proven: false,
            served: 0,
            even: None,
            history: Vec::new(),
            failures_in_a_row: 0,
            open: None,
        })
    }

    /// What of this destination waits for no other.
    fn heads(&self, id: DestinationId) -> Vec<Queued> {
        let queue = &self.places[&id].queue;
        let held = self.held.iter().filter(|held| held.destination == id).map(|held| held.order);
        let open: Vec<_> = queue.iter().map(|queued| queued.2).chain(held).flatten().collect();
        let is_first = |(key, place): (u8, u128)| open.iter().all(|other| other.0 != key || other.1 >= place);
        queue.iter().filter(|queued| queued.2.is_none_or(is_first)).copied().collect()
    }

    fn eligible_at(&self, id: DestinationId) -> Option<i64> {
        let place = &self.places[&id];
        let in_flight = self.held.iter().filter(|held| held.destination == id).count();
        let cap = if place.proven { place.limits.max_in_flight } else { place.limits.max_in_flight.min(1) };
        if place.limits.paused || in_flight >= cap as usize {
            return None;
        }
        let due = self.heads(id).iter().map(|queued| queued.0).min()?;
        let free_at = match (place.limits.rate, place.even) {
            (Some(rate), Some(even)) => even - interval(rate) * i64::from(rate.count - 1),
            _ => i64::MIN,
        };
        let probe_at = place.open.map_or(i64::MIN, |open| open.probe_at);
        Some(due.max(free_at).max(probe_at))
    }

    fn clamp(&mut self, now: i64) {
        for place in self.places.values_mut() {
            if let (Some(rate), Some(even)) = (place.limits.rate, &mut place.even) {
                *even = (*even).min(now + interval(rate) * i64::from(rate.count));
            }
            if let Some(open) = &mut place.open {
                open.probe_at = open.probe_at.min(now + RULES.longest_probe);
            }
        }
    }

    fn may_try(&self) -> bool {
        self.held.iter().filter(|held| held.on_trial).count() < MAX_IN_FLIGHT / 2
    }

    fn end(&mut self, lease: Lease) -> Option<Held> {
        let at = self.held.iter().position(|held| held.lease == lease)?;
        Some(self.held.remove(at))
    }
}

impl Model {
    fn claim(&mut self, now: i64, slots: usize) -> Vec<Held> {
        if self.now.saturating_sub(now) > CLOCK_STEP {
            self.state.clamp(now);
            self.committed.clamp(now);
        }
        self.now = now;
        let mut granted = Vec::new();
        while granted.len() < slots && self.state.held.len() < MAX_IN_FLIGHT {
            let next = self
                .state
                .places
                .iter()
                .filter(|(id, place)| {
                    self.state.eligible_at(**id).is_some_and(|at| at <= now)
                        && (place.proven || self.state.may_try())
                })
                .min_by_key(|(id, place)| (place.served, **id))
                .map(|(id, _)| *id);
            let Some(destination) = next else { break };
            self.grants += 1;
            let grants = self.grants;
            let first = self.state.heads(destination).into_iter().min().expect("it is eligible");
            let (due, delivery, order) = first;
            let place = self.state.place(destination);
            place.queue.retain(|queued| *queued != first);
            place.served = grants;
            if let Some(rate) = place.limits.rate {
                place.even = Some(place.even.unwrap_or(now).max(now) + interval(rate));
            }
            let on_trial = !place.proven;
            let lease = Lease { delivery, token: self.token };
            self.token += 1;
            let held = Held { lease, destination, due, on_trial, order };
            self.state.held.push(held.clone());
            granted.push(held);
        }
        granted
    }

    fn next_wakeup(&self, now: i64) -> Option<i64> {
        if self.state.held.len() >= MAX_IN_FLIGHT {
            return None;
        }
        self.state
            .places
            .iter()
            .filter_map(|(id, place)| {
                let at = self.state.eligible_at(*id)?;
                let in_line = at <= self.now;
                (!in_line || place.proven || self.state.may_try()).then_some(at.max(now))
            })
            .min()
    }

    fn forget_idle(&mut self) {
        let held = self.state.held.clone();
        self.state.places.retain(|id, place| {
            place.configured || !place.queue.is_empty() || held.iter().any(|held| held.destination == *id)
        });
    }

    fn commit(&mut self) {
        self.forget_idle();
        let cancelled = std::mem::take(&mut self.state.cancelled_now);
        self.state.cancelled.extend(cancelled);
        self.committed = self.state.clone();
    }
}
