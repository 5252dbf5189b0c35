//! The ways in which templates of payloads are known to go wrong elsewhere, each a test, and the
//! main ones once more through the binary.

use std::fs;
use std::process::Command;

use ringback::context::{Json, Name, Value, Values};
use ringback::template::{Code, Limits, Template};
use serde_json::{Value as Rendered, json};

fn render(template: &str, context: &str) -> String {
    let template = Template::compile(template, &Limits::default())
        .unwrap_or_else(|problems| panic!("{template}:\n{}", super::told(&problems)));
    super::render(&template, context).unwrap()
}

fn read(template: &str, context: &str) -> Rendered {
    serde_json::from_str(&render(template, context)).unwrap()
}

/// A context whose only name is `first_name`.
fn called(first_name: &str) -> String {
    json!({"first_name": first_name}).to_string()
}

#[test]
fn quotes_line_breaks_and_backslashes_in_data_stay_text() {
    for text in
        ["\"", "\\", "\n", "\r\n", "\\\"", "\\n", "\\u0041", "a\"b\\c\nd\te\u{8}\u{c}\0\u{1f}\u{7f}", "\\"]
    {
        let rendered =
            read(r#"{"a": {first_name}, "b": "<{first_name}>", "x{first_name}": 1}"#, &called(text));
        assert_eq!(rendered["a"], text);
        assert_eq!(rendered["b"], format!("<{text}>"));
        assert_eq!(rendered[format!("x{text}")], 1, "{text:?}");
    }
}

#[test]
fn no_member_is_smuggled_in_through_data() {
    for text in [
        r#"x", "admin": true, "y": ""#,
        r#"x"}, {"admin": true"#,
        r#"x\", "admin": true, "y": "#,
        r"\",
        r#"": {"admin": true}, ""#,
        "x\u{2028}\", \"admin\": true",
    ] {
        let rendered = read(r#"{"a": "{first_name}", "n {first_name}": {first_name}}"#, &called(text));
        assert_eq!(rendered.as_object().unwrap().len(), 2, "{text}");
        assert_eq!(rendered["a"], text);
    }
    let rendered = read(
        r#"{"a": {custom.text}, "b": "{custom}"}"#,
        r#"{"custom": {"text": "{\"admin\": true}", "\"}, \"admin": 1}}"#,
    );
    assert_eq!(rendered.as_object().unwrap().len(), 2);
    assert!(rendered["a"].is_string() && rendered["b"].is_string());
}

#[test]
fn values_are_never_read_as_templates() {
    let template =
        r#"{"a": "{first_name} {last_name}", "b": {first_name}, "c": "{custom.x | join: '{email}'}"}"#;
    for text in
        ["{last_name}", "<last_name>", "{{last_name}}", "{last_name | upper}", "{email", "${7*7}", "%s %d"]
    {
        let context = json!({"first_name": text, "last_name": "L", "email": "e", "custom": {"x": [text, 1]}});
        let rendered = read(template, &context.to_string());
        assert_eq!(rendered["a"], format!("{text} L"));
        assert_eq!(rendered["b"], text);
        assert_eq!(rendered["c"], format!("{text}{{email}}1"));
    }
    assert_eq!(render("\"{email | default: '{first_name}'}\"", &called("x")), r#""{first_name}""#);
}

#[test]
fn json_is_not_escaped_as_html_or_javascript() {
    let text = "<b>\"Tom\" & 'Jerry'</b> / \u{2028}\u{2029} é 日本 😀 +";
    assert_eq!(
        render(r#"["{first_name}", {first_name}]"#, &called(text)),
        format!("[{0}, {0}]", "\"<b>\\\"Tom\\\" & 'Jerry'</b> / \u{2028}\u{2029} é 日本 😀 +\"")
    );
}

#[test]
fn a_missing_value_neither_cuts_the_body_nor_becomes_a_word() {
    let template = r#"{"a": {email}, "b": "<{email}>", "c": {custom.a.b[3]['x y'].c}, "d": "{custom.a.b[3]}", "x{email}": [{raw}], "e": {email | upper | date: '%F' | join: ','}, "end": "here"}"#;
    let expected = r#"{"a": null, "b": "<>", "c": null, "d": "", "x": [null], "e": null, "end": "here"}"#;
    for context in [
        "{}",
        r#"{"email": null}"#,
        r#"{"custom": null}"#,
        r#"{"custom": {"a": {"b": [1, 2]}}}"#,
        r#"{"custom": {"a": "text"}}"#,
    ] {
        assert_eq!(render(template, context), expected, "{context}");
    }
}

#[test]
fn zero_false_and_empty_text_are_values() {
    let template = r#"[{custom.v}, "{custom.v}", {custom.v | required}, {custom.v | first}]"#;
    for (value, as_text) in [
        ("0", "0"),
        ("0.0", "0.0"),
        ("-0", "-0"),
        ("false", "false"),
        (r#""""#, ""),
        ("[]", "[]"),
        ("{}", "{}"),
    ] {
        let context = format!(r#"{{"custom": {{"v": {value}}}}}"#);
        let first = if value == "[]" { "null" } else { value };
        assert_eq!(render(template, &context), format!(r#"[{value}, "{as_text}", {value}, {first}]"#));
    }
    let defaults = r"[{custom.v | default: 'x'}]";
    for (value, expected) in [("0", "0"), ("false", "false"), (r#""""#, r#""x""#), ("null", r#""x""#)] {
        assert_eq!(render(defaults, &format!(r#"{{"custom": {{"v": {value}}}}}"#)), format!("[{expected}]"));
    }
}

#[test]
fn nothing_is_encoded_twice_but_what_is_asked_for() {
    let context = r#"{"custom": {"object": {"a": [1, "x\"y"]}, "held": "{\"a\": 1}"}, "first_name": "a\\nb &amp; %20"}"#;
    let rendered = read(
        r#"{"object": {custom.object}, "held": {custom.held}, "parsed": {custom.held | json}, "text": "{custom.object}", "name": "{first_name}"}"#,
        context,
    );
    assert_eq!(rendered["object"], json!({"a": [1, "x\"y"]}));
    assert_eq!(rendered["held"], "{\"a\": 1}");
    assert_eq!(rendered["parsed"], json!({"a": 1}));
    let text: Rendered = serde_json::from_str(rendered["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, rendered["object"]);
    assert_eq!(rendered["name"], "a\\nb &amp; %20");
}

#[test]
fn numbers_keep_their_spelling() {
    for number in [
        "5.66712522e+08",
        "12.0",
        "12.50",
        "1E5",
        "1e-7",
        "-0",
        "0.1",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775809",
        "3.141592653589793238462643383279502884197",
        "1e400",
        "100000000000000000000000000000000000001",
    ] {
        let context =
            format!(r#"{{"custom": {{"v": [{number}]}}, "weight": {number}, "call_id": {number}}}"#);
        assert_eq!(
            render(
                r#"[{custom.v}, {custom.v[0]}, {weight}, "{weight}", {call_id}, "{call_id}", "{custom.v}"]"#,
                &context
            ),
            format!(r#"[[{number}], {number}, {number}, "{number}", {number}, "{number}", "[{number}]"]"#)
        );
        let template = format!(r#"{{"fixed": {number}, "default": {{email | default: {number}}}}}"#);
        assert_eq!(render(&template, "{}"), format!(r#"{{"fixed": {number}, "default": {number}}}"#));
    }
}

#[test]
fn braces_at_the_end_of_nested_objects_are_no_placeholders() {
    for (template, expected) in [
        (r#"{"a":{"b":{"c":{call_id}}}}"#, r#"{"a":{"b":{"c":"42"}}}"#),
        (r#"{"a":{"b":{}}}"#, r#"{"a":{"b":{}}}"#),
        (r#"{"a":[{"b":"{call_id}"}]}"#, r#"{"a":[{"b":"42"}]}"#),
        (r#"{"a":{"b":<call_id>}}"#, r#"{"a":{"b":"42"}}"#),
        (r#"[{"a":{call_id}},{"b":{call_id}}]"#, r#"[{"a":"42"},{"b":"42"}]"#),
        (r#"{"a":"{call_id}}}","b":"{{}}","c":"}}"}"#, r#"{"a":"42}}","b":"{{}}","c":"}}"}"#),
    ] {
        assert_eq!(render(template, r#"{"call_id": "42"}"#), expected);
    }
}

#[test]
fn lone_surrogates_are_mended_in_data_and_refused_in_templates() {
    for (spelling, expected) in [
        (r"\ud800", "\u{fffd}"),
        (r"a\udc00b", "a\u{fffd}b"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ud800\ud83d\ude00", "\u{fffd}😀"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud83d\ude00", "😀"),
    ] {
        let context = format!(r#"{{"first_name": "{spelling}", "custom": {{"k{spelling}": "{spelling}"}}}}"#);
        let rendered =
            read(r#"{"a": {first_name}, "b": "{first_name}", "c": {custom}, "{first_name}": 1}"#, &context);
        assert_eq!((&rendered["a"], &rendered["b"]), (&expected.into(), &expected.into()), "{spelling}");
        assert_eq!(rendered["c"], json!({ format!("k{expected}"): expected }));
        assert_eq!(rendered[expected], 1);
    }
    for template in [
        r#"{"a": "\ud800"}"#,
        r#"{"\udc00": 1}"#,
        r#"["x\ud83d\u0041"]"#,
        r#"["\ud83d {email}"]"#,
        r"[{email | default: '\ud800'}]",
        r#"["{email | default: '\udfff'}"]"#,
        r"[{custom['\ud800']}]",
    ] {
        let problems = Template::compile(template, &Limits::default()).unwrap_err();
        assert_eq!(
            problems.iter().map(|problem| problem.code).collect::<Vec<_>>(),
            [Code::InvalidJson],
            "{template}"
        );
    }
}

/// Every character that there is, in value position, within a string, in a member's name, and in
/// an object that is written as text; from data that spells it as it is and from data that escapes
/// it.
#[test]
fn every_unicode_scalar_value_survives() {
    let template =
        r#"{"value": {first_name}, "text": "<{first_name}>", "held": "{custom}", "n{first_name}": 0}"#;
    let template = Template::compile(template, &Limits::default()).unwrap();
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    assert_eq!(all.len(), 0x11_0000 - 0x800);
    for (index, some) in all.chunks(1_009).enumerate() {
        let text: String = some.iter().collect();
        let spelling = if index % 2 == 0 {
            serde_json::to_string(&text).unwrap()
        } else {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
            format!("\"{}\"", units.collect::<String>())
        };
        let data = Json::parse(spelling.as_bytes()).unwrap();
        let object = Json::Object(vec![(text.as_str().into(), data.clone())]);
        let mut values = Values::new();
        values.set(Name::FirstName, Value::from(&data));
        values.set(Name::Custom, Value::from(&object));
        let mut out = Vec::new();
        template.render(&values, &mut out).unwrap();
        let rendered: Rendered = serde_json::from_slice(&out).unwrap();
        assert_eq!(rendered["value"], text);
        assert_eq!(rendered["text"], format!("<{text}>"));
        assert_eq!(rendered[format!("n{text}")], 0);
        let held: Rendered = serde_json::from_str(rendered["held"].as_str().unwrap()).unwrap();
        assert_eq!(held[&text], text);
    }
}

#[test]
fn the_binary_renders_so_too() {
    let folder = tempfile::tempdir().unwrap();
    let template = r#"{"s": "{first_name}", "v": {first_name}, "n{last_name}": {"deep": {"n": {weight}}},
 "missing": [{email}, "{email}"], "empty": ["{country_name}", {country_name}], "zero": {call_duration},
 "obj": {custom}, "held": "{custom}", "lone": {campaign_name}, "at": {start_at}}"#;
    let context = r#"{"first_name": "{last_name}\", \"x\": \"\\\n<b>&'</b>", "last_name": "\"\u0001", "weight": "5.66712522e+08",
 "country_name": "", "call_duration": 0, "custom": {"a": [12.0, 9007199254740993, false, null, "\""]},
 "campaign_name": "a\ud800", "start_at": "2026-03-30 14:22:00.5"}"#;
    let expected = concat!(
        r#"{"s": "{last_name}\", \"x\": \"\\\n<b>&'</b>", "v": "{last_name}\", \"x\": \"\\\n<b>&'</b>", "n\"\u0001": {"deep": {"n": 5.66712522e+08}},"#,
        "\n",
        r#" "missing": [null, ""], "empty": ["", ""], "zero": 0,"#,
        "\n",
        r#" "obj": {"a":[12.0,9007199254740993,false,null,"\""]}, "held": "{\"a\":[12.0,9007199254740993,false,null,\"\\\"\"]}", "lone": "a"#,
        "\u{fffd}",
        r#"", "at": "2026-03-30T14:22:00.5Z"}"#,
    );
    let [file, data] = [("t.json", template), ("c.json", context)].map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let output = Command::new(env!("CARGO_BIN_EXE_ringback"))
        .arg("render")
        .arg(&file)
        .arg("--context")
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    serde_json::from_str::<Rendered>(expected).unwrap();

    fs::write(&file, r#"{"a": "\ud800", "b": {nope}}"#).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringback")).arg("check").arg(&file).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("error[invalid_json]") && told.contains("error[unknown_placeholder]"), "{told}");
    assert!(!told.contains('\u{1b}'), "no colours but on a terminal: {told}");
}
