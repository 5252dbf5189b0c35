//! Deliveries that go out one after the other: those of one call, where a registration asked for
//! it. Only the first of them is in its destination's queue, or leased; the others are held back
//! until it has ended, and nobody else is.

use std::collections::{BTreeMap, HashMap};

use super::Scheduler;
use super::destination::Queued;
use super::journal::Change;
use crate::event::DeliveryId;
use crate::store::{DestinationId, OrderKey};

/// Deliveries of one order key at one destination.
#[derive(Debug)]
pub(super) struct Group {
    /// The one whose turn it is, and its sequence.
    pub(super) head: (u64, DeliveryId),
    /// Those that are held back, by sequence.
    pub(super) waiting: BTreeMap<u64, Queued>,
}

/// The groups of a destination.
pub(super) type Groups = HashMap<OrderKey, Group>;

/// All that is held back.
pub(super) fn held_back(groups: &Groups) -> impl Iterator<Item = DeliveryId> {
    groups.values().flat_map(|group| group.waiting.values().map(|(_, id)| DeliveryId::from_bytes(*id)))
}

/// All that belongs to these groups, with the place of each.
pub(super) fn members(groups: &Groups) -> impl Iterator<Item = ((OrderKey, u64), DeliveryId)> {
    groups.iter().flat_map(|(key, group)| {
        let waiting =
            group.waiting.iter().map(|(sequence, (_, id))| (*sequence, DeliveryId::from_bytes(*id)));
        waiting.chain([group.head]).map(|(sequence, delivery)| ((*key, sequence), delivery))
    })
}

/// A delivery that has left its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    key: OrderKey,
    sequence: u64,
    /// What it was queued as, if it was held back.
    held_back: Option<Queued>,
    /// Whose turn it is now.
    promoted: Option<(u64, Queued)>,
}

impl Scheduler {
    /// Puts a delivery into its destination's queue, behind all those of the same key that were
    /// put there before it and have not ended.
    pub fn enqueue_in_order(
        &mut self,
        destination: DestinationId,
        delivery: DeliveryId,
        due: i64,
        key: OrderKey,
    ) {
        if self.ordered.contains_key(&delivery) {
            return;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.ordered.insert(delivery, (key, sequence));
        let item = (due, delivery.to_bytes());
        let place = self.place_of(destination);
        if let Some(group) = self.entry(place).groups.get_mut(&key) {
            group.waiting.insert(sequence, item);
            self.queued += 1;
        } else {
            let group = Group { head: (sequence, delivery), waiting: BTreeMap::new() };
            self.entry(place).groups.insert(key, group);
            self.put(destination, item);
        }
        self.journal.push(Change::Joined { destination, item });
    }

    /// Makes a delivery that waits due at another time. It keeps its place in its order; `false` if
    /// it does not wait for the time `before`.
    pub fn reschedule(
        &mut self,
        destination: DestinationId,
        delivery: DeliveryId,
        before: i64,
        after: i64,
    ) -> bool {
        let item = (before, delivery.to_bytes());
        let moved = self.move_to(destination, item, after);
        if moved {
            let item = (after, delivery.to_bytes());
            self.journal.push(Change::Rescheduled { destination, item, before });
        }
        moved
    }

    pub(super) fn move_to(&mut self, destination: DestinationId, item: Queued, due: i64) -> bool {
        if let Some(held_back) = self.held_back(destination, item) {
            held_back.0 = due;
            return true;
        }
        self.take(destination, item) && self.put(destination, (due, item.1))
    }

    /// Where this is held back, if it is.
    pub(super) fn held_back(&mut self, destination: DestinationId, item: Queued) -> Option<&mut Queued> {
        let (key, sequence) = *self.ordered.get(&DeliveryId::from_bytes(item.1))?;
        let place = *self.index.get(&destination)?;
        let group = self.entry(place).groups.get_mut(&key)?;
        group.waiting.get_mut(&sequence).filter(|held_back| **held_back == item)
    }

    /// A delivery has ended: it is the next one's turn.
    pub(super) fn leave(&mut self, destination: DestinationId, delivery: DeliveryId) {
        let Some((key, sequence)) = self.ordered.remove(&delivery) else { return };
        let place = self.place_of(destination);
        let groups = &mut self.entry(place).groups;
        let group =
            groups.get_mut(&key).expect("an ordered delivery has a group until its destination is cancelled");
        let mut left = Left { key, sequence, held_back: None, promoted: None };
        if group.head.0 == sequence {
            left.promoted = group.waiting.pop_first();
            match left.promoted {
                Some((next, item)) => {
                    group.head = (next, DeliveryId::from_bytes(item.1));
                    self.queued -= 1;
                    self.put(destination, item);
                }
                None => drop(groups.remove(&key)),
            }
        } else {
            left.held_back = group.waiting.remove(&sequence);
            self.queued -= 1;
        }
        self.journal.push(Change::Left { destination, delivery, left });
    }

    /// Takes [`Self::enqueue_in_order`] back.
    pub(super) fn unjoin(&mut self, destination: DestinationId, item: Queued) {
        let delivery = DeliveryId::from_bytes(item.1);
        let (key, sequence) = self.ordered.remove(&delivery).expect("it has joined");
        let place = self.place_of(destination);
        let groups = &mut self.entry(place).groups;
        let group = groups.get_mut(&key).expect("it has joined one");
        if group.head.0 == sequence {
            groups.remove(&key);
            self.take(destination, item);
        } else {
            group.waiting.remove(&sequence);
            self.queued -= 1;
        }
    }

    /// Takes [`Self::leave`] back.
    pub(super) fn rejoin(&mut self, destination: DestinationId, delivery: DeliveryId, left: Left) {
        let Left { key, sequence, held_back, promoted } = left;
        self.ordered.insert(delivery, (key, sequence));
        if let Some((_, item)) = promoted {
            self.take(destination, item);
        }
        let place = self.place_of(destination);
        let head = (sequence, delivery);
        let group =
            self.entry(place).groups.entry(key).or_insert_with(|| Group { head, waiting: BTreeMap::new() });
        let back = if let Some(item) = held_back {
            Some((sequence, item))
        } else {
            group.head = head;
            promoted
        };
        if let Some((sequence, item)) = back {
            group.waiting.insert(sequence, item);
            self.queued += 1;
        }
    }
}
