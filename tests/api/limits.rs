//! What an account may have, and what it is told where it has that already.

use std::time::Duration;

use hyper::StatusCode;
use ringback::config::TokenHash;
use ringback::delivery::client::ApiRequest;
use ringback::delivery::{Client, ClientSettings, RetryAfter};
use ringback::destination::AddressPolicy;
use serde_json::{Value, json};

use crate::support::Home;

const SMALL: &str = "rbk_a-token-of-a-small-account";

/// A request with the small account's token: the status, the answer, and when to come again.
async fn ask(
    client: &Client,
    method: &str,
    url: &str,
    body: &Value,
) -> (StatusCode, Value, Option<RetryAfter>) {
    let (authorization, body) = (format!("Bearer {SMALL}"), body.to_string());
    let request = ApiRequest {
        method,
        url,
        headers: &[("authorization", &authorization)],
        body: Some(body.as_bytes()),
        max_answer: 1 << 20,
        timeout: Duration::from_secs(30),
    };
    let answer = client.ask(&request).await.unwrap();
    let status = StatusCode::from_u16(answer.status).unwrap();
    (status, serde_json::from_slice(&answer.body).unwrap(), answer.retry_after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_stores_as_much_as_it_may_is_told_when_to_come_again() {
    let home = Home::new(&format!(
        "[[account]]\nname = \"small\"\nlimits = {{ callbacks = 1, stored = \"2 KiB\" }}\n\
         tokens = [{{ sha256 = \"{}\" }}]\n\
         [[source]]\nname = \"dialer\"\naccount = \"small\"\nprovider = \"commpeak\"\n\
         verify = {{ scheme = \"none\" }}\n",
        TokenHash::of(SMALL)
    ));
    let process = home.start();
    let settings = ClientSettings { policy: AddressPolicy::anywhere(), ..ClientSettings::default() };
    let client = Client::new(settings).unwrap();
    let soon = Some(RetryAfter::Delay(Duration::from_mins(1)));
    let registration = json!({
        "callback_url": "https://example.com/hook", "callback_method": "POST", "callback_data": "{}",
    });
    let callbacks = home.url("/v1/callbacks");
    assert_eq!(ask(&client, "POST", &callbacks, &registration).await.0, StatusCode::CREATED);
    let (status, answer, retry_after) = ask(&client, "POST", &callbacks, &registration).await;
    assert_eq!((status, &answer["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_callbacks")));
    assert_eq!(retry_after, soon);

    let ingest = home.url("/v1/ingest/dialer");
    let event = |call: &str| json!({"call_id": call, "summary": "x".repeat(3_000)});
    let first = ask(&client, "POST", &ingest, &event("1")).await;
    assert_eq!(first.0, StatusCode::OK);
    let (status, answer, retry_after) = ask(&client, "POST", &ingest, &event("2")).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("account_full")),
        "{answer}"
    );
    assert!(answer["detail"].as_str().unwrap().contains("2 KiB are its limit"), "{answer}");
    assert_eq!(retry_after, soon);
    // What is stored already is known, what cannot be read is not kept either, and customers read on.
    let again = ask(&client, "POST", &ingest, &event("1")).await;
    assert_eq!(
        (again.0, &again.1["event_id"], &again.1["duplicate"]),
        (StatusCode::OK, &first.1["event_id"], &json!(true))
    );
    assert_eq!(ask(&client, "POST", &ingest, &json!([])).await.0, StatusCode::TOO_MANY_REQUESTS);
    let (status, answer, _) = ask(&client, "POST", &callbacks, &registration).await;
    assert_eq!((status, &answer["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("account_full")));
    let (_, events, _) = ask(&client, "GET", &home.url("/v1/events"), &json!({})).await;
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
    assert!(process.log().contains("an account stores as much as it may"), "{}", process.log());
    drop(process);
}
