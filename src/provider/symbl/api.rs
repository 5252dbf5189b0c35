//! Symbl's API: a job by URL or text, its status, and what the conversation holds afterwards.

use std::time::Duration;

use zeroize::Zeroizing;

use super::Symbl;
use crate::context::{Json, Name, read_time};
use crate::event::{Event, EventType};
use crate::provider::api::{
    Access, Api, Ask, Credentials, Media, Pace, Part, Progress, Reference, Session, Task, Undocumented, id,
    segment,
};
use crate::provider::body::Findings;
use crate::provider::utterance::{self, Utterance, read_milliseconds};
use crate::signature::Secret;

/// A session that is about to end is opened anew: requests under way must not be caught by it.
const MARGIN: Duration = Duration::from_mins(5);

/// Endings of the files that are sent as video. Everything else is sent as audio.
const VIDEO: [&str; 6] = ["mp4", "mov", "webm", "avi", "mkv", "m4v"];

const PARTS: [Part; 7] = [
    Part { name: "messages", required: true },
    Part { name: "topics", required: false },
    Part { name: "questions", required: false },
    Part { name: "actionItems", required: false },
    Part { name: "followUps", required: false },
    Part { name: "summary", required: false },
    Part { name: "analytics", required: false },
];

impl Api for Symbl {
    fn base_url(&self) -> &'static str {
        "https://api.symbl.ai"
    }

    fn missing(&self, credentials: &Credentials) -> Option<&'static str> {
        match (&credentials.app_id, &credentials.app_secret) {
            (None, _) => Some("app_id"),
            (_, None) => Some("app_secret"),
            _ => None,
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            first_poll: Duration::from_secs(5),
            longest_poll: Duration::from_mins(2),
            // Paid accounts; on trial there are 2.
            max_jobs: 50,
            hold: Duration::from_secs(15),
        }
    }

    fn needs_media(&self) -> bool {
        true
    }

    fn login(&self, credentials: &Credentials) -> Option<Ask> {
        let secret = credentials.app_secret.as_ref()?;
        let secret = Zeroizing::new(String::from_utf8_lossy(secret.expose()).into_owned());
        Some(Ask::post(
            "/oauth2/token:generate",
            &object([
                ("type", Json::from("application")),
                ("appId", Json::from(credentials.app_id.as_deref()?)),
                ("appSecret", Json::from(&**secret)),
            ]),
        ))
    }

    fn session(&self, answer: &Json) -> Result<Session, Undocumented> {
        let token = id(answer, "accessToken").ok_or(Undocumented("`accessToken` is missing"))?;
        let lasts = answer.get("expiresIn").and_then(|lasts| read_milliseconds(lasts, 1000.0));
        let lasts =
            lasts.and_then(|lasts| u64::try_from(lasts).ok()).map_or(Duration::ZERO, Duration::from_millis);
        Ok(Session { token: Secret::from_bytes(token), lasts: lasts.saturating_sub(MARGIN.min(lasts / 2)) })
    }

    fn submit(&self, task: &Task, access: Access<'_>) -> Ask {
        let mut members = vec![("name", Json::from(&*task.call)), ("enableSummary", Json::Bool(true))];
        let path = match &task.media {
            Media::Text(text) => {
                members.push(("messages", messages(text)));
                "/v1/process/text"
            }
            Media::Recording(url) => {
                members.push(("url", Json::from(&**url)));
                if let Some(language) = task.language.as_deref().filter(|language| language.contains('-')) {
                    members.push(("languageCode", Json::from(language)));
                }
                if is_video(url) { "/v1/process/video/url" } else { "/v1/process/audio/url" }
            }
            // A job without media is never made for a provider that needs one.
            Media::OfTheCall => "/v1/process/audio/url",
        };
        if let Some(url) = &task.webhook_url {
            members.push(("webhookUrl", Json::from(&**url)));
        }
        Ask::post(path, &object(members)).with(access.bearer())
    }

    fn submitted(&self, answer: &Json) -> Result<Progress, Undocumented> {
        let job = id(answer, "jobId").ok_or(Undocumented("`jobId` is missing"))?;
        let conversation = id(answer, "conversationId").ok_or(Undocumented("`conversationId` is missing"))?;
        Ok(Progress::Taken(Reference { job: Some(job), conversation: Some(conversation) }))
    }

    fn poll(&self, task: &Task, access: Access<'_>) -> Ask {
        let job = segment(task.reference.job.as_deref().unwrap_or_default());
        Ask::get(format!("/v1/job/{job}")).with(access.bearer())
    }

    fn polled(&self, answer: &Json) -> Result<Progress, Undocumented> {
        match answer.get("status").and_then(Json::as_str) {
            Some("completed") => Ok(Progress::Done),
            Some("failed") => Ok(Progress::Failed("the provider says that the job failed".to_owned())),
            // A status that is new is not the last one.
            Some(_) => Ok(Progress::Running),
            None => Err(Undocumented("`status` is missing")),
        }
    }

    fn parts(&self) -> &'static [Part] {
        &PARTS
    }

    fn fetch(&self, task: &Task, part: &str, access: Access<'_>) -> Ask {
        let conversation = segment(task.reference.conversation.as_deref().unwrap_or_default());
        let what = match part {
            "messages" => "messages?sentiment=true",
            "actionItems" => "action-items",
            "followUps" => "follow-ups",
            same => same,
        };
        Ask::get(format!("/v1/conversations/{conversation}/{what}")).with(access.bearer())
    }

    fn results(&self, task: &Task, raw: Json) -> Event {
        let mut findings = Findings::default();
        findings.put_own(Name::CallId, Json::from(&*task.call));
        for (name, id) in
            [(Name::SpeechJobId, &task.reference.job), (Name::ConversationId, &task.reference.conversation)]
        {
            findings.put(name, id.as_deref().map(Json::from).as_ref());
        }
        let list = |part: &str| raw.get(part).and_then(|answer| answer.get(part)).and_then(Json::as_array);
        let said = list("messages").unwrap_or_default();
        let utterances = utterances(said);
        findings.put_own(Name::SpeechResult, utterance::to_result(&utterances));
        findings.put_own(Name::SpeechPhrases, utterance::to_phrases(&utterances));
        findings.put_own(Name::SpeechTaskState, Json::from("completed"));
        if let Some(mood) = sentiment(said) {
            findings.put_own(Name::SpeechSentiment, Json::from(mood));
        }
        for (name, part) in [
            (Name::SpeechTopics, "topics"),
            (Name::SpeechQuestions, "questions"),
            (Name::SpeechActionItems, "actionItems"),
            (Name::SpeechFollowUps, "followUps"),
        ] {
            findings.put(name, list(part).map(|items| Json::Array(items.to_vec())).as_ref());
        }
        let summary: Vec<&str> = list("summary")
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.get("text")?.as_str())
            .collect();
        if !summary.is_empty() {
            findings.put_own(Name::SpeechSummary, Json::from(&*summary.join(" ")));
        }
        let metrics = raw.get("analytics").and_then(|answer| answer.get("metrics")).and_then(Json::as_array);
        let talk_time = metrics
            .unwrap_or_default()
            .iter()
            .find(|metric| metric.get("type").and_then(Json::as_str) == Some("total_talk_time"));
        findings.put(Name::CallTalkDuration, talk_time.and_then(|metric| metric.get("seconds")));
        findings.into_event(vec![EventType::SpeechCompleted], None, None, raw)
    }
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn is_video(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit_once('.')
        .is_some_and(|(_, ending)| VIDEO.iter().any(|video| ending.eq_ignore_ascii_case(video)))
}

