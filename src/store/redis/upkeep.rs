//! What every process does by itself, all the time and not only at its start: ending leases that
//! ran out, whosever they were; cancelling what waited for removed registrations; giving back what
//! nobody took; retention.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::jobs::KEEP_INTERVAL;
use super::shard::Shard;
use super::{LEASE_TIME, Shared, becomes_true};
use crate::store::{Lease, StoreError};

/// How often each process looks: what bounds how late the others hear of a change.
const TICK: Duration = Duration::from_millis(500);

/// How many leases one script ends.
const EXPIRE_CHUNK: usize = 100;

/// How many deliveries of removed registrations one script cancels.
const CANCEL_CHUNK: usize = 256;

/// How often retention is looked at while there is nothing to remove.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// After so many crashes in a row a delivery is taken to be their cause.
const CRASH_LIMIT: u32 = 10;

/// Deliveries that have crashed this often in a row wait for each other.
const SUSPECT: u32 = CRASH_LIMIT / 2;

/// How far apart suspects are made due.
const SUSPECT_SPACING: Duration = Duration::from_millis(500);

/// How long nobody's lease is ended after Redis was away: those who live settle first.
const GRACE: Duration = Duration::from_secs(5);

/// How far Redis' clock may run ahead of ours between two looks before it counts as set forward.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// What one look found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticked {
    /// Redis' time in µs.
    pub(super) now: i64,
    /// Whether there is more to do at once.
    pub(super) has_more: bool,
}

/// One look at a shard: ends leases that ran out before `before` (µs of Redis' time), and the rest.
pub(super) async fn tick(shared: &Shared, shard: &Shard, before: i64) -> Result<Ticked, StoreError> {
    let (now, revision, ended, cancelled, announces, lost_jobs): (i64, u64, usize, usize, bool, usize) =
        shard
            .run(&shared.scripts.tick, |command| {
                command
                    .arg(before)
                    .arg(EXPIRE_CHUNK)
                    .arg(CRASH_LIMIT)
                    .arg(SUSPECT)
                    .arg(u64::try_from(SUSPECT_SPACING.as_micros()).expect("it is short"))
                    .arg(CANCEL_CHUNK);
            })
            .await?;
    if ended > 0 {
        tracing::warn!(ended, "leases ran out; their workers are lost, and the attempts are repeated");
    }
    if lost_jobs > 0 {
        tracing::warn!(
            lost_jobs,
            "leases of jobs ran out; their workers are lost, and the steps are repeated"
        );
    }
    if announces {
        shared.announcing.notify_one();
    }
    shared.revisions.note(shard.number(), revision);
    Ok(Ticked { now, has_more: ended.max(lost_jobs) == EXPIRE_CHUNK || cancelled > 0 })
}

/// When leases may be ended.
///
/// A clock that was set forward would end all of them at once, although their workers live, and so
/// would a Redis that was away for a while. Both are found out by a clock that does not jump.
struct Patience {
    /// Redis' time and ours at the last look.
    last: Option<(i64, Instant)>,
    not_before: Instant,
}

impl Patience {
    /// What to tell the script: leases that ran out before this are ended.
    fn before(&self, now: Instant) -> i64 {
        if now < self.not_before {
            return 0;
        }
        let allowed = |(time, at): (i64, Instant)| {
            let passed = now.saturating_duration_since(at) + CLOCK_STEP;
            time.saturating_add(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX))
        };
        self.last.map_or(i64::MAX, allowed)
    }

    fn note(&mut self, time: i64, now: Instant) {
        if let Some((last, at)) = self.last {
            let passed = i64::try_from((now.saturating_duration_since(at) + CLOCK_STEP).as_micros());
            if time.saturating_sub(last) > passed.unwrap_or(i64::MAX) {
                tracing::warn!("the clock of Redis was set forward; leases are given their time anew");
                self.not_before = now + LEASE_TIME;
            }
        }
        self.last = Some((time, now));
    }

    fn note_failure(&mut self, now: Instant) {
        self.not_before = self.not_before.max(now + GRACE);
    }
}

