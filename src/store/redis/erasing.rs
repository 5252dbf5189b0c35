//! The erasure of a call: its deliveries, its events, and at last itself. What is interrupted is gone
//! through again when somebody asks again.

use std::collections::HashMap;

use super::kept::Kept;
use super::writing::call_name;
use super::{Shared, form};
use crate::context::CallKey;
use crate::event::{AccountName, EventId, SpeechRequestId};
use crate::store::{DeliveryRow, EventFilter, RequestedState, StoreError};

/// Deliveries and events of one script, and ids that are read at once.
const CHUNK: usize = 250;

/// Why a delivery of a call that was erased is cancelled, and why those who wait for it get nothing.
const ERASED: &str = "its call was erased";

impl Shared {
    /// Goes by what belongs to the call. The write of the last bit is refused if more came meanwhile;
    /// then all is gone through again.
    pub(super) async fn erase_call(&self, key: &CallKey) -> Result<bool, StoreError> {
        let mut is_known = false;
        loop {
            let shard = self.of(&key.account);
            let mut pipeline = redis::pipe();
            pipeline.cmd("HMGET").arg(shard.key("c:", &call_name(key))).arg("v").arg("m");
            let ((version, made),): ((Option<String>, Option<i64>),) = shard.ask(&pipeline).await?;
            let Some(version) = version else { return Ok(is_known) };
            is_known = true;
            self.erase_deliveries(key).await?;
            // Of a call of a format before 4, events may be missing in its list.
            if made.is_none() {
                self.erase_events_among_all(key).await?;
            }
            loop {
                let mut pipeline = redis::pipe();
                pipeline.cmd("ZRANGE").arg(shard.key("ce:", &call_name(key))).arg(0).arg(CHUNK - 1);
                let (events,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
                if events.is_empty() {
                    break;
                }
                self.erase_events(key, "", &events).await?;
            }
            if self.erase_events(key, &version, &[]).await? {
                return Ok(true);
            }
        }
    }

    async fn erase_events_among_all(&self, key: &CallKey) -> Result<(), StoreError> {
        let account = &key.account;
        let filter = EventFilter { call: Some(key.id.clone()), ..EventFilter::default() };
        let mut before = None;
        loop {
            let found = self.events(account, &filter, before, CHUNK).await?;
            let of_call = found.rows.into_iter().filter(|row| row.call.as_ref() == Some(key));
            let events: Vec<Vec<u8>> = of_call.map(|row| row.id.to_bytes().to_vec()).collect();
            self.erase_events(key, "", &events).await?;
            before = found.next;
            if before.is_none() {
                return Ok(());
            }
        }
    }

    async fn erase_events(
        &self,
        key: &CallKey,
        version: &str,
        events: &[Vec<u8>],
    ) -> Result<bool, StoreError> {
        let shard = self.of(&key.account);
        shard
            .run_kept(&self.scripts.erase_events, |command| {
                command.arg(key.account.as_ref()).arg(call_name(key)).arg(version).arg(ERASED);
                for event in events {
                    command.arg(event.as_slice());
                }
            })
            .await
    }

    async fn erase_deliveries(&self, call: &CallKey) -> Result<(), StoreError> {
        let shard = self.of(&call.account);
        let account = call.account.as_bytes();
        let list = shard.key("ik:", &[account, b"\0", call.id.as_str().as_bytes()].concat());
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGE").arg(list).arg(0).arg(-1);
        let (deliveries,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
        for chunk in deliveries.chunks(CHUNK) {
            let mut of_call = Vec::new();
            let mut unsaid = Vec::new();
            for (id, kept) in self.kept(chunk, &call.account).await? {
                match kept {
                    Ok(Kept { space: Some(space), .. }) if space != call.space.as_bytes() => {}
                    Ok(Kept { space: Some(_), .. }) => of_call.push(id),
                    Ok(Kept { row, .. }) => unsaid.push(row),
                    Err(error) => {
                        tracing::error!(delivery = %id, %error, "a delivery cannot be read, and is not erased");
                    }
                }
            }
            let events: Vec<EventId> = unsaid.iter().map(|row| row.event).collect();
            let of = self.calls_of(&call.account, &events).await?;
            for row in unsaid {
                // Of those of a format before 4 their events know it, or the speech requests that they
                // answer. What nobody knows the space of is taken for this call's.
                let told_of = match of.get(&row.event) {
                    Some(key) => Some(CallKey::clone(key)),
                    None => self.requested_call(&call.account, &row).await?,
                };
                if told_of.is_none_or(|key| key == *call) {
                    of_call.push(row.id);
                }
            }
            let _: () = shard
                .run_kept(&self.scripts.erase_deliveries, |command| {
                    command.arg(account).arg(ERASED);
                    for delivery in of_call {
                        command.arg(&delivery.to_bytes());
                    }
                })
                .await?;
        }
        Ok(())
    }

    /// The call of which a delivery tells that answers a speech request.
    async fn requested_call(
        &self,
        account: &AccountName,
        delivery: &DeliveryRow,
    ) -> Result<Option<CallKey>, StoreError> {
        let request = SpeechRequestId::from_bytes(delivery.callback.to_bytes());
        let view = self.speech_request(account, request).await?;
        let calls = view.into_iter().flat_map(|view| view.calls);
        let is_its_own = |state: &RequestedState| *state == RequestedState::Ready(delivery.id);
        Ok(calls.filter(|(_, state)| is_its_own(state)).map(|(key, _)| key).next())
    }

    /// The calls of events, of those events that there are.
    async fn calls_of(
        &self,
        account: &AccountName,
        events: &[EventId],
    ) -> Result<HashMap<EventId, CallKey>, StoreError> {
        let mut calls = HashMap::new();
        let mut unread = events;
        while !unread.is_empty() {
            let heads = self.heads(account, unread).await?;
            for (event, head) in unread.iter().zip(heads.iter()).filter(|(_, head)| !head.is_empty()) {
                let row = form::read_event(*event, head.clone())?;
                if let Some(call) = row.call.filter(|_| row.account == *account) {
                    calls.insert(*event, call);
                }
            }
            unread = &unread[heads.len().clamp(1, unread.len())..];
        }
        Ok(calls)
    }
}
