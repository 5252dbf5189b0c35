//! `CommPeak`: a flat object of the catalogue's names, as a customer gets it who lists them all in
//! `callback_data`, and the PBX webhooks for the start, the answer and the end of a call, which
//! come as a query, a form or JSON under names that the customer gave them.
//!
//! Sources: <https://docs.commpeak.com/reference/sendspeechwithcallbackurl>,
//! <https://docs.commpeak.com/docs/webhooks>. Neither documents an event's own id or time. The
//! catalogue's names for those are set by Ringback, so a member of such a name can only be the
//! sender's: `event_id` identifies the event, `event_at` dates it, `event_type` types it.

use jiff::{SignedDuration, Timestamp};

use super::{Adapter, Reading, Unreadable, body};
use crate::context::{Facts, Json, Name, read_time};
use crate::event::{Event, EventType};
use crate::signature::Verified;

/// Reads the speech-callback API's flat object and the PBX webhooks.
pub(super) struct CommPeak;

impl Adapter for CommPeak {
    fn name(&self) -> &'static str {
        "commpeak"
    }

    fn read(&self, request: &Verified) -> Result<Reading, Unreadable> {
        body::object(request.request()).map(|raw| Reading::Event(Box::new(read_event(raw))))
    }

    fn reads_queries(&self) -> bool {
        true
    }
}

fn read_event(raw: Json) -> Event {
    let mut warnings = Vec::new();
    let facts = read_facts(&raw, &mut warnings);
    let (event_type, at) = read_type(&raw, &facts);
    let call_id = body::call_id(&facts, &mut warnings);
    Event {
        types: vec![event_type],
        provider_event_id: raw.get("event_id").and_then(body::event_id),
        at: raw.get("event_at").and_then(|at| read_time(at.into())).or(at),
        call_id,
        facts,
        raw,
        warnings,
        notice: None,
    }
}

/// Every member under a name of the catalogue that is not Ringback's own; of several members by
/// one name the last.
fn read_facts(raw: &Json, warnings: &mut Vec<String>) -> Facts {
    let mut latest: [Option<&Json>; Name::COUNT] = [None; Name::COUNT];
    if let Json::Object(members) = raw {
        for (name, value) in members {
            if let Some(name) = Name::from_text(name).filter(|name| !name.is_set_by_ringback()) {
                latest[name.index()] = Some(value);
            }
        }
    }
    let mut facts = Facts::new();
    for name in Name::ALL {
        if let Some(value) = latest[name.index()] {
            facts.put(name, custom_of_form(name, value).unwrap_or_else(|| value.clone()), warnings);
        }
    }
    facts
}

/// A form and a query can send `custom` only as text; where that is an object, it is meant.
fn custom_of_form(name: Name, value: &Json) -> Option<Json> {
    let text = value.as_str().filter(|text| name == Name::Custom && text.starts_with('{'))?;
    Json::parse(text.as_bytes()).ok()
}

/// What happened, and when, as far as the call's own times date it: a call started at `start_at`
/// and ended at `end_at`, and its speech is known only after its end. So these three may come in
/// any order. Anything else could be of any time.
fn read_type(raw: &Json, facts: &Facts) -> (EventType, Option<Timestamp>) {
    let time = |name| facts.get(name).and_then(|time| read_time(time.into()));
    let (start, end) = (time(Name::StartAt), time(Name::EndAt));
    let told = raw.get("event_type").map(Json::to_text).filter(|told| !told.trim().is_empty());
    if told.as_deref().is_some_and(is_answer) {
        return (EventType::CallUpdated, start);
    }
    let event_type = match told {
        Some(told) => told_type(&told),
        None => implied_type(facts),
    };
    let at = match event_type {
        EventType::CallStarted => start,
        EventType::CallEnded => end,
        EventType::SpeechCompleted | EventType::SpeechFailed => {
            end.and_then(|end| end.checked_add(SignedDuration::from_micros(1)).ok())
        }
        EventType::CallUpdated
        | EventType::CallRecordingReady
        | EventType::CallTransferred
        | EventType::SurveyCompleted
        | EventType::CallbackPaused
        | EventType::DeliveryDead
        | EventType::ProviderOther => None,
    };
    (event_type, at)
}

/// The type by what the event carries.
fn implied_type(facts: &Facts) -> EventType {
    let text = |name| facts.get(name).and_then(Json::as_str).unwrap_or_default();
    let state = text(Name::SpeechTaskState).trim().to_ascii_lowercase();
    let has_result = !text(Name::SpeechResult).is_empty();
    match &*state {
        "completed" => EventType::SpeechCompleted,
        "" if has_result => EventType::SpeechCompleted,
        "failed" => EventType::SpeechFailed,
        _ if facts.get(Name::EndAt).is_some() => EventType::CallEnded,
        _ if facts.get(Name::StartAt).is_some() => EventType::CallStarted,
        _ => EventType::CallUpdated,
    }
}

/// The type that `event_type` tells, in Ringback's words or in those of the PBX ("Call Start",
/// "Call End"), whatever stands between the words.
fn told_type(told: &str) -> EventType {
    match &*words(told) {
        "start" | "call start" => EventType::CallStarted,
        "end" | "hangup" | "call end" | "call hangup" => EventType::CallEnded,
        told => {
            let same = |event_type: &EventType| words(event_type.as_str()) == told;
            match EventType::ALL.into_iter().find(same) {
                // Only Ringback itself can say these.
                Some(EventType::CallbackPaused | EventType::DeliveryDead) | None => EventType::ProviderOther,
                Some(event_type) => event_type,
            }
        }
    }
}

