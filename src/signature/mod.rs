//! Signatures: how a provider's request is verified, how a delivery is signed, and the secrets
//! behind both, which never print.

mod hmac;
mod secret;
mod standard_webhooks;
mod verifier;

pub use secret::{InvalidSecret, Secret};
pub use standard_webhooks::{SigningSecret, sign};
pub use verifier::{Refused, SignedRequest, Verified, Verifier};
