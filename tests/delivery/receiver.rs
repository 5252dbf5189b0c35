//! Receivers on loopback, and the client that delivers to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ringback::delivery::client::{Exchange, Outgoing};
use ringback::delivery::{Client, ClientSettings, attempt_of};
use ringback::destination::AddressPolicy;
use ringback::event::DeliveryId;
use ringback::signature::SigningSecret;
use ringback::store::{Attempt, DeliveryRequest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(super) type Body = BoxBody<Bytes, std::convert::Infallible>;

/// The secret that the tests sign with.
pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Which connection brought it, from 1.
    pub(super) connection: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A receiver that stops when it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// A receiver of HTTP/1.1 (and HTTP/2 with prior knowledge) that answers so.
    pub(super) async fn http(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::start(None, answer).await
    }

    /// A receiver behind TLS.
    pub(super) async fn https(
        acceptor: TlsAcceptor,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(acceptor), answer).await
    }

    async fn start(
        acceptor: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let kept = Arc::clone(&seen);
        Self::raw_with(seen, move |stream, number| {
            let (answer, kept, acceptor) = (Arc::clone(&answer), Arc::clone(&kept), acceptor.clone());
            async move {
                match acceptor {
                    None => serve(stream, number, kept, answer).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, number, kept, answer).await;
                        }
                    }
                }
            }
        })
        .await
    }

    /// A receiver that does this with each connection, given its number, from 1.
    pub(super) async fn raw<F>(script: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::raw_with(Arc::default(), script).await
    }

    async fn raw_with<F>(
        seen: Arc<Mutex<Vec<Seen>>>,
        script: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Dropped with the accepting task, so that no connection outlives the receiver.
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                scripts.spawn(script(stream, number));
            }
        });
        Self { address, seen, connections, _tasks: tasks }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve<I>(
    stream: I,
    connection: usize,
    kept: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static>,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let seen = Seen {
                method: head.method,
                uri: head.uri,
                version: head.version,
                headers: head.headers,
                body,
                connection,
            };
            kept.lock().unwrap().push(seen.clone());
            Ok::<_, hyper::Error>(answer(&seen))
        }
    });
    // A client that goes away in the middle is what some tests are about.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// A response with this status and body.
pub(super) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(Full::new(body.into()).boxed()).unwrap()
}

/// Reads a request with a `content-length`, or what there is of it before the end.
pub(super) async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return text.into_owned();
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return text.into_owned(),
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Waits until the other side has closed.
pub(super) async fn closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {}
}

/// Loopback over IPv4 may be dialled.
pub(super) fn loopback() -> AddressPolicy {
    AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()])
}

/// A client that may deliver to loopback.
pub(super) fn client() -> Client {
    Client::new(ClientSettings { policy: loopback(), ..ClientSettings::default() }).unwrap()
}

/// A client that trusts the authority in this file as well.
pub(super) fn client_trusting(ca_file: PathBuf) -> Client {
    let settings =
        ClientSettings { policy: loopback(), ca_files: vec![ca_file], ..ClientSettings::default() };
    Client::new(settings).unwrap()
}

/// A delivery of `body` to this URL.
pub(super) fn request(url: &str, body: &str) -> DeliveryRequest {
    DeliveryRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        content_type: "application/json".to_owned(),
        headers: vec![("X-Customer".to_owned(), "7".to_owned())],
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// One attempt.
pub(super) async fn send(client: &Client, request: &DeliveryRequest, timeout: Duration) -> Exchange {
    send_as(client, DeliveryId::new(), 1, request, timeout).await
}

pub(super) async fn send_as(
    client: &Client,
    id: DeliveryId,
    attempt: u32,
    request: &DeliveryRequest,
    timeout: Duration,
) -> Exchange {
    let secrets = [SigningSecret::parse(SECRET).unwrap()];
    client.send(&Outgoing { id, attempt, request, secrets: &secrets, timeout }).await
}

/// The record of one attempt to deliver `{}` to this URL.
pub(super) async fn attempt(client: &Client, url: &str, timeout: Duration) -> Attempt {
    attempt_of(1, &send(client, &request(url, "{}"), timeout).await)
}
