//! The tests that are files.

use std::fmt::Write as _;
use std::fs;

use ringback::template::{Limits, Template};

use super::{files, render, told};

/// The parts of a file between marks that stand on lines of their own.
fn parts<'t, const N: usize>(text: &'t str, marks: [&str; N]) -> (&'t str, [&'t str; N]) {
    let mut rest = text;
    let mut parts = [""; N];
    for (part, mark) in parts.iter_mut().zip(marks).rev() {
        (rest, *part) = rest.split_once(&format!("\n--- {mark}\n")).map_or_else(
            || panic!("no `--- {mark}` in {text}"),
            |(before, _)| (before, &rest[before.len() + mark.len() + 6..]),
        );
    }
    (rest, parts)
}

#[test]
fn good_templates_render_to_exactly_this() {
    for file in files("good") {
        let text = fs::read_to_string(&file).unwrap();
        let (template, [context, output]) = parts(&text, ["context", "output"]);
        let template = Template::compile(template, &Limits::default())
            .unwrap_or_else(|problems| panic!("{}:\n{}", file.display(), told(&problems)));
        let rendered =
            render(&template, context).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(rendered, output.strip_suffix('\n').unwrap(), "{}", file.display());
        serde_json::from_str::<serde_json::Value>(&rendered).unwrap();
    }
}

/// The examples of the language's documentation are true.
#[test]
fn the_documentation_does_not_lie() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/template/language.md")).unwrap();
    let mut shown = [0; 2];
    for block in text.split("```text\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        if block.contains("\n--- output\n") {
            let (template, [context, output]) = parts(block, ["context", "output"]);
            let template = Template::compile(template, &Limits::default()).unwrap();
            assert_eq!(render(&template, context).unwrap(), output.trim_end());
            shown[0] += 1;
        } else if block.contains("\n--- problems\n") {
            let (template, [problems]) = parts(block, ["problems"]);
            assert_eq!(told(&Template::compile(template, &Limits::default()).unwrap_err()), problems);
            shown[1] += 1;
        }
    }
    assert_eq!(shown, [2, 1]);
}

#[test]
fn bad_templates_are_told_exactly_so() {
    let mut wrong = String::new();
    for file in files("bad") {
        let text = fs::read_to_string(&file).unwrap();
        let (template, [problems]) = parts(&text, ["problems"]);
        let found = Template::compile(template, &Limits::default()).err().unwrap_or_default();
        for problem in &found {
            assert!(template.get(problem.offset..problem.offset + problem.length).is_some(), "{problem:?}");
        }
        if told(&found) != problems {
            write!(wrong, "{}\n{}\n", file.display(), told(&found)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "other problems than the files say:\n{wrong}");
}

#[test]
fn filters_do_what_their_tables_say() {
    let mut wrong = String::new();
    let mut seen = Vec::new();
    for file in files("filters") {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (case, expected) = line.rsplit_once(" => ").unwrap();
            let (input, filters) = case.split_once(" | ").unwrap();
            seen.extend(filters.split(['|', ':', ',', ' ']).map(str::to_owned));
            let context = format!(r#"{{"custom": {{"v": {input}}}}}"#);
            let result = match Template::compile(&format!("{{custom.v | {filters}}}"), &Limits::default()) {
                Ok(template) => render(&template, &context).unwrap_or_else(|error| format!("! {error}")),
                Err(problems) => format!("! {}", problems[0].code.as_str()),
            };
            if result != expected {
                write!(wrong, "{}: {case} => {result}\n", file.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "other results than the tables say:\n{wrong}");
    for name in [
        "default",
        "required",
        "upper",
        "lower",
        "trim",
        "truncate",
        "capitalize",
        "replace",
        "split",
        "join",
        "first",
        "last",
        "length",
        "pluck",
        "date",
        "unix",
        "duration",
        "round",
        "text",
        "number",
        "bool",
        "json",
        "mask",
        "sha256",
        "urlencode",
        "base64",
    ] {
        assert!(seen.iter().any(|seen| seen == name), "no case for `{name}`");
    }
}
