//! Sealing: how a secret is kept at rest when the operator has configured a key.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::{InvalidSecret, Secret, encoding};

/// What every sealed text begins with. It is authenticated with the secret, so that a later form
/// cannot be passed off as this one.
const PREFIX: &str = "sealed:v1:";

/// Seals and opens with one key: ChaCha20-Poly1305 (RFC 8439), a random nonce for each text.
pub struct Sealer(LessSafeKey);

/// A stored text that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// It was never sealed, or by a newer version.
    #[error("not a sealed text of a form that this version knows")]
    UnknownForm,
    /// It was sealed with another key, or it is damaged.
    #[error("sealed with another key than `secrets.key`, or damaged")]
    WrongKey,
}

impl Sealer {
    /// The sealer of a key: base64 of 32 bytes, white space around it is passed over.
    ///
    /// # Errors
    /// It is not such a text.
    pub fn from_key(key: &Secret) -> Result<Self, InvalidSecret> {
        let expected = InvalidSecret("expected base64 of 32 bytes");
        let text = std::str::from_utf8(key.expose()).map_err(|_| expected)?;
        let bytes = Zeroizing::new(encoding::read_base64(text.trim()).ok_or(expected)?);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| expected)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Whether a stored text is a sealed one, of whichever form.
    #[must_use]
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with("sealed:")
    }

    /// Seals: `sealed:v1:` and base64 of nonce, ciphertext and tag. Never the same twice.
    #[must_use]
    pub fn seal(&self, secret: &[u8]) -> String {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the operating system has random bytes");
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(PREFIX),
                sealed.as_mut_slice(),
            )
            .expect("a secret is far shorter than ChaCha20 can encrypt");
        format!("{PREFIX}{}", encoding::write_base64(&[&nonce, sealed.as_slice(), tag.as_ref()].concat()))
    }

    /// Opens what [`Self::seal`] made with the same key.
    ///
    /// # Errors
    /// It did not.
    pub fn open(&self, text: &str) -> Result<Secret, Unsealable> {
        let digits = text.strip_prefix(PREFIX).ok_or(Unsealable::UnknownForm)?;
        let bytes = encoding::read_base64(digits).ok_or(Unsealable::WrongKey)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable::WrongKey)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let opened = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(PREFIX), opened.as_mut_slice())
            .map_err(|_| Unsealable::WrongKey)?;
        Ok(Secret::from_bytes(&*opened))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::from_key(&Secret::from_bytes(encoding::write_base64(&[byte; 32]))).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_alone() {
        let sealed = sealer(1).seal(b"whsec_abc");
        assert!(sealed.starts_with("sealed:v1:") && Sealer::is_sealed(&sealed));
        assert_eq!(sealer(1).open(&sealed).unwrap().expose(), b"whsec_abc");
        assert_eq!(sealer(2).open(&sealed).unwrap_err(), Unsealable::WrongKey);
        assert_ne!(sealer(1).seal(b"whsec_abc"), sealed);
        assert_eq!(sealer(1).open(&sealer(1).seal(b"")).unwrap().expose(), b"");
    }

    #[test]
    fn one_bit_anywhere_spoils_it() {
        let sealed = sealer(1).seal(b"whsec_abc");
        let bytes = encoding::read_base64(&sealed[PREFIX.len()..]).unwrap();
        for index in 0..bytes.len() {
            let mut spoilt = bytes.clone();
            spoilt[index] ^= 1;
            let spoilt = format!("{PREFIX}{}", encoding::write_base64(&spoilt));
            assert_eq!(sealer(1).open(&spoilt).unwrap_err(), Unsealable::WrongKey, "byte {index}");
        }
        assert_eq!(sealer(1).open("sealed:v1:AAAA").unwrap_err(), Unsealable::WrongKey);
        assert_eq!(sealer(1).open("sealed:v2:AAAA").unwrap_err(), Unsealable::UnknownForm);
        assert_eq!(sealer(1).open("whsec_abc").unwrap_err(), Unsealable::UnknownForm);
    }

    #[test]
    fn a_key_is_base64_of_32_bytes() {
        let key = encoding::write_base64(&[9; 32]);
        assert!(Sealer::from_key(&Secret::from_bytes(format!(" {key}\n"))).is_ok());
        for wrong in ["", "abc", &key[4..], "0123456789abcdef0123456789abcdef"] {
            assert!(Sealer::from_key(&Secret::from_bytes(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(format!("{:?}", sealer(1)), "Sealer(…)");
    }
}
