//! Telnyx: <https://developers.telnyx.com/development/api-fundamentals/webhooks/receiving-webhooks>.
//!
//! `telnyx-signature-ed25519` is base64 of an Ed25519 signature of `timestamp|body`, where the time
//! of signing is in `telnyx-timestamp`, in unix seconds.

use jiff::Timestamp;

use super::verifier::{SignedRequest, Window};
use super::{PublicKey, Refused, encoding};

const SIGNATURE: &str = "telnyx-signature-ed25519";
const TIMESTAMP: &str = "telnyx-timestamp";

/// The verification of what Telnyx posts.
#[derive(Clone, Debug)]
pub struct Telnyx {
    keys: Vec<PublicKey>,
    window: Window,
}

impl Telnyx {
    /// A request is believed if its signature fits one of the keys. Without any key, none is.
    #[must_use]
    pub fn new(keys: Vec<PublicKey>, window: Window) -> Self {
        Self { keys, window }
    }

    pub(super) fn check(&self, request: &SignedRequest, now: Timestamp) -> Result<(), Refused> {
        let signature = request.header(SIGNATURE)?;
        let timestamp = request.header(TIMESTAMP)?;
        let signature = encoding::read_base64(signature)
            .filter(|signature| !signature.is_empty())
            .ok_or_else(|| Refused::malformed(SIGNATURE, "expected base64"))?;
        let signed_at = encoding::read_digits(timestamp)
            .ok_or_else(|| Refused::malformed(TIMESTAMP, "expected unix seconds"))?;
        self.window.check(signed_at, now)?;
        let parts: [&[u8]; 3] = [timestamp.as_bytes(), b"|", &request.body];
        if PublicKey::vouches(&self.keys, &parts, &[signature]) { Ok(()) } else { Err(Refused::NoMatch) }
    }
}
