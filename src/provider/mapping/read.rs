//! A mapping from the entries of its table.

use super::Mapping;
use super::place::{Places, Pointer};
use super::rule::{Phrases, Types, Unit, Value, read_type};
use crate::context::{Json, Name};
use crate::event::EventType;

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// Its key is no name that an event may bring.
    #[error("there is no such name")]
    UnknownName,
    /// What is wrong with its value, a sentence.
    #[error("{0}")]
    Wrong(String),
}

impl From<Problem> for InvalidEntry {
    fn from(problem: Problem) -> Self {
        Self::Wrong(problem)
    }
}

/// What is wrong with a value, a sentence.
type Problem = String;

impl Mapping {
    /// The names that an entry may have, for whoever wants to suggest one.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let own = [Name::EventType, Name::EventId, Name::EventAt];
        own.into_iter()
            .chain(Name::ALL.into_iter().filter(|name| !name.is_set_by_ringback()))
            .map(Name::as_str)
    }

    /// Adds the entry of a name.
    ///
    /// # Errors
    /// There is no such name, or the entry does not say where its value is.
    pub fn add(&mut self, name: &str, entry: &Json) -> Result<(), InvalidEntry> {
        match Name::from_text(name) {
            Some(Name::EventType) => self.types = read_types(entry)?,
            Some(Name::EventId) => self.id = read_places(entry)?,
            Some(Name::EventAt) => self.at = read_places(entry)?,
            Some(Name::SpeechPhrases) if entry.get("each").is_some() => {
                self.phrases = Some(read_phrases(entry)?);
            }
            Some(name) if !name.is_set_by_ringback() => self.names.push((name, read_values(entry)?)),
            _ => return Err(InvalidEntry::UnknownName),
        }
        Ok(())
    }
}

/// The members of a table, and nothing beside those that are known.
struct Table<'a> {
    members: &'a [(Box<str>, Json)],
}

