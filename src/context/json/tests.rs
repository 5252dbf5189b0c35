use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::*;

fn parse(text: &str) -> Result<Json, InvalidJson> {
    Json::parse(text.as_bytes())
}

fn text(text: &str) -> Json {
    Json::from(text)
}

fn written(json: &Json) -> String {
    json.to_compact()
}

#[test]
fn spelling_order_and_duplicates_are_kept() {
    let source = r#"{"b":12.0,"a":9007199254740993,"b":-0.10e+05,"":[1E2,true,false,null,{}]}"#;
    let json = parse(source).unwrap();
    assert_eq!(written(&json), source);
    assert_eq!(json.get("b"), Some(&Json::Number("-0.10e+05".into())));
    assert_eq!(json.get("c"), None);
    assert_eq!(written(&parse(" \t\r\n[ 1 ,\n{ \"a\" : \"\" } ] ").unwrap()), r#"[1,{"a":""}]"#);
}

#[test]
fn escapes_are_read_and_a_lone_surrogate_survives() {
    for (source, expected) in [
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u00E9\uFFFF\u0000""#, "éé\u{ffff}\0"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\udbff\udfff""#, "\u{10ffff}"),
        (r#""a\ud800b""#, "a\u{fffd}b"),
        (r#""\ud800""#, "\u{fffd}"),
        (r#""\udc00\ud800""#, "\u{fffd}\u{fffd}"),
        (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud800\n""#, "\u{fffd}\n"),
        (r#""\ud800\u0041""#, "\u{fffd}A"),
        ("\"\u{7f}\u{2028}€😀\"", "\u{7f}\u{2028}€😀"),
    ] {
        assert_eq!(parse(source), Ok(text(expected)), "{source}");
    }
    assert_eq!(parse(r#"{"\ud800":1}"#).unwrap().get("\u{fffd}"), Some(&Json::Number("1".into())));
}

#[test]
fn the_first_wrong_place_is_told() {
    for (source, offset, reason) in [
        (&b""[..], 0, "the text ends too early"),
        (b" ", 1, "the text ends too early"),
        (b"[1,]", 3, "a value is expected"),
        (b"[1 2]", 3, "`,` or `]` is expected"),
        (b"{\"a\" 1}", 5, "`:` is expected"),
        (b"{\"a\":1,}", 7, "a member's name in quotes is expected"),
        (b"{\"a\":1]", 6, "`,` or `}` is expected"),
        (b"{a:1}", 1, "a member's name in quotes is expected"),
        (b"1 2", 2, "the text goes on after its value"),
        (b"007", 1, "the text goes on after its value"),
        (b"-", 1, "the text ends too early"),
        (b"-a", 1, "a digit is expected"),
        (b"1.e1", 2, "a digit is expected"),
        (b"1e+", 3, "the text ends too early"),
        (b"[+1]", 1, "a value is expected"),
        (b"nul", 3, "the text ends too early"),
        (b"nulL", 3, "a value is expected"),
        (b"nullx", 4, "the text goes on after its value"),
        (b"NaN", 0, "a value is expected"),
        (b"\"a\nb\"", 2, "a control character must be escaped"),
        (b"\"a", 2, "the text ends too early"),
        (b"\"\\x\"", 2, "not an escape"),
        (b"\"\\u12g4\"", 5, "four hexadecimal digits are expected"),
        (b"\"\\ud800\\uzz\"", 9, "four hexadecimal digits are expected"),
        (b"\"\xff\"", 1, "not UTF-8"),
        (b"1\xff", 1, "not UTF-8"),
        (b"[\xff", 1, "not UTF-8"),
        (b"\"\xed\xa0\x80\"", 1, "not UTF-8"),
        (b"[x\xff", 1, "a value is expected"),
        (b"1\xef\xbb\xbf", 1, "the text goes on after its value"),
        (b"\xef\xbb\xbf\xef\xbb\xbf1", 3, "a value is expected"),
    ] {
        let shown = String::from_utf8_lossy(source);
        assert_eq!(Json::parse(source), Err(InvalidJson { offset, reason }), "{shown}");
    }
    assert_eq!(parse("\u{feff}[]"), Ok(Json::Array(Vec::new())));
    assert_eq!(parse("[\u{feff}]").unwrap_err().offset, 1);
}

#[test]
fn nesting_is_bounded_and_the_deepest_fits_a_small_stack() {
    let nested = |depth: usize, open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let checks = move || {
        for (open, inner, close) in [("[", "", "]"), ("{\"a\":", "1", "}"), ("[{\"a\":", "[]", "}]")] {
            let levels = Json::MAX_DEPTH / if open.starts_with("[{") { 2 } else { 1 };
            let levels = levels - usize::from(inner == "[]");
            let source = nested(levels, open, inner, close);
            let json = parse(&source).unwrap();
            // Each of these goes down by recursion.
            assert_eq!(written(&json.clone()), source);
            assert!(json == parse(&source).unwrap());
            assert!(format!("{json:?}").len() > source.len());
            drop(json);
        }
        let deeper = nested(Json::MAX_DEPTH + 1, "[", "", "]");
        let error = InvalidJson { offset: Json::MAX_DEPTH, reason: "nested too deeply" };
        assert_eq!(parse(&deeper), Err(error.clone()));
        assert_eq!(parse(&"[".repeat(1_000_000)), Err(error));
        assert_eq!(parse(&nested(Json::MAX_DEPTH, "[", "{}", "]")).unwrap_err().offset, Json::MAX_DEPTH);
    };
    // Half of what a thread of tokio or of the standard library has.
    std::thread::Builder::new().stack_size(1 << 20).spawn(checks).unwrap().join().unwrap();
}

#[test]
fn a_text_form_is_what_a_string_would_hold() {
    for (source, expected) in [
        ("null", ""),
        ("true", "true"),
        ("false", "false"),
        ("12.0", "12.0"),
        (r#""a\"b""#, "a\"b"),
        (r#"[ "a\n", 1 ]"#, r#"["a\n",1]"#),
        (r#"{ "a" : {} }"#, r#"{"a":{}}"#),
    ] {
        assert_eq!(parse(source).unwrap().to_text(), expected);
    }
}

#[test]
fn a_number_is_its_spelling_or_none() {
    for spelling in ["0", "-0", "12.0", "1e5", "1E+05", "-1.5e-7", "9007199254740993"] {
        assert_eq!(Json::number(spelling), Some(Json::Number(spelling.into())));
    }
    for spelling in ["", "-", "007", "+1", ".5", "5.", "1e", " 1", "1 ", "0x1", "NaN", "1_000", "٣"] {
        assert_eq!(Json::number(spelling), None, "{spelling}");
    }
}

/// What `serde_json` makes of a text, as ours, with every member; numbers as the nearest float.
struct Theirs(Json);

impl<'de> Deserialize<'de> for Theirs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsJson;
        impl<'de> Visitor<'de> for AsJson {
            type Value = Theirs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Theirs, E> {
                Ok(Theirs(Json::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Theirs, E> {
                Ok(Theirs(Json::Bool(value)))
            }
            #[allow(clippy::cast_precision_loss, reason = "the nearest float is what is compared")]
            fn visit_u64<E>(self, value: u64) -> Result<Theirs, E> {
                Ok(Theirs(float(value as f64)))
            }
            #[allow(clippy::cast_precision_loss, reason = "the nearest float is what is compared")]
            fn visit_i64<E>(self, value: i64) -> Result<Theirs, E> {
                Ok(Theirs(float(value as f64)))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Theirs, E> {
                Ok(Theirs(float(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Theirs, E> {
                Ok(Theirs(Json::from(value)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Theirs, A::Error> {
                let mut items = Vec::new();
                while let Some(Theirs(item)) = access.next_element()? {
                    items.push(item);
                }
                Ok(Theirs(Json::Array(items)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Theirs, A::Error> {
                let mut members = Vec::new();
                while let Some((name, Theirs(value))) = access.next_entry::<String, _>()? {
                    members.push((name.into(), value));
                }
                Ok(Theirs(Json::Object(members)))
            }
        }
        deserializer.deserialize_any(AsJson)
    }
}

fn float(value: f64) -> Json {
    Json::Number(value.to_string().into())
}

/// Whether both are the same, numbers as floats, of which the last digits are theirs to round.
fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(ours), Json::Number(theirs)) => {
            let (ours, theirs): (f64, f64) = (ours.parse().unwrap(), theirs.parse().unwrap());
            (ours - theirs).abs() <= ours.abs() * 1e-14 + f64::MIN_POSITIVE
        }
        (Json::Array(ours), Json::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Json::Object(ours), Json::Object(theirs)) => {
            let both = ours.iter().zip(theirs);
            ours.len() == theirs.len()
                && both.into_iter().all(|(ours, theirs)| ours.0 == theirs.0 && same(&ours.1, &theirs.1))
        }
        (ours, theirs) => ours == theirs,
    }
}

/// Ours and `serde_json` say the same of these bytes, but for what is meant to differ: a byte
/// order mark, the depth, lone surrogates, numbers beyond a float.
fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = Json::parse(bytes);
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match str::from_utf8(body) {
        Err(error) => {
            let offset = error.valid_up_to() + bytes.len() - body.len();
            prop_assert!(ours.is_err_and(|ours| ours.offset <= offset));
        }
        Ok(source) => {
            // A raw value is checked for its syntax alone.
            let theirs = serde_json::from_str::<&RawValue>(source);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", source);
            if let (Ok(ours), Ok(Theirs(theirs))) = (&ours, serde_json::from_str(source)) {
                prop_assert!(same(ours, &theirs), "{ours:?} is not {theirs:?}");
            }
            if let Ok(ours) = ours {
                prop_assert_eq!(&parse(&written(&ours)).unwrap(), &ours);
            }
        }
    }
    Ok(())
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,2})?"
            .prop_map(|spelling| Json::Number(spelling.into())),
        any_text().prop_map(|text| Json::from(text.as_str())),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Json::Array),
            vec((any_text().prop_map(Into::into), inner), 0..8).prop_map(Json::Object),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\x00-\\x7f]{0,40}", "[\"\\\\a\\n\u{e9}]{0,20}"]
}

/// Texts made of the pieces that JSON is made of, so that most are nearly right.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\\", "\\u", "\\ud800", "\\udc00", "\\n",
            "null", "true", "fals", "-", "0", "1", ".", "e", "E+", " ", "\t", "\n", "\u{feff}", "\u{0}", "é",
            "😀",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_written_is_read_back(json in any_json()) {
        let compact = written(&json);
        prop_assert_eq!(parse(&compact).unwrap(), json.clone());
        prop_assert!(serde_json::from_str::<&RawValue>(&compact).is_ok());
        compare(compact.as_bytes())?;
    }

    #[test]
    fn a_text_is_written_as_serde_json_writes_it(source in any_text()) {
        prop_assert_eq!(written(&text(&source)), serde_json::to_string(&source).unwrap());
        prop_assert_eq!(parse(&written(&text(&source))).unwrap(), text(&source));
    }

    #[test]
    fn nearly_json_is_judged_as_serde_json_judges_it(bytes in nearly_json()) {
        compare(&bytes)?;
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_judges_them(bytes in vec(any::<u8>(), 0..64)) {
        compare(&bytes)?;
    }

    #[test]
    fn a_mutated_document_is_judged_as_serde_json_judges_it(
        json in any_json(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kind in 0..3,
    ) {
        let mut bytes = written(&json).into_bytes();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => { bytes.remove(at); }
        }
        compare(&bytes)?;
    }
}
