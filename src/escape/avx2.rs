//! Escapes on machines with AVX2.
//!
//! Every eight bytes are spread by one shuffle, which the eight bits that say which of them are
//! escaped choose from a table: it leaves a gap before each of these, which a backslash fills. That
//! costs the same wherever the escapes are and however many, so that no branch is there to be
//! mistaken. Only bytes whose escape is a long one (`\u001b`) are written in another way: there
//! are few of them in texts.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm256_and_si256, _mm256_blendv_epi8, _mm256_castsi256_si128, _mm256_cmpeq_epi8,
    _mm256_cmpgt_epi8, _mm256_extracti128_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set_m128i, _mm256_set1_epi8, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};
use std::hint;

use super::Cursor;
use super::block::{blocks, write_byte, write_eight};
use super::long::{ROOM, STRIDE};

/// For each set of escaped bytes among eight: where each byte of the output comes from, among these
/// and, behind them, as many backslashes.
static SPREAD: [[u8; 16]; 256] = {
    const BACKSLASH: u8 = 8;
    let mut table = [[BACKSLASH; 16]; 256];
    let mut escaped = 0;
    while escaped < 256 {
        let mut from = 0;
        let mut to = 0;
        while from < 8 {
            to += escaped >> from & 1;
            table[escaped][to] = from;
            from += 1;
            to += 1;
        }
        escaped += 1;
    }
    table
};

/// For each set of escaped bytes among eight: how many bytes are written. A table, since
/// the compiler would count the bits of many sets at once, in more time than they take one by one.
static COUNT: [u8; 256] = {
    let mut table = [0; 256];
    let mut escaped: usize = 0;
    while escaped < 256 {
        table[escaped] = 8 + escaped.count_ones() as u8;
        escaped += 1;
    }
    table
};

/// See [`super::long::long`].
#[target_feature(enable = "avx2")]
pub(super) fn long<'t, 'c>(text: &'t [u8], mut cursor: Cursor<'c>) -> (Cursor<'c>, &'t [u8]) {
    let mut rest = text;
    while let Some((stride, behind)) = rest.split_first_chunk::<STRIDE>() {
        if cursor.room() < ROOM {
            break;
        }
        rest = behind;
        let halves = stride.as_chunks::<32>().0;
        let (first, second) = (load(&halves[0]), load(&halves[1]));
        let (escaped_first, escaped_second) = (escaped(first), escaped(second));
        if _mm256_movemask_epi8(_mm256_or_si256(escaped_first, escaped_second)) == 0 {
            cursor = cursor.put(*stride, STRIDE);
            continue;
        }
        let (first, is_long_first) = letters(first);
        let (second, is_long_second) = letters(second);
        let escaped = mask(escaped_first, escaped_second);
        let (low, high) = (eights(first), eights(second));
        let eights = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
        if _mm256_movemask_epi8(_mm256_or_si256(is_long_first, is_long_second)) == 0 {
            cursor = cursor.put_each::<16, 8, { 9 * 16 }>([
                spread(eights[0], escaped as u8),
                spread(eights[1], (escaped >> 8) as u8),
                spread(eights[2], (escaped >> 16) as u8),
                spread(eights[3], (escaped >> 24) as u8),
                spread(eights[4], (escaped >> 32) as u8),
                spread(eights[5], (escaped >> 40) as u8),
                spread(eights[6], (escaped >> 48) as u8),
                spread(eights[7], (escaped >> 56) as u8),
            ]);
        } else {
            cursor = with_long(stride, eights, escaped, mask(is_long_first, is_long_second), cursor);
        }
    }
    (cursor, rest)
}

/// Writes a stride some of whose bytes have a long escape: the eights with such bytes one by one.
#[target_feature(enable = "avx2")]
fn with_long<'c>(
    stride: &[u8; STRIDE],
    eights: [__m128i; 8],
    mut escaped: u64,
    mut is_long: u64,
    mut cursor: Cursor<'c>,
) -> Cursor<'c> {
    for (bytes, eight) in stride.as_chunks::<8>().0.iter().zip(eights) {
        cursor = if is_long as u8 == 0 {
            let (spread, count) = spread(eight, escaped as u8);
            cursor.put(spread, count)
        } else {
            write_eight(*bytes, cursor)
        };
        (escaped, is_long) = (escaped >> 8, is_long >> 8);
    }
    cursor
}

