//! Secrets: wiped when they are dropped, and never printed.

use super::encoding;

/// A secret of the configuration, in the bytes that a scheme keys its signature with.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

/// A text that is not a secret of the kind that is asked for. Does not hold the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSecret(pub &'static str);

impl Secret {
    /// These bytes.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes that a base64 text stands for: either alphabet, padded or not.
    ///
    /// # Errors
    /// It is not base64, or it is empty.
    pub fn from_base64(text: &str) -> Result<Self, InvalidSecret> {
        match encoding::read_base64(text) {
            Some(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            Some(_) => Err(InvalidSecret("the secret is empty")),
            None => Err(InvalidSecret("the secret is not base64")),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::from_bytes("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(…) Secret(…)");
    }

    #[test]
    fn base64_is_read_and_emptiness_is_not() {
        assert_eq!(Secret::from_base64("aHVudGVyMg").unwrap().expose(), b"hunter2");
        assert!(Secret::from_base64("").is_err());
        assert!(Secret::from_base64("hunter 2").is_err());
    }
}
