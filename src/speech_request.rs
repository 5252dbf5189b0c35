//! Speech requests: calls are searched, what is transcribed already is delivered at once, and the
//! rest is submitted and delivered when its speech comes.
//!
//! A request is a registration that no event finds: it waits for its own calls. The write that
//! makes it and the write that completes a call's speech each see the other or come to nothing, by
//! the call's version, so that no call is waited for whose speech has come.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::context::{CallContext, CallKey, InvalidContext};
use crate::event::{AccountName, EventId, EventType, JobId, SpeechRequestId};
use crate::job::{Desk, Submission, SubmitError, Submitted};
use crate::registration::{
    AddError, Bodies, Callback, Ledger, NewRequest, Occurrence, Once, Registry, Rendered, Rendering, Repeat,
    has_speech,
};
use crate::store::{
    CallQuery, EventRow, EventState, ListedCall, NewSpeechRequest, PutSpeechRequest, RequestedCall,
    RequestedState, SharedSpeechRequests, SharedStore, SpeechRequestView, StoreError,
};

/// Searches under way at once: each reads calls one after the other, and events are to be read and
/// written meanwhile.
const SEARCHES: usize = 2;

/// How often a request is made anew because its calls were written to meanwhile.
const TRIES: usize = 16;

/// When a request may be sent again that was in the way of events that often.
const CONFLICT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long deliveries of the standard schedule take at the longest, with their jitter.
const SCHEDULE: SignedDuration = SignedDuration::from_hours(4 * 24);

/// How often requests are looked for that have outlived their time, and how many are removed then.
const TIDY_INTERVAL: Duration = Duration::from_mins(10);
const TIDY_CHUNK: usize = 1_000;

/// What stands for the provider and the source of events that come from Ringback itself.
const RINGBACK: &str = "ringback";

/// Makes speech requests, and shows what came of them.
#[derive(Clone)]
pub struct SpeechDesk(Arc<Parts>);

struct Parts {
    calls: SharedStore,
    store: SharedSpeechRequests,
    desk: Arc<Desk>,
    registry: Arc<Registry>,
    ledger: Ledger,
    searches: Semaphore,
}

/// A request that was made.
#[derive(Debug)]
pub struct Made {
    /// Its id.
    pub id: SpeechRequestId,
    /// Its calls, the newest first, and what becomes of them.
    pub calls: Vec<(CallKey, RequestedState)>,
}

/// How the answer to a request is spelt, where it is remembered.
pub type Spell = Box<dyn Fn(&Made) -> Vec<u8> + Send + Sync>;

/// Why a request was not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Its account has as many as it may have.
    #[error("the account may have {0} speech requests at most")]
    Full(usize),
    /// It was made before.
    #[error("the request was answered before")]
    Repeated(Repeat),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored of a call cannot be read.
    #[error(transparent)]
    Context(#[from] InvalidContext),
}

impl From<AddError> for MakeError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Full(most) => Self::Full(most),
            AddError::Repeated(repeat) => Self::Repeated(repeat),
            AddError::Store(error) => Self::Store(error),
        }
    }
}

impl From<SubmitError> for Refused {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => Self::Call(refusal.to_string()),
            SubmitError::Store(error) => Self::Request(error.into()),
            SubmitError::Context(error) => Self::Request(error.into()),
        }
    }
}

/// What is refused: one call, or the whole request.
enum Refused {
    Call(String),
    Request(MakeError),
}

/// A call that a search found.
struct Found {
    call: ListedCall,
    context: CallContext,
}

impl SpeechDesk {
    /// A desk over these rooms.
    #[must_use]
    pub fn new(
        calls: SharedStore,
        store: SharedSpeechRequests,
        desk: Arc<Desk>,
        registry: Arc<Registry>,
        ledger: Ledger,
    ) -> Self {
        Self(Arc::new(Parts { calls, store, desk, registry, ledger, searches: Semaphore::new(SEARCHES) }))
    }

