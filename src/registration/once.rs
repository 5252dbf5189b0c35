//! Requests that are done once, however often they come: what is remembered of them.

use std::time::Duration;

use crate::signature::Sealer;
use crate::store::{Answered, Remember, StoreError};

/// For how long.
const KEEP: Duration = Duration::from_hours(24);

/// A request that is to be done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// SHA-256 of who asks and of the key that they gave it.
    pub key: [u8; 32],
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
}

/// A request whose key was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It is the same request, and this was the answer.
    Same(Vec<u8>),
    /// It was another request.
    Other,
}

impl Once {
    /// What to remember of the answer. It may hold a secret, and is sealed where secrets are.
    pub(super) fn remember(self, answer: &[u8], sealer: Option<&Sealer>) -> Remember {
        let answer = match sealer {
            Some(sealer) => sealer.seal(answer).into_bytes(),
            None => answer.to_vec(),
        };
        Remember { key: self.key, answered: Answered { fingerprint: self.fingerprint, answer }, keep: KEEP }
    }

    /// What the answer that is remembered says of this request.
    pub(super) fn compare(self, answered: Answered, sealer: Option<&Sealer>) -> Result<Repeat, StoreError> {
        if answered.fingerprint != self.fingerprint {
            return Ok(Repeat::Other);
        }
        let text = std::str::from_utf8(&answered.answer).ok().filter(|text| Sealer::is_sealed(text));
        let Some(text) = text else { return Ok(Repeat::Same(answered.answer)) };
        let damaged = |reason: String| StoreError::Corrupt { what: "answer", reason };
        let sealer =
            sealer.ok_or_else(|| damaged("it is sealed, and `secrets.key` is not configured".to_owned()))?;
        let answer = sealer.open(text).map_err(|fault| damaged(fault.to_string()))?;
        Ok(Repeat::Same(answer.expose().to_vec()))
    }
}
