//! Speko: the workspace's call events, signed with Standard Webhooks.
//!
//! Sources: <https://docs.speko.dev/api-reference/calls>, <https://docs.speko.dev/sdk/callbacks>,
//! the `CallReport` of `SpekoAI/typescript-sdk`. The wire body of an event is not published; its
//! consumers see `type` beside the call's fields. So fields are looked for where they have been
//! seen and where the API's own answers have them: at the top, and in the objects `data`, `call`
//! and `report`. What else there is stays in `raw`.

mod api;
mod transcript;

use std::collections::HashMap;

use jiff::Timestamp;

use self::transcript::Transcript;
use super::api::Api;
use super::{Adapter, Reading, Unreadable, body};
use crate::context::{Facts, Json, Name, read_time};
use crate::event::{Event, EventType, Notice};
use crate::signature::Verified;

/// Reads `call.status`, `call.report`, `call.analysis` and `call.recording`.
pub(super) struct Speko;

impl Adapter for Speko {
    fn name(&self) -> &'static str {
        "speko"
    }

    fn read(&self, request: &Verified) -> Result<Reading, Unreadable> {
        let raw = body::json_object(&request.request().body)?;
        // The provider holds the call until it has this answer, whose fields would change the
        // agent's behaviour; an empty one changes nothing.
        if raw.get("type").and_then(Json::as_str) == Some("call.pre_call") {
            return Ok(Reading::Answer("{}"));
        }
        Ok(Reading::Event(Box::new(read_event(raw))))
    }

    fn api(&self) -> Option<&dyn Api> {
        Some(self)
    }
}

/// The events whose fields are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Status,
    Report,
    Analysis,
    Recording,
}

impl Kind {
    fn of(raw: &Json) -> Option<Self> {
        match raw.get("type")?.as_str()? {
            "call.status" => Some(Self::Status),
            "call.report" => Some(Self::Report),
            "call.analysis" => Some(Self::Analysis),
            "call.recording" => Some(Self::Recording),
            _ => None,
        }
    }
}

fn read_event(raw: Json) -> Event {
    let mut warnings = Vec::new();
    let mut facts = Facts::new();
    let body = Body::of(&raw);
    let mut put = |name, value: Option<&Json>| {
        if let Some(value) = value {
            facts.put(name, value.clone(), &mut warnings);
        }
    };
    put(Name::CallId, body.call_id());
    put(Name::ConversationId, first(&body.report, &["session_id"]));
    let (event_type, at) = match Kind::of(&raw) {
        Some(kind) => {
            body.put_call(kind, &mut put);
            body.put_speech(kind, &mut put);
            (body.event_type(kind), body.at(kind))
        }
        None => (EventType::ProviderOther, first_time(&body.envelopes, &["timestamp"])),
    };
    let call_id = body::call_id(&facts, &mut warnings);
    let provider_event_id = first(&body.envelopes, &["event_id"]).and_then(body::event_id);
    let is_thin = Kind::of(&raw) == Some(Kind::Report) && !body.has_report();
    let notice = is_thin.then_some(Notice::Results);
    Event { types: vec![event_type], provider_event_id, at, call_id, facts, raw, warnings, notice }
}

/// The objects of a body in which fields are looked for; of each list the first that has a field.
struct Body<'a> {
    /// The body itself, and its `data`.
    envelopes: Vec<&'a Json>,
    /// Each `call` of these.
    calls: Vec<&'a Json>,
    /// Where the call's fields are: in a `call`, else in an envelope.
    call: Vec<&'a Json>,
    /// Each `report` of these.
    reports: Vec<&'a Json>,
    /// Where the report's fields are: in a `report`, else beside the call's.
    report: Vec<&'a Json>,
}

impl<'a> Body<'a> {
    fn of(raw: &'a Json) -> Self {
        let members = |places: &[&'a Json], name: &str| -> Vec<&'a Json> {
            let found = places.iter().filter_map(|place| place.get(name));
            found.filter(|member| matches!(member, Json::Object(_))).collect()
        };
        let envelopes = [vec![raw], members(&[raw], "data")].concat();
        let calls = members(&envelopes, "call");
        let call = [&*calls, &*envelopes].concat();
        let reports = members(&call, "report");
        let report = [&*reports, &*call].concat();
        Self { envelopes, calls, call, reports, report }
    }

    /// The call's id, which is the session's; an `id` is the call's only within a `call`.
    fn call_id(&self) -> Option<&'a Json> {
        first(&self.report, &["call_id", "session_id"]).or_else(|| first(&self.calls, &["id"]))
    }

