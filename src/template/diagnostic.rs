//! What is wrong with a template, and where.

use super::tree::Span;

/// One problem (or warning) of a template, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of problem; its name is stable.
    pub code: Code,
    /// Where it begins, in bytes from the template's beginning.
    pub offset: usize,
    /// How many bytes it covers.
    pub length: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// One plain sentence.
    pub message: String,
    /// What to write instead, where that is known.
    pub suggestion: Option<String>,
}

/// The stable codes of a template's problems. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// `invalid_json`: outside placeholders, the text is not JSON.
    InvalidJson,
    /// `unknown_placeholder`: there is no such name, or it has no such members.
    UnknownPlaceholder,
    /// `unknown_filter`: there is no such filter.
    UnknownFilter,
    /// `bad_argument`: a filter's arguments are too few, too many or of the wrong type.
    BadArgument,
    /// `invalid_placeholder`: a placeholder that is closed but not well formed.
    InvalidPlaceholder,
    /// `unclosed_placeholder`: a placeholder without its end.
    UnclosedPlaceholder,
    /// `double_brace`: `{{name}}`.
    DoubleBrace,
    /// `placeholder_not_allowed_here`: a placeholder where none may stand.
    PlaceholderNotAllowedHere,
    /// `invalid_header`: a header's value holds what no header may.
    InvalidHeader,
    /// `too_deep`: arrays and objects are nested deeper than the limit.
    TooDeep,
    /// `too_large`: the template is longer than the limit.
    TooLarge,
    /// `too_many_placeholders`: the template has more placeholders than the limit.
    TooManyPlaceholders,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::InvalidJson,
        Self::UnknownPlaceholder,
        Self::UnknownFilter,
        Self::BadArgument,
        Self::InvalidPlaceholder,
        Self::UnclosedPlaceholder,
        Self::DoubleBrace,
        Self::PlaceholderNotAllowedHere,
        Self::InvalidHeader,
        Self::TooDeep,
        Self::TooLarge,
        Self::TooManyPlaceholders,
    ];

    /// The code as the API and the command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::UnknownPlaceholder => "unknown_placeholder",
            Self::UnknownFilter => "unknown_filter",
            Self::BadArgument => "bad_argument",
            Self::InvalidPlaceholder => "invalid_placeholder",
            Self::UnclosedPlaceholder => "unclosed_placeholder",
            Self::DoubleBrace => "double_brace",
            Self::PlaceholderNotAllowedHere => "placeholder_not_allowed_here",
            Self::InvalidHeader => "invalid_header",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::TooManyPlaceholders => "too_many_placeholders",
        }
    }
}

/// Problems as they are found, in any order; their lines and columns are counted once, at the end.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    code: Code,
    span: Span,
    message: String,
    suggestion: Option<String>,
}

impl Problems {
    /// How many problems of one template are told: as many as it may have placeholders by default.
    /// More would make an answer that is larger than the template, and nobody reads it.
    const MOST: usize = 1_000;

    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether further problems would not be told, so that looking for them is of no use.
    pub(super) const fn is_full(&self) -> bool {
        self.found.len() >= Self::MOST
    }

    pub(super) fn add(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.suggest(code, span, message, None);
    }

    pub(super) fn suggest(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if !self.is_full() {
            self.found.push(Problem { code, span, message: message.into(), suggestion });
        }
    }

    /// In the order of their places, lines and columns counted.
    pub(super) fn locate(mut self, source: &str) -> Vec<Diagnostic> {
        self.found.sort_by_key(|problem| (problem.span.start, problem.span.end));
        let mut place = Place::START;
        self.found
            .into_iter()
            .map(|problem| {
                place = place.advance(source, problem.span.range().start);
                Diagnostic {
                    code: problem.code,
                    offset: place.offset,
                    length: problem.span.range().len(),
                    line: place.line,
                    column: place.column,
                    message: problem.message,
                    suggestion: problem.suggestion,
                }
            })
            .collect()
    }
}

/// The text of a template's bytes; else where they stop being UTF-8.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Diagnostic> {
    str::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        let place = Place::of(str::from_utf8(valid).unwrap_or_default(), valid.len());
        Diagnostic {
            code: Code::InvalidJson,
            offset: place.offset,
            length: error.error_len().unwrap_or(rest.len()),
            line: place.line,
            column: place.column,
            message: "JSON is UTF-8, and these bytes are not".to_owned(),
            suggestion: None,
        }
    })
}

/// A place in a text, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    offset: usize,
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

impl Place {
    const START: Self = Self { offset: 0, line: 1, column: 1 };

    /// The place of a byte offset, which must be at the edge of a character.
    pub(super) fn of(source: &str, offset: usize) -> Self {
        Self::START.advance(source, offset)
    }

    fn advance(self, source: &str, offset: usize) -> Self {
        let passed = &source[self.offset..offset];
        let lines = passed.bytes().filter(|byte| *byte == b'\n').count();
        let after_break = passed.rfind('\n').map_or(passed, |at| &passed[at + 1..]);
        let characters = after_break.chars().count();
        Self {
            offset,
            line: self.line + lines,
            column: if lines == 0 { self.column + characters } else { 1 + characters },
        }
    }
}
