//! Signatures against the vectors of their inventors, and against near-misses of each: a request
//! that differs from a valid one in the least must be refused.
//!
//! `vectors.json` has valid requests whose signature is in a header, `shown.json` those of the other
//! schemes; `cases.json` has what each of them is changed into, and why that is refused.

mod cases;
mod http;

use std::collections::BTreeMap;
use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;
use ringback::config::{Environment, read_verifier};
use ringback::signature::{Refused, SignedRequest, SigningSecret, Verified, Verifier, sign};
use url::form_urlencoded;

/// A valid request. `verify` is a table of the configuration in which SECRET stands for the
/// secret; `signature` names the header that the signature is in; `time` is the time of signing,
/// where the scheme has one, in unix seconds; `from` is where it comes from; `becomes` is what the
/// verified request has as its body, if that is another.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    #[serde(rename = "origin")]
    _origin: String,
    verify: String,
    secret: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    from: Option<IpAddr>,
    #[serde(default)]
    time: Option<i64>,
    #[serde(default)]
    message_id: Option<String>,
    body: String,
    #[serde(default)]
    becomes: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

impl Vector {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("vectors.json")).unwrap()
    }

    fn shown() -> Vec<Self> {
        serde_json::from_str(include_str!("shown.json")).unwrap()
    }

    fn table(&self) -> String {
        self.verify.replace("SECRET", &serde_json::to_string(&self.secret).unwrap())
    }

    fn verifier(&self) -> Verifier {
        read_verifier("vector", &self.table(), &Environment::default())
            .unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn request(&self) -> SignedRequest {
        let header = |(name, value): (&String, &String)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = self.headers.iter().map(header).collect::<HeaderMap>();
        if !self.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(&self.content_type).unwrap());
        }
        let (path, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let behind = path.split_once("/v1/ingest/").map_or("", |(_, behind)| behind);
        SignedRequest {
            method: self.method.clone(),
            url: self.url.clone(),
            sub_path: behind.find('/').map_or("", |at| &behind[at..]).to_owned(),
            query: query.to_owned(),
            headers,
            body: Bytes::from(self.body.clone()),
        }
    }

    /// So many seconds after the signing; a scheme without a time takes any.
    fn at(&self, seconds: i64) -> i64 {
        self.time.unwrap_or(1_800_000_000) + seconds
    }

    /// The verdict so many seconds after the signing.
    fn after(&self, seconds: i64) -> Result<Verified, Refused> {
        let now = Timestamp::from_second(self.at(seconds)).unwrap();
        self.verifier().verify_from(self.from, self.request(), now)
    }

    fn header_mut(&mut self, name: &str) -> &mut String {
        self.headers.get_mut(name).unwrap()
    }
}

/// Replaces one character by another that could stand there too.
fn alter(text: &str, at: usize) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    characters[at] = if characters[at] == 'A' || characters[at] == 'a' { 'B' } else { 'A' };
    characters.into_iter().collect()
}

#[test]
fn every_vector_is_valid() {
    for vector in Vector::all().into_iter().chain(Vector::shown()) {
        let verified = vector.after(0).unwrap_or_else(|refused| panic!("{}: {refused}", vector.name));
        assert_eq!(verified.message_id(), vector.message_id.as_deref(), "{}", vector.name);
        let body = vector.becomes.as_ref().unwrap_or(&vector.body);
        assert_eq!(verified.request().body, body, "{}", vector.name);
        if vector.becomes.is_some() || vector.verify.contains("url-secret") {
            let shown = format!("{:?}", verified.request());
            assert!(!shown.contains(&vector.secret), "{}: {shown}", vector.name);
        }
    }
}

/// Two spellings of one form are one form, which is what is signed.
fn same_form(vector: &Vector, body: &[u8]) -> bool {
    let parse = |form| form_urlencoded::parse(form).into_owned().collect::<Vec<_>>();
    vector.content_type.ends_with("urlencoded") && parse(vector.body.as_bytes()) == parse(body)
}

