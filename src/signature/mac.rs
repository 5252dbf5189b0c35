//! HMAC (RFC 2104) over parts, and its comparison in constant time.

use ::hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::Secret;

/// The hash function under an HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha256`
    #[default]
    Sha256,
    /// `sha512`
    Sha512,
    /// `sha1`: old, but as the hash of an HMAC not broken.
    Sha1,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Sha1];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Sha1 => "sha1",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// The HMAC over the parts, one behind the other.
    pub(crate) fn tag(self, secret: &Secret, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => tag::<Hmac<Sha256>>(secret, parts),
            Self::Sha512 => tag::<Hmac<Sha512>>(secret, parts),
            Self::Sha1 => tag::<Hmac<Sha1>>(secret, parts),
        }
    }

    /// Whether one of the signatures is the HMAC of the parts under one of the secrets. Takes as
    /// long for the first as for the last, and for none.
    pub(super) fn vouches(self, secrets: &[Secret], parts: &[&[u8]], signatures: &[Vec<u8>]) -> Choice {
        secrets.iter().fold(Choice::from(0), |found, secret| {
            let expected = self.tag(secret, parts);
            signatures.iter().fold(found, |found, signature| found | expected.ct_eq(signature))
        })
    }
}

fn tag<M: Mac + KeyInit>(secret: &Secret, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(secret.expose()).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::encoding::read_hex;
    use super::*;

    /// RFC 4231, test case 2, and RFC 2202, test case 2, in uneven parts.
    #[test]
    fn the_tags_are_those_of_the_rfcs() {
        let secret = Secret::from_bytes("Jefe");
        for (algorithm, expected) in [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Algorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Algorithm::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let tag = algorithm.tag(&secret, &[b"what do ya", b"", b" want for nothing?"]);
            assert_eq!(Some(tag), read_hex(expected), "{algorithm:?}");
            assert_eq!(Algorithm::from_name(algorithm.as_str()), Some(algorithm));
        }
    }

    #[test]
    fn a_shorter_signature_that_is_a_beginning_does_not_match() {
        let secrets = [Secret::from_bytes("one"), Secret::from_bytes("two")];
        let tag = Algorithm::Sha256.tag(&secrets[1], &[b"body"]);
        let vouches = |signature: &[u8]| {
            bool::from(Algorithm::Sha256.vouches(&secrets, &[b"body"], &[signature.to_vec()]))
        };
        assert!(vouches(&tag));
        assert!(!vouches(&tag[..16]));
        assert!(!vouches(&[]));
    }
}
