//! The customers' side: register a callback, preview a template, see what went out.
//!
//! Every route works for one account, the one whose token the request shows; what belongs to
//! another answers exactly as what does not exist.

mod call;
mod callbacks;
mod calls;
mod deliveries;
mod events;
mod known;
mod once;
mod openapi;
mod part;
mod replay;
mod routes;
mod speech_requests;
mod templates;
mod trial;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use serde::Serialize;
use serde_json::Value;

pub use self::openapi::{DOCUMENT, answer as answer_document};
pub use self::routes::{KnownRoute, routes};

use self::call::Call;
use self::routes::{Operation, Place};
use self::trial::Trials;
use crate::config::Tokens;
use crate::delivery::Client;
use crate::event::AccountName;
use crate::http::{Answer, Bodies, Problem, Query, bearer_token, header_text};
use crate::limit::Limiter;
use crate::registration::{DefinitionLimits, Ledger, Registry};
use crate::speech_request::SpeechDesk;
use crate::store::SharedStore;

/// What the API is told of an account.
pub struct AccountRules {
    /// The most registrations it may have.
    pub callbacks: usize,
    /// What its registrations are held against.
    pub definition: DefinitionLimits,
    /// The spaces in which its sources count their calls, each once.
    pub call_spaces: Vec<Arc<str>>,
}

/// What the API works with.
pub struct Rooms {
    /// Where everything is kept.
    pub store: SharedStore,
    /// The registrations, to read.
    pub registry: Arc<Registry>,
    /// The registrations, to change.
    pub ledger: Ledger,
    /// What makes speech requests.
    pub speech: SpeechDesk,
    /// What sends tests.
    pub client: Client,
    /// What reads bodies.
    pub bodies: Bodies,
}

/// Answers customers.
pub struct Api {
    tokens: Tokens,
    accounts: HashMap<AccountName, AccountRules>,
    limiter: Limiter,
    store: SharedStore,
    registry: Arc<Registry>,
    ledger: Ledger,
    speech: SpeechDesk,
    trials: Trials,
    bodies: Bodies,
}

impl Api {
    /// The API for these accounts, with the rate of requests of each.
    #[must_use]
    pub fn new(
        tokens: Tokens,
        accounts: HashMap<AccountName, AccountRules>,
        limiter: Limiter,
        rooms: Rooms,
    ) -> Self {
        let Rooms { store, registry, ledger, speech, client, bodies } = rooms;
        let trials = Trials::new(client, accounts.keys());
        Self { tokens, accounts, limiter, store, registry, ledger, speech, trials, bodies }
    }

    /// Answers a request to a path under `/v1/`.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.route(request).await.unwrap_or_else(Answer::from)
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let (parts, body) = request.into_parts();
        // What is not a path needs no token to say so.
        let place =
            Place::find(parts.uri.path()).ok_or_else(|| Problem::not_found("there is no such path"))?;
        let call = self.admit(&parts, &place, body).await?;
        let id = place.id.as_str();
        if let Some(answer) = self.earlier(&call).await? {
            return Ok(answer);
        }
        match call.operation {
            Operation::Register => self.register(call).await,
            Operation::ListCallbacks => self.list_callbacks(&call),
            Operation::ShowCallback => self.show_callback(&call, id),
            Operation::ChangeCallback => self.change_callback(&call, id).await,
            Operation::RemoveCallback => self.remove_callback(&call, id).await,
            Operation::TestCallback => self.test_callback(&call, id).await,
            Operation::Pause => self.pause(&call, id).await,
            Operation::Resume => self.resume(&call, id).await,
            Operation::RotateSecret => self.rotate_secret(&call, id).await,
            Operation::Replay => self.replay(&call, id).await,
            Operation::Check => templates::check(&call),
            Operation::Render => self.render(&call).await,
            Operation::Placeholders => templates::placeholders(&call),
            Operation::ListCalls => self.list_calls(&call).await,
            Operation::ShowCall => self.show_call(&call, id).await,
            Operation::EraseCall => self.erase_call(&call, id).await,
            Operation::ShowSpeech => self.show_speech(&call, id).await,
            Operation::MakeSpeechRequest => self.make_speech_request(call).await,
            Operation::ShowSpeechRequest => self.show_speech_request(&call, id).await,
            Operation::ListEvents => self.list_events(&call).await,
            Operation::ShowEvent => self.show_event(&call, id).await,
            Operation::ListDeliveries => self.list_deliveries(&call).await,
            Operation::ShowDelivery => self.show_delivery(&call, id).await,
            Operation::RetryDelivery => self.retry_delivery(&call, id).await,
            Operation::RetryDeliveries => self.retry_deliveries(&call).await,
        }
    }

    /// Who asks, for what, and whether they may now.
    async fn admit(&self, parts: &Parts, place: &Place, body: Incoming) -> Result<Call<'_>, Problem> {
        let query = Query::parse(parts.uri.query());
        let is_form = header_text(&parts.headers, CONTENT_TYPE.as_str())
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("application/x-www-form-urlencoded");
        let mut token = bearer_token(&parts.headers).or_else(|| query.get("token").map(str::to_owned));
        let operation = place.operation(&parts.method);
        let mut unread = Some(body);
        let mut held = None;
        // The one operation whose token may be among the parameters of the body.
        if token.is_none() && operation == Some(Operation::MakeSpeechRequest) {
            let read = self.bodies.read(unread.take().expect("nobody has read it")).await?;
            let (parameters, _) = speech_requests::body_parameters(read.bytes(), is_form)?;
            token = parameters.get("token").and_then(Value::as_str).map(str::to_owned);
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
        let operation = operation.ok_or_else(|| Problem::method_not_allowed(place.allow()))?;
        let body = match (held, unread) {
            (Some(held), _) => held,
            (None, Some(body)) => self.bodies.read(body).await?,
            (None, None) => unreachable!("what was taken is held"),
        };
        let once =
            if operation.creates() { once::read(parts, identity, &query, body.bytes())? } else { None };
        Ok(Call { account, token, rules, operation, query, body, is_form, once })
    }
}

/// A list: its rows and the cursor of the next part.
fn list<T: Serialize>(rows: &[T], next: Option<&str>) -> Answer {
    #[derive(Serialize)]
    struct List<'a, T> {
        data: &'a [T],
        next: Option<&'a str>,
    }
    let body = serde_json::to_vec(&List { data: rows, next }).expect("texts and numbers are always JSON");
    crate::http::json(StatusCode::OK, body)
}
