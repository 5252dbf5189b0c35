//! What is not as the grammar says: how it is told, and where the parser goes on.

use super::lexeme::{Failure, Malformed, is_white_space};
use super::{Code, Form, Next, NodeKind, Parser, Place, Position, Span};
use crate::context::Name;
use crate::template::suggest;

impl Parser<'_, '_> {
    /// The text ended where `next` was to come.
    pub(super) fn ended(&mut self, next: Next) {
        // Told where the text ends, not where a last line break does.
        let end = self.bytes.trim_ascii_end().len();
        if let Some(open) = self.open.last() {
            let node = self.tree.nodes[*open];
            let place = Place::of(self.source, node.span.range().start);
            let what = kind_with_article(node.kind);
            let message =
                format!("{what} that begins at line {}, column {} is not closed", place.line, place.column);
            self.invalid(end, 0, message);
        } else if next == Next::Value {
            self.invalid(end, 0, "a template is a JSON value, and there is none");
        }
    }

    /// A run of characters at hand that is no token: told with what was probably meant.
    pub(super) fn not_a_value(&mut self, run: &str) {
        let suggestion = match run {
            _ if Name::from_text(run).is_some() => Some(format!("{{{run}}}")),
            "None" | "nil" | "NULL" | "Null" | "undefined" | "NaN" | "Infinity" => Some("null".to_owned()),
            "True" | "TRUE" => Some("true".to_owned()),
            "False" | "FALSE" => Some("false".to_owned()),
            _ => None,
        };
        let message = format!("`{}` is not a JSON value", excerpt(run));
        let span = Span::new(self.at, self.at + run.len());
        self.problems.suggest(Code::InvalidJson, span, message, suggestion);
    }

    /// A text in single quotes where a string belongs.
    pub(super) fn single_quoted(&mut self) {
        let behind = &self.bytes[self.at + 1..];
        let length = match behind.iter().position(|byte| matches!(byte, b'\'' | b'\n')) {
            Some(end) if behind[end] == b'\'' => end + 2,
            _ => 1,
        };
        self.invalid(self.at, length, "a string is in double quotes");
        self.at += length;
    }

    /// `{{name}}`, where `inner` is the last of the opening braces and `more` how many stand before.
    pub(super) fn double_brace(&mut self, inner: usize, more: usize) -> Next {
        let Ok((rest, placeholder)) = self.productions.brace(&self.bytes[inner..], Position::Value) else {
            self.open(NodeKind::Object);
            return Next::MemberOrEnd;
        };
        let mut end = self.productions.offset(rest);
        if self.bytes.get(self.behind_white_space(end)) == Some(&b':') {
            // `{{name}: 1}`: an object with a placeholder for a name.
            self.open(NodeKind::Object);
            return Next::MemberOrEnd;
        }
        for _ in 0..more {
            let closing = self.behind_white_space(end);
            if self.bytes.get(closing) == Some(&b'}') {
                end = closing + 1;
            }
        }
        self.report_double(end, placeholder.path, Form::Brace);
        self.behind_value()
    }

    pub(super) fn word_of_angle(&mut self) -> Next {
        self.invalid(self.at, 1, "`<` opens a placeholder only if a name follows at once");
        self.at += 1;
        let run = self.run(|byte| !matches!(byte, b'"' | b',' | b']' | b'}' | b'{' | b'<' | b'\n'));
        self.at += run.len();
        self.behind_value()
    }

    pub(super) fn report_double(&mut self, end: usize, path: Span, form: Form) {
        let name = path.of(self.source);
        let (message, suggestion) = match form {
            Form::Brace => ("a placeholder takes one brace", format!("{{{name}}}")),
            Form::Angle => ("a placeholder takes one angle bracket", format!("<{name}>")),
        };
        let span = Span::new(self.at, end);
        self.problems.suggest(Code::DoubleBrace, span, message, Some(suggestion));
        self.at = end;
    }

