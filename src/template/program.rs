//! What a template compiles to: a flat list of small operations.
//!
//! Each carries the few literal bytes that come before it; more of them are in an arena. No operation
//! carries a place: every table is read from front to back, so that rendering walks everything once,
//! in the order of the output.

use super::escaping::Escaping;
use super::filter::Filter;
use super::tree::{Span, StepKind};
use crate::context::Name;

const _: () = assert!(size_of::<Operation>() == Program::PIECE + 3, "programs are small");

/// A template, ready to render.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) operations: Vec<Operation>,
    /// What the operations of the kind [`OperationKind::Literals`] copy.
    pub(super) literals: Vec<u8>,
    /// How many bytes are outside the placeholders.
    pub(super) fixed: usize,
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
    /// How many literals an operation carries at most.
    pub(super) const PIECE: usize = 32;
}

/// Copy these literals, then do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// The literals, and whatever behind them.
    pub(super) piece: [u8; Program::PIECE],
    /// How many bytes of the piece are literals.
    pub(super) count: u8,
    pub(super) kind: OperationKind,
    /// The name whose value is written, where one is.
    pub(super) name: Name,
}

impl Operation {
    /// The name of operations that write no value.
    pub(super) const NO_NAME: Name = Name::ALL[0];

    /// Copies these literals, at most [`Program::PIECE`], then does this.
    pub(super) fn new(literals: &[u8], kind: OperationKind, name: Name) -> Self {
        let mut piece = [0; Program::PIECE];
        piece[..literals.len()].copy_from_slice(literals);
        let count = u8::try_from(literals.len()).expect("a piece is short");
        Self { piece, count, kind, name }
    }

    /// Copies so many of the program's literals. Its piece has their number in the place of literals.
    pub(super) fn literals(count: usize) -> Self {
        let count = u32::try_from(count).expect("texts are shorter than that");
        Self { count: 0, ..Self::new(&count.to_le_bytes(), OperationKind::Literals, Self::NO_NAME) }
    }

    /// How many of the program's literals [`OperationKind::Literals`] copies.
    pub(super) fn literals_count(&self) -> usize {
        let count = self.piece.first_chunk().expect("a piece is longer than a number");
        u32::from_le_bytes(*count) as usize
    }
}

/// What follows the literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum OperationKind {
    /// The name's value as JSON.
    Value,
    /// The name's value as text in a JSON string. The kinds behind this one are not so plain.
    Text,
    /// Nothing more.
    Piece,
    /// Copies some of the program's literals: there are more than operations should carry.
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
