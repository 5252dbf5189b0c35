//! What a start finds: everything that waits goes to the scheduler, and what was in flight when
//! the last process died is counted.

use std::time::Duration;

use jiff::Timestamp;

use super::callbacks::read_limits;
use super::chores::{CRASH_LIMIT, crashed};
use super::circuits;
use super::desk::{Desk, micros, read_destination, span_micros};
use crate::event::{CallbackId, DeliveryId};
use crate::store::OrderKey;

/// Deliveries that have crashed this often in a row are suspects: they wait for each other, so
/// that the one which kills the process does not take the others with it to the limit. A few
/// crashes in a row are bad luck, as when the machine is restarted again and again, and delay
/// nothing.
const SUSPECT: i64 = CRASH_LIMIT / 2;

/// How far apart suspects are made due.
const SUSPECT_SPACING: Duration = Duration::from_millis(500);

/// Fills the desk from its file.
pub(super) fn recover(desk: &mut Desk, now: Timestamp) -> rusqlite::Result<()> {
    desk.begin()?;
    super::jobs::recover(desk)?;
    super::seen::recover(desk)?;
    let crashes = count_crashes(desk, now)?;
    load_callbacks(desk)?;
    let waiting = load_queue(desk)?;
    circuits::load(desk)?;
    desk.commit()?;
    if crashes > 0 {
        tracing::warn!(crashes, "the last process ended while attempts were under way; they are repeated");
    }
    tracing::info!(waiting, "the store is open");
    Ok(())
}

fn count_crashes(desk: &Desk, now: Timestamp) -> rusqlite::Result<usize> {
    let in_flight: Vec<([u8; 16], i64)> = desk
        .connection
        .prepare("SELECT delivery, crashes FROM queue WHERE leased_at IS NOT NULL ORDER BY delivery")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut suspects = 0;
    for (delivery, crashes_before) in &in_flight {
        let waits = crashed(desk, DeliveryId::from_bytes(*delivery), now)?;
        let crashes = crashes_before + 1;
        if waits && (SUSPECT..CRASH_LIMIT).contains(&crashes) {
            let due = micros(now).saturating_add(span_micros(SUSPECT_SPACING).saturating_mul(suspects));
            suspects += 1;
            desk.connection
                .prepare_cached("UPDATE queue SET due = ?2 WHERE delivery = ?1")?
                .execute(rusqlite::params![delivery, due])?;
        }
    }
    Ok(in_flight.len())
}

fn load_callbacks(desk: &mut Desk) -> rusqlite::Result<()> {
    let rows: Vec<_> = desk
        .connection
        .prepare(
            "SELECT id, removed_at IS NOT NULL, max_in_flight, rate_count, rate_period, paused FROM callback",
        )?
        .query_map([], |row| {
            Ok((CallbackId::from_bytes(row.get(0)?), row.get::<_, bool>(1)?, read_limits(row, 2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (id, removed, limits) in rows {
        if removed {
            desk.note_removed(id);
        } else {
            desk.scheduler.configure(id.into(), limits);
        }
    }
    desk.scheduler.commit();
    Ok(())
}

fn load_queue(desk: &mut Desk) -> rusqlite::Result<usize> {
    let mut count = 0;
    // Requests are numbered in the order in which events were accepted.
    for (part, order) in [("IS NULL", ""), ("IS NOT NULL", " ORDER BY request")] {
        let mut statement = desk.connection.prepare(&format!(
            "SELECT delivery, callback, destination, due, order_key FROM queue WHERE order_key {part}{order}"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let callback = CallbackId::from_bytes(row.get(1)?);
            let destination = read_destination(callback, row.get(2)?);
            let (delivery, due) = (DeliveryId::from_bytes(row.get(0)?), row.get(3)?);
            match row.get(4)? {
                Some(key) => desk.scheduler.enqueue_in_order(destination, delivery, due, OrderKey(key)),
                None => desk.scheduler.enqueue(destination, delivery, due),
            }
            count += 1;
            if count % 4_096 == 0 {
                // The journal is of no use here: what fails now fails the start.
                desk.scheduler.commit();
            }
        }
    }
    // A removal that was not finished goes on.
    for callback in &desk.removed {
        desk.scheduler.cancel((*callback).into());
    }
    Ok(count)
}
