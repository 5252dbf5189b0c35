//! Signatures: how a provider's request is verified, how a delivery is signed, and the secrets
//! behind both, which never print.

mod credentials;
mod dialpad;
mod ed25519;
pub(crate) mod encoding;
mod hmac;
mod jwt;
mod mac;
mod sealed;
mod secret;
mod standard_webhooks;
mod telnyx;
mod token_body;
mod twilio;
mod verifier;
mod vonage;

pub use credentials::{Basic, TokenHeader, UrlSecret};
pub use dialpad::Dialpad;
pub use ed25519::PublicKey;
pub use hmac::{Encoding, HmacScheme, HmacSettings, InvalidScheme, Layout};
pub use mac::Algorithm;
pub use sealed::{Sealer, Unsealable};
pub use secret::{InvalidSecret, Secret};
pub use standard_webhooks::{SenderKey, SigningSecret, StandardWebhooks, sign};
pub use telnyx::Telnyx;
pub use token_body::TokenBody;
pub use twilio::Twilio;
pub use verifier::{Refused, SignedRequest, Verified, Verifier, Window};
pub use vonage::Vonage;
