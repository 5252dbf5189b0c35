//! Deliveries and events as scripts keep them (`delivery.lua`, `event.lua`): numbers in the order of
//! their bytes, highest first, and texts with their lengths before them.

use crate::context::CallId;
use crate::event::{CallbackId, DeliveryId, EventId};
use crate::store::{Attempt, DeliveryRow, DeliveryState, NewDelivery, StoreError};

use super::form;

/// A delivery: what is listed of it, and what only the store asks for.
pub(super) struct Kept {
    pub(super) row: DeliveryRow,
    pub(super) account: Vec<u8>,
    /// The space of its call; nothing if it has none, or if nobody knows it.
    pub(super) space: Option<Vec<u8>>,
}

/// The record of a new delivery that waits, in two parts: what stands before the time at which it is due for
/// Redis, and what stands behind.
pub(super) fn write_delivery(new: &NewDelivery, space: &str, size: usize) -> (Vec<u8>, Vec<u8>) {
    let mut front = Vec::with_capacity(41);
    front.push(b'q');
    // No lease, and when that began; no attempts of this schedule, nor any, recorded or crashed.
    front.extend([0; 32]);
    front.extend(new.due.as_microsecond().to_be_bytes());
    let mut back = Vec::with_capacity(192);
    // It has not ended.
    back.extend(0_i64.to_be_bytes());
    back.extend((size as u64).to_be_bytes());
    // It is neither erased nor failed to be rendered, nor made anew.
    back.extend([0; 18]);
    back.extend(new.callback.to_bytes());
    back.extend(new.event.to_bytes());
    back.extend(new.created_at.as_microsecond().to_be_bytes());
    let order = new.order.as_ref().map_or(&[][..], |key| &key.0);
    let call = new.call.as_ref().map_or("", CallId::as_str);
    for text in [
        new.account.as_bytes(),
        &new.destination.0,
        order,
        new.event_type.as_str().as_bytes(),
        call.as_bytes(),
        space.as_bytes(),
    ] {
        let length = u16::try_from(text.len()).expect("names and ids are short");
        back.extend(length.to_be_bytes());
        back.extend(text);
    }
    (front, back)
}

/// Reads a delivery's record.
pub(super) fn read_delivery(id: DeliveryId, record: &[u8]) -> Result<Kept, StoreError> {
    let mut parts = Parts { what: "delivery", rest: record };
    let state = match parts.take()? {
        [b'q'] => DeliveryState::Queued,
        [b'l'] => DeliveryState::Leased,
        [b'd'] => DeliveryState::Delivered,
        [b'x'] => DeliveryState::Dead,
        [b'f'] => DeliveryState::Failed,
        [b'c'] => DeliveryState::Cancelled,
        _ => return Err(parts.damaged("an unknown state")),
    };
    // Its lease's token and when that began; attempts since its schedule began.
    parts.take::<20>()?;
    let attempts = u32::from_be_bytes(parts.take()?);
    // Attempts that are recorded, and crashes.
    parts.take::<8>()?;
    let due = parts.number()?;
    // The same for Redis.
    parts.number()?;
    let finished = parts.number()?;
    // The bytes that are counted for it; whether it was erased, or never rendered.
    parts.take::<10>()?;
    let replayed = parts.take()?;
    let (callback, event) = (CallbackId::from_bytes(parts.take()?), EventId::from_bytes(parts.take()?));
    let created_at = form::time("delivery", parts.number()?)?;
    let account = parts.bytes()?.to_vec();
    // Its destination and its order.
    parts.bytes()?;
    parts.bytes()?;
    let event_type = form::event_type(parts.text()?)?;
    let call = match parts.text()? {
        "" => None,
        call => Some(CallId::from_text(call).ok_or_else(|| parts.damaged("no call id"))?),
    };
    let space = Some(parts.bytes()?.to_vec()).filter(|space| !space.is_empty());
    let reason = std::str::from_utf8(parts.rest).map_err(|_| parts.damaged("a reason is no text"))?;
    let at = |micros: i64| form::time("delivery", micros);
    Ok(Kept {
        row: DeliveryRow {
            id,
            callback,
            event,
            event_type,
            call,
            state,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            attempts,
            next_attempt_at: (state == DeliveryState::Queued).then(|| at(due)).transpose()?,
            created_at,
            finished_at: (finished > 0).then(|| at(finished)).transpose()?,
            replayed_as: (replayed != [0; 16]).then(|| DeliveryId::from_bytes(replayed)),
        },
        account,
        space,
    })
}

/// Reads a delivery's attempts.
pub(super) fn read_attempts(records: &[u8]) -> Result<Vec<Attempt>, StoreError> {
    let mut parts = Parts { what: "attempt", rest: records };
    let mut attempts = Vec::new();
    while !parts.rest.is_empty() {
        let size = u32::from_be_bytes(parts.take()?);
        attempts.push(form::read_attempt(parts.slice(size as usize)?.to_vec())?);
    }
    Ok(attempts)
}

/// What an event's record holds behind what scripts read.
pub(super) fn record_of_event(mut kept: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let mut parts = Parts { what: "event", rest: &kept };
    // The bytes that are counted for it; its account, its dedupe key and its call.
    parts.take::<8>()?;
    for _ in 0..3 {
        parts.bytes()?;
    }
    let behind = kept.len() - parts.rest.len();
    kept.drain(..behind);
    Ok(kept)
}

/// What is yet to be read.
struct Parts<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn damaged(&self, reason: &str) -> StoreError {
        form::corrupt(self.what, reason)
    }

    fn slice(&mut self, size: usize) -> Result<&'a [u8], StoreError> {
        let (part, rest) = self.rest.split_at_checked(size).ok_or_else(|| self.damaged("it is cut off"))?;
        self.rest = rest;
        Ok(part)
    }

    fn take<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], StoreError> {
        Ok(self.slice(SIZE)?.try_into().expect("it has this size"))
    }

    fn number(&mut self) -> Result<i64, StoreError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let size = u16::from_be_bytes(self.take()?);
        self.slice(size.into())
    }

    fn text(&mut self) -> Result<&'a str, StoreError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.damaged("a text is none"))
    }
}
