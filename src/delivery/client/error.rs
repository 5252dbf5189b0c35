//! Why an exchange failed, told apart by type; the sentences that go into an attempt's record.
//!
//! A sentence may name the receiver's host and its addresses. It holds no path, query, header
//! value, credential or body.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper_util::client::legacy;

use super::tls::{self, TlsError};
use crate::destination::{InvalidTarget, RefusedAddress};
use crate::store::OutcomeKind;

/// Why an exchange was not completed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent: the stored request cannot be, now or later.
    #[error("nothing was sent: {0}")]
    Unsendable(Unsendable),
    /// Nothing was sent: the URL names what must not be dialled.
    #[error("nothing was sent: {0}")]
    TargetRefused(InvalidTarget),
    /// No connection, or it broke before the response's head had come.
    #[error("{}", sentence(.0))]
    Exchange(#[source] legacy::Error),
    /// The connection broke within the response's body.
    #[error("the connection broke before the response had come to its end")]
    Body(#[source] hyper::Error),
    /// The deadline of the whole exchange passed.
    #[error("{} within {limit:?}", if *.answered { "the response did not come to its end" } else { "no response" })]
    Timeout {
        /// The deadline.
        limit: Duration,
        /// Whether the response's head had come.
        answered: bool,
    },
}

/// What is wrong with a stored request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// The URL is not one, or not one of ours.
    #[error("{0}")]
    Target(InvalidTarget),
    /// The URL cannot be asked for over HTTP.
    #[error("the URL cannot be sent over HTTP")]
    Url,
    /// None that is sent: a delivery's is POST or PUT.
    #[error("the method is neither POST nor PUT")]
    Method,
    /// A header's name.
    #[error("`{}` cannot be the name of a header", .0.escape_default())]
    HeaderName(String),
    /// The value of the header of this name.
    #[error("the value of the header `{0}` holds a control character")]
    HeaderValue(String),
    /// The content type.
    #[error("the content type holds a control character")]
    ContentType,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be resolved.
    #[error("the name `{host}` could not be resolved")]
    Dns {
        /// The name.
        host: String,
        /// The resolver's error; `None` if it answered with no address.
        #[source]
        source: Option<io::Error>,
    },
    /// All addresses of the name are refused. The address stays out of the sentence: the
    /// operator's resolver may have told it of a network that its customers do not see.
    #[error("`{host}` resolves to an address that must not be dialled ({})", .source.reason)]
    AddressRefused {
        /// The name.
        host: String,
        /// The first of its addresses.
        #[source]
        source: RefusedAddress,
    },
    /// An address could not be connected to.
    #[error("no connection to {address}")]
    Connection {
        /// The last address that was tried.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The proxy could not be reached.
    #[error("no connection to the proxy")]
    Proxy(#[source] Box<dyn Error + Send + Sync>),
    /// The proxy would not connect.
    #[error("the proxy refused the connection with {0}")]
    ProxyRefused(StatusCode),
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The deadline passed.
    #[error("{0} took longer than {limit:?}", limit = super::CONNECT_LIMIT)]
    Timeout(ConnectPhase),
    /// The URL has no host or port; [`TargetUrl`](crate::destination::TargetUrl) makes none such.
    #[error("the URL has no host")]
    NoHost,
}

/// What a connection was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectPhase {
    /// The resolver.
    #[error("the look-up of the name")]
    Lookup,
    /// The receiver, or the proxy.
    #[error("the connection")]
    Dial,
    /// The receiver's part of the handshake.
    #[error("the TLS handshake")]
    Handshake,
}

impl SendError {
    /// The kind of outcome that this error is.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Unsendable(_) => OutcomeKind::Unsendable,
            Self::TargetRefused(_) => OutcomeKind::AddressRefused,
            Self::Timeout { .. } => OutcomeKind::Timeout,
            Self::Exchange(error) => match connect_error(error) {
                Some(error) => error.kind(),
                None => broken(error),
            },
            Self::Body(error) => broken(error),
        }
    }

    /// Of all problems of a URL, the one that decides: what no change of policy can mend.
    pub(super) fn from_problems(problems: Vec<InvalidTarget>) -> Self {
        let mut refused = None;
        for problem in problems {
            match problem {
                InvalidTarget::Address(_) | InvalidTarget::Localhost => refused = Some(problem),
                InvalidTarget::NotAUrl(_)
                | InvalidTarget::Whitespace
                | InvalidTarget::TooLong(_)
                | InvalidTarget::Scheme
                | InvalidTarget::UserInformation
                | InvalidTarget::Port(_)
                | InvalidTarget::NoHost => return Self::Unsendable(Unsendable::Target(problem)),
            }
        }
        refused.map_or(Self::Unsendable(Unsendable::Url), Self::TargetRefused)
    }
}

impl ConnectError {
    fn kind(&self) -> OutcomeKind {
        match self {
            Self::Dns { .. } => OutcomeKind::Dns,
            Self::AddressRefused { .. } => OutcomeKind::AddressRefused,
            Self::Connection { .. } | Self::Proxy(_) | Self::ProxyRefused(_) => OutcomeKind::Connection,
            Self::Tls(_) => OutcomeKind::Tls,
            Self::Timeout(_) => OutcomeKind::Timeout,
            Self::NoHost => OutcomeKind::Unsendable,
        }
    }
}

/// Our connector's error, if it was our connector that failed.
fn connect_error(error: &legacy::Error) -> Option<&ConnectError> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// The kind of a connection that broke.
fn broken(error: &(dyn Error + 'static)) -> OutcomeKind {
    if tls_cause(error).is_some() { OutcomeKind::Tls } else { OutcomeKind::Connection }
}

/// The TLS error beneath a connection that broke. With TLS 1.3 a server refuses a client when the
/// client's part of the handshake is over.
fn tls_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|cause| tls::cause(cause.downcast_ref()?))
}

fn sentence(error: &legacy::Error) -> String {
    if let Some(error) = connect_error(error) {
        return with_cause(error);
    }
    if let Some(cause) = tls_cause(error) {
        return tls::words(cause);
    }
    let http: Option<&hyper::Error> = chain(error).find_map(|cause| cause.downcast_ref());
    match http {
        Some(error) if error.is_parse_too_large() => "the head of the response is too large",
        Some(error) if error.is_parse() => "the response is not HTTP",
        Some(error) if error.is_timeout() => "the connection broke: the receiver no longer answered on it",
        _ => "the connection broke before there was a response",
    }
    .to_owned()
}

/// The error with the system's words behind it, where they say more.
fn with_cause(error: &ConnectError) -> String {
    match error {
        ConnectError::Dns { source: Some(source), .. } | ConnectError::Connection { source, .. } => {
            format!("{error}: {source}")
        }
        ConnectError::Proxy(source) => format!("{error}: {source}"),
        ConnectError::Dns { source: None, .. } => format!("{error}: it has no address"),
        ConnectError::AddressRefused { .. }
        | ConnectError::ProxyRefused(_)
        | ConnectError::Tls(_)
        | ConnectError::Timeout(_)
        | ConnectError::NoHost => error.to_string(),
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
