//! Ed25519 (RFC 8032): the public keys of senders.

use ring::signature::{ED25519, UnparsedPublicKey};

use super::{InvalidSecret, encoding};

/// What Standard Webhooks puts before a public key.
const PREFIX: &str = "whpk_";

/// The Ed25519 public key of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads `whpk_` and base64 of 32 bytes.
    ///
    /// # Errors
    /// It is not such a text.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let expected = InvalidSecret("expected `whpk_` and base64 of 32 bytes");
        text.strip_prefix(PREFIX).and_then(Self::read).ok_or(expected)
    }

    /// Reads base64 of 32 bytes.
    ///
    /// # Errors
    /// It is not such a text.
    pub fn parse_bare(text: &str) -> Result<Self, InvalidSecret> {
        Self::read(text).ok_or(InvalidSecret("expected base64 of the 32 bytes of an Ed25519 public key"))
    }

    fn read(digits: &str) -> Option<Self> {
        encoding::read_base64(digits)?.try_into().map(Self).ok()
    }

    pub(super) fn is_prefixed(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Whether one of the signatures is one of the message under one of the keys. Nothing here is
    /// secret, so that it may stop at the first that is.
    pub(super) fn vouches(keys: &[Self], parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
        if keys.is_empty() || signatures.is_empty() {
            return false;
        }
        let message = parts.concat();
        keys.iter().any(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key.0);
            signatures.iter().any(|signature| key.verify(&message, signature).is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoding::{read_hex, write_base64};
    use super::*;

    /// RFC 8032, section 7.1, tests 2 and 3.
    #[test]
    fn signatures_are_those_of_the_rfc() {
        for (key, message, signature) in [
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let key = PublicKey::parse_bare(&write_base64(&read_hex(key).unwrap())).unwrap();
            let (message, signature) = (read_hex(message).unwrap(), read_hex(signature).unwrap());
            assert!(PublicKey::vouches(&[key], &[&message], std::slice::from_ref(&signature)));
            assert!(!PublicKey::vouches(&[key], &[&message, b"\0"], std::slice::from_ref(&signature)));
            assert!(!PublicKey::vouches(&[key], &[&message], &[signature[..63].to_vec()]));
            assert!(!PublicKey::vouches(&[], &[&message], &[signature]));
            assert!(!PublicKey::vouches(&[key], &[&message], &[]));
        }
    }

    #[test]
    fn a_key_has_32_bytes_and_its_prefix_where_there_is_one() {
        let bare = write_base64(&[7; 32]);
        assert_eq!(PublicKey::parse_bare(&bare), PublicKey::parse(&format!("whpk_{bare}")));
        assert!(PublicKey::parse_bare(&bare).is_ok());
        assert!(PublicKey::parse(&bare).is_err() && PublicKey::parse_bare(&format!("whpk_{bare}")).is_err());
        for wrong in ["", "!", &write_base64(&[7; 31]), &write_base64(&[7; 33])] {
            assert!(PublicKey::parse_bare(wrong).is_err(), "{wrong}");
        }
    }
}
