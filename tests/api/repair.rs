//! Deliveries are made anew, or sent again, many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};

use super::problems;
use crate::redis_server::RedisServer;
use crate::support::{Home, OPEN_DIALER, Process, Receiver, TOKEN};

/// How long something may take that happens by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process with a registration whose receiver refuses everything until it is told otherwise.
struct Outage {
    home: Home,
    process: Process,
    client: Client,
    receiver: Receiver,
    is_well: Arc<AtomicBool>,
    callback: String,
}

impl Outage {
    async fn start(home: Home, registration: Value) -> Self {
        let process = home.start();
        let client = Client::new();
        let is_well = Arc::new(AtomicBool::new(false));
        let answers = Arc::clone(&is_well);
        let respond = move |_, _: &_| {
            if answers.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        };
        let receiver = Receiver::start(respond).await;
        let mut registered = json!({
            "callback_url": receiver.url(), "callback_method": "POST", "events": ["call.ended"],
            "callback_data": "[{call_id}]", "retry": {"schedule": ["0s"]},
        });
        for (name, value) in registration.as_object().unwrap() {
            registered[name] = value.clone();
        }
        let callback = home.register(&client, &registered).await["id"].as_str().unwrap().to_owned();
        Self { home, process, client, receiver, is_well, callback }
    }

    async fn post(&self, event: Value) {
        let url = self.home.url("/v1/ingest/dialer");
        let (status, _) = self.client.send("POST", &url, &[], event.to_string()).await.unwrap();
        assert_eq!(status, StatusCode::OK);
    }

