//! Text as the content of JSON strings (RFC 8259, section 7), as fast as the machine allows, and
//! the cursor that writes it: shared by the template engine and by the JSON that we write.
//!
//! Escaped is only what must be: `"`, `\` and the control characters below U+0020, these by their
//! short form where they have one.
//!
//! | kernel | for | how |
//! | --- | --- | --- |
//! | [`block`] | short texts, tails, other machines than x86-64 | 16 bytes at a time, in two general registers or SSE2 |
//! | [`long`] | texts from [`LONG`] bytes on, where the machine has AVX2 | 64 bytes at a time, escapes spread by shuffles |
//!
//! # Where `unsafe` is, and why
//!
//! This room is the only one that allows it, for three things that safe code cannot say: that what
//! the [`Cursor`] has written is initialised ([`fill`]; else the buffer would have to be filled with
//! zeros first), that every x86-64 has SSE2, and that AVX2 was asked for before it is used. Every
//! load and store is checked, and every intrinsic is one of the safe ones.

#![expect(unsafe_code, reason = "three places, each with its reason; see the text above")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the lanes of vectors are bit patterns, and the intrinsics' types are signed"
)]

mod block;
mod cursor;
mod long;

pub(crate) use block::{load, short};
pub(crate) use cursor::{Cursor, fill};

/// From how many bytes on a text is a long one. Shorter ones are written by [`short`], which needs
/// room for six times as many bytes.
pub(crate) const LONG: usize = 64;

/// How much room [`short`] needs, at most: the longest short text, all of it escaped, and what is
/// written beyond the end.
pub(crate) const SHORT_ROOM: usize = LONG * ESCAPED + Cursor::BEYOND;

/// The longest escape of one byte: `\u001f`.
const ESCAPED: usize = 6;

/// Appends a text as the content of a JSON string.
pub(crate) fn json(text: &str, out: &mut Vec<u8>) {
    let rest = strides(text.as_bytes(), out);
    out.reserve(SHORT_ROOM);
    fill(out, |cursor| (short(rest, cursor), ()));
}

/// Appends a text as a JSON string, with its quotes.
pub(crate) fn json_string(text: &str, out: &mut Vec<u8>) {
    let text = text.as_bytes();
    if text.len() < LONG {
        out.reserve(SHORT_ROOM + 2);
        fill(out, |cursor| (short(text, cursor.put([b'"'], 1)).put([b'"'], 1), ()));
    } else {
        out.push(b'"');
        let rest = strides(text, out);
        out.reserve(SHORT_ROOM + 1);
        fill(out, |cursor| (short(rest, cursor).put([b'"'], 1), ()));
    }
}

/// Appends all of a long text but its end, which is short.
fn strides<'t>(mut text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    while text.len() >= LONG {
        // Most texts have few escapes. What turns out to be too little doubles the buffer later.
        out.reserve(text.len() + text.len() / 16 + long::ROOM);
        text = fill(out, |cursor| long::write(text, cursor));
    }
    text
}

/// What each byte becomes in a JSON string, where it is not itself: up to seven bytes, the first
/// lowest, and how many in the highest byte. 0 where it is itself.
const ESCAPES: [u64; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        let digits = [HEX[control >> 4], HEX[control & 0xf]];
        table[control] = u64::from_le_bytes([b'\\', b'u', b'0', b'0', digits[0], digits[1], 0, 6]);
        control += 1;
    }
    let short = [
        (0x08, b'b'),
        (b'\t', b't'),
        (b'\n', b'n'),
        (0x0c, b'f'),
        (b'\r', b'r'),
        (b'"', b'"'),
        (b'\\', b'\\'),
    ];
    let mut at = 0;
    while at < short.len() {
        let (byte, letter) = short[at];
        table[byte as usize] = u64::from_le_bytes([b'\\', letter, 0, 0, 0, 0, 0, 2]);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests;
