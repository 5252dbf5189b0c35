//! Through an HTTP proxy, by CONNECT.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::error::ConnectError;
use crate::destination::CheckedAddress;

/// An HTTP proxy: `http://[user:password@]host:port`. It is the operator's, so its own address is
/// not checked; it is asked for checked addresses and looks no name up.
#[derive(Clone, Debug)]
pub struct Proxy {
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

/// A text that is not a proxy's address. Does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy: write `http://host:port` or `http://user:password@host:port`")]
pub struct InvalidProxy;

impl Proxy {
    /// Reads `delivery.proxy`.
    ///
    /// # Errors
    /// It is not an `http` URL with a host and nothing behind the port.
    pub fn parse(text: &str) -> Result<Self, InvalidProxy> {
        let url = Url::parse(text).map_err(|_| InvalidProxy)?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "http" || !bare {
            return Err(InvalidProxy);
        }
        let host = match url.host().ok_or(InvalidProxy)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let port = url.port_or_known_default().ok_or(InvalidProxy)?;
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                let mut credentials: Vec<u8> = percent_decode_str(user).collect();
                credentials.push(b':');
                credentials.extend(percent_decode_str(password.unwrap_or("")));
                let basic = format!("Basic {}", STANDARD.encode(credentials));
                let mut value = HeaderValue::try_from(basic).map_err(|_| InvalidProxy)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { host, port, authorization })
    }

    /// Its name or address, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Asks for a connection to a checked address over one to the proxy.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        target: CheckedAddress,
    ) -> Result<TokioIo<Upgraded>, ConnectError> {
        let broke = |error: hyper::Error| ConnectError::Proxy(Box::new(error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        // Ends with the tunnel, or when what follows drops `sender` and the response.
        tokio::spawn(connection.with_upgrades());

        let authority = target.get().to_string();
        let host = HeaderValue::try_from(&authority).expect("an address is visible ASCII");
        let uri = Uri::builder().authority(authority).build().expect("an address and port is an authority");
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, host);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let response = sender.send_request(request).await.map_err(broke)?;
        if !response.status().is_success() {
            return Err(ConnectError::ProxyRefused(response.status()));
        }
        hyper::upgrade::on(response).await.map(TokioIo::new).map_err(broke)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read() {
        let plain = Proxy::parse("http://proxy.internal:3128").unwrap();
        assert_eq!(
            (plain.host(), plain.port(), plain.authorization.is_none()),
            ("proxy.internal", 3128, true)
        );
        let address = Proxy::parse("http://[::1]/").unwrap();
        assert_eq!((address.host(), address.port()), ("::1", 80));
        let secret = Proxy::parse("http://user:p%40ss@10.0.0.1:8080").unwrap();
        assert_eq!(secret.authorization.as_ref().unwrap(), "Basic dXNlcjpwQHNz");
        assert!(!format!("{secret:?}").contains("dXNlcjpwQHNz"));
    }

    #[test]
    fn what_is_not_one_is_refused() {
        for text in [
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy/path",
            "http://proxy/?q",
            "http://proxy/#f",
            "proxy:3128",
            "",
        ] {
            assert_eq!(Proxy::parse(text).err(), Some(InvalidProxy), "{text}");
        }
    }
}
