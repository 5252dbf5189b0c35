//! What deliveries are rendered from: what happened, as it is known, and the form in which that is
//! kept for deliveries that are rendered later.

use serde::{Deserialize, Serialize};

use crate::context::{CallContext, InvalidContext, Json, Name, Value, Values};
use crate::event::EventType;

/// What happened, apart from what each delivery has for itself.
#[derive(Clone, Debug)]
pub struct Occurrence<'a> {
    /// What is known of the call.
    pub context: &'a CallContext,
    /// What is of use because of this event alone.
    pub fleeting: Vec<(Name, &'a Json)>,
    /// The event as its provider told it.
    pub raw: Option<&'a Json>,
    /// The token that alone sees `raw`, if that is so.
    pub owner: Option<&'a str>,
    /// The event's id.
    pub event_id: &'a str,
    /// When it came in.
    pub event_at: &'a str,
    /// Its provider.
    pub provider: &'a str,
    /// Its source.
    pub source: &'a str,
}

impl<'a> Occurrence<'a> {
    /// The values by name, as the token of this name sees them (without one, the account), where this
    /// is what of the event is spoken of.
    #[must_use]
    pub fn values(&self, view: Option<&str>, event_type: Option<EventType>) -> Values<'a> {
        let mut values = Values::new();
        self.context.fill_for(view, &mut values);
        for (name, value) in &self.fleeting {
            values.set(*name, Value::from(*value));
        }
        values.set(Name::EventId, Value::Text(self.event_id));
        values.set(Name::EventAt, Value::Text(self.event_at));
        values.set(Name::EventType, event_type.map_or(Value::Missing, |one| Value::Text(one.as_str())));
        values.set(Name::Provider, Value::Text(self.provider));
        values.set(Name::Source, Value::Text(self.source));
        if self.owner.is_none() || self.owner == view {
            values.set(Name::Raw, self.raw.map_or(Value::Missing, Value::from));
        }
        values
    }

    /// The form in which it is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let context = self.context.to_bytes();
        let mut values = Vec::new();
        let mut write = |value: &Json| {
            let before = values.len();
            value.write(&mut values);
            values.len() - before
        };
        let raw = self.raw.map(&mut write);
        let fleeting = self.fleeting.iter().map(|(name, value)| (name.to_string(), write(value))).collect();
        let head = Head {
            version: VERSION,
            event_id: self.event_id.to_owned(),
            event_at: self.event_at.to_owned(),
            provider: self.provider.to_owned(),
            source: self.source.to_owned(),
            owner: self.owner.map(str::to_owned),
            context: context.len(),
            raw,
            fleeting,
        };
        let mut bytes = serde_json::to_vec(&head).expect("texts and numbers are JSON");
        bytes.reserve_exact(1 + context.len() + values.len());
        bytes.push(b'\n');
        bytes.extend_from_slice(&context);
        bytes.extend_from_slice(&values);
        bytes
    }
}

/// The version of the kept form. Members are only ever added, each with a default; this says when that
/// was not possible.
const VERSION: u32 = 1;

/// The first line of the kept form. Behind it stand the values, each as long as this says.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    event_id: String,
    event_at: String,
    provider: String,
    source: String,
    owner: Option<String>,
    context: usize,
    raw: Option<usize>,
    fleeting: Vec<(String, usize)>,
}

/// What was kept of an occurrence, and is not readable: a sentence without data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is kept of the event cannot be read: {0}")]
pub struct InvalidOccurrence(String);

impl From<InvalidContext> for InvalidOccurrence {
    fn from(error: InvalidContext) -> Self {
        Self(error.to_string())
    }
}

/// An occurrence that was kept.
#[derive(Debug)]
pub struct KeptOccurrence {
    head: Head,
    context: CallContext,
    raw: Option<Json>,
    fleeting: Vec<(Name, Json)>,
}

