//! `ringback demo`: the main job on real input, in one process.
//!
//! A Ringback with a temporary store, a receiver that verifies every signature and fails now and
//! then, callbacks registered over HTTP, and the providers' events posted over HTTP with real
//! signatures. Everything goes the way it goes in production; nothing is called from within.

mod receiver;
mod script;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::{Value, json};

use self::receiver::{Arrival, Receiver};
use self::script::{CALLBACKS, EVENTS, Signer};
use crate::assembly::{self, Running};
use crate::config::{Account, Settings, Source, StoreAddress, Token};
use crate::http::{Client, Listener};
use crate::shutdown::Shutdown;

/// How long everything may take. It takes about two seconds; a machine that is busy gets more.
const PATIENCE: Duration = Duration::from_mins(1);

/// Arguments of `ringback demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Go on serving afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the temporary folder cannot be made: {0}")]
    Folder(#[source] std::io::Error),
    #[error(transparent)]
    Start(#[from] assembly::StartError),
    #[error(transparent)]
    Listener(#[from] crate::http::ListenerError),
    #[error("{what} was answered with {status}: {answer}")]
    Answer { what: String, status: StatusCode, answer: String },
    #[error(transparent)]
    Client(#[from] crate::http::ClientError),
    #[error("signals cannot be listened to: {0}")]
    Signals(#[source] std::io::Error),
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] std::io::Error),
}

/// Runs the demo; 0 if every callback was delivered and verified.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Fault::Runtime);
    match runtime.and_then(|runtime| runtime.block_on(show(arguments, out))) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(fault) => {
            let _ = writeln!(err, "{fault}");
            1
        }
    }
}

/// A folder that goes away with the demo.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Fault> {
        let path = std::env::temp_dir().join(format!("ringback-demo-{}", crate::event::EventId::new()));
        std::fs::create_dir(&path).map_err(Fault::Folder)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn show(arguments: &Arguments, out: &mut dyn Write) -> Result<bool, Fault> {
    let started = Instant::now();
    let folder = Folder::make()?;
    let (receiver, mut arrivals) = Receiver::new();
    let shutdown =
        if arguments.keep { Shutdown::on_signal().map_err(Fault::Signals)? } else { Shutdown::new() };
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await?;
    let receiver_url = format!("http://{}", listener.address());
    tokio::spawn(listener.serve(Arc::clone(&receiver), None, std::future::pending(), Duration::ZERO));

    let token = Token::generate();
    let running = assembly::start(&settings(&folder, &token), &shutdown).await?;
    let demo = Demo { running, token, client: Client::new(), receiver_url };
    writeln!(out, "Ringback at {}, receiver at {}", demo.url(""), demo.receiver_url)?;

    writeln!(out, "\nCallbacks")?;
    let mut expected = 0;
    for callback in CALLBACKS {
        let secret = demo.register(callback).await?;
        receiver.expect(callback.name, &secret);
        writeln!(
            out,
            "  {:<10} {:<34} on {}",
            callback.name,
            callback.template_name,
            callback.events.join(", ")
        )?;
    }

    writeln!(out, "\nEvents")?;
    for event in EVENTS {
        demo.post(event, out).await?;
        expected += CALLBACKS.iter().map(|callback| callback.wants(event)).sum::<usize>();
    }

    writeln!(out, "\nDeliveries, {expected} expected")?;
    let mut tally = Tally::default();
    let end = tokio::time::Instant::now() + PATIENCE;
    while tally.delivered < expected {
        match tokio::time::timeout_at(end, arrivals.recv()).await {
            Ok(Some(arrival)) => tally.show(&arrival, expected, out)?,
            Ok(None) | Err(_) => break,
        }
    }
    // The last answer is on its way to the log of attempts.
    let settled = demo.settled(expected, end).await?;
    tally.close(settled, expected, started.elapsed(), out)?;

    let good = settled == expected && tally.delivered == expected && tally.refused == 0;
    if arguments.keep {
        writeln!(
            out,
            "\nStill serving at {} with the token {} (Ctrl-C ends it).",
            demo.url(""),
            demo.token.expose()
        )?;
        out.flush()?;
    } else {
        shutdown.request();
    }
    Ok(demo.running.finished().await && good)
}

fn settings(folder: &Folder, token: &Token) -> Settings {
    let account: crate::event::AccountName = "demo".into();
    let source = |signer: Signer| Source {
        name: signer.source().into(),
        account: Arc::clone(&account),
        provider: signer.provider(),
        verify: signer.verifier(),
        rate_limit: None,
        call_space: Source::CALL_SPACE.into(),
        api: None,
        url_secret: None,
        map: None,
    };
    let mut settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        store: StoreAddress::Embedded(folder.0.join("ringback.db")),
        accounts: vec![Account {
            name: Arc::clone(&account),
            callbacks: Account::CALLBACKS,
            requests: None,
            stored: None,
        }],
        sources: Signer::ALL.map(source).to_vec(),
        trying_out: false,
        ..Settings::for_trying_out()
    };
    settings.tokens.add(token.sha256(), &account, Some("demo"));
    settings
}

