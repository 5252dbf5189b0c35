use hyper::HeaderMap;

use super::*;
use crate::signature::Verifier;

fn mapping(entries: &str) -> Mapping {
    let entries = Json::parse(entries.as_bytes()).unwrap();
    let mut mapping = Mapping::default();
    for (name, entry) in entries.as_object().unwrap() {
        mapping.add(name, entry).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    mapping
}

fn event(entries: &str, query: &str, body: &str) -> Event {
    mapping(entries).event(Json::parse(body.as_bytes()).unwrap(), query)
}

fn fact(event: &Event, name: Name) -> Option<String> {
    event.facts.get(name).map(Json::to_compact)
}

#[test]
fn pointers_are_those_of_the_rfc() {
    let body = r#"{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8,"k\"l":6,"01":"x","list":[[7]]}"#;
    for (pointer, expected) in [
        ("/foo/0", Some(r#""bar""#)),
        ("/", Some(r#""0""#)),
        ("/a~1b", Some(r#""1""#)),
        ("/m~0n", Some(r#""8""#)),
        ("/k\\\"l", Some(r#""6""#)),
        ("/01", Some(r#""x""#)),
        ("/list/0/0", Some(r#""7""#)),
        ("/foo/01", None),
        ("/foo/-", None),
        ("/foo/2", None),
        ("/foo/bar", None),
        ("/a/b", None),
        ("?q", Some(r#""a b""#)),
        ("?r", None),
    ] {
        let event = event(&format!(r#"{{"first_name": "{pointer}"}}"#), "q=a+b&q=c", body);
        assert_eq!(fact(&event, Name::FirstName).as_deref(), expected, "{pointer}");
    }
}

#[test]
fn the_first_place_that_holds_something_counts() {
    let entries = r#"{"email": ["/a", "/b", "?c"]}"#;
    for (body, query, expected) in [
        (r#"{"a":"x","b":"y"}"#, "c=z", Some(r#""x""#)),
        (r#"{"a":"","b":"y"}"#, "c=z", Some(r#""y""#)),
        (r#"{"a":null}"#, "c=z", Some(r#""z""#)),
        (r#"{"a":""}"#, "", Some(r#""""#)),
        ("[]", "", None),
    ] {
        assert_eq!(fact(&event(entries, query, body), Name::Email).as_deref(), expected, "{body}");
    }
}

#[test]
fn types_are_told_translated_or_implied() {
    use EventType::*;
    for (entry, body, expected) in [
        (r#""call.ended""#, "{}", &[CallEnded][..]),
        (r#"["call.ended"]"#, "{}", &[]),
        (r#""/t""#, r#"{"t":"call.started"}"#, &[CallStarted]),
        (r#""/t""#, r#"{"t":"callback.paused"}"#, &[ProviderOther]),
        (r#""/t""#, r#"{"t":"something"}"#, &[ProviderOther]),
        (r#"{"at":"/t","is":{"1":"call.started"}}"#, r#"{"t":1}"#, &[CallStarted]),
        (
            r#"{"at":"/t","is":{"a":["call.ended","speech.completed"]}}"#,
            r#"{"t":"a"}"#,
            &[CallEnded, SpeechCompleted],
        ),
        (r#"{"at":"/t","is":{"a":"call.started"}}"#, r#"{"t":"call.ended"}"#, &[ProviderOther]),
        (
            r#"{"at":"/t","is":{"a":"call.started"},"otherwise":"call.updated"}"#,
            r#"{"t":"b"}"#,
            &[CallUpdated],
        ),
        (r#"{"also":{"speech.completed":"/s"}}"#, r#"{"s":"x"}"#, &[SpeechCompleted]),
        (r#"{"otherwise":"call.ended","also":{"speech.completed":"/s"}}"#, r#"{"s":""}"#, &[CallEnded]),
        (r#"{"otherwise":"call.ended","also":{"call.ended":"/s"}}"#, r#"{"s":[1]}"#, &[CallEnded]),
    ] {
        let mut read = Mapping::default();
        match read.add("event_type", &Json::parse(entry.as_bytes()).unwrap()) {
            Ok(()) => {
                let event = read.event(Json::parse(body.as_bytes()).unwrap(), "");
                assert_eq!(event.types, expected, "{entry} {body}");
            }
            Err(error) => assert!(expected.is_empty(), "{entry}: {error}"),
        }
    }
}

#[test]
fn values_are_translated_and_converted() {
    let entries = r#"{
        "call_direction": {"at": "/way", "is": {"in": "inbound", "?": false}},
        "call_duration": {"at": "/ms", "unit": "ms"},
        "call_cost_micro_usd": {"at": "/usd", "unit": "usd"},
        "speech_sentiment": {"at": "/mood", "unit": "lower"}
    }"#;
    let told = event(entries, "", r#"{"way":"in","ms":15791,"usd":"0.12","mood":"Positive"}"#);
    assert_eq!(fact(&told, Name::CallDirection).as_deref(), Some(r#""inbound""#));
    assert_eq!(fact(&told, Name::CallDuration).as_deref(), Some("15.791"));
    assert_eq!(fact(&told, Name::CallCostMicroUsd).as_deref(), Some("120000"));
    assert_eq!(fact(&told, Name::SpeechSentiment).as_deref(), Some(r#""positive""#));
    let odd = event(entries, "", r#"{"way":"?","ms":"long","usd":null,"mood":7}"#);
    assert_eq!(fact(&odd, Name::CallDirection), None);
    assert_eq!(odd.warnings, ["`call_duration` was left out: it is not a number"]);
    assert_eq!(fact(&odd, Name::SpeechSentiment).as_deref(), Some(r#""7""#));
}

#[test]
fn a_value_may_count_only_under_a_condition() {
    let entries =
        r#"{"call_id": ["/data/call", {"at": "/data/id", "when": {"at": "/kind", "is": ["call", 7]}}]}"#;
    for (body, expected) in [
        (r#"{"kind":"call","data":{"id":1}}"#, Some("1")),
        (r#"{"kind":7,"data":{"id":1}}"#, Some("1")),
        (r#"{"kind":"number","data":{"id":1}}"#, None),
        (r#"{"kind":"number","data":{"id":1,"call":2}}"#, Some("2")),
        (r#"{"data":{"id":1}}"#, None),
    ] {
        assert_eq!(fact(&event(entries, "", body), Name::CallId).as_deref(), expected, "{body}");
    }
}

#[test]
fn utterances_are_found_and_words_of_one_speaker_are_one() {
    let entries = |join: bool| {
        format!(
            r#"{{"event_type": "speech.completed", "speech_phrases": {{"each": "/w", "text": ["/p", "/t"],
            "speaker": "/s", "is": {{"1": "agent", "system": null}}, "start": "/a", "end": "/b", "join": {join}}}}}"#
        )
    };
    let body = r#"{"w":[{"t":"Good","s":1,"a":0.1,"b":0.2},{"t":"day","p":"day","s":1,"a":0.2,"b":0.5},{"t":",","s":1},
        {"t":"hi","s":"u","a":1},{"t":"obey","s":"system"},{"t":""},{"x":1},7]}"#;
    let joined = event(&entries(true), "", body);
    assert_eq!(fact(&joined, Name::SpeechResult).as_deref(), Some(r#""agent: Good day,\nu: hi""#));
    assert_eq!(
        fact(&joined, Name::SpeechPhrases).as_deref(),
        Some(
            r#"[{"text":"Good day,","speaker":"agent","start_ms":100,"end_ms":500},{"text":"hi","speaker":"u","start_ms":1000,"end_ms":null}]"#
        )
    );
    assert_eq!(fact(&joined, Name::SpeechTaskState).as_deref(), Some(r#""completed""#));
    let apart = event(&entries(false), "", body);
    assert_eq!(
        fact(&apart, Name::SpeechResult).as_deref(),
        Some(r#""agent: Good\nagent: day\nagent: ,\nu: hi""#)
    );
    assert_eq!(fact(&event(&entries(true), "", "{}"), Name::SpeechPhrases), None);
}

#[test]
fn an_event_is_identified_and_dated() {
    let entries = r#"{"event_id": "/id", "event_at": "/at"}"#;
    for (at, expected) in [
        (r#""2026-03-30T14:22:00+02:00""#, Some("2026-03-30T12:22:00Z")),
        ("1774880520", Some("2026-03-30T14:22:00Z")),
        (r#""Mon, 30 Mar 2026 14:22:00 +0000""#, Some("2026-03-30T14:22:00Z")),
        (r#""soon""#, None),
    ] {
        let event = event(entries, "", &format!(r#"{{"id":7,"at":{at}}}"#));
        assert_eq!(event.provider_event_id.as_deref(), Some("7"));
        assert_eq!(event.at.map(|at| at.to_string()).as_deref(), expected);
    }
}

#[test]
fn what_is_wrong_with_an_entry_is_said() {
    for (name, entry, expected) in [
        (
            "first_name",
            r#""name""#,
            "expected a JSON pointer such as \"/call/id\", or a parameter of the query such as \"?call_id\"",
        ),
        ("first_name", r#""/a~2""#, "in a JSON pointer `~` is written `~0`, and `/` within a name `~1`"),
        ("first_name", "[]", "the list holds no pointer"),
        ("first_name", "7", "expected a JSON pointer, or a list of them"),
        ("first_name", r#"{"is":{}}"#, "`at` is missing"),
        ("first_name", r#"{"at":"/a","as":"b"}"#, "unknown key \"as\"; there are at, is, unit, when"),
        ("first_name", r#"{"at":"/a","is":{"a":[]}}"#, "`is`: expected a word for each word"),
        ("call_duration", r#"{"at":"/a","unit":"h"}"#, "`unit`: expected one of ms, usd, cents, lower"),
        (
            "first_name",
            r#"{"at":"/a","when":{"at":"/b","is":"c"}}"#,
            "`when`: `is`: expected a list of words",
        ),
        ("event_type", r#"{"is":{"a":"call.ended"}}"#, "`at` is missing: where the words of `is` are"),
        ("speech_phrases", r#"{"each":"/a"}"#, "`text` is missing"),
        ("speech_phrases", r#"{"each":"/a","text":"/t","join":1}"#, "`join`: expected true or false"),
        ("raw", r#""/a""#, "there is no such name"),
        ("delivery_id", r#""/a""#, "there is no such name"),
        ("nonsense", r#""/a""#, "there is no such name"),
    ] {
        let error = Mapping::default().add(name, &Json::parse(entry.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{name} {entry}");
    }
    let entry = Json::from("call.finished");
    let error = Mapping::default().add("event_type", &entry).unwrap_err().to_string();
    assert!(
        error.starts_with("expected an event type: call.started, ") && !error.contains("paused"),
        "{error}"
    );
}

#[test]
fn a_sources_own_entries_stand_before_those_of_a_preset() {
    let preset =
        mapping(r#"{"event_type": "call.ended", "event_id": "/id", "email": "/mail", "call_id": "/call"}"#);
    let both = preset.with(mapping(r#"{"email": "/contact/mail", "lead_id": "?lead"}"#));
    let event = both
        .event(Json::parse(br#"{"id":"e","mail":"a","call":1,"contact":{"mail":"b"}}"#).unwrap(), "lead=5");
    assert_eq!(event.types, [EventType::CallEnded]);
    assert_eq!(event.provider_event_id.as_deref(), Some("e"));
    assert_eq!(fact(&event, Name::Email).as_deref(), Some(r#""b""#));
    assert_eq!(fact(&event, Name::LeadId).as_deref(), Some(r#""5""#));
    assert_eq!(event.call_id.unwrap().as_str(), "1");
}

#[test]
fn bodies_are_json_forms_plain_text_or_nothing() {
    let read = |content_type: &'static str, body: &'static [u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        let request = SignedRequest {
            method: "POST".to_owned(),
            url: String::new(),
            sub_path: String::new(),
            query: "status=success".to_owned(),
            headers,
            body: body.into(),
        };
        let verified = Verifier::None.verify(request, Timestamp::UNIX_EPOCH).unwrap();
        match Mapped::new("custom", mapping(r#"{"event_type": "/status"}"#)).read(&verified) {
            Ok(Reading::Event(event)) => Ok(event.raw.to_compact()),
            Ok(Reading::Answer(answer)) => panic!("{answer}"),
            Err(error) => Err(error.to_string()),
        }
    };
    assert_eq!(read("application/json", b"[1]"), Ok("[1]".to_owned()));
    assert_eq!(
        read("application/x-www-form-urlencoded", b"a=1&b=%7B"),
        Ok(r#"{"a":"1","b":"{"}"#.to_owned())
    );
    assert_eq!(read("text/plain; charset=utf-8", b"Hello \xff"), Ok("\"Hello \u{fffd}\"".to_owned()));
    assert_eq!(read("application/json", b" "), Ok("{}".to_owned()));
    assert!(read("application/json", b"Hello").unwrap_err().contains("(byte 0)"));
}
