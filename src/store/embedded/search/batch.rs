//! What is to be written of some calls that the index does not know as they are now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, params};

use super::{BlockKey, read_column};
use crate::context::{CallContext, Values};
use crate::filter::Occasion;
use crate::store::seats::{Column, MISSING, SEATS, SeatSet, VALUES, read_numbers, values, write_numbers};

/// The most calls of a batch: a block of them, so that while the index is far behind each of a
/// block's rows is written about once.
const CALLS: usize = SEATS;

/// The most bytes of contexts, the most runs of characters and the most blocks of a batch.
const BYTES: usize = 16 << 20;
const GRAMS: usize = 1 << 20;
const BLOCKS: usize = 8;

/// One row of the index to be written.
#[derive(Debug)]
pub(super) enum Change {
    Lane {
        id: i64,
        account: i64,
        token: Box<str>,
    },
    Block {
        lane: i64,
        block: i64,
        first: i64,
    },
    Unblock {
        lane: i64,
        block: i64,
    },
    Column {
        key: i64,
        data: Vec<u8>,
    },
    NoColumn {
        key: i64,
    },
    Gram {
        block: BlockKey,
        gram: u32,
        seats: Vec<u8>,
    },
    NoGram {
        block: BlockKey,
        gram: u32,
    },
    /// The index knows a call as it was in this version, and removed as often.
    Indexed {
        account: i64,
        call: i64,
        removals: i64,
        version: i64,
    },
}

impl Change {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Column { data, .. } => data.len(),
            Self::Gram { seats, .. } => seats.len(),
            _ => 0,
        }
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let run = |sql, params: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(params);
        match self {
            Self::Lane { id, account, token } => run(
                "INSERT OR IGNORE INTO search_lane (id, account, token) VALUES (?1, ?2, ?3)",
                params![id, account, token],
            ),
            Self::Block { lane, block, first } => run(
                "INSERT OR IGNORE INTO search_block (lane, block, first) VALUES (?1, ?2, ?3)",
                params![lane, block, first],
            ),
            Self::Unblock { lane, block } => {
                run("DELETE FROM search_block WHERE lane = ?1 AND block = ?2", params![lane, block])
            }
            Self::Column { key, data } => {
                run("INSERT OR REPLACE INTO search_column (key, data) VALUES (?1, ?2)", params![key, data])
            }
            Self::NoColumn { key } => run("DELETE FROM search_column WHERE key = ?1", params![key]),
            Self::Gram { block, gram, seats } => run(
                "INSERT OR REPLACE INTO search_gram (block, gram, seats) VALUES (?1, ?2, ?3)",
                params![block.0, gram, seats],
            ),
            Self::NoGram { block, gram } => {
                run("DELETE FROM search_gram WHERE block = ?1 AND gram = ?2", params![block.0, gram])
            }
            // One that has changed since stays noted.
            Self::Indexed { account, call, removals, version } => run(
                "DELETE FROM unindexed WHERE account = ?1 AND call = ?2 AND removals = ?3 AND ?4 = \
                 coalesce((SELECT version FROM call WHERE number = ?2 AND account = ?1), 0)",
                params![account, call, removals, version],
            ),
        }?;
        Ok(())
    }
}

/// Some calls of an account, and what is to be written of them, in this order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    /// The last of the calls; `None` if there are none.
    pub(super) last: Option<i64>,
}

/// A call that is noted.
struct Noted {
    call: i64,
    removals: i64,
    /// 0 if it is gone.
    version: i64,
    context: Option<Vec<u8>>,
}

impl Batch {
    /// The first calls behind one.
    pub(super) fn make(connection: &Connection, account: i64, after: i64) -> rusqlite::Result<Self> {
        let noted = noted(connection, account, after)?;
        let mut draft = Draft::new(connection, account)?;
        let mut last = None;
        for noted in noted {
            if !draft.take(&noted)? {
                break;
            }
            last = Some(noted.call);
        }
        Ok(Self { changes: draft.changes()?, last })
    }
}

