//! `/v1/speech-requests` and `/v1/calls/{id}/speech`: what is transcribed at a token's request is
//! the token's own.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value as Body, json};

use super::callbacks::show_issue;
use super::{Api, Call, once};
use crate::context::{CallContext, CallKey, Json};
use crate::event::{AccountName, JobId, SpeechRequestId};
use crate::http::{Answer, Problem, Query, json as answer};
use crate::registration::{Issue, NewRequest};
use crate::speech_request::{Made, MakeError, Spell};
use crate::store::{CallbackState, DeliveryRow, EventRow, RequestedState, StoreError};

/// The space of calls where a request names none.
const DEFAULT_SPACE: &str = "default";

/// The parameters of a speech request: those of its body, as JSON or as a form.
pub(super) fn body_parameters(
    body: &Bytes,
    is_form: bool,
) -> Result<(Map<String, Body>, Vec<Issue>), Problem> {
    let text = body.trim_ascii();
    if text.is_empty() {
        return Ok((Map::new(), Vec::new()));
    }
    // Some clients call everything a form.
    if is_form && !text.starts_with(b"{") {
        return Ok(parameters(&Query::form(text)));
    }
    match serde_json::from_slice(text) {
        Ok(Body::Object(members)) => Ok((members, Vec::new())),
        Ok(_) => {
            Err(Problem::invalid(vec![Issue::new("", "not_an_object", "the parameters are a JSON object")]))
        }
        Err(error) => {
            let detail = format!("the body is neither JSON nor a form: {error}");
            Err(Problem::new(StatusCode::BAD_REQUEST, "not_json", detail))
        }
    }
}

/// The parameters of a query or form, all texts. An empty one is as if it were not there.
fn parameters(query: &Query) -> (Map<String, Body>, Vec<Issue>) {
    let (mut members, mut issues) = (Map::new(), Vec::new());
    for (name, value) in query.pairs().filter(|(_, value)| !value.is_empty()) {
        if members.insert(name.to_owned(), Body::from(value)).is_some() {
            issues.push(given_twice(name));
        }
    }
    (members, issues)
}

fn given_twice(name: &str) -> Issue {
    Issue::new(Issue::pointer("", name), "given_twice", format!("`{name}` is there twice"))
}

impl Api {
    /// `POST /v1/speech-requests`
    pub(super) async fn make_speech_request(&self, call: Call<'_>) -> Result<Answer, Problem> {
        let (mut members, mut issues) = parameters(&call.query);
        let (body, more) = body_parameters(call.body.bytes(), call.is_form)?;
        issues.extend(more);
        for (name, value) in body {
            if members.contains_key(&name) {
                issues.push(given_twice(&name));
            } else {
                members.insert(name, value);
            }
        }
        members.remove("token");
        let now = Timestamp::now();
        let read = NewRequest::read(members, &call.account, &call.token, &call.rules.definition, now);
        let request = match read {
            Ok(request) if issues.is_empty() => request,
            Ok(_) => return Err(Problem::invalid(issues)),
            Err(more) => {
                issues.extend(more);
                return Err(Problem::invalid(issues));
            }
        };
        let secret = request.callback.delivery.secrets.newest().expose().clone();
        let warnings: Vec<Body> = request.warnings.iter().map(show_issue).collect();
        let shown = move |made: &Made| {
            let mut shown = json!({
                "speechRequestId": made.id.to_string(),
                "callIds": show_calls(&made.calls),
                "secret": secret,
            });
            if !warnings.is_empty() {
                shown["warnings"] = Body::Array(warnings.clone());
            }
            shown.to_string()
        };
        let again = shown.clone();
        let once = call.once.map(|once| {
            let spell: Spell = Box::new(move |made| once::spell(StatusCode::CREATED, &again(made)));
            (once, spell)
        });
        match self.speech.make(request, call.rules.callbacks, once).await {
            Ok(made) => {
                tracing::info!(request = %made.id, account = &*call.account, calls = made.calls.len(), "speech requested");
                Ok(answer(StatusCode::CREATED, shown(&made)))
            }
            Err(error) => not_made(error),
        }
    }

    /// `GET /v1/speech-requests/{id}`
    pub(super) async fn show_speech_request(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let none = || Problem::not_found("this token has made no such speech request");
        let id: SpeechRequestId = id.parse().map_err(|_| none())?;
        let view = self.speech.view(&call.account, &call.token, id).await?.ok_or_else(none)?;
        let registration = self.registry.speech_request(&call.account, id).ok_or_else(none)?;
        call.takes_nothing()?;
        let paused = match &registration.state {
            CallbackState::Active => None,
            CallbackState::Paused(reason) => Some(reason),
        };
        let shown = json!({
            "speechRequestId": id.to_string(),
            "callIds": show_calls(&view.calls),
            "created_at": view.created_at,
            "callback_url": registration.request.url.source(),
            "callback_method": registration.request.method,
            "callback_data": registration.request.body.source(),
            "state_reason": paused,
        });
        Ok(answer(StatusCode::OK, shown.to_string()))
    }

