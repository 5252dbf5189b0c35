//! What is written: each a script of its own.

use std::time::Duration;

use jiff::Timestamp;
use redis::Cmd;

use super::failure::{full, taken};
use super::shard::{Shard, of_token};
use super::together::{self, Kind};
use super::{BACKLOG, LEASE_SLACK, LONGEST_DEADLINE, Shared, form, kept};
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};
use crate::store::scheduler::{CircuitChange, Verdict};
use crate::store::{
    Acceptance, Accepted, Answered, Attempt, CallbackRow, CallbackState, DedupeKey, EventRow, FailedDelivery,
    FinishJob, JobEnd, JobLease, Lease, NewDelivery, Next, OutcomeKind, Rate, Remember, Replay, Replayed,
    Settlement, StoreError,
};

/// The longest span that a number of a script holds exactly: 100 years of µs.
pub(super) const LONGEST_SPAN: i64 = 100 * 366 * 86_400 * 1_000_000;

/// How much longer Redis keeps a dedupe key than it counts, for clocks that do not agree.
const SEEN_SLACK_MS: i64 = 60_000;

/// How many leases one script gives back.
const RELEASE_CHUNK: usize = 500;

/// How many rows of each kind one sweep removes.
const SWEEP_CHUNK: usize = 200;

/// The name under which a dedupe key is kept.
pub(super) fn seen_name(dedupe: &DedupeKey) -> Vec<u8> {
    [dedupe.source.as_bytes(), b"\0", &dedupe.digest].concat()
}

/// The name under which a call is kept.
pub(super) fn call_name(key: &CallKey) -> Vec<u8> {
    [key.account.as_bytes(), b"\0", key.space.as_bytes(), b"\0", key.id.as_str().as_bytes()].concat()
}

/// The name under which an answer is remembered.
pub(super) fn answered_name(account: &AccountName, key: &[u8; 32]) -> Vec<u8> {
    [account.as_bytes(), b"\0", key].concat()
}

pub(super) fn span_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(LONGEST_SPAN).min(LONGEST_SPAN)
}

/// A time as a span from now, which is how Redis is told of it.
pub(super) fn from_now(at: Timestamp, now: i64) -> i64 {
    at.as_microsecond().saturating_sub(now).clamp(-LONGEST_SPAN, LONGEST_SPAN)
}

impl Shared {
    pub(super) async fn accept(&self, new: &Acceptance) -> Result<Accepted, StoreError> {
        match self.accept_and_end(new, None).await? {
            FinishJob::Accepted(accepted) => Ok(accepted),
            FinishJob::Lost => Err(taken()),
        }
    }

