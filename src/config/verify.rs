//! What stands after `verify =`: how a source's requests are verified.

use std::time::Duration;

use zeroize::Zeroizing;

use super::reader::{Document, Entry, Section};
use super::{Environment, Problem};
use crate::quantity::parse_duration;
use crate::signature::{
    Algorithm, Basic, Encoding, HmacScheme, HmacSettings, InvalidScheme, InvalidSecret, Layout, Secret,
    SenderKey, StandardWebhooks, TokenHeader, UrlSecret, Verifier, Window,
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
    TokenHeader,
    Basic,
    UrlSecret,
}

const SCHEMES: [(&str, Scheme); 10] = [
    ("none", Scheme::None),
    ("standard-webhooks", Scheme::StandardWebhooks),
    ("hmac", Scheme::Hmac),
    ("github", Scheme::GitHub),
    ("slack", Scheme::Slack),
    ("stripe", Scheme::Stripe),
    ("retell", Scheme::Retell),
    ("token-header", Scheme::TokenHeader),
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
        Scheme::TokenHeader => token_header(&mut section),
        Scheme::Basic => basic(&mut section),
        Scheme::UrlSecret => url_secret(&mut section),
    };
    section.finish();
    verifier
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
            ["v:1: verify.tolerance: unknown key; there are scheme, secret"]
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