fn noted(connection: &Connection, account: i64, after: i64) -> rusqlite::Result<Vec<Noted>> {
    let mut statement = connection.prepare_cached(
        "SELECT u.call, u.removals, c.version, c.context FROM unindexed u \
         LEFT JOIN call c ON c.number = u.call AND c.account = u.account \
         WHERE u.account = ?1 AND u.call > ?2 ORDER BY u.call",
    )?;
    let mut rows = statement.query([account, after])?;
    let (mut noted, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let one = Noted {
            call: row.get(0)?,
            removals: row.get(1)?,
            version: row.get::<_, Option<i64>>(2)?.unwrap_or(0),
            context: row.get(3)?,
        };
        bytes += one.context.as_ref().map_or(0, Vec::len);
        noted.push(one);
        if noted.len() == CALLS || bytes >= BYTES {
            break;
        }
    }
    Ok(noted)
}

/// A batch that is being made.
struct Draft<'c> {
    connection: &'c Connection,
    account: i64,
    /// The account's lanes, by their tokens; the empty one is its own.
    lanes: BTreeMap<Box<str>, i64>,
    next_lane: i64,
    /// The blocks of its own lane with the calls in their first seats, in rising order.
    blocks: Vec<(i64, i64)>,
    columns: HashMap<(BlockKey, Column), Vec<u32>>,
    sets: HashMap<BlockKey, Option<SeatSet>>,
    /// What of these is to be written.
    changed_columns: BTreeSet<(BlockKey, u8)>,
    grams: Vec<(BlockKey, u32, u16)>,
    /// Seats whose calls were removed, by block.
    cleared: BTreeMap<i64, Vec<usize>>,
    /// Blocks of calls that this batch has touched.
    touched: BTreeSet<i64>,
    made: Vec<Change>,
    done: Vec<Change>,
}

