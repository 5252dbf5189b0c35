//! What an index of calls is made of, in either store: calls have seats, 8,192 to a block, and a
//! block has a column for each value that filters compare, with a number a seat.
//!
//! The numbers are rounded and texts are hashed, so that they may say too much and never too little:
//! whoever finds a call by them asks the filter itself.

use jiff::Timestamp;

use crate::filter::{Filter, Needle, Occasion, fnv};

/// Seats of a block.
pub(super) const SEATS: usize = 8_192;

const WORDS: usize = SEATS / 64;

/// A set of at least so many seats is stored as a bit a seat, a smaller one as a list.
const LISTED: usize = SEATS / 16;

/// What a block keeps for each of its seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Column {
    /// Which seats count: a set. Of a token's lane those in which the token owns speech.
    Present = 0,
    /// Which call sits there.
    Calls = 1,
    StartAt = 2,
    Duration = 3,
    Rank = 4,
    CallStatus = 5,
    Language = 6,
}

/// A set of seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeatSet(Box<[u64; WORDS]>);

impl SeatSet {
    pub(super) fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Every seat of a block.
    pub(super) fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// Reads the stored form; what is none is an empty set.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::new();
        if bytes.len() == SEATS / 8 {
            for (word, bytes) in set.0.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        } else {
            for seat in bytes.as_chunks().0 {
                set.insert(usize::from(u16::from_le_bytes(*seat)) % SEATS);
            }
        }
        set
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if self.len() < LISTED {
            let seat = |seat| u16::try_from(seat).expect("a block has 8,192 seats").to_le_bytes();
            self.iter().flat_map(seat).collect()
        } else {
            self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    }

    pub(super) fn insert(&mut self, seat: usize) {
        self.0[seat / 64] |= 1 << (seat % 64);
    }

    pub(super) fn contains(&self, seat: usize) -> bool {
        self.0[seat / 64] & (1 << (seat % 64)) != 0
    }

    pub(super) fn remove(&mut self, seat: usize) {
        self.0[seat / 64] &= !(1 << (seat % 64));
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// In rising order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }

    pub(super) fn keep(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *ours &= theirs;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *ours |= theirs;
        }
    }

    pub(super) fn take_away(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *ours &= !theirs;
        }
    }
}

/// The columns of values.
pub(super) const VALUES: [Column; 5] =
    [Column::StartAt, Column::Duration, Column::Rank, Column::CallStatus, Column::Language];

/// What stands in a column for a value that is missing: no condition takes it.
pub(super) const MISSING: u32 = 0;

/// How many bytes a number of a column takes.
pub(super) const fn width(column: Column) -> usize {
    match column {
        Column::Present | Column::Rank => 1,
        Column::Duration | Column::CallStatus | Column::Language => 2,
        Column::Calls | Column::StartAt => 4,
    }
}

/// What a call shows to the columns of values, in their order.
pub(super) fn values(occasion: &Occasion<'_>) -> [u32; VALUES.len()] {
    VALUES.map(|column| {
        let value = match column {
            Column::StartAt => occasion.start_at().map(seconds),
            Column::Duration => occasion.duration().map(duration),
            Column::Rank => occasion.rank().map(rank),
            Column::CallStatus => occasion.call_status().map(text),
            Column::Language => occasion.language().map(text),
            Column::Calls | Column::Present => None,
        };
        value.unwrap_or(MISSING)
    })
}

/// Whole seconds from 1970 to 2106, and cut off there. Cutting off keeps the order: what lies in a
/// range lies in the range that is cut off. So it is with the numbers below.
fn seconds(at: Timestamp) -> u32 {
    let second = at.as_second().saturating_add(1).clamp(1, i64::from(u32::MAX));
    u32::try_from(second).expect("it is cut off")
}

/// Whole seconds, up to 18 hours.
fn duration(seconds: f64) -> u32 {
    u32::from(whole(seconds).saturating_add(1))
}

