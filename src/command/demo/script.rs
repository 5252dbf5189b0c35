//! What the demo plays: the callbacks that are registered, the events that are posted, and the calls
//! that are transcribed on request.

use jiff::Timestamp;

use crate::config::Source;
use crate::event::EventId;
use crate::signature::{
    Algorithm, HmacScheme, HmacSettings, Layout, Secret, SenderKey, SigningSecret, StandardWebhooks,
    UrlSecret, Verifier, Window, encoding, sign,
};

/// A callback to register.
pub(super) struct Callback {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) template_name: &'static str,
    pub(super) template: &'static str,
    pub(super) events: &'static [&'static str],
    /// Whose events it wants.
    pub(super) of: Party,
}

impl Callback {
    /// How many of an event's types the callback wants: it gets a delivery for each.
    pub(super) fn wants(&self, event: &Event) -> usize {
        let wanted = |event_type: &String| self.events.contains(&event_type.as_str());
        if self.of == event.party { event.types().iter().filter(|it| wanted(it)).count() } else { 0 }
    }
}

macro_rules! template {
    ($file:literal) => {
        ($file, include_str!(concat!("../../../templates/", $file)))
    };
}

const fn callback(
    name: &'static str,
    method: &'static str,
    (template_name, template): (&'static str, &'static str),
    events: &'static [&'static str],
    of: Party,
) -> Callback {
    Callback { name, method, template_name, template, events, of }
}

pub(super) const CALLBACKS: &[Callback] = &[
    callback("crm", "POST", template!("all-names.json"), &["speech.completed"], Party::Speko),
    callback(
        "team-chat",
        "POST",
        template!("slack.json"),
        &["speech.completed", "call.recording_ready"],
        Party::Speko,
    ),
    callback(
        "events",
        "PUT",
        template!("standard-webhooks.json"),
        &["call.started", "call.ended"],
        Party::Dialer,
    ),
    callback("sheet", "POST", template!("google-sheets.json"), &["speech.completed"], Party::Dialer),
    callback("survey", "POST", template!("zapier.json"), &["survey.completed"], Party::Auralytik),
];

/// An event to post.
pub(super) struct Event {
    pub(super) party: Party,
    pub(super) name: &'static str,
    pub(super) body: &'static str,
    /// What it means, as the fixture's expectation says.
    expected: &'static str,
    /// What it means when what it only announces was asked for.
    asked_for: &'static [&'static str],
    /// Whether the provider posts it twice.
    pub(super) repeated: bool,
}

impl Event {
    /// The event types that it means.
    fn types(&self) -> Vec<String> {
        let expected: serde_json::Value =
            serde_json::from_str(self.expected).expect("an expectation is JSON");
        let types = expected["types"].as_array().into_iter().flatten();
        let told = types.filter_map(|event_type| event_type.as_str());
        told.chain(self.asked_for.iter().copied()).map(str::to_owned).collect()
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
    party: Party,
    (name, body, expected): (&'static str, &'static str, &'static str),
    repeated: bool,
) -> Event {
    Event { party, name, body, expected, asked_for: &[], repeated }
}

/// One call from beginning to end, told by the dialer and by the speech provider, and others. What
/// Speko and Auralytik only announce is asked for.
pub(super) const EVENTS: &[Event] = &[
    event(Party::Dialer, fixture!("commpeak", "story-1-call-started"), false),
    event(Party::Dialer, fixture!("commpeak", "story-2-call-ended"), true),
    event(Party::Speko, fixture!("speko", "story-3-call-status"), false),
    event(Party::Speko, fixture!("speko", "call-report-announced"), true),
    event(Party::Speko, fixture!("speko", "story-5-call-recording"), false),
    event(Party::Dialer, fixture!("commpeak", "edge-transcript"), false),
    Event {
        asked_for: &["survey.completed"],
        ..event(Party::Auralytik, fixture!("auralytik", "voice-call-announced"), false)
    },
];

/// A call that is transcribed on request: the dialer's event brings call, campaign and lead.
pub(super) struct Request {
    pub(super) name: &'static str,
    /// What tells of the call.
    pub(super) event: Event,
    /// Who transcribes it.
    pub(super) by: Party,
    pub(super) template_name: &'static str,
    pub(super) template: &'static str,
}

const fn request(
    name: &'static str,
    event: Event,
    by: Party,
    (template_name, template): (&'static str, &'static str),
) -> Request {
    Request { name, event, by, template_name, template }
}

pub(super) const REQUESTS: &[Request] = &[
    request(
        "by-symbl",
        event(Party::Dialer, fixture!("commpeak", "call-recorded"), false),
        Party::Symbl,
        template!("zapier.json"),
    ),
    request(
        "by-alovoice",
        event(Party::Branch, fixture!("commpeak", "call-of-a-branch"), false),
        Party::AloVoice,
        template!("google-sheets.json"),
    ),
];

/// Who takes part: each has a source, a scheme and a secret of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// A dialer that signs the body with HMAC-SHA256.
    Dialer,
    /// The dialer of a branch, whose exchange is `AloVoice`'s.
    Branch,
    /// Symbl, which shows a secret in the URL.
    Symbl,
    /// `AloVoice`, which posts nothing and is asked.
    AloVoice,
    /// Speko, which signs as Standard Webhooks do.
    Speko,
    /// Auralytik, whose scheme is configured.
    Auralytik,
}

/// The header that dialers and Auralytik sign in.
const SIGNATURE_HEADER: &str = "x-signature";
const SIGNATURE_PREFIX: &str = "sha256=";
/// Secrets of a server that lives for seconds on loopback.
const HMAC_SECRETS: [&str; 3] = ["the dialer's secret", "the branch's secret", "Auralytik's secret"];
const URL_SECRET: &str = "the-secret-of-symbl-s-url";
const SPEKO_SECRET: &str = "whsec_VGhlIHNlY3JldCB0aGF0IFNwZWtvIHdhcyBnaXZlbg==";

impl Party {
    pub(super) const ALL: [Self; 6] =
        [Self::Dialer, Self::Branch, Self::Symbl, Self::AloVoice, Self::Speko, Self::Auralytik];

