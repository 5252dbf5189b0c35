//! What a template may name of an event that came in, as it is known now.

use std::sync::Arc;

use super::Api;
use crate::context::{CallContext, CallKey, InvalidContext, Json, Values};
use crate::event::EventType;
use crate::provider::raw_of_kept;
use crate::registration::Occurrence;
use crate::store::{EventRow, StoreError};

/// An event and its call, as a token sees them.
pub(super) struct Known {
    /// The token's name; without one, the account's view.
    view: Option<Arc<str>>,
    context: CallContext,
    raw: Json,
    event_id: String,
    event_at: String,
    types: Vec<EventType>,
    provider: String,
    source: String,
    /// The call, where there is one.
    pub(super) call: Option<CallKey>,
    /// How many bytes were read of the event and of its call.
    pub(super) size: usize,
}

impl Api {
    /// Reads what is known now of an event's call.
    pub(super) async fn known(
        &self,
        event: EventRow,
        view: Option<Arc<str>>,
    ) -> Result<Result<Known, InvalidContext>, StoreError> {
        let stored = match &event.call {
            Some(key) => self.store.call(key).await?,
            None => None,
        };
        let size = event.body.len() + stored.as_ref().map_or(0, |stored| stored.context.len());
        let context = match stored.map(|stored| CallContext::from_bytes(&stored.context)) {
            Some(Ok(context)) => context,
            Some(Err(fault)) => return Ok(Err(fault)),
            None => CallContext::default(),
        };
        let raw = if self.sees_body(view.as_deref(), &event).await? {
            raw_of_kept(&event.method, &event.path, &event.content_type, &event.body)
        } else {
            Json::Null
        };
        Ok(Ok(Known {
            view,
            context,
            raw,
            event_id: event.id.to_string(),
            event_at: event.received_at.to_string(),
            types: event.types,
            provider: event.provider,
            source: event.source,
            call: event.call,
            size,
        }))
    }
}

impl Known {
    /// What the event means first of all; nothing if it was rejected.
    pub(super) fn first_type(&self) -> Option<EventType> {
        self.types.first().copied()
    }

    /// The values by name, where this is what of the event is spoken of.
    pub(super) fn values(&self, event_type: Option<EventType>) -> Values<'_> {
        let occurrence = Occurrence {
            context: &self.context,
            fleeting: Vec::new(),
            raw: Some(&self.raw),
            owner: None,
            event_id: &self.event_id,
            event_at: &self.event_at,
            provider: &self.provider,
            source: &self.source,
        };
        occurrence.values(self.view.as_deref(), event_type)
    }
}
