//! The customers' API, over HTTP, with the real process.

mod callbacks;
mod idempotency;
mod limits;
mod lists;
mod openapi;
mod recordings;
mod repair;
mod transfers;

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};

use crate::support::{Home, OPEN_DIALER, Receiver};

/// The `code`s and pointers of a problem.
fn problems(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (text(&error["pointer"]), text(&error["code"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_registration_is_refused_with_every_problem_at_once_and_nothing_is_stored() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let request = json!({
        "callback_url": "ftp://user:pass@127.0.0.1:22/x",
        "callback_method": "PATCH",
        "callback_data": "{\n  \"a\": {call_idd},\n  \"b\": \"{email | uper}\",\n}",
        "events": ["call.ended", "call.endet"],
        "sources": ["dialr"],
        "min_duration": 20, "max_duration": 10,
        "rank_min": 101,
        "from": "yesterday",
        "retry": {"schedule": ["0s", "5 parsecs"]},
        "secret": "hunter2",
        "timeout_ms": 70000,
        "rate_limit": "fast",
        "descripton": "x",
    });
    let (status, answer) = home.call(&client, "POST", "/v1/callbacks", request.to_string()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["code"], "invalid_request");
    let found = problems(&answer);
    for expected in [
        ("/callback_url", "bad_scheme"),
        ("/callback_url", "user_information"),
        ("/callback_method", "bad_method"),
        ("/callback_data", "unknown_placeholder"),
        ("/callback_data", "unknown_filter"),
        ("/callback_data", "invalid_json"),
        ("/events/1", "unknown_event_type"),
        ("/sources/0", "unknown_source"),
        ("/min_duration", "empty_range"),
        ("/rank_min", "out_of_range"),
        ("/from", "bad_time"),
        ("/retry/schedule/1", "bad_duration"),
        ("/secret", "bad_secret"),
        ("/timeout_ms", "out_of_range"),
        ("/rate_limit", "bad_rate"),
        ("/descripton", "unknown_member"),
    ] {
        let (pointer, code) = expected;
        assert!(found.contains(&(pointer.into(), code.into())), "{expected:?} is missing in {answer:#}");
    }
    assert!(!answer.to_string().contains("hunter2"));
    let placeholder =
        answer["errors"].as_array().unwrap().iter().find(|error| error["code"] == "unknown_placeholder");
    let placeholder = placeholder.unwrap();
    assert_eq!((&placeholder["line"], &placeholder["column"]), (&json!(2), &json!(9)));
    assert_eq!(placeholder["suggestion"], "call_id");
    let (_, list) = home.call(&client, "GET", "/v1/callbacks", "").await;
    assert_eq!(list, json!({"data": [], "next": null}));

    let (status, answer) = home.call(&client, "POST", "/v1/callbacks", "{}").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let mandatory = ["/callback_url", "/callback_method", "/callback_data"];
    assert_eq!(problems(&answer), mandatory.map(|pointer| (pointer.to_owned(), "missing".to_owned())));
    for not_json in ["", "{", "[1,]"] {
        assert_eq!(home.call(&client, "POST", "/v1/callbacks", not_json).await.0, StatusCode::BAD_REQUEST);
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_read_listed_kept_across_a_restart_and_removed() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let request = json!({
        "callback_url": receiver.url(), "callback_method": "put", "callback_data": "{\"id\": <call_id>}",
        "events": ["call.ended", "call.started"], "sources": ["dialer"], "min_duration": 10, "call_status": "Ended",
        "from": "2026-01-01 00:00:00", "retry": {"preset": "exponential", "delay": "1s", "attempts": 4},
        "timeout_ms": 5000, "max_in_flight": 3, "rate_limit": "50/s", "description": "to the CRM",
        "expires_at": "2999-01-01T00:00:00Z",
    });
    let registered = home.register(&client, &request).await;
    let id = registered["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("cb_"));
    assert!(registered["secret"].as_str().unwrap().starts_with("whsec_"));
    let path = format!("/v1/callbacks/{id}");
    let (_, shown) = home.call(&client, "GET", &path, "").await;
    assert_eq!(shown["secret"], "whsec_…");
    assert_eq!(shown["retry"], json!({"schedule": ["0s", "1s", "2s", "4s"]}));
    assert_eq!(shown["callback_method"], "PUT");
    assert_eq!(shown["from"], "2026-01-01T00:00:00Z");
    for (name, value) in shown.as_object().unwrap() {
        assert!(name == "secret" || registered[name] == *value, "{name}");
    }
    drop(process);

    let process = home.start();
    let (_, again) = home.call(&client, "GET", &path, "").await;
    assert_eq!(again, shown);
    // What does not match is not delivered: too short, another status, another source.
    let event = |call: &str, status: &str, duration: u32| {
        json!({"call_id": call, "start_at": "2026-03-30 14:22:00", "end_at": "2026-03-30 14:27:12",
               "call_status": status, "call_duration": duration})
        .to_string()
    };
    let post = async |source: &str, body: String| {
        let (status, _) =
            client.send("POST", &home.url(&format!("/v1/ingest/{source}")), &[], body).await.unwrap();
        assert_eq!(status, StatusCode::OK);
    };
    post("dialer", event("short", "ended", 9)).await;
    post("dialer", event("busy", "busy", 60)).await;
    post("others", event("theirs", "ended", 60)).await;
    post("dialer", event("right", "ENDED", 10)).await;
    let seen = receiver.wait_for(1).await;
    assert_eq!(seen[0].json(), json!({"id": "right"}));

    let (_, list) = home.call(&client, "GET", "/v1/callbacks?limit=1", "").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(home.call(&client, "DELETE", &path, "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(home.call(&client, "DELETE", &path, "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(home.call(&client, "GET", &path, "").await.0, StatusCode::NOT_FOUND);
    post("dialer", event("later", "ended", 60)).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), 1);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_are_checked_and_rendered_before_they_are_registered() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let check = json!({"callback_data": "{\"a\": {call_id}, \"b\": \"<first_name> {custom.owner}\"}"});
    let (status, answer) = home.call(&client, "POST", "/v1/templates/check", check.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["valid"], true);
    assert_eq!(answer["placeholders"], json!(["call_id", "first_name", "custom.owner"]));
    let check = json!({"callback_data": "{\"a\": {{call_id}}}"});
    let (_, answer) = home.call(&client, "POST", "/v1/templates/check", check.to_string()).await;
    assert_eq!(answer["valid"], false);
    assert_eq!(answer["errors"][0]["code"], "double_brace");

    let render = json!({
        "callback_data": "{\"rank\": {speech_rank}, \"mail\": {email}, \"who\": \"{first_name}\"}",
        "context": {"speech_rank": "87", "first_name": "A \"B\""},
    });
    let (status, answer) = home.call(&client, "POST", "/v1/templates/render", render.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["body"], "{\"rank\": 87, \"mail\": null, \"who\": \"A \\\"B\\\"\"}");

    let event = json!({"call_id": 9_007_199_254_740_993_u64, "email": "ann@example.com"}).to_string();
    let (_, accepted) = client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    let accepted: Value = serde_json::from_slice(&accepted).unwrap();
    let render = json!({
        "callback_data": "[{call_id}, {email}, {event_type}, {raw.email}]", "event_id": accepted["event_id"],
    });
    let (_, answer) = home.call(&client, "POST", "/v1/templates/render", render.to_string()).await;
    assert_eq!(answer["body"], r#"[9007199254740993, "ann@example.com", "call.updated", "ann@example.com"]"#);

    let (_, catalogue) = home.call(&client, "GET", "/v1/placeholders", "").await;
    let names = catalogue["data"].as_array().unwrap();
    assert!(names.iter().any(|name| name["name"] == "speech_rank" && name["type"] == "number"));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_methods_are_answered_as_http_has_them() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    for (method, path, expected) in [
        ("HEAD", "/v1/callbacks", 200),
        ("HEAD", "/v1/placeholders", 200),
        ("HEAD", "/v1/ingest/dialer", 200),
        ("HEAD", "/healthz", 200),
        ("HEAD", "/v1/callbacks/cb_none", 404),
        ("POST", "/v1/callbacks/", 404),
        ("GET", "/v1/callbacks/", 404),
        ("GET", "/v1//callbacks", 404),
        ("GET", "/v1/ingest", 404),
        ("GET", "/v1/ingest/", 404),
        ("PUT", "/v1/callbacks", 405),
        ("POST", "/v1/placeholders", 405),
        ("GET", "/v1/templates/check", 405),
        ("PUT", "/v1/ingest/dialer", 405),
    ] {
        let (status, _) = home.call(&client, method, path, "").await;
        assert_eq!(status.as_u16(), expected, "{method} {path}");
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_headers_and_other_content_types_have_placeholders_too() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let registered = home
        .register(
            &client,
            &json!({
                "callback_url": format!("{}/{{call_id}}?name=<first_name>", receiver.url()),
                "callback_method": "POST",
                "callback_headers": {"Authorization": "Bearer abc", "X-Lead": "{first_name} {last_name}"},
                "content_type": "application/x-www-form-urlencoded",
                "callback_data": "id={call_id}&name={first_name}&fixed=%7B",
                "events": ["call.ended"],
            }),
        )
        .await;
    assert_eq!(registered["callback_headers"], json!({"Authorization": "…", "X-Lead": "…"}));
    // What is stored is read again.
    drop(process);
    let process = home.start();
    let event = json!({
        "call_id": "a/../b", "end_at": "2026-03-30 14:27:12", "first_name": "Zoë & Co\r\nX-Evil: 1", "last_name": "Ünal",
    });
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], event.to_string()).await.unwrap();
    let seen = receiver.wait_for(1).await;
    let name = "Zo%C3%AB%20%26%20Co%0D%0AX-Evil%3A%201";
    assert_eq!(seen[0].uri, format!("/hook/a%2F..%2Fb?name={name}"));
    assert_eq!(seen[0].body, format!("id=a%2F..%2Fb&name={name}&fixed=%7B"));
    assert_eq!(seen[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(seen[0].header("authorization"), "Bearer abc");
    let lead = std::str::from_utf8(seen[0].headers["x-lead"].as_bytes()).unwrap();
    assert_eq!(lead, "Zoë & CoX-Evil: 1 Ünal");
    assert!(!seen[0].headers.contains_key("x-evil"));

    // A segment that would lead elsewhere is not sent, and shown with its reason.
    let event = json!({"call_id": "..", "end_at": "2026-03-30 14:27:12"}).to_string();
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    let (_, list) = home.call(&client, "GET", "/v1/deliveries?state=failed", "").await;
    assert_eq!(list["data"][0]["call_id"], "..");
    assert!(list["data"][0]["reason"].as_str().unwrap().starts_with("callback_url: "), "{list}");
    assert!(!process.log().contains("Bearer abc"));
}
