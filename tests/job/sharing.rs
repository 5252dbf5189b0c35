//! Speech jobs of two processes over one Redis, of which one is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::json;

use super::stand_in::{Reply, StandIn};
use super::{BY_SYMBL, TEMPLATE, answer_as_symbl, config, dial, symbl};
use crate::redis_server::RedisServer;
use crate::store::run_leases_out;
use crate::support::{Home, Receiver};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_was_at_when_it_was_killed_the_other_does() {
    let answers = Arc::new(AtomicBool::new(false));
    let is_answered = Arc::clone(&answers);
    let provider = StandIn::start(move |asked, before| {
        if asked.is("POST", "/v1/process/audio/url") && !is_answered.load(Ordering::SeqCst) {
            return Reply::Never;
        }
        answer_as_symbl(asked, before, "completed")
    })
    .await;
    let server = RedisServer::durable();
    let rest = config(&(symbl(&provider, ", max_jobs = 1, rate_limit = \"50/s\"") + BY_SYMBL));
    let [one, other] = [(); 2].map(|()| Home::with_store(&server.url(), &rest));
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let client = Client::new();
    let submissions = || provider.count("POST", "/v1/process/audio/url");

    // Only one process is there, and is the one that holds the job.
    let first = one.start();
    dial(&one, "call-7").await;
    let request = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "callback_data": TEMPLATE,
    });
    let (status, made) = one.call(&client, "POST", "/v1/speech-requests", request.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    provider.wait_until(|asked| asked.iter().any(|asked| asked.is("POST", "/v1/process/audio/url"))).await;

    let _second = other.start();
    let view = format!("/v1/speech-requests/{}", made["speechRequestId"].as_str().unwrap());
    let (status, shown) = other.call(&client, "GET", &view, "").await;
    assert_eq!((status, &shown["callIds"]["call-7"]["state"]), (StatusCode::OK, &json!("submitted")));
    // Another call, and a request that only the process knows which is about to die.
    dial(&other, "call-8").await;
    let (status, more) = one.call(&client, "POST", "/v1/speech-requests", request.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{more}");
    assert_eq!(submissions(), 1, "one place at the provider, and it is taken");
    answers.store(true, Ordering::SeqCst);
    first.kill();
    run_leases_out(&server);

    // Two requests for one call, one for the other.
    let seen = receiver.wait_until(std::time::Duration::from_mins(1), |seen| seen.len() >= 3).await;
    let mut calls: Vec<String> =
        seen.iter().map(|received| received.json()["call"].as_str().unwrap().to_owned()).collect();
    calls.sort_unstable();
    assert_eq!(calls, ["call-7", "call-7", "call-8"]);
    for received in &seen {
        let body = received.json();
        assert_eq!((&body["event"], &body["mail"]), (&json!("speech.completed"), &json!("ann@example.com")));
        assert_eq!(body["text"], "Roger: Good morning.\nAnn: Hello \"Roger\".");
    }
    assert_eq!(submissions(), 3, "the one that was cut off once more");
    for made in [made, more] {
        let view = format!("/v1/speech-requests/{}", made["speechRequestId"].as_str().unwrap());
        let (_, shown) = other.call(&client, "GET", &view, "").await;
        let calls = shown["callIds"].as_object().unwrap();
        assert!(calls.values().all(|call| call["state"] == "ready"), "{shown}");
    }
}
