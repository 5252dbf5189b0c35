//! Reads: a few connections that only read, used one at a time each, away from the async threads.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use rusqlite::types::{ToSql, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::Semaphore;

use super::callbacks::read_limits;
use super::claiming::read_request;
use super::desk::{micros, state};
use super::failure::{closed, store_error};
use super::schema;
use super::seen::{self, Recent};
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, CallbackId, DeliveryId, EventId, EventType};
use crate::store::{
    Attempt, CallbackRow, CallbackState, DedupeKey, DefinitionVersion, DeliveryFilter, DeliveryRow,
    DeliveryState, DeliveryView, EventRow, EventState, OutcomeKind, Page, Recall, StoreError, StoredCall,
};

/// Connections that read at the same time. More than a few only wait for the same disk.
const READERS: usize = 4;

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let idle = (0..READERS)
            .map(|_| schema::open_reader(path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| schema::unusable(path, &error))?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), turns: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs a read on one of the connections, on a blocking thread: a recall whose pages are cached
    /// takes 11 µs, and 23 µs with the way there and back, but one whose pages are not waits for
    /// the disk, and nobody else may wait with it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let result = tokio::task::spawn_blocking(move || {
            let taken = idle.lock().expect("no holder of this lock panics").pop();
            let connection = taken.expect("there are as many turns as connections");
            let result = read(&connection);
            idle.lock().expect("no holder of this lock panics").push(connection);
            drop(turn);
            result
        })
        .await;
        match result {
            Ok(result) => result.map_err(|error| store_error(&Arc::new(error))),
            // The runtime is shutting down.
            Err(_) => Err(closed()),
        }
    }

    pub(super) fn close(&self) {
        self.turns.close();
        self.idle.lock().expect("no holder of this lock panics").clear();
    }
}

pub(super) fn damaged(column: usize, kind: Type, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, what.into())
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?)
        .map_err(|_| damaged(column, Type::Integer, "a time out of range"))
}

fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => time(row, column).map(Some),
        None => Ok(None),
    }
}

pub(super) fn event_type(column: usize, name: &str) -> rusqlite::Result<EventType> {
    EventType::from_name(name).ok_or_else(|| damaged(column, Type::Text, "an unknown event type"))
}

pub(super) fn call_id(column: usize, text: &str) -> rusqlite::Result<CallId> {
    CallId::from_text(text).ok_or_else(|| damaged(column, Type::Text, "no call id"))
}

pub(super) fn recall(
    connection: &Connection,
    recent: &Recent,
    dedupe: &DedupeKey,
    call: Option<&CallKey>,
    now: Timestamp,
) -> rusqlite::Result<Recall> {
    let duplicate_of = seen::known(connection, recent, dedupe, micros(now))?;
    let call = call.map(|key| stored_call(connection, key)).transpose()?.flatten();
    Ok(Recall { duplicate_of, call })
}

pub(super) fn stored_call(connection: &Connection, key: &CallKey) -> rusqlite::Result<Option<StoredCall>> {
    connection
        .prepare_cached(
            "SELECT version, context FROM call WHERE id = ?3 AND space = ?2 \
             AND account = (SELECT id FROM account WHERE name = ?1)",
        )?
        .query_row(params![key.account, key.space, key.id.as_str()], |row| {
            Ok(StoredCall { version: row.get::<_, i64>(0)?.cast_unsigned(), context: row.get(1)? })
        })
        .optional()
}

pub(super) fn callbacks(connection: &Connection) -> rusqlite::Result<Vec<CallbackRow>> {
    connection
        .prepare_cached(
            "SELECT c.id, a.name, c.pause_reason, c.definition, c.max_in_flight, c.rate_count, \
             c.rate_period, c.paused, c.deadline, c.version FROM callback c JOIN account a ON a.id = c.account \
             WHERE c.removed_at IS NULL ORDER BY c.id",
        )?
        .query_map([], |row| {
            Ok(CallbackRow {
                id: CallbackId::from_bytes(row.get(0)?),
                account: AccountName::from(row.get::<_, String>(1)?),
                state: row.get::<_, Option<String>>(2)?.map_or(CallbackState::Active, CallbackState::Paused),
                definition: row.get(3)?,
                limits: read_limits(row, 4)?,
                deadline: Duration::from_micros(row.get::<_, i64>(8)?.unsigned_abs()),
                version: DefinitionVersion(row.get(9)?),
            })
        })?
        .collect()
}

