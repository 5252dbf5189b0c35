//! What stands after `verify =`: how a source's requests are verified.

use std::time::Duration;

use zeroize::Zeroizing;

use super::reader::{Document, Entry, Section};
use super::value::read_network;
use super::{Environment, Problem};
use crate::network::Networks;
use crate::quantity::parse_duration;
use crate::signature::{
    Algorithm, Basic, Dialpad, Encoding, HmacScheme, HmacSettings, InvalidScheme, InvalidSecret, Layout,
    PublicKey, Secret, SenderKey, StandardWebhooks, Telnyx, TokenBody, TokenHeader, Twilio, UrlSecret,
    Verifier, Vonage, Window,
};

/// The widest window: a signature that counts for longer than a day protects from no replay.
const MAX_TOLERANCE: Duration = Duration::from_hours(24);

/// The schemes that this version has.
#[derive(Clone, Copy)]
enum Scheme {
    None,
    StandardWebhooks,
    Hmac,
    GitHub,
    Slack,
    Stripe,
    Retell,
    Twilio,
    Telnyx,
    Vonage,
    Dialpad,
    TokenHeader,
    TokenBody,
    Basic,
    UrlSecret,
}

const SCHEMES: [(&str, Scheme); 15] = [
    ("none", Scheme::None),
    ("standard-webhooks", Scheme::StandardWebhooks),
    ("hmac", Scheme::Hmac),
    ("github", Scheme::GitHub),
    ("slack", Scheme::Slack),
    ("stripe", Scheme::Stripe),
    ("retell", Scheme::Retell),
    ("twilio", Scheme::Twilio),
    ("telnyx", Scheme::Telnyx),
    ("vonage", Scheme::Vonage),
    ("dialpad", Scheme::Dialpad),
    ("token-header", Scheme::TokenHeader),
    ("token-body", Scheme::TokenBody),
    ("basic", Scheme::Basic),
    ("url-secret", Scheme::UrlSecret),
];

/// Reads a table such as `{ scheme = "github", secret = "…" }`, as `ringback verify` is given it.
/// Problems name `file` as their place.
///
/// # Errors
/// Every problem of the table.
pub fn read_verifier(file: &str, table: &str, environment: &Environment) -> Result<Verifier, Vec<Problem>> {
    let document = Document::new(file, table, environment);
    match document.read_value("verify", |entry| read(&entry)) {
        (Some(verifier), problems) if problems.is_empty() => Ok(verifier),
        (_, problems) => Err(problems),
    }
}

pub(super) fn read(entry: &Entry<'_, '_>) -> Option<Verifier> {
    let mut section = entry.section()?;
    let scheme = section
        .require("scheme", "how requests are verified; \"none\" if they are not")
        .and_then(|entry| entry.choice(&SCHEMES))?;
    let networks = section.take("networks").map(|entry| read_networks(&entry));
    let verifier = match scheme {
        Scheme::None => Some(Verifier::None),
        Scheme::StandardWebhooks => standard_webhooks(&mut section),
        Scheme::Hmac => hmac(&mut section),
        Scheme::GitHub => {
            // GitHub signs no time, so that a window would promise what is not kept.
            let secrets = secrets(&mut section, plain);
            build(&section, &secrets, HmacSettings::github).map(Verifier::Hmac)
        }
        Scheme::Slack => preset(&mut section, HmacSettings::slack).map(Verifier::Hmac),
        Scheme::Stripe => stripe(&mut section),
        Scheme::Retell => preset(&mut section, HmacSettings::retell).map(Verifier::Hmac),
        // Twilio signs no time either.
        Scheme::Twilio => {
            let secrets = secrets(&mut section, plain);
            (!secrets.is_empty()).then(|| Verifier::Twilio(Twilio::new(secrets)))
        }
        Scheme::Telnyx => telnyx(&mut section),
        Scheme::Vonage => vonage(&mut section),
        Scheme::Dialpad => {
            let (secrets, window) = (secrets(&mut section, plain), window(&mut section));
            (!secrets.is_empty()).then(|| Verifier::Dialpad(Dialpad::new(secrets, window)))
        }
        Scheme::TokenHeader => token_header(&mut section),
        Scheme::TokenBody => token_body(&mut section),
        Scheme::Basic => basic(&mut section),
        Scheme::UrlSecret => url_secret(&mut section),
    };
    section.finish();
    match networks {
        Some(networks) => verifier.map(|verifier| Verifier::From(networks, Box::new(verifier))),
        None => verifier,
    }
}

