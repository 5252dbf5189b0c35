//! The demo's receiver: verifies every signature, and fails now and then.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::http::{Answer, Bodies, Handler, header_text, json};
use crate::signature::{SenderKey, SignedRequest, StandardWebhooks, Verifier, Window};

/// The largest body that it takes, in bytes.
const BODY_CAP: usize = 8 << 20;

/// Every so many-th attempt of those that are repeated soon is turned away.
const FAILS_EVERY: usize = 4;

/// One attempt, as it arrived.
pub(super) struct Arrival {
    pub(super) callback: &'static str,
    pub(super) delivery: String,
    pub(super) attempt: String,
    pub(super) method: String,
    pub(super) body: String,
    /// Whether the signature fits.
    pub(super) verdict: Result<(), String>,
    /// Whether it was answered with 503.
    pub(super) turned_away: bool,
}

/// A registered callback, as the receiver knows it.
struct Expected {
    name: &'static str,
    verifier: Verifier,
    /// Whether attempts may be turned away.
    may_fail: bool,
}

/// The receiver.
pub(super) struct Receiver {
    expected: Mutex<HashMap<String, Expected>>,
    attempts: AtomicUsize,
    arrivals: UnboundedSender<Arrival>,
}

impl Receiver {
    /// A receiver that expects nothing yet, and what arrives at it. The channel holds at most what
    /// the demo's few events cause.
    pub(super) fn new() -> (Arc<Self>, UnboundedReceiver<Arrival>) {
        let (arrivals, receiver) = unbounded_channel();
        let expected = Mutex::new(HashMap::new());
        (Arc::new(Self { expected, attempts: AtomicUsize::new(0), arrivals }), receiver)
    }

    /// Expects deliveries of a callback, signed with this secret, and turns some away if it may.
    pub(super) fn expect(&self, name: &'static str, secret: &str, may_fail: bool) {
        let key = SenderKey::parse(secret).expect("a registration's secret is one");
        let verifier = Verifier::StandardWebhooks(StandardWebhooks::new([key], Window::default()));
        let mut expected = self.expected.lock().expect("no holder of this lock panics");
        expected.insert(format!("/{name}"), Expected { name, verifier, may_fail });
    }
}

#[async_trait::async_trait]
impl Handler for Receiver {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Answer {
        let (parts, body) = request.into_parts();
        let Ok(held) = Bodies::new(BODY_CAP).read(body).await else {
            return json(StatusCode::BAD_REQUEST, "{}");
        };
        let body = held.bytes();
        let (name, verifier, may_fail) = {
            let expected = self.expected.lock().expect("no holder of this lock panics");
            match expected.get(parts.uri.path()) {
                Some(expected) => (expected.name, expected.verifier.clone(), expected.may_fail),
                None => return json(StatusCode::NOT_FOUND, "{}"),
            }
        };
        let signed = SignedRequest {
            method: parts.method.as_str().to_owned(),
            url: parts.uri.to_string(),
            sub_path: String::new(),
            query: String::new(),
            headers: parts.headers.clone(),
            body: body.clone(),
        };
        let verdict =
            verifier.verify(signed, Timestamp::now()).map(drop).map_err(|refused| refused.to_string());
        let turned_away =
            may_fail && (self.attempts.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(FAILS_EVERY);
        let status = match (&verdict, turned_away) {
            (Err(_), _) => StatusCode::UNAUTHORIZED,
            (Ok(()), true) => StatusCode::SERVICE_UNAVAILABLE,
            (Ok(()), false) => StatusCode::OK,
        };
        // Nobody listens any more once the demo is over.
        let _ = self.arrivals.send(Arrival {
            callback: name,
            delivery: header_text(&parts.headers, "webhook-id").to_owned(),
            attempt: header_text(&parts.headers, "ringback-attempt").to_owned(),
            method: parts.method.as_str().to_owned(),
            body: String::from_utf8_lossy(body).into_owned(),
            verdict,
            turned_away,
        });
        json(status, "{}")
    }
}
