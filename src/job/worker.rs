//! The worker: claims jobs whose time has come, makes a step of each, settles it.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::desk::{Desk, Provider};
use super::exchange::{Asker, Trouble};
use super::machine::{Next, State, Step, next};
use super::task::StoredTask;
use crate::context::{CallKey, Facts, Json, Name};
use crate::delivery::client::Client;
use crate::delivery::random_share;
use crate::event::{Event, EventType};
use crate::limit::Limiter;
use crate::provider::{Access, Media, Progress, Reference, Task};
use crate::store::{FinishJob, JobClaim, JobEnd, JobLease, JobPhase, JobRow, JobStanding, StoreError};

/// Steps under way at once, over all providers.
const SLOTS: usize = 32;

/// The longest and the shortest sleep between two looks at the store. What nobody was told of,
/// because the process that should have told has died, is noticed after the longest; a submission
/// that waits for room may be looked at after the shortest.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
const SHORTEST_SLEEP: Duration = Duration::from_millis(100);

/// How often a step's outcome is tried to be written while the store is away. What is not written
/// is done again when the lease has run out.
const SETTLE_TRIES: u32 = 12;

/// The first pause between two such tries, which doubles.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// A job that ended, and the event that it ends as.
pub struct Ended {
    /// The right to end it.
    pub lease: JobLease,
    /// The source whose provider did it.
    pub source: String,
    /// The call that it was of.
    pub call: CallKey,
    /// What it made, or why it made nothing.
    pub event: Event,
    /// How it ended.
    pub end: JobEnd,
    /// The name of the token that asked for it, whose own the speech is.
    pub submitted_by: Option<String>,
}

/// Takes what jobs made: merges it into the call, and has it delivered.
#[async_trait]
pub trait Accept: Send + Sync + 'static {
    /// Writes the event, everything that must be delivered because of it, and the job's end, in
    /// one atomic write.
    async fn accept(&self, ended: &Ended) -> Result<FinishJob, AcceptError>;
}

/// Why what a job made was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It can never be: a sentence without data.
    #[error("{0}")]
    Unusable(String),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Works on jobs.
pub struct Worker {
    slots: Arc<Semaphore>,
    parts: Arc<Parts>,
}

struct Parts {
    desk: Arc<Desk>,
    asker: Asker,
    accept: Arc<dyn Accept>,
}

impl Worker {
    /// A worker on the jobs of this desk, which asks providers within these rates.
    #[must_use]
    pub fn new(desk: Arc<Desk>, client: Client, limiter: Limiter, accept: Arc<dyn Accept>) -> Self {
        let asker = Asker::new(client, limiter, desk.shares().into_iter().map(|share| share.source));
        Self { slots: Arc::new(Semaphore::new(SLOTS)), parts: Arc::new(Parts { desk, asker, accept }) }
    }

    /// Works until `stop` completes, and gives what is under way up to `drain` to finish. What is
    /// cut off then is done again by the next start.
    pub async fn run(self, stop: impl Future<Output = ()>, drain: Duration) {
        let mut stop = pin!(stop);
        let mut under_way = JoinSet::new();
        let shares = self.parts.desk.shares();
        if shares.is_empty() {
            stop.await;
            return;
        }
        loop {
            let permits = tokio::select! {
                biased;
                () = &mut stop => break,
                permits = self.free_slots() => permits,
            };
            while under_way.try_join_next().is_some() {}
            let jobs = self.parts.desk.jobs();
            let pause = match jobs.claim_jobs(permits.num_permits(), &shares).await {
                Ok(claims) if !claims.is_empty() => {
                    self.start(claims, permits, &mut under_way);
                    continue;
                }
                Ok(_) => match jobs.next_job(&shares).await {
                    Ok(wait) => wait.unwrap_or(LONGEST_SLEEP).clamp(SHORTEST_SLEEP, LONGEST_SLEEP),
                    Err(_) => LONGEST_SLEEP,
                },
                Err(error) => {
                    tracing::warn!(%error, "claiming jobs failed; trying again");
                    LONGEST_SLEEP
                }
            };
            drop(permits);
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.parts.desk.changed.notified() => {}
                () = jobs.jobs_change() => {}
                () = sleep(pause) => {}
            }
        }
        let finish = async { while under_way.join_next().await.is_some() {} };
        let _ = timeout(drain, finish).await;
    }

    /// All slots that are free, at least one.
    async fn free_slots(&self) -> OwnedSemaphorePermit {
        let one = Arc::clone(&self.slots).acquire_owned().await;
        let mut permits = one.expect("nobody closes this semaphore");
        let free = u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(free) {
            permits.merge(more);
        }
        permits
    }

    fn start(&self, claims: Vec<JobClaim>, mut permits: OwnedSemaphorePermit, under_way: &mut JoinSet<()>) {
        for claim in claims {
            let permit = permits.split(1);
            let parts = Arc::clone(&self.parts);
            let span = tracing::info_span!("job", job = %claim.lease.job, source = claim.job.job.source);
            let work = async move {
                parts.work(claim).await;
                drop(permit);
                // There may be room for a submission that waited.
                parts.desk.changed.notify_one();
            };
            under_way.spawn(work.instrument(span));
        }
    }
}

