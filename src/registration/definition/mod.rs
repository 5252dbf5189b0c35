//! Reads a registration as a customer writes it: every problem at once, unknown members by name.

mod members;
mod request;
mod retry;
mod speech_request;

pub use self::speech_request::NewRequest;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value as Request};

use self::members::{Members, closest};
use super::{Callback, DeliverySettings, Filter, Issue, RequestTemplate, RetrySchedule, SigningSecrets};
use crate::destination::AddressPolicy;
use crate::event::{AccountName, CallbackId, EventType};
use crate::filter::Needle;
use crate::limit::Rate;
use crate::signature::SigningSecret;
use crate::store::{CallbackState, DefinitionVersion};
use crate::template::Limits;

/// What a registration is held against.
#[derive(Clone, Debug)]
pub struct DefinitionLimits {
    /// The limits of its template.
    pub template: Limits,
    /// Which addresses its URL may name.
    pub policy: AddressPolicy,
    /// The time-out of an exchange where it names none.
    pub timeout: Duration,
    /// The sources of the account, which it may name.
    pub sources: Vec<String>,
}

/// The longest time-out of an exchange that a registration may ask for.
const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// Attempts under way at once where a registration does not say.
const DEFAULT_MAX_IN_FLIGHT: u32 = 32;

/// The most attempts under way at once that a registration may ask for.
const MAX_MAX_IN_FLIGHT: u64 = 1_000;

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 500;

/// The longest text that a filter looks for, in characters.
const MAX_FILTER_TEXT: usize = 1_000;

/// The longest list of event types or sources: there are fewer of either.
const MAX_LIST: usize = 250;

/// A registration that was read without a problem.
#[derive(Debug)]
pub struct NewCallback {
    /// The registration.
    pub callback: Callback,
    /// What is legal in its template but probably not meant.
    pub warnings: Vec<Issue>,
}

impl NewCallback {
    /// Reads a registration.
    ///
    /// # Errors
    /// Every problem of it, in the order of the members' names in the documentation.
    pub fn read(
        request: Request,
        account: &AccountName,
        limits: &DefinitionLimits,
        now: Timestamp,
    ) -> Result<Self, Vec<Issue>> {
        let mut reader = members_of(request)?;
        let fields = Fields::read(&mut reader, None, limits, now);
        let secret = reader.secret();
        reader.unknown_members();
        match fields {
            Some(fields) if reader.issues.is_empty() => {
                let secret = secret.unwrap_or_else(SigningSecret::generate);
                let callback = Callback {
                    id: CallbackId::new(),
                    account: Arc::clone(account),
                    request: fields.request,
                    events: fields.events,
                    sources: fields.sources,
                    filter: fields.filter,
                    delivery: Arc::new(DeliverySettings {
                        secrets: SigningSecrets::new(secret),
                        timeout: fields.timeout,
                        retry: fields.retry,
                    }),
                    max_in_flight: fields.max_in_flight,
                    rate_limit: fields.rate_limit,
                    ordered: fields.ordered,
                    description: fields.description,
                    expires_at: fields.expires_at,
                    state: CallbackState::Active,
                    created_at: now,
                    token: None,
                    is_speech_request: false,
                    version: DefinitionVersion::new(),
                };
                Ok(Self { warnings: callback.request.warnings(), callback })
            }
            _ => Err(reader.issues),
        }
    }

    /// Reads a change (a JSON merge patch, RFC 7396, of its first level): members that are not there
    /// stay as they are and are not looked at again, `null` is as if the member had never been
    /// given.
    ///
    /// # Errors
    /// Every problem of the change.
    pub fn change(
        callback: &Callback,
        patch: Request,
        limits: &DefinitionLimits,
        now: Timestamp,
    ) -> Result<Self, Vec<Issue>> {
        let mut reader = members_of(patch)?;
        let fields = Fields::read(&mut reader, Some(callback), limits, now);
        if reader.take("secret").is_some() {
            reader.issue::<()>("/secret", "not_changeable", "POST …/rotate-secret replaces the secret");
        }
        reader.unknown_members();
        match fields {
            Some(fields) if reader.issues.is_empty() => {
                let is_sent_alike = callback.request.is_as(&fields.request);
                let version = if is_sent_alike { callback.version } else { DefinitionVersion::new() };
                let callback = Callback {
                    id: callback.id,
                    account: Arc::clone(&callback.account),
                    request: fields.request,
                    events: fields.events,
                    sources: fields.sources,
                    filter: fields.filter,
                    delivery: Arc::new(DeliverySettings {
                        secrets: callback.delivery.secrets.clone(),
                        timeout: fields.timeout,
                        retry: fields.retry,
                    }),
                    max_in_flight: fields.max_in_flight,
                    rate_limit: fields.rate_limit,
                    ordered: fields.ordered,
                    description: fields.description,
                    expires_at: fields.expires_at,
                    state: callback.state.clone(),
                    created_at: callback.created_at,
                    token: callback.token.clone(),
                    is_speech_request: callback.is_speech_request,
                    version,
                };
                Ok(Self { warnings: callback.request.warnings(), callback })
            }
            _ => Err(reader.issues),
        }
    }
}