impl<'a> Table<'a> {
    fn read(json: &'a Json, known: &[&str], expected: &str) -> Result<Self, Problem> {
        let members = json.as_object().ok_or_else(|| expected.to_owned())?;
        match members.iter().find(|(name, _)| !known.contains(&&**name)) {
            Some((name, _)) => Err(format!("unknown key {name:?}; there are {}", known.join(", "))),
            None => Ok(Self { members }),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Json> {
        self.members.iter().find(|(other, _)| &**other == name).map(|(_, value)| value)
    }

    fn places(&self, name: &str) -> Result<Places, Problem> {
        self.get(name).map_or_else(|| Ok(Places::default()), |entry| within(name, read_places(entry)))
    }

    fn required(&self, name: &str) -> Result<Places, Problem> {
        self.get(name)
            .map_or_else(|| Err(format!("`{name}` is missing")), |entry| within(name, read_places(entry)))
    }

    /// The members of the table `is`: the provider's words.
    fn words(&self) -> Result<&'a [(Box<str>, Json)], Problem> {
        match self.get("is") {
            None => Ok(&[]),
            Some(words) => words.as_object().ok_or_else(|| "`is`: expected a table of words".to_owned()),
        }
    }

    fn translations(&self) -> Result<Vec<(String, Json)>, Problem> {
        let words = self.words()?;
        if words.iter().any(|(_, meant)| matches!(meant, Json::Array(_) | Json::Object(_))) {
            return Err("`is`: expected a word for each word".to_owned());
        }
        // TOML has no null.
        let meant = |meant: &Json| if *meant == Json::Bool(false) { Json::Null } else { meant.clone() };
        Ok(words.iter().map(|(word, value)| (word.to_string(), meant(value))).collect())
    }
}

fn within<T>(name: &str, read: Result<T, Problem>) -> Result<T, Problem> {
    read.map_err(|problem| format!("`{name}`: {problem}"))
}

fn read_places(json: &Json) -> Result<Places, Problem> {
    let pointer = |json: &Json| match json.as_str() {
        Some(text) => Pointer::read(text).map_err(str::to_owned),
        None => Err("expected a JSON pointer, or a list of them".to_owned()),
    };
    let pointers = match json {
        Json::Array(items) => items.iter().map(pointer).collect::<Result<Vec<_>, _>>()?,
        one => vec![pointer(one)?],
    };
    if pointers.is_empty() { Err("the list holds no pointer".to_owned()) } else { Ok(Places(pointers)) }
}

/// A pointer or a table, or a list of them, of which the first that finds something counts.
fn read_values(json: &Json) -> Result<Vec<Value>, Problem> {
    match json {
        Json::Array(items) if items.iter().any(|item| matches!(item, Json::Object(_))) => {
            items.iter().map(read_value).collect()
        }
        one => Ok(vec![read_value(one)?]),
    }
}

fn read_value(json: &Json) -> Result<Value, Problem> {
    if !matches!(json, Json::Object(_)) {
        return Ok(Value { at: read_places(json)?, is: Vec::new(), unit: None, when: None });
    }
    let table = Table::read(json, &["at", "is", "unit", "when"], "expected a JSON pointer")?;
    let when = table.get("when").map(|when| within("when", read_condition(when))).transpose()?;
    let unit = match table.get("unit") {
        None => None,
        Some(unit) => {
            let known = Unit::ALL.into_iter().find(|(name, _)| unit.as_str() == Some(name));
            let names = Unit::ALL.map(|(name, _)| name).join(", ");
            Some(known.ok_or_else(|| format!("`unit`: expected one of {names}"))?.1)
        }
    };
    Ok(Value { at: table.required("at")?, is: table.translations()?, unit, when })
}

fn read_condition(json: &Json) -> Result<(Places, Vec<String>), Problem> {
    let table = Table::read(json, &["at", "is"], "expected a table of `at` and `is`")?;
    let words = table.get("is").and_then(Json::as_array).ok_or("`is`: expected a list of words")?;
    Ok((table.required("at")?, words.iter().map(Json::to_text).collect()))
}

fn read_types(json: &Json) -> Result<Types, Problem> {
    if let Some(text) = json.as_str() {
        if text.starts_with(['/', '?']) {
            return Ok(Types { at: read_places(json)?, ..Types::default() });
        }
        return Ok(Types { otherwise: types(json)?, ..Types::default() });
    }
    let table = Table::read(
        json,
        &["at", "is", "otherwise", "also"],
        "expected an event type, a JSON pointer to one, or a table",
    )?;
    let is = table.words()?.iter().map(|(word, meant)| Ok((word.to_string(), within("is", types(meant))?)));
    let is = is.collect::<Result<Vec<_>, Problem>>()?;
    let at = table.places("at")?;
    if at.0.is_empty() && !is.is_empty() {
        return Err("`at` is missing: where the words of `is` are".to_owned());
    }
    let also = match table.get("also") {
        None => &[],
        Some(also) => also.as_object().ok_or_else(|| "`also`: expected a table of event types".to_owned())?,
    };
    let also = also.iter().map(|(name, places)| Ok((event_type(name)?, read_places(places)?)));
    Ok(Types {
        at,
        is,
        otherwise: table
            .get("otherwise")
            .map_or_else(|| Ok(Vec::new()), |json| within("otherwise", types(json)))?,
        also: also.collect::<Result<_, _>>().map_err(|problem: Problem| format!("`also`: {problem}"))?,
    })
}

fn types(json: &Json) -> Result<Vec<EventType>, Problem> {
    let one = |json: &Json| event_type(json.as_str().unwrap_or_default());
    match json {
        Json::Array(items) => items.iter().map(one).collect(),
        json => Ok(vec![one(json)?]),
    }
}

fn event_type(name: &str) -> Result<EventType, Problem> {
    read_type(name).ok_or_else(|| {
        let names: Vec<_> =
            EventType::ALL.into_iter().filter(|known| read_type(known.as_str()).is_some()).collect();
        let names: Vec<_> = names.iter().map(|known| known.as_str()).collect();
        format!("expected an event type: {}", names.join(", "))
    })
}

fn read_phrases(json: &Json) -> Result<Phrases, Problem> {
    let table = Table::read(
        json,
        &["each", "text", "speaker", "is", "start", "end", "unit", "join"],
        "expected a JSON pointer or a table",
    )?;
    let milliseconds_each = match table.get("unit").map(Json::as_str) {
        None | Some(Some("s")) => 1000.0,
        Some(Some("ms")) => 1.0,
        Some(_) => return Err("`unit`: expected one of s, ms".to_owned()),
    };
    let join = match table.get("join") {
        None | Some(Json::Bool(false)) => false,
        Some(Json::Bool(true)) => true,
        Some(_) => return Err("`join`: expected true or false".to_owned()),
    };
    Ok(Phrases {
        each: table.required("each")?,
        text: table.required("text")?,
        speaker: table.places("speaker")?,
        is: table.translations()?,
        start: table.places("start")?,
        end: table.places("end")?,
        milliseconds_each,
        join,
    })
}
