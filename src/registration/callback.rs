//! A registered callback, and the form in which the store keeps it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::request::{CallbackUrl, Method, RequestTemplate};
use super::{Filter, RetrySchedule, SigningSecrets};
use crate::destination::AddressPolicy;
use crate::event::{AccountName, CallbackId, EventType};
use crate::limit::Rate;
use crate::signature::{Sealer, SigningSecret};
use crate::store::{CallbackRow, CallbackState, DefinitionVersion, DestinationLimits};
use crate::template::{HeaderTemplate, Limits};

/// What stands for a value that is not shown.
pub const MASK: &str = "…";

/// How a registration's deliveries are sent.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// The secrets that sign; two while one replaces the other.
    pub secrets: SigningSecrets,
    /// How long a whole exchange may take, to the last byte of the response.
    pub timeout: Duration,
    /// When attempts are made.
    pub retry: RetrySchedule,
}

/// A registered callback: checked, compiled, ready to render and to send.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Its id.
    pub id: CallbackId,
    /// Whose it is.
    pub account: AccountName,
    /// What its deliveries send, and where to.
    pub request: RequestTemplate,
    /// The event types that it wants; never empty.
    pub events: Vec<EventType>,
    /// The sources that it wants; empty for all of the account's.
    pub sources: Vec<String>,
    /// What else it asks of an event.
    pub filter: Filter,
    /// How its deliveries are signed, timed and retried.
    pub delivery: Arc<DeliverySettings>,
    /// Attempts under way at once.
    pub max_in_flight: u32,
    /// Attempts started in a time.
    pub rate_limit: Option<Rate>,
    /// Whether deliveries of one call go out one after the other, in the order of their events.
    pub ordered: bool,
    /// The customer's own words.
    pub description: Option<String>,
    /// From when on it takes no more events.
    pub expires_at: Option<Timestamp>,
    /// Whether it is delivered to.
    pub state: CallbackState,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The name of the token that registered it: what this token owns of calls, it sees.
    pub token: Option<Arc<str>>,
    /// Whether it is a speech request: it waits for calls of its own, and wants no events.
    pub is_speech_request: bool,
    /// Tells what it sends now from what it sent before it was changed.
    pub version: DefinitionVersion,
}

/// The stored form. Members are only ever added, each with a default; `version` says when that was
/// not possible.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    url: String,
    method: Method,
    template: String,
    #[serde(default = "json")]
    content_type: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    events: Vec<String>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    filter: Filter,
    /// The newest first; sealed where the operator configured a key.
    secrets: Vec<String>,
    /// Until when each but the newest signs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets_until: Vec<Timestamp>,
    timeout_ms: u64,
    retry_ms: Vec<u64>,
    max_in_flight: u32,
    #[serde(default)]
    rate_limit: Option<String>,
    #[serde(default)]
    ordered: bool,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    speech_request: bool,
}

const STORED_VERSION: u32 = 1;

fn json() -> String {
    RequestTemplate::JSON.to_owned()
}

/// A stored registration that cannot be used: a sentence without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored callback {id} cannot be used: {reason}")]
pub struct StoredCallbackError {
    /// Which.
    pub id: CallbackId,
    /// Why.
    pub reason: String,
}

impl Callback {
    /// The stored form, its secrets sealed where there is a key.
    #[must_use]
    pub fn to_row(&self, sealer: Option<&Sealer>) -> CallbackRow {
        let seal = |secret: &SigningSecret| match sealer {
            Some(sealer) => sealer.seal(secret.expose().as_bytes()),
            None => secret.expose(),
        };
        let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let stored = Stored {
            version: STORED_VERSION,
            url: self.request.url.source().to_owned(),
            method: self.request.method,
            template: self.request.body.source().to_owned(),
            content_type: self.request.content_type.clone(),
            headers: self
                .request
                .headers
                .iter()
                .map(|(name, template)| (name.clone(), template.source().to_owned()))
                .collect(),
            events: self.events.iter().map(|event_type| event_type.as_str().to_owned()).collect(),
            sources: self.sources.clone(),
            filter: self.filter.clone(),
            secrets: self.delivery.secrets.all().iter().map(seal).collect(),
            secrets_until: self.delivery.secrets.until().to_vec(),
            timeout_ms: millis(&self.delivery.timeout),
            retry_ms: self.delivery.retry.delays().iter().map(millis).collect(),
            max_in_flight: self.max_in_flight,
            rate_limit: self.rate_limit.map(|rate| rate.to_string()),
            ordered: self.ordered,
            description: self.description.clone(),
            expires_at: self.expires_at,
            created_at: self.created_at,
            token: self.token.as_deref().map(str::to_owned),
            speech_request: self.is_speech_request,
        };
        CallbackRow {
            id: self.id,
            account: Arc::clone(&self.account),
            state: self.state.clone(),
            limits: DestinationLimits {
                max_in_flight: self.max_in_flight,
                rate: self.rate_limit,
                paused: matches!(self.state, CallbackState::Paused(_)),
            },
            deadline: self.delivery.timeout,
            definition: serde_json::to_vec(&stored).expect("texts and numbers are always JSON"),
            version: self.version,
        }
    }

