//! Speech jobs in Redis. A lease is short, and the process that works on its job says again and
//! again that it lives: a job is taken on soon after its process died, however long a step may take.

use std::collections::{BTreeMap, HashMap};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;
use tokio::sync::watch;
use tokio::time::Instant;

use super::failure::{away, taken};
use super::reading::{Row, id};
use super::shard::{Shard, of_token, shard_of};
use super::writing::{LONGEST_SPAN, call_name, from_now, spacing, span_micros};
use super::{Redis, Shared, form};
use crate::event::{AccountName, JobId};
use crate::store::{
    Acceptance, Accepted, FinishJob, JobClaim, JobEnd, JobLease, JobRow, JobStanding, Jobs, NewJob, PutJob,
    Rate, SourceShare, StoreError, Turn,
};

/// How long a lease of a job lasts if nobody keeps it.
const LEASE_TIME: Duration = Duration::from_secs(30);

/// How often a process keeps its leases from running out: several times may fail.
pub(super) const KEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How long a lease is kept: longer than the longest step, which is the fetching of all parts of its
/// results and the writing of them while the store is away. A worker that takes longer is lost.
const WORK_LIMIT: Duration = Duration::from_mins(20);

/// How long jobs of shards that are away are left alone.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// A lease of a job that this process holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldJob {
    token: u64,
    since: Instant,
}

/// One answer of `claim_jobs.lua`: job, token, phase, its record, its standing's, when it was due.
type Granted = ([u8; 16], u64, String, Vec<u8>, Vec<u8>, i64);

/// Says that somebody waits for jobs, until it is dropped.
struct Idle<'a>(&'a watch::Sender<bool>);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[async_trait]
impl Jobs for Redis {
    async fn put_job(&self, job: NewJob, max_open: usize) -> Result<PutJob, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.put_job(&job, max_open).await
    }

    async fn claim_jobs(&self, slots: usize, sources: &[SourceShare]) -> Result<Vec<JobClaim>, StoreError> {
        self.open_only()?.claim_jobs(slots, sources).await
    }

    async fn next_job(&self, sources: &[SourceShare]) -> Result<Option<Duration>, StoreError> {
        self.open_only()?.next_job(sources).await
    }

    async fn jobs_change(&self) {
        self.shared.idle_for_jobs.send_replace(true);
        let _idle = Idle(&self.shared.idle_for_jobs);
        self.shared.woken_for_jobs.notified().await;
    }

    async fn take_turn(&self, source: &str, rate: Rate) -> Result<Turn, StoreError> {
        let shared = self.open_only()?;
        let (interval, tolerance) = spacing(rate);
        // A rate is its source's alone, wherever its jobs are.
        let wait: u64 = shared
            .of_name(source)
            .run(&shared.scripts.take_turn, |command| {
                command.arg(source).arg(interval).arg(tolerance);
            })
            .await?;
        Ok(if wait == 0 { Turn::Taken } else { Turn::Wait(Duration::from_micros(wait)) })
    }

    async fn settle_job(&self, lease: JobLease, standing: JobStanding) -> Result<bool, StoreError> {
        self.open_only()?.settle_job(lease, &standing).await
    }

    async fn finish_job(
        &self,
        lease: JobLease,
        end: JobEnd,
        acceptance: Acceptance,
    ) -> Result<FinishJob, StoreError> {
        let shared = self.open_only()?;
        let finished = shared.accept_and_end(&acceptance, Some((lease, &end))).await?;
        if finished != FinishJob::Accepted(Accepted::Conflict) {
            shared.forget_job(lease);
        }
        Ok(finished)
    }

    async fn hasten_job(&self, account: &AccountName, id: JobId) -> Result<bool, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        let shard = shared.of(account);
        let now = shard.now();
        shard
            .run(&shared.scripts.hasten_job, |command| {
                command.arg(&id.to_bytes()).arg(now).arg(account.as_ref());
            })
            .await
    }

    async fn job_of_provider(
        &self,
        account: &AccountName,
        source: &str,
        provider_job: &str,
    ) -> Result<Option<JobRow>, StoreError> {
        let shared = self.open_only()?;
        let shard = shared.of(account);
        let jobs = shard.key("jp:", &[source.as_bytes(), b"\0", provider_job.as_bytes()].concat());
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZREVRANGE").arg(jobs).arg(0).arg(0);
        let (found,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
        match found.first() {
            Some(newest) => shared.job(account, JobId::from_bytes(id(newest)?)).await,
            None => Ok(None),
        }
    }

    async fn job(&self, account: &AccountName, id: JobId) -> Result<Option<JobRow>, StoreError> {
        self.open_only()?.job(account, id).await
    }
}

