//! Lists of events, and of deliveries from the oldest on, a bounded look at a time.

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::ToSql;
use rusqlite::{Connection, params};

use super::reader::{DELIVERY_COLUMNS, EVENT_COLUMNS, Way, delivery_row, event_row, finished};
use crate::context::CallId;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};
use crate::store::{DeliveryFilter, DeliveryRow, EventFilter, EventRow, Found, SCAN_LIMIT};

/// How far an event's or a delivery's id and its time may lie apart: what is outside is not read.
const ID_SLACK: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn events(
    connection: &Connection,
    account: &AccountName,
    filter: &EventFilter,
    before: Option<EventId>,
    limit: usize,
) -> rusqlite::Result<Found<EventRow, EventId>> {
    let (lowest, mut highest) = id_range(filter.since, filter.until);
    if let Some(before) = before {
        highest = highest.min(before.to_bytes());
    }
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

pub(super) fn deliveries_after(
    connection: &Connection,
    account: &AccountName,
    filter: &DeliveryFilter,
    after: Option<DeliveryId>,
    limit: usize,
) -> rusqlite::Result<Found<DeliveryRow, DeliveryId>> {
    let (mut lowest, highest) = id_range(filter.since, filter.until);
    if let Some(after) = after {
        lowest = lowest.max((u128::from_be_bytes(after.to_bytes()).saturating_add(1)).to_be_bytes());
    }
    let callback = filter.callback.map(CallbackId::to_bytes);
    let call = filter.call.as_ref().map(CallId::as_str);
    let ended = filter.state.and_then(finished);
    let mut values: Vec<&dyn ToSql> = vec![account, &lowest, &highest];
    let way = Way::for_filter(filter);
    // What the way finds by itself; the rest is looked at row by row.
    let condition = match way {
        Way::Call => {
            values.push(&call);
            " AND d.call_id = ?4"
        }
        Way::Ended => {
            values.push(&ended);
            " AND d.state <> 0 AND d.state = ?4"
        }
        Way::Callback => {
            values.push(&callback);
            " AND d.callback = ?4"
        }
        Way::Queue | Way::Account => "",
    };
    let (tables, account, id) = way.tables();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {DELIVERY_COLUMNS} FROM {tables} WHERE {account} = (SELECT id FROM account WHERE name = ?1) \
         AND {id} >= ?2 AND {id} < ?3{condition} ORDER BY {id} LIMIT {SCAN_LIMIT}"
    ))?;
    let mut read = statement.query(values.as_slice())?;
    let mut rows: Vec<DeliveryRow> = Vec::new();
    let (mut looked_at, mut last) = (0, None);
    while let Some(row) = read.next()? {
        // One more than is wanted, to know whether there is one more.
        if rows.len() == limit {
            return Ok(Found { next: last, rows });
        }
        looked_at += 1;
        let delivery = delivery_row(row)?;
        last = Some(delivery.id);
        if filter.takes(&delivery) {
            rows.push(delivery);
        }
    }
    Ok(Found { rows, next: last.filter(|_| looked_at == SCAN_LIMIT) })
}

/// The ids that can have been made in a time: from the first on, and before the second.
fn id_range(since: Option<Timestamp>, until: Option<Timestamp>) -> ([u8; 16], [u8; 16]) {
    let lowest =
        since.map_or([0; 16], |since| first_id(since.saturating_sub(ID_SLACK).unwrap_or(Timestamp::MIN)));
    let highest =
        until.map_or([0xff; 16], |until| first_id(until.saturating_add(ID_SLACK).unwrap_or(Timestamp::MAX)));
    (lowest, highest)
}

/// The first id that can be made at this time.
fn first_id(at: Timestamp) -> [u8; 16] {
    (u128::from(u64::try_from(at.as_millisecond()).unwrap_or(0)) << 80).to_be_bytes()
}