    /// `GET /v1/calls/{id}/speech`
    pub(super) async fn show_speech(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let none = || Problem::not_found("this token sees no speech of such a call");
        call.takes_nothing()?;
        let (key, context) = self.known_call(call, id, call.query.get("call_space")).await?;
        let speech: Vec<(Box<str>, Json)> = context
            .speech_for(Some(&call.token))
            .map(|(name, value)| (name.as_str().into(), value.clone()))
            .collect();
        if speech.is_empty() {
            return Err(none());
        }
        let head =
            [("call_id".into(), Json::from(key.id.as_str())), ("call_space".into(), Json::from(&*key.space))];
        let shown = Json::Object(head.into_iter().chain(speech).collect());
        Ok(answer(StatusCode::OK, shown.to_compact()))
    }

    /// Whether a delivery is for this caller to see: that of a speech request only for its token.
    pub(super) fn sees_delivery(&self, call: &Call<'_>, row: &DeliveryRow) -> bool {
        let request = self.registry.speech_request(&call.account, row.callback.into());
        request.is_none_or(|request| request.token.as_deref() == Some(&*call.token))
    }

    /// Whether what a delivery sent, and was answered, is for this caller to see: what a registration
    /// sends may hold speech of the token that registered it.
    pub(super) async fn sees_request(&self, call: &Call<'_>, row: &DeliveryRow) -> Result<bool, Problem> {
        if self.registry.speech_request(&call.account, row.callback.into()).is_some() {
            return Ok(true);
        }
        // Of one that was removed nobody knows any more who registered it.
        let registration = self.registry.get(&call.account, row.callback);
        let registered_by = registration.as_ref().map(|registration| registration.token.as_deref());
        if registered_by.is_some_and(|by| by.is_none_or(|by| by == &*call.token)) {
            return Ok(true);
        }
        let is_anothers =
            |owner: &str| owner != &*call.token && registered_by.is_none_or(|by| by == Some(owner));
        let event = self.store.event(&call.account, row.event).await?;
        let calls: Vec<CallKey> = match (event.as_ref().and_then(|event| event.call.clone()), &row.call) {
            (Some(key), _) => vec![key],
            // Its event is gone, and with it the space.
            (None, Some(id)) => {
                let of_space = |space: &Arc<str>| CallKey {
                    account: AccountName::clone(&call.account),
                    space: Arc::clone(space),
                    id: id.clone(),
                };
                call.rules.call_spaces.iter().map(of_space).collect()
            }
            (None, None) => Vec::new(),
        };
        for key in calls {
            let Some(stored) = self.store.call(&key).await? else { continue };
            let context = CallContext::from_bytes(&stored.context);
            if context.is_err() || context.is_ok_and(|context| context.owners().any(is_anothers)) {
                return Ok(false);
            }
        }
        match event {
            Some(event) if !self.sees_body(Some(&call.token), &event).await? => {
                Ok(!self.sees_body(registered_by.flatten(), &event).await? && registered_by.is_some())
            }
            _ => Ok(true),
        }
    }

    /// Whether an event's body is for this token to see: that of a job only for the token which
    /// submitted it.
    pub(super) async fn sees_body(&self, token: Option<&str>, event: &EventRow) -> Result<bool, StoreError> {
        if event.method != "JOB" {
            return Ok(true);
        }
        let job = event.path.trim_start_matches('/').parse::<JobId>().ok();
        match job {
            Some(job) => self.speech.is_job_for(job, token).await,
            None => Ok(false),
        }
    }
}

/// `callIds`: what becomes of each call, by its id. Calls of one id in several spaces are told
/// apart by their space.
fn show_calls(calls: &[(CallKey, RequestedState)]) -> Map<String, Body> {
    let mut shown = Map::new();
    for (key, state) in calls {
        let mut entry = match state {
            RequestedState::Submitted => json!({"state": "submitted"}),
            RequestedState::Ready(delivery) => {
                json!({"state": "ready", "delivery_id": delivery.to_string()})
            }
            RequestedState::Refused(reason) => json!({"state": "refused", "reason": reason}),
            RequestedState::Failed(reason) => json!({"state": "failed", "reason": reason}),
        };
        if &*key.space != DEFAULT_SPACE {
            entry["call_space"] = json!(&*key.space);
        }
        let id = key.id.as_str();
        let name = if shown.contains_key(id) { format!("{}:{id}", key.space) } else { id.to_owned() };
        shown.insert(name, entry);
    }
    shown
}

fn damaged(fault: impl std::fmt::Display) -> Problem {
    tracing::error!(error = %fault, "a request cannot be answered");
    Problem::damaged()
}

/// The answer to a request that was not made, or made before.
fn not_made(error: MakeError) -> Result<Answer, Problem> {
    match error {
        MakeError::Repeated(repeat) => once::again(repeat),
        MakeError::Full(most) => Err(Problem::full(
            "too_many_speech_requests",
            format!(
                "this account may have {most} speech requests at most; they are kept until nothing can come of them"
            ),
        )),
        MakeError::Store(error) => Err(error.into()),
        MakeError::Context(fault) => Err(damaged(fault)),
    }
}
