//! Speko's calls, with their events, reports and recordings.
//!
//! Source: <https://docs.speko.dev/api-reference/calls>

use serde_json::{Value, json};

use super::{Asked, Reply, json as answer};

/// Speko, with some calls.
#[derive(Clone, Debug)]
pub struct Speko {
    token: String,
    calls: Value,
}

impl Speko {
    /// Answers who shows this token. `calls` has a member for each call by its id, and that the
    /// answers that there are: `call`, `report`, `events`, `recording`.
    #[must_use]
    pub fn new(token: &str, calls: Value) -> Self {
        Self { token: token.to_owned(), calls }
    }

    /// Answers.
    #[must_use]
    pub fn answer(&self, asked: &Asked) -> Reply {
        if !asked.has_bearer(&self.token) {
            return answer(401, &json!({"error": "Unauthorized", "code": "UNAUTHORIZED"}));
        }
        let absent = || answer(404, &json!({"error": "Not found", "code": "NOT_FOUND"}));
        let segments = asked.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let ["v1", "calls", id, rest @ ..] = &segments[..] else { return absent() };
        let Some(call) = self.calls.get(id) else { return absent() };
        let held = |part: &str| call.get(part).map_or_else(absent, |held| answer(200, held));
        match (asked.method.as_str(), rest) {
            ("GET", []) => held("call"),
            ("GET", [part @ ("events" | "report" | "recording")]) => held(part),
            ("POST", ["report", "finalize"]) => {
                answer(200, &json!({"session_id": id, "summary": call["report"]["summary"], "webhook": {}}))
            }
            _ => absent(),
        }
    }
}
