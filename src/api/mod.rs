//! The customers' side: register a callback, preview a template, see what went out.
//!
//! Every route works for one account, the one whose token the request shows; what belongs to
//! another answers exactly as what does not exist.

mod callbacks;
mod deliveries;
mod events;
mod speech_requests;
mod templates;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde_json::Value as Body;

use crate::config::Tokens;
use crate::event::AccountName;
use crate::http::{Answer, Bodies, Held, Problem, Query, bearer_token, header_text};
use crate::limit::Limiter;
use crate::registration::{DefinitionLimits, Issue, Ledger, Registry};
use crate::speech_request::SpeechDesk;
use crate::store::SharedStore;

/// The most rows of a list.
const MAX_LIMIT: usize = 250;

/// The rows of a list where the request does not say.
const DEFAULT_LIMIT: usize = 50;

/// What the API is told of an account.
pub struct AccountRules {
    /// The most registrations it may have.
    pub callbacks: usize,
    /// What its registrations are held against.
    pub definition: DefinitionLimits,
}

/// Answers customers.
pub struct Api {
    tokens: Tokens,
    accounts: HashMap<AccountName, AccountRules>,
    limiter: Limiter,
    store: SharedStore,
    registry: Arc<Registry>,
    ledger: Ledger,
    speech: Option<SpeechDesk>,
    bodies: Bodies,
}

/// A request of a known account, its body read.
struct Call<'a> {
    account: AccountName,
    /// The name of the token that was shown.
    token: Arc<str>,
    rules: &'a AccountRules,
    query: Query,
    body: Held,
    /// Whether the body is called a form.
    is_form: bool,
}

impl Api {
    /// The API for these accounts.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "it joins as many rooms; only the assembly calls it")]
    pub fn new(
        tokens: Tokens,
        accounts: HashMap<AccountName, AccountRules>,
        limiter: Limiter,
        store: SharedStore,
        registry: Arc<Registry>,
        ledger: Ledger,
        speech: Option<SpeechDesk>,
        bodies: Bodies,
    ) -> Self {
        Self { tokens, accounts, limiter, store, registry, ledger, speech, bodies }
    }

