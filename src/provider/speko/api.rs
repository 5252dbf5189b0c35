//! Speko's API: a call with its report, its events and its recording.
//!
//! Source: <https://docs.speko.dev/api-reference/calls>; the base URL is that of the provider's own
//! client, `SpekoAI/typescript-sdk`, `src/lib/client.ts`.

use super::{Body, Kind, Speko};
use crate::context::{Json, Name};
use crate::event::{Event, EventType};
use crate::provider::api::{
    Access, Api, Ask, Credentials, Inquiry, Part, Progress, Recording, Reference, Task, Transfer,
    Undocumented, id, segment,
};
use crate::provider::body::Findings;

const PARTS: [Part; 4] = [
    Part { name: "report", required: true },
    Part { name: "call", required: false },
    Part { name: "events", required: false },
    Part { name: "recording", required: false },
];

impl Api for Speko {
    fn base_url(&self) -> &'static str {
        "https://api.speko.dev"
    }

    fn missing(&self, credentials: &Credentials) -> Option<&'static str> {
        credentials.token.is_none().then_some("token")
    }

    /// Has the report made, if there is none yet.
    fn submit(&self, task: &Task, access: Access<'_>) -> Ask {
        Ask::post(format!("{}/report/finalize", call(task)), &Json::Object(Vec::new())).with(access.bearer())
    }

    fn submitted(&self, answer: &Json) -> Result<Progress, Undocumented> {
        let session = id(answer, "session_id").ok_or(Undocumented("`session_id` is missing"))?;
        Ok(Progress::Taken(Reference { job: None, conversation: Some(session) }))
    }

    fn poll(&self, task: &Task, access: Access<'_>) -> Ask {
        Ask::get(format!("{}/report", call(task))).with(access.bearer())
    }

    /// A report is there when it has a transcript, or its analysis has come to an end.
    fn polled(&self, answer: &Json) -> Result<Progress, Undocumented> {
        if !matches!(answer, Json::Object(_)) {
            return Err(Undocumented("a report is an object"));
        }
        let status = answer.get("analysis_status").and_then(Json::as_str);
        let is_over = matches!(status, Some("heuristic" | "completed" | "failed"));
        let is_there = answer.get("transcript").is_some_and(|transcript| *transcript != Json::Null);
        Ok(if is_over || is_there { Progress::Done } else { Progress::Running })
    }

    fn parts(&self) -> &'static [Part] {
        &PARTS
    }

    fn fetch(&self, task: &Task, part: &str, access: Access<'_>) -> Ask {
        let call = call(task);
        let path = if part == "call" { call } else { format!("{call}/{part}") };
        Ask::get(path).with(access.bearer())
    }

    fn inquire(&self, call: &str, inquiry: Inquiry<'_>, access: Access<'_>) -> Option<Ask> {
        let call = format!("/v1/calls/{}", segment(call));
        let of = |id: &str, step: &str| format!("{}/{step}", segment(id));
        let ask = match inquiry {
            Inquiry::Recording => Ask::get(format!("{call}/recording")),
            Inquiry::Transfer(transfer, parameters) => {
                let step = match transfer {
                    Transfer::Blind => "blind".to_owned(),
                    Transfer::Warm => "warm".to_owned(),
                    Transfer::Complete(id) => of(id, "complete"),
                    Transfer::Cancel(id) => of(id, "cancel"),
                };
                Ask::post(format!("{call}/transfers/{step}"), parameters)
            }
        };
        Some(ask.with(access.bearer()))
    }

    /// Presigned for seven days, of which the answer says nothing.
    fn recording(&self, answer: &Json) -> Result<Recording, Undocumented> {
        let url = id(answer, "url").ok_or(Undocumented("`url` is missing"))?;
        Ok(Recording { url, expires_at: None })
    }

    fn results(&self, task: &Task, raw: Json) -> Event {
        let mut findings = Findings::default();
        let body = Body::of(&raw);
        body.put_call(Kind::Report, &mut |name, value| findings.put(name, value));
        body.put_speech(Kind::Report, &mut |name, value| findings.put(name, value));
        // As the call is known here, whatever the report calls itself.
        findings.put_own(Name::CallId, Json::from(&*task.call));
        let report = raw.get("report");
        findings.put(Name::ConversationId, report.and_then(|report| report.get("session_id")));
        let events = raw.get("events").and_then(|answer| answer.get("events"));
        findings.put(Name::CallEvents, events.filter(|events| events.as_array().is_some()));
        findings.put(Name::CallRecordingUrl, raw.get("recording").and_then(|answer| answer.get("url")));
        let at = body.at(Kind::Report);
        findings.into_event(vec![EventType::SpeechCompleted], None, at, raw)
    }
}

fn call(task: &Task) -> String {
    format!("/v1/calls/{}", segment(&task.call))
}
