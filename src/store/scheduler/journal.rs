//! What was changed since the last commit, and how it is taken back.

use std::collections::BTreeSet;

use super::circuit::Circuit;
use super::destination::{Bucket, Queued, Trial, UNCONFIGURED};
use super::order::{self, Groups, Left};
use super::{DestinationId, DestinationLimits, Held, Scheduler};
use crate::event::DeliveryId;

/// One change, with what is needed to take it back.
#[derive(Debug)]
pub(super) enum Change {
    Configured {
        destination: DestinationId,
        before: Option<DestinationLimits>,
        bucket: Option<Bucket>,
        circuit: Circuit,
    },
    Queued {
        destination: DestinationId,
        item: Queued,
    },
    Joined {
        destination: DestinationId,
        item: Queued,
    },
    Left {
        destination: DestinationId,
        delivery: DeliveryId,
        left: Left,
    },
    Rescheduled {
        destination: DestinationId,
        item: Queued,
        before: i64,
    },
    Withdrawn {
        destination: DestinationId,
        item: Queued,
    },
    Cancelled {
        destination: DestinationId,
        queue: BTreeSet<Queued>,
        groups: Groups,
        limits: Option<DestinationLimits>,
        bucket: Option<Bucket>,
        circuit: Circuit,
    },
    Granted {
        delivery: DeliveryId,
        served: u64,
        bucket: Option<Bucket>,
    },
    TookCancelled {
        taken: Vec<DeliveryId>,
    },
    Ended {
        delivery: DeliveryId,
        held: Held,
        trial: Trial,
        bucket: Option<Bucket>,
        circuit: Circuit,
        requeued: Option<Queued>,
    },
}

impl Scheduler {
    /// Makes the changes since the last commit final.
    pub fn commit(&mut self) {
        for change in std::mem::take(&mut self.journal) {
            match change {
                Change::Withdrawn { destination, .. } | Change::Left { destination, .. } => {
                    self.forget_if_idle(destination);
                }
                Change::Cancelled { destination, queue, groups, .. } => {
                    self.cancelled.extend(order::held_back(&groups));
                    self.cancelled.extend(queue.into_iter().map(|(_, id)| DeliveryId::from_bytes(id)));
                    self.forget_if_idle(destination);
                }
                Change::Ended { held, .. } => self.forget_if_idle(held.destination),
                Change::Configured { .. }
                | Change::Queued { .. }
                | Change::Joined { .. }
                | Change::Rescheduled { .. }
                | Change::Granted { .. }
                | Change::TookCancelled { .. } => {}
            }
        }
    }

    /// Takes the changes since the last commit back: everything waits, is leased, limited and
    /// ordered as it was. Tokens that were given out are not given out again.
    pub fn rollback(&mut self) {
        let mut touched = Vec::new();
        while let Some(change) = self.journal.pop() {
            touched.extend(self.take_back(change));
        }
        for destination in touched {
            self.forget_if_idle(destination);
        }
    }

    /// Takes one change back and says which destination may not be needed any more; it must not
    /// be forgotten before everything is taken back, or its limits would be lost.
    fn take_back(&mut self, change: Change) -> Option<DestinationId> {
        // The clock is not taken back.
        let (now, rules) = (self.now, self.rules);
        match change {
            Change::Configured { destination, before, bucket, circuit } => {
                let place = self.place_of(destination);
                let entry = self.entry(place);
                entry.configure(before.unwrap_or(UNCONFIGURED));
                entry.configured = before.is_some();
                entry.bucket = bucket.map(|bucket| bucket.clamped(now));
                entry.circuit = circuit;
                entry.circuit.clamp(&rules, now);
                self.refile(place);
                Some(destination)
            }
            Change::Queued { destination, item } => {
                self.take(destination, item);
                Some(destination)
            }
            Change::Withdrawn { destination, item } => {
                self.put(destination, item);
                None
            }
            Change::Joined { destination, item } => {
                self.unjoin(destination, item);
                Some(destination)
            }
            Change::Left { destination, delivery, left } => {
                self.rejoin(destination, delivery, left);
                None
            }
            Change::Rescheduled { destination, item, before } => {
                self.move_to(destination, item, before);
                None
            }
            Change::Cancelled { destination, queue, groups, limits, bucket, circuit } => {
                let place = self.place_of(destination);
                self.queued += queue.len() + order::held_back(&groups).count();
                self.ordered.extend(order::members(&groups).map(|(place, delivery)| (delivery, place)));
                let entry = self.entry(place);
                entry.queue = queue;
                entry.groups = groups;
                entry.configure(limits.unwrap_or(UNCONFIGURED));
                entry.configured = limits.is_some();
                entry.bucket = bucket.map(|bucket| bucket.clamped(now));
                entry.circuit = circuit;
                entry.circuit.clamp(&rules, now);
                self.refile(place);
                None
            }
            Change::TookCancelled { taken } => {
                self.cancelled.extend(taken);
                None
            }
            Change::Granted { delivery, served, bucket } => {
                let held = self.drop_lease(delivery);
                let place = self.place_of(held.destination);
                let entry = self.entry(place);
                entry.served = served;
                entry.bucket = bucket.map(|bucket| bucket.clamped(now));
                self.put(held.destination, (held.due, delivery.to_bytes()));
                self.refile(place);
                None
            }
            Change::Ended { delivery, held, trial, bucket, circuit, requeued } => {
                if let Some(item) = requeued {
                    self.take(held.destination, item);
                }
                let place = self.place_of(held.destination);
                let entry = self.entry(place);
                entry.in_flight += 1;
                entry.trial = trial;
                entry.bucket = bucket.map(|bucket| bucket.clamped(now));
                entry.circuit = circuit;
                entry.circuit.clamp(&rules, now);
                self.hold(delivery, held);
                self.refile(place);
                None
            }
        }
    }
}
