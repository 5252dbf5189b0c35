//! How records are spelt in Redis: a line of JSON, then the bytes of a body as they are. JSON,
//! because a newer version can add to it and an operator can read it.

use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::context::{CallId, CallKey};
use crate::event::{AccountName, DeliveryId, EventId, EventType, JobId};
use crate::store::{
    Answered, Attempt, DefinitionVersion, DeliveryRequest, EventRow, EventState, JobPhase, JobStanding, Late,
    NewDelivery, NewJob, OutcomeKind, Rendition, RequestedState, StoreError,
};

#[derive(Serialize, Deserialize)]
struct EventHead {
    account: String,
    source: String,
    provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<String>,
    types: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<(String, String)>,
    received_at: i64,
    method: String,
    path: String,
    content_type: String,
}

/// An event's record.
pub(super) fn write_event(event: &EventRow) -> Vec<u8> {
    let head = EventHead {
        account: event.account.as_ref().to_owned(),
        source: event.source.clone(),
        provider: event.provider.clone(),
        rejected: match &event.state {
            EventState::Accepted => None,
            EventState::Rejected(reason) => Some(reason.clone()),
        },
        types: event.types.iter().map(|event_type| event_type.as_str().to_owned()).collect(),
        call: event.call.as_ref().map(|call| (call.space.as_ref().to_owned(), call.id.as_str().to_owned())),
        received_at: event.received_at.as_microsecond(),
        method: event.method.clone(),
        path: event.path.clone(),
        content_type: event.content_type.clone(),
    };
    join(&head, &event.body)
}

/// The inverse of [`write_event`]; of a record whose body was cut off, the event without it.
pub(super) fn read_event(id: EventId, record: Vec<u8>) -> Result<EventRow, StoreError> {
    let damaged = |reason: &str| corrupt("event", reason);
    let (head, body): (EventHead, Bytes) = split("event", record)?;
    let account = AccountName::from(head.account);
    let call = match head.call {
        Some((space, id)) => Some(CallKey {
            account: AccountName::clone(&account),
            space: space.into(),
            id: CallId::from_text(&id).ok_or_else(|| damaged("no call id"))?,
        }),
        None => None,
    };
    Ok(EventRow {
        id,
        account,
        source: head.source,
        provider: head.provider,
        state: head.rejected.map_or(EventState::Accepted, EventState::Rejected),
        types: head.types.iter().map(|name| event_type(name)).collect::<Result<_, _>>()?,
        call,
        received_at: time("event", head.received_at)?,
        method: head.method,
        path: head.path,
        content_type: head.content_type,
        body,
    })
}