impl KeptOccurrence {
    /// Reads what [`Occurrence::to_bytes`] wrote. A name that this binary does not know is left out.
    ///
    /// # Errors
    /// It is damaged, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidOccurrence> {
        let fault = |reason: &str| InvalidOccurrence(reason.to_owned());
        let end = memchr::memchr(b'\n', bytes).ok_or_else(|| fault("it is cut off"))?;
        let head: Head =
            serde_json::from_slice(&bytes[..end]).map_err(|_| fault("its first line is wrong"))?;
        if head.version != VERSION {
            return Err(fault(&format!("it has version {}, this is {VERSION}", head.version)));
        }
        let mut rest = &bytes[end + 1..];
        let mut part = |length: usize| {
            let (part, behind) = rest.split_at_checked(length).ok_or_else(|| fault("it is cut off"))?;
            rest = behind;
            Ok::<_, InvalidOccurrence>(part)
        };
        let json = |bytes: &[u8]| Json::parse(bytes).map_err(|error| fault(&error.to_string()));
        let context = CallContext::from_bytes(part(head.context)?)?;
        let raw = head.raw.map(|length| json(part(length)?)).transpose()?;
        let mut fleeting = Vec::with_capacity(head.fleeting.len());
        for (name, length) in &head.fleeting {
            let value = json(part(*length)?)?;
            fleeting.extend(Name::from_text(name).map(|name| (name, value)));
        }
        Ok(Self { head, context, raw, fleeting })
    }

    /// What was kept.
    #[must_use]
    pub fn occurrence(&self) -> Occurrence<'_> {
        Occurrence {
            context: &self.context,
            fleeting: self.fleeting.iter().map(|(name, value)| (*name, value)).collect(),
            raw: self.raw.as_ref(),
            owner: self.head.owner.as_deref(),
            event_id: &self.head.event_id,
            event_at: &self.head.event_at,
            provider: &self.head.provider,
            source: &self.head.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Facts;

    fn told(facts: &[(Name, &str)]) -> Facts {
        let mut told = Facts::new();
        for (name, text) in facts {
            told.put(*name, Json::from(*text), &mut Vec::new());
        }
        told
    }

    /// Every value, as a template would write it.
    fn written(values: &Values<'_>) -> Vec<Vec<u8>> {
        let write = |name| {
            let mut out = Vec::new();
            values.get(name).write(&mut out);
            out
        };
        Name::ALL.iter().map(|name| write(*name)).collect()
    }

    #[test]
    fn what_is_kept_gives_the_same_values_to_whoever_looks() {
        let mut context = CallContext::default();
        context.merge(&told(&[(Name::FirstName, "Ann \"A\"\n"), (Name::CallDuration, "12.0")]), None);
        context.merge_owned(&told(&[(Name::SpeechResult, "hers")]), None, Some("crm"));
        let raw = Json::parse(b"{\"a\": [1.50, \"\\ud83d\\ude00\", {\"a\": null}], \"a\": 2}").unwrap();
        let url = Json::from("https://recordings.example/1?token=x");
        for (raw, owner) in [(Some(&raw), None), (Some(&raw), Some("crm")), (None, None)] {
            let occurrence = Occurrence {
                context: &context,
                fleeting: vec![(Name::CallRecordingUrl, &url)],
                raw,
                owner,
                event_id: "ev_1",
                event_at: "2026-03-30T12:00:00Z",
                provider: "commpeak",
                source: "dialer",
            };
            let bytes = occurrence.to_bytes();
            let kept = KeptOccurrence::from_bytes(&bytes).unwrap();
            for view in [None, Some("crm"), Some("other")] {
                for event_type in [None, Some(EventType::CallEnded)] {
                    let (before, after) =
                        (occurrence.values(view, event_type), kept.occurrence().values(view, event_type));
                    assert_eq!(written(&before), written(&after), "{owner:?} {view:?}");
                }
            }
            assert_eq!(kept.occurrence().to_bytes(), bytes);
            for length in [0, 10, bytes.len() - 1] {
                assert!(KeptOccurrence::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_newer_form_is_refused_without_a_word_of_it() {
        let newer =
            br#"{"version":2,"event_id":"x","event_at":"","provider":"","source":"hunter2","owner":null,
            "context":0,"raw":null,"fleeting":[]}"#;
        let line: Vec<u8> = newer.iter().copied().filter(|byte| *byte != b'\n').chain(*b"\n").collect();
        let error = KeptOccurrence::from_bytes(&line).unwrap_err().to_string();
        assert!(error.contains("version 2") && !error.contains("hunter2"), "{error}");
    }
}
