//! What cannot be seen from outside: the scripts against the scheduler, and time that passes.

mod arriving;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::redis_server::RedisServer;
use super::{Options, Shared, together, upkeep};
use crate::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
use crate::store::scheduler::{CircuitChange, CircuitRules, Scheduler};
use crate::store::{
    Acceptance, Accepted, Attempt, CallbackRow, CallbackState, Claim, DedupeKey, DefinitionVersion,
    DeliveryRequest, DestinationLimits, EventRow, EventState, Lease, NewDelivery, Next, OrderKey,
    OutcomeKind, Rate, Rendition, Settlement,
};

const MAX_IN_FLIGHT: usize = 6;
const START: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;

/// So short and so few that a few steps reach all of it.
const RULES: CircuitRules = CircuitRules {
    consecutive: 3,
    share_of: 5,
    slice: SECOND,
    first_probe: SECOND * 2 / 5,
    longest_probe: SECOND * 3 / 2,
    give_up: 4 * SECOND,
};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

/// A store whose time stands still unless it is told.
struct Bench {
    shared: Arc<Shared>,
    /// What was leased with its event.
    arrivals: mpsc::Receiver<Claim>,
    time: Arc<AtomicI64>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(server: &RedisServer) -> Self {
        server.ask(&[b"FLUSHALL"]);
        let time = Arc::new(AtomicI64::new(START));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = Options { max_in_flight: MAX_IN_FLIGHT, circuit: RULES, ..Options::default() };
        let shared =
            runtime.block_on(Shared::connect(&server.url(), options, Some(Arc::clone(&time)))).unwrap();
        let shared = Arc::new(shared);
        let arrivals = shared.arrivals.lock().unwrap().take().unwrap();
        let _context = runtime.enter();
        together::start(&shared);
        Self { shared, arrivals, time, runtime }
    }

    fn now(&self) -> i64 {
        self.time.load(Ordering::Relaxed)
    }

    fn configure(&self, id: CallbackId, limits: DestinationLimits) {
        let row = CallbackRow {
            id,
            account: "acme".into(),
            state: CallbackState::Active,
            limits,
            definition: b"{}".to_vec(),
            deadline: Duration::from_secs(15),
            version: DefinitionVersion::default(),
        };
        self.runtime.block_on(self.shared.put_callback(&row)).unwrap();
    }

    fn enqueue(&self, callback: CallbackId, delivery: DeliveryId, due: i64, order: Option<OrderKey>) {
        let mut acceptance = acceptance(callback, delivery, self.now(), due);
        acceptance.deliveries[0].order = order;
        assert_eq!(self.runtime.block_on(self.shared.accept(&acceptance)).unwrap(), Accepted::Stored);
    }

    /// The same while somebody waits for work; whether it came back leased.
    fn arrive(
        &mut self,
        callback: CallbackId,
        delivery: DeliveryId,
        due: i64,
        order: Option<OrderKey>,
    ) -> Option<Lease> {
        self.shared.vacancies.await_work();
        self.enqueue(callback, delivery, due, order);
        self.shared.vacancies.note_answer(true);
        let claim = self.arrivals.try_recv().ok()?;
        assert_eq!((claim.lease.delivery, claim.callback, claim.attempt), (delivery, callback, 1));
        Some(claim.lease)
    }

    /// What is granted, and when to come again.
    fn claim(&self, slots: usize) -> (Vec<Lease>, Option<i64>) {
        let (free, trials) = self.shared.capacity();
        let claim = self.shared.claim_some(&self.shared.shards[0], slots.min(free), trials);
        let found = self.runtime.block_on(claim).unwrap();
        let next = found.next.map(|wait| self.now() + i64::try_from(wait.as_micros()).unwrap());
        (found.claims.iter().map(|claim| claim.lease).collect(), next)
    }

    fn settle(&self, lease: Lease, next: Next) -> bool {
        let outcome = if next == Next::Delivered { OutcomeKind::Delivered } else { OutcomeKind::Connection };
        self.settle_with(lease, outcome, next).is_some()
    }

    fn settle_with(&self, lease: Lease, outcome: OutcomeKind, next: Next) -> Option<CircuitChange> {
        let settlement = Settlement {
            lease,
            attempt: Attempt {
                number: 1,
                started_at: at(self.now()),
                latency: Duration::ZERO,
                outcome,
                status: None,
                error: None,
                response: Bytes::new(),
            },
            next,
            pause_callback: None,
        };
        self.runtime.block_on(self.shared.settle(&settlement)).unwrap()
    }

