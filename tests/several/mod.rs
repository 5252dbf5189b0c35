//! Several processes over one Redis: what they promise when one of them, or Redis, is killed.

mod tls;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use ringback::http::Client;
use serde_json::{Value, json};

use crate::redis_server::RedisServer;
use crate::store::run_leases_out;
use crate::support::{Home, OPEN_DIALER, Process, Received, Receiver, by_id, soon_again};

fn two_homes(server: &RedisServer) -> [Arc<Home>; 2] {
    [(); 2].map(|()| Arc::new(Home::with_store(&server.url(), OPEN_DIALER)))
}

fn callback(url: &str) -> Value {
    json!({
        "callback_url": url,
        "callback_method": "POST",
        "callback_data": r#"{"call": "{call_id}", "delivery": "{delivery_id}"}"#,
        "events": ["call.ended"],
        "retry": soon_again(),
    })
}

/// Providers that post events to all processes in turn, each until one has answered it with 200.
struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<HashSet<String>>>,
    loaders: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(homes: &[Arc<Home>; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(Mutex::new(HashSet::new()));
        let next = Arc::new(AtomicUsize::new(0));
        let loaders = (0..8)
            .map(|_| {
                let (homes, stop, accepted, next) =
                    (homes.clone(), Arc::clone(&stop), Arc::clone(&accepted), Arc::clone(&next));
                tokio::spawn(async move {
                    let client = Client::new();
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let call = format!("call-{number}");
                        let event = json!({"call_id": call, "end_at": "2026-03-30 14:27:12"}).to_string();
                        for attempt in number.. {
                            let url = homes[attempt % 2].url("/v1/ingest/dialer");
                            match client.send("POST", &url, &[], event.clone()).await {
                                Ok((StatusCode::OK, _)) => break,
                                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) | Err(_) => {
                                    tokio::time::sleep(Duration::from_millis(20)).await;
                                }
                                Ok((status, body)) => panic!("{status}: {body:?}"),
                            }
                        }
                        accepted.lock().unwrap().insert(call);
                    }
                })
            })
            .collect();
        Self { stop, accepted, loaders }
    }

    /// Waits until so many more events were accepted.
    async fn wait_for(&self, more: usize) {
        let count = || self.accepted.lock().unwrap().len();
        let (enough, until) = (count() + more, Instant::now() + Duration::from_mins(1));
        while count() < enough {
            assert!(Instant::now() < until, "only {} events were accepted", count());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) -> HashSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for loader in self.loaders {
            loader.await.unwrap();
        }
        let accepted = self.accepted.lock().unwrap();
        accepted.clone()
    }
}

fn calls(seen: &[Received]) -> HashSet<String> {
    seen.iter().map(|received| received.json()["call"].as_str().unwrap().to_owned()).collect()
}

/// The load ends, every event that was accepted arrives, under one id and with one body, and an audit
/// finds nothing wrong.
async fn everything_arrives_in_the_end(
    homes: &[Arc<Home>; 2],
    server: &RedisServer,
    load: Load,
    receiver: &Receiver,
) {
    let accepted = load.end().await;
    run_leases_out(server);
    let seen = receiver.wait_until(Duration::from_mins(2), |seen| accepted.is_subset(&calls(seen))).await;
    let mut deliveries: HashMap<String, HashSet<String>> = HashMap::new();
    for (id, requests) in by_id(&seen) {
        assert!(requests.iter().all(|request| request.body == requests[0].body), "{id} changed its body");
        let call = requests[0].json()["call"].as_str().unwrap().to_owned();
        deliveries.entry(call).or_default().insert(id);
    }
    for (call, ids) in deliveries {
        assert_eq!(ids.len(), 1, "{call} was delivered under several ids");
    }
    assert_eq!(homes[0].audit()["clean"], true);
}

