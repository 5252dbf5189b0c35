//! The grammar: text to tree, with every problem on the way.
//!
//! ```text
//! template = ws value ws
//! value    = object / array / string / number / "true" / "false" / "null" / placeholder
//! object   = "{" ws [ member *( "," member ) ] "}"
//! member   = ws string ws ":" ws value ws
//! array    = "[" ws [ element *( "," element ) ] "]"
//! element  = ws value ws
//! ```
//!
//! That is RFC 8259 and one more value. Tokens and placeholders are nom's productions (in
//! [`lexeme`] and [`placeholder`]); arrays and objects are a loop over a stack of their own, since
//! a template from a stranger decides how deep they go. The text is cut only where the grammar
//! says, so it is always at the edge of a character.
//!
//! Behind a problem the parser goes on where a person would: past the closing bracket of a broken
//! placeholder, as if a missing comma stood there, and so on. The tree is of use only if there was
//! no problem.

mod broken;
mod lexeme;
mod placeholder;
mod string;
mod text;

use lexeme::{Malformed, begins_name, is_white_space};
use placeholder::{Productions, failure};

use super::content::ContentType;
use super::diagnostic::{Code, Place, Problems};
use super::tree::{Form, Node, NodeKind, Placeholder, Position, Span, Tree};

pub(super) use broken::excerpt;
use broken::kind_with_article;
pub(super) use string::decode;
pub(super) use text::{TextRules, parse_text};

/// Parses a template, adding its problems to `problems`.
///
/// The text must not be longer than [`Span::MAX_TEXT`]; `depth` is the deepest nesting allowed.
pub(super) fn parse(source: &str, depth: usize, problems: &mut Problems) -> Tree {
    let mut parser = Parser {
        source,
        bytes: source.as_bytes(),
        at: 0,
        depth,
        productions: Productions { total: source.len() },
        tree: Tree::for_text(source),
        open: Vec::new(),
        is_too_deep: false,
        literal_brace: ContentType::Json.literal_brace(),
        problems,
    };
    parser.template();
    parser.tree
}

struct Parser<'s, 'p> {
    source: &'s str,
    bytes: &'s [u8],
    /// The next byte.
    at: usize,
    depth: usize,
    productions: Productions,
    tree: Tree,
    /// The nodes of the arrays and objects that are open, the innermost last.
    open: Vec<usize>,
    is_too_deep: bool,
    /// How a brace that opens no placeholder is written in text.
    literal_brace: Option<&'static str>,
    problems: &'p mut Problems,
}

/// What may stand next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A value: of the template, or behind a colon.
    Value,
    /// Behind an array's opening bracket.
    ElementOrEnd,
    /// Behind a comma in an array.
    Element,
    /// Behind an object's opening brace.
    MemberOrEnd,
    /// Behind a comma in an object.
    Member,
    /// Behind a member's name.
    Colon,
    /// Behind a value in an array or object.
    CommaOrEnd,
    /// Behind the template's value.
    Nothing,
    /// All is said.
    Done,
}

