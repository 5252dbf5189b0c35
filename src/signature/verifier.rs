//! A source's verification: from raw bytes to [`Verified`] ones.

use std::net::IpAddr;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use jiff::Timestamp;

use super::{
    Basic, Dialpad, HmacScheme, StandardWebhooks, Telnyx, TokenBody, TokenHeader, Twilio, UrlSecret, Vonage,
};
use crate::network::Networks;

/// The longest header that a signature or a token is looked for in, in bytes. A token of Vonage has
/// some five hundred.
const MAX_HEADER: usize = 8 << 10;

/// A request as it came in, every part that a signature may cover. The body is capped already.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The method, upper-case.
    pub method: String,
    /// The whole URL as the provider called it (`public_url`, else the Host header).
    pub url: String,
    /// The path behind the source's name: `/status`, or empty.
    pub sub_path: String,
    /// The query, without its question mark; empty if there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
}

impl SignedRequest {
    /// Whether the body says that it is a form.
    #[must_use]
    pub fn is_form(&self) -> bool {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    /// The one value of a header. Two values are refused: which of them was signed is anyone's
    /// guess.
    pub(super) fn header(&self, name: &str) -> Result<&str, Refused> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().ok_or_else(|| Refused::MissingHeader(name.to_owned()))?;
        if values.next().is_some() {
            return Err(Refused::malformed(name, "it is there more than once"));
        }
        if value.len() > MAX_HEADER {
            return Err(Refused::malformed(name, "it is too long"));
        }
        value.to_str().map_err(|_| Refused::malformed(name, "it is not plain ASCII"))
    }
}

/// A request that its source's scheme vouches for. Only [`Verifier::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    request: SignedRequest,
    message_id: Option<String>,
}

impl Verified {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &SignedRequest {
        &self.request
    }

    /// The message id that the signature covers, where the scheme has one: the same id again is
    /// the same event.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        self.message_id.as_deref()
    }
}