#[test]
fn one_bit_of_the_body_is_enough_to_be_refused() {
    for vector in Vector::all() {
        let now = Timestamp::from_second(vector.time.unwrap_or(0)).unwrap();
        let verifier = vector.verifier();
        for bit in 0..vector.body.len() * 8 {
            let mut request = vector.request();
            let mut body = request.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            if same_form(&vector, &body) {
                continue;
            }
            request.body = body.into();
            let refused = verifier.verify(request, now).unwrap_err();
            assert_eq!(refused, Refused::NoMatch, "{}: bit {bit}", vector.name);
        }
        for body in [vector.body[1..].to_owned(), format!("{}\n", vector.body), String::new()] {
            let mut request = vector.request();
            request.body = body.into();
            assert_eq!(verifier.verify(request, now).unwrap_err(), Refused::NoMatch, "{}", vector.name);
        }
    }
}

#[test]
fn one_character_of_the_signature_or_of_the_secret_is_enough_to_be_refused() {
    for vector in Vector::all() {
        let mut forged = vector.clone();
        let header = forged.header_mut(&vector.signature);
        *header = alter(header, header.len() * 3 / 4);
        assert_eq!(forged.after(0).unwrap_err(), Refused::NoMatch, "{}", vector.name);

        let mut other = vector.clone();
        other.secret = alter(&vector.secret, vector.secret.len() / 2);
        assert_eq!(other.after(0).unwrap_err(), Refused::NoMatch, "{}", vector.name);
    }
}

#[test]
fn a_part_of_a_signature_is_no_signature() {
    for vector in Vector::all() {
        let mut short = vector.clone();
        let header = short.header_mut(&vector.signature);
        // Whole groups of hexadecimal digits and of base64, so that what is left can be read.
        header.truncate(header.trim_end_matches('=').len() / 4 * 4 - 8);
        assert!(short.after(0).is_err(), "{}", vector.name);
        *short.header_mut(&vector.signature) = String::new();
        let refused = short.after(0).unwrap_err();
        assert!(matches!(refused, Refused::MalformedHeader { .. }), "{}: {refused}", vector.name);
    }
}

#[test]
fn every_header_must_be_there_once_and_hold_what_was_signed() {
    for vector in Vector::all() {
        for name in vector.headers.keys() {
            let mut without = vector.clone();
            without.headers.remove(name);
            let refused = without.after(0).unwrap_err();
            assert!(
                matches!(refused, Refused::MissingHeader(_)),
                "{} without {name}: {refused}",
                vector.name
            );

            let mut twice = vector.request();
            twice.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("x"));
            let now = Timestamp::from_second(vector.time.unwrap_or(0)).unwrap();
            let refused = vector.verifier().verify(twice, now).unwrap_err();
            assert!(matches!(refused, Refused::MalformedHeader { .. }), "{}: {refused}", vector.name);
        }
    }
    for mut vector in Vector::all() {
        for name in
            vector.headers.keys().filter(|name| **name != vector.signature).cloned().collect::<Vec<_>>()
        {
            let header = vector.header_mut(&name);
            // The next second, or the next id.
            let last = header.pop().unwrap();
            header.push(if last == '1' { '2' } else { '1' });
            assert_eq!(vector.after(0).unwrap_err(), Refused::NoMatch, "{}: {name}", vector.name);
        }
    }
}

#[test]
fn the_window_is_300_seconds_in_both_directions() {
    for vector in Vector::all() {
        for inside in [-300, -299, 299, 300] {
            assert!(vector.after(inside).is_ok(), "{}: {inside}", vector.name);
        }
        let (stale, early) = (vector.after(301), vector.after(-301));
        if vector.time.is_some() {
            assert_eq!(stale.unwrap_err(), Refused::Stale { age: 301, allowed: 300 }, "{}", vector.name);
            assert_eq!(early.unwrap_err(), Refused::Early { ahead: 301, allowed: 300 }, "{}", vector.name);
        } else {
            assert!(stale.is_ok() && early.is_ok(), "{}", vector.name);
        }
    }
}

#[test]
fn a_configured_tolerance_is_kept() {
    let mut vector = Vector::all().swap_remove(0);
    vector.verify = vector.verify.replace(" }", ", tolerance = 10 }");
    assert!(vector.after(10).is_ok() && vector.after(-10).is_ok());
    assert_eq!(vector.after(11).unwrap_err(), Refused::Stale { age: 11, allowed: 10 });
}

