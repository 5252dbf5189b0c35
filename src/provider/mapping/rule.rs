//! What is made of a value that was found.

use super::place::{Document, Places};
use crate::context::Json;
use crate::event::EventType;
use crate::provider::utterance::{Utterance, read_milliseconds};

/// Of which types an event is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Types {
    /// Where the provider's own word for it is.
    pub(super) at: Places,
    /// What its words mean; without any, they are Ringback's own.
    pub(super) is: Vec<(String, Vec<EventType>)>,
    /// What everything else means.
    pub(super) otherwise: Vec<EventType>,
    /// What the event means as well, if there is something at that place.
    pub(super) also: Vec<(EventType, Places)>,
}

impl Types {
    /// Never empty, and none twice. `provider.other` stands alone or not at all.
    pub(super) fn of(&self, document: &Document<'_>) -> Vec<EventType> {
        let word = self.at.of(document).map(|word| word.to_text());
        let told = word.and_then(|word| match self.is.iter().find(|(other, _)| *other == word) {
            Some((_, types)) => Some(types.clone()),
            None if self.is.is_empty() => read_type(&word).map(|event_type| vec![event_type]),
            None => None,
        });
        let mut types = told.unwrap_or_else(|| self.otherwise.clone());
        let also = self.also.iter().filter(|(_, places)| places.find(document).is_some_and(is_something));
        types.extend(also.map(|(event_type, _)| *event_type));
        let mut known = Vec::new();
        for event_type in types.into_iter().filter(|event_type| *event_type != EventType::ProviderOther) {
            if !known.contains(&event_type) {
                known.push(event_type);
            }
        }
        if known.is_empty() { vec![EventType::ProviderOther] } else { known }
    }
}

/// A type that a provider may tell.
pub(super) fn read_type(name: &str) -> Option<EventType> {
    let event_type = EventType::from_name(name)?;
    (!matches!(event_type, EventType::CallbackPaused | EventType::DeliveryDead)).then_some(event_type)
}

fn is_something(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => false,
        Json::Text(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(members) => !members.is_empty(),
        Json::Bool(true) | Json::Number(_) => true,
    }
}

/// How a name's value is made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) at: Places,
    /// What a provider's words are in Ringback's; others stay.
    pub(super) is: Vec<(String, Json)>,
    pub(super) unit: Option<Unit>,
    /// Where a word is that must be one of these, so that the value counts.
    pub(super) when: Option<(Places, Vec<String>)>,
}

impl Value {
    pub(super) fn of(&self, document: &Document<'_>) -> Option<Json> {
        if let Some((places, words)) = &self.when
            && !places.find(document).is_some_and(|word| words.contains(&word.to_text()))
        {
            return None;
        }
        let found = self.at.of(document)?;
        let word = found.to_text();
        if let Some((_, meant)) = self.is.iter().find(|(other, _)| *other == word) {
            return Some(meant.clone());
        }
        match self.unit {
            // What is no number is left to be warned of.
            Some(unit) => unit.convert(&found).or(Some(found.into_owned())),
            None => Some(found.into_owned()),
        }
    }
}

/// A unit other than the catalogue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Milliseconds, where seconds are wanted.
    Milliseconds,
    /// US dollars, where millionths are.
    Dollars,
    /// US cents, where millionths of a dollar are.
    Cents,
    /// Any text, in lower case.
    LowerCase,
}

impl Unit {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("ms", Self::Milliseconds),
        ("usd", Self::Dollars),
        ("cents", Self::Cents),
        ("lower", Self::LowerCase),
    ];

    fn convert(self, value: &Json) -> Option<Json> {
        let number = || match value {
            Json::Number(spelling) => spelling.parse::<f64>().ok(),
            Json::Text(text) => Json::number(text).and_then(|_| text.parse().ok()),
            _ => None,
        };
        // A double prints as the shortest text that is read back as it: 15.791, not 15.790999.
        let converted = match self {
            Self::Milliseconds => number()? / 1000.0,
            Self::Dollars => (number()? * 1_000_000.0).round(),
            Self::Cents => (number()? * 10_000.0).round(),
            Self::LowerCase => return Some(Json::from(&*value.as_str()?.to_lowercase())),
        };
        Json::number(&converted.to_string())
    }
}

/// How the utterances are found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phrases {
    /// The array.
    pub(super) each: Places,
    /// Within an item: what was said.
    pub(super) text: Places,
    /// Who said it.
    pub(super) speaker: Places,
    /// What a speaker is called, where that is not the provider's word. Items of one that is
    /// called `null` are no utterances.
    pub(super) is: Vec<(String, Json)>,
    /// When it began and ended, from the beginning of the call.
    pub(super) start: Places,
    pub(super) end: Places,
    /// How many milliseconds the unit of these times has.
    pub(super) milliseconds_each: f64,
    /// Whether items of one speaker in a row are words of one utterance.
    pub(super) join: bool,
}

impl Phrases {
    /// The utterances; nothing if there is no array with any.
    pub(super) fn of(&self, document: &Document<'_>) -> Option<Vec<Utterance>> {
        let items = self.each.find(document)?.as_array()?;
        let mut utterances: Vec<Utterance> = Vec::new();
        for said in items.iter().filter_map(|item| self.utterance(item)) {
            match utterances.last_mut() {
                Some(last) if self.join && last.speaker == said.speaker => {
                    // Punctuation that is an item of its own belongs to the word before it.
                    if said.text.starts_with(char::is_alphanumeric) {
                        last.text.push(' ');
                    }
                    last.text.push_str(&said.text);
                    last.end_ms = said.end_ms.or(last.end_ms);
                }
                _ => utterances.push(said),
            }
        }
        (!utterances.is_empty()).then_some(utterances)
    }

    fn utterance(&self, item: &Json) -> Option<Utterance> {
        let item = Document::item(item);
        let text = self.text.find(&item)?.as_str().filter(|text| !text.is_empty())?.to_owned();
        let time = |places: &Places| read_milliseconds(places.find(&item)?, self.milliseconds_each);
        let mut speaker = self.speaker.find(&item).map(Json::to_text);
        let meant = self.is.iter().find(|(word, _)| speaker.as_ref() == Some(word));
        match meant {
            Some((_, Json::Null)) => return None,
            Some((_, meant)) => speaker = Some(meant.to_text()),
            None => {}
        }
        Some(Utterance { text, speaker, start_ms: time(&self.start), end_ms: time(&self.end) })
    }
}
