//! What an event causes: its call's merged context and a rendered delivery for each callback that
//! wants it. No I/O and no clock: the same event, context and registrations give the same plan,
//! but for the new ids.

use std::sync::Arc;

use hyper::body::Bytes;

use super::Source;
use crate::context::{CallContext, CallKey, InvalidContext, Name, Value, Values};
use crate::event::{DeliveryId, Event, EventType};
use crate::registration::{Callback, MATCH_LIMIT, Occasion, Registry};
use crate::store::{
    Acceptance, CallWrite, DedupeKey, DeliveryRequest, EventRow, FailedDelivery, NewDelivery, StoredCall,
};

/// The most that is kept of one call, in bytes of its stored form. An event that would make it
/// larger is rejected: a call that grows for ever would be read and written whole for each event.
const CONTEXT_LIMIT: usize = 16 << 20;

/// The most that the bodies of one event's deliveries may be together, in bytes. They are made in
/// memory and written in one transaction.
const BODIES_LIMIT: usize = 16 << 20;

/// Why an event cannot be merged into its call.
#[derive(Debug, thiserror::Error)]
pub enum PlanFault {
    /// What is stored of its call cannot be read.
    #[error(transparent)]
    Context(#[from] InvalidContext),
    /// Its call would grow past the limit.
    #[error("the call would have more than {CONTEXT_LIMIT} bytes of context")]
    ContextTooLarge,
}

/// Everything that a plan is made of, apart from the call as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) source: &'a Source,
    pub(super) event: &'a Event,
    pub(super) row: &'a EventRow,
    pub(super) key: Option<&'a CallKey>,
    pub(super) dedupe: &'a DedupeKey,
}

impl Plan<'_> {
    /// Merges the event into its call and renders what must be delivered because of it.
    pub(super) fn make(
        self,
        stored: Option<StoredCall>,
        registry: &Registry,
    ) -> Result<Acceptance, PlanFault> {
        let read_version = stored.as_ref().map_or(0, |call| call.version);
        let mut context = match stored {
            Some(call) => CallContext::from_bytes(&call.context)?,
            None => CallContext::default(),
        };
        // A provider whose clock is ahead must not pin a value against all that comes later.
        let at = self.event.at.map(|at| at.min(self.row.received_at));
        context.merge(&self.event.facts, at);

        let call =
            self.key.map(|key| CallWrite { key: key.clone(), read_version, context: context.to_bytes() });
        if call.as_ref().is_some_and(|call| call.context.len() > CONTEXT_LIMIT) {
            return Err(PlanFault::ContextTooLarge);
        }
        let mut acceptance = Acceptance {
            event: self.row.clone(),
            dedupe: self.dedupe.clone(),
            call,
            deliveries: Vec::new(),
            failed: Vec::new(),
        };
        self.deliver(&context, registry, &mut acceptance);
        Ok(acceptance)
    }

    fn deliver(self, context: &CallContext, registry: &Registry, acceptance: &mut Acceptance) {
        let event_id = self.row.id.to_string();
        let event_at = self.row.received_at.to_string();
        let mut values = Values::new();
        context.fill(&mut values);
        values.set(Name::EventId, Value::Text(&event_id));
        values.set(Name::EventAt, Value::Text(&event_at));
        values.set(Name::Provider, Value::Text(&self.row.provider));
        values.set(Name::Source, Value::Text(&self.row.source));
        values.set(Name::Raw, Value::from(&self.event.raw));

        let mut left = MATCH_LIMIT;
        let mut bodies = 0;
        for event_type in &self.event.types {
            values.set(Name::EventType, Value::Text(event_type.as_str()));
            let occasion = Occasion::new(&values);
            let matches = registry.matching(
                &self.source.account,
                &self.source.name,
                *event_type,
                &occasion,
                self.row.received_at,
            );
            let wanted = matches.callbacks.len() + matches.left_out;
            if wanted > left {
                tracing::error!(
                    event = %self.row.id,
                    left_out = wanted - left.min(matches.callbacks.len()),
                    "an event causes at most {MATCH_LIMIT} deliveries"
                );
            }
            for callback in matches.callbacks.iter().take(left) {
                self.render(callback, *event_type, &values, &mut bodies, acceptance);
            }
            left = left.saturating_sub(matches.callbacks.len());
        }
    }

    fn render(
        self,
        callback: &Callback,
        event_type: EventType,
        values: &Values<'_>,
        bodies: &mut usize,
        acceptance: &mut Acceptance,
    ) {
        let id = DeliveryId::new();
        let delivery_id = id.to_string();
        let callback_id = callback.id.to_string();
        let mut values = values.clone();
        values.set(Name::DeliveryId, Value::Text(&delivery_id));
        values.set(Name::CallbackId, Value::Text(&callback_id));

        let mut body = Vec::new();
        let reason = match callback.template.render(&values, &mut body) {
            Err(fault) => Some(fault.to_string()),
            Ok(()) if *bodies + body.len() > BODIES_LIMIT => Some(format!(
                "the bodies of this event's deliveries are larger than {BODIES_LIMIT} bytes together"
            )),
            Ok(()) => None,
        };
        let call = self.key.map(|key| key.id.clone());
        let created_at = self.row.received_at;
        if let Some(reason) = reason {
            tracing::warn!(delivery = %id, callback = %callback.id, reason, "delivery could not be rendered");
            acceptance.failed.push(FailedDelivery {
                id,
                account: Arc::clone(&callback.account),
                callback: callback.id,
                event: self.row.id,
                event_type,
                call,
                created_at,
                reason,
            });
            return;
        }
        *bodies += body.len();
        let delay = callback.delivery.retry.before_attempt(1).unwrap_or_default();
        acceptance.deliveries.push(NewDelivery {
            id,
            account: Arc::clone(&callback.account),
            callback: callback.id,
            destination: callback.id.into(),
            event: self.row.id,
            event_type,
            call,
            created_at,
            due: created_at + delay,
            request: DeliveryRequest {
                method: callback.method.as_str().to_owned(),
                url: callback.url.as_url().as_str().to_owned(),
                content_type: "application/json".to_owned(),
                headers: Vec::new(),
                body: Bytes::from(body),
            },
        });
    }
}
