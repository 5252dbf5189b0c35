//! The generic HMAC scheme: which text is signed, where the signature stands and how it is
//! written are configured. The schemes of several providers are presets of it.

use std::str::FromStr as _;

use hyper::header::HeaderName;
use jiff::Timestamp;

use super::encoding::{read_base64, read_digits, read_hex};
use super::verifier::{SignedRequest, Window};
use super::{Algorithm, Refused, Secret};

/// The signatures of one request that are looked at: enough for every rotation, and a bound on
/// the work that an unverified request can cause.
const MAX_SIGNATURES: usize = 16;

/// From this number on, a time is in milliseconds: as seconds it would be in the year 5138.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `hex`, of either case.
    #[default]
    Hex,
    /// `base64`, of either alphabet, padded or not.
    Base64,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 2] = [Self::Hex, Self::Base64];

    /// Its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }

    /// The encoding of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.as_str() == name)
    }

    fn read(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => read_hex(text),
            Self::Base64 => read_base64(text),
        }
    }
}

/// What stands in the signature's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The signature behind this prefix, which may be empty. There may be several, separated by
    /// commas, each with the prefix.
    Prefixed(String),
    /// Pairs such as `t=1700000000,v1=5257…`: the names of the time's pair and of the
    /// signature's, of which there may be several.
    Pairs {
        /// The name before the time.
        timestamp: &'static str,
        /// The name before a signature.
        signature: &'static str,
    },
}

/// What an HMAC scheme is made of, not checked yet.
#[derive(Clone, Debug)]
pub struct HmacSettings {
    /// The hash function.
    pub algorithm: Algorithm,
    /// The header with the signature.
    pub header: String,
    /// What stands in that header.
    pub layout: Layout,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What is signed: text in which `{body}`, `{timestamp}`, `{id}`, `{method}` and `{url}`
    /// stand for those parts of the request, byte for byte.
    pub signed: String,
    /// The header with the time of signing, where the signature's own header has none.
    pub timestamp_header: Option<String>,
    /// The header with the message's id.
    pub id_header: Option<String>,
    /// The secrets; several while one replaces the other.
    pub secrets: Vec<Secret>,
    /// How far the time of signing may be from now.
    pub window: Window,
}

impl HmacSettings {
    /// HMAC-SHA256 of the body, in hexadecimal digits.
    #[must_use]
    pub fn new(header: &str, secrets: Vec<Secret>) -> Self {
        Self {
            algorithm: Algorithm::default(),
            header: header.to_owned(),
            layout: Layout::Prefixed(String::new()),
            encoding: Encoding::default(),
            signed: "{body}".to_owned(),
            timestamp_header: None,
            id_header: None,
            secrets,
            window: Window::default(),
        }
    }

    /// GitHub: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
    #[must_use]
    pub fn github(secrets: Vec<Secret>) -> Self {
        let layout = Layout::Prefixed("sha256=".to_owned());
        Self { layout, ..Self::new("x-hub-signature-256", secrets) }
    }

    /// Slack: <https://docs.slack.dev/authentication/verifying-requests-from-slack>.
    #[must_use]
    pub fn slack(secrets: Vec<Secret>) -> Self {
        Self {
            layout: Layout::Prefixed("v0=".to_owned()),
            signed: "v0:{timestamp}:{body}".to_owned(),
            timestamp_header: Some("x-slack-request-timestamp".to_owned()),
            ..Self::new("x-slack-signature", secrets)
        }
    }

    /// Stripe: <https://docs.stripe.com/webhooks#verify-manually>.
    #[must_use]
    pub fn stripe(secrets: Vec<Secret>) -> Self {
        Self {
            layout: Layout::Pairs { timestamp: "t", signature: "v1" },
            signed: "{timestamp}.{body}".to_owned(),
            ..Self::new("stripe-signature", secrets)
        }
    }