/// Why a request is not believed. No part of the secret or of the expected signature is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A header that the scheme needs is not there.
    #[error("the header `{0}` is missing")]
    MissingHeader(String),
    /// A header that the scheme needs cannot be read.
    #[error("the header `{header}` cannot be read: {reason}")]
    MalformedHeader {
        /// Which.
        header: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The request was signed too long ago: it may be a replay.
    #[error("the signature is {age} s old, {} s more than is allowed", age - allowed)]
    Stale {
        /// How long ago it was signed, in seconds.
        age: u64,
        /// The window, in seconds.
        allowed: u64,
    },
    /// The request was signed in the future: one of the clocks is wrong.
    #[error("the signature is {ahead} s ahead of this clock, {} s more than is allowed", ahead - allowed)]
    Early {
        /// How far in the future it was signed, in seconds.
        ahead: u64,
        /// The window, in seconds.
        allowed: u64,
    },
    /// No signature fits.
    #[error("no signature matches: the secret, the body or another signed part is not the sender's")]
    NoMatch,
    /// The token, the password or the secret of the URL is another one.
    #[error("the token, password or secret that was shown is not the configured one")]
    WrongSecret,
    /// The URL has no secret in it, or several.
    #[error("the URL does not hold the secret that it was given out with")]
    NoSecret,
    /// The body has no text at the place of the token.
    #[error("the body is no JSON with a text at `{0}`")]
    MissingToken(String),
    /// The URL's part of a signature cannot be read.
    #[error("the URL cannot be read: {0}")]
    MalformedUrl(&'static str),
    /// The signature covers the URL alone, and there is a body.
    #[error("the body is not signed: it is no form, and its hash is not in the URL")]
    UnsignedBody,
    /// A signed token (JWT) is none, or does not count for this request.
    #[error("the token does not count: {0}")]
    Token(&'static str),
    /// The request does not come from where its source's requests come from.
    #[error("the sender's address is in none of the networks that requests may come from")]
    ForeignNetwork,
    /// Where the request comes from cannot be told, and its source's requests may not come from
    /// anywhere.
    #[error("the sender's address is not known: what the proxies say of it cannot be relied on")]
    UnknownSender,
}

impl Refused {
    pub(super) fn malformed(header: &str, reason: &'static str) -> Self {
        Self::MalformedHeader { header: header.to_owned(), reason }
    }
}

/// How a source's requests are verified.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// Not at all; the operator said so.
    None,
    /// Standard Webhooks: v1 (HMAC-SHA256) and v1a (Ed25519).
    StandardWebhooks(StandardWebhooks),
    /// An HMAC over a configured text; the schemes of several providers are presets of it.
    Hmac(HmacScheme),
    /// Of several schemes, the first whose header is there.
    ByHeader(Vec<HmacScheme>),
    /// Twilio: HMAC-SHA1 of URL and form, or of URL and the body's hash.
    Twilio(Twilio),
    /// Telnyx: Ed25519.
    Telnyx(Telnyx),
    /// Vonage: a token with the hash of the body.
    Vonage(Vonage),
    /// Dialpad: the body is a token; the verified request has its claims as the body.
    Dialpad(Dialpad),
    /// A secret in a header.
    TokenHeader(TokenHeader),
    /// A secret in the body, which the verified request has masked.
    TokenBody(TokenBody),
    /// Basic credentials.
    Basic(Basic),
    /// A secret in the URL, which the verified request does not hold any more.
    UrlSecret(UrlSecret),
    /// One of the others, and from these networks only.
    From(Networks, Box<Self>),
}

impl Verifier {
    /// Verifies a request as of `now` of which nobody knows where it comes from.
    ///
    /// # Errors
    /// The scheme does not vouch for it, or takes requests from some networks only.
    pub fn verify(&self, request: SignedRequest, now: Timestamp) -> Result<Verified, Refused> {
        self.verify_from(None, request, now)
    }

    /// Verifies a request as of `now` that comes from this address.
    ///
    /// # Errors
    /// The scheme does not vouch for it.
    pub fn verify_from(
        &self,
        sender: Option<IpAddr>,
        mut request: SignedRequest,
        now: Timestamp,
    ) -> Result<Verified, Refused> {
        let message_id = match self {
            Self::From(_, scheme) => {
                self.admit(sender)?;
                return scheme.verify_from(sender, request, now);
            }
            Self::None => None,
            Self::StandardWebhooks(scheme) => Some(scheme.check(&request, now)?),
            Self::Hmac(scheme) => scheme.check(&request, now)?,
            Self::ByHeader(schemes) => {
                let present = schemes.iter().find(|scheme| request.headers.contains_key(scheme.header()));
                let scheme = present.or(schemes.first()).ok_or(Refused::NoMatch)?;
                scheme.check(&request, now)?
            }
            Self::Twilio(scheme) => scheme.check(&request).map(|()| None)?,
            Self::Telnyx(scheme) => scheme.check(&request, now).map(|()| None)?,
            // The token's own id is no message id: nothing says that a repeat has the same one.
            Self::Vonage(scheme) => scheme.check(&request, now).map(|()| None)?,
            Self::Dialpad(scheme) => scheme.check(&mut request, now).map(|()| None)?,
            Self::TokenHeader(scheme) => scheme.check(&request).map(|()| None)?,
            Self::TokenBody(scheme) => scheme.check(&mut request).map(|()| None)?,
            Self::Basic(scheme) => scheme.check(&request).map(|()| None)?,
            Self::UrlSecret(scheme) => scheme.check(&mut request).map(|()| None)?,
        };
        Ok(Verified { request, message_id })
    }

    /// The part of the verification that needs no more than the address.
    ///
    /// # Errors
    /// Requests may not come from there.
    pub fn admit(&self, sender: Option<IpAddr>) -> Result<(), Refused> {
        let Self::From(networks, _) = self else { return Ok(()) };
        match sender {
            None => Err(Refused::UnknownSender),
            Some(sender) if networks.contains(sender) => Ok(()),
            Some(_) => Err(Refused::ForeignNetwork),
        }
    }

    /// Whether it looks at nothing of a request but, at most, where it comes from.
    #[must_use]
    pub fn is_none(&self) -> bool {
        match self {
            Self::None => true,
            Self::From(_, scheme) => scheme.is_none(),
            _ => false,
        }
    }
}

/// The time around now within which a signature counts, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(Duration);

impl Window {
    /// A window of so long; fractions of a second do not count.
    #[must_use]
    pub const fn new(tolerance: Duration) -> Self {
        Self(tolerance)
    }

    /// Refuses a time that is outside.
    pub(super) fn check(self, signed_at: i64, now: Timestamp) -> Result<(), Refused> {
        let allowed = self.0.as_secs();
        let distance = now.as_second().abs_diff(signed_at);
        if distance <= allowed {
            Ok(())
        } else if signed_at < now.as_second() {
            Err(Refused::Stale { age: distance, allowed })
        } else {
            Err(Refused::Early { ahead: distance, allowed })
        }
    }
}

impl Default for Window {
    /// Five minutes, as Standard Webhooks, Stripe and Slack recommend.
    fn default() -> Self {
        Self(Duration::from_mins(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_at_its_edge_and_closed_a_second_later() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let check = |signed_at| Window::default().check(signed_at, now);
        for open in [999_700, 1_000_000, 1_000_300] {
            assert_eq!(check(open), Ok(()));
        }
        assert_eq!(check(999_699), Err(Refused::Stale { age: 301, allowed: 300 }));
        assert_eq!(check(1_000_301), Err(Refused::Early { ahead: 301, allowed: 300 }));
        assert!(check(i64::MIN).is_err() && check(i64::MAX).is_err());
    }
}