#[test]
fn of_several_signatures_one_must_fit() {
    let mut vector = Vector::all().swap_remove(0);
    let name = vector.signature.clone();
    let good = vector.headers[&name].clone();
    let bad = alter(&good, 10);
    for signatures in
        [format!("{bad} {good}"), format!("{good} {bad}"), format!("v2,x {bad} v1a,AAAA {good}")]
    {
        *vector.header_mut(&name) = signatures;
        assert!(vector.after(0).is_ok());
    }
    *vector.header_mut(&name) = format!("{bad} {bad}");
    assert_eq!(vector.after(0).unwrap_err(), Refused::NoMatch);
    // The signature of another version is not taken for a v1.
    *vector.header_mut(&name) = good.replace("v1,", "v2,");
    assert!(vector.after(0).is_err());
    *vector.header_mut(&name) = good.replace("v1,", "v1a,");
    assert_eq!(vector.after(0).unwrap_err(), Refused::NoMatch);
}

#[test]
fn of_several_secrets_one_must_fit() {
    for mut vector in Vector::all() {
        let other = alter(&vector.secret, vector.secret.len() / 2);
        let [old, new] = [&other, &vector.secret].map(|secret| serde_json::to_string(secret).unwrap());
        let table = vector.verify.clone();
        for both in [format!("[{old}, {new}]"), format!("[{new}, {old}]")] {
            vector.verify = table.replace("SECRET", &both);
            assert!(vector.after(0).is_ok(), "{}", vector.name);
        }
        vector.verify = table.replace("SECRET", &format!("[{old}, {old}]"));
        assert_eq!(vector.after(0).unwrap_err(), Refused::NoMatch, "{}", vector.name);
    }
}

#[test]
fn a_signature_of_another_method_or_url_is_refused() {
    let signs_url = |vector: &Vector| vector.verify.contains("{url}");
    let vector = Vector::all().into_iter().find(signs_url).unwrap();
    let get = Vector { method: "GET".into(), ..vector.clone() };
    let elsewhere = Vector { url: vector.url.replace("a=1", "a=2"), ..vector };
    for other in [get, elsewhere] {
        assert_eq!(other.after(0).unwrap_err(), Refused::NoMatch);
    }
}

#[test]
fn a_source_that_verifies_nothing_takes_everything() {
    let request = Vector::all().swap_remove(0).request();
    let verified = Verifier::None.verify(request, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(verified.message_id(), None);
}

#[test]
fn what_is_refused_says_nothing_of_the_secret() {
    for vector in Vector::all().into_iter().chain(Vector::shown()) {
        let verifier = vector.verifier();
        let shown = format!("{verifier:?}");
        assert!(!shown.contains(&vector.secret), "{shown}");
    }
}

proptest! {
    /// What Ringback signs, a receiver's Standard Webhooks library verifies; ours stands for it.
    #[test]
    fn what_was_signed_verifies(
        id in "[a-zA-Z0-9_]{1,40}",
        timestamp in 0_i64..10_000_000_000,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        rotating in any::<bool>(),
    ) {
        let (old, new) = (SigningSecret::generate(), SigningSecret::generate());
        let secrets = if rotating { vec![new, old.clone()] } else { vec![old.clone()] };
        let table = format!("{{ scheme = \"standard-webhooks\", secret = \"{}\" }}", old.expose());
        let verifier = read_verifier("v", &table, &Environment::default()).unwrap();
        let headers = [
            ("webhook-id", id.clone()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", sign(&secrets, &id, timestamp, &body)),
        ];
        let request = SignedRequest {
            method: "POST".into(),
            url: String::new(),
            sub_path: String::new(),
            query: String::new(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap()))
                .collect(),
            body: body.into(),
        };
        let verified = verifier.verify(request, Timestamp::from_second(timestamp + 7).unwrap()).unwrap();
        prop_assert_eq!(verified.message_id(), Some(&*id));
    }

    /// Whatever a stranger sends, it is refused, and nothing panics.
    #[test]
    fn junk_is_refused(
        id in "[ -~]{0,40}",
        timestamp in "[ -~]{0,20}",
        signature in "(v1|v1a|sha256=|t=1,v1=)?[,=]?[ -~]{0,90}",
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        for mut vector in Vector::all() {
            for (name, value) in &mut vector.headers {
                let name = name.to_ascii_lowercase();
                *value = if name.contains("signature") {
                    signature.clone()
                } else if name.contains("time") {
                    timestamp.clone()
                } else {
                    id.clone()
                };
            }
            let mut request = vector.request();
            request.body = body.clone().into();
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            prop_assert!(vector.verifier().verify(request, now).is_err());
        }
    }
}
