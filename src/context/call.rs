//! A call's stored context: everything that its events have told so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::custom::Custom;
use super::{Facts, Group, Json, Name, Values};

/// The name of an account, shared rather than copied: everything stored carries it.
pub type AccountName = Arc<str>;

/// A call's id in its text form (`42` and `"42"` are the same call). Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Box<str>);

impl CallId {
    /// The longest id that is taken, in bytes; what is longer is no id.
    pub const MAX_LENGTH: usize = 512;

    /// From a text or a number; anything else, and an empty or overlong text, is no id.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Text(text) | Json::Number(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// From its text form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= Self::MAX_LENGTH).then(|| Self(text.into()))
    }

    /// Its text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes a call the same call: whose it is, the space in which its source counts, its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// The account that owns the source.
    pub account: AccountName,
    /// The source's `call_space`; sources that share it speak of the same calls.
    pub space: Arc<str>,
    /// The call's id in that space.
    pub id: CallId,
}

/// A value with the time from which it is, in unix microseconds.
type Entry = (Name, Json, i64);

/// A token's name, and what is its own.
type Owned = (Box<str>, Vec<Entry>);

/// Everything known of one call, each value with the time from which it is. Whatever the order in
/// which events of different times are merged, the same context is left.
///
/// Speech that was transcribed at a token's request is that token's own: only who looks with its
/// name sees it. Everything else is the account's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallContext {
    /// All but `custom`, in the order of the names.
    entries: Vec<Entry>,
    custom: Option<Custom>,
    /// Speech that belongs to a token, by the token's name, in the order of these.
    owned: Vec<Owned>,
    /// The source that told of the call first.
    told_by: Option<Box<str>>,
}

/// A stored context that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored call context cannot be read: {0}")]
pub struct InvalidContext(pub String);

impl CallContext {
    /// The version of the stored form.
    const VERSION: u32 = 1;

    /// How much deeper than its deepest value the stored form is nested, and a level more for the
    /// array that [`Facts`] put around a value.
    const FRAME_DEPTH: usize = 6;

    /// Merges what an event tells: a newer value replaces an older one, an absent value replaces
    /// nothing, of two values of the same microsecond the later merged stays. Members of `custom`
    /// are merged one by one.
    ///
    /// `at` is when the event happened by its provider's own clock. Where the provider does not
    /// say, pass `None`: the event is then newer than all that is known, and older than whatever a
    /// provider dates later. The time of its arrival would be of another clock than the others.
    pub fn merge(&mut self, facts: &Facts, at: impl Into<Option<Timestamp>>) {
        self.merge_owned(facts, at, None);
    }

    /// The same for what was made at a token's request: speech among it is the owner's.
    pub fn merge_owned(&mut self, facts: &Facts, at: impl Into<Option<Timestamp>>, owner: Option<&str>) {
        let at = at.into().map_or_else(|| self.newest(), Timestamp::as_microsecond);
        for (name, value) in facts.iter() {
            if name == Name::Custom {
                self.custom = Some(match self.custom.take() {
                    Some(custom) => custom.merge(value.clone(), at),
                    None => Custom::new(value.clone(), at),
                });
                continue;
            }
            let entries = match owner {
                Some(owner) if name.group() == Group::Speech => self.entries_of(owner),
                _ => &mut self.entries,
            };
            match entries.binary_search_by_key(&name, |(name, _, _)| *name) {
                Ok(index) => {
                    let (_, ours, time) = &mut entries[index];
                    if at >= *time {
                        (*ours, *time) = (value.clone(), at);
                    }
                }
                Err(index) => entries.insert(index, (name, value.clone(), at)),
            }
        }
    }

    fn entries_of(&mut self, owner: &str) -> &mut Vec<Entry> {
        let index = match self.owned.binary_search_by(|(name, _)| (**name).cmp(owner)) {
            Ok(index) => index,
            Err(index) => {
                self.owned.insert(index, (owner.into(), Vec::new()));
                index
            }
        };
        &mut self.owned[index].1
    }

