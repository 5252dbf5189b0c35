//! Writing into a buffer's spare room.

use std::mem::MaybeUninit;

/// Writes from the front of a buffer's spare room to its back, in pieces of a fixed size: a piece
/// may be longer than what counts of it, which is then overwritten.
///
/// It is handed on by value, which keeps it in registers.
pub(crate) struct Cursor<'a> {
    room: &'a mut [MaybeUninit<u8>],
}

impl Cursor<'_> {
    /// How many bytes are written at most beyond what counts.
    pub(crate) const BEYOND: usize = 64;

    /// How many bytes there is room for.
    #[inline]
    pub(crate) const fn room(&self) -> usize {
        self.room.len()
    }

    /// Writes all of the bytes, of which the first `count` count.
    ///
    /// # Panics
    /// There is no room for all of them, or more of them are to count than there are.
    #[inline]
    #[must_use]
    pub(crate) fn put<const N: usize>(self, bytes: [u8; N], count: usize) -> Self {
        assert!(count <= N, "no more counts than there is");
        let piece = self.room.first_chunk_mut::<N>().expect("callers make room");
        *piece = bytes.map(MaybeUninit::new);
        Self { room: &mut self.room[count..] }
    }

    /// Writes a text of any length.
    ///
    /// # Panics
    /// There is no room for it.
    #[inline]
    #[must_use]
    pub(crate) fn put_all(self, bytes: &[u8]) -> Self {
        let (written, room) = self.room.split_at_mut_checked(bytes.len()).expect("callers make room");
        written.write_copy_of_slice(bytes);
        Self { room }
    }
}

/// Has a cursor write into the spare room of a buffer, and appends what it wrote.
#[inline]
pub(crate) fn fill<R>(out: &mut Vec<u8>, write: impl for<'a> FnOnce(Cursor<'a>) -> (Cursor<'a>, R)) -> R {
    let room = out.spare_capacity_mut();
    let before = room.len();
    let (cursor, result) = write(Cursor { room });
    let written = before - cursor.room.len();
    let length = out.len() + written;
    // SAFETY: the cursor has gone over `written` bytes of the spare room, and goes over none that
    // it has not initialised. It is not another buffer's: none is made but here, and no other has
    // a lifetime that `write` could give back as this one's.
    unsafe { out.set_len(length) };
    result
}
