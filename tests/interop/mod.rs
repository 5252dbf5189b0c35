//! Ringback against the Standard Webhooks library of another language: an event signed by it is
//! accepted, a bad one is not, and it verifies our callbacks.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ringback::http::Client;
use serde_json::json;

use crate::support::{Home, LOOPBACK};

const SOURCE_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CALLBACK_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The script, run by the Python that `tests/run` has put the library into.
fn python() -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/interop/bin/python");
    assert!(python.exists(), "{} is missing: `tests/run` installs it", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/interop/standard_webhooks.py"));
    command
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_library_signs_for_us_and_verifies_us() {
    let home = Home::new(&format!(
        r#"
[[source]]
name = "dialer"
account = "acme"
provider = "commpeak"
verify = {{ scheme = "standard-webhooks", secret = "{SOURCE_SECRET}" }}

{LOOPBACK}"#
    ));
    let process = home.start();

    let receiver = python().args(["receive", CALLBACK_SECRET]).stdout(Stdio::piped()).spawn().unwrap();
    let mut receiver = Stopped(receiver);
    let mut lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let client = Client::new();
    home.register(
        &client,
        &json!({
            "callback_url": format!("http://127.0.0.1:{port}/hook"),
            "callback_method": "PUT",
            "callback_data": "{\"call\": {call_id}, \"name\": \"{first_name}\"}",
            "events": ["call.ended"],
            "secret": CALLBACK_SECRET,
        }),
    )
    .await;

    let event = home.path("event.json");
    let body = json!({"call_id": "c-1", "end_at": "2026-03-30 14:27:12", "first_name": "Zoë \u{1f4de}"});
    std::fs::write(&event, body.to_string()).unwrap();
    let sent = python()
        .args(["send", &home.url("/v1/ingest/dialer"), SOURCE_SECRET, event.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let sent = String::from_utf8(sent.stdout).unwrap();
    let statuses: HashMap<&str, &str> = sent.lines().filter_map(|line| line.split_once(": ")).collect();
    for accepted in ["good", "repeated", "nearly stale"] {
        assert_eq!(statuses.get(accepted), Some(&"200"), "{accepted}\n{}", process.log());
    }
    let refused = [
        "stale",
        "from the future",
        "forged",
        "altered",
        "another id",
        "no signature",
        "no timestamp",
        "no id",
    ];
    for refused in refused {
        assert_eq!(statuses.get(refused), Some(&"401"), "{refused}");
    }
    assert_eq!(statuses.len(), 3 + refused.len());

    // "good" and "nearly stale" are two events, "repeated" is none.
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        let (id, verdict) = line.split_once(' ').unwrap();
        assert!(id.starts_with("dl_"));
        assert_eq!(verdict, "verified");
    }
}
