//! The productions of a placeholder.
//!
//! ```text
//! brace   = "{" ws path ws filters "}"
//! angle   = "<" path filters ">"
//! path    = ident *( "." ident / "[" digits "]" / "[" quoted "]" )
//! filters = *( "|" ws ident ws [ ":" ws arg ws *( "," ws arg ws ) ] )
//! arg     = number / "true" / "false" / "null" / quoted
//! ```

use nom::bytes::complete::tag;
use nom::character::complete::{char, digit1};
use nom::combinator::{opt, value};
use nom::{Err, Parser};

use super::lexeme::{
    Failure, Malformed, Parsed, begins_name, expect, fail, member, name, number, quoted, white_space,
};
use crate::context::Json;
use crate::template::tree::{Argument, Call, Form, Placeholder, Position, Span, Step, StepKind};

/// The productions, for one text: they see what is left of it, and reckon places from its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Productions {
    pub(super) total: usize,
}

impl Productions {
    pub(super) fn offset(self, rest: &[u8]) -> usize {
        self.total - rest.len()
    }

    fn span(self, from: &[u8], to: &[u8]) -> Span {
        Span::new(self.offset(from), self.offset(to))
    }

    /// `brace`
    pub(super) fn brace(self, input: &[u8], position: Position) -> Parsed<'_, Placeholder> {
        let (rest, _) = (char('{'), white_space).parse(input)?;
        let (rest, (path, name, steps)) = self.path(rest)?;
        let (rest, _) = white_space(rest)?;
        let (rest, filters) = self.filters(rest)?;
        let (rest, _) = expect(char('}'), Malformed::Close)(rest)?;
        let span = self.span(input, rest);
        Ok((rest, Placeholder { span, form: Form::Brace, position, path, name, steps, filters }))
    }

    /// `angle`
    pub(super) fn angle(self, input: &[u8], position: Position) -> Parsed<'_, Placeholder> {
        let (rest, _) = char('<')(input)?;
        let (rest, (path, name, steps)) = self.path(rest)?;
        let (rest, filters) = self.filters(rest)?;
        let (rest, _) = expect(char('>'), Malformed::Close)(rest)?;
        let span = self.span(input, rest);
        Ok((rest, Placeholder { span, form: Form::Angle, position, path, name, steps, filters }))
    }

    /// `path`: all of it, its name, and its steps.
    fn path(self, input: &[u8]) -> Parsed<'_, (Span, Span, Vec<Step>)> {
        let (mut rest, _) = name(input)?;
        let name = self.span(input, rest);
        let mut steps = Vec::new();
        while let [b'.' | b'[', ..] = rest {
            let (behind, kind) = if rest[0] == b'.' {
                let (behind, member) = expect(member, Malformed::Member)(&rest[1..])?;
                (behind, StepKind::Member(String::from_utf8_lossy(member).into()))
            } else {
                Self::index(&rest[1..])?
            };
            steps.push(Step { span: self.span(rest, behind), kind });
            rest = behind;
        }
        Ok((rest, (self.span(input, rest), name, steps)))
    }

    /// What stands behind an opening bracket, with the closing one.
    fn index(input: &[u8]) -> Parsed<'_, StepKind> {
        let (rest, kind) = match input {
            [b'\'', ..] => {
                let (rest, text) = quoted(input)?;
                (rest, StepKind::Member(text.into()))
            }
            [b'0'..=b'9', ..] => {
                let (rest, digits) = digit1(input)?;
                // No array is as long as a number that overflows; its item is missing, as it should be.
                let index = digits.iter().fold(0_usize, |index, digit| {
                    index.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
                });
                (rest, StepKind::Index(index))
            }
            _ => return fail(input, Malformed::Index),
        };
        let (rest, _) = expect(char(']'), Malformed::Bracket)(rest)?;
        Ok((rest, kind))
    }

    /// `filters`
    fn filters(self, mut rest: &[u8]) -> Parsed<'_, Vec<Call>> {
        let mut filters = Vec::new();
        while let [b'|', behind @ ..] = rest {
            let (from, _) = white_space(behind)?;
            let (to, _) = expect(name, Malformed::Filter)(from)?;
            let filter = self.span(from, to);
            (rest, _) = white_space(to)?;
            let mut arguments = Vec::new();
            if let [b':', behind @ ..] = rest {
                rest = behind;
                loop {
                    let argument;
                    (rest, argument) = self.argument(rest)?;
                    arguments.push(argument);
                    let comma;
                    (rest, comma) = opt(char::<_, Failure>(',')).parse(rest)?;
                    if comma.is_none() {
                        break;
                    }
                }
            }
            filters.push(Call { name: filter, arguments });
        }
        Ok((rest, filters))
    }

    /// `arg` with the white space around it.
    fn argument(self, input: &[u8]) -> Parsed<'_, Argument> {
        let (from, _) = white_space(input)?;
        let (to, value) = match from {
            [b'\'', ..] => quoted.map(|text| Json::Text(text.into())).parse(from)?,
            [b'-' | b'0'..=b'9', ..] => expect(
                |input| {
                    number.map(|digits| Json::Number(String::from_utf8_lossy(digits).into())).parse(input)
                },
                Malformed::Argument,
            )(from)?,
            [b't', ..] => expect(value_of("true", Json::Bool(true)), Malformed::Argument)(from)?,
            [b'f', ..] => expect(value_of("false", Json::Bool(false)), Malformed::Argument)(from)?,
            [b'n', ..] => expect(value_of("null", Json::Null), Malformed::Argument)(from)?,
            _ => return fail(from, Malformed::Argument),
        };
        // `truest` and `12em` are neither words nor numbers.
        if to.first().is_some_and(|next| begins_name(*next) || next.is_ascii_digit()) {
            return fail(from, Malformed::Argument);
        }
        let (rest, _) = white_space(to)?;
        Ok((rest, Argument { span: self.span(from, to), value }))
    }
}

fn value_of<'a>(word: &'static str, json: Json) -> impl FnMut(&'a [u8]) -> Parsed<'a, Json> {
    move |input| value(json.clone(), tag(word)).parse(input)
}

/// The failure within nom's error: the productions read complete texts, so nothing is incomplete.
pub(super) fn failure(error: &Err<Failure>) -> Failure {
    match error {
        Err::Error(failure) | Err::Failure(failure) => *failure,
        Err::Incomplete(_) => unreachable!("productions read complete texts"),
    }
}
