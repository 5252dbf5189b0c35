//! The kernel for machines with AVX2.
//!
//! A stride without escapes is copied. In one with escapes, every eight bytes are spread by one
//! shuffle, which the eight bits that say which of them are escaped choose from a table: it leaves
//! a gap before each of these, which a backslash fills. That costs the same wherever the escapes
//! are and however many, so that no branch is there to be mistaken.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_blend_epi32, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x, _mm_set1_epi8,
    _mm_shuffle_epi8, _mm256_and_si256, _mm256_blendv_epi8, _mm256_castsi256_si128, _mm256_cmpeq_epi8,
    _mm256_cmpgt_epi8, _mm256_extracti128_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set_m128i, _mm256_set1_epi8, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
};

use super::{ROOM, STRIDE, write_stride};
use crate::escape::Cursor;

/// For each set of escaped bytes among eight: where each byte of the output comes from, among these
/// and as many backslashes.
type Spread = [[u8; 16]; 256];

/// For eight bytes with backslashes behind them.
static LOW: Spread = spread_from(0, 8);

/// For eight bytes with backslashes before them.
static HIGH: Spread = spread_from(8, 0);

const fn spread_from(first: u8, backslash: u8) -> Spread {
    let mut table = [[backslash; 16]; 256];
    let mut escaped = 0;
    while escaped < 256 {
        let mut from = 0;
        let mut to = 0;
        while from < 8 {
            to += escaped >> from & 1;
            table[escaped][to] = first + from;
            from += 1;
            to += 1;
        }
        escaped += 1;
    }
    table
}

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

/// See [`super::write`].
#[target_feature(enable = "avx2")]
pub(super) fn write<'t, 'c>(text: &'t [u8], mut cursor: Cursor<'c>) -> (Cursor<'c>, &'t [u8]) {
    let mut rest = text;
    while let Some((stride, behind)) = rest.split_first_chunk::<STRIDE>() {
        if cursor.room() < ROOM {
            break;
        }
        rest = behind;
        let halves = stride.as_chunks::<32>().0;
        let (first, second) = (load(&halves[0]), load(&halves[1]));
        let (escaped_first, escaped_second) = (escaped(first), escaped(second));
        let either = _mm256_or_si256(escaped_first, escaped_second);
        if _mm256_movemask_epi8(either) == 0 {
            cursor = cursor.put(*stride, STRIDE);
            continue;
        }
        let (first, is_long_first) = letters(first);
        let (second, is_long_second) = letters(second);
        if _mm256_movemask_epi8(_mm256_or_si256(is_long_first, is_long_second)) != 0 {
            cursor = write_stride(stride, cursor);
            continue;
        }
        cursor = spread(first, escaped_first, cursor);
        cursor = spread(second, escaped_second, cursor);
    }
    (cursor, rest)
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

/// Writes 32 bytes, a backslash before each that is escaped.
#[target_feature(enable = "avx2")]
#[inline]
fn spread(bytes: __m256i, escaped: __m256i, cursor: Cursor<'_>) -> Cursor<'_> {
    let escaped = _mm256_movemask_epi8(escaped) as u32;
    let cursor = spread_half(_mm256_castsi256_si128(bytes), escaped, cursor);
    spread_half(_mm256_extracti128_si256::<1>(bytes), escaped >> 16, cursor)
}

#[target_feature(enable = "avx2")]
#[inline]
fn spread_half(bytes: __m128i, escaped: u32, mut cursor: Cursor<'_>) -> Cursor<'_> {
    let backslashes = _mm_set1_epi8(b'\\' as i8);
    let low = _mm_blend_epi32::<0b1100>(bytes, backslashes);
    let high = _mm_blend_epi32::<0b0011>(bytes, backslashes);
    for (eight, table, escaped) in [(low, &LOW, escaped as u8), (high, &HIGH, (escaped >> 8) as u8)] {
        let spread = _mm_shuffle_epi8(eight, load_half(&table[usize::from(escaped)]));
        let [low, high] = [_mm_cvtsi128_si64(spread), _mm_extract_epi64::<1>(spread)];
        let out = u128::from(low as u64) | u128::from(high as u64) << 64;
        cursor = cursor.put(out.to_le_bytes(), usize::from(COUNT[usize::from(escaped)]));
    }
    cursor
}
