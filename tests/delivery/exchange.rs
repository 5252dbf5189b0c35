//! One exchange: what is sent, what is read, what ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Response, Version};
use ringback::delivery::RetryAfter;
use ringback::delivery::client::MAX_RESPONSE_BODY;
use ringback::event::DeliveryId;
use ringback::signature::{SigningSecret, sign};
use ringback::store::OutcomeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::receiver::{
    Receiver, SECRET, answer, attempt, client, closed, read_request, request, send, send_as,
};

/// More than any of these tests needs, and less than would hide a hang.
const AMPLE: Duration = Duration::from_mins(1);
/// A deadline that is meant to pass.
const SHORT: Duration = Duration::from_secs(2);
/// How late a deadline may be noticed on a busy machine.
const SLACK: Duration = Duration::from_secs(20);

#[tokio::test]
async fn each_attempt_has_the_same_body_and_id_and_a_signature_of_its_own() {
    let receiver = Receiver::http(|_| answer(200, "ok")).await;
    let client = client();
    let mut request = request(&receiver.url("/hook?a=1#fragment"), r#"{"name":"Zoë"}"#);
    request.method = "PUT".to_owned();
    let id = DeliveryId::new();
    for attempt in 1..=3 {
        let exchange = send_as(&client, id, attempt, &request, AMPLE).await;
        assert!(exchange.error.is_none(), "{exchange:?}");
        assert_eq!(exchange.response.unwrap().body, "ok");
    }
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    for (number, seen) in (1..).zip(&seen) {
        assert_eq!((&seen.method, seen.version), (&Method::PUT, Version::HTTP_11));
        assert_eq!(seen.uri, "/hook?a=1");
        assert_eq!(seen.body, r#"{"name":"Zoë"}"#);
        let id = id.to_string();
        let timestamp: i64 = seen.header("webhook-timestamp").parse().unwrap();
        let secrets = [SigningSecret::parse(SECRET).unwrap()];
        for (name, value) in [
            ("host", receiver.address.to_string()),
            ("content-type", "application/json".to_owned()),
            ("content-length", seen.body.len().to_string()),
            ("user-agent", concat!("ringback/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("ringback-attempt", format!("{number}")),
            ("webhook-signature", sign(&secrets, &id, timestamp, &seen.body)),
            ("webhook-id", id),
            ("x-customer", "7".to_owned()),
        ] {
            assert_eq!(seen.header(name), value, "{name}");
        }
        assert!(jiff::Timestamp::now().as_second().abs_diff(timestamp) < 60);
        assert!(!seen.headers.contains_key("accept-encoding"));
        assert!(!seen.headers.contains_key("transfer-encoding"));
    }
    assert_eq!(receiver.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn an_empty_body_says_its_length() {
    let receiver = Receiver::http(|_| answer(204, "")).await;
    let exchange = send(&client(), &request(&receiver.url("/"), ""), AMPLE).await;
    assert_eq!(exchange.response.unwrap().status, 204);
    assert_eq!(receiver.seen()[0].header("content-length"), "0");
}

#[tokio::test]
async fn each_status_is_told_with_its_body() {
    for (status, outcome) in [
        (200, OutcomeKind::Delivered),
        (204, OutcomeKind::Delivered),
        (400, OutcomeKind::Refused),
        (404, OutcomeKind::Refused),
        (408, OutcomeKind::Unavailable),
        (410, OutcomeKind::Gone),
        (425, OutcomeKind::Unavailable),
        (429, OutcomeKind::Unavailable),
        (500, OutcomeKind::Unavailable),
        (503, OutcomeKind::Unavailable),
    ] {
        let body = if status == 204 { "" } else { "why" };
        let receiver = Receiver::http(move |_| answer(status, body)).await;
        let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
        assert_eq!((attempt.outcome, attempt.status), (outcome, Some(status)));
        assert_eq!((attempt.error, attempt.response), (None, Bytes::from_static(body.as_bytes())));
    }
}

#[tokio::test]
async fn retry_after_is_read() {
    let receiver = Receiver::http(|_| {
        let mut response = answer(503, "");
        response.headers_mut().insert("retry-after", "120".parse().unwrap());
        response
    })
    .await;
    let exchange = send(&client(), &request(&receiver.url("/"), "{}"), AMPLE).await;
    assert_eq!(exchange.response.unwrap().retry_after, Some(RetryAfter::Delay(Duration::from_mins(2))));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let bait = Receiver::http(|_| answer(200, "caught")).await;
    for status in [301, 302, 303, 307, 308] {
        for location in ["http://169.254.169.254/latest/meta-data/".to_owned(), bait.url("/")] {
            let receiver = Receiver::http(move |_| {
                let mut response = answer(status, "");
                response.headers_mut().insert("location", location.parse().unwrap());
                response
            })
            .await;
            let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
            assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Unexpected, Some(status)));
            assert!(attempt.error.unwrap().contains("redirect"));
            assert_eq!(receiver.seen().len(), 1);
        }
    }
    assert_eq!(bait.connections(), 0);
}

#[tokio::test]
async fn a_receiver_that_drips_costs_its_deadline_and_its_connection() {
    let gone = Arc::new(Notify::new());
    let noticed = Arc::clone(&gone);
    let receiver = Receiver::raw(move |mut stream, _| {
        let noticed = Arc::clone(&noticed);
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
            noticed.notify_one();
        }
    })
    .await;
    let start = Instant::now();
    let attempt = attempt(&client(), &receiver.url("/"), SHORT).await;
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT + SLACK, "{:?}", start.elapsed());
    assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Timeout, Some(200)));
    assert!(!attempt.response.is_empty() && attempt.response.len() < 1000, "{:?}", attempt.response);
    assert_eq!(attempt.error.unwrap(), "the response did not come to its end within 2s");
    timeout(AMPLE, gone.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_receiver_that_drips_its_head_or_says_nothing_costs_its_deadline() {
    for silent in [true, false] {
        let receiver = Receiver::raw(move |mut stream, _| async move {
            read_request(&mut stream).await;
            if !silent {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            }
            while !silent && stream.write_all(b"x: y\r\n").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
            closed(&mut stream).await;
        })
        .await;
        let start = Instant::now();
        let attempt = attempt(&client(), &receiver.url("/"), SHORT).await;
        assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT + SLACK, "{:?}", start.elapsed());
        assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Timeout, None));
        assert_eq!(attempt.error.unwrap(), "no response within 2s");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_read_costs_its_deadline() {
    let receiver = Receiver::raw(|stream, _| async move {
        sleep(AMPLE).await;
        drop(stream);
    })
    .await;
    // More than the socket's buffers take.
    let request = request(&receiver.url("/"), &"x".repeat(32 << 20));
    let start = Instant::now();
    let exchange = send(&client(), &request, SHORT).await;
    assert!(start.elapsed() < SHORT + SLACK, "{:?}", start.elapsed());
    assert_eq!(exchange.error.unwrap().kind(), OutcomeKind::Timeout);
}

#[tokio::test]
async fn of_an_endless_body_16_kib_are_read() {
    let gone = Arc::new(Notify::new());
    let noticed = Arc::clone(&gone);
    let receiver = Receiver::raw(move |mut stream, _| {
        let noticed = Arc::clone(&noticed);
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            let chunk = format!("3e8\r\n{}\r\n", "y".repeat(1000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            noticed.notify_one();
        }
    })
    .await;
    let start = Instant::now();
    let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
    assert!(start.elapsed() < AMPLE / 2);
    assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None));
    assert_eq!(attempt.response, "y".repeat(MAX_RESPONSE_BODY));
    timeout(AMPLE, gone.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_body_of_16_kib_is_whole_and_keeps_its_connection() {
    let receiver = Receiver::http(|_| answer(200, "z".repeat(MAX_RESPONSE_BODY))).await;
    let client = client();
    for _ in 0..3 {
        let attempt = attempt(&client, &receiver.url("/"), AMPLE).await;
        assert_eq!(attempt.response.len(), MAX_RESPONSE_BODY);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn what_is_encoded_stays_so() {
    let receiver = Receiver::http(|_| {
        Response::builder()
            .header("content-encoding", "gzip")
            .body(Full::new(Bytes::from_static(b"\x1f\x8b\x08 not even gzip")).boxed())
            .unwrap()
    })
    .await;
    let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
    assert_eq!(attempt.outcome, OutcomeKind::Delivered);
    assert_eq!(attempt.response, &b"\x1f\x8b\x08 not even gzip"[..]);
}

#[tokio::test]
async fn early_hints_are_not_the_answer() {
    let receiver = Receiver::raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        let answer = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    })
    .await;
    assert_eq!(attempt(&client(), &receiver.url("/"), AMPLE).await.status, Some(202));
}

#[tokio::test]
async fn a_connection_that_ends_its_body_is_a_whole_answer() {
    let receiver = Receiver::raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nold").await.unwrap();
    })
    .await;
    let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
    assert_eq!((attempt.outcome, attempt.response), (OutcomeKind::Delivered, Bytes::from_static(b"old")));
}

