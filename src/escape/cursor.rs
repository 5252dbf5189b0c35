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

    /// As [`Cursor::put`] of one piece after the other, but asks only once whether there is room: for
    /// `ROOM` bytes, which are those of all the pieces and of one more.
    ///
    /// # Panics
    /// There is not that much room, or of a piece more bytes are to count than there are.
    #[inline]
    #[must_use]
    pub(crate) fn put_each<const N: usize, const PIECES: usize, const ROOM: usize>(
        self,
        pieces: [([u8; N], usize); PIECES],
    ) -> Self {
        const { assert!(ROOM == N * PIECES + N && (N * PIECES).is_power_of_two()) }
        let window = self.room.first_chunk_mut::<ROOM>().expect("callers make room");
        let mut at = 0;
        for (piece, count) in pieces {
            assert!(count <= N, "no more counts than there is");
            // Changes nothing, since none of the pieces before counts for more than it has, but the
            // compiler sees from it that the piece is within the window.
            at &= N * PIECES - 1;
            window[at..at + N].copy_from_slice(&piece.map(MaybeUninit::new));
            at += count;
        }
        Self { room: &mut self.room[at..] }
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
///
/// Where the machine has AVX2 all that `write` does inline is compiled for it, so that it is asked
/// for once and not for every text.
#[inline]
pub(crate) fn fill<R>(out: &mut Vec<u8>, write: impl for<'a> FnOnce(Cursor<'a>) -> (Cursor<'a>, R)) -> R {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, as was just asked.
        return unsafe { fill_with_avx2(out, write) };
    }
    fill_anywhere(out, write)
}

/// As [`fill`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2")]
fn fill_with_avx2<R>(out: &mut Vec<u8>, write: impl for<'a> FnOnce(Cursor<'a>) -> (Cursor<'a>, R)) -> R {
    fill_anywhere(out, write)
}

/// As [`fill`], on any machine.
#[expect(clippy::inline_always, reason = "what is inline is compiled for the machine of the caller")]
#[inline(always)]
pub(super) fn fill_anywhere<R>(
    out: &mut Vec<u8>,
    write: impl for<'a> FnOnce(Cursor<'a>) -> (Cursor<'a>, R),
) -> R {
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
