//! What must hold whatever comes in: each property takes any bytes and panics where it does not
//! hold. The fuzzers look for such bytes (`tests/fuzz/fuzz_targets`); the ordinary tests run the
//! same properties on what the fuzzers found of interest, and on random bytes
//! (`tests/template/corpus.rs`). Nothing but the public interface is used.

#![allow(clippy::missing_panics_doc, reason = "to panic is what properties do")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a property that does not hold panics")]

pub mod compile;
pub mod escape;
pub mod filters;
pub mod json;
mod material;
pub mod render;
pub mod url_and_header;

use ringback::context::{Json, Name, Value, Values};
use ringback::template::{Diagnostic, RenderError, Template};
use serde_json::value::RawValue;

/// A property of any bytes.
pub type Property = fn(&[u8]);

/// Every property, by the name of its fuzz target and of its corpus.
pub const ALL: [(&str, Property); 6] = [
    ("compile", compile::check),
    ("escape", escape::check),
    ("filters", filters::check),
    ("json", json::check),
    ("render", render::check),
    ("url_and_header", url_and_header::check),
];

/// The text is JSON: serde reads it, at any depth, and so does our own reader to its depth.
fn assert_is_json(text: &str) {
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        panic!("not JSON ({error}): {text}");
    }
    if let Err(error) = Json::parse(text.as_bytes()) {
        assert_eq!(error.reason, "nested too deeply", "{text}");
    }
}

/// Every problem is in the text, at the edges of characters, where its line and column say, in
/// order, and no more are told than anybody reads.
fn assert_well_placed(source: &str, problems: &[Diagnostic]) {
    const MOST: usize = 1_000;
    assert!(problems.len() <= MOST);
    let mut last = 0;
    for problem in problems {
        let Diagnostic { offset, length, line, column, message, suggestion, .. } = problem;
        assert!(last <= *offset, "out of order: {problem:?}");
        last = *offset;
        let before = source.get(..*offset).unwrap_or_else(|| panic!("nowhere: {problem:?}"));
        assert!(source[*offset..].get(..*length).is_some(), "ends nowhere: {problem:?}");
        let line_begin = before.rfind('\n').map_or(0, |at| at + 1);
        let place = (before.matches('\n').count() + 1, before[line_begin..].chars().count() + 1);
        assert_eq!((*line, *column), place, "{problem:?}");
        // One sentence, shown on terminals.
        assert!(!message.is_empty() && !message.contains(char::is_control), "{problem:?}");
        assert_ne!(suggestion.as_deref(), Some(""), "{problem:?}");
    }
}

/// Renders into buffers of all kinds: each time the same comes out, behind what was there; nothing
/// does if the rendering fails.
fn render_in_every_way(template: &Template, values: &Values<'_>) -> Result<String, RenderError> {
    let mut fresh = Vec::new();
    let result = template.render(values, &mut fresh);
    assert!(result.is_ok() || fresh.is_empty(), "a failed rendering leaves something: {fresh:?}");
    let exact = fresh.len();
    for before in ["", "before"] {
        for spare in [0, exact / 2, exact.saturating_sub(1), exact, exact + 1, exact + 63] {
            let mut out = Vec::with_capacity(before.len() + spare);
            out.extend_from_slice(before.as_bytes());
            assert_eq!(template.render(values, &mut out), result, "with {spare} bytes to spare");
            let (kept, rendered) = out.split_at(before.len());
            assert_eq!(kept, before.as_bytes());
            assert!(rendered == fresh, "{rendered:?} with {spare} bytes to spare, and else {fresh:?}");
        }
    }
    result.map(|()| String::from_utf8(fresh).expect("a rendering is UTF-8"))
}

/// The values to render with.
fn values(data: &[(Name, Json)]) -> Values<'_> {
    let mut values = Values::new();
    for (name, json) in data {
        values.set(*name, Value::from(json));
    }
    values
}
