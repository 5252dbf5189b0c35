//! Leases: granting them, settling them, giving them back; and the retry by hand.

use std::time::Instant;

use hyper::body::Bytes;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::desk::{Desk, ERASED, End, Leased, REMOVED, micros, read_destination, span_micros, state};
use super::failure::WriteError;
use super::writer::Write;
use super::{circuits, late};
use crate::event::{AccountName, CallbackId, DeliveryId};
use crate::store::scheduler::{CircuitChange, GIVEN_UP, Grant, Verdict};
use crate::store::{Attempt, Claim, DeliveryRequest, DestinationId, Lease, Next, Rendition, Settlement};

/// Leases up to `slots` due deliveries and marks them as in flight. What cannot be sent any more
/// (its registration is gone, its row is damaged) is ended instead, and the next one taken.
pub(super) fn claim(desk: &mut Desk, slots: usize, now: Timestamp) -> rusqlite::Result<Vec<Claim>> {
    let mut claims = Vec::new();
    while claims.len() < slots {
        let grants = desk.scheduler.claim(micros(now), slots - claims.len());
        if grants.is_empty() {
            break;
        }
        for grant in grants {
            claims.extend(take(desk, grant, micros(now))?);
        }
    }
    Ok(claims)
}

fn take(desk: &mut Desk, grant: Grant, now: i64) -> rusqlite::Result<Option<Claim>> {
    let lease = grant.lease;
    let id = lease.delivery.to_bytes();
    let read = desk
        .connection
        .prepare_cached(
            "SELECT q.account, q.recorded, q.callback, q.tried, r.method, r.url, r.content_type, r.headers, r.body, \
             q.request = 0, l.request IS NOT NULL FROM queue q LEFT JOIN request r ON r.number = q.request \
             LEFT JOIN late l ON l.request = q.request WHERE q.delivery = ?1",
        )?
        .query_row([id], |row| {
            let (is_erased, is_late) = (row.get::<_, bool>(9)?, row.get::<_, bool>(10)?);
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, is_erased, is_late, read_claimed(row)))
        })
        .optional()?;
    let Some((account, recorded, is_erased, is_late, claimed)) = read else {
        tracing::error!(delivery = %lease.delivery, "a delivery was queued without a row");
        desk.scheduler.settle(lease, Verdict::Unknown, None, now);
        return Ok(None);
    };
    let end = match claimed {
        Ok((callback, _, _)) if desk.removed.contains(&callback) => {
            End { state: state::CANCELLED, reason: Some(REMOVED), attempts: 0 }
        }
        Ok((callback, tried, request)) => {
            desk.connection
                .prepare_cached("UPDATE queue SET leased_at = ?2 WHERE delivery = ?1")?
                .execute(params![id, now])?;
            let since = Instant::now();
            let leased = Leased { delivery: lease.delivery, account, callback, recorded, since };
            desk.note_granted(lease.token, leased);
            let late = if is_late { late::read(&desk.connection, account, lease.delivery)? } else { None };
            let request = late.map_or(Rendition::Done(request), Rendition::Late);
            let account = desk.account_name(account)?;
            return Ok(Some(Claim { lease, account, callback, attempt: tried + 1, request }));
        }
        // Its lease was given back, or ran out.
        Err(_) if is_erased => End { state: state::CANCELLED, reason: Some(ERASED), attempts: 0 },
        Err(error) => {
            tracing::error!(delivery = %lease.delivery, %error, "a delivery cannot be read and is set aside");
            End { state: state::DEAD, reason: Some("its stored request cannot be read"), attempts: 0 }
        }
    };
    desk.finish(account, lease.delivery, &end, now)?;
    desk.scheduler.settle(lease, Verdict::Unknown, None, now);
    Ok(None)
}

fn read_claimed(row: &Row<'_>) -> rusqlite::Result<(CallbackId, u32, DeliveryRequest)> {
    Ok((CallbackId::from_bytes(row.get(2)?), row.get(3)?, read_request(row, 4)?))
}

