//! Reads a registration as a customer writes it: every problem at once, unknown members by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value as Request};

use super::filter::Needle;
use super::{Callback, DeliverySettings, Filter, Issue, Method, RetrySchedule};
use crate::context::{Value, read_time};
use crate::destination::{AddressPolicy, InvalidTarget, TargetUrl};
use crate::event::{AccountName, CallbackId, EventType};
use crate::limit::Rate;
use crate::quantity::parse_duration;
use crate::signature::SigningSecret;
use crate::store::CallbackState;
use crate::template::{Limits, Template};

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
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts under way at once where a registration does not say.
const DEFAULT_MAX_IN_FLIGHT: u32 = 32;

/// The most attempts under way at once that a registration may ask for.
const MAX_MAX_IN_FLIGHT: u64 = 1_000;

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 500;

/// The longest text that a filter looks for, in characters.
const MAX_FILTER_TEXT: usize = 1_000;

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
        let mut reader = Members { members, known: BTreeMap::new(), issues: Vec::new() };

        let url = reader.required("callback_url", Members::text).and_then(|text| {
            TargetUrl::parse(&text, &limits.policy)
                .map_err(|faults| {
                    for fault in faults {
                        reader.issue::<()>("/callback_url", target_code(&fault), fault.to_string());
                    }
                })
                .ok()
        });
        let method = reader.required("callback_method", Members::text).and_then(|text| {
            match text.to_ascii_uppercase().as_str() {
                "POST" => Some(Method::Post),
                "PUT" => Some(Method::Put),
                _ => reader.issue("/callback_method", "bad_method", "expected `POST` or `PUT`"),
            }
        });
        let template = reader.template(&limits.template);
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
        reader.not_yet();
        reader.unknown_members();

        match (url, method, template) {
            (Some(url), Some(method), Some(template)) if reader.issues.is_empty() => {
                let warnings = template
                    .warnings()
                    .iter()
                    .map(|warning| Issue::in_template("/callback_data", warning))
                    .collect();
                let callback = Callback {
                    id: CallbackId::new(),
                    account: Arc::clone(account),
                    url,
                    method,
                    template: Arc::new(template),
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
                    description,
                    expires_at,
                    state: CallbackState::Active,
                    created_at: now,
                };
                Ok(Self { callback, warnings })
            }
            _ => Err(reader.issues),
        }
    }
}

/// The members of a request, taken out one by one; what is left at the end is unknown.
struct Members {
    members: Map<String, Request>,
    /// The names asked for so far, for suggestions.
    known: BTreeMap<&'static str, ()>,
    issues: Vec<Issue>,
}

impl Members {
    /// Notes a problem; the `None` is for the value that is not there.
    fn issue<T>(&mut self, pointer: &str, code: &'static str, detail: impl Into<String>) -> Option<T> {
        self.issues.push(Issue::new(pointer, code, detail));
        None
    }

    /// Takes a member out; `null` is as if it were not there.
    fn take(&mut self, name: &'static str) -> Option<Request> {
        self.known.insert(name, ());
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.members.get(name).is_none_or(Request::is_null) {
            self.take(name);
            return self.issue(&format!("/{name}"), "missing", format!("`{name}` is mandatory"));
        }
        read(self, name)
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Request::String(text) => Some(text),
            _ => self.issue(&format!("/{name}"), "not_a_text", format!("`{name}` must be a text")),
        }
    }

    fn bounded_text(&mut self, name: &'static str, most: usize) -> Option<String> {
        let text = self.text(name)?;
        if text.chars().count() <= most {
            return Some(text);
        }
        self.issue(&format!("/{name}"), "too_long", format!("`{name}` may have {most} characters at most"))
    }

    fn integer(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.take(name)?;
        // Forms and queries know only texts.
        let number = match &value {
            Request::Number(number) => number.as_u64(),
            Request::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.issue(
                &format!("/{name}"),
                "out_of_range",
                format!("`{name}` must be a whole number from {least} to {most}"),
            ),
        }
    }

    fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let spelling;
        let time = match &value {
            Request::String(text) => read_time(Value::Text(text)),
            Request::Number(number) => {
                spelling = number.to_string();
                read_time(Value::Number(&spelling))
            }
            _ => None,
        };
        time.or_else(|| {
            self.issue(
                &format!("/{name}"),
                "bad_time",
                format!(
                    "`{name}` must be a time such as `2026-03-30T14:22:00Z` or `2026-03-30 14:22:00` (UTC)"
                ),
            )
        })
    }

    fn template(&mut self, limits: &Limits) -> Option<Template> {
        let source = self.required("callback_data", |members, name| match members.take(name)? {
            Request::String(text) => Some(text),
            _ => members.issue(
                "/callback_data",
                "not_a_text",
                "`callback_data` must be a text that holds the JSON template (quote it: \"{\\\"id\\\": {call_id}}\")",
            ),
        })?;
        Template::compile(&source, limits)
            .map_err(|faults| {
                self.issues.extend(faults.iter().map(|fault| Issue::in_template("/callback_data", fault)));
            })
            .ok()
    }

    fn events(&mut self) -> Vec<EventType> {
        let Some(value) = self.take("events") else { return vec![EventType::SpeechCompleted] };
        let names = match value {
            Request::Array(names) if !names.is_empty() => names,
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
        match read_retry(&value) {
            Ok(schedule) => schedule,
            Err(issue) => {
                self.issues.push(issue);
                RetrySchedule::standard()
            }
        }
    }

    /// Members that the contract has but this version does not do yet: taking them in silence
    /// would promise what does not happen.
    fn not_yet(&mut self) {
        for name in ["callback_headers", "ordered"] {
            if let Some(value) = self.take(name)
                && value != Request::Bool(false)
            {
                let detail = format!("this version does not know `{name}` yet; leave it out");
                self.issue::<()>(&format!("/{name}"), "not_supported", detail);
            }
        }
        if let Some(content_type) = self.text("content_type")
            && !content_type.eq_ignore_ascii_case("application/json")
        {
            self.issue::<()>(
                "/content_type",
                "not_supported",
                "this version sends `application/json` only; leave `content_type` out",
            );
        }
    }

    fn unknown_members(&mut self) {
        let known: Vec<&'static str> = self.known.keys().copied().collect();
        for name in std::mem::take(&mut self.members).keys() {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let mut issue = Issue::new(pointer, "unknown_member", format!("there is no member `{name}`"));
            issue.suggestion = closest(name, known.iter().copied());
            self.issues.push(issue);
        }
    }
}