/// A transcript as the messages of a text job: a line an utterance, with its speaker in front.
fn messages(text: &str) -> Json {
    let message = |line: &str| {
        let (speaker, said) = match line.split_once(": ") {
            Some((speaker, said)) if !speaker.is_empty() && !said.is_empty() => (Some(speaker), said),
            _ => (None, line),
        };
        let payload = object([("contentType", Json::from("text/plain")), ("content", Json::from(said))]);
        let from = speaker.map(|speaker| ("from", object([("name", Json::from(speaker))])));
        object([("payload", payload)].into_iter().chain(from))
    };
    Json::Array(text.lines().filter(|line| !line.trim().is_empty()).map(message).collect())
}

/// The messages, with their times from the beginning of the conversation: as told, else from the
/// first message on.
fn utterances(messages: &[Json]) -> Vec<Utterance> {
    let time = |message: &Json, name: &str| message.get(name).and_then(|time| read_time(time.into()));
    let first = messages.iter().filter_map(|message| time(message, "startTime")).min();
    let since = |message: &Json, name: &str| {
        let time = time(message, name)?.duration_since(first?).as_millis();
        i64::try_from(time).ok()
    };
    let number = |message: &Json, name: &str| read_milliseconds(message.get(name)?, 1000.0);
    let read = |message: &Json| {
        let text = message.get("text")?.as_str().filter(|text| !text.is_empty())?.to_owned();
        let speaker = message.get("from").and_then(|from| from.get("name")).and_then(Json::as_str);
        let offset = number(message, "timeOffset");
        let end = offset.and_then(|offset| Some(offset + number(message, "duration")?));
        Some(Utterance {
            text,
            speaker: speaker.filter(|speaker| !speaker.is_empty()).map(str::to_owned),
            start_ms: offset.or_else(|| since(message, "startTime")),
            end_ms: if offset.is_some() { end } else { since(message, "endTime") },
        })
    };
    messages.iter().filter_map(read).collect()
}

/// The mean polarity in words; the provider calls everything between -0.3 and 0.3 neutral.
fn sentiment(messages: &[Json]) -> Option<&'static str> {
    let score = |message: &Json| match message.get("sentiment")?.get("polarity")?.get("score")? {
        Json::Number(spelling) => spelling.parse::<f64>().ok(),
        _ => None,
    };
    let scores: Vec<f64> = messages.iter().filter_map(score).collect();
    #[allow(clippy::cast_precision_loss, reason = "a conversation has fewer than 2^53 messages")]
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    match mean {
        _ if scores.is_empty() => None,
        mean if mean >= 0.3 => Some("positive"),
        mean if mean <= -0.3 => Some("negative"),
        _ => Some("neutral"),
    }
}
