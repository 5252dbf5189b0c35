//! Speech jobs in Redis. A lease is short, and the process that works on its job says again and
//! again that it lives: a job is taken on soon after its process died, however long a step may take.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;
use tokio::sync::watch;
use tokio::time::Instant;

use super::failure::taken;
use super::reading::{Row, id, key};
use super::writing::{LONGEST_SPAN, from_now, span_micros};
use super::{Redis, Shared, form};
use crate::event::JobId;
use crate::store::{
    Acceptance, Accepted, FinishJob, JobClaim, JobEnd, JobLease, JobRow, JobStanding, Jobs, NewJob, PutJob,
    SourceShare, StoreError,
};

/// How long a lease of a job lasts if nobody keeps it.
const LEASE_TIME: Duration = Duration::from_secs(30);

/// How often a process keeps its leases from running out: several times may fail.
pub(super) const KEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How long a lease is kept: longer than the longest step, which is the fetching of all parts of its
/// results and the writing of them while the store is away. A worker that takes longer is lost.
const WORK_LIMIT: Duration = Duration::from_mins(20);

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
        let shared = self.open_only()?;
        let wait: i64 =
            shared.link.run(&shared.scripts.next_job, |command| add_shares(command, sources)).await?;
        Ok(u64::try_from(wait).ok().map(Duration::from_micros))
    }

    async fn jobs_change(&self) {
        self.shared.idle_for_jobs.send_replace(true);
        let _idle = Idle(&self.shared.idle_for_jobs);
        self.shared.woken_for_jobs.notified().await;
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

    async fn hasten_job(&self, id: JobId) -> Result<bool, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        let now = shared.link.now();
        shared
            .link
            .run(&shared.scripts.hasten_job, |command| {
                command.arg(&id.to_bytes()).arg(now);
            })
            .await
    }

    async fn job_of_provider(&self, source: &str, provider_job: &str) -> Result<Option<JobRow>, StoreError> {
        let shared = self.open_only()?;
        let jobs = key("jp:", &[source.as_bytes(), b"\0", provider_job.as_bytes()].concat());
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZREVRANGE").arg(jobs).arg(0).arg(0);
        let (found,): (Vec<Vec<u8>>,) = shared.link.ask(&pipeline).await?;
        match found.first() {
            Some(newest) => shared.job(JobId::from_bytes(id(newest)?)).await,
            None => Ok(None),
        }
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRow>, StoreError> {
        self.open_only()?.job(id).await
    }
}

impl Shared {
    async fn put_job(&self, job: &NewJob, max_open: usize) -> Result<PutJob, StoreError> {
        let (now, standing) = (self.link.now(), &job.standing);
        let answer: Vec<Vec<u8>> = self
            .link
            .run(&self.scripts.put_job, |command| {
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
                    .arg(max_open);
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

    async fn claim_jobs(&self, slots: usize, sources: &[SourceShare]) -> Result<Vec<JobClaim>, StoreError> {
        let since = Instant::now();
        let granted: Vec<Granted> = self
            .link
            .run(&self.scripts.claim_jobs, |command| {
                command.arg(slots).arg(span_micros(LEASE_TIME));
                add_shares(command, sources);
            })
            .await?;
        let mut claims = Vec::with_capacity(granted.len());
        for (id, token, phase, record, standing, due) in granted {
            let lease = JobLease { job: JobId::from_bytes(id), token };
            match form::read_job(lease.job, (record, standing), &phase, due) {
                Ok(job) => {
                    self.held_jobs().insert(lease.job, HeldJob { token, since });
                    claims.push(JobClaim { lease, job: JobRow { job, end: None } });
                }
                Err(error) => {
                    tracing::error!(job = %lease.job, %error, "a job cannot be read and is set aside");
                    // Out of the way of the others, until retention removes it.
                    self.extend(LONGEST_SPAN, &[lease]).await?;
                }
            }
        }
        Ok(claims)
    }

    async fn settle_job(&self, lease: JobLease, standing: &JobStanding) -> Result<bool, StoreError> {
        let now = self.link.now();
        let was_held = self
            .link
            .run(&self.scripts.settle_job, |command| {
                command
                    .arg(&lease.job.to_bytes())
                    .arg(lease.token)
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

    async fn job(&self, id: JobId) -> Result<Option<JobRow>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(key("j:", &id.to_bytes()));
        let (fields,) = self.link.ask(&pipeline).await?;
        let row = Row { what: "job", fields };
        if row.fields.is_empty() {
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

    /// Keeps the leases of jobs that are worked on here from running out.
    pub(super) async fn keep_jobs(&self) -> Result<(), StoreError> {
        let now = Instant::now();
        let leases: Vec<JobLease> = {
            let mut held = self.held_jobs();
            held.retain(|_, one| now.saturating_duration_since(one.since) < WORK_LIMIT);
            held.iter().map(|(job, one)| JobLease { job: *job, token: one.token }).collect()
        };
        self.extend(span_micros(LEASE_TIME), &leases).await
    }

    /// Lets the leases that are still held here run out now.
    pub(super) async fn give_back_jobs(&self) -> Result<(), StoreError> {
        let held = std::mem::take(&mut *self.held_jobs());
        let leases: Vec<JobLease> =
            held.into_iter().map(|(job, one)| JobLease { job, token: one.token }).collect();
        self.extend(0, &leases).await
    }

    async fn extend(&self, span: i64, leases: &[JobLease]) -> Result<(), StoreError> {
        if leases.is_empty() {
            return Ok(());
        }
        self.link
            .run(&self.scripts.keep_jobs, |command| {
                command.arg(span);
                for lease in leases {
                    command.arg(&lease.job.to_bytes()).arg(lease.token);
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