/// What a step brought beside itself.
#[derive(Default)]
struct Brought {
    reference: Option<Reference>,
    results: Option<Json>,
}

impl Parts {
    async fn work(&self, claim: JobClaim) {
        let JobClaim { lease, job } = claim;
        let Some(provider) = self.desk.provider(&job.job.source) else { return };
        let stored = match StoredTask::read(&job) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(%error, "a job cannot be read");
                self.end(lease, &job, failed(&job, "its record is damaged"), "its record is damaged").await;
                return;
            }
        };
        let (step, brought) = match self.step(provider, &job, &stored).await {
            Ok((step, brought)) => (step, brought),
            Err(trouble) => {
                tracing::warn!(%trouble, phase = job.job.standing.phase.as_str(), "a step of a job failed");
                (trouble.step(), Brought::default())
            }
        };
        let standing = &job.job.standing;
        let state = State { phase: standing.phase, failures: standing.failures, polls: standing.polls };
        let pace = provider.api().pace();
        let now = Timestamp::now();
        match next(state, step, &pace, job.job.deadline, now, random_share()) {
            Next::Wait(state, due) => {
                let reference = brought.reference.unwrap_or_else(|| Reference {
                    job: standing.provider_job.clone(),
                    conversation: stored.conversation.clone(),
                });
                let task = StoredTask { conversation: reference.conversation, ..stored };
                let standing = JobStanding {
                    phase: state.phase,
                    due,
                    failures: state.failures,
                    polls: state.polls,
                    provider_job: reference.job,
                    task: task.to_bytes(),
                };
                self.settle(lease, standing).await;
            }
            Next::Complete => {
                let raw = brought.results.unwrap_or(Json::Null);
                let task = stored.task(&job, Media::OfTheCall, provider);
                let event = provider.api().results(&task, raw);
                self.finish(ended(lease, &job, event, JobEnd::Completed), &job).await;
            }
            Next::Fail(reason) => self.end(lease, &job, failed(&job, &reason), &reason).await,
        }
    }

    async fn step(
        &self,
        provider: &Provider,
        job: &JobRow,
        stored: &StoredTask,
    ) -> Result<(Step, Brought), Trouble> {
        let api = provider.api();
        let task = |media| stored.task(job, media, provider);
        let (progress, answer) = match job.job.standing.phase {
            JobPhase::Submitted => {
                let task = task(stored.media());
                let answer =
                    self.asker.ask(provider, &|access: Access<'_>| api.submit(&task, access)).await?;
                (api.submitted(&answer)?, answer)
            }
            JobPhase::Processing => {
                let task = task(Media::OfTheCall);
                let answer = self.asker.ask(provider, &|access: Access<'_>| api.poll(&task, access)).await?;
                (api.polled(&answer)?, answer)
            }
            JobPhase::Fetching => {
                let results = self.fetch(provider, &task(Media::OfTheCall)).await?;
                return Ok((Step::Results, Brought { results: Some(results), ..Brought::default() }));
            }
        };
        Ok(match progress {
            Progress::Taken(reference) => {
                (Step::Taken, Brought { reference: Some(reference), ..Brought::default() })
            }
            Progress::Running => (Step::Running, Brought::default()),
            Progress::Done => (Step::Done, Brought::default()),
            Progress::Results => (Step::Results, Brought { results: Some(answer), ..Brought::default() }),
            Progress::Failed(reason) => (Step::Failed(reason), Brought::default()),
        })
    }

    /// All parts of the results that are there, under their names.
    async fn fetch(&self, provider: &Provider, task: &Task) -> Result<Json, Trouble> {
        let api = provider.api();
        let mut results = Vec::new();
        for part in api.parts() {
            match self.asker.ask(provider, &|access: Access<'_>| api.fetch(task, part.name, access)).await {
                Ok(answer) => results.push((part.name.into(), answer)),
                Err(trouble) if !part.required && trouble.is_absent() => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Json::Object(results))
    }

    async fn end(&self, lease: JobLease, job: &JobRow, event: Event, reason: &str) {
        tracing::warn!(reason, "a job failed");
        let end = JobEnd::Failed(reason.to_owned());
        self.finish(ended(lease, job, event, end), job).await;
    }

    /// Ends a job. What can never be taken ends it as failed.
    async fn finish(&self, mut ended: Ended, job: &JobRow) {
        let mut pause = SETTLE_PAUSE;
        for _ in 0..SETTLE_TRIES {
            let accepted = self.accept.accept(&ended).await;
            match accepted {
                Ok(FinishJob::Accepted(_)) => {
                    tracing::info!("a job ended");
                    return;
                }
                Ok(FinishJob::Lost) => {
                    tracing::warn!("the lease ran out before the job was ended");
                    return;
                }
                Err(AcceptError::Unusable(reason)) if ended.end == JobEnd::Completed => {
                    tracing::error!(reason, "the results of a job cannot be used");
                    ended.event = failed(job, &reason);
                    ended.end = JobEnd::Failed(reason);
                }
                Err(error) => {
                    tracing::warn!(%error, "a job could not be ended; trying again");
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn settle(&self, lease: JobLease, standing: JobStanding) {
        let mut pause = SETTLE_PAUSE;
        for _ in 0..SETTLE_TRIES {
            match self.desk.jobs().settle_job(lease, standing.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!("the lease ran out before the step was settled");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "a step could not be settled; trying again");
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}

fn ended(lease: JobLease, job: &JobRow, event: Event, end: JobEnd) -> Ended {
    let job = &job.job;
    let (source, call, submitted_by) = (job.source.clone(), job.call.clone(), job.submitted_by.clone());
    Ended { lease, source, call, event, end, submitted_by }
}

/// `speech.failed`, with the reason.
fn failed(job: &JobRow, reason: &str) -> Event {
    let (mut facts, mut warnings) = (Facts::new(), Vec::new());
    let provider_job = job.job.standing.provider_job.as_deref();
    for (name, text) in [
        (Name::CallId, Some(job.job.call.id.as_str())),
        (Name::SpeechJobId, provider_job),
        (Name::SpeechTaskState, Some("failed")),
        (Name::SpeechError, Some(reason)),
    ] {
        facts.put(name, text.map_or(Json::Null, Json::from), &mut warnings);
    }
    let raw = [("job", Some(job.job.id.to_string())), ("provider_job", provider_job.map(str::to_owned))];
    let raw = raw.into_iter().chain([("error", Some(reason.to_owned()))]);
    let member = |(name, text): (&str, Option<String>)| {
        (name.into(), text.map_or(Json::Null, |text| Json::from(&*text)))
    };
    Event {
        types: vec![EventType::SpeechFailed],
        provider_event_id: None,
        at: None,
        call_id: Some(job.job.call.id.clone()),
        facts,
        raw: Json::Object(raw.map(member).collect()),
        warnings,
        notice: None,
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("free_slots", &self.slots.available_permits()).finish_non_exhaustive()
    }
}
