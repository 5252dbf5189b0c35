//! A filter's arguments, checked one after the other.

use crate::context::Json;
use crate::template::diagnostic::{Code, Problems};
use crate::template::tree::{Argument, Call, Span};

/// The arguments of one filter. Every method gives `None` where it has reported a problem.
pub(super) struct Arguments<'a> {
    call: &'a Call,
    name: &'a str,
    next: usize,
    problems: &'a mut Problems,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(call: &'a Call, name: &'a str, problems: &'a mut Problems) -> Self {
        Self { call, name, next: 0, problems }
    }

    /// The next argument, if there is one more.
    fn optional(&mut self) -> Option<&'a Argument> {
        let argument = self.call.arguments.get(self.next)?;
        self.next += 1;
        Some(argument)
    }

    fn required(&mut self, what: &str) -> Option<&'a Argument> {
        let argument = self.optional();
        if argument.is_none() {
            let number = if self.next == 0 { "an argument" } else { "one more argument" };
            let message = format!("`{}` needs {number}: {what}", self.name);
            self.problems.add(Code::BadArgument, self.call.name, message);
        }
        argument
    }

    /// Reports that the argument before is not what it should be.
    pub(super) fn refuse<T>(&mut self, what: &str) -> Option<T> {
        let place = self.next.checked_sub(1).and_then(|last| self.call.arguments.get(last));
        let span = place.map_or(self.call.name, |argument| argument.span);
        self.refuse_at(span, &format!("this argument of `{}` must be {what}", self.name), None)
    }

    /// Reports a problem with the argument before, with what to write instead.
    pub(super) fn refuse_for<T>(&mut self, message: &str, suggestion: Option<String>) -> Option<T> {
        let place = self.next.checked_sub(1).and_then(|last| self.call.arguments.get(last));
        let span = place.map_or(self.call.name, |argument| argument.span);
        self.refuse_at(span, message, suggestion)
    }

    fn refuse_at<T>(&mut self, span: Span, message: &str, suggestion: Option<String>) -> Option<T> {
        self.problems.suggest(Code::BadArgument, span, message, suggestion);
        None
    }

    /// Any value.
    pub(super) fn any(&mut self) -> Option<Json> {
        self.required("a value").map(|argument| argument.value.clone())
    }

    /// A text.
    pub(super) fn text(&mut self) -> Option<Box<str>> {
        const WHAT: &str = "a text in single quotes";
        match &self.required(WHAT)?.value {
            Json::Text(text) => Some(text.clone()),
            _ => self.refuse(WHAT),
        }
    }

    /// A text of at least one character.
    pub(super) fn text_that_is_not_empty(&mut self) -> Option<Box<str>> {
        let text = self.text()?;
        if text.is_empty() { self.refuse("a text that is not empty") } else { Some(text) }
    }

    /// A text; empty if there are no more arguments.
    pub(super) fn text_or_nothing(&mut self) -> Option<Box<str>> {
        if self.has_more() { self.text() } else { Some("".into()) }
    }

    /// A whole number from 0 to `most`.
    pub(super) fn count(&mut self, most: usize) -> Option<usize> {
        let what = match most {
            usize::MAX => "a whole number from 0".to_owned(),
            _ => format!("a whole number from 0 to {most}"),
        };
        match &self.required(&what)?.value {
            // No sign, fraction or exponent: JSON's numbers have no other spelling for a count.
            Json::Number(spelling) if spelling.parse().is_ok_and(|count: usize| count <= most) => {
                spelling.parse().ok()
            }
            _ => self.refuse(&what),
        }
    }

    /// A whole number from 0 to `most`; 0 if there are no more arguments.
    pub(super) fn count_or_zero(&mut self, most: usize) -> Option<usize> {
        if self.has_more() { self.count(most) } else { Some(0) }
    }

    /// There must be no more.
    pub(super) fn end(mut self) -> Option<()> {
        let taken = self.next;
        let Some(more) = self.optional() else { return Some(()) };
        let message = match taken {
            0 => format!("`{}` takes no arguments", self.name),
            1 => format!("`{}` takes no more than one argument", self.name),
            _ => format!("`{}` takes no more than {taken} arguments", self.name),
        };
        self.refuse_at(more.span, &message, None)
    }

    pub(super) const fn has_more(&self) -> bool {
        self.next < self.call.arguments.len()
    }
}
