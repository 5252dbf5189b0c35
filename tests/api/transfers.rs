//! `/v1/calls/{id}/transfers`: calls are handed over by the provider that has them, for their own
//! account only.

use hyper::StatusCode;
use ringback::config::TokenHash;
use ringback::http::Client;
use serde_json::{Value, json};

use super::problems;
use crate::job::by_token;
use crate::job::stand_in::{Asked, Reply, Speko, StandIn, json as answer};
use crate::support::{Home, TOKEN, source};

const OTHER: &str = "rbk_token-of-another-account";
const SECRET: &str = "speko-platform-key";

/// Speko, with a call that goes on and one that has ended; and what it does badly, by the call's id.
async fn provider() -> StandIn {
    let call = |status: &str| json!({"call": {"status": status}});
    let calls = json!({
        "live": call("in_progress"), "over": call("ended"), "broken": call("in_progress"),
    });
    let speko = Speko::new(SECRET, calls);
    let respond = move |asked: &Asked, _: &[Asked]| match asked.path.split('/').nth(3).unwrap() {
        "refused" => answer(401, &json!({"error": "Unauthorized", "code": "UNAUTHORIZED"})),
        "busy" => answer(429, &json!({"error": "Too many requests"})),
        "ill" => answer(500, &json!({"error": {"deep": true}})),
        "odd" => Reply::Json(200, "[]".to_owned()),
        "broken" => Reply::Truncated,
        "bad" => answer(400, &json!({"error": "to is not a number that can be dialled"})),
        _ => speko.answer(asked),
    };
    StandIn::start(respond).await
}

fn home(provider: &StandIn) -> Home {
    let another = TokenHash::of(OTHER);
    Home::new(&format!(
        "[[account]]\nname = \"another\"\ntokens = [{{ name = \"t\", sha256 = \"{another}\" }}]\n{}{}",
        source("agents", "speko", &by_token(provider, SECRET)),
        source("dialer", "commpeak", "call_space = \"dialer\""),
    ))
}

