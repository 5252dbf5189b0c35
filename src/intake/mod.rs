//! The providers' side: raw bytes → capped → verified → event → one durable write → 200.
//!
//! The order of the steps is the product's promise. Nothing is read that was not verified, nothing
//! is answered with 200 that is not durable together with all that must be delivered because of
//! it, and no answer waits for a fetch or for a delivery.

mod announcing;
mod jobs;
mod meter;
mod plan;
mod source;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use self::meter::Outcome;
pub use meter::Meter;
pub use plan::PlanFault;
pub use source::Source;

use crate::context::CallKey;
use crate::event::{Event, EventId, EventType};
use crate::http::{Answer, Bodies, Caller, Problem, Proxies, header_text, json};
use crate::job::Desk;
use crate::limit::{Limiter, Rate};
use crate::provider::Reading;
use crate::registration::{Ledger, Registry};
use crate::signature::{Refused, SignedRequest, Verified};
use crate::store::{
    Accepted, DedupeKey, EventRow, EventState, SharedJobs, SharedQuotas, SharedSpeechRequests, SharedStore,
    StoreError,
};

/// For how long a repeat of an event that has an id of its own is recognised: as long as events
/// are kept by default.
const ID_REPEAT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// For how long a repeat of an event without any id is recognised.
const REQUEST_REPEAT: SignedDuration = SignedDuration::from_hours(24);

/// Locks that events of calls share. Two events of one call must not merge at the same time; with
/// this many, two different calls rarely wait for each other.
const CALL_LOCKS: usize = 4_096;

/// How often an event is merged anew because another process wrote its call meanwhile.
const MERGE_TRIES: usize = 16;

/// When a provider may send again what was in the way of itself that often.
const CONFLICT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many refused requests of a source are warned of. Anybody can post what is refused; the others
/// are in the log at its level `debug`.
const REFUSALS_WARNED: Rate = Rate { count: 20, period: Duration::from_secs(10) };

/// Receives what providers post.
pub struct Intake {
    sources: HashMap<String, Source>,
    limiter: Limiter,
    warnings: Limiter,
    store: SharedStore,
    registry: Arc<Registry>,
    ledger: Ledger,
    desk: Arc<Desk>,
    jobs: SharedJobs,
    requests: SharedSpeechRequests,
    bodies: Bodies,
    called_as: CalledAs,
    proxies: Proxies,
    quotas: SharedQuotas,
    meter: Meter,
    call_locks: Box<[Mutex<()>]>,
}

/// The URL that providers call, which some signatures cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalledAs {
    /// What the operator says, with the path behind it.
    Public(String),
    /// What the `Host` header says, or a trusted proxy.
    Host {
        /// `https` where this process ends TLS itself, else `http`.
        scheme: &'static str,
    },
}

impl CalledAs {
    /// The URL of a request.
    fn url(&self, uri: &hyper::Uri, host: &str, caller: &Caller) -> String {
        let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        match self {
            Self::Public(base) => format!("{}{path}", base.trim_end_matches('/')),
            Self::Host { scheme } => {
                // HTTP/2 says the host in the URL, and a proxy's absolute form does.
                let host = uri.authority().map_or(host, hyper::http::uri::Authority::as_str);
                let host = caller.host.as_deref().unwrap_or(host);
                format!("{}://{host}{path}", caller.scheme.unwrap_or(scheme))
            }
        }
    }
}

/// What became of an event that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Receipt {
    event: EventId,
    duplicate: bool,
}