    fn release(&self, lease: Lease) {
        self.runtime.block_on(self.shared.release(&[lease])).unwrap();
    }
}

fn acceptance(callback: CallbackId, delivery: DeliveryId, now: i64, due: i64) -> Acceptance {
    let account = AccountName::from("acme");
    let event = EventRow {
        id: EventId::new(),
        account: AccountName::clone(&account),
        source: "pbx".to_owned(),
        provider: "commpeak".to_owned(),
        state: EventState::Accepted,
        types: vec![EventType::CallEnded],
        call: None,
        received_at: at(now),
        method: "POST".to_owned(),
        path: String::new(),
        content_type: String::new(),
        body: Bytes::new(),
    };
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&event.id.to_bytes());
    Acceptance {
        dedupe: DedupeKey {
            account: AccountName::clone(&account),
            source: "pbx".to_owned(),
            digest,
            expires_at: at(now + 3_600 * SECOND),
        },
        call: None,
        deliveries: vec![NewDelivery {
            id: delivery,
            account,
            callback,
            destination: callback.into(),
            event: event.id,
            event_type: EventType::CallEnded,
            call: None,
            created_at: at(now),
            due: at(due),
            order: None,
            request: Rendition::Done(DeliveryRequest {
                method: "POST".to_owned(),
                url: "https://receiver.example".to_owned(),
                content_type: String::new(),
                headers: Vec::new(),
                body: Bytes::from_static(b"{}"),
            }),
        }],
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
        event,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Configure { destination: usize, max_in_flight: u32, rate: Option<(u32, u64)>, paused: bool },
    Enqueue { destination: usize, delay: i64, order: Option<u8>, is_awaited: bool },
    Retry { which: usize },
    Remove { destination: usize },
    Claim { later: i64, slots: usize },
    Settle { which: usize, outcome: OutcomeKind, next: Option<i64> },
    Release { which: usize },
    Expire { which: usize },
    SettleStale { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let destination = 0..5_usize;
    let which = 0..100_usize;
    let rate = proptest::option::of((1..4_u32, 1..3_000_000_u64));
    let outcome = prop_oneof![
        5 => Just(OutcomeKind::Timeout),
        4 => Just(OutcomeKind::Delivered),
        1 => Just(OutcomeKind::Crashed),
    ];
    let step = prop_oneof![
        2 => (destination.clone(), 0..5_u32, rate, proptest::bool::weighted(0.2)).prop_map(
            |(destination, max_in_flight, rate, paused)| Step::Configure {
                destination, max_in_flight, rate, paused
            }
        ),
        8 => (destination.clone(), -1_000_000..3_000_000_i64, proptest::option::of(0..2_u8), any::<bool>())
            .prop_map(|(destination, delay, order, is_awaited)| Step::Enqueue {
                destination, delay, order, is_awaited
            }),
        1 => which.clone().prop_map(|which| Step::Retry { which }),
        1 => destination.prop_map(|destination| Step::Remove { destination }),
        8 => (0..1_500_000_i64, 1..5_usize).prop_map(|(later, slots)| Step::Claim { later, slots }),
        10 => (which.clone(), outcome, proptest::option::of(0..2_000_000_i64))
            .prop_map(|(which, outcome, next)| Step::Settle { which, outcome, next }),
        2 => which.clone().prop_map(|which| Step::Release { which }),
        1 => which.clone().prop_map(|which| Step::Expire { which }),
        1 => which.prop_map(|which| Step::SettleStale { which }),
    ];
    proptest::collection::vec(step, 1..100)
}

/// A delivery as both know it.
#[derive(Clone, Debug)]
struct Known {
    id: DeliveryId,
    callback: CallbackId,
    /// While it waits.
    due: i64,
    crashes: u32,
    /// While it is leased: Redis' lease and the scheduler's.
    leases: Option<(Lease, Lease)>,
}

/// The scripts and the scheduler, side by side.
struct Pair<'a> {
    bench: Bench,
    server: &'a RedisServer,
    scheduler: Scheduler,
    callbacks: Vec<CallbackId>,
    limits: HashMap<CallbackId, DestinationLimits>,
    open: Vec<Known>,
    made: u128,
}

