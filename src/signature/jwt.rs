//! Signed tokens: JSON Web Tokens (RFC 7519) in their compact form (RFC 7515) under HS256, and
//! nothing else. That the algorithm is fixed, whatever a token says of itself, is what keeps forged
//! ones out (RFC 8725, section 3.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::mac::Algorithm;
use super::verifier::Window;
use super::{Refused, Secret};

/// The longest header of a token, encoded, in bytes. Those of the providers have some forty.
const MAX_HEADER: usize = 4 << 10;

const ALGORITHM: &str = "HS256";

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that whoever does not know them must not pass over: all of them, for us.
    crit: Option<IgnoredAny>,
}

/// The claims of a token that one of the secrets signed, as they stand in it: the JSON text of an
/// object, or of whatever else somebody who knows the secret has signed.
///
/// # Errors
/// It is no such token.
pub(super) fn open(token: &[u8], secrets: &[Secret]) -> Result<Vec<u8>, Refused> {
    let parts: Vec<&[u8]> = token.splitn(4, |byte| *byte == b'.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err(Refused::Token("expected three parts with dots between them"));
    };
    if header.len() > MAX_HEADER {
        return Err(Refused::Token("its header is too long"));
    }
    let told: Header = decode(header)
        .and_then(|header| read_object(&header))
        .ok_or(Refused::Token("its header cannot be read"))?;
    if told.alg != ALGORITHM {
        return Err(Refused::Token("its algorithm is not HS256"));
    }
    if told.crit.is_some() {
        return Err(Refused::Token("it has critical extensions, and this knows none"));
    }
    let signature = decode(signature)
        .filter(|signature| !signature.is_empty())
        .ok_or(Refused::Token("its signature is not base64url"))?;
    if !bool::from(Algorithm::Sha256.vouches(secrets, &[header, b".", claims], &[signature])) {
        return Err(Refused::NoMatch);
    }
    decode(claims).ok_or(Refused::Token("its claims are not base64url"))
}

/// base64url without padding, in its one spelling.
fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(digits).ok()
}

/// The claims that say when a token counts (RFC 7519, section 4.1), in unix seconds, which may have
/// a fraction.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Validity {
    /// When it was issued.
    pub(super) iat: Option<f64>,
    /// From when on it counts no more.
    exp: Option<f64>,
    /// Before when it does not count.
    nbf: Option<f64>,
}

impl Validity {
    /// Refuses a token that was issued outside of the window, that has expired, or that does not
    /// count yet. Another clock may be ahead of ours by as much as the window; what has expired by
    /// ours has expired.
    pub(super) fn check(self, window: Window, now: Timestamp) -> Result<(), Refused> {
        if let Some(issued_at) = self.iat {
            window.check(seconds(issued_at), now)?;
        }
        if self.exp.is_some_and(|expiry| seconds(expiry) <= now.as_second()) {
            return Err(Refused::Token("it has expired"));
        }
        match self.nbf.map(|start| window.check(seconds(start), now)) {
            Some(Err(early @ Refused::Early { .. })) => Err(early),
            _ => Ok(()),
        }
    }
}

/// Whole seconds; what no time can be is the first or the last.
#[allow(clippy::cast_possible_truncation, reason = "such a cast saturates, which is what is wanted")]
fn seconds(number: f64) -> i64 {
    number.floor() as i64
}