#[tokio::test]
async fn connections_that_break_are_told_from_answers() {
    const BEFORE: &str = "the connection broke before there was a response";
    const WITHIN: &str = "the connection broke before the response had come to its end";
    for (answer, status, (kept, error)) in [
        ("", None, ("", BEFORE)),
        ("HTTP/1.1 200 OK\r\ncontent-le", None, ("", BEFORE)),
        ("not HTTP at all\r\n\r\n", None, ("", "the response is not HTTP")),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", None, ("", "the response is not HTTP")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", Some(200), ("short", WITHIN)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", Some(200), ("short", WITHIN)),
    ] {
        let receiver = Receiver::raw(move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let attempt = attempt(&client(), &receiver.url("/?secret=1"), AMPLE).await;
        assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Connection, status), "{answer:?}");
        assert_eq!(attempt.response, kept, "{answer:?}");
        assert_eq!(attempt.error.as_deref(), Some(error), "{answer:?}");
        assert_eq!(receiver.connections(), 1, "what may have arrived is not sent again: {answer:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let receiver = Receiver::raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let start = Instant::now();
    let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
    assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Connection, None));
    assert_eq!(attempt.error.unwrap(), "the head of the response is too large");
    assert!(start.elapsed() < AMPLE / 2);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_the_answer() {
    let receiver = Receiver::raw(|mut stream, _| async move {
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        closed(&mut stream).await;
    })
    .await;
    let request = request(&receiver.url("/"), &"x".repeat(8 << 20));
    let exchange = send(&client(), &request, AMPLE).await;
    assert!(exchange.error.is_none(), "{:?}", exchange.error);
    let response = exchange.response.unwrap();
    assert_eq!((response.status, response.body), (413, Bytes::from_static(b"big")));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_unnoticed() {
    let receiver = Receiver::raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // Closed without a word, as balancers do.
    })
    .await;
    let client = client();
    for _ in 0..5 {
        let attempt = attempt(&client, &receiver.url("/"), AMPLE).await;
        assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None));
    }
    assert_eq!(receiver.connections(), 5);
}

#[tokio::test]
async fn nobody_listening_is_a_connection_error() {
    // Bound, so that nobody else gets the port meanwhile, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let attempt = attempt(&client(), &format!("http://{address}/?token=secret"), AMPLE).await;
    assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Connection, None));
    let error = attempt.error.unwrap();
    assert!(error.starts_with(&format!("no connection to {address}: ")), "{error}");
    assert!(!error.contains("secret"));
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_tried() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let mut split = request(&receiver.url("/"), "{}");
    split.headers = vec![("X-Name".to_owned(), "a\r\nX-Other: b".to_owned())];
    let mut get = request(&receiver.url("/"), "{}");
    get.method = "GET".to_owned();
    let user = request(&format!("http://user:pw@{}/", receiver.address), "{}");
    let port = request("http://127.0.0.1:22/", "{}");
    for request in [split, get, user, port, request("nonsense", "{}")] {
        let exchange = send(&client(), &request, AMPLE).await;
        let error = exchange.error.unwrap();
        assert_eq!(error.kind(), OutcomeKind::Unsendable, "{error}");
        assert!(error.to_string().starts_with("nothing was sent: "), "{error}");
        assert!(exchange.response.is_none());
    }
    assert_eq!(receiver.connections(), 0);
}