    /// The name of its source.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Dialer => "dialer",
            Self::Branch => "branch",
            Self::Symbl => "symbl",
            Self::AloVoice => "alovoice",
            Self::Speko => "speko",
            Self::Auralytik => "auralytik",
        }
    }

    pub(super) const fn provider(self) -> &'static str {
        match self {
            Self::Dialer | Self::Branch => "commpeak",
            Self::Symbl | Self::AloVoice | Self::Speko | Self::Auralytik => self.source(),
        }
    }

    /// Whose calls it speaks of: the branch's exchange numbers its own.
    pub(super) const fn call_space(self) -> &'static str {
        match self {
            Self::Branch | Self::AloVoice => "branch",
            Self::Dialer | Self::Symbl | Self::Speko | Self::Auralytik => Source::CALL_SPACE,
        }
    }

    /// The secret that its URL ends with, if it does.
    pub(super) fn url_secret(self) -> Option<Secret> {
        matches!(self, Self::Symbl | Self::AloVoice).then(|| Secret::from_bytes(URL_SECRET))
    }

    const fn hmac_secret(self) -> Option<&'static str> {
        match self {
            Self::Dialer => Some(HMAC_SECRETS[0]),
            Self::Branch => Some(HMAC_SECRETS[1]),
            Self::Auralytik => Some(HMAC_SECRETS[2]),
            Self::Symbl | Self::AloVoice | Self::Speko => None,
        }
    }

    /// How its source verifies it.
    pub(super) fn verifier(self) -> Verifier {
        if let Some(secret) = self.hmac_secret() {
            let settings = HmacSettings {
                layout: Layout::Prefixed(SIGNATURE_PREFIX.to_owned()),
                ..HmacSettings::new(SIGNATURE_HEADER, vec![Secret::from_bytes(secret)])
            };
            return Verifier::Hmac(
                HmacScheme::new(settings).expect("a header and a secret are all it needs"),
            );
        }
        if let Some(secret) = self.url_secret() {
            return Verifier::UrlSecret(UrlSecret::new(None, vec![secret]));
        }
        let key = SenderKey::parse(SPEKO_SECRET).expect("the demo's secret is one");
        Verifier::StandardWebhooks(StandardWebhooks::new([key], Window::default()))
    }

    /// The headers of an event that it posts.
    pub(super) fn sign(self, event: &Event) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let Some(secret) = self.hmac_secret() {
            let tag = Algorithm::Sha256.tag(&Secret::from_bytes(secret), &[event.body.as_bytes()]);
            headers.push((SIGNATURE_HEADER, format!("{SIGNATURE_PREFIX}{}", encoding::write_hex(&tag))));
        } else if self == Self::Speko {
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
        headers
    }
}
