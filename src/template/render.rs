//! Program and data to bytes: one walk over the operations, straight into the caller's buffer.

use std::hint;

use super::escaping::{Decoded, Escaping};
use super::filter::{Datum, Stop, Work};
use super::program::{Expression, Operation, OperationKind, Program};
use super::tree::StepKind;
use crate::context::{Value, Values};
use crate::escape::{self, Cursor};

/// Why a program did not run to its end.
pub(super) enum Stopped {
    /// The output would be larger than the limit.
    TooLarge,
    /// Of the program's names, by index, this one is equal to another of its object.
    Duplicate(usize),
    /// The value of this expression, by index, is required and missing.
    Required(usize),
    /// The filters have had more work than they may.
    Overworked,
}

impl Stopped {
    fn new(stop: Stop, expression: usize) -> Self {
        match stop {
            Stop::Required => Self::Required(expression),
            Stop::Overworked => Self::Overworked,
        }
    }
}

/// How many bytes a placeholder is expected to need, for the one reservation at the beginning.
const EXPECTED_VALUE: usize = 24;

/// How many bytes the filters of one rendering may read or make for each byte that it may have.
pub(super) const WORK_PER_BYTE: usize = 16;

/// How much room an operation of [`Position::write_plain`] needs beside its literals, at most: a
/// short text, its quotes, and what is written beyond the end.
const ROOM: usize = escape::SHORT_ROOM + 2 + Cursor::BEYOND;

const _: () = assert!(Program::PIECE <= Cursor::BEYOND, "a piece of literals may go beyond the end");

/// Appends the rendering; behind an error `out` holds a part of it.
pub(super) fn run(program: &Program, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), Stopped> {
    out.reserve(program.literals.len() + program.paths.len() * EXPECTED_VALUE + ROOM);
    let mut rest = Rest::new(program, out.len());
    let mut position = Position { operations: &program.operations, literals: &program.literals };
    loop {
        let halt;
        (position, halt) = escape::fill(out, |cursor| position.write_plain(values, cursor));
        match halt {
            Halt::End => return rest.check_length(out.len()),
            Halt::Room(room) => {
                rest.check_length(out.len())?;
                out.reserve(room);
            }
            Halt::Operation(operation) => {
                rest.operation(operation, values, out)?;
                rest.check_length(out.len())?;
            }
        }
    }
}

/// How far a rendering has come.
#[derive(Clone, Copy)]
struct Position<'p> {
    operations: &'p [Operation],
    literals: &'p [u8],
}

/// Why [`Position::write_plain`] halts.
enum Halt {
    /// There are no more operations.
    End,
    /// The next operation needs that much room.
    Room(usize),
    /// The literals of this operation are written, but what it does is not plain.
    Operation(Operation),
}

impl Position<'_> {
    /// Runs the operations that need neither a call nor more room: literals, and values that are
    /// short. Everything else is left to [`Rest::operation`], so that nothing but this loop's own
    /// state is in registers here.
    #[inline]
    fn write_plain<'c>(self, values: &Values<'_>, mut cursor: Cursor<'c>) -> (Cursor<'c>, (Self, Halt)) {
        let Self { mut operations, mut literals } = self;
        let halt = loop {
            let Some((operation, behind)) = operations.split_first() else { break Halt::End };
            let count = usize::from(operation.literals);
            if cursor.room() < count + ROOM {
                break Halt::Room(count + ROOM);
            }
            operations = behind;
            let (copied, behind) = literals.split_at(count);
            if operation.kind == OperationKind::Literals {
                cursor = cursor.put_all(copied);
                literals = behind;
                continue;
            }
            let piece =
                literals.first_chunk::<{ Program::PIECE }>().expect("there is a piece behind the last");
            cursor = cursor.put(*piece, count);
            literals = behind;
            if operation.kind > OperationKind::Text {
                break Halt::Operation(*operation);
            }
            // One way for values and text: what differs is how much of the same bytes counts.
            let is_value = usize::from(operation.kind == OperationKind::Value);
            let value = values.get(operation.name);
            if let Value::Text(text) = value
                && text.len() < escape::LONG
            {
                cursor = cursor.put([b'"'], is_value);
                cursor = escape::short(text.as_bytes(), cursor).put([b'"'], is_value);
                continue;
            }
            // Nearly all values are texts. Without this the compiler jumps by a table, and such jumps
            // cost a third of the rendering.
            hint::cold_path();
            if let Value::Number(spelling) = value
                && spelling.len() < 16
            {
                let bytes = escape::load(spelling.as_bytes()).to_le_bytes();
                cursor = cursor.put(bytes, spelling.len());
                continue;
            }
            hint::cold_path();
            cursor = match value {
                Value::Missing => cursor.put(*b"null", 4 * is_value),
                Value::Bool(true) => cursor.put(*b"true", 4),
                Value::Bool(false) => cursor.put(*b"false", 5),
                _ => break Halt::Operation(*operation),
            };
        };
        (cursor, (Self { operations, literals }, halt))
    }
}

/// What a rendering needs for the operations that are not plain.
struct Rest<'p> {
    program: &'p Program,
    /// How long the output may become.
    most: usize,
    work: Work,
    /// How many expressions were evaluated.
    expressions: usize,
    /// How many rendered names have ended.
    names: usize,
    /// Where the name at hand begins.
    name_begin: usize,
    /// Made when the first name ends: most templates have none.
    rendered: Option<RenderedNames>,
}

