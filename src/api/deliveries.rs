//! `/v1/deliveries`: what went out, what came back, and once more.

use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Value as Body, json};

use super::part::Part;
use super::{Api, Call, list};
use crate::context::{CallId, Value, read_time};
use crate::event::{CallbackId, DeliveryId, SpeechRequestId};
use crate::http::{Answer, Problem, json as answer};
use crate::store::{Attempt, DeliveryFilter, DeliveryRow, DeliveryState, DeliveryView, Page};

impl Api {
    pub(super) async fn list_deliveries(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut issues = call.issues();
        let time = |text: &str| read_time(Value::Text(text));
        let states = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
        let filter = DeliveryFilter {
            callback: call
                .parameter("callback_id", &mut issues, "the id of a callback", |text| text.parse().ok()),
            call: call.parameter("call_id", &mut issues, "the id of a call", CallId::from_text),
            state: call.parameter(
                "state",
                &mut issues,
                &format!("one of {states}"),
                DeliveryState::from_name,
            ),
            since: call.parameter("since", &mut issues, "a time", time),
            until: call.parameter("until", &mut issues, "a time", time),
        };
        let limit = call.limit(&mut issues);
        let before = call.cursor(&mut issues, |text| text.parse().ok());
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let found = self.store.deliveries(&call.account, &filter, Page { before, limit: limit + 1 }).await?;
        self.learn_of(&found).await?;
        let next = (found.len() > limit).then(|| found[limit - 1].id.to_string());
        let seen = found.iter().take(limit).filter(|row| self.sees_delivery(call, row));
        let rows: Vec<Body> = seen.map(|row| self.show_row(call, row)).collect();
        Ok(list(&rows, next.as_deref()))
    }

    async fn find_delivery(&self, call: &Call<'_>, id: DeliveryId) -> Result<DeliveryView, Problem> {
        let view = self.store.delivery(&call.account, id).await?;
        self.learn_of(view.as_ref().map(|view| &view.row)).await?;
        view.filter(|view| self.sees_delivery(call, &view.row)).ok_or_else(no_such_delivery)
    }

    /// Whose a delivery is to see says what it comes from, which another process may just have made.
    async fn learn_of(&self, rows: impl IntoIterator<Item = &DeliveryRow>) -> Result<(), Problem> {
        let callbacks: Vec<CallbackId> = rows.into_iter().map(|row| row.callback).collect();
        Ok(self.ledger.learn(&callbacks).await?)
    }

    /// A row of the list. What a speech request asked for names that in the registration's place.
    fn show_row(&self, call: &Call<'_>, row: &DeliveryRow) -> Body {
        let mut shown = show_row(row);
        let request = SpeechRequestId::from(row.callback);
        if self.registry.speech_request(&call.account, request).is_some() {
            shown["callback_id"] = Body::Null;
            shown["speech_request_id"] = json!(request.to_string());
        }
        shown
    }

    async fn show_view(&self, call: &Call<'_>, mut view: DeliveryView) -> Result<Body, Problem> {
        let mut shown = self.show_row(call, &view.row);
        let is_seen = self.sees_request(call, &view.row).await?;
        if !is_seen {
            view.request = None;
            // A receiver may say again what it was told.
            for attempt in &mut view.attempts {
                attempt.response.clear();
            }
        }
        add_request(&mut shown, &view);
        shown["withheld"] = if is_seen { Body::Null } else { json!(WITHHELD) };
        Ok(shown)
    }

    pub(super) async fn show_delivery(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let id: DeliveryId = id.parse().map_err(|_| no_such_delivery())?;
        let view = self.find_delivery(call, id).await?;
        call.takes_nothing()?;
        Ok(answer(StatusCode::OK, self.show_view(call, view).await?.to_string()))
    }

