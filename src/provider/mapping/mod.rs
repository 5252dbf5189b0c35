//! `custom`: any JSON or form body, read by a table that says where each name is.
//!
//! ```toml
//! [source.map]
//! event_id = "/id"                                    # a JSON pointer (RFC 6901)
//! event_at = "/timestamp"
//! event_type = { at = "/event", is = { "call.done" = "call.ended" } }
//! call_id = ["/call/id", "?call_id"]                  # the first that is there; `?` is the query
//! call_duration = { at = "/call/ms", unit = "ms" }
//! call_direction = { at = "/call/way", is = { in = "inbound", out = "outbound" } }
//! call_recording_url = { at = "/url", when = { at = "/event", is = ["recorded"] } }
//! speech_phrases = { each = "/turns", text = "/text", speaker = "/role", start = "/from", unit = "s" }
//! ```
//!
//! The names are those of the catalogue, and the three of the event itself. Where
//! `speech_phrases` is mapped and `speech_result` is not, the latter is made of the former, and
//! `speech_task_state` follows the event's type. Everything else stays in `raw`.

mod place;
mod read;
mod rule;
#[cfg(test)]
mod tests;

use hyper::header::CONTENT_TYPE;
use jiff::Timestamp;

pub use self::read::InvalidEntry;

use self::place::{Document, Places};
use self::rule::{Phrases, Types, Value};
use super::body::Findings;
use super::utterance;
use super::{Adapter, Reading, Unreadable, body};
use crate::context::{Json, Name, read_time};
use crate::event::{Event, EventType};
use crate::signature::{SignedRequest, Verified};

/// Where a body says what: the table of `[source.map]`, or a preset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    types: Types,
    id: Places,
    at: Places,
    names: Vec<(Name, Vec<Value>)>,
    phrases: Option<Phrases>,
}

/// Reads what a mapping says.
pub(super) struct Mapped {
    name: &'static str,
    mapping: Mapping,
}

impl Mapped {
    pub(super) const fn new(name: &'static str, mapping: Mapping) -> Self {
        Self { name, mapping }
    }
}

impl Adapter for Mapped {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, request: &Verified) -> Result<Reading, Unreadable> {
        let raw = body_of(request.request())?;
        Ok(Reading::Event(Box::new(self.mapping.event(raw, &request.request().query))))
    }
}

/// The body as JSON: an object of a form's texts, a text if it is plain, nothing as an empty
/// object. A provider may tell everything in the query.
fn body_of(request: &SignedRequest) -> Result<Json, Unreadable> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_text = content_type.is_some_and(|value| value.trim_start().starts_with("text/plain"));
    if request.body.trim_ascii().is_empty() {
        return Ok(Json::Object(Vec::new()));
    }
    match body::any(request) {
        Ok(json) => Ok(json),
        Err(_) if is_text => Ok(Json::from(&*String::from_utf8_lossy(&request.body))),
        Err(error) => Err(error),
    }
}

impl Mapping {
    fn event(&self, raw: Json, query: &str) -> Event {
        let document = Document::new(&raw, query);
        let mut findings = Findings::default();
        let types = self.types.of(&document);
        for (name, values) in &self.names {
            if let Some(value) = values.iter().find_map(|value| value.of(&document)) {
                findings.put_own(*name, value);
            }
        }
        if let Some(utterances) = self.phrases.as_ref().and_then(|phrases| phrases.of(&document)) {
            findings.put_own(Name::SpeechPhrases, utterance::to_phrases(&utterances));
            if findings.facts.get(Name::SpeechResult).is_none() {
                findings.put_own(Name::SpeechResult, utterance::to_result(&utterances));
            }
        }
        if findings.facts.get(Name::SpeechTaskState).is_none()
            && let Some(state) = task_state(&types)
        {
            findings.put_own(Name::SpeechTaskState, Json::from(state));
        }
        let id = self.id.of(&document).as_deref().and_then(body::event_id);
        let at = self.at.of(&document).as_deref().and_then(read_any_time);
        findings.into_event(types, id, at, raw)
    }

    /// With another one's entries in place of its own, and beside them.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        if others.types != Types::default() {
            self.types = others.types;
        }
        if others.id != Places::default() {
            self.id = others.id;
        }
        if others.at != Places::default() {
            self.at = others.at;
        }
        for (name, value) in others.names {
            self.names.retain(|(other, _)| *other != name);
            self.names.push((name, value));
        }
        self.phrases = others.phrases.or(self.phrases);
        self
    }
}

fn task_state(types: &[EventType]) -> Option<&'static str> {
    types.iter().find_map(|event_type| match event_type {
        EventType::SpeechCompleted => Some("completed"),
        EventType::SpeechFailed => Some("failed"),
        _ => None,
    })
}

/// A time in a spelling of the language, or as mail has it (RFC 2822), which Twilio sends.
fn read_any_time(json: &Json) -> Option<Timestamp> {
    read_time(json.into()).or_else(|| {
        let zoned = jiff::fmt::rfc2822::parse(json.as_str()?).ok()?;
        Some(zoned.timestamp())
    })
}
