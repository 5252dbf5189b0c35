//! Auralytik: an envelope `{id, event, timestamp, data}` around whatever the event is about.
//!
//! Sources: <https://auralytik.ai/developers/voice-calls>,
//! <https://auralytik.ai/developers/webhooks>. What `data` holds is published for a voice call
//! only, and only as the API answers it; of other events the call's id is taken where they name
//! one, and the rest stays in `raw`. No signature header is published: the source is configured
//! with the generic `hmac` scheme.

mod api;

use super::api::Api;
use super::body::Findings;
use super::utterance::{self, Utterance};
use super::{Adapter, Reading, Unreadable, body};
use crate::context::{Json, Name, read_time};
use crate::event::{Event, EventType, Notice};
use crate::signature::Verified;

/// Reads `voice-call.completed`, `audio.transcribed`, `evaluation.completed` and whatever else.
pub(super) struct Auralytik;

impl Adapter for Auralytik {
    fn name(&self) -> &'static str {
        "auralytik"
    }

    fn read(&self, request: &Verified) -> Result<Reading, Unreadable> {
        let raw = body::json_object(&request.request().body)?;
        Ok(Reading::Event(Box::new(read_event(raw))))
    }

    fn api(&self) -> Option<&dyn Api> {
        Some(self)
    }
}

/// How an event that is about something else may name the voice call that it belongs to.
const CALL_REFERENCES: [&str; 4] = ["voiceCallId", "voice_call_id", "callId", "call_id"];

fn read_event(raw: Json) -> Event {
    let mut findings = Findings::default();
    let kind = raw.get("event").and_then(Json::as_str).unwrap_or_default();
    let data = raw.get("data").unwrap_or(&Json::Null);
    let mut notice = None;
    let types = match kind.split_once('.') {
        Some(("voice-call", what)) => {
            // The call itself, or within a member of its own.
            let call = data.get("voiceCall").unwrap_or(data);
            findings.put(Name::CallId, call.get("id").or_else(|| reference(call)));
            put_call(&mut findings, call);
            // A call that is over has a state at least, where more is told than its id.
            notice = (what == "completed" && call.get("state").is_none()).then_some(Notice::Results);
            call_types(what, call)
        }
        Some(("audio" | "evaluation", what)) => {
            findings.put(Name::CallId, reference(data));
            let transcribed = what == "transcribed" && put_transcript(&mut findings, data);
            notice = (what == "transcribed" && !transcribed).then_some(Notice::Results);
            vec![if transcribed { EventType::SpeechCompleted } else { EventType::ProviderOther }]
        }
        _ => vec![EventType::ProviderOther],
    };
    let id = raw.get("id").and_then(body::event_id);
    let at = raw.get("timestamp").and_then(|at| read_time(at.into()));
    Event { notice, ..findings.into_event(types, id, at, raw) }
}

fn reference(data: &Json) -> Option<&Json> {
    CALL_REFERENCES.iter().find_map(|name| data.get(name))
}

/// What is told of a voice call. One webhook may mean several things.
fn call_types(what: &str, call: &Json) -> Vec<EventType> {
    if what != "completed" {
        return vec![EventType::CallUpdated];
    }
    let mut types = vec![EventType::CallEnded];
    if !utterances(call).is_empty() {
        types.push(EventType::SpeechCompleted);
    }
    if call.get("epaResults").is_some_and(is_answered) {
        types.push(EventType::SurveyCompleted);
    }
    types
}

fn is_answered(survey: &Json) -> bool {
    survey.get("state").and_then(Json::as_str) == Some("Completed")
}

/// The voice call object, as the API answers it.
fn put_call(findings: &mut Findings, call: &Json) {
    for (name, member) in [
        (Name::CampaignId, "campaignId"),
        (Name::CallStatus, "state"),
        (Name::CallOutcome, "outcome"),
        (Name::StartAt, "startTime"),
        (Name::EndAt, "endTime"),
        (Name::CallDuration, "durationSeconds"),
        (Name::CallBillDuration, "talkTimeSeconds"),
        (Name::CallTalkDuration, "talkTimeSeconds"),
    ] {
        findings.put(name, call.get(member));
    }
    if let Some(direction) = call.get("direction").and_then(Json::as_str) {
        findings.put_own(Name::CallDirection, Json::from(&*direction.to_lowercase()));
    }
    put_transcript(findings, call);
    if let Some(survey) = call.get("epaResults") {
        put_survey(findings, survey);
    }
}

/// Whether there is a transcript.
fn put_transcript(findings: &mut Findings, data: &Json) -> bool {
    let utterances = utterances(data);
    if utterances.is_empty() {
        return false;
    }
    findings.put_own(Name::SpeechResult, utterance::to_result(&utterances));
    findings.put_own(Name::SpeechPhrases, utterance::to_phrases(&utterances));
    findings.put_own(Name::SpeechTaskState, Json::from("completed"));
    true
}

fn utterances(data: &Json) -> Vec<Utterance> {
    let entries = data.get("transcript").and_then(Json::as_array).unwrap_or_default();
    let read = |entry: &Json| {
        let text = |name| entry.get(name).and_then(Json::as_str);
        Some(Utterance {
            text: text("text").filter(|text| !text.is_empty())?.to_owned(),
            speaker: text("role").map(str::to_owned),
            start_ms: text("timestamp").and_then(read_clock),
            end_ms: None,
        })
    };
    entries.iter().filter_map(read).collect()
}

/// `HH:MM:SS` from the beginning of the call, in milliseconds.
fn read_clock(text: &str) -> Option<i64> {
    let mut fields = text.split(':').map(|field| {
        let digits = (1..=2).contains(&field.len()) && field.bytes().all(|byte| byte.is_ascii_digit());
        if digits { field.parse::<i64>().ok() } else { None }
    });
    let (hours, minutes, seconds) = (fields.next()??, fields.next()??, fields.next()??);
    let valid = fields.next().is_none() && minutes < 60 && seconds < 60;
    valid.then_some(((hours * 60 + minutes) * 60 + seconds) * 1000)
}

/// The survey after the call (EPA, "Encuesta Post-Atención").
fn put_survey(findings: &mut Findings, survey: &Json) {
    for (name, member) in [
        (Name::SurveyState, "state"),
        (Name::SurveyCompletionReason, "completionReason"),
        (Name::SurveyScore, "calculatedScore"),
        (Name::SurveyQuestionCount, "totalQuestions"),
        (Name::SurveyAnsweredCount, "questionsAnswered"),
        (Name::SurveyResponses, "responses"),
    ] {
        findings.put(name, survey.get(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_counts_from_the_beginning_of_the_call() {
        for (text, expected) in [
            ("00:00:01", Some(1000)),
            ("01:02:03", Some(3_723_000)),
            ("99:59:59", Some(359_999_000)),
            ("0:0:4", Some(4000)),
            ("00:60:00", None),
            ("00:01", None),
            ("00:00:00:00", None),
            ("+1:00:00", None),
            ("", None),
        ] {
            assert_eq!(read_clock(text), expected, "{text}");
        }
    }
}
