//! `/v1/calls/{id}/transfers`: a call that is going on is handed to somebody else, by the provider
//! that has it. The paths and parameters are the provider's own, so that its clients' code works.
//!
//! Source of both: <https://docs.speko.dev/api-reference/calls>, which names the types of
//! `SpekoAI/typescript-sdk`, `src/lib/types/index.ts`, as the bodies'.

use hyper::StatusCode;
use serde_json::{Map, Value as Body};

use super::call::unknown;
use super::{Api, Call};
use crate::context::Json;
use crate::http::{Answer, Problem, json as answer};
use crate::job::CallError;
use crate::provider::Transfer;
use crate::registration::Issue;

/// The longest text that is passed on, in characters: of a prompt, a message, a summary.
const MAX_TEXT: usize = 10_000;

/// The most entries of a list, and of an object of texts.
const MAX_ENTRIES: usize = 50;

/// When to try again where a provider that has too much to do does not say.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// What a parameter is.
enum Kind {
    Text,
    /// More than zero.
    Number,
    Boolean,
    /// Any object.
    Open,
    /// An object of texts.
    Texts,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// An object of these.
    Table(&'static [Parameter]),
    /// A list of objects of these, not empty.
    Tables(&'static [Parameter]),
}

/// A parameter, and whether nothing works without it.
struct Parameter {
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn may(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, required: false }
}

const fn must(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, required: true }
}

const BLIND: &[Parameter] = &[
    must("to", Kind::Text),
    may("participantIdentity", Kind::Text),
    may("playDialtone", Kind::Boolean),
    may("ringingTimeout", Kind::Number),
    may("headers", Kind::Texts),
];

const DESTINATION: &[Parameter] = &[
    must("to", Kind::Text),
    may("label", Kind::Text),
    may("outboundTrunkId", Kind::Text),
    may("screeningPrompt", Kind::Text),
    may("summary", Kind::Text),
    may("metadata", Kind::Open),
];

const FALLBACK: &[Parameter] = &[
    may("strategy", Kind::Choice(&["return_to_assistant", "take_message", "end_call"])),
    may("message", Kind::Text),
    may("takeMessagePrompt", Kind::Text),
    may("holdAudioUrl", Kind::Text),
];

const VOICEMAIL: &[Parameter] = &[
    may("mode", Kind::Choice(&["agent", "amd", "disabled"])),
    may("enabled", Kind::Boolean),
    may("timeoutSeconds", Kind::Number),
];

const WARM: &[Parameter] = &[
    may("to", Kind::Text),
    may("destinations", Kind::Tables(DESTINATION)),
    may("from", Kind::Text),
    may("participantIdentity", Kind::Text),
    may("outboundTrunkId", Kind::Text),
    may("screeningPrompt", Kind::Text),
    may("summary", Kind::Text),
    may("ringingTimeout", Kind::Number),
    may("waitUntilAnswered", Kind::Boolean),
    may("fallback", Kind::Table(FALLBACK)),
    may("voicemailDetection", Kind::Table(VOICEMAIL)),
    may("metadata", Kind::Open),
];

const COMPLETE: &[Parameter] = &[may("recipientParticipantIdentity", Kind::Text), may("summary", Kind::Text)];

const CANCEL: &[Parameter] = &[
    may("reason", Kind::Text),
    may("summary", Kind::Text),
    may("tryNext", Kind::Boolean),
    may("voicemailDetected", Kind::Boolean),
];

impl Api {
    /// `POST …/blind`, `…/warm`, `…/{transfer_id}/complete`, `…/{transfer_id}/cancel`
    pub(super) async fn transfer(
        &self,
        call: &Call<'_>,
        id: &str,
        step: Transfer<'_>,
    ) -> Result<Answer, Problem> {
        let (key, context) = self.known_call(call, id, call.query.get("call_space")).await?;
        let mut issues = call.issues();
        let mut members = call.members()?.all();
        let known = match step {
            Transfer::Blind => BLIND,
            Transfer::Warm => WARM,
            Transfer::Complete(_) => COMPLETE,
            Transfer::Cancel(_) => CANCEL,
        };
        check(known, "", &mut members, &mut issues);
        if step == Transfer::Warm && !members.contains_key("to") && !members.contains_key("destinations") {
            let detail = "a warm transfer needs `to` or `destinations`";
            issues.push(Issue::new("/to", "missing", detail));
        }
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let parameters = Json::parse(Body::Object(members).to_string().as_bytes())
            .expect("what was read as JSON is JSON when it is written");
        let told_by = context.told_by();
        let done = self.call_desk.transfer(&key, told_by, step, &parameters).await?;
        Ok(answer(StatusCode::OK, done.to_compact()))
    }
}

/// Notes what is wrong with an object at a pointer, and takes out what is null: that is as if it
/// were not there.
fn check(known: &[Parameter], base: &str, members: &mut Map<String, Body>, issues: &mut Vec<Issue>) {
    for Parameter { name, kind, required } in known {
        let pointer = Issue::pointer(base, name);
        match members.get_mut(*name).filter(|value| !value.is_null()) {
            Some(value) => check_value(kind, name, &pointer, value, issues),
            None if *required => {
                issues.push(Issue::new(pointer, "missing", format!("`{name}` is mandatory")));
            }
            None => {}
        }
    }
    let names = members.keys().map(String::as_str).filter(|name| known.iter().all(|it| it.name != *name));
    let mut others = Vec::new();
    unknown("member", names, &mut others);
    issues.extend(
        others.into_iter().map(|issue| Issue { pointer: format!("{base}{}", issue.pointer), ..issue }),
    );
    members.retain(|_, value| !value.is_null());
}

fn check_value(kind: &Kind, name: &str, pointer: &str, value: &mut Body, issues: &mut Vec<Issue>) {
    let mut wrong = |code, detail: &str| {
        issues.push(Issue::new(pointer.to_owned(), code, format!("`{name}` must be {detail}")));
    };
    match (kind, value) {
        (Kind::Text, Body::String(text)) if text.is_empty() => wrong("empty", "a text that is not empty"),
        (Kind::Text, Body::String(text)) if text.chars().count() > MAX_TEXT => {
            wrong("too_long", &format!("a text of {MAX_TEXT} characters at most"));
        }
        (Kind::Number, Body::Number(number)) if number.as_f64().is_some_and(|number| number > 0.0) => {}
        (Kind::Text, Body::String(_)) | (Kind::Boolean, Body::Bool(_)) | (Kind::Open, Body::Object(_)) => {}
        (Kind::Choice(choices), Body::String(text)) if choices.contains(&text.as_str()) => {}
        (Kind::Texts, Body::Object(texts))
            if texts.len() <= MAX_ENTRIES && texts.values().all(Body::is_string) => {}
        (Kind::Table(known), Body::Object(members)) => check(known, pointer, members, issues),
        (Kind::Tables(known), Body::Array(items)) if (1..=MAX_ENTRIES).contains(&items.len()) => {
            for (position, item) in items.iter_mut().enumerate() {
                let pointer = format!("{pointer}/{position}");
                check_value(&Kind::Table(known), &format!("{name}[{position}]"), &pointer, item, issues);
            }
        }
        (Kind::Text, _) => wrong("not_a_text", "a text"),
        (Kind::Number, _) => wrong("out_of_range", "a number above zero"),
        (Kind::Boolean, _) => wrong("not_a_boolean", "true or false"),
        (Kind::Choice(choices), _) => wrong("unknown_value", &format!("one of {}", choices.join(", "))),
        (Kind::Texts, _) => wrong("not_an_object", &format!("an object of at most {MAX_ENTRIES} texts")),
        (Kind::Open | Kind::Table(_), _) => wrong("not_an_object", "an object"),
        (Kind::Tables(_), _) => wrong("not_a_list", &format!("a list of 1 to {MAX_ENTRIES} objects")),
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        match error {
            CallError::NoProvider => Self::new(StatusCode::CONFLICT, "no_provider", detail),
            CallError::Ambiguous => Self::new(StatusCode::CONFLICT, "ambiguous_source", detail),
            CallError::Busy(pause) => Self::rate_limited(pause, detail),
            CallError::TimedOut => Self::new(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", detail),
            CallError::Unreachable(_) => Self::new(StatusCode::BAD_GATEWAY, "provider_unreachable", detail),
            CallError::Undocumented => Self::new(StatusCode::BAD_GATEWAY, "provider_undocumented", detail),
            CallError::Refused { status, retry_after, .. } => {
                let code = "provider_refused";
                let problem = match status {
                    400 | 422 => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail),
                    404 => Self::new(StatusCode::NOT_FOUND, code, detail),
                    409 | 410 => Self::new(StatusCode::CONFLICT, code, detail),
                    429 => Self::rate_limited(retry_after.unwrap_or(BUSY), detail),
                    // The operator's credentials are refused, or the provider is ill: not this
                    // customer's mistake.
                    _ => Self::new(StatusCode::BAD_GATEWAY, code, detail),
                };
                problem.of_provider(status)
            }
        }
    }
}
