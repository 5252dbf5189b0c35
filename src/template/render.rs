//! Program and data to bytes: one walk over the operations, straight into the caller's buffer.

use super::escape::{self, Decoded};
use super::filter::{Datum, Missing};
use super::program::{Expression, OperationKind, Program};
use super::tree::StepKind;
use crate::context::{Json, Name, Value, Values};

/// Why a program did not run to its end.
pub(super) enum Stopped {
    /// The output would be larger than the limit.
    TooLarge,
    /// Of the program's names, by index, this one is equal to another of its object.
    Duplicate(usize),
    /// The value of this expression, by index, is required and missing.
    Required(usize),
}

/// How many bytes a placeholder is expected to need, for the one reservation at the beginning.
const EXPECTED_VALUE: usize = 24;

/// Appends the rendering; behind an error `out` holds a part of it.
pub(super) fn run(program: &Program, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), Stopped> {
    out.reserve(program.literals.len() + program.paths.len() * EXPECTED_VALUE);
    let most = out.len().saturating_add(program.limit);
    let mut literals = &program.literals[..];
    let mut expressions = program.expressions.iter().enumerate();
    let mut names = program.names.iter().enumerate();
    let mut name_begin = 0;
    let mut rendered = RenderedNames::default();
    for operation in &program.operations {
        let (copied, rest) = literals.split_at(usize::from(operation.literals));
        literals = rest;
        out.extend_from_slice(copied);
        match operation.kind {
            OperationKind::Nothing => {}
            OperationKind::Value => write_value(values.get(Name::ALL[usize::from(operation.slot)]), out),
            OperationKind::Text => write_text(values.get(Name::ALL[usize::from(operation.slot)]), out),
            OperationKind::ExpressionValue => {
                let (index, expression) = expressions.next().expect("one for each such operation");
                let datum = expression.evaluate(values).map_err(|Missing| Stopped::Required(index))?;
                write_value(datum.as_value(), out);
            }
            OperationKind::ExpressionText => {
                let (index, expression) = expressions.next().expect("one for each such operation");
                let datum = expression.evaluate(values).map_err(|Missing| Stopped::Required(index))?;
                write_text(datum.as_value(), out);
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
    fn evaluate<'a>(&'a self, values: &Values<'a>) -> Result<Datum<'a>, Missing> {
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
        self.filters.iter().try_fold(Datum::from(value), |datum, filter| filter.apply(datum))
    }
}

/// A value where a value stands: as JSON.
fn write_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Missing => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(spelling) => out.extend_from_slice(spelling.as_bytes()),
        Value::Text(text) => {
            out.push(b'"');
            escape::json(text, out);
            out.push(b'"');
        }
        Value::Array(items) => write_array(items, out),
        Value::Object(members) => write_object(members, out),
    }
}

/// A value within a string: its text form, escaped.
fn write_text(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Missing => {}
        Value::Text(text) => escape::json(text, out),
        Value::Bool(_) | Value::Number(_) => write_value(value, out),
        Value::Array(_) | Value::Object(_) => {
            let begin = out.len();
            write_value(value, out);
            escape::json_within(out, begin);
        }
    }
}

fn write_array(items: &[Json], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.write(out);
    }
    out.push(b']');
}

fn write_object(members: &[(Box<str>, Json)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'"');
        escape::json(name, out);
        out.extend_from_slice(b"\":");
        value.write(out);
    }
    out.push(b'}');
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
