//! Symbl's async API, jobs and conversations.
//!
//! Source: `github:symblai/symbl-docs`, `docs/async-api` and `docs/conversation-api`; the errors are
//! those of the examples in <https://docs.symbl.ai/docs/process-video>.

use serde_json::{Value, json};

use super::{Asked, Reply, json as answer};

/// Where jobs are handed over.
const SUBMISSIONS: [&str; 3] = ["/v1/process/audio/url", "/v1/process/video/url", "/v1/process/text"];

/// Symbl, whose n-th job is `job-n` of the conversation `conv-n`.
#[derive(Clone, Debug)]
pub struct Symbl {
    results: Value,
}

impl Symbl {
    /// What every conversation holds: an answer for each part that there is (`messages`, `topics`,
    /// `actionItems` …).
    #[must_use]
    pub const fn new(results: Value) -> Self {
        Self { results }
    }

    /// Answers; every job has this status.
    #[must_use]
    pub fn answer(&self, asked: &Asked, before: &[Asked], status: &str) -> Reply {
        let body = asked.json();
        if asked.is("POST", "/oauth2/token:generate") {
            let is_whole = body["appId"].is_string() && body["appSecret"].is_string();
            return if is_whole {
                answer(200, &json!({"accessToken": "session-1", "expiresIn": 86400}))
            } else {
                answer(401, &json!({"message": "Unauthorized"}))
            };
        }
        if !asked.header("authorization").starts_with("Bearer ") {
            return answer(401, &json!({"message": "Token validation failed for provided token."}));
        }
        let absent = || {
            answer(
                404,
                &json!({"message": "The conversation and/or it's metadata you asked could not be found, please check the input provided"}),
            )
        };
        let is_submission = |asked: &Asked| SUBMISSIONS.iter().any(|path| asked.is("POST", path));
        if is_submission(asked) {
            if body["url"].is_null() && body["messages"].is_null() {
                return answer(
                    400,
                    &json!({"message": "Bad Request! Please refer docs for correct input fields."}),
                );
            }
            let number = before.iter().filter(|asked| is_submission(asked)).count() + 1;
            let ids = json!({"conversationId": format!("conv-{number}"), "jobId": format!("job-{number}")});
            return answer(201, &ids);
        }
        let segments = asked.segments();
        match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["v1", "job", job] if job.starts_with("job-") => {
                answer(200, &json!({"id": job, "status": status}))
            }
            ["v1", "conversations", conversation, part] if conversation.starts_with("conv-") => {
                let part = match part {
                    "action-items" => "actionItems",
                    "follow-ups" => "followUps",
                    same => same,
                };
                self.results.get(part).map_or_else(absent, |held| answer(200, held))
            }
            _ => absent(),
        }
    }
}
