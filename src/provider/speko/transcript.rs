//! A report's transcript: entries with a source, a text, and the times between which it was said.

use jiff::Timestamp;

use super::{first, first_time};
use crate::context::Json;
use crate::provider::utterance::{self, Utterance};

/// What was said, in its order.
pub(super) enum Transcript<'a> {
    /// Utterance by utterance.
    Entries(Vec<Entry<'a>>),
    /// As one text.
    Text(&'a str),
}

/// One utterance. Its text is not empty.
pub(super) struct Entry<'a> {
    text: &'a str,
    speaker: Option<&'a str>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl<'a> Transcript<'a> {
    /// Reads `{"entries": [...]}`, the list alone, or a text. An entry without a text is none.
    /// Entries stand in the order of their `index`, where all have one.
    pub(super) fn read(json: &'a Json) -> Option<Self> {
        if let Some(text) = json.as_str() {
            return Some(Self::Text(text));
        }
        let entries = json.get("entries").unwrap_or(json).as_array()?;
        let mut entries: Vec<_> = entries.iter().map(|entry| (index(entry), entry)).collect();
        if entries.iter().all(|(index, _)| index.is_some()) {
            entries.sort_by_key(|(index, _)| *index);
        }
        Some(Self::Entries(entries.into_iter().filter_map(|(_, entry)| Entry::read(entry)).collect()))
    }

    /// When the first utterance began.
    pub(super) fn start(&self) -> Option<Timestamp> {
        match self {
            Self::Entries(entries) => entries.iter().filter_map(|entry| entry.start).min(),
            Self::Text(_) => None,
        }
    }

    /// The transcript as text.
    pub(super) fn to_result(&self) -> Json {
        match self {
            Self::Entries(entries) => utterance::to_result(&utterances(entries, None)),
            Self::Text(text) => Json::from(*text),
        }
    }

    /// The utterances as `speech_phrases`, with their times in milliseconds from the beginning of
    /// the call. Where that is not known, or is said to be after the first utterance, they count
    /// from the first utterance.
    pub(super) fn to_phrases(&self, call_start: Option<Timestamp>) -> Option<Json> {
        let Self::Entries(entries) = self else { return None };
        let first = self.start();
        let zero = call_start.filter(|start| first.is_none_or(|first| *start <= first)).or(first);
        Some(utterance::to_phrases(&utterances(entries, zero)))
    }
}

/// The entries, with their times from `zero` on.
fn utterances(entries: &[Entry<'_>], zero: Option<Timestamp>) -> Vec<Utterance> {
    let milliseconds = |time: Option<Timestamp>| {
        let time = time?.duration_since(zero?).as_millis();
        Some(i64::try_from(time).expect("timestamps are fewer milliseconds apart"))
    };
    let utterance = |entry: &Entry<'_>| Utterance {
        text: entry.text.to_owned(),
        speaker: entry.speaker.map(str::to_owned),
        start_ms: milliseconds(entry.start),
        end_ms: milliseconds(entry.end),
    };
    entries.iter().map(utterance).collect()
}

impl<'a> Entry<'a> {
    fn read(json: &'a Json) -> Option<Self> {
        let text = json.get("text").and_then(Json::as_str).filter(|text| !text.is_empty())?;
        Some(Self {
            text,
            speaker: first(&[json], &["source"]).and_then(Json::as_str),
            // The API's answers have the one spelling, the reports of finished calls the other.
            start: first_time(&[json], &["started_at", "startedAt"]),
            end: first_time(&[json], &["ended_at", "endedAt"]),
        })
    }
}

fn index(entry: &Json) -> Option<u64> {
    match entry.get("index")? {
        Json::Number(spelling) => spelling.parse().ok(),
        _ => None,
    }
}
