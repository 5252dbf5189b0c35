//! Strings and the placeholders within them.
//!
//! ```text
//! string = %x22 *( unescaped / escape / placeholder ) %x22
//! ```
//!
//! A brace behind which a name begins opens a placeholder, which must be well formed; any other is
//! text. An angle bracket opens one only if all of it follows: callbacks carry HTML.

use super::lexeme::{self, Malformed, begins_name};
use super::placeholder::failure;
use super::{Code, Form, NodeKind, Parser, Placeholder, Position, Span};

/// The bytes at which a string is more than its own text.
const IS_SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = true;
        control += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'{' as usize] = true;
    table[b'<' as usize] = true;
    table
};

impl Parser<'_, '_> {
    /// `string`, as a value or a member's name.
    pub(super) fn string(&mut self, kind: NodeKind) {
        let node = self.tree.nodes.len();
        let opening = self.at;
        self.push(kind, 1);
        self.at += 1;
        let mut text = self.at;
        let mut has_control = false;
        loop {
            let rest = &self.bytes[self.at..];
            let Some(plain) = rest.iter().position(|byte| IS_SPECIAL[usize::from(*byte)]) else {
                self.at = self.bytes.len();
                // Everything around it is not closed either, for the same reason: told once.
                self.open.clear();
                return self.unclosed_string(opening);
            };
            self.at += plain;
            match self.bytes[self.at] {
                b'"' => break,
                b'\\' => self.escape(),
                b'{' => text = self.brace_in_string(text),
                b'<' => text = self.angle_in_string(text),
                b'\n' | b'\r' if !has_control && self.seems_unclosed() => {
                    if self.bytes[self.at..].trim_ascii().is_empty() {
                        self.open.clear();
                    }
                    return self.unclosed_string(opening);
                }
                control => {
                    if !has_control {
                        let message = format!(
                            "a control character in a string is written as an escape: {}",
                            escape_of(control)
                        );
                        self.invalid(self.at, 1, message);
                    }
                    has_control = true;
                    self.at += 1;
                }
            }
        }
        if self.tree.nodes.len() > node + 1 {
            self.piece(text, self.at);
        }
        self.at += 1;
        self.close_node(node, self.at);
    }

    fn escape(&mut self) {
        match lexeme::escape(&self.bytes[self.at..]) {
            Ok((rest, _)) => self.at = self.productions.offset(rest),
            Err(error) => {
                let what = failure(&error).what;
                let length = match what {
                    Malformed::Surrogate => 6,
                    _ => 1 + self.character_at(self.at + 1),
                };
                self.invalid(self.at, length, what.sentence());
                // A closing quote may be what the backslash was meant to escape, but is the end.
                self.at += length;
            }
        }
    }

    /// What a brace in a string opens. Takes and gives back where the text at hand begins.
    pub(super) fn brace_in_string(&mut self, text: usize) -> usize {
        let behind = self.behind_white_space(self.at + 1);
        match self.bytes.get(behind) {
            Some(byte) if begins_name(*byte) => {
                match self.productions.brace(&self.bytes[self.at..], Position::Text) {
                    Ok((_, placeholder)) => return self.placeholder_in_string(text, placeholder),
                    Err(error) => self.malformed(failure(&error), Form::Brace, Position::Text),
                }
            }
            Some(b'{') if behind == self.at + 1 && self.is_double_brace(behind) => {}
            _ => self.at += 1,
        }
        text
    }

    /// Reports `{{name}}` if it stands at hand, and goes behind it.
    fn is_double_brace(&mut self, inner: usize) -> bool {
        let name = self.behind_white_space(inner + 1);
        if !self.bytes.get(name).is_some_and(|byte| begins_name(*byte)) {
            return false;
        }
        let Ok((rest, placeholder)) = self.productions.brace(&self.bytes[inner..], Position::Text) else {
            return false;
        };
        if rest.first() != Some(&b'}') {
            return false;
        }
        let end = self.productions.offset(rest) + 1;
        self.report_double(end, placeholder.path, Form::Brace);
        true
    }

    pub(super) fn angle_in_string(&mut self, text: usize) -> usize {
        if self.bytes.get(self.at + 1).is_some_and(|byte| begins_name(*byte))
            && let Ok((_, placeholder)) = self.productions.angle(&self.bytes[self.at..], Position::Text)
        {
            return self.placeholder_in_string(text, placeholder);
        }
        self.at += 1;
        text
    }

    fn placeholder_in_string(&mut self, text: usize, placeholder: Placeholder) -> usize {
        self.piece(text, self.at);
        self.placeholder(placeholder);
        self.at
    }

    /// A piece of text between placeholders.
    fn piece(&mut self, from: usize, to: usize) {
        if from < to {
            self.at = from;
            self.push(NodeKind::Text, to - from);
            self.at = to;
        }
    }

    /// Whether the line break at hand is where the closing quote was forgotten, rather than part
    /// of a text of several lines.
    fn seems_unclosed(&self) -> bool {
        let line = self.bytes[..self.at].trim_ascii_end();
        let next = self.bytes[self.at..].trim_ascii_start();
        matches!(line.last(), Some(b',' | b':' | b'{' | b'[' | b'}' | b']'))
            || matches!(next.first(), Some(b'"' | b'}' | b']') | None)
    }

    fn unclosed_string(&mut self, opening: usize) {
        self.problems.add(
            Code::InvalidJson,
            Span::new(opening, self.at),
            "a string is not closed: it ends with a double quote",
        );
    }
}

fn escape_of(control: u8) -> String {
    match control {
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        _ => format!("\\u{control:04x}"),
    }
}

/// The text that the content of a valid JSON string without placeholders stands for.
pub(in crate::template) fn decode(content: &str) -> String {
    let mut text = Vec::with_capacity(content.len());
    let mut rest = content.as_bytes();
    while let Some(plain) = rest.iter().position(|byte| *byte == b'\\') {
        text.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        match lexeme::escape(rest) {
            Ok((behind, character)) => {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind;
            }
            Err(_) => unreachable!("the content was parsed"),
        }
    }
    text.extend_from_slice(rest);
    String::from_utf8(text).expect("cut out of a text at ASCII characters")
}
