//! Program and data to bytes: one walk over the operations, straight into the caller's buffer.

use super::escaping::{Decoded, Escaping};
use super::filter::{Datum, Stop, Work};
use super::program::{Expression, Operation, OperationKind, Program};
use super::tree::StepKind;
use crate::context::writer::{self, Writing};
use crate::context::{Name, Value, Values};
use crate::escape::{self, Cursor, Window};

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

/// How much room a short text needs, at most, with its quotes; for what is within a window, how much
/// is left where it begins.
const TEXT_ROOM: usize = 1 + escape::SHORT_ROOM + 1;

/// How much room an operation of [`Position::write_plain`] needs, at most: its literals, and a short
/// text or another short value.
const ROOM: usize = Program::PIECE + TEXT_ROOM;

/// Appends the rendering; behind an error `out` holds a part of it.
pub(super) fn run(program: &Program, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), Stopped> {
    out.reserve(program.fixed + program.paths.len() * EXPECTED_VALUE + ROOM);
    let mut rest = Rest::new(program, out.len());
    let mut position = Position { operations: &program.operations, literals: &program.literals };
    let mut writing = Writing::array(&[]);
    loop {
        let halt;
        (position, halt) = escape::fill(
            out,
            #[inline(always)]
            |cursor| position.write_plain(values, &mut writing, cursor),
        );
        match halt {
            Halt::End => return rest.check_length(out.len()),
            Halt::Room => {
                rest.check_length(out.len())?;
                out.reserve(ROOM);
            }
            Halt::Literals(literals) => {
                out.extend_from_slice(literals);
                rest.check_length(out.len())?;
            }
            Halt::Text { text, quotes } => {
                escape::json_bytes(text, out);
                out.extend_from_slice(&[b'"'][..quotes]);
                rest.check_length(out.len())?;
            }
            Halt::Writing(halt) => {
                writing.finish_from(halt, out);
                rest.check_length(out.len())?;
            }
            Halt::Operation(operation) => {
                rest.operation(operation.kind, operation.name, values, out)?;
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
enum Halt<'p, 'v> {
    /// There are no more operations.
    End,
    /// There may not be room for the next operation.
    Room,
    /// There is no room for these literals.
    Literals(&'p [u8]),
    /// This is left of a text for which there may not be room.
    Text { text: &'v [u8], quotes: usize },
    /// Of an array or object that is written something is left.
    Writing(writer::Halt<'v>),
    /// The literals of this operation are written, but what it does is not plain.
    Operation(&'p Operation),
}

impl<'p> Position<'p> {
    /// Runs the operations that are plain, while there is room. Everything else is left to
    /// [`Rest::operation`], so that nothing but this loop's own state is in registers here.
    #[expect(clippy::inline_always, reason = "it is compiled for the machine at hand; see `escape::fill`")]
    #[inline(always)]
    fn write_plain<'v, 'c>(
        self,
        values: &Values<'v>,
        writing: &mut Writing<'v>,
        mut cursor: Cursor<'c>,
    ) -> (Cursor<'c>, (Self, Halt<'p, 'v>)) {
        let mut operations = self.operations.iter();
        let mut literals = self.literals;
        let halt = loop {
            let Some(operation) = operations.as_slice().first() else { break Halt::End };
            let window = match Window::<ROOM>::new(cursor) {
                Ok(window) => window,
                Err(unchanged) => {
                    cursor = unchanged;
                    break Halt::Room;
                }
            };
            operations.next();
            let window = window.put::<_, TEXT_ROOM>(&operation.piece, usize::from(operation.count));
            if operation.kind > OperationKind::Text {
                cursor = window.end();
                match operation.kind {
                    OperationKind::Piece => continue,
                    OperationKind::Literals => {}
                    _ => break Halt::Operation(operation),
                }
                let copied;
                (copied, literals) = literals.split_at(operation.literals_count());
                if cursor.room() < copied.len() {
                    break Halt::Literals(copied);
                }
                cursor = cursor.put_all(copied);
                continue;
            }
            // One way for texts and numbers, as values and within texts: what differs is how much of the
            // same bytes counts.
            let is_value = operation.kind == OperationKind::Value;
            let value = values.get(operation.name);
            if let Value::Text(text) | Value::Number(text) = value {
                let quotes = usize::from(is_value & matches!(value, Value::Text(_)));
                let mut text = text.as_bytes();
                let window = window.put::<_, { TEXT_ROOM - 1 }>(b"\"", quotes);
                if text.len() < escape::LONG {
                    let window = escape::short_within::<_, 1>(text, window);
                    cursor = window.put::<_, 0>(b"\"", quotes).end();
                    continue;
                }
                (cursor, text) = escape::long(text, window.end());
                if cursor.room() < TEXT_ROOM {
                    break Halt::Text { text, quotes };
                }
                cursor = escape::short(text, cursor).put([b'"'], quotes);
                continue;
            }
            let is_done;
            (cursor, is_done) = write_other(values, operation, writing, window.end());
            match is_done {
                None => {}
                Some(Other::Not) => break Halt::Operation(operation),
                Some(Other::Writing(halt)) => break Halt::Writing(halt),
            }
        };
        (cursor, (Self { operations: operations.as_slice(), literals }, halt))
    }
}

/// Why [`write_other`] has not written all.
enum Other<'v> {
    /// The value is not plain.
    Not,
    /// Something is left of an array.
    Writing(writer::Halt<'v>),
}

/// A value that is neither text nor number.
#[inline(never)]
fn write_other<'v, 'c>(
    values: &Values<'v>,
    operation: &Operation,
    writing: &mut Writing<'v>,
    cursor: Cursor<'c>,
) -> (Cursor<'c>, Option<Other<'v>>) {
    let is_value = operation.kind == OperationKind::Value;
    let cursor = match values.get(operation.name) {
        Value::Missing => cursor.put(*b"null", 4 * usize::from(is_value)),
        Value::Bool(true) => cursor.put(*b"true", 4),
        Value::Bool(false) => cursor.put(*b"false", 5),
        Value::Array(items) if is_value => {
            writing.begin_array(items);
            return match writing.write(cursor.put([b'['], 1)) {
                (cursor, writer::Halt::End) => (cursor, None),
                (cursor, halt) => (cursor, Some(Other::Writing(halt))),
            };
        }
        _ => return (cursor, Some(Other::Not)),
    };
    (cursor, None)
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
        kind: OperationKind,
        name: Name,
        values: &Values<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stopped> {
        let value = values.get(name);
        match kind {
            OperationKind::Piece | OperationKind::Literals => unreachable!("written already"),
            OperationKind::Value => value.write(out),
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
