//! Where jobs are submitted, and where notices of them come in.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::task::{StoredMedia, StoredTask};
use crate::context::{CallContext, CallKey, InvalidContext, Json, Name};
use crate::event::{AccountName, EventId, JobId};
use crate::limit::Rate;
use crate::provider::{Adapter, Api, Credentials};
use crate::store::{
    JobPhase, JobRow, JobStanding, NewJob, PutJob, SharedJobs, SharedStore, SourceShare, StoreError,
};

/// Jobs of one account that are not over. Each is a row that is looked at again and again.
const MAX_OPEN: usize = 100_000;

/// A source whose provider can be asked.
pub struct Provider {
    /// The source.
    pub source: Arc<str>,
    /// Whose it is. Only calls of this account are sent there.
    pub account: AccountName,
    /// In which space the provider's call ids count, if it has the calls itself.
    pub call_space: Arc<str>,
    /// How the provider is asked; one that has an [`Api`].
    pub adapter: Arc<dyn Adapter>,
    /// Where it is, without a slash at its end.
    pub base_url: String,
    /// What it is asked with.
    pub credentials: Credentials,
    /// Jobs that it works on at once.
    pub max_jobs: usize,
    /// How often it may be asked; `None` for no limit.
    pub rate_limit: Option<Rate>,
    /// Where it shall tell how a job stands, if this process can be reached.
    pub webhook_url: Option<String>,
}

impl Provider {
    pub(super) fn api(&self) -> &dyn Api {
        self.adapter.api().expect("only providers that can be asked are made one of these")
    }

    /// Whether it could transcribe this call: one that is sent media any call of its account, one
    /// that has the calls itself those of its own space.
    fn is_for(&self, call: &CallKey) -> bool {
        self.account == call.account && (self.api().needs_media() || self.call_space == call.space)
    }
}

/// A call that is to be transcribed.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// Which.
    pub call: &'a CallKey,
    /// The source that told of it, where that is known: if its provider transcribes, it does this.
    pub own_source: Option<&'a str>,
    /// The name of the token that asks for it: the results belong to it.
    pub submitted_by: Option<&'a str>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is a job.
    New(JobId),
    /// It was one already, open or completed.
    Known(JobId),
}

impl Submitted {
    /// The job.
    #[must_use]
    pub const fn job(self) -> JobId {
        match self {
            Self::New(job) | Self::Known(job) => job,
        }
    }
}

/// Why a call is not transcribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is known that could be transcribed.
    #[error("no_recording")]
    NoRecording,
    /// Neither its own source nor another transcribes it.
    #[error("no_provider")]
    NoProvider,
    /// Its account has too many jobs that are not over.
    #[error("too_many")]
    TooMany,
}

/// Why there is no job.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The call is not transcribed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored of the call cannot be read.
    #[error(transparent)]
    Context(#[from] InvalidContext),
}

/// Takes submissions and notices.
pub struct Desk {
    providers: HashMap<Arc<str>, Arc<Provider>>,
    speech: Vec<Arc<str>>,
    timeout: Duration,
    store: SharedStore,
    jobs: SharedJobs,
    pub(super) changed: Notify,
}

impl Desk {
    /// A desk for these providers. `speech` are the sources that transcribe where a call's own does
    /// not, the first that can; a job that is not done within `timeout` fails.
    #[must_use]
    pub fn new(
        providers: Vec<Provider>,
        speech: Vec<Arc<str>>,
        timeout: Duration,
        store: SharedStore,
        jobs: SharedJobs,
    ) -> Self {
        let by_source = |provider: Provider| (Arc::clone(&provider.source), Arc::new(provider));
        let providers = providers.into_iter().map(by_source).collect();
        Self { providers, speech, timeout, store, jobs, changed: Notify::new() }
    }

    /// Makes a call a job of the provider that transcribes it.
    ///
    /// # Errors
    /// It cannot be transcribed, or the store cannot be asked.
    pub async fn submit(&self, submission: Submission<'_>, now: Timestamp) -> Result<Submitted, SubmitError> {
        let Submission { call, own_source, submitted_by } = submission;
        let context = match self.store.call(call).await? {
            Some(stored) => CallContext::from_bytes(&stored.context)?,
            None => CallContext::default(),
        };
        let text = |name| context.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        let sent = if let Some(url) = text(Name::CallRecordingUrl) {
            Some(StoredMedia::Recording(url.to_owned()))
        } else {
            text(Name::SpeechResult).map(|said| StoredMedia::Text(said.to_owned()))
        };
        let own = own_source.and_then(|source| self.providers.get(source));
        let holds_it = own.filter(|own| !own.api().needs_media());
        let named = self.speech.iter().filter_map(|source| self.providers.get(source));
        let candidates: Vec<_> =
            holds_it.into_iter().chain(named).chain(own).filter(|provider| provider.is_for(call)).collect();
        let (provider, media) = candidates
            .iter()
            .find_map(|provider| {
                let media = if provider.api().needs_media() { sent.clone()? } else { StoredMedia::OfTheCall };
                Some((*provider, media))
            })
            .ok_or(if candidates.is_empty() { Refusal::NoProvider } else { Refusal::NoRecording })?;
        let task = StoredTask {
            media,
            language: text(Name::SpeechLanguage).or(text(Name::CallLanguage)).map(str::to_owned),
            conversation: None,
        };
        // What a token asks for is its own: another's job is another job.
        let key = format!("speech {:?}", (&*call.space, call.id.as_str(), submitted_by));
        let phase = JobPhase::Submitted;
        match self.put(provider, key, call, submitted_by, phase, &task, now).await? {
            Some(submitted) => Ok(submitted),
            None => Err(Refusal::TooMany.into()),
        }
    }

