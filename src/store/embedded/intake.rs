//! Writes of intake: events, calls, and the deliveries that they cause.

use rusqlite::{OptionalExtension, params};

use super::BACKLOG;
use super::desk::{Desk, REMOVED, micros, state, stored_destination};
use super::failure::{WriteError, full};
use super::writer::Write;
use super::{late, search, seen, speech_requests};
use crate::context::CallId;
use crate::store::{
    Acceptance, Accepted, CallWrite, DeliveryRequest, EventRow, EventState, FailedDelivery, NewDelivery,
    Rendition,
};

impl Write for Box<Acceptance> {
    type Outcome = Accepted;

    fn write(&self, desk: &mut Desk) -> Result<Accepted, WriteError> {
        if desk.scheduler.queued() + self.deliveries.len() > BACKLOG {
            return Err(WriteError::Refused(full()));
        }
        if !late::are_current(desk, &self.deliveries)? {
            return Ok(Accepted::Conflict);
        }
        let received_at = micros(self.event.received_at);
        if let Some(first) = seen::first(desk, &self.dedupe, received_at)? {
            return Ok(Accepted::Duplicate(first));
        }
        if let Some(call) = &self.call
            && !write_call(desk, call, received_at)?
        {
            return Ok(Accepted::Conflict);
        }
        seen::note(desk, &self.dedupe, self.event.id, micros(self.dedupe.expires_at))?;
        write_event(desk, &self.event, !self.failed.is_empty())?;
        if let Some(call) = &self.call {
            speech_requests::answer(desk, &call.key, &self.answered)?;
        }
        for delivery in &self.deliveries {
            write_delivery(desk, delivery)?;
        }
        if let Some(snapshot) = &self.snapshot {
            let account = desk.account(&self.event.account)?;
            late::write_snapshot(desk, account, snapshot)?;
        }
        for delivery in &self.failed {
            write_failed(desk, delivery)?;
        }
        // Only now, when nothing can fail any more.
        for delivery in &self.deliveries {
            enqueue(desk, delivery);
        }
        Ok(Accepted::Stored)
    }

    fn weight(&self) -> usize {
        self.event.body.len()
            + self.deliveries.iter().map(|delivery| delivery.request.size()).sum::<usize>()
            + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes.len())
    }
}

/// Tells the scheduler of a delivery that was written, unless that was cancelled at once.
pub(super) fn enqueue(desk: &mut Desk, new: &NewDelivery) {
    if desk.removed.contains(&new.callback) {
        return;
    }
    let (destination, id, due) = (new.destination, new.id, micros(new.due));
    match new.order {
        Some(key) => desk.scheduler.enqueue_in_order(destination, id, due, key),
        None => desk.scheduler.enqueue(destination, id, due),
    }
}

/// Keeps an event that could not be read.
pub(super) struct Reject(pub(super) Box<EventRow>);

impl Write for Reject {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), WriteError> {
        write_event(desk, &self.0, true)?;
        Ok(())
    }

    fn weight(&self) -> usize {
        self.0.body.len()
    }
}