    /// Makes a request of an account that may have `most`; once, if it comes with what makes it the
    /// same request and with how its answer is spelt. It is made to the end, or not at all, even if
    /// whoever asked for it goes away.
    ///
    /// # Errors
    /// There are too many, it was made before, or the store cannot be asked; nothing waits then.
    pub async fn make(
        &self,
        request: NewRequest,
        most: usize,
        once: Option<(Once, Spell)>,
    ) -> Result<Made, MakeError> {
        let parts = Arc::clone(&self.0);
        match tokio::spawn(async move { parts.make(&request, most, once.as_ref()).await }).await {
            Ok(made) => made,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the whole process cancels it.
                Err(_) => Err(unavailable("closed").into()),
            },
        }
    }

    /// What became of a request that this token made.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn view(
        &self,
        account: &AccountName,
        token: &str,
        id: SpeechRequestId,
    ) -> Result<Option<SpeechRequestView>, StoreError> {
        self.0.ledger.learn(&[id.into()]).await?;
        let request = self.0.registry.speech_request(account, id);
        if request.is_none_or(|request| request.token.as_deref() != Some(token)) {
            return Ok(None);
        }
        self.0.store.speech_request(account, id).await
    }

    /// Whether what a job made is for this token to see: it submitted the job, or nobody did. Of a
    /// job that is gone nobody knows.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn is_job_for(
        &self,
        account: &AccountName,
        job: JobId,
        token: Option<&str>,
    ) -> Result<bool, StoreError> {
        let job = self.0.desk.job(account, job).await?;
        Ok(job.is_some_and(|job| job.job.submitted_by.is_none_or(|submitter| Some(&*submitter) == token)))
    }

    /// Removes requests that nothing can come of any more, for ever. `timeout` is that of a job,
    /// `retention` how long their deliveries are kept.
    pub async fn tidy(self, timeout: Duration, retention: Duration) {
        loop {
            tokio::time::sleep(TIDY_INTERVAL).await;
            let kept = [timeout, retention]
                .into_iter()
                .try_fold(SCHEDULE, |sum, part| sum.checked_add(SignedDuration::try_from(part).ok()?));
            let before = kept.and_then(|kept| Timestamp::now().checked_sub(kept).ok());
            for (account, id) in
                self.0.registry.speech_requests_before(before.unwrap_or(Timestamp::MIN), TIDY_CHUNK)
            {
                if let Err(error) = self.0.ledger.remove(&account, id).await {
                    tracing::warn!(%error, "an old speech request could not be removed; trying again");
                    break;
                }
            }
        }
    }
}

impl Parts {
    async fn make(
        &self,
        request: &NewRequest,
        most: usize,
        once: Option<&(Once, Spell)>,
    ) -> Result<Made, MakeError> {
        let callback = &request.callback;
        // What it delivers at once is signed as it says, by whichever process.
        self.ledger.add(callback.clone(), most, None).await?;
        let made = self.write(callback, request.limit, once).await;
        if made.is_err()
            && let Err(error) = self.ledger.remove(&callback.account, callback.id).await
        {
            tracing::warn!(%error, "a speech request that was not made is removed when its time has passed");
        }
        made
    }

    async fn write(
        &self,
        callback: &Callback,
        limit: usize,
        once: Option<&(Once, Spell)>,
    ) -> Result<Made, MakeError> {
        let id = SpeechRequestId::from(callback.id);
        for _ in 0..TRIES {
            let found = self.search(callback, limit).await?;
            let Some(mut new) = self.plan(callback, found).await? else { continue };
            let calls = new.calls.iter().map(|call| (call.key.clone(), call.state.clone())).collect();
            let made = Made { id, calls };
            new.remember = once.map(|(once, spell)| self.ledger.remember(*once, &spell(&made)));
            match (self.store.put_speech_request(new).await?, once) {
                (PutSpeechRequest::Answered(answered), Some((once, _))) => {
                    return Err(MakeError::Repeated(self.ledger.compare(*once, answered)?));
                }
                (PutSpeechRequest::Stored | PutSpeechRequest::Answered(_), _) => return Ok(made),
                (PutSpeechRequest::Conflict, _) => {}
            }
        }
        Err(unavailable("the calls are written to faster than this request can be made").into())
    }

