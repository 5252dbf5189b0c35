//! What was said, utterance by utterance, in the two forms that the catalogue has for it.

use crate::context::Json;

/// One utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Utterance {
    /// What was said.
    pub(super) text: String,
    /// Who said it, in the provider's words.
    pub(super) speaker: Option<String>,
    /// When it began, in milliseconds from the beginning of the call.
    pub(super) start_ms: Option<i64>,
    /// When it ended, likewise.
    pub(super) end_ms: Option<i64>,
}

/// The transcript as text (`speech_result`): a line an utterance, so that a line break within one
/// is a space.
pub(super) fn to_result(utterances: &[Utterance]) -> Json {
    let mut result = String::new();
    for (index, utterance) in utterances.iter().enumerate() {
        if index > 0 {
            result.push('\n');
        }
        if let Some(speaker) = &utterance.speaker {
            result.push_str(&one_line(speaker));
            result.push_str(": ");
        }
        result.push_str(&one_line(&utterance.text));
    }
    Json::Text(result.into())
}

/// The transcript as an array (`speech_phrases`).
pub(super) fn to_phrases(utterances: &[Utterance]) -> Json {
    let phrase = |utterance: &Utterance| {
        Json::Object(vec![
            ("text".into(), Json::from(&*utterance.text)),
            ("speaker".into(), utterance.speaker.as_deref().map_or(Json::Null, Json::from)),
            ("start_ms".into(), milliseconds(utterance.start_ms)),
            ("end_ms".into(), milliseconds(utterance.end_ms)),
        ])
    };
    Json::Array(utterances.iter().map(phrase).collect())
}

/// A time of milliseconds as JSON.
pub(super) fn milliseconds(time: Option<i64>) -> Json {
    time.map_or(Json::Null, |time| Json::Number(time.to_string().into()))
}

/// A number, or text that is one, of such a unit, in whole milliseconds.
pub(super) fn read_milliseconds(json: &Json, milliseconds_each: f64) -> Option<i64> {
    /// Beyond this a double does not hold every integer; it is 285,000 years.
    const MAX: f64 = 9_007_199_254_740_992.0;
    let spelling = match json {
        Json::Number(spelling) => Some(&**spelling),
        Json::Text(text) if Json::number(text).is_some() => Some(&**text),
        _ => None,
    };
    let time = (spelling?.parse::<f64>().ok()? * milliseconds_each).round();
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and within 2^53")]
    (time.abs() <= MAX).then_some(time as i64)
}

fn one_line(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_an_utterance_begins_no_line() {
        let said = |text: &str, speaker: Option<&str>| Utterance {
            text: text.to_owned(),
            speaker: speaker.map(str::to_owned),
            start_ms: Some(10),
            end_ms: None,
        };
        let utterances = [said("a\r\nb\nc", Some("x\ny")), said("d", None)];
        assert_eq!(to_result(&utterances).as_str(), Some("x y: a b c\nd"));
        assert_eq!(
            to_phrases(&utterances[1..]).to_compact(),
            r#"[{"text":"d","speaker":null,"start_ms":10,"end_ms":null}]"#
        );
    }

    #[test]
    fn times_are_whole_milliseconds() {
        let read = |source: &str, each| read_milliseconds(&Json::parse(source.as_bytes()).unwrap(), each);
        assert_eq!(read("5.9", 1000.0), Some(5900));
        assert_eq!(read("\"1.0005\"", 1000.0), Some(1001));
        assert_eq!(read("1120", 1.0), Some(1120));
        for source in ["1e300", "\"x\"", "null", "\" 1\"", "[1]"] {
            assert_eq!(read(source, 1.0), None, "{source}");
        }
    }
}
