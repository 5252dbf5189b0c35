//! Standard Webhooks: <https://github.com/standard-webhooks/standard-webhooks>, spec 1.0.

use super::{InvalidSecret, Secret};

/// A `whsec_…` secret that deliveries are signed with.
#[derive(Clone, Debug)]
pub struct SigningSecret(Secret);

impl SigningSecret {
    /// A new secret of 32 random bytes.
    #[must_use]
    pub fn generate() -> Self {
        unimplemented!()
    }

    /// Reads `whsec_` and base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// It is not such a text; the error says what is wrong, without the text.
    pub fn parse(_text: &str) -> Result<Self, InvalidSecret> {
        unimplemented!()
    }

    /// The `whsec_…` text: to show it once, and to store it.
    #[must_use]
    pub fn expose(&self) -> String {
        let _ = &self.0;
        unimplemented!()
    }
}

/// The value of `webhook-signature`: a `v1,…` for each secret, space-separated, over
/// `id.timestamp.body`. `timestamp` is in unix seconds.
#[must_use]
pub fn sign(_secrets: &[SigningSecret], _id: &str, _timestamp: i64, _body: &[u8]) -> String {
    unimplemented!()
}
