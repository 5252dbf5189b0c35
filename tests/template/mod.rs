//! The template language. Most tests are files: one dropped into a folder here is a test.
//!
//! | folder | a file holds |
//! | --- | --- |
//! | `good` | a template, `--- context`, data, `--- output`, exactly what it renders to |
//! | `bad` | a template, `--- problems`, a line for each: code, place, message, suggestion |
//! | `filters` | a line for each case: `JSON | filters => JSON`, or `=> ! code` |
//! | `json` | JSON texts as in `JSONTestSuite`: `y_` must render to itself, `n_` must be refused |
//! | `../fuzz/corpus` | what the fuzzers found of interest, by target (`../fuzz/README.md`) |
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod allocating;
mod commands;
mod conformance;
mod core;
mod corpus;
mod files;
mod gallery;
mod known_failures;
mod linear;
mod places;
mod properties;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ringback::context::{Json, Name, Value, Values};
use ringback::template::{Diagnostic, RenderError, Template};

/// A context from JSON, as it is, without coercions.
fn with_context<T>(context: &str, then: impl FnOnce(&Values<'_>) -> T) -> T {
    let json = Json::parse(context.as_bytes()).unwrap();
    let Json::Object(members) = &json else { panic!("a context is an object") };
    let mut values = Values::new();
    for (name, value) in members {
        values.set(Name::from_text(name).unwrap(), Value::from(value));
    }
    then(&values)
}

fn render(template: &Template, context: &str) -> Result<String, RenderError> {
    let mut out = Vec::new();
    with_context(context, |values| template.render(values, &mut out))?;
    Ok(String::from_utf8(out).unwrap())
}

/// Problems as the files write them: `code line:column message`, and what is suggested.
fn told(problems: &[Diagnostic]) -> String {
    let mut told = String::new();
    for problem in problems {
        let Diagnostic { code, line, column, message, suggestion, .. } = problem;
        write!(told, "{} {line}:{column} {message}", code.as_str()).unwrap();
        if let Some(suggestion) = suggestion {
            write!(told, " => {suggestion}").unwrap();
        }
        told.push('\n');
    }
    told
}

/// The files of a folder beside this one; there must be some.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}
