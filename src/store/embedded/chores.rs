//! The writer's own work, a bit at a time: leases that ran out, deliveries of removed
//! registrations, and what has outlived its retention.

use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::claiming::write_attempt;
use super::desk::{Desk, End, REMOVED, micros, read_destination, span_micros, state};
use super::failure::WriteError;
use super::writer::Write;
use super::{search, seen};
use crate::event::{CallbackId, DeliveryId};
use crate::store::{Attempt, DestinationId, Lease, OutcomeKind};

/// How many deliveries one transaction cancels.
const CANCEL_CHUNK: usize = 256;

/// How many rows of each kind one transaction removes or looks at.
const SWEEP_CHUNK: i64 = 200;

/// After so many crashes in a row a delivery is taken to be their cause.
pub(super) const CRASH_LIMIT: i64 = 10;

/// Why such a delivery is dead.
const POISON: &str = "poison";

/// Why a delivery that waited for a paused registration is dead.
const WAITED_TOO_LONG: &str = "its registration was paused for longer than failed deliveries are kept";

/// Counts a crash against a delivery that was in flight: it waits again, or is dead. Says whether
/// it waits.
pub(super) fn crashed(desk: &Desk, delivery: DeliveryId, now: Timestamp) -> rusqlite::Result<bool> {
    let (account, tried, crashes, recorded, leased_at): (i64, u32, i64, i64, Option<i64>) = desk
        .connection
        .prepare_cached(
            "UPDATE queue SET crashes = crashes + 1, recorded = recorded + 1 WHERE delivery = ?1 \
             RETURNING account, tried, crashes, recorded, leased_at",
        )?
        .query_row([delivery.to_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
    let started_at = leased_at.and_then(|at| Timestamp::from_microsecond(at).ok()).unwrap_or(now);
    write_attempt(
        desk,
        delivery,
        recorded,
        &Attempt {
            number: tried + 1,
            started_at,
            latency: Duration::ZERO,
            outcome: OutcomeKind::Crashed,
            status: None,
            error: None,
            response: Bytes::new(),
        },
    )?;
    if crashes >= CRASH_LIMIT {
        let end = End { state: state::DEAD, reason: Some(POISON), attempts: 0 };
        desk.finish(account, delivery, &end, micros(now))?;
        return Ok(false);
    }
    desk.connection
        .prepare_cached("UPDATE queue SET leased_at = NULL WHERE delivery = ?1")?
        .execute([delivery.to_bytes()])?;
    Ok(true)
}

/// Ends leases that ran out: their workers did not come back, which counts as a crash.
pub(super) fn expire_leases(desk: &mut Desk, leases: &[Lease], now: Timestamp) -> rusqlite::Result<()> {
    for lease in leases {
        if desk.scheduler.holds(*lease) {
            tracing::warn!(delivery = %lease.delivery, "a lease ran out; its worker is lost");
            let waits = crashed(desk, lease.delivery, now)?;
            // The row keeps its due time, which has passed.
            desk.scheduler.expire(*lease, waits);
        }
        desk.note_ended(*lease);
    }
    Ok(())
}

/// Cancels some of what waited for removed registrations.
pub(super) fn cancel_some(desk: &mut Desk, now: Timestamp) -> rusqlite::Result<()> {
    for delivery in desk.scheduler.take_cancelled(CANCEL_CHUNK) {
        let account = desk
            .connection
            .prepare_cached("SELECT account FROM queue WHERE delivery = ?1")?
            .query_row([delivery.to_bytes()], |row| row.get(0))
            .optional()?;
        if let Some(account) = account {
            let end = End { state: state::CANCELLED, reason: Some(REMOVED), attempts: 0 };
            desk.finish(account, delivery, &end, micros(now))?;
        }
    }
    Ok(())
}

/// One bit of what retention removes, on demand.
pub(super) struct Sweep(pub(super) Timestamp);

impl Write for Sweep {
    type Outcome = usize;

    fn write(&self, desk: &mut Desk) -> Result<usize, WriteError> {
        Ok(sweep_some(desk, self.0)?)
    }
}

/// Removes at most a chunk of each kind of row that has outlived its retention; how many rows.
pub(super) fn sweep_some(desk: &mut Desk, now: Timestamp) -> rusqlite::Result<usize> {
    let before = |keep: Duration| Cutoff::new(now, keep);
    let delivered = before(desk.retention.delivered);
    let failed = before(desk.retention.failed);
    let calls = before(desk.retention.calls);
    let mut removed = give_up_paused(desk, &failed, now)?;
    let connection = &desk.connection;
    let accounts: Vec<i64> = connection
        .prepare_cached("SELECT id FROM account")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for account in accounts {
        for (state, cutoff) in [
            (state::DELIVERED, &delivered),
            (state::DEAD, &failed),
            (state::FAILED, &failed),
            (state::CANCELLED, &failed),
        ] {
            removed += sweep_deliveries(connection, account, state, cutoff)?;
        }
        removed += sweep_events(connection, account, &delivered, &failed)?;
    }
    removed += connection
        .prepare_cached(
            "DELETE FROM answered WHERE (account, key) IN \
             (SELECT account, key FROM answered WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
        )?
        .execute(params![micros(now), SWEEP_CHUNK])?;
    removed += super::jobs::sweep(connection, failed.at)?;
    removed += sweep_calls(desk, &calls)?;
    removed += seen::sweep(desk, micros(now), SWEEP_CHUNK)?;
    Ok(removed)
}

/// What is older than this may go.
struct Cutoff {
    at: i64,
    /// Ids made earlier are smaller.
    id: [u8; 16],
}

impl Cutoff {
    fn new(now: Timestamp, keep: Duration) -> Self {
        let at = micros(now).saturating_sub(span_micros(keep));
        let millis = u128::from(u64::try_from(at / 1_000).unwrap_or(0));
        Self { at, id: (millis << 80).to_be_bytes() }
    }
}

/// Finished deliveries with their attempts and requests. Ids grow with time, so nothing behind the
/// cutoff's id can have finished before it.
fn sweep_deliveries(
    connection: &Connection,
    account: i64,
    state: i64,
    cutoff: &Cutoff,
) -> rusqlite::Result<usize> {
    let rows: Vec<([u8; 16], Option<i64>)> = connection
        .prepare_cached(
            "SELECT id, request FROM delivery INDEXED BY delivery_finished WHERE account = ?1 \
             AND state = ?2 AND state <> 0 AND id < ?3 AND finished_at <= ?4 ORDER BY id LIMIT ?5",
        )?
        .query_map(params![account, state, cutoff.id, cutoff.at, SWEEP_CHUNK], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    for (id, request) in &rows {
        connection.prepare_cached("DELETE FROM attempt WHERE delivery = ?1")?.execute([id])?;
        connection.prepare_cached("DELETE FROM replayed WHERE delivery = ?1")?.execute([id])?;
        connection.prepare_cached("DELETE FROM request WHERE number = ?1")?.execute([request])?;
        connection
            .prepare_cached("DELETE FROM delivery WHERE account = ?1 AND id = ?2")?
            .execute(params![account, id])?;
    }
    Ok(rows.len())
}

fn sweep_events(
    connection: &Connection,
    account: i64,
    delivered: &Cutoff,
    failed: &Cutoff,
) -> rusqlite::Result<usize> {
    let mut removed = 0;
    for (keep, cutoff) in [(0, delivered), (1, failed)] {
        removed += connection
            .prepare_cached(
                "DELETE FROM event WHERE number IN (SELECT number FROM event WHERE account = ?1 \
                 AND id < ?2 AND keep = ?3 AND received_at <= ?4 ORDER BY id LIMIT ?5)",
            )?
            .execute(params![account, cutoff.id, keep, cutoff.at, SWEEP_CHUNK])?;
    }
    Ok(removed)
}

/// Calls are numbered in the order of their making; only those made before the cutoff can have
/// been written last before it.
fn sweep_calls(desk: &mut Desk, cutoff: &Cutoff) -> rusqlite::Result<usize> {
    let removed: Vec<(i64, i64, i64)> = desk
        .connection
        .prepare_cached(
            "DELETE FROM call WHERE number IN (SELECT number FROM call WHERE created_at <= ?1 \
             AND updated_at <= ?1 AND number < (SELECT coalesce(min(number), 0) + ?2 FROM call) \
             ORDER BY number) RETURNING account, number, version",
        )?
        .query_map(params![cutoff.at, SWEEP_CHUNK], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (account, number, version) in &removed {
        desk.note_removed_version(*version);
        search::removed(desk, *account, *number)?;
    }
    Ok(removed.len())
}

struct WaitsTooLong {
    account: i64,
    delivery: DeliveryId,
    due: i64,
    destination: DestinationId,
}

/// A paused registration collects as long as failed deliveries are kept, and no longer.
fn give_up_paused(desk: &mut Desk, cutoff: &Cutoff, now: Timestamp) -> rusqlite::Result<usize> {
    let rows = desk
        .connection
        .prepare_cached(
            "SELECT q.account, q.delivery, q.due, q.destination, q.callback FROM queue q \
             JOIN callback c ON c.id = q.callback \
             WHERE q.delivery < ?1 AND q.leased_at IS NULL AND c.paused = 1 AND c.removed_at IS NULL \
             ORDER BY q.delivery LIMIT ?2",
        )?
        .query_map(params![cutoff.id, SWEEP_CHUNK], |row| {
            let callback = CallbackId::from_bytes(row.get(4)?);
            Ok(WaitsTooLong {
                account: row.get(0)?,
                delivery: DeliveryId::from_bytes(row.get(1)?),
                due: row.get(2)?,
                destination: read_destination(callback, row.get(3)?),
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let end = End { state: state::DEAD, reason: Some(WAITED_TOO_LONG), attempts: 0 };
    for row in &rows {
        desk.finish(row.account, row.delivery, &end, micros(now))?;
    }
    for row in &rows {
        desk.scheduler.withdraw(row.destination, row.delivery, row.due);
    }
    Ok(rows.len())
}
