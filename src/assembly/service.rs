//! Who answers which path of the addresses that are listened on.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use crate::api::{Api, answer_document};
use crate::console;
use crate::http::{Answer, Handler, Problem, json};
use crate::intake::Intake;
use crate::store::SharedStore;

/// What providers post to.
const INGEST: &str = "/v1/ingest/";

/// Everything that is answered on the main address.
pub(super) struct Service {
    pub(super) intake: Arc<Intake>,
    pub(super) customers: Customers,
    /// If operators are answered here, and not elsewhere.
    pub(super) operators: Option<Operators>,
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
    fn knows(path: &str) -> bool {
        path == "/openapi.json" || path.starts_with("/v1/")
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() == "/openapi.json" {
            return answer_document(request.method());
        }
        self.api.answer(request).await
    }
}

fn not_found() -> Answer {
    Problem::not_found("there is no such path").into()
}

/// What operators ask: whether the process lives, and whether it can do its work; and the console, with
/// what it asks for, since a page may ask only where it came from.
pub(super) struct Operators {
    pub(super) store: SharedStore,
    pub(super) customers: Customers,
}

#[async_trait::async_trait]
impl Handler for Operators {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Answer {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        if let Some(answer) = console::answer(request.method(), path) {
            return answer;
        }
        // Providers are told another address.
        if Customers::knows(path) && !path.starts_with(INGEST) {
            return self.customers.answer(request).await;
        }
        match path {
            "/healthz" | "/readyz" if !reads => Problem::method_not_allowed("GET, HEAD").into(),
            "/healthz" => json(StatusCode::OK, r#"{"status":"alive"}"#),
            "/readyz" => match self.store.ready().await {
                Ok(()) => json(StatusCode::OK, r#"{"status":"ready"}"#),
                Err(error) => {
                    tracing::warn!(%error, "not ready");
                    Problem::from(error).into()
                }
            },
            _ => not_found(),
        }
    }
}