/// Looks at a shard again and again, until the store is closed.
pub(super) async fn run(shared: Arc<Shared>, shard: usize) {
    let shard = &shared.shards[shard];
    let mut closing = shared.closing.subscribe();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut patience = Patience { last: None, not_before: Instant::now() };
    let mut next_sweep = Instant::now() + TICK;
    let mut next_keep = Instant::now() + KEEP_INTERVAL;
    loop {
        tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            () = shard.has_given_back() => {
                give_back(&shared, shard).await;
                continue;
            }
            _ = ticks.tick() => {}
        }
        give_back(&shared, shard).await;
        shared.forget_expired();
        // Before anybody's lease is ended: those of this process are alive.
        if next_keep <= Instant::now() {
            match shared.keep_jobs(shard).await {
                Ok(()) => next_keep = Instant::now() + KEEP_INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "leases of jobs could not be kept; trying again");
                    note_answer(&shared, shard, false);
                    patience.note_failure(Instant::now());
                    continue;
                }
            }
        }
        let now = Instant::now();
        match tick(&shared, shard, patience.before(now)).await {
            Ok(ticked) => {
                note_answer(&shared, shard, true);
                patience.note(ticked.now, now);
                if ticked.has_more {
                    ticks.reset_immediately();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "upkeep failed; trying again");
                note_answer(&shared, shard, false);
                patience.note_failure(Instant::now());
                continue;
            }
        }
        if next_sweep <= now {
            // A bit at every look while there is more.
            match shared.sweep_shard(shard, Timestamp::now()).await {
                Ok(0) => next_sweep = now + SWEEP_INTERVAL,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "retention failed; trying again"),
            }
        }
    }
}

/// Notes whether a shard answers. When it does again, whoever waits looks at it.
fn note_answer(shared: &Shared, shard: &Shard, answers: bool) {
    if shard.note_away(!answers) && answers {
        shard.wake();
        shared.freed.notify_one();
        shared.woken_for_jobs.notify_one();
    }
}

/// Gives back what nobody took; what cannot be given back now waits for the next time, and runs out
/// in the end.
async fn give_back(shared: &Shared, shard: &Shard) {
    let leases: Vec<Lease> = std::mem::take(&mut *shard.given_back());
    if leases.is_empty() {
        return;
    }
    if let Err(error) = shared.release(&leases).await {
        tracing::debug!(%error, "leases could not be given back yet");
        shard.given_back().extend(leases);
    }
}

impl Shared {
    /// Leases that ran out without a word of their worker take no slots any more.
    fn forget_expired(&self) {
        let now = Instant::now();
        let mut held = self.held();
        let before = held.len();
        held.retain(|_, one| now.saturating_duration_since(one.since) < LEASE_TIME);
        if held.len() < before {
            drop(held);
            for shard in &self.shards {
                shard.wake();
            }
            self.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn patience(start: Instant) -> Patience {
        Patience { last: None, not_before: start }
    }

    #[test]
    fn a_clock_that_is_set_forward_ends_no_lease_early() {
        let start = Instant::now();
        let mut patience = patience(start);
        assert_eq!(patience.before(start), i64::MAX, "a start looks at everything");
        patience.note(1_000 * SECOND, start);
        let later = start + Duration::from_secs(1);
        // Only what really passed, and a bit, counts, whatever the time is said to be.
        assert_eq!(patience.before(later), 1_003 * SECOND);
        patience.note(5_000 * SECOND, later);
        assert_eq!(patience.before(later + Duration::from_mins(1)), 0);
        assert_eq!(patience.before(later + Duration::from_secs(66)), 5_000 * SECOND + 68 * SECOND);
    }

    #[test]
    fn after_an_outage_those_who_live_settle_first() {
        let start = Instant::now();
        let mut patience = patience(start);
        patience.note(1_000 * SECOND, start);
        patience.note_failure(start + Duration::from_secs(100));
        assert_eq!(patience.before(start + Duration::from_secs(104)), 0);
        // What passed meanwhile is no jump.
        assert_eq!(patience.before(start + Duration::from_secs(105)), 1_107 * SECOND);
        patience.note(1_105 * SECOND, start + Duration::from_secs(105));
        assert!(patience.before(start + Duration::from_secs(106)) > 1_105 * SECOND);
    }
}
