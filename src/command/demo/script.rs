//! What the demo plays: the callbacks that are registered and the events that are posted.

use jiff::Timestamp;

use crate::event::EventId;
use crate::signature::{
    Algorithm, HmacScheme, HmacSettings, Layout, Secret, SenderKey, SigningSecret, StandardWebhooks,
    Verifier, Window, encoding, sign,
};

/// A callback to register.
pub(super) struct Callback {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) template_name: &'static str,
    pub(super) template: &'static str,
    pub(super) events: &'static [&'static str],
}

impl Callback {
    /// How many of an event's types the callback wants: it gets a delivery for each.
    pub(super) fn wants(&self, event: &Event) -> usize {
        event.types().iter().filter(|event_type| self.events.contains(&event_type.as_str())).count()
    }
}

macro_rules! template {
    ($file:literal) => {
        (concat!("templates/", $file), include_str!(concat!("../../../templates/", $file)))
    };
}

const fn callback(
    name: &'static str,
    method: &'static str,
    (template_name, template): (&'static str, &'static str),
    events: &'static [&'static str],
) -> Callback {
    Callback { name, method, template_name, template, events }
}

pub(super) const CALLBACKS: &[Callback] = &[
    callback("crm", "POST", template!("all-names.json"), &["speech.completed"]),
    callback("team-chat", "POST", template!("slack.json"), &["speech.completed", "call.recording_ready"]),
    callback("events", "PUT", template!("standard-webhooks.json"), &["call.started", "call.ended"]),
    callback("leads", "POST", template!("hubspot.json"), &["call.ended"]),
];

/// An event to post.
pub(super) struct Event {
    pub(super) signer: Signer,
    pub(super) name: &'static str,
    pub(super) body: &'static str,
    /// What it means, as the fixture's expectation says.
    expected: &'static str,
    /// Whether the provider posts it twice.
    pub(super) repeated: bool,
}

impl Event {
    /// The event types that it means.
    fn types(&self) -> Vec<String> {
        let expected: serde_json::Value =
            serde_json::from_str(self.expected).expect("an expectation is JSON");
        let types = expected["types"].as_array().into_iter().flatten();
        types.filter_map(|event_type| event_type.as_str().map(str::to_owned)).collect()
    }
}

macro_rules! fixture {
    ($folder:literal, $name:literal) => {
        (
            $name,
            include_str!(concat!("../../../fixtures/", $folder, "/", $name, ".request.json")),
            include_str!(concat!("../../../fixtures/", $folder, "/", $name, ".expected.json")),
        )
    };
}

const fn event(
    signer: Signer,
    (name, body, expected): (&'static str, &'static str, &'static str),
    repeated: bool,
) -> Event {
    Event { signer, name, body, expected, repeated }
}

/// One call from beginning to end, told by the dialer and by the speech provider, and a few others.
pub(super) const EVENTS: &[Event] = &[
    event(Signer::Dialer, fixture!("commpeak", "story-1-call-started"), false),
    event(Signer::Dialer, fixture!("commpeak", "story-2-call-ended"), true),
    event(Signer::Speko, fixture!("speko", "story-3-call-status"), false),
    event(Signer::Speko, fixture!("speko", "story-4-call-report"), true),
    event(Signer::Speko, fixture!("speko", "story-5-call-recording"), false),
    event(Signer::Dialer, fixture!("commpeak", "all-40-names"), false),
    event(Signer::Dialer, fixture!("commpeak", "edge-transcript"), false),
    event(Signer::Dialer, fixture!("commpeak", "pbx-call-end-raw"), false),
    event(Signer::Speko, fixture!("speko", "call-status-failed"), false),
];

/// Who signs: each provider in the demo has a source, a scheme and a secret of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    /// A dialer that signs the body with HMAC-SHA256.
    Dialer,
    /// Speko, which signs as Standard Webhooks do.
    Speko,
}

/// The header that the dialer signs in.
const DIALER_HEADER: &str = "x-dialer-signature";
const DIALER_PREFIX: &str = "sha256=";
/// Secrets of a server that lives for seconds on loopback.
const DIALER_SECRET: &str = "the secret that the demo's dialer was given";
const SPEKO_SECRET: &str = "whsec_VGhlIHNlY3JldCB0aGF0IFNwZWtvIHdhcyBnaXZlbg==";

impl Signer {
    pub(super) const ALL: [Self; 2] = [Self::Dialer, Self::Speko];

    /// The name of its source.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Dialer => "dialer",
            Self::Speko => "speko",
        }
    }

    pub(super) const fn provider(self) -> &'static str {
        match self {
            Self::Dialer => "commpeak",
            Self::Speko => "speko",
        }
    }

    /// How its source verifies it.
    pub(super) fn verifier(self) -> Verifier {
        match self {
            Self::Dialer => {
                let settings = HmacSettings {
                    layout: Layout::Prefixed(DIALER_PREFIX.to_owned()),
                    ..HmacSettings::new(DIALER_HEADER, vec![Secret::from_bytes(DIALER_SECRET)])
                };
                Verifier::Hmac(HmacScheme::new(settings).expect("a header and a secret are all it needs"))
            }
            Self::Speko => {
                let key = SenderKey::parse(SPEKO_SECRET).expect("the demo's secret is one");
                Verifier::StandardWebhooks(StandardWebhooks::new([key], Window::default()))
            }
        }
    }

    /// The headers of a request that it signs.
    pub(super) fn sign(self, event: &Event) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        match self {
            Self::Dialer => {
                let secret = Secret::from_bytes(DIALER_SECRET);
                let tag = Algorithm::Sha256.tag(&secret, &[event.body.as_bytes()]);
                headers.push((DIALER_HEADER, format!("{DIALER_PREFIX}{}", encoding::write_hex(&tag))));
            }
            Self::Speko => {
                let secret = SigningSecret::parse(SPEKO_SECRET).expect("the demo's secret is one");
                let id = format!("msg_{}", EventId::new());
                let now = Timestamp::now().as_second();
                let signature = sign(&[secret], &id, now, event.body.as_bytes());
                headers.extend([
                    ("webhook-id", id),
                    ("webhook-timestamp", now.to_string()),
                    ("webhook-signature", signature),
                ]);
            }
        }
        headers
    }
}