    /// Reads the stored form; `rendering` is the most bytes of one rendering now. The address policy
    /// is not asked here: it may have changed since, and decides at each connection.
    ///
    /// # Errors
    /// It was written by a newer version, or sealed with a key that is not at hand, or damaged.
    pub fn from_row(
        row: &CallbackRow,
        sealer: Option<&Sealer>,
        rendering: usize,
    ) -> Result<Self, StoredCallbackError> {
        let fault = |reason: String| StoredCallbackError { id: row.id, reason };
        let mut stored = Stored::read(&row.definition).map_err(fault)?;
        let request = stored.take_request(rendering).map_err(fault)?;
        let secrets = stored
            .secrets
            .iter()
            .map(|text| {
                unseal(text, sealer)
                    .and_then(|plain| {
                        SigningSecret::parse(&plain).map_err(|error| format!("its secret: {error}"))
                    })
                    .map_err(fault)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let secrets = SigningSecrets::from_stored(secrets, stored.secrets_until)
            .ok_or_else(|| fault("it has no secret".to_owned()))?;
        let retry = RetrySchedule::new(stored.retry_ms.into_iter().map(Duration::from_millis).collect())
            .ok_or_else(|| fault("its retry schedule is empty or too long".to_owned()))?;
        let events = stored
            .events
            .iter()
            .map(|name| EventType::from_name(name).ok_or_else(|| fault(format!("unknown event `{name}`"))))
            .collect::<Result<Vec<_>, _>>()?;
        let rate_limit = stored
            .rate_limit
            .map(|text| text.parse::<Rate>().map_err(|error| fault(format!("its rate limit: {error}"))))
            .transpose()?;
        Ok(Self {
            id: row.id,
            account: Arc::clone(&row.account),
            request,
            events,
            sources: stored.sources,
            filter: stored.filter,
            delivery: Arc::new(DeliverySettings {
                secrets,
                timeout: Duration::from_millis(stored.timeout_ms),
                retry,
            }),
            max_in_flight: stored.max_in_flight,
            rate_limit,
            ordered: stored.ordered,
            description: stored.description,
            expires_at: stored.expires_at,
            state: row.state.clone(),
            created_at: stored.created_at,
            token: stored.token.map(Arc::from),
            is_speech_request: stored.speech_request,
            version: row.version,
        })
    }

    /// Whether it takes events at this time.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl Stored {
    fn read(definition: &[u8]) -> Result<Self, String> {
        let stored: Self = serde_json::from_slice(definition).map_err(|error| unreadable(&error))?;
        if stored.version != STORED_VERSION {
            return Err(format!("it has version {}, this is {STORED_VERSION}", stored.version));
        }
        Ok(stored)
    }

    /// Compiles what deliveries send, and takes it out.
    fn take_request(&mut self, rendering: usize) -> Result<RequestTemplate, String> {
        // The limits of today may be tighter than those it was registered under; it keeps those.
        let limits = |text: &str| {
            let size = text.len();
            Limits { template: size, placeholders: size, depth: size, rendering }
        };
        let url = CallbackUrl::read(&self.url, &AddressPolicy::anywhere(), &limits(&self.url))
            .map_err(|_| "its URL is not one".to_owned())?;
        let body = RequestTemplate::compile_body(&self.template, &self.content_type, &limits(&self.template))
            .map_err(|_| "its template does not compile".to_owned())?;
        let headers = std::mem::take(&mut self.headers)
            .into_iter()
            .map(|(name, value)| {
                let template = HeaderTemplate::compile(&value, &limits(&value))
                    .map_err(|_| format!("its header `{name}` does not compile"))?;
                Ok((name, template))
            })
            .collect::<Result<_, String>>()?;
        let content_type = std::mem::take(&mut self.content_type);
        Ok(RequestTemplate { method: self.method, url, headers, content_type, body })
    }
}

/// What of a registration a late delivery is rendered with. Its secrets are not read: those of the
/// attempt sign.
#[derive(Debug)]
pub(super) struct LateDefinition {
    pub(super) request: RequestTemplate,
    pub(super) token: Option<Arc<str>>,
    pub(super) is_speech_request: bool,
}

impl LateDefinition {
    pub(super) fn of(callback: &Callback) -> Self {
        Self {
            request: callback.request.clone(),
            token: callback.token.clone(),
            is_speech_request: callback.is_speech_request,
        }
    }

    /// Reads a definition that a registration had; else a sentence without secrets.
    pub(super) fn read(definition: &[u8], rendering: usize) -> Result<Self, String> {
        let fault = |reason| format!("the definition that its registration had cannot be used: {reason}");
        let mut stored = Stored::read(definition).map_err(fault)?;
        let request = stored.take_request(rendering).map_err(fault)?;
        Ok(Self { request, token: stored.token.map(Arc::from), is_speech_request: stored.speech_request })
    }
}

/// Where the stored form cannot be read. The sentence of `serde_json` itself may repeat a value.
fn unreadable(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Data => "a member is missing or of another type",
        Category::Eof | Category::Io | Category::Syntax => "it is not JSON",
    };
    format!("{what} (byte {})", error.column())
}

/// A stored secret in plain. One that was stored before the operator configured a key is plain
/// already, and is sealed at its next write.
fn unseal(text: &str, sealer: Option<&Sealer>) -> Result<String, String> {
    match sealer {
        Some(sealer) if Sealer::is_sealed(text) => {
            let plain = sealer.open(text).map_err(|error| error.to_string())?;
            String::from_utf8(plain.expose().to_vec()).map_err(|_| "its secret is not a text".to_owned())
        }
        None if Sealer::is_sealed(text) => {
            Err("its secret is sealed, and `secrets.key` is not configured".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::registration::{DefinitionLimits, NewCallback};

    const RENDERING: usize = 8 << 20;

    /// What registrations of these tests are held against.
    pub(in crate::registration) fn limits() -> DefinitionLimits {
        DefinitionLimits {
            template: Limits::default(),
            policy: AddressPolicy::default(),
            timeout: Duration::from_secs(15),
            sources: vec!["dialer".to_owned(), "speech".to_owned()],
        }
    }

    /// A callback of `acme` for calls that ended.
    pub(in crate::registration) fn callback() -> Callback {
        let request = json!({
            "callback_url": "https://example.com/hook", "callback_method": "POST",
            "callback_data": "{\"id\": {call_id}}", "events": ["call.ended"],
        });
        NewCallback::read(request, &"acme".into(), &limits(), Timestamp::now()).unwrap().callback
    }

    #[test]
    fn a_callback_is_stored_and_read_back_whole() {
        let request = json!({
            "callback_url": "https://example.com/hook?key=k", "callback_method": "PUT",
            "callback_data": "{\"id\": {call_id}}", "events": ["call.ended", "survey.completed"],
            "sources": ["speech"], "min_duration": 1, "max_duration": 2, "call_status": "Ended",
            "from": "2026-01-01T00:00:00Z", "till": "2026-01-02T00:00:00.5Z", "language": "EN", "phrase": "P",
            "summary": "S", "rank_description": "R", "rank_min": 3, "rank_max": 4,
            "retry": {"schedule": ["0s", "250ms"]}, "timeout_ms": 1234, "max_in_flight": 7,
            "rate_limit": "50/m", "ordered": true, "description": "to the CRM", "expires_at": "2999-01-01T00:00:00Z",
        });
        let callback =
            NewCallback::read(request, &"acme".into(), &limits(), Timestamp::now()).unwrap().callback;
        let secrets = callback.delivery.secrets.rotate(SigningSecret::generate(), Timestamp::now()).unwrap();
        let delivery = Arc::new(DeliverySettings { secrets, ..(*callback.delivery).clone() });
        let state = CallbackState::Paused("410 from the receiver".to_owned());
        let token = Some("crm".into());
        let paused = Callback { delivery, state, token, is_speech_request: true, ..callback };
        let row = paused.to_row(None);
        assert!(row.limits.paused);
        let read = Callback::from_row(&row, None, RENDERING).unwrap();
        assert_eq!(read.to_row(None), row);
        assert_eq!((read.id, &read.account, &read.state), (paused.id, &paused.account, &paused.state));
        assert_eq!((read.token.as_deref(), read.is_speech_request), (Some("crm"), true));
        assert_eq!(read.delivery.secrets.newest().expose(), paused.delivery.secrets.newest().expose());
        assert_eq!(read.delivery.secrets.previous_until(), paused.delivery.secrets.previous_until());
    }

    #[test]
    fn a_row_that_cannot_be_used_says_why_and_repeats_nothing_of_it() {
        let row = callback().to_row(None);
        let stored: serde_json::Value = serde_json::from_slice(&row.definition).unwrap();
        let secret = stored["secrets"][0].as_str().unwrap().to_owned();
        for (name, value, reason) in [
            ("version", json!(2), "version 2"),
            ("secrets", json!(secret), "another type"),
            ("timeout_ms", json!(secret), "another type"),
            ("secrets", json!(["hunter2"]), "secret"),
            ("secrets", json!([]), "no secret"),
            ("secrets_until", json!([secret]), "another type"),
            ("url", json!("https://hunter2:hunter2@example.com/"), "URL"),
            ("template", json!("{hunter2}"), "template"),
            ("retry_ms", json!([]), "retry schedule"),
            ("rate_limit", json!("hunter2"), "rate"),
        ] {
            let mut stored = stored.clone();
            stored[name] = value;
            let row = CallbackRow { definition: stored.to_string().into_bytes(), ..row.clone() };
            let error = Callback::from_row(&row, None, RENDERING).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(&row.id.to_string()), "{name}: {error}");
            assert!(!error.contains("hunter2") && !error.contains(&secret), "{name}: {error}");
        }
        let torn = CallbackRow { definition: b"{".to_vec(), ..row };
        assert!(Callback::from_row(&torn, None, RENDERING).unwrap_err().reason.contains("not JSON"));
    }
}
