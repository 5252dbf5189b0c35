//! `ringback demo`: the main job on real input, in one process.
//!
//! A Ringback with a temporary store, a receiver that verifies every signature and fails now and
//! then, callbacks registered over HTTP, calls transcribed at a speech request, and the providers'
//! events posted over HTTP with real signatures. The providers that are asked have stand-ins.
//! Everything goes the way it goes in production; nothing is called from within.

mod providers;
mod receiver;
mod script;
mod tally;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::{Value, json};

use self::providers::Providers;
use self::receiver::Receiver;
use self::script::{CALLBACKS, EVENTS, Party, REQUESTS};
use self::tally::Tally;
use crate::assembly::{self, Running};
use crate::config::{Account, Settings, Source, StoreAddress, Token};
use crate::http::{Client, Listener};
use crate::shutdown::Shutdown;

/// How long everything may take. It takes about six seconds, since `AloVoice` is asked after two and
/// again after three more; a machine that is busy gets more.
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
    #[error("the providers' stand-ins cannot be started: {0}")]
    StandIns(#[source] std::io::Error),
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

    let providers = Arc::new(Providers::start().await.map_err(Fault::StandIns)?);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await?;
    let token = Token::generate();
    let settings = settings(&folder, &token, &providers, &listener);
    let running = assembly::start_on(listener, &settings, &shutdown).await?;
    let mut demo = Demo { running, token, client: Client::new(), receiver_url, tally: Tally::default() };
    writeln!(out, "Ringback at {}, receiver at {}", demo.url(""), demo.receiver_url)?;

    writeln!(out, "\nCallbacks")?;
    for callback in CALLBACKS {
        let secret = demo.register(callback).await?;
        receiver.expect(callback.name, &secret, true);
        writeln!(
            out,
            "  {:<11} {:<23} {}",
            callback.name,
            callback.template_name,
            callback.events.join(", ")
        )?;
    }

    writeln!(out, "\nCalls that are transcribed on request")?;
    for request in REQUESTS {
        demo.post(&request.event, out).await?;
        let (id, secret) = demo.ask_for_speech(request).await?;
        receiver.expect(request.name, &secret, false);
        let (by, template) = (request.by.source(), request.template_name);
        writeln!(out, "  {:<11} {template:<23} 201  call {id} goes to {by}", request.name)?;
    }
    // From here on the receiver knows the secrets of all that can arrive.
    let (symbl, client) = (Arc::clone(&providers), demo.client.clone());
    let symbl = tokio::spawn(async move { symbl.transcribe(&client).await });

    writeln!(out, "\nEvents")?;
    for event in EVENTS {
        demo.post(event, out).await?;
    }

    let wanted = |event| CALLBACKS.iter().map(|callback| callback.wants(event)).sum::<usize>();
    let told = EVENTS.iter().chain(REQUESTS.iter().map(|request| &request.event));
    let expected = told.map(wanted).sum::<usize>() + REQUESTS.len();
    writeln!(out, "\nDeliveries, {expected} expected")?;
    let end = tokio::time::Instant::now() + PATIENCE;
    while demo.tally.delivered() < expected {
        match tokio::time::timeout_at(end, arrivals.recv()).await {
            Ok(Some(arrival)) => demo.tally.show(&arrival, expected, out)?,
            Ok(None) | Err(_) => break,
        }
    }
    // The last answer is on its way to the log of attempts.
    let settled = demo.settled(expected, end).await?;
    while let Ok(arrival) = arrivals.try_recv() {
        demo.tally.show(&arrival, expected, out)?;
    }
    match tokio::time::timeout_at(end, symbl).await {
        Ok(Ok(told)) => demo.tally.add_posts(Party::Symbl, told?),
        Ok(Err(_)) | Err(_) => writeln!(out, "\n  symbl       did not say that it was done")?,
    }
    demo.tally.close(&providers, settled, expected, started.elapsed(), out)?;

    let good = settled == expected && demo.tally.is_clean(expected);
    if arguments.keep {
        writeln!(
            out,
            "\nStill serving at {url} with the token {token} (Ctrl-C ends it).\n\
             The console: {url}/#token={token}",
            url = demo.url(""),
            token = demo.token.expose()
        )?;
        out.flush()?;
    } else {
        shutdown.request();
    }
    Ok(demo.running.finished().await && good)
}

fn settings(folder: &Folder, token: &Token, providers: &Providers, listener: &Listener) -> Settings {
    let account: crate::event::AccountName = "demo".into();
    let source = |party: Party| Source {
        name: party.source().into(),
        account: Arc::clone(&account),
        provider: party.provider(),
        verify: party.verifier(),
        rate_limit: None,
        call_space: party.call_space().into(),
        api: providers.api(party),
        url_secret: party.url_secret(),
        map: None,
    };
    let mut settings = Settings {
        public_url: Some(format!("http://{}", listener.address())),
        store: StoreAddress::Embedded(folder.0.join("ringback.db")),
        accounts: vec![Account {
            name: Arc::clone(&account),
            callbacks: Account::CALLBACKS,
            requests: None,
            stored: None,
        }],
        sources: Party::ALL.map(source).to_vec(),
        // AloVoice transcribes the calls that it has itself, Symbl all whose recording is known.
        speech_providers: [Party::AloVoice, Party::Symbl].map(|party| party.source().into()).to_vec(),
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
    tally: Tally,
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
            "sources": [callback.of.source()],
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

    /// Asks for the speech of the call that is the newest; the call's id and the callback's secret.
    async fn ask_for_speech(&self, request: &script::Request) -> Result<(String, String), Fault> {
        let asked = json!({
            "callback_url": format!("{}/{}", self.receiver_url, request.name),
            "callback_method": "POST",
            "callback_data": request.template,
            "limit": 1,
        });
        let (status, answer) = self.call("POST", "/v1/speech-requests", asked.to_string()).await?;
        let call = answer["callIds"].as_object().and_then(|calls| calls.iter().next());
        match call {
            Some((id, call)) if status == StatusCode::CREATED && call["state"] == "submitted" => {
                Ok((id.clone(), answer["secret"].as_str().unwrap_or_default().to_owned()))
            }
            _ => {
                let what = format!("the speech request `{}`", request.name);
                Err(Fault::Answer { what, status, answer: answer.to_string() })
            }
        }
    }

    /// Posts an event as its provider does, and once more, as providers also do.
    async fn post(&mut self, event: &script::Event, out: &mut dyn Write) -> Result<(), Fault> {
        let party = event.party;
        let path = format!("/v1/ingest/{}", party.source());
        let headers = party.sign(event);
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
            let note = if duplicate { "known already, not delivered again" } else { "durable" };
            writeln!(out, "  {:<11} {:<23} {}  {note}", party.source(), event.name, status.as_u16())?;
            self.tally.add_posts(party, 1);
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