    /// Accepts an event, and ends the job with it whose lease is shown.
    pub(super) async fn accept_and_end(
        &self,
        new: &Acceptance,
        job: Option<(JobLease, &JobEnd)>,
    ) -> Result<FinishJob, StoreError> {
        let shard = self.of(&new.event.account);
        let now = shard.now();
        let answer: Vec<Vec<u8>> = self
            .put(shard, Kind::Accept, |command| {
                let expires_at = new.dedupe.expires_at.as_microsecond();
                command
                    .arg(new.event.account.as_ref())
                    .arg(&new.event.id.to_bytes())
                    .arg(new.event.received_at.as_microsecond())
                    .arg(seen_name(&new.dedupe))
                    .arg(expires_at)
                    .arg((from_now(new.dedupe.expires_at, now) / 1_000).max(0) + SEEN_SLACK_MS)
                    .arg(form::write_event(&new.event));
                // An event may tell of a call without changing what is known of it.
                let key = new.call.as_ref().map(|call| &call.key).or(new.event.call.as_ref());
                command.arg(key.map_or_else(Vec::new, call_name));
                match &new.call {
                    Some(call) => command.arg(call.read_version).arg(call.context.as_slice()),
                    None => command.arg("").arg(""),
                };
                command.arg(BACKLOG);
                match job {
                    Some((lease, end)) => {
                        command.arg(&lease.job.to_bytes()).arg(of_token(lease.token).1).arg(match end {
                            JobEnd::Completed => "c".to_owned(),
                            JobEnd::Failed(reason) => format!("f{reason}"),
                        })
                    }
                    None => command.arg("").arg("").arg(""),
                };
                command.arg(new.snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.bytes));
                let space = key.map_or("", |key| &key.space);
                add_deliveries(command, &new.deliveries, &new.failed, space, now);
                command.arg(new.answered.len());
                for request in &new.answered {
                    let (state, what) = form::write_state(&request.state);
                    command.arg(&request.id.to_bytes()).arg(state).arg(what);
                }
            })
            .await?;
        match answer.first().map(Vec::as_slice) {
            Some(b"stored") => Ok(FinishJob::Accepted(Accepted::Stored)),
            Some(b"conflict") => Ok(FinishJob::Accepted(Accepted::Conflict)),
            Some(b"lost") => Ok(FinishJob::Lost),
            Some(b"full") => Err(full()),
            Some(b"duplicate") => {
                let first = answer.get(1).and_then(|id| id.as_slice().try_into().ok());
                let first = first.ok_or_else(|| form::corrupt("dedupe key", "no event's id"))?;
                Ok(FinishJob::Accepted(Accepted::Duplicate(EventId::from_bytes(first))))
            }
            _ => Err(taken()),
        }
    }

    pub(super) async fn reject(&self, event: &EventRow) -> Result<(), StoreError> {
        self.of(&event.account)
            .run_kept(&self.scripts.reject, |command| {
                command
                    .arg(&event.id.to_bytes())
                    .arg(event.received_at.as_microsecond())
                    .arg(form::write_event(event))
                    .arg(event.account.as_ref());
            })
            .await
    }

    pub(super) async fn put_callback(&self, row: &CallbackRow) -> Result<(), StoreError> {
        self.of(&row.account).run_kept(&self.scripts.put_callback, |command| add_callback(command, row)).await
    }

    pub(super) async fn put_callback_once(
        &self,
        row: &CallbackRow,
        remember: &Remember,
    ) -> Result<Option<Answered>, StoreError> {
        let answer: redis::Value = self
            .of(&row.account)
            .run_kept(&self.scripts.put_callback, |command| {
                add_callback(command, row);
                add_answer(command, &row.account, remember);
            })
            .await?;
        match answer {
            redis::Value::BulkString(earlier) => form::read_answered(&earlier).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) async fn remove_callback(
        &self,
        account: &AccountName,
        id: CallbackId,
    ) -> Result<bool, StoreError> {
        self.of(account)
            .run_kept(&self.scripts.remove_callback, |command| {
                command.arg(&id.to_bytes()).arg(account.as_ref());
            })
            .await
    }

    /// What a settlement did to its destination's circuit; `None` if the lease is not held.
    pub(super) async fn settle(&self, settlement: &Settlement) -> Result<Option<CircuitChange>, StoreError> {
        let (shard, token) = self.of_token(settlement.lease.token);
        let now = shard.now();
        let attempt = &settlement.attempt;
        let ended_at = attempt.started_at.as_microsecond().saturating_add(span_micros(attempt.latency));
        let (change, callback): (u8, Vec<u8>) = self
            .put(shard, Kind::Settle, |command| {
                command.arg(&settlement.lease.delivery.to_bytes()).arg(token);
                let (next, due, delay, reason) = match &settlement.next {
                    Next::Delivered => ("d", 0, 0, ""),
                    Next::Dead(reason) => ("x", 0, 0, reason.as_str()),
                    Next::RetryAt(at) => ("r", at.as_microsecond(), from_now(*at, now), ""),
                };
                command
                    .arg(next)
                    .arg(form::write_attempt(attempt))
                    .arg(ended_at)
                    .arg(due)
                    .arg(delay)
                    .arg(reason)
                    .arg(settlement.pause_callback.as_deref().unwrap_or_default())
                    .arg(match Verdict::from(attempt.outcome) {
                        Verdict::Delivered => "d",
                        Verdict::Failed => "f",
                        Verdict::Unknown => "u",
                    });
            })
            .await?;
        // Whether it was ours to write or not: it is not ours any more.
        self.forget(settlement.lease);
        let change = match change {
            0 => return Ok(None),
            2 => CircuitChange::Opened,
            3 => CircuitChange::ProbeFailed,
            4 => CircuitChange::GivenUp,
            5 => CircuitChange::Closed,
            _ => CircuitChange::Unchanged,
        };
        if let Ok(callback) = callback.try_into() {
            change.log(CallbackId::from_bytes(callback));
        }
        Ok(Some(change))
    }

    pub(super) async fn release(&self, leases: &[Lease]) -> Result<(), StoreError> {
        for (shard, leases) in self.by_shard(leases) {
            for chunk in leases.chunks(RELEASE_CHUNK) {
                let _: () = shard
                    .run(&self.scripts.release, |command| {
                        for lease in chunk {
                            command.arg(&lease.delivery.to_bytes()).arg(of_token(lease.token).1);
                        }
                    })
                    .await?;
                for lease in chunk {
                    self.forget(*lease);
                }
            }
        }
        Ok(())
    }

    pub(super) async fn retry_all(
        &self,
        account: &AccountName,
        ids: &[DeliveryId],
    ) -> Result<usize, StoreError> {
        let shard = self.of(account);
        let now = shard.now();
        shard
            .run_kept(&self.scripts.retry, |command| {
                command.arg(account.as_ref()).arg(now);
                for id in ids {
                    command.arg(&id.to_bytes());
                }
            })
            .await
    }

    pub(super) async fn replay(&self, replay: &Replay) -> Result<Replayed, StoreError> {
        let shard = self.of(&replay.account);
        let now = shard.now();
        let Replay { account, deliveries, again, remember } = replay;
        let answer: Vec<Vec<u8>> = shard
            .run_kept(&self.scripts.replay, |command| {
                command.arg(account.as_ref()).arg(u8::from(*again)).arg(BACKLOG);
                match remember {
                    Some(remember) => add_answer(command, account, remember),
                    None => {
                        command.arg("").arg("").arg(0);
                    }
                }
                command.arg(deliveries.len());
                for (earlier, new) in deliveries {
                    command.arg(&earlier.to_bytes()).arg(&new.event.to_bytes());
                    add_delivery(command, new, "", now);
                }
            })
            .await?;
        match answer.first().map(Vec::as_slice) {
            Some(b"stored") => Ok(Replayed::Stored),
            Some(b"conflict") => Ok(Replayed::Conflict),
            Some(b"full") => Err(full()),
            Some(b"answered") => {
                let earlier = answer.get(1).map_or(&[][..], Vec::as_slice);
                form::read_answered(earlier).map(Replayed::Answered)
            }
            _ => Err(taken()),
        }
    }

    /// Of all shards.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut removed = 0;
        for shard in &self.shards {
            removed += self.sweep_shard(shard, now).await?;
        }
        Ok(removed)
    }

    pub(super) async fn sweep_shard(&self, shard: &Shard, now: Timestamp) -> Result<usize, StoreError> {
        let before = |keep| now.as_microsecond().saturating_sub(span_micros(keep));
        let retention = self.options.retention;
        shard
            .run(&self.scripts.sweep, |command| {
                command
                    .arg(SWEEP_CHUNK)
                    .arg(now.as_microsecond())
                    .arg(before(retention.delivered))
                    .arg(before(retention.failed))
                    .arg(before(retention.calls));
            })
            .await
    }

    /// Whether some shard takes a write, which Redis refuses whenever it would refuse an event. While
    /// others are away, their accounts are answered so; that is no reason to take none of any.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let mut refused = None;
        for shard in &self.shards {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HSET").arg(shard.key("n", b"")).arg("P").arg(1).ignore();
            match shard.ask(&pipeline).await {
                Ok(()) => return Ok(()),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.expect("there is a shard"))
    }
}

