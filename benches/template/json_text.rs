//! How the peers that bring no JSON escaping of their own escape: eight bytes at a time, as much
//! as a good hand-written function would do.

use std::fmt;

/// Hands a text over in pieces, as the content of a JSON string.
pub(crate) fn escape<E>(text: &str, mut push: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let mut rest = text;
    loop {
        let plain = plain(rest.as_bytes());
        let (before, behind) = rest.split_at(plain);
        push(before)?;
        let Some(byte) = behind.bytes().next() else { return Ok(()) };
        push(match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            control => CONTROLS[usize::from(control)],
        })?;
        rest = &behind[1..];
    }
}

/// The content of a JSON string, for `{}`.
pub(crate) struct Content<'a>(pub &'a str);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, |piece| f.write_str(piece))
    }
}

const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t",
    "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013",
    "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c",
    "\\u001d", "\\u001e", "\\u001f",
];

/// How many bytes from the front need no escape.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, end: u64| word.wrapping_sub(ONES * end) & !word;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        let special = special & (ONES << 7);
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    done + bytes[done..].iter().position(is_special).unwrap_or(bytes.len() - done)
}
