//! How many bytes are stored for each account: event bodies, contexts of calls, rendered bodies; and
//! what others are to be rendered from (`late`).
//!
//! The file counts by itself, in the write that stores or removes, whoever writes: no path can
//! forget it, and what is rolled back was never counted.

use rusqlite::{Connection, OptionalExtension};

use crate::event::AccountName;

/// What counts. `request` has no account where it was written by an older version and nothing was
/// delivered with it.
pub(super) const TRIGGERS: &str = "
CREATE TRIGGER event_added AFTER INSERT ON event BEGIN
    UPDATE account SET stored = stored + length(NEW.body) WHERE id = NEW.account;
END;
CREATE TRIGGER event_removed AFTER DELETE ON event BEGIN
    UPDATE account SET stored = stored - length(OLD.body) WHERE id = OLD.account;
END;
CREATE TRIGGER event_changed AFTER UPDATE OF body ON event BEGIN
    UPDATE account SET stored = stored + length(NEW.body) - length(OLD.body) WHERE id = NEW.account;
END;
CREATE TRIGGER call_added AFTER INSERT ON call BEGIN
    UPDATE account SET stored = stored + length(NEW.context) WHERE id = NEW.account;
END;
CREATE TRIGGER call_removed AFTER DELETE ON call BEGIN
    UPDATE account SET stored = stored - length(OLD.context) WHERE id = OLD.account;
END;
CREATE TRIGGER call_changed AFTER UPDATE OF context ON call BEGIN
    UPDATE account SET stored = stored + length(NEW.context) - length(OLD.context) WHERE id = NEW.account;
END;
CREATE TRIGGER request_added AFTER INSERT ON request BEGIN
    UPDATE account SET stored = stored + length(NEW.body) WHERE id = NEW.account;
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

/// What is stored for an account.
pub(super) fn of(connection: &Connection, account: &AccountName) -> rusqlite::Result<u64> {
    let stored: Option<i64> = connection
        .prepare_cached("SELECT stored FROM account WHERE name = ?1")?
        .query_row([account.as_ref()], |row| row.get(0))
        .optional()?;
    // Below zero it could only be in a file that somebody else wrote into.
    Ok(stored.map_or(0, |stored| u64::try_from(stored).unwrap_or(0)))
}
