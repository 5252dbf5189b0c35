//! `/openapi.json`: what there is to ask and to be answered, for programs. The document is written
//! by hand and held against the routes by a test.

use hyper::{Method, StatusCode};

use crate::http::{Answer, Problem, json};

/// The document: OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// Answers with it. It holds nothing of anybody, and needs no token.
#[must_use]
pub fn answer(method: &Method) -> Answer {
    if matches!(*method, Method::GET | Method::HEAD) {
        json(StatusCode::OK, DOCUMENT)
    } else {
        Problem::method_not_allowed("GET, HEAD").into()
    }
}
