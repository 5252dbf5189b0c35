//! Speech requests in the file.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::callbacks::{answered, remember};
use super::desk::{Desk, micros};
use super::failure::{WriteError, full};
use super::intake::{write_delivery, write_event, write_failed};
use super::reader::{damaged, time};
use super::writer::Write;
use super::{BACKLOG, Embedded};
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, CallbackId, DeliveryId, SpeechRequestId};
use crate::store::{
    AnsweredRequest, NewSpeechRequest, PutSpeechRequest, RequestedCall, RequestedState, SpeechRequestView,
    SpeechRequests, StoreError,
};

/// The tables. What a request sends is in `callback`, under the same id.
pub(super) const TABLES: &str = "
CREATE TABLE speech_request (
    id BLOB PRIMARY KEY,
    account INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE requested_call (
    request BLOB NOT NULL,
    position INTEGER NOT NULL,
    account INTEGER NOT NULL,
    call_space TEXT NOT NULL,
    call_id TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    delivery BLOB,
    PRIMARY KEY (request, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX requested_call_waiting ON requested_call (account, call_id, call_space) WHERE state = 'submitted';
CREATE INDEX call_by_account ON call (account);
";

#[async_trait]
impl SpeechRequests for Embedded {
    async fn put_speech_request(&self, request: NewSpeechRequest) -> Result<PutSpeechRequest, StoreError> {
        self.write(Box::new(request)).await
    }

    async fn speech_request(
        &self,
        account: &AccountName,
        id: SpeechRequestId,
    ) -> Result<Option<SpeechRequestView>, StoreError> {
        let account = AccountName::clone(account);
        self.readers.read(move |connection| view(connection, &account, id)).await
    }

    async fn waiting_for(&self, call: &CallKey) -> Result<Vec<SpeechRequestId>, StoreError> {
        let call = call.clone();
        self.readers
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT request FROM requested_call INDEXED BY requested_call_waiting \
                         WHERE account = (SELECT id FROM account WHERE name = ?1) AND call_id = ?2 \
                         AND call_space = ?3 AND state = 'submitted' ORDER BY request",
                    )?
                    .query_map(params![call.account, call.id.as_str(), call.space], |row| {
                        Ok(SpeechRequestId::from_bytes(row.get(0)?))
                    })?
                    .collect()
            })
            .await
    }
}

/// Reads the columns of a call's space and id, from `first` on.
fn call_key(row: &Row<'_>, account: &AccountName, first: usize) -> rusqlite::Result<CallKey> {
    let id: String = row.get(first + 1)?;
    Ok(CallKey {
        account: AccountName::clone(account),
        space: row.get::<_, String>(first)?.into(),
        id: CallId::from_text(&id).ok_or_else(|| damaged(first + 1, Type::Text, "no call id"))?,
    })
}

fn view(
    connection: &Connection,
    account: &AccountName,
    id: SpeechRequestId,
) -> rusqlite::Result<Option<SpeechRequestView>> {
    // One transaction, so that the parts fit together.
    let snapshot = connection.unchecked_transaction()?;
    let created_at = snapshot
        .prepare_cached(
            "SELECT created_at FROM speech_request \
             WHERE id = ?2 AND account = (SELECT id FROM account WHERE name = ?1)",
        )?
        .query_row(params![account, id.to_bytes()], |row| time(row, 0))
        .optional()?;
    let Some(created_at) = created_at else { return Ok(None) };
    let calls = snapshot
        .prepare_cached(
            "SELECT call_space, call_id, state, reason, delivery FROM requested_call \
             WHERE request = ?1 ORDER BY position",
        )?
        .query_map([id.to_bytes()], |row| Ok((call_key(row, account, 0)?, read_state(row, 2)?)))?
        .collect::<Result<_, _>>()?;
    Ok(Some(SpeechRequestView { created_at, calls }))
}

/// A state as rows keep it: its name, its reason, its delivery.
fn stored_state(state: &RequestedState) -> (&'static str, Option<&str>, Option<[u8; 16]>) {
    match state {
        RequestedState::Submitted => ("submitted", None, None),
        RequestedState::Ready(delivery) => ("ready", None, Some(delivery.to_bytes())),
        RequestedState::Refused(reason) => ("refused", Some(reason), None),
        RequestedState::Failed(reason) => ("failed", Some(reason), None),
    }
}

/// The inverse of [`stored_state`], for columns from `first` on.
fn read_state(row: &Row<'_>, first: usize) -> rusqlite::Result<RequestedState> {
    let name: String = row.get(first)?;
    let reason = || Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(first + 1)?.unwrap_or_default());
    Ok(match name.as_str() {
        "submitted" => RequestedState::Submitted,
        "ready" => RequestedState::Ready(DeliveryId::from_bytes(row.get(first + 2)?)),
        "refused" => RequestedState::Refused(reason()?),
        "failed" => RequestedState::Failed(reason()?),
        _ => return Err(damaged(first, Type::Text, "an unknown state")),
    })
}

