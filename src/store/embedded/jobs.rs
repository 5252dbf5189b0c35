//! Speech jobs in the file. A job is one row; what it leases is marked there, and a restart frees
//! all leases at once, for the file has one owner.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Embedded;
use super::desk::{Desk, micros, span_micros};
use super::failure::WriteError;
use super::reader::{damaged, time};
use super::writer::Write;
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, JobId};
use crate::store::{
    Acceptance, Accepted, FinishJob, JobClaim, JobEnd, JobLease, JobPhase, JobRow, JobStanding, Jobs, NewJob,
    PutJob, SourceShare, StoreError,
};

/// How long a lease of a job lasts: longer than the longest work on one, which is the fetching of
/// all parts of its results.
const LEASE_TIME: Duration = Duration::from_mins(10);

/// How many ended or lost jobs one sweep removes.
const SWEEP_CHUNK: i64 = 200;

/// The table. `ended` is NULL while the job is not over, empty if it was completed, else why it
/// failed.
pub(super) const TABLES: &str = "
CREATE TABLE job (
    id BLOB PRIMARY KEY,
    account INTEGER NOT NULL,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    call_space TEXT NOT NULL,
    call_id TEXT NOT NULL,
    submitted_by TEXT,
    created_at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    phase TEXT NOT NULL,
    due INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    polls INTEGER NOT NULL,
    provider_job TEXT,
    task BLOB NOT NULL,
    token INTEGER NOT NULL,         -- of the latest lease
    leased_until INTEGER,           -- NULL while it waits
    hastened INTEGER NOT NULL,      -- 1: due again right after the present lease
    ended TEXT,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX job_by_key ON job (source, key);
CREATE INDEX job_by_provider ON job (source, provider_job) WHERE provider_job IS NOT NULL;
CREATE INDEX job_due ON job (source, due) WHERE ended IS NULL;
CREATE INDEX job_open ON job (account) WHERE ended IS NULL;
CREATE INDEX job_ended ON job (ended_at) WHERE ended IS NOT NULL;
";

/// Frees what the last process had leased.
pub(super) fn recover(desk: &Desk) -> rusqlite::Result<()> {
    desk.connection.execute("UPDATE job SET leased_until = NULL WHERE leased_until IS NOT NULL", [])?;
    Ok(())
}

/// Removes some of the jobs that ended, or should have ended, before this time.
pub(super) fn sweep(connection: &Connection, before: i64) -> rusqlite::Result<usize> {
    let ended = connection
        .prepare_cached(
            "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE ended IS NOT NULL AND ended_at <= ?1 \
             ORDER BY ended_at LIMIT ?2)",
        )?
        .execute(params![before, SWEEP_CHUNK])?;
    // Those of sources that there are not any more.
    let lost = connection
        .prepare_cached(
            "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE ended IS NULL AND deadline <= ?1 LIMIT ?2)",
        )?
        .execute(params![before, SWEEP_CHUNK])?;
    Ok(ended + lost)
}

#[async_trait]
impl Jobs for Embedded {
    async fn put_job(&self, job: NewJob, max_open: usize) -> Result<PutJob, StoreError> {
        self.write(Put { job, max_open }).await
    }

    async fn claim_jobs(&self, slots: usize, sources: &[SourceShare]) -> Result<Vec<JobClaim>, StoreError> {
        self.write(Claim { now: Timestamp::now(), slots, sources: sources.to_vec() }).await
    }

    async fn next_job(&self, sources: &[SourceShare]) -> Result<Option<Duration>, StoreError> {
        let sources = sources.to_vec();
        let due = self.readers.read_ahead(move |connection| next(connection, &sources)).await?;
        let wait =
            |due: Timestamp| Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        Ok(due.map(wait))
    }

    async fn settle_job(&self, lease: JobLease, standing: JobStanding) -> Result<bool, StoreError> {
        self.write_first(Settle { lease, standing, now: Timestamp::now() }).await
    }

    async fn finish_job(
        &self,
        lease: JobLease,
        end: JobEnd,
        acceptance: Acceptance,
    ) -> Result<FinishJob, StoreError> {
        self.write_first(Finish { lease, end, acceptance: Box::new(acceptance) }).await
    }

    async fn hasten_job(&self, account: &AccountName, id: JobId) -> Result<bool, StoreError> {
        self.write(Hasten { account: account.clone(), id, now: Timestamp::now() }).await
    }

    async fn job_of_provider(
        &self,
        account: &AccountName,
        source: &str,
        id: &str,
    ) -> Result<Option<JobRow>, StoreError> {
        let (account, source, id) = (account.clone(), source.to_owned(), id.to_owned());
        let sql = format!(
            "{SELECT} WHERE j.source = ?1 AND j.provider_job = ?2 AND a.name = ?3 ORDER BY j.id DESC LIMIT 1"
        );
        self.readers
            .read(move |connection| {
                connection
                    .prepare_cached(&sql)?
                    .query_row(params![source, id, account.as_ref()], read_job)
                    .optional()
            })
            .await
    }

    async fn job(&self, account: &AccountName, id: JobId) -> Result<Option<JobRow>, StoreError> {
        let job = self.readers.read(move |connection| select(connection, id)).await?;
        Ok(job.filter(|job| job.job.call.account == *account))
    }
}

const SELECT: &str = "SELECT j.id, a.name, j.source, j.key, j.call_space, j.call_id, j.submitted_by, \
    j.created_at, j.deadline, j.phase, j.due, j.failures, j.polls, j.provider_job, j.task, j.ended \
    FROM job j JOIN account a ON a.id = j.account";

fn select(connection: &Connection, id: JobId) -> rusqlite::Result<Option<JobRow>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE j.id = ?1"))?
        .query_row([id.to_bytes()], read_job)
        .optional()
}

