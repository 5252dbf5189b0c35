//! The index of calls: what a search over Redis reads instead of the calls.
//!
//! It is made as that of the embedded store is ([`crate::store::seats`]): an account's calls have
//! seats in the order of their places, 8,192 to a block, and a block has a column for each value that
//! filters compare: a string with a number a seat, 11 bytes a call in all. Redis hands the columns out
//! that a search asks for, and the process looks through them, so that Redis, which does one thing at
//! a time, is kept for microseconds a block. Texts have no columns: the calls that the values leave
//! are read one after the other, up to a limit.
//!
//! Accepting only notes the call (`calls.lua`), and the process whose turn it is takes the notes up, many
//! at a time. What it has made of them is one script, which does nothing if somebody else has written
//! to the account's index meanwhile, and leaves noted what has changed meanwhile; so it does not
//! matter who dies when. A search reads the notes before the columns: a call is in one or the other.
//!
//! Speech may be a token's own. What calls are to a token that owns speech of them stands in a lane
//! of the token's, in the same seats, and counts there in place of what they are to the account.

mod find;
mod indexer;

pub(super) use indexer::{index, index_all};

use super::reading::key;
use crate::event::AccountName;
use crate::store::seats::{Column, VALUES};

/// Stands in front of a place whose call is gone.
const VACATED: u64 = 1 << 63;

/// A block of a lane: the account's own, or that of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BlockOf {
    lane: Box<str>,
    block: u64,
}

impl BlockOf {
    fn own(block: u64) -> Self {
        Self { lane: Box::default(), block }
    }

    /// The name of a column behind `iv:`.
    fn column(&self, account: &AccountName, column: Column) -> Vec<u8> {
        let letter = match column {
            Column::Present => 'p',
            Column::Calls => 'c',
            Column::StartAt => 's',
            Column::Duration => 'd',
            Column::Rank => 'r',
            Column::CallStatus => 't',
            Column::Language => 'l',
        };
        format!("{account}\0{}\0{}{letter}", self.lane, self.block).into_bytes()
    }

    /// The names of all columns that it may have.
    fn columns(&self, account: &AccountName) -> impl Iterator<Item = Vec<u8>> {
        [Column::Present, Column::Calls].into_iter().chain(VALUES).map(|column| self.column(account, column))
    }
}

fn column_key(account: &AccountName, block: &BlockOf, column: Column) -> Vec<u8> {
    key("iv:", &block.column(account, column))
}

/// Whether a note is of a call as it is, by its name, which holds a NUL; any other is the place of one
/// that was removed.
pub(super) fn is_name(noted: &[u8]) -> bool {
    noted.contains(&0)
}

/// The seats of a column of calls in which there is one, each with its place.
pub(super) fn seated(stored: &[u8]) -> Vec<(usize, u64)> {
    read_places(stored).into_iter().enumerate().filter(|(_, place)| place & VACATED == 0).collect()
}

/// The places in a column of calls, of the seats from the first on, eight bytes each with the highest
/// first, so that a script can compare them as they are; those of calls that are gone are marked
/// [`VACATED`].
fn read_places(stored: &[u8]) -> Vec<u64> {
    stored.as_chunks().0.iter().map(|place| u64::from_be_bytes(*place)).collect()
}
