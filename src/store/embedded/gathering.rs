//! How long to wait for more writes before the sync that they would share.
//!
//! Those who were just answered are the ones who ask next. Without a short wait the first of them
//! would be written alone, and all others wait for two syncs.

use std::time::{Duration, Instant};

/// What the writer goes by.
#[derive(Default)]
pub(super) struct Gathering {
    /// Writes of the last transaction.
    last: usize,
    /// How long its commit took.
    commit: Duration,
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

    /// How long to wait on, with so many writes gathered.
    pub(super) fn patience(&mut self, gathered: usize) -> Option<Duration> {
        if gathered == 0 || gathered >= self.last || self.commit < Self::WORTH {
            return None;
        }
        let now = Instant::now();
        let until = *self.until.get_or_insert_with(|| now + (self.commit / Self::PART).min(Self::MOST));
        Some(until.saturating_duration_since(now)).filter(|patience| !patience.is_zero())
    }

    pub(super) fn gathered(&mut self, writes: usize) {
        self.last = writes;
        self.until = None;
    }

    pub(super) fn committed(&mut self, time: Duration) {
        self.commit = time;
    }
}
