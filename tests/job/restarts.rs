//! The story, with real processes that are killed at each of its steps: the dialer's event brings
//! call, campaign and lead, a speech request submits the call, its callback carries all of it, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};

use super::stand_in::{Reply, StandIn};
use super::{BY_SYMBL, TEMPLATE, alovoice, answer_as_symbl, dial, home, make_reachable, symbl};
use crate::support::{Home, Received, Receiver};

/// How far a provider goes: each step is answered from the stage on that has its name, and not at
/// all before.
#[derive(Clone)]
struct Stage(Arc<AtomicU8>);

const NOTHING: u8 = 0;
const SUBMITTED: u8 = 1;
const POLLED: u8 = 2;
const DONE: u8 = 3;
const FETCHED: u8 = 4;

impl Stage {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(NOTHING)))
    }

    fn is(&self, stage: u8) -> bool {
        self.0.load(Ordering::SeqCst) >= stage
    }

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::SeqCst);
    }
}

/// Asks for the speech of the call that is known; the request's id.
async fn ask_for_speech(home: &Home, receiver: &Receiver) -> String {
    let request = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "callback_data": TEMPLATE, "limit": 9,
    });
    let (status, made) = home.call(&Client::new(), "POST", "/v1/speech-requests", request.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["callIds"], json!({"call-7": {"state": "submitted"}}));
    made["speechRequestId"].as_str().unwrap().to_owned()
}

