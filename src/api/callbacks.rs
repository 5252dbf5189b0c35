//! `/v1/callbacks`: register, show, list, change, pause, resume, rotate the secret, remove.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value as Body, json};

use super::{Api, Call, list, once};
use crate::event::CallbackId;
use crate::http::{Answer, Problem, json as answer};
use crate::quantity::spell_duration;
use crate::registration::{
    AddError, Callback, ChangeError, DeliverySettings, Issue, MASK, MATCH_LIMIT, NewCallback, Registry,
    read_new_secret,
};
use crate::store::CallbackState;

impl Api {
    pub(super) async fn register(&self, call: Call<'_>) -> Result<Answer, Problem> {
        let now = Timestamp::now();
        let mut issues = call.issues();
        let read = NewCallback::read(call.json()?, &call.account, &call.rules.definition, now);
        let NewCallback { mut callback, warnings } = match read {
            Ok(new) if issues.is_empty() => new,
            Ok(_) => return Err(Problem::invalid(issues)),
            Err(more) => {
                issues.extend(more);
                return Err(Problem::invalid(issues));
            }
        };
        callback.token = Some(Arc::clone(&call.token));
        let id = callback.id;
        let secret = callback.delivery.secrets.newest().expose();
        let mut shown = self.show_with(&callback, &warnings);
        shown.insert("secret".to_owned(), json!(secret));
        let shown = Body::Object(shown).to_string();
        let remembered = call.once.map(|once| (once, once::spell(StatusCode::CREATED, &shown)));
        match self.ledger.add(callback, call.rules.callbacks, remembered).await {
            Ok(()) => {
                tracing::info!(callback = %id, account = &*call.account, "callback registered");
                Ok(answer(StatusCode::CREATED, shown))
            }
            Err(AddError::Repeated(repeat)) => once::again(repeat),
            Err(AddError::Full(most)) => Err(Problem::full(
                "too_many_callbacks",
                format!("this account may have {most} callbacks at most; remove one first"),
            )),
            Err(AddError::Store(error)) => Err(error.into()),
        }
    }

    pub(super) fn list_callbacks(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut issues = call.issues();
        let limit = call.limit(&mut issues);
        let before = call.cursor(&mut issues, |text| text.parse().ok());
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let found = self.registry.list(&call.account, before, limit + 1);
        let next = (found.len() > limit).then(|| found[limit - 1].id.to_string());
        let rows: Vec<Body> = found.iter().take(limit).map(|callback| Body::Object(show(callback))).collect();
        Ok(list(&rows, next.as_deref()))
    }

    pub(super) fn show_callback(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let callback = self.find(call, id)?;
        call.takes_nothing()?;
        Ok(answer(StatusCode::OK, Body::Object(show(&callback)).to_string()))
    }

    /// `PATCH`: what is given is changed, for later events.
    pub(super) async fn change_callback(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let id = self.find(call, id)?.id;
        let mut issues = call.issues();
        let (patch, limits) = (call.json()?, call.rules.definition.clone());
        let change = move |callback: &Callback| match NewCallback::change(
            callback,
            patch,
            &limits,
            Timestamp::now(),
        ) {
            Ok(new) if issues.is_empty() => Ok((new.callback, new.warnings)),
            Ok(_) => Err(Problem::invalid(issues)),
            Err(more) => {
                issues.extend(more);
                Err(Problem::invalid(issues))
            }
        };
        let (callback, warnings) = self.ledger.change(&call.account, id, change).await?;
        tracing::info!(callback = %id, account = &*call.account, "callback changed");
        Ok(answer(StatusCode::OK, Body::Object(self.show_with(&callback, &warnings)).to_string()))
    }

    pub(super) async fn remove_callback(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let id = self.find(call, id)?.id;
        call.takes_nothing()?;
        if !self.ledger.remove(&call.account, id).await? {
            return Err(no_such_callback());
        }
        tracing::info!(callback = %id, account = &*call.account, "callback removed");
        Ok(answer(StatusCode::NO_CONTENT, Bytes::new()))
    }

    pub(super) async fn pause(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        self.set_state(call, id, CallbackState::Paused("by the customer".to_owned())).await
    }

    pub(super) async fn resume(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        self.set_state(call, id, CallbackState::Active).await
    }

    async fn set_state(&self, call: &Call<'_>, id: &str, state: CallbackState) -> Result<Answer, Problem> {
        let id = self.find(call, id)?.id;
        call.takes_nothing()?;
        let callback = self.ledger.set_state(&call.account, id, state).await?.ok_or_else(no_such_callback)?;
        Ok(answer(StatusCode::OK, Body::Object(show(&callback)).to_string()))
    }