fn read_job(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let account = AccountName::from(row.get::<_, String>(1)?);
    let call: String = row.get(5)?;
    let id = CallId::from_text(&call).ok_or_else(|| damaged(5, Type::Text, "no call id"))?;
    let phase: String = row.get(9)?;
    let ended: Option<String> = row.get(15)?;
    Ok(JobRow {
        job: NewJob {
            id: JobId::from_bytes(row.get(0)?),
            source: row.get(2)?,
            key: row.get(3)?,
            call: CallKey { account, space: row.get::<_, String>(4)?.into(), id },
            submitted_by: row.get(6)?,
            created_at: time(row, 7)?,
            deadline: time(row, 8)?,
            standing: JobStanding {
                phase: JobPhase::from_name(&phase)
                    .ok_or_else(|| damaged(9, Type::Text, "an unknown phase"))?,
                due: time(row, 10)?,
                failures: row.get(11)?,
                polls: row.get(12)?,
                provider_job: row.get(13)?,
                task: row.get(14)?,
            },
        },
        end: ended.map(|reason| if reason.is_empty() { JobEnd::Completed } else { JobEnd::Failed(reason) }),
    })
}

struct Put {
    job: NewJob,
    max_open: usize,
}

impl Write for Put {
    type Outcome = PutJob;

    fn write(&self, desk: &mut Desk) -> Result<PutJob, WriteError> {
        let job = &self.job;
        let known = desk
            .connection
            .prepare_cached(
                "SELECT id FROM job WHERE source = ?1 AND key = ?2 AND (ended IS NULL OR ended = '')",
            )?
            .query_row(params![job.source, job.key], |row| row.get::<_, [u8; 16]>(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(PutJob::Known(JobId::from_bytes(id)));
        }
        let account = desk.account(&job.call.account)?;
        let open: i64 = desk
            .connection
            .prepare_cached("SELECT count(*) FROM job WHERE account = ?1 AND ended IS NULL")?
            .query_row([account], |row| row.get(0))?;
        if usize::try_from(open).unwrap_or(usize::MAX) >= self.max_open {
            return Ok(PutJob::Full);
        }
        // One that failed makes room for another try, and is kept beside it.
        desk.connection
            .prepare_cached("UPDATE job SET key = key || '#' || hex(id) WHERE source = ?1 AND key = ?2")?
            .execute(params![job.source, job.key])?;
        let standing = &job.standing;
        desk.connection
            .prepare_cached(
                "INSERT INTO job (id, account, source, key, call_space, call_id, submitted_by, created_at, \
                 deadline, phase, due, failures, polls, provider_job, task, token, leased_until, hastened) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0, NULL, 0)",
            )?
            .execute(params![
                job.id.to_bytes(),
                account,
                job.source,
                job.key,
                job.call.space,
                job.call.id.as_str(),
                job.submitted_by,
                micros(job.created_at),
                micros(job.deadline),
                standing.phase.as_str(),
                micros(standing.due),
                standing.failures,
                standing.polls,
                standing.provider_job,
                standing.task,
            ])?;
        Ok(PutJob::Stored)
    }
}

struct Claim {
    now: Timestamp,
    slots: usize,
    sources: Vec<SourceShare>,
}

impl Write for Claim {
    type Outcome = Vec<JobClaim>;