async fn begin(home: &Home, call: &str) {
    let event = json!({"type": "call.status", "call_id": call, "status": "in_progress"}).to_string();
    let (status, _) = Client::new().send("POST", &home.url("/v1/ingest/agents"), &[], event).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

async fn ask(home: &Home, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let url = home.url(&format!("/v1/calls/{path}"));
    let (status, answer) = Client::new().send("POST", &url, &headers, body.to_string()).await.unwrap();
    (status, serde_json::from_slice(&answer).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_transferred_by_the_provider_that_has_it() {
    let provider = provider().await;
    let home = home(&provider);
    let process = home.start();
    begin(&home, "live").await;
    let blind = json!({"to": "+12025550100", "headers": {"X-Case": "7"}, "playDialtone": null});
    let (status, done) = ask(&home, TOKEN, "live/transfers/blind", &blind).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&done["kind"], &done["transfer_to"]), (&json!("blind"), &json!("+12025550100")));
    let warm = json!({
        "destinations": [{"to": "+12025550101", "metadata": {"team": 1}}], "waitUntilAnswered": true,
        "fallback": {"strategy": "take_message"}, "ringingTimeout": 20.5,
    });
    let (_, done) = ask(&home, TOKEN, "live/transfers/warm?call_space=default", &warm).await;
    assert_eq!((&done["id"], &done["status"]), (&json!("tr_warm"), &json!("screening")));
    let (_, done) = ask(&home, TOKEN, "live/transfers/tr_warm/complete", &json!({"summary": "Ann"})).await;
    assert_eq!((&done["status"], &done["summary"]), (&json!("completed"), &json!("Ann")));
    let (_, done) = ask(&home, TOKEN, "live/transfers/tr_warm/cancel", &json!({})).await;
    assert_eq!(done["status"], "cancelled");

    // What is sent is what was said, without what is null.
    let asked = provider.asked();
    let sent: Vec<(&str, Value)> = asked.iter().map(|asked| (asked.path.as_str(), asked.json())).collect();
    assert_eq!(
        sent,
        [
            ("/v1/calls/live/transfers/blind", json!({"to": "+12025550100", "headers": {"X-Case": "7"}})),
            ("/v1/calls/live/transfers/warm", warm),
            ("/v1/calls/live/transfers/tr_warm/complete", json!({"summary": "Ann"})),
            ("/v1/calls/live/transfers/tr_warm/cancel", json!({})),
        ]
    );
    let log = process.log();
    for private in [SECRET, "+12025550100", "Ann"] {
        assert!(!log.contains(private), "{private} is in the log:\n{log}");
    }
    assert!(log.contains("a provider was asked about calls"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_whose_call_it_is_transfers_it_and_only_where_somebody_can() {
    let provider = provider().await;
    let home = home(&provider);
    let _process = home.start();
    begin(&home, "live").await;
    let event = json!({"call_id": "of-the-dialer", "start_at": "2026-03-30 14:22:00"}).to_string();
    Client::new().send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();

    for step in ["blind", "warm", "tr_warm/complete", "tr_warm/cancel"] {
        let body = json!({"to": "+12025550100", "nobody_knows": 1});
        let of_another = ask(&home, OTHER, &format!("live/transfers/{step}"), &body).await;
        let of_nobody = ask(&home, OTHER, &format!("no-call/transfers/{step}"), &body).await;
        assert_eq!(of_another.0, StatusCode::NOT_FOUND, "{step}");
        assert_eq!(of_another, of_nobody, "{step}");
    }
    let body = json!({"to": "+12025550100"});
    let (status, refused) = ask(&home, TOKEN, "of-the-dialer/transfers/blind", &body).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("no_provider")));
    assert!(provider.asked().is_empty(), "{:?}", provider.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mistake_of_a_transfer_is_told_at_once_and_nobody_is_asked() {
    let provider = provider().await;
    let home = home(&provider);
    let _process = home.start();
    begin(&home, "live").await;
    let found = async |step: &str, body: Value| {
        let (status, answer) = ask(&home, TOKEN, &format!("live/transfers/{step}"), &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        let mut found = problems(&answer);
        found.sort();
        let found: Vec<String> = found.iter().map(|(pointer, code)| format!("{pointer} {code}")).collect();
        found.join(", ")
    };
    let wrong =
        json!({"to": "", "ringingTimeout": 0, "playDialtone": "yes", "headers": {"a": 1}, "other": 1});
    assert_eq!(
        found("blind?nothing=1", wrong).await,
        "/headers not_an_object, /nothing unknown_member, /other unknown_member, /playDialtone not_a_boolean, \
         /ringingTimeout out_of_range, /to empty"
    );
    assert_eq!(found("blind", json!({"to": null})).await, "/to missing");
    assert_eq!(found("warm", json!({})).await, "/to missing");
    let wrong = json!({
        "destinations": [{"to": 7}, {}, 1, {"to": "a", "more": 1}], "fallback": {"strategy": "hope"},
        "voicemailDetection": [], "summary": "x".repeat(10_001), "metadata": 1,
    });
    assert_eq!(
        found("warm", wrong).await,
        "/destinations/0/to not_a_text, /destinations/1/to missing, /destinations/2 not_an_object, \
         /destinations/3/more unknown_member, /fallback/strategy unknown_value, /metadata not_an_object, \
         /summary too_long, /voicemailDetection not_an_object"
    );
    assert_eq!(found("warm", json!({"destinations": []})).await, "/destinations not_a_list");
    assert_eq!(found("tr_warm/cancel", json!({"tryNext": 1})).await, "/tryNext not_a_boolean");
    let (status, answer) = ask(&home, TOKEN, "live/transfers/blind", &json!([])).await;
    assert_eq!(
        (status, problems(&answer)[0].1.as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "not_an_object")
    );
    assert!(provider.asked().is_empty(), "{:?}", provider.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_at_the_provider_is_told_with_its_status() {
    let provider = provider().await;
    let home = home(&provider);
    let process = home.start();
    let body = json!({"to": "+12025550100"});
    for (call, status, code, of_the_provider) in [
        ("over", 409, "provider_refused", Some(409)),
        ("gone", 404, "provider_refused", Some(404)),
        ("bad", 422, "provider_refused", Some(400)),
        ("busy", 429, "rate_limited", Some(429)),
        ("refused", 502, "provider_refused", Some(401)),
        ("ill", 502, "provider_refused", Some(500)),
        ("odd", 502, "provider_undocumented", None),
        ("broken", 502, "provider_unreachable", None),
    ] {
        begin(&home, call).await;
        let (answered, problem) = ask(&home, TOKEN, &format!("{call}/transfers/blind"), &body).await;
        assert_eq!((answered.as_u16(), problem["code"].as_str()), (status, Some(code)), "{call}: {problem}");
        assert_eq!(problem["provider_status"].as_u64(), of_the_provider, "{call}: {problem}");
    }
    let (_, problem) = ask(&home, TOKEN, "bad/transfers/blind", &body).await;
    let said = "the provider answers with status 400: to is not a number that can be dialled";
    assert_eq!(problem["detail"], said);
    let unknown = ask(&home, TOKEN, "over/transfers/tr%2F1/cancel", &json!({})).await;
    assert_eq!(unknown.0, StatusCode::CONFLICT);
    let asked = provider.asked();
    assert_eq!(asked.last().unwrap().path, "/v1/calls/over/transfers/tr%2F1/cancel");
    assert!(!process.log().contains("dialled"), "{}", process.log());
}
