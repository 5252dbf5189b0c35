//! `POST /v1/speech-requests`, over HTTP with the real process.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use ringback::config::TokenHash;
use ringback::http::Client;
use serde_json::{Value, json};

use super::stand_in::StandIn;
use super::{BY_SYMBL, answer_as_symbl, home, post, symbl, symbl_at_work};
use crate::support::{Home, Receiver, TOKEN};

/// Another token of `acme`, and one of `other`.
const OPS: &str = "rbk_test-token-of-the-operators";
const OTHER: &str = "rbk_test-token-of-another-account";

/// Gives `acme` a second token and `other` a known one.
fn add_tokens(home: &Home) {
    let path = home.path("ringback.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let token =
        |name: &str, token: &str| format!("{{ name = \"{name}\", sha256 = \"{}\" }}", TokenHash::of(token));
    let config = config
        .replacen("tokens = [{ name", &format!("tokens = [{}, {{ name", token("ops", OPS)), 1)
        .replace(&"00".repeat(32), &TokenHash::of(OTHER).to_string());
    std::fs::write(&path, config).unwrap();
}

/// A request with this token; the answer as JSON.
async fn ask(home: &Home, token: &str, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let answer = Client::new().send(method, &home.url(path), &headers, body.to_owned()).await.unwrap();
    (answer.0, serde_json::from_slice(&answer.1).unwrap_or(Value::Null))
}

async fn make(home: &Home, token: &str, receiver: &Receiver, more: Value) -> Value {
    let mut request = json!({
        "callback_url": receiver.url(), "callback_method": "POST",
        "callback_data": r#"{"call": {call_id}, "text": {speech_result}, "mail": {email}, "request": {speech_request_id},
            "callback": {callback_id}, "type": {event_type}, "raw": {raw}}"#,
    });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    let (status, made) = ask(home, token, "POST", "/v1/speech-requests", &request.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made
}

/// What the dialer tells of a call.
async fn tell(home: &Home, event: Value) {
    assert_eq!(post(home, "/v1/ingest/dialer", &event).await.0, StatusCode::OK);
}

/// The calls of an answer, in no order.
fn calls(made: &Value) -> Vec<&str> {
    let mut calls: Vec<&str> = made["callIds"].as_object().unwrap().keys().map(String::as_str).collect();
    calls.sort_unstable();
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_found_by_every_filter_the_newest_first_and_delivered_at_once() {
    let home = home("");
    let _process = home.start();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    for (id, duration, start, status, language, text, rank) in [
        ("1", 10, "2026-01-01T00:00:00Z", "ended", "en", "agent: Good morning", 10),
        ("2", 20, "2026-01-02T00:00:00Z", "failed", "de", "agent: Grüß Gott", 50),
        ("3", 30, "2026-01-03T00:00:00Z", "ended", "EN", "agent: An offer", 90),
    ] {
        tell(
            &home,
            json!({
                "call_id": id, "call_duration": duration, "start_at": start, "call_status": status,
                "call_language": language, "speech_result": text, "speech_rank": rank, "email": "ann@example.com",
                "speech_summary": format!("Summary of {id}"), "speech_rank_description": "Friendly",
            }),
        )
        .await;
    }
    tell(&home, json!({"call_id": "4", "call_duration": 40, "end_at": "2026-01-04T00:00:00Z"})).await;

    for (filter, expected) in [
        (json!({}), vec!["1", "2", "3", "4"]),
        (json!({"limit": 2}), vec!["3", "4"]),
        (json!({"min_duration": 20, "max_duration": 30}), vec!["2", "3"]),
        (json!({"call_status": "ENDED"}), vec!["1", "3"]),
        (json!({"from": "2026-01-02", "till": "2026-01-03T00:00:00Z"}), vec!["2", "3"]),
        (json!({"language": "en"}), vec!["1", "3"]),
        (json!({"phrase": "GRÜSS".replace("SS", "ß")}), vec!["2"]),
        (json!({"summary": "summary OF 3"}), vec!["3"]),
        (json!({"rank_description": "friend"}), vec!["1", "2", "3"]),
        (json!({"rank_min": 10, "rank_max": 50}), vec!["1", "2"]),
        (json!({"rank_min": 0}), vec!["1", "2", "3"]),
        (json!({"phrase": "offer", "call_status": "failed"}), vec![]),
    ] {
        let made = make(&home, TOKEN, &receiver, filter.clone()).await;
        assert_eq!(calls(&made), expected, "{filter}");
        for (id, call) in made["callIds"].as_object().unwrap() {
            if id == "4" {
                assert_eq!(call, &json!({"state": "refused", "reason": "no_provider"}));
            } else {
                assert_eq!(call["state"], "ready");
            }
        }
    }
    let one = make(&home, TOKEN, &receiver, json!({"phrase": "offer"})).await;
    let delivery = one["callIds"]["3"]["delivery_id"].as_str().unwrap();
    let seen = receiver
        .wait_until(std::time::Duration::from_secs(20), |seen| {
            seen.iter().any(|seen| seen.header("webhook-id") == delivery)
        })
        .await;
    let seen = seen.iter().find(|seen| seen.header("webhook-id") == delivery).unwrap();
    assert_eq!(
        seen.json(),
        json!({
            "call": "3", "text": "agent: An offer", "mail": "ann@example.com", "callback": null, "raw": null,
            "request": one["speechRequestId"], "type": "speech.completed",
        })
    );
    // It is no registration that anybody lists or pauses.
    let (_, listed) = ask(&home, TOKEN, "GET", "/v1/callbacks", "").await;
    assert_eq!(listed["data"], json!([]));
    let as_callback = one["speechRequestId"].as_str().unwrap().replace("sr_", "cb_");
    let (status, _) = ask(&home, TOKEN, "DELETE", &format!("/v1/callbacks/{as_callback}"), "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_come_as_json_as_a_form_and_in_the_query() {
    let home = home("");
    let _process = home.start();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    tell(&home, json!({"call_id": "7", "speech_result": "agent: Hello", "speech_rank": 5})).await;
    let form = |pairs: &[(&str, &str)]| {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    };
    let url = receiver.url();
    let all = [
        ("callback_url", url.as_str()),
        ("callback_method", "put"),
        ("callback_data", "[{call_id}]"),
        ("token", TOKEN),
        ("rank_max", "5"),
        ("phrase", ""),
    ];
    let client = Client::new();
    let send = async |query: &str, content_type: &str, body: String| {
        let path = home.url(&format!("/v1/speech-requests{query}"));
        let (status, body) =
            client.send("POST", &path, &[("content-type", content_type)], body).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let json = json!(
        all.iter()
            .filter(|(_, value)| !value.is_empty())
            .copied()
            .collect::<std::collections::HashMap<_, _>>()
    );
    let whole_query = format!("?{}", form(&all));
    let (some, others) = all.split_at(3);
    let some_query = format!("?{}", form(some));
    for (query, content_type, body) in [
        (whole_query.as_str(), "application/json", String::new()),
        (&whole_query, "application/x-www-form-urlencoded", " ".to_owned()),
        ("", "application/x-www-form-urlencoded; charset=utf-8", form(&all)),
        ("", "application/x-www-form-urlencoded", json.to_string()),
        ("", "application/json", json.to_string()),
        (&some_query, "application/x-www-form-urlencoded", form(others)),
    ] {
        let (status, made) = send(query, content_type, body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        assert_eq!(calls(&made), ["7"]);
    }
    receiver.wait_for(6).await;

    let (status, refused) = send("", "application/json", "{".to_owned()).await;
    assert_eq!((status, &refused["code"]), (StatusCode::BAD_REQUEST, &json!("not_json")));
    for (query, content_type, body) in [
        (whole_query.as_str(), "application/x-www-form-urlencoded", form(&[("rank_max", "6")])),
        (&format!("{whole_query}&rank_max=6"), "application/json", String::new()),
        (&whole_query, "application/json", json!({"rank_max": 5}).to_string()),
    ] {
        let (status, refused) = send(query, content_type, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused["errors"].as_array().unwrap().len(), 1, "{refused}");
        assert_eq!(
            (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
            (&json!("/rank_max"), &json!("given_twice"))
        );
    }
    let (status, _) = send("", "application/json", json!({"token": "rbk_no"}).to_string()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, refused) = send(&format!("?token={TOKEN}"), "application/json", String::new()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused["errors"].as_array().unwrap().len(), 3, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_had_transcribed_only_this_token_sees() {
    let (provider, done) = symbl_at_work().await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL));
    super::make_reachable(&home);
    add_tokens(&home);
    let _process = home.start();
    let (mine, theirs) =
        (Receiver::start(|_, _| StatusCode::OK).await, Receiver::start(|_, _| StatusCode::OK).await);
    let standing = json!({
        "callback_url": theirs.url(), "callback_method": "POST",
        "callback_data": "[{event_type}, {call_id}, {speech_result}, {raw}]", "events": ["speech.completed"],
    });
    let (status, _) = ask(&home, OPS, "POST", "/v1/callbacks", &standing.to_string()).await;
    assert_eq!(status, StatusCode::CREATED);
    super::dial(&home, "call-7").await;
    let made = make(&home, TOKEN, &mine, json!({})).await;
    assert_eq!(made["callIds"], json!({"call-7": {"state": "submitted"}}));
    let request = format!("/v1/speech-requests/{}", made["speechRequestId"].as_str().unwrap());
    let nothing_yet = ask(&home, TOKEN, "GET", "/v1/calls/call-7/speech", "").await;
    assert_eq!(nothing_yet.0, StatusCode::NOT_FOUND);

    let asked =
        provider.wait_until(|asked| asked.iter().any(|asked| asked.path.starts_with("/v1/job/"))).await;
    done.store(true, Ordering::SeqCst);
    let submission = asked.iter().find(|asked| asked.is("POST", "/v1/process/audio/url")).unwrap().json();
    let told = json!({"jobId": "job-1", "status": "completed"}).to_string();
    Client::new().send("POST", submission["webhookUrl"].as_str().unwrap(), &[], told).await.unwrap();
    let body = mine.wait_for(1).await[0].json();
    assert_eq!((&body["call"], &body["mail"]), (&json!("call-7"), &json!("ann@example.com")));
    assert_eq!(body["text"], "Roger: Good morning.\nAnn: Hello \"Roger\".");
    assert!(body["raw"]["messages"].is_object(), "{body}");
    assert_eq!(theirs.wait_for(1).await[0].json(), json!(["speech.completed", "call-7", null, null]));

    let (status, shown) = ask(&home, TOKEN, "GET", &request, "").await;
    assert_eq!((status, &shown["callIds"]["call-7"]["state"]), (StatusCode::OK, &json!("ready")));
    let delivery = format!("/v1/deliveries/{}", shown["callIds"]["call-7"]["delivery_id"].as_str().unwrap());
    let (_, listed) = ask(&home, TOKEN, "GET", "/v1/deliveries", "").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let event = listed["data"].as_array().unwrap().iter().find(|row| row["speech_request_id"].is_string());
    let event = format!("/v1/events/{}", event.unwrap()["event_id"].as_str().unwrap());
    let (_, speech) = ask(&home, TOKEN, "GET", "/v1/calls/call-7/speech", "").await;
    assert_eq!((&speech["call_id"], &speech["speech_summary"]), (&json!("call-7"), &json!("An offer.")));
    assert!(ask(&home, TOKEN, "GET", &event, "").await.1["body"].as_str().unwrap().contains("Good morning"));
    let render =
        json!({"callback_data": "[{speech_result}, {raw}, {email}]", "event_id": event.rsplit('/').next()});
    let (_, rendered) = ask(&home, TOKEN, "POST", "/v1/templates/render", &render.to_string()).await;
    assert!(rendered["body"].as_str().unwrap().contains("Good morning"));
    let (_, rendered) = ask(&home, OPS, "POST", "/v1/templates/render", &render.to_string()).await;
    assert_eq!(rendered["body"], r#"[null, null, "ann@example.com"]"#);
    assert_eq!(ask(&home, OPS, "GET", &event, "").await.1["body"], "");
    let by_call = json!({"callback_data": "[{speech_summary}, {email}]", "call_id": "call-7"}).to_string();
    for (token, rendered, summary, found) in [
        (TOKEN, r#"["An offer.", "ann@example.com"]"#, json!("An offer."), 1),
        (OPS, r#"[null, "ann@example.com"]"#, Value::Null, 0),
    ] {
        let body = ask(&home, token, "POST", "/v1/templates/render", &by_call).await.1;
        assert_eq!(body["body"], rendered);
        let (_, call) = ask(&home, token, "GET", "/v1/calls/call-7", "").await;
        assert_eq!(
            (&call["context"]["speech_summary"], &call["context"]["email"]),
            (&summary, &json!("ann@example.com"))
        );
        let (_, all) = ask(&home, token, "GET", "/v1/calls", "").await;
        assert_eq!(all["data"][0]["context"]["speech_summary"], summary);
        let (_, some) = ask(&home, token, "GET", "/v1/calls?phrase=good%20morning", "").await;
        assert_eq!(some["data"].as_array().unwrap().len(), found, "{some}");
    }
    let retry = format!("{delivery}/retry");
    for token in [OPS, OTHER] {
        for (method, path) in [
            ("GET", &request),
            ("GET", &delivery),
            ("POST", &retry),
            ("GET", &"/v1/calls/call-7/speech".to_owned()),
        ] {
            assert_eq!(ask(&home, token, method, path, "").await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }
    let (_, listed) = ask(&home, OPS, "GET", "/v1/deliveries", "").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");

    // Nor does the other token find the call by it; for the one whose it is, it is ready.
    let found = make(&home, OPS, &theirs, json!({"phrase": "good morning"})).await;
    assert_eq!(found["callIds"], json!({}));
    let again = make(&home, TOKEN, &mine, json!({"phrase": "good morning"})).await;
    assert_eq!(again["callIds"]["call-7"]["state"], "ready");
    // What it asks for itself is a job of its own.
    let own = make(&home, OPS, &theirs, json!({})).await;
    assert_eq!(own["callIds"], json!({"call-7": {"state": "submitted"}}));
    provider
        .wait_until(|asked| {
            asked.iter().filter(|asked| asked.is("POST", "/v1/process/audio/url")).count() == 2
        })
        .await;
}

/// Waits until a delivery is over, and shows it to whoever asks.
async fn delivered_to(home: &Home, callback: &str, token: &str) -> Value {
    loop {
        let path = format!("/v1/deliveries?callback_id={callback}&state=delivered");
        let (_, listed) = ask(home, token, "GET", &path, "").await;
        if let Some(id) = listed["data"][0]["id"].as_str() {
            let (status, shown) = ask(home, token, "GET", &format!("/v1/deliveries/{id}"), "").await;
            assert_eq!(status, StatusCode::OK);
            return shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_registration_sends_of_a_tokens_speech_is_not_shown_to_another_and_replayed_to_itself() {
    let (provider, done) = symbl_at_work().await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL));
    super::make_reachable(&home);
    add_tokens(&home);
    let _process = home.start();
    let standing = async |token: &str| {
        let receiver = Receiver::start(|_, _| StatusCode::OK).await;
        let body = json!({
            "callback_url": receiver.url(), "callback_method": "POST",
            "callback_data": "[{call_id}, {speech_summary}, {raw}]", "events": ["speech.completed"],
        });
        let (status, made) = ask(&home, token, "POST", "/v1/callbacks", &body.to_string()).await;
        assert_eq!(status, StatusCode::CREATED);
        (made["id"].as_str().unwrap().to_owned(), receiver)
    };
    let ((of_mine, mine), (of_theirs, theirs)) = (standing(TOKEN).await, standing(OPS).await);
    let asked_for = Receiver::start(|_, _| StatusCode::OK).await;
    super::dial(&home, "call-7").await;
    make(&home, TOKEN, &asked_for, json!({})).await;
    let asked =
        provider.wait_until(|asked| asked.iter().any(|asked| asked.path.starts_with("/v1/job/"))).await;
    done.store(true, Ordering::SeqCst);
    let submission = asked.iter().find(|asked| asked.is("POST", "/v1/process/audio/url")).unwrap().json();
    let told = json!({"jobId": "job-1", "status": "completed"}).to_string();
    Client::new().send("POST", submission["webhookUrl"].as_str().unwrap(), &[], told).await.unwrap();
    let first = mine.wait_for(1).await[0].json();
    assert_eq!((&first[0], &first[1]), (&json!("call-7"), &json!("An offer.")));
    assert_eq!(theirs.wait_for(1).await[0].json(), json!(["call-7", null, null]));

    for (callback, token, is_shown) in
        [(&of_mine, TOKEN, true), (&of_mine, OPS, false), (&of_theirs, TOKEN, true), (&of_theirs, OPS, true)]
    {
        let shown = delivered_to(&home, callback, token).await;
        assert_eq!(
            (shown["request"].is_object(), shown["withheld"].is_null()),
            (is_shown, is_shown),
            "{shown}"
        );
        assert_eq!(shown.to_string().contains("An offer."), callback == &of_mine && is_shown);
    }
    // A replay is rendered as whoever registered sees the call, whoever asks for it.
    for (callback, asks, receiver, expected) in
        [(&of_mine, OPS, &mine, &first), (&of_theirs, TOKEN, &theirs, &json!(["call-7", null, null]))]
    {
        let path = format!("/v1/callbacks/{callback}/replay");
        let again = json!({"since": "2020-01-01T00:00:00Z", "only": "all"}).to_string();
        let (status, replayed) = ask(&home, asks, "POST", &path, &again).await;
        assert!(status.is_success(), "{replayed}");
        assert!(!replayed.to_string().contains("An offer."), "{replayed}");
        assert_eq!(receiver.wait_for(2).await[1].json(), *expected);
    }
    // Nobody knows any more who registered what is removed.
    let deleted = ask(&home, TOKEN, "DELETE", &format!("/v1/callbacks/{of_mine}"), "").await;
    assert!(deleted.0.is_success());
    let shown = delivered_to(&home, &of_mine, OPS).await;
    assert!(shown["request"].is_null() && shown["withheld"].is_string(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_that_a_webhook_brings_answers_a_request_and_a_job_that_fails_ends_it() {
    let provider = StandIn::start(|asked, before| {
        if asked.is("POST", "/v1/process/audio/url") && asked.body.contains("call-2") {
            return super::stand_in::json(400, &json!({"message": "Bad Request!"}));
        }
        answer_as_symbl(asked, before, "in_progress")
    })
    .await;
    let home = home(&(symbl(&provider, "") + BY_SYMBL));
    let process = home.start();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    super::dial(&home, "call-1").await;
    super::dial(&home, "call-2").await;
    tell(&home, json!({"call_id": "call-3", "end_at": "2026-03-30 14:27:12"})).await;
    let made = make(&home, TOKEN, &receiver, json!({})).await;
    assert_eq!(
        made["callIds"],
        json!({
            "call-1": {"state": "submitted"}, "call-2": {"state": "submitted"},
            "call-3": {"state": "refused", "reason": "no_recording"},
        })
    );
    let request = format!("/v1/speech-requests/{}", made["speechRequestId"].as_str().unwrap());
    let failed = async {
        loop {
            let (_, shown) = home.call(&Client::new(), "GET", &request, "").await;
            if shown["callIds"]["call-2"]["state"] == "failed" {
                return shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let shown = tokio::time::timeout(std::time::Duration::from_secs(30), failed).await.unwrap();
    assert_eq!(shown["callIds"]["call-2"]["reason"], "the provider refused the job with status 400");
    process.kill();
    let _process = home.start();
    tell(&home, json!({"call_id": "call-1", "speech_result": "agent: Hi", "event_id": "late"})).await;
    let seen = receiver.wait_for(1).await;
    assert_eq!((&seen[0].json()["call"], &seen[0].json()["text"]), (&json!("call-1"), &json!("agent: Hi")));
    // Only once, whatever comes.
    tell(&home, json!({"call_id": "call-1", "speech_result": "agent: Hi again", "event_id": "later"})).await;
    let (_, listed) = home.call(&Client::new(), "GET", "/v1/deliveries", "").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}