impl Write for Box<NewSpeechRequest> {
    type Outcome = PutSpeechRequest;

    fn write(&self, desk: &mut Desk) -> Result<PutSpeechRequest, WriteError> {
        if desk.scheduler.queued() + self.deliveries.len() > BACKLOG {
            return Err(WriteError::Refused(full()));
        }
        let now = Timestamp::now();
        if let Some(remember) = &self.remember
            && let Some(earlier) = answered(&desk.connection, &self.account, &remember.key, now)?
        {
            return Ok(PutSpeechRequest::Answered(earlier));
        }
        let account = desk.account(&self.account)?;
        // Nothing is written before all of them are looked at: other writes share the transaction.
        for call in self.calls.iter().filter(|call| call.state == RequestedState::Submitted) {
            if !is_unchanged(desk, account, call)? {
                return Ok(PutSpeechRequest::Conflict);
            }
        }
        if let Some(answer) = &self.remember {
            remember(desk, account, answer, now)?;
        }
        let id = self.id.to_bytes();
        desk.connection
            .prepare_cached("INSERT INTO speech_request (id, account, created_at) VALUES (?1, ?2, ?3)")?
            .execute(params![id, account, micros(self.created_at)])?;
        for (position, call) in (0_i64..).zip(&self.calls) {
            if call.state == RequestedState::Submitted {
                touch(desk, account, call)?;
            }
            let (state, reason, delivery) = stored_state(&call.state);
            desk.connection
                .prepare_cached(
                    "INSERT INTO requested_call (request, position, account, call_space, call_id, state, \
                     reason, delivery) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    id,
                    position,
                    account,
                    call.key.space,
                    call.key.id.as_str(),
                    state,
                    reason,
                    delivery
                ])?;
        }
        if let Some(event) = &self.event {
            write_event(desk, event, !self.failed.is_empty())?;
        }
        for delivery in &self.deliveries {
            write_delivery(desk, delivery)?;
        }
        for delivery in &self.failed {
            write_failed(desk, delivery)?;
        }
        // Only now, when nothing can fail any more.
        for delivery in self.deliveries.iter().filter(|new| !desk.removed.contains(&new.callback)) {
            desk.scheduler.enqueue(delivery.destination, delivery.id, micros(delivery.due));
        }
        Ok(PutSpeechRequest::Stored)
    }

    fn weight(&self) -> usize {
        self.deliveries.iter().map(|delivery| delivery.request.size()).sum()
    }
}

fn is_unchanged(desk: &Desk, account: i64, call: &RequestedCall) -> rusqlite::Result<bool> {
    desk.connection
        .prepare_cached("SELECT 1 FROM call WHERE account = ?1 AND id = ?2 AND space = ?3 AND version = ?4")?
        .exists(params![account, call.key.id.as_str(), call.key.space, call.read_version.cast_signed()])
}

/// Makes whoever has read the call, and not the request, read both again.
fn touch(desk: &Desk, account: i64, call: &RequestedCall) -> rusqlite::Result<()> {
    desk.connection
        .prepare_cached(
            "UPDATE call SET version = version + 1 WHERE account = ?1 AND id = ?2 AND space = ?3",
        )?
        .execute(params![account, call.key.id.as_str(), call.key.space])?;
    Ok(())
}

/// Writes what became of a call that requests waited for.
pub(super) fn answer(desk: &mut Desk, call: &CallKey, answered: &[AnsweredRequest]) -> rusqlite::Result<()> {
    let account = desk.account(&call.account)?;
    for request in answered {
        let (state, reason, delivery) = stored_state(&request.state);
        desk.connection
            .prepare_cached(
                "UPDATE requested_call SET state = ?5, reason = ?6, delivery = ?7 \
                 WHERE account = ?1 AND call_id = ?2 AND call_space = ?3 AND state = 'submitted' \
                 AND request = ?4",
            )?
            .execute(params![
                account,
                call.id.as_str(),
                call.space,
                request.id.to_bytes(),
                state,
                reason,
                delivery
            ])?;
    }
    Ok(())
}

/// Removes what is kept of a request beside its registration; nothing if that is none.
pub(super) fn forget(desk: &Desk, callback: CallbackId) -> rusqlite::Result<()> {
    let id = callback.to_bytes();
    let connection = &desk.connection;
    if connection.prepare_cached("DELETE FROM speech_request WHERE id = ?1")?.execute([id])? > 0 {
        connection.prepare_cached("DELETE FROM requested_call WHERE request = ?1")?.execute([id])?;
    }
    Ok(())
}
