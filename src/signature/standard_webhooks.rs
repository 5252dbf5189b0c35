//! Standard Webhooks: <https://github.com/standard-webhooks/standard-webhooks>, spec 1.0.
//!
//! What is signed is `id.timestamp.body`. A `v1` signature is an HMAC-SHA256 under a shared
//! secret (`whsec_…`), a `v1a` signature is an Ed25519 one that a public key (`whpk_…`) checks.

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::mac::Algorithm;
use super::verifier::{SignedRequest, Window};
use super::{InvalidSecret, PublicKey, Refused, Secret, encoding};

const SECRET_PREFIX: &str = "whsec_";
const PRIVATE_KEY_PREFIX: &str = "whsk_";

/// The signatures of one request that are looked at: enough for every rotation, and a bound on
/// the work that an unverified request can cause.
const MAX_SIGNATURES: usize = 16;

/// A `whsec_…` secret that deliveries are signed with.
#[derive(Clone, Debug)]
pub struct SigningSecret(Secret);

impl SigningSecret {
    /// A new secret of 32 random bytes.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *bytes).expect("the operating system has random bytes");
        Self(Secret::from_bytes(bytes.as_slice()))
    }

    /// Reads `whsec_` and base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// It is not such a text; the error says what is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let digits = text.strip_prefix(SECRET_PREFIX).ok_or(InvalidSecret("expected `whsec_` and base64"))?;
        let secret = Secret::from_base64(digits)
            .map_err(|_| InvalidSecret("what stands behind `whsec_` is not base64"))?;
        if (24..=64).contains(&secret.expose().len()) {
            Ok(Self(secret))
        } else {
            Err(InvalidSecret("behind `whsec_` there must be base64 of 24 to 64 bytes"))
        }
    }

    /// The `whsec_…` text: to show it once, and to store it.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{SECRET_PREFIX}{}", encoding::write_base64(self.0.expose()))
    }
}

/// The value of `webhook-signature`: a `v1,…` for each secret, space-separated, over
/// `id.timestamp.body`. `timestamp` is in unix seconds.
#[must_use]
pub fn sign(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let parts = signed_parts(id, &timestamp, body);
    let signatures = secrets
        .iter()
        .map(|secret| format!("v1,{}", encoding::write_base64(&Algorithm::Sha256.tag(&secret.0, &parts))));
    signatures.collect::<Vec<_>>().join(" ")
}

fn signed_parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

/// A key that a sender's signatures are checked with.
#[derive(Clone, Debug)]
pub enum SenderKey {
    /// Shared with the sender: `v1` signatures.
    Shared(Secret),
    /// The sender's own: `v1a` signatures.
    Public(PublicKey),
}

impl SenderKey {
    /// Reads `whsec_…`, `whpk_…`, or bare base64, which is a shared secret. Shared secrets of any
    /// length are taken: the sender chose it.
    ///
    /// # Errors
    /// It is none of these; the error does not hold the text.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        if PublicKey::is_prefixed(text) {
            return PublicKey::parse(text).map(Self::Public);
        }
        if text.starts_with(PRIVATE_KEY_PREFIX) {
            return Err(InvalidSecret("a `whsk_` key is the sender's alone; a receiver has its `whpk_` key"));
        }
        let digits = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
        match Secret::from_base64(digits) {
            Ok(secret) => Ok(Self::Shared(secret)),
            Err(_) => Err(InvalidSecret("expected `whsec_` and base64, or `whpk_` and base64 of 32 bytes")),
        }
    }
}

/// The verification of requests that are signed by Standard Webhooks.
#[derive(Clone, Debug)]
pub struct StandardWebhooks {
    shared: Vec<Secret>,
    public: Vec<PublicKey>,
    window: Window,
}

/// One spelling of the three headers.
struct Headers {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

const HEADERS: Headers =
    Headers { id: "webhook-id", timestamp: "webhook-timestamp", signature: "webhook-signature" };
/// What Svix, from which the standard was made, called them.
const SVIX_HEADERS: Headers =
    Headers { id: "svix-id", timestamp: "svix-timestamp", signature: "svix-signature" };

impl StandardWebhooks {
    /// A request is believed if one of its signatures fits one of the keys. Without any key, none
    /// is.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = SenderKey>, window: Window) -> Self {
        let mut scheme = Self { shared: Vec::new(), public: Vec::new(), window };
        for key in keys {
            match key {
                SenderKey::Shared(secret) => scheme.shared.push(secret),
                SenderKey::Public(key) => scheme.public.push(key),
            }
        }
        scheme
    }