/// Reads a request's five columns, from `first` on.
pub(super) fn read_request(row: &Row<'_>, first: usize) -> rusqlite::Result<DeliveryRequest> {
    let headers: String = row.get(first + 3)?;
    let headers = serde_json::from_str(&headers).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(first + 3, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(DeliveryRequest {
        method: row.get(first)?,
        url: row.get(first + 1)?,
        content_type: row.get(first + 2)?,
        headers,
        body: Bytes::from(row.get::<_, Vec<u8>>(first + 4)?),
    })
}

/// Gives leases back; those that are not held any more are passed over.
pub(super) fn release(desk: &mut Desk, leases: &[Lease]) -> rusqlite::Result<()> {
    for lease in leases.iter().filter(|lease| desk.scheduler.holds(**lease)) {
        desk.connection
            .prepare_cached("UPDATE queue SET leased_at = NULL WHERE delivery = ?1")?
            .execute([lease.delivery.to_bytes()])?;
    }
    for lease in leases {
        if desk.scheduler.release(*lease) {
            desk.note_ended(*lease);
        }
    }
    Ok(())
}

/// Gives leases back unused.
pub(super) struct Release(pub(super) Vec<Lease>);

impl Write for Release {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), WriteError> {
        release(desk, &self.0)?;
        Ok(())
    }
}

impl Write for Box<Settlement> {
    type Outcome = bool;

    fn write(&self, desk: &mut Desk) -> Result<bool, WriteError> {
        let lease = self.lease;
        let Some(Leased { account, callback, recorded, .. }) = desk.leased(lease) else {
            return Ok(false);
        };
        let id = lease.delivery.to_bytes();
        let is_erased = desk.is_erased(lease.delivery);
        if !is_erased {
            write_attempt(desk, lease.delivery, recorded + 1, &self.attempt)?;
        }
        let ended_at = micros(self.attempt.started_at).saturating_add(span_micros(self.attempt.latency));
        let end = match &self.next {
            Next::Delivered => Some(End { state: state::DELIVERED, reason: None, attempts: 1 }),
            Next::Dead(reason) => Some(End { state: state::DEAD, reason: Some(reason), attempts: 1 }),
            Next::RetryAt(_) if desk.removed.contains(&callback) => {
                Some(End { state: state::CANCELLED, reason: Some(REMOVED), attempts: 1 })
            }
            Next::RetryAt(_) if is_erased => {
                Some(End { state: state::CANCELLED, reason: Some(ERASED), attempts: 1 })
            }
            Next::RetryAt(at) => {
                desk.connection
                    .prepare_cached(
                        "UPDATE queue SET due = ?2, tried = tried + 1, crashes = 0, recorded = ?3, \
                         leased_at = NULL WHERE delivery = ?1",
                    )?
                    .execute(params![id, micros(*at), recorded + 1])?;
                desk.connection
                    .prepare_cached(
                        "UPDATE delivery SET attempts = attempts + 1 WHERE account = ?1 AND id = ?2",
                    )?
                    .execute(params![account, id])?;
                None
            }
        };
        if let Some(end) = &end {
            desk.finish(account, lease.delivery, end, ended_at)?;
        }
        let paused = match &self.pause_callback {
            Some(reason) => super::callbacks::pause(desk, account, callback, reason)?,
            None => None,
        };
        let next = match (&self.next, end) {
            (Next::RetryAt(at), None) => Some(micros(*at)),
            _ => None,
        };
        // From here on only the engine can fail, and then everything is taken back.
        let destination = desk.scheduler.destination_of(lease);
        let now = micros(Timestamp::now());
        let change = desk.scheduler.settle(lease, self.attempt.outcome.into(), next, now);
        desk.note_ended(lease);
        if let Some(limits) = paused {
            desk.scheduler.configure(callback.into(), limits);
        }
        if let (Some(destination), Some(change)) = (destination, change) {
            follow_circuit(desk, account, callback, destination, change)?;
        }
        Ok(true)
    }
}

/// Writes what a settlement did to a circuit, and pauses the registration of one that was open for
/// too long.
fn follow_circuit(
    desk: &mut Desk,
    account: i64,
    callback: CallbackId,
    destination: DestinationId,
    change: CircuitChange,
) -> rusqlite::Result<()> {
    change.log(callback);
    match change {
        CircuitChange::Unchanged => Ok(()),
        CircuitChange::Closed => circuits::forget(desk, destination),
        CircuitChange::Opened | CircuitChange::ProbeFailed => circuits::keep(desk, destination),
        CircuitChange::GivenUp => {
            circuits::keep(desk, destination)?;
            // One that several registrations share is probed on.
            if destination == callback.into()
                && let Some(limits) = super::callbacks::pause(desk, account, callback, GIVEN_UP)?
            {
                desk.scheduler.configure(destination, limits);
                desk.note_paused(callback);
            }
            Ok(())
        }
    }
}

