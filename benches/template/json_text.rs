//! How the peers that bring no JSON escaping of their own, and take texts in pieces, escape: sixteen
//! bytes at a time, and a text that needs no escape in one piece.

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
    let (blocks, _) = bytes.as_chunks::<16>();
    let plain = blocks.iter().take_while(|block| !has_special(*block)).count() * 16;
    let rest = &bytes[plain..];
    if plain > 0 && rest.len() < 16 && bytes.last_chunk::<16>().is_some_and(|block| !has_special(block)) {
        return bytes.len();
    }
    plain + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Without a branch, so that the compiler makes vector instructions of it.
fn has_special(block: &[u8; 16]) -> bool {
    block.iter().fold(false, |found, byte| found | is_special(byte))
}

fn is_special(byte: &u8) -> bool {
    (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\')
}
