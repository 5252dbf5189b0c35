//! Our reader of JSON takes what serde takes, and reads the same.

use std::collections::HashSet;

use ringback::context::Json;
use serde_json::Value;
use serde_json::value::RawValue;

use super::assert_is_json;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Any bytes as a document.
pub fn check(bytes: &[u8]) {
    // Ours passes over a byte order mark, as RFC 8259 allows.
    let document = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let is_taken = serde_json::from_slice::<&RawValue>(document).is_ok();
    match Json::parse(bytes) {
        Ok(json) => {
            assert!(is_taken, "serde refuses it");
            is_what_serde_reads(&json, document);
            writes_what_it_reads(&json);
        }
        Err(error) => {
            assert!(error.offset <= bytes.len());
            assert!(!is_taken || error.reason == "nested too deeply", "serde takes it: {error}");
            assert_eq!(Json::parse(bytes), Err(error));
        }
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let is_number = serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text)
            && text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        assert_eq!(Json::number(text).is_some(), is_number, "{text}");
    }
}

/// What serde does not read as a value (lone surrogates, numbers beyond a double, more depth than it
/// likes) is left to ours.
fn is_what_serde_reads(json: &Json, document: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(document) {
        assert_same(json, &value);
    }
}

fn assert_same(ours: &Json, theirs: &Value) {
    match (ours, theirs) {
        (Json::Null, Value::Null) => {}
        (Json::Bool(one), Value::Bool(other)) => assert_eq!(one, other),
        (Json::Number(spelling), Value::Number(number)) => {
            assert_eq!(serde_json::from_str::<Value>(spelling).unwrap(), Value::Number(number.clone()));
        }
        (Json::Text(one), Value::String(other)) => assert_eq!(**one, **other),
        (Json::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len());
            items.iter().zip(others).for_each(|(one, other)| assert_same(one, other));
        }
        (Json::Object(members), Value::Object(others)) => {
            let names: HashSet<_> = members.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names.len(), others.len());
            for (name, other) in others {
                // Of several members with a name the last one counts, for both.
                assert_same(ours.get(name).expect("serde has it"), other);
            }
        }
        _ => panic!("{ours:?} is not {theirs:?}"),
    }
}

fn writes_what_it_reads(json: &Json) {
    let compact = json.to_compact();
    assert_is_json(&compact);
    assert_eq!(Json::parse(compact.as_bytes()).as_ref(), Ok(json));
    let mut out = b"before".to_vec();
    json.write(&mut out);
    assert_eq!(out.strip_prefix(b"before"), Some(compact.as_bytes()));
}
