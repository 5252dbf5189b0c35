//! Speech jobs, over real HTTP: the dialer, the provider's stand-in and the receiver on loopback.

mod restarts;
mod sharing;
mod speech_requests;
pub(crate) mod stand_in;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use ringback::assembly::{self, Running};
use ringback::config::{Environment, Overrides, Settings};
use ringback::context::{CallId, CallKey};
use ringback::event::JobId;
use ringback::http::Client;
use ringback::job::{Refusal, Submission, SubmitError, Submitted};
use ringback::shutdown::Shutdown;
use ringback::store::JobEnd;
use serde_json::{Value, json};

use self::stand_in::{AloVoice, Asked, Auralytik, Reply, Speko, StandIn, Symbl};
use crate::support::{Home, LOOPBACK, Receiver, source};

/// A Ringback in this process, whose jobs can be looked at.
struct Ringback {
    running: Running,
    shutdown: Shutdown,
}

impl Ringback {
    async fn start(home: &Home) -> Self {
        let overrides = Overrides { config: Some(home.path("ringback.toml")), ..Overrides::default() };
        let settings = Settings::load(&overrides, &Environment::default()).unwrap();
        let shutdown = Shutdown::new();
        let running = assembly::start(&settings, &shutdown).await.unwrap();
        Self { running, shutdown }
    }

    async fn submit(&self, call: &str, own_source: Option<&str>) -> Result<Submitted, SubmitError> {
        let call =
            CallKey { account: "acme".into(), space: "default".into(), id: CallId::from_text(call).unwrap() };
        let submission = Submission { call: &call, own_source, submitted_by: Some("test") };
        self.running.jobs().submit(submission, Timestamp::now()).await
    }

    /// Does not wait for the next look at a job.
    async fn hurry(&self, job: JobId) {
        self.running.jobs().look_at(&"acme".into(), job).await.unwrap();
    }

    async fn end(&self, job: JobId) -> JobEnd {
        let wait = async {
            loop {
                if let Some(end) = self.running.jobs().job(&"acme".into(), job).await.unwrap().unwrap().end {
                    return end;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.expect("the job comes to its end")
    }

    async fn stop(self) {
        self.shutdown.request();
        assert!(self.running.finished().await);
    }
}

fn home(sources: &str) -> Home {
    Home::new(&config(sources))
}

/// What a home has beside its accounts.
fn config(sources: &str) -> String {
    source("dialer", "commpeak", "") + sources + "\n" + LOOPBACK
}

fn symbl(provider: &StandIn, more: &str) -> String {
    format!(
        "[[source]]\nname = \"symbl\"\naccount = \"acme\"\nprovider = \"symbl\"\n\
         verify = {{ scheme = \"url-secret\", secret = \"s3cret/\" }}\n\
         api = {{ base_url = \"{}\", app_id = \"app\", app_secret = \"app-secret\"{more} }}\n",
        provider.url()
    )
}

/// The provider is there, and is asked with this token.
pub(crate) fn by_token(provider: &StandIn, token: &str) -> String {
    format!("api = {{ base_url = \"{}\", token = \"{token}\" }}", provider.url())
}

/// Symbl, whose jobs are done once the flag is set.
async fn symbl_at_work() -> (StandIn, Arc<AtomicBool>) {
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let provider = StandIn::start(move |asked, before| {
        let status = if is_done.load(Ordering::SeqCst) { "completed" } else { "in_progress" };
        answer_as_symbl(asked, before, status)
    });
    (provider.await, done)
}

/// Providers are told where to post to.
fn make_reachable(home: &Home) {
    let config = std::fs::read_to_string(home.path("ringback.toml")).unwrap();
    let public = format!("public_url = \"{}\"\n", home.url(""));
    std::fs::write(home.path("ringback.toml"), public + &config).unwrap();
}

const BY_SYMBL: &str = "[speech]\nprovider = \"symbl\"\n";

/// Symbl as it is documented; `job` says how a job stands.
fn answer_as_symbl(asked: &Asked, before: &[Asked], job: &str) -> Reply {
    let messages = json!([
        {"id": "1", "text": "Good morning.", "from": {"name": "Roger"}, "timeOffset": 0.5, "duration": 1,
         "sentiment": {"polarity": {"score": 0.6}}},
        {"id": "2", "text": "Hello \"Roger\".", "from": {"name": "Ann"}, "timeOffset": 2.0, "duration": 1,
         "sentiment": {"polarity": {"score": 0.2}}},
    ]);
    let symbl = Symbl::new(json!({
        "messages": {"messages": messages},
        "topics": {"topics": [{"id": "t", "text": "offer"}]},
        "summary": {"summary": [{"id": "s", "text": "An offer."}]},
    }));
    symbl.answer(asked, before, job)
}

/// The result of `AloVoice` for a call, as it is documented.
fn alovoice(token: &str, id: &str) -> AloVoice {
    let said = json!([{"begin": 1120, "end": 2960, "direction": "operator", "text": "assalomu alaykum"}]);
    let answer =
        json!({"begin_time": 1, "aicallid": id, "stereoaudio": "/stereo/8", "stalk": said, "tags": []});
    AloVoice::new(token, json!({"answer": answer}))
}

async fn post(home: &Home, path: &str, event: &Value) -> (StatusCode, Value) {
    let (status, body) = Client::new().send("POST", &home.url(path), &[], event.to_string()).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn dial(home: &Home, call: &str) {
    let event = json!({
        "call_id": call, "end_at": "2026-03-30 14:27:12", "email": "ann@example.com", "campaign_name": "Spring",
        "call_recording_url": format!("https://recordings.example.com/{call}.wav"),
    });
    assert_eq!(post(home, "/v1/ingest/dialer", &event).await.0, StatusCode::OK);
}

const TEMPLATE: &str = r#"{"event": {event_type}, "call": {call_id}, "mail": {email}, "campaign": {campaign_name},
    "text": {speech_result}, "state": {speech_task_state}, "error": {speech_error}, "job": {speech_job_id},
    "mood": {speech_sentiment}, "topics": {speech_topics}, "summary": {speech_summary}}"#;

async fn register(home: &Home, receiver: &Receiver, events: &[&str]) {
    let callback = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "callback_data": TEMPLATE, "events": events,
    });
    home.register(&Client::new(), &callback).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_transcribed_and_delivered_once_with_the_lead_that_only_the_dialer_knew() {
    let (provider, done) = symbl_at_work().await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL));
    make_reachable(&home);
    let ringback = Ringback::start(&home).await;
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    register(&home, &receiver, &["speech.completed", "speech.failed"]).await;