/// What runs while the demo is shown.
struct Demo {
    running: Running,
    token: Token,
    client: Client,
    receiver_url: String,
}

impl Demo {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    async fn call(&self, method: &str, path: &str, body: String) -> Result<(StatusCode, Value), Fault> {
        let authorization = format!("Bearer {}", self.token.expose());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let (status, answer) = self.client.send(method, &self.url(path), &headers, body).await?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or_default()))
    }

    /// Registers a callback; its secret.
    async fn register(&self, callback: &script::Callback) -> Result<String, Fault> {
        let request = json!({
            "callback_url": format!("{}/{}", self.receiver_url, callback.name),
            "callback_method": callback.method,
            "callback_data": callback.template,
            "events": callback.events,
            "retry": {"schedule": ["0s", "200ms", "400ms", "800ms", "2s"]},
            "description": callback.name,
        });
        let (status, answer) = self.call("POST", "/v1/callbacks", request.to_string()).await?;
        if status != StatusCode::CREATED {
            let what = format!("the registration of `{}`", callback.name);
            return Err(Fault::Answer { what, status, answer: answer.to_string() });
        }
        Ok(answer["secret"].as_str().unwrap_or_default().to_owned())
    }

    /// Posts an event as its provider does, and once more, as providers also do.
    async fn post(&self, event: &script::Event, out: &mut dyn Write) -> Result<(), Fault> {
        let signer = event.signer;
        let path = format!("/v1/ingest/{}", signer.source());
        let headers = signer.sign(event);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut first = None;
        for round in 1..=if event.repeated { 2 } else { 1 } {
            let (status, answer) = self.client.send("POST", &self.url(&path), &headers, event.body).await?;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let duplicate = answer["duplicate"] == json!(true);
            let id = answer["event_id"].as_str().unwrap_or_default().to_owned();
            let right = status == StatusCode::OK
                && duplicate == (round == 2)
                && first.as_ref().is_none_or(|first| *first == id);
            if !right {
                let what = format!("the event `{}`", event.name);
                return Err(Fault::Answer { what, status, answer: answer.to_string() });
            }
            let note = if duplicate { "known already, delivered to nobody again" } else { "durable" };
            writeln!(out, "  {:<10} {:<34} {} {id}  {note}", signer.source(), event.name, status.as_u16())?;
            first = Some(id);
        }
        Ok(())
    }

    /// How many deliveries the API shows as delivered, once that is as many as expected or the
    /// time is up.
    async fn settled(&self, expected: usize, end: tokio::time::Instant) -> Result<usize, Fault> {
        loop {
            let (_, answer) =
                self.call("GET", "/v1/deliveries?state=delivered&limit=250", String::new()).await?;
            let count = answer["data"].as_array().map_or(0, Vec::len);
            if count >= expected || tokio::time::Instant::now() >= end {
                return Ok(count);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What has arrived so far.
#[derive(Default)]
struct Tally {
    attempts: usize,
    delivered: usize,
    verified: usize,
    turned_away: usize,
    refused: usize,
    by_callback: std::collections::BTreeMap<&'static str, (usize, usize)>,
}

impl Tally {
    fn show(&mut self, arrival: &Arrival, expected: usize, out: &mut dyn Write) -> std::io::Result<()> {
        self.attempts += 1;
        let counts = self.by_callback.entry(arrival.callback).or_default();
        counts.0 += 1;
        match &arrival.verdict {
            Err(reason) => {
                self.refused += 1;
                writeln!(out, "\n  {:<10} SIGNATURE REFUSED: {reason}", arrival.callback)
            }
            Ok(()) if arrival.turned_away => {
                self.verified += 1;
                self.turned_away += 1;
                writeln!(
                    out,
                    "\n  {:<10} attempt {} of {} answered with 503, to be repeated",
                    arrival.callback, arrival.attempt, arrival.delivery
                )
            }
            Ok(()) => {
                self.verified += 1;
                self.delivered += 1;
                counts.1 += 1;
                writeln!(
                    out,
                    "\n  {:<10} {} of {expected}: {} {}, attempt {}, signature verified",
                    arrival.callback, self.delivered, arrival.method, arrival.delivery, arrival.attempt
                )?;
                for line in arrival.body.lines() {
                    writeln!(out, "    {line}")?;
                }
                Ok(())
            }
        }
    }

    fn close(
        &self,
        settled: usize,
        expected: usize,
        took: Duration,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        writeln!(out, "\n  {:<10} {:>9} {:>10}", "callback", "attempts", "delivered")?;
        for (callback, (attempts, delivered)) in &self.by_callback {
            writeln!(out, "  {callback:<10} {attempts:>9} {delivered:>10}")?;
        }
        writeln!(out, "  {:<10} {:>9} {:>10}", "all", self.attempts, self.delivered)?;
        writeln!(
            out,
            "\n{settled} of {expected} delivered, {} of {} signatures verified, {} attempts repeated, in {:.1} s",
            self.verified,
            self.attempts,
            self.turned_away,
            took.as_secs_f64(),
        )
    }
}