    /// `ElevenLabs`, which signs as Stripe does under other names:
    /// <https://elevenlabs.io/docs/product-guides/administration/webhooks>.
    #[must_use]
    pub fn elevenlabs(secrets: Vec<Secret>) -> Self {
        Self {
            layout: Layout::Pairs { timestamp: "t", signature: "v0" },
            header: "elevenlabs-signature".to_owned(),
            ..Self::stripe(secrets)
        }
    }

    /// Retell, whose time is in milliseconds and is signed behind the body:
    /// <https://docs.retellai.com/features/secure-webhook>.
    #[must_use]
    pub fn retell(secrets: Vec<Secret>) -> Self {
        Self {
            layout: Layout::Pairs { timestamp: "v", signature: "d" },
            signed: "{body}{timestamp}".to_owned(),
            ..Self::new("x-retell-signature", secrets)
        }
    }

    /// What the signature would leave open, and what it covers but cannot be found.
    fn holes(&self, signed: &[Part]) -> Vec<InvalidScheme> {
        let has_time = self.timestamp_header.is_some() || matches!(self.layout, Layout::Pairs { .. });
        let has_id = self.id_header.is_some();
        let holes = [
            (!signed.contains(&Part::Body), "signed", "without `{body}` anyone could change the body"),
            (
                signed.contains(&Part::Timestamp) && !has_time,
                "signed",
                "`{timestamp}` needs `timestamp_header`, the header that it is in",
            ),
            (
                !signed.contains(&Part::Timestamp) && has_time,
                "timestamp_header",
                "the time is not in `signed`, so that anyone could change it",
            ),
            (
                signed.contains(&Part::Id) && !has_id,
                "signed",
                "`{id}` needs `id_header`, the header that it is in",
            ),
            (
                !signed.contains(&Part::Id) && has_id,
                "id_header",
                "the id is not in `signed`, so that anyone could change it",
            ),
        ];
        let open = holes.into_iter().filter(|(is_open, _, _)| *is_open);
        open.map(|(_, key, reason)| InvalidScheme { key, reason: reason.to_owned() }).collect()
    }
}

/// Why settings are no scheme: the key of the configuration that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct InvalidScheme {
    /// Which key, as the configuration calls it.
    pub key: &'static str,
    /// A sentence that says the mend.
    pub reason: String,
}

/// An HMAC scheme, ready to check requests.
#[derive(Clone, Debug)]
pub struct HmacScheme {
    algorithm: Algorithm,
    header: HeaderName,
    layout: Layout,
    encoding: Encoding,
    signed: Vec<Part>,
    timestamp_header: Option<HeaderName>,
    id_header: Option<HeaderName>,
    secrets: Vec<Secret>,
    window: Window,
}

/// A part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
    Id,
    Method,
    Url,
}

impl Part {
    const NAMES: &str = "{body}, {timestamp}, {id}, {method} and {url}";

    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "id" => Self::Id,
            "method" => Self::Method,
            "url" => Self::Url,
            _ => return None,
        })
    }
}

impl HmacScheme {
    /// Checks the settings.
    ///
    /// # Errors
    /// All that is wrong with them. What would leave a hole is wrong too: a body that is not
    /// signed, and a time or an id that is read but not signed.
    pub fn new(settings: HmacSettings) -> Result<Self, Vec<InvalidScheme>> {
        let mut problems = Vec::new();
        let mut header = |key, name: &str| {
            let read = HeaderName::from_str(name).ok();
            if read.is_none() {
                problems.push(InvalidScheme { key, reason: "expected the name of a header".to_owned() });
            }
            read
        };
        let signature_header = header("header", &settings.header);
        let timestamp_header =
            settings.timestamp_header.as_deref().map(|name| header("timestamp_header", name));
        let id_header = settings.id_header.as_deref().map(|name| header("id_header", name));
        if settings.secrets.is_empty() || settings.secrets.iter().any(|secret| secret.expose().is_empty()) {
            problems.push(InvalidScheme { key: "secret", reason: "the secret is empty".to_owned() });
        }
        let signed = match read_signed(&settings.signed) {
            Ok(signed) => {
                problems.extend(settings.holes(&signed));
                signed
            }
            Err(reason) => {
                problems.push(InvalidScheme { key: "signed", reason });
                Vec::new()
            }
        };
        match signature_header {
            Some(header) if problems.is_empty() => Ok(Self {
                algorithm: settings.algorithm,
                header,
                layout: settings.layout,
                encoding: settings.encoding,
                signed,
                timestamp_header: timestamp_header.flatten(),
                id_header: id_header.flatten(),
                secrets: settings.secrets,
                window: settings.window,
            }),
            _ => Err(problems),
        }
    }

