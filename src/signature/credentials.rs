//! Schemes without a signature: the sender shows a secret that it shares with us, in a header, as
//! Basic credentials, or in the URL. Such a request can be replayed and altered by whoever reads
//! it, so that they are for providers that offer nothing better, behind TLS.

use std::str::FromStr as _;

use hyper::header::{AUTHORIZATION, HeaderName};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use url::form_urlencoded;

use super::encoding::read_base64;
use super::hmac::InvalidScheme;
use super::verifier::SignedRequest;
use super::{Refused, Secret};

/// Whether what was shown is one of the secrets. Both are hashed first, so that not even their
/// lengths can be told by the time it takes.
pub(super) fn is_one_of(secrets: &[Secret], shown: &[u8]) -> bool {
    let shown = Sha256::digest(shown);
    let found = secrets.iter().fold(Choice::from(0), |found, secret| {
        found | Sha256::digest(secret.expose()).as_slice().ct_eq(shown.as_slice())
    });
    found.into()
}

/// A secret in a header, behind a prefix such as `Bearer `.
#[derive(Clone, Debug)]
pub struct TokenHeader {
    header: HeaderName,
    prefix: String,
    secrets: Vec<Secret>,
}

impl TokenHeader {
    /// The scheme.
    ///
    /// # Errors
    /// The header's name is none.
    pub fn new(header: &str, prefix: &str, secrets: Vec<Secret>) -> Result<Self, InvalidScheme> {
        let invalid = |_| InvalidScheme { key: "header", reason: "expected the name of a header".to_owned() };
        let header = HeaderName::from_str(header).map_err(invalid)?;
        Ok(Self { header, prefix: prefix.to_owned(), secrets })
    }

    pub(super) fn check(&self, request: &SignedRequest) -> Result<(), Refused> {
        let value = request.header(self.header.as_str())?;
        let shown = value
            .strip_prefix(&self.prefix)
            .ok_or_else(|| Refused::malformed(self.header.as_str(), "it does not begin with the prefix"))?;
        if is_one_of(&self.secrets, shown.as_bytes()) { Ok(()) } else { Err(Refused::WrongSecret) }
    }
}

/// Basic credentials (RFC 7617).
#[derive(Clone, Debug)]
pub struct Basic {
    credentials: Vec<Secret>,
}

impl Basic {
    /// This user with one of these passwords.
    #[must_use]
    pub fn new(user: &str, passwords: &[Secret]) -> Self {
        let credentials = passwords
            .iter()
            .map(|password| Secret::from_bytes([user.as_bytes(), b":", password.expose()].concat()));
        Self { credentials: credentials.collect() }
    }

    pub(super) fn check(&self, request: &SignedRequest) -> Result<(), Refused> {
        let value = request.header(AUTHORIZATION.as_str())?;
        let digits = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let shown = digits
            .and_then(|(_, digits)| read_base64(digits.trim()))
            .ok_or_else(|| Refused::malformed(AUTHORIZATION.as_str(), "expected Basic and base64"))?;
        if is_one_of(&self.credentials, &shown) { Ok(()) } else { Err(Refused::WrongSecret) }
    }
}

/// A secret in the URL that the provider was given: the segment behind the source's name, or a
/// parameter of the query.
#[derive(Clone, Debug)]
pub struct UrlSecret {
    parameter: Option<String>,
    secrets: Vec<Secret>,
}

impl UrlSecret {
    /// The secret is the value of this parameter; without one it is the segment.
    #[must_use]
    pub fn new(parameter: Option<String>, secrets: Vec<Secret>) -> Self {
        Self { parameter, secrets }
    }

