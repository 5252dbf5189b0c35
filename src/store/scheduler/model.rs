//! The rules once more, the plain way: every claim looks at everything. What the scheduler answers
//! is held against it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::destination::UNCONFIGURED;
use super::{CLOCK_STEP, CircuitChange, CircuitRules, Scheduler, Verdict};
use crate::event::DeliveryId;
use crate::store::{DestinationId, DestinationLimits, Lease, OrderKey, Rate};

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

#[derive(Clone, Debug)]
enum Step {
    Configure { destination: u8, max_in_flight: u32, rate: Option<(u32, u64)>, paused: bool },
    Enqueue { destination: u8, delay: i64, order: Option<u8> },
    Reschedule { destination: u8, which: usize, delay: i64 },
    Withdraw { destination: u8, which: usize },
    Cancel { destination: u8 },
    TakeCancelled { limit: usize },
    Claim { later: i64, slots: usize },
    SetClockBack { by: i64 },
    Settle { which: usize, verdict: Verdict, next: Option<i64> },
    Release { which: usize },
    Expire { which: usize, waits: bool },
    SettleStale { which: usize },
    Commit,
    Rollback,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let destination = 0..5_u8;
    let which = 0..100_usize;
    let rate = proptest::option::of((1..4_u32, 1..3_000_000_u64));
    let verdict = prop_oneof![
        5 => Just(Verdict::Failed),
        4 => Just(Verdict::Delivered),
        1 => Just(Verdict::Unknown),
    ];
    let step = prop_oneof![
        2 => (destination.clone(), 0..5_u32, rate, proptest::bool::weighted(0.2)).prop_map(
            |(destination, max_in_flight, rate, paused)| Step::Configure {
                destination, max_in_flight, rate, paused
            }
        ),
        8 => (destination.clone(), -1_000_000..3_000_000_i64, proptest::option::of(0..2_u8))
            .prop_map(|(destination, delay, order)| Step::Enqueue { destination, delay, order }),
        1 => (destination.clone(), which.clone(), -1_000_000..3_000_000_i64).prop_map(
            |(destination, which, delay)| Step::Reschedule { destination, which, delay }
        ),
        1 => (destination.clone(), which.clone())
            .prop_map(|(destination, which)| Step::Withdraw { destination, which }),
        1 => destination.prop_map(|destination| Step::Cancel { destination }),
        1 => (1..4_usize).prop_map(|limit| Step::TakeCancelled { limit }),
        8 => (0..1_500_000_i64, 1..5_usize).prop_map(|(later, slots)| Step::Claim { later, slots }),
        1 => (CLOCK_STEP + 1..20_000_000_i64).prop_map(|by| Step::SetClockBack { by }),
        10 => (which.clone(), verdict, proptest::option::of(0..2_000_000_i64))
            .prop_map(|(which, verdict, next)| Step::Settle { which, verdict, next }),
        2 => which.clone().prop_map(|which| Step::Release { which }),
        1 => (which.clone(), any::<bool>()).prop_map(|(which, waits)| Step::Expire { which, waits }),
        1 => which.prop_map(|which| Step::SettleStale { which }),
        6 => Just(Step::Commit),
        2 => Just(Step::Rollback),
    ];
    proptest::collection::vec(step, 1..150)
}

fn destination(number: u8) -> DestinationId {
    DestinationId([number; 16])
}

/// Both, and the checks that hold after every step.
struct Pair {
    real: Scheduler,
    model: Model,
    made: u128,
}

impl Pair {
    fn held(&self, which: usize) -> Option<Lease> {
        let count = self.model.state.held.len();
        (count > 0).then(|| self.model.state.held[which % count].lease)
    }

    fn end(&mut self, lease: Lease, next: Option<i64>, change: impl FnOnce(&mut Place)) {
        let held = self.model.state.end(lease).expect("it was picked among the held");
        let place = self.model.state.place(held.destination);
        change(place);
        place.queue.extend(next.map(|due| (due, lease.delivery, held.order)));
    }

