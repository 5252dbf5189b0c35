//! The erasure of a call: its deliveries, its events, and at last itself. What is interrupted is gone
//! through again when somebody asks again.

use std::collections::HashMap;

use super::reading::id;
use super::writing::call_name;
use super::{Shared, form};
use crate::context::CallKey;
use crate::event::{AccountName, EventId};
use crate::store::{EventFilter, StoreError};

/// Deliveries and events of one script, and ids that are read at once.
const CHUNK: usize = 250;

/// Why a delivery of a call that was erased is cancelled, and why those who wait for it get nothing.
const ERASED: &str = "its call was erased";

impl Shared {
    /// Events are looked for among all of the account's: there is no list of a call's.
    pub(super) async fn erase_call(&self, key: &CallKey) -> Result<bool, StoreError> {
        let mut is_known = false;
        while let Some(stored) = self.call(key).await? {
            is_known = true;
            self.erase_deliveries(key).await?;
            let account = &key.account;
            let filter = EventFilter { call: Some(key.id.clone()), ..EventFilter::default() };
            let mut before = None;
            loop {
                let found = self.events(account, &filter, before, CHUNK).await?;
                let of_call = found.rows.into_iter().filter(|row| row.call.as_ref() == Some(key));
                let events: Vec<EventId> = of_call.map(|row| row.id).collect();
                self.erase_events(key, "", &events).await?;
                before = found.next;
                if before.is_none() {
                    break;
                }
            }
            if self.erase_events(key, &stored.version.to_string(), &[]).await? {
                return Ok(true);
            }
        }
        Ok(is_known)
    }

    async fn erase_events(
        &self,
        key: &CallKey,
        version: &str,
        events: &[EventId],
    ) -> Result<bool, StoreError> {
        let shard = self.of(&key.account);
        shard
            .run_kept(&self.scripts.erase_events, |command| {
                command.arg(key.account.as_ref()).arg(call_name(key)).arg(version).arg(ERASED);
                for event in events {
                    command.arg(&event.to_bytes());
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
            let mut pipeline = redis::pipe();
            for delivery in chunk {
                pipeline.cmd("HGET").arg(shard.key("h:", delivery)).arg("e");
            }
            let events: Vec<Option<Vec<u8>>> = shard.ask(&pipeline).await?;
            let mut known = Vec::new();
            for event in events.iter().flatten() {
                known.push(EventId::from_bytes(id(event)?));
            }
            let of = self.calls_of(&call.account, &known).await?;
            // Of an event that is gone nobody knows its space: it is taken for this call's.
            let of_call = chunk.iter().zip(&events).filter(|(_, event)| {
                let event = event.as_deref().and_then(|event| id(event).ok()).map(EventId::from_bytes);
                event.and_then(|event| of.get(&event)).is_none_or(|key| key == call)
            });
            let of_call: Vec<&Vec<u8>> = of_call.map(|(delivery, _)| delivery).collect();
            let _: () = shard
                .run_kept(&self.scripts.erase_deliveries, |command| {
                    command.arg(account).arg(ERASED);
                    for delivery in &of_call {
                        command.arg(delivery.as_slice());
                    }
                })
                .await?;
        }
        Ok(())
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
