//! The language's main rules, one by one.

use ringback::context::{Name, Value, Values};
use ringback::template::{Code, Limits, RenderError, Template};

fn render(template: &str, context: &str) -> Result<String, RenderError> {
    super::render(&Template::compile(template, &Limits::default()).unwrap(), context)
}

#[track_caller]
fn assert_renders(template: &str, context: &str, expected: &str) {
    assert_eq!(render(template, context).as_deref(), Ok(expected), "{template}");
}

fn codes(template: &str) -> Vec<(Code, usize, usize)> {
    match Template::compile(template, &Limits::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| (p.code, p.line, p.column)).collect(),
    }
}

#[test]
fn quotes_decide() {
    assert_renders(r#"{"rank": {speech_rank}}"#, r#"{"speech_rank": 87}"#, r#"{"rank": 87}"#);
    assert_renders(r#"{"rank": "{speech_rank}"}"#, r#"{"speech_rank": 87}"#, r#"{"rank": "87"}"#);
    assert_renders(r#"[<speech_rank>,"<speech_rank>"]"#, r#"{"speech_rank": 12.0}"#, r#"[12.0,"12.0"]"#);
    assert_renders("{first_name}", r#"{"first_name": "An\"n\u0001"}"#, r#""An\"n\u0001""#);
    assert_renders(r#"{"call_{call_id}": 1}"#, r#"{"call_id": "4\"2"}"#, r#"{"call_4\"2": 1}"#);
}

#[test]
fn missing_is_null_or_nothing() {
    assert_renders(r#"[{email},"<{email}>"]"#, "{}", r#"[null,"<>"]"#);
    assert_renders(r#"[{custom.a.b[0]},"{custom.a}"]"#, r#"{"custom": {"a": false}}"#, r#"[null,"false"]"#);
    assert_renders("[{weight},{first_name}]", r#"{"weight": 0, "first_name": ""}"#, r#"[0,""]"#);
}

#[test]
fn nested_data_in_both_positions() {
    let context = r#"{"custom": {"a": ["x\n", {"b": 1.50}], "k-y": 5, "k y": 6}}"#;
    assert_renders("{custom.a}", context, r#"["x\n",{"b":1.50}]"#);
    assert_renders(r#""{custom.a}""#, context, r#""[\"x\\n\",{\"b\":1.50}]""#);
    assert_renders("[{custom.a[1].b},{custom.k-y},{custom['k y']}]", context, "[1.50,5,6]");
}

#[test]
fn values_are_never_read_again() {
    assert_renders(
        r#""{first_name} {last_name}""#,
        r#"{"first_name": "{last_name}", "last_name": "<email>"}"#,
        r#""{last_name} <email>""#,
    );
}

#[test]
fn rendered_names_must_differ() {
    let template = "{\"a\": 1,\n \"{first_name}\": {\"a\": 2}, \"{last_name}\": 3}";
    assert_renders(
        template,
        r#"{"first_name": "b", "last_name": "c"}"#,
        "{\"a\": 1,\n \"b\": {\"a\": 2}, \"c\": 3}",
    );
    let error = |context| render(template, context).unwrap_err();
    assert_eq!(error(r#"{"first_name": "a"}"#), RenderError::DuplicateMember { line: 2, column: 2 });
    assert_eq!(
        error(r#"{"first_name": "b", "last_name": "b"}"#),
        RenderError::DuplicateMember { line: 2, column: 28 }
    );
    assert_renders(r#"{"a": 1, "a": 2}"#, "{}", r#"{"a": 1, "a": 2}"#);
    assert!(render(r#"{"\u0061": 1, "{first_name}": 2}"#, r#"{"first_name": "a"}"#).is_err());
    assert_renders(
        r#"{"{first_name}": {"{first_name}": {"{last_name}": 1}, "x": 0}, "{last_name}": 2}"#,
        r#"{"first_name": "a", "last_name": "b"}"#,
        r#"{"a": {"a": {"b": 1}, "x": 0}, "b": 2}"#,
    );
}

#[test]
fn html_and_code_in_strings_are_text() {
    for text in [
        r#""<b>x</b><br/><a href=\"x\">a <b and c {} {0} {\"a\":1} {""#,
        r#""<small> <main> <var> <h1> <table>""#,
        r#""\u007bemail} \u003cemail>""#,
        r#""{{}} {{ }} { {""#,
    ] {
        assert_renders(text, r#"{"email": "x"}"#, text);
    }
    assert_renders(r#""<b>{first_name}</b>""#, r#"{"first_name": "Ann"}"#, r#""<b>Ann</b>""#);
    assert_renders(r#""<source>""#, r#"{"source": "s"}"#, r#""s""#);
    let template = Template::compile(r#""<b>{email}</b> <b>""#, &Limits::default()).unwrap();
    assert_eq!(template.warnings().len(), 1);
    assert_eq!(template.placeholders(), ["email"]);
    assert_eq!(codes(r#""<emial>""#), [(Code::UnknownPlaceholder, 1, 3)]);
    assert_eq!(codes(r#""<my_name>""#), [(Code::UnknownPlaceholder, 1, 3)]);
}

#[test]
fn every_problem_has_its_code_and_place() {
    assert_eq!(codes(r#"{"a": {{email}}}"#), [(Code::DoubleBrace, 1, 7)]);
    assert_eq!(codes(r#"{"a": "x {{email}}"}"#), [(Code::DoubleBrace, 1, 10)]);
    assert_eq!(codes(r#"{"ä": {nmae}}"#), [(Code::UnknownPlaceholder, 1, 8)]);
    assert_eq!(codes("{\"a\": 1,\n\"b\": {email|uper}}"), [(Code::UnknownFilter, 2, 13)]);
    assert_eq!(codes("{{email}: 1}"), [(Code::PlaceholderNotAllowedHere, 1, 2)]);
    assert_eq!(codes(r#"{"a": {email, "b": 1}"#), [(Code::UnclosedPlaceholder, 1, 7)]);
    assert_eq!(codes(r#"{"a": "{email"}"#), [(Code::UnclosedPlaceholder, 1, 8)]);
    assert_eq!(codes(r#"{"a": "{email\n}"}"#), [(Code::InvalidPlaceholder, 1, 14)]);
    assert_eq!(codes(r#"{"a": {email.x}}"#), [(Code::UnknownPlaceholder, 1, 13)]);
    assert_eq!(codes(r#"{"a": {email|default}}"#), [(Code::BadArgument, 1, 14)]);
    assert_eq!(
        codes("{\"a\": {x1},\n \"b\": [1,],\n \"c\": {email|y},\n}"),
        [
            (Code::UnknownPlaceholder, 1, 8),
            (Code::InvalidJson, 2, 10),
            (Code::UnknownFilter, 3, 14),
            (Code::InvalidJson, 4, 1)
        ]
    );
}

#[test]
fn limits_hold() {
    let limits = Limits { template: 30, placeholders: 2, depth: 2, rendering: 10 };
    let code =
        |template: &str| Template::compile(template, &limits).map_err(|problems| problems[0].code).err();
    assert_eq!(code("[[{email},{email}]]"), None);
    assert_eq!(code("[{email},{email},{email}]"), Some(Code::TooManyPlaceholders));
    assert_eq!(code("[[[]]]"), Some(Code::TooDeep));
    assert_eq!(code(&" ".repeat(31)), Some(Code::TooLarge));
    let template = Template::compile("{email}", &limits).unwrap();
    let mut out = b"kept".to_vec();
    let mut values = Values::new();
    values.set(Name::Email, Value::Text("12345678"));
    template.render(&values, &mut out).unwrap();
    assert_eq!(out, b"kept\"12345678\"");
    values.set(Name::Email, Value::Text("123456789"));
    assert_eq!(template.render(&values, &mut out), Err(RenderError::TooLarge { limit: 10 }));
    assert_eq!(out, b"kept\"12345678\"");
}

#[test]
fn defaults_apply_to_missing_and_empty() {
    assert_renders(
        "[{email|default:'x'},{weight | default: 1.0}]",
        r#"{"email": "", "weight": 0}"#,
        r#"["x",0]"#,
    );
    assert_renders(r#""<email|default:'it''s \"n/a\"'>""#, "{}", r#""it's \"n/a\"""#);
    assert_eq!(render("{email | required}", "{}"), Err(RenderError::Required { name: "email".to_owned() }));
}

#[test]
fn many_rendered_names_of_one_object_are_compared() {
    let names = |last: &str| {
        let names: Vec<String> =
            (0..40).map(|index| format!("\"{{weight}}{index}\": {{\"{{weight}}\": 0}}")).collect();
        format!("[{{{}, \"7{last}{{email}}\": 1}}]", names.join(", "))
    };
    assert!(render(&names("x"), r#"{"weight": 7}"#).is_ok());
    let error = render(&names("39"), r#"{"weight": 7}"#).unwrap_err();
    assert!(matches!(error, RenderError::DuplicateMember { line: 1, column: 1050.. }), "{error}");
}

#[test]
fn an_unknown_name_in_angle_brackets_is_text_only_where_it_can_be_a_tag() {
    assert_eq!(codes(r#"["<foo>", "<h1>", "<x-y>", "<foo bar>"]"#), []);
    for template in ["<foo>", r#""<foo|upper>""#, r#""<foo.bar>""#, r#""<foo_bar>""#, r#""<row>""#] {
        assert_eq!(codes(template).len(), 1, "{template}");
        assert_eq!(codes(template)[0].0, Code::UnknownPlaceholder, "{template}");
    }
}