    /// Answers a request to a path under `/v1/`.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.route(request).await.unwrap_or_else(Answer::from)
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        // The server leaves the body of an answer to HEAD out by itself.
        let get = parts.method == Method::GET || parts.method == Method::HEAD;
        let post = parts.method == Method::POST;
        let delete = parts.method == Method::DELETE;
        if !Self::knows(&segments) {
            return Err(Problem::not_found("there is no such path"));
        }
        // The one path whose token may be among the parameters of the body.
        let body_has_token = segments == ["v1", "speech-requests"];
        let call = self.admit(&parts, body, body_has_token).await?;
        match (segments.as_slice(), &parts.method) {
            (["v1", "callbacks"], _) if post => self.register(call).await,
            (["v1", "callbacks"], _) if get => self.list_callbacks(&call),
            (["v1", "callbacks"], _) => Err(Problem::method_not_allowed("GET, HEAD, POST")),
            (["v1", "callbacks", id], _) if get => self.show_callback(&call, id),
            (["v1", "callbacks", id], _) if delete => self.remove_callback(&call, id).await,
            (["v1", "callbacks", _], _) => Err(Problem::method_not_allowed("DELETE, GET, HEAD")),
            (["v1", "callbacks", id, "pause"], _) if post => self.pause(&call, id).await,
            (["v1", "callbacks", id, "resume"], _) if post => self.resume(&call, id).await,
            (["v1", "templates", "check"], _) if post => templates::check(&call),
            (["v1", "templates", "render"], _) if post => self.render(&call).await,
            (["v1", "placeholders"], _) if get => Ok(templates::placeholders()),
            (["v1", "deliveries"], _) if get => self.list_deliveries(&call).await,
            (["v1", "deliveries", id], _) if get => self.show_delivery(&call, id).await,
            (["v1", "deliveries", id, "retry"], _) if post => self.retry_delivery(&call, id).await,
            (["v1", "speech-requests"], _) if post => self.make_speech_request(call).await,
            (["v1", "speech-requests", id], _) if get => self.show_speech_request(&call, id).await,
            (["v1", "calls", id, "speech"], _) if get => self.show_speech(&call, id).await,
            (["v1", "events", id], _) if get => self.show_event(&call, id).await,
            (
                ["v1", "callbacks" | "deliveries", _, _] | ["v1", "templates", _] | ["v1", "speech-requests"],
                _,
            ) => Err(Problem::method_not_allowed("POST")),
            _ => Err(Problem::method_not_allowed("GET, HEAD")),
        }
    }

    /// Whether there is such a path, for any method; what is not a path needs no token to say so.
    fn knows(segments: &[&str]) -> bool {
        let whole = segments.iter().all(|segment| !segment.is_empty());
        whole
            && matches!(
                segments,
                ["v1", "callbacks" | "placeholders" | "deliveries" | "speech-requests"]
                    | ["v1", "callbacks" | "deliveries" | "events" | "speech-requests", _]
                    | ["v1", "calls", _, "speech"]
                    | ["v1", "callbacks", _, "pause" | "resume"]
                    | ["v1", "deliveries", _, "retry"]
                    | ["v1", "templates", "check" | "render"]
            )
    }

    /// Who asks, and whether they may now.
    async fn admit(&self, parts: &Parts, body: Incoming, body_has_token: bool) -> Result<Call<'_>, Problem> {
        let query = Query::parse(parts.uri.query());
        let is_form = header_text(&parts.headers, CONTENT_TYPE.as_str())
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("application/x-www-form-urlencoded");
        let mut token = bearer_token(&parts.headers).or_else(|| query.get("token").map(str::to_owned));
        let mut body = Some(body);
        let mut held = None;
        if let Some(unread) = body.take_if(|_| token.is_none() && body_has_token) {
            let read = self.bodies.read(unread).await?;
            let (parameters, _) = speech_requests::body_parameters(read.bytes(), is_form)?;
            token = parameters.get("token").and_then(Body::as_str).map(str::to_owned);
            held = Some(read);
        }
        let identity = token.as_deref().and_then(|token| self.tokens.identify(token)).ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "a token is needed: `Authorization: Bearer <token>`, Basic with the token as password, or `?token=`",
            )
        })?;
        let (account, token) = (Arc::clone(&identity.account), Arc::clone(&identity.token));
        let rules = self.accounts.get(&account).expect("every token's account is configured");
        self.limiter.check(&account).map_err(|limited| {
            Problem::rate_limited(limited.retry_after, "this account asks faster than its limit")
        })?;
        let body = match (held, body) {
            (Some(held), _) => held,
            (None, Some(body)) => self.bodies.read(body).await?,
            (None, None) => unreachable!("what was taken is held"),
        };
        Ok(Call { account, token, rules, query, body, is_form })
    }
}

impl Call<'_> {
    /// The body as JSON.
    fn json(&self) -> Result<Body, Problem> {
        if self.body.bytes().is_empty() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "not_json", "a JSON body is needed"));
        }
        serde_json::from_slice(self.body.bytes()).map_err(|error| {
            // serde_json's sentences name the place and the token that was expected, never data.
            Problem::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
        })
    }

    /// How many rows a list may have.
    fn limit(&self, issues: &mut Vec<Issue>) -> usize {
        match self.query.get("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => match text.parse() {
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
                _ => {
                    let detail = format!("`limit` must be a whole number from 1 to {MAX_LIMIT}");
                    issues.push(Issue::new("/limit", "out_of_range", detail));
                    DEFAULT_LIMIT
                }
            },
        }
    }

    /// A parameter of the query, read; a bad one is an issue.
    fn parameter<T>(
        &self,
        name: &'static str,
        issues: &mut Vec<Issue>,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.query.get(name)?;
        let value = read(text);
        if value.is_none() {
            issues.push(Issue::new(
                format!("/{name}"),
                "bad_parameter",
                format!("`{name}` must be {expected}"),
            ));
        }
        value
    }

    /// Parameters that this route does not know.
    fn refuse_unknown(&self, known: &[&str], issues: &mut Vec<Issue>) {
        for name in self.query.unknown(known).filter(|name| *name != "token") {
            issues.push(Issue::new(
                Issue::pointer("", name),
                "unknown_member",
                format!("there is no parameter `{name}`"),
            ));
        }
    }
}

/// A list: its rows and the cursor of the next part.
fn list(rows: &[Body], next: Option<&str>) -> Answer {
    crate::http::json(StatusCode::OK, serde_json::json!({"data": rows, "next": next}).to_string())
}
