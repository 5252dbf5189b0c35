//! `Idempotency-Key`: a request that creates something is done once, and answered alike each time.

use hyper::StatusCode;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};

use super::{Api, Call};
use crate::config::Identity;
use crate::http::{Answer, Problem, Query, json as answer};
use crate::registration::{Issue, Once, Repeat};

/// The header.
const HEADER: &str = "idempotency-key";

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// Reads what makes a request the same: its key is its token's, so that no other token can use it
/// up or read what was answered.
pub(super) fn read(
    parts: &Parts,
    identity: &Identity,
    query: &Query,
    body: &[u8],
) -> Result<Option<Once>, Problem> {
    let mut keys = parts.headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let length = key.len();
    if keys.next().is_some() || !(1..=MAX_KEY).contains(&length) {
        let detail = format!("`Idempotency-Key` must be one text of 1 to {MAX_KEY} bytes");
        return Err(Problem::invalid(vec![Issue::new("/Idempotency-Key", "bad_idempotency_key", detail)]));
    }
    let key =
        Sha256::new().chain_update(identity.token.as_bytes()).chain_update([0]).chain_update(key.as_bytes());
    let target = parts.uri.path();
    let mut fingerprint =
        Sha256::new().chain_update(parts.method.as_str()).chain_update([b' ']).chain_update(target);
    // The token says who asks, and not for what.
    for (name, value) in query.pairs().filter(|(name, _)| *name != "token") {
        for text in [name, value] {
            fingerprint.update([0xff]);
            fingerprint.update(text);
        }
    }
    fingerprint.update([0]);
    fingerprint.update(body);
    Ok(Some(Once { key: key.finalize().into(), fingerprint: fingerprint.finalize().into() }))
}

impl Api {
    /// The answer that this request got before, if it did.
    pub(super) async fn earlier(&self, call: &Call<'_>) -> Result<Option<Answer>, Problem> {
        let Some(once) = call.once else { return Ok(None) };
        let repeat = self.ledger.answered(&call.account, once).await?;
        repeat.map(again).transpose()
    }
}

/// An answer as it is remembered: its status, a line break, its body.
pub(super) fn spell(status: StatusCode, body: &str) -> Vec<u8> {
    format!("{}\n{body}", status.as_u16()).into_bytes()
}

/// The answer to a repeat.
pub(super) fn again(repeat: Repeat) -> Result<Answer, Problem> {
    match repeat {
        Repeat::Same(spelt) => {
            let mut parts = spelt.splitn(2, |byte| *byte == b'\n');
            let status = parts.next().and_then(|status| StatusCode::from_bytes(status).ok());
            let (status, body) = status.zip(parts.next()).ok_or_else(Problem::damaged)?;
            Ok(answer(status, body.to_vec()))
        }
        Repeat::Other => Err(Problem::new(
            StatusCode::CONFLICT,
            "idempotency_key_reused",
            "this `Idempotency-Key` came with another request in the last 24 hours",
        )),
    }
}
