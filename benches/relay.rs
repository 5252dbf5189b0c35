//! The whole path against a bare hyper relay: `cargo bench --bench relay`.
//!
//! The relay is the least that anybody could do: accept a POST, forward its body to the receiver,
//! answer. It keeps nothing and promises nothing. Ringback verifies, merges, renders, makes the
//! event, its context and its delivery durable on disk, answers, and delivers. Both run as a
//! process of their own beside the same load and the same receiver, so that the ratio is what the
//! promises cost on this machine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "rbk_bench";

/// Requests that wait for their answer at a time: providers post side by side.
const WAITING: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, receiver] = arguments.as_slice()
        && role == "relay"
    {
        return runtime().block_on(relay(receiver.clone()));
    }
    // `cargo bench -- --test` runs once, short: so that the bench keeps working.
    let quick = arguments.iter().any(|argument| argument == "--test");
    let time = if quick { Duration::from_millis(500) } else { Duration::from_secs(8) };
    runtime().block_on(compare(time, quick));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A body of about 1 KB, as a dialer posts it at the end of a call; each has a call of its own.
fn event(number: usize) -> String {
    format!(
        r#"{{"call_id":"call-{number}","start_at":"2026-03-30 14:22:00","end_at":"2026-03-30 14:27:12","call_duration":312,"call_bill_duration":287,"caller_user_id":17,"caller_username":"anna.k","agent_callerid_name":"Support","agent_callerid_number":"+12025550100","user_group_id":4,"object_id":90210,"weight":10,"status_id_before":1,"status_id_after":3,"status_before":"new","status_after":"interested","campaign_id":12,"campaign_name":"Spring \"offer\" 2026","assigned_user_id":17,"assigned_username":"anna.k","lead_id":55501,"country_name":"Portugal","first_name":"Ann","last_name":"Example","phone_normalized":"+351210000000","original_identifier":"crm-7781","support_site":"help.example.com","purchase_site":"shop.example.com","purchase_date":"2026-01-15","purchase_product_name":"Annual plan","purchase_card_name":"VISA","email":"ann@example.com","birthdate":"1990-05-17","speech_task_state":"pending","custom":{{"crm_owner":"anna"}}}}"#
    )
}

const TEMPLATE: &str = r#"{"call": {call_id}, "start": {start_at}, "end": {end_at}, "seconds": {call_duration},
 "agent": {"id": {caller_user_id}, "name": "{caller_username}"},
 "campaign": {"id": {campaign_id}, "name": {campaign_name}, "status": "{status_before} -> {status_after}"},
 "lead": {"id": {lead_id}, "crm": {original_identifier}, "name": "{first_name} {last_name}", "mail": {email},
  "phone": {phone_normalized}, "country": {country_name}, "bought": {purchase_product_name}}}"#;

/// What one side did.
struct Outcome {
    /// Events answered with 200 a second.
    events: f64,
    /// Callbacks that reached the receiver a second, until the last one was there.
    callbacks: f64,
    p50: Duration,
    p99: Duration,
}

async fn compare(time: Duration, quick: bool) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let receiver = receive(Arc::clone(&arrived)).await;
    println!(
        "{WAITING} requests waiting at a time, events of {} bytes, {} s each",
        event(0).len(),
        time.as_secs_f64()
    );
    let rounds = if quick { 1 } else { 2 };
    let (mut relays, mut ringbacks) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        relays.push(bare_relay(receiver, &arrived, time).await);
        ringbacks.push(ringback(receiver, &arrived, time).await);
    }
    let best = |outcomes: Vec<Outcome>| {
        outcomes.into_iter().max_by(|a, b| a.events.total_cmp(&b.events)).expect("a round at least")
    };
    let (relay, ringback) = (best(relays), best(ringbacks));
    println!("{:<14} {:>10} {:>12} {:>10} {:>10}", "", "events/s", "callbacks/s", "p50", "p99");
    for (name, outcome) in [("hyper relay", &relay), ("ringback", &ringback)] {
        println!(
            "{name:<14} {:>10.0} {:>12.0} {:>7.2} ms {:>7.2} ms",
            outcome.events,
            outcome.callbacks,
            outcome.p50.as_secs_f64() * 1e3,
            outcome.p99.as_secs_f64() * 1e3,
        );
    }
    println!(
        "ringback / relay: {:.2} of its events a second, {:.2} of its callbacks a second",
        ringback.events / relay.events,
        ringback.callbacks / relay.callbacks,
    );
}