impl Pair<'_> {
    fn leased(&self, which: usize) -> Option<usize> {
        let leased: Vec<usize> =
            (0..self.open.len()).filter(|index| self.open[*index].leases.is_some()).collect();
        (!leased.is_empty()).then(|| leased[which % leased.len()])
    }

    fn claim(&mut self, slots: usize) -> usize {
        let now = self.bench.now();
        let (leases, next) = self.bench.claim(slots);
        let grants = self.scheduler.claim(now, slots);
        let ours: Vec<DeliveryId> = leases.iter().map(|lease| lease.delivery).collect();
        let expected: Vec<DeliveryId> = grants.iter().map(|grant| grant.lease.delivery).collect();
        assert_eq!(ours, expected);
        if self.scheduler.in_flight() < MAX_IN_FLIGHT {
            assert_eq!(next, self.scheduler.next_wakeup(now));
        }
        for (lease, grant) in leases.iter().zip(&grants) {
            let known = self.open.iter_mut().find(|known| known.id == lease.delivery).unwrap();
            assert_eq!(known.due, grant.due);
            known.leases = Some((*lease, grant.lease));
        }
        leases.len()
    }

    #[allow(clippy::too_many_lines, reason = "each kind of step is a few lines, and all are in one place")]
    fn step(&mut self, step: &Step) {
        let now = self.bench.now();
        match *step {
            Step::Configure { destination, max_in_flight, rate, paused } => {
                let rate = rate.map(|(count, period)| Rate { count, period: Duration::from_micros(period) });
                let limits = DestinationLimits { max_in_flight, rate, paused };
                let callback = self.callbacks[destination];
                self.bench.configure(callback, limits);
                self.scheduler.configure(callback.into(), limits);
                self.limits.insert(callback, limits);
            }
            Step::Enqueue { destination, delay, order, is_awaited } => {
                self.made += 1;
                let id = DeliveryId::from_bytes(self.made.to_be_bytes());
                let callback = self.callbacks[destination];
                let order = order.map(|key| OrderKey([key; 16]));
                let lease = if is_awaited {
                    self.bench.arrive(callback, id, now + delay, order)
                } else {
                    self.bench.enqueue(callback, id, now + delay, order);
                    None
                };
                match order {
                    Some(key) => self.scheduler.enqueue_in_order(callback.into(), id, now + delay, key),
                    None => self.scheduler.enqueue(callback.into(), id, now + delay),
                }
                // What is leased with its event is what a claim would have found next.
                let leases = lease.map(|ours| {
                    let granted = self.scheduler.claim(now, 1);
                    assert_eq!(granted.len(), 1);
                    assert_eq!(granted[0].lease.delivery, id);
                    (ours, granted[0].lease)
                });
                self.open.push(Known { id, callback, due: now + delay, crashes: 0, leases });
            }
            Step::Retry { which } => {
                let waiting: Vec<&mut Known> =
                    self.open.iter_mut().filter(|known| known.leases.is_none()).collect();
                let count = waiting.len().max(1);
                if let Some(known) = waiting.into_iter().nth(which % count) {
                    let account = AccountName::from("acme");
                    let ids = [known.id];
                    let retried = self.bench.shared.retry_all(&account, &ids);
                    assert_eq!(self.bench.runtime.block_on(retried).unwrap(), 1);
                    assert!(self.scheduler.reschedule(known.callback.into(), known.id, known.due, now));
                    known.due = now;
                }
            }
            Step::Remove { destination } => {
                let callback = self.callbacks[destination];
                let account = AccountName::from("acme");
                let removed = self.bench.shared.remove_callback(&account, callback);
                if self.bench.runtime.block_on(removed).unwrap() {
                    self.scheduler.cancel(callback.into());
                    self.open.retain(|known| known.callback != callback || known.leases.is_some());
                    self.callbacks[destination] = CallbackId::new();
                }
            }
            Step::Claim { later, slots } => {
                self.bench.time.fetch_add(later, Ordering::Relaxed);
                self.claim(slots);
            }
            Step::Settle { which, outcome, next } => {
                let delivered = outcome == OutcomeKind::Delivered;
                let Some(index) = self.leased(which) else { return };
                let known = &mut self.open[index];
                let (ours, theirs) = known.leases.unwrap();
                let is_removed = !self.callbacks.contains(&known.callback);
                let due = next.filter(|_| !delivered).map(|delay| now + delay);
                let next = match due {
                    Some(due) => Next::RetryAt(at(due)),
                    None if delivered => Next::Delivered,
                    None => Next::Dead("no".to_owned()),
                };
                let change = self.bench.settle_with(ours, outcome, next);
                let due = due.filter(|_| !is_removed);
                assert!(change.is_some());
                assert_eq!(change, self.scheduler.settle(theirs, outcome.into(), due, now));
                let limits = self.limits.get_mut(&known.callback).filter(|_| !is_removed);
                if let (Some(CircuitChange::GivenUp), Some(limits)) = (change, limits) {
                    limits.paused = true;
                    self.scheduler.configure(known.callback.into(), *limits);
                }
                match due {
                    Some(due) => (known.due, known.leases, known.crashes) = (due, None, 0),
                    None => drop(self.open.remove(index)),
                }
            }
            Step::Release { which } => {
                let Some(index) = self.leased(which) else { return };
                let known = &mut self.open[index];
                // What is released for a removed registration is found out by a claim.
                if self.callbacks.contains(&known.callback) {
                    let (ours, theirs) = known.leases.take().unwrap();
                    self.bench.release(ours);
                    assert!(self.scheduler.release(theirs));
                }
            }
            Step::Expire { which } => {
                let Some(index) = self.leased(which) else { return };
                let known = &mut self.open[index];
                // Suspects are moved, and the poisoned end.
                if known.crashes < 4 && self.callbacks.contains(&known.callback) {
                    known.crashes += 1;
                    let (ours, theirs) = known.leases.take().unwrap();
                    self.server.ask(&[b"ZADD", b"{rb0}:l", b"1", &known.id.to_bytes()]);
                    self.bench
                        .runtime
                        .block_on(upkeep::tick(&self.bench.shared, &self.bench.shared.shards[0], 2))
                        .unwrap();
                    self.bench.shared.forget(ours);
                    assert!(self.scheduler.expire(theirs, true));
                }
            }
            Step::SettleStale { which } => {
                let Some(index) = self.leased(which) else { return };
                let (ours, _) = self.open[index].leases.unwrap();
                let held = self.bench.shared.held().clone();
                assert!(!self.bench.settle(Lease { token: ours.token - 1, ..ours }, Next::Delivered));
                assert_eq!(self.bench.shared.held().len(), held.len());
            }
        }
        self.scheduler.commit();
        let expected = self.open.iter().filter(|known| known.leases.is_some()).count();
        assert_eq!((self.scheduler.in_flight(), self.bench.shared.held().len()), (expected, expected));
        assert_eq!(self.scheduler.queued() + expected, self.open.len());
    }
}

