//! The store in Redis when the way to it is bad, or leads to another server than before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringback::event::CallbackId;
use ringback::store::{Accepted, DeliveryState, SharedStore};

use super::open_redis;
use super::proxy::{Proxy, Way};
use super::redis::{PATIENCE, accept_in_the_end, claim_in_the_end, reason};
use super::sample::{UNLIMITED, acceptance, callback, delivered, prove, queue, state_of};
use crate::redis_server::RedisServer;

async fn open(proxy: &Proxy) -> SharedStore {
    Arc::new(open_redis(&proxy.url()).await)
}

/// What a store says of a Redis that it cannot use at the moment.
const AWAY: [&str; 3] = ["Redis does not answer", "Redis cannot be reached", "Redis has become a replica"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_way_is_a_slow_store() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(server.port()).await;
    let store = open(&proxy).await;
    proxy.make(Way::To(server.port(), Duration::from_millis(100)));
    let ids = queue(&store, CallbackId::new(), 1).await;
    let claims = store.claim(1).await.unwrap();
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
    assert_eq!(state_of(&store, ids[0]).await, DeliveryState::Delivered);
}

/// A Redis that does not answer from `stop` on, until `go_on`.
async fn is_waited_for(store: SharedStore, stop: impl FnOnce(), go_on: impl FnOnce()) {
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { claim_in_the_end(&store, 1).await }
    });
    stop();
    let new = acceptance(&[CallbackId::new()]);
    let error = store.accept(new.clone()).await.unwrap_err();
    assert!(AWAY.contains(&reason(&error)), "{error}");
    go_on();
    // The first may have arrived after all.
    accept_in_the_end(&store, new.clone()).await;
    let claims = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(claims[0].lease.delivery, new.deliveries[0].id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_is_waited_for() {
    let server = RedisServer::start(&[]);
    let store: SharedStore = Arc::new(open_redis(&server.url()).await);
    is_waited_for(store, || server.signal("STOP"), || server.signal("CONT")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_swallows_what_is_sent_is_waited_for() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(server.port()).await;
    let again = Way::To(server.port(), Duration::ZERO);
    is_waited_for(open(&proxy).await, || proxy.make(Way::BlackHole), || proxy.make(again)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_made_anew() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(server.port()).await;
    let store = open(&proxy).await;
    for _ in 0..5 {
        let callback = CallbackId::new();
        queue(&store, callback, 1).await;
        let claims = store.claim(1).await.unwrap();
        proxy.make(Way::Cut);
        let error = store.accept(acceptance(&[])).await.unwrap_err();
        assert!(AWAY.contains(&reason(&error)), "{error}");
        assert!(store.ready().await.is_err());
        proxy.make(Way::To(server.port(), Duration::ZERO));
        accept_in_the_end(&store, acceptance(&[])).await;
        // What was under way is still ours.
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
    }
}

/// A master, and a replica that has all of its data.
fn master_and_replica() -> (RedisServer, RedisServer) {
    let master = RedisServer::durable();
    let port = master.port().to_string();
    let replica = RedisServer::start(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]);
    (master, replica)
}

/// Waits until the replica has what the master has.
pub(super) fn is_in_step(master: &RedisServer, replica: &RedisServer) {
    let offset = |server: &RedisServer, name: &str| {
        let info = String::from_utf8(server.ask(&[b"INFO", b"replication"])).unwrap();
        info.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let written = offset(master, "master_repl_offset:");
        if written.is_some() && offset(replica, "slave_repl_offset:") == written {
            return;
        }
        assert!(Instant::now() < until, "the replica stays behind");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_promoted_goes_on_with_everything_that_it_had() {
    let (mut master, replica) = master_and_replica();
    let proxy = Proxy::to(master.port()).await;
    let store = open(&proxy).await;
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    prove(&store, row.id).await;
    let mut ids = queue(&store, row.id, 5).await;
    let held = store.claim(1).await.unwrap();
    is_in_step(&master, &replica);

    master.kill();
    let error = store.accept(acceptance(&[row.id])).await.unwrap_err();
    assert!(AWAY.contains(&reason(&error)), "{error}");
    assert!(replica.ask(&[b"REPLICAOF", b"NO", b"ONE"]).starts_with(b"+OK"));
    proxy.make(Way::To(replica.port(), Duration::ZERO));
    let new = acceptance(&[row.id]);
    accept_in_the_end(&store, new.clone()).await;
    ids.push(new.deliveries[0].id);
    assert!(store.settle(delivered(&held[0])).await.unwrap(), "a lease of the old master holds");
    let until = Instant::now() + PATIENCE;
    for id in ids {
        while state_of(&store, id).await != DeliveryState::Delivered {
            assert!(Instant::now() < until, "it is not delivered");
            for claim in claim_in_the_end(&store, 3).await {
                assert!(store.settle(delivered(&claim)).await.unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_becomes_a_replica_is_left_for_the_new_one() {
    let (master, replica) = master_and_replica();
    let proxy = Proxy::to(master.port()).await;
    let store = open(&proxy).await;
    let ids = queue(&store, CallbackId::new(), 1).await;
    is_in_step(&master, &replica);
    assert!(replica.ask(&[b"REPLICAOF", b"NO", b"ONE"]).starts_with(b"+OK"));
    let port = replica.port().to_string();
    assert!(master.ask(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).starts_with(b"+OK"));
    // The name of the server means the new master, for new connections only.
    let error = store.accept(acceptance(&[])).await.unwrap_err();
    assert!(AWAY.contains(&reason(&error)), "{error}");
    proxy.make(Way::To(replica.port(), Duration::ZERO));
    let new = acceptance(&[]);
    accept_in_the_end(&store, new.clone()).await;
    assert!(matches!(store.accept(new).await.unwrap(), Accepted::Duplicate(_)));
    let claims = claim_in_the_end(&store, 1).await;
    assert_eq!(claims[0].lease.delivery, ids[0]);
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
}
