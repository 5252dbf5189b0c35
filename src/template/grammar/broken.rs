//! What is not as the grammar says: how it is told, and where the parser goes on.

use super::lexeme::{Failure, Malformed, is_white_space};
use super::{Code, Form, Next, NodeKind, Parser, Place, Position, Span};

impl Parser<'_, '_> {
    /// The text ended where `next` was to come.
    pub(super) fn ended(&mut self, next: Next) {
        let end = self.bytes.len();
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
                b'"' | b'{' | b'\n' => break,
                b'<' if form == Form::Angle => break,
                b'\\' => end += 2,
                _ if *byte == closer => break,
                _ => end += 1,
            }
        }
        if self.bytes.get(end) == Some(&closer) {
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
            self.problems.add(code, Span::new(place, place + length), message);
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
            self.at = place;
        }
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