    /// The tokens that own speech of this call, by their names.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.owned.iter().map(|(owner, _)| &**owner)
    }

    /// Notes the source of an event. The first one stays: the call is its.
    pub fn note_source(&mut self, source: &str) {
        self.told_by.get_or_insert_with(|| source.into());
    }

    /// The source that told of the call first, where that was noted.
    #[must_use]
    pub fn told_by(&self) -> Option<&str> {
        self.told_by.as_deref()
    }

    /// The time of the newest value, before all times where there is none.
    fn newest(&self) -> i64 {
        let custom = self.custom.iter().map(Custom::at);
        let owned = self.owned.iter().flat_map(|(_, entries)| entries);
        self.entries.iter().chain(owned).map(|(_, _, at)| *at).chain(custom).max().unwrap_or(i64::MIN)
    }

    /// The value of a name, as the account sees it.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&Json> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All names that have a value, as the account sees it.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &Json)> {
        let custom = self.custom.iter().map(|custom| (Name::Custom, custom.value()));
        self.entries.iter().map(|(name, value, _)| (*name, value)).chain(custom)
    }

    /// Puts every value that the account sees where the template engine reads it.
    pub fn fill<'a>(&'a self, values: &mut Values<'a>) {
        for (name, value) in self.iter() {
            values.set(name, value.into());
        }
    }

    /// The same as the token of this name sees it: of its own speech and the account's, the newer.
    pub fn fill_for<'a>(&'a self, token: Option<&str>, values: &mut Values<'a>) {
        for (name, value) in self.iter().chain(self.own(token)) {
            values.set(name, value.into());
        }
    }

    /// All names that have a value, as the token of this name sees it.
    pub fn iter_for(&self, token: Option<&str>) -> impl Iterator<Item = (Name, &Json)> {
        let seen: BTreeMap<Name, &Json> = self.iter().chain(self.own(token)).collect();
        seen.into_iter()
    }

    /// The speech that the token of this name sees.
    pub fn speech_for(&self, token: Option<&str>) -> impl Iterator<Item = (Name, &Json)> {
        let shared = self.entries.iter().map(|(name, value, _)| (*name, value));
        let speech = shared.filter(|(name, _)| name.group() == Group::Speech);
        let both: BTreeMap<Name, &Json> = speech.chain(self.own(token)).collect();
        both.into_iter()
    }

    /// What is a token's own, as far as the account has nothing newer.
    fn own(&self, token: Option<&str>) -> impl Iterator<Item = (Name, &Json)> {
        let own = self.owned.iter().filter(move |(owner, _)| Some(&**owner) == token);
        let newest = |(name, _, at): &&Entry| {
            let ours = self.entries.binary_search_by_key(name, |(name, _, _)| *name);
            ours.map_or(true, |index| self.entries[index].2 <= *at)
        };
        own.flat_map(|(_, entries)| entries).filter(newest).map(|(name, value, _)| (*name, value))
    }

    /// The stored form: JSON with a version, and each value with its time.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Most values of a call come with a few events, and so have few times: each is spelt once
        // in a row. A context is spelt for every event, so this is felt.
        let mut out = Vec::with_capacity(64 * (self.entries.len() + 1));
        out.extend_from_slice(format!("{{\"version\":{}", Self::VERSION).as_bytes());
        let mut spelt: Option<(i64, Vec<u8>)> = None;
        let mut write = |out: &mut Vec<u8>, (name, value, at): &Entry| {
            out.push(b'"');
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b"\":[");
            value.write(out);
            match &spelt {
                Some((of, text)) if *of == *at => out.extend_from_slice(text),
                _ => {
                    let text = format!(",{at}]").into_bytes();
                    out.extend_from_slice(&text);
                    spelt = Some((*at, text));
                }
            }
        };
        for entry in &self.entries {
            out.push(b',');
            write(&mut out, entry);
        }
        if !self.owned.is_empty() {
            out.extend_from_slice(format!(",\"{OWNED}\":{{").as_bytes());
            for (number, (owner, entries)) in self.owned.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                Json::from(&**owner).write(&mut out);
                out.extend_from_slice(b":{");
                for (number, entry) in entries.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    write(&mut out, entry);
                }
                out.push(b'}');
            }
            out.push(b'}');
        }
        if let Some(source) = &self.told_by {
            out.extend_from_slice(format!(",\"{TOLD_BY}\":").as_bytes());
            Json::from(&**source).write(&mut out);
        }
        if let Some(custom) = &self.custom {
            out.extend_from_slice(format!(",\"{}\":", Name::Custom).as_bytes());
            custom.write(&mut out);
        }
        out.push(b'}');
        out
    }

    /// Reads the stored form. A name that this binary does not know is left out.
    ///
    /// # Errors
    /// The bytes are not a stored context, or one of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidContext> {
        let stored = Json::parse_to_depth(bytes, Json::MAX_DEPTH + Self::FRAME_DEPTH)
            .map_err(|error| InvalidContext(error.to_string()))?;
        let Json::Object(members) = stored else {
            return Err(InvalidContext("it is not an object".to_owned()));
        };
        let mut members = members.into_iter();
        let version = match members.next() {
            Some((name, Json::Number(version))) if &*name == "version" => version.parse::<u32>().ok(),
            _ => None,
        };
        match version {
            Some(Self::VERSION) => {}
            Some(version) if version > Self::VERSION => {
                return Err(InvalidContext(format!(
                    "it is of version {version}, and this program reads up to {}",
                    Self::VERSION
                )));
            }
            _ => return Err(InvalidContext("it does not begin with a version".to_owned())),
        }
        let mut context = Self::default();
        for (name, stored) in members {
            let Some(name) = Name::from_text(&name) else {
                match (&*name, stored) {
                    (OWNED, Json::Object(owners)) => context.owned = read_owned(owners)?,
                    (TOLD_BY, Json::Text(source)) => context.told_by = Some(source.as_ref().into()),
                    _ => {}
                }
                continue;
            };
            let read = if name == Name::Custom {
                Custom::read(stored).map(|custom| context.custom = Some(custom))
            } else {
                read_entry(name, stored).map(|entry| context.entries.push(entry))
            };
            read.ok_or_else(|| no_entry(name))?;
        }
        sort(&mut context.entries);
        Ok(context)
    }
}

