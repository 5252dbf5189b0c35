//! What delivery costs where it could suffer, with real processes: `cargo bench --bench delivery`.
//!
//! - `dead`: how long it takes from posting an event to its callback's arrival, alone, and beside 1,000
//!   destinations that are down, half of which refuse connections and half never answer.
//! - `two`: what two processes on one Redis deliver, against one, where every receiver takes 50 ms and
//!   each process has 64 slots, so that neither a core nor Redis is the limit.
//!
//! With `-- --test` both run once and short; a name runs one part.

#[path = "../tests/redis_server.rs"]
#[allow(dead_code, reason = "it serves the tests too")]
mod redis_server;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "it serves the tests too")]
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::redis_server::RedisServer;
use self::support::{Home, Receiver};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_asked = |word: &str| arguments.iter().any(|argument| argument == word);
    let is_any_named = is_asked("dead") || is_asked("two");
    let is_test = is_asked("--test");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads start");
    runtime.block_on(async {
        if is_asked("dead") || !is_any_named {
            dead(is_test).await;
        }
        if is_asked("two") || !is_any_named {
            two(is_test).await;
        }
    });
}

fn config(max_in_flight: usize) -> String {
    let source = |name: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\naccount = \"acme\"\nprovider = \"commpeak\"\n\
             verify = {{ scheme = \"none\" }}\n"
        )
    };
    format!(
        "{}{}[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nmax_in_flight = {max_in_flight}\n",
        source("one"),
        source("other")
    )
}

/// A registration for the events of one source; a busy account is asked to wait now and then.
async fn register(home: &Home, client: &Client, url: &str, source: &str, max_in_flight: usize) -> String {
    let callback = json!({
        "callback_url": url,
        "callback_method": "POST",
        "callback_data": r#"{"call": "{call_id}"}"#,
        "events": ["call.ended"],
        "sources": [source],
        "max_in_flight": max_in_flight,
    });
    id_of(&asked(home, client, "/v1/callbacks", &callback).await)
}