    async fn end_call(&self, call: &str) {
        self.post(json!({"call_id": call, "end_at": "2026-03-30 14:27:12"})).await;
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.home.call(&self.client, "POST", path, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    async fn replay(&self, body: Value) -> Value {
        self.ask(&format!("/v1/callbacks/{}/replay", self.callback), body).await
    }

    /// The deliveries in a state, the newest first.
    async fn deliveries(&self, state: &str) -> Vec<Value> {
        let path = format!("/v1/deliveries?limit=250&state={state}");
        let (_, answer) = self.home.call(&self.client, "GET", &path, "").await;
        answer["data"].as_array().unwrap().clone()
    }

    /// Waits until there are so many in a state.
    async fn wait_for(&self, state: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.deliveries(state).await;
            if found.len() == count {
                return found;
            }
            assert!(Instant::now() < until, "{} are {state}:\n{}", found.len(), self.process.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_repaired(&self, change: Value) {
        self.is_well.store(true, Ordering::Relaxed);
        let path = format!("/v1/callbacks/{}", self.callback);
        let (status, answer) = self.home.call(&self.client, "PATCH", &path, change.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

async fn what_failed_is_rendered_anew_and_delivered(home: Home) {
    let outage = Outage::start(home, json!({})).await;
    for call in ["one", "two", "three"] {
        outage.end_call(call).await;
    }
    let dead = outage.wait_for("dead", 3).await;
    // Each is told more of meanwhile, and the template asks for it.
    for call in ["one", "two", "three"] {
        outage.post(json!({"call_id": call, "first_name": format!("Ann {call}")})).await;
    }
    outage
        .is_repaired(
            json!({"callback_data": "[{call_id}, {first_name}, {event_type}, {event_id}, {raw.end_at}]"}),
        )
        .await;

    let first = outage.replay(json!({"limit": 2})).await;
    assert_eq!((&first["replayed"], &first["skipped"]), (&json!(2), &json!([])));
    let second = outage.replay(json!({"limit": 2, "cursor": first["next"]})).await;
    assert_eq!((&second["replayed"], &second["next"]), (&json!(1), &Value::Null));
    let delivered = outage.wait_for("delivered", 3).await;

    // Those that are dead stay so, and say what stands in their place.
    let still_dead = outage.deliveries("dead").await;
    let seen = outage.receiver.seen();
    for dead in &dead {
        let delivered = delivered.iter().find(|one| one["event_id"] == dead["event_id"]).unwrap();
        let still_dead = still_dead.iter().find(|one| one["id"] == dead["id"]).unwrap();
        assert_eq!((&dead["replayed_as"], &still_dead["replayed_as"]), (&Value::Null, &delivered["id"]));
        let id = delivered["id"].as_str().unwrap();
        let sent = seen.iter().find(|sent| sent.header("webhook-id") == id).unwrap();
        let call = dead["call_id"].as_str().unwrap();
        assert_eq!(
            sent.json(),
            json!([call, format!("Ann {call}"), "call.ended", dead["event_id"], "2026-03-30 14:27:12"])
        );
    }
    // A second loop finds that nothing is left to do.
    let again = outage.replay(json!({"only": "failed"})).await;
    assert_eq!((&again["replayed"], &again["next"]), (&json!(0), &Value::Null));
    assert_eq!(
        (&again["skipped"][0]["reason"], &again["skipped"][0]["count"]),
        (&json!("replayed_before"), &json!(3))
    );
    assert_eq!(again["skipped"][0]["first"], dead[2]["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_rendered_anew_and_delivered_over_the_embedded_store() {
    what_failed_is_rendered_anew_and_delivered(Home::new(OPEN_DIALER)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_rendered_anew_and_delivered_over_redis() {
    let server = RedisServer::start(&[]);
    what_failed_is_rendered_anew_and_delivered(Home::with_store(&server.url(), OPEN_DIALER)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_all_takes_what_is_over_once() {
    let outage = Outage::start(Home::new(OPEN_DIALER), json!({})).await;
    outage.is_well.store(true, Ordering::Relaxed);
    outage.end_call("one").await;
    outage.end_call("two").await;
    outage.wait_for("delivered", 2).await;
    outage.is_well.store(false, Ordering::Relaxed);
    outage.end_call("three").await;
    outage.wait_for("dead", 1).await;
    // One that waits for its registration is on its way.
    let path = format!("/v1/callbacks/{}", outage.callback);
    outage.ask(&format!("{path}/pause"), json!({})).await;
    outage.end_call("four").await;

    let answer = outage.replay(json!({"only": "all"})).await;
    assert_eq!((&answer["replayed"], &answer["next"]), (&json!(3), &Value::Null));
    assert_eq!(
        (&answer["skipped"][0]["reason"], &answer["skipped"][0]["count"]),
        (&json!("under_way"), &json!(1))
    );
    assert_eq!(outage.deliveries("queued").await.len(), 4);
    outage.is_well.store(true, Ordering::Relaxed);
    outage.ask(&format!("{path}/resume"), json!({})).await;
    outage.wait_for("delivered", 6).await;
    // Of each event one: those that were replayed stand for those in whose place they were made.
    let answer = outage.replay(json!({"only": "all", "since": "2020-01-01"})).await;
    assert_eq!(answer["replayed"], 4);
    assert_eq!(answer["skipped"][0]["reason"], "replayed_before");
    outage.wait_for("delivered", 10).await;
    // But what is past is asked for as it was.
    let answer = outage.replay(json!({"only": "all", "until": "2020-01-01"})).await;
    assert_eq!(answer, json!({"replayed": 0, "skipped": [], "next": null}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_rendered_can_be_once_the_template_is_mended() {
    let template = json!({"callback_data": "[{first_name | required}]"});
    let outage = Outage::start(Home::new(OPEN_DIALER), template).await;
    outage.end_call("one").await;
    let failed = outage.wait_for("failed", 1).await;
    let answer = outage.replay(json!({})).await;
    assert_eq!(answer["replayed"], 0);
    assert_eq!(answer["skipped"][0]["reason"], "rendering_failed");
    assert_eq!(answer["skipped"][0]["detail"], failed[0]["reason"]);
    outage.is_repaired(json!({"callback_data": "[{call_id}]"})).await;
    assert_eq!(outage.replay(json!({})).await["replayed"], 1);
    outage.wait_for("delivered", 1).await;
    assert_eq!(outage.receiver.seen()[0].json(), json!(["one"]));
    // Forms are data as they were.
    outage.is_repaired(json!({"callback_data": "[{raw.call_id}, {raw.note}]"})).await;
    let form = "call_id=two&end_at=2026-03-30+14%3A27%3A12&note=a+b";
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let url = outage.home.url("/v1/ingest/dialer");
    let (status, _) = outage.client.send("POST", &url, &headers, form).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    outage.wait_for("delivered", 2).await;
    assert_eq!(outage.replay(json!({"only": "all"})).await["replayed"], 2);
    outage.wait_for("delivered", 4).await;
    let bodies: Vec<Value> = outage.receiver.seen().iter().map(crate::support::Received::json).collect();
    assert_eq!(bodies.iter().filter(|body| **body == json!(["two", "a b"])).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_with_a_key_is_done_once() {
    let outage = Outage::start(Home::new(OPEN_DIALER), json!({})).await;
    outage.end_call("one").await;
    outage.wait_for("dead", 1).await;
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", "k")];
    let url = outage.home.url(&format!("/v1/callbacks/{}/replay", outage.callback));
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (status, answer) =
            outage.client.send("POST", &url, &headers, r#"{"only": "all"}"#).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        answers.push(serde_json::from_slice::<Value>(&answer).unwrap());
    }
    assert_eq!(answers[0]["replayed"], 1);
    assert_eq!(answers[0], answers[1]);
    outage.wait_for("dead", 2).await;
    let (status, _) = outage.client.send("POST", &url, &headers, r#"{"only": "failed"}"#).await.unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_retried_with_the_same_ids_and_bytes() {
    let outage = Outage::start(Home::new(OPEN_DIALER), json!({})).await;
    for call in ["one", "two", "three"] {
        outage.end_call(call).await;
    }
    outage.wait_for("dead", 3).await;
    let before = crate::support::by_id(&outage.receiver.seen());
    outage.is_repaired(json!({"callback_data": "[\"another\"]"})).await;

    let one = outage.ask("/v1/deliveries/retry", json!({"call": "two", "callback": outage.callback})).await;
    assert_eq!(one, json!({"retried": 1, "next": null}));
    outage.wait_for("delivered", 1).await;
    let (mut retried, mut cursor) = (0, Value::Null);
    loop {
        let part = outage.ask("/v1/deliveries/retry", json!({"limit": 1, "cursor": cursor})).await;
        retried += part["retried"].as_u64().unwrap();
        cursor = part["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(retried, 2);
    outage.wait_for("delivered", 3).await;
    for (id, sent) in crate::support::by_id(&outage.receiver.seen()) {
        assert_eq!((sent.len(), &sent[0].body), (2, &before[&id][0].body));
    }
    // What waits for its next attempt is due now.
    outage.is_well.store(false, Ordering::Relaxed);
    let path = format!("/v1/callbacks/{}", outage.callback);
    let patient = json!({"retry": {"schedule": ["0s", "10h"]}}).to_string();
    outage.home.call(&outage.client, "PATCH", &path, patient).await;
    outage.end_call("four").await;
    let until = Instant::now() + PATIENCE;
    while outage.wait_for("queued", 1).await[0]["attempts"] != 1 {
        assert!(Instant::now() < until, "it was not tried");
    }
    outage.is_well.store(true, Ordering::Relaxed);
    let waiting = outage.ask("/v1/deliveries/retry", json!({"state": "queued"})).await;
    assert_eq!(waiting["retried"], 1);
    outage.wait_for("delivered", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_wrongly_is_told_at_once() {
    let outage = Outage::start(Home::new(OPEN_DIALER), json!({})).await;
    let replay = format!("/v1/callbacks/{}/replay", outage.callback);
    let wrong = json!({
        "since": "2026-01-02", "until": "2026-01-01", "limit": 251, "cursor": "x", "only": "some", "state": "dead",
    });
    let (status, answer) = outage.home.call(&outage.client, "POST", &replay, wrong.to_string()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut found = problems(&answer);
    found.sort();
    let expected = [
        ("/cursor", "bad_parameter"),
        ("/limit", "out_of_range"),
        ("/only", "bad_parameter"),
        ("/state", "unknown_member"),
        ("/until", "empty_range"),
    ];
    assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    // What failed has no bytes to send again.
    let wrong = json!({"state": "failed", "callback": "x", "since": 5}).to_string();
    let (status, answer) = outage.home.call(&outage.client, "POST", "/v1/deliveries/retry", wrong).await;
    assert_eq!((status, problems(&answer).len()), (StatusCode::UNPROCESSABLE_ENTITY, 3));
    let (status, _) = outage.home.call(&outage.client, "GET", "/v1/deliveries/retry", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}