    /// Reports the broken placeholder at hand and goes on behind it: behind its closing bracket,
    /// if there is one before anything that cannot be within it.
    pub(super) fn malformed(&mut self, failure: Failure, form: Form, position: Position) {
        let closer = match form {
            Form::Brace => b'}',
            Form::Angle => b'>',
        };
        let place = self.bytes.len() - failure.left;
        let mut end = place;
        while let Some(byte) = self.bytes.get(end) {
            match byte {
                b'"' => match self.double_quoted(end, closer) {
                    Some(length) => end += length,
                    None => break,
                },
                b'{' | b'\n' => break,
                b'<' if form == Form::Angle => break,
                b'\\' => end += 2,
                _ if *byte == closer => break,
                _ => end += 1,
            }
        }
        if self.bytes.get(end) == Some(&closer) {
            if let Some(length) = self.double_quoted(place, closer) {
                self.report_double_quoted(place, length);
                self.at = end + 1;
                return;
            }
            // Quoted text is JSON's, and so are its mistakes.
            let sentence = match self.bytes[place] {
                b'\\' if !matches!(failure.what, Malformed::Escape | Malformed::Surrogate) => {
                    "a backslash in a placeholder may stand only in quoted text"
                }
                byte if form == Form::Angle && failure.what == Malformed::Close && is_white_space(byte) => {
                    "in angle brackets no white space may stand before the first bar"
                }
                _ => failure.what.sentence(),
            };
            let message = match self.hint(position) {
                // An angle bracket that is not well formed is text there already.
                Some(hint) => format!("{sentence}; {hint}"),
                None => sentence.to_owned(),
            };
            let length = self.character_at(place);
            let code = match failure.what {
                Malformed::Escape | Malformed::Surrogate => Code::InvalidJson,
                _ => Code::InvalidPlaceholder,
            };
            let suggestion = match failure.what {
                Malformed::Close => self.name_that_was_meant(end),
                _ => None,
            };
            self.problems.suggest(code, Span::new(place, place + length), message, suggestion);
            self.at = end + 1;
        } else {
            let sentence = match form {
                Form::Brace => "a placeholder is not closed: it ends with `}`",
                Form::Angle => "a placeholder is not closed: it ends with `>`",
            };
            let message = match self.hint(position) {
                Some(hint) => format!("{sentence}; {hint}"),
                None => sentence.to_owned(),
            };
            self.problems.add(Code::UnclosedPlaceholder, Span::new(self.at, place), message);
            // A comma that a quoted text without its end took is the one behind the value.
            let taken = self.bytes[self.at..place].trim_ascii_end();
            let is_comma_taken = failure.what == Malformed::Quote && taken.ends_with(b",");
            self.at = if is_comma_taken { self.at + taken.len() - 1 } else { place };
        }
    }

    /// The length of a text in double quotes at a place within a placeholder, where one in single
    /// quotes belongs: escaped or not, on one line, and with something behind it that may follow.
    fn double_quoted(&self, place: usize, closer: u8) -> Option<usize> {
        let rest = &self.bytes[place..];
        let quote: &[u8] = if rest.starts_with(b"\\") { b"\\\"" } else { b"\"" };
        let content = rest.strip_prefix(quote)?;
        let length = content.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'))?;
        content[length..].starts_with(quote).then_some(())?;
        let length = length + 2 * quote.len();
        let behind = self.bytes.get(self.behind_white_space(place + length))?;
        (matches!(behind, b'|' | b',' | b']') || *behind == closer).then_some(length)
    }

    fn report_double_quoted(&mut self, place: usize, length: usize) {
        let content = self.source[place..place + length].trim_matches(['\\', '"']);
        let suggestion = format!("'{}'", content.replace('\'', "''"));
        let message = "a text in a placeholder is in single quotes";
        let span = Span::new(place, place + length);
        self.problems.suggest(Code::InvalidPlaceholder, span, message, Some(suggestion));
    }

    /// The name that was meant by all that stands in the brace at hand: `{call-id}`, `{First Name}`.
    fn name_that_was_meant(&self, end: usize) -> Option<String> {
        const MOST: usize = 60;
        let written = self.source[self.at + 1..end].trim();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ');
        if written.len() > MOST || !written.bytes().all(is_name) {
            return None;
        }
        suggest::meant(written, Name::ALL.into_iter().map(Name::as_str)).map(str::to_owned)
    }

    /// Something stands right behind a string: it ended too early, at a quote that was meant to be
    /// part of it or to begin the next one. Goes on behind the next quote that a string ends with,
    /// else on the next line.
    pub(super) fn behind_early_end(&mut self) -> Next {
        self.invalid(
            self.at - 1,
            1,
            "the string ends with this double quote: one within it is written \\\", and one may be missing before",
        );
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => {
                    let line = self.bytes[..self.at].trim_ascii_end();
                    return if line.ends_with(b",") { self.behind_comma() } else { Next::CommaOrEnd };
                }
                b'\\' => self.at += 1,
                b'"' => match self.bytes.get(self.behind_white_space(self.at + 1)) {
                    Some(b':') if self.is_in_object() => {
                        self.at += 1;
                        return Next::Colon;
                    }
                    Some(b',' | b'}' | b']') => {
                        self.at += 1;
                        return Next::CommaOrEnd;
                    }
                    _ => {}
                },
                _ => {}
            }
            self.at += 1;
        }
        // Everything around it is not closed either, for the same reason: told once.
        self.at = self.bytes.len();
        Next::Done
    }

    /// What to write where no placeholder was meant.
    fn hint(&self, position: Position) -> Option<String> {
        match position {
            Position::Value => None,
            Position::Text => {
                self.literal_brace.map(|spelling| format!("a literal `{{` is written {spelling}"))
            }
        }
    }

    pub(super) fn close_behind_comma(&mut self, byte: u8) -> Next {
        self.invalid(self.at, 1, "a comma may not stand before the closing bracket");
        self.close(byte)
    }
}

pub(super) const fn kind_with_article(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Array => "an array",
        _ => "an object",
    }
}

/// As much of a text as a message quotes, without control characters: it is shown on terminals.
pub(in crate::template) fn excerpt(text: &str) -> String {
    const MOST: usize = 40;
    let shown = text.chars().take(MOST);
    let mut excerpt: String =
        shown.map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
    if text.chars().nth(MOST).is_some() {
        excerpt.push('…');
    }
    excerpt
}