impl<'c> Draft<'c> {
    fn new(connection: &'c Connection, account: i64) -> rusqlite::Result<Self> {
        let lanes: BTreeMap<Box<str>, i64> = connection
            .prepare_cached("SELECT token, id FROM search_lane WHERE account = ?1")?
            .query_map([account], |row| Ok((row.get::<_, String>(0)?.into(), row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let next_lane = connection
            .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM search_lane")?
            .query_row([], |row| row.get(0))?;
        let mut draft = Self {
            connection,
            account,
            lanes,
            next_lane,
            blocks: Vec::new(),
            columns: HashMap::new(),
            sets: HashMap::new(),
            changed_columns: BTreeSet::new(),
            grams: Vec::new(),
            cleared: BTreeMap::new(),
            touched: BTreeSet::new(),
            made: Vec::new(),
            done: Vec::new(),
        };
        let base = draft.lane("");
        draft.blocks = connection
            .prepare_cached("SELECT block, first FROM search_block WHERE lane = ?1 ORDER BY block")?
            .query_map([base], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        Ok(draft)
    }

    /// A token's lane, which is made if there is none.
    fn lane(&mut self, token: &str) -> i64 {
        if let Some(lane) = self.lanes.get(token) {
            return *lane;
        }
        let id = self.next_lane;
        self.next_lane += 1;
        self.lanes.insert(token.into(), id);
        self.made.push(Change::Lane { id, account: self.account, token: token.into() });
        id
    }

    /// Takes a call into the batch; `false`, and nothing, if that is full.
    fn take(&mut self, noted: &Noted) -> rusqlite::Result<bool> {
        if self.grams.len() >= GRAMS {
            return Ok(false);
        }
        let seat = self.seat(noted.call)?;
        let block = match seat {
            Some((block, _)) => Some(block),
            None if noted.context.is_some() => Some(self.block_for(noted.call)?),
            // Its call came and went before it had a seat.
            None => None,
        };
        if let Some(block) = block {
            if self.touched.len() == BLOCKS && !self.touched.contains(&block) {
                return Ok(false);
            }
            self.touched.insert(block);
        }
        if let Some((block, seat)) = seat
            && noted.removals > 0
        {
            self.clear(block, seat)?;
        }
        if let Some(context) = &noted.context {
            let (block, seat) = match seat {
                Some(seat) => seat,
                None => self.seat_down(noted.call)?,
            };
            self.describe(block, seat, context)?;
        } else if let Some((block, seat)) = seat {
            self.clear(block, seat)?;
        }
        let (account, call) = (self.account, noted.call);
        let (removals, version) = (noted.removals, noted.version);
        self.done.push(Change::Indexed { account, call, removals, version });
        Ok(true)
    }

    /// Where a call sits, if it does.
    fn seat(&mut self, call: i64) -> rusqlite::Result<Option<(i64, usize)>> {
        let Some((block, first)) = self.blocks.iter().rev().find(|(_, first)| *first <= call).copied() else {
            return Ok(None);
        };
        let Ok(distance) = u32::try_from(call - first) else { return Ok(None) };
        let base = self.lane("");
        let calls = self.column(BlockKey::new(base, block), Column::Calls)?;
        Ok(calls.binary_search(&distance).ok().map(|seat| (block, seat)))
    }

    /// The block in which the newest call is to sit.
    fn block_for(&mut self, call: i64) -> rusqlite::Result<i64> {
        let Some((block, first)) = self.blocks.last().copied() else { return Ok(0) };
        let base = self.lane("");
        let is_full = self.column(BlockKey::new(base, block), Column::Calls)?.len() >= SEATS;
        let is_far = u32::try_from(call - first).is_err();
        Ok(if is_full || is_far { block + 1 } else { block })
    }

    /// Gives a call the next seat. Calls come in the order of their making: those that have none
    /// are newer than those that have one.
    fn seat_down(&mut self, call: i64) -> rusqlite::Result<(i64, usize)> {
        let block = self.block_for(call)?;
        let base = self.lane("");
        if self.blocks.last().is_none_or(|(last, _)| *last < block) {
            self.blocks.push((block, call));
            self.made.push(Change::Block { lane: base, block, first: call });
        }
        let first = self.blocks.last().expect("there is one now").1;
        let key = BlockKey::new(base, block);
        let calls = self.column(key, Column::Calls)?;
        calls.push(u32::try_from(call - first).expect("another block was made for it otherwise"));
        let seat = calls.len() - 1;
        self.changed_columns.insert((key, Column::Calls as u8));
        Ok((block, seat))
    }

    /// Writes what a call is to the account, and to each token that owns speech of it.
    fn describe(&mut self, block: i64, seat: usize, context: &[u8]) -> rusqlite::Result<()> {
        // One that cannot be read has nothing that a filter could take.
        let context = CallContext::from_bytes(context).unwrap_or_default();
        for owner in std::iter::once(None).chain(context.owners().map(Some)) {
            let lane = self.lane(owner.unwrap_or_default());
            let key = BlockKey::new(lane, block);
            let mut shown = Values::new();
            context.fill_for(owner, &mut shown);
            let occasion = Occasion::new(&shown);
            for (column, value) in VALUES.into_iter().zip(values(&occasion)) {
                self.put(key, column, seat, value)?;
            }
            let sitting = u16::try_from(seat).expect("a block has 8,192 seats");
            self.grams.extend(occasion.grams().iter().map(|gram| (key, *gram, sitting)));
            let present = self.present(key)?.get_or_insert_with(SeatSet::new);
            if !present.contains(seat) {
                present.insert(seat);
                self.changed_columns.insert((key, Column::Present as u8));
            }
        }
        Ok(())
    }

    /// Takes a seat out of every lane.
    fn clear(&mut self, block: i64, seat: usize) -> rusqlite::Result<()> {
        let lanes: Vec<i64> = self.lanes.values().copied().collect();
        for key in lanes.into_iter().map(|lane| BlockKey::new(lane, block)) {
            let Some(present) = self.present(key)? else { continue };
            if present.contains(seat) {
                present.remove(seat);
                self.changed_columns.insert((key, Column::Present as u8));
            }
            for column in VALUES {
                self.put(key, column, seat, MISSING)?;
            }
        }
        self.cleared.entry(block).or_default().push(seat);
        Ok(())
    }

    fn put(&mut self, key: BlockKey, column: Column, seat: usize, value: u32) -> rusqlite::Result<()> {
        let numbers = self.column(key, column)?;
        if numbers.get(seat).copied().unwrap_or(MISSING) == value {
            return Ok(());
        }
        if numbers.len() <= seat {
            numbers.resize(seat + 1, MISSING);
        }
        numbers[seat] = value;
        self.changed_columns.insert((key, column as u8));
        Ok(())
    }

    fn column(&mut self, key: BlockKey, column: Column) -> rusqlite::Result<&mut Vec<u32>> {
        match self.columns.entry((key, column)) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let stored = read_column(self.connection, key, column)?.unwrap_or_default();
                Ok(unknown.insert(read_numbers(column, &stored)))
            }
        }
    }

    fn present(&mut self, key: BlockKey) -> rusqlite::Result<&mut Option<SeatSet>> {
        match self.sets.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let stored = read_column(self.connection, key, Column::Present)?;
                Ok(unknown.insert(stored.map(|stored| SeatSet::from_bytes(&stored))))
            }
        }
    }

