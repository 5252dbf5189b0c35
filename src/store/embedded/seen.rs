//! Which events were seen, so that a repeat is recognised.
//!
//! Digests come in random order: were each written into its place at once, each would cost the page
//! there, most of which is others'. So an event's digest goes to the end of a log and into memory, and
//! later into its place in `seen`: many at a time, in the order of the digests, a bit of them in each
//! transaction. The log keeps its rows as long as `seen` does, and says which have expired.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, params};

use super::desk::Desk;
use crate::event::EventId;
use crate::store::DedupeKey;

/// The tables, from format 11 on.
pub(super) const TABLES: &str = "
CREATE TABLE seen_log (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    source TEXT NOT NULL,
    event BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO seen_log (digest, source, event, expires_at)
    SELECT digest, source, event, expires_at FROM seen ORDER BY expires_at;

-- One row: the log's rows up to this number are in `seen`.
CREATE TABLE seen_filed (up_to INTEGER NOT NULL) STRICT;
INSERT INTO seen_filed (up_to) SELECT coalesce(max(number), 0) FROM seen_log;

DROP INDEX IF EXISTS seen_by_expiry;
";

/// So many digests are filed together: about as many as have a page each in the `seen` of a million.
const GENERATION: usize = 16_384;

/// While some are filed, so many in each transaction, and [`FILED_FOR_ONE`] for each that is new.
const FILED: usize = 64;

/// More than one, so that filing comes to its end before the next generation is full.
const FILED_FOR_ONE: usize = 2;

/// The start of a digest, and the number of its row in the log.
type Mark = (u64, i64);

fn start(digest: &[u8; 32]) -> u64 {
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

/// What is in the log and not in `seen`, for all who look there. Only what is durable is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Arc<Mutex<Marks>>);

#[derive(Debug, Default)]
struct Marks {
    young: BTreeSet<Mark>,
    /// Those that are being filed.
    filing: BTreeSet<Mark>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Rows of the log that may be of this digest, the newest first.
    fn rows(&self, digest: &[u8; 32]) -> Vec<i64> {
        let marks = self.lock();
        rows(&marks.young, digest).chain(rows(&marks.filing, digest)).collect()
    }
}

fn rows(marks: &BTreeSet<Mark>, digest: &[u8; 32]) -> impl Iterator<Item = i64> {
    let start = start(digest);
    marks.range((start, i64::MIN)..=(start, i64::MAX)).rev().map(|(_, number)| *number)
}

/// The writer's part: what the transaction under way does to [`Recent`].
#[derive(Debug)]
pub(super) struct Sightings {
    pub(super) recent: Recent,
    /// How many are filed together.
    pub(super) generation: usize,
    noted_now: BTreeSet<Mark>,
    filed_now: usize,
    removed_now: Vec<Mark>,
    /// The next number in the log.
    next: i64,
}

impl Sightings {
    pub(super) fn new() -> Self {
        Self {
            recent: Recent::default(),
            generation: GENERATION,
            noted_now: BTreeSet::new(),
            filed_now: 0,
            removed_now: Vec::new(),
            next: 1,
        }
    }

    pub(super) fn commit(&mut self) {
        if self.noted_now.is_empty() && self.filed_now == 0 && self.removed_now.is_empty() {
            return;
        }
        let mut marks = self.recent.lock();
        for _ in 0..std::mem::take(&mut self.filed_now) {
            marks.filing.pop_first();
        }
        for mark in self.removed_now.drain(..) {
            if !marks.filing.remove(&mark) {
                marks.young.remove(&mark);
            }
        }
        // One by one: `append` would build the whole set anew.
        marks.young.extend(std::mem::take(&mut self.noted_now));
    }

    pub(super) fn rollback(&mut self) {
        self.noted_now.clear();
        self.removed_now.clear();
        self.filed_now = 0;
    }
}

/// Reads what is not filed yet.
pub(super) fn recover(desk: &mut Desk) -> rusqlite::Result<()> {
    let filed: i64 = desk.connection.query_row("SELECT up_to FROM seen_filed", [], |row| row.get(0))?;
    // Numbers are not used again, even if the log was emptied.
    desk.seen.next = filed + 1;
    let mut statement = desk.connection.prepare("SELECT number, digest FROM seen_log WHERE number > ?1")?;
    let mut rows = statement.query([filed])?;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        desk.seen.noted_now.insert((start(&row.get(1)?), number));
        desk.seen.next = number + 1;
    }
    Ok(())
}

/// The event that has this key and has not expired, as far as it is durable.
pub(super) fn known(
    connection: &Connection,
    recent: &Recent,
    dedupe: &DedupeKey,
    now: i64,
) -> rusqlite::Result<Option<EventId>> {
    // In this order: what is filed meanwhile is found in its new place.
    look(connection, recent.rows(&dedupe.digest), dedupe, now)
}

fn look(
    connection: &Connection,
    rows: Vec<i64>,
    dedupe: &DedupeKey,
    now: i64,
) -> rusqlite::Result<Option<EventId>> {
    for number in rows {
        let found = connection
            .prepare_cached(
                "SELECT event FROM seen_log \
                 WHERE number = ?1 AND digest = ?2 AND source = ?3 AND expires_at > ?4",
            )?
            .query_row(params![number, dedupe.digest, dedupe.source, now], |row| row.get(0))
            .optional()?;
        if let Some(event) = found {
            return Ok(Some(EventId::from_bytes(event)));
        }
    }
    connection
        .prepare_cached("SELECT event FROM seen WHERE digest = ?1 AND source = ?2 AND expires_at > ?3")?
        .query_row(params![dedupe.digest, dedupe.source, now], |row| Ok(EventId::from_bytes(row.get(0)?)))
        .optional()
}

/// The event that has this key, with what the transaction under way has noted.
pub(super) fn first(desk: &Desk, dedupe: &DedupeKey, now: i64) -> rusqlite::Result<Option<EventId>> {
    let mut found: Vec<i64> = rows(&desk.seen.noted_now, &dedupe.digest).collect();
    found.extend(desk.seen.recent.rows(&dedupe.digest));
    look(&desk.connection, found, dedupe, now)
}

/// Notes that an event has this key.
pub(super) fn note(
    desk: &mut Desk,
    dedupe: &DedupeKey,
    event: EventId,
    expires_at: i64,
) -> rusqlite::Result<()> {
    let number = desk.seen.next;
    desk.connection
        .prepare_cached(
            "INSERT INTO seen_log (number, digest, source, event, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![number, dedupe.digest, dedupe.source, event.to_bytes(), expires_at])?;
    desk.seen.next += 1;
    desk.seen.noted_now.insert((start(&dedupe.digest), number));
    Ok(())
}

/// Files some, if there are enough of them.
pub(super) fn file_some(desk: &mut Desk) -> rusqlite::Result<()> {
    let limit = FILED.max(FILED_FOR_ONE * desk.seen.noted_now.len());
    let (some, last) = {
        let mut marks = desk.seen.recent.lock();
        if marks.filing.is_empty() {
            if marks.young.len() < desk.seen.generation {
                return Ok(());
            }
            marks.filing = std::mem::take(&mut marks.young);
        }
        let some: Vec<i64> = marks.filing.iter().take(limit).map(|(_, number)| *number).collect();
        // What is being filed has smaller numbers than all that came later.
        let last = (some.len() == marks.filing.len()).then(|| {
            let later = marks.young.iter().chain(&desk.seen.noted_now).map(|(_, number)| *number);
            later.min().unwrap_or(desk.seen.next) - 1
        });
        (some, last)
    };
    for number in &some {
        desk.connection
            .prepare_cached(
                "INSERT INTO seen (digest, source, event, expires_at) \
                 SELECT digest, source, event, expires_at FROM seen_log WHERE number = ?1 \
                 ON CONFLICT DO UPDATE SET event = excluded.event, expires_at = excluded.expires_at",
            )?
            .execute([number])?;
    }
    if let Some(last) = last {
        desk.connection.prepare_cached("UPDATE seen_filed SET up_to = ?1")?.execute([last])?;
    }
    desk.seen.filed_now = some.len();
    Ok(())
}

/// Removes some of what has expired; how many rows. The log is about in the order in which they
/// expire, as most are kept for the same time.
pub(super) fn sweep(desk: &mut Desk, now: i64, limit: i64) -> rusqlite::Result<usize> {
    let connection = &desk.connection;
    let expired = connection
        .prepare_cached(
            "SELECT number, digest, source FROM (SELECT number, digest, source, expires_at FROM seen_log \
             ORDER BY number LIMIT ?2) WHERE expires_at <= ?1",
        )?
        .query_map([now, limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (number, digest, source) in &expired {
        connection
            .prepare_cached("DELETE FROM seen WHERE digest = ?1 AND source = ?2 AND expires_at <= ?3")?
            .execute(params![digest, source, now])?;
        connection.prepare_cached("DELETE FROM seen_log WHERE number = ?1")?.execute([number])?;
        desk.seen.removed_now.push((start(digest), *number));
    }
    Ok(expired.len())
}
