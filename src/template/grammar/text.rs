//! Templates that are not JSON: text and placeholders, with the rules that hold inside a string.
//!
//! ```text
//! text = *( any character / placeholder )
//! ```

use super::{NodeKind, Parser, Problems, Productions, Tree};

/// What a text is, as far as its placeholders go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::template) struct TextRules {
    /// Whether `<name>` is a placeholder.
    pub(in crate::template) has_angle_form: bool,
    /// How a literal brace is written, where there is a way.
    pub(in crate::template) literal_brace: Option<&'static str>,
}

/// Parses a text with placeholders, adding its problems to `problems`. The text must not be longer
/// than [`super::Span::MAX_TEXT`].
pub(in crate::template) fn parse_text(source: &str, rules: TextRules, problems: &mut Problems) -> Tree {
    let mut parser = Parser {
        source,
        bytes: source.as_bytes(),
        at: 0,
        depth: 0,
        productions: Productions { total: source.len() },
        tree: Tree::for_text(source),
        open: Vec::new(),
        is_too_deep: false,
        literal_brace: rules.literal_brace,
        problems,
    };
    parser.text(rules.has_angle_form);
    parser.tree
}

impl Parser<'_, '_> {
    fn text(&mut self, has_angle_form: bool) {
        let mut text = 0;
        let opens = |byte: &u8| *byte == b'{' || (*byte == b'<' && has_angle_form);
        while let Some(plain) = self.bytes[self.at..].iter().position(opens) {
            self.at += plain;
            text = match self.bytes[self.at] {
                b'{' => self.brace_in_string(text),
                _ => self.angle_in_string(text),
            };
        }
        self.at = self.bytes.len();
        if text < self.at {
            self.at = text;
            self.push(NodeKind::Text, self.bytes.len() - text);
        }
    }
}
