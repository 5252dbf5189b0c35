//! Searches: the calls that the index names and those that it does not know yet, the newest first,
//! each read and held against the filter.

use rusqlite::{Connection, OptionalExtension, params};

use super::{BlockKey, lane, read_column};
use crate::context::CallKey;
use crate::event::AccountName;
use crate::filter::{Filter, Wanted};
use crate::store::embedded::reader::{call_id, time};
use crate::store::seats::{Column, Condition, SeatSet, read_numbers};
use crate::store::{CALLS_LIMIT, CONTEXTS_LIMIT, CallMark, CallQuery, Found, ListedCall, StoredCall};

/// The most blocks that one look goes through: two million calls.
const BLOCKS: usize = 256;

/// The calls of an account that a query takes, the newest first.
pub(in super::super) fn calls(
    connection: &Connection,
    account: &AccountName,
    query: &CallQuery,
    before: Option<&CallMark>,
    limit: usize,
) -> rusqlite::Result<Found<ListedCall, CallMark>> {
    let before = before.and_then(|mark| i64::try_from(mark.place).ok()).unwrap_or(i64::MAX);
    // One transaction, so that a call is in the index or among those that it does not know.
    let snapshot = connection.unchecked_transaction()?;
    let number = snapshot
        .prepare_cached("SELECT id FROM account WHERE name = ?1")?
        .query_row([account], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(Found { rows: Vec::new(), next: None }) };
    let mut candidates = if query.takes_all() {
        Candidates::all(&snapshot, number, before, limit.saturating_add(1))?
    } else {
        Candidates::of(&snapshot, number, query, before, limit)?
    };
    let mut rows: Vec<ListedCall> = Vec::new();
    let (mut others, mut bytes, mut last) = (0, 0, before);
    let next = loop {
        let call = match candidates.next()? {
            Step::Call(call) => call,
            Step::Cut(at) => break Some(at),
            Step::End => break None,
        };
        if rows.len() == limit || others == CALLS_LIMIT || bytes > CONTEXTS_LIMIT {
            break Some(last);
        }
        last = call;
        match read(&snapshot, account, number, call)? {
            Some(listed) if query.takes(&listed.stored.context) => {
                bytes += listed.stored.context.len();
                rows.push(listed);
            }
            Some(_) | None => others += 1,
        }
    };
    Ok(Found { rows, next: next.map(mark) })
}

fn mark(call: i64) -> CallMark {
    CallMark { place: call.unsigned_abs(), name: Box::default() }
}

fn read(
    connection: &Connection,
    account: &AccountName,
    number: i64,
    call: i64,
) -> rusqlite::Result<Option<ListedCall>> {
    connection
        .prepare_cached(
            "SELECT space, id, created_at, version, context FROM call WHERE number = ?1 AND account = ?2",
        )?
        .query_row([call, number], |row| {
            Ok(ListedCall {
                mark: mark(call),
                key: CallKey {
                    account: AccountName::clone(account),
                    space: row.get::<_, String>(0)?.into(),
                    id: call_id(1, &row.get::<_, String>(1)?)?,
                },
                created_at: time(row, 2)?,
                stored: StoredCall { version: row.get::<_, i64>(3)?.cast_unsigned(), context: row.get(4)? },
            })
        })
        .optional()
}

/// What comes next in a search.
enum Step {
    /// This call may be one.
    Call(i64),
    /// Enough was looked at: it goes on before this call.
    Cut(i64),
    /// Nothing.
    End,
}

/// Calls that may be what is looked for, from the newest to the oldest.
struct Candidates<'c> {
    search: Option<Search<'c>>,
    /// Blocks that were not looked at, with the calls in their first seats, from the oldest to the
    /// newest.
    blocks: Vec<(i64, i64)>,
    looked_at: usize,
    /// The first call of the block that was looked at last.
    reached: i64,
    /// Of the block that was looked at last, from the oldest to the newest.
    named: Vec<i64>,
    /// Those that the index does not know, from the oldest to the newest.
    unindexed: Vec<i64>,
}

