//! What was claimed and is not begun yet.

use std::collections::VecDeque;
use std::vec;

use tokio::sync::OwnedSemaphorePermit;

use crate::store::{Claim, Lease};

/// Claims whose attempts are not begun yet. What was claimed at different times takes turns, and what was
/// claimed last has the first: one delivery does not wait behind the hundreds of a claim before.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<Lot>);

/// What was claimed together, with its slots. None of those that wait is empty.
#[derive(Debug)]
pub(super) struct Lot {
    claims: vec::IntoIter<Claim>,
    slots: OwnedSemaphorePermit,
}

impl Lot {
    /// Claims with the slots that were there for them. Those that are not needed are free again.
    pub(super) fn new(claims: Vec<Claim>, mut slots: OwnedSemaphorePermit) -> Self {
        // Of a store that hands out more than it was asked for, all of them.
        let slots = slots.split(claims.len()).unwrap_or(slots);
        Self { claims: claims.into_iter(), slots }
    }
}

impl Turns {
    pub(super) fn add(&mut self, lot: Lot) {
        if lot.claims.len() > 0 {
            self.0.push_front(lot);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().map(|lot| lot.claims.len()).sum()
    }

    /// Whose turn it is, if anybody waits, with its slot; without one if the store has handed out more than
    /// it was asked for, which would otherwise be lost.
    pub(super) fn next(&mut self) -> Option<(Claim, Option<OwnedSemaphorePermit>)> {
        let mut lot = self.0.pop_front()?;
        let claim = lot.claims.next()?;
        let slot = lot.slots.split(1);
        if lot.claims.len() > 0 {
            self.0.push_back(lot);
        }
        Some((claim, slot))
    }

    /// The leases of what was not begun.
    pub(super) fn into_leases(self) -> Vec<Lease> {
        self.0.into_iter().flat_map(|lot| lot.claims).map(|claim| claim.lease).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::body::Bytes;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::event::{CallbackId, DeliveryId};
    use crate::store::{DeliveryRequest, Rendition};

    fn claim(token: u64) -> Claim {
        let request = DeliveryRequest {
            method: "POST".to_owned(),
            url: "https://example.com/".to_owned(),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        Claim {
            lease: Lease { delivery: DeliveryId::new(), token },
            account: "acme".into(),
            callback: CallbackId::new(),
            attempt: 1,
            request: Rendition::Done(request),
        }
    }

    fn lot(tokens: &[u64], all: &Arc<Semaphore>, slots: u32) -> Lot {
        let slots = Arc::clone(all).try_acquire_many_owned(slots).unwrap();
        Lot::new(tokens.iter().copied().map(claim).collect(), slots)
    }

    #[test]
    fn lots_take_turns_and_the_last_has_the_first() {
        let all = Arc::new(Semaphore::new(10));
        let mut turns = Turns::default();
        turns.add(lot(&[1, 2, 3, 4], &all, 4));
        let token = |next: Option<(Claim, Option<OwnedSemaphorePermit>)>| next.unwrap().0.lease.token;
        assert_eq!(token(turns.next()), 1);
        turns.add(lot(&[10, 20], &all, 2));
        turns.add(lot(&[100], &all, 1));
        let order: Vec<u64> = (0..4).map(|_| token(turns.next())).collect();
        assert_eq!(order, [100, 10, 2, 20]);
        assert_eq!((turns.is_empty(), turns.waiting()), (false, 2));
        let left: Vec<u64> = turns.into_leases().iter().map(|lease| lease.token).collect();
        assert_eq!(left, [3, 4]);
    }

    #[test]
    fn slots_that_were_not_needed_are_free_at_once_and_the_others_with_their_attempt() {
        let all = Arc::new(Semaphore::new(10));
        let mut turns = Turns::default();
        turns.add(lot(&[1, 2], &all, 10));
        assert_eq!(all.available_permits(), 8);
        let one = turns.next().unwrap();
        let other = turns.next().unwrap();
        assert!(turns.is_empty() && turns.next().is_none());
        assert_eq!(all.available_permits(), 8);
        drop((one, other));
        assert_eq!(all.available_permits(), 10);
    }

    #[test]
    fn what_a_store_hands_out_beyond_what_it_was_asked_for_is_not_lost() {
        let all = Arc::new(Semaphore::new(1));
        let mut turns = Turns::default();
        turns.add(lot(&[1, 2], &all, 1));
        assert!(turns.next().unwrap().1.is_some());
        assert!(turns.next().unwrap().1.is_none());
    }
}