    fn write(&self, desk: &mut Desk) -> Result<Vec<JobClaim>, WriteError> {
        let now = micros(self.now);
        let mut due: Vec<(i64, [u8; 16])> = Vec::new();
        for share in &self.sources {
            due.extend(due_of_source(&desk.connection, share, now, self.slots)?);
        }
        due.sort_unstable();
        due.truncate(self.slots);
        let mut claims = Vec::with_capacity(due.len());
        for (_, id) in due {
            let token: i64 = desk
                .connection
                .prepare_cached(
                    "UPDATE job SET token = token + 1, leased_until = ?2, hastened = 0 WHERE id = ?1 RETURNING token",
                )?
                .query_row(params![id, now.saturating_add(span_micros(LEASE_TIME))], |row| row.get(0))?;
            let id = JobId::from_bytes(id);
            if let Some(job) = select(&desk.connection, id)? {
                claims.push(JobClaim { lease: JobLease { job: id, token: token.cast_unsigned() }, job });
            }
        }
        Ok(claims)
    }
}

/// A job that waits, or whose worker did not come back.
const FREE: &str = "(leased_until IS NULL OR leased_until <= ?2)";

fn due_of_source(
    connection: &Connection,
    share: &SourceShare,
    now: i64,
    slots: usize,
) -> rusqlite::Result<Vec<(i64, [u8; 16])>> {
    // At work are those that the provider has, and those that are being handed over.
    let at_work: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM job WHERE source = ?1 AND ended IS NULL AND \
             (phase = 'processing' OR (phase = 'submitted' AND leased_until > ?2))",
        )?
        .query_row(params![share.source, now], |row| row.get(0))?;
    let room = i64::try_from(share.max_jobs).unwrap_or(i64::MAX).saturating_sub(at_work).max(0);
    let slots = i64::try_from(slots).unwrap_or(i64::MAX);
    let mut due = Vec::new();
    for (phases, limit) in [("phase <> 'submitted'", slots), ("phase = 'submitted'", room.min(slots))] {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT due, id FROM job INDEXED BY job_due WHERE source = ?1 AND ended IS NULL AND due <= ?2 \
             AND {FREE} AND {phases} ORDER BY due LIMIT ?3"
        ))?;
        let rows =
            statement.query_map(params![share.source, now, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for row in rows {
            due.push(row?);
        }
    }
    Ok(due)
}

fn next(connection: &Connection, sources: &[SourceShare]) -> rusqlite::Result<Option<Timestamp>> {
    let mut earliest = None;
    for share in sources {
        let due: Option<i64> = connection
            .prepare_cached(
                "SELECT min(max(due, coalesce(leased_until, due))) FROM job INDEXED BY job_due \
                 WHERE source = ?1 AND ended IS NULL",
            )?
            .query_row([&share.source], |row| row.get(0))?;
        earliest = [earliest, due].into_iter().flatten().min();
    }
    let to_time =
        |at| Timestamp::from_microsecond(at).map_err(|_| damaged(0, Type::Integer, "a time out of range"));
    earliest.map(to_time).transpose()
}

struct Settle {
    lease: JobLease,
    standing: JobStanding,
    now: Timestamp,
}

impl Write for Settle {
    type Outcome = bool;

