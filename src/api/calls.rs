//! `/v1/calls`: what is known of calls.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Body};

use super::{Api, Call, list};
use crate::context::{CallContext, CallId, CallKey, Json, Name};
use crate::event::AccountName;
use crate::http::{Answer, Problem, json as answer};
use crate::registration::{Filter, Issue, read_filter};
use crate::store::{CallMark, CallQuery, ListedCall, StoredCall};

/// A call as it is shown.
#[derive(Serialize)]
struct ShownCall<'a> {
    id: &'a str,
    call_space: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    context: Box<RawValue>,
}

impl Api {
    /// The newest first. What is long is left out: the transcript, and all that is an array or an
    /// object.
    pub(super) async fn list_calls(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut issues = call.issues();
        let limit = call.limit(&mut issues);
        let before = call.cursor(&mut issues, read_cursor);
        let filter = filter_of(call).unwrap_or_else(|more| {
            issues.extend(more);
            Filter::default()
        });
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let query = CallQuery { filter, token: Some(call.token.as_ref().into()) };
        let found = self.store.calls(&call.account, &query, before.as_ref(), limit).await?;
        let show = |listed: &ListedCall| match CallContext::from_bytes(&listed.stored.context) {
            Ok(context) => {
                let shown = ShownCall {
                    id: listed.key.id.as_str(),
                    call_space: &listed.key.space,
                    created_at: Some(listed.created_at),
                    context: show_context(&context, &call.token, is_short),
                };
                Some(serde_json::value::to_raw_value(&shown).expect("texts are JSON"))
            }
            // One that is damaged must not hide the others.
            Err(error) => {
                tracing::error!(%error, "a call is left out of a list");
                None
            }
        };
        let rows: Vec<Box<RawValue>> = found.rows.iter().filter_map(show).collect();
        Ok(list(&rows, found.next.as_ref().map(write_cursor).as_deref()))
    }

    pub(super) async fn show_call(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        call.takes_nothing()?;
        let (key, context) = self.known_call(call, id, call.query.get("call_space")).await?;
        let shown = ShownCall {
            id: key.id.as_str(),
            call_space: &key.space,
            created_at: None,
            context: show_context(&context, &call.token, |_, _| true),
        };
        Ok(answer(StatusCode::OK, serde_json::to_string(&shown).expect("texts are JSON")))
    }

    /// Erases a call. Whoever may read it may.
    pub(super) async fn erase_call(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        call.takes_nothing()?;
        let (key, _) = self.stored_call(call, id, call.query.get("call_space")).await?;
        if !self.store.erase_call(&key).await? {
            return Err(no_such_call());
        }
        tracing::info!(account = &*call.account, "a call was erased");
        Ok(answer(StatusCode::NO_CONTENT, Bytes::new()))
    }

    /// What is known of a call.
    pub(super) async fn known_call(
        &self,
        call: &Call<'_>,
        id: &str,
        space: Option<&str>,
    ) -> Result<(CallKey, CallContext), Problem> {
        let (key, stored) = self.stored_call(call, id, space).await?;
        let context = CallContext::from_bytes(&stored.context).map_err(|fault| {
            tracing::error!(error = %fault, "a request cannot be answered");
            Problem::damaged()
        })?;
        Ok((key, context))
    }

    /// A call as it is stored. Without a space, all of those in which the account's sources count
    /// are looked at.
    async fn stored_call(
        &self,
        call: &Call<'_>,
        id: &str,
        space: Option<&str>,
    ) -> Result<(CallKey, StoredCall), Problem> {
        let id = CallId::from_text(id).ok_or_else(no_such_call)?;
        let spaces = match space {
            Some(space) => vec![space.into()],
            None => call.rules.call_spaces.clone(),
        };
        let mut known: Vec<(CallKey, StoredCall)> = Vec::new();
        for space in spaces {
            let key = CallKey { account: AccountName::clone(&call.account), space, id: id.clone() };
            if let Some(stored) = self.store.call(&key).await? {
                known.push((key, stored));
            }
        }
        if known.len() > 1 {
            let spaces: Vec<&str> = known.iter().map(|(key, _)| &*key.space).collect();
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "ambiguous_call",
                format!("there are several such calls; name one's `call_space`: {}", spaces.join(", ")),
            ));
        }
        known.pop().ok_or_else(no_such_call)
    }
}

fn no_such_call() -> Problem {
    Problem::not_found("this account has no such call")
}

fn is_short(name: Name, value: &Json) -> bool {
    name != Name::SpeechResult && !matches!(value, Json::Array(_) | Json::Object(_))
}

/// The context's values by name, as the token sees them and as they came: numbers keep their
/// spelling.
fn show_context(context: &CallContext, token: &str, is_shown: impl Fn(Name, &Json) -> bool) -> Box<RawValue> {
    let mut text = b"{".to_vec();
    for (name, value) in context.iter_for(Some(token)).filter(|(name, value)| is_shown(*name, value)) {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(format!("\"{name}\":").as_bytes());
        value.write(&mut text);
    }
    text.push(b'}');
    let text = String::from_utf8(text).expect("made of texts");
    RawValue::from_string(text).expect("an object of names and JSON")
}

/// The filters of a query; those that are not given take every call.
fn filter_of(call: &Call<'_>) -> Result<Filter, Vec<Issue>> {
    let given = call.operation.parameters().iter().filter(|name| !matches!(**name, "limit" | "cursor"));
    let members: Map<String, Body> =
        given.filter_map(|name| Some(((*name).to_owned(), Body::from(call.query.get(name)?)))).collect();
    read_filter(members)
}

fn write_cursor(mark: &CallMark) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}\0{}", mark.place, mark.name))
}

fn read_cursor(text: &str) -> Option<CallMark> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (place, name) = text.split_once('\0')?;
    Some(CallMark { place: place.parse().ok()?, name: name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_none() {
        let mark = CallMark { place: 1_774_872_000_000_001, name: "default\0a\0/é".into() };
        assert_eq!(read_cursor(&write_cursor(&mark)), Some(mark));
        for other in ["", "x", "AAAA", "MQ", "LTEAYQ"] {
            assert_eq!(read_cursor(other), None, "{other}");
        }
    }
}