    /// `POST …/rotate-secret`: a new secret, given or generated, is shown this once; the one before
    /// signs beside it for a day.
    pub(super) async fn rotate_secret(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let id = self.find(call, id)?.id;
        let mut issues = call.issues();
        let secret = match read_new_secret(Body::Object(call.members()?.all())) {
            Ok(secret) if issues.is_empty() => secret,
            Ok(_) => return Err(Problem::invalid(issues)),
            Err(more) => {
                issues.extend(more);
                return Err(Problem::invalid(issues));
            }
        };
        let exposed = secret.expose();
        let rotate = move |callback: &Callback| {
            let secrets = callback
                .delivery
                .secrets
                .rotate(secret, Timestamp::now())
                .map_err(|refused| Problem::rate_limited(refused.retry_after, refused.to_string()))?;
            let delivery = Arc::new(DeliverySettings { secrets, ..(*callback.delivery).clone() });
            let rotated = Callback { delivery, ..callback.clone() };
            let mut shown = show(&rotated);
            shown.insert("secret".to_owned(), json!(exposed));
            Ok::<_, Problem>((rotated, once::spell(StatusCode::OK, &Body::Object(shown).to_string())))
        };
        let repeat = self.ledger.change_once(&call.account, id, call.once, rotate).await?;
        tracing::info!(callback = %id, account = &*call.account, "secret rotated");
        once::again(repeat)
    }

    pub(super) fn find(&self, call: &Call<'_>, id: &str) -> Result<Arc<Callback>, Problem> {
        let id: CallbackId = id.parse().map_err(|_| no_such_callback())?;
        self.registry.get(&call.account, id).ok_or_else(no_such_callback)
    }

    /// A registration that was just written, with what is legal in it but probably not meant.
    fn show_with(&self, callback: &Callback, warnings: &[Issue]) -> Map<String, Body> {
        let mut shown = show(callback);
        let warnings: Vec<Body> =
            warnings.iter().chain(&too_many_matches(&self.registry, callback)).map(show_issue).collect();
        if !warnings.is_empty() {
            shown.insert("warnings".to_owned(), Body::Array(warnings));
        }
        shown
    }
}

impl From<ChangeError<Problem>> for Problem {
    fn from(error: ChangeError<Problem>) -> Self {
        match error {
            ChangeError::Unknown => no_such_callback(),
            ChangeError::Refused(problem) => problem,
            ChangeError::Store(error) => error.into(),
        }
    }
}

fn no_such_callback() -> Problem {
    Problem::not_found("this account has no such callback")
}

/// That an event may match more than are delivered, this one included, if it may.
fn too_many_matches(registry: &Registry, callback: &Callback) -> Option<Issue> {
    let load = registry.load_with(callback);
    (load > MATCH_LIMIT).then(|| {
        let detail = format!(
            "an event may match {load} of the account's callbacks, this one among them, and is delivered to the \
             {MATCH_LIMIT} oldest of those that it matches; narrow some by `events`, `sources`, `call_status` or \
             `language`"
        );
        Issue::new("", "too_many_matches", detail)
    })
}

/// A registration as it is read: its secret masked.
fn show(callback: &Callback) -> Map<String, Body> {
    let (state, reason) = match &callback.state {
        CallbackState::Active => ("active", None),
        CallbackState::Paused(reason) => ("paused", Some(reason)),
    };
    let schedule: Vec<_> =
        callback.delivery.retry.delays().iter().map(|delay| spell_duration(*delay)).collect();
    let mut members = Map::new();
    let mut put = |name: &str, value: Body| {
        if !value.is_null() {
            members.insert(name.to_owned(), value);
        }
    };
    put("id", json!(callback.id.to_string()));
    put("state", json!(state));
    put("state_reason", json!(reason));
    put("created_at", json!(callback.created_at));
    let request = &callback.request;
    put("callback_url", json!(request.url.source()));
    put("callback_method", json!(request.method));
    put("callback_data", json!(request.body.source()));
    put("content_type", json!(request.content_type));
    if !request.headers.is_empty() {
        // Their values may be credentials of the receiver.
        let masked: Map<String, Body> =
            request.headers.iter().map(|(name, _)| (name.clone(), json!(MASK))).collect();
        put("callback_headers", Body::Object(masked));
    }
    put("events", callback.events.iter().map(|event_type| json!(event_type.as_str())).collect());
    put("sources", if callback.sources.is_empty() { Body::Null } else { json!(callback.sources) });
    if let Ok(Body::Object(filter)) = serde_json::to_value(&callback.filter) {
        for (name, value) in filter {
            put(&name, value);
        }
    }
    put("retry", json!({"schedule": schedule}));
    put("timeout_ms", json!(u64::try_from(callback.delivery.timeout.as_millis()).unwrap_or(u64::MAX)));
    put("max_in_flight", json!(callback.max_in_flight));
    put("rate_limit", json!(callback.rate_limit.map(|rate| rate.to_string())));
    put("ordered", json!(callback.ordered));
    put("secret", json!("whsec_…"));
    let previous_until = callback.delivery.secrets.previous_until().filter(|until| Timestamp::now() < *until);
    put("previous_secret_expires_at", json!(previous_until));
    put("description", json!(callback.description));
    put("expires_at", json!(callback.expires_at));
    members
}

/// One entry of `errors` or `warnings`.
pub(super) fn show_issue(issue: &Issue) -> Body {
    serde_json::to_value(crate::http::Entry::from(issue)).expect("texts and numbers are always JSON")
}
