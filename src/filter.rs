//! Which events a registration wants, beyond their type and source, and which calls a search finds.

mod grams;

use std::cell::OnceCell;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::context::{Json, Name, Value, Values, read_time};

pub use grams::{Wanted, fnv};

/// A text that is looked for in any case: lower-cased once, when it is registered, and not once an
/// event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Needle {
    spelt: String,
    lower: String,
}

impl Needle {
    /// In lower case.
    #[must_use]
    pub fn lower(&self) -> &str {
        &self.lower
    }

    /// Whether it is in this text, which is in lower case. A text that is missing is empty, and
    /// holds nothing.
    fn is_in(&self, lower: &str) -> bool {
        !lower.is_empty() && lower.contains(&self.lower)
    }
}

impl From<String> for Needle {
    fn from(spelt: String) -> Self {
        Self { lower: spelt.to_lowercase(), spelt }
    }
}

impl From<Needle> for String {
    fn from(needle: Needle) -> Self {
        needle.spelt
    }
}

/// The names of the filters, in a registration and in a search.
pub const FILTER_NAMES: [&str; 11] = [
    "min_duration",
    "max_duration",
    "call_status",
    "from",
    "till",
    "language",
    "phrase",
    "summary",
    "rank_description",
    "rank_min",
    "rank_max",
];

/// Lists of names, one behind the other; `N` is how many there are.
///
/// # Panics
/// It is not, which is found out when the constant is compiled.
#[must_use]
pub const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let (mut all, mut count, mut list) = ([""; N], 0, 0);
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            all[count] = lists[list][at];
            (count, at) = (count + 1, at + 1);
        }
        list += 1;
    }
    assert!(count == N, "N is how many there are");
    all
}

/// The filters of a registration, or of a search. One that is not set takes every event; one that is set never
/// takes an event whose value is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// At least this `call_duration`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_duration: Option<u64>,
    /// At most this `call_duration`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u64>,
    /// This `call_status`, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_status: Option<Needle>,
    /// `start_at` at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// `start_at` at this time or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub till: Option<Timestamp>,
    /// This `speech_language`, else `call_language`, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Needle>,
    /// This text anywhere in the transcript, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phrase: Option<Needle>,
    /// This text anywhere in `speech_summary`, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Needle>,
    /// This text anywhere in `speech_rank_description`, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_description: Option<Needle>,
    /// At least this `speech_rank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_min: Option<u8>,
    /// At most this `speech_rank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_max: Option<u8>,
}

/// An event as filters see it. What costs something to make (lower-case transcripts) is made once
/// an event, when the first filter asks for it, and not once a registration.
#[derive(Debug)]
pub struct Occasion<'a> {
    values: &'a Values<'a>,
    call_status: Option<String>,
    language: Option<String>,
    start_at: OnceCell<Option<Timestamp>>,
    transcript: OnceCell<String>,
    summary: OnceCell<String>,
    rank_description: OnceCell<String>,
    grams: OnceCell<Vec<u32>>,
}

impl<'a> Occasion<'a> {
    /// The event whose merged values these are.
    #[must_use]
    pub fn new(values: &'a Values<'a>) -> Self {
        let lower = |name| text(values.get(name)).map(str::to_lowercase);
        Self {
            values,
            call_status: lower(Name::CallStatus),
            language: lower(Name::SpeechLanguage).or_else(|| lower(Name::CallLanguage)),
            start_at: OnceCell::new(),
            transcript: OnceCell::new(),
            summary: OnceCell::new(),
            rank_description: OnceCell::new(),
            grams: OnceCell::new(),
        }
    }

    /// `call_status` in lower case.
    #[must_use]
    pub fn call_status(&self) -> Option<&str> {
        self.call_status.as_deref()
    }

    /// The language in lower case.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }

    fn number(&self, name: Name) -> Option<f64> {
        match self.values.get(name) {
            Value::Number(spelling) => spelling.parse().ok(),
            _ => None,
        }
    }

    /// `call_duration`, in seconds.
    #[must_use]
    pub fn duration(&self) -> Option<f64> {
        self.number(Name::CallDuration)
    }

    /// `speech_rank`.
    #[must_use]
    pub fn rank(&self) -> Option<f64> {
        self.number(Name::SpeechRank)
    }

