//! The rules one by one, on small numbers.

use std::time::Instant;

use super::*;

const SECOND: i64 = 1_000_000;
const NOW: i64 = 1_000 * SECOND;

fn scheduler(max_in_flight: usize) -> Scheduler {
    Scheduler::new(max_in_flight, 1, CircuitRules::default())
}

fn settle(scheduler: &mut Scheduler, lease: Lease, verdict: Verdict, next: Option<i64>) -> bool {
    scheduler.settle(lease, verdict, next, NOW).is_some()
}

fn destination(number: u128) -> DestinationId {
    DestinationId(number.to_be_bytes())
}

fn delivery(number: u128) -> DeliveryId {
    DeliveryId::from_bytes(number.to_be_bytes())
}

const WIDE: DestinationLimits = DestinationLimits { max_in_flight: 100, rate: None, paused: false };

/// A destination that has had a delivery delivered.
fn prove(scheduler: &mut Scheduler, number: u128) {
    scheduler.configure(destination(number), WIDE);
    scheduler.enqueue(destination(number), delivery(u128::MAX - number), NOW);
    let grants = scheduler.claim(NOW, 1);
    assert_eq!(grants[0].destination, destination(number));
    assert!(settle(scheduler, grants[0].lease, Verdict::Delivered, None));
}

fn destinations(grants: &[Grant]) -> Vec<u128> {
    grants.iter().map(|grant| u128::from_be_bytes(grant.destination.0)).collect()
}

#[test]
fn destinations_take_turns_whatever_their_backlog() {
    let mut scheduler = self::scheduler(100);
    for number in 1..=3 {
        prove(&mut scheduler, number);
    }
    for number in 0..1_000 {
        scheduler.enqueue(destination(1), delivery(1_000 + number), NOW);
    }
    scheduler.enqueue(destination(2), delivery(2_000), NOW);
    scheduler.enqueue(destination(3), delivery(3_000), NOW);
    let grants = scheduler.claim(NOW, 6);
    assert_eq!(destinations(&grants), [1, 2, 3, 1, 1, 1]);
}

#[test]
fn one_slot_on_trial_and_half_of_all_for_all_that_are() {
    let mut scheduler = self::scheduler(10);
    for number in 0..20 {
        scheduler.enqueue(destination(number), delivery(2 * number), NOW);
        scheduler.enqueue(destination(number), delivery(2 * number + 1), NOW);
    }
    let grants = scheduler.claim(NOW, 10);
    assert_eq!(destinations(&grants), [0, 1, 2, 3, 4]);
    assert_eq!(scheduler.next_wakeup(NOW), None);

    // One delivers: it has all of the slots that are left, the others still only half of all.
    assert!(settle(&mut scheduler, grants[0].lease, Verdict::Delivered, None));
    for number in 0..20 {
        scheduler.enqueue(destination(0), delivery(100 + number), NOW);
    }
    let more = destinations(&scheduler.claim(NOW, 10));
    assert_eq!(more.iter().filter(|number| **number == 0).count(), 5);
    assert_eq!(more.iter().filter(|number| **number == 5).count(), 1);
    assert_eq!(more.len(), 6);
}

#[test]
fn a_failure_takes_the_slots_away_until_the_next_delivery() {
    let mut scheduler = self::scheduler(100);
    prove(&mut scheduler, 1);
    for number in 0..50 {
        scheduler.enqueue(destination(1), delivery(number), NOW);
    }
    let grants = scheduler.claim(NOW, 2);
    assert!(settle(&mut scheduler, grants[0].lease, Verdict::Failed, Some(NOW + 5 * SECOND)));
    assert!(scheduler.claim(NOW, 10).is_empty(), "one is in flight still");
    assert!(settle(&mut scheduler, grants[1].lease, Verdict::Failed, None));
    let grants = scheduler.claim(NOW, 10);
    assert_eq!(grants.len(), 1);
    assert!(settle(&mut scheduler, grants[0].lease, Verdict::Delivered, None));
    assert_eq!(scheduler.claim(NOW, 10).len(), 10);
}

