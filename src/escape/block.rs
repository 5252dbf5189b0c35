//! Short texts, and sixteen bytes at a time.

use super::{Cursor, ESCAPES, SHORT_ROOM, Window};

/// Writes a short text (shorter than [`super::LONG`]) as the content of a JSON string, into room
/// for at least [`SHORT_ROOM`] bytes.
#[inline]
pub(crate) fn short<'c>(text: &[u8], cursor: Cursor<'c>) -> Cursor<'c> {
    let Ok(window) = Window::<SHORT_ROOM>::new(cursor) else { panic!("callers make room") };
    short_within::<_, 0>(text, window).end()
}

/// As [`short`], into a window.
///
/// Most short texts have nothing to escape. A text of any length up to a size is two pieces of half
/// that size, its first bytes and its last, which may overlap: neither a loop nor a copy of the
/// tail is needed.
#[expect(clippy::inline_always, reason = "a call costs as much as it does")]
#[inline(always)]
pub(crate) fn short_within<'a, const ROOM: usize, const REST: usize>(
    text: &[u8],
    window: Window<'a, ROOM>,
) -> Window<'a, REST> {
    const { assert!(ROOM == SHORT_ROOM + REST) }
    let count = text.len();
    if let (Some(first), Some(last)) = (text.first_chunk::<32>(), text.last_chunk::<32>())
        && count <= super::LONG
    {
        if !any_escaped(joined::<32, 64>(first, last)) {
            return window.put_ends(first, last, count);
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        if !any_escaped(joined::<16, 32>(first, last)) {
            return window.put_ends(first, last, count);
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let both = u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64;
        if escaped(both) == 0 {
            return window.put_ends(first, last, count);
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let both = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
        if escaped(twice(both)) == 0 {
            return window.put_ends(first, last, count);
        }
    } else if let (Some(first), Some(last)) = (text.first(), text.last()) {
        let bytes = [*first, text[count / 2], *last];
        let [is_plain_first, is_plain_middle, is_plain_last] = bytes.map(|byte| PLAIN[usize::from(byte)]);
        if is_plain_first & is_plain_middle & is_plain_last {
            return window.put(&bytes, count);
        }
    } else {
        return window.put(&[], 0);
    }
    window.put_by(|cursor| with_escapes(text, cursor))
}

/// Whether any byte must be escaped. Not by [`escaped`]: the compiler makes of this what the vectors
/// of the machine at hand do best.
#[expect(clippy::inline_always, reason = "see `short`")]
#[inline(always)]
fn any_escaped<const N: usize>(bytes: [u8; N]) -> bool {
    // Exchanges the quote and the space, which puts the quote next to the control characters.
    let is_escaped = |byte: &u8| u8::from(byte ^ 2 <= 0x20) | u8::from(*byte == b'\\');
    bytes.iter().fold(0, |any, byte| any | is_escaped(byte)) != 0
}

/// Whether a byte stays as it is.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = ESCAPES[byte] >> 56 == 1;
        byte += 1;
    }
    table
};

/// The same eight bytes two times.
#[inline]
fn twice(bytes: u64) -> u128 {
    u128::from(bytes) | u128::from(bytes) << 64
}

/// The bytes of both.
#[inline]
fn joined<const N: usize, const M: usize>(first: &[u8; N], last: &[u8; N]) -> [u8; M] {
    const { assert!(M == 2 * N) }
    let mut both = [0; M];
    both[..N].copy_from_slice(first);
    both[N..].copy_from_slice(last);
    both
}

/// Writes a short text that may have escapes.
#[inline(never)]
fn with_escapes<'c>(text: &[u8], cursor: Cursor<'c>) -> Cursor<'c> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, as was just asked.
        return unsafe { super::avx2::short(text, cursor) };
    }
    in_blocks(text, cursor)
}

/// As [`with_escapes`], on any machine.
pub(super) fn in_blocks<'c>(text: &[u8], mut cursor: Cursor<'c>) -> Cursor<'c> {
    let (blocks, tail) = blocks(text);
    for block in blocks {
        cursor = write_block(block, cursor);
    }
    let count = text.len() % 16;
    // What lies behind the text is 0, which would be escaped, but is not to be written.
    write_escaped(tail, count, escaped(tail) & ((1 << count) - 1), cursor)
}

