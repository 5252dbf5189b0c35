//! From a URL to a connection: look the name up, check every address, dial a checked one, shake
//! hands. All of it within [`CONNECT_LIMIT`].

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::error::{ConnectError, ConnectPhase};
use super::proxy::Proxy;
use super::tls::TlsError;
use crate::destination::{AddressPolicy, CheckedAddress};

/// How long a connection may take, from the look-up to the end of the TLS handshake.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Look-ups under way at once. The system's resolver blocks a thread for each, for longer than a
/// connection may take; half of tokio's 512 blocking threads stay free for others.
const MAX_LOOKUPS: usize = 256;

/// Connections that may be kept for another delivery, over all receivers. One more than these is
/// closed after its exchange, so that idle receivers do not use up the file descriptors.
pub const MAX_KEPT: usize = 512;

/// Makes the client's connections.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    policy: AddressPolicy,
    tls: TlsConnector,
    proxy: Option<Proxy>,
    lookups: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

/// A connection, of whatever layers.
pub(super) struct Stream {
    io: TokioIo<Box<dyn Layer>>,
    h2: bool,
    /// The right to be kept; without it the connection serves one exchange.
    kept: Option<OwnedSemaphorePermit>,
}

/// What a layer can be put on.
pub(super) trait Layer: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Layer for T {}

impl Connector {
    pub(super) fn new(policy: AddressPolicy, tls: Arc<ClientConfig>, proxy: Option<Proxy>) -> Self {
        Self(Arc::new(Inner {
            policy,
            tls: TlsConnector::from(tls),
            proxy,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            kept: Arc::new(Semaphore::new(MAX_KEPT)),
        }))
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });

        let addresses = self.lookup(host, port, deadline).await?;
        let checked = self.check(host, addresses)?;
        let raw: Box<dyn Layer> = match &self.proxy {
            None => {
                let checked: Vec<_> = checked.iter().map(|checked| checked.get()).collect();
                Box::new(dial(&checked, deadline).await?)
            }
            Some(proxy) => self.tunnel(proxy, &checked, deadline).await?,
        };
        let (io, h2) = if tls { self.secure(host, raw, deadline).await? } else { (raw, false) };
        Ok(Stream { io: TokioIo::new(io), h2, kept: Arc::clone(&self.kept).try_acquire_owned().ok() })
    }

    /// The addresses of a name; of an address, itself.
    async fn lookup(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let name = host.to_owned();
        let lookups = Arc::clone(&self.lookups);
        let lookup = async move {
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let resolve = move || {
                // Held until the resolver comes back, which may be long after the deadline.
                let _permit = permit;
                (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
            };
            tokio::task::spawn_blocking(resolve).await.map_err(io::Error::other)?
        };
        match timeout_at(deadline, lookup).await {
            Err(_elapsed) => Err(ConnectError::Timeout(ConnectPhase::Lookup)),
            Ok(Err(error)) => Err(ConnectError::Dns { host: host.to_owned(), source: Some(error) }),
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(ConnectError::Dns { host: host.to_owned(), source: None })
            }
            Ok(Ok(addresses)) => Ok(addresses),
        }
    }

    /// The addresses that may be dialled, if there are any.
    fn check(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<CheckedAddress>, ConnectError> {
        let mut checked = Vec::new();
        let mut refused = None;
        for address in addresses {
            match self.policy.check(address) {
                Ok(address) if checked.len() < MAX_ADDRESSES => checked.push(address),
                Ok(_) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(source) if checked.is_empty() => {
                Err(ConnectError::AddressRefused { host: host.to_owned(), source })
            }
            _ => Ok(checked),
        }
    }

    async fn tunnel(
        &self,
        proxy: &Proxy,
        targets: &[CheckedAddress],
        deadline: Instant,
    ) -> Result<Box<dyn Layer>, ConnectError> {
        let addresses = self.lookup(proxy.host(), proxy.port(), deadline).await.map_err(of_proxy)?;
        let mut last = ConnectError::NoHost;
        for (target, deadline) in shares(targets, deadline) {
            let tunnel = async {
                let stream = dial(&addresses, deadline).await.map_err(of_proxy)?;
                proxy.connect(stream, *target).await
            };
            match timeout_at(deadline, tunnel).await {
                Ok(Ok(tunnel)) => return Ok(Box::new(tunnel)),
                Ok(Err(error)) => last = error,
                Err(_elapsed) => last = ConnectError::Timeout(ConnectPhase::Dial),
            }
        }
        Err(last)
    }

    async fn secure(
        &self,
        host: &str,
        raw: Box<dyn Layer>,
        deadline: Instant,
    ) -> Result<(Box<dyn Layer>, bool), ConnectError> {
        // A certificate names a host without the dot that makes its name absolute.
        let name = host.strip_suffix('.').unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| TlsError(io::Error::other(error)))?;
        match timeout_at(deadline, self.tls.connect(name, raw)).await {
            Err(_elapsed) => Err(ConnectError::Timeout(ConnectPhase::Handshake)),
            Ok(Err(error)) => Err(TlsError(error).into()),
            Ok(Ok(stream)) => {
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok((Box::new(stream), h2))
            }
        }
    }
}