/// How far apart a rate's starts are, and how far ahead of that they may come, in µs.
pub(super) fn spacing(rate: Rate) -> (i64, i64) {
    let count = i64::from(rate.count.max(1));
    // As in scheduler/destination.rs: rounded up, so that the rate is never passed.
    let interval = ((span_micros(rate.period) + count - 1) / count).max(1);
    (interval, interval.saturating_mul(count - 1).min(LONGEST_SPAN))
}

fn add_callback(command: &mut Cmd, row: &CallbackRow) {
    let reason = match &row.state {
        CallbackState::Active => None,
        CallbackState::Paused(reason) => Some(reason.as_str()),
    };
    command.arg(&row.id.to_bytes()).arg(row.account.as_ref()).arg(row.limits.max_in_flight);
    match row.limits.rate {
        Some(rate) => {
            let (interval, tolerance) = spacing(rate);
            command.arg(format!("{}/{}", rate.count, span_micros(rate.period))).arg(interval).arg(tolerance)
        }
        None => command.arg("").arg("").arg(""),
    };
    command
        .arg(u8::from(row.limits.paused))
        .arg(u8::from(reason.is_some()))
        .arg(reason.unwrap_or_default())
        .arg(row.definition.as_slice())
        .arg(span_micros(row.deadline))
        .arg(span_micros(row.deadline.min(LONGEST_DEADLINE) + LEASE_SLACK))
        .arg(&row.version.0);
}