/// Writes a short text.
#[target_feature(enable = "avx2")]
pub(super) fn short<'c>(text: &[u8], mut cursor: Cursor<'c>) -> Cursor<'c> {
    let (wholes, tail) = text.as_chunks::<32>();
    for whole in wholes {
        cursor = write_some(load(whole), whole, cursor);
    }
    let bytes = match blocks(tail) {
        ([block, ..], rest) => _mm256_set_m128i(load_half(&rest.to_le_bytes()), load_half(block)),
        ([], rest) => _mm256_set_m128i(_mm_setzero_si128(), load_half(&rest.to_le_bytes())),
    };
    write_some(bytes, tail, cursor)
}

/// Writes up to 32 bytes, which are the first of the vector.
#[target_feature(enable = "avx2")]
#[inline]
fn write_some<'c>(bytes: __m256i, text: &[u8], cursor: Cursor<'c>) -> Cursor<'c> {
    let count = text.len();
    // What lies behind the text is 0, which would be escaped, but is not to be written.
    let within = ((1_u64 << count) - 1) as u32;
    let escaped = _mm256_movemask_epi8(escaped(bytes)) as u32 & within;
    let (bytes, is_long) = letters(bytes);
    if _mm256_movemask_epi8(is_long) as u32 & within != 0 {
        hint::cold_path();
        return text.iter().fold(cursor, |cursor, byte| write_byte(*byte, cursor));
    }
    let eights = eights(bytes);
    let some = |index: usize| {
        let (spread, all) = spread(eights[index], (escaped >> (8 * index)) as u8);
        (spread, all - 8 + count.saturating_sub(8 * index).min(8))
    };
    cursor.put_each::<16, 4, { 5 * 16 }>([some(0), some(1), some(2), some(3)])
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> __m256i {
    let halves = bytes.as_chunks::<16>().0;
    _mm256_set_m128i(load_half(&halves[1]), load_half(&halves[0]))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_half(bytes: &[u8; 16]) -> __m128i {
    let bytes = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
}

/// All bits of each byte that must be escaped.
#[target_feature(enable = "avx2")]
#[inline]
fn escaped(bytes: __m256i) -> __m256i {
    let control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
    let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
    let backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
    _mm256_or_si256(_mm256_or_si256(control, quote), backslash)
}

/// The bytes with the letters of their short escapes in the place of control characters, and all
/// bits of each byte that has no short escape.
#[target_feature(enable = "avx2")]
#[inline]
fn letters(bytes: __m256i) -> (__m256i, __m256i) {
    #[rustfmt::skip]
    let letters = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, b'b' as i8, b't' as i8, b'n' as i8, 0, b'f' as i8, b'r' as i8, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, b'b' as i8, b't' as i8, b'n' as i8, 0, b'f' as i8, b'r' as i8, 0, 0,
    );
    let control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
    let letter = _mm256_shuffle_epi8(letters, bytes);
    let has_none = _mm256_or_si256(
        _mm256_cmpeq_epi8(letter, _mm256_setzero_si256()),
        _mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(0x0f)),
    );
    (_mm256_blendv_epi8(bytes, letter, control), _mm256_and_si256(control, has_none))
}

/// A bit for each byte, of which all bits are the same.
#[target_feature(enable = "avx2")]
#[inline]
fn mask(first: __m256i, second: __m256i) -> u64 {
    u64::from(_mm256_movemask_epi8(first) as u32) | u64::from(_mm256_movemask_epi8(second) as u32) << 32
}

/// Eight bytes each, and eight backslashes behind them.
#[target_feature(enable = "avx2")]
#[inline]
fn eights(bytes: __m256i) -> [__m128i; 4] {
    let backslashes = _mm256_set1_epi8(b'\\' as i8);
    // The first and third eight, and the second and fourth.
    let (odd, even) = (_mm256_unpacklo_epi64(bytes, backslashes), _mm256_unpackhi_epi64(bytes, backslashes));
    [
        _mm256_castsi256_si128(odd),
        _mm256_castsi256_si128(even),
        _mm256_extracti128_si256::<1>(odd),
        _mm256_extracti128_si256::<1>(even),
    ]
}

/// One of [`eights`] with a backslash before each byte that is escaped, and how many bytes these are.
#[target_feature(enable = "avx2")]
#[inline]
fn spread(eight: __m128i, escaped: u8) -> ([u8; 16], usize) {
    let spread = _mm_shuffle_epi8(eight, load_half(&SPREAD[usize::from(escaped)]));
    let [low, high] = [_mm_cvtsi128_si64(spread), _mm_extract_epi64::<1>(spread)];
    let out = u128::from(low as u64) | u128::from(high as u64) << 64;
    (out.to_le_bytes(), usize::from(COUNT[usize::from(escaped)]))
}
