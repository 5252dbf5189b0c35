//! `Idempotency-Key`: what creates is done once, however often and wherever it arrives.

use hyper::StatusCode;
use ringback::config::TokenHash;
use ringback::http::Client;
use serde_json::{Value, json};

use super::problems;
use crate::redis_server::RedisServer;
use crate::support::{Home, OPEN_DIALER, TOKEN};

const COLLEAGUE: &str = "rbk_another-token-of-another-account";

fn rest(key: &str) -> String {
    format!(
        "{OPEN_DIALER}\n[secrets]\nkey = \"{key}\"\n\
         [[account]]\nname = \"small\"\nlimits = {{ callbacks = 1 }}\ntokens = [\
         {{ name = \"one\", sha256 = \"{}\" }}, {{ name = \"two\", sha256 = \"{}\" }}]\n",
        TokenHash::of(COLLEAGUE),
        TokenHash::of("rbk_two"),
    )
}

fn registration(description: &str) -> String {
    json!({
        "callback_url": "https://example.com/hook", "callback_method": "POST", "callback_data": "{}",
        "description": description,
    })
    .to_string()
}

async fn send(
    home: &Home,
    client: &Client,
    token: &str,
    path: &str,
    key: &str,
    body: &str,
) -> (StatusCode, Value) {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", key)];
    let (status, answer) = client.send("POST", &home.url(path), &headers, body.to_owned()).await.unwrap();
    (status, serde_json::from_slice(&answer).unwrap_or_default())
}

async fn count(home: &Home, client: &Client) -> usize {
    home.call(client, "GET", "/v1/callbacks", "").await.1["data"].as_array().unwrap().len()
}

