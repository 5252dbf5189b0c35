//! What a template compiles to: a flat list of small operations over one arena of literal bytes.
//!
//! Operations carry no places: each says how many literal bytes come before it, and every table is
//! read from front to back, so that rendering walks everything once, in the order of the output.

use super::escaping::Escaping;
use super::filter::Filter;
use super::tree::{Span, StepKind};
use crate::context::Name;

const _: () = assert!(size_of::<Operation>() == 4, "programs are small");

/// A template, ready to render.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) operations: Vec<Operation>,
    /// Everything outside the placeholders, and [`Self::PIECE`] bytes more, so that all of it can be
    /// read in pieces of that size.
    pub(super) literals: Vec<u8>,
    /// The operands of [`OperationKind::ExpressionValue`] and [`OperationKind::ExpressionText`].
    pub(super) expressions: Vec<Expression>,
    /// The operands of [`OperationKind::NameEnd`].
    pub(super) names: Vec<RenderedName>,
    /// The objects that [`RenderedName::members`] points to.
    pub(super) objects: Vec<Members>,
    /// The path of each placeholder, as spelt.
    pub(super) paths: Vec<Span>,
    /// How text is escaped.
    pub(super) escaping: Escaping,
    /// How large a rendering may be, in bytes.
    pub(super) limit: usize,
}

impl Program {
    /// How many literals an operation copies at most, other than [`OperationKind::Literals`].
    pub(super) const PIECE: usize = 64;
}

/// Four bytes: copy this many literals, then do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) literals: u16,
    pub(super) kind: OperationKind,
    /// The name whose value is written, where one is.
    pub(super) name: Name,
}

/// What follows the literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum OperationKind {
    /// The name's value as JSON.
    Value,
    /// The name's value as text in a JSON string. The kinds behind this one are not so plain.
    Text,
    /// Nothing more: these are more literals than the other operations copy.
    Literals,
    /// The name's value as text, escaped in another way.
    OtherText,
    /// The next expression's value as JSON.
    ExpressionValue,
    /// The next expression's value as text.
    ExpressionText,
    /// A member's name with placeholders begins.
    NameBegin,
    /// It ends, and must be unlike the object's fixed names.
    NameEnd,
    /// An object with several such names ends: they must be unlike each other.
    ObjectEnd,
}

/// A placeholder with steps or filters.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) name: Name,
    pub(super) steps: Box<[StepKind]>,
    pub(super) filters: Box<[Filter]>,
    /// The path as the template spells it.
    pub(super) path: Span,
}

/// A member's name that has placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenderedName {
    /// The index of the object that it is a name of.
    pub(super) members: u32,
    /// Where it stands in the template.
    pub(super) offset: u32,
}

/// The names of an object of which at least one has placeholders.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Those without placeholders, decoded and in order.
    pub(super) fixed: Box<[Box<str>]>,
    /// How many have placeholders.
    pub(super) rendered: usize,
}