fn is_answer(told: &str) -> bool {
    matches!(&*words(told), "answer" | "answered" | "call answer" | "call answered")
}

/// `Call Start`, `call_start` and `call.start` are the same words.
fn words(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace(['.', '_', '-'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::CallId;

    fn event(body: &str) -> Event {
        read_event(Json::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn an_event_is_typed_and_dated_by_what_it_carries() {
        let (start, end) = (Some("2026-03-30T14:22:00Z"), Some("2026-03-30T14:27:12Z"));
        let speech = Some("2026-03-30T14:27:12.000001Z");
        for (body, expected, at) in [
            (
                r#"{"start_at":S,"end_at":E,"speech_task_state":"completed"}"#,
                EventType::SpeechCompleted,
                speech,
            ),
            (r#"{"speech_task_state":" Completed"}"#, EventType::SpeechCompleted, None),
            (r#"{"speech_result":"hello"}"#, EventType::SpeechCompleted, None),
            (r#"{"speech_result":"hello","speech_task_state":""}"#, EventType::SpeechCompleted, None),
            (r#"{"speech_result":"hello","speech_task_state":null}"#, EventType::SpeechCompleted, None),
            (r#"{"speech_result":"","speech_task_state":"","end_at":E}"#, EventType::CallEnded, end),
            (
                r#"{"speech_result":"hel","speech_task_state":"processing","end_at":E}"#,
                EventType::CallEnded,
                end,
            ),
            (r#"{"speech_task_state":"failed","end_at":E}"#, EventType::SpeechFailed, speech),
            (r#"{"start_at":S,"end_at":E}"#, EventType::CallEnded, end),
            (r#"{"start_at":S,"end_at":null}"#, EventType::CallStarted, start),
            (r#"{"start_at":S,"end_at":""}"#, EventType::CallStarted, start),
            (r#"{"first_name":"Ann"}"#, EventType::CallUpdated, None),
            ("{}", EventType::CallUpdated, None),
            // What is told wins.
            (r#"{"event_type":"call.started","start_at":S,"end_at":E}"#, EventType::CallStarted, start),
            (r#"{"event_type":"Call Start","start_at":S}"#, EventType::CallStarted, start),
            (r#"{"event_type":"call_answer","start_at":S}"#, EventType::CallUpdated, start),
            (r#"{"event_type":"CALL-END","end_at":E}"#, EventType::CallEnded, end),
            (r#"{"event_type":"call.recording_ready","end_at":E}"#, EventType::CallRecordingReady, None),
            (r#"{"event_type":"survey.completed"}"#, EventType::SurveyCompleted, None),
            (r#"{"event_type":"speech.failed","speech_result":"a"}"#, EventType::SpeechFailed, None),
            (r#"{"event_type":"wrap_up","end_at":E}"#, EventType::ProviderOther, None),
            (r#"{"event_type":7}"#, EventType::ProviderOther, None),
            (r#"{"event_type":"delivery.dead"}"#, EventType::ProviderOther, None),
            (r#"{"event_type":" ","end_at":E}"#, EventType::CallEnded, end),
            (r#"{"event_type":null,"start_at":S}"#, EventType::CallStarted, start),
            (r#"{"event_at":S,"end_at":E}"#, EventType::CallEnded, start),
            (r#"{"event_at":"soon","end_at":E}"#, EventType::CallEnded, end),
        ] {
            let dated =
                body.replace(":S", r#":"2026-03-30T14:22:00Z""#).replace(":E", r#":"2026-03-30 14:27:12""#);
            let event = event(&dated);
            assert_eq!(event.types, [expected], "{body}");
            assert_eq!(event.at.map(|at| at.to_string()).as_deref(), at, "{body}");
        }
    }

    #[test]
    fn names_of_ringback_are_no_facts_and_the_sender_identifies_its_events() {
        let event = event(
            r#"{"event_id":17,"provider":"x","raw":1,"delivery_id":"dl_1","call_id":42,"call_id":43,"unknown":1}"#,
        );
        assert_eq!(event.provider_event_id.as_deref(), Some("17"));
        assert_eq!(event.call_id, CallId::from_text("43"));
        assert_eq!(event.facts.iter().map(|(name, _)| name).collect::<Vec<_>>(), [Name::CallId]);
        assert!(event.raw.get("unknown").is_some());
    }

    #[test]
    fn the_last_member_of_a_name_is_meant_even_if_it_is_null() {
        assert_eq!(event(r#"{"weight":1,"weight":null}"#).facts.get(Name::Weight), None);
    }

    #[test]
    fn custom_may_be_an_object_in_a_text() {
        let custom = |body: &str| event(body).facts.get(Name::Custom).map(Json::to_compact);
        assert_eq!(custom(r#"{"custom":"{\"a\":1}"}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(custom(r#"{"custom":"{a"}"#).as_deref(), Some(r#""{a""#));
        assert_eq!(custom(r#"{"custom":{"a":1}}"#).as_deref(), Some(r#"{"a":1}"#));
    }
}
