//! Speech jobs: what must be durable of them, and who may work on which.
//!
//! Apart from [`Store`](super::Store), whose three writes know nothing of jobs. The two meet in
//! [`Jobs::finish_job`]: what a job made, everything that must be delivered because of it, and the
//! job's end are one atomic write.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Acceptance, Accepted, StoreError};
use crate::context::CallKey;
use crate::event::{AccountName, JobId};
use crate::limit::Rate;

/// The jobs of a store, shared by every room that reads or writes.
pub type SharedJobs = Arc<dyn Jobs>;

/// What every store does with jobs. All methods are cancel-safe, as those of
/// [`Store`](super::Store) are.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Writes a new job, unless there is one of its source with the same key that has not failed,
    /// or its account has `max_open` that are not over.
    async fn put_job(&self, job: NewJob, max_open: usize) -> Result<PutJob, StoreError>;

    /// Leases up to `slots` jobs whose time has come, of these sources only, those first that are
    /// due longest. Of a source that has as many jobs at work as it may, over all processes, none
    /// that is still to be submitted is taken.
    async fn claim_jobs(&self, slots: usize, sources: &[SourceShare]) -> Result<Vec<JobClaim>, StoreError>;

    /// How long it is until the next job of these sources can be claimed, as far as time decides it.
    async fn next_job(&self, sources: &[SourceShare]) -> Result<Option<Duration>, StoreError>;

    /// Returns when another process may have made a job that can be claimed, or room for one. Pends
    /// for ever where there is no other process.
    async fn jobs_change(&self) {
        std::future::pending::<()>().await;
    }

    /// Counts a request to the provider of a source against its rate, which holds over all processes.
    async fn take_turn(&self, source: &str, rate: Rate) -> Result<Turn, StoreError> {
        let _ = (source, rate);
        Ok(Turn::Own)
    }

    /// Writes how a job stands after it was worked on, and ends its lease. `false`, and nothing, if
    /// the lease is not held any more.
    async fn settle_job(&self, lease: JobLease, standing: JobStanding) -> Result<bool, StoreError>;

    /// Accepts the event that ends a job, and ends it, in one atomic and durable write.
    /// [`FinishJob::Lost`], and nothing, if the lease is not held any more; a conflict or a repeat
    /// of the acceptance leaves the job as it is.
    async fn finish_job(
        &self,
        lease: JobLease,
        end: JobEnd,
        acceptance: Acceptance,
    ) -> Result<FinishJob, StoreError>;

    /// Makes a job that is not over due now. If it is worked on at this moment, it is due again
    /// right afterwards. `false` if this account has none such.
    async fn hasten_job(&self, account: &AccountName, id: JobId) -> Result<bool, StoreError>;

    /// The job that the provider of an account's source keeps under this id.
    async fn job_of_provider(
        &self,
        account: &AccountName,
        source: &str,
        id: &str,
    ) -> Result<Option<JobRow>, StoreError>;

    /// A job of this account.
    async fn job(&self, account: &AccountName, id: JobId) -> Result<Option<JobRow>, StoreError>;
}

/// A job to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// The source whose provider does it.
    pub source: String,
    /// What makes it the same job, within its source.
    pub key: String,
    /// The call that it is of.
    pub call: CallKey,
    /// The name of the token that submitted it; `None` if a provider's notice did.
    pub submitted_by: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By when it must be over.
    pub deadline: Timestamp,
    /// How it stands.
    pub standing: JobStanding,
}

/// How a job stands while it is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStanding {
    /// What is to be done next.
    pub phase: JobPhase,
    /// When.
    pub due: Timestamp,
    /// How often in a row the provider could not be asked, or answered with an error.
    pub failures: u32,
    /// How often it said that the job is not done.
    pub polls: u32,
    /// The provider's id of the job, once it has given one.
    pub provider_job: Option<String>,
    /// The job room's own JSON, opaque to the store.
    pub task: Vec<u8>,
}

/// What is to be done next with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobPhase {
    /// To hand it over to the provider.
    Submitted,
    /// To ask whether it is done: the provider is at work.
    Processing,
    /// To fetch what it made.
    Fetching,
}

impl JobPhase {
    /// Every phase, in their order: a job never goes back.
    pub const ALL: [Self; 3] = [Self::Submitted, Self::Processing, Self::Fetching];

    /// Its name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Processing => "processing",
            Self::Fetching => "fetching",
        }
    }

    /// The phase of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }
}

/// What became of a [`NewJob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutJob {
    /// It is written and durable.
    Stored,
    /// There was one with its key: this one.
    Known(JobId),
    /// Its account has too many.
    Full,
}

/// How many jobs of a source may be at work at its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceShare {
    /// Whose it is.
    pub account: AccountName,
    /// The source.
    pub source: Arc<str>,
    /// How many.
    pub max_jobs: usize,
}

/// Whether a provider may be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is no other process: this one counts by itself.
    Own,
    /// It may, and was counted.
    Taken,
    /// Not before this time has passed; nothing was counted.
    Wait(Duration),
}

/// The right to work on a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobLease {
    /// The job.
    pub job: JobId,
    /// Tells this lease from every other one of the same job.
    pub token: u64,
}

/// A job that was leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobClaim {
    /// The right to work on it.
    pub lease: JobLease,
    /// The job.
    pub job: JobRow,
}

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// What it was made as; its standing is the present one.
    pub job: NewJob,
    /// How it ended, if it is over.
    pub end: Option<JobEnd>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// What it made is an event.
    Completed,
    /// It made nothing, for this reason.
    Failed(String),
}

/// What became of the end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishJob {
    /// The lease is another's; nothing was written.
    Lost,
    /// What became of the acceptance. The job is over if it was stored, or had been before.
    Accepted(Accepted),
}