impl<'p> Rest<'p> {
    fn new(program: &'p Program, begin: usize) -> Self {
        Self {
            program,
            most: begin.saturating_add(program.limit),
            work: Work::new(program.limit.saturating_mul(WORK_PER_BYTE)),
            expressions: 0,
            names: 0,
            name_begin: 0,
            rendered: None,
        }
    }

    fn check_length(&self, length: usize) -> Result<(), Stopped> {
        if length > self.most { Err(Stopped::TooLarge) } else { Ok(()) }
    }

    fn operation(
        &mut self,
        operation: Operation,
        values: &Values<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stopped> {
        let value = values.get(operation.name);
        // First what most templates have; see `Position::write_plain`.
        if operation.kind == OperationKind::Text
            && let Value::Text(text) = value
        {
            escape::json(text, out);
            return Ok(());
        }
        if operation.kind == OperationKind::Value {
            value.write(out);
            return Ok(());
        }
        hint::cold_path();
        match operation.kind {
            OperationKind::Literals | OperationKind::Value => unreachable!("written already"),
            OperationKind::Text => write_text(value, Escaping::Json, out),
            OperationKind::OtherText => write_text(value, self.program.escaping, out),
            OperationKind::ExpressionValue => self.expression(values)?.as_value().write(out),
            OperationKind::ExpressionText => {
                write_text(self.expression(values)?.as_value(), self.program.escaping, out);
            }
            OperationKind::NameBegin => self.name_begin = out.len(),
            OperationKind::NameEnd => self.end_name(out)?,
            OperationKind::ObjectEnd => {
                if let Some(rendered) = &mut self.rendered {
                    rendered.end_object(out)?;
                }
            }
        }
        Ok(())
    }

    fn expression<'v>(&mut self, values: &Values<'v>) -> Result<Datum<'v>, Stopped>
    where
        'p: 'v,
    {
        let index = self.expressions;
        self.expressions += 1;
        let expression = &self.program.expressions[index];
        expression.evaluate(values, &mut self.work).map_err(|stop| Stopped::new(stop, index))
    }

    fn end_name(&mut self, out: &[u8]) -> Result<(), Stopped> {
        let index = self.names;
        self.names += 1;
        let members_index = self.program.names[index].members;
        let members = &self.program.objects[members_index as usize];
        let content = &out[self.name_begin..];
        if members.fixed.binary_search_by(|fixed| fixed.bytes().cmp(Decoded::new(content))).is_ok() {
            return Err(Stopped::Duplicate(index));
        }
        if members.rendered > 1 {
            let entry = Entry { members: members_index, index, begin: self.name_begin, end: out.len() };
            self.rendered.get_or_insert_default().push(entry);
        }
        Ok(())
    }
}

impl Expression {
    fn evaluate<'a>(&'a self, values: &Values<'a>, work: &mut Work) -> Result<Datum<'a>, Stop> {
        let mut value = values.get(self.name);
        for step in &self.steps {
            value = match (step, value) {
                (StepKind::Member(name), Value::Object(members)) => members
                    .iter()
                    .rev()
                    .find(|(key, _)| key == name)
                    .map_or(Value::Missing, |(_, json)| json.into()),
                (StepKind::Index(index), Value::Array(items)) => {
                    items.get(*index).map_or(Value::Missing, Into::into)
                }
                _ => Value::Missing,
            };
        }
        self.filters.iter().try_fold(Datum::from(value), |datum, filter| filter.apply(datum, work))
    }
}

/// A value within text: its text form, escaped.
fn write_text(value: Value<'_>, escaping: Escaping, out: &mut Vec<u8>) {
    match value {
        Value::Missing => {}
        Value::Text(text) | Value::Number(text) => escaping.text(text, out),
        Value::Bool(value) => escaping.text(if value { "true" } else { "false" }, out),
        Value::Array(_) | Value::Object(_) => {
            let begin = out.len();
            value.write(out);
            escaping.json_within(out, begin);
        }
    }
}

/// A rendered name of an object that has several, in the output.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    members: u32,
    index: usize,
    begin: usize,
    end: usize,
}

/// The rendered names of the objects that are open, the innermost object's last. A few fit without
/// an allocation.
#[derive(Default)]
struct RenderedNames {
    few: [Entry; Self::FEW],
    count: usize,
    many: Vec<Entry>,
}

impl RenderedNames {
    const FEW: usize = 16;

    fn push(&mut self, entry: Entry) {
        if self.many.is_empty() && self.count < Self::FEW {
            self.few[self.count] = entry;
            self.count += 1;
            return;
        }
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.few[..self.count]);
            self.count = 0;
        }
        self.many.push(entry);
    }

    /// Takes the innermost object's names away, which must all be different.
    fn end_object(&mut self, out: &[u8]) -> Result<(), Stopped> {
        let all = if self.many.is_empty() { &mut self.few[..self.count] } else { &mut self.many[..] };
        let Some(last) = all.last() else { return Ok(()) };
        let members = last.members;
        let others = all.iter().rposition(|entry| entry.members != members).map_or(0, |at| at + 1);
        let own = &mut all[others..];
        let text = |entry: &Entry| Decoded::new(&out[entry.begin..entry.end]);
        // Sorted by their text and then by their place, of two that are equal the second comes later.
        own.sort_unstable_by(|one, other| text(one).cmp(text(other)).then(one.index.cmp(&other.index)));
        let later =
            own.windows(2).filter(|pair| text(&pair[0]).eq(text(&pair[1]))).map(|pair| pair[1].index).min();
        if self.many.is_empty() {
            self.count = others;
        } else {
            self.many.truncate(others);
        }
        later.map_or(Ok(()), |index| Err(Stopped::Duplicate(index)))
    }
}
