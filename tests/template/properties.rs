//! What holds for every template and all data.

use proptest::prelude::*;
use ringback::context::{Json, Kind, Name, Value, Values};
use ringback::template::{Limits, RenderError, Template};

/// Pieces of templates, right and wrong: a soup of them is nearly a template.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    "\"",
    "'",
    ":",
    ",",
    "|",
    ".",
    "\\",
    "\\\"",
    "\\u00e9",
    "\\ud83d",
    "\\ude00",
    "\\u007b",
    " ",
    "\n",
    "\r\n",
    "\t",
    "//",
    "/*",
    "*/",
    "é",
    "😀",
    "\u{feff}",
    "\0",
    "0",
    "1",
    "-",
    "1.5e3",
    "01",
    "true",
    "false",
    "null",
    "email",
    "call_id",
    "custom",
    "speech_phrases",
    "nope",
    "b",
    "default",
    "upper",
    "{email}",
    "<email>",
    "{call_id|default:'x'}",
    "{custom.a[0]['b']}",
    "{{email}}",
    "<b>",
    "\"a\": ",
    "\"{",
    "{\"a\":1}",
    "[1,2]",
    "truncate: 3",
    "date: '%F', 'UTC'",
    "replace: 'a', 'b'",
];

pub(super) fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// A JSON value as data, with texts that hold everything that could go wrong.
fn data() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        any::<String>(),
        Just("{call_id}".to_owned()),
        Just("\",\"x\":\"".to_owned()),
        Just("\\\"}\n\u{1}</script>".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        prop_oneof![Just("12.0"), Just("9007199254740993"), Just("-1e-7"), Just("5.66712522e+08"), Just("0")]
            .prop_map(|spelling| Json::number(spelling).unwrap()),
        text.prop_map(|text| Json::Text(text.into())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::vec(("[ab\"\\\\]{0,2}", inner), 0..4)
                .prop_map(|members| Json::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

/// A template's value: its source, and for each placeholder in it where it stands.
#[derive(Clone, Debug)]
enum Part {
    Source(String),
    Value(Name, bool),
    Text(Name, bool),
}

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(&Name::ALL[..])
}

fn string_parts() -> impl Strategy<Value = Vec<Part>> {
    let plain = prop::sample::select(
        &["", "x", " {} ", "<br/>", "{0}", "\\\"", "\\u0041", "é", "\\\\", "<b>", "{ .", "a < b"][..],
    );
    let piece = prop_oneof![
        plain.prop_map(|text| Part::Source(text.to_owned())),
        (name(), any::<bool>()).prop_map(|(name, is_angle)| Part::Text(name, is_angle)),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|mut parts| {
        parts.insert(0, Part::Source("\"".to_owned()));
        parts.push(Part::Source("\"".to_owned()));
        parts
    })
}

fn template() -> impl Strategy<Value = Vec<Part>> {
    let space = || prop::sample::select(&["", " ", "\n\t", "\r\n"][..]);
    let leaf = prop_oneof![
        prop::sample::select(&["1", "-0.50", "1E+2", "true", "null"][..])
            .prop_map(|text| vec![Part::Source(text.to_owned())]),
        (name(), any::<bool>()).prop_map(|(name, is_angle)| vec![Part::Value(name, is_angle)]),
        string_parts(),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..4), space()).prop_map(|(items, space)| {
            let mut parts = vec![Part::Source(format!("[{space}"))];
            for (index, item) in items.into_iter().enumerate() {
                parts.push(Part::Source(if index > 0 { format!("{space},") } else { String::new() }));
                parts.extend(item);
            }
            parts.push(Part::Source(format!("{space}]")));
            parts
        });
        let object =
            (prop::collection::vec((string_parts(), inner), 0..4), space()).prop_map(|(members, space)| {
                let mut parts = vec![Part::Source(format!("{{{space}"))];
                for (index, (name, value)) in members.into_iter().enumerate() {
                    parts.push(Part::Source(if index > 0 { format!("{space},") } else { String::new() }));
                    // Every name is its own, so that none is rendered twice.
                    parts.push(Part::Source(format!("\"{index} ")));
                    let Some((_, rest)) = name.split_first() else { continue };
                    parts.extend(rest.iter().cloned());
                    parts.push(Part::Source(format!(" :{space}")));
                    parts.extend(value);
                }
                parts.push(Part::Source(format!("{space}}}")));
                parts
            });
        prop_oneof![array, object]
    })
}

fn source(parts: &[Part]) -> String {
    let spell =
        |name: &Name, is_angle: &bool| if *is_angle { format!("<{name}>") } else { format!("{{{name}}}") };
    parts
        .iter()
        .map(|part| match part {
            Part::Source(source) => source.clone(),
            Part::Value(name, is_angle) | Part::Text(name, is_angle) => spell(name, is_angle),
        })
        .collect()
}