impl Shared {
    async fn put_job(&self, job: &NewJob, max_open: usize) -> Result<PutJob, StoreError> {
        let shard = self.of(&job.call.account);
        let (now, standing) = (shard.now(), &job.standing);
        let answer: Vec<Vec<u8>> = shard
            .run_kept(&self.scripts.put_job, |command| {
                command
                    .arg(&job.id.to_bytes())
                    .arg(job.source.as_str())
                    .arg(job.key.as_str())
                    .arg(job.call.account.as_ref())
                    .arg(form::write_job(job))
                    .arg(standing.phase.as_str())
                    .arg(form::write_standing(standing))
                    .arg(standing.due.as_microsecond())
                    .arg(from_now(standing.due, now))
                    .arg(standing.provider_job.as_deref().unwrap_or_default())
                    .arg(job.deadline.as_microsecond())
                    .arg(max_open)
                    .arg(call_name(&job.call));
            })
            .await?;
        match answer.first().map(Vec::as_slice) {
            Some(b"stored") => Ok(PutJob::Stored),
            Some(b"full") => Ok(PutJob::Full),
            Some(b"known") => {
                let known = answer.get(1).ok_or_else(|| form::corrupt("job", "its key names none"))?;
                Ok(PutJob::Known(JobId::from_bytes(id(known)?)))
            }
            _ => Err(taken()),
        }
    }

    /// The shards that have these sources' jobs, each with those sources.
    fn shards_of(&self, sources: &[SourceShare]) -> BTreeMap<usize, Vec<SourceShare>> {
        let mut shards: BTreeMap<usize, Vec<SourceShare>> = BTreeMap::new();
        for share in sources {
            let shard = shard_of(&share.account, self.shards.len());
            shards.entry(shard).or_default().push(share.clone());
        }
        shards
    }

