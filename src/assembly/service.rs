//! Who answers which path of the addresses that are listened on.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use super::operators::Operators;
use crate::api::{Api, answer_document};
use crate::http::{Answer, Handler, Problem};
use crate::intake::Intake;

/// What providers post to.
pub(super) const INGEST: &str = "/v1/ingest/";

/// Everything that is answered on the main address.
pub(super) struct Service {
    pub(super) intake: Arc<Intake>,
    pub(super) customers: Customers,
    /// If operators are answered here, and not elsewhere.
    pub(super) operators: Option<Arc<Operators>>,
}

#[async_trait::async_trait]
impl Handler for Service {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let path = request.uri().path();
        if let Some(rest) = path.strip_prefix(INGEST) {
            let end = rest.find('/').unwrap_or(rest.len());
            let (name, sub_path) = (rest[..end].to_owned(), rest[end..].to_owned());
            return self.intake.answer(&name, &sub_path, request, peer).await;
        }
        if Customers::knows(path) {
            return self.customers.answer(request).await;
        }
        match &self.operators {
            Some(operators) => operators.answer(request, peer).await,
            None => not_found(),
        }
    }
}

/// What customers ask.
#[derive(Clone)]
pub(super) struct Customers {
    pub(super) api: Arc<Api>,
}

impl Customers {
    pub(super) fn knows(path: &str) -> bool {
        path == "/openapi.json" || path.starts_with("/v1/")
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() == "/openapi.json" {
            return answer_document(request.method());
        }
        self.api.answer(request).await
    }
}

pub(super) fn not_found() -> Answer {
    Problem::not_found("there is no such path").into()
}