/// Reads the secret that is to replace another: a new one where the request gives none.
///
/// # Errors
/// Every problem of the request.
pub fn read_new_secret(request: Request) -> Result<SigningSecret, Vec<Issue>> {
    let mut reader = members_of(request)?;
    let secret = reader.secret();
    reader.unknown_members();
    if reader.issues.is_empty() {
        Ok(secret.unwrap_or_else(SigningSecret::generate))
    } else {
        Err(reader.issues)
    }
}

/// Reads the filters of a search, which are those of a registration.
///
/// # Errors
/// Every problem of them.
pub fn read_filter(parameters: Map<String, Request>) -> Result<Filter, Vec<Issue>> {
    let mut reader = Members::new("", parameters);
    let filter = reader.filter(None);
    reader.unknown_members();
    if reader.issues.is_empty() { Ok(filter) } else { Err(reader.issues) }
}

fn members_of(request: Request) -> Result<Members, Vec<Issue>> {
    match request {
        Request::Object(members) => Ok(Members::new("", members)),
        _ => Err(vec![Issue::new("", "not_an_object", "the body must be a JSON object")]),
    }
}

/// What a customer says of a registration, apart from its secret.
struct Fields {
    request: RequestTemplate,
    events: Vec<EventType>,
    sources: Vec<String>,
    filter: Filter,
    timeout: Duration,
    retry: RetrySchedule,
    max_in_flight: u32,
    rate_limit: Option<Rate>,
    ordered: bool,
    description: Option<String>,
    expires_at: Option<Timestamp>,
}

impl Fields {
    /// Reads them; what the request does not have stays as it is in `base`. `None` if there is a
    /// problem with the request that deliveries send; whatever is wrong is among the reader's issues.
    fn read(
        reader: &mut Members,
        base: Option<&Callback>,
        limits: &DefinitionLimits,
        now: Timestamp,
    ) -> Option<Self> {
        let request = reader.request(base, limits);
        let events = match reader.kept("events", base) {
            Some(base) => base.events.clone(),
            None => reader.events(),
        };
        let sources = match reader.kept("sources", base) {
            Some(base) => base.sources.clone(),
            None => reader.sources(&limits.sources),
        };
        let filter = reader.filter(base);
        let retry = match reader.kept("retry", base) {
            Some(base) => base.delivery.retry.clone(),
            None => reader.retry(),
        };
        let timeout = match reader.kept("timeout_ms", base) {
            Some(base) => base.delivery.timeout,
            None => reader.timeout(limits.timeout),
        };
        let max_in_flight = match reader.kept("max_in_flight", base) {
            Some(base) => base.max_in_flight,
            None => reader
                .integer("max_in_flight", 1, MAX_MAX_IN_FLIGHT)
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(DEFAULT_MAX_IN_FLIGHT),
        };
        let rate_limit = match reader.kept("rate_limit", base) {
            Some(base) => base.rate_limit,
            None => reader.text("rate_limit").and_then(|text| {
                text.parse::<Rate>()
                    .map_err(|fault| reader.issue::<()>("/rate_limit", "bad_rate", fault.to_string()))
                    .ok()
            }),
        };
        let description = match reader.kept("description", base) {
            Some(base) => base.description.clone(),
            None => reader.bounded_text("description", MAX_DESCRIPTION),
        };
        let expires_at = if let Some(base) = reader.kept("expires_at", base) {
            base.expires_at
        } else {
            let expires_at = reader.time("expires_at");
            if expires_at.is_some_and(|end| end <= now) {
                reader.issue::<()>("/expires_at", "in_the_past", "this time has passed already");
            }
            expires_at
        };
        let ordered = match reader.kept("ordered", base) {
            Some(base) => base.ordered,
            None => reader.ordered(),
        };
        Some(Self {
            request: request?,
            events,
            sources,
            filter,
            timeout,
            retry,
            max_in_flight,
            rate_limit,
            ordered,
            description,
            expires_at,
        })
    }
}

impl Members {
    fn events(&mut self) -> Vec<EventType> {
        let Some(value) = self.take("events") else { return vec![EventType::SpeechCompleted] };
        let names = match value {
            Request::Array(names) if (1..=MAX_LIST).contains(&names.len()) => names,
            Request::Array(names) if !names.is_empty() => {
                self.list_too_long("events");
                return Vec::new();
            }
            _ => {
                self.issue::<()>(
                    "/events",
                    "not_a_list",
                    "`events` must be a list of event types, not empty",
                );
                return Vec::new();
            }
        };
        let mut events = Vec::with_capacity(names.len());
        for (position, name) in names.iter().enumerate() {
            match name.as_str().and_then(EventType::from_name) {
                Some(event_type) if events.contains(&event_type) => {}
                Some(event_type) => events.push(event_type),
                None => {
                    let mut issue = Issue::new(
                        format!("/events/{position}"),
                        "unknown_event_type",
                        format!(
                            "not an event type; there are {}",
                            EventType::ALL.map(EventType::as_str).join(", ")
                        ),
                    );
                    issue.suggestion =
                        closest(name.as_str().unwrap_or_default(), EventType::ALL.map(EventType::as_str));
                    self.issues.push(issue);
                }
            }
        }
        events
    }

