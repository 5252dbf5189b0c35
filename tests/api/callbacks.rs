//! Standing callbacks: changed, tested, their secrets rotated.

use hyper::StatusCode;
use ringback::http::Client;
use ringback::signature::{SigningSecret, sign};
use serde_json::{Value, json};

use super::problems;
use crate::support::{Home, OPEN_DIALER, Received, Receiver};

/// A registration for calls that ended.
fn callback(url: &str) -> Value {
    json!({
        "callback_url": url, "callback_method": "POST", "events": ["call.ended"],
        "callback_data": "{\"id\": {call_id}, \"type\": {event_type}}",
    })
}

async fn post_event(home: &Home, client: &Client, call: &str) {
    let event = json!({"call_id": call, "end_at": "2026-03-30 14:27:12"}).to_string();
    let (status, _) = client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

/// How many of the signatures of a delivery are of this secret, and how many there are.
fn signatures(received: &Received, secret: &str) -> (usize, usize) {
    let secret = SigningSecret::parse(secret).unwrap();
    let timestamp = received.header("webhook-timestamp").parse().unwrap();
    let ours = sign(&[secret], received.header("webhook-id"), timestamp, &received.body);
    let all: Vec<&str> = received.header("webhook-signature").split(' ').collect();
    (all.iter().filter(|signature| **signature == ours).count(), all.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_for_later_events_and_outlives_a_restart() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let registered = home.register(&client, &callback(&receiver.url())).await;
    let path = format!("/v1/callbacks/{}", registered["id"].as_str().unwrap());
    home.call(&client, "POST", &format!("{path}/pause"), "").await;
    post_event(&home, &client, "before").await;
    let change = json!({"callback_data": "[<call_id>]", "description": "changed", "timeout_ms": 4000});
    let (status, changed) = home.call(&client, "PATCH", &path, change.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!((&changed["description"], &changed["state"]), (&json!("changed"), &json!("paused")));
    assert_eq!(changed["secret"], "whsec_…");
    drop(process);

    let process = home.start();
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!(shown, changed);
    post_event(&home, &client, "after").await;
    home.call(&client, "POST", &format!("{path}/resume"), "").await;
    let seen = receiver.wait_for(2).await;
    let mut bodies: Vec<String> = seen.iter().map(|received| received.json().to_string()).collect();
    bodies.sort();
    assert_eq!(bodies, [r#"["after"]"#, r#"{"id":"before","type":"call.ended"}"#]);
    for received in &seen {
        assert_eq!(signatures(received, registered["secret"].as_str().unwrap()), (1, 1));
    }

    let (status, answer) =
        home.call(&client, "PATCH", &format!("{path}?x=1"), r#"{"descripton": 1, "rank_min": 101}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = problems(&answer);
    for expected in
        [("/x", "unknown_member"), ("/rank_min", "out_of_range"), ("/descripton", "unknown_member")]
    {
        assert!(found.contains(&(expected.0.to_owned(), expected.1.to_owned())), "{answer}");
    }
    assert_eq!(home.call(&client, "PATCH", &path, "").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(home.call(&client, "PATCH", "/v1/callbacks/cb_none", "{}").await.0, StatusCode::NOT_FOUND);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_secret_signs_beside_the_one_before() {
    let home = Home::new(&format!("{OPEN_DIALER}\n[secrets]\nkey = \"{}\"", "A".repeat(43) + "="));
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let registered = home.register(&client, &callback(&receiver.url())).await;
    let path = format!("/v1/callbacks/{}", registered["id"].as_str().unwrap());
    let rotate = format!("{path}/rotate-secret");
    let (status, rotated) = home.call(&client, "POST", &rotate, "").await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    assert!(rotated["previous_secret_expires_at"].is_string());
    let given = SigningSecret::generate().expose();
    let (status, again) = home.call(&client, "POST", &rotate, json!({"secret": given}).to_string()).await;
    assert_eq!((status, again["secret"].as_str()), (StatusCode::OK, Some(given.as_str())));
    let (status, answer) =
        home.call(&client, "POST", &rotate, r#"{"secret": "hunter2", "secrett": 1}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problems(&answer).len(), 2);
    // What is stored is read again.
    drop(process);
    let process = home.start();
    post_event(&home, &client, "1").await;
    let seen = receiver.wait_for(1).await;
    for secret in [&registered["secret"], &rotated["secret"], &again["secret"]] {
        assert_eq!(signatures(&seen[0], secret.as_str().unwrap()), (1, 3));
    }
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!(shown["secret"], "whsec_…");
    for _ in 0..5 {
        assert_eq!(home.call(&client, "POST", &rotate, "").await.0, StatusCode::OK);
    }
    let (status, answer) = home.call(&client, "POST", &rotate, "").await;
    assert_eq!((status, &answer["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limited")));
    let log = process.log();
    assert!(!log.contains(&given) && !log.contains("hunter2"));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_sends_a_sample_now_and_shows_what_was_sent_and_what_came_back() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let receiver =
        Receiver::start(|number, _| if number == 1 { StatusCode::OK } else { StatusCode::GONE }).await;
    let mut request = callback(&receiver.url());
    request["callback_headers"] = json!({"Authorization": "Bearer abc"});
    let registered = home.register(&client, &request).await;
    let path = format!("/v1/callbacks/{}", registered["id"].as_str().unwrap());
    let test = format!("{path}/test");
    let (status, answer) = home.call(&client, "POST", &test, "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let seen = receiver.wait_for(1).await;
    assert_eq!(answer["delivered"], true);
    assert_eq!(answer["request"]["webhook_id"], seen[0].header("webhook-id"));
    assert_eq!(answer["request"]["body"].as_str().unwrap().as_bytes(), seen[0].body);
    assert_eq!(seen[0].json(), json!({"id": "8812345", "type": "call.ended"}));
    assert_eq!(seen[0].header("authorization"), "Bearer abc");
    assert_eq!(answer["request"]["headers"], json!({"Authorization": "…"}));
    assert_eq!((&answer["attempt"]["status"], &answer["attempt"]["response"]), (&json!(200), &json!("{}")));
    assert_eq!(signatures(&seen[0], registered["secret"].as_str().unwrap()), (1, 1));

    // A receiver that refuses is told of; nothing is stored, and nothing is paused.
    let (_, answer) = home.call(&client, "POST", &test, r#"{"sample": "speech.completed"}"#).await;
    assert_eq!((&answer["delivered"], &answer["attempt"]["outcome"]), (&json!(false), &json!("gone")));
    assert_eq!(receiver.seen()[1].json()["type"], "speech.completed");
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!(shown["state"], "active");
    let (_, list) = home.call(&client, "GET", "/v1/deliveries", "").await;
    assert_eq!(list, json!({"data": [], "next": null}));

    let (status, answer) = home.call(&client, "POST", &test, r#"{"sample": "x", "event": 1}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = problems(&answer);
    assert_eq!(
        found,
        [("/sample", "unknown_sample"), ("/event", "unknown_member")].map(|(a, b)| (a.into(), b.into()))
    );
    assert_eq!(home.call(&client, "POST", "/v1/callbacks/cb_none/test", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(receiver.seen().len(), 2);
    assert!(!process.log().contains("Bearer abc"));
    drop(process);
}
