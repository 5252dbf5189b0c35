//! What one event tells of a call: values of the types that the catalogue promises.

use super::{Json, Kind, Name, read_time};

/// Names with values of the names' own types. The only ways in are [`Facts::put`] and
/// [`Facts::put_fleeting`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    kept: Vec<(Name, Json)>,
    fleeting: Vec<(Name, Json)>,
}

impl Facts {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self { kept: Vec::new(), fleeting: Vec::new() }
    }

    /// Puts a value under a name, in the name's type; a later value replaces an earlier one.
    /// `null` is absent, and so is what cannot be read in that type, of which `warnings` tells
    /// once a name, without the value.
    ///
    /// | type | what is taken |
    /// | --- | --- |
    /// | text | text, `""` too; anything else in its text form |
    /// | id | text, `""` too, or a number, as it was sent |
    /// | number | a number, or text that is a JSON number |
    /// | time | what [`read_time`] reads, as RFC 3339 in UTC with its fraction |
    /// | array | an array, or text that holds one; `""` is nothing; else the value as an array of one |
    /// | object | an object, or text that holds one |
    /// | open | anything |
    pub fn put(&mut self, name: Name, value: Json, warnings: &mut Vec<String>) {
        if value == Json::Null {
            return;
        }
        let Some(value) = coerce(name.kind(), value) else {
            let warning = format!("`{name}` was left out: it is not {}", expected(name.kind()));
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
            return;
        };
        match self.kept.iter_mut().find(|(other, _)| *other == name) {
            Some((_, earlier)) => *earlier = value,
            None => self.kept.push((name, value)),
        }
    }

    /// Puts a value that is of use for a short time: it is rendered because of this event, and is no
    /// part of what is known of the call afterwards. One of another type than the name's is left out.
    pub fn put_fleeting(&mut self, name: Name, value: Json) {
        if name.kind().holds(&value) {
            self.fleeting.push((name, value));
        }
    }

    /// Takes a name out again.
    pub fn remove(&mut self, name: Name) {
        self.kept.retain(|(other, _)| *other != name);
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&Json> {
        self.kept.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All names that have a value to keep.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &Json)> {
        self.kept.iter().map(|(name, value)| (*name, value))
    }

    /// Those that have one for now.
    pub fn fleeting(&self) -> impl Iterator<Item = (Name, &Json)> {
        self.fleeting.iter().map(|(name, value)| (*name, value))
    }
}

impl Kind {
    /// Whether a value is of this type, in the form that [`Facts::put`] gives it.
    #[must_use]
    pub fn holds(self, value: &Json) -> bool {
        match self {
            Self::Text => matches!(value, Json::Text(_)),
            Self::Id => matches!(value, Json::Text(_) | Json::Number(_)),
            Self::Number => matches!(value, Json::Number(_)),
            Self::Time => {
                let time = value.as_str().and_then(|_| read_time(value.into()));
                time.is_some_and(|time| value.as_str() == Some(&time.to_string()))
            }
            Self::Array => matches!(value, Json::Array(_)),
            Self::Object => matches!(value, Json::Object(_)),
            Self::Open => *value != Json::Null,
        }
    }
}

/// The value in that type. `null` was taken out before.
fn coerce(kind: Kind, value: Json) -> Option<Json> {
    match (kind, value) {
        (Kind::Text, value @ Json::Text(_))
        | (Kind::Id, value @ (Json::Text(_) | Json::Number(_)))
        | (Kind::Number, value @ Json::Number(_))
        | (Kind::Array, value @ Json::Array(_))
        | (Kind::Object, value @ Json::Object(_))
        | (Kind::Open, value) => Some(value),
        (Kind::Text, value) => Some(Json::Text(value.to_text().into())),
        (Kind::Number, Json::Text(text)) => Json::number(&text),
        (Kind::Time, value) => Some(Json::Text(read_time((&value).into())?.to_string().into())),
        (Kind::Array, Json::Text(text)) if text.is_empty() => None,
        (Kind::Array, value) => Some(match held(&value) {
            Some(array @ Json::Array(_)) => array,
            _ => Json::Array(vec![value]),
        }),
        (Kind::Object, value) => held(&value).filter(|held| matches!(held, Json::Object(_))),
        (Kind::Id | Kind::Number, _) => None,
    }
}

/// The array or object that a text holds.
fn held(value: &Json) -> Option<Json> {
    let text = value.as_str()?;
    // Most texts are not JSON, and their first letter says so.
    if text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with(['[', '{']) {
        Json::parse(text.as_bytes()).ok()
    } else {
        None
    }
}

const fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Id => "a text or a number",
        Kind::Number => "a number",
        Kind::Time => "a time",
        Kind::Array => "an array",
        Kind::Object => "an object",
        Kind::Open => "JSON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(source: &str) -> Json {
        Json::parse(source.as_bytes()).unwrap()
    }

    /// What becomes of a value under that name, as JSON, and whether it is warned of.
    fn put(name: Name, source: &str) -> (Option<String>, Vec<String>) {
        let (mut facts, mut warnings) = (Facts::new(), Vec::new());
        facts.put(name, json(source), &mut warnings);
        let value = facts.get(name);
        assert!(value.is_none_or(|value| name.kind().holds(value)), "{name}: {source}");
        (value.map(Json::to_compact), warnings)
    }

    #[test]
    fn a_value_takes_the_type_of_its_name() {
        for (name, source, expected) in [
            (Name::FirstName, r#""Ann""#, r#""Ann""#),
            (Name::FirstName, r#""""#, r#""""#),
            (Name::FirstName, "12.0", r#""12.0""#),
            (Name::FirstName, "false", r#""false""#),
            (Name::SpeechResult, r#"[{"a": 1}]"#, r#""[{\"a\":1}]""#),
            (Name::LeadId, "12.0", "12.0"),
            (Name::LeadId, r#""0012""#, r#""0012""#),
            (Name::LeadId, r#""""#, r#""""#),
            (Name::Weight, "9007199254740993", "9007199254740993"),
            (Name::Weight, r#""12.0""#, "12.0"),
            (Name::Weight, r#""-1e-2""#, "-1e-2"),
            (Name::StartAt, r#""2026-03-30T16:22:00.250+02:00""#, r#""2026-03-30T14:22:00.25Z""#),
            (Name::StartAt, r#""2026-03-30 14:22:00""#, r#""2026-03-30T14:22:00Z""#),
            (Name::StartAt, "1774880520", r#""2026-03-30T14:22:00Z""#),
            (Name::StartAt, r#""1774880520123""#, r#""2026-03-30T14:22:00.123Z""#),
            (Name::SpeechPhrases, r#"[1,"a"]"#, r#"[1,"a"]"#),
            (Name::SpeechPhrases, r#"" [1, \"a\"]""#, r#"[1,"a"]"#),
            (Name::SpeechPhrases, r#""[1,""#, r#"["[1,"]"#),
            (Name::SpeechPhrases, r#""hello""#, r#"["hello"]"#),
            (Name::SpeechPhrases, r#"{"text":"a"}"#, r#"[{"text":"a"}]"#),
            (Name::SpeechPhrases, "false", "[false]"),
            (Name::SpeechStructuredData, r#"{"a":1}"#, r#"{"a":1}"#),
            (Name::SpeechStructuredData, r#""{\"a\":1}""#, r#"{"a":1}"#),
            (Name::Custom, "false", "false"),
            (Name::Custom, r#"{"a":null}"#, r#"{"a":null}"#),
        ] {
            assert_eq!(put(name, source), (Some(expected.to_owned()), Vec::new()), "{name}: {source}");
        }
    }

    #[test]
    fn what_is_fleeting_is_not_among_what_is_kept() {
        let mut facts = Facts::new();
        facts.put_fleeting(Name::CallRecordingUrl, Json::from("https://example.com/1.wav"));
        facts.put_fleeting(Name::CallDuration, Json::from("long"));
        assert_eq!((facts.iter().count(), facts.get(Name::CallRecordingUrl)), (0, None));
        let fleeting: Vec<Name> = facts.fleeting().map(|(name, _)| name).collect();
        assert_eq!(fleeting, [Name::CallRecordingUrl]);
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_warned_of_without_its_value() {
        for (name, source, expected) in [
            (Name::LeadId, "true", "a text or a number"),
            (Name::LeadId, "[1]", "a text or a number"),
            (Name::Weight, r#""""#, "a number"),
            (Name::Weight, r#""007""#, "a number"),
            (Name::Weight, r#"" 1""#, "a number"),
            (Name::Weight, "true", "a number"),
            (Name::StartAt, r#""""#, "a time"),
            (Name::StartAt, r#""soon""#, "a time"),
            (Name::StartAt, "{}", "a time"),
            (Name::SpeechPhrases, r#""""#, "an array"),
            (Name::SpeechStructuredData, "[]", "an object"),
            (Name::SpeechStructuredData, r#""[]""#, "an object"),
            (Name::SpeechStructuredData, r#""{""#, "an object"),
        ] {
            let warning = format!("`{name}` was left out: it is not {expected}");
            assert_eq!(put(name, source), (None, vec![warning]), "{name}: {source}");
        }
    }

    #[test]
    fn null_is_absent_for_every_name_without_a_warning() {
        for name in Name::ALL {
            assert_eq!(put(name, "null"), (None, Vec::new()));
        }
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one_and_nothing_replaces_none() {
        let (mut facts, mut warnings) = (Facts::new(), Vec::new());
        for source in ["1", "2", "null", r#""x""#, r#""y""#] {
            facts.put(Name::Weight, json(source), &mut warnings);
        }
        assert_eq!(facts.iter().collect::<Vec<_>>(), [(Name::Weight, &json("2"))]);
        assert_eq!(warnings.len(), 1, "one warning a name, however often it comes");
    }

    #[test]
    fn the_examples_of_the_catalogue_are_of_their_types() {
        for name in Name::ALL {
            assert!(name.kind().holds(&json(name.example())), "{name}");
            assert_eq!(put(name, name.example()).0.as_deref(), Some(name.example()), "{name}");
        }
    }
}
