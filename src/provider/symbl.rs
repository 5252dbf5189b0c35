//! Symbl: the webhook that tells how a job stands, and the API that is asked for what it made.
//!
//! Sources: `symblai/symbl-docs` (`docs/async-api`, `docs/conversation-api`),
//! <https://symbl.ai/developers/blog/receiving-job-status-updates-with-webhooks-for-symbl-ai/>.
//! The documentation names the job `jobId`, the vendor's own example `id`. The webhook is unsigned,
//! has no time and names neither call nor conversation: the job must be known.

mod api;

use super::api::Api;
use super::body::Findings;
use super::{Adapter, Reading, Unreadable, body};
use crate::context::{Json, Name};
use crate::event::{Event, EventType, Notice};
use crate::signature::Verified;

/// Reads the status of a job.
pub(super) struct Symbl;

impl Adapter for Symbl {
    fn name(&self) -> &'static str {
        "symbl"
    }

    fn read(&self, request: &Verified) -> Result<Reading, Unreadable> {
        let raw = body::json_object(&request.request().body)?;
        Ok(Reading::Event(Box::new(read_event(raw))))
    }

    fn api(&self) -> Option<&dyn Api> {
        Some(self)
    }
}

/// A status alone brings no speech: what the job made is fetched, and is an event of its own.
fn read_event(raw: Json) -> Event {
    let mut findings = Findings::default();
    findings.put(Name::SpeechJobId, job_id(&raw));
    findings.put(Name::ConversationId, full(&raw, "conversationId"));
    if let Some(state) = raw.get("status").and_then(Json::as_str).and_then(task_state) {
        findings.put_own(Name::SpeechTaskState, Json::from(state));
    }
    let notice = job_id(&raw).map(|job| Notice::Job(job.to_text()));
    let event = findings.into_event(vec![EventType::ProviderOther], None, None, raw);
    Event { notice, ..event }
}

/// The job, in either spelling; one of the vendor's examples has an empty id, which names none.
fn job_id(json: &Json) -> Option<&Json> {
    full(json, "jobId").or_else(|| full(json, "id"))
}

/// A member that is there and not empty.
fn full<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
    json.get(name).filter(|value| !value.to_text().is_empty())
}

/// A job's status in Ringback's words. A job that is completed still has results to be fetched.
fn task_state(status: &str) -> Option<&'static str> {
    match status {
        "scheduled" => Some("submitted"),
        "in_progress" | "completed" => Some("processing"),
        "failed" => Some("failed"),
        _ => None,
    }
}
