//! `AloVoice`: posts no webhooks. A call is sent to the analysis by its id, and asked for until the
//! transcript is there.
//!
//! Source: <https://docs.4u.uz/books/api-dokumentaciia/page/get-metody-recevoi-analitiki-zapisannyx-razgovorov>.
//! The token is a segment of the URL. `stalk` has its times in milliseconds; a tag without `begin`
//! is a rule that did not match.

use std::time::Duration;

use super::api::{
    Access, Api, Ask, Credentials, Pace, Part, Progress, Reference, Task, Undocumented, id, segment,
};
use super::body::Findings;
use super::utterance::{self, Utterance, milliseconds, read_milliseconds};
use super::{Adapter, Reading, Unreadable};
use crate::context::{Json, Name};
use crate::event::{Event, EventType};
use crate::signature::Verified;

/// Asks for the analysis of recorded calls.
pub(super) struct AloVoice;

impl Adapter for AloVoice {
    fn name(&self) -> &'static str {
        "alovoice"
    }

    fn read(&self, _: &Verified) -> Result<Reading, Unreadable> {
        Err(Unreadable("alovoice posts no events: its results are asked for (byte 0)".to_owned()))
    }

    fn api(&self) -> Option<&dyn Api> {
        Some(self)
    }
}

impl Api for AloVoice {
    fn base_url(&self) -> &'static str {
        "https://cld.alovoice.uz"
    }

    fn missing(&self, credentials: &Credentials) -> Option<&'static str> {
        credentials.token.is_none().then_some("token")
    }

    fn pace(&self) -> Pace {
        Pace {
            first_poll: Duration::from_secs(2),
            longest_poll: Duration::from_mins(5),
            max_jobs: 20,
            hold: Duration::from_secs(30),
        }
    }

    fn submit(&self, task: &Task, access: Access<'_>) -> Ask {
        ask("callsendai", task, access)
    }

    fn submitted(&self, answer: &Json) -> Result<Progress, Undocumented> {
        let answer = answer.get("answer").ok_or(Undocumented("`answer` is missing"))?;
        let job = id(answer, "aicallid").ok_or(Undocumented("`aicallid` is missing"))?;
        Ok(Progress::Taken(Reference { job: Some(job.clone()), conversation: Some(job) }))
    }

    fn poll(&self, task: &Task, access: Access<'_>) -> Ask {
        ask("callgetairesult", task, access)
    }

    fn polled(&self, answer: &Json) -> Result<Progress, Undocumented> {
        let answer = answer.get("answer").ok_or(Undocumented("`answer` is missing"))?;
        let is_there = answer.get("stalk").is_some_and(|stalk| stalk.as_array().is_some());
        Ok(if is_there { Progress::Results } else { Progress::Running })
    }

    fn parts(&self) -> &'static [Part] {
        &[Part { name: "result", required: true }]
    }

    fn fetch(&self, task: &Task, _: &str, access: Access<'_>) -> Ask {
        self.poll(task, access)
    }

    fn results(&self, task: &Task, raw: Json) -> Event {
        let nothing = Json::Null;
        let answer = raw.get("answer").unwrap_or(&nothing);
        let mut findings = Findings::default();
        findings.put_own(Name::CallId, Json::from(&*task.call));
        findings.put(Name::SpeechJobId, answer.get("aicallid"));
        findings.put(Name::ConversationId, answer.get("aicallid"));
        if let Some(path) = answer.get("stereoaudio").and_then(Json::as_str).filter(|path| !path.is_empty()) {
            let url =
                if path.starts_with('/') { format!("{}{path}", task.base_url) } else { path.to_owned() };
            findings.put_own(Name::CallRecordingUrl, Json::from(&*url));
        }
        let utterances = utterances(answer.get("stalk").and_then(Json::as_array).unwrap_or_default());
        findings.put_own(Name::SpeechResult, utterance::to_result(&utterances));
        findings.put_own(Name::SpeechPhrases, utterance::to_phrases(&utterances));
        findings.put_own(Name::SpeechTaskState, Json::from("completed"));
        if let Some(tags) = answer.get("tags").and_then(Json::as_array) {
            findings.put_own(Name::SpeechTags, Json::Array(tags.iter().map(tag).collect()));
        }
        findings.into_event(vec![EventType::SpeechCompleted], None, None, raw)
    }
}

/// `/callsendai/TOKEN/CALL_ID`
fn ask(what: &str, task: &Task, access: Access<'_>) -> Ask {
    let token = access.credentials.token.as_ref().map_or(&[][..], |token| token.expose());
    let token = segment(&String::from_utf8_lossy(token));
    Ask::get(format!("/{what}/{token}/{}", segment(&task.call)))
}

fn utterances(stalk: &[Json]) -> Vec<Utterance> {
    let read = |fragment: &Json| {
        let text = |name| fragment.get(name).and_then(Json::as_str).filter(|text: &&str| !text.is_empty());
        let time = |name| fragment.get(name).and_then(|time| read_milliseconds(time, 1.0));
        Some(Utterance {
            text: text("text")?.to_owned(),
            speaker: text("direction").map(str::to_owned),
            start_ms: time("begin"),
            end_ms: time("end"),
        })
    };
    stalk.iter().filter_map(read).collect()
}

fn tag(tag: &Json) -> Json {
    let member = |name: &str| tag.get(name).cloned().unwrap_or(Json::Null);
    let time = |name: &str| milliseconds(tag.get(name).and_then(|time| read_milliseconds(time, 1.0)));
    let matched = tag.get("begin").is_some_and(|begin| *begin != Json::Null);
    Json::Object(vec![
        ("name".into(), member("name")),
        ("value".into(), member("value")),
        ("matched".into(), Json::Bool(matched)),
        ("text".into(), member("match_text")),
        ("start_ms".into(), time("begin")),
        ("end_ms".into(), time("end")),
    ])
}
