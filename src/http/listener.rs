//! The accept loop: connections within a limit, TLS where it is configured, and a shutdown that
//! lets each connection finish what it is answering.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::Answer;

/// Connections open at once. Each costs some tens of kilobytes at most while it is idle; past
/// this, new ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 4_096;

/// How long the head of a request may take, from the connection's beginning or the answer before;
/// it is also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after the kernel could not give us a connection (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of a peer.
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer;
}

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenerError {
    /// The address.
    pub address: SocketAddr,
    /// The kernel's reason.
    pub source: std::io::Error,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    head_timeout: Duration,
}

impl Listener {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let bound = async {
            let tcp = TcpListener::bind(address).await?;
            let address = tcp.local_addr()?;
            Ok(Self { tcp, address, head_timeout: HEAD_TIMEOUT })
        };
        bound.await.map_err(|source| ListenerError { address, source })
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets every connection finish the request it is in, for at most
    /// `drain`.
    pub async fn serve<H: Handler>(
        self,
        handler: Arc<H>,
        tls: Option<TlsAcceptor>,
        stop: impl Future<Output = ()>,
        drain: Duration,
    ) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = async {
                let permit =
                    Arc::clone(&permits).acquire_owned().await.expect("this semaphore is never closed");
                (self.tcp.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                accepted = accepted => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        stream,
                        peer,
                        permit,
                        handler: Arc::clone(&handler),
                        head_timeout: self.head_timeout,
                    };
                    tokio::spawn(connection.serve(tls.clone(), graceful.watcher()));
                }
                // The peer is gone again, or we are out of descriptors: both pass.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        let _ = tokio::time::timeout(drain, graceful.shutdown()).await;
    }
}

/// One connection.
struct Connection<H> {
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    handler: Arc<H>,
    head_timeout: Duration,
}

impl<H: Handler> Connection<H> {
    async fn serve(self, tls: Option<TlsAcceptor>, watcher: Watcher) {
        let Self { stream, peer, permit, handler, head_timeout } = self;
        // Answers are small; waiting to fill a packet would only add latency.
        let _ = stream.set_nodelay(true);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(head_timeout)
            .max_concurrent_streams(250);
        let asked = Arc::new(Notify::new());
        let silent = silence(Arc::clone(&asked), head_timeout);
        let service = service_fn(move |request| {
            asked.notify_one();
            let handler = Arc::clone(&handler);
            async move { Ok::<_, std::convert::Infallible>(handler.answer(request, peer).await) }
        });
        match tls {
            None => {
                let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                finish(watcher.watch(connection), silent, peer).await;
            }
            Some(acceptor) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    finish(watcher.watch(connection), silent, peer).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            },
        }
        drop(permit);
    }
}

/// Completes when nothing was asked on a connection within the time for a head. The time-outs of
/// the protocols begin only when it is known which of them is spoken, and whoever sends nothing, or
/// the beginning of what could be either, never gets there.
async fn silence(asked: Arc<Notify>, limit: Duration) {
    if tokio::time::timeout(limit, asked.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Sees a connection to its end. Why it ended badly is the peer's own doing, and nothing to wake
/// anybody for.
async fn finish(
    connection: impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
    silent: impl Future<Output = ()>,
    peer: SocketAddr,
) {
    tokio::select! {
        result = connection => {
            if let Err(error) = result {
                tracing::debug!(%peer, %error, "connection ended");
            }
        }
        () = silent => tracing::debug!(%peer, "nothing was asked"),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::json;

    const HEAD: Duration = Duration::from_millis(200);

    struct Slow;

    #[async_trait::async_trait]
    impl Handler for Slow {
        async fn answer(&self, _: Request<Incoming>, _: SocketAddr) -> Answer {
            tokio::time::sleep(HEAD * 3).await;
            json(StatusCode::OK, "{}")
        }
    }

    #[tokio::test]
    async fn whoever_asks_nothing_is_let_go_and_whoever_waits_for_an_answer_is_not() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let listener = Listener { head_timeout: HEAD, ..listener };
        let address = listener.address();
        tokio::spawn(listener.serve(Arc::new(Slow), None, std::future::pending(), Duration::ZERO));
        // `PRI` begins HTTP/2, and a single `P` could be either.
        for begun in ["", "P", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\nhost: a\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "`{begun}` keeps its connection for ever");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}
