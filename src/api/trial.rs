//! `POST /v1/callbacks/{id}/test`: a sample event is delivered now, once, and the customer sees what
//! was sent and what came back. Nothing of it is stored, and no retry follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value as Body, json};
use tokio::sync::Semaphore;

use super::deliveries::show_attempt;
use super::{Api, Call};
use crate::context::{Name, Value, Values};
use crate::delivery::client::Outgoing;
use crate::delivery::{Client, attempt_of};
use crate::event::{AccountName, DeliveryId, EventId, EventType};
use crate::http::{Answer, Problem, json as answer};
use crate::registration::{Issue, MASK, Sample};
use crate::store::OutcomeKind;

/// Tests under way at once, of all accounts: a receiver may take a minute to answer.
const MAX_TRIALS: usize = 64;

/// Tests under way at once, of one account: the others are to have room too.
const MAX_TRIALS_OF_ONE: usize = 8;

/// When to try again where too many tests are under way.
const BUSY: Duration = Duration::from_secs(1);

/// What tests are sent with.
pub(super) struct Trials {
    client: Client,
    room: Semaphore,
    rooms: HashMap<AccountName, Semaphore>,
}

impl Trials {
    /// For these accounts.
    pub(super) fn new<'a>(client: Client, accounts: impl Iterator<Item = &'a AccountName>) -> Self {
        let room_of_one = |account: &AccountName| (Arc::clone(account), Semaphore::new(MAX_TRIALS_OF_ONE));
        Self { client, room: Semaphore::new(MAX_TRIALS), rooms: accounts.map(room_of_one).collect() }
    }

    fn room_of(&self, account: &AccountName) -> &Semaphore {
        self.rooms.get(account).expect("every account that is let in has a room")
    }
}

impl Api {
    pub(super) async fn test_callback(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let callback = self.find(call, id)?;
        let mut members = call.members()?;
        let mut issues = call.issues();
        let sample = members.take("sample");
        let event_type = match &sample {
            None => callback.events.first().copied(),
            Some(name) => read_sample(name.as_str(), &mut issues),
        };
        members.refuse_rest(&mut issues);
        let (Some(event_type), true) = (event_type, issues.is_empty()) else {
            return Err(Problem::invalid(issues));
        };

        let busy = |_| Problem::rate_limited(BUSY, "too many tests are under way; try again in a moment");
        let _own = self.trials.room_of(&call.account).try_acquire().map_err(busy)?;
        let _room = self.trials.room.try_acquire().map_err(busy)?;

        let delivery = DeliveryId::new();
        let (delivery_id, callback_id) = (delivery.to_string(), callback.id.to_string());
        let (event_id, event_at) = (EventId::new().to_string(), Timestamp::now().to_string());
        let sample = Sample::new(event_type);
        let mut values = Values::new();
        sample.fill(&mut values);
        values.set(Name::EventId, Value::Text(&event_id));
        values.set(Name::EventAt, Value::Text(&event_at));
        values.set(Name::DeliveryId, Value::Text(&delivery_id));
        values.set(Name::CallbackId, Value::Text(&callback_id));
        let request = callback.request.render(&values).map_err(|fault| {
            Problem::invalid(vec![Issue::new("/callback_data", "rendering_failed", fault.to_string())])
        })?;

        let secrets = callback.delivery.secrets.valid_at(Timestamp::now());
        let outgoing = Outgoing {
            id: delivery,
            attempt: 1,
            request: &request,
            secrets,
            timeout: callback.delivery.timeout,
        };
        let exchange = self.trials.client.send(&outgoing).await;
        let attempt = attempt_of(1, &exchange);
        tracing::info!(callback = %callback.id, outcome = %attempt.outcome, status = attempt.status, "callback tested");
        // Their values may be credentials of the receiver.
        let headers: Map<String, Body> =
            request.headers.iter().map(|(name, _)| (name.clone(), json!(MASK))).collect();
        let shown = json!({
            "delivered": attempt.outcome == OutcomeKind::Delivered,
            "sample": event_type.as_str(),
            "request": {
                "webhook_id": delivery_id,
                "method": request.method,
                "url": request.url,
                "content_type": request.content_type,
                "headers": headers,
                "body": String::from_utf8_lossy(&request.body),
            },
            "attempt": show_attempt(&attempt),
        });
        Ok(answer(StatusCode::OK, shown.to_string()))
    }
}

/// The event type whose sample is meant.
pub(super) fn read_sample(name: Option<&str>, issues: &mut Vec<Issue>) -> Option<EventType> {
    let found = name.and_then(EventType::from_name);
    if found.is_none() {
        let detail = format!(
            "`sample` must be the event type of a sample: {}",
            EventType::ALL.map(EventType::as_str).join(", ")
        );
        issues.push(Issue::new("/sample", "unknown_sample", detail));
    }
    found
}
