//! Registrations: written, paused, removed.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::announcements;
use super::circuits;
use super::desk::{Desk, micros, span_micros};
use super::failure::WriteError;
use super::late;
use super::speech_requests;
use super::writer::Write;
use crate::event::{AccountName, CallbackId};
use crate::store::{Answered, CallbackRow, CallbackState, DestinationLimits, Rate, Remember};

impl Write for Box<CallbackRow> {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), WriteError> {
        let account = desk.account(&self.account)?;
        let reason = match &self.state {
            CallbackState::Active => None,
            CallbackState::Paused(reason) => Some(reason.as_str()),
        };
        late::keep_former(desk, account, self)?;
        // A change that crosses a removal does not bring the registration back.
        let written = desk
            .connection
            .prepare_cached(
                "INSERT INTO callback (id, account, max_in_flight, rate_count, rate_period, paused, \
                 pause_reason, definition, deadline, version) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                 ON CONFLICT (id) DO UPDATE SET max_in_flight = ?3, rate_count = ?4, rate_period = ?5, \
                 paused = ?6, pause_reason = ?7, definition = ?8, deadline = ?9, version = ?10 \
                 WHERE account = ?2 AND removed_at IS NULL",
            )?
            .execute(params![
                self.id.to_bytes(),
                account,
                self.limits.max_in_flight,
                self.limits.rate.map(|rate| rate.count),
                self.limits.rate.map(|rate| span_micros(rate.period)),
                self.limits.paused,
                reason,
                self.definition,
                span_micros(self.deadline),
                self.version.0,
            ])?;
        if written == 1 {
            desk.scheduler.configure(self.id.into(), self.limits);
            // From here on only the engine can fail, and then everything is taken back.
            if desk.scheduler.open_circuit(self.id.into()).is_none() {
                circuits::forget(desk, self.id.into())?;
            }
        }
        Ok(())
    }
}

/// A registration whose answer is remembered.
pub(super) struct PutOnce {
    pub(super) row: Box<CallbackRow>,
    pub(super) remember: Remember,
    pub(super) now: Timestamp,
}

impl Write for PutOnce {
    type Outcome = Option<Answered>;

    fn write(&self, desk: &mut Desk) -> Result<Option<Answered>, WriteError> {
        if let Some(earlier) = answered(&desk.connection, &self.row.account, &self.remember.key, self.now)? {
            return Ok(Some(earlier));
        }
        let account = desk.account(&self.row.account)?;
        remember(desk, account, &self.remember, self.now)?;
        self.row.write(desk)?;
        Ok(None)
    }

    fn weight(&self) -> usize {
        self.remember.answered.answer.len()
    }
}

/// Remembers an answer in place of one whose time is over.
pub(super) fn remember(
    desk: &Desk,
    account: i64,
    remember: &Remember,
    now: Timestamp,
) -> rusqlite::Result<()> {
    desk.connection
        .prepare_cached(
            "INSERT OR REPLACE INTO answered (account, key, fingerprint, answer, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            account,
            remember.key,
            remember.answered.fingerprint,
            remember.answered.answer,
            micros(now).saturating_add(span_micros(remember.keep)),
        ])?;
    Ok(())
}

/// The answer that is remembered for a key.
pub(super) fn answered(
    connection: &Connection,
    account: &AccountName,
    key: &[u8; 32],
    now: Timestamp,
) -> rusqlite::Result<Option<Answered>> {
    connection
        .prepare_cached(
            "SELECT fingerprint, answer FROM answered WHERE key = ?2 AND expires_at > ?3 \
             AND account = (SELECT id FROM account WHERE name = ?1)",
        )?
        .query_row(params![account, key, micros(now)], |row| {
            Ok(Answered { fingerprint: row.get(0)?, answer: row.get(1)? })
        })
        .optional()
}

/// A removal. What waits is cancelled afterwards, bit by bit.
pub(super) struct Remove {
    pub(super) account: AccountName,
    pub(super) id: CallbackId,
    pub(super) now: Timestamp,
}

impl Write for Remove {
    type Outcome = bool;

    fn write(&self, desk: &mut Desk) -> Result<bool, WriteError> {
        let account = desk.account(&self.account)?;
        let removed = desk
            .connection
            .prepare_cached(
                "UPDATE callback SET removed_at = ?3, definition = x'' \
                 WHERE id = ?1 AND account = ?2 AND removed_at IS NULL",
            )?
            .execute(params![self.id.to_bytes(), account, micros(self.now)])?;
        if removed == 0 {
            return Ok(false);
        }
        speech_requests::forget(desk, self.id)?;
        circuits::forget(desk, self.id.into())?;
        desk.note_removed(self.id);
        desk.scheduler.cancel(self.id.into());
        Ok(true)
    }
}

/// Pauses a registration in its row, and notes it if that is new; its limits from now on, or nothing
/// if there is none.
pub(super) fn pause(
    desk: &Desk,
    account: i64,
    callback: CallbackId,
    reason: &str,
) -> rusqlite::Result<Option<DestinationLimits>> {
    let is_active = desk
        .connection
        .prepare_cached("SELECT 1 FROM callback WHERE id = ?1 AND removed_at IS NULL AND paused = 0")?
        .exists([callback.to_bytes()])?;
    if is_active {
        announcements::paused(desk, account, callback, reason, micros(Timestamp::now()))?;
    }
    desk.connection
        .prepare_cached(
            "UPDATE callback SET paused = 1, pause_reason = ?2 WHERE id = ?1 AND removed_at IS NULL \
             RETURNING max_in_flight, rate_count, rate_period, paused",
        )?
        .query_row(params![callback.to_bytes(), reason], |row| read_limits(row, 0))
        .optional()
}

/// Reads a registration's four columns of limits, from `first` on.
pub(super) fn read_limits(row: &Row<'_>, first: usize) -> rusqlite::Result<DestinationLimits> {
    let count: Option<u32> = row.get(first + 1)?;
    let period: Option<i64> = row.get(first + 2)?;
    Ok(DestinationLimits {
        max_in_flight: row.get(first)?,
        rate: count
            .zip(period)
            .map(|(count, period)| Rate { count, period: Duration::from_micros(period.unsigned_abs()) }),
        paused: row.get(first + 3)?,
    })
}