/// Whole points, up to 254.
fn rank(points: f64) -> u32 {
    u32::from(u8::try_from(whole(points).saturating_add(1)).unwrap_or(u8::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut off")]
fn whole(number: f64) -> u16 {
    number.clamp(0.0, f64::from(u16::MAX)) as u16
}

/// A text that is there.
fn text(lower: &str) -> u32 {
    (fnv(lower.bytes()) & 0xffff).max(1)
}

/// What a filter asks of a column: a number in this range, or this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    low: u32,
    high: u32,
}

impl Condition {
    /// The conditions of a filter.
    pub(super) fn of(filter: &Filter) -> Vec<(Column, Self)> {
        let range = |low: Option<u32>, high: Option<u32>| {
            let range = Self { low: low.unwrap_or(MISSING + 1), high: high.unwrap_or(u32::MAX) };
            (low.is_some() || high.is_some()).then_some(range)
        };
        // Seconds are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "it is cut off anyway")]
        let duration = |bound: Option<u64>| bound.map(|bound| duration(bound as f64));
        let rank = |bound: Option<u8>| bound.map(|bound| rank(f64::from(bound)));
        let is = |needle: Option<&Needle>| {
            let text = needle.map(|needle| text(needle.lower()));
            range(text, text)
        };
        [
            (Column::CallStatus, is(filter.call_status.as_ref())),
            (Column::Language, is(filter.language.as_ref())),
            (Column::StartAt, range(filter.from.map(seconds), filter.till.map(seconds))),
            (Column::Rank, range(rank(filter.rank_min), rank(filter.rank_max))),
            (Column::Duration, range(duration(filter.min_duration), duration(filter.max_duration))),
        ]
        .into_iter()
        .filter_map(|(column, condition)| Some((column, condition?)))
        .collect()
    }

    /// Takes away the seats whose number it does not take.
    pub(super) fn narrow(self, column: Column, stored: &[u8], seats: &mut SeatSet) {
        let takes = |number: u32| self.low <= number && number <= self.high;
        match width(column) {
            1 => narrow(stored, seats, |[byte]| takes(u32::from(byte))),
            2 => narrow(stored, seats, |bytes| takes(u32::from(u16::from_le_bytes(bytes)))),
            _ => narrow(stored, seats, |bytes| takes(u32::from_le_bytes(bytes))),
        }
    }
}

fn narrow<const WIDTH: usize>(stored: &[u8], seats: &mut SeatSet, takes: impl Fn([u8; WIDTH]) -> bool) {
    let mut words = stored.chunks(64 * WIDTH);
    for seats in seats.0.iter_mut() {
        let numbers = words.next().unwrap_or_default();
        if *seats == 0 {
            continue;
        }
        let bits =
            numbers.as_chunks().0.iter().enumerate().map(|(bit, number)| u64::from(takes(*number)) << bit);
        *seats &= bits.fold(0, |word, bit| word | bit);
    }
}

/// A column as it is stored; one that is none is cut off where it ends.
pub(super) fn read_numbers(column: Column, stored: &[u8]) -> Vec<u32> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
    stored.chunks_exact(width(column)).take(SEATS).map(number).collect()
}

pub(super) fn write_numbers(column: Column, numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes().into_iter().take(width(column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_columns_are_read_back() {
        for step in [1, 3, 15, 16, 17, 8_191] {
            let mut set = SeatSet::new();
            (0..SEATS).step_by(step).for_each(|seat| set.insert(seat));
            assert_eq!(SeatSet::from_bytes(&set.to_bytes()), set);
            assert_eq!(set.iter().collect::<Vec<_>>(), (0..SEATS).step_by(step).collect::<Vec<_>>());
        }
        for (column, numbers) in [
            (Column::Rank, [0, 1, 255]),
            (Column::Duration, [0, 256, 65_535]),
            (Column::StartAt, [0, 65_536, u32::MAX]),
        ] {
            assert_eq!(read_numbers(column, &write_numbers(column, &numbers)), numbers);
        }
    }

    #[test]
    fn what_is_cut_off_keeps_its_order() {
        let at = |text: &str| seconds(text.parse().unwrap());
        let times = [
            "0001-01-01T00:00:00Z",
            "1970-01-01T00:00:00.9Z",
            "1970-01-01T00:00:01Z",
            "9999-01-01T00:00:00Z",
        ];
        assert!(times.map(at).is_sorted() && at(times[0]) > MISSING && at(times[1]) < at(times[2]));
        for cut in [duration, rank] {
            let numbers = [-1.0, 0.0, 0.5, 1.0, 100.0, 254.0, 1e3, 65_534.5, 1e30];
            assert!(numbers.map(cut).is_sorted() && cut(-1.0) > MISSING && cut(0.5) < cut(1.0));
        }
        assert!(rank(1e30) <= 255 && duration(1e30) <= 65_535);
    }
}
