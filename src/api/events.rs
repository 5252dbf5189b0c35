//! `/v1/events`: what came in, as it came.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value as Body, json};

use super::{Api, Call, list};
use crate::context::{CallId, Value, read_time};
use crate::event::{EventId, EventType};
use crate::http::{Answer, Problem, json as answer};
use crate::store::{EventFilter, EventRow, EventState};

impl Api {
    /// The newest first, without their bodies.
    pub(super) async fn list_events(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut issues = call.issues();
        let time = |text: &str| read_time(Value::Text(text));
        let is_rejected = |text: &str| match text {
            "accepted" => Some(false),
            "rejected" => Some(true),
            _ => None,
        };
        let types = format!("one of {}", EventType::ALL.map(EventType::as_str).join(", "));
        let filter = EventFilter {
            source: call.query.get("source").map(str::to_owned),
            event_type: call.parameter("type", &mut issues, &types, EventType::from_name),
            is_rejected: call.parameter("state", &mut issues, "accepted or rejected", is_rejected),
            call: call.parameter("call_id", &mut issues, "the id of a call", CallId::from_text),
            since: call.parameter("since", &mut issues, "a time", time),
            until: call.parameter("until", &mut issues, "a time", time),
        };
        let limit = call.limit(&mut issues);
        let before = call.cursor(&mut issues, |text| text.parse().ok());
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let found = self.store.events(&call.account, &filter, before, limit).await?;
        let rows: Vec<Body> = found.rows.iter().map(show_row).collect();
        let next = found.next.map(|id: EventId| id.to_string());
        Ok(list(&rows, next.as_deref()))
    }

    pub(super) async fn show_event(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let no_such_event = || Problem::not_found("this account has no such event");
        let id: EventId = id.parse().map_err(|_| no_such_event())?;
        let mut event = self.store.event(&call.account, id).await?.ok_or_else(no_such_event)?;
        call.takes_nothing()?;
        if !self.sees_body(Some(&call.token), &event).await? {
            event.body = Bytes::new();
        }
        Ok(answer(StatusCode::OK, show(&event).to_string()))
    }
}

fn show_row(event: &EventRow) -> Body {
    let (state, reason) = match &event.state {
        EventState::Accepted => ("accepted", None),
        EventState::Rejected(reason) => ("rejected", Some(reason)),
    };
    json!({
        "id": event.id.to_string(),
        "source": event.source,
        "provider": event.provider,
        "state": state,
        "reason": reason,
        "types": event.types.iter().map(|event_type| event_type.as_str()).collect::<Vec<_>>(),
        "call_id": event.call.as_ref().map(|key| key.id.as_str()),
        "call_space": event.call.as_ref().map(|key| &*key.space),
        "received_at": event.received_at,
        "method": event.method,
        "path": event.path,
        "content_type": event.content_type,
    })
}

fn show(event: &EventRow) -> Body {
    // A body that is no text is shown in base64 rather than changed.
    let (body, encoding) = match std::str::from_utf8(&event.body) {
        Ok(text) => (text.to_owned(), "text"),
        Err(_) => (BASE64_STANDARD.encode(&event.body), "base64"),
    };
    let mut shown = show_row(event);
    shown["body"] = Body::String(body);
    shown["body_encoding"] = Body::from(encoding);
    shown
}
