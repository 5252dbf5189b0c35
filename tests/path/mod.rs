//! The whole path, over HTTP, with the real process: an event comes in, a callback goes out.

use std::time::Duration;

use hyper::StatusCode;
use ringback::http::Client;
use ringback::signature::{SigningSecret, sign};
use serde_json::{Value, json};

use crate::support::{Home, LOOPBACK, Receiver, TOKEN, hex, source};

const SPEKO_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A dialer and a speech provider that speak of the same calls.
fn two_providers() -> Home {
    Home::new(&format!(
        r#"
[[source]]
name = "dialer"
account = "acme"
provider = "commpeak"
verify = {{ scheme = "hmac", header = "x-signature", prefix = "sha256=", secret = "dialer-secret" }}

[[source]]
name = "speech"
account = "acme"
provider = "speko"
verify = {{ scheme = "standard-webhooks", secret = "{SPEKO_SECRET}" }}

[[source]]
name = "others"
account = "other"
provider = "commpeak"
verify = {{ scheme = "none" }}

{LOOPBACK}"#
    ))
}

fn hmac(secret: &[u8], body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(body.as_bytes());
    hex(&mac.finalize().into_bytes())
}

async fn post_dialer(home: &Home, client: &Client, event: &Value) -> (StatusCode, Value) {
    let body = event.to_string();
    let signature = format!("sha256={}", hmac(b"dialer-secret", &body));
    let url = home.url("/v1/ingest/dialer");
    let (status, body) = client.send("POST", &url, &[("x-signature", &signature)], body).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn post_speko(home: &Home, client: &Client, id: &str, event: &Value) -> (StatusCode, Value) {
    let body = event.to_string();
    let now = jiff::Timestamp::now().as_second();
    let signature = sign(&[SigningSecret::parse(SPEKO_SECRET).unwrap()], id, now, body.as_bytes());
    let timestamp = now.to_string();
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", timestamp.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    let (status, body) = client.send("POST", &home.url("/v1/ingest/speech"), &headers, body).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcript_is_delivered_with_the_lead_that_only_the_dialer_knew() {
    let home = two_providers();
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    home.register(
        &client,
        &json!({
            "callback_url": receiver.url(),
            "callback_method": "PUT",
            "callback_data": "{\"event\": {event_type}, \"mail\": {email}, \"campaign\": \"{campaign_name}\", \
                              \"text\": \"{speech_result}\", \"rank\": {speech_rank}, \"delivery\": {delivery_id}}",
        }),
    )
    .await;
    // Another account's callback for everything sees none of it.
    let other = Receiver::start(|_, _| StatusCode::OK).await;

    let dialer = json!({
        "call_id": "call-7", "start_at": "2026-03-30 14:22:00", "end_at": "2026-03-30 14:27:12",
        "email": "ann@example.com", "campaign_name": "Spring \"offer\"",
    });
    let (status, first) = post_dialer(&home, &client, &dialer).await;
    assert_eq!((status, &first["duplicate"]), (StatusCode::OK, &json!(false)));
    let (status, again) = post_dialer(&home, &client, &dialer).await;
    assert_eq!((status, &again["duplicate"]), (StatusCode::OK, &json!(true)));
    assert_eq!(first["event_id"], again["event_id"]);

    let report = json!({
        "type": "call.report", "call_id": "call-7", "summary": "All well",
        "transcript": {"entries": [
            {"index": 0, "source": "agent", "text": "Say \"hello\"\n", "started_at": "2026-03-30T14:22:01Z"},
            {"index": 1, "source": "user", "text": "{email} \u{1f4de}", "started_at": "2026-03-30T14:22:04Z"},
        ]},
    });
    let (status, accepted) = post_speko(&home, &client, "msg_1", &report).await;
    assert_eq!(status, StatusCode::OK, "{accepted}");
    let (_, repeated) = post_speko(&home, &client, "msg_1", &report).await;
    assert_eq!(repeated, json!({"event_id": accepted["event_id"], "duplicate": true}));

    let seen = receiver.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), 1, "a repeated event is delivered to nobody again");
    assert!(other.seen().is_empty());
    let body = seen[0].json();
    assert_eq!(body["event"], "speech.completed");
    assert_eq!(body["mail"], "ann@example.com");
    assert_eq!(body["campaign"], "Spring \"offer\"");
    assert_eq!(body["rank"], Value::Null);
    assert_eq!(body["delivery"], seen[0].header("webhook-id"));
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("Say \"hello\"") && text.contains("{email} \u{1f4de}"), "{text}");

    // What was sent and what came back can be looked at.
    let id = seen[0].header("webhook-id");
    let (status, shown) = home.call(&client, "GET", &format!("/v1/deliveries/{id}"), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(shown["state"], "delivered");
    assert_eq!(shown["event_id"], accepted["event_id"]);
    assert_eq!(shown["call_id"], "call-7");
    assert_eq!(shown["request"]["body"].as_str().unwrap().as_bytes(), &seen[0].body[..]);
    assert_eq!(shown["attempts"][0]["status"], 200);
    let (_, event) = home
        .call(&client, "GET", &format!("/v1/events/{}", accepted["event_id"].as_str().unwrap()), "")
        .await;
    assert_eq!(event["body"].as_str().unwrap(), report.to_string());
    assert_eq!(event["types"], json!(["speech.completed"]));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_believed_or_not_understood_is_answered_as_documented() {
    let home = two_providers();
    let process = home.start();
    let client = Client::new();
    let event = json!({"call_id": "1", "end_at": "2026-03-30 14:27:12"});
    let post = async |path: &str, headers: &[(&str, &str)], body: String| {
        let (status, body) = client.send("POST", &home.url(path), headers, body).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (status.as_u16(), body["code"].as_str().unwrap_or_default().to_owned())
    };
    let wrong = format!("sha256={}", hmac(b"another-secret", &event.to_string()));
    assert_eq!(post("/v1/ingest/dialer", &[], event.to_string()).await.0, 401);
    assert_eq!(post("/v1/ingest/dialer", &[("x-signature", &wrong)], event.to_string()).await.0, 401);
    assert_eq!(post("/v1/ingest/nobody", &[], event.to_string()).await, (404, "unknown_source".into()));
    let malformed = "{\"call_id\": ";
    let right = format!("sha256={}", hmac(b"dialer-secret", malformed));
    let (status, code) = post("/v1/ingest/dialer", &[("x-signature", &right)], malformed.into()).await;
    assert_eq!((status, code.as_str()), (422, "unreadable_event"));
    let large = "x".repeat((4 << 20) + 1);
    assert_eq!(post("/v1/ingest/dialer", &[], large).await, (413, "body_too_large".into()));
    let (status, _) = client.send("DELETE", &home.url("/v1/ingest/dialer"), &[], "").await.unwrap();
    assert_eq!(status, 405);
    let (status, _) = client.send("GET", &home.url("/v1/ingest/speech"), &[], "").await.unwrap();
    assert_eq!(status, 200);
    // Sub-paths and queries are taken and kept.
    let body = event.to_string();
    let right = format!("sha256={}", hmac(b"dialer-secret", &body));
    let url = home.url("/v1/ingest/dialer/some/where?x=1");
    let (status, answer) = client.send("POST", &url, &[("x-signature", &right)], body).await.unwrap();
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let path = format!("/v1/events/{}", answer["event_id"].as_str().unwrap());
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!(shown["path"], "/some/where?x=1");
    // An unknown token, and none, see nothing.
    for authorization in ["Bearer rbk_wrong", "Basic eDp5", ""] {
        let headers = [("authorization", authorization)];
        let (status, _) = client.send("GET", &home.url(&path), &headers, "").await.unwrap();
        assert_eq!(status, 401, "{authorization}");
    }
    let (status, _) = client.send("GET", &home.url(&format!("{path}?token={TOKEN}")), &[], "").await.unwrap();
    assert_eq!(status, 200);
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(client.send("GET", &home.url(probe), &[], "").await.unwrap().0, 200);
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_is_tried_again_and_one_that_is_gone_pauses_its_callback() {
    let home = two_providers();
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|number, _| match number {
        1 => StatusCode::INTERNAL_SERVER_ERROR,
        2 => StatusCode::NOT_FOUND,
        4 => StatusCode::GONE,
        _ => StatusCode::OK,
    })
    .await;
    let registered = home
        .register(
            &client,
            &json!({
                "callback_url": receiver.url(), "callback_method": "POST", "callback_data": "[{call_id}]",
                "events": ["call.ended"], "retry": {"preset": "fixed", "delay": "100ms", "attempts": 4},
            }),
        )
        .await;
    post_dialer(&home, &client, &json!({"call_id": 1, "end_at": "2026-03-30 14:27:12"})).await;
    let seen = receiver.wait_for(3).await;
    let attempts: Vec<&str> = seen.iter().map(|received| received.header("ringback-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert!(seen.iter().all(|received| received.body == "[1]"));
    let signatures: Vec<&str> = seen.iter().map(|received| received.header("webhook-signature")).collect();
    assert!(signatures[0].starts_with("v1,"));

    post_dialer(&home, &client, &json!({"call_id": 2, "end_at": "2026-03-30 14:27:12"})).await;
    receiver.wait_for(4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.seen().len(), 4, "a paused callback is not delivered to");
    let path = format!("/v1/callbacks/{}", registered["id"].as_str().unwrap());
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!(shown["state"], "paused");
    // It goes on collecting, and what was collected goes out when it is resumed.
    post_dialer(&home, &client, &json!({"call_id": 3, "end_at": "2026-03-30 14:27:12"})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), 4);
    let (status, _) = home.call(&client, "POST", &format!("{path}/resume"), "").await;
    assert_eq!(status, StatusCode::OK);
    receiver.wait_for(6).await;
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_and_a_pause_are_told_to_those_who_registered_for_them() {
    let home = two_providers();
    let process = home.start();
    let client = Client::new();
    let failing = Receiver::start(|number, _| match number {
        1 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::GONE,
    })
    .await;
    let listening = Receiver::start(|_, _| StatusCode::OK).await;
    let callback = home
        .register(
            &client,
            &json!({
                "callback_url": failing.url(), "callback_method": "POST", "callback_data": "[]",
                "events": ["call.ended"], "retry": {"schedule": ["0s"]},
            }),
        )
        .await;
    home.register(
        &client,
        &json!({
            "callback_url": listening.url(), "callback_method": "POST",
            "callback_data": r#"{"type": {event_type}, "call": {call_id}, "provider": {provider}, "raw": {raw}}"#,
            "events": ["delivery.dead", "callback.paused"],
        }),
    )
    .await;
    post_dialer(&home, &client, &json!({"call_id": 7, "end_at": "2026-03-30 14:27:12"})).await;
    let dead = listening.wait_for(1).await[0].json();
    assert_eq!((&dead["type"], &dead["call"]), (&json!("delivery.dead"), &json!(7)));
    assert_eq!(dead["provider"], "ringback");
    assert_eq!(dead["raw"]["callback_id"], callback["id"]);
    let path = format!("/v1/deliveries/{}", dead["raw"]["delivery_id"].as_str().unwrap());
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("dead"), &dead["raw"]["reason"]));

    post_dialer(&home, &client, &json!({"call_id": 8, "end_at": "2026-03-30 14:27:12"})).await;
    let seen = listening.wait_until(Duration::from_secs(20), |seen| seen.len() >= 3).await;
    let types: Vec<String> =
        seen[1..].iter().map(|received| received.json()["type"].as_str().unwrap().to_owned()).collect();
    assert!(types.contains(&"callback.paused".to_owned()), "{types:?}");
    assert!(types.contains(&"delivery.dead".to_owned()), "{types:?}");
    drop(process);
}

/// Deliveries of one call go out in their order, though the first of them fails at first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_callback_gets_the_events_of_a_call_one_after_the_other() {
    let home = two_providers();
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|number, _| match number {
        1 | 2 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    })
    .await;
    let registered = home
        .register(
            &client,
            &json!({
                "callback_url": receiver.url(), "callback_method": "POST",
                "callback_data": "[{campaign_name}]", "events": ["call.ended"], "ordered": true,
                "retry": {"preset": "fixed", "delay": "200ms", "attempts": 5},
            }),
        )
        .await;
    assert_eq!(registered["ordered"], true);
    for (second, name) in (10..).zip(["a", "b", "c"]) {
        let end = format!("2026-03-30 14:27:{second}");
        let event = json!({"call_id": 1, "end_at": end, "campaign_name": name});
        assert_eq!(post_dialer(&home, &client, &event).await.0, StatusCode::OK);
    }
    let seen = receiver.wait_for(5).await;
    let bodies: Vec<&[u8]> = seen.iter().map(|received| received.body.as_ref()).collect();
    assert_eq!(bodies, [br#"["a"]"#, br#"["a"]"#, br#"["a"]"#, br#"["b"]"#, br#"["c"]"#]);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_must_not_be_dialled_is_refused_when_it_is_registered_and_when_it_is_dialled() {
    let dialer = source("dialer", "commpeak", "");
    let home = Home::new(&(dialer.clone() + LOOPBACK));
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let port = receiver.url().split(':').nth(2).unwrap().split('/').next().unwrap().to_owned();
    let register = |url: String| json!({"callback_url": url, "callback_method": "POST", "callback_data": "{}", "events": ["call.ended"]});
    let process = home.start();
    home.register(&client, &register(receiver.url())).await;
    drop(process);

    // The operator takes the network off the list: what was registered is not dialled any more.
    home.configure(&dialer);
    let process = home.start();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "localhost",
        "LOCALHOST.",
        "user@example.com",
        "[64:ff9b::7f00:1]",
        "[fd00:ec2::254]",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "0",
        "\u{ff11}27.0.0.1",
    ] {
        let body = register(format!("http://{host}:{port}")).to_string();
        let (status, answer) = home.call(&client, "POST", "/v1/callbacks", body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{host}: {answer}");
        assert_eq!(answer["errors"][0]["pointer"], "/callback_url");
    }
    let event = json!({"call_id": "1", "end_at": "2026-03-30 14:27:12"}).to_string();
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    let mut outcome = Value::Null;
    for _ in 0..100 {
        let (_, list) = home.call(&client, "GET", "/v1/deliveries", "").await;
        let id = list["data"][0]["id"].as_str().unwrap().to_owned();
        let (_, shown) = home.call(&client, "GET", &format!("/v1/deliveries/{id}"), "").await;
        outcome = shown["attempts"][0]["outcome"].clone();
        if !outcome.is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(outcome, "address_refused");
    assert!(receiver.seen().is_empty());
    drop(process);
}