/// The retry presets with their numbers, or a list of delays.
fn read_retry(value: &Request) -> Result<RetrySchedule, Issue> {
    let shape = || {
        Issue::new(
            "/retry",
            "bad_retry",
            "`retry` is {\"schedule\": [\"0s\", \"5s\", \"5m\"]}, {\"preset\": \"standard\"}, \
             {\"preset\": \"fixed\", \"delay\": \"30s\", \"attempts\": 5} or \
             {\"preset\": \"exponential\", \"delay\": \"1s\", \"factor\": 2, \"max_delay\": \"1h\", \"attempts\": 10}",
        )
    };
    let too_long = || {
        Issue::new(
            "/retry",
            "bad_retry",
            format!(
                "a schedule has 1 to {} attempts, each at most 7 days after the last",
                RetrySchedule::MAX_ATTEMPTS
            ),
        )
    };
    let members = value.as_object().ok_or_else(shape)?;
    let allowed = |names: &[&str]| match members.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => {
            let mut issue = Issue::new(
                format!("/retry/{name}"),
                "unknown_member",
                format!("there is no member `{name}` here"),
            );
            issue.suggestion = closest(name, names.iter().copied());
            Err(issue)
        }
        None => Ok(()),
    };
    let delay = |name: &str| {
        let pointer = format!("/retry/{name}");
        let text = members.get(name).and_then(Request::as_str);
        text.ok_or_else(shape).and_then(|text| {
            parse_duration(text).map_err(|fault| Issue::new(pointer, "bad_duration", fault.to_string()))
        })
    };
    let attempts = || {
        let number = members.get("attempts").and_then(Request::as_u64).ok_or_else(shape)?;
        usize::try_from(number)
            .ok()
            .filter(|n| (1..=RetrySchedule::MAX_ATTEMPTS).contains(n))
            .ok_or_else(too_long)
    };

    if let Some(schedule) = members.get("schedule") {
        allowed(&["schedule"])?;
        let delays = schedule.as_array().ok_or_else(shape)?;
        let delays = delays
            .iter()
            .enumerate()
            .map(|(position, delay)| {
                let pointer = format!("/retry/schedule/{position}");
                let text = delay.as_str().ok_or_else(shape)?;
                parse_duration(text).map_err(|fault| Issue::new(pointer, "bad_duration", fault.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        return RetrySchedule::new(delays).ok_or_else(too_long);
    }
    match members.get("preset").and_then(Request::as_str) {
        Some("standard") => {
            allowed(&["preset"])?;
            Ok(RetrySchedule::standard())
        }
        Some("fixed") => {
            allowed(&["preset", "delay", "attempts"])?;
            let delay = delay("delay")?;
            let delays = (0..attempts()?).map(|n| if n == 0 { Duration::ZERO } else { delay }).collect();
            RetrySchedule::new(delays).ok_or_else(too_long)
        }
        Some("exponential") => {
            allowed(&["preset", "delay", "factor", "max_delay", "attempts"])?;
            let first = delay("delay")?;
            let most = if members.contains_key("max_delay") {
                delay("max_delay")?
            } else {
                RetrySchedule::MAX_DELAY
            };
            let factor = members.get("factor").map_or(Some(2.0), Request::as_f64);
            let factor = factor.filter(|factor| (1.0..=100.0).contains(factor)).ok_or_else(|| {
                Issue::new("/retry/factor", "out_of_range", "`factor` must be a number from 1 to 100")
            })?;
            let mut next = first.min(most);
            let mut delays = vec![Duration::ZERO];
            for _ in 1..attempts()? {
                delays.push(next);
                next = Duration::try_from_secs_f64(next.as_secs_f64() * factor).unwrap_or(most).min(most);
            }
            RetrySchedule::new(delays).ok_or_else(too_long)
        }
        _ => Err(shape()),
    }
}

/// The stable code of a refused URL.
fn target_code(fault: &InvalidTarget) -> &'static str {
    match fault {
        InvalidTarget::NotAUrl(_) | InvalidTarget::Whitespace | InvalidTarget::NoHost => "bad_url",
        InvalidTarget::TooLong(_) => "too_long",
        InvalidTarget::Scheme => "bad_scheme",
        InvalidTarget::UserInformation => "user_information",
        InvalidTarget::Port(_) => "port_refused",
        InvalidTarget::Address(_) | InvalidTarget::Localhost => "address_refused",
    }
}

/// The closest of some names, if one is close: at most a third of its letters differ.
fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    names
        .into_iter()
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, other)| *distance * 3 <= other.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other.to_owned())
}
