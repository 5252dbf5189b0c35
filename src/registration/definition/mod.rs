//! Reads a registration as a customer writes it: every problem at once, unknown members by name.

mod members;
mod request;
mod retry;
mod speech_request;

pub use self::speech_request::NewRequest;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Request;

use self::members::{Members, closest};
use super::filter::Needle;
use super::{Callback, DeliverySettings, Filter, Issue, Method, RequestTemplate, RetrySchedule};
use crate::destination::AddressPolicy;
use crate::event::{AccountName, CallbackId, EventType};
use crate::limit::Rate;
use crate::signature::SigningSecret;
use crate::store::CallbackState;
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
        let Request::Object(members) = request else {
            return Err(vec![Issue::new("", "not_an_object", "a registration is a JSON object")]);
        };
        let mut reader = Members::new("", members);

        let url = reader.url(limits);
        let method = reader.required("callback_method", Members::text).and_then(|text| {
            match text.to_ascii_uppercase().as_str() {
                "POST" => Some(Method::Post),
                "PUT" => Some(Method::Put),
                _ => reader.issue("/callback_method", "bad_method", "expected `POST` or `PUT`"),
            }
        });
        let content_type = reader.content_type();
        let body = reader.body(&content_type, &limits.template);
        let headers = reader.headers(&limits.template);
        let events = reader.events();
        let sources = reader.sources(&limits.sources);
        let filter = reader.filter();
        let retry = reader.retry();
        let timeout = reader.timeout(limits.timeout);
        let max_in_flight = reader.integer("max_in_flight", 1, MAX_MAX_IN_FLIGHT);
        let rate_limit = reader.text("rate_limit").and_then(|text| {
            text.parse::<Rate>()
                .map_err(|fault| reader.issue::<()>("/rate_limit", "bad_rate", fault.to_string()))
                .ok()
        });
        let secret = reader.text("secret").and_then(|text| {
            SigningSecret::parse(&text)
                .map_err(|fault| reader.issue::<()>("/secret", "bad_secret", fault.to_string()))
                .ok()
        });
        let description = reader.bounded_text("description", MAX_DESCRIPTION);
        let expires_at = reader.time("expires_at");
        if expires_at.is_some_and(|end| end <= now) {
            reader.issue::<()>("/expires_at", "in_the_past", "this time has passed already");
        }
        let ordered = reader.ordered();
        reader.unknown_members();

        match (url, method, body) {
            (Some(url), Some(method), Some(body)) if reader.issues.is_empty() => {
                let request = RequestTemplate { method, url, headers: headers.into(), content_type, body };
                let warnings = request.warnings();
                let callback = Callback {
                    id: CallbackId::new(),
                    account: Arc::clone(account),
                    request,
                    events,
                    sources,
                    filter,
                    delivery: Arc::new(DeliverySettings {
                        secrets: vec![secret.unwrap_or_else(SigningSecret::generate)],
                        timeout,
                        retry,
                    }),
                    max_in_flight: max_in_flight
                        .and_then(|number| u32::try_from(number).ok())
                        .unwrap_or(DEFAULT_MAX_IN_FLIGHT),
                    rate_limit,
                    ordered,
                    description,
                    expires_at,
                    state: CallbackState::Active,
                    created_at: now,
                    token: None,
                    is_speech_request: false,
                };
                Ok(Self { callback, warnings })
            }
            _ => Err(reader.issues),
        }
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

    fn filter(&mut self) -> Filter {
        let seconds = u64::from(u32::MAX);
        let needle = |members: &mut Self, name| members.bounded_text(name, MAX_FILTER_TEXT).map(Needle::from);
        let rank = |number: Option<u64>| number.and_then(|number| u8::try_from(number).ok());
        let filter = Filter {
            min_duration: self.integer("min_duration", 0, seconds),
            max_duration: self.integer("max_duration", 0, seconds),
            call_status: needle(self, "call_status"),
            from: self.time("from"),
            till: self.time("till"),
            language: needle(self, "language"),
            phrase: needle(self, "phrase"),
            summary: needle(self, "summary"),
            rank_description: needle(self, "rank_description"),
            rank_min: rank(self.integer("rank_min", 0, 100)),
            rank_max: rank(self.integer("rank_max", 0, 100)),
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registration::callback::tests::limits;

    /// A registration with these members beside the mandatory ones.
    fn with(members: &Request) -> Request {
        let mut request = json!({
            "callback_url": "https://example.com/hook", "callback_method": "POST", "callback_data": "{}",
        });
        for (name, value) in members.as_object().unwrap() {
            request[name] = value.clone();
        }
        request
    }

    fn read(request: Request) -> Result<Callback, Vec<Issue>> {
        let now = "2026-03-30T12:00:00Z".parse().unwrap();
        NewCallback::read(request, &"acme".into(), &limits(), now).map(|new| new.callback)
    }

    fn problems(request: Request) -> Vec<(String, &'static str)> {
        read(request).unwrap_err().into_iter().map(|issue| (issue.pointer, issue.code)).collect()
    }

    #[test]
    fn what_is_not_said_has_its_documented_value() {
        let callback = read(with(&json!({"secret": null, "events": null, "ordered": false}))).unwrap();
        assert_eq!(callback.events, [EventType::SpeechCompleted]);
        assert_eq!((callback.max_in_flight, callback.rate_limit), (32, None));
        assert_eq!(callback.delivery.timeout, Duration::from_secs(15));
        assert_eq!(callback.delivery.retry, RetrySchedule::standard());
        assert_eq!(callback.filter, Filter::default());
        let other = read(with(&json!({}))).unwrap();
        assert_ne!(callback.delivery.secrets[0].expose(), other.delivery.secrets[0].expose());
    }

    #[test]
    fn members_are_read_from_the_types_of_json_and_of_forms() {
        let callback = read(with(&json!({
            "callback_method": "put", "events": ["call.ended", "call.ended"], "sources": ["speech", "speech"],
            "min_duration": "5", "rank_max": 100, "from": 1_774_880_520, "till": "2026-03-30T16:22:00+02:00",
            "expires_at": "2026-03-30T12:00:01Z", "content_type": "Application/JSON",
        })))
        .unwrap();
        assert_eq!(callback.request.method, Method::Put);
        assert_eq!((callback.events.len(), callback.sources.len()), (1, 1));
        assert_eq!((callback.filter.min_duration, callback.filter.rank_max), (Some(5), Some(100)));
        assert_eq!(callback.filter.from, callback.filter.till);
    }

    #[test]
    fn each_member_is_refused_with_its_place_and_code() {
        for (members, pointer, code) in [
            (json!({"callback_url": 7}), "/callback_url", "not_a_text"),
            (json!({"callback_url": null}), "/callback_url", "missing"),
            (json!({"callback_data": {"id": 1}}), "/callback_data", "not_a_text"),
            (json!({"callback_method": "PATCH"}), "/callback_method", "bad_method"),
            (json!({"events": []}), "/events", "not_a_list"),
            (json!({"events": "call.ended"}), "/events", "not_a_list"),
            (json!({"events": vec!["call.ended"; 251]}), "/events", "too_long"),
            (json!({"events": [1]}), "/events/0", "unknown_event_type"),
            (json!({"sources": {}}), "/sources", "not_a_list"),
            (json!({"sources": vec!["speech"; 251]}), "/sources", "too_long"),
            (json!({"min_duration": -1}), "/min_duration", "out_of_range"),
            (json!({"max_duration": 1.5}), "/max_duration", "out_of_range"),
            (json!({"rank_max": 101}), "/rank_max", "out_of_range"),
            (json!({"from": "2026-01-02", "till": "2026-01-01"}), "/from", "empty_range"),
            (json!({"phrase": "x".repeat(1001)}), "/phrase", "too_long"),
            (json!({"timeout_ms": 60_001}), "/timeout_ms", "out_of_range"),
            (json!({"timeout_ms": 99}), "/timeout_ms", "out_of_range"),
            (json!({"max_in_flight": 0}), "/max_in_flight", "out_of_range"),
            (json!({"rate_limit": "0/s"}), "/rate_limit", "bad_rate"),
            (json!({"secret": "whsec_"}), "/secret", "bad_secret"),
            (json!({"description": "\u{fc}".repeat(501)}), "/description", "too_long"),
            (json!({"expires_at": "2026-03-30T12:00:00Z"}), "/expires_at", "in_the_past"),
            (json!({"ordered": "yes"}), "/ordered", "not_a_boolean"),
            (json!({"callback_headers": ["a"]}), "/callback_headers", "not_an_object"),
            (json!({"callback_headers": {"a": 1}}), "/callback_headers/a", "not_a_text"),
            (
                json!({"callback_headers": {"Webhook-Id": "x"}}),
                "/callback_headers/Webhook-Id",
                "header_refused",
            ),
            (
                json!({"callback_headers": {"content-TYPE": "x"}}),
                "/callback_headers/content-TYPE",
                "header_refused",
            ),
            (json!({"callback_headers": {"a b": "x"}}), "/callback_headers/a b", "header_refused"),
            (json!({"callback_headers": {"a/b": "x"}}), "/callback_headers/a~1b", "header_refused"),
            (
                json!({"callback_headers": {"X-A": "1", "x-a": "2"}}),
                "/callback_headers/x-a",
                "header_refused",
            ),
            (
                json!({"callback_headers": {"x-a": "{call_idd}"}}),
                "/callback_headers/x-a",
                "unknown_placeholder",
            ),
            (json!({"callback_headers": {"x-a": "a\nb: c"}}), "/callback_headers/x-a", "invalid_header"),
            (json!({"content_type": "text/html"}), "/content_type", "bad_content_type"),
            (json!({"content_type": "text/plain\r\nx: y"}), "/content_type", "bad_content_type"),
            (
                json!({"callback_url": "https://{call_id}.example.com/"}),
                "/callback_url",
                "placeholder_not_allowed_here",
            ),
            (json!({"callback_url": "http://127.0.0.1/{call_id}"}), "/callback_url", "address_refused"),
            (json!({"a~/b": 1}), "/a~0~1b", "unknown_member"),
        ] {
            assert_eq!(problems(with(&members)), [(pointer.to_owned(), code)], "{members}");
        }
        assert_eq!(problems(json!([])), [(String::new(), "not_an_object")]);
    }

    #[test]
    fn names_that_are_close_are_suggested_and_a_heap_of_unknown_ones_is_told_in_short() {
        let issues = read(with(&json!({"descripton": "x", "min_durations": 1, "zzz": 1}))).unwrap_err();
        let suggestions: Vec<_> =
            issues.iter().map(|issue| (issue.pointer.as_str(), issue.suggestion.as_deref())).collect();
        for expected in
            [("/descripton", Some("description")), ("/min_durations", Some("min_duration")), ("/zzz", None)]
        {
            assert!(suggestions.contains(&expected), "{suggestions:?}");
        }
        let heap: serde_json::Map<_, _> =
            (0..100_000).map(|number| (format!("m{number}"), Request::Null)).collect();
        let issues = read(with(&Request::Object(heap))).unwrap_err();
        assert_eq!(issues.len(), 51);
        assert!(issues[50].detail.contains("99950 more"), "{}", issues[50].detail);
        // A name as long as a body may be is compared with nothing.
        let long = "callback_urll".repeat(300_000);
        assert_eq!(read(with(&json!({long: 1}))).unwrap_err()[0].suggestion, None);
    }
}
