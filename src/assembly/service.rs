//! Who answers which path of the addresses that are listened on.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use super::operators::Operators;
use crate::api::{Api, answer_document};
use crate::http::{Answer, Handler, Problem};
use crate::intake::Intake;

/// Everything that is answered on the main address.
pub(super) struct Service {
    pub(super) intake: Arc<Intake>,
    pub(super) api: Api,
    pub(super) operators_here: bool,
    pub(super) operators: Arc<Operators>,
}

#[async_trait::async_trait]
impl Handler for Service {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let path = request.uri().path();
        if let Some(rest) = path.strip_prefix("/v1/ingest/") {
            let end = rest.find('/').unwrap_or(rest.len());
            let (name, sub_path) = (rest[..end].to_owned(), rest[end..].to_owned());
            return self.intake.answer(&name, &sub_path, request, peer).await;
        }
        if path == "/openapi.json" {
            return answer_document(request.method());
        }
        if path.starts_with("/v1/") {
            return self.api.answer(request).await;
        }
        if self.operators_here {
            return self.operators.answer(request, peer).await;
        }
        Problem::not_found("there is no such path").into()
    }
}