fn read_networks(entry: &Entry<'_, '_>) -> Networks {
    let networks = entry.list(|entry| Some(entry.parse(read_network)));
    if networks.is_empty() && entry.is_list() {
        entry.problem(
            "without any network nothing could come in; leave the key out to take requests from everywhere",
        );
    }
    Networks::new(networks.into_iter().flatten())
}

fn standard_webhooks(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let entries = [section.take("secret"), section.take("public_key")];
    if entries.iter().all(Option::is_none) {
        section.problem("missing: `secret`, a whsec_ text, or `public_key`, a whpk_ text");
    }
    let keys: Vec<SenderKey> =
        entries.iter().flatten().flat_map(|entry| read_secrets(entry, SenderKey::parse)).collect();
    let window = window(section);
    (!keys.is_empty()).then(|| Verifier::StandardWebhooks(StandardWebhooks::new(keys, window)))
}

fn hmac(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let algorithm = section
        .take("algorithm")
        .and_then(|entry| entry.choice(&Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm))));
    let encoding = section
        .take("encoding")
        .and_then(|entry| entry.choice(&Encoding::ALL.map(|encoding| (encoding.as_str(), encoding))));
    let header = section.require("header", "the header that the signature is in");
    let header = header.and_then(|entry| entry.full_text());
    let prefix = section.take("prefix").and_then(|entry| entry.text());
    let signed = section.take("signed").and_then(|entry| entry.full_text());
    let timestamp_header = section.take("timestamp_header").and_then(|entry| entry.full_text());
    let id_header = section.take("id_header").and_then(|entry| entry.full_text());
    let read = section
        .take("secret_encoding")
        .and_then(|entry| entry.choice::<ReadSecret>(&[("plain", plain), ("base64", Secret::from_base64)]));
    let secrets = secrets(section, read.unwrap_or(plain));
    let window = window(section);
    let scheme = build(section, &secrets, |secrets| {
        // A missing header is told already; the other settings are checked with any.
        let settings = HmacSettings::new(header.unwrap_or("x-signature"), secrets);
        HmacSettings {
            algorithm: algorithm.unwrap_or_default(),
            encoding: encoding.unwrap_or_default(),
            layout: Layout::Prefixed(prefix.unwrap_or_default().to_owned()),
            signed: signed.map_or(settings.signed, str::to_owned),
            timestamp_header: timestamp_header.map(str::to_owned),
            id_header: id_header.map(str::to_owned),
            window,
            ..settings
        }
    });
    header.and(scheme).map(Verifier::Hmac)
}

fn preset(section: &mut Section<'_, '_>, preset: fn(Vec<Secret>) -> HmacSettings) -> Option<HmacScheme> {
    let secrets = secrets(section, plain);
    let window = window(section);
    build(section, &secrets, |secrets| HmacSettings { window, ..preset(secrets) })
}

/// `ElevenLabs` signs as Stripe does, in a header of its own.
fn stripe(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let secrets = secrets(section, plain);
    let window = window(section);
    let build = |preset: fn(Vec<Secret>) -> HmacSettings| {
        build(section, &secrets, |secrets| HmacSettings { window, ..preset(secrets) })
    };
    Some(Verifier::ByHeader(vec![build(HmacSettings::stripe)?, build(HmacSettings::elevenlabs)?]))
}

fn telnyx(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let entry = section.require("public_key", "the account's public key, base64");
    let keys = entry.map(|entry| read_secrets(&entry, PublicKey::parse_bare)).unwrap_or_default();
    let window = window(section);
    (!keys.is_empty()).then(|| Verifier::Telnyx(Telnyx::new(keys, window)))
}

fn vonage(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let api_key = section.take("api_key").and_then(|entry| entry.full_text()).map(str::to_owned);
    let (secrets, window) = (secrets(section, plain), window(section));
    (!secrets.is_empty()).then(|| Verifier::Vonage(Vonage::new(secrets, api_key, window)))
}

