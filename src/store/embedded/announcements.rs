//! What the store did by itself and nobody has been told of yet.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::desk::Desk;
use super::failure::WriteError;
use super::writer::Write;
use crate::event::{AccountName, CallbackId, DeliveryId, EventType};
use crate::store::{Announced, Announcement};

/// The table of the file's format 6.
pub(super) const TABLE: &str = "
CREATE TABLE announcement (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    callback BLOB NOT NULL,
    delivery BLOB,                  -- the one that is dead; NULL if the registration was paused
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
";

const INSERT: &str =
    "INSERT INTO announcement (account, callback, delivery, reason, at) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Notes that a delivery is dead; but not of one that would itself have told of such a thing, or
/// that would never end.
pub(super) fn dead(
    desk: &Desk,
    account: i64,
    delivery: DeliveryId,
    reason: &str,
    at: i64,
) -> rusqlite::Result<()> {
    let found = desk
        .connection
        .prepare_cached("SELECT callback, event_type FROM delivery WHERE account = ?1 AND id = ?2")?
        .query_row(params![account, delivery.to_bytes()], |row| {
            Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let Some((callback, event_type)) = found else { return Ok(()) };
    if EventType::from_name(&event_type).is_some_and(EventType::is_of_ringback) {
        return Ok(());
    }
    desk.connection.prepare_cached(INSERT)?.execute(params![
        account,
        callback,
        delivery.to_bytes(),
        reason,
        at
    ])?;
    desk.note_announced();
    Ok(())
}

/// Notes that a registration was paused.
pub(super) fn paused(
    desk: &Desk,
    account: i64,
    callback: CallbackId,
    reason: &str,
    at: i64,
) -> rusqlite::Result<()> {
    desk.connection.prepare_cached(INSERT)?.execute(params![
        account,
        callback.to_bytes(),
        None::<[u8; 16]>,
        reason,
        at
    ])?;
    desk.note_announced();
    Ok(())
}

/// The oldest announcements.
pub(super) fn oldest(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Announcement>> {
    connection
        .prepare_cached(
            "SELECT n.number, a.name, n.callback, n.delivery, n.reason, n.at FROM announcement n \
             JOIN account a ON a.id = n.account ORDER BY n.number LIMIT ?1",
        )?
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            let delivery: Option<[u8; 16]> = row.get(3)?;
            let at: i64 = row.get(5)?;
            Ok(Announcement {
                mark: row.get::<_, i64>(0)?.to_be_bytes().to_vec(),
                account: AccountName::from(row.get::<_, String>(1)?),
                callback: CallbackId::from_bytes(row.get(2)?),
                what: delivery.map_or(Announced::Paused, |id| Announced::Dead(DeliveryId::from_bytes(id))),
                reason: row.get(4)?,
                at: Timestamp::from_microsecond(at).unwrap_or_default(),
            })
        })?
        .collect()
}

/// Forgets announcements.
pub(super) struct Forget(pub(super) Vec<Vec<u8>>);

impl Write for Forget {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), WriteError> {
        for mark in &self.0 {
            let number = mark.as_slice().try_into().map_or(-1, i64::from_be_bytes);
            desk.connection
                .prepare_cached("DELETE FROM announcement WHERE number = ?1")?
                .execute([number])?;
        }
        Ok(())
    }
}