    fn put_call(&self, kind: Kind, put: &mut impl FnMut(Name, Option<&Json>)) {
        let call = |name| first(&self.call, &[name]);
        // The `status` of a recording's event is the recording's.
        let (status, recording_status) = match kind {
            Kind::Recording => (first(&self.calls, &["status"]), first(&self.envelopes, &["status"])),
            Kind::Status | Kind::Report | Kind::Analysis => (call("status"), None),
        };
        put(Name::CallStatus, status);
        put(Name::CallRecordingStatus, call("recording_status").or(recording_status));
        put(Name::CallRecordingUrl, call("recording_url"));
        put(Name::CallDirection, call("direction"));
        put(Name::CallTo, call("dialed_number"));
        put(Name::CallAgentId, call("agent_id"));
        put(Name::CallerUsername, first(&self.call, &["agent_name", "agent_id"]));
        put(Name::CallLanguage, call("language"));
        put(Name::SpeechLanguage, call("language"));
        put(Name::StartAt, self.start(kind));
        put(Name::EndAt, call("ended_at"));
        put(Name::CallDuration, call("duration_seconds"));
        put(Name::CallTransfers, call("transfers"));
        put(Name::CallEvents, call("events"));
        put(Name::Custom, self.custom().as_ref());
    }

    fn put_speech(&self, kind: Kind, put: &mut impl FnMut(Name, Option<&Json>)) {
        let report = |name| first(&self.report, &[name]);
        put(Name::SpeechSummary, report("summary"));
        put(Name::SpeechStructuredData, report("structured_data"));
        put(Name::SpeechError, report("analysis_error"));
        put(Name::CallOutcome, report("outcome"));
        put(Name::CallCostMicroUsd, report("cost_micro_usd"));
        // Speko writes `{}` for none as well as null.
        let callback = report("scheduled_callback").filter(|callback| **callback != Json::Object(Vec::new()));
        put(Name::CallScheduledCallback, callback);

        let transcript = self.transcript();
        if let Some(transcript) = &transcript {
            put(Name::SpeechResult, Some(&transcript.to_result()));
            let start = self.start(kind).and_then(|start| read_time(start.into()));
            put(Name::SpeechPhrases, transcript.to_phrases(start).as_ref());
        }
        if kind == Kind::Report && self.has_report() {
            put(Name::SpeechTaskState, Some(&Json::from("completed")));
        }
    }

    /// A thin report tells only that there is one.
    fn has_report(&self) -> bool {
        !self.reports.is_empty() || self.transcript().is_some() || first(&self.report, &["summary"]).is_some()
    }

    fn transcript(&self) -> Option<Transcript<'a>> {
        first(&self.report, &["transcript"]).and_then(Transcript::read)
    }

    /// When the call started: its `created_at`. A report has one too, of its own making. Where the
    /// body does not keep the two apart, it is the call's if something of the call came after it.
    fn start(&self, kind: Kind) -> Option<&'a Json> {
        let created = first(&self.call, &["created_at"])?;
        if kind == Kind::Status || !self.calls.is_empty() || !self.reports.is_empty() {
            return Some(created);
        }
        let of_the_call = [
            first_time(&self.call, &["ended_at"]),
            self.transcript().and_then(|transcript| transcript.start()),
        ];
        let earliest = of_the_call.into_iter().flatten().min()?;
        read_time(created.into()).is_some_and(|created| created <= earliest).then_some(created)
    }

    /// What the call carries of its customer's: `metadata`, then what the analysis extracted,
    /// `custom_data`; of members of one name the latter stays.
    fn custom(&self) -> Option<Json> {
        let mut custom: Vec<(Box<str>, Json)> = Vec::new();
        let mut places = HashMap::new();
        for name in ["metadata", "custom_data"] {
            let objects = self.report.iter().rev().filter_map(|place| place.get(name));
            for (name, value) in objects.filter_map(Json::as_object).flatten() {
                let place = *places.entry(name).or_insert(custom.len());
                match custom.get_mut(place) {
                    Some(member) => member.1 = value.clone(),
                    None => custom.push((name.clone(), value.clone())),
                }
            }
        }
        (!custom.is_empty()).then_some(Json::Object(custom))
    }

    fn event_type(&self, kind: Kind) -> EventType {
        match kind {
            Kind::Report => EventType::SpeechCompleted,
            Kind::Recording => EventType::CallRecordingReady,
            Kind::Analysis => EventType::CallUpdated,
            Kind::Status => match first(&self.call, &["status"]).and_then(Json::as_str) {
                Some("ended" | "failed") => EventType::CallEnded,
                _ => EventType::CallUpdated,
            },
        }
    }

    /// When it happened: the envelope's `timestamp`, else when what it tells was last changed,
    /// else, of a call that is over, when it ended.
    fn at(&self, kind: Kind) -> Option<Timestamp> {
        let changed = match kind {
            Kind::Status | Kind::Recording => first_time(&self.call, &["updated_at"]),
            Kind::Report | Kind::Analysis => {
                first_time(&self.report, &["updated_at", "analysis_completed_at"])
            }
        };
        let ended = || first_time(&self.call, &["ended_at"]);
        first_time(&self.envelopes, &["timestamp"]).or(changed).or_else(ended)
    }
}

/// The first of these fields, by name and then by place, that is there and not null.
fn first<'a>(places: &[&'a Json], names: &[&str]) -> Option<&'a Json> {
    let mut found = names.iter().flat_map(|name| places.iter().filter_map(|place| place.get(name)));
    found.find(|value| **value != Json::Null)
}

fn first_time(places: &[&Json], names: &[&str]) -> Option<Timestamp> {
    first(places, names).and_then(|time| read_time(time.into()))
}

#[cfg(test)]
mod tests;
