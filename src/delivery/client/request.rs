//! From a stored request to one on the wire.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use jiff::Timestamp;
use url::Position;

use super::Outgoing;
use super::error::Unsendable;
use crate::destination::TargetUrl;
use crate::signature::sign;

/// What receivers see of us.
pub(super) const AGENT: &str = concat!("ringback/", env!("CARGO_PKG_VERSION"));

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("ringback-attempt");

/// Headers that a registration does not set. Registering one is refused already; one that got
/// into the store nevertheless is left out, so that its delivery is not lost.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "ringback-attempt",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const RESERVED_PREFIXES: [&str; 2] = ["proxy-", "webhook-"];

/// The request of one attempt, signed as of `now`.
pub(super) fn assemble(
    target: &TargetUrl,
    outgoing: &Outgoing<'_>,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, Unsendable> {
    let stored = outgoing.request;
    let method = match stored.method.as_str() {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        _ => return Err(Unsendable::Method),
    };
    let uri: Uri = target.as_url()[..Position::AfterQuery].parse().map_err(|_| Unsendable::Url)?;

    let mut headers = HeaderMap::with_capacity(stored.headers.len() + 8);
    for (name, value) in &stored.headers {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unsendable::HeaderName(name.clone()))?;
        if !reserved(&parsed) {
            // UTF-8 passes as it is (RFC 9110, 5.5: obs-text); CR, LF, NUL and their like do not.
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| Unsendable::HeaderValue(name.clone()))?;
            headers.append(parsed, value);
        }
    }

    let id = outgoing.id.to_string();
    let timestamp = now.as_second();
    let signature = sign(outgoing.secrets, &id, timestamp, &stored.body);
    let ascii =
        |text: String| HeaderValue::try_from(text).expect("ids, numbers and base64 are visible ASCII");
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_bytes(stored.content_type.as_bytes()).map_err(|_| Unsendable::ContentType)?,
    );
    // Said even if it is 0: a POST without it is refused by many servers.
    headers.insert(CONTENT_LENGTH, HeaderValue::from(stored.body.len()));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ATTEMPT, HeaderValue::from(outgoing.attempt));
    headers.insert(WEBHOOK_ID, ascii(id));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(WEBHOOK_SIGNATURE, ascii(signature));

    let mut request = Request::new(Full::new(stored.body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn reserved(name: &HeaderName) -> bool {
    RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::destination::AddressPolicy;
    use crate::event::DeliveryId;
    use crate::signature::SigningSecret;
    use crate::store::DeliveryRequest;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn stored(headers: &[(&str, &str)]) -> DeliveryRequest {
        DeliveryRequest {
            method: "POST".to_owned(),
            url: "https://a.example/p?q=1#f".to_owned(),
            content_type: "application/json".to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: Bytes::from_static(b"{}"),
        }
    }

    fn assembled(stored: &DeliveryRequest) -> Result<Request<Full<Bytes>>, Unsendable> {
        let target = TargetUrl::parse(&stored.url, &AddressPolicy::default()).unwrap();
        let secrets = [SigningSecret::generate()];
        let outgoing = Outgoing {
            id: DeliveryId::from_bytes([7; 16]),
            attempt: 3,
            request: stored,
            secrets: &secrets,
            timeout: Duration::from_secs(1),
        };
        assemble(&target, &outgoing, NOW)
    }

    #[test]
    fn our_headers_are_ours_and_the_registrations_are_added() {
        let request = assembled(&stored(&[
            ("X-Customer", "7"),
            ("x-customer", "8"),
            ("Authorization", "Bearer t"),
            ("X-Name", "Müller\t"),
            ("Host", "evil.example"),
            ("Content-Length", "0"),
            ("Content-Type", "text/plain"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Keep-Alive", "x"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Expect", "100-continue"),
            ("User-Agent", "x"),
            ("Proxy-Authorization", "x"),
            ("Proxy-Anything", "x"),
            ("Webhook-Id", "x"),
            ("webhook-signature", "x"),
            ("webhook-other", "x"),
            ("Ringback-Attempt", "x"),
        ]))
        .unwrap();
        let mut headers: Vec<_> = request
            .headers()
            .iter()
            .filter(|(name, _)| *name != WEBHOOK_SIGNATURE)
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()).unwrap()))
            .collect();
        headers.sort_unstable();
        let id = DeliveryId::from_bytes([7; 16]).to_string();
        assert_eq!(
            headers,
            [
                ("authorization", "Bearer t"),
                ("content-length", "2"),
                ("content-type", "application/json"),
                ("ringback-attempt", "3"),
                ("user-agent", concat!("ringback/", env!("CARGO_PKG_VERSION"))),
                ("webhook-id", &id),
                ("webhook-timestamp", "1800000000"),
                ("x-customer", "7"),
                ("x-customer", "8"),
                ("x-name", "Müller\t"),
            ]
        );
        assert_eq!(request.headers().get_all(WEBHOOK_SIGNATURE).iter().count(), 1);
        assert_eq!(request.uri(), "https://a.example/p?q=1");
        assert_eq!(request.method(), Method::POST);
    }

    #[test]
    fn what_cannot_be_sent_says_what_it_is() {
        let mut get = stored(&[]);
        get.method = "GET".to_owned();
        assert_eq!(assembled(&get).unwrap_err(), Unsendable::Method);
        let mut split = stored(&[]);
        split.content_type = "text/plain\r\nX: y".to_owned();
        assert_eq!(assembled(&split).unwrap_err(), Unsendable::ContentType);
        let name = assembled(&stored(&[("X: y\r\nZ", "v")])).unwrap_err();
        assert_eq!(name.to_string(), "`X: y\\r\\nZ` cannot be the name of a header");
        let value = assembled(&stored(&[("X", "secret\r\nSet-Cookie: a=b")])).unwrap_err();
        assert_eq!(value.to_string(), "the value of the header `X` holds a control character");
    }

    proptest! {
        /// Whatever a header is made of, it is one header with that value, or nothing is sent.
        #[test]
        fn a_header_cannot_become_two(name in "[\\x00-\\x7f]{0,12}|x-[a-z]{1,8}", value in "[\\x00-\\xff]{0,40}|(\r\n|\0|[a-z: ]){0,20}") {
            let plain = assembled(&stored(&[])).unwrap();
            match assembled(&stored(&[(&name, &value)])) {
                Err(Unsendable::HeaderName(_) | Unsendable::HeaderValue(_)) => {}
                Err(other) => panic!("{other}"),
                Ok(request) => {
                    let header = HeaderName::from_bytes(name.as_bytes()).unwrap();
                    prop_assert!(!value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                    if reserved(&header) {
                        prop_assert_eq!(request.headers().len(), plain.headers().len());
                    } else {
                        prop_assert_eq!(request.headers().len(), plain.headers().len() + 1);
                        prop_assert_eq!(request.headers()[&header].as_bytes(), value.as_bytes());
                    }
                }
            }
        }

        /// Every URL that is taken at registration can be asked for.
        #[test]
        fn every_target_can_be_asked_for(rest in "[\\PC]{0,60}|[!-~]{0,60}") {
            let mut stored = stored(&[]);
            stored.url = format!("https://a.example/{rest}");
            if TargetUrl::parse(&stored.url, &AddressPolicy::default()).is_ok() {
                let request = assembled(&stored);
                prop_assert!(request.is_ok(), "{}: {:?}", stored.url, request.err());
            }
        }
    }
}
