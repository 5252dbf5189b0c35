//! Program and data to bytes: one walk over the operations, straight into the caller's buffer.

use super::escape::{Decoded, Escaping};
use super::filter::{Datum, Stop, Work};
use super::program::{Expression, OperationKind, Program};
use super::tree::StepKind;
use super::write;
use crate::context::{Name, Value, Values};

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

/// Appends the rendering; behind an error `out` holds a part of it.
pub(super) fn run(program: &Program, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), Stopped> {
    out.reserve(program.literals.len() + program.paths.len() * EXPECTED_VALUE);
    let most = out.len().saturating_add(program.limit);
    let mut literals = &program.literals[..];
    let mut expressions = program.expressions.iter().enumerate();
    let mut names = program.names.iter().enumerate();
    let mut work = Work::new(program.limit.saturating_mul(WORK_PER_BYTE));
    let mut name_begin = 0;
    let mut rendered = RenderedNames::default();
    for operation in &program.operations {
        let (copied, rest) = literals.split_at(usize::from(operation.literals));
        literals = rest;
        out.extend_from_slice(copied);
        match operation.kind {
            OperationKind::Nothing => {}
            OperationKind::Value => write::json(values.get(Name::ALL[usize::from(operation.slot)]), out),
            OperationKind::Text => {
                write_text(values.get(Name::ALL[usize::from(operation.slot)]), program.escaping, out);
            }
            OperationKind::ExpressionValue => {
                let (index, expression) = expressions.next().expect("one for each such operation");
                let datum =
                    expression.evaluate(values, &mut work).map_err(|stop| Stopped::new(stop, index))?;
                write::json(datum.as_value(), out);
            }
            OperationKind::ExpressionText => {
                let (index, expression) = expressions.next().expect("one for each such operation");
                let datum =
                    expression.evaluate(values, &mut work).map_err(|stop| Stopped::new(stop, index))?;
                write_text(datum.as_value(), program.escaping, out);
            }
            OperationKind::NameBegin => name_begin = out.len(),
            OperationKind::NameEnd => {
                let (index, name) = names.next().expect("one for each such operation");
                let members = &program.objects[name.members as usize];
                let content = &out[name_begin..];
                if members.fixed.binary_search_by(|fixed| fixed.bytes().cmp(Decoded::new(content))).is_ok() {
                    return Err(Stopped::Duplicate(index));
                }
                if members.rendered > 1 {
                    rendered.push(Entry { members: name.members, index, begin: name_begin, end: out.len() });
                }
            }
            OperationKind::ObjectEnd => rendered.end_object(out)?,
        }
        if out.len() > most {
            return Err(Stopped::TooLarge);
        }
    }
    Ok(())
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
            write::json(value, out);
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