    pub(super) async fn retry_delivery(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let id: DeliveryId = id.parse().map_err(|_| no_such_delivery())?;
        let view = self.find_delivery(call, id).await?;
        call.takes_nothing()?;
        if !self.store.retry(&call.account, id).await? {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "not_retryable",
                format!("a delivery that is {} cannot be sent again", view.row.state.as_str()),
            ));
        }
        tracing::info!(delivery = %id, account = &*call.account, "delivery retried by hand");
        let view = self.find_delivery(call, id).await?;
        Ok(answer(StatusCode::ACCEPTED, self.show_row(call, &view.row).to_string()))
    }

    /// `POST /v1/deliveries/retry`: those that can be sent again, a part at a time.
    pub(super) async fn retry_deliveries(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut issues = call.issues();
        let mut members = call.members()?;
        let part = Part::read(&mut members, Timestamp::now(), &mut issues);
        let state = |text: &str| match DeliveryState::from_name(text)? {
            state @ (DeliveryState::Dead | DeliveryState::Queued) => Some(state),
            // What failed has no bytes that could be sent again: that is for a replay.
            DeliveryState::Leased
            | DeliveryState::Delivered
            | DeliveryState::Failed
            | DeliveryState::Cancelled => None,
        };
        let expected = "dead, or queued for those that wait for their next attempt (what failed was never \
                        rendered, and can only be replayed)";
        let filter = part.of(DeliveryFilter {
            callback: members.text("callback", &mut issues, "the id of a callback", |text| text.parse().ok()),
            call: members.text("call", &mut issues, "the id of a call", CallId::from_text),
            state: members.text("state", &mut issues, expected, state).or(Some(DeliveryState::Dead)),
            ..DeliveryFilter::default()
        });
        members.refuse_rest(&mut issues);
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let found = self.store.deliveries_after(&call.account, &filter, part.after, part.limit).await?;
        let seen = found.rows.iter().filter(|row| self.sees_delivery(call, row));
        let ids: Vec<DeliveryId> = seen.map(|row| row.id).collect();
        let retried = if ids.is_empty() { 0 } else { self.store.retry_all(&call.account, &ids).await? };
        if retried > 0 {
            tracing::info!(account = &*call.account, retried, "deliveries retried by hand");
        }
        let next = found.next.map(|next| part.cursor(next));
        Ok(answer(StatusCode::OK, json!({"retried": retried, "next": next}).to_string()))
    }
}

/// Why a delivery's request and its receiver's answers are not shown.
const WITHHELD: &str = "it may hold speech that belongs to the token which registered the callback";

fn no_such_delivery() -> Problem {
    Problem::not_found("this account has no such delivery")
}

fn show_row(row: &DeliveryRow) -> Body {
    json!({
        "id": row.id.to_string(),
        "callback_id": row.callback.to_string(),
        "event_id": row.event.to_string(),
        "event_type": row.event_type.as_str(),
        "call_id": row.call.as_ref().map(CallId::as_str),
        "state": row.state.as_str(),
        "reason": row.reason,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "replayed_as": row.replayed_as.map(|id| id.to_string()),
    })
}

/// Why a delivery has no request yet.
const NOT_RENDERED: &str = "it is rendered at its first attempt, because its event caused too many bytes of bodies \
                            to render them all at once";

/// What is sent, and how the attempts went.
fn add_request(shown: &mut Body, view: &DeliveryView) {
    let attempts: Vec<Body> = view.attempts.iter().map(show_attempt).collect();
    shown["request"] = view.request.as_ref().map_or(Body::Null, |request| {
        json!({
            "method": request.method,
            "url": request.url,
            "content_type": request.content_type,
            "body": String::from_utf8_lossy(&request.body),
        })
    });
    shown["not_rendered"] = if view.is_late { json!(NOT_RENDERED) } else { Body::Null };
    shown["attempts"] = Body::Array(attempts);
}

pub(super) fn show_attempt(attempt: &Attempt) -> Body {
    json!({
        "number": attempt.number,
        "started_at": attempt.started_at,
        "latency_ms": u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX),
        "outcome": attempt.outcome.as_str(),
        "status": attempt.status,
        "error": attempt.error,
        "response": String::from_utf8_lossy(&attempt.response),
    })
}
