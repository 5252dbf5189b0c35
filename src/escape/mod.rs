//! Text as the content of JSON strings (RFC 8259, section 7), as fast as the machine allows, and
//! the cursor that writes it: shared by the template engine and by the JSON that we write.
//!
//! Escaped is only what must be: `"`, `\` and the control characters below U+0020, these by their
//! short form where they have one.
//!
//! | kernel | for | how |
//! | --- | --- | --- |
//! | [`block`] | short texts, and other machines than x86-64 | a whole text at once if nothing is escaped, else 16 bytes at a time |
//! | [`avx2`] | short texts with escapes, and texts from [`LONG`] bytes on, where the machine has AVX2 | escapes spread by shuffles |
//! | [`long`](mod@long) | texts from [`LONG`] bytes on | 64 bytes at a time |
//!
//! # Where `unsafe` is, and why
//!
//! This room is the only one that allows it, for four things that safe code cannot say: that what
//! the [`Cursor`] has written is initialised ([`fill`]; else the buffer would have to be filled with
//! zeros first), that a [`Window`] has the room that its type says (which is asked once, and then known
//! to the compiler), that every x86-64 has SSE2, and that AVX2 was asked for before it is used. Every
//! load and store is checked, and every intrinsic is one of the safe ones.

#![expect(unsafe_code, reason = "for four reasons; see the text above")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the lanes of vectors are bit patterns, and the intrinsics' types are signed"
)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
mod block;
mod cursor;
mod long;

pub(crate) use block::{short, short_within};
pub(crate) use cursor::{Cursor, Window, fill};
pub(crate) use long::long;

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
    json_bytes(text.as_bytes(), out);
}

/// As [`json`], for what is left of a text.
pub(crate) fn json_bytes(mut text: &[u8], out: &mut Vec<u8>) {
    while text.len() >= LONG {
        // Most texts have few escapes. What turns out to be too little doubles the buffer later.
        out.reserve(text.len() + text.len() / 16 + long::ROOM);
        text = fill(out, |cursor| long(text, cursor));
    }
    out.reserve(SHORT_ROOM);
    fill(out, |cursor| (short(text, cursor), ()));
}

/// Appends a text as a JSON string, with its quotes.
pub(crate) fn json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    json(text, out);
    out.push(b'"');
}

/// What each byte becomes in a JSON string: up to six bytes, the first lowest, and how many in the
/// highest byte.
static ESCAPES: [u64; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte as u64 | 1 << 56;
        byte += 1;
    }
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
