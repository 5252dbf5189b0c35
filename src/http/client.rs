//! A small client for our own use: the demo posts the providers' events with it. Deliveries never
//! go through here: it checks no address.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The most that is read of an answer, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// A request that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is not a request that HTTP knows.
    #[error("not a request")]
    Request(#[from] hyper::http::Error),
    /// No connection, or it broke.
    #[error("not reachable")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off or is too large.
    #[error("the answer could not be read")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time.
    #[error("no answer within {} seconds", ANSWER_TIMEOUT.as_secs())]
    Timeout,
}

impl Client {
    /// A client without connections yet.
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Self { pool }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()))?;
        let exchange = async {
            let answer = self.pool.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
            Ok((status, body.map_err(ClientError::Answer)?.to_bytes()))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or(Err(ClientError::Timeout))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}