#[test]
fn the_scripts_do_what_the_scheduler_does() {
    let server = RedisServer::start(&[]);
    let config = ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps())| {
        let mut pair = Pair {
            bench: Bench::new(&server),
            server: &server,
            scheduler: Scheduler::new(MAX_IN_FLIGHT, 1, RULES),
            callbacks: (0..5).map(|_| CallbackId::new()).collect(),
            limits: HashMap::new(),
            open: Vec::new(),
            made: 0,
        };
        pair.claim(1);
        for step in &steps {
            pair.step(step);
        }
    });
}

#[test]
fn a_clock_that_is_set_back_blocks_nobody() {
    let server = RedisServer::start(&[]);
    let bench = Bench::new(&server);
    let callback = CallbackId::new();
    let rate = Some(Rate { count: 1, period: Duration::from_secs(2) });
    bench.configure(callback, DestinationLimits { max_in_flight: 10, rate, paused: false });
    bench.enqueue(callback, DeliveryId::new(), START, None);
    let (leases, _) = bench.claim(1);
    assert!(bench.settle(leases[0], Next::Delivered));
    bench.enqueue(callback, DeliveryId::new(), START, None);
    assert!(bench.claim(1).0.is_empty(), "the rate allows one in 2 s");

    // Its next start is an hour and 2 s away now, as the clock has it.
    bench.time.store(START - 3_600 * SECOND, Ordering::Relaxed);
    bench.enqueue(callback, DeliveryId::new(), START - 3_600 * SECOND, None);
    assert!(bench.claim(1).0.is_empty());
    bench.time.fetch_add(2 * SECOND, Ordering::Relaxed);
    assert_eq!(bench.claim(1).0.len(), 1);
}

#[test]
fn tokens_grow_even_if_redis_forgets_the_last_one() {
    let server = RedisServer::start(&[]);
    let bench = Bench::new(&server);
    let callback = CallbackId::new();
    bench.enqueue(callback, DeliveryId::new(), START, None);
    let (first, _) = bench.claim(1);
    bench.release(first[0]);
    server.ask(&[b"HDEL", b"{rb0}:n", b"k"]);
    bench.time.fetch_add(1, Ordering::Relaxed);
    let (second, _) = bench.claim(1);
    assert!(second[0].token > first[0].token);
    assert!(!bench.settle(first[0], Next::Delivered));
}