/// The relay, in a process of its own.
async fn bare_relay(receiver: SocketAddr, arrived: &AtomicUsize, time: Duration) -> Outcome {
    let me = std::env::current_exe().expect("this program");
    let mut relay = Command::new(me)
        .args(["relay", &format!("http://{receiver}/")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the relay");
    let address = first_line(&mut relay).parse().expect("the relay's address");
    let outcome = load(address, "/", arrived, time).await;
    stop(relay);
    outcome
}

/// Ringback, in a process of its own, with a store on this folder's disk.
async fn ringback(receiver: SocketAddr, arrived: &AtomicUsize, time: Duration) -> Outcome {
    let home =
        tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let sha256 = ringback::config::TokenHash::of(TOKEN);
    let config = home.path().join("ringback.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nstore = \"sqlite:{}\"\n\
         [[account]]\nname = \"acme\"\ntokens = [{{ sha256 = \"{sha256}\" }}]\n\
         [[source]]\nname = \"dialer\"\naccount = \"acme\"\nprovider = \"commpeak\"\nverify = {{ scheme = \"none\" }}\n\
         [delivery]\nallow_networks = [\"127.0.0.0/8\"]\n",
        home.path().join("ringback.db").display()
    );
    std::fs::write(&config, text).expect("the configuration");
    let mut server = Command::new(env!("CARGO_BIN_EXE_ringback"))
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .env("RINGBACK_LOG", "warn")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ringback");
    let line = first_line(&mut server);
    let address: SocketAddr =
        line.rsplit("http://").next().and_then(|text| text.trim().parse().ok()).expect("its address");
    let client = ringback::http::Client::new();
    let callback = serde_json::json!({
        "callback_url": format!("http://{receiver}/"),
        "callback_method": "POST",
        "callback_data": TEMPLATE,
        "events": ["call.ended"],
        "max_in_flight": 256,
    });
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let url = format!("http://{address}/v1/callbacks");
    let (status, body) = client.send("POST", &url, &headers, callback.to_string()).await.expect("an answer");
    assert_eq!(status, StatusCode::CREATED, "{body:?}");
    let outcome = load(address, "/v1/ingest/dialer", arrived, time).await;
    stop(server);
    outcome
}

/// The first line that a process prints; the rest is read away.
fn first_line(child: &mut Child) -> String {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = lines.next().expect("a line").expect("text");
    std::thread::spawn(move || lines.for_each(drop));
    line
}

fn stop(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Posts events for so long, then waits until each of them was received.
async fn load(address: SocketAddr, path: &'static str, received: &AtomicUsize, time: Duration) -> Outcome {
    received.store(0, Ordering::Relaxed);
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..WAITING)
        .map(|_| {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await.expect("a connection");
                stream.set_nodelay(true).expect("a socket option");
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
                tokio::spawn(connection);
                let mut latencies = Vec::new();
                while started.elapsed() < time {
                    let body = event(next.fetch_add(1, Ordering::Relaxed));
                    let request = Request::post(path)
                        .header("host", "bench")
                        .header("content-type", "application/json")
                        .body(Full::new(Bytes::from(body)))
                        .expect("a request");
                    let begun = Instant::now();
                    let answer = sender.send_request(request).await.expect("an answer");
                    assert_eq!(answer.status(), StatusCode::OK);
                    answer.into_body().collect().await.expect("a body");
                    latencies.push(begun.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a loader"));
    }
    let answered = started.elapsed().as_secs_f64();
    while received.load(Ordering::Relaxed) < latencies.len() {
        assert!(started.elapsed() < time + Duration::from_mins(2), "callbacks are missing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let delivered = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let count = latencies.len();
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    Outcome {
        events: count as f64 / answered,
        callbacks: count as f64 / delivered,
        p50: latencies[count / 2],
        p99: latencies[count * 99 / 100],
    }
}

/// A receiver that counts.
async fn receive(received: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            let received = Arc::clone(&received);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let received = Arc::clone(&received);
                    async move {
                        let _ = request.into_body().collect().await;
                        received.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// The bare relay: accept a POST, forward its body, answer.
async fn relay(receiver: String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Pool<_, Full<Bytes>> = Pool::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let (pool, receiver) = (pool.clone(), receiver.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (pool, receiver) = (pool.clone(), receiver.clone());
                async move {
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    let forward = Request::post(receiver).body(Full::new(body)).expect("a request");
                    let answer = pool.request(forward).await.expect("an answer");
                    let _ = answer.into_body().collect().await;
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
