//! Writing into a buffer's spare room.

use std::hint;
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

/// A [`Cursor`] that is known to have room for at least `ROOM` bytes: what an operation writes asks
/// for room once, when it begins. Each piece says in its type how much room is left behind it.
pub(crate) struct Window<'a, const ROOM: usize> {
    /// At least `ROOM` bytes.
    room: &'a mut [MaybeUninit<u8>],
}

#[expect(
    clippy::inline_always,
    reason = "what it knows of its room is of use only where the compiler sees it"
)]
impl<'a, const ROOM: usize> Window<'a, ROOM> {
    /// The cursor, if it has that much room; else it is given back as it was.
    #[inline(always)]
    pub(crate) fn new(cursor: Cursor<'a>) -> Result<Self, Cursor<'a>> {
        if cursor.room.len() < ROOM { Err(cursor) } else { Ok(Self { room: cursor.room }) }
    }

    /// Writes all of the bytes, of which the first `count` count.
    ///
    /// # Panics
    /// More of them are to count than there are.
    #[inline(always)]
    pub(crate) fn put<const N: usize, const REST: usize>(
        mut self,
        bytes: &[u8; N],
        count: usize,
    ) -> Window<'a, REST> {
        assert!(count <= N, "no more counts than there is");
        self.piece(0, bytes);
        self.over(count)
    }

    /// Writes the first bytes and the last ones of a text of `count` bytes: all of it, if these are no
    /// more than both.
    ///
    /// # Panics
    /// The text is shorter than one of them or longer than both.
    #[inline(always)]
    pub(super) fn put_ends<const N: usize, const REST: usize>(
        mut self,
        first: &[u8; N],
        last: &[u8; N],
        count: usize,
    ) -> Window<'a, REST> {
        assert!(N <= count && count <= 2 * N, "nothing is left out between the two");
        self.piece(0, first);
        self.piece(count - N, last);
        self.over(count)
    }

    /// Writes what a cursor writes into no more than the room that is not to be left.
    ///
    /// # Panics
    /// Less than `REST` is left.
    #[inline(always)]
    pub(super) fn put_by<const REST: usize>(
        self,
        write: impl FnOnce(Cursor<'a>) -> Cursor<'a>,
    ) -> Window<'a, REST> {
        let Ok(window) = Window::new(write(self.end())) else { panic!("so much was not to be written") };
        window
    }

    /// The cursor behind what was written.
    #[inline(always)]
    pub(crate) fn end(self) -> Cursor<'a> {
        Cursor { room: self.room }
    }

    #[inline(always)]
    fn piece<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) {
        self.assume_room();
        self.room[at..][..N].write_copy_of_slice(bytes);
    }

    /// Goes over bytes that were written.
    #[inline(always)]
    fn over<const REST: usize>(self, count: usize) -> Window<'a, REST> {
        assert!(count <= const { ROOM - REST }, "no more counts than there is room for");
        self.assume_room();
        Window { room: &mut self.room[count..] }
    }

    /// Tells the compiler.
    #[inline(always)]
    fn assume_room(&self) {
        // SAFETY: every window has that much room when it is made, by `new` or by `over`, and loses
        // none before it is gone.
        unsafe { hint::assert_unchecked(self.room.len() >= ROOM) };
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