    /// Claims of those shards that answer; an error, if none does.
    async fn claim_jobs(&self, slots: usize, sources: &[SourceShare]) -> Result<Vec<JobClaim>, StoreError> {
        let (mut claims, mut refused, mut is_answered) = (Vec::new(), None, sources.is_empty());
        let mut shards: Vec<_> = self.shards_of(sources).into_iter().collect();
        // Each comes first in turn, so that one with much to do takes no slots from the others for long.
        let turns = shards.len().max(1);
        shards.rotate_left(self.job_turn.fetch_add(1, Ordering::Relaxed) % turns);
        for (number, sources) in shards {
            if claims.len() == slots {
                break;
            }
            let shard = &self.shards[number];
            let found = if self.is_left_alone(shard) {
                Err(away())
            } else {
                self.claim_jobs_of(shard, slots - claims.len(), &sources).await
            };
            match found {
                Ok(found) => {
                    claims.extend(found);
                    is_answered = true;
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused.filter(|_| !is_answered) {
            Some(error) => Err(error),
            None => Ok(claims),
        }
    }

    async fn claim_jobs_of(
        &self,
        shard: &Shard,
        slots: usize,
        sources: &[SourceShare],
    ) -> Result<Vec<JobClaim>, StoreError> {
        let since = Instant::now();
        let granted: Vec<Granted> = shard
            .run(&self.scripts.claim_jobs, |command| {
                command.arg(slots).arg(span_micros(LEASE_TIME));
                add_shares(command, sources);
            })
            .await?;
        let mut claims = Vec::with_capacity(granted.len());
        for (id, token, phase, record, standing, due) in granted {
            let lease = JobLease { job: JobId::from_bytes(id), token: shard.token(token) };
            match form::read_job(lease.job, (record, standing), &phase, due) {
                Ok(job) => {
                    self.held_jobs().insert(lease.job, HeldJob { token: lease.token, since });
                    claims.push(JobClaim { lease, job: JobRow { job, end: None } });
                }
                Err(error) => {
                    tracing::error!(job = %lease.job, %error, "a job cannot be read and is set aside");
                    // Out of the way of the others, until retention removes it.
                    self.extend(shard, LONGEST_SPAN, &[lease]).await?;
                }
            }
        }
        Ok(claims)
    }

    async fn next_job(&self, sources: &[SourceShare]) -> Result<Option<Duration>, StoreError> {
        let (mut earliest, mut refused, mut is_answered) = (None, None, sources.is_empty());
        for (number, sources) in self.shards_of(sources) {
            let shard = &self.shards[number];
            let wait: Result<i64, _> = if self.is_left_alone(shard) {
                Err(away())
            } else {
                shard.run(&self.scripts.next_job, |command| add_shares(command, &sources)).await
            };
            match wait {
                Ok(wait) => {
                    // Less than nothing: none waits for its time.
                    let wait = u64::try_from(wait).ok().map(Duration::from_micros);
                    earliest = [earliest, wait].into_iter().flatten().min();
                    is_answered = true;
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if !is_answered => Err(error),
            // It may be back before any job is due.
            Some(_) => Ok(Some(earliest.map_or(AWAY_PAUSE, |wait| wait.min(AWAY_PAUSE)))),
            None => Ok(earliest),
        }
    }

    async fn settle_job(&self, lease: JobLease, standing: &JobStanding) -> Result<bool, StoreError> {
        let (shard, token) = self.of_token(lease.token);
        let now = shard.now();
        let was_held = shard
            .run(&self.scripts.settle_job, |command| {
                command
                    .arg(&lease.job.to_bytes())
                    .arg(token)
                    .arg(standing.phase.as_str())
                    .arg(form::write_standing(standing))
                    .arg(standing.due.as_microsecond())
                    .arg(from_now(standing.due, now))
                    .arg(standing.provider_job.as_deref().unwrap_or_default())
                    .arg(now);
            })
            .await?;
        // Whether it was ours to write or not: it is not ours any more.
        self.forget_job(lease);
        Ok(was_held)
    }

    async fn job(&self, account: &AccountName, id: JobId) -> Result<Option<JobRow>, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(shard.key("j:", &id.to_bytes()));
        let (fields,) = shard.ask(&pipeline).await?;
        let row = Row { what: "job", fields };
        if row.fields.is_empty() || row.bytes("a")? != account.as_bytes() {
            return Ok(None);
        }
        let records = (row.bytes("b")?.to_vec(), row.bytes("g")?.to_vec());
        let job = form::read_job(id, records, row.text("p")?, row.number("u")?)?;
        let end = row.optional_text("e")?.map(|end| match end.strip_prefix('f') {
            Some(reason) => JobEnd::Failed(reason.to_owned()),
            None => JobEnd::Completed,
        });
        Ok(Some(JobRow { job, end }))
    }

    /// Keeps the leases of a shard's jobs that are worked on here from running out.
    pub(super) async fn keep_jobs(&self, shard: &Shard) -> Result<(), StoreError> {
        let now = Instant::now();
        let leases: Vec<JobLease> = {
            let mut held = self.held_jobs();
            held.retain(|_, one| now.saturating_duration_since(one.since) < WORK_LIMIT);
            let leases = held.iter().map(|(job, one)| JobLease { job: *job, token: one.token });
            leases.filter(|lease| of_token(lease.token).0 == shard.number()).collect()
        };
        self.extend(shard, span_micros(LEASE_TIME), &leases).await
    }

    /// Lets the leases that are still held here run out now. What one shard does not take holds up no
    /// other.
    pub(super) async fn give_back_jobs(&self) -> Result<(), StoreError> {
        let held = std::mem::take(&mut *self.held_jobs());
        let mut given_back = Ok(());
        for shard in &self.shards {
            let leases = held.iter().map(|(job, one)| JobLease { job: *job, token: one.token });
            let of_shard: Vec<JobLease> =
                leases.filter(|lease| of_token(lease.token).0 == shard.number()).collect();
            given_back = given_back.and(self.extend(shard, 0, &of_shard).await);
        }
        given_back
    }

    async fn extend(&self, shard: &Shard, span: i64, leases: &[JobLease]) -> Result<(), StoreError> {
        if leases.is_empty() {
            return Ok(());
        }
        shard
            .run(&self.scripts.keep_jobs, |command| {
                command.arg(span);
                for lease in leases {
                    command.arg(&lease.job.to_bytes()).arg(of_token(lease.token).1);
                }
            })
            .await
    }

    fn held_jobs(&self) -> MutexGuard<'_, HashMap<JobId, HeldJob>> {
        self.held_jobs.lock().expect("no holder of this lock panics")
    }

    fn forget_job(&self, lease: JobLease) {
        let mut held = self.held_jobs();
        if held.get(&lease.job).is_some_and(|one| one.token == lease.token) {
            held.remove(&lease.job);
        }
    }
}

fn add_shares(command: &mut Cmd, sources: &[SourceShare]) {
    for share in sources {
        command.arg(share.source.as_ref()).arg(share.max_jobs);
    }
}