    fn write(&self, desk: &mut Desk) -> Result<bool, WriteError> {
        let standing = &self.standing;
        let written = desk
            .connection
            .prepare_cached(
                "UPDATE job SET phase = ?3, due = CASE WHEN hastened = 1 THEN min(?4, ?9) ELSE ?4 END, \
                 failures = ?5, polls = ?6, provider_job = ?7, task = ?8, leased_until = NULL, hastened = 0 \
                 WHERE id = ?1 AND token = ?2 AND ended IS NULL AND leased_until IS NOT NULL",
            )?
            .execute(params![
                self.lease.job.to_bytes(),
                self.lease.token.cast_signed(),
                standing.phase.as_str(),
                micros(standing.due),
                standing.failures,
                standing.polls,
                standing.provider_job,
                standing.task,
                micros(self.now),
            ])?;
        Ok(written == 1)
    }
}

struct Finish {
    lease: JobLease,
    end: JobEnd,
    acceptance: Box<Acceptance>,
}

impl Write for Finish {
    type Outcome = FinishJob;

    fn write(&self, desk: &mut Desk) -> Result<FinishJob, WriteError> {
        let (id, token) = (self.lease.job.to_bytes(), self.lease.token.cast_signed());
        let held = desk
            .connection
            .prepare_cached(
                "SELECT 1 FROM job WHERE id = ?1 AND token = ?2 AND ended IS NULL AND leased_until IS NOT NULL",
            )?
            .exists(params![id, token])?;
        if !held {
            return Ok(FinishJob::Lost);
        }
        let ended_at = micros(self.acceptance.event.received_at);
        let accepted = self.acceptance.write(desk)?;
        if !matches!(accepted, Accepted::Conflict) {
            let ended = match &self.end {
                JobEnd::Completed => "",
                JobEnd::Failed(reason) => reason,
            };
            desk.connection
                .prepare_cached(
                    "UPDATE job SET ended = ?2, ended_at = ?3, leased_until = NULL WHERE id = ?1",
                )?
                .execute(params![id, ended, ended_at])?;
        }
        Ok(FinishJob::Accepted(accepted))
    }

    fn weight(&self) -> usize {
        self.acceptance.weight()
    }
}

struct Hasten {
    account: AccountName,
    id: JobId,
    now: Timestamp,
}

impl Write for Hasten {
    type Outcome = bool;

    fn write(&self, desk: &mut Desk) -> Result<bool, WriteError> {
        let written = desk
            .connection
            .prepare_cached(
                "UPDATE job SET due = min(due, ?2), hastened = 1 WHERE id = ?1 AND ended IS NULL \
                 AND account = (SELECT id FROM account WHERE name = ?3)",
            )?
            .execute(params![self.id.to_bytes(), micros(self.now), self.account.as_ref()])?;
        Ok(written == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::embedded::Options;

    #[tokio::test]
    async fn a_lease_that_ran_out_is_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(&folder.path().join("store.db"), Options::default()).unwrap();
        let at = Timestamp::from_microsecond(1_800_000_000_000_000).unwrap();
        let job = NewJob {
            id: JobId::new(),
            source: "symbl".to_owned(),
            key: "a".to_owned(),
            call: CallKey {
                account: "acme".into(),
                space: "default".into(),
                id: CallId::from_text("a").unwrap(),
            },
            submitted_by: None,
            created_at: at,
            deadline: at,
            standing: JobStanding {
                phase: JobPhase::Submitted,
                due: at,
                failures: 0,
                polls: 0,
                provider_job: None,
                task: Vec::new(),
            },
        };
        store.put_job(job.clone(), 1).await.unwrap();
        let claim = async |after: Duration| {
            let sources = vec![SourceShare { account: "acme".into(), source: "symbl".into(), max_jobs: 1 }];
            let mut claims = store.write(Claim { now: at + after, slots: 1, sources }).await.unwrap();
            claims.pop().map(|claim| claim.lease)
        };
        let first = claim(Duration::ZERO).await.unwrap();
        assert_eq!(claim(LEASE_TIME / 2).await, None);
        let second = claim(LEASE_TIME).await.unwrap();
        assert_ne!(first, second);
        assert!(!store.settle_job(first, job.standing.clone()).await.unwrap());
        assert!(store.settle_job(second, job.standing).await.unwrap());
        store.close().await;
    }
}