/// What the template must render to, worked out without the engine.
fn expected(parts: &[Part], values: &dyn Fn(Name) -> Json) -> String {
    parts
        .iter()
        .map(|part| match part {
            Part::Source(source) => source.clone(),
            Part::Value(name, _) => values(*name).to_compact(),
            Part::Text(name, _) => {
                let quoted = serde_json::to_string(&values(*name).to_text()).unwrap();
                quoted[1..quoted.len() - 1].to_owned()
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_the_compiler_panic(text in prop_oneof![soup(), any::<String>()], value in data()) {
        match Template::compile(&text, &Limits::default()) {
            Ok(template) => {
                let mut values = Values::new();
                for name in Name::ALL {
                    values.set(name, Value::from(&value));
                }
                let mut out = Vec::new();
                match template.render(&values, &mut out) {
                    Ok(()) => drop(serde_json::from_slice::<serde_json::Value>(&out).unwrap()),
                    Err(error) => {
                        prop_assert!(matches!(error, RenderError::DuplicateMember { .. }), "{error}");
                        prop_assert!(out.is_empty());
                    }
                }
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                let mut last = 0;
                for problem in problems {
                    let before = text.get(..problem.offset).unwrap();
                    prop_assert!(text.get(problem.offset..problem.offset + problem.length).is_some());
                    prop_assert_eq!(problem.line, before.matches('\n').count() + 1);
                    let line = before.rsplit('\n').next().unwrap();
                    prop_assert_eq!(problem.column, line.chars().count() + 1);
                    prop_assert!(problem.offset >= last);
                    last = problem.offset;
                }
            }
        }
    }

    #[test]
    fn the_rendering_is_json_and_else_the_source(
        parts in template(),
        data in prop::collection::vec(data(), 8),
    ) {
        let template = Template::compile(&source(&parts), &Limits::default()).unwrap();
        let of = |name: Name| &data[name.index() % data.len()];
        let mut values = Values::new();
        for name in Name::ALL {
            values.set(name, Value::from(of(name)));
        }
        let mut out = b"before".to_vec();
        template.render(&values, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let rendered = out.strip_prefix("before").unwrap();
        prop_assert_eq!(rendered, expected(&parts, &|name| of(name).clone()));
        serde_json::from_str::<serde_json::Value>(rendered).unwrap();
    }

    #[test]
    fn rendered_names_are_compared_as_texts(one in "[ab]{0,2}", other in "[ab]{0,2}", third in "[ab]{0,2}") {
        let source = r#"{"a": 0, "\u0062": {"{last_name}": 0}, "{first_name}": 1, "{last_name}": 2, "{email}": 3}"#;
        let template = Template::compile(source, &Limits::default()).unwrap();
        let mut values = Values::new();
        values.set(Name::FirstName, Value::Text(&one));
        values.set(Name::LastName, Value::Text(&other));
        values.set(Name::Email, Value::Text(&third));
        let mut names = vec!["a", "b", &one, &other, &third];
        names.sort_unstable();
        names.dedup();
        let result = template.render(&values, &mut Vec::new());
        prop_assert_eq!(result.is_ok(), names.len() == 5);
    }
}

#[test]
fn every_scalar_survives() {
    let text: String = ('\0'..=char::MAX).collect();
    let mut values = Values::new();
    values.set(Name::FirstName, Value::Text(&text));
    let custom = [Json::Text(text.as_str().into())];
    values.set(Name::Custom, Value::Array(&custom));
    let limits = Limits { rendering: 64 << 20, ..Limits::default() };
    let template =
        Template::compile(r#"["{first_name}", {first_name}, {custom}, "{custom}"]"#, &limits).unwrap();
    let mut out = Vec::new();
    template.render(&values, &mut out).unwrap();
    let read: (String, String, [String; 1], String) = serde_json::from_slice(&out).unwrap();
    assert!(read.0 == text && read.1 == text && read.2[0] == text);
    assert!(serde_json::from_str::<[String; 1]>(&read.3).unwrap()[0] == text);
}

#[test]
fn every_name_is_a_placeholder_in_every_position() {
    for name in Name::ALL {
        let template = format!(r#"[{{{name}}}, <{name}>, "{{ {name} }}", "<{name}>", {{"{{{name}}}": 1}}]"#);
        let template = Template::compile(&template, &Limits::default()).unwrap();
        assert_eq!(template.placeholders(), [name.as_str()]);
        let step = Template::compile(&format!("{{{name}.x}}"), &Limits::default());
        assert_eq!(step.is_ok(), matches!(name.kind(), Kind::Array | Kind::Object | Kind::Open));
    }
}

#[test]
fn a_template_is_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    is_shared(&Template::compile("{email}", &Limits::default()).unwrap());
}
