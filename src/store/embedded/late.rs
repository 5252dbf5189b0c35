//! Deliveries that are rendered at their first attempt.
//!
//! Such a delivery has an empty row in `request`, which is filled before anything is sent, and one in
//! `late` until then. What it is rendered from goes with the last that needs it, whoever removes that:
//! the file sees to it by itself.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::desk::{Desk, ERASED, End, Leased, REMOVED, micros, state};
use super::failure::WriteError;
use super::writer::Write;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};
use crate::store::scheduler::Verdict;
use crate::store::{
    CallbackRow, DefinitionVersion, DeliveryRequest, Late, LateRendering, NewDelivery, Rendition, Snapshot,
};

/// The tables, from format 10 on.
pub(super) const TABLES: &str = "
ALTER TABLE callback ADD COLUMN version BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';

-- What deliveries of an event are rendered from.
CREATE TABLE snapshot (
    number INTEGER PRIMARY KEY,
    event BLOB NOT NULL UNIQUE,
    account INTEGER NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE late (
    request INTEGER PRIMARY KEY,
    event BLOB NOT NULL,
    callback BLOB NOT NULL,
    version BLOB NOT NULL           -- of the registration's definition
) STRICT;
CREATE INDEX late_by_event ON late (event);
CREATE INDEX late_by_definition ON late (callback, version);

-- Definitions that registrations had before, and that a late delivery names.
CREATE TABLE former_definition (
    callback BLOB NOT NULL,
    version BLOB NOT NULL,
    definition BLOB NOT NULL,
    PRIMARY KEY (callback, version)
) STRICT;

CREATE TRIGGER late_gone AFTER DELETE ON late BEGIN
    DELETE FROM snapshot WHERE event = OLD.event
        AND NOT EXISTS (SELECT 1 FROM late WHERE event = OLD.event);
    DELETE FROM former_definition WHERE callback = OLD.callback AND version = OLD.version
        AND NOT EXISTS (SELECT 1 FROM late WHERE callback = OLD.callback AND version = OLD.version);
END;
CREATE TRIGGER late_request_gone AFTER DELETE ON request BEGIN
    DELETE FROM late WHERE request = OLD.number;
END;
-- 4 and 5: it failed or was cancelled, so nothing will ever be sent.
CREATE TRIGGER late_over AFTER UPDATE OF state ON delivery
WHEN NEW.state IN (4, 5) AND EXISTS (SELECT 1 FROM late WHERE request = NEW.request) BEGIN
    UPDATE delivery SET request = NULL WHERE account = NEW.account AND id = NEW.id;
    DELETE FROM request WHERE number = NEW.request;
END;
CREATE TRIGGER snapshot_added AFTER INSERT ON snapshot BEGIN
    UPDATE account SET stored = stored + length(NEW.bytes) WHERE id = NEW.account;
END;
CREATE TRIGGER snapshot_removed AFTER DELETE ON snapshot BEGIN
    UPDATE account SET stored = stored - length(OLD.bytes) WHERE id = OLD.account;
END;
";

/// Whether the registrations of late deliveries still have the definitions that these name, or will
/// not deliver them because they were removed.
pub(super) fn are_current(desk: &Desk, deliveries: &[NewDelivery]) -> rusqlite::Result<bool> {
    for new in deliveries {
        if let Rendition::Late(late) = &new.request
            && !desk.removed.contains(&new.callback)
            && definition(&desk.connection, new.callback, late.version)?.is_none()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the empty request of a late delivery; its number.
pub(super) fn write_request(
    desk: &Desk,
    account: i64,
    callback: CallbackId,
    late: &Late,
) -> rusqlite::Result<i64> {
    let request = desk
        .connection
        .prepare_cached(
            "INSERT INTO request (method, url, content_type, headers, body, account) \
             VALUES ('', '', '', '[]', x'', ?1)",
        )?
        .insert([account])?;
    desk.connection
        .prepare_cached("INSERT INTO late (request, event, callback, version) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![request, late.event.to_bytes(), callback.to_bytes(), late.version.0])?;
    Ok(request)
}

/// Writes what deliveries that were just written are rendered from, unless all of them were cancelled
/// at once.
pub(super) fn write_snapshot(desk: &Desk, account: i64, snapshot: &Snapshot) -> rusqlite::Result<()> {
    desk.connection
        .prepare_cached(
            "INSERT INTO snapshot (event, account, bytes) SELECT ?1, ?2, ?3 \
             WHERE EXISTS (SELECT 1 FROM late WHERE event = ?1)",
        )?
        .execute(params![snapshot.event.to_bytes(), account, snapshot.bytes.as_ref()])?;
    Ok(())
}

/// Keeps the definition that a registration has now, if it gets another and a late delivery names it.
pub(super) fn keep_former(desk: &Desk, account: i64, row: &CallbackRow) -> rusqlite::Result<()> {
    desk.connection
        .prepare_cached(
            "INSERT OR IGNORE INTO former_definition (callback, version, definition) \
             SELECT c.id, c.version, c.definition FROM callback c \
             WHERE c.id = ?1 AND c.account = ?2 AND c.removed_at IS NULL AND c.version <> ?3 \
             AND EXISTS (SELECT 1 FROM late l WHERE l.callback = c.id AND l.version = c.version)",
        )?
        .execute(params![row.id.to_bytes(), account, row.version.0])?;
    Ok(())
}

/// What the request with this number is to be rendered from, if it is late.
pub(super) fn read(
    connection: &Connection,
    account: i64,
    delivery: DeliveryId,
) -> rusqlite::Result<Option<Late>> {
    connection
        .prepare_cached(
            "SELECT l.event, d.event_type, l.version FROM delivery d JOIN late l ON l.request = d.request \
             WHERE d.account = ?1 AND d.id = ?2",
        )?
        .query_row(params![account, delivery.to_bytes()], |row| {
            Ok(Late {
                event: EventId::from_bytes(row.get(0)?),
                event_type: super::reader::event_type(1, &row.get::<_, String>(1)?)?,
                version: DefinitionVersion(row.get(2)?),
            })
        })
        .optional()
}

pub(super) fn snapshot(
    connection: &Connection,
    account: &AccountName,
    event: EventId,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached(
            "SELECT bytes FROM snapshot \
             WHERE event = ?2 AND account = (SELECT id FROM account WHERE name = ?1)",
        )?
        .query_row(params![account, event.to_bytes()], |row| row.get(0))
        .optional()
}

pub(super) fn definition(
    connection: &Connection,
    id: CallbackId,
    version: DefinitionVersion,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached(
            "SELECT c.definition FROM callback c WHERE c.id = ?1 AND c.version = ?2 AND c.removed_at IS NULL \
             UNION ALL SELECT f.definition FROM former_definition f JOIN callback c ON c.id = f.callback \
             WHERE f.callback = ?1 AND f.version = ?2 AND c.removed_at IS NULL",
        )?
        .query_row(params![id.to_bytes(), version.0], |row| row.get(0))
        .optional()
}

impl Write for Box<LateRendering> {
    type Outcome = bool;

    fn write(&self, desk: &mut Desk) -> Result<bool, WriteError> {
        let lease = self.lease;
        let Some(Leased { account, callback, .. }) = desk.leased(lease) else { return Ok(false) };
        let end = if desk.removed.contains(&callback) {
            End { state: state::CANCELLED, reason: Some(REMOVED), attempts: 0 }
        } else if desk.is_erased(lease.delivery) {
            End { state: state::CANCELLED, reason: Some(ERASED), attempts: 0 }
        } else {
            match &self.rendered {
                Ok(request) => {
                    fill(desk, account, lease.delivery, request)?;
                    return Ok(true);
                }
                Err(reason) => End { state: state::FAILED, reason: Some(reason), attempts: 0 },
            }
        };
        let now = micros(Timestamp::now());
        desk.finish(account, lease.delivery, &end, now)?;
        desk.scheduler.settle(lease, Verdict::Unknown, None, now);
        desk.note_ended(lease);
        Ok(false)
    }

    fn weight(&self) -> usize {
        self.rendered.as_ref().map_or(0, |request| request.body.len())
    }
}

/// Fills the request of a late delivery, which is like any other from now on.
fn fill(desk: &Desk, account: i64, delivery: DeliveryId, request: &DeliveryRequest) -> rusqlite::Result<()> {
    let headers = serde_json::to_string(&request.headers).expect("pairs of strings are JSON");
    let number: Option<i64> = desk
        .connection
        .prepare_cached(
            "UPDATE request SET method = ?3, url = ?4, content_type = ?5, headers = ?6, body = ?7 \
             WHERE number = (SELECT request FROM delivery WHERE account = ?1 AND id = ?2) \
             AND number IN (SELECT request FROM late) RETURNING number",
        )?
        .query_row(
            params![
                account,
                delivery.to_bytes(),
                request.method,
                request.url,
                request.content_type,
                headers,
                request.body.as_ref(),
            ],
            |row| row.get(0),
        )
        .optional()?;
    desk.connection.prepare_cached("DELETE FROM late WHERE request = ?1")?.execute([number])?;
    Ok(())
}
