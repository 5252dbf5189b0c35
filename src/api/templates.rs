//! `/v1/templates/*` and `/v1/placeholders`: what a customer tries before registering.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value as Body, json};

use super::call::unknown;
use super::callbacks::show_issue;
use super::known::Known;
use super::trial::read_sample;
use super::{Api, Call};
use crate::context::{Facts, Json, Name, Value, Values};
use crate::event::{EventId, EventType};
use crate::http::{Answer, Problem, json as answer};
use crate::registration::{Issue, RequestTemplate, Sample};
use crate::template::{ContentType, Diagnostic, Template};

/// `POST /v1/templates/check`: compiles, and nothing else.
pub(super) fn check(call: &Call<'_>) -> Result<Answer, Problem> {
    let body = read_body(call)?;
    let mut issues = call.issues();
    refuse_unknown(&body, &["callback_data", "content_type"], &mut issues);
    let compiled = compile(call, &body, &mut issues);
    let Some(compiled) = compiled.filter(|_| issues.is_empty()) else { return Err(Problem::invalid(issues)) };
    let show = |diagnostics: &[Diagnostic]| -> Body {
        diagnostics.iter().map(|fault| show_issue(&Issue::in_template("/callback_data", fault))).collect()
    };
    let shown = match compiled {
        Ok(template) => json!({
            "valid": true,
            "placeholders": template.placeholders(),
            "errors": [],
            "warnings": show(template.warnings()),
        }),
        Err(faults) => json!({"valid": false, "placeholders": [], "errors": show(&faults), "warnings": []}),
    };
    Ok(answer(StatusCode::OK, shown.to_string()))
}

/// `GET /v1/placeholders`: the catalogue.
pub(super) fn placeholders(call: &Call<'_>) -> Result<Answer, Problem> {
    call.takes_nothing()?;
    let names: Vec<Body> = Name::ALL
        .into_iter()
        .map(|name| {
            json!({
                "name": name.as_str(),
                "type": name.kind().as_str(),
                "group": name.group().as_str(),
                "meaning": name.meaning(),
                "example": serde_json::from_str::<Body>(name.example()).unwrap_or_default(),
            })
        })
        .collect();
    Ok(answer(StatusCode::OK, json!({"data": names, "next": null}).to_string()))
}

impl Api {
    /// `POST /v1/templates/render`: compiles and renders against a given `context`, a sample, a call
    /// as it is known now, or an event that came in, with its call.
    pub(super) async fn render(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let body = read_body(call)?;
        let mut issues = call.issues();
        let known =
            ["callback_data", "content_type", "context", "event_id", "call_id", "call_space", "sample"];
        refuse_unknown(&body, &known, &mut issues);
        let template = match compile(call, &body, &mut issues) {
            Some(Ok(template)) => Some(template),
            Some(Err(faults)) => {
                issues.extend(faults.iter().map(|fault| Issue::in_template("/callback_data", fault)));
                None
            }
            None => None,
        };
        let mut warnings = Vec::new();
        let against = read_against(&body, &mut warnings, &mut issues);
        let (Some(template), Some(against), true) = (template, against, issues.is_empty()) else {
            return Err(Problem::invalid(issues));
        };

        let mut rendered = Vec::new();
        let outcome = match against {
            Against::Context(facts) => {
                let mut values = Values::new();
                for (name, value) in facts.iter() {
                    values.set(name, Value::from(value));
                }
                template.render(&values, &mut rendered)
            }
            Against::Sample(event_type) => {
                let sample = Sample::new(event_type);
                let mut values = Values::new();
                sample.fill(&mut values);
                template.render(&values, &mut rendered)
            }
            Against::Call { id, space } => {
                let (_, context) = self.known_call(call, &id, space.as_deref()).await?;
                let mut values = Values::new();
                context.fill_for(Some(&call.token), &mut values);
                template.render(&values, &mut rendered)
            }
            Against::Event(id) => {
                let known = self.known_of(call, &id).await?;
                template.render(&known.values(known.first_type()), &mut rendered)
            }
        };
        if let Err(fault) = outcome {
            return Err(Problem::invalid(vec![Issue::new(
                "/callback_data",
                "rendering_failed",
                fault.to_string(),
            )]));
        }
        let text = String::from_utf8(rendered).expect("a rendering is UTF-8");
        Ok(answer(StatusCode::OK, json!({"body": text, "warnings": warnings}).to_string()))
    }