/// A text's blocks, and the bytes behind them, the others 0.
#[inline]
pub(super) fn blocks(text: &[u8]) -> (&[[u8; 16]], u128) {
    let (blocks, tail) = text.as_chunks::<16>();
    let tail = match text.last_chunk::<16>() {
        // The last sixteen, without those of the blocks before.
        Some(last) if !tail.is_empty() => u128::from_le_bytes(*last) >> (8 * (16 - tail.len())),
        _ => load(tail),
    };
    (blocks, tail)
}

/// Writes sixteen bytes.
#[inline]
pub(super) fn write_block<'c>(bytes: &[u8; 16], cursor: Cursor<'c>) -> Cursor<'c> {
    let block = u128::from_le_bytes(*bytes);
    let escaped = escaped(block);
    if escaped == 0 { cursor.put(*bytes, 16) } else { write_escaped(block, 16, escaped, cursor) }
}

/// Writes the first `count` bytes of a block, and escapes those whose bits are set.
#[inline]
fn write_escaped(mut bytes: u128, mut count: usize, mut escaped: u32, mut cursor: Cursor<'_>) -> Cursor<'_> {
    while escaped != 0 {
        let plain = escaped.trailing_zeros();
        cursor = cursor.put(bytes.to_le_bytes(), plain as usize);
        bytes >>= 8 * plain;
        cursor = write_byte(bytes as u8, cursor);
        bytes >>= 8;
        escaped >>= plain + 1;
        count -= plain as usize + 1;
    }
    cursor.put(bytes.to_le_bytes(), count)
}

/// Writes eight bytes as the table says, without a branch: for those that are escaped in unlike ways.
#[inline]
pub(super) fn write_eight(bytes: [u8; 8], cursor: Cursor<'_>) -> Cursor<'_> {
    cursor.put_each::<8, 8, { 9 * 8 }>(bytes.map(escape))
}

/// Writes one byte as the table says.
#[inline]
pub(super) fn write_byte(byte: u8, cursor: Cursor<'_>) -> Cursor<'_> {
    let (bytes, count) = escape(byte);
    cursor.put(bytes, count)
}

/// What a byte becomes, and how many bytes of it count.
#[inline]
fn escape(byte: u8) -> ([u8; 8], usize) {
    let escape = ESCAPES[usize::from(byte)];
    (escape.to_le_bytes(), (escape >> 56) as usize)
}

/// Up to fifteen bytes, the others 0. Overlapping words instead of a loop: where they overlap they
/// are the same.
#[inline]
pub(super) fn load(text: &[u8]) -> u128 {
    let count = text.len();
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        u128::from(first) | u128::from(last) << ((8 * (count - 8)) & 127)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u128::from(u64::from(first) | u64::from(last) << ((8 * (count - 4)) & 63))
    } else if let (Some(first), Some(last)) = (text.first(), text.last()) {
        let middle = u32::from(text[count / 2]) << (8 * (count / 2));
        u128::from(u32::from(*first) | middle | u32::from(*last) << (8 * (count - 1)))
    } else {
        0
    }
}

/// A bit for each byte that must be escaped, the first byte's lowest.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(super) fn escaped(bytes: u128) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8, _mm_xor_si128,
    };

    #[target_feature(enable = "sse2")]
    #[inline]
    fn mask(bytes: u128) -> u32 {
        let bytes: __m128i = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        let exchanged = _mm_xor_si128(bytes, _mm_set1_epi8(2));
        let control_or_quote = _mm_cmpeq_epi8(_mm_min_epu8(exchanged, _mm_set1_epi8(0x20)), exchanged);
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        _mm_movemask_epi8(_mm_or_si128(control_or_quote, backslash)) as u32
    }

    // SAFETY: SSE2 is part of x86-64.
    unsafe { mask(bytes) }
}

/// A bit for each byte that must be escaped, the first byte's lowest.
#[cfg(any(not(target_arch = "x86_64"), miri))]
pub(super) fn escaped(bytes: u128) -> u32 {
    escaped_by_table(bytes)
}

/// As `escaped`, on any machine.
#[cfg(any(not(target_arch = "x86_64"), miri, test))]
pub(super) fn escaped_by_table(bytes: u128) -> u32 {
    let bits = bytes.to_le_bytes().map(|byte| ESCAPES[usize::from(byte)] >> 56 != 1);
    bits.iter().rev().fold(0, |mask, bit| mask << 1 | u32::from(*bit))
}