    /// The header that the signature is in.
    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The message id, where the scheme has one, if a signature fits.
    pub(super) fn check(&self, request: &SignedRequest, now: Timestamp) -> Result<Option<String>, Refused> {
        let header = request.header(self.header.as_str())?;
        let (in_header, signatures) = self.read_header(header);
        if signatures.is_empty() {
            let reason = match self.encoding {
                Encoding::Hex => "no signature in hexadecimal digits is in it",
                Encoding::Base64 => "no signature in base64 is in it",
            };
            return Err(Refused::malformed(self.header.as_str(), reason));
        }
        let (timestamp, place) = match &self.timestamp_header {
            Some(name) => (Some(request.header(name.as_str())?), name),
            None => (in_header, &self.header),
        };
        if self.signed.contains(&Part::Timestamp) {
            let signed_at = timestamp
                .and_then(read_time)
                .ok_or_else(|| Refused::malformed(place.as_str(), "expected unix seconds or milliseconds"))?;
            self.window.check(signed_at, now)?;
        }
        let id = self.id_header.as_ref().map(|name| request.header(name.as_str())).transpose()?;

        let parts: Vec<&[u8]> = self
            .signed
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_bytes(),
                Part::Body => &request.body,
                Part::Timestamp => timestamp.unwrap_or_default().as_bytes(),
                Part::Id => id.unwrap_or_default().as_bytes(),
                Part::Method => request.method.as_bytes(),
                Part::Url => request.url.as_bytes(),
            })
            .collect();
        if self.algorithm.vouches(&self.secrets, &parts, &signatures).into() {
            Ok(id.filter(|id| !id.is_empty()).map(str::to_owned))
        } else {
            Err(Refused::NoMatch)
        }
    }

    /// The time in the signature's header, if it is there, and the signatures that can be read.
    fn read_header<'a>(&self, header: &'a str) -> (Option<&'a str>, Vec<Vec<u8>>) {
        let items = header.split(',').map(str::trim).take(MAX_SIGNATURES);
        match &self.layout {
            Layout::Prefixed(prefix) => {
                let signatures = items
                    .filter_map(|item| self.encoding.read(item.strip_prefix(prefix.as_str())?.trim_start()))
                    .filter(|signature| !signature.is_empty());
                (None, signatures.collect())
            }
            Layout::Pairs { timestamp, signature } => {
                let (mut time, mut signatures) = (None, Vec::new());
                for (name, value) in items.filter_map(|item| item.split_once('=')) {
                    if name == *timestamp {
                        time = Some(value);
                    } else if name == *signature {
                        signatures.extend(self.encoding.read(value).filter(|bytes| !bytes.is_empty()));
                    }
                }
                (time, signatures)
            }
        }
    }
}

/// Unix seconds, from unix seconds or milliseconds.
fn read_time(text: &str) -> Option<i64> {
    let number = read_digits(text)?;
    Some(if number < FIRST_MILLISECONDS { number } else { number / 1000 })
}

