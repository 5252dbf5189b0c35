//! Long texts.

use super::block::write_block;
use super::{Cursor, ESCAPED};

/// How many bytes are looked at before it is asked again whether there is room.
pub(super) const STRIDE: usize = 64;

/// How much room one stride needs, at most.
pub(super) const ROOM: usize = STRIDE * ESCAPED + Cursor::BEYOND;

/// Writes as much of a text as there is room for, in strides, and gives back what is left: less
/// than a stride, if there was room.
pub(crate) fn long<'t, 'c>(text: &'t [u8], cursor: Cursor<'c>) -> (Cursor<'c>, &'t [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, as was just asked.
        return unsafe { super::avx2::long(text, cursor) };
    }
    in_blocks(text, cursor)
}

/// As [`long()`], on any machine.
pub(super) fn in_blocks<'t, 'c>(text: &'t [u8], mut cursor: Cursor<'c>) -> (Cursor<'c>, &'t [u8]) {
    let mut rest = text;
    while let Some((stride, behind)) = rest.split_first_chunk::<STRIDE>() {
        if cursor.room() < ROOM {
            break;
        }
        cursor = write_stride(stride, cursor);
        rest = behind;
    }
    (cursor, rest)
}

fn write_stride<'c>(stride: &[u8; STRIDE], cursor: Cursor<'c>) -> Cursor<'c> {
    stride.as_chunks::<16>().0.iter().fold(cursor, |cursor, block| write_block(block, cursor))
}
