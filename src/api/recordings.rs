//! `GET /v1/calls/{id}/recording`: where a call's recording is now.

use hyper::StatusCode;
use serde_json::json;

use super::{Api, Call};
use crate::context::Name;
use crate::http::{Answer, Problem, json as answer};
use crate::job::CallError;
use crate::provider::Recording;

impl Api {
    /// The provider is asked, for what it said before may not last; where none can be asked, it is
    /// what the call's events said.
    pub(super) async fn show_recording(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let (key, context) = self.known_call(call, id, call.query.get("call_space")).await?;
        call.takes_nothing()?;
        let recording = match self.call_desk.recording(&key, context.told_by()).await {
            Ok(recording) => recording,
            Err(CallError::NoProvider) => {
                let mut known = context.iter_for(Some(&call.token));
                let url = known.find(|(name, _)| *name == Name::CallRecordingUrl);
                let url = url.and_then(|(_, url)| url.as_str()).filter(|url| !url.is_empty());
                let url = url.ok_or_else(|| Problem::not_found("no recording of this call is known"))?;
                Recording { url: url.to_owned(), expires_at: None }
            }
            Err(error) => return Err(error.into()),
        };
        let shown = json!({"url": recording.url, "expires_at": recording.expires_at});
        Ok(answer(StatusCode::OK, shown.to_string()))
    }
}