impl<'c> Candidates<'c> {
    /// All calls before one, at most so many.
    fn all(connection: &Connection, account: i64, before: i64, limit: usize) -> rusqlite::Result<Self> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut named: Vec<i64> = connection
            .prepare_cached(
                "SELECT number FROM call INDEXED BY call_by_account WHERE account = ?1 AND number < ?2 \
                 ORDER BY number DESC LIMIT ?3",
            )?
            .query_map([account, before, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        named.reverse();
        Ok(Self {
            search: None,
            blocks: Vec::new(),
            looked_at: 0,
            reached: before,
            named,
            unindexed: Vec::new(),
        })
    }

    fn of(
        connection: &'c Connection,
        account: i64,
        query: &CallQuery,
        before: i64,
        limit: usize,
    ) -> rusqlite::Result<Self> {
        // One more than a look reads: it stops there, so that none is left out.
        let most = i64::try_from(CALLS_LIMIT.saturating_add(limit) + 1).unwrap_or(i64::MAX);
        let mut unindexed: Vec<i64> = connection
            .prepare_cached(
                "SELECT call FROM unindexed WHERE account = ?1 AND call < ?2 ORDER BY call DESC LIMIT ?3",
            )?
            .query_map([account, before, most], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        unindexed.reverse();
        let mut blocks = Vec::new();
        let mut search = None;
        if let Some(base) = lane(connection, account, None)? {
            let own = match &query.token {
                Some(token) => lane(connection, account, Some(token))?,
                None => None,
            };
            search = Some(Search { connection, base, own, tests: Test::of(&query.filter) });
            blocks = connection
                .prepare_cached(
                    "SELECT block, first FROM search_block WHERE lane = ?1 AND first < ?2 ORDER BY block",
                )?
                .query_map([base, before], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
        }
        Ok(Self { search, blocks, looked_at: 0, reached: before, named: Vec::new(), unindexed })
    }

    fn next(&mut self) -> rusqlite::Result<Step> {
        let before = self.reached;
        while self.named.is_empty()
            && let (Some(search), Some((block, first))) = (&mut self.search, self.blocks.last().copied())
        {
            if self.unindexed.last().is_some_and(|call| *call >= self.reached) {
                break;
            }
            if self.looked_at == BLOCKS {
                return Ok(Step::Cut(self.reached));
            }
            self.blocks.pop();
            self.looked_at += 1;
            self.named = search.named(block, first, before)?;
            self.reached = first;
        }
        let call = match (self.named.last(), self.unindexed.last()) {
            (Some(named), Some(unindexed)) => named.max(unindexed),
            (Some(call), None) | (None, Some(call)) => call,
            (None, None) => return Ok(Step::End),
        };
        let call = *call;
        for calls in [&mut self.named, &mut self.unindexed] {
            calls.pop_if(|last| *last == call);
        }
        Ok(Step::Call(call))
    }
}

/// So few calls are read rather than narrowed down any further.
const FEW: usize = 2;

/// Something that the calls must have.
struct Test {
    kind: Kind,
    /// How many of those that were held against it had it, and how many there were.
    passed: u64,
    tried: u64,
}

enum Kind {
    /// A value in a column.
    Value(Column, Condition),
    /// A run of characters in a text, or too many for them to be kept.
    Gram { gram: u32, dense: u32 },
}

impl Test {
    fn of(filter: &Filter) -> Vec<Self> {
        let values =
            Condition::of(filter).into_iter().map(|(column, condition)| Kind::Value(column, condition));
        let wanted = Wanted::of(filter);
        let grams = wanted.iter().flat_map(|wanted| {
            wanted.all_of.iter().map(|gram| Kind::Gram { gram: *gram, dense: wanted.dense })
        });
        // Taken to pass one in two until it shows.
        grams.chain(values).map(|kind| Self { kind, passed: 1, tried: 2 }).collect()
    }
}

/// What is looked for, in the words of the index.
struct Search<'c> {
    connection: &'c Connection,
    /// The account's lane.
    base: i64,
    /// The token's, if there is one.
    own: Option<i64>,
    /// Those first that fewest have passed so far.
    tests: Vec<Test>,
}

impl Search<'_> {
    /// The calls of a block that may be what is looked for, and come before one.
    fn named(&mut self, block: i64, first: i64, before: i64) -> rusqlite::Result<Vec<i64>> {
        let seats = self.seats(block)?;
        if seats.is_empty() {
            return Ok(Vec::new());
        }
        let base = BlockKey::new(self.base, block);
        let calls = read_column(self.connection, base, Column::Calls)?.unwrap_or_default();
        let calls = read_numbers(Column::Calls, &calls);
        let sitting = seats.iter().filter_map(|seat| calls.get(seat));
        Ok(sitting.map(|distance| first + i64::from(*distance)).filter(|call| *call < before).collect())
    }

    fn seats(&mut self, block: i64) -> rusqlite::Result<SeatSet> {
        let base = BlockKey::new(self.base, block);
        let connection = self.connection;
        let present = |key| {
            let stored = read_column(connection, key, Column::Present)?;
            Ok::<_, rusqlite::Error>(stored.map(|stored| SeatSet::from_bytes(&stored)))
        };
        let Some(mut found) = present(base)? else { return Ok(SeatSet::new()) };
        let own = self.own.map(|own| BlockKey::new(own, block));
        let own_present = own.map(present).transpose()?.flatten();
        if let Some(theirs) = &own_present {
            found.take_away(theirs);
        }
        self.narrow(base, &mut found)?;
        if let (Some(own), Some(mut theirs)) = (own, own_present) {
            self.narrow(own, &mut theirs)?;
            found.add(&theirs);
        }
        Ok(found)
    }

    fn narrow(&mut self, block: BlockKey, seats: &mut SeatSet) -> rusqlite::Result<()> {
        let mut dense_sets: Vec<(u32, Option<SeatSet>)> = Vec::new();
        let mut left = seats.len();
        for index in 0..self.tests.len() {
            if left <= FEW {
                break;
            }
            match self.tests[index].kind {
                Kind::Value(column, condition) => self.narrow_by_value(block, column, condition, seats)?,
                Kind::Gram { gram, dense } => {
                    let mut having = self.gram(block, gram)?.unwrap_or_else(SeatSet::new);
                    if !dense_sets.iter().any(|(known, _)| *known == dense) {
                        dense_sets.push((dense, self.gram(block, dense)?));
                    }
                    let set = dense_sets.iter().find(|(known, _)| *known == dense);
                    if let Some((_, Some(dense))) = set {
                        having.add(dense);
                    }
                    seats.keep(&having);
                }
            }
            let passed = seats.len();
            self.tests[index].tried += left as u64;
            self.tests[index].passed += passed as u64;
            left = passed;
        }
        // As fractions, crosswise.
        self.tests.sort_by(|one, other| {
            (u128::from(one.passed) * u128::from(other.tried))
                .cmp(&(u128::from(other.passed) * u128::from(one.tried)))
        });
        Ok(())
    }

    fn narrow_by_value(
        &self,
        block: BlockKey,
        column: Column,
        condition: Condition,
        seats: &mut SeatSet,
    ) -> rusqlite::Result<()> {
        let mut statement =
            self.connection.prepare_cached("SELECT data FROM search_column WHERE key = ?1")?;
        let mut rows = statement.query([block.column(column)])?;
        match rows.next()? {
            Some(row) => condition.narrow(column, row.get_ref(0)?.as_blob()?, seats),
            None => *seats = SeatSet::new(),
        }
        Ok(())
    }

    fn gram(&self, block: BlockKey, gram: u32) -> rusqlite::Result<Option<SeatSet>> {
        self.connection
            .prepare_cached("SELECT seats FROM search_gram WHERE block = ?1 AND gram = ?2")?
            .query_row(params![block.0, gram], |row| Ok(SeatSet::from_bytes(row.get_ref(0)?.as_blob()?)))
            .optional()
    }
}
