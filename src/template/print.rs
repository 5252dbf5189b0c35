//! A tree as text again, for the tests and the fuzzers: the parse of the printed tree must give the
//! tree. What the parser forgets or makes up shows there.
//!
//! White space is printed where it keeps text from becoming a placeholder and nowhere else, a
//! member always as `['name']`, and of a quoted text everything but letters and digits as escapes.

use std::fmt::Write as _;

use super::ContentType;
use super::diagnostic::Problems;
use super::grammar::{self, TextRules};
use super::tree::{Form, NodeKind, Placeholder, Position, Span, StepKind, Tree};
use crate::context::Json;

/// The text of a tree whose spans are of `source`.
pub(super) fn print(source: &str, tree: &Tree) -> String {
    let mut printer = Printer { source, tree, placeholders: tree.placeholders.iter(), out: String::new() };
    let mut at = 0;
    while at < tree.nodes.len() {
        at = printer.node(at);
    }
    printer.out
}

struct Printer<'a> {
    source: &'a str,
    tree: &'a Tree,
    placeholders: std::slice::Iter<'a, Placeholder>,
    out: String,
}

impl Printer<'_> {
    /// Prints a node and what is within it; gives the index of the node behind. Only trees of the
    /// tests come here, so it may recurse.
    fn node(&mut self, at: usize) -> usize {
        let node = self.tree.nodes[at];
        let behind = node.end as usize;
        match node.kind {
            NodeKind::Scalar | NodeKind::Text => self.out.push_str(node.span.of(self.source)),
            // A string without placeholders has nothing within it: all of it is its text.
            NodeKind::String | NodeKind::Name if behind == at + 1 => {
                self.out.push_str(node.span.of(self.source));
            }
            NodeKind::String | NodeKind::Name => {
                self.out.push('"');
                self.within(at, |_, _| "");
                self.out.push('"');
            }
            NodeKind::Array => {
                self.out.push('[');
                self.within(at, |_, count| if count > 0 { "," } else { "" });
                self.out.push(']');
            }
            NodeKind::Object => {
                self.out.push('{');
                self.within(at, |kind, count| match kind {
                    NodeKind::Name if count > 0 => ",",
                    NodeKind::Name => "",
                    _ => ":",
                });
                self.out.push('}');
            }
            NodeKind::Placeholder => {
                let placeholder = self.placeholders.next().expect("one for each such node");
                self.placeholder(placeholder);
            }
        }
        behind
    }

    /// Prints the nodes within one, before each what `before` says of its kind and its number.
    fn within(&mut self, node: usize, before: impl Fn(NodeKind, usize) -> &'static str) {
        let mut at = node + 1;
        let mut count = 0;
        while at < self.tree.nodes[node].end as usize {
            self.out.push_str(before(self.tree.nodes[at].kind, count));
            count += 1;
            at = self.node(at);
        }
    }

    fn placeholder(&mut self, placeholder: &Placeholder) {
        // Text that begins like `<a|b:'` goes on to a single quote somewhere behind it; a line
        // break may stand in a placeholder but not in quoted text, so that it stays text.
        let space = if placeholder.position == Position::Text { "\n" } else { "" };
        let (opening, before_path, closing) = match placeholder.form {
            Form::Brace => ('{', space, '}'),
            Form::Angle => ('<', "", '>'),
        };
        self.out.push(opening);
        self.out.push_str(before_path);
        self.out.push_str(placeholder.name.of(self.source));
        for step in &placeholder.steps {
            match &step.kind {
                StepKind::Member(name) => {
                    self.out.push('[');
                    self.quoted(name);
                    self.out.push(']');
                }
                StepKind::Index(index) => write!(self.out, "[{index}]").expect("a text takes all"),
            }
        }
        for filter in &placeholder.filters {
            self.out.push('|');
            self.out.push_str(space);
            self.out.push_str(filter.name.of(self.source));
            for (index, argument) in filter.arguments.iter().enumerate() {
                self.out.push(if index == 0 { ':' } else { ',' });
                self.argument(&argument.value);
            }
        }
        self.out.push(closing);
    }

    fn argument(&mut self, value: &Json) {
        match value {
            Json::Text(text) => self.quoted(text),
            Json::Array(_) | Json::Object(_) => unreachable!("an argument is never an array or object"),
            scalar => self.out.push_str(&scalar.to_compact()),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('\'');
        for character in text.chars() {
            if character.is_ascii_alphanumeric() {
                self.out.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(self.out, "\\u{unit:04x}").expect("a text takes all");
                }
            }
        }
        self.out.push('\'');
    }
}

/// What a tree says, without its places: a line for each node, and one for each part of a
/// placeholder.
pub(super) fn meaning(source: &str, tree: &Tree) -> Vec<String> {
    let mut placeholders = tree.placeholders.iter();
    let mut meaning = Vec::new();
    for (at, node) in tree.nodes.iter().enumerate() {
        let is_whole = node.end as usize == at + 1;
        let text = match node.kind {
            NodeKind::Scalar | NodeKind::Text => node.span.of(source),
            NodeKind::String | NodeKind::Name if is_whole => node.span.of(source),
            NodeKind::String | NodeKind::Name | NodeKind::Array | NodeKind::Object => "",
            NodeKind::Placeholder => {
                let placeholder = placeholders.next().expect("one for each such node");
                meaning.extend(meaning_of(source, placeholder));
                ""
            }
        };
        meaning.push(format!("{:?} to {}: {text}", node.kind, node.end));
    }
    assert!(placeholders.next().is_none(), "a node for each placeholder");
    meaning
}

fn meaning_of(source: &str, placeholder: &Placeholder) -> Vec<String> {
    let Placeholder { form, position, name, steps, filters, .. } = placeholder;
    let mut meaning = vec![format!("{form:?} {position:?} {}", name.of(source))];
    meaning.extend(steps.iter().map(|step| format!("{:?}", step.kind)));
    for filter in filters {
        meaning.push(format!("filter {}", filter.name.of(source)));
        meaning.extend(filter.arguments.iter().map(|argument| format!("{:?}", argument.value)));
    }
    meaning
}

/// The tree of a text of that content type, if the text is as the grammar says.
pub(super) fn parse(source: &str, content_type: ContentType) -> Option<Tree> {
    /// Deeper than the default limit, so that it is not the depth that decides.
    const DEPTH: usize = 1 << 10;
    if source.len() > Span::MAX_TEXT {
        return None;
    }
    let mut problems = Problems::default();
    let tree = match content_type {
        ContentType::Json => grammar::parse(source, DEPTH, &mut problems),
        ContentType::Form | ContentType::Xml | ContentType::Text => {
            let rules = TextRules {
                has_angle_form: content_type.has_angle_form(),
                literal_brace: content_type.literal_brace(),
            };
            grammar::parse_text(source, rules, &mut problems)
        }
    };
    problems.is_empty().then_some(tree)
}

/// Says what differs between the tree of a text and the tree of its print; nothing if the text is
/// not as the grammar says.
///
/// # Panics
/// They differ.
#[allow(unreachable_pub, reason = "it is exported to the fuzzers only")]
pub fn assert_printed_tree_is_the_tree(source: &str, content_type: ContentType) {
    let Some(tree) = parse(source, content_type) else { return };
    let printed = print(source, &tree);
    let again = parse(&printed, content_type)
        .unwrap_or_else(|| panic!("the print is not as the grammar says: {printed}\nof: {source}"));
    assert_eq!(meaning(&printed, &again), meaning(source, &tree), "{printed}\nof: {source}");
    assert_eq!(print(&printed, &again), printed, "the print of a print is the same");
}

#[cfg(test)]
mod tests;
