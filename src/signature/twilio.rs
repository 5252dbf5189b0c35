//! Twilio: <https://www.twilio.com/docs/usage/security#validating-requests>.
//!
//! `x-twilio-signature` is base64 of an HMAC-SHA1, keyed with the auth token, of the whole URL and,
//! for a form, of every parameter's name and value behind it, sorted by name. Of any other body the
//! URL holds the SHA-256, in its parameter `bodySHA256`.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use url::form_urlencoded;

use super::mac::Algorithm;
use super::verifier::SignedRequest;
use super::{Refused, Secret, encoding};

const SIGNATURE: &str = "x-twilio-signature";
const BODY_HASH: &str = "bodySHA256";

/// The verification of what Twilio posts. No time is signed.
#[derive(Clone, Debug)]
pub struct Twilio {
    secrets: Vec<Secret>,
}

impl Twilio {
    /// The secrets are auth tokens; several while one replaces the other.
    #[must_use]
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets }
    }

    pub(super) fn check(&self, request: &SignedRequest) -> Result<(), Refused> {
        let signature = encoding::read_base64(request.header(SIGNATURE)?)
            .filter(|signature| !signature.is_empty())
            .ok_or_else(|| Refused::malformed(SIGNATURE, "expected base64"))?;
        let parameters = match body_hash(&request.url)? {
            Some(told) if bool::from(told.ct_eq(Sha256::digest(&request.body).as_slice())) => Vec::new(),
            Some(_) => return Err(Refused::NoMatch),
            None if request.body.is_empty() => Vec::new(),
            None if request.is_form() => parameters(&request.body),
            // The signature of the URL alone would let any body through.
            None => return Err(Refused::UnsignedBody),
        };
        // Twilio itself is not consistent about the port.
        let vouches = spellings(&request.url).iter().fold(Choice::from(0), |found, url| {
            let parts = [url.as_bytes(), parameters.as_slice()];
            found | Algorithm::Sha1.vouches(&self.secrets, &parts, std::slice::from_ref(&signature))
        });
        if vouches.into() { Ok(()) } else { Err(Refused::NoMatch) }
    }
}

/// The SHA-256 of the body that the signed URL tells.
fn body_hash(url: &str) -> Result<Option<Vec<u8>>, Refused> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut told = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == BODY_HASH);
    let Some((_, hash)) = told.next() else { return Ok(None) };
    match (encoding::read_hex(&hash), told.next()) {
        (Some(hash), None) => Ok(Some(hash)),
        (None, _) => Err(Refused::MalformedUrl("its `bodySHA256` is not in hexadecimal digits")),
        (Some(_), Some(_)) => Err(Refused::MalformedUrl("its `bodySHA256` is there more than once")),
    }
}

/// Every parameter of a form, name and value, in the order of the names; of a name's several
/// values each once, in their order.
fn parameters(form: &[u8]) -> Vec<u8> {
    let mut sorted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        sorted.entry(name).or_default().insert(value);
    }
    let mut written = Vec::with_capacity(form.len());
    for (name, values) in &sorted {
        for value in values {
            written.extend_from_slice(name.as_bytes());
            written.extend_from_slice(value.as_bytes());
        }
    }
    written
}

/// The URL with its port, which is the scheme's own where it has none, and without.
fn spellings(url: &str) -> [String; 2] {
    let Some((scheme, behind)) = url.split_once("://") else { return [url.to_owned(), url.to_owned()] };
    let (authority, path) = behind.split_at(behind.find(['/', '?', '#']).unwrap_or(behind.len()));
    // The colons of an IPv6 address stand in brackets, that of a password before the host.
    let host_end = authority.rfind([']', '@']).map_or(0, |at| at + 1);
    let colon = authority[host_end..].find(':').map(|at| host_end + at);
    let host = &authority[..colon.unwrap_or(authority.len())];
    let port = match colon {
        Some(colon) => &authority[colon + 1..],
        None if scheme == "http" => "80",
        None => "443",
    };
    [format!("{scheme}://{host}:{port}{path}"), format!("{scheme}://{host}{path}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_spelt_with_its_port_and_without() {
        for (url, with, without) in [
            ("https://h/a?b=:1", "https://h:443/a?b=:1", "https://h/a?b=:1"),
            ("https://h:443/a", "https://h:443/a", "https://h/a"),
            ("http://h/", "http://h:80/", "http://h/"),
            ("https://h:8443/a", "https://h:8443/a", "https://h/a"),
            ("https://[::1]/a", "https://[::1]:443/a", "https://[::1]/a"),
            ("https://[::1]:80/a", "https://[::1]:80/a", "https://[::1]/a"),
            ("https://h", "https://h:443", "https://h"),
            ("https://u:p@h/a", "https://u:p@h:443/a", "https://u:p@h/a"),
            ("", "", ""),
        ] {
            assert_eq!(spellings(url), [with, without], "{url}");
        }
    }

    #[test]
    fn parameters_are_sorted_and_values_are_there_once() {
        let written = |form: &str| String::from_utf8(parameters(form.as_bytes())).unwrap();
        assert_eq!(written("b=2&a=1+%2B&B=0"), "B0a1 +b2");
        assert_eq!(written("a=2&a=1&a=2"), "a1a2");
        assert_eq!(written("a&b="), "ab");
        assert_eq!(written(""), "");
        assert_eq!(written("n=%C3%A9"), "né");
    }

    #[test]
    fn the_hash_of_the_body_is_told_once() {
        assert_eq!(body_hash("https://h/a?x=bodySHA256"), Ok(None));
        assert_eq!(body_hash("https://h/a"), Ok(None));
        assert_eq!(body_hash("https://h/a?x=1&bodySHA256=00fF"), Ok(Some(vec![0, 255])));
        for wrong in ["bodySHA256=0", "bodySHA256=00&bodySHA256=00", "bodySHA256=xy"] {
            assert!(
                matches!(body_hash(&format!("https://h/?{wrong}")), Err(Refused::MalformedUrl(_))),
                "{wrong}"
            );
        }
    }
}
