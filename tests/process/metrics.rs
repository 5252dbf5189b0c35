//! The numbers for operators: their format, and one event followed through them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use ringback::http::Client;

use super::{callback, ended};
use crate::redis_server::RedisServer;
use crate::support::{Home, LOOPBACK, Receiver, free_port, source};

/// Samples by name and labels, as they are written in a text of Prometheus' format 0.0.4.
type Samples = BTreeMap<String, String>;

/// Reads the text, and takes nothing that the format does not.
fn parse(text: &str) -> Samples {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let (mut samples, mut families) = (Samples::new(), BTreeSet::new());
    let mut family = (String::new(), String::new());
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, sentence) = help.split_once(' ').unwrap();
            assert!(is_name(name) && sentence.ends_with('.') || name == "ringback_build_info", "{line}");
            name.clone_into(&mut helped);
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(helped, name, "help and type stand together");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.starts_with("ringback_") || name.starts_with("process_"), "{line}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (series, ""),
        };
        let base = if family.1 == "histogram" {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap()
        } else {
            name
        };
        assert_eq!(base, family.0, "{line} is of another family");
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
            assert!(is_name(label) && !value.contains(['"', '\\', '\n']), "{line}");
        }
        let number: f64 = value.parse().unwrap();
        assert!(number >= 0.0, "{line}");
        assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{series} comes twice");
        if let Some(histogram) = name.strip_suffix("_bucket") {
            // Buckets hold what those before them hold, and the last holds all.
            let below = samples.insert(format!("{histogram} below"), value.to_owned());
            let below = below.map_or(0.0, |below| below.parse().unwrap());
            assert!(below <= number, "{line} shrinks");
        }
    }
    for name in &families {
        let last = samples.get(&format!("{name}_bucket{{le=\"+Inf\"}}"));
        assert_eq!(last, samples.get(&format!("{name}_count")), "{name}");
    }
    samples
}

async fn numbers(client: &Client, url: &str) -> Samples {
    let (status, body) = client.send("GET", url, &[], "").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    parse(std::str::from_utf8(&body).unwrap())
}

/// Looks until the numbers are as expected.
async fn until(client: &Client, url: &str, expected: &[(&str, &str)]) -> Samples {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let samples = numbers(client, url).await;
        let wrong: Vec<_> = expected
            .iter()
            .filter(|(name, value)| samples.get(*name).map(String::as_str) != Some(value))
            .collect();
        if wrong.is_empty() {
            return samples;
        }
        assert!(Instant::now() < end, "{wrong:?} in {samples:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn an_event_is_followed_through_the_numbers(store: Option<&str>, measured: &str) {
    let port = free_port();
    let rest = format!(
        "{}{}{LOOPBACK}",
        source("dialer", "commpeak", "rate_limit = \"1000/s\""),
        source("quiet", "commpeak", ""),
    );
    let home = match store {
        Some(store) => Home::with_store(store, &rest),
        None => Home::new(&rest),
    };
    let config = std::fs::read_to_string(home.path("ringback.toml")).unwrap();
    let config = format!("operator_listen = \"127.0.0.1:{port}\"\n{config}");
    std::fs::write(home.path("ringback.toml"), config).unwrap();
    let process = home.start();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let client = Client::new();

    // Nowhere else, and only to be read.
    assert_eq!(client.send("GET", &home.url("/metrics"), &[], "").await.unwrap().0, StatusCode::NOT_FOUND);
    assert_eq!(client.send("POST", &url, &[], "").await.unwrap().0, StatusCode::METHOD_NOT_ALLOWED);
    let ready = format!("http://127.0.0.1:{port}/readyz");
    assert_eq!(client.send("GET", &ready, &[], "").await.unwrap().0, StatusCode::OK);
    let first = numbers(&client, &url).await;
    assert_eq!(first["ringback_store_up"], "1");
    assert_eq!(first["ringback_events_total{outcome=\"accepted\",source=\"dialer\"}"], "0");
    assert_eq!(first[&format!("ringback_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], "1");
    assert_eq!(first["ringback_last_claim_timestamp_seconds"], "0");

    // The first attempt fails, the second is taken; another registration is paused.
    let receiver = Receiver::start_failing_first(StatusCode::SERVICE_UNAVAILABLE).await;
    home.register(&client, &callback(&receiver.url())).await;
    let paused = home.register(&client, &callback(&receiver.url())).await;
    let pause = format!("/v1/callbacks/{}/pause", paused["id"].as_str().unwrap());
    assert_eq!(home.call(&client, "POST", &pause, "{}").await.0, StatusCode::OK);
    let told = async |body: String| {
        client.send("POST", &home.url("/v1/ingest/dialer"), &[], body).await.unwrap().0.as_u16()
    };
    assert_eq!(told(ended("c-secret-1")).await, 200);
    assert_eq!(told(ended("c-secret-1")).await, 200);
    assert_eq!(told("{".to_owned()).await, 422);
    assert_eq!(told("x".repeat((4 << 20) + 1)).await, 413);

    let samples = until(
        &client,
        &url,
        &[
            ("ringback_events_total{outcome=\"accepted\",source=\"dialer\"}", "1"),
            ("ringback_events_total{outcome=\"duplicate\",source=\"dialer\"}", "1"),
            ("ringback_events_total{outcome=\"rejected\",source=\"dialer\"}", "1"),
            ("ringback_events_total{outcome=\"invalid\",source=\"dialer\"}", "1"),
            ("ringback_events_total{outcome=\"accepted\",source=\"quiet\"}", "0"),
            ("ringback_accept_duration_seconds_count", "1"),
            ("ringback_attempts_total{outcome=\"unavailable\"}", "1"),
            ("ringback_attempts_total{outcome=\"delivered\"}", "1"),
            ("ringback_attempt_duration_seconds_count", "2"),
            ("ringback_retries_total", "1"),
            ("ringback_deliveries_total{state=\"delivered\"}", "1"),
            ("ringback_deliveries_total{state=\"dead\"}", "0"),
            ("ringback_attempts_in_flight", "0"),
            ("ringback_deliveries_open{state=\"queued\"}", "1"),
            ("ringback_deliveries_open{state=\"leased\"}", "0"),
            ("ringback_callbacks_paused", "1"),
            ("ringback_circuits_open", "0"),
            ("ringback_oldest_due_seconds", "0"),
            ("ringback_jobs_open{state=\"waiting\"}", "0"),
        ],
    )
    .await;
    assert_ne!(samples["ringback_last_claim_timestamp_seconds"], "0");
    assert_ne!(samples[&format!("{measured}_count")], "0");
    // Nothing in them tells one call, customer or receiver from another.
    let (_, body) = client.send("GET", &url, &[], "").await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    for secret in ["acme", "c-secret-1", "Ann", "rbk_", "cb_", "dl_", "ev_", "hook"] {
        assert!(!text.contains(secret), "`{secret}` is in the numbers:\n{text}");
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_followed_through_the_numbers_of_a_process_with_its_own_store() {
    an_event_is_followed_through_the_numbers(None, "ringback_store_commit_duration_seconds").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_followed_through_the_numbers_of_a_process_over_redis() {
    let mut server = RedisServer::start(&[]);
    an_event_is_followed_through_the_numbers(Some(&server.url()), "ringback_store_script_duration_seconds")
        .await;
    server.kill();
}