#[test]
fn paused_and_capped_destinations_wait_without_a_time() {
    let mut scheduler = self::scheduler(100);
    prove(&mut scheduler, 1);
    scheduler.enqueue(destination(1), delivery(1), NOW);
    scheduler.enqueue(destination(1), delivery(2), NOW);
    scheduler.configure(destination(1), DestinationLimits { paused: true, ..WIDE });
    assert!(scheduler.claim(NOW, 10).is_empty());
    assert_eq!(scheduler.next_wakeup(NOW), None);
    scheduler.configure(destination(1), DestinationLimits { max_in_flight: 1, ..WIDE });
    assert_eq!(scheduler.next_wakeup(NOW), Some(NOW));
    let grants = scheduler.claim(NOW, 10);
    assert_eq!(grants.len(), 1);
    assert_eq!(scheduler.next_wakeup(NOW), None);
    assert!(scheduler.release(grants[0].lease));
    assert_eq!(scheduler.claim(NOW, 10)[0].lease.delivery, grants[0].lease.delivery);
}

#[test]
fn the_next_wakeup_is_the_next_due_time() {
    let mut scheduler = self::scheduler(100);
    assert_eq!(scheduler.next_wakeup(NOW), None);
    scheduler.enqueue(destination(1), delivery(1), NOW + 7 * SECOND);
    scheduler.enqueue(destination(2), delivery(2), NOW + 3 * SECOND);
    assert!(scheduler.claim(NOW, 10).is_empty());
    assert_eq!(scheduler.next_wakeup(NOW), Some(NOW + 3 * SECOND));
    assert_eq!(destinations(&scheduler.claim(NOW + 3 * SECOND, 10)), [2]);
    assert_eq!(scheduler.next_wakeup(NOW + 3 * SECOND), Some(NOW + 7 * SECOND));
}

#[test]
fn a_rate_is_kept_over_any_time() {
    let mut scheduler = self::scheduler(1_000);
    prove(&mut scheduler, 1);
    let rate = Some(crate::store::Rate { count: 5, period: std::time::Duration::from_secs(1) });
    scheduler.configure(destination(1), DestinationLimits { rate, max_in_flight: 1_000, paused: false });
    for number in 0..1_000 {
        scheduler.enqueue(destination(1), delivery(number), NOW);
    }
    let mut now = NOW;
    let mut starts = 0;
    while now < NOW + 20 * SECOND {
        starts += scheduler.claim(now, 1_000).len();
        now = scheduler.next_wakeup(now).unwrap();
    }
    assert_eq!(starts, 5 + 20 * 5 - 1);
}

#[test]
fn a_clock_that_is_set_back_blocks_nobody() {
    let mut scheduler = self::scheduler(100);
    prove(&mut scheduler, 1);
    let rate = Some(crate::store::Rate { count: 1, period: std::time::Duration::from_secs(2) });
    scheduler.configure(destination(1), DestinationLimits { rate, ..WIDE });
    scheduler.enqueue(destination(1), delivery(1), NOW);
    scheduler.enqueue(destination(1), delivery(2), NOW - 7_200 * SECOND);
    assert_eq!(scheduler.claim(NOW, 1).len(), 1);
    let earlier = NOW - 3_600 * SECOND;
    assert!(scheduler.claim(earlier, 1).is_empty());
    assert_eq!(scheduler.next_wakeup(earlier), Some(NOW));
    scheduler.enqueue(destination(1), delivery(3), earlier);
    assert!(scheduler.claim(earlier + SECOND, 1).is_empty());
    assert_eq!(scheduler.claim(earlier + 2 * SECOND, 1).len(), 1);
}

#[test]
fn what_is_cancelled_is_handed_out_after_the_commit() {
    let mut scheduler = self::scheduler(100);
    for number in 0..10 {
        scheduler.enqueue(destination(1), delivery(number), NOW);
    }
    scheduler.commit();
    scheduler.cancel(destination(1));
    assert!(scheduler.take_cancelled(100).is_empty());
    scheduler.rollback();
    assert_eq!(scheduler.queued(), 10);
    scheduler.cancel(destination(1));
    scheduler.commit();
    assert_eq!(scheduler.queued(), 0);
    assert_eq!(scheduler.take_cancelled(7).len(), 7);
    scheduler.rollback();
    assert_eq!(scheduler.take_cancelled(100).len(), 10);
    scheduler.commit();
    assert!(!scheduler.has_cancelled());
}

#[test]
fn an_idle_destination_that_nobody_configured_is_forgotten() {
    let mut scheduler = self::scheduler(100);
    for number in 0..1_000 {
        scheduler.enqueue(destination(number), delivery(number), NOW);
        let grants = scheduler.claim(NOW, 1);
        assert!(settle(&mut scheduler, grants[0].lease, Verdict::Delivered, None));
        scheduler.commit();
    }
    assert_eq!(scheduler.index.len(), 0);
    assert_eq!(scheduler.places.len(), 1);
}