    /// The calls that the request asks for, the newest first.
    async fn search(&self, callback: &Callback, limit: usize) -> Result<Vec<Found>, MakeError> {
        let _turn = self.searches.acquire().await.expect("nobody closes this semaphore");
        let query = CallQuery { filter: callback.filter.clone(), token: callback.token.clone() };
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let wanted = limit - found.len();
            let part = self.calls.calls(&callback.account, &query, before.as_ref(), wanted).await?;
            for call in part.rows {
                let context = CallContext::from_bytes(&call.stored.context)?;
                found.push(Found { call, context });
            }
            before = part.next;
            if found.len() == limit || before.is_none() {
                return Ok(found);
            }
        }
    }

    /// What is to be written: deliveries of the calls whose speech is there, and the others, which
    /// are jobs now. `None`, if a call has changed since it was read.
    async fn plan(
        &self,
        callback: &Callback,
        found: Vec<Found>,
    ) -> Result<Option<NewSpeechRequest>, MakeError> {
        let now = now();
        let token = callback.token.as_deref();
        let id = SpeechRequestId::from(callback.id);
        let event = EventId::new();
        let (event_id, event_at) = (event.to_string(), now.to_string());
        let mut bodies = Bodies::default();
        let (mut deliveries, mut failed, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for Found { call, context } in found {
            let rendered = {
                let occurrence = Occurrence {
                    context: &context,
                    fleeting: Vec::new(),
                    raw: None,
                    owner: None,
                    event_id: &event_id,
                    event_at: &event_at,
                    provider: RINGBACK,
                    source: RINGBACK,
                };
                let values = occurrence.values(token, Some(EventType::SpeechCompleted));
                let rendering = Rendering {
                    event,
                    event_type: EventType::SpeechCompleted,
                    call: Some(&call.key),
                    at: now,
                };
                has_speech(&values).then(|| rendering.make(callback, &values, &mut bodies))
            };
            let state = match rendered {
                Some(Rendered::Delivery(delivery)) => {
                    let id = delivery.id;
                    deliveries.push(delivery);
                    RequestedState::Ready(id)
                }
                Some(Rendered::Failed(delivery)) => {
                    let id = delivery.id;
                    failed.push(delivery);
                    RequestedState::Ready(id)
                }
                None => match self.submit(&call, &context, token, now).await {
                    Ok(Some(state)) => state,
                    Ok(None) => return Ok(None),
                    Err(Refused::Call(reason)) => RequestedState::Refused(reason),
                    Err(Refused::Request(error)) => return Err(error),
                },
            };
            calls.push(RequestedCall { key: call.key, read_version: call.stored.version, state });
        }
        let delivers = !deliveries.is_empty() || !failed.is_empty();
        let row = || EventRow {
            id: event,
            account: Arc::clone(&callback.account),
            source: RINGBACK.to_owned(),
            provider: RINGBACK.to_owned(),
            state: EventState::Accepted,
            types: vec![EventType::SpeechCompleted],
            call: None,
            received_at: now,
            // Nobody posted it: it was asked for.
            method: "REQUEST".to_owned(),
            path: format!("/{id}"),
            content_type: "application/json".to_owned(),
            body: Bytes::from(format!(r#"{{"speech_request_id":"{id}"}}"#)),
        };
        let (account, event) = (Arc::clone(&callback.account), delivers.then(row));
        Ok(Some(NewSpeechRequest {
            id,
            account,
            created_at: now,
            calls,
            event,
            deliveries,
            failed,
            remember: None,
        }))
    }

    /// Makes a call a job. `None` if its speech may have come since it was read.
    async fn submit(
        &self,
        call: &ListedCall,
        context: &CallContext,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<RequestedState>, Refused> {
        let submission = Submission { call: &call.key, own_source: context.told_by(), submitted_by: token };
        let Submitted::Known(job) = self.desk.submit(submission, now).await? else {
            return Ok(Some(RequestedState::Submitted));
        };
        let in_store = |error: StoreError| Refused::Request(error.into());
        if self.desk.job(&call.key.account, job).await.map_err(in_store)?.is_some_and(|job| job.end.is_none())
        {
            return Ok(Some(RequestedState::Submitted));
        }
        // It is over. Either it ended since the call was read, or it brought no speech.
        let is_as_read = self.calls.call(&call.key).await.map_err(in_store)?.as_ref() == Some(&call.stored);
        Ok(is_as_read.then(|| RequestedState::Failed("the provider's results hold no speech".to_owned())))
    }
}

fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable { reason, retry_after: CONFLICT_RETRY_AFTER, source: None }
}

/// The time now, in whole milliseconds: what `{event_at}` shows is what is stored.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
