//! `/v1/templates/*` and `/v1/placeholders`: what a customer tries before registering.

use hyper::StatusCode;
use serde_json::{Value as Body, json};

use super::callbacks::show_issue;
use super::{Api, Call};
use crate::context::{CallContext, Facts, Json, Name, Value, Values};
use crate::event::EventId;
use crate::http::{Answer, Problem, json as answer};
use crate::registration::Issue;
use crate::template::Template;

/// `POST /v1/templates/check`: compiles, and nothing else.
pub(super) fn check(call: &Call<'_>) -> Result<Answer, Problem> {
    let body = read_body(call)?;
    let source = template_text(&body)?;
    refuse_unknown(&body, &["callback_data"])?;
    let issues = |diagnostics: &[crate::template::Diagnostic]| -> Body {
        diagnostics.iter().map(|fault| show_issue(&Issue::in_template("/callback_data", fault))).collect()
    };
    let shown = match Template::compile(source, &call.rules.definition.template) {
        Ok(template) => json!({
            "valid": true,
            "placeholders": template.placeholders(),
            "errors": [],
            "warnings": issues(template.warnings()),
        }),
        Err(faults) => json!({"valid": false, "placeholders": [], "errors": issues(&faults)}),
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
    /// `POST /v1/templates/render`: compiles and renders against a given `context`, or against an
    /// event that came in, with what is known of its call now.
    pub(super) async fn render(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let body = read_body(call)?;
        refuse_unknown(&body, &["callback_data", "context", "event_id"])?;
        let source = template_text(&body)?;
        let template = Template::compile(source, &call.rules.definition.template).map_err(|faults| {
            Problem::invalid(faults.iter().map(|fault| Issue::in_template("/callback_data", fault)).collect())
        })?;
        let mut warnings = Vec::new();
        let mut rendered = Vec::new();
        let outcome = match (body.get("context"), body.get("event_id")) {
            (Some(context), None) => {
                let facts = read_context(context, &mut warnings)?;
                let mut values = Values::new();
                for (name, value) in facts.iter() {
                    values.set(name, Value::from(value));
                }
                template.render(&values, &mut rendered)
            }
            (None, Some(id)) => {
                let known = self.known_of(call, id.as_str().unwrap_or_default()).await?;
                template.render(&known.values(), &mut rendered)
            }
            _ => {
                let detail = "either `context` (an object of names) or `event_id` is needed";
                return Err(Problem::invalid(vec![Issue::new("", "missing", detail)]));
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
        let context = match &event.call {
            Some(key) => match self.store.call(key).await? {
                Some(stored) => CallContext::from_bytes(&stored.context).map_err(|fault| {
                    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store_damaged", fault.to_string())
                })?,
                None => CallContext::default(),
            },
            None => CallContext::default(),
        };
        Ok(Known {
            context,
            // A form or a query has no JSON to show; the adapter's reading of it is in the context.
            raw: Json::parse(&event.body).unwrap_or(Json::Null),
            event_id: id.to_string(),
            event_at: event.received_at.to_string(),
            event_type: event.types.first().map(|event_type| event_type.as_str()),
            provider: event.provider,
            source: event.source,
        })
    }
}

/// Everything that a template may name of an event that came in.
struct Known {
    context: CallContext,
    raw: Json,
    event_id: String,
    event_at: String,
    event_type: Option<&'static str>,
    provider: String,
    source: String,
}

impl Known {
    fn values(&self) -> Values<'_> {
        let mut values = Values::new();
        self.context.fill(&mut values);
        values.set(Name::EventId, Value::Text(&self.event_id));
        values.set(Name::EventAt, Value::Text(&self.event_at));
        values.set(Name::EventType, self.event_type.map_or(Value::Missing, Value::Text));
        values.set(Name::Provider, Value::Text(&self.provider));
        values.set(Name::Source, Value::Text(&self.source));
        values.set(Name::Raw, Value::from(&self.raw));
        values
    }
}

/// The body as data of the provider's kind: numbers keep their spelling on the way to a rendering.
fn read_body(call: &Call<'_>) -> Result<Json, Problem> {
    Json::parse(call.body.bytes()).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
    })
}

fn template_text(body: &Json) -> Result<&str, Problem> {
    body.get("callback_data").and_then(Json::as_str).ok_or_else(|| {
        let detail = "`callback_data` is mandatory: a text that holds the JSON template";
        Problem::invalid(vec![Issue::new("/callback_data", "missing", detail)])
    })
}

fn refuse_unknown(body: &Json, known: &[&str]) -> Result<(), Problem> {
    let Json::Object(members) = body else { return Ok(()) };
    let issues: Vec<Issue> = members
        .iter()
        .filter(|(name, _)| !known.contains(&&**name))
        .map(|(name, _)| {
            Issue::new(Issue::pointer("", name), "unknown_member", format!("there is no member `{name}`"))
        })
        .collect();
    if issues.is_empty() { Ok(()) } else { Err(Problem::invalid(issues)) }
}

/// A given context: an object of the catalogue's names, read as an event would be.
fn read_context(context: &Json, warnings: &mut Vec<String>) -> Result<Facts, Problem> {
    let Json::Object(members) = context else {
        let detail = "`context` is an object of names";
        return Err(Problem::invalid(vec![Issue::new("/context", "not_an_object", detail)]));
    };
    let mut facts = Facts::new();
    let mut issues = Vec::new();
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
    if issues.is_empty() { Ok(facts) } else { Err(Problem::invalid(issues)) }
}
