//! `/v1/calls/{id}/recording`: a URL that lasts for minutes is asked for when it is needed.

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};

use crate::job::by_token;
use crate::job::stand_in::{Auralytik, Speko, StandIn};
use crate::support::{Home, LOOPBACK, Receiver, source};

const SHORT: &str = "https://storage.example.com/vc_1.wav?se=1";

async fn provider() -> StandIn {
    let call = json!({"id": "vc_1", "state": "Completed", "durationSeconds": 60});
    let recording = json!({"recordingUrl": SHORT, "expiresAt": "2026-03-30T14:45:00Z"});
    let auralytik = Auralytik::new(
        "ak_1",
        json!({"vc_1": {"call": call, "recording-url": recording}, "vc_2": {"call": {"id": "vc_2"}}}),
    );
    let speko = Speko::new("token", json!({"call-1": {"recording": {"url": "https://example.com/1.wav"}}}));
    let respond = move |asked: &ringback::stand_in::Asked, _: &[_]| {
        if asked.path.starts_with("/v1/") { speko.answer(asked) } else { auralytik.answer(asked) }
    };
    StandIn::start(respond).await
}

fn home(provider: &StandIn) -> Home {
    let source = |name: &str, provider: &str, more: &str| {
        source(name, provider, &format!("call_space = \"{name}\"\n{more}"))
    };
    let signed =
        format!("api = {{ base_url = \"{}\", key = \"ak_1\", signing_secret = \"s\" }}", provider.url());
    Home::new(
        &(source("voice", "auralytik", &signed)
            + &source("agents", "speko", &by_token(provider, "token"))
            + &source("dialer", "commpeak", "")
            + LOOPBACK),
    )
}

async fn tell(home: &Home, source: &str, event: Value) {
    let url = home.url(&format!("/v1/ingest/{source}"));
    let (status, _) = Client::new().send("POST", &url, &[], event.to_string()).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_expires_is_delivered_and_shown_but_not_kept() {
    let provider = provider().await;
    let home = home(&provider);
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let callback = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "events": ["call.recording_ready"],
        "callback_data": "[{call_id}, {call_recording_url}, {call_duration}]",
    });
    home.register(&client, &callback).await;
    let announced = json!({"id": "evt_1", "event": "voice-call.completed", "data": {"id": "vc_1"}});
    tell(&home, "voice", announced).await;
    assert_eq!(receiver.wait_for(1).await[0].json(), json!(["vc_1", SHORT, 60]));
    let (_, call) = home.call(&client, "GET", "/v1/calls/vc_1", "").await;
    assert_eq!(
        (&call["context"]["call_duration"], &call["context"]["call_recording_url"]),
        (&json!(60), &Value::Null)
    );

    // Each time it is asked for anew.
    let before = provider.count("GET", "/api/v1/voice-calls/vc_1/recording-url");
    for more in 1..=2 {
        let (status, shown) = home.call(&client, "GET", "/v1/calls/vc_1/recording", "").await;
        assert_eq!(
            (status, shown),
            (StatusCode::OK, json!({"url": SHORT, "expires_at": "2026-03-30T14:45:00Z"}))
        );
        assert_eq!(provider.count("GET", "/api/v1/voice-calls/vc_1/recording-url"), before + more);
    }
    assert!(!process.log().contains("storage.example.com"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_can_be_asked_the_events_say_where_it_is() {
    let provider = provider().await;
    let home = home(&provider);
    let _process = home.start();
    let client = Client::new();
    let shown = async |call: &str| {
        let (status, shown) = home.call(&client, "GET", &format!("/v1/calls/{call}/recording"), "").await;
        (status.as_u16(), shown["url"].as_str().or(shown["code"].as_str()).unwrap().to_owned())
    };
    assert_eq!(shown("nobody").await, (404, "not_found".to_owned()));
    tell(&home, "agents", json!({"type": "call.status", "call_id": "call-1", "status": "ended"})).await;
    assert_eq!(shown("call-1").await, (200, "https://example.com/1.wav".to_owned()));
    let over =
        json!({"id": "e", "event": "voice-call.completed", "data": {"id": "vc_2", "state": "Completed"}});
    tell(&home, "voice", over).await;
    assert_eq!(shown("vc_2").await, (404, "provider_refused".to_owned()));
    tell(&home, "dialer", json!({"call_id": "call-2", "start_at": "2026-03-30 14:22:00"})).await;
    assert_eq!(shown("call-2").await, (404, "not_found".to_owned()));
    tell(&home, "dialer", json!({"call_id": "call-2", "call_recording_url": "https://example.com/2.wav"}))
        .await;
    assert_eq!(shown("call-2").await, (200, "https://example.com/2.wav".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_that_a_provider_lists_are_passed_through() {
    let provider = provider().await;
    let home = home(&provider);
    let _process = home.start();
    let client = Client::new();
    let list = async |query: &str| home.call(&client, "GET", &format!("/v1/voice-calls{query}"), "").await;
    let (status, listed) = list("").await;
    assert_eq!((status, listed["data"][0]["id"].as_str()), (StatusCode::OK, Some("vc_1")));
    let query = "?state=Completed&direction=Outbound&dateFrom=2026-03-30T14%3A22%3A00Z&page=2&pageSize=50";
    assert_eq!(list(&format!("{query}&source=voice")).await.0, StatusCode::OK);
    let asked = provider.asked();
    assert_eq!(asked.last().unwrap().path, format!("/api/v1/voice-calls{query}"));
    assert!(asked.iter().all(|asked| !asked.header("x-signature").is_empty()));
    for source in ["agents", "dialer", "nobody"] {
        assert_eq!(list(&format!("?source={source}")).await.0, StatusCode::NOT_FOUND, "{source}");
    }
    let (status, answer) = list("?direction=up&page=0&pageSize=251&dateTo=later&campaignId=&other=1").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(super::problems(&answer).len(), 5, "{answer}");
}