fn token_body(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let pointer = section.require("pointer", "the JSON pointer of the token, such as \"/token\"");
    let pointer = pointer.and_then(|entry| entry.text());
    let secrets = secrets(section, plain);
    let scheme = TokenBody::new(pointer?, secrets.clone());
    let scheme = scheme.map_err(|InvalidScheme { key, reason }| section.problem_at(key, reason)).ok()?;
    (!secrets.is_empty()).then_some(Verifier::TokenBody(scheme))
}

fn token_header(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let header = section.require("header", "the header that the token is in");
    let header = header.and_then(|entry| entry.full_text());
    let prefix = section.take("prefix").and_then(|entry| entry.text()).unwrap_or_default();
    let secrets = secrets(section, plain);
    let scheme = TokenHeader::new(header?, prefix, secrets.clone());
    let scheme = scheme.map_err(|InvalidScheme { key, reason }| section.problem_at(key, reason)).ok()?;
    (!secrets.is_empty()).then_some(Verifier::TokenHeader(scheme))
}

fn basic(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let user = section.require("user", "who the sender says that it is");
    let user = user.and_then(|entry| {
        let user = entry.text()?;
        if user.contains(':') {
            entry.problem("a user with a colon cannot be told from its password");
        }
        Some(user)
    });
    let secrets = secrets(section, plain);
    user.filter(|_| !secrets.is_empty()).map(|user| Verifier::Basic(Basic::new(user, &secrets)))
}

fn url_secret(section: &mut Section<'_, '_>) -> Option<Verifier> {
    let parameter = section.take("parameter").and_then(|entry| entry.full_text());
    let secrets = secrets(section, plain);
    let scheme = UrlSecret::new(parameter.map(str::to_owned), secrets.clone());
    (!secrets.is_empty()).then_some(Verifier::UrlSecret(scheme))
}

/// Checks settings. Without secrets, which is told already, the rest is checked and there is no
/// scheme.
fn build(
    section: &Section<'_, '_>,
    secrets: &[Secret],
    settings: impl FnOnce(Vec<Secret>) -> HmacSettings,
) -> Option<HmacScheme> {
    let stand_in = [Secret::from_bytes("stand-in")];
    let checked = HmacScheme::new(settings(if secrets.is_empty() { &stand_in } else { secrets }.to_vec()));
    match checked {
        Ok(scheme) => (!secrets.is_empty()).then_some(scheme),
        Err(problems) => {
            for InvalidScheme { key, reason } in problems {
                section.problem_at(key, reason);
            }
            None
        }
    }
}

type ReadSecret = fn(&str) -> Result<Secret, InvalidSecret>;

#[allow(clippy::unnecessary_wraps, reason = "one of several ways to read a secret")]
fn plain(text: &str) -> Result<Secret, InvalidSecret> {
    Ok(Secret::from_bytes(text))
}

fn secrets(section: &mut Section<'_, '_>, read: ReadSecret) -> Vec<Secret> {
    let entry = section.require("secret", "what the sender signs with, or shows");
    entry.map(|entry| read_secrets(&entry, read)).unwrap_or_default()
}

fn read_secrets<T>(entry: &Entry<'_, '_>, read: impl Fn(&str) -> Result<T, InvalidSecret>) -> Vec<T> {
    let read = |text: Zeroizing<String>| read(&text).map_err(|error| entry.problem(error.to_string())).ok();
    entry.secrets().into_iter().filter_map(read).collect()
}