pub(super) fn event(
    connection: &Connection,
    account: &AccountName,
    id: EventId,
) -> rusqlite::Result<Option<EventRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {EVENT_COLUMNS}, body FROM event \
             WHERE account = (SELECT id FROM account WHERE name = ?1) AND id = ?2"
        ))?
        .query_row(params![account, id.to_bytes()], |row| {
            Ok(EventRow { body: Bytes::from(row.get::<_, Vec<u8>>(11)?), ..event_row(account, row)? })
        })
        .optional()
}

pub(super) const EVENT_COLUMNS: &str = "id, source, provider, rejected, types, call_space, call_id, \
    received_at, method, path, content_type";

/// An event without its body.
pub(super) fn event_row(account: &AccountName, row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let types: String = row.get(4)?;
    let call = match (row.get::<_, Option<String>>(5)?, row.get::<_, Option<String>>(6)?) {
        (Some(space), Some(text)) => Some(CallKey {
            account: AccountName::clone(account),
            space: space.into(),
            id: call_id(6, &text)?,
        }),
        _ => None,
    };
    Ok(EventRow {
        id: EventId::from_bytes(row.get(0)?),
        account: AccountName::clone(account),
        source: row.get(1)?,
        provider: row.get(2)?,
        state: row.get::<_, Option<String>>(3)?.map_or(EventState::Accepted, EventState::Rejected),
        types: types
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| event_type(4, name))
            .collect::<Result<_, _>>()?,
        call,
        received_at: time(row, 7)?,
        method: row.get(8)?,
        path: row.get(9)?,
        content_type: row.get(10)?,
        body: Bytes::new(),
    })
}

pub(super) const DELIVERY_COLUMNS: &str = "d.id, d.callback, d.event, d.event_type, d.call_id, d.state, d.reason, \
    d.attempts, q.due, q.leased_at, d.created_at, d.finished_at, \
    (SELECT successor FROM replayed WHERE delivery = d.id)";

pub(super) fn delivery_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let due = optional_time(row, 8)?;
    let leased = row.get::<_, Option<i64>>(9)?.is_some();
    let state = match row.get::<_, i64>(5)? {
        state::OPEN if leased => DeliveryState::Leased,
        state::OPEN => DeliveryState::Queued,
        state::DELIVERED => DeliveryState::Delivered,
        state::DEAD => DeliveryState::Dead,
        state::FAILED => DeliveryState::Failed,
        state::CANCELLED => DeliveryState::Cancelled,
        _ => return Err(damaged(5, Type::Integer, "an unknown state")),
    };
    Ok(DeliveryRow {
        id: DeliveryId::from_bytes(row.get(0)?),
        callback: CallbackId::from_bytes(row.get(1)?),
        event: EventId::from_bytes(row.get(2)?),
        event_type: event_type(3, &row.get::<_, String>(3)?)?,
        call: row.get::<_, Option<String>>(4)?.map(|text| call_id(4, &text)).transpose()?,
        state,
        reason: row.get(6)?,
        attempts: row.get(7)?,
        next_attempt_at: due.filter(|_| state == DeliveryState::Queued),
        created_at: time(row, 10)?,
        finished_at: optional_time(row, 11)?,
        replayed_as: row.get::<_, Option<[u8; 16]>>(12)?.map(DeliveryId::from_bytes),
    })
}

