//! `/v1/events`: what came in, as it came.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use serde_json::{Value as Body, json};

use super::{Api, Call};
use crate::event::EventId;
use crate::http::{Answer, Problem, json as answer};
use crate::store::{EventRow, EventState};

impl Api {
    pub(super) async fn show_event(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let no_such_event = || Problem::not_found("this account has no such event");
        let id: EventId = id.parse().map_err(|_| no_such_event())?;
        let event = self.store.event(&call.account, id).await?.ok_or_else(no_such_event)?;
        call.takes_nothing()?;
        Ok(answer(StatusCode::OK, show(&event).to_string()))
    }
}

fn show(event: &EventRow) -> Body {
    let (state, reason) = match &event.state {
        EventState::Accepted => ("accepted", None),
        EventState::Rejected(reason) => ("rejected", Some(reason)),
    };
    // A body that is no text is shown in base64 rather than changed.
    let (body, encoding) = match std::str::from_utf8(&event.body) {
        Ok(text) => (text.to_owned(), "text"),
        Err(_) => (BASE64_STANDARD.encode(&event.body), "base64"),
    };
    json!({
        "id": event.id.to_string(),
        "source": event.source,
        "provider": event.provider,
        "state": state,
        "reason": reason,
        "types": event.types.iter().map(|event_type| event_type.as_str()).collect::<Vec<_>>(),
        "call_id": event.call.as_ref().map(|key| key.id.as_str()),
        "received_at": event.received_at,
        "method": event.method,
        "path": event.path,
        "content_type": event.content_type,
        "body": body,
        "body_encoding": encoding,
    })
}
