//! Any steps, taken by the scheduler and by the model: both answer the same.

use std::time::Duration;

use proptest::prelude::*;

use super::{FIRST_TOKEN, MAX_IN_FLIGHT, Model, Place, RULES, State, UNCONFIGURED, interval};
use crate::event::DeliveryId;
use crate::store::scheduler::{CLOCK_STEP, Scheduler, Verdict};
use crate::store::{DestinationId, DestinationLimits, Lease, OrderKey, Rate};

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
