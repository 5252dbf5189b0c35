//! Problems of templates, drawn for people: the line, a caret under the place, what is suggested.
//!
//! Drawn with colours; a stream that is no terminal, or that `NO_COLOR` speaks for, takes them away.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::template::Diagnostic;

/// How people know a file.
pub(super) fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// `1 problem`, `2 problems`
pub(super) fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// Draws a template's problems, and says how many there are.
pub(super) fn problems(
    name: &str,
    source: &str,
    problems: &[Diagnostic],
    err: &mut dyn Write,
) -> io::Result<()> {
    for problem in problems {
        draw(name, source, &problem.into(), Severity::Error, err)?;
    }
    writeln!(err, "{name}: {}", count(problems.len(), "problem"))
}

/// Draws a template's warnings.
pub(super) fn warnings(
    name: &str,
    source: &str,
    warnings: &[Diagnostic],
    err: &mut dyn Write,
) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| draw(name, source, &warning.into(), Severity::Warning, err))
}

/// What is drawn of a problem, whether it was found here or by a server.
pub(super) struct Mark<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// Where it begins in the source, in bytes, within it and between two characters.
    pub(super) offset: usize,
    /// How many bytes it covers.
    pub(super) length: usize,
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) suggestion: Option<&'a str>,
}

impl<'a> From<&'a Diagnostic> for Mark<'a> {
    fn from(problem: &'a Diagnostic) -> Self {
        Self {
            code: problem.code.as_str(),
            message: &problem.message,
            offset: problem.offset,
            length: problem.length,
            line: problem.line,
            suggestion: problem.suggestion.as_deref(),
        }
    }
}

/// Whether it stops what was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Severity {
    Error,
    Warning,
}

/// How wide a drawing is at most: a caret under a line that the terminal wraps points nowhere.
const WIDTH: usize = 80;

/// Draws one problem: the line, a caret under the place, what is suggested.
pub(super) fn draw(
    name: &str,
    source: &str,
    problem: &Mark<'_>,
    severity: Severity,
    err: &mut dyn Write,
) -> io::Result<()> {
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (line, span) = line_around(source, problem);
    let snippet = Snippet::source(line)
        .path(name)
        .line_start(problem.line)
        .annotation(AnnotationKind::Primary.span(span));
    let title = level.primary_title(problem.message).id(problem.code);
    let mut report = vec![title.element(snippet)];
    if let Some(suggestion) = &problem.suggestion {
        report.push(Group::with_title(Level::HELP.secondary_title(format!("did you mean `{suggestion}`?"))));
    }
    writeln!(err, "{}\n", Renderer::styled().term_width(WIDTH).render(&report))
}

/// The line on which a problem begins, from its start (columns are counted there) to as far behind
/// the place as can be seen, and the problem's part of it.
fn line_around<'s>(source: &'s str, problem: &Mark<'_>) -> (&'s str, Range<usize>) {
    /// Of up to four bytes a character; more than is drawn, so that the cut is not seen. A template
    /// may be one line of a hundred thousand characters with a problem in each hundred.
    const MOST: usize = WIDTH * 8;
    let start = source[..problem.offset].rfind('\n').map_or(0, |at| at + 1);
    let end = source[problem.offset..].find('\n').map_or(source.len(), |at| problem.offset + at);
    // A carriage return before the line break is no more part of the line than that is.
    let end = end - usize::from(source[start..end].ends_with('\r'));
    let from = problem.offset.min(end);
    // Where the source is not UTF-8, what is shown for its bytes has other lengths.
    let to = source.ceil_char_boundary(end.min(from + problem.length.min(MOST)));
    let end = end.min(source.ceil_char_boundary(to.saturating_add(MOST)));
    (&source[start..end], from - start..to - start)
}
