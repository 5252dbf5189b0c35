//! The erasure of a call: a bounded bit of it in each transaction, its row last, so that one that
//! was cut short is gone through again when somebody asks again.

use rusqlite::params;

use super::desk::{Desk, ERASED, End, micros, read_destination, state};
use super::failure::WriteError;
use super::search;
use super::writer::Write;
use crate::context::CallKey;
use crate::event::{CallbackId, DeliveryId};
use crate::store::DestinationId;

/// How many deliveries and events one transaction goes through.
const CHUNK: usize = 250;

/// What the tables need for it, from format 8 on: what belongs to a call is found by the call.
pub(super) const INDEXES: &str = "
CREATE INDEX event_by_call ON event (account, call_id, call_space) WHERE call_id IS NOT NULL;
CREATE INDEX job_by_call ON job (account, call_id, call_space);
";

/// A bit of an erasure.
pub(super) struct Erase {
    pub(super) key: CallKey,
    pub(super) now: jiff::Timestamp,
}

/// How far an erasure has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Erased {
    /// There is no such call.
    Unknown,
    /// There is more of it.
    Partly,
    /// Nothing of it is left.
    Wholly,
}

/// A delivery whose bytes are still there.
struct Told {
    id: DeliveryId,
    destination: DestinationId,
    request: Option<i64>,
    /// While it waits.
    due: Option<i64>,
    is_leased: bool,
}

impl Write for Erase {
    type Outcome = Erased;

    fn write(&self, desk: &mut Desk) -> Result<Erased, WriteError> {
        let account = desk.account(&self.key.account)?;
        let (id, space) = (self.key.id.as_str(), &*self.key.space);
        let is_known = desk
            .connection
            .prepare_cached("SELECT 1 FROM call WHERE account = ?1 AND id = ?2 AND space = ?3")?
            .exists(params![account, id, space])?;
        if !is_known {
            return Ok(Erased::Unknown);
        }
        let told = told(desk, account, &self.key)?;
        for one in &told {
            silence(desk, account, one, micros(self.now))?;
        }
        let mut events = 0;
        // They say of which space their deliveries are, so they go after these.
        if told.len() < CHUNK {
            let limit = i64::try_from(CHUNK).unwrap_or(i64::MAX);
            events = desk
                .connection
                .prepare_cached(
                    "DELETE FROM event WHERE number IN (SELECT number FROM event INDEXED BY event_by_call \
                     WHERE account = ?1 AND call_id = ?2 AND call_space = ?3 LIMIT ?4)",
                )?
                .execute(params![account, id, space, limit])?;
        }
        let is_last = told.len() < CHUNK && events < CHUNK;
        if is_last {
            desk.connection
                .prepare_cached("DELETE FROM job WHERE account = ?1 AND call_id = ?2 AND call_space = ?3")?
                .execute(params![account, id, space])?;
            desk.connection
                .prepare_cached(
                    "UPDATE requested_call SET state = 'failed', reason = ?4 WHERE account = ?1 \
                     AND call_id = ?2 AND call_space = ?3 AND state = 'submitted'",
                )?
                .execute(params![account, id, space, ERASED])?;
            let (number, version) = desk
                .connection
                .prepare_cached(
                    "DELETE FROM call WHERE account = ?1 AND id = ?2 AND space = ?3 RETURNING number, version",
                )?
                .query_row(params![account, id, space], |row| Ok((row.get(0)?, row.get(1)?)))?;
            desk.note_removed_version(version);
            search::removed(desk, account, number)?;
        }
        // Only now, when nothing can fail any more.
        for one in told {
            match one.due {
                Some(_) if one.is_leased => desk.note_erased(one.id),
                Some(due) => {
                    desk.scheduler.withdraw(one.destination, one.id, due);
                }
                None => {}
            }
        }
        Ok(if is_last { Erased::Wholly } else { Erased::Partly })
    }
}

/// Deliveries that tell of a call. Their events, or the speech requests that they answer, know of
/// which space it is; where neither is left, they are taken for its own unless there is another call
/// of this id.
fn told(desk: &Desk, account: i64, key: &CallKey) -> rusqlite::Result<Vec<Told>> {
    desk.connection
        .prepare_cached(
            "SELECT d.id, d.callback, d.destination, d.request, q.due, q.leased_at IS NOT NULL \
             FROM delivery d INDEXED BY delivery_by_call LEFT JOIN queue q ON q.delivery = d.id \
             LEFT JOIN event e ON e.account = d.account AND e.id = d.event \
             WHERE d.account = ?1 AND d.call_id = ?2 AND d.call_id IS NOT NULL \
             AND (d.request IS NOT NULL OR q.request <> 0) AND ?3 = coalesce(e.call_space, \
             (SELECT r.call_space FROM requested_call r WHERE r.request = d.callback AND r.delivery = d.id), \
             iif(EXISTS (SELECT 1 FROM call WHERE account = ?1 AND id = ?2 AND space <> ?3), NULL, ?3)) \
             ORDER BY d.id LIMIT ?4",
        )?
        .query_map(
            params![account, key.id.as_str(), key.space, i64::try_from(CHUNK).unwrap_or(i64::MAX)],
            |row| {
                Ok(Told {
                    id: DeliveryId::from_bytes(row.get(0)?),
                    destination: read_destination(CallbackId::from_bytes(row.get(1)?), row.get(2)?),
                    request: row.get(3)?,
                    due: row.get(4)?,
                    is_leased: row.get(5)?,
                })
            },
        )?
        .collect()
}

/// Removes what a delivery sent and what it was answered, and cancels it if it waits. That it was
/// there stays. One that is under way is not waited for: if it fails, it is not tried again.
fn silence(desk: &Desk, account: i64, told: &Told, now: i64) -> rusqlite::Result<()> {
    let id = told.id.to_bytes();
    let connection = &desk.connection;
    connection.prepare_cached("DELETE FROM request WHERE number = ?1")?.execute([told.request])?;
    connection.prepare_cached("DELETE FROM attempt WHERE delivery = ?1")?.execute([id])?;
    connection
        .prepare_cached("UPDATE delivery SET request = NULL WHERE account = ?1 AND id = ?2")?
        .execute(params![account, id])?;
    if told.due.is_none() {
        return Ok(());
    }
    if told.is_leased {
        connection
            .prepare_cached("UPDATE queue SET request = 0, recorded = 0 WHERE delivery = ?1")?
            .execute([id])?;
        return Ok(());
    }
    let end = End { state: state::CANCELLED, reason: Some(ERASED), attempts: 0 };
    desk.finish(account, told.id, &end, now)
}