impl<'s> Parser<'s, '_> {
    /// `template`
    fn template(&mut self) {
        if self.source.starts_with('\u{feff}') {
            self.invalid(0, '\u{feff}'.len_utf8(), "JSON does not begin with a byte order mark");
            self.at = '\u{feff}'.len_utf8();
        }
        let mut next = Next::Value;
        while next != Next::Done {
            self.skip_white_space();
            let Some(byte) = self.bytes.get(self.at).copied() else { return self.ended(next) };
            next = match next {
                Next::Value => self.value(byte),
                Next::ElementOrEnd => match byte {
                    b']' | b'}' => self.close(byte),
                    _ => self.value(byte),
                },
                Next::Element => match byte {
                    b']' | b'}' => self.close_behind_comma(byte),
                    _ => self.value(byte),
                },
                Next::MemberOrEnd => match byte {
                    b']' | b'}' => self.close(byte),
                    _ => self.name(byte),
                },
                Next::Member => match byte {
                    b']' | b'}' => self.close_behind_comma(byte),
                    _ => self.name(byte),
                },
                Next::Colon => self.colon(byte),
                Next::CommaOrEnd => self.comma(byte),
                Next::Nothing | Next::Done => {
                    self.invalid(
                        self.at,
                        self.character(),
                        "nothing but white space may stand behind the template's value",
                    );
                    Next::Done
                }
            };
        }
    }

    fn skip_white_space(&mut self) {
        loop {
            if self.bytes.get(self.at).is_some_and(|byte| *byte > b'/') {
                return;
            }
            while self.bytes.get(self.at).is_some_and(|byte| is_white_space(*byte)) {
                self.at += 1;
            }
            let length = match &self.bytes[self.at..] {
                comment @ [b'/', b'/', ..] => comment.iter().position(|byte| *byte == b'\n'),
                [b'/', b'*', comment @ ..] => {
                    comment.windows(2).position(|end| end == b"*/").map(|end| end + 4)
                }
                _ => return,
            };
            let length = length.unwrap_or(self.bytes.len() - self.at);
            self.invalid(self.at, length, "JSON has no comments");
            self.at += length;
        }
    }

    /// `value`
    fn value(&mut self, byte: u8) -> Next {
        match byte {
            b'"' => {
                self.string(NodeKind::String);
                self.behind_value()
            }
            b'{' => self.brace(),
            b'[' => self.open(NodeKind::Array),
            b'<' => self.angle(),
            b'-' | b'0'..=b'9' => self.number(),
            b'}' | b']' | b',' => {
                self.invalid(self.at, 1, "a value is missing here");
                if self.open.is_empty() { Next::Done } else { Next::CommaOrEnd }
            }
            b':' => {
                self.invalid(self.at, 1, "a value is expected here, not a colon");
                self.at += 1;
                Next::Value
            }
            b'\'' => {
                self.single_quoted();
                self.behind_value()
            }
            _ => self.word(),
        }
    }

    /// What may stand behind a value that is complete.
    fn behind_value(&self) -> Next {
        if self.open.is_empty() { Next::Nothing } else { Next::CommaOrEnd }
    }

    /// `number`. What looks like one is taken as a whole, so that `01` is one problem.
    fn number(&mut self) -> Next {
        let run = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'));
        match lexeme::number(run.as_bytes()) {
            Ok(([], _)) => self.push(NodeKind::Scalar, run.len()),
            _ => self.invalid(self.at, run.len(), format!("`{}` is not a JSON number", excerpt(run))),
        }
        self.at += run.len();
        self.behind_value()
    }

    /// `true`, `false`, `null`, or anything that is no token at all.
    fn word(&mut self) -> Next {
        let run = self.run(|byte| {
            !is_white_space(byte)
                && !matches!(byte, b'"' | b',' | b':' | b'[' | b']' | b'{' | b'}' | b'<' | b'\'')
        });
        if matches!(run, "true" | "false" | "null") {
            self.push(NodeKind::Scalar, run.len());
        } else {
            self.not_a_value(run);
        }
        self.at += run.len();
        self.behind_value()
    }

    /// An object or a placeholder, whichever the brace opens.
    fn brace(&mut self) -> Next {
        // Three braces are looked at and no more: a row of them must not be read again and again.
        let mut braces = 1;
        let mut inner = self.at;
        let mut ahead = self.behind_white_space(inner + 1);
        while braces < 3 && self.bytes.get(ahead) == Some(&b'{') {
            braces += 1;
            inner = ahead;
            ahead = self.behind_white_space(inner + 1);
        }
        if !self.bytes.get(ahead).is_some_and(|byte| begins_name(*byte)) {
            return self.open(NodeKind::Object);
        }
        if braces > 1 {
            return self.double_brace(inner, braces - 1);
        }
        match self.productions.brace(&self.bytes[self.at..], Position::Value) {
            Ok((_, placeholder)) => self.placeholder(placeholder),
            Err(error) => {
                let failure = failure(&error);
                let place = self.bytes.len() - failure.left;
                if failure.what == Malformed::Close && self.bytes.get(place) == Some(&b':') {
                    // `{name: 1}`: an object whose names have no quotes.
                    self.open(NodeKind::Object);
                    self.at = ahead;
                    return self.name(self.bytes[ahead]);
                }
                self.malformed(failure, Form::Brace, Position::Value);
            }
        }
        self.behind_value()
    }

    /// A placeholder in angle brackets, where a value is expected.
    fn angle(&mut self) -> Next {
        let behind = &self.bytes[self.at + 1..];
        match behind {
            [b'<', ..] => {
                if let Ok((rest, placeholder)) = self.productions.angle(behind, Position::Value) {
                    let end = self.productions.offset(rest) + usize::from(rest.first() == Some(&b'>'));
                    self.report_double(end, placeholder.path, Form::Angle);
                    return self.behind_value();
                }
                self.word_of_angle()
            }
            [first, ..] if begins_name(*first) => {
                match self.productions.angle(&self.bytes[self.at..], Position::Value) {
                    Ok((_, placeholder)) => self.placeholder(placeholder),
                    Err(error) => self.malformed(failure(&error), Form::Angle, Position::Value),
                }
                self.behind_value()
            }
            _ => self.word_of_angle(),
        }
    }

    /// Takes a placeholder that is well formed into the tree.
    fn placeholder(&mut self, placeholder: Placeholder) {
        let length = placeholder.span.range().len();
        self.push(NodeKind::Placeholder, length);
        self.tree.placeholders.push(placeholder);
        self.at += length;
    }

    /// A member's name.
    fn name(&mut self, byte: u8) -> Next {
        match byte {
            b'"' => {
                self.string(NodeKind::Name);
                return Next::Colon;
            }
            b'{' | b'<' => {
                let rest = &self.bytes[self.at..];
                let parsed = match byte {
                    b'{' => self.productions.brace(rest, Position::Text),
                    _ => self.productions.angle(rest, Position::Text),
                };
                if let Ok((_, placeholder)) = parsed {
                    let text = placeholder.span.of(self.source);
                    self.problems.suggest(
                        Code::PlaceholderNotAllowedHere,
                        placeholder.span,
                        "a member's name is a string: a placeholder in it is in double quotes",
                        Some(format!("\"{text}\"")),
                    );
                    self.at = placeholder.span.range().end;
                    return Next::Colon;
                }
                self.invalid(self.at, 1, "a member's name is expected here, a string");
                return self.value(byte);
            }
            b',' => {
                self.invalid(self.at, 1, "a member is missing here");
                self.at += 1;
                return Next::Member;
            }
            b':' => {
                self.invalid(self.at, 1, "a member's name is missing here");
            }
            b'[' => {
                self.invalid(self.at, 1, "a member's name is expected here, a string");
                return self.open(NodeKind::Array);
            }
            b'\'' => self.single_quoted(),
            _ => {
                let run = self.run(|byte| {
                    !is_white_space(byte)
                        && !matches!(byte, b'"' | b',' | b':' | b'[' | b']' | b'{' | b'}' | b'<' | b'\'')
                });
                let span = Span::new(self.at, self.at + run.len());
                let suggestion = Some(format!("\"{}\"", excerpt(run)));
                self.problems.suggest(
                    Code::InvalidJson,
                    span,
                    "a member's name is a string, in double quotes",
                    suggestion,
                );
                self.at += run.len();
            }
        }
        Next::Colon
    }

    fn colon(&mut self, byte: u8) -> Next {
        if byte == b':' {
            self.at += 1;
            return Next::Value;
        }
        if self.is_right_behind_string(byte) {
            return self.behind_early_end();
        }
        self.invalid(self.at, self.character(), "a colon is expected behind a member's name");
        match byte {
            b',' | b'}' | b']' => Next::CommaOrEnd,
            _ => Next::Value,
        }
    }

    fn comma(&mut self, byte: u8) -> Next {
        match byte {
            b',' => {
                self.at += 1;
                self.behind_comma()
            }
            b'}' | b']' => self.close(byte),
            b':' => {
                self.invalid(self.at, 1, "a comma or the end is expected here, not a colon");
                self.at += 1;
                Next::Value
            }
            b'"' if self.is_in_object() => {
                self.invalid(self.at, 1, "a comma is missing before this member");
                Next::Member
            }
            b'{' | b'<' | b'"' => {
                self.invalid(
                    self.at,
                    1,
                    "a comma is missing here (text and placeholders are joined within double quotes)",
                );
                Next::Value
            }
            _ if self.is_right_behind_string(byte) => self.behind_early_end(),
            _ => {
                self.invalid(self.at, self.character(), "a comma or the end is expected here");
                Next::Value
            }
        }
    }

    fn is_in_object(&self) -> bool {
        self.open.last().is_some_and(|open| self.tree.nodes[*open].kind == NodeKind::Object)
    }

    /// What may stand behind a comma.
    fn behind_comma(&self) -> Next {
        if self.is_in_object() { Next::Member } else { Next::Element }
    }

    /// Whether a string ended right before this byte, which nothing can follow so.
    fn is_right_behind_string(&self, byte: u8) -> bool {
        self.at > 0
            && self.bytes[self.at - 1] == b'"'
            && !matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}' | b'<' | b'"')
    }

    fn open(&mut self, kind: NodeKind) -> Next {
        if self.open.len() >= self.depth && !self.is_too_deep {
            self.is_too_deep = true;
            let message = format!("arrays and objects are nested more than {} deep", self.depth);
            self.problems.add(Code::TooDeep, Span::new(self.at, self.at + 1), message);
        }
        self.open.push(self.tree.nodes.len());
        self.push(kind, 1);
        self.at += 1;
        match kind {
            NodeKind::Array => Next::ElementOrEnd,
            _ => Next::MemberOrEnd,
        }
    }

    fn close(&mut self, byte: u8) -> Next {
        let closes = |kind| match kind {
            NodeKind::Array => b']',
            _ => b'}',
        };
        let Some(innermost) = self.open.pop() else { return Next::Done };
        let kind = self.tree.nodes[innermost].kind;
        self.close_node(innermost, self.at + 1);
        if closes(kind) != byte {
            let right = char::from(closes(kind));
            let message =
                format!("{} ends with `{right}`, not with `{}`", kind_with_article(kind), char::from(byte));
            self.invalid(self.at, 1, message);
            // The right one was forgotten, if this one closes what is around; it was mistaken, if
            // what is around were then closed too early.
            let is_early = self.open.len() == 1 && self.behind_white_space(self.at + 1) < self.bytes.len();
            let closes_outer =
                self.open.last().is_some_and(|outer| closes(self.tree.nodes[*outer].kind) == byte);
            if closes_outer && !is_early {
                self.open.pop();
            }
        }
        self.at += 1;
        self.behind_value()
    }

    fn push(&mut self, kind: NodeKind, length: usize) {
        let span = Span::new(self.at, self.at + length);
        let end = Span::new(0, self.tree.nodes.len() + 1).end;
        self.tree.nodes.push(Node { kind, span, end });
    }

    /// Everything pushed since `node` is within it, and its text ends before `end`.
    fn close_node(&mut self, node: usize, end: usize) {
        let behind = self.tree.nodes.len();
        let start = self.tree.nodes[node].span.range().start;
        self.tree.nodes[node].span = Span::new(start, end);
        self.tree.nodes[node].end = Span::new(0, behind).end;
    }

    fn invalid(&mut self, at: usize, length: usize, message: impl Into<String>) {
        self.problems.add(Code::InvalidJson, Span::new(at, at + length), message);
    }

    /// The longest run of such bytes at hand. What ends it is ASCII.
    fn run(&self, is_in: impl Fn(u8) -> bool) -> &'s str {
        let rest = &self.source[self.at..];
        let length = rest.bytes().position(|byte| !is_in(byte)).unwrap_or(rest.len());
        &rest[..length]
    }

    fn behind_white_space(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|byte| is_white_space(*byte)) {
            at += 1;
        }
        at
    }

    /// The length of the character at hand.
    fn character(&self) -> usize {
        self.character_at(self.at)
    }

    fn character_at(&self, at: usize) -> usize {
        self.source[at..].chars().next().map_or(0, char::len_utf8)
    }
}