/// What is no value of the account, in the stored form; no names of the catalogue.
const OWNED: &str = "owned_speech";
const TOLD_BY: &str = "told_by";

fn read_owned(owners: Vec<(Box<str>, Json)>) -> Result<Vec<Owned>, InvalidContext> {
    let mut owned = Vec::with_capacity(owners.len());
    for (owner, stored) in owners {
        let Json::Object(members) = stored else {
            return Err(InvalidContext("owned speech is not an object".to_owned()));
        };
        let mut entries = Vec::with_capacity(members.len());
        for (name, stored) in members {
            let Some(name) = Name::from_text(&name) else { continue };
            entries.push(read_entry(name, stored).ok_or_else(|| no_entry(name))?);
        }
        sort(&mut entries);
        owned.push((owner, entries));
    }
    owned.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(owned)
}

/// A binary with another order of names may have written them.
fn sort(entries: &mut Vec<Entry>) {
    entries.sort_by_key(|(name, _, _)| *name);
    entries.dedup_by_key(|(name, _, _)| *name);
}

fn no_entry(name: Name) -> InvalidContext {
    InvalidContext(format!("`{name}` is not a value with its time"))
}

fn read_entry(name: Name, stored: Json) -> Option<Entry> {
    let Json::Array(fields) = stored else { return None };
    let [value, Json::Number(at)] = <[Json; 2]>::try_from(fields).ok()? else { return None };
    name.kind().holds(&value).then_some((name, value, at.parse().ok()?))
}

#[cfg(test)]
mod tests;