/// As `deliveries.lua` has them.
pub(super) fn add_deliveries(
    command: &mut Cmd,
    deliveries: &[NewDelivery],
    failed: &[FailedDelivery],
    space: &str,
    now: i64,
) {
    command.arg(deliveries.len());
    for delivery in deliveries {
        add_delivery(command, delivery, space, now);
    }
    command.arg(failed.len());
    for delivery in failed {
        add_failed(command, delivery);
    }
}

pub(super) fn add_answer(command: &mut Cmd, account: &AccountName, remember: &Remember) {
    command
        .arg(answered_name(account, &remember.key))
        .arg(form::write_answered(&remember.answered))
        .arg(u64::try_from(remember.keep.as_millis()).unwrap_or(u64::MAX));
}

/// How many arguments a delivery has.
const DELIVERY_ARGUMENTS: usize = 9;

/// Where an event's deliveries begin among its arguments, behind how many there are.
const DELIVERIES: usize = 16;

fn add_delivery(command: &mut Cmd, new: &NewDelivery, space: &str, now: i64) {
    let record = form::write_rendition(new);
    let (front, back) = kept::write_delivery(new, space, record.len());
    command
        .arg(&new.id.to_bytes())
        .arg(&new.callback.to_bytes())
        .arg(&new.destination.0)
        .arg(new.order.map_or_else(Vec::new, |key| key.0.to_vec()))
        .arg(new.call.as_ref().map_or("", CallId::as_str))
        .arg(from_now(new.due, now))
        .arg(record)
        .arg(front)
        .arg(back);
}

/// How many deliveries an event has, of which these are the arguments.
pub(super) fn deliveries_of(event: &Cmd) -> usize {
    let count = together::arguments(event).nth(DELIVERIES - 1);
    count.and_then(|count| std::str::from_utf8(count).ok()).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Of an event's arguments, its delivery at this place: itself, its registration, and the record of what it
/// sends.
pub(super) fn delivery_of<'a>(
    event: &[&'a [u8]],
    place: usize,
) -> Option<(DeliveryId, CallbackId, &'a [u8])> {
    let arguments = event.get(DELIVERIES..)?.chunks_exact(DELIVERY_ARGUMENTS).nth(place)?;
    let id = DeliveryId::from_bytes(arguments[0].try_into().ok()?);
    Some((id, CallbackId::from_bytes(arguments[1].try_into().ok()?), arguments[6]))
}

fn add_failed(command: &mut Cmd, failed: &FailedDelivery) {
    command
        .arg(&failed.id.to_bytes())
        .arg(&failed.callback.to_bytes())
        .arg(failed.event_type.as_str())
        .arg(failed.call.as_ref().map_or("", CallId::as_str))
        .arg(failed.created_at.as_microsecond())
        .arg(failed.reason.as_str());
}

impl Shared {
    /// Ends a delivery that was claimed and cannot be read, so that it blocks nobody.
    pub(super) async fn set_aside(&self, lease: Lease, attempt: u32) -> Result<(), StoreError> {
        let settlement = Settlement {
            lease,
            attempt: Attempt {
                number: attempt,
                started_at: Timestamp::from_microsecond(self.of_token(lease.token).0.now())
                    .unwrap_or_default(),
                latency: Duration::ZERO,
                outcome: OutcomeKind::Unsendable,
                status: None,
                error: None,
                response: hyper::body::Bytes::new(),
            },
            next: Next::Dead("its stored request cannot be read".to_owned()),
            pause_callback: None,
        };
        self.settle(&settlement).await?;
        Ok(())
    }
}
