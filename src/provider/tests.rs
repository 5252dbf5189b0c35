use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::context::{CallContext, Json, Name};
use crate::signature::{SignedRequest, Verifier};

fn verified(method: &str, content_type: &str, query: &str, body: &[u8]) -> Verified {
    let mut headers = HeaderMap::new();
    if let Ok(content_type) = content_type.parse() {
        headers.insert(CONTENT_TYPE, content_type);
    }
    let request = SignedRequest {
        method: method.to_owned(),
        url: "https://hooks.example.com/v1/ingest/source".to_owned(),
        sub_path: String::new(),
        query: query.to_owned(),
        headers,
        body: body.to_vec().into(),
    };
    Verifier::None.verify(request, Timestamp::UNIX_EPOCH).unwrap()
}

const CONTENT_TYPES: [&str; 4] = ["", "application/json", "application/x-www-form-urlencoded", "\u{e9}"];

/// Every adapter, and `custom` with a table that says of each name that it is at the member of
/// that name.
fn adapters() -> Vec<Arc<dyn Adapter>> {
    let mut own = Mapping::default();
    for name in Mapping::names() {
        own.add(name, &Json::from(&*format!("/{name}"))).unwrap();
    }
    names().map(|name| adapter(name, (name == CUSTOM).then(|| own.clone())).unwrap()).collect()
}

/// What every adapter must hold for every request.
fn check(request: &Verified) -> Result<(), TestCaseError> {
    for adapter in adapters() {
        let event = match adapter.read(request) {
            Ok(Reading::Event(event)) => event,
            Ok(Reading::Answer(answer)) => {
                prop_assert!(Json::parse(answer.as_bytes()).is_ok());
                continue;
            }
            Err(Unreadable(reason)) => {
                prop_assert!(reason.contains("(byte ") || reason == "the query is empty", "{reason}");
                continue;
            }
        };
        prop_assert!(!event.types.is_empty());
        for (name, value) in event.facts.iter() {
            prop_assert!(name.kind().holds(value), "{name} of {}", adapter.name());
            prop_assert!(!name.is_set_by_ringback(), "{name} of {}", adapter.name());
        }
        prop_assert!(is_mapped(adapter.name()) || matches!(event.raw, Json::Object(_)));
        prop_assert!(event.warnings.len() <= Name::COUNT);
        let mut context = CallContext::default();
        context.merge(&event.facts, event.at);
        prop_assert_eq!(CallContext::from_bytes(&context.to_bytes()).unwrap(), context);
    }
    Ok(())
}

/// The values that a member may have, odd ones for the most part.
fn any_value() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-12.0",
        "1e400",
        "9007199254740993",
        "1774880520",
        "\"\"",
        "\"\\ud800\"",
        "\"7\"",
        "\"2026-03-30T14:22:00.5+02:00\"",
        "\"2026-02-30\"",
        "\"completed\"",
        "\"failed\"",
        "\"ended\"",
        "\"call_start\"",
        "[]",
        "{}",
        "[null,[],{}]",
        "{\"a\":1,\"a\":2}",
        "\"[1]\"",
        "\"{\\\"a\\\":1}\"",
        "[{\"text\":\"a\",\"source\":\"user\",\"startedAt\":\"2026-03-30T14:22:00Z\"}]",
    ])
    .prop_map(str::to_owned)
}

fn any_member() -> impl Strategy<Value = (String, String)> {
    let names: Vec<&str> = Name::ALL.map(Name::as_str).into();
    let of_providers = vec![
        "type",
        "session_id",
        "id",
        "status",
        "direction",
        "dialed_number",
        "agent_id",
        "language",
        "created_at",
        "ended_at",
        "updated_at",
        "timestamp",
        "duration_seconds",
        "recording_url",
        "recording_status",
        "transfers",
        "summary",
        "outcome",
        "structured_data",
        "transcript",
        "entries",
        "cost_micro_usd",
        "metadata",
        "custom_data",
        "scheduled_callback",
        "analysis_error",
        "event_id",
        "event_at",
    ];
    (prop::sample::select([names, of_providers].concat()).prop_map(str::to_owned), any_value())
}

fn any_members() -> impl Strategy<Value = String> {
    vec(any_member(), 0..12).prop_map(|members| {
        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
    })
}

fn any_object() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(&["status", "report", "analysis", "recording", "pre_call", "other"]);
    (kind, any_members(), any_members(), any_members()).prop_map(|(kind, outer, inner, report)| {
        let members = [
            format!("\"type\":\"call.{kind}\""),
            outer,
            format!("\"data\":{{{inner}}}"),
            format!("\"report\":{{{report}}}"),
        ];
        let members: Vec<_> = members.into_iter().filter(|member| !member.is_empty()).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_bytes_break_an_adapter(
        method in prop::sample::select(&["GET", "POST"]),
        content_type in prop::sample::select(&CONTENT_TYPES),
        query in "[a-z_]{0,9}=[ -~]{0,20}|.{0,30}",
        body in vec(any::<u8>(), 0..100),
    ) {
        check(&verified(method, content_type, &query, &body))?;
    }

    #[test]
    fn facts_are_of_the_catalogues_types_whatever_comes(body in any_object()) {
        prop_assert!(Json::parse(body.as_bytes()).is_ok(), "{}", body);
        check(&verified("POST", "application/json", "", body.as_bytes()))?;
    }

    #[test]
    fn forms_are_read_as_queries_are(members in vec(any_member(), 1..12)) {
        let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&members).finish();
        let form = verified("POST", "application/x-www-form-urlencoded", "", encoded.as_bytes());
        let query = verified("GET", "", &encoded, b"");
        check(&form)?;
        check(&query)?;
        let read = |request| match commpeak::CommPeak.read(request) {
            Ok(Reading::Event(event)) => (event.types, event.facts, event.raw),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(read(&form), read(&query));
    }
}

#[test]
fn adapters_are_found_by_their_names() {
    assert_eq!(built_in().collect::<Vec<_>>(), ["commpeak", "symbl", "alovoice", "speko", "auralytik"]);
    assert!(names().any(|name| name == "twilio"));
    for name in names() {
        assert_eq!(adapter(name, None).unwrap().name(), name);
    }
    assert!(adapter("Speko", None).is_none());
}

#[test]
fn a_call_that_is_about_to_start_is_answered_at_once() {
    let request = verified("POST", "application/json", "", br#"{"type":"call.pre_call","call_id":"c1"}"#);
    assert!(matches!(speko::Speko.read(&request), Ok(Reading::Answer("{}"))));
}