    /// Everything that is to be written: the notes go last.
    fn changes(mut self) -> rusqlite::Result<Vec<Change>> {
        let mut changes = std::mem::take(&mut self.made);
        for (key, column) in &self.changed_columns {
            let written = |column: Column| Change::Column {
                key: key.column(column),
                data: write_numbers(column, &self.columns[&(*key, column)]),
            };
            if *column == Column::Present as u8 {
                let present = self.sets[key].as_ref().expect("it was changed");
                changes.push(Change::Column { key: key.column(Column::Present), data: present.to_bytes() });
            } else if *column == Column::Calls as u8 {
                changes.push(written(Column::Calls));
            } else {
                let column = VALUES.into_iter().find(|value| *value as u8 == *column);
                changes.push(written(column.expect("there is no other kind")));
            }
        }
        self.change_grams(&mut changes)?;
        self.drop_empty_blocks(&mut changes)?;
        changes.append(&mut self.done);
        Ok(changes)
    }

    fn change_grams(&mut self, changes: &mut Vec<Change>) -> rusqlite::Result<()> {
        let mut kept = self.wiped()?;
        self.grams.sort_unstable();
        self.grams.dedup();
        for run in self.grams.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let (block, gram, _) = run[0];
            let (mut seats, mut is_changed) = match kept.remove(&(block, gram)) {
                Some(seats) => (SeatSet::from_bytes(&seats), true),
                None => (stored_seats(self.connection, block, gram)?, false),
            };
            for (_, _, seat) in run {
                is_changed |= !seats.contains(usize::from(*seat));
                seats.insert(usize::from(*seat));
            }
            if is_changed {
                changes.push(Change::Gram { block, gram, seats: seats.to_bytes() });
            }
        }
        changes.extend(kept.into_iter().map(|((block, gram), seats)| {
            if seats.is_empty() {
                Change::NoGram { block, gram }
            } else {
                Change::Gram { block, gram, seats }
            }
        }));
        Ok(())
    }

    /// What is left of the sets in which removed calls were, without them.
    fn wiped(&self) -> rusqlite::Result<BTreeMap<(BlockKey, u32), Vec<u8>>> {
        let mut kept = BTreeMap::new();
        for (block, cleared) in &self.cleared {
            for key in self.lanes.values().map(|lane| BlockKey::new(*lane, *block)) {
                let mut statement =
                    self.connection.prepare_cached("SELECT gram, seats FROM search_gram WHERE block = ?1")?;
                let mut rows = statement.query([key.0])?;
                while let Some(row) = rows.next()? {
                    let mut seats = SeatSet::from_bytes(row.get_ref(1)?.as_blob()?);
                    if cleared.iter().any(|seat| seats.contains(*seat)) {
                        for seat in cleared {
                            seats.remove(*seat);
                        }
                        kept.insert((key, row.get(0)?), seats.to_bytes());
                    }
                }
            }
        }
        Ok(kept)
    }

    /// A block that no call sits in any more goes, unless there is room for the next call in it.
    fn drop_empty_blocks(&mut self, changes: &mut Vec<Change>) -> rusqlite::Result<()> {
        let base = self.lane("");
        let newest = self.blocks.last().map(|(block, _)| *block);
        let cleared: Vec<i64> = self.cleared.keys().copied().filter(|block| Some(*block) != newest).collect();
        for block in cleared {
            let present = self.present(BlockKey::new(base, block))?;
            if present.as_ref().is_some_and(|present| !present.is_empty()) {
                continue;
            }
            changes.push(Change::Unblock { lane: base, block });
            for key in self.lanes.values().map(|lane| BlockKey::new(*lane, block)) {
                let columns = [Column::Present, Column::Calls].into_iter().chain(VALUES);
                changes.extend(columns.map(|column| Change::NoColumn { key: key.column(column) }));
            }
        }
        Ok(())
    }
}

fn stored_seats(connection: &Connection, block: BlockKey, gram: u32) -> rusqlite::Result<SeatSet> {
    let mut statement =
        connection.prepare_cached("SELECT seats FROM search_gram WHERE block = ?1 AND gram = ?2")?;
    let mut rows = statement.query(params![block.0, gram])?;
    Ok(match rows.next()? {
        Some(row) => SeatSet::from_bytes(row.get_ref(0)?.as_blob()?),
        None => SeatSet::new(),
    })
}
