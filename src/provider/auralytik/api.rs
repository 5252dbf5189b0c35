//! Auralytik's API: a voice call with its transcript, and its survey.
//!
//! Sources: <https://auralytik.ai/developers/voice-calls>, and
//! <https://auralytik.ai/developers/api-reference> for the base URL and the envelope `{data, meta}`
//! around each answer, which the former page leaves out; both forms are read. With `key` and
//! `signing_secret` each request is signed as <https://auralytik.ai/developers/authentication> has
//! it; with `token` it carries that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{Auralytik, call_types, put_call, put_survey};
use crate::context::{Json, Name, read_time};
use crate::event::{Event, EventType};
use crate::provider::api::{
    Access, Api, Ask, Credentials, Inquiry, Part, Progress, Recording, Reference, Task, Undocumented, id,
    segment,
};
use crate::provider::body::Findings;
use crate::signature::Algorithm;

const PARTS: [Part; 3] = [
    Part { name: "call", required: true },
    Part { name: "epaResults", required: false },
    // The last: it is of use for a quarter of an hour.
    Part { name: RECORDING, required: false },
];

const RECORDING: &str = "recording-url";

impl Api for Auralytik {
    fn base_url(&self) -> &'static str {
        "https://api.auralytik.ai"
    }

    fn missing(&self, credentials: &Credentials) -> Option<&'static str> {
        match (&credentials.key, &credentials.signing_secret) {
            _ if credentials.token.is_some() => None,
            (None, _) => Some("key"),
            (_, None) => Some("signing_secret"),
            _ => None,
        }
    }

    /// It transcribes by itself: a job only waits for what it makes.
    fn submit(&self, task: &Task, access: Access<'_>) -> Ask {
        self.poll(task, access)
    }

    fn submitted(&self, answer: &Json) -> Result<Progress, Undocumented> {
        match self.polled(answer)? {
            Progress::Running => Ok(Progress::Taken(Reference::default())),
            other => Ok(other),
        }
    }

    fn poll(&self, task: &Task, access: Access<'_>) -> Ask {
        signed(Ask::get(call(&task.call)), access)
    }

    fn polled(&self, answer: &Json) -> Result<Progress, Undocumented> {
        let answer = data(answer);
        if id(answer, "id").is_none() {
            return Err(Undocumented("`id` is missing"));
        }
        let is_there = call_types("completed", answer).contains(&EventType::SpeechCompleted);
        Ok(if is_there { Progress::Done } else { Progress::Running })
    }

    fn parts(&self) -> &'static [Part] {
        &PARTS
    }

    fn fetch(&self, task: &Task, part: &str, access: Access<'_>) -> Ask {
        let call = call(&task.call);
        let path = match part {
            "call" => call,
            "epaResults" => format!("{call}/epa-results"),
            same => format!("{call}/{same}"),
        };
        signed(Ask::get(path), access)
    }

    fn inquire(&self, id: &str, inquiry: Inquiry<'_>, access: Access<'_>) -> Option<Ask> {
        match inquiry {
            Inquiry::Recording => Some(signed(Ask::get(format!("{}/{RECORDING}", call(id))), access)),
            Inquiry::Transfer(..) => None,
        }
    }

    fn list(&self, parameters: &[(&str, &str)], access: Access<'_>) -> Option<Ask> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let mark = if query.is_empty() { "" } else { "?" };
        Some(signed(Ask::get(format!("/api/v1/voice-calls{mark}{query}")), access))
    }

    fn recording(&self, answer: &Json) -> Result<Recording, Undocumented> {
        let answer = data(answer);
        let url = id(answer, "recordingUrl").ok_or(Undocumented("`recordingUrl` is missing"))?;
        let expires_at = answer.get("expiresAt").and_then(|at| read_time(at.into()));
        Ok(Recording { url, expires_at })
    }

    /// What the call's own event has not said: that the call is over is known by then.
    fn results(&self, task: &Task, raw: Json) -> Event {
        let nothing = Json::Null;
        let mut findings = Findings::default();
        findings.put_own(Name::CallId, Json::from(&*task.call));
        let call = raw.get("call").map_or(&nothing, data);
        put_call(&mut findings, call);
        let mut types = call_types("completed", call);
        if let Some(survey) = raw.get("epaResults").map(data) {
            put_survey(&mut findings, survey);
            if super::is_answered(survey) && !types.contains(&EventType::SurveyCompleted) {
                types.push(EventType::SurveyCompleted);
            }
        }
        types.retain(|event_type| *event_type != EventType::CallEnded);
        // A URL that lasts for minutes is for those who are told now.
        if let Some(recording) = raw.get(RECORDING).and_then(|answer| self.recording(answer).ok()) {
            findings.facts.put_fleeting(Name::CallRecordingUrl, Json::from(&*recording.url));
            types.push(EventType::CallRecordingReady);
        }
        if types.is_empty() {
            types.push(EventType::CallUpdated);
        }
        findings.into_event(types, None, None, raw)
    }
}

/// What an answer holds, which is in an envelope or is the answer itself.
fn data(answer: &Json) -> &Json {
    answer.get("data").filter(|data| matches!(data, Json::Object(_))).unwrap_or(answer)
}

fn call(id: &str) -> String {
    format!("/api/v1/voice-calls/{}", segment(id))
}

/// `{timestamp}.{METHOD}.{path without query}.{base64(sha256(body or empty))}`, HMAC-SHA256, base64.
fn signed(ask: Ask, access: Access<'_>) -> Ask {
    let (Some(key), Some(secret)) = (&access.credentials.key, &access.credentials.signing_secret) else {
        return ask.with(access.bearer());
    };
    let timestamp = access.now.as_second().to_string();
    let path = ask.path.split('?').next().unwrap_or_default();
    let body = ask.body.as_ref().map_or(&[][..], |body| body.as_slice());
    let digest = STANDARD.encode(Sha256::digest(body));
    let canonical = Zeroizing::new(format!("{timestamp}.{}.{path}.{digest}", ask.method));
    let signature = STANDARD.encode(Algorithm::Sha256.tag(secret, &[canonical.as_bytes()]));
    let key = String::from_utf8_lossy(key.expose()).into_owned();
    ask.with(Some(("x-api-key", Zeroizing::new(key))))
        .with(Some(("x-timestamp", Zeroizing::new(timestamp))))
        .with(Some(("x-signature", Zeroizing::new(signature))))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::signature::Secret;

    /// A vector of our own: the provider publishes none. Made with openssl.
    #[test]
    fn requests_are_signed_over_their_path() {
        let credentials = Credentials {
            key: Some(Secret::from_bytes("ak_live_0123")),
            signing_secret: Some(Secret::from_bytes("secret")),
            ..Credentials::default()
        };
        let now = Timestamp::from_second(1_705_314_600).unwrap();
        let access = Access { credentials: &credentials, session: None, now };
        let ask = signed(Ask::get("/api/v1/voice-calls/vc_abc123?page=1"), access);
        let headers: Vec<(&str, &str)> = ask.headers.iter().map(|(name, value)| (*name, &***value)).collect();
        assert_eq!(
            headers,
            [
                ("x-api-key", "ak_live_0123"),
                ("x-timestamp", "1705314600"),
                ("x-signature", "/YfNqVDcqVl4gbPScUtng5S+V/vtXZv+z3isR1Dy+so="),
            ]
        );
    }
}
