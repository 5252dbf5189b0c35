//! The schemes as a provider meets them: over HTTP, at the sources of a running process. What is
//! signed here is signed now; that it is signed right, the vectors show.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ringback::http::Client;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Home, Process, hex};

const SECRET: &str = "s3cret-that-nobody-may-see";
const PUBLIC_URL: &str = "https://hooks.example.com/in";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn sha256(parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

fn sha1(parts: &[&str]) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    for part in parts {
        mac.update(part.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

fn token(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sha256(&[&signed]));
    format!("{signed}.{signature}")
}

/// The key of the sender of `telnyx`.
fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn source(name: &str, verify: &str) -> String {
    format!("[[source]]\nname = \"{name}\"\naccount = \"acme\"\nprovider = \"commpeak\"\nverify = {verify}\n")
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// The answer's status, and its stable code where it is a problem.
async fn post(
    home: &Home,
    client: &Client,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let url = home.url(&format!("/v1/ingest/{path}"));
    let (status, answer) = client.send("POST", &url, headers, body.to_owned()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
}

fn refused() -> (u16, String) {
    (401, "signature_refused".to_owned())
}

fn accepted() -> (u16, String) {
    (200, String::new())
}

/// The log, once `enough` of it has come through the pipe.
async fn log(process: &Process, enough: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let log = process.log();
        if enough(&log) {
            return log;
        }
        assert!(Instant::now() < end, "the log does not say what it should:\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The configuration of sources that each verify in their own way.
fn one_source_a_scheme() -> String {
    let public = STANDARD.encode(key().public_key());
    let secret =
        |scheme: &str, rest: &str| format!("{{ scheme = \"{scheme}\", secret = \"{SECRET}\"{rest} }}");
    [
        source("twilio", &secret("twilio", "")),
        source("telnyx", &format!("{{ scheme = \"telnyx\", public_key = \"{public}\" }}")),
        source("vonage", &secret("vonage", ", api_key = \"a1b2c3d\"")),
        source("dialpad", &secret("dialpad", "")),
        source("aircall", &secret("token-body", ", pointer = \"/token\"")),
        source("elevenlabs", &secret("stripe", "")),
        source("header", &secret("token-header", ", header = \"x-token\"")),
        source("basic", &secret("basic", ", user = \"u\"")),
        source("url", &secret("url-secret", "")),
        source("near", "{ scheme = \"none\", networks = [\"127.0.0.0/8\"] }"),
        source("far", "{ scheme = \"none\", networks = [\"192.0.2.0/24\"] }"),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scheme_lets_its_own_in_and_nobody_else() {
    let home = Home::new(&one_source_a_scheme());
    let config = std::fs::read_to_string(home.path("ringback.toml")).unwrap();
    std::fs::write(home.path("ringback.toml"), format!("public_url = \"{PUBLIC_URL}\"\n{config}")).unwrap();
    let process = home.start();
    let client = Client::new();

    let at = now().to_string();
    let body =
        r#"{"call_id": "c-1", "end_at": "2026-03-30 14:27:12", "token": "s3cret-that-nobody-may-see"}"#;
    let other = body.replace("c-1", "c-2");
    let form = "call_id=c-3&end_at=2026-03-30+14%3A27%3A12";
    let url = |path: &str| format!("{PUBLIC_URL}/v1/ingest/{path}");

    let twilio = sha1(&[&url("twilio/a?x=%20"), "call_idc-3end_at2026-03-30 14:27:12"]);
    let json_path = format!("twilio?bodySHA256={}", hex(&Sha256::digest(body)));
    let json = sha1(&[&url(&json_path)]);
    let signed_at = format!("{at}|{body}");
    let telnyx = STANDARD.encode(key().sign(signed_at.as_bytes()));
    let hash = hex(&Sha256::digest(body));
    let claims = json!({"iss": "Vonage", "iat": now(), "payload_hash": hash, "api_key": "a1b2c3d"});
    let vonage = format!("Bearer {}", token(&claims));
    let dialpad = token(&json!({"call_id": "c-4", "end_at": "2026-03-30 14:27:12"}));
    let forged = format!("{}AAAA", &dialpad[..dialpad.len() - 4]);
    let elevenlabs = format!("t={at},v0={}", hex(&sha256(&[&at, ".", body])));
    let basic = format!("Basic {}", STANDARD.encode(format!("u:{SECRET}")));
    let in_url = format!("url/{SECRET}");

    let rows: &[(&str, Headers<'_>, &str, &str, Headers<'_>, &str)] = &[
        // The path, headers and body of a good request, and those of a near-miss.
        (
            "twilio/a?x=%20",
            &[FORM, ("x-twilio-signature", &twilio)],
            form,
            "twilio/a?x=%21",
            &[FORM, ("x-twilio-signature", &twilio)],
            form,
        ),
        (
            &json_path,
            &[("x-twilio-signature", &json)],
            body,
            &json_path,
            &[("x-twilio-signature", &json)],
            &other,
        ),
        (
            "telnyx",
            &[("telnyx-timestamp", &at), ("telnyx-signature-ed25519", &telnyx)],
            body,
            "telnyx",
            &[("telnyx-timestamp", &at), ("telnyx-signature-ed25519", &telnyx)],
            &other,
        ),
        ("vonage", &[("authorization", &vonage)], body, "vonage", &[("authorization", &vonage)], &other),
        ("dialpad", &[], &dialpad, "dialpad", &[], &forged),
        (
            "aircall",
            &[],
            body,
            "aircall",
            &[],
            r#"{"call_id": "c-1", "token": "s3cret-that-nobody-may-sef"}"#,
        ),
        (
            "elevenlabs",
            &[("elevenlabs-signature", &elevenlabs)],
            body,
            "elevenlabs",
            &[("elevenlabs-signature", &elevenlabs)],
            &other,
        ),
        ("header", &[("x-token", SECRET)], body, "header", &[("x-token", "other")], body),
        ("basic", &[("authorization", &basic)], body, "basic", &[("authorization", "Basic dTp4")], body),
        (&in_url, &[], body, "url/other", &[], body),
        ("near", &[], body, "far", &[], body),
    ];
    for (path, headers, body, wrong_path, wrong_headers, wrong_body) in rows {
        assert_eq!(post(&home, &client, wrong_path, wrong_headers, wrong_body).await, refused(), "{path}");
        assert_eq!(post(&home, &client, path, headers, body).await, accepted(), "{path}\n{}", process.log());
    }
    let endless = "A".repeat((8 << 10) + 1);
    assert_eq!(post(&home, &client, "header", &[("x-token", &endless)], body).await, refused());

    let reasons =
        ["no signature matches", "in none of the networks", "is not the configured one", "it is too long"];
    let log = log(&process, |log| reasons.iter().all(|reason| log.contains(reason))).await;
    for hidden in [SECRET, "c-2", &dialpad, &forged, &vonage, &telnyx, &endless] {
        assert!(!log.contains(hidden), "{hidden}\n{log}");
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_says_who_called_and_what() {
    let networks = "{ scheme = \"none\", networks = [\"192.0.2.0/24\"] }";
    let twilio = format!("{{ scheme = \"twilio\", secret = \"{SECRET}\" }}");
    let home = Home::new(&[source("far", networks), source("twilio", &twilio)].concat());
    let config = std::fs::read_to_string(home.path("ringback.toml")).unwrap();
    let client = Client::new();
    let body = r#"{"call_id": "c-1"}"#;
    let path = format!("twilio?bodySHA256={}", hex(&Sha256::digest(body)));
    let signature = sha1(&[&format!("https://hooks.example.com/v1/ingest/{path}")]);
    let called = [
        ("x-twilio-signature", signature.as_str()),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "hooks.example.com"),
    ];

    // Without trusted proxies it is a word like any other.
    let process = home.start();
    assert_eq!(post(&home, &client, "far", &[("x-forwarded-for", "192.0.2.1")], body).await, refused());
    assert_eq!(post(&home, &client, &path, &called, body).await, refused());
    drop(process);

    std::fs::write(home.path("ringback.toml"), format!("trusted_proxies = [\"127.0.0.1\"]\n{config}"))
        .unwrap();
    let process = home.start();
    for (name, value, verdict) in [
        ("x-forwarded-for", "192.0.2.1", accepted()),
        ("x-forwarded-for", "192.0.2.1, 203.0.113.9", refused()),
        ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 127.0.0.1", accepted()),
        ("x-forwarded-for", "unknown", refused()),
        ("forwarded", "for=\"192.0.2.1:4711\";proto=https", accepted()),
        ("forwarded", "for=192.0.2.1, for=203.0.113.9", refused()),
    ] {
        assert_eq!(post(&home, &client, "far", &[(name, value)], body).await, verdict, "{name}: {value}");
    }
    assert_eq!(post(&home, &client, "far", &[], body).await, refused());
    assert_eq!(post(&home, &client, &path, &called, body).await, accepted());
    assert_eq!(post(&home, &client, &path, &called[..3], body).await, refused());
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_uses_up_no_rate() {
    let verify = format!("{{ scheme = \"token-header\", header = \"x-token\", secret = \"{SECRET}\" }}");
    let home = Home::new(&format!("{}rate_limit = \"2/d\"\n", source("slow", &verify)));
    let process = home.start();
    let client = Client::new();
    let began = Instant::now();
    let send = async |token: &str| {
        post(&home, &client, "slow", &[("x-token", token)], r#"{"call_id": "c-1"}"#).await
    };
    for _ in 0..50 {
        assert_eq!(send("forged").await, refused());
    }
    assert_eq!(send(SECRET).await, accepted());
    assert_eq!(send(SECRET).await, accepted());
    assert_eq!(send(SECRET).await, (429, "rate_limited".to_owned()));
    assert_eq!(send("forged").await, refused());
    // Not all that are refused are warned of: 20 at once, and 2 more a second.
    let of = |log: &str, level: &str| {
        let refused = log.lines().filter(|line| line.contains("signature refused"));
        refused.filter(|line| line.contains(level)).count()
    };
    let log = log(&process, |log| of(log, "") == 51).await;
    let warned = of(&log, "WARN");
    let allowed = 21 + 2 * usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    assert!((20..=allowed).contains(&warned), "{warned} warnings, {allowed} allowed\n{log}");
    drop(process);
}
