//! Sets of seats of a block, and columns with a number a seat.

use super::Column;
use crate::filter::{Filter, Needle, Occasion, fnv};

/// Seats of a block.
pub(super) const SEATS: usize = 8_192;

const WORDS: usize = SEATS / 64;

/// A set of at least so many seats is stored as a bit a seat, a smaller one as a list.
const LISTED: usize = SEATS / 16;

/// A set of seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeatSet(Box<[u64; WORDS]>);

impl SeatSet {
    pub(super) fn new() -> Self {
        Self(Box::new([0; WORDS]))
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
pub(super) const fn missing(column: Column) -> u32 {
    match column {
        Column::StartAt => i32::MIN.cast_unsigned(),
        Column::Duration | Column::Rank => f32::NAN.to_bits(),
        Column::CallStatus | Column::Language | Column::Calls | Column::Present => 0,
    }
}

/// What a call shows to the columns of values, in their order.
pub(super) fn values(occasion: &Occasion<'_>) -> [u32; VALUES.len()] {
    VALUES.map(|column| {
        let value = match column {
            Column::StartAt => occasion.start_at().map(|at| seconds(at).cast_unsigned()),
            Column::Duration => occasion.duration().map(|duration| rounded(duration).to_bits()),
            Column::Rank => occasion.rank().map(|rank| rounded(rank).to_bits()),
            Column::CallStatus => occasion.call_status().map(text),
            Column::Language => occasion.language().map(text),
            Column::Calls | Column::Present => None,
        };
        value.unwrap_or(missing(column))
    })
}

/// Rounding, as cutting off, keeps the order: what lies in a range lies in the rounded range.
#[expect(clippy::cast_possible_truncation, reason = "it is rounded")]
const fn rounded(number: f64) -> f32 {
    number as f32
}

fn seconds(at: jiff::Timestamp) -> i32 {
    let least = i64::from(i32::MIN) + 1;
    i32::try_from(at.as_second().clamp(least, i64::from(i32::MAX))).expect("it is cut off")
}

/// A text that is there.
fn text(lower: &str) -> u32 {
    fnv(lower.bytes()).max(1)
}

/// What a filter asks of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    Seconds(i32, i32),
    Number(f32, f32),
    Text(u32),
}

impl Condition {
    /// The conditions of a filter, those first that most calls fail.
    pub(super) fn of(filter: &Filter) -> Vec<(Column, Self)> {
        // Seconds and ranks are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
        let number = |low: Option<u64>, high: Option<u64>| {
            (low.is_some() || high.is_some()).then(|| {
                let low = low.map_or(f32::NEG_INFINITY, |low| rounded(low as f64));
                Self::Number(low, high.map_or(f32::INFINITY, |high| rounded(high as f64)))
            })
        };
        let is = |needle: Option<&Needle>| needle.map(|needle| Self::Text(text(needle.lower())));
        let (from, till) = (filter.from, filter.till);
        let start = (from.is_some() || till.is_some())
            .then(|| Self::Seconds(from.map_or(i32::MIN + 1, seconds), till.map_or(i32::MAX, seconds)));
        [
            (Column::CallStatus, is(filter.call_status.as_ref())),
            (Column::Language, is(filter.language.as_ref())),
            (Column::StartAt, start),
            (Column::Rank, number(filter.rank_min.map(u64::from), filter.rank_max.map(u64::from))),
            (Column::Duration, number(filter.min_duration, filter.max_duration)),
        ]
        .into_iter()
        .filter_map(|(column, condition)| Some((column, condition?)))
        .collect()
    }

    /// Takes away the seats whose value it does not take.
    pub(super) fn narrow(self, column: &[u8], seats: &mut SeatSet) {
        match self {
            Self::Seconds(low, high) => {
                narrow(column, seats, |value| (low..=high).contains(&value.cast_signed()));
            }
            Self::Number(low, high) => narrow(column, seats, |value| {
                let value = f32::from_bits(value);
                low <= value && value <= high
            }),
            Self::Text(hash) => narrow(column, seats, |value| value == hash),
        }
    }
}

fn narrow(column: &[u8], seats: &mut SeatSet, takes: impl Fn(u32) -> bool) {
    let mut words = column.chunks(64 * size_of::<u32>());
    for seats in seats.0.iter_mut() {
        let values = words.next().unwrap_or_default();
        if *seats == 0 {
            continue;
        }
        let agreeing = values
            .as_chunks()
            .0
            .iter()
            .enumerate()
            .map(|(bit, value)| u64::from(takes(u32::from_le_bytes(*value))) << bit);
        *seats &= agreeing.fold(0, |word, bit| word | bit);
    }
}

/// A column as it is stored; one that is none is cut off where it ends.
pub(super) fn read_numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().take(SEATS).map(|number| u32::from_le_bytes(*number)).collect()
}

pub(super) fn write_numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
