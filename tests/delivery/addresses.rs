//! Addresses that must not be dialled.

use std::time::{Duration, Instant};

use ringback::delivery::{Client, ClientSettings};
use ringback::destination::AddressPolicy;
use ringback::store::OutcomeKind;

use super::receiver::{Receiver, answer, attempt, client};

const AMPLE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_stored_url_is_judged_by_the_policy_of_now() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let port = receiver.address.port();
    let strict = Client::new(ClientSettings::default()).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.０.０.１",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "0",
        "localhost",
        "x.localhost.",
    ] {
        let attempt = attempt(&strict, &format!("http://{host}:{port}/"), AMPLE).await;
        assert_eq!(attempt.outcome, OutcomeKind::AddressRefused, "{host}");
        assert_eq!(attempt.status, None);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn every_spelling_of_an_allowed_address_is_dialled() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let port = receiver.address.port();
    for host in ["127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST"] {
        let attempt = attempt(&client(), &format!("http://{host}:{port}/"), AMPLE).await;
        assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None), "{host}");
    }
}

/// With loopback allowed for IPv6 only, `localhost` passes the URL's check, and what it resolves
/// to decides: here the look-up is what meets the policy.
#[tokio::test]
async fn a_name_that_resolves_to_refused_addresses_only_is_not_dialled() {
    let receiver = Receiver::http(|_| answer(200, "")).await;
    let policy = AddressPolicy::new(vec!["::1/128".parse().unwrap()]);
    let elsewhere = Client::new(ClientSettings { policy, ..ClientSettings::default() }).unwrap();
    let attempt = attempt(&elsewhere, &format!("http://localhost:{}/", receiver.address.port()), AMPLE).await;
    // Where `localhost` is ::1 too, that is dialled, and nobody listens there.
    let (kind, words) = match attempt.outcome {
        OutcomeKind::Connection => (OutcomeKind::Connection, "no connection to [::1]"),
        _ => (
            OutcomeKind::AddressRefused,
            "`localhost` resolves to an address that must not be dialled (loopback)",
        ),
    };
    assert_eq!(attempt.outcome, kind);
    assert!(attempt.error.as_ref().unwrap().starts_with(words), "{:?}", attempt.error);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_a_dns_error() {
    // A label of more than 63 bytes: no resolver needs to be asked.
    let name = format!("{}.example", "a".repeat(64));
    let start = Instant::now();
    let attempt = attempt(&client(), &format!("https://{name}/?q=secret"), AMPLE).await;
    assert_eq!(attempt.outcome, OutcomeKind::Dns);
    assert!(attempt.error.unwrap().starts_with(&format!("the name `{name}` could not be resolved: ")));
    assert!(start.elapsed() < AMPLE / 2);
}