    /// The message id, if a signature fits.
    pub(super) fn check(&self, request: &SignedRequest, now: Timestamp) -> Result<String, Refused> {
        let svix = !request.headers.contains_key(HEADERS.id) && request.headers.contains_key(SVIX_HEADERS.id);
        let names = if svix { &SVIX_HEADERS } else { &HEADERS };
        let id = request.header(names.id)?;
        if id.is_empty() {
            return Err(Refused::malformed(names.id, "it is empty"));
        }
        let timestamp = request.header(names.timestamp)?;
        let signatures = request.header(names.signature)?;
        let signed_at = encoding::read_digits(timestamp)
            .ok_or_else(|| Refused::malformed(names.timestamp, "expected unix seconds"))?;
        let signatures = Signatures::read(signatures);
        if signatures.v1.is_empty() && signatures.v1a.is_empty() {
            return Err(Refused::malformed(names.signature, "expected `v1,` or `v1a,` and base64"));
        }
        self.window.check(signed_at, now)?;

        let parts = signed_parts(id, timestamp, &request.body);
        let by_secret = Algorithm::Sha256.vouches(&self.shared, &parts, &signatures.v1);
        if by_secret.into() || PublicKey::vouches(&self.public, &parts, &signatures.v1a) {
            Ok(id.to_owned())
        } else {
            Err(Refused::NoMatch)
        }
    }
}

/// The signatures of a request, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Signatures {
    v1: Vec<Vec<u8>>,
    v1a: Vec<Vec<u8>>,
}

impl Signatures {
    /// Those of other versions, and what is no signature, are passed over, as the standard asks.
    fn read(header: &str) -> Self {
        let mut signatures = Self::default();
        for signature in header.split_ascii_whitespace().take(MAX_SIGNATURES) {
            match signature.split_once(',') {
                Some(("v1", digits)) => signatures.v1.extend(encoding::read_base64(digits)),
                Some(("v1a", digits)) => signatures.v1a.extend(encoding::read_base64(digits)),
                _ => {}
            }
        }
        signatures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_secret_survives_its_text_and_does_not_print() {
        let secret = SigningSecret::generate();
        let again = SigningSecret::parse(&secret.expose()).unwrap();
        assert_eq!(again.expose(), secret.expose());
        assert_eq!(again.0.expose().len(), 32);
        assert_ne!(SigningSecret::generate().expose(), secret.expose());
        assert_eq!(SigningSecret::parse(EXAMPLE).unwrap().expose(), EXAMPLE);
        assert!(!format!("{secret:?}").contains(&secret.expose()[6..]));
    }

    #[test]
    fn a_secret_has_its_prefix_and_24_to_64_bytes() {
        let of = |bytes: usize| format!("whsec_{}", encoding::write_base64(&vec![7; bytes]));
        assert!(SigningSecret::parse(&of(24)).is_ok() && SigningSecret::parse(&of(64)).is_ok());
        for wrong in [&of(23), &of(65), "whsec_", "whsec_!", &EXAMPLE[6..], &of(32).to_uppercase()] {
            assert!(SigningSecret::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// The example of the standard's own libraries (JavaScript, PHP and others).
    #[test]
    fn the_signature_is_the_one_of_the_standard_libraries() {
        let secret = SigningSecret::parse(EXAMPLE).unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = br#"{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(std::slice::from_ref(&secret), id, 1_614_265_330, body), expected);
        let other = SigningSecret::generate();
        let both = sign(&[secret, other], id, 1_614_265_330, body);
        assert!(both.starts_with(&format!("{expected} v1,")) && both.len() == 2 * expected.len() + 1);
        assert_eq!(sign(&[], id, 1_614_265_330, body), "");
    }

    #[test]
    fn keys_of_senders_are_told_apart() {
        assert!(matches!(SenderKey::parse(EXAMPLE), Ok(SenderKey::Shared(_))));
        assert!(matches!(SenderKey::parse(&EXAMPLE[6..]), Ok(SenderKey::Shared(_))));
        let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        assert!(matches!(SenderKey::parse(public), Ok(SenderKey::Public(_))));
        for wrong in ["whpk_1SiA", "whsk_1SiA", "whsec_", "", "!"] {
            assert!(SenderKey::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signatures_of_other_versions_are_passed_over() {
        let read = Signatures::read("v2,AAAA v1,AAAA junk v1a,AAEC v1,!");
        assert_eq!(read, Signatures { v1: vec![vec![0, 0, 0]], v1a: vec![vec![0, 1, 2]] });
        assert_eq!(Signatures::read("v2,AAAA"), Signatures::default());
        assert_eq!(Signatures::read(""), Signatures::default());
        let many = vec!["v1,AAAA"; 1000].join(" ");
        assert_eq!(Signatures::read(&many).v1.len(), MAX_SIGNATURES);
    }
}