async fn a_registration_with_a_key_is_made_once(home: Home) {
    let process = home.start();
    let client = Client::new();
    let create = async |key: &str, body: &str| send(&home, &client, TOKEN, "/v1/callbacks", key, body).await;
    // Many at once: one is made, and all are answered with it.
    let body = registration("first");
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, url, body) = (client.clone(), home.url("/v1/callbacks"), body.clone());
        at_once.spawn(async move {
            let authorization = format!("Bearer {TOKEN}");
            let headers = [("authorization", authorization.as_str()), ("idempotency-key", "a key")];
            client.send("POST", &url, &headers, body).await.unwrap()
        });
    }
    let answers = at_once.join_all().await;
    let (status, first) = answers[0].clone();
    assert_eq!(status, StatusCode::CREATED);
    assert!(answers.iter().all(|answer| *answer == (status, first.clone())));
    let first: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(count(&home, &client).await, 1);

    // What is wrong is not remembered.
    let (status, _) = create("later", "{}").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(create("later", &registration("second")).await.0, StatusCode::CREATED);
    let (status, answer) = create("a key", &registration("other")).await;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("idempotency_key_reused")));

    // Changed, removed, started again: the answer is the same, and nothing is made again.
    let path = format!("/v1/callbacks/{}", first["id"].as_str().unwrap());
    home.call(&client, "PATCH", &path, r#"{"description": "changed"}"#).await;
    assert_eq!(create("a key", &body).await, (StatusCode::CREATED, first.clone()));
    home.call(&client, "DELETE", &path, "").await;
    drop(process);
    let process = home.start();
    assert_eq!(create("a key", &body).await, (StatusCode::CREATED, first.clone()));
    assert_eq!(count(&home, &client).await, 1);

    // A rotation too; the same key for another request is refused.
    let (_, list) = home.call(&client, "GET", "/v1/callbacks", "").await;
    let rotate = format!("/v1/callbacks/{}/rotate-secret", list["data"][0]["id"].as_str().unwrap());
    let rotated = send(&home, &client, TOKEN, &rotate, "rotate", "").await;
    assert_eq!(rotated.0, StatusCode::OK);
    assert_eq!(send(&home, &client, TOKEN, &rotate, "rotate", "").await, rotated);
    assert_eq!(send(&home, &client, TOKEN, &rotate, "a key", "").await.0, StatusCode::CONFLICT);
    let (_, shown) = home.call(&client, "GET", &rotate.replace("/rotate-secret", ""), "").await;
    assert_eq!(shown["previous_secret_expires_at"], rotated.1["previous_secret_expires_at"]);

    // A key belongs to a token; an account that is full by a request still answers it.
    let theirs = send(&home, &client, COLLEAGUE, "/v1/callbacks", "a key", &body).await;
    assert_eq!(theirs.0, StatusCode::CREATED);
    assert_ne!(theirs.1["id"], first["id"]);
    assert_eq!(send(&home, &client, COLLEAGUE, "/v1/callbacks", "a key", &body).await, theirs);
    let (status, _) = send(&home, &client, "rbk_two", "/v1/callbacks", "a key", &body).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);

    for key in ["", &"x".repeat(256)] {
        let (status, answer) = create(key, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let expected = [("/Idempotency-Key".to_owned(), "bad_idempotency_key".to_owned())];
        assert_eq!(problems(&answer), expected);
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_with_a_key_is_made_once_in_a_file() {
    let key = format!("{}=", "A".repeat(43));
    let home = Home::new(&rest(&key));
    let file = home.path("ringback.db");
    let secret = {
        let process = home.start();
        let client = Client::new();
        let (_, made) = send(&home, &client, TOKEN, "/v1/callbacks", "sealed", &registration("sealed")).await;
        let path = format!("/v1/callbacks/{}", made["id"].as_str().unwrap());
        home.call(&client, "DELETE", &path, "").await;
        process.signal("TERM");
        process.wait(std::time::Duration::from_secs(20));
        made["secret"].as_str().unwrap().to_owned()
    };
    // The answer holds the secret, and is sealed as secrets are.
    let stored = std::fs::read(file).unwrap();
    assert!(memchr::memmem::find(&stored, secret.as_bytes()).is_none());
    a_registration_with_a_key_is_made_once(home).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_with_a_key_is_made_once_in_a_redis() {
    let server = RedisServer::durable();
    let key = format!("{}=", "A".repeat(43));
    a_registration_with_a_key_is_made_once(Home::with_store(&server.url(), &rest(&key))).await;
}

async fn a_speech_request_with_a_key_is_made_once(home: Home) {
    let process = home.start();
    let client = Client::new();
    let call = json!({"call_id": "7", "speech_result": "agent: Hello"}).to_string();
    let (status, _) = client.send("POST", &home.url("/v1/ingest/dialer"), &[], call).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let body = json!({
        "callback_url": "https://example.com/hook", "callback_method": "POST", "callback_data": "[{call_id}]",
    })
    .to_string();
    let path = "/v1/speech-requests";
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, url, body) = (client.clone(), home.url(path), body.clone());
        at_once.spawn(async move {
            let authorization = format!("Bearer {TOKEN}");
            let headers = [("authorization", authorization.as_str()), ("idempotency-key", "a key")];
            client.send("POST", &url, &headers, body).await.unwrap()
        });
    }
    let answers = at_once.join_all().await;
    assert_eq!(answers[0].0, StatusCode::CREATED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let deliveries = async || home.call(&client, "GET", "/v1/deliveries", "").await.1["data"].clone();
    assert_eq!(deliveries().await.as_array().unwrap().len(), 1);
    let first: Value = serde_json::from_slice(&answers[0].1).unwrap();
    assert_eq!(first["callIds"]["7"]["state"], "ready");

    // What is asked for is in the query, too; the token there is not.
    let (status, answer) = send(&home, &client, TOKEN, &format!("{path}?limit=1"), "a key", &body).await;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("idempotency_key_reused")));
    let with_token = format!("{path}?token={TOKEN}");
    drop(process);
    let process = home.start();
    for path in [path, &with_token] {
        let again = send(&home, &client, TOKEN, path, "a key", &body).await;
        assert_eq!(again, (StatusCode::CREATED, first.clone()), "{path}");
    }
    assert_eq!(deliveries().await.as_array().unwrap().len(), 1);
    let other = send(&home, &client, TOKEN, path, "another key", &body).await;
    assert_ne!(other.1["speechRequestId"], first["speechRequestId"]);
    assert_eq!(deliveries().await.as_array().unwrap().len(), 2);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speech_request_with_a_key_is_made_once_in_a_file() {
    a_speech_request_with_a_key_is_made_once(Home::new(OPEN_DIALER)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speech_request_with_a_key_is_made_once_in_a_redis() {
    let server = RedisServer::durable();
    a_speech_request_with_a_key_is_made_once(Home::with_store(&server.url(), OPEN_DIALER)).await;
}