/// Writes an attempt as the `sequence`th of its delivery.
pub(super) fn write_attempt(
    desk: &Desk,
    delivery: DeliveryId,
    sequence: i64,
    attempt: &Attempt,
) -> rusqlite::Result<()> {
    desk.connection
        .prepare_cached(
            "INSERT INTO attempt (delivery, sequence, number, started_at, latency, outcome, status, error, \
             response) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            delivery.to_bytes(),
            sequence,
            attempt.number,
            micros(attempt.started_at),
            span_micros(attempt.latency),
            attempt.outcome.as_str(),
            attempt.status,
            attempt.error,
            attempt.response.as_ref(),
        ])?;
    Ok(())
}

/// A retry by hand.
pub(super) struct Retry {
    pub(super) account: AccountName,
    pub(super) ids: Vec<DeliveryId>,
    pub(super) now: Timestamp,
}

impl Write for Retry {
    type Outcome = usize;

    fn write(&self, desk: &mut Desk) -> Result<usize, WriteError> {
        let account = desk.account(&self.account)?;
        let now = micros(self.now);
        let mut due_now = Vec::new();
        for id in &self.ids {
            due_now.extend(retry(desk, account, *id, now)?.map(|waiting| (*id, waiting)));
        }
        // Only now, when nothing can fail any more.
        for (id, Waiting { destination, due }) in &due_now {
            match due {
                Some(due) => {
                    desk.scheduler.reschedule(*destination, *id, *due, now);
                }
                None => desk.scheduler.enqueue(*destination, *id, now),
            }
        }
        Ok(due_now.len())
    }
}

/// A delivery that is due now: where it waits, and for which time it waited there, if it did.
struct Waiting {
    destination: DestinationId,
    due: Option<i64>,
}

/// Makes a delivery due now in its rows, if it can be sent again.
fn retry(desk: &Desk, account: i64, delivery: DeliveryId, now: i64) -> rusqlite::Result<Option<Waiting>> {
    let id = delivery.to_bytes();
    let found = desk
        .connection
        .prepare_cached(
            "SELECT d.state, d.callback, d.destination, d.request, q.due, q.leased_at FROM delivery d \
             LEFT JOIN queue q ON q.delivery = d.id WHERE d.account = ?1 AND d.id = ?2",
        )?
        .query_row(params![account, id], |row| {
            let callback = CallbackId::from_bytes(row.get(1)?);
            Ok((
                row.get::<_, i64>(0)?,
                callback,
                read_destination(callback, row.get(2)?),
                row.get::<_, Option<i64>>(3)?,
                row.get::<_, Option<i64>>(4)?,
                row.get::<_, Option<i64>>(5)?,
            ))
        })
        .optional()?;
    let Some((stored_state, callback, destination, Some(request), due, leased_at)) = found else {
        return Ok(None);
    };
    if desk.removed.contains(&callback) {
        return Ok(None);
    }
    match (stored_state, due, leased_at) {
        (state::DEAD, None, None) => {
            requeue_dead(desk, account, delivery, callback, destination, request, now)?;
        }
        (state::OPEN, Some(_), None) => {
            desk.connection
                .prepare_cached("UPDATE queue SET due = ?2, tried = 0 WHERE delivery = ?1")?
                .execute(params![id, now])?;
        }
        _ => return Ok(None),
    }
    Ok(Some(Waiting { destination, due }))
}

/// Those after it in its order have had their turn meanwhile: it waits for no other.
fn requeue_dead(
    desk: &Desk,
    account: i64,
    id: DeliveryId,
    callback: CallbackId,
    destination: DestinationId,
    request: i64,
    now: i64,
) -> rusqlite::Result<()> {
    let id = id.to_bytes();
    desk.connection
        .prepare_cached(
            "UPDATE delivery SET state = 0, reason = NULL, finished_at = NULL WHERE account = ?1 AND id = ?2",
        )?
        .execute(params![account, id])?;
    desk.connection
        .prepare_cached(
            "INSERT INTO queue (delivery, account, callback, destination, request, due, tried, crashes, \
             recorded) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, \
             (SELECT coalesce(max(sequence), 0) FROM attempt WHERE delivery = ?1))",
        )?
        .execute(params![
            id,
            account,
            callback.to_bytes(),
            super::desk::stored_destination(callback, destination),
            request,
            now,
        ])?;
    Ok(())
}
