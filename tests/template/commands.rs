//! The commands about templates: what they write where, and their exit codes.

use std::path::PathBuf;

use ringback::command::{Format, check, placeholders, render};
use ringback::context::Name;
use ringback::template::ContentType;
use serde_json::Value as Json;

/// A folder with a file for each text.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn plain(styled: &[u8]) -> String {
    anstream::adapter::strip_str(str::from_utf8(styled).unwrap()).to_string()
}

fn run_check(files: Vec<PathBuf>, format: Format, mut stdin: &[u8]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check::run(
        &check::Arguments { files, format, content_type: ContentType::Json },
        &mut stdin,
        &mut out,
        &mut err,
    )
    .unwrap();
    (code, String::from_utf8(out).unwrap(), plain(&err))
}

fn run_render(file: PathBuf, context: &str, mut stdin: &[u8]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = render::Arguments { file, context: context.into(), content_type: ContentType::Json };
    let code = render::run(&args, &mut stdin, &mut out, &mut err).unwrap();
    (code, String::from_utf8(out).unwrap(), plain(&err))
}

#[test]
fn check_draws_the_line_and_a_caret_under_the_place() {
    let folder = folder(&[("a.json", "{\n  \"ä\": {speech_rnak}\n}".as_bytes())]);
    let (code, out, err) = run_check(vec![folder.path().join("a.json")], Format::Text, b"");
    assert_eq!((code, out.as_str()), (1, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], "error[unknown_placeholder]: there is no placeholder `speech_rnak`");
    assert!(lines[1].ends_with("a.json:2:9"), "{err}");
    assert_eq!(lines[3], "2 |   \"ä\": {speech_rnak}");
    assert_eq!(lines[4], "  |         ^^^^^^^^^^^");
    assert_eq!(lines[6], "help: did you mean `speech_rank`?");
    assert!(err.ends_with("a.json: 1 problem\n"), "{err}");
}

#[test]
fn check_goes_through_all_files_and_fails_if_one_is_invalid() {
    let folder = folder(&[("good.json", b"[{email}, {email}, {call_id}]"), ("bad.json", b"[1,]")]);
    let file = |name: &str| folder.path().join(name);
    let (code, out, _) = run_check(vec![file("good.json")], Format::Text, b"");
    assert_eq!(code, 0);
    assert!(out.ends_with("good.json: valid, 2 distinct placeholders\n"), "{out}");
    let (code, out, err) =
        run_check(vec![file("bad.json"), file("nowhere.json"), file("good.json")], Format::Text, b"");
    assert_eq!(code, 1);
    assert!(out.contains("good.json: valid"), "{out}");
    assert!(err.contains("nowhere.json: cannot be read"), "{err}");
}

#[test]
fn check_tells_programs_an_object_a_line() {
    let folder = folder(&[("bad.json", b"{\"a\": {emial},}"), ("latin.json", b"[\n\"\xe4\"]")]);
    let files = vec![folder.path().join("bad.json"), "-".into(), folder.path().join("latin.json")];
    let (code, out, err) = run_check(files, Format::Json, b"[{email}, \"<b>\"]");
    assert_eq!((code, err.as_str()), (1, ""));
    let lines: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["valid"], false);
    assert_eq!(lines[0]["errors"][0]["code"], "unknown_placeholder");
    assert_eq!(lines[0]["errors"][0]["suggestion"], "email");
    assert_eq!(lines[0]["errors"][1]["code"], "invalid_json");
    assert_eq!(lines[0]["errors"][1]["offset"], 14);
    assert_eq!(lines[1]["file"], "standard input");
    assert_eq!(lines[1]["valid"], true);
    assert_eq!(lines[1]["placeholders"], serde_json::json!(["email"]));
    assert_eq!(lines[1]["warnings"][0]["column"], 12);
    assert_eq!(lines[2]["errors"][0]["line"], 2);
    assert_eq!(lines[2]["errors"][0]["column"], 2);
}

/// The line and the carets of each problem that is drawn.
fn drawn(template: &str) -> Vec<(String, String)> {
    let (code, _, err) = run_check(vec!["-".into()], Format::Text, template.as_bytes());
    assert_eq!(code, 1, "{err}");
    let lines: Vec<&str> = err.lines().collect();
    let carets =
        (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with("| ") && lines[*at].ends_with('^'));
    carets.map(|at| (lines[at - 1].to_owned(), lines[at].to_owned())).collect()
}

/// How far right a text ends on a terminal: wide characters take two columns, tabs were expanded.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|letter| if ('\u{1100}'..='\u{ffef}').contains(&letter) || letter > '\u{1f000}' { 2 } else { 1 })
        .sum()
}

#[test]
fn carets_stand_under_what_they_mean() {
    for (template, wrong) in [
        ("{\r\n\t\"tab\": {nope},\r\n\t\"b\": 1\r\n}\r\n", "nope"),
        ("{\"日本語 한국어\": {nope}}", "nope"),
        ("{\"😀 é\": {email | nope}}", "nope"),
        ("\t\t[1, 2, {email | round: 'x'}]", "'x'"),
        ("[\"x\", {nope}", "nope"),
    ] {
        let (line, carets) = &drawn(template)[0];
        let before = &line[..line.find(wrong).unwrap()];
        assert_eq!(columns(before), carets.find('^').unwrap(), "{line}\n{carets}");
        assert_eq!(carets.matches('^').count(), wrong.len());
        assert!(!line.contains(['\t', '\r', '␍']), "{line:?}");
    }
}

