//! The index of calls: what a search reads instead of the calls.
//!
//! An account's calls have seats, in the order of their making, 8,192 to a block. A block has a
//! column for each value that filters compare (a number a seat), and for each run of one to three
//! characters that occurs in a text the set of the seats in whose text it occurs. So what a search
//! costs depends on what it asks for, and little on what the calls say: a look goes through a column
//! of a million calls in a few milliseconds, however many of them agree with one filter and not with
//! the others, and a text that is looked for needs a few sets of a block, common or rare.
//!
//! The index may say too much and never too little: numbers are rounded, texts hashed, and what a
//! text held before stays. Each call that it names is read, and the filter itself decides.
//!
//! It is written after the event was answered: accepting only notes the call in `unindexed`, and a
//! thread of its own ([`indexer`]) takes the notes up, many at a time. Until then a search looks at
//! the noted calls themselves.
//!
//! Speech may be a token's own. What calls are to a token that owns speech of them stands in a lane
//! of the token's, in the same seats, and counts there in place of what they are to the account.

mod batch;
mod find;
mod indexer;

pub(super) use find::calls;
pub(super) use indexer::{Indexer, Orders, orders};
use rusqlite::{Connection, OptionalExtension, params};

use super::desk::Desk;
use crate::store::seats::Column;

/// The tables.
pub(super) const TABLES: &str = "
DROP INDEX IF EXISTS call_by_age;

-- Calls as the index does not know them yet.
CREATE TABLE unindexed (
    account INTEGER NOT NULL,
    call INTEGER NOT NULL,
    removals INTEGER NOT NULL,      -- how many calls of this number were removed since it was indexed
    PRIMARY KEY (account, call)
) STRICT, WITHOUT ROWID;
INSERT INTO unindexed (account, call, removals) SELECT account, number, 0 FROM call;

CREATE TABLE search_lane (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    token TEXT NOT NULL,            -- empty for the account's own
    UNIQUE (account, token)
) STRICT;

-- Blocks of the accounts' own lanes.
CREATE TABLE search_block (
    lane INTEGER NOT NULL,
    block INTEGER NOT NULL,
    first INTEGER NOT NULL,         -- the call in its first seat
    PRIMARY KEY (lane, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE search_column (
    key INTEGER PRIMARY KEY,        -- lane, block, column
    data BLOB NOT NULL
) STRICT;

CREATE TABLE search_gram (
    block INTEGER NOT NULL,         -- lane, block
    gram INTEGER NOT NULL,
    seats BLOB NOT NULL,
    PRIMARY KEY (block, gram)
) STRICT, WITHOUT ROWID;
";

/// Bits of a key that number the blocks of a lane: 2^24 blocks, 137,000 million calls.
const BLOCK_BITS: u32 = 24;

/// Bits of a key that number the columns of a block.
const COLUMN_BITS: u32 = 4;

/// A block of a lane, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct BlockKey(i64);

impl BlockKey {
    const fn new(lane: i64, block: i64) -> Self {
        Self((lane << BLOCK_BITS) | block)
    }

    const fn column(self, column: Column) -> i64 {
        (self.0 << COLUMN_BITS) | column as i64
    }
}

/// A column as it is stored; `None` where a block has none.
fn read_column(
    connection: &Connection,
    block: BlockKey,
    column: Column,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT data FROM search_column WHERE key = ?1")?
        .query_row([block.column(column)], |row| row.get(0))
        .optional()
}

/// The lane of a token, or, without one, of the account.
fn lane(connection: &Connection, account: i64, token: Option<&str>) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM search_lane WHERE account = ?1 AND token = ?2")?
        .query_row(params![account, token.unwrap_or_default()], |row| row.get(0))
        .optional()
}

/// Notes that the index does not know a call as it is now.
pub(super) fn changed(desk: &mut Desk, account: i64, call: i64) -> rusqlite::Result<()> {
    let noted = desk
        .connection
        .prepare_cached(
            "INSERT INTO unindexed (account, call, removals) VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING",
        )?
        .execute([account, call])?;
    if noted > 0 {
        desk.index.note_changed(account);
    }
    Ok(())
}

/// Notes that a call was removed: nothing of it is to be left in the index.
pub(super) fn removed(desk: &mut Desk, account: i64, call: i64) -> rusqlite::Result<()> {
    desk.connection
        .prepare_cached(
            "INSERT INTO unindexed (account, call, removals) VALUES (?1, ?2, 1) \
             ON CONFLICT DO UPDATE SET removals = removals + 1",
        )?
        .execute([account, call])?;
    desk.index.note_removed(account);
    Ok(())
}