#[test]
fn a_claim_costs_the_same_whatever_waits() {
    // Counted in time, generously: a claim that looked at every destination or every delivery
    // would take thousands of times as long, not twenty.
    let cost = |backlog: u128, idle: u128| {
        let mut scheduler = self::scheduler(100);
        prove(&mut scheduler, 0);
        for number in 0..backlog {
            scheduler.enqueue(destination(0), delivery(number), NOW);
        }
        for number in 1..=idle {
            let limits = DestinationLimits { paused: number % 2 == 0, ..WIDE };
            scheduler.configure(destination(number), limits);
            scheduler.enqueue(destination(number), delivery(backlog + number), NOW + 3_600 * SECOND);
        }
        scheduler.commit();
        let started = Instant::now();
        for _ in 0..500 {
            let grants = scheduler.claim(NOW, 1);
            assert!(settle(&mut scheduler, grants[0].lease, Verdict::Delivered, None));
            scheduler.commit();
        }
        started.elapsed()
    };
    let small = cost(1_000, 10);
    let large = cost(200_000, 50_000);
    assert!(large < small * 20, "{large:?} against {small:?}");
}

#[test]
fn a_destination_whose_circuit_is_open_gets_a_probe_at_a_time_and_keeps_its_queue() {
    let mut scheduler = self::scheduler(100);
    prove(&mut scheduler, 1);
    for number in 0..50 {
        scheduler.enqueue(destination(1), delivery(number), NOW);
    }
    let grants = scheduler.claim(NOW, 30);
    for grant in &grants[..19] {
        let change = scheduler.settle(grant.lease, Verdict::Failed, Some(NOW), NOW);
        assert_eq!(change, Some(CircuitChange::Unchanged));
    }
    let change = scheduler.settle(grants[19].lease, Verdict::Failed, Some(NOW), NOW);
    assert_eq!(change, Some(CircuitChange::Opened));
    for grant in &grants[20..] {
        // They were under way before, and are no probes.
        let change = scheduler.settle(grant.lease, Verdict::Failed, Some(NOW), NOW);
        assert_eq!(change, Some(CircuitChange::Unchanged));
    }
    scheduler.commit();
    assert_eq!(scheduler.queued(), 50);
    assert_eq!(scheduler.next_wakeup(NOW), Some(NOW + 30 * SECOND));
    assert!(scheduler.claim(NOW + 30 * SECOND - 1, 10).is_empty());

    // A probe that fails, one that was never sent, and one that is delivered.
    let probes = scheduler.claim(NOW + 30 * SECOND, 10);
    assert_eq!(probes.len(), 1);
    let now = NOW + 31 * SECOND;
    let change = scheduler.settle(probes[0].lease, Verdict::Failed, Some(now), now);
    assert_eq!(change, Some(CircuitChange::ProbeFailed));
    assert_eq!(scheduler.next_wakeup(now), Some(now + 60 * SECOND));
    let now = now + 60 * SECOND;
    let probes = scheduler.claim(now, 10);
    assert!(scheduler.release(probes[0].lease));
    let probes = scheduler.claim(now, 10);
    assert_eq!(scheduler.settle(probes[0].lease, Verdict::Delivered, None, now), Some(CircuitChange::Closed));
    assert_eq!(scheduler.claim(now, 100).len(), 49);
}

#[test]
fn whoever_resumes_a_destination_is_not_kept_waiting_by_its_circuit() {
    let mut scheduler = self::scheduler(100);
    scheduler.configure(destination(1), WIDE);
    scheduler.enqueue(destination(1), delivery(1), NOW);
    assert!(scheduler.restore_circuit(destination(1), Open::restored(NOW, 0, NOW + SECOND)));
    assert!(!scheduler.restore_circuit(destination(2), Open::restored(NOW, 0, NOW + SECOND)));
    scheduler.commit();
    // A change of another kind leaves it open.
    scheduler.configure(destination(1), DestinationLimits { max_in_flight: 2, ..WIDE });
    scheduler.configure(destination(1), DestinationLimits { paused: true, ..WIDE });
    scheduler.commit();
    scheduler.configure(destination(1), WIDE);
    assert_eq!(scheduler.open_circuit(destination(1)), None);
    scheduler.rollback();
    assert_eq!(scheduler.open_circuit(destination(1)).map(|open| open.probe_at), Some(NOW + SECOND));
    scheduler.configure(destination(1), WIDE);
    assert_eq!(scheduler.claim(NOW, 1).len(), 1);
}