    /// `start_at`.
    #[must_use]
    pub fn start_at(&self) -> Option<Timestamp> {
        *self.start_at.get_or_init(|| read_time(self.values.get(Name::StartAt)))
    }

    /// The transcript in lower case: the whole, and behind it its phrases, a line each.
    #[must_use]
    pub fn transcript(&self) -> &str {
        self.transcript.get_or_init(|| {
            let mut all = text(self.values.get(Name::SpeechResult)).unwrap_or_default().to_lowercase();
            if let Value::Array(phrases) = self.values.get(Name::SpeechPhrases) {
                for phrase in phrases.iter().filter_map(|phrase| phrase.get("text").and_then(Json::as_str)) {
                    all.push('\n');
                    all.push_str(&phrase.to_lowercase());
                }
            }
            all
        })
    }

    /// `speech_summary` in lower case.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.lower(&self.summary, Name::SpeechSummary)
    }

    /// `speech_rank_description` in lower case.
    #[must_use]
    pub fn rank_description(&self) -> &str {
        self.lower(&self.rank_description, Name::SpeechRankDescription)
    }

    /// Whatever [`Wanted`] may ask its texts for.
    #[must_use]
    pub fn grams(&self) -> &[u32] {
        self.grams.get_or_init(|| grams::of(self))
    }

    fn lower<'c>(&self, cell: &'c OnceCell<String>, name: Name) -> &'c str {
        cell.get_or_init(|| text(self.values.get(name)).unwrap_or_default().to_lowercase())
    }
}

/// Whether these values hold speech that is complete: by the task's state, or, where there is none,
/// by a transcript.
#[must_use]
pub fn has_speech(values: &Values<'_>) -> bool {
    match text(values.get(Name::SpeechTaskState)).map(str::trim).filter(|state| !state.is_empty()) {
        Some(state) => state.eq_ignore_ascii_case("completed"),
        None => text(values.get(Name::SpeechResult)).is_some_and(|result| !result.is_empty()),
    }
}

fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

impl Filter {
    /// Whether the filter looks for something in texts.
    #[must_use]
    pub fn has_texts(&self) -> bool {
        self.phrase.is_some() || self.summary.is_some() || self.rank_description.is_some()
    }

    /// Whether the filter takes this event, or this call.
    #[must_use]
    pub fn takes(&self, occasion: &Occasion<'_>) -> bool {
        let is = |needle: Option<&Needle>, value: Option<&str>| {
            needle.is_none_or(|needle| value == Some(needle.lower()))
        };
        is(self.call_status.as_ref(), occasion.call_status())
            && is(self.language.as_ref(), occasion.language())
            && self.takes_apart_from_indexed(occasion)
    }