fn read_signed(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, behind) = rest.split_at(at);
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let name = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
        let Some((name, behind)) = name else {
            return Err(format!("a brace stands alone; the parts of a request are {}", Part::NAMES));
        };
        parts.push(
            Part::from_name(name)
                .ok_or_else(|| format!("`{{{name}}}` is no part of a request; there are {}", Part::NAMES))?,
        );
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HmacSettings {
        HmacSettings::new("X-Signature", vec![Secret::from_bytes("s")])
    }

    fn problem_keys(settings: HmacSettings) -> Vec<&'static str> {
        HmacScheme::new(settings).unwrap_err().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn what_is_signed_is_read_in_its_parts() {
        assert_eq!(
            read_signed("v0:{timestamp}:{body}"),
            Ok(vec![Part::Text("v0:".into()), Part::Timestamp, Part::Text(":".into()), Part::Body])
        );
        assert_eq!(
            read_signed("{method}{url}{id}\n"),
            Ok(vec![Part::Method, Part::Url, Part::Id, Part::Text("\n".into())])
        );
        for wrong in ["{", "}", "{body", "body}", "{ body }", "{Body}", "{}", "{{body}}"] {
            assert!(read_signed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_and_milliseconds_are_told_apart_by_their_size() {
        assert_eq!(read_time("1700000000"), Some(1_700_000_000));
        assert_eq!(read_time("1700000000999"), Some(1_700_000_000));
        assert_eq!(read_time("99999999999"), Some(99_999_999_999));
        assert_eq!(read_time("100000000000"), Some(100_000_000));
        for wrong in ["", "-1", "+1700000000", "1.5", "1700000000 ", "99999999999999999999"] {
            assert_eq!(read_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn presets_are_schemes() {
        let secrets = || vec![Secret::from_bytes("s")];
        for preset in [
            HmacSettings::github(secrets()),
            HmacSettings::slack(secrets()),
            HmacSettings::stripe(secrets()),
            HmacSettings::elevenlabs(secrets()),
            HmacSettings::retell(secrets()),
        ] {
            assert!(HmacScheme::new(preset).is_ok());
        }
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_key() {
        let all = HmacSettings {
            header: "X Signature".into(),
            signed: "{timestamp}".into(),
            id_header: Some("x-id".into()),
            secrets: vec![],
            ..settings()
        };
        assert_eq!(problem_keys(all), ["header", "secret", "signed", "signed", "id_header"]);
        assert_eq!(problem_keys(HmacSettings { signed: "{boddy}".into(), ..settings() }), ["signed"]);
        assert_eq!(problem_keys(HmacSettings { signed: "{id}{body}".into(), ..settings() }), ["signed"]);
        assert_eq!(
            problem_keys(HmacSettings { timestamp_header: Some("x-time".into()), ..settings() }),
            ["timestamp_header"]
        );
        assert_eq!(
            problem_keys(HmacSettings { secrets: vec![Secret::from_bytes("")], ..settings() }),
            ["secret"]
        );
    }

    #[test]
    fn signatures_are_found_behind_their_prefix_or_name() {
        let scheme = |layout| HmacScheme::new(HmacSettings { layout, ..settings() }).unwrap();
        let prefixed = scheme(Layout::Prefixed("sha256=".into()));
        assert_eq!(prefixed.read_header("sha256=00ff, sha256=01,ff"), (None, vec![vec![0, 255], vec![1]]));
        assert_eq!(prefixed.read_header("SHA256=00ff"), (None, vec![]));
        let pairs = HmacScheme::new(HmacSettings::stripe(vec![Secret::from_bytes("s")])).unwrap();
        assert_eq!(
            pairs.read_header("t=12,v1=00ff,v0=aa,v1=zz,v1=01"),
            (Some("12"), vec![vec![0, 255], vec![1]])
        );
        assert_eq!(pairs.read_header("v1=00ff"), (None, vec![vec![0, 255]]));
        assert_eq!(prefixed.read_header(&vec!["sha256=01"; 999].join(",")).1.len(), MAX_SIGNATURES);
    }
}