    /// An event of the account and what is known of its call.
    async fn known_of(&self, call: &Call<'_>, id: &str) -> Result<Known, Problem> {
        let no_such_event = || Problem::not_found("this account has no such event");
        let id: EventId = id.parse().map_err(|_| no_such_event())?;
        let event = self.store.event(&call.account, id).await?.ok_or_else(no_such_event)?;
        self.known(event, Some(Arc::clone(&call.token))).await?.map_err(|fault| {
            tracing::error!(error = %fault, "a request cannot be answered");
            Problem::damaged()
        })
    }
}

/// What a template is rendered against.
enum Against {
    Context(Facts),
    Sample(EventType),
    Call { id: String, space: Option<String> },
    Event(String),
}

/// Reads which of them a request means, exactly one.
fn read_against(body: &Json, warnings: &mut Vec<String>, issues: &mut Vec<Issue>) -> Option<Against> {
    let given = |name: &str| body.get(name).filter(|value| **value != Json::Null);
    let text = |name: &str, issues: &mut Vec<Issue>| match given(name)? {
        // An id may be a number, as it was sent.
        Json::Text(text) | Json::Number(text) => Some(text.to_string()),
        _ => {
            issues.push(Issue::new(format!("/{name}"), "not_a_text", format!("`{name}` must be a text")));
            None
        }
    };
    let space = text("call_space", issues);
    let there: Vec<&str> = ["context", "event_id", "call_id", "sample"]
        .into_iter()
        .filter(|name| given(name).is_some())
        .collect();
    if space.is_some() && !there.contains(&"call_id") {
        issues.push(Issue::new("/call_space", "missing", "`call_space` goes with `call_id`"));
    }
    match there.as_slice() {
        ["context"] => read_context(given("context")?, warnings, issues).map(Against::Context),
        ["sample"] => read_sample(given("sample")?.as_str(), issues).map(Against::Sample),
        ["event_id"] => text("event_id", issues).map(Against::Event),
        ["call_id"] => text("call_id", issues).map(|id| Against::Call { id, space }),
        _ => {
            let detail = "exactly one is needed of `context` (an object of names), `event_id`, `call_id` and \
                          `sample` (an event type)";
            issues.push(Issue::new("", "missing", detail));
            None
        }
    }
}

/// The body as data of the provider's kind: numbers keep their spelling on the way to a rendering.
fn read_body(call: &Call<'_>) -> Result<Json, Problem> {
    let body = Json::parse(call.body.bytes()).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
    })?;
    if body.as_object().is_some() { Ok(body) } else { Err(Problem::not_an_object()) }
}

/// Compiles `callback_data` as a body of its `content_type`; `None` if either is not there or no
/// text, of which the issues tell.
fn compile(
    call: &Call<'_>,
    body: &Json,
    issues: &mut Vec<Issue>,
) -> Option<Result<Template, Vec<Diagnostic>>> {
    let content_type = match body.get("content_type") {
        None | Some(Json::Null) => Some(RequestTemplate::JSON),
        Some(given) => given.as_str().filter(|name| ContentType::from_name(name).is_some()),
    };
    if content_type.is_none() {
        issues.push(Issue::new(
            "/content_type",
            "bad_content_type",
            "not a content type that callbacks may have",
        ));
    }
    let Some(source) = body.get("callback_data").and_then(Json::as_str) else {
        let detail = "`callback_data` is mandatory: a text that holds the JSON template";
        issues.push(Issue::new("/callback_data", "missing", detail));
        return None;
    };
    Some(RequestTemplate::compile_body(source, content_type?, &call.rules.definition.template))
}

fn refuse_unknown(body: &Json, known: &[&str], issues: &mut Vec<Issue>) {
    let names = body.as_object().unwrap_or_default().iter().map(|(name, _)| &**name);
    unknown("member", names.filter(|name| !known.contains(name)), issues);
}

/// A given context: an object of the catalogue's names, read as an event would be.
fn read_context(context: &Json, warnings: &mut Vec<String>, issues: &mut Vec<Issue>) -> Option<Facts> {
    let Some(members) = context.as_object() else {
        issues.push(Issue::new("/context", "not_an_object", "`context` is an object of names"));
        return None;
    };
    let mut facts = Facts::new();
    for (name, value) in members {
        match Name::from_text(name) {
            Some(name) => facts.put(name, value.clone(), warnings),
            None => issues.push(Issue::new(
                Issue::pointer("/context", name),
                "unknown_placeholder",
                format!("there is no name `{name}`; GET /v1/placeholders lists all"),
            )),
        }
    }
    Some(facts)
}