/// Writes a call's context over the version that it was merged from; `false`, and nothing, if that
/// is not the stored one.
fn write_call(desk: &mut Desk, call: &CallWrite, at: i64) -> rusqlite::Result<bool> {
    let account = desk.account(&call.key.account)?;
    let version = call.read_version.cast_signed();
    let (id, space, context) = (call.key.id.as_str(), &call.key.space, &call.context);
    // No statement here returns what it has written: SQLite would make a table for that each time.
    let (number, before) = if version == 0 {
        let written = desk
            .connection
            .prepare_cached(
                "INSERT INTO call (account, space, id, version, created_at, updated_at, context) \
                 VALUES (?1, ?2, ?3, ?6, ?4, ?4, ?5) ON CONFLICT DO NOTHING",
            )?
            .execute(params![account, space, id, at, context, desk.first_version()])?;
        if written == 0 {
            return Ok(false);
        }
        (desk.connection.last_insert_rowid(), 0)
    } else {
        let found: Option<(i64, i64)> = desk
            .connection
            .prepare_cached(
                "SELECT number, length(context) FROM call \
                 WHERE account = ?1 AND id = ?3 AND space = ?2 AND version = ?4",
            )?
            .query_row(params![account, space, id, version], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((number, before)) = found else { return Ok(false) };
        desk.connection
            .prepare_cached(
                "UPDATE call SET version = version + 1, updated_at = max(updated_at, ?2), context = ?3 \
                 WHERE number = ?1",
            )?
            .execute(params![number, at, context])?;
        (number, before)
    };
    desk.stored.note(account, context.len(), before);
    search::changed(desk, account, number)?;
    Ok(true)
}

pub(super) fn write_event(desk: &mut Desk, event: &EventRow, keep: bool) -> rusqlite::Result<()> {
    let account = desk.account(&event.account)?;
    let rejected = match &event.state {
        EventState::Accepted => None,
        EventState::Rejected(reason) => Some(reason.as_str()),
    };
    let types: Vec<&str> = event.types.iter().map(|event_type| event_type.as_str()).collect();
    desk.connection
        .prepare_cached(
            "INSERT INTO event (account, id, source, provider, rejected, types, call_space, call_id, \
             received_at, method, path, content_type, keep, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            account,
            event.id.to_bytes(),
            event.source,
            event.provider,
            rejected,
            types.join(","),
            event.call.as_ref().map(|call| call.space.as_ref()),
            event.call.as_ref().map(|call| call.id.as_str()),
            micros(event.received_at),
            event.method,
            event.path,
            event.content_type,
            keep,
            event.body.as_ref(),
        ])?;
    desk.stored.note(account, event.body.len(), 0);
    Ok(())
}

const INSERT_DELIVERY: &str = "INSERT INTO delivery (account, id, callback, destination, event, event_type, \
    call_id, state, reason, attempts, request, created_at, finished_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12)";

pub(super) fn write_delivery(desk: &mut Desk, new: &NewDelivery) -> rusqlite::Result<()> {
    let account = desk.account(&new.account)?;
    // The registration may have been removed while the event was on its way.
    let removed = desk.removed.contains(&new.callback);
    let request = match &new.request {
        Rendition::Done(request) => Some(write_request(desk, account, request)?),
        Rendition::Late(_) if removed => None,
        Rendition::Late(late) => Some(late::write_request(desk, account, new.callback, late)?),
    };
    let destination = stored_destination(new.callback, new.destination);
    let created_at = micros(new.created_at);
    desk.connection.prepare_cached(INSERT_DELIVERY)?.execute(params![
        account,
        new.id.to_bytes(),
        new.callback.to_bytes(),
        destination,
        new.event.to_bytes(),
        new.event_type.as_str(),
        new.call.as_ref().map(CallId::as_str),
        if removed { state::CANCELLED } else { state::OPEN },
        removed.then_some(REMOVED),
        request,
        created_at,
        removed.then_some(created_at),
    ])?;
    if !removed {
        desk.connection
            .prepare_cached(
                "INSERT INTO queue (delivery, account, callback, destination, request, due, tried, crashes, \
                 recorded, order_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7)",
            )?
            .execute(params![
                new.id.to_bytes(),
                account,
                new.callback.to_bytes(),
                destination,
                request,
                micros(new.due),
                new.order.map(|key| key.0),
            ])?;
    }
    Ok(())
}

/// Writes a request; its number.
fn write_request(desk: &mut Desk, account: i64, request: &DeliveryRequest) -> rusqlite::Result<i64> {
    let headers = serde_json::to_string(&request.headers).expect("pairs of strings are JSON");
    desk.stored.note(account, request.body.len(), 0);
    desk.connection
        .prepare_cached(
            "INSERT INTO request (method, url, content_type, headers, body, account) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .insert(params![
            request.method,
            request.url,
            request.content_type,
            headers,
            request.body.as_ref(),
            account,
        ])
}

pub(super) fn write_failed(desk: &mut Desk, failed: &FailedDelivery) -> rusqlite::Result<()> {
    let account = desk.account(&failed.account)?;
    let created_at = micros(failed.created_at);
    desk.connection.prepare_cached(INSERT_DELIVERY)?.execute(params![
        account,
        failed.id.to_bytes(),
        failed.callback.to_bytes(),
        None::<[u8; 16]>,
        failed.event.to_bytes(),
        failed.event_type.as_str(),
        failed.call.as_ref().map(CallId::as_str),
        state::FAILED,
        failed.reason,
        None::<i64>,
        created_at,
        created_at,
    ])?;
    Ok(())
}