/// Waits until a process knows a registration that another took in.
async fn is_known(home: &Home, client: &Client, id: &str) {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let (status, _) = home.call(client, "GET", &format!("/v1/callbacks/{id}"), "").await;
        if status == StatusCode::OK {
            return;
        }
        assert!(Instant::now() < until, "{id} is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Registers a receiver at the first process, for both to deliver to; the registration's id.
async fn register(homes: &[Arc<Home>; 2], client: &Client, receiver: &Receiver) -> String {
    let registered = homes[0].register(client, &callback(&receiver.url())).await;
    let id = registered["id"].as_str().unwrap();
    is_known(&homes[1], client, id).await;
    id.to_owned()
}

/// Two processes on one Redis, a load on both, and a receiver that fails now and then.
struct Two {
    homes: [Arc<Home>; 2],
    processes: [Process; 2],
    receiver: Receiver,
    client: Client,
    load: Load,
}

impl Two {
    async fn under_load(server: &RedisServer) -> Self {
        let homes = two_homes(server);
        let processes = homes.each_ref().map(|home| home.start());
        let (receiver, client) = (Receiver::start_failing().await, Client::new());
        register(&homes, &client, &receiver).await;
        let load = Load::start(&homes);
        Self { homes, processes, receiver, client, load }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_one_of_two_processes_is_killed() {
    let server = RedisServer::durable();
    let Two { homes, mut processes, receiver, load, .. } = Two::under_load(&server).await;
    for kill in 0..6 {
        load.wait_for(20).await;
        let [one, other] = processes;
        processes = if kill % 2 == 0 {
            one.kill();
            // The other one goes on alone, and has what the dead one held.
            load.wait_for(20).await;
            run_leases_out(&server);
            [homes[0].start(), other]
        } else {
            other.kill();
            load.wait_for(20).await;
            run_leases_out(&server);
            [one, homes[1].start()]
        };
    }
    // While both work.
    assert_eq!(homes[0].audit()["clean"], true);
    everything_arrives_in_the_end(&homes, &server, load, &receiver).await;
    for process in processes {
        process.signal("TERM");
        assert_eq!(process.wait(Duration::from_mins(1)), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_redis_is_killed() {
    let mut server = RedisServer::durable();
    let Two { homes, processes: _processes, receiver, client, load } = Two::under_load(&server).await;
    for _ in 0..5 {
        load.wait_for(40).await;
        server.kill();
        // Readiness says so meanwhile.
        let (status, _) = client.send("GET", &homes[0].url("/readyz"), &[], "").await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        server.start_again();
    }
    load.wait_for(40).await;
    // While both work.
    assert_eq!(homes[0].audit()["clean"], true);
    everything_arrives_in_the_end(&homes, &server, load, &receiver).await;
    let (status, _) = client.send("GET", &homes[0].url("/readyz"), &[], "").await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_redis_comes_back_and_loads_its_data() {
    let mut server = RedisServer::durable();
    let Two { homes, processes: _processes, receiver, client, load } = Two::under_load(&server).await;
    load.wait_for(40).await;
    server.make_loading_long();
    server.kill();
    server.start_loading();
    let event = json!({"call_id": "while it loads", "end_at": "2026-03-30 14:27:12"}).to_string();
    for home in &homes {
        let (status, _) =
            client.send("POST", &home.url("/v1/ingest/dialer"), &[], event.clone()).await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let (status, _) = client.send("GET", &home.url("/readyz"), &[], "").await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    server.finish_loading();
    load.wait_for(40).await;
    everything_arrives_in_the_end(&homes, &server, load, &receiver).await;
    assert!(!calls(&receiver.seen()).contains("while it loads"), "what was refused was not taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_changed_at_one_process_and_followed_by_the_other() {
    let server = RedisServer::start(&[]);
    let homes = two_homes(&server);
    let _processes = homes.each_ref().map(|home| home.start());
    let (receiver, client) = (Receiver::start(|_, _| StatusCode::OK).await, Client::new());
    let id = register(&homes, &client, &receiver).await;

    // What one accepts, either may deliver, signed with the same secret.
    let post = async |home: &Home, call: &str| {
        let event = json!({"call_id": call, "end_at": "2026-03-30 14:27:12"}).to_string();
        client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap()
    };
    assert_eq!(post(&homes[1], "c1").await.0, StatusCode::OK);
    receiver.wait_for(1).await;
    // The same event at the other process is the same event.
    let (_, answer) = post(&homes[0], "c1").await;
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap()["duplicate"], true);

    // Removed at the one that did not take it in, and unknown everywhere soon.
    let (status, _) = homes[1].call(&client, "DELETE", &format!("/v1/callbacks/{id}"), "").await;
    assert!(status.is_success(), "{status}");
    let until = Instant::now() + Duration::from_mins(1);
    while homes[0].call(&client, "GET", &format!("/v1/callbacks/{id}"), "").await.0 != StatusCode::NOT_FOUND {
        assert!(Instant::now() < until, "it is known still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
