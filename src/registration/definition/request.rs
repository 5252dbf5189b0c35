//! Reads what a registration's deliveries send: URL, content type, body and headers.

use std::sync::Arc;

use serde_json::Value as Request;

use super::DefinitionLimits;
use super::members::Members;
use crate::destination::InvalidTarget;
use crate::registration::{Callback, CallbackUrl, InvalidCallbackUrl, Issue, MASK, Method, RequestTemplate};
use crate::template::{ContentType, HeaderTemplate, Limits, Template, check_header_name};

/// The most headers of its own that a registration may have.
const MAX_HEADERS: usize = 50;

/// The longest content type, in bytes.
const MAX_CONTENT_TYPE: usize = 200;

/// Headers that templates could set but that say what Ringback alone knows.
const OURS: [&str; 4] = ["content-type", "user-agent", "keep-alive", "ringback-attempt"];

impl Members {
    /// Reads what deliveries send; what the request does not have stays as it is in `base`.
    pub(super) fn request(
        &mut self,
        base: Option<&Callback>,
        limits: &DefinitionLimits,
    ) -> Option<RequestTemplate> {
        let url = match self.kept("callback_url", base) {
            Some(base) => Some(base.request.url.clone()),
            None => self.url(limits),
        };
        let method = match self.kept("callback_method", base) {
            Some(base) => Some(base.request.method),
            None => self.method(),
        };
        let kept_type = self.kept("content_type", base).map(|base| base.request.content_type.clone());
        let is_type_kept = kept_type.is_some();
        let content_type = kept_type.unwrap_or_else(|| self.content_type());
        let body = match self.kept("callback_data", base) {
            Some(base) if is_type_kept => Some(base.request.body.clone()),
            Some(base) => self.compile(base.request.body.source(), &content_type, &limits.template),
            None => self.body(&content_type, &limits.template),
        };
        let headers = match self.kept("callback_headers", base) {
            Some(base) => Arc::clone(&base.request.headers),
            None => self.headers(base, &limits.template).into(),
        };
        Some(RequestTemplate { method: method?, url: url?, headers, content_type, body: body? })
    }

    fn method(&mut self) -> Option<Method> {
        let text = self.required("callback_method", Self::text)?;
        match text.to_ascii_uppercase().as_str() {
            "POST" => Some(Method::Post),
            "PUT" => Some(Method::Put),
            _ => self.issue("/callback_method", "bad_method", "expected `POST` or `PUT`"),
        }
    }

    fn url(&mut self, limits: &DefinitionLimits) -> Option<CallbackUrl> {
        let text = self.required("callback_url", Self::text)?;
        match CallbackUrl::read(&text, &limits.policy, &limits.template) {
            Ok(url) => return Some(url),
            Err(InvalidCallbackUrl::Template(faults)) => {
                self.issues.extend(faults.iter().map(|fault| Issue::in_template("/callback_url", fault)));
            }
            Err(InvalidCallbackUrl::Target(faults)) => {
                for fault in faults {
                    self.issue::<()>("/callback_url", target_code(&fault), fault.to_string());
                }
            }
        }
        None
    }

    /// The content type as written; JSON where there is none.
    fn content_type(&mut self) -> String {
        let Some(text) = self.text("content_type") else { return RequestTemplate::JSON.to_owned() };
        let printable =
            text.len() <= MAX_CONTENT_TYPE && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable || ContentType::from_name(&text).is_none() {
            self.issue::<()>(
                "/content_type",
                "bad_content_type",
                "`content_type` must be `application/json`, `application/x-www-form-urlencoded`, \
                 `application/xml`, `text/xml` or `text/plain`",
            );
            return RequestTemplate::JSON.to_owned();
        }
        text
    }

    fn body(&mut self, content_type: &str, limits: &Limits) -> Option<Template> {
        let source = self.required("callback_data", |members, name| match members.take(name)? {
            Request::String(text) => Some(text),
            _ => members.issue(
                "/callback_data",
                "not_a_text",
                "`callback_data` must be a text that holds the JSON template (quote it: \"{\\\"id\\\": {call_id}}\")",
            ),
        })?;
        self.compile(&source, content_type, limits)
    }

    fn compile(&mut self, source: &str, content_type: &str, limits: &Limits) -> Option<Template> {
        RequestTemplate::compile_body(source, content_type, limits)
            .map_err(|faults| {
                self.issues.extend(faults.iter().map(|fault| Issue::in_template("/callback_data", fault)));
            })
            .ok()
    }

    /// A masked value, as a registration is read with, leaves the header of that name as it is.
    fn headers(&mut self, base: Option<&Callback>, limits: &Limits) -> Vec<(String, HeaderTemplate)> {
        let known = base.map_or(&[][..], |base| &base.request.headers);
        let Some(value) = self.take("callback_headers") else { return Vec::new() };
        let Request::Object(members) = value else {
            self.issue::<()>(
                "/callback_headers",
                "not_an_object",
                "`callback_headers` must be an object of names and texts",
            );
            return Vec::new();
        };
        if members.len() > MAX_HEADERS {
            let detail = format!("a callback may have {MAX_HEADERS} headers of its own at most");
            self.issue::<()>("/callback_headers", "too_long", detail);
            return Vec::new();
        }
        let mut headers: Vec<(String, HeaderTemplate)> = Vec::with_capacity(members.len());
        for (name, value) in members {
            let pointer = Issue::pointer("/callback_headers", &name);
            let mut issue =
                |code, detail: String| self.issues.push(Issue::new(pointer.clone(), code, detail));
            if let Err(refused) = check_header_name(&name) {
                issue("header_refused", refused.to_string());
            } else if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
                issue(
                    "header_refused",
                    "Ringback sets this header; the body's type is `content_type`".to_owned(),
                );
            } else if headers.iter().any(|(other, _)| name.eq_ignore_ascii_case(other)) {
                issue("header_refused", "this header is there already, in other letters".to_owned());
            } else if let Some((_, template)) =
                known.iter().find(|(known, _)| value == MASK && known.eq_ignore_ascii_case(&name))
            {
                headers.push((name, template.clone()));
            } else if let Request::String(text) = value {
                match HeaderTemplate::compile(&text, limits) {
                    Ok(template) => headers.push((name, template)),
                    Err(faults) => {
                        self.issues.extend(faults.iter().map(|fault| Issue::in_template(&pointer, fault)));
                    }
                }
            } else {
                issue("not_a_text", "a header's value must be a text".to_owned());
            }
        }
        headers
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