impl Intake {
    /// Intake for these sources, each within its rate.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "it joins as many rooms; only the assembly calls it")]
    pub fn new(
        sources: Vec<Source>,
        limiter: Limiter,
        store: SharedStore,
        jobs: SharedJobs,
        requests: SharedSpeechRequests,
        desk: Arc<Desk>,
        registry: Arc<Registry>,
        ledger: Ledger,
        bodies: Bodies,
        called_as: CalledAs,
        proxies: Proxies,
        quotas: SharedQuotas,
        meter: Meter,
    ) -> Self {
        let warned = sources.iter().map(|source| (source.name.as_str().into(), Some(REFUSALS_WARNED)));
        Self {
            warnings: Limiter::new(warned),
            sources: sources.into_iter().map(|source| (source.name.clone(), source)).collect(),
            limiter,
            store,
            registry,
            ledger,
            desk,
            jobs,
            requests,
            bodies,
            called_as,
            proxies,
            quotas,
            meter,
            call_locks: (0..CALL_LOCKS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Answers a request to `/v1/ingest/{name}{sub_path}`.
    pub async fn answer(
        &self,
        name: &str,
        sub_path: &str,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Answer {
        let Some(source) = self.sources.get(name) else {
            // What is in place of the name may be anything, a misplaced secret among it.
            tracing::debug!(%peer, "event refused: unknown source");
            let detail = "no source of this name is configured";
            return Problem::new(StatusCode::NOT_FOUND, "unknown_source", detail).into();
        };
        let caller = self.proxies.caller(peer.ip(), request.headers());
        let began = Instant::now();
        let received = self.receive(source, sub_path, request, &caller).await;
        let outcome = received.as_ref().map_or_else(Outcome::of, |(outcome, _)| *outcome);
        self.meter.count(name, outcome, began.elapsed());
        match received {
            Ok((_, answer)) => answer,
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => problem.into(),
            Err(problem) => {
                let (status, code) = (problem.status().as_u16(), problem.code());
                tracing::warn!(source = name, %peer, status, code, "event refused");
                problem.into()
            }
        }
    }

    async fn receive(
        &self,
        source: &Source,
        sub_path: &str,
        request: Request<Incoming>,
        caller: &Caller,
    ) -> Result<(Outcome, Answer), Problem> {
        match *request.method() {
            Method::POST => {}
            Method::GET if source.adapter.reads_queries() && request.uri().query().is_some() => {}
            // Some providers look whether the address is alive before they use it.
            Method::GET | Method::HEAD => return Ok((Outcome::Answered, json(StatusCode::OK, "{}"))),
            _ => return Err(Problem::method_not_allowed("GET, HEAD, POST")),
        }
        let refuse = |refused| self.refuse(source, caller, &refused);
        // Before a byte of the body costs anything.
        source.verifier.admit(caller.address).map_err(refuse)?;

        let (parts, body) = request.into_parts();
        // Held to the end: the budget is for all that is under way.
        let held = self.bodies.read(body).await?;
        let body = held.bytes().clone();
        let received_at = now();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let url = self.called_as.url(&parts.uri, header_text(&parts.headers, HOST.as_str()), caller);
        let signed = SignedRequest {
            method: parts.method.as_str().to_owned(),
            url,
            sub_path: sub_path.to_owned(),
            query,
            headers: parts.headers,
            body,
        };
        let verified = source.verifier.verify_from(caller.address, signed, received_at).map_err(refuse)?;
        // Only what is the source's own uses up the source's rate, or anybody could.
        self.limiter.check(&source.name).map_err(|limited| {
            Problem::rate_limited(limited.retry_after, "this source sends faster than its rate limit")
        })?;
        match source.adapter.read(&verified) {
            Ok(Reading::Answer(answer)) => {
                Ok((Outcome::Answered, json(StatusCode::OK, Bytes::from_static(answer.as_bytes()))))
            }
            Ok(Reading::Event(event)) => {
                let receipt = self.keep(source, &verified, *event, received_at).await?;
                let outcome = if receipt.duplicate { Outcome::Duplicate } else { Outcome::Accepted };
                Ok((outcome, json(StatusCode::OK, receipt.to_json())))
            }
            Err(unreadable) => Err(self.reject(source, &verified, unreadable.0, received_at).await),
        }
    }

    /// The answer to a request that is not believed. The reason says what is wrong with the request,
    /// and holds no part of the secret.
    fn refuse(&self, source: &Source, caller: &Caller, refused: &Refused) -> Problem {
        let (name, sender) = (&source.name, caller.address.map(tracing::field::display));
        if self.warnings.check(name).is_ok() {
            tracing::warn!(source = name, sender, reason = %refused, "signature refused");
        } else {
            tracing::debug!(source = name, sender, reason = %refused, "signature refused");
        }
        Problem::new(StatusCode::UNAUTHORIZED, "signature_refused", refused.to_string())
    }

    /// Keeps what cannot be used, for the operator to see; the answer that says so.
    async fn reject(
        &self,
        source: &Source,
        verified: &Verified,
        reason: String,
        received_at: Timestamp,
    ) -> Problem {
        let id = EventId::new();
        let mut row = source.event_row(id, verified, received_at);
        row.state = EventState::Rejected(reason.clone());
        if let Err(full) = self.quotas.check(&source.account).await {
            return full.into();
        }
        if let Err(error) = self.store.reject(row).await {
            return error.into();
        }
        tracing::warn!(event = %id, source = source.name, "event rejected: it cannot be read or merged");
        let detail = format!("{reason} (kept as {id})");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable_event", detail)
    }

    /// Merges, renders and writes an event, and only then returns.
    async fn keep(
        &self,
        source: &Source,
        verified: &Verified,
        mut event: Event,
        received_at: Timestamp,
    ) -> Result<Receipt, Problem> {
        let noticed = self.heed(source, &mut event).await?;
        let dedupe = dedupe_key(source, verified, &event, received_at);
        let id = EventId::new();
        for warning in &event.warnings {
            tracing::warn!(event = %id, source = source.name, warning, "part of an event was left out");
        }
        let key = noticed.call().cloned().or_else(|| source.call_key(&event));
        let mut row = source.event_row(id, verified, received_at);
        row.types.clone_from(&event.types);
        row.call.clone_from(&key);

        let _turn = match &key {
            Some(key) => Some(self.call_locks[lock_index(key)].lock().await),
            None => None,
        };
        for _ in 0..MERGE_TRIES {
            let recall = self.store.recall(&dedupe, key.as_ref()).await?;
            if let Some(first) = recall.duplicate_of {
                tracing::debug!(event = %first, source = source.name, "event repeated");
                self.pass_on(source, &noticed, key.as_ref(), first, received_at).await?;
                return Ok(Receipt { event: first, duplicate: true });
            }
            self.quotas.check(&source.account).await?;
            // After the call was read: a request that comes now is a conflict.
            let waiting = match &key {
                Some(key) if event.types.contains(&EventType::SpeechCompleted) => {
                    self.waiting_for(key).await?
                }
                _ => Vec::new(),
            };
            let planned = plan::Plan {
                event: &event,
                row: &row,
                key: key.as_ref(),
                dedupe: &dedupe,
                is_told: true,
                owner: noticed.owner(),
                failure: None,
                waiting: &waiting,
            };
            let acceptance = match planned.make(recall.call, &self.registry) {
                Ok(acceptance) => acceptance,
                Err(fault) => {
                    tracing::error!(source = source.name, %fault, "event cannot be merged");
                    return Err(self.reject(source, verified, fault.to_string(), received_at).await);
                }
            };
            let deliveries = acceptance.deliveries.len();
            match self.store.accept(acceptance).await? {
                Accepted::Stored => {
                    tracing::debug!(event = %id, source = source.name, deliveries, "event accepted");
                    self.pass_on(source, &noticed, key.as_ref(), id, received_at).await?;
                    return Ok(Receipt { event: id, duplicate: false });
                }
                Accepted::Duplicate(first) => {
                    self.pass_on(source, &noticed, key.as_ref(), first, received_at).await?;
                    return Ok(Receipt { event: first, duplicate: true });
                }
                Accepted::Conflict => self.ledger.refresh().await?,
            }
        }
        Err(conflict().into())
    }
}

/// Other events of the call were faster, again and again.
fn conflict() -> StoreError {
    StoreError::Unavailable {
        reason: "the call is written to faster than this event can be merged",
        retry_after: CONFLICT_RETRY_AFTER,
        source: None,
    }
}

impl Receipt {
    fn to_json(self) -> String {
        format!(r#"{{"event_id":"{}","duplicate":{}}}"#, self.event, self.duplicate)
    }
}

impl Source {
    /// The call that an event says it belongs to.
    fn call_key(&self, event: &Event) -> Option<CallKey> {
        event.call_id.clone().map(|id| CallKey {
            account: Arc::clone(&self.account),
            space: Arc::clone(&self.call_space),
            id,
        })
    }

    /// The part of the stored event that the request says.
    fn event_row(&self, id: EventId, verified: &Verified, received_at: Timestamp) -> EventRow {
        let request = verified.request();
        let path = if request.query.is_empty() {
            request.sub_path.clone()
        } else {
            format!("{}?{}", request.sub_path, request.query)
        };
        EventRow {
            id,
            account: Arc::clone(&self.account),
            source: self.name.clone(),
            provider: self.adapter.name().to_owned(),
            state: EventState::Accepted,
            types: Vec::new(),
            call: None,
            received_at,
            method: request.method.clone(),
            path,
            content_type: header_text(&request.headers, CONTENT_TYPE.as_str()).to_owned(),
            body: request.body.clone(),
        }
    }
}

/// What makes an event the same event: the provider's id of it, else the signature's message id,
/// else the whole request. Each kind is hashed apart, so that none can pass for another.
fn dedupe_key(source: &Source, verified: &Verified, event: &Event, received_at: Timestamp) -> DedupeKey {
    let request = verified.request();
    let (kind, parts, repeat): (&str, &[&[u8]], _) = match (&event.provider_event_id, verified.message_id()) {
        (Some(id), _) => ("event", &[id.as_bytes()], ID_REPEAT),
        (None, Some(id)) => ("message", &[id.as_bytes()], ID_REPEAT),
        (None, None) => (
            "request",
            &[
                request.method.as_bytes(),
                request.sub_path.as_bytes(),
                request.query.as_bytes(),
                request.body.as_ref(),
            ],
            REQUEST_REPEAT,
        ),
    };
    let mut hash = Sha256::new();
    hash.update(kind);
    for part in parts {
        // Lengths keep `ab`,`c` and `a`,`bc` apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    DedupeKey {
        account: Arc::clone(&source.account),
        source: source.name.clone(),
        digest: hash.finalize().into(),
        expires_at: received_at + repeat,
    }
}

/// The time now, in whole milliseconds: what `{event_at}` shows is what is stored.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Which of the locks a call takes.
fn lock_index(key: &CallKey) -> usize {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % CALL_LOCKS as u64).expect("below a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_the_one_that_the_provider_called() {
        let public = CalledAs::Public("https://hooks.example.com/in/".to_owned());
        let (tls, plain) = (CalledAs::Host { scheme: "https" }, CalledAs::Host { scheme: "http" });
        let direct = Caller { address: None, scheme: None, host: None };
        for (called_as, uri, expected) in [
            (&public, "/v1/ingest/a/b?x=%20", "https://hooks.example.com/in/v1/ingest/a/b?x=%20"),
            (&plain, "/v1/ingest/a", "http://host:8080/v1/ingest/a"),
            (&tls, "/v1/ingest/a?x", "https://host:8080/v1/ingest/a?x"),
            (&tls, "https://other.example/v1/ingest/a", "https://other.example/v1/ingest/a"),
            // A client's word does not make a plain connection an encrypted one.
            (&plain, "https://other.example/v1/ingest/a", "http://other.example/v1/ingest/a"),
        ] {
            assert_eq!(called_as.url(&uri.parse().unwrap(), "host:8080", &direct), expected);
        }
        // A trusted proxy's does, and the operator's counts more.
        let proxied = Caller { scheme: Some("https"), host: Some("hooks.example".to_owned()), ..direct };
        for (called_as, expected) in [
            (&plain, "https://hooks.example/v1/ingest/a"),
            (&public, "https://hooks.example.com/in/v1/ingest/a"),
        ] {
            assert_eq!(called_as.url(&"/v1/ingest/a".parse().unwrap(), "host:8080", &proxied), expected);
        }
    }
}
