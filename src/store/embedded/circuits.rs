//! Circuits that are open, kept so that a restart does not close them.

use rusqlite::params;

use super::desk::Desk;
use crate::store::DestinationId;
use crate::store::scheduler::Open;

/// The table of the file's format 4.
pub(super) const TABLE: &str = "
CREATE TABLE circuit (
    destination BLOB PRIMARY KEY,
    opened_at INTEGER NOT NULL,
    probes INTEGER NOT NULL,        -- that failed
    probe_at INTEGER NOT NULL       -- when the next one may start
) STRICT, WITHOUT ROWID;
";

/// Writes a circuit as the scheduler has it.
pub(super) fn keep(desk: &Desk, destination: DestinationId) -> rusqlite::Result<()> {
    let Some(open) = desk.scheduler.open_circuit(destination) else { return Ok(()) };
    desk.connection
        .prepare_cached(
            "INSERT OR REPLACE INTO circuit (destination, opened_at, probes, probe_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![destination.0, open.since, open.probes, open.probe_at])?;
    Ok(())
}

/// Removes a circuit that is closed.
pub(super) fn forget(desk: &Desk, destination: DestinationId) -> rusqlite::Result<()> {
    desk.connection.prepare_cached("DELETE FROM circuit WHERE destination = ?1")?.execute([destination.0])?;
    Ok(())
}

/// Tells the scheduler of all that are open, once it knows its destinations. What belongs to no
/// destination any more is removed.
pub(super) fn load(desk: &mut Desk) -> rusqlite::Result<()> {
    let rows: Vec<([u8; 16], Open)> = desk
        .connection
        .prepare("SELECT destination, opened_at, probes, probe_at FROM circuit")?
        .query_map([], |row| Ok((row.get(0)?, Open::restored(row.get(1)?, row.get(2)?, row.get(3)?))))?
        .collect::<Result<_, _>>()?;
    for (destination, open) in rows {
        let destination = DestinationId(destination);
        if !desk.scheduler.restore_circuit(destination, open) {
            forget(desk, destination)?;
        }
    }
    Ok(())
}
