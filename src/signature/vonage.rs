//! Vonage: <https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks>.
//!
//! `Authorization: Bearer` holds a token under HS256 whose claim `payload_hash` is the SHA-256 of
//! the body, or, of a request without one, of its query written as a JSON object.

use hyper::header::AUTHORIZATION;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::jwt::{self, Validity};
use super::verifier::{SignedRequest, Window};
use super::{Refused, Secret, encoding};

/// Who issues the tokens: "this will always be 'Vonage'".
const ISSUER: &str = "Vonage";

/// The verification of what Vonage posts.
#[derive(Clone, Debug)]
pub struct Vonage {
    secrets: Vec<Secret>,
    api_key: Option<String>,
    window: Window,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<serde::de::IgnoredAny>,
    payload_hash: Option<String>,
    api_key: Option<String>,
    #[serde(flatten)]
    validity: Validity,
}

impl Vonage {
    /// The secrets are signature secrets. With an API key, requests of other accounts are refused.
    #[must_use]
    pub fn new(secrets: Vec<Secret>, api_key: Option<String>, window: Window) -> Self {
        Self { secrets, api_key, window }
    }

    pub(super) fn check(&self, request: &SignedRequest, now: Timestamp) -> Result<(), Refused> {
        let shown = request.header(AUTHORIZATION.as_str())?;
        let token = shown
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Refused::malformed(AUTHORIZATION.as_str(), "expected Bearer and a token"))?;
        let claims = jwt::open(token.as_bytes(), &self.secrets)?;
        let claims: Claims = jwt::read_object(&claims).ok_or(Refused::Token("its claims cannot be read"))?;

        if claims.iss.as_deref() != Some(ISSUER) {
            return Err(Refused::Token("it is not issued by Vonage"));
        }
        // Vonage names no audience: a token that does was made for something else.
        if claims.aud.is_some() {
            return Err(Refused::Token("it is for another audience"));
        }
        if self.api_key.is_some() && self.api_key != claims.api_key {
            return Err(Refused::Token("it is of another API key than the configured one"));
        }
        if claims.validity.iat.is_none() {
            return Err(Refused::Token("it does not say when it was issued"));
        }
        claims.validity.check(self.window, now)?;
        let told = claims.payload_hash.as_deref().and_then(encoding::read_hex);
        let told = told.ok_or(Refused::Token("it has no `payload_hash` in hexadecimal digits"))?;
        if told.ct_eq(Sha256::digest(payload(request)).as_slice()).into() {
            Ok(())
        } else {
            Err(Refused::NoMatch)
        }
    }
}

/// What the hash is of.
fn payload(request: &SignedRequest) -> Vec<u8> {
    if request.method == "GET" && request.body.is_empty() {
        // As JavaScript builds and writes an object: the last value of a name, at its first place.
        let mut object = serde_json::Map::new();
        for (name, value) in form_urlencoded::parse(request.query.as_bytes()) {
            object.insert(name.into_owned(), value.into_owned().into());
        }
        serde_json::to_vec(&object).expect("names and texts are always JSON")
    } else {
        request.body.to_vec()
    }
}