    fn claim(&mut self, now: i64, slots: usize) {
        let expected = self.model.claim(now, slots);
        let granted = self.real.claim(now, slots);
        let granted: Vec<_> =
            granted.into_iter().map(|grant| (grant.lease, grant.destination, grant.due)).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|held| (held.lease, held.destination, held.due)).collect();
        assert_eq!(granted, expected);
        assert_eq!(self.real.next_wakeup(now), self.model.next_wakeup(now));
    }

    #[allow(clippy::too_many_lines, reason = "each kind of step is a few lines, and all are in one place")]
    fn step(&mut self, step: &Step) {
        let now = self.model.now;
        match *step {
            Step::Configure { destination: id, max_in_flight, rate, paused } => {
                let rate = rate.map(|(count, period)| Rate { count, period: Duration::from_micros(period) });
                let limits = DestinationLimits { max_in_flight, rate, paused };
                let place = self.model.state.place(destination(id));
                if place.limits.rate != rate {
                    place.even = None;
                }
                if place.configured && place.limits.paused && !paused {
                    place.close();
                }
                (place.limits, place.configured) = (limits, true);
                self.real.configure(destination(id), limits);
            }
            Step::Enqueue { destination: id, delay, order } => {
                self.made += 1;
                let delivery = DeliveryId::from_bytes(self.made.to_be_bytes());
                let queued = (now + delay, delivery, order.map(|key| (key, self.made)));
                self.model.state.place(destination(id)).queue.push(queued);
                match order {
                    Some(key) => {
                        let key = OrderKey([key; 16]);
                        self.real.enqueue_in_order(destination(id), delivery, now + delay, key);
                    }
                    None => self.real.enqueue(destination(id), delivery, now + delay),
                }
            }
            Step::Reschedule { destination: id, which, delay } => {
                let queue = &mut self.model.state.place(destination(id)).queue;
                let count = queue.len().max(1);
                if let Some((due, delivery, _)) = queue.get_mut(which % count) {
                    assert!(!self.real.reschedule(destination(id), *delivery, *due + 1, now));
                    assert!(self.real.reschedule(destination(id), *delivery, *due, now + delay));
                    *due = now + delay;
                }
            }
            Step::Withdraw { destination: id, which } => {
                let queue = &mut self.model.state.place(destination(id)).queue;
                if queue.is_empty() {
                    let unknown = DeliveryId::from_bytes([0xff; 16]);
                    assert!(!self.real.withdraw(destination(id), unknown, now));
                } else {
                    let (due, delivery, _) = queue.remove(which % queue.len());
                    assert!(!self.real.withdraw(destination(id), delivery, due + 1));
                    assert!(self.real.withdraw(destination(id), delivery, due));
                }
            }
            Step::Cancel { destination: id } => {
                let place = self.model.state.place(destination(id));
                (place.configured, place.limits, place.even) = (false, UNCONFIGURED, None);
                place.close();
                let queue = std::mem::take(&mut place.queue);
                self.model.state.cancelled_now.extend(queue.into_iter().map(|queued| queued.1));
                for held in
                    self.model.state.held.iter_mut().filter(|held| held.destination == destination(id))
                {
                    held.order = None;
                }
                self.real.cancel(destination(id));
            }
            Step::TakeCancelled { limit } => {
                let taken = self.real.take_cancelled(limit);
                assert_eq!(taken.len(), limit.min(self.model.state.cancelled.len()));
                for delivery in taken {
                    let cancelled = &mut self.model.state.cancelled;
                    let at = cancelled.iter().position(|other| *other == delivery).unwrap();
                    cancelled.remove(at);
                }
                assert_eq!(self.real.has_cancelled(), !self.model.state.cancelled.is_empty());
            }
            Step::Claim { later, slots } => self.claim(now + later, slots),
            Step::SetClockBack { by } => {
                // In the midst of a transaction it would only shift what a rollback restores.
                self.step(&Step::Commit);
                self.claim(now - by, 1);
            }
            Step::Settle { which, verdict, next } => {
                if let Some(lease) = self.held(which) {
                    let next = next.map(|delay| now + delay);
                    let next_token = self.model.token;
                    let mut change = None;
                    self.end(lease, next, |place| {
                        place.proven = verdict == Verdict::Delivered;
                        change = Some(place.count(verdict, lease.token, next_token, now));
                    });
                    assert_eq!(self.real.settle(lease, verdict, next, now), change);
                }
            }
            Step::Release { which } => {
                if let Some(lease) = self.held(which) {
                    let due = self.model.state.held.iter().find(|held| held.lease == lease).unwrap().due;
                    self.end(lease, Some(due), |place| {
                        if let (Some(rate), Some(even)) = (place.limits.rate, &mut place.even) {
                            *even -= interval(rate);
                        }
                    });
                    assert!(self.real.release(lease));
                }
            }
            Step::Expire { which, waits } => {
                if let Some(lease) = self.held(which) {
                    let due = self.model.state.held.iter().find(|held| held.lease == lease).unwrap().due;
                    self.end(lease, waits.then_some(due), |place| place.proven = false);
                    assert!(self.real.expire(lease, waits));
                }
            }
            Step::SettleStale { which } => {
                if let Some(lease) = self.held(which) {
                    let stale = Lease { token: lease.token - 1, ..lease };
                    assert_eq!(self.real.settle(stale, Verdict::Delivered, None, now), None);
                    assert!(!self.real.release(stale));
                    assert!(!self.real.expire(stale, true));
                }
            }
            Step::Commit => {
                self.model.commit();
                self.real.commit();
            }
            Step::Rollback => {
                self.model.state = self.model.committed.clone();
                self.real.rollback();
            }
        }
        self.check();
    }

    fn check(&self) {
        let state = &self.model.state;
        let queued: usize = state.places.values().map(|place| place.queue.len()).sum();
        assert_eq!(self.real.queued(), queued);
        assert_eq!(self.real.in_flight(), state.held.len());
        for held in &state.held {
            assert!(self.real.holds(held.lease));
        }
        assert!(state.held.len() <= MAX_IN_FLIGHT);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_scheduler_does_what_the_rules_say(steps in steps()) {
        let model = Model {
            state: State::default(),
            committed: State::default(),
            now: 1_000_000_000,
            grants: 0,
            token: FIRST_TOKEN,
        };
        let mut pair = Pair { real: Scheduler::new(MAX_IN_FLIGHT, FIRST_TOKEN, RULES), model, made: 0 };
        pair.claim(1_000_000_000, 1);
        for step in steps {
            pair.step(&step);
        }
        // Whatever happened, what is left can be worked off.
        pair.step(&Step::Commit);
    }
}
