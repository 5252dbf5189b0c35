//! The console: one page on which an account's owner sees what came in and what went out, and tries
//! templates. It is a customer of the API like any other: whoever opens it shows a token, and what it
//! shows it asks for at the same address.
//!
//! What it shows was written by strangers (transcripts, answers of receivers), so its script makes
//! text of everything, and the policy in its headers forbids the browser whatever is not the page's
//! own: no other script, no request elsewhere, no frame around it.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use crate::http::{Answer, Problem};

/// A file of the page: its path, its type, its content.
type PageFile = (&'static str, &'static str, &'static str);

const FILES: [PageFile; 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("console.css")),
    ("/console.js", "text/javascript; charset=utf-8", include_str!("console.js")),
];

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // Another version may answer at the same address tomorrow.
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// Answers for a path of the page; `None` if it is none.
#[must_use]
pub fn answer(method: &Method, path: &str) -> Option<Answer> {
    let (_, content_type, content) = FILES.into_iter().find(|(name, ..)| *name == path)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Some(Problem::method_not_allowed("GET, HEAD").into());
    }
    let mut answer = Response::new(content.into());
    *answer.status_mut() = StatusCode::OK;
    answer.headers_mut().extend(HEADERS.map(|(name, value)| (name, value)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Some(answer)
}