    /// Believes the request, and takes the secret out of it: what is kept and shown of a request
    /// must not hold it.
    pub(super) fn check(&self, request: &mut SignedRequest) -> Result<(), Refused> {
        let shown = match &self.parameter {
            None => {
                let path = request.sub_path.strip_prefix('/').filter(|path| !path.is_empty());
                let path = path.ok_or(Refused::NoSecret)?;
                let (segment, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
                let shown = percent_decode_str(segment).collect::<Vec<u8>>();
                request.sub_path = rest.to_owned();
                shown
            }
            Some(parameter) => {
                let (shown, query) = take_parameter(&request.query, parameter).ok_or(Refused::NoSecret)?;
                request.query = query;
                shown
            }
        };
        // The whole URL was of use to a scheme that signs it.
        request.url.clear();
        if is_one_of(&self.secrets, &shown) { Ok(()) } else { Err(Refused::WrongSecret) }
    }
}

/// The parameter's value, and the query without it; `None` if it is not there exactly once.
fn take_parameter(query: &str, parameter: &str) -> Option<(Vec<u8>, String)> {
    let mut shown = None;
    let mut others = Vec::new();
    for pair in query.split('&') {
        match form_urlencoded::parse(pair.as_bytes()).next() {
            Some((name, value)) if name == parameter => {
                if shown.replace(value.into_owned().into_bytes()).is_some() {
                    return None;
                }
            }
            _ => others.push(pair),
        }
    }
    Some((shown?, others.join("&")))
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::HeaderValue;

    use super::*;

    fn request(header: Option<(&'static str, &str)>, sub_path: &str, query: &str) -> SignedRequest {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        SignedRequest {
            method: "POST".into(),
            url: format!("https://h/v1/ingest/s{sub_path}?{query}"),
            sub_path: sub_path.into(),
            query: query.into(),
            headers,
            body: "{}".into(),
        }
    }

    fn secrets() -> Vec<Secret> {
        ["new secret", "old"].map(Secret::from_bytes).to_vec()
    }

    #[test]
    fn a_token_stands_in_its_header_behind_its_prefix() {
        let scheme = TokenHeader::new("X-Token", "Bearer ", secrets()).unwrap();
        let check = |value| scheme.check(&request(Some(("x-token", value)), "", ""));
        assert_eq!(check("Bearer new secret"), Ok(()));
        assert_eq!(check("Bearer old"), Ok(()));
        for wrong in ["Bearer new secreT", "Bearer new secret ", "Bearer ", "Bearer new secretold"] {
            assert_eq!(check(wrong), Err(Refused::WrongSecret), "{wrong}");
        }
        assert!(matches!(check("new secret"), Err(Refused::MalformedHeader { .. })));
        assert!(matches!(scheme.check(&request(None, "", "")), Err(Refused::MissingHeader(_))));
        assert!(TokenHeader::new("X Token", "", secrets()).is_err());
    }

    /// The first value is the example of RFC 7617, section 2.
    #[test]
    fn basic_credentials_are_a_user_and_a_password() {
        let scheme = Basic::new("Aladdin", &[Secret::from_bytes("open sesame")]);
        let check = |value| scheme.check(&request(Some(("authorization", value)), "", ""));
        assert_eq!(check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Ok(()));
        assert_eq!(check("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"), Ok(()));
        assert_eq!(check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZR=="), Err(malformed()));
        // Aladdin:open sesamf
        assert_eq!(check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZg=="), Err(Refused::WrongSecret));
        for wrong in ["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic", "Basic !"] {
            assert_eq!(check(wrong), Err(malformed()), "{wrong}");
        }
    }

    fn malformed() -> Refused {
        Refused::malformed("authorization", "expected Basic and base64")
    }

    #[test]
    fn a_secret_segment_is_believed_and_taken_out() {
        let scheme = UrlSecret::new(None, secrets());
        let check = |sub_path| {
            let mut request = request(None, sub_path, "a=1");
            scheme.check(&mut request).map(|()| (request.sub_path, request.query, request.url))
        };
        assert_eq!(check("/new%20secret"), Ok((String::new(), "a=1".into(), String::new())));
        assert_eq!(check("/old/status"), Ok(("/status".into(), "a=1".into(), String::new())));
        for wrong in ["/older", "/ol", "/status/old", "//old"] {
            assert_eq!(check(wrong), Err(Refused::WrongSecret), "{wrong}");
        }
        for none in ["", "/"] {
            assert_eq!(check(none), Err(Refused::NoSecret), "{none}");
        }
    }

    #[test]
    fn a_secret_parameter_is_believed_and_taken_out() {
        let scheme = UrlSecret::new(Some("key".into()), secrets());
        let check = |query| {
            let mut request = request(None, "/status", query);
            scheme.check(&mut request).map(|()| (request.sub_path, request.query))
        };
        assert_eq!(check("key=old"), Ok(("/status".into(), String::new())));
        assert_eq!(check("a=%31&k%65y=new+secret&b"), Ok(("/status".into(), "a=%31&b".into())));
        assert_eq!(check("key=new"), Err(Refused::WrongSecret));
        for none in ["", "keys=old", "key=old&key=old", "old"] {
            assert_eq!(check(none), Err(Refused::NoSecret), "{none}");
        }
    }

    #[test]
    fn without_secrets_nothing_is_believed() {
        assert!(!is_one_of(&[], b""));
        assert!(UrlSecret::new(None, vec![]).check(&mut request(None, "/x", "")).is_err());
    }
}