    /// Whether the results that a source's thin events give notice of can be fetched.
    #[must_use]
    pub fn can_fetch(&self, source: &str) -> bool {
        self.providers.contains_key(source)
    }

    /// Fetches the results of a call that an event gave notice of. The same event again changes
    /// nothing.
    ///
    /// # Errors
    /// The store cannot be asked, or the account has too many jobs: the event must come again.
    pub async fn fetch(
        &self,
        source: &str,
        call: &CallKey,
        event: EventId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(provider) = self.providers.get(source) else { return Ok(()) };
        let task = StoredTask::default();
        let key = format!("event {event}");
        match self.put(provider, key, call, None, JobPhase::Fetching, &task, now).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable {
                reason: "the account has too many jobs",
                retry_after: Duration::from_mins(1),
                source: None,
            }),
        }
    }

    /// The job that the provider of an account's source keeps under this id.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn job_of_provider(
        &self,
        account: &AccountName,
        source: &str,
        id: &str,
    ) -> Result<Option<JobRow>, StoreError> {
        if self.providers.contains_key(source) {
            self.jobs.job_of_provider(account, source, id).await
        } else {
            Ok(None)
        }
    }

    /// Has a job of this account looked at now, for its provider says that something has changed.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn look_at(&self, account: &AccountName, job: JobId) -> Result<(), StoreError> {
        self.jobs.hasten_job(account, job).await?;
        self.changed.notify_one();
        Ok(())
    }

    /// A job of this account.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn job(&self, account: &AccountName, id: JobId) -> Result<Option<JobRow>, StoreError> {
        self.jobs.job(account, id).await
    }

    #[allow(clippy::too_many_arguments, reason = "a job is made of as much")]
    async fn put(
        &self,
        provider: &Provider,
        key: String,
        call: &CallKey,
        submitted_by: Option<&str>,
        phase: JobPhase,
        task: &StoredTask,
        now: Timestamp,
    ) -> Result<Option<Submitted>, StoreError> {
        let id = JobId::new();
        let job = NewJob {
            id,
            source: provider.source.to_string(),
            key,
            call: call.clone(),
            submitted_by: submitted_by.map(str::to_owned),
            created_at: now,
            deadline: now.saturating_add(self.timeout).unwrap_or(Timestamp::MAX),
            standing: JobStanding {
                phase,
                due: now,
                failures: 0,
                polls: 0,
                provider_job: None,
                task: task.to_bytes(),
            },
        };
        let put = self.jobs.put_job(job, MAX_OPEN).await?;
        self.changed.notify_one();
        Ok(match put {
            PutJob::Stored => {
                tracing::info!(job = %id, source = &*provider.source, "job made");
                Some(Submitted::New(id))
            }
            PutJob::Known(id) => Some(Submitted::Known(id)),
            PutJob::Full => None,
        })
    }

    /// The providers that an account's sources ask.
    pub(super) fn of_account(&self, account: &AccountName) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values().filter(move |provider| provider.account == *account)
    }

    /// The providers that have this call themselves.
    pub(super) fn holding(&self, call: &CallKey) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values().filter(|provider| !provider.api().needs_media() && provider.is_for(call))
    }

    pub(super) fn provider(&self, source: &str) -> Option<&Arc<Provider>> {
        self.providers.get(source)
    }

    pub(super) fn jobs(&self) -> &SharedJobs {
        &self.jobs
    }

    pub(super) fn rates(&self) -> impl Iterator<Item = (Arc<str>, Option<Rate>)> {
        self.providers.values().map(|provider| (Arc::clone(&provider.source), provider.rate_limit))
    }

    pub(super) fn shares(&self) -> Vec<SourceShare> {
        let share = |provider: &Arc<Provider>| SourceShare {
            account: Arc::clone(&provider.account),
            source: Arc::clone(&provider.source),
            max_jobs: provider.max_jobs,
        };
        self.providers.values().map(share).collect()
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("providers", &self.providers.keys()).finish_non_exhaustive()
    }
}
