//! A request's body as data, in the forms that providers post: JSON, a form, a query.

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use url::form_urlencoded;

use jiff::Timestamp;

use super::Unreadable;
use crate::context::{CallId, Facts, Json, Name};
use crate::event::{Event, EventType};
use crate::signature::SignedRequest;

/// Reads a body that must be a JSON object.
///
/// # Errors
/// It is not JSON, or JSON of another type.
pub(super) fn json_object(body: &[u8]) -> Result<Json, Unreadable> {
    let json = Json::parse(body).map_err(|error| Unreadable(format!("the body is not JSON: {error}")))?;
    match json {
        Json::Object(_) => Ok(json),
        _ => Err(Unreadable("the body is JSON, but not an object (byte 0)".to_owned())),
    }
}

/// Reads any JSON, or a form as an object of texts.
///
/// # Errors
/// It is neither.
pub(super) fn any(request: &SignedRequest) -> Result<Json, Unreadable> {
    let body = &*request.body;
    let text = body.trim_ascii_start();
    if request.is_form() && !text.starts_with(b"{") {
        return form(text).ok_or_else(|| Unreadable("the form is empty (byte 0)".to_owned()));
    }
    Json::parse(body).map_err(|error| Unreadable(format!("the body is not JSON: {error}")))
}

/// Reads an object from a query (`GET`), a form, or JSON. Of a form or query it is an object of
/// texts. A body that opens a brace is JSON whatever its content type says: `curl -d` calls
/// everything a form.
///
/// # Errors
/// There is nothing, or it is none of these.
pub(super) fn object(request: &SignedRequest) -> Result<Json, Unreadable> {
    if request.method == "GET" {
        return form(request.query.as_bytes()).ok_or_else(|| Unreadable("the query is empty".to_owned()));
    }
    let body = &*request.body;
    let text = body.trim_ascii_start();
    if request.is_form() && !text.starts_with(b"{") {
        form(text).ok_or_else(|| Unreadable("the form is empty (byte 0)".to_owned()))
    } else {
        json_object(body)
    }
}

/// What a request brought, as data, from what is kept of it: the same as when it was received. Null,
/// if that can no longer be read.
#[must_use]
pub fn raw_of_kept(method: &str, path: &str, content_type: &str, body: &Bytes) -> Json {
    let (sub_path, query) = path.split_once('?').unwrap_or((path, ""));
    let content_type = HeaderValue::from_str(content_type).ok().map(|value| (CONTENT_TYPE, value));
    let request = SignedRequest {
        method: method.to_owned(),
        url: String::new(),
        sub_path: sub_path.to_owned(),
        query: query.to_owned(),
        headers: HeaderMap::from_iter(content_type),
        body: body.clone(),
    };
    let read = if method == "GET" { object(&request) } else { any(&request) };
    read.unwrap_or(Json::Null)
}

/// Names and texts as the URL standard reads them; bytes that are not UTF-8 become U+FFFD.
fn form(encoded: &[u8]) -> Option<Json> {
    let pairs = form_urlencoded::parse(encoded.trim_ascii_end());
    let members: Vec<_> = pairs.map(|(name, text)| (name.into(), Json::from(&*text))).collect();
    (!members.is_empty()).then_some(Json::Object(members))
}

/// The call that the facts are of; an id that cannot be one is warned of.
pub(super) fn call_id(facts: &Facts, warnings: &mut Vec<String>) -> Option<CallId> {
    let told = facts.get(Name::CallId)?;
    let id = CallId::from_json(told);
    if id.is_none() {
        let wrong = if told.to_text().is_empty() { "empty" } else { "too long" };
        warnings.push(format!("the event belongs to no call: `{}` is {wrong}", Name::CallId));
    }
    id
}

