//! The filters: what stands behind a bar.

use super::diagnostic::{Code, Problems};
use super::grammar::excerpt;
use super::suggest;
use super::tree::{Argument, Call};
use crate::context::Json;

mod datum;

pub(super) use datum::Datum;

/// A filter with its arguments.
#[derive(Debug)]
pub(super) enum Filter {
    Default(Json),
    Required,
}

/// The filters' names, in the order of the documentation.
const NAMES: [&str; 2] = ["default", "required"];

impl Filter {
    /// Compiles a filter; what is wrong with it is added to `problems`.
    pub(super) fn compile(source: &str, call: &Call, problems: &mut Problems) -> Option<Self> {
        let name = call.name.of(source);
        let mut arguments = Arguments { call, name, next: 0, problems };
        let filter = match name {
            "default" => arguments.any().map(Self::Default),
            "required" => Some(Self::Required),
            _ => {
                let suggestion = suggest::meant(name, NAMES).map(str::to_owned);
                let message = format!("there is no filter `{}`", excerpt(name));
                problems.suggest(Code::UnknownFilter, call.name, message, suggestion);
                return None;
            }
        }?;
        arguments.end()?;
        Some(filter)
    }

    pub(super) fn apply<'a>(&'a self, input: Datum<'a>) -> Result<Datum<'a>, Missing> {
        match self {
            Self::Default(value) if input.is_missing() || input.is_empty_text() => Ok(Datum::from(value)),
            Self::Default(_) => Ok(input),
            Self::Required if input.is_missing() => Err(Missing),
            Self::Required => Ok(input),
        }
    }
}

/// A required value is missing.
pub(super) struct Missing;

struct Arguments<'a> {
    call: &'a Call,
    name: &'a str,
    next: usize,
    problems: &'a mut Problems,
}

impl<'a> Arguments<'a> {
    fn optional(&mut self) -> Option<&'a Argument> {
        let argument = self.call.arguments.get(self.next)?;
        self.next += 1;
        Some(argument)
    }

    fn any(&mut self) -> Option<Json> {
        let argument = self.optional();
        if argument.is_none() {
            let message = format!("`{}` takes a value", self.name);
            self.problems.add(Code::BadArgument, self.call.name, message);
        }
        argument.map(|argument| argument.value.clone())
    }

    fn end(mut self) -> Option<()> {
        let Some(more) = self.optional() else { return Some(()) };
        let message = format!("`{}` takes no more arguments", self.name);
        self.problems.add(Code::BadArgument, more.span, message);
        None
    }
}
