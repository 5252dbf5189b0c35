//! The outgoing client: one exchange with a receiver, within one deadline.
//!
//! What it never does: follow a redirect, ask for or undo a content encoding, keep a cookie, read
//! more than 16 KiB of an answer, or dial an address that the policy did not check.

mod api;
mod connector;
mod error;
mod proxy;
mod request;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

pub use api::{ApiAnswer, ApiRequest, AskError};
pub use connector::{CONNECT_LIMIT, MAX_KEPT};
pub use error::{ConnectError, ConnectPhase, SendError, Unsendable};
pub use proxy::{InvalidProxy, Proxy};
pub use tls::{CaProblem, InvalidCaFile, TlsError};

use self::connector::Connector;
use super::outcome::RetryAfter;
use crate::destination::{AddressPolicy, TargetUrl};
use crate::event::DeliveryId;
use crate::signature::SigningSecret;
use crate::store::DeliveryRequest;

/// How much of a response's body is read and kept; the rest is left unread.
pub const MAX_RESPONSE_BODY: usize = 16 * 1024;

/// The most bytes of a response's head. The receiver's own words are not kept, so this need only
/// be more than what servers send.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// How long a connection may wait for its next delivery. Below the 60 s after which common
/// servers and balancers close, so that it is we who close, between requests.
const IDLE_LIMIT: Duration = Duration::from_secs(45);

/// Idle connections kept for one origin. A registration's deliveries come in bursts, and with fewer
/// most of a burst would connect anew; over all origins the connector bounds them.
const MAX_IDLE_PER_ORIGIN: usize = 256;

/// How often an HTTP/2 connection is asked whether it is alive, and how long it may take to say.
/// One dead connection would otherwise cost every delivery to its origin a whole deadline.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Flow-control windows of HTTP/2: what a receiver may send unasked.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What the client must know.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings {
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// The proxy through which everything goes, if there is one.
    pub proxy: Option<Proxy>,
    /// PEM files with authorities that are trusted beside the platform's.
    pub ca_files: Vec<PathBuf>,
}

/// The outgoing client. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    policy: AddressPolicy,
}

/// One attempt's request.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The delivery, named in `webhook-id`.
    pub id: DeliveryId,
    /// The attempt's number, from 1, told in `ringback-attempt`.
    pub attempt: u32,
    /// What is sent.
    pub request: &'a DeliveryRequest,
    /// What signs it, the newest first.
    pub secrets: &'a [SigningSecret],
    /// How long everything may take, from the look-up to the last byte of the response.
    pub timeout: Duration,
}

/// How one exchange went.
#[derive(Debug)]
pub struct Exchange {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub latency: Duration,
    /// What came back, if anything did: in part if there is an error too.
    pub response: Option<Response>,
    /// What went wrong. If nothing did, there is a response.
    pub error: Option<SendError>,
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// `Retry-After`, if there is one that can be read.
    pub retry_after: Option<RetryAfter>,
    /// The body as it came, at most [`MAX_RESPONSE_BODY`] of it.
    pub body: Bytes,
}

impl Client {
    /// A client with these settings. Reads the platform's trusted authorities from its files; a
    /// machine that has none delivers over plain HTTP and to the authorities of `ca_files`.
    ///
    /// # Errors
    /// A file of authorities cannot be read or holds none.
    pub fn new(settings: ClientSettings) -> Result<Self, InvalidCaFile> {
        let tls = tls::client_config(&settings.ca_files)?;
        let connector = Connector::new(settings.policy.clone(), tls, settings.proxy);
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(MAX_IDLE_PER_ORIGIN)
            .http1_max_buf_size(MAX_RESPONSE_HEAD)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_LIMIT)
            .build(connector);
        Ok(Self { http, policy: settings.policy })
    }

    /// Makes one attempt.
    pub async fn send(&self, outgoing: &Outgoing<'_>) -> Exchange {
        let started_at = Timestamp::now();
        let start = Instant::now();
        let mut received = None;
        let error = match self.prepare(outgoing, started_at) {
            Err(error) => Some(error),
            Ok(mut request) => {
                let connection = capture_connection(&mut request);
                let exchange = self.exchange(request, &mut received);
                match timeout_at(start + outgoing.timeout, exchange).await {
                    Ok(result) => result.err(),
                    Err(_elapsed) => {
                        // An HTTP/2 connection outlives the request that was given up. If it is
                        // what hangs, the next attempt must not meet it again.
                        if let Some(connection) = connection.connection_metadata().as_ref() {
                            connection.poison();
                        }
                        Some(SendError::Timeout { limit: outgoing.timeout, answered: received.is_some() })
                    }
                }
            }
        };
        let response = received.map(Response::from);
        Exchange { started_at, latency: start.elapsed(), response, error }
    }

    fn prepare(&self, outgoing: &Outgoing<'_>, now: Timestamp) -> Result<Request<Full<Bytes>>, SendError> {
        // The URL was checked when it was registered; the policy may have changed since.
        let target =
            TargetUrl::parse(&outgoing.request.url, &self.policy).map_err(SendError::from_problems)?;
        request::assemble(&target, outgoing, now).map_err(SendError::Unsendable)
    }

    /// Fills `received` in as it comes, so that what there is of it survives the deadline.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        received: &mut Option<Received>,
    ) -> Result<(), SendError> {
        let answer = self.http.request(request).await.map_err(SendError::Exchange)?;
        let (head, body) = answer.into_parts();
        let received = received.insert(Received {
            status: head.status.as_u16(),
            retry_after: RetryAfter::of(&head.headers),
            body: Vec::new(),
        });
        read_start(body, &mut received.body).await.map_err(SendError::Body)
    }
}

/// A response on its way in.
struct Received {
    status: u16,
    retry_after: Option<RetryAfter>,
    body: Vec<u8>,
}

impl From<Received> for Response {
    fn from(Received { status, retry_after, body }: Received) -> Self {
        Self { status, retry_after, body: body.into() }
    }
}

/// Reads a body up to [`MAX_RESPONSE_BODY`]. If there is more, dropping it closes the connection.
async fn read_start(mut body: Incoming, start: &mut Vec<u8>) -> Result<(), hyper::Error> {
    while start.len() < MAX_RESPONSE_BODY && !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            let room = MAX_RESPONSE_BODY - start.len();
            start.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(())
}
