//! Auralytik's voice calls, each answer in the envelope that the API reference shows.
//!
//! Sources: <https://auralytik.ai/developers/voice-calls>,
//! <https://auralytik.ai/developers/authentication>.

use serde_json::{Value, json};

use super::{Asked, Reply, json as answer};

/// What a request that is signed carries beside its key.
const SIGNED: [&str; 2] = ["x-timestamp", "x-signature"];

/// Auralytik, with some voice calls.
#[derive(Clone, Debug)]
pub struct Auralytik {
    key: String,
    calls: Value,
}

impl Auralytik {
    /// Answers who shows this key and signs. `calls` has a member for each voice call by its id, and
    /// that the answers that there are: `call`, `epaResults`.
    #[must_use]
    pub fn new(key: &str, calls: Value) -> Self {
        Self { key: key.to_owned(), calls }
    }

    /// Answers.
    #[must_use]
    pub fn answer(&self, asked: &Asked) -> Reply {
        let is_signed = SIGNED.iter().all(|name| !asked.header(name).is_empty());
        if asked.header("x-api-key") != self.key || !is_signed {
            return answer(401, &json!({"error": {"code": "unauthorized"}}));
        }
        let absent = || answer(404, &json!({"error": {"code": "not_found"}}));
        let segments = asked.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let ["api", "v1", "voice-calls", id, rest @ ..] = &segments[..] else { return absent() };
        let Some(call) = self.calls.get(id) else { return absent() };
        let held = |part: &str| {
            call.get(part).map_or_else(absent, |held| answer(200, &json!({"data": held, "meta": {}})))
        };
        match rest {
            [] => held("call"),
            ["epa-results"] => held("epaResults"),
            _ => absent(),
        }
    }
}
