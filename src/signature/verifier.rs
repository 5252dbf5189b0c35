//! A source's verification: from raw bytes to [`Verified`] ones.

use hyper::HeaderMap;
use hyper::body::Bytes;
use jiff::Timestamp;

/// A request as it came in, every part that a signature may cover. The body is capped already.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The method, upper-case.
    pub method: String,
    /// The whole URL as the provider called it (`public_url`, else the Host header).
    pub url: String,
    /// The path behind the source's name, with the query: `/status?x=1`, or empty.
    pub sub_path: String,
    /// The query, without its question mark; empty if there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
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
}

/// How a source's requests are verified.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// Not at all; the operator said so.
    None,
}

impl Verifier {
    /// Verifies a request as of `now`.
    ///
    /// # Errors
    /// The scheme does not vouch for it.
    pub fn verify(&self, request: SignedRequest, _now: Timestamp) -> Result<Verified, Refused> {
        Ok(Verified { request, message_id: None })
    }
}