    dial(&home, "call-7").await;
    let submitted = ringback.submit("call-7", None).await.unwrap();
    let again = ringback.submit("call-7", None).await.unwrap();
    assert_eq!(again, Submitted::Known(submitted.job()), "a call is submitted once");

    let asked =
        provider.wait_until(|asked| asked.iter().any(|a| a.is("POST", "/v1/process/audio/url"))).await;
    let submission = asked.iter().find(|asked| asked.is("POST", "/v1/process/audio/url")).unwrap();
    assert_eq!(submission.header("authorization"), "Bearer session-1");
    assert_eq!(submission.json()["url"], "https://recordings.example.com/call-7.wav");
    let webhook = submission.json()["webhookUrl"].as_str().unwrap().to_owned();
    let wrong = webhook.replace("s3cret", "other");
    let told = json!({"jobId": "job-1", "status": "completed"}).to_string();
    let (status, _) = Client::new().send("POST", &wrong, &[], told.clone()).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    // What the webhook says is asked for, not believed.
    done.store(true, Ordering::SeqCst);
    let told_in_the_other_spelling = json!({"id": "job-1", "status": "completed"}).to_string();
    let mut known = false;
    for _ in 0..500 {
        // The job's id is recorded a moment after the provider has given it.
        known = ringback
            .running
            .jobs()
            .job_of_provider(&"acme".into(), "symbl", "job-1")
            .await
            .unwrap()
            .is_some();
        if known {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(known);
    for body in [&told, &told_in_the_other_spelling] {
        let (status, _) = Client::new().send("POST", &webhook, &[], body.clone()).await.unwrap();
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(ringback.end(submitted.job()).await, JobEnd::Completed);
    let seen = receiver.wait_for(1).await;
    assert_eq!(
        seen[0].json(),
        json!({
            "event": "speech.completed", "call": "call-7", "mail": "ann@example.com", "campaign": "Spring",
            "text": "Roger: Good morning.\nAnn: Hello \"Roger\".", "state": "completed", "error": null,
            "job": "job-1", "mood": "positive", "topics": [{"id": "t", "text": "offer"}], "summary": "An offer.",
        })
    );
    // The webhook once more, when the job is over, changes nothing and delivers nothing.
    let late = json!({"jobId": "job-1", "status": "in_progress"}).to_string();
    let (status, _) = Client::new().send("POST", &webhook, &[], late).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), 1);
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alovoice_is_asked_until_the_transcript_is_there() {
    let alo = alovoice("alo/token", "ai-8");
    let provider = StandIn::start(move |asked, before| {
        alo.answer(asked, before.iter().any(|asked| asked.path.starts_with("/callgetairesult")))
    })
    .await;
    let home = home(&source("alo", "alovoice", &by_token(&provider, "alo/token")));
    let ringback = Ringback::start(&home).await;
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    register(&home, &receiver, &["speech.completed"]).await;
    dial(&home, "call 8").await;
    let job = ringback.submit("call 8", Some("alo")).await.unwrap().job();
    assert_eq!(ringback.end(job).await, JobEnd::Completed);
    let seen = receiver.wait_for(1).await;
    let body = seen[0].json();
    assert_eq!(body["text"], "operator: assalomu alaykum");
    assert_eq!((&body["mail"], &body["campaign"]), (&json!("ann@example.com"), &json!("Spring")));
    let asked: Vec<String> = provider.asked().into_iter().map(|asked| asked.path).collect();
    let poll = "/callgetairesult/alo%2Ftoken/call%208";
    assert_eq!(asked, ["/callsendai/alo%2Ftoken/call%208", poll, poll]);
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_provider_does_the_job_goes_on() {
    let refused = Arc::new(AtomicUsize::new(0));
    let provider = StandIn::start(move |asked, before| {
        let nth = |path: &str| before.iter().filter(|asked| asked.path.starts_with(path)).count();
        let is_first = nth(asked.path.split('?').next().unwrap()) == 0;
        match asked.path.split('?').next().unwrap() {
            "/v1/process/audio/url" => match nth("/v1/process/audio/url") {
                0 => stand_in::json(429, &json!({"statusCode": 429, "message": "concurrent jobs"})),
                1 => stand_in::json(401, &json!({"message": "Token validation failed for provided token."})),
                2 => stand_in::json(500, &json!({"message": "Something went wrong!"})),
                _ => answer_as_symbl(asked, &[], ""),
            },
            path if path.starts_with("/v1/job/") => match nth("/v1/job/") {
                0 => stand_in::json(404, &json!({})),
                1 => Reply::Json(200, "not json".to_owned()),
                2 => Reply::Slow(Duration::from_millis(200), json!({"status": "in_progress"}).to_string()),
                _ => answer_as_symbl(asked, &[], "completed"),
            },
            "/v1/conversations/conv-1/messages" if is_first => Reply::Truncated,
            "/oauth2/token:generate" => {
                let number = refused.fetch_add(1, Ordering::SeqCst) + 1;
                stand_in::json(200, &json!({"accessToken": format!("session-{number}"), "expiresIn": 86400}))
            }
            _ => answer_as_symbl(asked, before, "completed"),
        }
    })
    .await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL));
    let ringback = Ringback::start(&home).await;
    dial(&home, "call-9").await;
    let job = ringback.submit("call-9", None).await.unwrap().job();
    // Each failure puts the job off; the test does not wait for that.
    let mut ended = false;
    for _ in 0..600 {
        ringback.hurry(job).await;
        ended = ringback.running.jobs().job(&"acme".into(), job).await.unwrap().unwrap().end.is_some();
        if ended {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ended, "{:#?}", provider.asked());
    assert_eq!(ringback.end(job).await, JobEnd::Completed);
    assert_eq!(provider.count("POST", "/oauth2/token:generate"), 2, "a refused session is opened anew");
    let asked = provider.asked();
    let submissions: Vec<&str> = asked
        .iter()
        .filter(|asked| asked.is("POST", "/v1/process/audio/url"))
        .map(|asked| asked.header("authorization"))
        .collect();
    assert_eq!(submissions.first(), Some(&"Bearer session-1"));
    assert_eq!(submissions.last(), Some(&"Bearer session-2"));
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_never_done_fails_in_time_and_one_that_is_refused_at_once() {
    let provider = StandIn::start(|asked, before| {
        if asked.is("POST", "/v1/process/audio/url") && asked.body.contains("call-11") {
            return stand_in::json(400, &json!({"message": "Bad Request!"}));
        }
        answer_as_symbl(asked, before, "in_progress")
    })
    .await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL + "timeout = \"2s\"\n"));
    let ringback = Ringback::start(&home).await;
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    register(&home, &receiver, &["speech.failed"]).await;
    for call in ["call-10", "call-11"] {
        dial(&home, call).await;
        ringback.submit(call, None).await.unwrap();
    }
    let seen = receiver.wait_until(Duration::from_mins(1), |seen| seen.len() >= 2).await;
    let error = |call: &str| {
        let body = seen.iter().map(crate::support::Received::json).find(|body| body["call"] == call).unwrap();
        assert_eq!((&body["event"], &body["state"]), (&json!("speech.failed"), &json!("failed")));
        assert_eq!(body["mail"], "ann@example.com");
        body["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(error("call-10"), "it was not done in time");
    assert_eq!(error("call-11"), "the provider refused the job with status 400");
    // One that failed may be tried again.
    assert!(matches!(ringback.submit("call-11", None).await, Ok(Submitted::New(_))));
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_a_restart_and_no_more_are_at_work_than_may_be() {
    let (provider, done) = symbl_at_work().await;
    let home = home(&(symbl(&provider, ", max_jobs = 1") + BY_SYMBL));
    let ringback = Ringback::start(&home).await;
    let mut jobs = Vec::new();
    for call in ["call-12", "call-13", "call-14"] {
        dial(&home, call).await;
        jobs.push(ringback.submit(call, None).await.unwrap().job());
    }
    let is_submission = |asked: &&Asked| asked.is("POST", "/v1/process/audio/url");
    let is_poll = |asked: &&Asked| asked.path.starts_with("/v1/job/");
    provider.wait_until(|asked| asked.iter().any(|asked| is_poll(&asked))).await;
    assert_eq!(provider.asked().iter().filter(is_submission).count(), 1, "the others are held");
    ringback.stop().await;

    done.store(true, Ordering::SeqCst);
    let ringback = Ringback::start(&home).await;
    for job in jobs {
        // Those that are still held are due already; the one at work is not.
        ringback.hurry(job).await;
        assert_eq!(ringback.end(job).await, JobEnd::Completed);
    }
    assert_eq!(provider.asked().iter().filter(is_submission).count(), 3, "nothing is submitted twice");
    assert_eq!(provider.count("POST", "/oauth2/token:generate"), 2, "a session a process");
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thin_event_is_answered_first_and_fetched_afterwards() {
    let entry = json!({"index": 0, "source": "agent", "text": "Hello", "started_at": "2026-03-30T14:22:01Z"});
    let call = json!({
        "report": {"session_id": "call-15", "summary": "All well", "transcript": {"entries": [entry]}},
        "events": {"events": [{"event_type": "answered"}]},
        "call": {"id": "call-15", "status": "ended"},
    });
    let speko = Speko::new("speko-token", json!({"call-15": call}));
    let said = json!([{"role": "agent", "text": "Hi", "timestamp": "00:00:01"}]);
    let call = json!({"id": "vc_1", "state": "Completed", "transcript": said});
    let auralytik = Auralytik::new("ak_live_1", json!({"vc_1": {"call": call}}));
    let provider = StandIn::start(move |asked, _| {
        if asked.path.starts_with("/v1/") { speko.answer(asked) } else { auralytik.answer(asked) }
    })
    .await;
    // A slash at its end is not doubled.
    let url = format!("{}/", provider.url());
    let signed =
        format!("api = {{ base_url = \"{url}\", key = \"ak_live_1\", signing_secret = \"secret\" }}");
    let home = home(
        &(source("speko", "speko", &by_token(&provider, "speko-token"))
            + &source("auralytik", "auralytik", &signed)),
    );
    let ringback = Ringback::start(&home).await;
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    register(&home, &receiver, &["speech.completed"]).await;
    let thin = json!({"type": "call.report", "call_id": "call-15"});
    let (_, first) = post(&home, "/v1/ingest/speko", &thin).await;
    let (_, again) = post(&home, "/v1/ingest/speko", &thin).await;
    assert_eq!((&first["event_id"], &again["duplicate"]), (&again["event_id"], &json!(true)));
    let voice = json!({"id": "evt_1", "event": "voice-call.completed", "data": {"id": "vc_1"}});
    assert_eq!(post(&home, "/v1/ingest/auralytik", &voice).await.0, StatusCode::OK);

    let seen = receiver.wait_for(2).await;
    let body = |call: &str| {
        seen.iter().map(crate::support::Received::json).find(|body| body["call"] == call).unwrap()
    };
    assert_eq!(body("call-15")["text"], "agent: Hello");
    assert_eq!(body("call-15")["summary"], "All well");
    assert_eq!(body("vc_1")["text"], "agent: Hi");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), 2, "each once");
    let asked = provider.asked();
    for asked in &asked {
        if asked.path.starts_with("/v1/") {
            assert_eq!(asked.header("authorization"), "Bearer speko-token");
        } else {
            assert_eq!(asked.header("x-api-key"), "ak_live_1");
            assert!(!asked.header("x-signature").is_empty() && !asked.header("x-timestamp").is_empty());
        }
    }
    assert_eq!(asked.iter().filter(|asked| asked.path == "/v1/calls/call-15/report").count(), 1);
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_cannot_be_transcribed_is_refused_with_the_reason() {
    let provider = StandIn::start(|asked, before| answer_as_symbl(asked, before, "completed")).await;
    let refusal = |result: Result<Submitted, SubmitError>| match result {
        Err(SubmitError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let nobody = home("");
    let ringback = Ringback::start(&nobody).await;
    dial(&nobody, "call-16").await;
    assert_eq!(refusal(ringback.submit("call-16", Some("dialer")).await), Refusal::NoProvider);
    ringback.stop().await;

    let somebody = home(&(symbl(&provider, "") + BY_SYMBL));
    let ringback = Ringback::start(&somebody).await;
    post(&somebody, "/v1/ingest/dialer", &json!({"call_id": "call-17", "end_at": "2026-03-30 14:27:12"}))
        .await;
    assert_eq!(refusal(ringback.submit("call-17", None).await), Refusal::NoRecording);
    // A transcript alone is sent as text.
    let told = json!({"call_id": "call-17", "speech_result": "agent: Hello\ncustomer: Hi"});
    post(&somebody, "/v1/ingest/dialer", &told).await;
    ringback.submit("call-17", None).await.unwrap();
    let asked =
        provider.wait_until(|asked| asked.iter().any(|asked| asked.is("POST", "/v1/process/text"))).await;
    let text = asked.iter().find(|asked| asked.is("POST", "/v1/process/text")).unwrap().json();
    assert_eq!(text["messages"][1]["payload"]["content"], "Hi");
    assert_eq!(text["messages"][1]["from"]["name"], "customer");
    ringback.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_sources_the_first_transcribes_that_can() {
    let alo = alovoice("alo-token", "ai-1");
    let alo = StandIn::start(move |asked, _| alo.answer(asked, true)).await;
    let provider = StandIn::start(|asked, before| answer_as_symbl(asked, before, "completed")).await;
    let of_the_branch = format!("call_space = \"branch\"\n{}", by_token(&alo, "alo-token"));
    let home = home(
        &(symbl(&provider, "")
            + &source("branch", "commpeak", "call_space = \"branch\"")
            + &source("alo", "alovoice", &of_the_branch)
            + "[speech]\nprovider = [\"alo\", \"symbl\"]\n"),
    );
    let ringback = Ringback::start(&home).await;
    // Each call has the number of another in the other space.
    dial(&home, "call-18").await;
    let ended = json!({"call_id": "call-18", "end_at": "2026-03-30 14:27:12"});
    post(&home, "/v1/ingest/branch", &ended).await;
    let without_recording = json!({"call_id": "call-19", "end_at": "2026-03-30 14:27:12"});
    post(&home, "/v1/ingest/dialer", &without_recording).await;

    ringback.submit("call-18", Some("dialer")).await.unwrap();
    provider.wait_until(|asked| asked.iter().any(|asked| asked.is("POST", "/v1/process/audio/url"))).await;
    assert!(alo.asked().is_empty(), "it has no call of that space: {:?}", alo.asked());
    let refused = ringback.submit("call-19", Some("dialer")).await;
    assert!(matches!(refused, Err(SubmitError::Refused(Refusal::NoRecording))), "{refused:?}");

    let id = CallId::from_text("call-18").unwrap();
    let call = CallKey { account: "acme".into(), space: "branch".into(), id };
    let submission = Submission { call: &call, own_source: Some("branch"), submitted_by: None };
    ringback.running.jobs().submit(submission.clone(), Timestamp::now()).await.unwrap();
    alo.wait_until(|asked| asked.iter().any(|asked| asked.is("GET", "/callsendai/alo-token/call-18"))).await;
    let theirs = CallKey { account: "other".into(), ..call.clone() };
    let submission = Submission { call: &theirs, ..submission };
    let refused = ringback.running.jobs().submit(submission, Timestamp::now()).await;
    assert!(matches!(refused, Err(SubmitError::Refused(Refusal::NoProvider))), "{refused:?}");
    ringback.stop().await;
}