/// The provider's own id of the event from a member, which may be a number. One that is empty or
/// longer than [`MAX_EVENT_ID`] identifies nothing.
pub(super) fn event_id(told: &Json) -> Option<String> {
    let id = match told {
        Json::Text(text) | Json::Number(text) => text,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    (!id.is_empty() && id.len() <= MAX_EVENT_ID).then(|| id.to_string())
}

/// What is being read out of a body: facts, and warnings of what could not be read.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) facts: Facts,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// Puts a value that may be there.
    pub(super) fn put(&mut self, name: Name, value: Option<&Json>) {
        if let Some(value) = value {
            self.put_own(name, value.clone());
        }
    }

    /// Puts a value that was made of several.
    pub(super) fn put_own(&mut self, name: Name, value: Json) {
        self.facts.put(name, value, &mut self.warnings);
    }

    /// The event that tells them.
    pub(super) fn into_event(
        mut self,
        types: Vec<EventType>,
        provider_event_id: Option<String>,
        at: Option<Timestamp>,
        raw: Json,
    ) -> Event {
        let call_id = call_id(&self.facts, &mut self.warnings);
        let Self { facts, warnings } = self;
        Event { types, provider_event_id, at, call_id, facts, raw, warnings, notice: None }
    }
}

/// The longest event id that is taken, in bytes; the store keeps it as a key.
const MAX_EVENT_ID: usize = 512;

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::CONTENT_TYPE;

    use super::*;

    fn read(
        method: &str,
        content_type: Option<&'static str>,
        query: &str,
        body: &str,
    ) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        let request = SignedRequest {
            method: method.to_owned(),
            url: String::new(),
            sub_path: String::new(),
            query: query.to_owned(),
            headers,
            body: body.to_owned().into(),
        };
        object(&request).map(|json| json.to_compact()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_is_bounded() {
        let json = |source: &str| Json::parse(source.as_bytes()).unwrap();
        assert_eq!(event_id(&json("12.0")).as_deref(), Some("12.0"));
        assert_eq!(event_id(&json("\"e1\"")).as_deref(), Some("e1"));
        for source in ["\"\"", "null", "true", "[1]", "{}"] {
            assert_eq!(event_id(&json(source)), None);
        }
        assert!(event_id(&Json::from(&*"e".repeat(MAX_EVENT_ID))).is_some());
        assert!(event_id(&Json::from(&*"e".repeat(MAX_EVENT_ID + 1))).is_none());

        for (told, expected) in [
            (Json::from("42"), None),
            (Json::from(""), Some("the event belongs to no call: `call_id` is empty")),
            (Json::from(&*"4".repeat(600)), Some("the event belongs to no call: `call_id` is too long")),
        ] {
            let (mut facts, mut warnings) = (Facts::new(), Vec::new());
            facts.put(Name::CallId, told, &mut warnings);
            assert_eq!(call_id(&facts, &mut warnings).is_some(), expected.is_none());
            assert_eq!(warnings.first().map(String::as_str), expected);
        }
    }

    #[test]
    fn json_forms_and_queries_are_one_object() {
        const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
        for (method, content_type, query, body, expected) in [
            ("POST", Some("application/json"), "", r#"{"a": 1}"#, r#"{"a":1}"#),
            ("POST", None, "", r#" {"a": 1}"#, r#"{"a":1}"#),
            ("POST", None, "a=2", r#"{"a": 1}"#, r#"{"a":1}"#),
            ("POST", FORM, "", "a=1&b=x+y%20%C3%A9&a=%22", r#"{"a":"1","b":"x y é","a":"\""}"#),
            ("POST", FORM, "", "a&b=&=c\r\n", r#"{"a":"","b":"","":"c"}"#),
            ("POST", FORM, "", "a=%FF%ZZ", "{\"a\":\"\u{fffd}%ZZ\"}"),
            ("POST", Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"), "", "a=1", r#"{"a":"1"}"#),
            ("POST", FORM, "", r#"{"a": 1}"#, r#"{"a":1}"#),
            ("GET", None, "a=1&b=%7B%7D", "", r#"{"a":"1","b":"{}"}"#),
        ] {
            assert_eq!(read(method, content_type, query, body), Ok(expected.to_owned()), "{body}{query}");
        }
        for (method, content_type, body, expected) in [
            ("POST", None, "", "the body is not JSON: the text ends too early (byte 0)"),
            ("POST", None, "a=1", "the body is not JSON: a value is expected (byte 0)"),
            ("POST", None, "[]", "the body is JSON, but not an object (byte 0)"),
            ("POST", FORM, "{\"a\":}", "the body is not JSON: a value is expected (byte 5)"),
            ("POST", FORM, "&&", "the form is empty (byte 0)"),
            ("POST", FORM, "", "the form is empty (byte 0)"),
            ("GET", None, "", "the query is empty"),
        ] {
            assert_eq!(read(method, content_type, "", body), Err(expected.to_owned()), "{body}");
        }
    }
}
