//! How many bytes are stored for each account: event bodies, contexts of calls, rendered bodies; and
//! what others are to be rendered from (`late`).
//!
//! What intake stores is counted by whoever writes it and added once a transaction: a trigger for each
//! row took a fifth of the writer's time. Everything else the file counts by itself, whoever writes or
//! removes it. The audit holds the count against what is there.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use crate::event::AccountName;

/// What counts what is removed or changed. `request` has no account where it was written by an older
/// version and nothing was delivered with it.
pub(super) const TRIGGERS: &str = "
CREATE TRIGGER event_removed AFTER DELETE ON event BEGIN
    UPDATE account SET stored = stored - length(OLD.body) WHERE id = OLD.account;
END;
CREATE TRIGGER event_changed AFTER UPDATE OF body ON event BEGIN
    UPDATE account SET stored = stored + length(NEW.body) - length(OLD.body) WHERE id = NEW.account;
END;
CREATE TRIGGER call_removed AFTER DELETE ON call BEGIN
    UPDATE account SET stored = stored - length(OLD.context) WHERE id = OLD.account;
END;
CREATE TRIGGER request_removed AFTER DELETE ON request BEGIN
    UPDATE account SET stored = stored - length(OLD.body) WHERE id = OLD.account;
END;
CREATE TRIGGER request_changed AFTER UPDATE OF body ON request BEGIN
    UPDATE account SET stored = stored + length(NEW.body) - length(OLD.body) WHERE id = NEW.account;
END;
";

/// Counts what a file of an older format holds, in one look at each table; [`TRIGGERS`] follow.
pub(super) const MIGRATION: &str = "
ALTER TABLE account ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN account INTEGER;
UPDATE request SET account = delivery.account FROM delivery WHERE delivery.request = request.number;
UPDATE account SET stored = held.bytes FROM (SELECT account, sum(bytes) AS bytes FROM (
    SELECT account, length(body) AS bytes FROM event
    UNION ALL SELECT account, length(context) FROM call
    UNION ALL SELECT account, length(body) FROM request
) GROUP BY account) AS held WHERE held.account = account.id;
";

/// From format 11 on the writer counts what is added.
pub(super) const WITHOUT_ADDED: &str = "
DROP TRIGGER IF EXISTS event_added;
DROP TRIGGER IF EXISTS call_added;
DROP TRIGGER IF EXISTS call_changed;
DROP TRIGGER IF EXISTS request_added;
";

/// What the transaction under way stores, by account.
#[derive(Debug, Default)]
pub(super) struct Stored(BTreeMap<i64, i64>);

impl Stored {
    /// So many bytes are there now, in the place of so many before.
    pub(super) fn note(&mut self, account: i64, bytes: usize, before: i64) {
        let bytes = i64::try_from(bytes).expect("what is in memory is smaller");
        *self.0.entry(account).or_default() += bytes - before;
    }

    /// Adds it to what the file says.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (account, bytes) in self.0.iter().filter(|(_, bytes)| **bytes != 0) {
            connection
                .prepare_cached("UPDATE account SET stored = stored + ?2 WHERE id = ?1")?
                .execute([account, bytes])?;
        }
        Ok(())
    }

    /// It is written, or taken back.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What is stored for an account.
pub(super) fn of(connection: &Connection, account: &AccountName) -> rusqlite::Result<u64> {
    let stored: Option<i64> = connection
        .prepare_cached("SELECT stored FROM account WHERE name = ?1")?
        .query_row([account.as_ref()], |row| row.get(0))
        .optional()?;
    // Below zero it could only be in a file that somebody else wrote into.
    Ok(stored.map_or(0, |stored| u64::try_from(stored).unwrap_or(0)))
}
