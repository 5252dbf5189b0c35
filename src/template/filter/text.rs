//! Filters that work on the text form of a value.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::{Stop, Work};

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Without white space (Unicode's) at both ends.
pub(super) fn trim(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// At most so many characters; `suffix` behind them if there were more.
pub(super) fn truncate<'a>(text: Cow<'a, str>, most: usize, suffix: &str) -> Cow<'a, str> {
    let Some((end, _)) = text.char_indices().nth(most) else { return text };
    match text {
        Cow::Borrowed(text) if suffix.is_empty() => Cow::Borrowed(&text[..end]),
        text => Cow::Owned([&text[..end], suffix].concat()),
    }
}

/// The first character in upper case.
pub(super) fn capitalize(text: Cow<'_, str>) -> Cow<'_, str> {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !first.to_uppercase().eq([first]) => {
            let mut capitalized: String = first.to_uppercase().collect();
            capitalized.push_str(characters.as_str());
            Cow::Owned(capitalized)
        }
        _ => text,
    }
}

/// Every occurrence replaced, from left to right.
pub(super) fn replace<'a>(
    text: Cow<'a, str>,
    from: &str,
    to: &str,
    work: &mut Work,
) -> Result<Cow<'a, str>, Stop> {
    let mut replaced = String::new();
    let mut copied = 0;
    for (at, found) in text.match_indices(from) {
        work.charge(at - copied + to.len())?;
        replaced.push_str(&text[copied..at]);
        replaced.push_str(to);
        copied = at + found.len();
    }
    if copied == 0 {
        return Ok(text);
    }
    work.charge(text.len() - copied)?;
    replaced.push_str(&text[copied..]);
    Ok(Cow::Owned(replaced))
}

/// A star for each character but the last few.
pub(super) fn mask(text: Cow<'_, str>, shown: usize) -> Cow<'_, str> {
    let hidden = text.chars().count().saturating_sub(shown);
    match text.char_indices().nth(hidden) {
        _ if hidden == 0 => text,
        Some((begin, _)) => Cow::Owned(["*".repeat(hidden).as_str(), &text[begin..]].concat()),
        None => Cow::Owned("*".repeat(hidden)),
    }
}

/// The SHA-256 of the text in UTF-8, in lower-case hex.
pub(super) fn sha256(text: &str) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble is a hex digit");
    Sha256::digest(text.as_bytes()).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Percent-encoded, all but the unreserved characters.
pub(super) fn urlencode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).collect()
}

/// In base 64, with padding (RFC 4648, section 4).
pub(super) fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
