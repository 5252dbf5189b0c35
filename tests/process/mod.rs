//! The real process: what it promises across restarts and kills.

mod demo;
mod late;
mod metrics;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::json;

use crate::support::{Home, OPEN_DIALER, Receiver, by_id, soon_again};

/// A callback for everything that ends, with short retries.
fn callback(url: &str) -> serde_json::Value {
    json!({
        "callback_url": url,
        "callback_method": "POST",
        "callback_data": r#"{"call": "{call_id}", "lead": "{first_name}", "delivery": "{delivery_id}"}"#,
        "events": ["call.ended"],
        "retry": soon_again(),
    })
}

fn ended(call_id: &str) -> String {
    json!({"call_id": call_id, "first_name": "Ann \"quoted\"", "end_at": "2026-03-30 14:27:12"}).to_string()
}

/// Kills of the running process, under load.
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_with_200_is_lost_when_the_process_is_killed() {
    let home = Arc::new(Home::new(OPEN_DIALER));
    // One request in seven fails, so that retries are in the queue at a kill too.
    let receiver = Receiver::start_failing().await;
    let client = Client::new();
    let mut process = home.start();
    home.register(&client, &callback(&receiver.url())).await;

    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let loaders: Vec<_> = (0..16)
        .map(|_| {
            let (home, stop, next, accepted) =
                (Arc::clone(&home), Arc::clone(&stop), Arc::clone(&next), Arc::clone(&accepted));
            tokio::spawn(async move {
                let client = Client::new();
                while !stop.load(Ordering::Relaxed) {
                    let call = format!("call-{}", next.fetch_add(1, Ordering::Relaxed));
                    // As a provider does: the same event again until it is answered with 200.
                    loop {
                        match client.send("POST", &home.url("/v1/ingest/dialer"), &[], ended(&call)).await {
                            Ok((StatusCode::OK, _)) => break accepted.lock().unwrap().push(call.clone()),
                            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                            Ok((status, body)) => panic!("{status}: {body:?}"),
                        }
                    }
                }
            })
        })
        .collect();

    for kill in 0..KILLS {
        // Moments that no two kills share, from the first events on to a busy queue.
        tokio::time::sleep(Duration::from_millis(60 + 37 * (kill as u64 % 7))).await;
        process.kill();
        process = home.start();
    }
    stop.store(true, Ordering::Relaxed);
    for loader in loaders {
        loader.await.unwrap();
    }

    let accepted: HashSet<String> = accepted.lock().unwrap().iter().cloned().collect();
    assert!(accepted.len() > 10 * KILLS, "only {} events were accepted", accepted.len());
    let calls = |seen: &[crate::support::Received]| -> HashSet<String> {
        seen.iter().map(|received| received.json()["call"].as_str().unwrap().to_owned()).collect()
    };
    let seen = receiver.wait_until(Duration::from_mins(1), |seen| accepted.is_subset(&calls(seen))).await;

    // One delivery an event, however often the event was posted; a repeat is the same bytes.
    let mut deliveries: HashMap<String, HashSet<String>> = HashMap::new();
    for (id, requests) in by_id(&seen) {
        assert!(requests.iter().all(|request| request.body == requests[0].body), "{id} changed its body");
        let body = requests[0].json();
        assert_eq!(body["delivery"], id.as_str());
        deliveries.entry(body["call"].as_str().unwrap().to_owned()).or_default().insert(id);
    }
    for (call, ids) in deliveries {
        assert_eq!(ids.len(), 1, "{call} was delivered under several ids");
    }
    // Everything is where it should be, while the process lives and as another kill leaves it.
    assert_eq!(home.audit()["counts"]["events"], accepted.len());
    process.kill();
    assert_eq!(home.audit()["clean"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight_and_a_restart_delivers_the_rest() {
    let home = Home::new(OPEN_DIALER);
    let receiver = Receiver::start_failing_first(StatusCode::SERVICE_UNAVAILABLE).await;
    let client = Client::new();
    let process = home.start();
    home.register(&client, &callback(&receiver.url())).await;
    let (status, _) = client.send("POST", &home.url("/v1/ingest/dialer"), &[], ended("c1")).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    receiver.wait_for(1).await;
    process.signal("TERM");
    assert_eq!(process.wait(Duration::from_secs(10)), 0);

    let process = home.start();
    let seen = receiver.wait_for(2).await;
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!((seen[0].header("ringback-attempt"), seen[1].header("ringback-attempt")), ("1", "2"));
    process.signal("TERM");
    assert_eq!(process.wait(Duration::from_secs(10)), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_holds_ids_and_no_personal_data_or_secrets() {
    let home = Home::new(OPEN_DIALER);
    let receiver = Receiver::start_failing_first(StatusCode::INTERNAL_SERVER_ERROR).await;
    let client = Client::new();
    let process = home.start();
    let mut request = callback(&format!("{}?key=url-secret", receiver.url()));
    request["events"] = json!(["speech.completed"]);
    let registered = home.register(&client, &request).await;
    let event = json!({
        "call_id": "c1", "end_at": "2026-03-30 14:27:12", "first_name": "Zebedee",
        "phone_normalized": "+12025550123", "email": "zebedee@example.com", "speech_result": "agent: Sesame",
        "weight": "heavy-Zebedee",
    });
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], event.to_string()).await.unwrap();
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], "{not json Zebedee").await.unwrap();
    client.send("POST", &home.url("/v1/ingest/nowhere?token=url-secret"), &[], "{}").await.unwrap();
    // A URL that was put together wrongly: the secret stands where the source's name should.
    client.send("POST", &home.url("/v1/ingest/url-secret/dialer"), &[], "{}").await.unwrap();
    let seen = receiver.wait_for(2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    let log = process.log();
    assert!(log.contains(seen[0].header("webhook-id")), "the delivery's id is not in the log:\n{log}");
    let secret = registered["secret"].as_str().unwrap();
    for secret in
        ["Zebedee", "2025550123", "example.com", "Sesame", "url-secret", "rbk_", secret, &secret[6..]]
    {
        assert!(!log.contains(secret), "`{secret}` is in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_that_cannot_be_used_stop_the_start_instead_of_losing_their_events() {
    let sealed = format!("{OPEN_DIALER}\n[secrets]\nkey = \"{}\"\n", "A".repeat(43) + "=");
    let home = Home::new(&sealed);
    let receiver = Receiver::start_failing_first(StatusCode::SERVICE_UNAVAILABLE).await;
    let client = Client::new();
    let process = home.start();
    let mut request = callback(&receiver.url());
    request["retry"] = json!({"schedule": ["0s", "3s", "1s"]});
    let registered = home.register(&client, &request).await;
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], ended("c1")).await.unwrap();
    receiver.wait_for(1).await;
    process.kill();

    // The key is forgotten: nothing is started, and what waits is not given up.
    home.configure(OPEN_DIALER);
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_ringback"))
        .args(["serve", "--config", home.path("ringback.toml").to_str().unwrap()])
        .output()
        .unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    let id = registered["id"].as_str().unwrap();
    assert!(message.contains(id) && message.contains("secrets.key"), "{message}");

    home.configure(&sealed);
    let process = home.start();
    let seen = receiver.wait_for(2).await;
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_token_is_shown_although_the_first_start_fails_and_is_good_at_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let serve = |address: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.args(["serve", "--listen", address]).current_dir(folder.path());
        command
    };
    let failed = serve(&address).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains(&format!("cannot listen on {address}")));
    let said = String::from_utf8(failed.stdout).unwrap();
    let token = said.split_whitespace().find(|word| word.starts_with("rbk_")).expect("the token").to_owned();

    drop(busy);
    let process = crate::support::Process::start(&["serve", "--listen", &address], folder.path());
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let url = format!("http://{address}/v1/callbacks");
    let (status, _) = Client::new().send("GET", &url, &headers, "").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    drop(process);
}

/// A process that makes its table of descriptors longer while it is at work stands still for that.
#[cfg(target_os = "linux")]
#[test]
fn there_is_room_for_connections_from_the_start() {
    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let number = |file: &str, line: &str| {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", process.id())).unwrap();
        let line = text.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    let allowed = number("limits", "Max open files");
    // Of those who post, of those who are sent to, and of those connections that are kept.
    let most = 4_096 + 512 + 512;
    let room = number("status", "FDSize:");
    assert!(room >= most.min(allowed), "{room}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count();
    assert!(open < 64, "{open} are open");
}