pub(super) fn delivery(
    connection: &Connection,
    account: &AccountName,
    id: DeliveryId,
) -> rusqlite::Result<Option<DeliveryView>> {
    // One transaction, so that the parts fit together.
    let snapshot = connection.unchecked_transaction()?;
    let found = snapshot
        .prepare_cached(&format!(
            "SELECT {DELIVERY_COLUMNS}, r.method, r.url, r.content_type, r.headers, r.body, \
             r.number IS NOT NULL, EXISTS (SELECT 1 FROM late WHERE request = d.request) \
             FROM delivery d LEFT JOIN queue q ON q.delivery = d.id \
             LEFT JOIN request r ON r.number = d.request \
             WHERE d.account = (SELECT id FROM account WHERE name = ?1) AND d.id = ?2"
        ))?
        .query_row(params![account, id.to_bytes()], |row| {
            let (has_request, is_late): (bool, bool) = (row.get(18)?, row.get(19)?);
            let request = if has_request && !is_late { Some(read_request(row, 13)?) } else { None };
            Ok((delivery_row(row)?, request, is_late))
        })
        .optional()?;
    let Some((row, request, is_late)) = found else { return Ok(None) };
    let attempts = snapshot
        .prepare_cached(
            "SELECT number, started_at, latency, outcome, status, error, response FROM attempt \
             WHERE delivery = ?1 ORDER BY sequence",
        )?
        .query_map([id.to_bytes()], |row| {
            let outcome: String = row.get(3)?;
            Ok(Attempt {
                number: row.get(0)?,
                started_at: time(row, 1)?,
                latency: Duration::from_micros(row.get::<_, i64>(2)?.unsigned_abs()),
                outcome: OutcomeKind::from_name(&outcome)
                    .ok_or_else(|| damaged(3, Type::Text, "an unknown outcome"))?,
                status: row.get(4)?,
                error: row.get(5)?,
                response: Bytes::from(row.get::<_, Vec<u8>>(6)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Some(DeliveryView { row, request, is_late, attempts }))
}

/// A state that a delivery ends in, as its row has it.
pub(super) const fn finished(wanted: DeliveryState) -> Option<i64> {
    match wanted {
        DeliveryState::Queued | DeliveryState::Leased => None,
        DeliveryState::Delivered => Some(state::DELIVERED),
        DeliveryState::Dead => Some(state::DEAD),
        DeliveryState::Failed => Some(state::FAILED),
        DeliveryState::Cancelled => Some(state::CANCELLED),
    }
}

/// By what deliveries are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// What waits is in the queue, which is as long as the backlog and no longer.
    Queue,
    Call,
    Ended,
    Callback,
    Account,
}

impl Way {
    /// The way with the fewest rows beside those that the filter takes. Most deliveries end well, and
    /// a call has few.
    pub(super) const fn for_filter(filter: &DeliveryFilter) -> Self {
        match (filter.state, &filter.call, &filter.callback) {
            (Some(DeliveryState::Queued | DeliveryState::Leased), _, _) => Self::Queue,
            (_, Some(_), _) => Self::Call,
            (Some(DeliveryState::Dead | DeliveryState::Failed | DeliveryState::Cancelled), None, _)
            | (Some(_), None, None) => Self::Ended,
            (_, None, Some(_)) => Self::Callback,
            (None, None, None) => Self::Account,
        }
    }

    /// The tables, with the columns of account and id by which they are read.
    pub(super) const fn tables(self) -> (&'static str, &'static str, &'static str) {
        let tables = match self {
            Self::Queue => {
                return (
                    "queue q CROSS JOIN delivery d ON d.account = q.account AND d.id = q.delivery",
                    "q.account",
                    "q.delivery",
                );
            }
            Self::Call => "delivery d INDEXED BY delivery_by_call LEFT JOIN queue q ON q.delivery = d.id",
            Self::Ended => "delivery d INDEXED BY delivery_finished LEFT JOIN queue q ON q.delivery = d.id",
            Self::Callback => {
                "delivery d INDEXED BY delivery_by_callback LEFT JOIN queue q ON q.delivery = d.id"
            }
            Self::Account => "delivery d NOT INDEXED LEFT JOIN queue q ON q.delivery = d.id",
        };
        (tables, "d.account", "d.id")
    }
}

/// The index is named where there is a choice: without statistics SQLite guesses, and with them
/// it changes its mind.
pub(super) fn deliveries(
    connection: &Connection,
    account: &AccountName,
    filter: &DeliveryFilter,
    page: Page,
) -> rusqlite::Result<Vec<DeliveryRow>> {
    let before = page.before.map_or([0xff; 16], DeliveryId::to_bytes);
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let callback = filter.callback.map(CallbackId::to_bytes);
    let call = filter.call.as_ref().map(CallId::as_str);
    let since = filter.since.map(micros);
    let until = filter.until.map(micros);
    let mut values: Vec<&dyn ToSql> = vec![account, &before, &limit];
    let mut conditions = String::new();
    let mut add = |condition: &str, value| {
        values.push(value);
        conditions.push_str(&condition.replace('#', &format!("?{}", values.len())));
    };
    if let Some(callback) = &callback {
        add(" AND d.callback = #", callback);
    }
    if let Some(call) = &call {
        add(" AND d.call_id = #", call);
    }
    if let Some(since) = &since {
        add(" AND d.created_at >= #", since);
    }
    if let Some(until) = &until {
        add(" AND d.created_at < #", until);
    }
    let finished = filter.state.and_then(finished);
    if let Some(finished) = &finished {
        add(" AND d.state <> 0 AND d.state = #", finished);
    }
    let mark = match filter.state {
        Some(DeliveryState::Queued) => " AND q.leased_at IS NULL",
        Some(DeliveryState::Leased) => " AND q.leased_at IS NOT NULL",
        _ => "",
    };
    let (tables, account, id) = Way::for_filter(filter).tables();
    connection
        .prepare_cached(&format!(
            "SELECT {DELIVERY_COLUMNS} FROM {tables} WHERE {account} = (SELECT id FROM account WHERE name = ?1) \
             AND {id} < ?2{mark}{conditions} ORDER BY {id} DESC LIMIT ?3"
        ))?
        .query_map(values.as_slice(), delivery_row)?
        .collect()
}
