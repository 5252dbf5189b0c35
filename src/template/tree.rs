//! The syntax tree: flat, in the order of the text, so that nothing that walks or drops it recurses.

use std::ops::Range;

use crate::context::Json;

/// A stretch of the template's text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first byte.
    pub(super) start: u32,
    /// The byte behind the last.
    pub(super) end: u32,
}

impl Span {
    /// The longest text whose places fit into a span.
    pub(super) const MAX_TEXT: usize = u32::MAX as usize;

    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |place| u32::try_from(place).expect("no text longer than MAX_TEXT is parsed");
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) fn of(self, source: &str) -> &str {
        &source[self.range()]
    }
}

/// A parsed template.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Every node, each before the nodes within it.
    pub(super) nodes: Vec<Node>,
    /// What the nodes of kind [`NodeKind::Placeholder`] say, in the same order.
    pub(super) placeholders: Vec<Placeholder>,
}

impl Tree {
    /// An empty tree, with room for what a text of that length usually needs.
    pub(super) fn for_text(source: &str) -> Self {
        /// How many bytes there are to a node, and to a placeholder.
        const NODE: usize = 8;
        const PLACEHOLDER: usize = 24;
        Self {
            nodes: Vec::with_capacity(source.len() / NODE + 1),
            placeholders: Vec::with_capacity(source.len() / PLACEHOLDER + 1),
        }
    }
}

/// A value, a member's name, or a piece of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) span: Span,
    /// The index of the first node that is not within this one.
    pub(super) end: u32,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// `null`, `true`, `false` or a number.
    Scalar,
    /// A string. Its pieces are within it where it has placeholders, else nothing is.
    String,
    /// A member's name: as a string; the member's value is the node behind it.
    Name,
    /// An array, its items within it.
    Array,
    /// An object, within it a name and a value for each member.
    Object,
    /// A piece of a string between placeholders.
    Text,
    /// A placeholder.
    Placeholder,
}

/// `{name.member[0] | filter: 'argument'}`
#[derive(Debug)]
pub(super) struct Placeholder {
    /// With its brackets.
    pub(super) span: Span,
    pub(super) form: Form,
    pub(super) position: Position,
    /// The name and its steps.
    pub(super) path: Span,
    pub(super) name: Span,
    pub(super) steps: Vec<Step>,
    pub(super) filters: Vec<Call>,
}

/// Which brackets a placeholder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `{name}`
    Brace,
    /// `<name>`
    Angle,
}

/// Where a placeholder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Where a value is expected: rendered as JSON.
    Value,
    /// Inside a string or a member's name: rendered as text.
    Text,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) span: Span,
    pub(super) kind: StepKind,
}

/// Where a step goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    /// `.member` or `['a member']`
    Member(Box<str>),
    /// `[0]`
    Index(usize),
}

/// A filter with its arguments, as written.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: Span,
    pub(super) arguments: Vec<Argument>,
}

/// An argument of a filter: never an array or object.
#[derive(Debug)]
pub(super) struct Argument {
    pub(super) span: Span,
    pub(super) value: Json,
}
