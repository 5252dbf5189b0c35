//! Lists of events, a bounded look at a time.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use super::reader::{EVENT_COLUMNS, event_row};
use crate::event::{AccountName, EventId};
use crate::store::{EventFilter, EventRow, Found, SCAN_LIMIT};

/// How far an event's id and the time of its coming in may lie apart: what is outside is not read.
const ID_SLACK: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn events(
    connection: &Connection,
    account: &AccountName,
    filter: &EventFilter,
    before: Option<EventId>,
    limit: usize,
) -> rusqlite::Result<Found<EventRow, EventId>> {
    let mut highest = before.map_or([0xff; 16], EventId::to_bytes);
    if let Some(until) = filter.until {
        highest = highest.min(first_id(until.saturating_add(ID_SLACK).unwrap_or(Timestamp::MAX)));
    }
    let lowest = filter
        .since
        .map_or([0; 16], |since| first_id(since.saturating_sub(ID_SLACK).unwrap_or(Timestamp::MIN)));
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM event WHERE account = (SELECT id FROM account WHERE name = ?1) \
         AND id < ?2 AND id >= ?3 ORDER BY id DESC LIMIT ?4"
    ))?;
    let scanned = i64::try_from(SCAN_LIMIT).unwrap_or(i64::MAX);
    let mut read = statement.query(params![account, highest, lowest, scanned])?;
    let mut rows: Vec<EventRow> = Vec::new();
    let (mut looked_at, mut last) = (0, None);
    while let Some(row) = read.next()? {
        // One more than is wanted, to know whether there is one more.
        if rows.len() == limit {
            return Ok(Found { next: last, rows });
        }
        looked_at += 1;
        let event = event_row(account, row)?;
        last = Some(event.id);
        if filter.takes(&event) {
            rows.push(event);
        }
    }
    Ok(Found { rows, next: last.filter(|_| looked_at == SCAN_LIMIT) })
}

/// The first id that can be made at this time.
fn first_id(at: Timestamp) -> [u8; 16] {
    (u128::from(u64::try_from(at.as_millisecond()).unwrap_or(0)) << 80).to_be_bytes()
}