/// The answer to a POST, which is sent again while there are too many.
async fn asked(home: &Home, client: &Client, path: &str, body: &Value) -> Value {
    loop {
        let (status, answer) = home.call(client, "POST", path, body.to_string()).await;
        if status.is_success() {
            return answer;
        }
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn id_of(registered: &Value) -> String {
    registered["id"].as_str().expect("it has an id").to_owned()
}

async fn post(home: &Home, client: &Client, source: &str, call: &str) {
    let event = json!({"call_id": call, "end_at": "2026-03-30 14:27:12"}).to_string();
    let url = home.url(&format!("/v1/ingest/{source}"));
    let (status, body) = client.send("POST", &url, &[], event).await.expect("it answers");
    assert_eq!(status, StatusCode::OK, "{body:?}");
}

/// Takes turns with and without the dead, so that what else the machine does reaches both.
async fn dead(is_test: bool) {
    let (dead, events, rounds) = if is_test { (20, 20, 1) } else { (1_000, 1_000, 5) };
    println!("\nbeside {dead} destinations that are down: from the event to its callback");
    let mut latencies = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (index, latencies) in latencies.iter_mut().enumerate() {
            latencies.extend(healthy(index * dead, events).await);
        }
    }
    let mut highest = Vec::new();
    for (name, latencies) in ["alone", "beside them"].into_iter().zip(&mut latencies) {
        latencies.sort_unstable();
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
        println!("{name:<14} p50 {:>9.2?}   p99 {:>9.2?}", at(50), at(99));
        highest.push(at(99).as_secs_f64());
    }
    println!("p99 beside them / alone: {:.2}", highest[1] / highest[0]);
}

/// How long each of some callbacks took to a healthy receiver, with so many dead ones.
async fn healthy(dead: usize, events: usize) -> Vec<Duration> {
    let home = Home::new(&config(512));
    let process = home.start();
    let client = Client::new();
    let arrived: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let receiver = {
        let arrived = Arc::clone(&arrived);
        Receiver::start(move |_, received| {
            let call = received.json()["call"].as_str().expect("the template says so").to_owned();
            arrived.lock().expect("nobody panics").insert(call, Instant::now());
            StatusCode::OK
        })
        .await
    };
    register(&home, &client, &receiver.url(), "one", 64).await;
    // Accepts connections by its backlog, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = format!("http://{}/", silent.local_addr().expect("it is bound"));
    let refusing = format!("http://127.0.0.1:{}/", support::free_port());
    for number in 0..dead {
        let url = if number % 2 == 0 { &silent } else { &refusing };
        register(&home, &client, url, "other", 64).await;
    }
    let mut posted = Vec::new();
    for number in 0..events {
        if number.is_multiple_of(100) {
            // One more delivery to each of the dead.
            post(&home, &client, "other", &format!("dead-{number}")).await;
        }
        let call = format!("call-{number}");
        posted.push((call.clone(), Instant::now()));
        post(&home, &client, "one", &call).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let until = Instant::now() + Duration::from_mins(1);
    while arrived.lock().expect("nobody panics").len() < events {
        assert!(Instant::now() < until, "callbacks are missing");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.kill();
    let arrived = arrived.lock().expect("nobody panics");
    posted.iter().map(|(call, posted)| arrived[call] - *posted).collect()
}

async fn two(is_test: bool) {
    let waiting = if is_test { 320 } else { 16_000 };
    println!("\nreceivers that take 50 ms, 64 slots a process, {waiting} deliveries over Redis");
    let mut rates = Vec::new();
    for processes in [1, 2] {
        let rate = delivered_a_second(processes, waiting).await;
        println!("{processes} process(es) {rate:>7.0}/s");
        rates.push(rate);
    }
    println!("two / one: {:.2}", rates[1] / rates[0]);
}

/// What so many processes deliver of a backlog.
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
async fn delivered_a_second(processes: usize, waiting: usize) -> f64 {
    const DESTINATIONS: usize = 16;
    let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let homes: Vec<Home> = (0..processes).map(|_| Home::with_store(&server.url(), &config(64))).collect();
    let running: Vec<_> = homes.iter().map(Home::start).collect();
    let client = Client::new();
    let count = Arc::new(AtomicUsize::new(0));
    let receiver = slow_receiver(Arc::clone(&count)).await;
    let mut ids = Vec::new();
    for _ in 0..DESTINATIONS {
        ids.push(register(&homes[0], &client, &receiver, "one", 64).await);
    }
    // Each has shown that it takes deliveries, so that all slots are for it.
    post(&homes[0], &client, "one", "first").await;
    until(&count, DESTINATIONS).await;
    for id in &ids {
        asked(&homes[0], &client, &format!("/v1/callbacks/{id}/pause"), &json!({})).await;
    }
    for number in 0..waiting / DESTINATIONS {
        post(&homes[0], &client, "one", &format!("call-{number}")).await;
    }
    for id in &ids {
        asked(&homes[0], &client, &format!("/v1/callbacks/{id}/resume"), &json!({})).await;
    }
    // Not the beginning, while slots fill, nor the end, while they empty.
    until(&count, DESTINATIONS + waiting / 10).await;
    let (started, first) = (Instant::now(), count.load(Ordering::Relaxed));
    until(&count, DESTINATIONS + waiting * 9 / 10).await;
    let (time, last) = (started.elapsed(), count.load(Ordering::Relaxed));
    running.into_iter().for_each(support::Process::kill);
    (last - first) as f64 / time.as_secs_f64()
}

async fn until(count: &AtomicUsize, enough: usize) {
    let until = Instant::now() + Duration::from_mins(2);
    while count.load(Ordering::Relaxed) < enough {
        assert!(Instant::now() < until, "only {} of {enough} arrived", count.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A receiver that answers after 50 ms; it counts what it has answered. Its URL.
async fn slow_receiver(count: Arc<AtomicUsize>) -> String {
    use http_body_util::{BodyExt, Empty};
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            let count = Arc::clone(&count);
            let service = service_fn(move |request: Request<Incoming>| {
                let count = Arc::clone(&count);
                async move {
                    request.into_body().collect().await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}
