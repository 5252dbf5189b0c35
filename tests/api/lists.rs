//! What is read: lists of events and calls, a call, and renderings against them.

use hyper::StatusCode;
use ringback::config::TokenHash;
use ringback::http::Client;
use serde_json::{Value, json};

use super::problems;
use crate::support::{Home, OPEN_DIALER};

const STRANGER: &str = "rbk_token-of-a-stranger";

/// The open dialer, a second space of calls, and an account that owns nothing.
fn sources() -> String {
    format!(
        "{OPEN_DIALER}\n[[source]]\nname = \"second\"\naccount = \"acme\"\nprovider = \"commpeak\"\n\
         call_space = \"second\"\nverify = {{ scheme = \"none\" }}\n\
         [[account]]\nname = \"stranger\"\ntokens = [{{ name = \"t\", sha256 = \"{}\" }}]\n",
        TokenHash::of(STRANGER)
    )
}

async fn post(home: &Home, client: &Client, source: &str, event: &Value) -> Value {
    let url = home.url(&format!("/v1/ingest/{source}"));
    let (_, answer) = client.send("POST", &url, &[], event.to_string()).await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

/// A request with a token that owns nothing.
async fn as_stranger(home: &Home, client: &Client, path: &str) -> (StatusCode, Value) {
    let authorization = format!("Bearer {STRANGER}");
    let headers = [("authorization", authorization.as_str())];
    let (status, body) = client.send("GET", &home.url(path), &headers, "").await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_listed_filtered_and_read() {
    let home = Home::new(&sources());
    let process = home.start();
    let client = Client::new();
    for number in 1..=5_u32 {
        let event = json!({
            "call_id": format!("call/{number}"), "start_at": format!("2026-03-0{number} 10:00:00"),
            "call_duration": number * 10, "call_status": if number == 2 { "busy" } else { "ended" },
            "email": "ann@example.com", "custom": {"big": 1},
        });
        post(&home, &client, "dialer", &event).await;
    }
    let speech = json!({
        "call_id": "call/3", "speech_result": "agent: Good Morning", "speech_rank": "87.50",
        "speech_summary": "An offer", "speech_language": "en", "speech_task_state": "completed",
    });
    post(&home, &client, "dialer", &speech).await;
    let get = async |path: &str| home.call(&client, "GET", path, "").await;

    let (status, list) = get("/v1/calls").await;
    assert_eq!(status, StatusCode::OK, "{list}");
    assert_eq!(ids(&list), ["call/5", "call/4", "call/3", "call/2", "call/1"]);
    let third = &list["data"][2];
    assert_eq!(third["call_space"], "default");
    assert_eq!(
        (&third["context"]["speech_summary"], &third["context"]["speech_result"]),
        (&json!("An offer"), &Value::Null)
    );
    let (_, first) = get("/v1/calls?limit=2").await;
    assert_eq!(ids(&first), ["call/5", "call/4"]);
    let (_, second) = get(&format!("/v1/calls?limit=4&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((ids(&second), &second["next"]), (vec!["call/3", "call/2", "call/1"], &Value::Null));

    for (query, expected) in [
        ("min_duration=20&max_duration=40", vec!["call/4", "call/3", "call/2"]),
        ("call_status=BUSY", vec!["call/2"]),
        ("from=2026-03-04&till=2026-03-04T10:00:00Z", vec!["call/4"]),
        ("language=EN", vec!["call/3"]),
        ("phrase=good%20m", vec!["call/3"]),
        ("summary=OFFER&rank_min=87&rank_max=88", vec!["call/3"]),
        ("rank_description=x", vec![]),
        ("rank_max=100", vec!["call/3"]),
    ] {
        let (status, list) = get(&format!("/v1/calls?{query}")).await;
        assert_eq!((status, ids(&list)), (StatusCode::OK, expected), "{query}");
    }
    let (status, answer) = get("/v1/calls?rank_min=101&from=x&cursor=x&limit=0&other=1").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut pointers: Vec<String> = problems(&answer).into_iter().map(|(pointer, _)| pointer).collect();
    pointers.sort();
    assert_eq!(pointers, ["/cursor", "/from", "/limit", "/other", "/rank_min"]);

    let (status, call) = get("/v1/calls/call%2F3").await;
    assert_eq!((status, &call["id"]), (StatusCode::OK, &json!("call/3")));
    assert_eq!(call["context"]["speech_result"], "agent: Good Morning");
    assert_eq!(call["context"]["email"], "ann@example.com");
    // One id in two spaces: which is meant must be said.
    post(&home, &client, "second", &json!({"call_id": "call/3", "first_name": "Ben"})).await;
    let (status, answer) = get("/v1/calls/call%2F3").await;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("ambiguous_call")));
    let (_, call) = get("/v1/calls/call%2F3?call_space=second").await;
    assert_eq!(call["context"]["first_name"], "Ben");
    assert_eq!(get("/v1/calls/none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get("/v1/calls/call%2F1?call_space=second").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get("/v1/calls/call%2F1?space=second").await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let (status, _) = as_stranger(&home, &client, "/v1/calls/call%2F3?call_space=second").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(as_stranger(&home, &client, "/v1/calls").await.1, json!({"data": [], "next": null}));

    // Templates are rendered against a call and against samples.
    let render = async |request: Value| {
        let (status, answer) = home.call(&client, "POST", "/v1/templates/render", request.to_string()).await;
        (status, answer)
    };
    let template = "[{call_id}, {speech_rank}, {first_name}, {event_type}]";
    let (_, answer) =
        render(json!({"callback_data": template, "call_id": "call/3", "call_space": "default"})).await;
    assert_eq!(answer["body"], "[\"call/3\", 87.50, null, null]");
    let (_, answer) = render(json!({"callback_data": template, "sample": "speech.completed"})).await;
    assert_eq!(answer["body"], "[\"8812345\", 87, \"Ann\", \"speech.completed\"]");
    let (_, answer) = render(
        json!({"callback_data": "id={call_id}", "sample": "call.ended", "content_type": "text/plain"}),
    )
    .await;
    assert_eq!(answer["body"], "id=8812345");
    assert_eq!(render(json!({"callback_data": "{}", "call_id": "none"})).await.0, StatusCode::NOT_FOUND);
    let (status, answer) = render(json!({
        "callback_data": "{call_idd}", "sample": "x", "call_space": 1.5, "content_type": "text/html", "other": 1,
        "context": {"a": 1},
    }))
    .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut pointers: Vec<String> = problems(&answer).into_iter().map(|(pointer, _)| pointer).collect();
    pointers.sort();
    assert_eq!(pointers, ["", "/call_space", "/content_type", "/other"], "{answer}");
    let (_, answer) =
        render(json!({"callback_data": "{call_idd}", "context": {"nobody": 1, "call_id": 2}, "other": 1}))
            .await;
    let codes: Vec<String> = problems(&answer).into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, ["unknown_member", "unknown_placeholder", "unknown_placeholder"]);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_listed_and_filtered() {
    let home = Home::new(&sources());
    let process = home.start();
    let client = Client::new();
    let mut posted = Vec::new();
    for (source, event) in [
        ("dialer", json!({"call_id": "1", "end_at": "2026-03-30 14:27:12"})),
        ("second", json!({"call_id": "2"})),
        ("dialer", json!({"call_id": "3"})),
    ] {
        posted.push(post(&home, &client, source, &event).await["event_id"].as_str().unwrap().to_owned());
        // Ids of one millisecond are in no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    post(&home, &client, "others", &json!({"call_id": "theirs"})).await;
    let url = home.url("/v1/ingest/dialer");
    let (status, _) = client.send("POST", &url, &[("content-type", "application/json")], "{").await.unwrap();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let get = async |path: &str| home.call(&client, "GET", path, "").await;

    let (_, list) = get("/v1/events?state=accepted").await;
    assert_eq!(ids(&list), [&*posted[2], &posted[1], &posted[0]]);
    let (_, shown) = get(&format!("/v1/events/{}", posted[0])).await;
    for (name, value) in list["data"][2].as_object().unwrap() {
        assert_eq!(shown[name], *value, "{name}");
    }
    assert_eq!(list["data"][2]["body"], Value::Null);
    let (_, first) = get("/v1/events?limit=1&state=accepted").await;
    let next = first["next"].as_str().unwrap();
    let (_, rest) = get(&format!("/v1/events?state=accepted&cursor={next}")).await;
    assert_eq!((ids(&first), ids(&rest)), (vec![&*posted[2]], vec![&*posted[1], &posted[0]]));
    let (_, rejected) = get("/v1/events?state=rejected").await;
    assert_eq!((ids(&rejected).len(), &rejected["data"][0]["state"]), (1, &json!("rejected")));
    for (query, expected) in [
        ("source=second", vec![&*posted[1]]),
        ("type=call.ended", vec![&*posted[0]]),
        ("call_id=3", vec![&*posted[2]]),
        ("call_id=theirs", vec![]),
        ("until=2020-01-01", vec![]),
        ("since=2020-01-01&source=second", vec![&*posted[1]]),
    ] {
        let (status, list) = get(&format!("/v1/events?{query}")).await;
        assert_eq!((status, ids(&list)), (StatusCode::OK, expected), "{query}");
    }
    let (status, answer) = get("/v1/events?type=x&state=x&since=x&limit=251&cursor=ev_x&id=1").await;
    assert_eq!((status, problems(&answer).len()), (StatusCode::UNPROCESSABLE_ENTITY, 6), "{answer}");
    assert_eq!(as_stranger(&home, &client, "/v1/events").await.1, json!({"data": [], "next": null}));
    let path = format!("/v1/events/{}", posted[0]);
    assert_eq!(as_stranger(&home, &client, &path).await.0, StatusCode::NOT_FOUND);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_erased_in_the_space_that_is_meant() {
    let home = Home::new(&sources());
    let process = home.start();
    let client = Client::new();
    let call = |name: &str| json!({"call_id": "1", "first_name": name, "speech_result": "agent: hello"});
    let of_ann = post(&home, &client, "dialer", &call("Ann")).await;
    post(&home, &client, "second", &call("Ben")).await;
    let ask = async |method: &str, path: &str| home.call(&client, method, path, "").await;

    for path in ["/v1/calls/1/speech", "/v1/calls/1"] {
        let (status, answer) = ask("GET", path).await;
        assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("ambiguous_call")), "{path}");
    }
    let (status, answer) = ask("DELETE", "/v1/calls/1").await;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("ambiguous_call")));
    assert_eq!(ask("DELETE", "/v1/calls/1?call_space=third").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask("DELETE", "/v1/calls/1?call_space=default").await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask("DELETE", "/v1/calls/1?call_space=default").await.0, StatusCode::NOT_FOUND);
    let event = format!("/v1/events/{}", of_ann["event_id"].as_str().unwrap());
    assert_eq!(ask("GET", &event).await.0, StatusCode::NOT_FOUND);
    // There is only one now.
    let (_, speech) = ask("GET", "/v1/calls/1/speech").await;
    assert_eq!((&speech["call_space"], &speech["speech_result"]), (&json!("second"), &json!("agent: hello")));
    assert_eq!(ids(&ask("GET", "/v1/calls?phrase=HELLO").await.1), ["1"]);
    assert_eq!(ask("DELETE", "/v1/calls/1").await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask("GET", "/v1/events").await.1, json!({"data": [], "next": null}));
    // What comes later starts anew.
    post(&home, &client, "dialer", &json!({"call_id": "1", "email": "ann@example.com"})).await;
    let (_, call) = ask("GET", "/v1/calls/1").await;
    assert_eq!(
        (&call["context"]["email"], &call["context"]["first_name"]),
        (&json!("ann@example.com"), &Value::Null)
    );
    drop(process);
}
