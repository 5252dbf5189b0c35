//! How far the registrations of all shards are known: each shard counts its changes by itself, and the
//! sum of their counts says whether there is one anywhere.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

/// How many reads are remembered. Whoever goes on from one before them reads everything again.
const REMEMBERED: usize = 16;

/// What is known of the shards' revisions.
#[derive(Debug)]
pub(super) struct Revisions {
    state: Mutex<State>,
    sum: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// The newest that was heard of, by shard.
    newest: Vec<u64>,
    /// Up to where the last reads went. Their sums are what readers know them by.
    reads: VecDeque<Vec<u64>>,
}

impl Revisions {
    pub(super) fn new(shards: usize) -> Self {
        let state = State { newest: vec![0; shards], reads: VecDeque::new() };
        Self { state: Mutex::new(state), sum: watch::Sender::new(0) }
    }

    /// Changes whenever something changes in some shard.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.sum.subscribe()
    }

    /// A shard is at this revision now.
    pub(super) fn note(&self, shard: usize, revision: u64) {
        let mut state = self.state();
        state.newest[shard] = revision;
        let now = sum(&state.newest);
        self.sum.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    /// Where the read of this number went up to, by shard; nothing if that is not known any more.
    pub(super) fn up_to(&self, number: u64) -> Option<Vec<u64>> {
        let state = self.state();
        // One shard's revision is the sum.
        if state.newest.len() == 1 {
            return Some(vec![number]);
        }
        state.reads.iter().rev().find(|read| sum(read) == number).cloned()
    }

    /// Remembers a read; the number by which it is known.
    pub(super) fn remember(&self, read: Vec<u64>) -> u64 {
        let mut state = self.state();
        let number = sum(&read);
        if state.reads.len() == REMEMBERED {
            state.reads.pop_front();
        }
        state.reads.push_back(read);
        number
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// 64 counts of µs since 1970 fit.
fn sum(revisions: &[u64]) -> u64 {
    revisions.iter().fold(0, |sum, revision| sum.wrapping_add(*revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_gone_on_from_as_long_as_it_is_remembered() {
        let revisions = Revisions::new(2);
        let first = revisions.remember(vec![5, 7]);
        let second = revisions.remember(vec![5, 8]);
        assert_eq!(revisions.up_to(first), Some(vec![5, 7]));
        assert_eq!(revisions.up_to(second), Some(vec![5, 8]));
        for number in 0..REMEMBERED as u64 - 1 {
            revisions.remember(vec![6, 9 + number]);
        }
        assert_eq!((revisions.up_to(first), revisions.up_to(second)), (None, Some(vec![5, 8])));
    }

    #[test]
    fn a_change_anywhere_is_a_change() {
        let revisions = Revisions::new(2);
        let mut seen = revisions.subscribe();
        for (shard, revision, is_news) in [(0, 5, true), (1, 5, true), (1, 5, false), (0, 6, true)] {
            revisions.note(shard, revision);
            assert_eq!(seen.has_changed().unwrap(), is_news);
            seen.mark_unchanged();
        }
        assert_eq!(Revisions::new(1).up_to(9), Some(vec![9]));
    }
}