/// Connects to the first of these addresses that answers. Each gets its share of what is left of
/// the time, so that a first one that swallows everything does not hide a second that works.
async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::NoHost;
    for (&address, deadline) in shares(addresses, deadline) {
        match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A request is written in one go; waiting for more to write only delays it. A
                // socket that cannot be told works all the same.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => last = ConnectError::Connection { address, source },
            Err(_elapsed) => last = ConnectError::Timeout(ConnectPhase::Dial),
        }
    }
    Err(last)
}

/// Each item with the time until which it may take: an equal part of what is left then.
fn shares<T>(items: &[T], deadline: Instant) -> impl Iterator<Item = (&T, Instant)> {
    items.iter().zip((1..=items.len()).rev()).map(move |(item, left)| {
        let now = Instant::now();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        (item, now + deadline.saturating_duration_since(now) / left)
    })
}

fn of_proxy(error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Timeout(phase) => ConnectError::Timeout(phase),
        other => ConnectError::Proxy(Box::new(other)),
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.connect(&uri).await })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("policy", &self.0.policy)
            .field("proxy", &self.0.proxy)
            .finish_non_exhaustive()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.kept.is_none() {
            connected.poison();
        }
        if self.h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector() -> Connector {
        let tls = super::super::tls::client_config(&[]).unwrap();
        Connector::new(AddressPolicy::default(), tls, None)
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn of_mixed_answers_only_the_checked_addresses_are_dialled() {
        let mixed = addresses(&["10.0.0.1:443", "8.8.8.8:443", "[::1]:443", "[2606:4700::1111]:443"]);
        let checked = connector().0.check("x.example", mixed).unwrap();
        let checked: Vec<_> = checked.into_iter().map(CheckedAddress::get).collect();
        assert_eq!(checked, addresses(&["8.8.8.8:443", "[2606:4700::1111]:443"]));
    }

    #[test]
    fn where_all_are_refused_the_first_says_why_and_stays_unnamed() {
        let refused = addresses(&["10.0.0.1:443", "127.0.0.1:443"]);
        let error = connector().0.check("x.example", refused).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x.example` resolves to an address that must not be dialled (private (RFC 1918))"
        );
    }

    #[test]
    fn of_many_addresses_some_are_tried() {
        let many: Vec<SocketAddr> = (0..100).map(|last| ([8, 8, 8, last], 443).into()).collect();
        assert_eq!(connector().0.check("x.example", many.clone()).unwrap().len(), MAX_ADDRESSES);
        // The ninth may be the first that is not refused.
        let mut late = vec!["10.0.0.1:443".parse().unwrap(); 50];
        late.extend(&many);
        assert_eq!(connector().0.check("x.example", late).unwrap().len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn each_address_has_its_share_of_what_is_left() {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(400);
        let mut ends = Vec::new();
        for (_, end) in shares(&[1, 2, 3, 4], deadline) {
            ends.push(end);
            tokio::time::sleep_until(end).await;
        }
        assert!(ends.is_sorted() && ends[0] < start + Duration::from_millis(200), "{ends:?}");
        assert!(ends[3] >= deadline, "{ends:?}");
        // What an early refusal saves, the next ones have.
        let start = Instant::now();
        let ends: Vec<_> =
            shares(&[1, 2], start + Duration::from_secs(4)).map(|(_, end)| (end - start).as_secs()).collect();
        assert_eq!(ends, [2, 4]);
    }
}
