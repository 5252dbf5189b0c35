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

    /// Answers. A call whose `call` has a status of its end is not transferred; a warm transfer is
    /// `tr_warm`, a blind one `tr_blind`.
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
            ("POST", ["transfers", step @ ..]) => transfer(id, call, step, &asked.json()),
            _ => absent(),
        }
    }
}

fn transfer(id: &str, call: &Value, step: &[&str], body: &Value) -> Reply {
    if matches!(call["call"]["status"].as_str(), Some("ended" | "failed")) {
        return answer(409, &json!({"error": "The call is not live", "code": "CALL_NOT_LIVE"}));
    }
    let (kind, status) = match step {
        ["blind"] => ("blind", "requested"),
        ["warm"] => ("warm", "screening"),
        ["tr_warm", "complete"] => ("warm", "completed"),
        ["tr_warm", "cancel"] => ("warm", "cancelled"),
        _ => return answer(404, &json!({"error": "Transfer not found", "code": "NOT_FOUND"})),
    };
    let transfer = json!({
        "id": format!("tr_{kind}"), "session_id": id, "organization_id": "org_example", "kind": kind,
        "status": status, "transfer_to": body["to"], "summary": body["summary"], "failure_cause": null,
        "metadata": {}, "created_at": "2026-03-30T14:23:00Z", "updated_at": "2026-03-30T14:23:00Z",
        "completed_at": null,
    });
    answer(200, &transfer)
}