#[test]
fn several_problems_of_a_line_are_drawn_one_by_one() {
    let drawn = drawn("[{a1}, {b1}, {c1}]");
    assert_eq!(drawn.len(), 3);
    for ((line, carets), at) in drawn.iter().zip([6, 12, 18]) {
        assert_eq!((line.as_str(), carets.find('^')), ("1 | [{a1}, {b1}, {c1}]", Some(at)));
    }
}

#[test]
fn an_error_at_the_end_is_drawn_where_the_text_ends() {
    assert_eq!(
        drawn("{\n  \"a\": [1, 2\n\n"),
        [("2 |   \"a\": [1, 2".to_owned(), "  |             ^".to_owned())]
    );
    assert_eq!(drawn("").len(), 1);
}

#[test]
fn of_a_long_line_the_part_around_the_place_is_drawn() {
    let template = format!("[\"{0}\", {{nope}}, \"{0}\"]", "x日".repeat(5_000));
    let (line, carets) = &drawn(&template)[0];
    assert!(line.starts_with("1 | ...") && line.ends_with("...") && columns(line) <= 90, "{line}");
    assert_eq!(columns(&line[..line.find("nope").unwrap()]), carets.find('^').unwrap(), "{line}\n{carets}");
    let (_, _, err) = run_check(vec!["-".into()], Format::Text, template.as_bytes());
    assert!(err.contains("standard input:1:10007\n"), "{err}");
}

#[test]
fn templates_of_other_content_types_are_checked_as_such() {
    let mut arguments =
        check::Arguments { files: vec!["-".into()], format: Format::Text, content_type: ContentType::Xml };
    let mut run = |content_type| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        arguments.content_type = content_type;
        check::run(&arguments, &mut &b"<call><id>{call_id}</id></call>"[..], &mut out, &mut err).unwrap()
    };
    assert_eq!((run(ContentType::Xml), run(ContentType::Json)), (0, 1));
}

#[test]
fn a_template_that_is_too_large_is_told_so_and_not_read_whole() {
    let text = format!("\"{}\"", "é".repeat(200_000));
    let (code, out, _) = run_check(vec!["-".into()], Format::Json, text.as_bytes());
    let told: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    assert_eq!(told["errors"].as_array().unwrap().len(), 1);
    assert_eq!(told["errors"][0]["code"], "too_large");
}

#[test]
fn render_writes_the_rendering_and_nothing_else() {
    let folder = folder(&[
        ("t.json", b"{\"id\": {call_id}, \"at\": {start_at}, \"d\": {call_duration}, \"e\": {event_type}}\n"),
        ("c.json", br#"{"call_id": 42, "start_at": 1774880520, "call_duration": "12.0", "event_type": "x"}"#),
    ]);
    let expected = "{\"id\": 42, \"at\": \"2026-03-30T14:22:00Z\", \"d\": 12.0, \"e\": \"x\"}\n";
    let context = folder.path().join("c.json");
    let context = context.to_str().unwrap();
    let told = run_render(folder.path().join("t.json"), context, b"");
    assert_eq!(told, (0, expected.to_owned(), String::new()));
    let written = std::fs::read_to_string(context).unwrap();
    assert_eq!(run_render(folder.path().join("t.json"), &written, b"").1, expected);
    assert_eq!(run_render(folder.path().join("t.json"), "-", written.as_bytes()).1, expected);
}

#[test]
fn render_refuses_unknown_names_and_warns_of_unreadable_values() {
    let folder = folder(&[("t.json", b"[{weight}, {email|required}]")]);
    let file = || folder.path().join("t.json");
    let (code, out, err) = run_render(file(), r#"{"emial": "x"}"#, b"");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no name `emial`; did you mean `email`?"), "{err}");
    let (code, out, err) = run_render(file(), r#"{"weight": "heavy", "email": "x"}"#, b"");
    assert_eq!((code, out.as_str()), (0, r#"[null, "x"]"#));
    assert!(err.contains("`weight`"), "{err}");
    for context in ["{}", "[]", "{", "/nowhere"] {
        let (code, out, err) = run_render(file(), context, b"[]");
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{context}");
    }
}

#[test]
fn placeholders_lists_the_catalogue() {
    let run = |format| {
        let mut out = Vec::new();
        assert_eq!(placeholders::run(&placeholders::Arguments { format }, &mut out).unwrap(), 0);
        plain(&out)
    };
    let listed: Vec<Json> = serde_json::from_str(&run(Format::Json)).unwrap();
    assert!(listed.iter().map(|entry| entry["name"].as_str().unwrap()).eq(Name::ALL.map(Name::as_str)));
    for entry in &listed {
        let kind = entry["type"].as_str().unwrap();
        let example = &entry["example"];
        let fits = match kind {
            "text" | "time" => example.is_string(),
            "id" => example.is_string() || example.is_number(),
            "number" => example.is_number(),
            "array" => example.is_array(),
            "object" => example.is_object(),
            _ => true,
        };
        assert!(fits, "{entry}");
        assert!(
            !entry["meaning"].as_str().unwrap().is_empty() && !entry["group"].as_str().unwrap().is_empty()
        );
    }
    let table = run(Format::Text);
    for name in Name::ALL {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()));
        let line = line.unwrap_or_else(|| panic!("no {name}"));
        assert!(line.contains(name.meaning()) && line.ends_with(name.example()), "{line}");
    }
}