#[derive(Serialize, Deserialize)]
struct RequestHead {
    account: String,
    method: String,
    url: String,
    content_type: String,
    headers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct LateHead {
    account: String,
    event: String,
    event_type: String,
}

/// What the record of a late delivery begins with: a byte that no JSON begins with. The version of its
/// definition stands behind it, where scripts look for it.
const LATE: u8 = 0;

/// What a delivery sends, and whose it is.
pub(super) fn write_rendition(new: &NewDelivery) -> Vec<u8> {
    match &new.request {
        Rendition::Done(request) => write_request(&new.account, request),
        Rendition::Late(late) => {
            let head = LateHead {
                account: new.account.as_ref().to_owned(),
                event: late.event.to_string(),
                event_type: late.event_type.as_str().to_owned(),
            };
            [&[LATE], late.version.0.as_slice(), &join(&head, &[])].concat()
        }
    }
}

/// A delivery's request, and whose it is.
pub(super) fn write_request(account: &AccountName, request: &DeliveryRequest) -> Vec<u8> {
    let head = RequestHead {
        account: account.as_ref().to_owned(),
        method: request.method.clone(),
        url: request.url.clone(),
        content_type: request.content_type.clone(),
        headers: request.headers.clone(),
    };
    join(&head, &request.body)
}

/// The inverse of [`write_rendition`].
pub(super) fn read_rendition(record: Vec<u8>) -> Result<(AccountName, Rendition), StoreError> {
    if record.first() != Some(&LATE) {
        let (account, request) = read_request(record)?;
        return Ok((account, Rendition::Done(request)));
    }
    let damaged = |reason: &str| corrupt("request", reason);
    let (version, head) = record[1..].split_first_chunk().ok_or_else(|| damaged("it is cut off"))?;
    let (head, _): (LateHead, Bytes) = split("request", head.to_vec())?;
    let late = Late {
        event: head.event.parse().map_err(|_| damaged("no event's id"))?,
        event_type: event_type(&head.event_type)?,
        version: DefinitionVersion(*version),
    };
    Ok((head.account.into(), Rendition::Late(late)))
}

/// The inverse of [`write_request`].
fn read_request(record: Vec<u8>) -> Result<(AccountName, DeliveryRequest), StoreError> {
    let (head, body): (RequestHead, Bytes) = split("request", record)?;
    let request = DeliveryRequest {
        method: head.method,
        url: head.url,
        content_type: head.content_type,
        headers: head.headers,
        body,
    };
    Ok((head.account.into(), request))
}

/// `tick.lua` writes one too.
#[derive(Serialize, Deserialize)]
struct AttemptHead {
    number: u32,
    started_at: i64,
    latency: u64,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// An attempt's record.
pub(super) fn write_attempt(attempt: &Attempt) -> Vec<u8> {
    let head = AttemptHead {
        number: attempt.number,
        started_at: attempt.started_at.as_microsecond(),
        latency: u64::try_from(attempt.latency.as_micros()).unwrap_or(u64::MAX),
        outcome: attempt.outcome.as_str().to_owned(),
        status: attempt.status,
        error: attempt.error.clone(),
    };
    join(&head, &attempt.response)
}

/// The inverse of [`write_attempt`].
pub(super) fn read_attempt(record: Vec<u8>) -> Result<Attempt, StoreError> {
    let (head, response): (AttemptHead, Bytes) = split("attempt", record)?;
    Ok(Attempt {
        number: head.number,
        started_at: time("attempt", head.started_at)?,
        latency: Duration::from_micros(head.latency),
        outcome: OutcomeKind::from_name(&head.outcome)
            .ok_or_else(|| corrupt("attempt", "an unknown outcome"))?,
        status: head.status,
        error: head.error,
        response,
    })
}

#[derive(Serialize, Deserialize)]
struct JobHead {
    account: String,
    source: String,
    key: String,
    space: String,
    call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    submitted_by: Option<String>,
    created_at: i64,
    deadline: i64,
}

/// What of a job's record never changes.
pub(super) fn write_job(job: &NewJob) -> Vec<u8> {
    let head = JobHead {
        account: job.call.account.as_ref().to_owned(),
        source: job.source.clone(),
        key: job.key.clone(),
        space: job.call.space.as_ref().to_owned(),
        call: job.call.id.as_str().to_owned(),
        submitted_by: job.submitted_by.clone(),
        created_at: job.created_at.as_microsecond(),
        deadline: job.deadline.as_microsecond(),
    };
    join(&head, &[])
}

#[derive(Serialize, Deserialize)]
struct StandingHead {
    failures: u32,
    polls: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_job: Option<String>,
}

/// What of a job's standing no script looks at; its task stands behind it.
pub(super) fn write_standing(standing: &JobStanding) -> Vec<u8> {
    let head = StandingHead {
        failures: standing.failures,
        polls: standing.polls,
        provider_job: standing.provider_job.clone(),
    };
    join(&head, &standing.task)
}

/// The inverse of [`write_job`] and [`write_standing`], with the phase and the time that are kept
/// beside them.
pub(super) fn read_job(
    id: JobId,
    (record, standing): (Vec<u8>, Vec<u8>),
    phase: &str,
    due: i64,
) -> Result<NewJob, StoreError> {
    let damaged = |reason: &str| corrupt("job", reason);
    let (head, _): (JobHead, Bytes) = split("job", record)?;
    let (standing, task): (StandingHead, Bytes) = split("job", standing)?;
    Ok(NewJob {
        id,
        source: head.source,
        key: head.key,
        call: CallKey {
            account: head.account.into(),
            space: head.space.into(),
            id: CallId::from_text(&head.call).ok_or_else(|| damaged("no call id"))?,
        },
        submitted_by: head.submitted_by,
        created_at: time("job", head.created_at)?,
        deadline: time("job", head.deadline)?,
        standing: JobStanding {
            phase: JobPhase::from_name(phase).ok_or_else(|| damaged("an unknown phase"))?,
            due: time("job", due)?,
            failures: standing.failures,
            polls: standing.polls,
            provider_job: standing.provider_job,
            task: task.to_vec(),
        },
    })
}

/// What became of a call of a speech request: the state's name, and the reason or the delivery.
pub(super) fn write_state(state: &RequestedState) -> (&'static str, Vec<u8>) {
    match state {
        RequestedState::Submitted => ("submitted", Vec::new()),
        RequestedState::Ready(delivery) => ("ready", delivery.to_bytes().to_vec()),
        RequestedState::Refused(reason) => ("refused", reason.clone().into_bytes()),
        RequestedState::Failed(reason) => ("failed", reason.clone().into_bytes()),
    }
}

/// The inverse of [`write_state`].
pub(super) fn read_state(state: &[u8], what: &[u8]) -> Result<RequestedState, StoreError> {
    let damaged = |reason: &str| corrupt("speech request", reason);
    let reason = || String::from_utf8(what.to_vec()).map_err(|_| damaged("a reason is no text"));
    Ok(match state {
        b"submitted" => RequestedState::Submitted,
        b"ready" => {
            let delivery = what.try_into().map_err(|_| damaged("no delivery's id"))?;
            RequestedState::Ready(DeliveryId::from_bytes(delivery))
        }
        b"refused" => RequestedState::Refused(reason()?),
        b"failed" => RequestedState::Failed(reason()?),
        _ => return Err(damaged("an unknown state")),
    })
}

/// A remembered answer: the fingerprint, then the answer.
pub(super) fn write_answered(answered: &Answered) -> Vec<u8> {
    [answered.fingerprint.as_slice(), &answered.answer].concat()
}

/// The inverse of [`write_answered`].
pub(super) fn read_answered(record: &[u8]) -> Result<Answered, StoreError> {
    let (fingerprint, answer) =
        record.split_first_chunk().ok_or_else(|| corrupt("answer", "it is cut off"))?;
    Ok(Answered { fingerprint: *fingerprint, answer: answer.to_vec() })
}

/// An event type by its stored name.
pub(super) fn event_type(name: &str) -> Result<EventType, StoreError> {
    EventType::from_name(name).ok_or_else(|| corrupt("event type", "an unknown name"))
}

/// A stored time.
pub(super) fn time(what: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_| corrupt(what, "a time out of range"))
}

/// Something stored that cannot be read.
pub(super) fn corrupt(what: &'static str, reason: &str) -> StoreError {
    StoreError::Corrupt { what, reason: reason.to_owned() }
}

fn join(head: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let mut record = serde_json::to_vec(head).expect("texts and numbers are JSON");
    record.reserve_exact(body.len() + 1);
    record.push(b'\n');
    record.extend_from_slice(body);
    record
}

/// JSON of one line ends at the first line break: inside a text it is escaped.
fn split<T: for<'a> Deserialize<'a>>(what: &'static str, record: Vec<u8>) -> Result<(T, Bytes), StoreError> {
    let end = memchr::memchr(b'\n', &record).ok_or_else(|| corrupt(what, "it is cut off"))?;
    let head = serde_json::from_slice(&record[..end])
        // Not the parser's words, which may hold data.
        .map_err(|error| corrupt(what, &format!("column {} is wrong", error.column())))?;
    Ok((head, Bytes::from(record).slice(end + 1..)))
}
