//! Where intake and speech jobs meet: notices that events give of jobs, and the events that jobs
//! end as.

use std::sync::Arc;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{ID_REPEAT, Intake, MERGE_TRIES, Source, conflict, lock_index, now, plan};
use crate::context::{CallKey, Json, Name};
use crate::event::{CallbackId, Event, EventId, EventType, JobId, Notice, SpeechRequestId};
use crate::job::{Accept, AcceptError, Ended};
use crate::store::{Accepted, DedupeKey, EventRow, EventState, FinishJob, JobEnd, StoreError};

/// What is to be done because of a notice, once the event is durable.
pub(super) enum Noticed {
    /// Nothing.
    Nothing,
    /// To look at this job, which is of this call, and was submitted by the token of this name.
    Job(JobId, CallKey, Option<String>),
    /// To fetch the results of the event's call.
    Results,
}

impl Noticed {
    /// The call that the event belongs to, although it does not say so.
    pub(super) fn call(&self) -> Option<&CallKey> {
        match self {
            Self::Job(_, call, _) => Some(call),
            Self::Nothing | Self::Results => None,
        }
    }

    /// The token whose own it is what the event tells of speech.
    pub(super) fn owner(&self) -> Option<&str> {
        match self {
            Self::Job(_, _, submitted_by) => submitted_by.as_deref(),
            Self::Nothing | Self::Results => None,
        }
    }
}

impl Intake {
    /// What an event gives notice of. One of a job belongs to the job's call; if the job is over,
    /// or is not one of ours, it says nothing of any call. Where results can be fetched, the event
    /// that only announces them does not stand for them.
    pub(super) async fn heed(&self, source: &Source, event: &mut Event) -> Result<Noticed, StoreError> {
        match &event.notice {
            Some(Notice::Job(id)) => {
                let job = self.desk.job_of_provider(&source.account, &source.name, id).await?;
                if let Some(job) = job.filter(|job| job.end.is_none()) {
                    // That there is speech is said by the event that brings it.
                    let state = event.facts.get(Name::SpeechTaskState).and_then(Json::as_str);
                    if matches!(state, Some("completed" | "failed")) {
                        event.facts.remove(Name::SpeechTaskState);
                    }
                    return Ok(Noticed::Job(job.job.id, job.job.call, job.job.submitted_by));
                }
                event.facts.remove(Name::SpeechTaskState);
                Ok(Noticed::Nothing)
            }
            Some(Notice::Results) if event.call_id.is_some() && self.desk.can_fetch(&source.name) => {
                event.types.retain(|event_type| *event_type != EventType::SpeechCompleted);
                if event.types.is_empty() {
                    event.types.push(EventType::ProviderOther);
                }
                Ok(Noticed::Results)
            }
            None | Some(Notice::Results) => Ok(Noticed::Nothing),
        }
    }

    /// The speech requests that wait for a call. Those that another process has just made are known
    /// here, too, when this returns.
    pub(super) async fn waiting_for(&self, call: &CallKey) -> Result<Vec<SpeechRequestId>, StoreError> {
        let waiting = self.requests.waiting_for(call).await?;
        let registrations: Vec<CallbackId> = waiting.iter().map(|id| (*id).into()).collect();
        self.ledger.learn(&registrations).await?;
        Ok(waiting)
    }

    /// Does what follows from a notice. It comes before the answer: a provider that gets none sends
    /// its event again, and with it the notice.
    pub(super) async fn pass_on(
        &self,
        source: &Source,
        noticed: &Noticed,
        call: Option<&CallKey>,
        event: EventId,
        received_at: Timestamp,
    ) -> Result<(), StoreError> {
        match (noticed, call) {
            (Noticed::Job(job, ..), _) => self.desk.look_at(&source.account, *job).await,
            (Noticed::Results, Some(call)) => self.desk.fetch(&source.name, call, event, received_at).await,
            (Noticed::Results, None) | (Noticed::Nothing, _) => Ok(()),
        }
    }
}

#[async_trait]
impl Accept for Intake {
    async fn accept(&self, ended: &Ended) -> Result<FinishJob, AcceptError> {
        let Some(source) = self.sources.get(&ended.source) else {
            return Err(AcceptError::Unusable("its source is not configured any more".to_owned()));
        };
        let received_at = now();
        for warning in &ended.event.warnings {
            tracing::warn!(source = source.name, warning, "part of a job's results was left out");
        }
        let row = EventRow {
            id: EventId::new(),
            account: Arc::clone(&ended.call.account),
            source: source.name.clone(),
            provider: source.adapter.name().to_owned(),
            state: EventState::Accepted,
            types: ended.event.types.clone(),
            call: Some(ended.call.clone()),
            received_at,
            // Nobody posted it: it was asked for.
            method: "JOB".to_owned(),
            path: format!("/{}", ended.lease.job),
            content_type: "application/json".to_owned(),
            body: Bytes::from(ended.event.raw.to_compact()),
        };
        let dedupe = DedupeKey {
            account: Arc::clone(&source.account),
            source: source.name.clone(),
            digest: Sha256::digest(format!("job {}", ended.lease.job)).into(),
            expires_at: received_at + ID_REPEAT,
        };
        let key = Some(&ended.call);
        let _turn = self.call_locks[lock_index(&ended.call)].lock().await;
        for _ in 0..MERGE_TRIES {
            let recall = self.store.recall(&dedupe, key).await?;
            // After the call was read: a request that comes now is a conflict.
            let waiting = self.waiting_for(&ended.call).await?;
            let planned = plan::Plan {
                event: &ended.event,
                row: &row,
                key,
                dedupe: &dedupe,
                is_told: false,
                owner: ended.submitted_by.as_deref(),
                failure: Some(match &ended.end {
                    JobEnd::Completed => "the provider's results hold no speech",
                    JobEnd::Failed(reason) => reason,
                }),
                waiting: &waiting,
            };
            let acceptance = planned
                .make(recall.call, &self.registry)
                .map_err(|fault| AcceptError::Unusable(fault.to_string()))?;
            match self.jobs.finish_job(ended.lease, ended.end.clone(), acceptance).await? {
                FinishJob::Accepted(Accepted::Conflict) => self.ledger.refresh().await?,
                finished => return Ok(finished),
            }
        }
        Err(conflict().into())
    }
}
