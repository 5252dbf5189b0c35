//! The receivers that the page prints, in Python and JavaScript, with real callbacks.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::json;

use super::page::blocks;
use crate::support::{Home, OPEN_DIALER, Receiver};

const PAGE: &str = include_str!("../../src/docs/receivers.md");
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Where `tests/run` puts the libraries of other languages.
fn interop() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop");
    assert!(folder.exists(), "{} is missing: `tests/run` makes it", folder.display());
    folder
}

/// A running receiver.
struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Program {
    /// Starts a page's receiver in its language, and waits until it listens.
    fn start(command: &mut Command, folder: &Path) -> Self {
        command.current_dir(folder).env("WEBHOOK_SECRET", SECRET).env("PORT", "0");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the receiver listens").unwrap();
        let port = first.strip_prefix("listening on ").unwrap();
        let url = format!("http://127.0.0.1:{port}/hook");
        Self { child, lines, url }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Real deliveries are received, once each; what is altered is not.
async fn the_printed_receiver_works(language: &str, file: &str, command: &mut Command) {
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks(PAGE);
    let block = blocks.iter().find(|block| block.language == language).expect("the page has a receiver");
    std::fs::write(folder.path().join(file), block.text).unwrap();
    // Node looks for libraries beside the file.
    std::os::unix::fs::symlink(interop().join("node_modules"), folder.path().join("node_modules")).unwrap();
    let mut program = Program::start(command.arg(file), folder.path());

    let home = Home::new(OPEN_DIALER);
    let process = home.start();
    let client = Client::new();
    let ours = Receiver::start(|_, _| StatusCode::OK).await;
    let callback = |url: &str, template: &str| {
        json!({"callback_url": url, "callback_method": "POST", "callback_data": template,
               "events": ["call.ended"], "secret": SECRET})
    };
    home.register(&client, &callback(&program.url, "{\"call\": {call_id}}")).await;
    home.register(&client, &callback(&ours.url(), "{\"copied\": {call_id}}")).await;
    let event = json!({"call_id": "c-1", "end_at": "2026-03-30 14:27:12"}).to_string();
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    let line = program.next();
    assert!(line.starts_with("received ") && line.contains("c-1") && line.contains("call"), "{line}");

    // One that we got is sent on: it is known the second time, and refused where it was altered.
    let copied = ours.wait_for(1).await.remove(0);
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = names.map(|name| (name, copied.header(name)));
    for body in [copied.body.clone(), copied.body.clone()] {
        let (status, answer) = client.send("POST", &program.url, &headers, body).await.unwrap();
        assert_eq!((status, answer.len()), (StatusCode::NO_CONTENT, 0));
    }
    let altered = String::from_utf8_lossy(&copied.body).replace("c-1", "c-2");
    let (status, answer) = client.send("POST", &program.url, &headers, altered).await.unwrap();
    assert_eq!((status, &*answer), (StatusCode::UNAUTHORIZED, &b"No matching signature found"[..]));
    let next = json!({"call_id": "c-3", "end_at": "2026-03-30 14:27:12"}).to_string();
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], next).await.unwrap();
    let lines = [program.next(), program.next()];
    assert!(lines[0].contains("copied") && lines[0].contains("c-1"), "{lines:?}");
    assert!(lines[1].contains("call") && lines[1].contains("c-3"), "{lines:?}");
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_python() {
    let mut python = Command::new(interop().join("bin/python"));
    the_printed_receiver_works("python", "receiver.py", &mut python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_javascript() {
    the_printed_receiver_works("js", "receiver.mjs", &mut Command::new("node")).await;
}
