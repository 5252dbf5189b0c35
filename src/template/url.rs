//! URLs with placeholders.

use std::sync::Arc;

use super::compiled::Compiled;
use super::diagnostic::{Code, Diagnostic, Problems};
use super::escaping::Escaping;
use super::grammar::{self, TextRules};
use super::tree::Tree;
use super::{Limits, RenderError};
use crate::context::Values;

/// A URL with placeholders in its path, query and fragment; nowhere before, so that data never
/// decides where a callback goes. Whether it is a URL at all is for the caller to say, of the
/// rendering: this knows only where its parts begin.
///
/// Values are percent-encoded, all but the unreserved characters of RFC 3986: a slash in data is
/// no separator.
#[derive(Clone, Debug)]
pub struct UrlTemplate {
    compiled: Arc<Compiled>,
    /// Where the path begins, in the template as in every rendering.
    path: usize,
    /// For each segment of the path, whether it has placeholders.
    segments: Box<[bool]>,
}

impl UrlTemplate {
    /// Compiles a URL.
    ///
    /// # Errors
    /// All its problems, in the order of their places; `placeholder_not_allowed_here` for a
    /// placeholder in the scheme, the user information, the host or the port.
    pub fn compile(source: &str, limits: &Limits) -> Result<Self, Vec<Diagnostic>> {
        let path = path_begin(source);
        let mut segments = Box::default();
        let compiled = Compiled::new(source, Escaping::Percent, limits, |problems| {
            let rules = TextRules { has_angle_form: true, literal_brace: Some("%7B") };
            let tree = grammar::parse_text(source, rules, problems);
            refuse_before(path, &tree, problems);
            segments = segments_of(&source[path..], path, &tree);
            tree
        })?;
        Ok(Self { compiled: Arc::new(compiled), path, segments })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// What stands before the path, the query and the fragment: the same in every rendering.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.compiled.source[..self.path]
    }

    /// What is legal but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.compiled.warnings
    }

    /// The distinct paths that its placeholders name, as spelt, in the order of first use.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&str> {
        self.compiled.placeholders()
    }

    /// The URL for these values.
    ///
    /// # Errors
    /// The data cannot be rendered with this template; [`RenderError::DotSegment`] if it would make
    /// a segment of the path `.` or `..`, in any spelling.
    pub fn render(&self, values: &Values<'_>) -> Result<String, RenderError> {
        let mut out = Vec::new();
        self.compiled.render(values, &mut out)?;
        let url = String::from_utf8(out).expect("a text with text in it is text");
        // Data brings no separator, so the rendering has the segments of the template. What parsers
        // of URLs take off the end (URL standard, "basic URL parser") is no part of the last one.
        let is_taken_off = |character: char| character <= ' ';
        let is_dots = segments(url[self.path..].trim_end_matches(is_taken_off))
            .zip(&self.segments)
            .any(|(segment, has_placeholder)| *has_placeholder && is_dots(segment));
        if is_dots { Err(RenderError::DotSegment) } else { Ok(url) }
    }
}

/// Whether a byte ends the path. A backslash does not: in `http` URLs it is a slash.
const fn ends_path(byte: u8) -> bool {
    matches!(byte, b'?' | b'#')
}

/// Whether a byte separates segments (URL standard, "path state", for special schemes).
const fn separates(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Whether parsers of URLs take a byte out before they look at the others.
const fn is_dropped(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Where the path, the query or the fragment begins, whichever is first: the end of the text if
/// none does. Slashes behind the scheme are not counted: parsers of URLs take any number of them.
fn path_begin(source: &str) -> usize {
    let bytes = source.as_bytes();
    let scheme =
        bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.'));
    let Some(colon) = scheme.filter(|at| bytes[*at] == b':') else { return bytes.len() };
    let is_passed = |byte: &u8| separates(*byte) || is_dropped(*byte);
    let slashes = bytes[colon + 1..].iter().take_while(|byte| is_passed(byte)).count();
    let authority = colon + 1 + slashes;
    let length = bytes[authority..].iter().position(|byte| separates(*byte) || ends_path(*byte));
    length.map_or(bytes.len(), |length| authority + length)
}

fn refuse_before(path: usize, tree: &Tree, problems: &mut Problems) {
    for placeholder in &tree.placeholders {
        if placeholder.span.range().start < path {
            problems.add(
                Code::PlaceholderNotAllowedHere,
                placeholder.span,
                "a placeholder may stand in the path, the query or the fragment of a URL, never before them",
            );
        }
    }
}

/// The segments of a path, which the text begins with.
fn segments(text: &str) -> impl Iterator<Item = &str> {
    let end = text.bytes().position(ends_path).unwrap_or(text.len());
    text[..end].split(|character: char| u8::try_from(character).is_ok_and(separates))
}

/// For each segment of the template's path, whether it has a placeholder. Within placeholders
/// nothing separates; their own text may hold anything.
fn segments_of(text: &str, begin: usize, tree: &Tree) -> Box<[bool]> {
    let mut found = vec![false];
    let mut placeholders = tree.placeholders.iter().map(|placeholder| placeholder.span.range()).peekable();
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        while placeholders.next_if(|range| range.start < begin + at).is_some() {}
        if let Some(range) = placeholders.next_if(|range| range.start == begin + at) {
            *found.last_mut().expect("there is a first segment") = true;
            at = range.end - begin;
            continue;
        }
        if ends_path(*byte) {
            break;
        }
        if separates(*byte) {
            found.push(false);
        }
        at += 1;
    }
    found.into_boxed_slice()
}

/// Whether a segment is `.` or `..`, also with `%2e` for a dot, as readers of URLs take it.
fn is_dots(segment: &str) -> bool {
    let kept = segment.chars().filter(|character| !u8::try_from(*character).is_ok_and(is_dropped));
    let decoded = kept.collect::<String>().to_ascii_lowercase().replace("%2e", ".");
    matches!(decoded.as_str(), "." | "..")
}