fn window(section: &mut Section<'_, '_>) -> Window {
    let Some(entry) = section.take("tolerance") else { return Window::default() };
    let read = |text: &str| {
        // A bare number is in seconds, as in the providers' own libraries.
        let seconds = text.parse::<u64>().ok().filter(|_| !text.starts_with('+')).map(Duration::from_secs);
        let tolerance =
            seconds.map_or_else(|| parse_duration(text), Ok).map_err(|error| error.to_string())?;
        if tolerance <= MAX_TOLERANCE { Ok(tolerance) } else { Err("expected at most 24h".to_owned()) }
    };
    entry.quantity(read).map_or_else(Window::default, Window::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(table: &str) -> Vec<String> {
        let environment = Environment::from([("SECRET", "aGVsbG8=")]);
        match read_verifier("v", table, &environment) {
            Ok(verifier) => panic!("{verifier:?}"),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    fn reads(table: &str) -> Verifier {
        let environment = Environment::from([("SECRET", "aGVsbG8=")]);
        read_verifier("v", table, &environment).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn every_scheme_is_read() {
        assert!(matches!(reads(r#"{ scheme = "none" }"#), Verifier::None));
        for table in [
            r#"{ scheme = "standard-webhooks", secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }"#,
            r#"{ scheme = "standard-webhooks", secret = ["whsec_aGVsbG8=", { env = "SECRET" }] }"#,
            r#"{ scheme = "standard-webhooks", public_key = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=" }"#,
            r#"{ scheme = "standard-webhooks", secret = "aGVsbG8=", tolerance = 60 }"#,
        ] {
            assert!(matches!(reads(table), Verifier::StandardWebhooks(_)), "{table}");
        }
        for table in [
            r#"{ scheme = "hmac", header = "X-Signature", secret = "s" }"#,
            r#"{ scheme = "hmac", header = "X-Signature", algorithm = "sha512", encoding = "base64", prefix = "v1=",
                 signed = "{id}.{timestamp}.{body}", timestamp_header = "X-Time", id_header = "X-Id",
                 secret = { env = "SECRET" }, secret_encoding = "base64", tolerance = "10m" }"#,
            r#"{ scheme = "github", secret = ["new", "old"] }"#,
            r#"{ scheme = "slack", secret = "s" }"#,
            r#"{ scheme = "retell", secret = "s", tolerance = "5m" }"#,
        ] {
            assert!(matches!(reads(table), Verifier::Hmac(_)), "{table}");
        }
        assert!(matches!(
            reads(
                r#"{ scheme = "token-header", header = "Authorization", prefix = "Bearer ", secret = "s" }"#
            ),
            Verifier::TokenHeader(_)
        ));
        assert!(matches!(
            reads(r#"{ scheme = "basic", user = "u", secret = ["p", "q"] }"#),
            Verifier::Basic(_)
        ));
        for table in [
            r#"{ scheme = "url-secret", secret = { env = "SECRET" } }"#,
            r#"{ scheme = "url-secret", secret = "s", parameter = "key" }"#,
        ] {
            assert!(matches!(reads(table), Verifier::UrlSecret(_)), "{table}");
        }
        assert!(matches!(reads(r#"{ scheme = "stripe", secret = "whsec_s" }"#), Verifier::ByHeader(_)));
        assert!(matches!(reads(r#"{ scheme = "twilio", secret = ["new", "old"] }"#), Verifier::Twilio(_)));
        let telnyx = r#"{ scheme = "telnyx", public_key = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", tolerance = 60 }"#;
        assert!(matches!(reads(telnyx), Verifier::Telnyx(_)));
        let vonage = r#"{ scheme = "vonage", secret = "s", api_key = "a1b2c3d", tolerance = "1m" }"#;
        assert!(matches!(reads(vonage), Verifier::Vonage(_)));
        assert!(matches!(reads(r#"{ scheme = "dialpad", secret = "s" }"#), Verifier::Dialpad(_)));
        let body = r#"{ scheme = "token-body", pointer = "/token", secret = "s" }"#;
        assert!(matches!(reads(body), Verifier::TokenBody(_)));
    }

    #[test]
    fn every_scheme_may_have_networks() {
        let networks = r#"networks = ["192.0.2.0/24", "2001:db8::1"]"#;
        for (name, _) in SCHEMES {
            let keys = match name {
                "none" => "",
                "telnyx" => r#"public_key = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=","#,
                "hmac" | "token-header" => r#"header = "x", secret = "aGVsbG8=","#,
                "token-body" => r#"pointer = "/x", secret = "aGVsbG8=","#,
                "basic" => r#"user = "x", secret = "aGVsbG8=","#,
                _ => r#"secret = "aGVsbG8=","#,
            };
            let verifier = reads(&format!("{{ scheme = \"{name}\", {keys} {networks} }}"));
            assert!(matches!(verifier, Verifier::From(..)), "{name}: {verifier:?}");
            assert_eq!(verifier.is_none(), name == "none");
        }
        assert_eq!(
            problems(r#"{ scheme = "none", networks = [] }"#),
            [
                "v:1: verify.networks: without any network nothing could come in; leave the key out to take requests from everywhere"
            ]
        );
        assert_eq!(problems(r#"{ scheme = "none", networks = ["10.0.0.0/33", "host"] }"#).len(), 2);
        assert_eq!(problems(r#"{ scheme = "none", networks = "10.0.0.0/8" }"#).len(), 1);
    }

    #[test]
    fn every_problem_of_a_table_is_told() {
        assert_eq!(
            problems(
                r#"{ scheme = "hmac", algorithm = "sha-256", signed = "{timestamp}.{bdy}", secrets = "s" }"#
            ),
            [
                "v:1: verify.header: missing: the header that the signature is in",
                "v:1: verify.secret: missing: what the sender signs with, or shows",
                "v:1: verify.algorithm: \"sha-256\" is none of sha256, sha512, sha1; did you mean \"sha256\"?",
                "v:1: verify.signed: `{bdy}` is no part of a request; there are {body}, {timestamp}, {id}, {method} and {url}",
                "v:1: verify.secrets: unknown key; did you mean `secret`?",
            ]
        );
        assert_eq!(
            problems(
                r#"{ scheme = "standard-webhooks", secret = ["!", { env = "MISSING" }], tolerance = "2d" }"#
            ),
            [
                "v:1: verify.secret: expected `whsec_` and base64, or `whpk_` and base64 of 32 bytes",
                "v:1: verify.secret[1].env: the environment variable MISSING is not set, or it is empty",
                "v:1: verify.tolerance: expected at most 24h",
            ]
        );
        assert_eq!(
            problems(r#"{ scheme = "github", secret = "s", tolerance = "1m" }"#),
            ["v:1: verify.tolerance: unknown key; there are scheme, networks, secret"]
        );
        assert_eq!(
            problems(r#"{ scheme = "token-header", header = "X Token" }"#),
            [
                "v:1: verify.secret: missing: what the sender signs with, or shows",
                "v:1: verify.header: expected the name of a header",
            ]
        );
        assert_eq!(problems(r#"{ scheme = "basic", user = "a:b", secret = "" }"#).len(), 2);
        assert_eq!(
            problems(r#"{ scheme = "twilio", tolerance = "1m" }"#),
            [
                "v:1: verify.secret: missing: what the sender signs with, or shows",
                "v:1: verify.tolerance: unknown key; there are scheme, networks, secret",
            ]
        );
        assert_eq!(
            problems(r#"{ scheme = "telnyx", secret = "s" }"#),
            [
                "v:1: verify.public_key: missing: the account's public key, base64",
                "v:1: verify.secret: unknown key; there are scheme, networks, public_key, tolerance",
            ]
        );
        assert_eq!(
            problems(r#"{ scheme = "telnyx", public_key = "whpk_x" }"#),
            ["v:1: verify.public_key: expected base64 of the 32 bytes of an Ed25519 public key"]
        );
        assert_eq!(
            problems(r#"{ scheme = "token-body", pointer = "token", secret = "s" }"#),
            ["v:1: verify.pointer: expected a JSON pointer such as \"/token\""]
        );
        assert_eq!(problems(r#"{ scheme = "vonage", api_key = "" }"#).len(), 2);
        assert_eq!(
            problems("{}"),
            ["v:1: verify.scheme: missing: how requests are verified; \"none\" if they are not"]
        );
        assert_eq!(problems("\"none\""), ["v:1: verify: expected a table, found a text"]);
        assert_eq!(problems(r#"{ scheme = "basc" }"#).len(), 1);
    }

    #[test]
    fn a_text_that_is_not_toml_is_told_as_such() {
        for broken in ["", "{", "{ scheme = none }", "{ scheme = \"none\" } x"] {
            assert!(!problems(broken).is_empty(), "{broken}");
        }
    }
}