/// A receiver that refuses the first attempt.
async fn busy_receiver() -> Receiver {
    let answer = |number: usize, _: &Received| match number {
        1 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    Receiver::start(answer).await
}

/// From the first attempt, which fails, over another kill to the end: one delivery, of which every
/// attempt has the same id and the same bytes. Returns its body.
async fn killed_between_two_attempts(
    home: &Home,
    receiver: &Receiver,
    process: crate::support::Process,
    request: &str,
) -> Value {
    receiver.wait_for(1).await;
    process.kill();
    let process = home.start();
    let client = Client::new();
    let seen = receiver.wait_for(2).await;
    // What comes late or again changes nothing.
    dial(home, "call-7").await;
    let delivered = async {
        loop {
            let (status, list) = home.call(&client, "GET", "/v1/deliveries", "").await;
            assert_eq!(status, StatusCode::OK);
            let deliveries = list["data"].as_array().unwrap().clone();
            assert_eq!(deliveries.len(), 1, "{list}");
            assert_eq!(deliveries[0]["speech_request_id"], request);
            if deliveries[0]["state"] == "delivered" {
                return deliveries[0]["id"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let delivery = tokio::time::timeout(Duration::from_secs(30), delivered).await.expect("it is delivered");
    let (_, shown) = home.call(&client, "GET", &format!("/v1/speech-requests/{request}"), "").await;
    assert_eq!(shown["callIds"], json!({"call-7": {"state": "ready", "delivery_id": delivery}}));
    assert_eq!(receiver.seen().len(), 2);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_eq!(seen[0].body, seen[1].body);
    process.kill();
    assert_eq!(home.audit()["clean"], true);
    seen[1].json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_through_symbl_and_a_kill_at_each_step_costs_nothing() {
    let stage = Stage::new();
    let reached = stage.clone();
    let provider = StandIn::start(move |asked, before| {
        let path = asked.path.split('?').next().unwrap();
        let is_answered = match path {
            "/v1/process/audio/url" => reached.is(SUBMITTED),
            path if path.starts_with("/v1/job/") => reached.is(POLLED),
            path if path.starts_with("/v1/conversations/") => reached.is(FETCHED),
            _ => true,
        };
        if !is_answered {
            return Reply::Never;
        }
        answer_as_symbl(asked, before, if reached.is(DONE) { "completed" } else { "in_progress" })
    })
    .await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL));
    make_reachable(&home);
    let receiver = busy_receiver().await;
    let asked_for = |path: &'static str| {
        provider.wait_until(move |asked| asked.iter().any(|asked| asked.path.starts_with(path)))
    };

    let process = home.start();
    dial(&home, "call-7").await;
    process.kill();

    let process = home.start();
    let request = ask_for_speech(&home, &receiver).await;
    asked_for("/v1/process/audio/url").await;
    process.kill();

    // Whether the provider has taken it nobody can know: it is handed over again.
    stage.set(SUBMITTED);
    let process = home.start();
    let asked = asked_for("/v1/job/").await;
    process.kill();
    let submission = asked.iter().rfind(|asked| asked.is("POST", "/v1/process/audio/url")).unwrap().json();
    assert_eq!(submission["url"], "https://recordings.example.com/call-7.wav");

    stage.set(POLLED);
    let polls = asked.iter().filter(|asked| asked.path.starts_with("/v1/job/")).count();
    let process = home.start();
    provider
        .wait_until(|asked| asked.iter().filter(|asked| asked.path.starts_with("/v1/job/")).count() > polls)
        .await;
    stage.set(DONE);
    let told = json!({"jobId": "job-2", "status": "completed"}).to_string();
    let webhook = submission["webhookUrl"].as_str().unwrap();
    let (status, _) = Client::new().send("POST", webhook, &[], told.clone()).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    asked_for("/v1/conversations/").await;
    process.kill();

    stage.set(FETCHED);
    let process = home.start();
    let body = killed_between_two_attempts(&home, &receiver, process, &request).await;
    assert_eq!(
        body,
        json!({
            "event": "speech.completed", "call": "call-7", "mail": "ann@example.com", "campaign": "Spring",
            "text": "Roger: Good morning.\nAnn: Hello \"Roger\".", "state": "completed", "error": null,
            "job": "job-2", "mood": "positive", "topics": [{"id": "t", "text": "offer"}], "summary": "An offer.",
        })
    );
    assert_eq!(provider.count("POST", "/v1/process/audio/url"), 2, "the one that was cut off, and another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_through_alovoice_and_a_kill_at_each_step_costs_nothing() {
    let stage = Stage::new();
    let reached = stage.clone();
    let alo = alovoice("alo-token", "ai-7");
    let provider = StandIn::start(move |asked, _| match asked.path.as_str() {
        "/callsendai/alo-token/call-7" if reached.is(SUBMITTED) => alo.answer(asked, false),
        "/callgetairesult/alo-token/call-7" if reached.is(POLLED) => alo.answer(asked, reached.is(DONE)),
        _ => Reply::Never,
    })
    .await;
    let home = home(&format!(
        "[[source]]\nname = \"alo\"\naccount = \"acme\"\nprovider = \"alovoice\"\nverify = {{ scheme = \"none\" }}\n\
         api = {{ base_url = \"{}\", token = \"alo-token\" }}\n[speech]\nprovider = \"alo\"\n",
        provider.url()
    ));
    let receiver = busy_receiver().await;
    let polls = |count: usize| {
        provider.wait_until(move |asked| {
            asked.iter().filter(|asked| asked.path.starts_with("/callgetairesult/")).count() >= count
        })
    };

    let process = home.start();
    dial(&home, "call-7").await;
    process.kill();

    let process = home.start();
    let request = ask_for_speech(&home, &receiver).await;
    provider.wait_until(|asked| !asked.is_empty()).await;
    process.kill();

    stage.set(SUBMITTED);
    let process = home.start();
    polls(1).await;
    process.kill();

    stage.set(POLLED);
    let process = home.start();
    polls(2).await;
    let log = process.log();
    process.kill();
    assert!(!log.contains("alo-token"), "the token is in the log:\n{log}");

    stage.set(DONE);
    let process = home.start();
    let body = killed_between_two_attempts(&home, &receiver, process, &request).await;
    assert_eq!((&body["event"], &body["call"]), (&json!("speech.completed"), &json!("call-7")));
    assert_eq!((&body["mail"], &body["campaign"]), (&json!("ann@example.com"), &json!("Spring")));
    assert_eq!((&body["text"], &body["job"]), (&json!("operator: assalomu alaykum"), &json!("ai-7")));
    assert_eq!(provider.asked().iter().filter(|asked| asked.path.starts_with("/callsendai/")).count(), 2);
}