    /// Whether the filter takes this event. `call_status` and `language` are left to the index of
    /// registrations, which finds by them.
    #[must_use]
    pub fn takes_apart_from_indexed<'o>(&self, occasion: &'o Occasion<'_>) -> bool {
        // Seconds and ranks are far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        let bound = |bound: u64| bound as f64;
        let number = |value: Option<f64>, low: Option<f64>, high: Option<f64>| {
            (low.is_none() && high.is_none())
                || value.is_some_and(|value| {
                    low.is_none_or(|low| value >= low) && high.is_none_or(|high| value <= high)
                })
        };
        // The text is made only where somebody looks for something in it.
        let found = |needle: Option<&Needle>, text: &dyn Fn() -> &'o str| {
            needle.is_none_or(|needle| needle.is_in(text()))
        };

        number(occasion.duration(), self.min_duration.map(bound), self.max_duration.map(bound))
            && number(occasion.rank(), self.rank_min.map(f64::from), self.rank_max.map(f64::from))
            && ((self.from.is_none() && self.till.is_none())
                || occasion.start_at().is_some_and(|start| {
                    self.from.is_none_or(|from| start >= from) && self.till.is_none_or(|till| start <= till)
                }))
            && found(self.phrase.as_ref(), &|| occasion.transcript())
            && found(self.summary.as_ref(), &|| occasion.summary())
            && found(self.rank_description.as_ref(), &|| occasion.rank_description())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filter: &Filter, values: &Values<'_>) -> bool {
        filter.takes_apart_from_indexed(&Occasion::new(values))
    }

    #[test]
    fn ranges_are_inclusive_and_never_take_a_missing_value() {
        let filter = Filter { min_duration: Some(10), max_duration: Some(20), ..Filter::default() };
        for (spelling, expected) in
            [("9", false), ("9.999", false), ("10", true), ("20.0", true), ("20.5", false), ("1e1", true)]
        {
            let mut values = Values::new();
            values.set(Name::CallDuration, Value::Number(spelling));
            assert_eq!(takes(&filter, &values), expected, "{spelling}");
        }
        assert!(!takes(&filter, &Values::new()));
        assert!(takes(&Filter::default(), &Values::new()));
    }

    #[test]
    fn from_and_till_are_inclusive() {
        let at = |text: &str| Some(text.parse().unwrap());
        let filter = Filter {
            from: at("2026-01-01T00:00:00Z"),
            till: at("2026-01-02T00:00:00Z"),
            ..Filter::default()
        };
        for (start, expected) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2026-01-02T00:00:00Z", true),
            ("2026-01-02T00:00:00.001Z", false),
        ] {
            let mut values = Values::new();
            values.set(Name::StartAt, Value::Text(start));
            assert_eq!(takes(&filter, &values), expected, "{start}");
        }
    }

    #[test]
    fn texts_are_found_in_any_case_in_result_and_phrases() {
        let filter = Filter { phrase: Some("GRÜẞ gott".to_owned().into()), ..Filter::default() };
        let phrases = [Json::Object(vec![("text".into(), Json::Text("Ja, Grüß Gott!".into()))])];
        let mut values = Values::new();
        assert!(!takes(&filter, &values));
        values.set(Name::SpeechPhrases, Value::Array(&phrases));
        assert!(takes(&filter, &values));
        let mut values = Values::new();
        values.set(Name::SpeechResult, Value::Text("agent: grüß GOTT"));
        assert!(takes(&filter, &values));
    }

    #[test]
    fn what_speech_alone_has_never_takes_a_call_without_speech() {
        let needle = |text: &str| Some(Needle::from(text.to_owned()));
        let filters = [
            Filter { phrase: needle(""), ..Filter::default() },
            Filter { summary: needle(""), ..Filter::default() },
            Filter { rank_description: needle(""), ..Filter::default() },
            Filter { rank_min: Some(0), ..Filter::default() },
            Filter { rank_max: Some(100), ..Filter::default() },
        ];
        let mut values = Values::new();
        values.set(Name::CallDuration, Value::Number("10"));
        for filter in &filters {
            assert!(!takes(filter, &values), "{filter:?}");
        }
        values.set(Name::SpeechResult, Value::Text("agent: hello"));
        values.set(Name::SpeechSummary, Value::Text("A greeting"));
        values.set(Name::SpeechRankDescription, Value::Text("Short"));
        values.set(Name::SpeechRank, Value::Number("0.0"));
        for filter in &filters {
            assert!(takes(filter, &values), "{filter:?}");
        }
    }

    #[test]
    fn status_and_language_are_the_whole_text_in_any_case() {
        let needle = |text: &str| Some(Needle::from(text.to_owned()));
        let filter = Filter { call_status: needle("Ended"), language: needle("pt-BR"), ..Filter::default() };
        for (status, speech, call, expected) in [
            ("ENDED", "PT-br", "en", true),
            ("ENDED", "", "pt-br", false),
            ("ended", "pt", "pt-br", false),
            ("ended early", "pt-br", "", false),
        ] {
            let mut values = Values::new();
            values.set(Name::CallStatus, Value::Text(status));
            values.set(Name::SpeechLanguage, Value::Text(speech));
            values.set(Name::CallLanguage, Value::Text(call));
            assert_eq!(filter.takes(&Occasion::new(&values)), expected, "{status} {speech} {call}");
        }
        let mut values = Values::new();
        values.set(Name::CallStatus, Value::Text("ended"));
        values.set(Name::CallLanguage, Value::Text("pt-BR"));
        assert!(filter.takes(&Occasion::new(&values)), "the call's language, where the speech has none");
        assert!(!filter.takes(&Occasion::new(&Values::new())));
    }

    #[test]
    fn a_filter_is_stored_as_it_was_spelt() {
        let stored = r#"{"max_duration":60,"call_status":"Ended","phrase":"GRÜẞ"}"#;
        let filter: Filter = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), stored);
    }
}