/// Reads a JSON object. A list is none, which serde would read member by member.
pub(super) fn read_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.1: its token and its key.
    #[test]
    fn the_token_of_the_rfc_opens_with_its_key() {
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = Secret::from_base64(key).unwrap();
        let claims = open(token.as_bytes(), std::slice::from_ref(&key)).unwrap();
        assert_eq!(
            claims,
            b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
        );
        assert_eq!(open(token.as_bytes(), &[Secret::from_bytes("x")]), Err(Refused::NoMatch));
        assert_eq!(open(token.as_bytes(), &[]), Err(Refused::NoMatch));
        for wrong in [&token[..token.len() - 1], &format!("{token}="), &format!("{token}.x"), &token[1..], ""]
        {
            assert!(
                matches!(open(wrong.as_bytes(), std::slice::from_ref(&key)), Err(Refused::Token(_))),
                "{wrong}"
            );
        }
    }

    /// The token and the secret of the tests of Vonage's Python library (`jwt/tests/test_verify_jwt.py`).
    #[test]
    fn the_token_of_vonages_library_opens_with_its_secret() {
        let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.\
                     eyJpc3MiOiJPbmxpbmUgSldUIEJ1aWxkZXIiLCJpYXQiOjE2OTc2MzQ2ODAsImV4cCI6MzMyNTQ1NDA4MjgsImF1ZCI6IiIsInN1YiI6IiJ9.\
                     88vJc3I2HhuqEDixHXVhc9R30tA6U_HQHZTC29y6CGM";
        let secret = Secret::from_bytes("qwertyuiopasdfghjklzxcvbnm123456");
        let claims = open(token.as_bytes(), &[Secret::from_bytes("asdf"), secret]).unwrap();
        assert!(claims.starts_with(b"{\"iss\":\"Online JWT Builder\",\"iat\":1697634680,"));
        assert_eq!(open(token.as_bytes(), &[Secret::from_bytes("asdf")]), Err(Refused::NoMatch));
    }

    fn forged(header: &str) -> Result<Vec<u8>, Refused> {
        let secret = Secret::from_bytes("s");
        let (header, claims) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
        let tag = Algorithm::Sha256.tag(&secret, &[header.as_bytes(), b".", claims.as_bytes()]);
        open(format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(tag)).as_bytes(), &[secret])
    }

    #[test]
    fn one_algorithm_counts_even_under_a_right_signature() {
        assert_eq!(forged(r#"{"alg":"HS256","typ":"JWT"}"#), Ok(b"{}".to_vec()));
        assert_eq!(forged(r#"{"alg":"HS256","kid":"1"}"#), Ok(b"{}".to_vec()));
        for alg in ["none", "None", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "", "HS256 "] {
            let refused = forged(&format!(r#"{{"alg":"{alg}"}}"#));
            assert_eq!(refused, Err(Refused::Token("its algorithm is not HS256")), "{alg}");
        }
        for broken in [
            "{}",
            "",
            "{",
            r#"["HS256",null]"#,
            r#"{"alg":null}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"none","alg":"HS256"}"#,
        ] {
            assert!(forged(broken).is_err(), "{broken}");
        }
        let critical = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
        assert!(matches!(forged(critical), Err(Refused::Token(_))));
        let long = format!(r#"{{"alg":"HS256","x":"{}"}}"#, "x".repeat(MAX_HEADER));
        assert_eq!(forged(&long), Err(Refused::Token("its header is too long")));
    }

    #[test]
    fn a_token_counts_in_its_time() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let check =
            |claims: &str| serde_json::from_str::<Validity>(claims).unwrap().check(Window::default(), now);
        for good in [
            "{}",
            r#"{"iat": 1000000}"#,
            r#"{"iat": 999700.9, "exp": 1000001, "nbf": 1000300}"#,
            r#"{"iat": null, "nbf": 1, "sub": "x"}"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check(r#"{"iat": 999699}"#), Err(Refused::Stale { age: 301, allowed: 300 }));
        assert_eq!(check(r#"{"iat": 1000301}"#), Err(Refused::Early { ahead: 301, allowed: 300 }));
        assert_eq!(check(r#"{"nbf": 1000301}"#), Err(Refused::Early { ahead: 301, allowed: 300 }));
        for expired in [r#"{"exp": 1000000}"#, r#"{"exp": 0}"#, r#"{"exp": -1e300}"#] {
            assert_eq!(check(expired), Err(Refused::Token("it has expired")), "{expired}");
        }
        assert!(check(r#"{"iat": 1e300}"#).is_err() && check(r#"{"iat": -1e300}"#).is_err());
        assert!(serde_json::from_str::<Validity>(r#"{"iat": "1000000"}"#).is_err());
    }
}
