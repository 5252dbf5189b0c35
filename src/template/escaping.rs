//! How text is escaped in each kind of template, and the way back out of JSON strings.

use crate::escape;

/// How text is escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As the content of a JSON string.
    #[default]
    Json,
    /// As [`percent`].
    Percent,
    /// As [`xml`].
    Xml,
    /// As [`header`].
    Header,
    /// Not at all.
    Nothing,
}

impl Escaping {
    /// Appends a text.
    pub(super) fn text(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Json => escape::json(text, out),
            Self::Percent => percent(text, out),
            Self::Xml => xml(text, out),
            Self::Header => header(text, out),
            Self::Nothing => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// Escapes what was appended behind `from`, which is JSON without white space.
    pub(super) fn json_within(self, out: &mut Vec<u8>, from: usize) {
        match self {
            Self::Json => json_within(out, from),
            Self::Nothing => {}
            Self::Percent | Self::Xml | Self::Header => {
                let json = String::from_utf8(out.split_off(from)).expect("JSON made of texts is text");
                self.text(&json, out);
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends a text percent-encoded, all but the unreserved characters (RFC 3986, section 2.3): right
/// in a form, and in a URL's path, query and fragment.
pub(super) fn percent(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
        }
    }
}

/// Appends a text for an element or an attribute of XML 1.0: what is markup is escaped, and what
/// XML cannot hold becomes U+FFFD. A carriage return is escaped, as readers make a line feed of it.
pub(super) fn xml(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        let escaped = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&apos;",
            '\r' => "&#13;",
            '\t' | '\n' => {
                out.push(character as u8);
                continue;
            }
            ..' ' | '\u{fffe}' | '\u{ffff}' => "\u{fffd}",
            _ => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        out.extend_from_slice(escaped.as_bytes());
    }
}

/// Appends a text for a header's value: control characters are left out.
pub(super) fn header(text: &str, out: &mut Vec<u8>) {
    for character in text.chars().filter(|character| !character.is_control()) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Escapes again what was appended behind `from` and is JSON: of what a string must escape, JSON
/// without white space has only quotes and backslashes. Grows `out` and moves the text to the back,
/// so that no second buffer is needed.
pub(super) fn json_within(out: &mut Vec<u8>, from: usize) {
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
    let mut read = out.len();
    let escapes = out[from..].iter().filter(|byte| is_escaped(byte)).count();
    out.resize(read + escapes, 0);
    let mut write = out.len();
    while read < write {
        read -= 1;
        write -= 1;
        out[write] = out[read];
        if is_escaped(&out[read]) {
            write -= 1;
            out[write] = b'\\';
        }
    }
}

/// The bytes of the text that the content of a valid JSON string stands for.
#[derive(Clone, Debug)]
pub(super) struct Decoded<'a> {
    rest: &'a [u8],
    /// What is left of a character that was escaped, its next byte last.
    pending: u32,
}

impl<'a> Decoded<'a> {
    pub(super) const fn new(content: &'a [u8]) -> Self {
        Self { rest: content, pending: 0 }
    }

    fn unit(&mut self) -> u32 {
        let (digits, rest) = self.rest.split_at(4);
        self.rest = rest;
        digits.iter().fold(0, |unit, digit| unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        // No continuation byte is 0, so a pending 0 is none.
        if self.pending != 0 {
            let byte = (self.pending & 0xff) as u8;
            self.pending >>= 8;
            return Some(byte);
        }
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *first != b'\\' {
            return Some(*first);
        }
        let (letter, rest) = self.rest.split_first()?;
        self.rest = rest;
        let unit = match letter {
            b'b' => return Some(0x08),
            b'f' => return Some(0x0c),
            b'n' => return Some(b'\n'),
            b'r' => return Some(b'\r'),
            b't' => return Some(b'\t'),
            b'u' => self.unit(),
            other => return Some(*other),
        };
        let scalar = if (0xd800..0xdc00).contains(&unit) {
            self.rest = &self.rest[2..];
            0x1_0000 + ((unit - 0xd800) << 10) + (self.unit() & 0x3ff)
        } else {
            unit
        };
        let mut bytes = [0; 4];
        char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut bytes);
        let [first, pending @ ..] = bytes;
        self.pending = pending.iter().rev().fold(0, |pending, byte| pending << 8 | u32::from(*byte));
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scalar_is_decoded() {
        for scalar in '\0'..=char::MAX {
            let text = scalar.to_string();
            let mut out = Vec::new();
            escape::json(&text, &mut out);
            assert!(Decoded::new(&out).eq(text.bytes()), "{scalar:?}");
        }
    }

    #[test]
    fn json_is_escaped_in_place() {
        let json = br#"{"a\\b":["\n\"",1]}"#;
        let mut out = b"before".to_vec();
        out.extend_from_slice(json);
        json_within(&mut out, 6);
        let mut expected = b"before".to_vec();
        escape::json(std::str::from_utf8(json).unwrap(), &mut expected);
        assert_eq!(out, expected);
    }

    #[test]
    fn escapes_of_every_kind_are_decoded() {
        let content = br#"\u0041\u00e9\u20ac\ud83d\ude00\/\\\"\b\f\n\r\tx"#;
        let text: Vec<u8> = Decoded::new(content).collect();
        assert_eq!(text, "Aé€😀/\\\"\u{8}\u{c}\n\r\tx".as_bytes());
        let nul: Vec<u8> = Decoded::new(br"\u0000a").collect();
        assert_eq!(nul, b"\0a");
    }
}
