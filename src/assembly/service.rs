//! Who answers which path of the addresses that are listened on.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use crate::api::{Api, answer_document};
use crate::http::{Answer, Handler, Problem, json};
use crate::intake::Intake;
use crate::store::SharedStore;

/// Everything that is answered on the main address.
pub(super) struct Service {
    pub(super) intake: Arc<Intake>,
    pub(super) api: Api,
    pub(super) operators_here: bool,
    pub(super) operators: Operators,
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

/// What operators ask: whether the process lives, and whether it can do its work.
pub(super) struct Operators {
    pub(super) store: SharedStore,
}

#[async_trait::async_trait]
impl Handler for Operators {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Answer {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/readyz" if !reads => Problem::method_not_allowed("GET, HEAD").into(),
            "/healthz" => json(StatusCode::OK, r#"{"status":"alive"}"#),
            "/readyz" => match self.store.ready().await {
                Ok(()) => json(StatusCode::OK, r#"{"status":"ready"}"#),
                Err(error) => {
                    tracing::warn!(%error, "not ready");
                    Problem::from(error).into()
                }
            },
            _ => Problem::not_found("there is no such path").into(),
        }
    }
}
