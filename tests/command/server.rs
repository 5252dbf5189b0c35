//! `callbacks`, `deliveries`, `events`, `calls`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Done, ringback, run};
use crate::support::{Home, OPEN_DIALER, Process, Receiver, TOKEN, by_id, free_port};

fn command(home: &Home, line: &str) -> Done {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    ringback(&home.path(""), &home.url(""), &arguments, "")
}

async fn post(home: &Home, client: &Client, event: serde_json::Value) {
    let (status, _) =
        client.send("POST", &home.url("/v1/ingest/dialer"), &[], event.to_string()).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_is_registered_changed_paused_tested_and_removed() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let receiver =
        Receiver::start(
            |number, _| {
                if number == 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
            },
        )
        .await;
    std::fs::write(home.path("template.json"), "{\n  \"call\": {call_id}\n}").unwrap();
    let request = json!({
        "callback_url": receiver.url(), "callback_method": "PUT", "events": ["call.ended"], "description": "CRM",
    });
    let request = request.to_string();
    let create = ["callbacks", "create", "-", "--data", "template.json"];
    let made = ringback(&home.path(""), &home.url(""), &create, &request);
    let id = made.text().split_whitespace().next().unwrap();
    assert!(id.starts_with("cb_"), "{made:?}");
    assert!(made.out.contains(&format!("is registered: PUT {} on call.ended", receiver.url())), "{made:?}");
    assert!(made.out.contains("signing secret, shown this once: whsec_"), "{made:?}");

    let listed = command(&home, "callbacks list");
    let lines: Vec<&str> = listed.text().lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["ID", "STATE", "EVENTS", "SENT", "TO"]);
    assert_eq!(lines[0].find("STATE"), lines[1].find("active"), "{listed:?}");
    assert!(lines[1].starts_with(id) && !listed.out.contains('\u{1b}'), "{listed:?}");
    assert_eq!(command(&home, "callbacks list --format json").rows()[0]["id"], id);

    let shown = command(&home, &format!("callbacks show {id}"));
    assert!(shown.text().contains("callback_data\n  {\n    \"call\": {call_id}\n  }\n"), "{shown:?}");
    assert!(
        shown.out.contains("description  CRM") || shown.out.contains("description      CRM"),
        "{shown:?}"
    );

    let change = ["callbacks", "change", id, "-", "--format", "json"];
    let changed =
        ringback(&home.path(""), &home.url(""), &change, r#"{"description": null, "timeout_ms": 900}"#);
    assert_eq!(
        (&changed.rows()[0]["timeout_ms"], &changed.rows()[0]["description"]),
        (&json!(900), &json!(null))
    );

    assert_eq!(
        command(&home, &format!("callbacks pause {id}")).text(),
        format!("{id} is paused: by the customer\n")
    );
    assert_eq!(command(&home, &format!("callbacks resume {id}")).text(), format!("{id} is active\n"));

    let rotated = command(&home, &format!("callbacks rotate-secret {id}"));
    assert!(
        rotated.text().contains("whsec_") && rotated.out.contains("signs beside it until 20"),
        "{rotated:?}"
    );
    let given = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let rotate = ["callbacks", "rotate-secret", id, "--secret", "-", "--format", "json"];
    let rotated = ringback(&home.path(""), &home.url(""), &rotate, &format!("{given}\n"));
    assert_eq!(rotated.rows()[0]["secret"], given);

    let tested = command(&home, &format!("callbacks test {id}"));
    assert!(tested.text().contains("outcome     delivered"), "{tested:?}");
    assert!(tested.out.contains("\"call\": \"8812345\""), "{tested:?}");
    let failed = command(&home, &format!("callbacks test {id} --sample call.ended --format json"));
    assert_eq!((failed.code, failed.err.as_str()), (1, ""));
    assert!(failed.out.contains("\"status\":503"), "{failed:?}");

    let removed = command(&home, &format!("callbacks remove {id}"));
    assert_eq!(removed.text(), format!("{id} is removed, and what waited for it cancelled\n"));
    let gone = command(&home, &format!("callbacks show {id}"));
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    let url = home.url("/");
    assert_eq!(gone.err, format!("{url}: 404 not_found: this account has no such callback\n"));
    assert_eq!(command(&home, "callbacks list").err, "nothing was found\n");
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mistake_of_a_registration_is_told_and_those_of_a_template_are_drawn() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let bad = json!({
        "callback_url": "ftp://x", "callback_method": "PATCH", "events": ["call.endet"],
        "callback_data": "{\n  \"a\": {call_idd}\n}", "callback_headers": {"X-Rank": "{speech_rnak}"},
    });
    std::fs::write(home.path("bad.json"), bad.to_string()).unwrap();
    let refused = command(&home, "callbacks create bad.json");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    let lines: Vec<&str> = refused.err.lines().collect();
    assert!(
        lines[0].starts_with(&format!("{}: 422 invalid_request: the request has ", home.url("/"))),
        "{lines:?}"
    );
    for pointer in ["/callback_url", "/callback_method", "/events/0"] {
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("  {pointer}: "))),
            "{pointer} in {}",
            refused.err
        );
    }
    for drawn in [
        " --> bad.json#/callback_data:2:9",
        "2 |   \"a\": {call_idd}",
        "  |         ^^^^^^^^",
        "help: did you mean `call_id`?",
        " --> bad.json#/callback_headers/X-Rank:1:2",
    ] {
        assert!(lines.contains(&drawn), "{drawn} in\n{}", refused.err);
    }
    // The template's own file has the place where it is given by itself.
    std::fs::write(home.path("template.json"), "[\n  {emial}\n]").unwrap();
    let refused = ringback(
        &home.path(""),
        &home.url(""),
        &["callbacks", "create", "-", "--data", "template.json"],
        "{}",
    );
    assert!(refused.err.contains(" --> template.json:2:4\n"), "{}", refused.err);
    let both = command(&home, "callbacks create bad.json --data template.json");
    assert_eq!(both.code, 2);
    assert!(both.err.starts_with("bad.json has a `callback_data` already"), "{both:?}");

    let refused = command(&home, "callbacks create bad.json --format json");
    let problem: serde_json::Value = serde_json::from_str(refused.err.trim_end()).unwrap();
    assert_eq!(
        (refused.code, &problem["code"], problem["status"].as_u64()),
        (1, &json!("invalid_request"), Some(422))
    );
    let listed = command(&home, "deliveries list --state x --since yesterday");
    assert!(listed.err.contains("  /state: ") && listed.err.contains("  /since: "), "{listed:?}");
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_listed_shown_and_retried() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, received| {
        if received.header("ringback-attempt") == "1" { StatusCode::BAD_REQUEST } else { StatusCode::OK }
    })
    .await;
    let callback = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "callback_data": "{\"call\": {call_id}}",
        "events": ["call.ended"], "retry": {"schedule": ["0s", "2h"]},
    });
    home.register(&client, &callback).await;
    for call in ["a/1", "b\u{1b}[2J"] {
        post(&home, &client, json!({"call_id": call, "end_at": "2026-03-30 14:27:12"})).await;
    }
    receiver.wait_for(2).await;
    // The attempt is written when the receiver has seen it: it is waited for, as a person would.
    let rows = loop {
        let rows = command(&home, "deliveries list --since 1h --format json").rows();
        if rows.iter().all(|row| row["attempts"] == 1) {
            break rows;
        }
    };
    assert_eq!(rows.len(), 2);
    let table = command(&home, "deliveries list");
    assert!(table.text().contains(r"b\u{1b}[2J") && !table.out.contains('\u{1b}'), "{table:?}");
    assert!(table.out.lines().all(|line| line.chars().count() <= 100), "{table:?}");
    let only = command(&home, "deliveries list --call a/1 --state queued --format json").rows();
    assert_eq!(only.len(), 1);
    let id = only[0]["id"].as_str().unwrap();

    let shown = command(&home, &format!("deliveries show {id}"));
    for expected in
        ["state            queued", "TRY  STARTED (UTC)", "refused", "400", "the response to attempt 1\n  {}"]
    {
        assert!(shown.text().contains(expected), "{expected} in\n{}", shown.out);
    }
    let retried = command(&home, &format!("deliveries retry {id} dl_none"));
    assert_eq!(retried.code, 1);
    assert!(retried.out.starts_with(&format!("{id} is ")), "{retried:?}");
    assert_eq!(
        retried.err,
        format!("dl_none: {}: 404 not_found: this account has no such delivery\n", home.url("/"))
    );
    let seen = receiver.wait_for(3).await;
    assert_eq!(seen[2].header("webhook-id"), id);
    assert_eq!(command(&home, "deliveries retry").code, 2);
    assert_eq!(command(&home, &format!("deliveries retry {id} --state dead")).code, 2);
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deliveries_are_retried_and_replayed() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let receiver = Receiver::start(move |_, _| {
        if failing.load(Ordering::SeqCst) { StatusCode::BAD_REQUEST } else { StatusCode::OK }
    })
    .await;
    let callback = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "callback_data": "{\"call\": {call_id}}",
        "events": ["call.ended"], "retry": {"schedule": ["0s"]},
    });
    let id = home.register(&client, &callback).await["id"].as_str().unwrap().to_owned();
    let ended = |call: String| json!({"call_id": call, "end_at": "2026-03-30 14:27:12"});
    let wait_for = |state: &str, count: usize| {
        let list = format!("deliveries list --all --callback {id} --state {state} --format json");
        while command(&home, &list).rows().len() < count {}
    };
    for number in 0..3 {
        post(&home, &client, ended(format!("dead/{number}"))).await;
    }
    wait_for("dead", 3);
    fails.store(false, Ordering::SeqCst);
    let retried = command(&home, &format!("deliveries retry --callback {id} --state dead --since 1h"));
    assert_eq!((retried.text(), retried.err.as_str()), ("3 retried\n", ""));
    wait_for("delivered", 3);
    let ids = by_id(&receiver.seen());
    assert!(ids.len() == 3 && ids.values().all(|requests| requests.len() == 2));

    fails.store(true, Ordering::SeqCst);
    post(&home, &client, ended("dead/3".to_owned())).await;
    wait_for("dead", 1);
    fails.store(false, Ordering::SeqCst);
    assert_eq!(
        command(&home, &format!("callbacks replay {id} --only all")).code,
        2,
        "of all, since when is said"
    );
    let replayed = command(&home, &format!("callbacks replay {id} --format json")).rows();
    assert_eq!(replayed[0]["replayed"], 1);
    wait_for("delivered", 4);
    assert_eq!(by_id(&receiver.seen()).len(), 5, "what is replayed has an id of its own");

    // More than one request does.
    let mut posting = JoinSet::new();
    for number in 0..260 {
        let (client, url) = (client.clone(), home.url("/v1/ingest/dialer"));
        let event = ended(format!("call/{number}"));
        posting.spawn(async move { client.send("POST", &url, &[], event.to_string()).await.unwrap().0 });
    }
    assert!(posting.join_all().await.iter().all(|status| *status == StatusCode::OK));
    wait_for("delivered", 264);
    let replayed = command(&home, &format!("callbacks replay {id} --since 1h --only all"));
    let count: usize = replayed.text().split_once(" replayed\n").unwrap().0.parse().unwrap();
    assert!(count >= 264, "{replayed:?}");
    wait_for("delivered", 264 + count);
    let refused = command(&home, &format!("deliveries retry --callback {id} --state failed"));
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("\n  /state: "), "{refused:?}");
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_on_over_pages_and_calls_and_events_are_shown() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let mut posting = JoinSet::new();
    for number in 0..260 {
        let (client, url) = (client.clone(), home.url("/v1/ingest/dialer"));
        let event =
            json!({"call_id": format!("call/{number}"), "call_duration": number, "speech_rank": "87.50"});
        posting.spawn(async move { client.send("POST", &url, &[], event.to_string()).await.unwrap().0 });
    }
    assert!(posting.join_all().await.iter().all(|status| *status == StatusCode::OK));

    let all = command(&home, "events list --all --format json").rows();
    let mut ids: Vec<&str> = all.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, other| one > other));
    ids.dedup();
    assert_eq!(ids.len(), 260);
    let part = command(&home, "events list --limit 255 --format json");
    assert_eq!(part.out.lines().count(), 255);
    let cursor = part.err.split_whitespace().skip_while(|word| *word != "--cursor").nth(1).unwrap();
    let rest = command(&home, &format!("events list --all --cursor {cursor} --format json")).rows();
    assert_eq!(rest, all[255..]);

    let event = command(&home, &format!("events show {}", ids[0]));
    assert!(
        event.text().contains("\n  {\"call_id\":") || event.out.contains("body           {\"call_id\":"),
        "{event:?}"
    );
    let longest = command(&home, "calls list --min-duration 259");
    assert_eq!(longest.text().lines().count(), 2, "{longest:?}");
    assert!(longest.out.contains("call/259") && longest.out.contains("87.50"), "{longest:?}");
    let call = command(&home, "calls show call/259 --space default");
    assert!(call.text().contains("speech_rank    87.50"), "{call:?}");
    let call = command(&home, "calls show call/259 --format json");
    assert!(call.text().contains("\"speech_rank\":87.50"), "numbers keep their spelling: {call:?}");
    assert_eq!(command(&home, "calls remove call/259 --space default").text(), "call/259 is erased\n");
    assert_eq!(command(&home, "calls show call/259").code, 1);
    // Whoever reads may go before the end.
    let cut = std::process::Command::new("sh")
        .args(["-c", &format!("'{}' events list --all | head -n 1", env!("CARGO_BIN_EXE_ringback"))])
        .envs([("RINGBACK_URL", home.url("")), ("RINGBACK_TOKEN", TOKEN.to_owned())])
        .output()
        .unwrap();
    assert_eq!((cut.status.code(), cut.stderr.as_slice()), (Some(0), &b""[..]));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_said_in_a_line_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    // Somebody's port at which nobody listens.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("http://{}", nobody.local_addr().unwrap());
    let with = |variables: &[(&str, &str)], line: &str| {
        run(folder.path(), variables, &line.split_whitespace().collect::<Vec<_>>(), "")
    };
    let token = ("RINGBACK_TOKEN", "rbk_secret-token");
    for (variables, line, code, expected) in [
        (vec![], "callbacks list", 2, "a token is needed: RINGBACK_TOKEN or --token"),
        (vec![token], "events list --url ftp://x", 2, "--url: not the http or https URL of a server"),
        (vec![token, ("RINGBACK_URL", "x")], "events list", 2, "RINGBACK_URL: relative URL"),
        (vec![token], "events list --url http://a:b@x", 2, "--url: the token does not go into the URL"),
        (vec![("RINGBACK_TOKEN", "a b")], "calls list", 2, "the token holds a character"),
        (vec![token, ("RINGBACK_URL", &nowhere)], "calls list", 1, &nowhere),
        (vec![token], "callbacks create nowhere.json", 1, "nowhere.json: cannot be read: "),
    ] {
        let done = with(&variables, line);
        assert_eq!((done.code, done.out.as_str(), done.err.lines().count()), (code, "", 1), "{done:?}");
        assert!(done.err.starts_with(expected) && !done.err.contains("rbk_secret"), "{done:?}");
    }
    let unreachable = with(&[token, ("RINGBACK_URL", &nowhere)], "calls list --format json");
    let told: serde_json::Value = serde_json::from_str(&unreachable.err).unwrap();
    assert_eq!(told["code"], "no_answer");

    // Something else than a Ringback, and a token that it does not know.
    let other = Receiver::start(|_, _| StatusCode::NOT_FOUND).await;
    let done = with(&[token, ("RINGBACK_URL", &other.url())], "callbacks pause a/b");
    assert_eq!(done.code, 1);
    assert!(done.err.contains("answered with 404, and not as a Ringback does"), "{done:?}");
    assert_eq!(other.seen()[0].uri, "/hook/v1/callbacks/a%2Fb/pause");
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let done = with(&[("RINGBACK_URL", &home.url(""))], "callbacks list --token rbk_wrong");
    assert_eq!(
        done.err,
        format!(
            "{}: 401 unauthorized: the server does not know this token; RINGBACK_TOKEN or --token gives another\n",
            home.url("/")
        )
    );
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_too_fast_is_asked_again_when_it_says() {
    let patient = "rbk_a-token-of-an-account-with-a-rate";
    let home = Home::new(&format!(
        "{OPEN_DIALER}\n[[account]]\nname = \"slow\"\nlimits = {{ requests = \"1/s\" }}\n\
         tokens = [{{ sha256 = \"{}\" }}]\n",
        ringback::config::TokenHash::of(patient)
    ));
    let process = home.start();
    let variables = [("RINGBACK_URL", &*home.url("")), ("RINGBACK_TOKEN", patient)];
    for _ in 0..3 {
        let done = run(&home.path(""), &variables, &["callbacks", "list"], "");
        assert_eq!((done.code, done.err.as_str()), (0, "nothing was found\n"));
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_tls_is_asked_where_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let config = format!(
        "listen = \"127.0.0.1:{port}\"\nstore = \"sqlite:ringback.db\"\n\
         tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
         [[account]]\nname = \"acme\"\ntokens = [{{ sha256 = \"{}\" }}]\n",
        ringback::config::TokenHash::of(TOKEN)
    );
    std::fs::write(folder.path().join("ringback.toml"), config).unwrap();
    let process = Process::start(&["serve", "--config", "ringback.toml"], folder.path());
    let url = format!("https://localhost:{port}");
    let mut variables = vec![("RINGBACK_URL", url.as_str()), ("RINGBACK_TOKEN", TOKEN)];
    let refused = run(folder.path(), &variables, &["callbacks", "list"], "");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("certificate"), "{refused:?}");
    variables.push(("SSL_CERT_FILE", "cert.pem"));
    let done = run(folder.path(), &variables, &["callbacks", "list"], "");
    assert_eq!((done.code, done.err.as_str()), (0, "nothing was found\n"));
    drop(process);
}
