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
const AGENT: &str = concat!("ringback/", env!("CARGO_PKG_VERSION"));

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
