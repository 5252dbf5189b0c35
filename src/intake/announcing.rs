//! Events of Ringback itself: `delivery.dead` and `callback.paused`, for those who registered for
//! them.
//!
//! The store notes what it did in the same write in which it did it; here that becomes an event
//! like any other, and only then is the note forgotten. Whoever dies in between finds it again, and
//! the event's dedupe key keeps it from being told twice.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{ID_REPEAT, Intake, MERGE_TRIES, lock_index, now, plan};
use crate::context::{CallId, Facts, Json};
use crate::event::{Event, EventId, EventType};
use crate::store::{Accepted, Announced, Announcement, DedupeKey, EventRow, EventState, StoreError};

/// What these events have as their provider, and as their source where they are of none.
const OURSELVES: &str = "ringback";

/// How many announcements are read at once.
const CHUNK: usize = 100;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

impl Intake {
    /// Makes events of what the store notes, for ever.
    pub async fn announce(self: Arc<Self>) {
        loop {
            match self.announce_some().await {
                Ok(0) => self.store.announces().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "events of ringback itself are late; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn announce_some(&self) -> Result<usize, StoreError> {
        let pending = self.store.announcements(CHUNK).await?;
        for announcement in &pending {
            let event_type = match announcement.what {
                Announced::Dead(_) => EventType::DeliveryDead,
                Announced::Paused => EventType::CallbackPaused,
            };
            if self.registry.has_listener(&announcement.account, event_type) {
                self.tell(announcement, event_type).await?;
            }
        }
        let marks: Vec<_> = pending.iter().map(|announcement| announcement.mark.clone()).collect();
        if !marks.is_empty() {
            self.store.forget_announcements(&marks).await?;
        }
        Ok(pending.len())
    }

    async fn tell(&self, announcement: &Announcement, event_type: EventType) -> Result<(), StoreError> {
        let Announcement { account, callback, what, reason, at, .. } = announcement;
        let received_at = now();
        let mut said = json!({
            "type": event_type.as_str(),
            "callback_id": callback.to_string(),
            "reason": reason,
            "at": at.to_string(),
        });
        let mut source = OURSELVES.to_owned();
        let mut key = None;
        let mut digest = Sha256::new();
        digest.update(event_type.as_str());
        digest.update(callback.to_bytes());
        digest.update(at.as_microsecond().to_be_bytes());
        if let Announced::Dead(id) = what {
            digest.update(id.to_bytes());
            said["delivery_id"] = json!(id.to_string());
            if let Some(dead) = self.store.delivery(account, *id).await? {
                said["event_id"] = json!(dead.row.event.to_string());
                said["event_type"] = json!(dead.row.event_type.as_str());
                said["call_id"] = json!(dead.row.call.as_ref().map(CallId::as_str));
                // It is of the call, and of the source, of the event that was not delivered.
                if let Some(event) = self.store.event(account, dead.row.event).await? {
                    source = event.source;
                    key = event.call;
                }
            }
        }
        let body = said.to_string();
        let event = Event {
            types: vec![event_type],
            provider_event_id: None,
            at: Some(*at),
            call_id: key.as_ref().map(|key| key.id.clone()),
            facts: Facts::new(),
            raw: Json::parse(body.as_bytes()).expect("what serde_json writes is JSON"),
            warnings: Vec::new(),
            notice: None,
        };
        let row = EventRow {
            id: EventId::new(),
            account: Arc::clone(account),
            source,
            provider: OURSELVES.to_owned(),
            state: EventState::Accepted,
            types: event.types.clone(),
            call: key.clone(),
            received_at,
            // Nobody posted it.
            method: "SELF".to_owned(),
            path: String::new(),
            content_type: "application/json".to_owned(),
            body: Bytes::from(body),
        };
        let dedupe = DedupeKey {
            account: Arc::clone(account),
            source: OURSELVES.to_owned(),
            digest: digest.finalize().into(),
            expires_at: received_at + ID_REPEAT,
        };
        let _turn = match &key {
            Some(key) => Some(self.call_locks[lock_index(key)].lock().await),
            None => None,
        };
        for _ in 0..MERGE_TRIES {
            let recall = self.store.recall(&dedupe, key.as_ref()).await?;
            if recall.duplicate_of.is_some() {
                return Ok(());
            }
            let planned = plan::Plan {
                event: &event,
                row: &row,
                key: key.as_ref(),
                dedupe: &dedupe,
                is_told: false,
                owner: None,
                failure: None,
                waiting: &[],
            };
            let acceptance = match planned.make(recall.call, &self.registry) {
                Ok(acceptance) => acceptance,
                Err(fault) => {
                    tracing::error!(callback = %callback, %fault, "an event of ringback itself cannot be made");
                    return Ok(());
                }
            };
            match self.store.accept(acceptance).await? {
                Accepted::Stored | Accepted::Duplicate(_) => return Ok(()),
                Accepted::Conflict => self.ledger.refresh().await?,
            }
        }
        Err(super::conflict())
    }
}
