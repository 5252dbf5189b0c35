//! How many writes share a sync, and how long to wait for more of them.
//!
//! Those who were just answered are the ones who ask next. Without a short wait the first of them
//! would be written alone, and all others wait for two syncs.

use std::time::{Duration, Instant};

use super::writer::MAX_BATCH;

/// What the writer goes by.
#[derive(Default)]
pub(super) struct Gathering {
    /// Writes of the last transaction.
    last: usize,
    /// How long its commit took.
    commit: Duration,
    /// The part of that which was the last sync's.
    sync: Duration,
    /// When the first write of the present transaction was taken up.
    taken: Option<Instant>,
    /// How long a write takes the writer.
    each: Duration,
    /// Until when this one waits, once it does.
    until: Option<Instant>,
}

impl Gathering {
    /// The part of a commit's time that it is worth to wait.
    const PART: u32 = 8;

    /// The longest wait.
    const MOST: Duration = Duration::from_micros(500);

    /// Commits that take less are not worth a wait.
    const WORTH: Duration = Duration::from_micros(400);

    /// So many always go together: a transaction costs something by itself.
    const LEAST: usize = 16;

    /// How long to wait on, with so many writes gathered.
    pub(super) fn patience(&mut self, gathered: usize) -> Option<Duration> {
        if gathered == 0 || gathered >= self.last || self.commit < Self::WORTH {
            return None;
        }
        let now = Instant::now();
        let until = *self.until.get_or_insert_with(|| now + (self.commit / Self::PART).min(Self::MOST));
        Some(until.saturating_duration_since(now)).filter(|patience| !patience.is_zero())
    }

    /// How many writes go together: no more than the writer can do while one sync is under way. Were
    /// it all that wait, everybody would wait for the same sync, and the writer for them.
    pub(super) fn most(&self) -> usize {
        if self.sync < Self::WORTH || self.each.is_zero() {
            return MAX_BATCH;
        }
        let most = self.sync.as_nanos() / self.each.as_nanos();
        usize::try_from(most).unwrap_or(MAX_BATCH).clamp(Self::LEAST, MAX_BATCH)
    }

    pub(super) fn gathered(&mut self, writes: usize) {
        self.last = writes;
        self.until = None;
        self.taken = Some(Instant::now());
    }

    pub(super) fn committed(&mut self, commit: Duration, sync: Duration) {
        self.commit = commit + sync;
        self.sync = sync;
        if let (Some(taken), Ok(writes @ 1..)) = (self.taken.take(), u32::try_from(self.last)) {
            self.each = (3 * self.each + taken.elapsed() / writes) / 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_go_together_than_the_writer_does_during_a_sync() {
        let of = |sync, each| Gathering {
            sync: Duration::from_micros(sync),
            each: Duration::from_micros(each),
            ..Gathering::default()
        };
        assert_eq!(of(2_000, 50).most(), 40);
        assert_eq!(of(2_000, 1_000).most(), Gathering::LEAST);
        assert_eq!(of(1_000_000, 50).most(), MAX_BATCH);
        // A sync that takes no time is nothing to work during, and of a first batch nothing is known.
        assert_eq!([of(100, 50).most(), of(2_000, 0).most()], [MAX_BATCH; 2]);
    }
}
