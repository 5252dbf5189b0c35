//! Callbacks that are too much to render with their event.

use std::collections::HashMap;
use std::time::Duration;

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};

use crate::redis_server::RedisServer;
use crate::support::{Home, OPEN_DIALER, Receiver, by_id, soon_again};

/// As many as an event causes deliveries, each with a body of some more than this.
const CALLBACKS: usize = 1_000;
const TEXT: usize = 100 << 10;

fn registration(url: &str, number: usize) -> Value {
    json!({
        "callback_url": format!("{url}/{number}/{{call_id}}"),
        "callback_method": "POST",
        "callback_data": format!("{{\"to\": {number}, \"id\": {{delivery_id}}, \"text\": {{speech_result}}, \"raw\": {{raw.call_id}}}}"),
        "callback_headers": {"x-call": "{call_id}"},
        "retry": soon_again(),
    })
}

/// Delivers them, with so many kills meanwhile.
async fn everything_arrives(home: Home, kills: usize) {
    let receiver = Receiver::start_failing().await;
    let client = Client::new();
    let mut process = home.start();
    let mut ids = Vec::new();
    for number in 0..CALLBACKS {
        let registered = home.register(&client, &registration(&receiver.url(), number)).await;
        ids.push(registered["id"].as_str().unwrap().to_owned());
    }
    let of = |number: usize| format!("/v1/callbacks/{}", ids[number]);
    let delivery_of = async |number: usize| {
        let path = format!("/v1/deliveries?callback_id={}", ids[number]);
        let (_, list) = home.call(&client, "GET", &path, "").await;
        let id = list["data"][0]["id"].as_str().unwrap().to_owned();
        home.call(&client, "GET", &format!("/v1/deliveries/{id}"), "").await.1
    };
    // The last ones are too much, whatever an event's limit is short of all. Paused, so that there is
    // time between the event and the first attempt.
    let (changed, removed) = (CALLBACKS - 1, CALLBACKS - 2);
    for number in [changed, removed] {
        assert_eq!(
            home.call(&client, "POST", &format!("{}/pause", of(number)), "{}").await.0,
            StatusCode::OK
        );
    }
    let text = "x\"\u{e4}".repeat(TEXT / 4);
    let event = json!({"call_id": "7", "end_at": "2026-03-30 14:27:12", "speech_result": text});
    let (status, answer) =
        client.send("POST", &home.url("/v1/ingest/dialer"), &[], event.to_string()).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer:?}");

    let shown = delivery_of(changed).await;
    assert_eq!((&shown["state"], &shown["request"]), (&json!("queued"), &Value::Null), "{shown}");
    assert!(shown["not_rendered"].as_str().unwrap().contains("first attempt"), "{shown}");
    let patch =
        json!({"callback_data": "{\"to\": \"nobody\"}", "callback_url": format!("{}/new", receiver.url())});
    assert_eq!(home.call(&client, "PATCH", &of(changed), patch.to_string()).await.0, StatusCode::OK);
    assert_eq!(home.call(&client, "DELETE", &of(removed), "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(home.call(&client, "POST", &format!("{}/resume", of(changed)), "{}").await.0, StatusCode::OK);
    for kill in 0..kills {
        let enough = (kill + 1) * CALLBACKS / (2 * kills);
        receiver.wait_until(Duration::from_mins(5), |seen| seen.len() >= enough).await;
        process.kill();
        process = home.start();
    }

    let delivered = CALLBACKS - 1;
    let seen = receiver.wait_until(Duration::from_mins(5), |seen| by_id(seen).len() == delivered).await;
    let mut numbers = HashMap::new();
    for (id, requests) in by_id(&seen) {
        for request in &requests {
            assert_eq!((&request.body, &request.uri), (&requests[0].body, &requests[0].uri), "{id} changed");
        }
        let body = requests[0].json();
        assert_eq!((body["id"].as_str(), &body["raw"]), (Some(&*id), &json!("7")));
        assert!(body["text"].as_str() == Some(&text), "another text");
        let number = usize::try_from(body["to"].as_u64().unwrap()).unwrap();
        assert_eq!(requests[0].uri, format!("/hook/{number}/7"));
        assert_eq!(requests[0].header("x-call"), "7");
        numbers.insert(number, id);
    }
    assert_eq!(numbers.len(), delivered, "each has one of its own");
    assert!(!numbers.contains_key(&removed));
    // It takes a moment until the last is settled.
    let deadline = std::time::Instant::now() + Duration::from_mins(5);
    let audit = loop {
        let audit = home.audit();
        if audit["counts"]["delivered"] == delivered {
            break audit;
        }
        assert!(std::time::Instant::now() < deadline, "{audit}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (&audit["counts"]["cancelled"], &audit["counts"]["not rendered yet"]),
        (&json!(1), &Value::Null)
    );
    let shown = delivery_of(changed).await;
    assert_eq!((&shown["state"], &shown["not_rendered"]), (&json!("delivered"), &Value::Null));
    assert_eq!(
        shown["request"]["body"].as_str().unwrap().as_bytes(),
        &by_id(&seen)[&numbers[&changed]][0].body[..]
    );
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_large_callbacks_of_one_event_arrive_whoever_is_killed() {
    everything_arrives(Home::new(OPEN_DIALER), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_large_callbacks_of_one_event_arrive_over_redis() {
    let server = RedisServer::start(&[]);
    everything_arrives(Home::with_store(&server.url(), OPEN_DIALER), 1).await;
}
