//! The providers that the demo's Ringback asks: stand-ins in the demo's own process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Fault;
use super::script::Party;
use crate::config::ProviderApi;
use crate::http::Client;
use crate::provider::Credentials;
use crate::signature::Secret;
use crate::stand_in::{AloVoice, Asked, Auralytik, Speko, StandIn, Symbl};

/// Secrets of servers that live for seconds on loopback.
const TOKEN: &str = "the-token-that-the-demo-was-given";

/// How long Symbl takes for a recording. It then says so; it would also be asked.
const SYMBL_TAKES: Duration = Duration::from_millis(600);

/// Where Symbl takes recordings.
const SUBMISSION: (&str, &str) = ("POST", "/v1/process/audio/url");

macro_rules! fixture {
    ($file:literal) => {
        include_str!(concat!("../../../fixtures/", $file))
    };
}

/// The servers.
pub(super) struct Providers {
    symbl: StandIn,
    alovoice: StandIn,
    speko: StandIn,
    auralytik: StandIn,
    /// Whether Symbl has transcribed what it was sent.
    is_done: Arc<AtomicBool>,
}

fn read(fixture: &str) -> Value {
    serde_json::from_str(fixture).expect("a fixture is JSON")
}

impl Providers {
    pub(super) async fn start() -> io::Result<Self> {
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let symbl = Symbl::new(read(fixture!("symbl/results-offer.results.json")));
        let symbl = StandIn::start(move |asked, before| {
            let is_done = done.load(Ordering::SeqCst);
            symbl.answer(asked, before, if is_done { "completed" } else { "in_progress" })
        });
        let alovoice = AloVoice::new(TOKEN, read(fixture!("alovoice/results.results.json")));
        // The first time that it is asked it is not done yet.
        let alovoice = StandIn::start(move |asked, before| {
            let polls = before.iter().filter(|asked| asked.path.starts_with("/callgetairesult/"));
            alovoice.answer(asked, polls.count() > 0)
        });
        let report = read(fixture!("speko/story-4-call-report.request.json"));
        let speko = Speko::new(TOKEN, json!({"8812345": {"report": report}}));
        let call = read(fixture!("auralytik/voice-call-completed.request.json"))["data"].take();
        let survey = call["epaResults"].clone();
        let calls = json!({"vc_abc123": {"call": call, "epaResults": survey}});
        let auralytik = Auralytik::new(TOKEN, calls);
        Ok(Self {
            symbl: symbl.await?,
            alovoice: alovoice.await?,
            speko: StandIn::start(move |asked, _| speko.answer(asked)).await?,
            auralytik: StandIn::start(move |asked, _| auralytik.answer(asked)).await?,
            is_done,
        })
    }

    fn of(&self, party: Party) -> Option<&StandIn> {
        match party {
            Party::Dialer | Party::Branch => None,
            Party::Symbl => Some(&self.symbl),
            Party::AloVoice => Some(&self.alovoice),
            Party::Speko => Some(&self.speko),
            Party::Auralytik => Some(&self.auralytik),
        }
    }

    /// How a party is asked, if it is.
    pub(super) fn api(&self, party: Party) -> Option<ProviderApi> {
        let secret = || Some(Secret::from_bytes(TOKEN));
        let credentials = match party {
            Party::Symbl => Credentials {
                app_id: Some("the-demo".to_owned()),
                app_secret: secret(),
                ..Credentials::default()
            },
            Party::Auralytik => {
                Credentials { key: secret(), signing_secret: secret(), ..Credentials::default() }
            }
            _ => Credentials { token: secret(), ..Credentials::default() },
        };
        let base_url = Some(self.of(party)?.url());
        Some(ProviderApi { base_url, credentials, ..ProviderApi::default() })
    }

    /// How often a party was asked, if it is.
    pub(super) fn asked(&self, party: Party) -> Option<usize> {
        Some(self.of(party)?.asked().len())
    }

    /// What Symbl does once it was sent a recording: it transcribes, and tells so where the
    /// submission says. How often it told.
    pub(super) async fn transcribe(&self, client: &Client) -> Result<usize, Fault> {
        let is_submission = |asked: &&Asked| asked.is(SUBMISSION.0, SUBMISSION.1);
        let asked = self.symbl.wait_until(|asked| asked.iter().any(|asked| is_submission(&asked))).await;
        let submission = asked.iter().find(is_submission).map(Asked::json);
        let Some(url) = submission.as_ref().and_then(|submission| submission["webhookUrl"].as_str()) else {
            return Ok(0);
        };
        let headers = [("content-type", "application/json")];
        let tell = async |status: &str| {
            let told = json!({"jobId": "job-1", "status": status}).to_string();
            let (status, answer) = client.send("POST", url, &headers, told).await?;
            if status == StatusCode::OK {
                return Ok(());
            }
            let answer = String::from_utf8_lossy(&answer).into_owned();
            Err(Fault::Answer { what: "Symbl's webhook".to_owned(), status, answer })
        };
        tokio::time::sleep(SYMBL_TAKES / 2).await;
        tell("in_progress").await?;
        tokio::time::sleep(SYMBL_TAKES / 2).await;
        self.is_done.store(true, Ordering::SeqCst);
        tell("completed").await?;
        Ok(2)
    }
}
