use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::context::Value;

fn json(source: &str) -> Json {
    Json::parse(source.as_bytes()).unwrap()
}

/// What an event tells that brings this object.
fn facts(source: &str) -> Facts {
    let (mut facts, mut warnings) = (Facts::new(), Vec::new());
    let Json::Object(members) = json(source) else { panic!("{source} is no object") };
    for (name, value) in members {
        facts.put(Name::from_text(&name).unwrap(), value, &mut warnings);
    }
    assert_eq!(warnings, [""; 0], "{source}");
    facts
}

fn at(microsecond: i64) -> Timestamp {
    Timestamp::from_microsecond(microsecond).unwrap()
}

/// The context after events of these times, merged in this order.
fn merged(events: &[(i64, &str)]) -> CallContext {
    let mut context = CallContext::default();
    for (time, source) in events {
        context.merge(&facts(source), at(*time));
    }
    context
}

fn custom(events: &[(i64, &str)]) -> String {
    let events: Vec<_> = events.iter().map(|(at, value)| (*at, format!("{{\"custom\":{value}}}"))).collect();
    let events: Vec<_> = events.iter().map(|(at, source)| (*at, source.as_str())).collect();
    merged(&events).get(Name::Custom).unwrap().to_compact()
}

#[test]
fn a_newer_value_replaces_an_older_one_whenever_it_comes() {
    let dialer = (1, r#"{"call_id":"42","status_after":"new","email":"ann@example.com"}"#);
    let later = (2, r#"{"status_after":"interested","weight":null}"#);
    for order in [[dialer, later], [later, dialer]] {
        let context = merged(&order);
        assert_eq!(context.get(Name::StatusAfter), Some(&json("\"interested\"")));
        assert_eq!(context.get(Name::Email), Some(&json("\"ann@example.com\"")));
        assert_eq!(context.get(Name::Weight), None);
    }
    let same_time = merged(&[(1, r#"{"weight":1}"#), (1, r#"{"weight":2}"#)]);
    assert_eq!(same_time.get(Name::Weight), Some(&json("2")));
}

#[test]
fn an_undated_event_is_newer_than_what_is_known_and_older_than_what_is_dated_later() {
    let (first, second) =
        (facts(r#"{"weight":1,"custom":{"a":1}}"#), facts(r#"{"weight":2,"custom":{"a":2}}"#));
    let after = |events: &[(&Facts, Option<i64>)]| {
        let mut context = CallContext::default();
        for (facts, time) in events {
            context.merge(facts, time.map(at));
        }
        let custom = context.get(Name::Custom).unwrap().get("a").unwrap();
        assert_eq!(context.get(Name::Weight), Some(custom));
        custom.to_text()
    };
    assert_eq!(after(&[(&first, None), (&second, None)]), "2");
    assert_eq!(after(&[(&first, Some(7)), (&second, None)]), "2");
    assert_eq!(after(&[(&first, None), (&second, Some(-7))]), "2");
    assert_eq!(after(&[(&first, Some(7)), (&second, None), (&first, Some(6))]), "2");
    assert_eq!(after(&[(&first, Some(7)), (&second, None), (&first, Some(8))]), "1");
}

#[test]
fn members_of_custom_are_merged_one_by_one() {
    assert_eq!(custom(&[(1, r#"{"b":1,"a":2}"#)]), r#"{"b":1,"a":2}"#);
    assert_eq!(custom(&[(1, r#"{"a":1,"b":1,"a":2}"#)]), r#"{"b":1,"a":2}"#);
    for order in [
        [(1, r#"{"a":1,"b":1}"#), (2, r#"{"b":2,"c":null}"#)],
        [(2, r#"{"b":2,"c":null}"#), (1, r#"{"a":1,"b":1}"#)],
    ] {
        assert_eq!(custom(&order), r#"{"a":1,"b":2,"c":null}"#);
    }
    assert_eq!(custom(&[(1, r#"{"a":1}"#), (1, r#"{"a":2}"#)]), r#"{"a":2}"#);
    // What is no object stands for the whole.
    assert_eq!(custom(&[(1, r#"{"a":1}"#), (2, "7")]), "7");
    assert_eq!(custom(&[(2, "7"), (1, r#"{"a":1}"#)]), "7");
    for order in
        [[(1, r#"{"a":1}"#), (2, "7"), (3, r#"{"b":1}"#)], [(3, r#"{"b":1}"#), (2, "7"), (1, r#"{"a":1}"#)]]
    {
        assert_eq!(custom(&order), r#"{"b":1}"#);
    }
}

#[test]
fn custom_keeps_its_newest_members() {
    let many = |from: usize, count: usize| {
        let members: Vec<_> = (from..from + count).map(|index| format!("\"m{index}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    let (old, new) = (many(0, 100), many(100, Custom::MAX_MEMBERS));
    for order in [[(1, &*old), (2, &*new)], [(2, &*new), (1, &*old)]] {
        assert_eq!(custom(&order), new);
    }
}

#[test]
fn the_stored_form_is_kept_readable() {
    let context = merged(&[
        (1_774_880_520_000_000, r#"{"weight":12.0,"call_id":42,"custom":{"b":"\ud800","a":[1]}}"#),
        (1_774_880_520_000_001, r#"{"custom":{"a":9007199254740993}}"#),
    ]);
    let stored = "{\"version\":1,\"call_id\":[42,1774880520000000],\"weight\":[12.0,1774880520000000],\
                  \"custom\":[{\"b\":\"\u{fffd}\",\"a\":9007199254740993},1774880520000001,\
                  [1774880520000000, 1774880520000001],null]}";
    assert_eq!(String::from_utf8(context.to_bytes()).unwrap(), stored);
    assert_eq!(CallContext::from_bytes(stored.as_bytes()), Ok(context));
    assert_eq!(CallContext::from_bytes(&CallContext::default().to_bytes()), Ok(CallContext::default()));
}

#[test]
fn unknown_names_are_skipped_and_other_stored_forms_refused() {
    let context =
        CallContext::from_bytes(br#"{"version":1,"of_the_future":7,"weight":[1,-5],"call_id":["a",2]}"#);
    let mut expected = merged(&[(-5, r#"{"weight":1}"#)]);
    expected.merge(&facts(r#"{"call_id":"a"}"#), at(2));
    assert_eq!(context, Ok(expected));
    for (stored, reason) in [
        ("", "the text ends too early (byte 0)"),
        ("[]", "it is not an object"),
        ("{}", "it does not begin with a version"),
        (r#"{"version":0}"#, "it does not begin with a version"),
        (r#"{"version":"1"}"#, "it does not begin with a version"),
        (r#"{"version":2,"weight":{}}"#, "it is of version 2, and this program reads up to 1"),
        (r#"{"version":1,"weight":1}"#, "`weight` is not a value with its time"),
        (r#"{"version":1,"weight":["1",1]}"#, "`weight` is not a value with its time"),
        (r#"{"version":1,"weight":[1,1.5]}"#, "`weight` is not a value with its time"),
        (r#"{"version":1,"start_at":["today",1]}"#, "`start_at` is not a value with its time"),
        (r#"{"version":1,"custom":[{"a":1},1,[],null]}"#, "`custom` is not a value with its time"),
        (r#"{"version":1,"custom":[{"a":1,"b":1},1,[2,1],null]}"#, "`custom` is not a value with its time"),
    ] {
        assert_eq!(
            CallContext::from_bytes(stored.as_bytes()),
            Err(InvalidContext(reason.to_owned())),
            "{stored}"
        );
    }
}

#[test]
fn the_deepest_value_is_stored_and_read_back() {
    let deep = format!("{}{}", "[".repeat(Json::MAX_DEPTH), "]".repeat(Json::MAX_DEPTH));
    let (mut facts, mut warnings) = (Facts::new(), Vec::new());
    let object = Json::Object(vec![("deep".into(), json(&deep))]);
    facts.put(Name::Custom, object.clone(), &mut warnings);
    facts.put(Name::CallEvents, object, &mut warnings);
    let mut context = CallContext::default();
    context.merge(&facts, at(0));
    assert_eq!(CallContext::from_bytes(&context.to_bytes()), Ok(context));
}

#[test]
fn the_template_engine_gets_every_value() {
    let context = merged(&[(1, r#"{"call_id":42,"speech_result":"","custom":{"a":1}}"#)]);
    let mut values = Values::new();
    context.fill(&mut values);
    assert_eq!(values.get(Name::CallId), Value::Number("42"));
    assert_eq!(values.get(Name::SpeechResult), Value::Text(""));
    assert!(matches!(values.get(Name::Custom), Value::Object([_])));
    assert_eq!(values.get(Name::Weight), Value::Missing);
}

#[test]
fn a_call_id_is_a_text_or_a_number_of_bounded_length() {
    assert_eq!(CallId::from_json(&json("42")), CallId::from_text("42"));
    assert_eq!(CallId::from_json(&json("\"42\"")), CallId::from_text("42"));
    for source in ["\"\"", "null", "true", "[1]"] {
        assert_eq!(CallId::from_json(&json(source)), None);
    }
    assert!(CallId::from_text(&"4".repeat(CallId::MAX_LENGTH)).is_some());
    assert!(CallId::from_text(&"4".repeat(CallId::MAX_LENGTH + 1)).is_none());
}

/// An event: a few names of a few values, so that they meet.
fn any_event() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        Just("null".to_owned()),
        (0_u8..3).prop_map(|number| number.to_string()),
        Just(r#"{"x":1}"#.to_owned())
    ];
    let object = vec((prop::sample::select(vec!["a", "b", "c"]), member), 0..4).prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    let custom = prop_oneof![
        4 => object.prop_map(|object| format!(",\"custom\":{object}")),
        1 => Just(",\"custom\":7".to_owned()),
        1 => Just(",\"custom\":[]".to_owned()),
        2 => Just(String::new()),
    ];
    (prop::option::of(0..9), prop::option::of(0..9), custom).prop_map(|(weight, lead, custom)| {
        let null_or = |value: Option<i32>| value.map_or("null".to_owned(), |value| value.to_string());
        format!("{{\"weight\":{},\"lead_id\":{}{custom}}}", null_or(weight), null_or(lead))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn events_of_different_times_give_one_context_in_any_order(
        (events, shuffled) in vec(any_event(), 1..7).prop_flat_map(|events| {
            let timed: Vec<_> = (0..).zip(events).collect();
            (Just(timed.clone()), Just(timed).prop_shuffle())
        }),
        restart in any::<prop::sample::Index>(),
    ) {
        let mut in_order = CallContext::default();
        for (time, source) in &events {
            in_order.merge(&facts(source), at(*time));
        }
        let mut otherwise = CallContext::default();
        for (index, (time, source)) in shuffled.iter().enumerate() {
            otherwise.merge(&facts(source), at(*time));
            // A repeated event changes nothing, and neither does a visit to the store.
            otherwise.merge(&facts(source), at(*time));
            if index == restart.index(shuffled.len()) {
                otherwise = CallContext::from_bytes(&otherwise.to_bytes()).unwrap();
            }
        }
        prop_assert_eq!(&otherwise, &in_order);
        prop_assert_eq!(otherwise.to_bytes(), in_order.to_bytes());
    }

    #[test]
    fn no_stored_bytes_are_too_odd(bytes in vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>()) {
        let _ = CallContext::from_bytes(&bytes);
        let mut stored = merged(&[(1, r#"{"weight":1,"start_at":0,"custom":{"a":1}}"#)]).to_bytes();
        stored.truncate(cut.index(stored.len()));
        prop_assert!(CallContext::from_bytes(&stored).is_err());
    }
}

#[test]
fn speech_that_a_token_asked_for_is_seen_by_that_token_alone() {
    let mut context = CallContext::default();
    context.merge(&facts(r#"{"call_id":"42","email":"ann@example.com","speech_rank":1}"#), at(10));
    let made = facts(r#"{"speech_result":"a: mine","speech_rank":2,"conversation_id":"c"}"#);
    context.merge_owned(&made, at(20), Some("crm"));
    context.merge_owned(&facts(r#"{"speech_rank":3}"#), at(5), Some("ops \"2\""));
    context.note_source("dialer");
    context.note_source("symbl");
    let read = CallContext::from_bytes(&context.to_bytes()).unwrap();
    assert_eq!(read, context);
    assert_eq!(read.to_bytes(), context.to_bytes());
    assert_eq!(read.owners().collect::<Vec<_>>(), ["crm", "ops \"2\""]);
    assert_eq!(read.told_by(), Some("dialer"));
    let seen = |token| {
        let mut values = Values::new();
        read.fill_for(token, &mut values);
        let text = |name| match values.get(name) {
            Value::Text(text) | Value::Number(text) => text.to_owned(),
            _ => String::new(),
        };
        [Name::SpeechResult, Name::SpeechRank, Name::ConversationId, Name::Email].map(text)
    };
    assert_eq!(seen(Some("crm")), ["a: mine", "2", "c", "ann@example.com"]);
    // What the account has of later is newer than what is its own.
    assert_eq!(seen(Some("ops \"2\"")), ["", "1", "c", "ann@example.com"]);
    for other in [None, Some("other")] {
        assert_eq!(seen(other), ["", "1", "c", "ann@example.com"]);
    }
    assert_eq!(read.get(Name::SpeechResult), None);
}
