//! Where each destination is: aside, waiting for a time, or in line. Whatever is changed of one, it is
//! filed anew.

use super::destination::{Destination, Filed, Queued, Trial};
use super::{CLOCK_STEP, DestinationId, Scheduler};

impl Scheduler {
    /// Moves on to `now`: what has become eligible gets in line.
    pub(super) fn advance(&mut self, now: i64) {
        let stepped_back = self.now.saturating_sub(now) > CLOCK_STEP && self.now != i64::MIN;
        self.now = now;
        if stepped_back {
            for place in 0..self.places.len() {
                let Some(entry) = &mut self.places[place] else { continue };
                entry.bucket = entry.bucket.map(|bucket| bucket.clamped(now));
                entry.circuit.clamp(&self.rules, now);
                self.refile(u32::try_from(place).expect("places are counted in u32"));
            }
        }
        while let Some(&(at, place)) = self.waiting.first() {
            if at > now {
                break;
            }
            self.refile(place);
        }
    }

    pub(super) fn may_try(&self) -> bool {
        self.on_trial < (self.max_in_flight / 2).max(1)
    }

    pub(super) fn next_in_line(&self) -> Option<u32> {
        let proven = self.proven_line.first();
        let trial = if self.may_try() { self.trial_line.first() } else { None };
        let (_, _, place) = match (proven, trial) {
            (Some(proven), Some(trial)) => proven.min(trial),
            (one, other) => one.or(other)?,
        };
        Some(*place)
    }

    pub(super) fn put(&mut self, destination: DestinationId, item: Queued) -> bool {
        let place = self.place_of(destination);
        let new = self.entry(place).queue.insert(item);
        if new {
            self.queued += 1;
            self.refile(place);
        }
        new
    }

    pub(super) fn take(&mut self, destination: DestinationId, item: Queued) -> bool {
        let Some(&place) = self.index.get(&destination) else { return false };
        let taken = self.entry(place).queue.remove(&item);
        if taken {
            self.queued -= 1;
            self.refile(place);
        }
        taken
    }

    pub(super) fn entry(&mut self, place: u32) -> &mut Destination {
        self.places[place as usize].as_mut().expect("a place that is referred to is taken")
    }

    pub(super) fn place_of(&mut self, destination: DestinationId) -> u32 {
        if let Some(&place) = self.index.get(&destination) {
            return place;
        }
        let entry = Some(Destination::new(destination));
        let place = if let Some(place) = self.vacant.pop() {
            self.places[place as usize] = entry;
            place
        } else {
            self.places.push(entry);
            u32::try_from(self.places.len() - 1).expect("destinations are fewer than 2^32")
        };
        self.index.insert(destination, place);
        place
    }

    /// Puts a destination where it belongs after a change.
    pub(super) fn refile(&mut self, place: u32) {
        let now = self.now;
        let entry = self.entry(place);
        let (id, before) = (entry.id, entry.filed);
        let after = match entry.eligible_at() {
            None => Filed::Aside,
            Some(at) if at > now => Filed::Waiting(at),
            Some(_) => Filed::Line(entry.trial, entry.served),
        };
        if before == after {
            return;
        }
        entry.filed = after;
        match before {
            Filed::Aside => {}
            Filed::Waiting(at) => {
                self.waiting.remove(&(at, place));
            }
            Filed::Line(Trial::No, served) => {
                self.proven_line.remove(&(served, id, place));
            }
            Filed::Line(Trial::Yes, served) => {
                self.trial_line.remove(&(served, id, place));
            }
        }
        match after {
            Filed::Aside => {}
            Filed::Waiting(at) => {
                self.waiting.insert((at, place));
            }
            Filed::Line(Trial::No, served) => {
                self.proven_line.insert((served, id, place));
            }
            Filed::Line(Trial::Yes, served) => {
                self.trial_line.insert((served, id, place));
            }
        }
    }

    /// Forgets a destination that nobody configured once nothing is left of it.
    pub(super) fn forget_if_idle(&mut self, destination: DestinationId) {
        let Some(&place) = self.index.get(&destination) else { return };
        if self.entry(place).is_forgettable() {
            self.places[place as usize] = None;
            self.index.remove(&destination);
            self.vacant.push(place);
        }
    }
}
