//! Deliveries that are made anew in place of earlier ones.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::desk::Desk;
use super::failure::{WriteError, full};
use super::intake::{enqueue, write_delivery};
use super::writer::Write;
use super::{BACKLOG, callbacks};
use crate::store::{Replay, Replayed};

/// A replay, and when it was asked for.
pub(super) struct MakeAnew {
    pub(super) replay: Box<Replay>,
    pub(super) now: Timestamp,
}

impl Write for MakeAnew {
    type Outcome = Replayed;

    fn write(&self, desk: &mut Desk) -> Result<Replayed, WriteError> {
        let Replay { account, deliveries, again, remember } = &*self.replay;
        if let Some(remember) = remember
            && let Some(earlier) = callbacks::answered(&desk.connection, account, &remember.key, self.now)?
        {
            return Ok(Replayed::Answered(earlier));
        }
        if desk.scheduler.queued() + deliveries.len() > BACKLOG {
            return Err(WriteError::Refused(full()));
        }
        let account = desk.account(account)?;
        for (earlier, _) in deliveries {
            let was_replayed: Option<bool> = desk
                .connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM replayed WHERE delivery = ?2) FROM delivery \
                     WHERE account = ?1 AND id = ?2",
                )?
                .query_row(params![account, earlier.to_bytes()], |row| row.get(0))
                .optional()?;
            if was_replayed.is_none_or(|was_replayed| was_replayed && !again) {
                return Ok(Replayed::Conflict);
            }
        }
        for (earlier, new) in deliveries {
            write_delivery(desk, new)?;
            desk.connection
                .prepare_cached("INSERT OR REPLACE INTO replayed (delivery, successor) VALUES (?1, ?2)")?
                .execute([earlier.to_bytes(), new.id.to_bytes()])?;
        }
        if let Some(remember) = remember {
            callbacks::remember(desk, account, remember, self.now)?;
        }
        // Only now, when nothing can fail any more.
        for (_, new) in deliveries {
            enqueue(desk, new);
        }
        Ok(Replayed::Stored)
    }

    fn weight(&self) -> usize {
        self.replay.deliveries.iter().map(|(_, new)| new.request.size()).sum()
    }
}
