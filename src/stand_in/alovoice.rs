//! `AloVoice`'s analysis of recorded calls. Its document knows no errors but the absence of a result.
//!
//! Source: <https://docs.4u.uz/books/api-dokumentaciia/page/get-metody-recevoi-analitiki-zapisannyx-razgovorov>

use serde_json::{Value, json};

use super::{Asked, Reply, json as answer};

/// `AloVoice`, whose calls all have one result.
#[derive(Clone, Debug)]
pub struct AloVoice {
    token: String,
    result: Value,
}

impl AloVoice {
    /// Answers who shows this token. `result` is the answer of a call that was analysed:
    /// `{"answer": {"aicallid", "stalk", "tags", …}}`.
    #[must_use]
    pub fn new(token: &str, result: Value) -> Self {
        Self { token: token.to_owned(), result }
    }

    /// Answers; the analysis is done or is not.
    #[must_use]
    pub fn answer(&self, asked: &Asked, is_done: bool) -> Reply {
        let segments = asked.segments();
        let [what, shown, _] = &segments[..] else { return answer(404, &json!({})) };
        if *shown != self.token {
            return answer(401, &json!({}));
        }
        match what.as_str() {
            "callgetairesult" if is_done => answer(200, &self.result),
            "callsendai" | "callgetairesult" => {
                let mut taken = self.result.clone();
                if let Some(members) = taken["answer"].as_object_mut() {
                    members.retain(|name, _| name != "stalk" && name != "tags");
                }
                answer(200, &taken)
            }
            _ => answer(404, &json!({})),
        }
    }
}