    fn sources(&mut self, there_are: &[String]) -> Vec<String> {
        let Some(value) = self.take("sources") else { return Vec::new() };
        let Request::Array(names) = value else {
            self.issue::<()>("/sources", "not_a_list", "`sources` must be a list of the account's sources");
            return Vec::new();
        };
        if names.len() > MAX_LIST {
            self.list_too_long("sources");
            return Vec::new();
        }
        let mut sources = Vec::with_capacity(names.len());
        for (position, name) in names.iter().enumerate() {
            match name.as_str() {
                Some(name) if there_are.iter().any(|source| source == name) => {
                    if !sources.iter().any(|source| source == name) {
                        sources.push(name.to_owned());
                    }
                }
                _ => {
                    let mut issue = Issue::new(
                        format!("/sources/{position}"),
                        "unknown_source",
                        format!("not a source of this account; there are: {}", there_are.join(", ")),
                    );
                    issue.suggestion =
                        closest(name.as_str().unwrap_or_default(), there_are.iter().map(String::as_str));
                    self.issues.push(issue);
                }
            }
        }
        sources
    }

    fn list_too_long(&mut self, name: &str) {
        let detail = format!("`{name}` may have {MAX_LIST} entries at most");
        self.issue::<()>(&format!("/{name}"), "too_long", detail);
    }

    fn secret(&mut self) -> Option<SigningSecret> {
        let text = self.text("secret")?;
        SigningSecret::parse(&text)
            .map_err(|fault| self.issue::<()>("/secret", "bad_secret", fault.to_string()))
            .ok()
    }

    fn filter(&mut self, base: Option<&Callback>) -> Filter {
        let base = |members: &mut Self, name| members.kept(name, base).map(|base| &base.filter);
        let seconds = |members: &mut Self, name, kept: fn(&Filter) -> Option<u64>| match base(members, name) {
            Some(filter) => kept(filter),
            None => members.integer(name, 0, u64::from(u32::MAX)),
        };
        let needle =
            |members: &mut Self, name, kept: fn(&Filter) -> &Option<Needle>| match base(members, name) {
                Some(filter) => kept(filter).clone(),
                None => members.bounded_text(name, MAX_FILTER_TEXT).map(Needle::from),
            };
        let time =
            |members: &mut Self, name, kept: fn(&Filter) -> Option<Timestamp>| match base(members, name) {
                Some(filter) => kept(filter),
                None => members.time(name),
            };
        let rank = |members: &mut Self, name, kept: fn(&Filter) -> Option<u8>| match base(members, name) {
            Some(filter) => kept(filter),
            None => members.integer(name, 0, 100).and_then(|number| u8::try_from(number).ok()),
        };
        let filter = Filter {
            min_duration: seconds(self, "min_duration", |filter| filter.min_duration),
            max_duration: seconds(self, "max_duration", |filter| filter.max_duration),
            call_status: needle(self, "call_status", |filter| &filter.call_status),
            from: time(self, "from", |filter| filter.from),
            till: time(self, "till", |filter| filter.till),
            language: needle(self, "language", |filter| &filter.language),
            phrase: needle(self, "phrase", |filter| &filter.phrase),
            summary: needle(self, "summary", |filter| &filter.summary),
            rank_description: needle(self, "rank_description", |filter| &filter.rank_description),
            rank_min: rank(self, "rank_min", |filter| filter.rank_min),
            rank_max: rank(self, "rank_max", |filter| filter.rank_max),
        };
        let empty_ranges = [
            (
                "min_duration",
                "max_duration",
                filter.min_duration > filter.max_duration && filter.max_duration.is_some(),
            ),
            ("from", "till", filter.from > filter.till && filter.till.is_some()),
            ("rank_min", "rank_max", filter.rank_min > filter.rank_max && filter.rank_max.is_some()),
        ];
        for (low, high, empty) in empty_ranges {
            if empty {
                self.issue::<()>(
                    &format!("/{low}"),
                    "empty_range",
                    format!("`{low}` is greater than `{high}`, so that nothing can match"),
                );
            }
        }
        filter
    }

    fn timeout(&mut self, default: Duration) -> Duration {
        let most = u64::try_from(MAX_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        self.integer("timeout_ms", 100, most).map_or(default, Duration::from_millis)
    }

    fn retry(&mut self) -> RetrySchedule {
        let Some(value) = self.take("retry") else { return RetrySchedule::standard() };
        retry::read(value).unwrap_or_else(|issues| {
            self.issues.extend(issues);
            RetrySchedule::standard()
        })
    }

    fn ordered(&mut self) -> bool {
        match self.take("ordered") {
            None => false,
            Some(Request::Bool(ordered)) => ordered,
            Some(_) => {
                self.issue::<()>("/ordered", "not_a_boolean", "`ordered` must be true or false");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
