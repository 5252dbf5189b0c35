//! The smallest productions: those of RFC 8259, and the names and texts within placeholders.
//!
//! ```text
//! white space = *( space / tab / CR / LF )
//! number      = [ "-" ] ( "0" / digit1-9 *digit ) [ "." 1*digit ] [ ( "e" / "E" ) [ "+" / "-" ] 1*digit ]
//! escape      = "\" ( %x22 / "\" / "/" / "b" / "f" / "n" / "r" / "t" / "u" 4hexdig )
//! ident       = ( ALPHA / "_" ) *( ALPHA / DIGIT / "_" / "-" )     ; "-" not in the first ident
//! quoted      = "'" *( unescaped / escape / "''" ) "'"
//! ```

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{opt, recognize};
use nom::error::{ErrorKind, ParseError};
use nom::{Err, IResult, Parser};

/// What was not as it should be. Says where by how much text was left, as productions know no
/// more; [`Malformed::sentence`] says it to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) left: usize,
    pub(super) what: Malformed,
}

/// The ways in which a token or a placeholder is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// None of the alternatives; the caller says what it expected.
    Other,
    /// A backslash and something else than an escape.
    Escape,
    /// Half of a surrogate pair.
    Surrogate,
    /// A quoted text without its end.
    Quote,
    /// A control character in a quoted text.
    Control,
    /// No name behind a dot.
    Member,
    /// Neither digits nor a quoted text between brackets.
    Index,
    /// No closing bracket behind an index.
    Bracket,
    /// No filter behind a bar.
    Filter,
    /// No argument behind a colon or a comma.
    Argument,
    /// Something else than the end, or a bar, behind a complete placeholder.
    Close,
}

impl Malformed {
    /// One plain sentence.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Other | Self::Close => "a placeholder goes on with a filter (`|`) or ends here",
            Self::Escape => {
                "no such escape: JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hex digits"
            }
            Self::Surrogate => {
                "half of a surrogate pair is not a character; both halves are written, one behind the other"
            }
            Self::Quote => "a quoted text is not closed: it ends with a single quote",
            Self::Control => "a control character in a quoted text is written as an escape",
            Self::Member => "a dot is followed by a member's name",
            Self::Index => "brackets hold an index or a member's name in single quotes, without white space",
            Self::Bracket => "an index ends with a bracket (`]`)",
            Self::Filter => "a bar is followed by a filter's name",
            Self::Argument => "an argument is a number, true, false, null or a text in single quotes",
        }
    }
}

impl ParseError<&[u8]> for Failure {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { left: input.len(), what: Malformed::Other }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, Failure>;

/// A failure behind which no alternative is tried.
pub(super) fn fail<T>(at: &[u8], what: Malformed) -> Parsed<'_, T> {
    Err(Err::Failure(Failure { left: at.len(), what }))
}

/// Gives a production that did not match its own sentence.
pub(super) fn expect<'a, T>(
    mut production: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
    what: Malformed,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| match production(input) {
        Err(Err::Error(_)) => fail(input, what),
        other => other,
    }
}

pub(super) const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a name begins with this byte.
pub(super) const fn begins_name(byte: u8) -> bool {
    NAME_BYTES[byte as usize] && !byte.is_ascii_digit()
}

/// `white space`
pub(super) fn white_space(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(is_white_space)(input)
}

/// `number`
pub(super) fn number(input: &[u8]) -> Parsed<'_, &[u8]> {
    recognize((
        opt(char('-')),
        alt((recognize(char('0')), digit1)),
        opt((char('.'), digit1)),
        opt((one_of("eE"), opt(one_of("+-")), digit1)),
    ))
    .parse(input)
}

/// The bytes of an `ident` other than `-`.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    table
};

/// The first `ident` of a path, and a filter's name.
pub(super) fn name(input: &[u8]) -> Parsed<'_, &[u8]> {
    match input.first() {
        Some(first) if begins_name(*first) => take_while1(|byte: u8| NAME_BYTES[usize::from(byte)])(input),
        _ => Err(Err::Error(Failure { left: input.len(), what: Malformed::Other })),
    }
}

/// Any later `ident`.
pub(super) fn member(input: &[u8]) -> Parsed<'_, &[u8]> {
    match input.first() {
        Some(first) if begins_name(*first) => {
            take_while1(|byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))(input)
        }
        _ => Err(Err::Error(Failure { left: input.len(), what: Malformed::Other })),
    }
}

fn hex4(input: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = input.split_at_checked(4)?;
    let mut unit = 0;
    for digit in digits {
        unit = unit << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((unit, rest))
}

/// `escape`, its backslash included: the character that it stands for. Both halves of a surrogate
/// pair are one character.
pub(super) fn escape(input: &[u8]) -> Parsed<'_, char> {
    let [b'\\', letter, rest @ ..] = input else { return fail(input, Malformed::Escape) };
    let plain = match letter {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(input, rest),
        _ => return fail(input, Malformed::Escape),
    };
    Ok((rest, plain))
}

fn unicode_escape<'a>(input: &'a [u8], digits: &'a [u8]) -> Parsed<'a, char> {
    let Some((unit, rest)) = hex4(digits) else { return fail(input, Malformed::Escape) };
    if let Some(character) = char::from_u32(unit) {
        return Ok((rest, character));
    }
    let pair = match (unit, rest) {
        (0xd800..=0xdbff, [b'\\', b'u', low @ ..]) => hex4(low),
        _ => None,
    };
    match pair {
        Some((low @ 0xdc00..=0xdfff, rest)) => {
            let scalar = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            Ok((rest, char::from_u32(scalar).expect("a surrogate pair is a character")))
        }
        _ => fail(input, Malformed::Surrogate),
    }
}

/// `quoted`, decoded.
pub(super) fn quoted(input: &[u8]) -> Parsed<'_, String> {
    let (mut rest, _) = char('\'')(input)?;
    let mut text = Vec::new();
    loop {
        let plain;
        (rest, plain) = take_while(|byte| !matches!(byte, b'\'' | b'"' | b'\\' | ..0x20))(rest)?;
        text.extend_from_slice(plain);
        match rest {
            [b'\'', b'\'', behind @ ..] => {
                text.push(b'\'');
                rest = behind;
            }
            [b'\'', behind @ ..] => {
                let text = String::from_utf8(text).expect("cut out of a text at ASCII characters");
                return Ok((behind, text));
            }
            [b'\\', ..] => {
                let character;
                (rest, character) = escape(rest)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            [..0x20, ..] => return fail(rest, Malformed::Control),
            _ => return fail(rest, Malformed::Quote),
        }
    }
}
