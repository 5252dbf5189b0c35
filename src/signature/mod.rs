//! Signatures: how a provider's request is verified, how a delivery is signed, and the secrets
//! behind both, which never print.

mod credentials;
pub(crate) mod encoding;
mod hmac;
mod mac;
mod sealed;
mod secret;
mod standard_webhooks;
mod verifier;

pub use credentials::{Basic, TokenHeader, UrlSecret};
pub use hmac::{Encoding, HmacScheme, HmacSettings, InvalidScheme, Layout};
pub use mac::Algorithm;
pub use sealed::{Sealer, Unsealable};
pub use secret::{InvalidSecret, Secret};
pub use standard_webhooks::{PublicKey, SenderKey, SigningSecret, StandardWebhooks, sign};
pub use verifier::{Refused, SignedRequest, Verified, Verifier, Window};
