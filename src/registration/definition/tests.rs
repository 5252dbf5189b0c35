use serde_json::json;

use super::*;
use crate::registration::Method;
use crate::registration::callback::tests::limits;

/// A registration with these members beside the mandatory ones.
fn with(members: &Request) -> Request {
    let mut request = json!({
        "callback_url": "https://example.com/hook", "callback_method": "POST", "callback_data": "{}",
    });
    for (name, value) in members.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn read(request: Request) -> Result<Callback, Vec<Issue>> {
    let now = "2026-03-30T12:00:00Z".parse().unwrap();
    NewCallback::read(request, &"acme".into(), &limits(), now).map(|new| new.callback)
}

fn problems(request: Request) -> Vec<(String, &'static str)> {
    read(request).unwrap_err().into_iter().map(|issue| (issue.pointer, issue.code)).collect()
}

#[test]
fn what_is_not_said_has_its_documented_value() {
    let callback = read(with(&json!({"secret": null, "events": null, "ordered": false}))).unwrap();
    assert_eq!(callback.events, [EventType::SpeechCompleted]);
    assert_eq!((callback.max_in_flight, callback.rate_limit), (32, None));
    assert_eq!(callback.delivery.timeout, Duration::from_secs(15));
    assert_eq!(callback.delivery.retry, RetrySchedule::standard());
    assert_eq!(callback.filter, Filter::default());
    let other = read(with(&json!({}))).unwrap();
    assert_ne!(callback.delivery.secrets.newest().expose(), other.delivery.secrets.newest().expose());
}

/// A registration with every member set, and its change.
fn changed(patch: Request) -> Result<(Callback, Callback), Vec<Issue>> {
    let callback = read(with(&json!({
        "callback_headers": {"Authorization": "Bearer {call_id}", "X-A": "a"}, "content_type": "text/plain",
        "callback_data": "call <call_id", "events": ["call.ended"], "sources": ["speech"], "min_duration": 5,
        "max_duration": 10, "phrase": "P", "from": "2026-01-01", "rank_max": 90, "call_status": "ended",
        "retry": {"schedule": ["1s"]}, "timeout_ms": 1000, "max_in_flight": 2, "rate_limit": "5/s",
        "description": "d", "expires_at": "2026-03-30T12:00:01Z",
    })))
    .unwrap();
    let callback = Callback { token: Some("crm".into()), ..callback };
    // Long after it has expired, and with none of its sources left.
    let now = "2027-03-30T12:00:00Z".parse().unwrap();
    let limits = DefinitionLimits { sources: vec!["dialer".to_owned()], ..limits() };
    let after = NewCallback::change(&callback, patch, &limits, now)?.callback;
    Ok((callback, after))
}

/// The stored form without the members that a change is about.
fn without(callback: &Callback, names: &[&str]) -> Request {
    let mut stored: Request = serde_json::from_slice(&callback.to_row(None).definition).unwrap();
    for name in names {
        assert!(stored.as_object_mut().unwrap().remove(*name).is_some(), "{name}");
    }
    stored
}

#[test]
fn a_change_leaves_what_it_does_not_name_as_it_is() {
    let (before, after) = changed(json!({})).unwrap();
    assert_eq!(after.to_row(None), before.to_row(None));
    for (patch, members) in [
        (json!({"callback_url": "https://example.com/other"}), &["url"][..]),
        (json!({"callback_method": "PUT"}), &["method"]),
        (json!({"callback_data": "other"}), &["template"]),
        (json!({"callback_headers": null}), &["headers"]),
        (json!({"events": ["call.started"]}), &["events"]),
        (json!({"sources": ["dialer"]}), &["sources"]),
        (json!({"min_duration": 6, "phrase": null, "rank_min": 3}), &["filter"]),
        (json!({"retry": {"preset": "standard"}}), &["retry_ms"]),
        (json!({"timeout_ms": null}), &["timeout_ms"]),
        (json!({"max_in_flight": 3}), &["max_in_flight"]),
        (json!({"rate_limit": null}), &["rate_limit"]),
        (json!({"ordered": true}), &["ordered"]),
        (json!({"description": "other"}), &["description"]),
        (json!({"expires_at": null}), &["expires_at"]),
    ] {
        let (before, after) = changed(patch.clone()).unwrap();
        assert_eq!(without(&after, members), without(&before, members), "{patch}");
        assert_ne!(after.to_row(None), before.to_row(None), "{patch}");
        assert_eq!((after.id, after.created_at), (before.id, before.created_at));
        // What its deliveries send has another version where it is changed.
        let is_sent = ["url", "method", "template", "headers"].contains(&members[0]);
        assert_eq!(after.version != before.version, is_sent, "{patch}");
    }
    let (_, after) = changed(json!({"min_duration": 6, "phrase": null, "rank_min": 3})).unwrap();
    let expected = Filter { min_duration: Some(6), phrase: None, rank_min: Some(3), ..after.filter.clone() };
    assert_eq!((after.filter.max_duration, &after.filter), (Some(10), &expected));
}

#[test]
fn a_masked_header_is_as_it_was() {
    let patch = json!({"callback_headers": {"authorization": "…", "X-B": "…", "X-A": "b"}});
    let (_, after) = changed(patch).unwrap();
    let headers: Vec<_> =
        after.request.headers.iter().map(|(name, value)| (name.as_str(), value.source())).collect();
    assert_eq!(headers, [("authorization", "Bearer {call_id}"), ("X-B", "…"), ("X-A", "b")]);
}

#[test]
fn a_change_is_refused_with_every_problem() {
    for (patch, expected) in [
        (json!([]), vec![("", "not_an_object")]),
        (json!({"callback_url": null}), vec![("/callback_url", "missing")]),
        (json!({"callback_data": null}), vec![("/callback_data", "missing")]),
        (json!({"min_duration": 11}), vec![("/min_duration", "empty_range")]),
        (json!({"secret": "whsec_x"}), vec![("/secret", "not_changeable")]),
        (
            json!({"id": "cb_x", "state": "active"}),
            vec![("/id", "unknown_member"), ("/state", "unknown_member")],
        ),
        // The template that stays is no JSON.
        (json!({"content_type": null}), vec![("/callback_data", "invalid_json"); 2]),
        (
            json!({"events": ["x"], "timeout_ms": 1, "expires_at": "2026-03-30"}),
            vec![
                ("/events/0", "unknown_event_type"),
                ("/timeout_ms", "out_of_range"),
                ("/expires_at", "in_the_past"),
            ],
        ),
    ] {
        let issues = changed(patch.clone()).unwrap_err();
        let found: Vec<_> = issues.iter().map(|issue| (issue.pointer.as_str(), issue.code)).collect();
        assert_eq!(found, expected, "{patch}");
    }
}

#[test]
fn members_are_read_from_the_types_of_json_and_of_forms() {
    let callback = read(with(&json!({
        "callback_method": "put", "events": ["call.ended", "call.ended"], "sources": ["speech", "speech"],
        "min_duration": "5", "rank_max": 100, "from": 1_774_880_520, "till": "2026-03-30T16:22:00+02:00",
        "expires_at": "2026-03-30T12:00:01Z", "content_type": "Application/JSON",
    })))
    .unwrap();
    assert_eq!(callback.request.method, Method::Put);
    assert_eq!((callback.events.len(), callback.sources.len()), (1, 1));
    assert_eq!((callback.filter.min_duration, callback.filter.rank_max), (Some(5), Some(100)));
    assert_eq!(callback.filter.from, callback.filter.till);
}

#[test]
fn each_member_is_refused_with_its_place_and_code() {
    for (members, pointer, code) in [
        (json!({"callback_url": 7}), "/callback_url", "not_a_text"),
        (json!({"callback_url": null}), "/callback_url", "missing"),
        (json!({"callback_data": {"id": 1}}), "/callback_data", "not_a_text"),
        (json!({"callback_method": "PATCH"}), "/callback_method", "bad_method"),
        (json!({"events": []}), "/events", "not_a_list"),
        (json!({"events": "call.ended"}), "/events", "not_a_list"),
        (json!({"events": vec!["call.ended"; 251]}), "/events", "too_long"),
        (json!({"events": [1]}), "/events/0", "unknown_event_type"),
        (json!({"sources": {}}), "/sources", "not_a_list"),
        (json!({"sources": vec!["speech"; 251]}), "/sources", "too_long"),
        (json!({"min_duration": -1}), "/min_duration", "out_of_range"),
        (json!({"max_duration": 1.5}), "/max_duration", "out_of_range"),
        (json!({"rank_max": 101}), "/rank_max", "out_of_range"),
        (json!({"from": "2026-01-02", "till": "2026-01-01"}), "/from", "empty_range"),
        (json!({"phrase": "x".repeat(1001)}), "/phrase", "too_long"),
        (json!({"timeout_ms": 60_001}), "/timeout_ms", "out_of_range"),
        (json!({"timeout_ms": 99}), "/timeout_ms", "out_of_range"),
        (json!({"max_in_flight": 0}), "/max_in_flight", "out_of_range"),
        (json!({"rate_limit": "0/s"}), "/rate_limit", "bad_rate"),
        (json!({"secret": "whsec_"}), "/secret", "bad_secret"),
        (json!({"description": "\u{fc}".repeat(501)}), "/description", "too_long"),
        (json!({"expires_at": "2026-03-30T12:00:00Z"}), "/expires_at", "in_the_past"),
        (json!({"ordered": "yes"}), "/ordered", "not_a_boolean"),
        (json!({"callback_headers": ["a"]}), "/callback_headers", "not_an_object"),
        (json!({"callback_headers": {"a": 1}}), "/callback_headers/a", "not_a_text"),
        (json!({"callback_headers": {"Webhook-Id": "x"}}), "/callback_headers/Webhook-Id", "header_refused"),
        (
            json!({"callback_headers": {"content-TYPE": "x"}}),
            "/callback_headers/content-TYPE",
            "header_refused",
        ),
        (json!({"callback_headers": {"a b": "x"}}), "/callback_headers/a b", "header_refused"),
        (json!({"callback_headers": {"a/b": "x"}}), "/callback_headers/a~1b", "header_refused"),
        (json!({"callback_headers": {"X-A": "1", "x-a": "2"}}), "/callback_headers/x-a", "header_refused"),
        (json!({"callback_headers": {"x-a": "{call_idd}"}}), "/callback_headers/x-a", "unknown_placeholder"),
        (json!({"callback_headers": {"x-a": "a\nb: c"}}), "/callback_headers/x-a", "invalid_header"),
        (json!({"content_type": "text/html"}), "/content_type", "bad_content_type"),
        (json!({"content_type": "text/plain\r\nx: y"}), "/content_type", "bad_content_type"),
        (
            json!({"callback_url": "https://{call_id}.example.com/"}),
            "/callback_url",
            "placeholder_not_allowed_here",
        ),
        (json!({"callback_url": "http://127.0.0.1/{call_id}"}), "/callback_url", "address_refused"),
        (json!({"a~/b": 1}), "/a~0~1b", "unknown_member"),
    ] {
        assert_eq!(problems(with(&members)), [(pointer.to_owned(), code)], "{members}");
    }
    assert_eq!(problems(json!([])), [(String::new(), "not_an_object")]);
}

#[test]
fn names_that_are_close_are_suggested_and_a_heap_of_unknown_ones_is_told_in_short() {
    let issues = read(with(&json!({"descripton": "x", "min_durations": 1, "zzz": 1}))).unwrap_err();
    let suggestions: Vec<_> =
        issues.iter().map(|issue| (issue.pointer.as_str(), issue.suggestion.as_deref())).collect();
    for expected in
        [("/descripton", Some("description")), ("/min_durations", Some("min_duration")), ("/zzz", None)]
    {
        assert!(suggestions.contains(&expected), "{suggestions:?}");
    }
    let heap: serde_json::Map<_, _> =
        (0..100_000).map(|number| (format!("m{number}"), Request::Null)).collect();
    let issues = read(with(&Request::Object(heap))).unwrap_err();
    assert_eq!(issues.len(), 51);
    assert!(issues[50].detail.contains("99950 more"), "{}", issues[50].detail);
    // A name as long as a body may be is compared with nothing.
    let long = "callback_urll".repeat(300_000);
    assert_eq!(read(with(&json!({long: 1}))).unwrap_err()[0].suggestion, None);
}
