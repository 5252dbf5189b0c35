//! What only the store in Redis has: other processes, and a server that can be away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringback::event::CallbackId;
use ringback::store::redis::{self as redis_store, Options, Redis};
use ringback::store::{
    Accepted, CallbackRow, Claim, DeliveryState, DestinationLimits, Next, OutcomeKind, Rate, SharedStore,
    StoreError,
};

use super::sample::{
    UNLIMITED, acceptance, account, callback, claim_now, delivered, failed, now, prove, queue, state_of,
};
use super::{open_redis, run_leases_out};
use crate::redis_server::RedisServer;

/// How long something may take that happens by itself, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

async fn open(server: &RedisServer) -> SharedStore {
    Arc::new(open_redis(&server.url()).await)
}

async fn refusal(url: &str) -> String {
    match Redis::open(url, Options::default()).await {
        Ok(_) => panic!("it must not open"),
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("unexpected: {other}"),
    }
}

pub(super) fn reason(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { reason, .. } => reason,
        other => panic!("unexpected: {other}"),
    }
}

/// Asks again until the store takes it, or has it.
pub(super) async fn accept_in_the_end(store: &SharedStore, new: ringback::store::Acceptance) -> Accepted {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.accept(new.clone()).await {
            Ok(Accepted::Conflict) => panic!("it names no call"),
            Ok(accepted) => return accepted,
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                assert!(Instant::now() < until, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

pub(super) async fn claim_in_the_end(store: &SharedStore, slots: usize) -> Vec<Claim> {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.claim(slots).await {
            Ok(claims) => return claims,
            Err(error) => {
                assert!(Instant::now() < until, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_all_processes() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&server).await, open(&server).await);
    let row = callback(DestinationLimits { max_in_flight: 3, ..UNLIMITED });
    one.put_callback(row.clone()).await.unwrap();
    prove(&one, row.id).await;
    queue(&one, row.id, 10).await;
    let first = claim_now(&one, 2).await;
    let second = claim_now(&other, 100).await;
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(claim_now(&one, 100).await.is_empty());
    // What one settles, the other may take.
    assert!(one.settle(delivered(&first[0])).await.unwrap());
    assert_eq!(claim_now(&other, 100).await.len(), 1);
    // A lease is good wherever it is shown.
    assert!(one.settle(delivered(&second[0])).await.unwrap());

    let rate = Some(Rate { count: 2, period: Duration::from_hours(1) });
    let limited = callback(DestinationLimits { rate, ..UNLIMITED });
    one.put_callback(limited.clone()).await.unwrap();
    prove(&other, limited.id).await;
    queue(&other, limited.id, 3).await;
    let started = [claim_now(&one, 5).await, claim_now(&other, 5).await].concat();
    assert_eq!(started.iter().filter(|claim| claim.callback == limited.id).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_waits_is_woken_by_another_process() {
    let server = RedisServer::start(&[]);
    let (intake, worker) = (open(&server).await, open(&server).await);
    for _ in 0..5 {
        let waiting = tokio::spawn({
            let worker = Arc::clone(&worker);
            async move { worker.claim(5).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let queued_at = Instant::now();
        queue(&intake, CallbackId::new(), 1).await;
        let claims = waiting.await.unwrap();
        // It waits 5 s at a time, so that this is no chance.
        assert!(queued_at.elapsed() < Duration::from_secs(4), "{:?}", queued_at.elapsed());
        assert!(worker.settle(delivered(&claims[0])).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_of_one_process_are_known_to_the_others_within_a_second() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&server).await, open(&server).await);
    let row = callback(UNLIMITED);
    one.put_callback(row.clone()).await.unwrap();
    let all = other.callback_changes(0).await.unwrap();
    assert!(all.is_complete);
    assert_eq!(all.changed, std::slice::from_ref(&row));

    // A busy machine may delay some, but not each of them.
    let mut known = all.clone();
    let mut delays = Vec::new();
    while delays.iter().all(|delay| *delay > Duration::from_secs(1)) {
        assert!(delays.len() < 20, "{delays:?}");
        let started = Instant::now();
        one.put_callback(row.clone()).await.unwrap();
        tokio::time::timeout(PATIENCE, other.callbacks_changed(known.revision)).await.unwrap();
        delays.push(started.elapsed());
        known = other.callback_changes(known.revision).await.unwrap();
        assert_eq!(known.changed, std::slice::from_ref(&row));
    }

    let all = known;
    let second = callback(UNLIMITED);
    one.put_callback(second.clone()).await.unwrap();
    assert!(one.remove_callback(&account(), row.id).await.unwrap());
    tokio::time::timeout(PATIENCE, other.callbacks_changed(all.revision)).await.unwrap();
    let changes = other.callback_changes(all.revision).await.unwrap();
    assert!(!changes.is_complete && changes.revision > all.revision);
    assert_eq!(
        (changes.changed.as_slice(), changes.removed.as_slice()),
        ([second.clone()].as_slice(), [row.id].as_slice())
    );

    // A pause by a receiver is a change too.
    queue(&one, second.id, 1).await;
    let claims = one.claim(1).await.unwrap();
    let mut gone = failed(&claims[0], Next::Dead("gone".to_owned()));
    gone.pause_callback = Some("410".to_owned());
    assert!(one.settle(gone).await.unwrap());
    tokio::time::timeout(PATIENCE, other.callbacks_changed(changes.revision)).await.unwrap();
    let changes = other.callback_changes(changes.revision).await.unwrap();
    assert!(changes.changed[0].limits.paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_a_process_that_died_are_ended_by_the_others() {
    let server = RedisServer::start(&[]);
    let (dies, lives) = (open(&server).await, open(&server).await);
    let ids = queue(&dies, CallbackId::new(), 1).await;
    let lost = dies.claim(1).await.unwrap();
    drop(dies);
    assert!(claim_now(&lives, 1).await.is_empty(), "it is leased still");
    run_leases_out(&server);
    let claims = tokio::time::timeout(PATIENCE, lives.claim(1)).await.unwrap().unwrap();
    assert_eq!((claims[0].lease.delivery, claims[0].attempt), (ids[0], 1));
    assert!(!lives.settle(delivered(&lost[0])).await.unwrap());
    assert!(lives.settle(delivered(&claims[0])).await.unwrap());
    let view = lives.delivery(&account(), ids[0]).await.unwrap().unwrap();
    let outcomes: Vec<_> = view.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [OutcomeKind::Crashed, OutcomeKind::Delivered]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_lasts_its_deadline_and_five_seconds() {
    let server = RedisServer::start(&[]);
    let (dies, lives) = (open(&server).await, open(&server).await);
    let row = CallbackRow { deadline: Duration::from_millis(100), ..callback(UNLIMITED) };
    dies.put_callback(row.clone()).await.unwrap();
    let ids = queue(&dies, row.id, 1).await;
    let started = Instant::now();
    assert_eq!(dies.claim(1).await.unwrap().len(), 1);
    drop(dies);
    let claims = tokio::time::timeout(PATIENCE, lives.claim(1)).await.unwrap().unwrap();
    assert_eq!(claims[0].lease.delivery, ids[0]);
    assert!(started.elapsed() >= Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_takes_nothing_new_and_drains() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    prove(&store, row.id).await;
    let ids = queue(&store, row.id, 20).await;
    server.ask(&[b"CONFIG", b"SET", b"maxmemory", b"1mb"]);
    let refused = acceptance(&[row.id]);
    let error = store.accept(refused.clone()).await.unwrap_err();
    assert_eq!(reason(&error), "Redis has no memory left");
    assert_eq!(store.event(&account(), refused.event.id).await.unwrap(), None);
    assert!(store.ready().await.is_err());
    // Retries, releases and deaths as well.
    let claims = claim_now(&store, 3).await;
    assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
    assert!(store.settle(failed(&claims[1], Next::Dead("no".to_owned()))).await.unwrap());
    store.release(vec![claims[2].lease]).await.unwrap();
    assert!(store.retry(&account(), claims[1].lease.delivery).await.unwrap());
    let until = Instant::now() + PATIENCE;
    for id in &ids {
        while state_of(&store, *id).await != DeliveryState::Delivered {
            assert!(Instant::now() < until, "it does not drain");
            for claim in claim_now(&store, 5).await {
                assert!(store.settle(delivered(&claim)).await.unwrap());
            }
        }
    }
    server.ask(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    assert_eq!(store.accept(refused).await.unwrap(), Accepted::Stored);
    store.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    for _ in 0..3 {
        queue(&store, CallbackId::new(), 1).await;
        server.ask(&[b"SCRIPT", b"FLUSH"]);
        let claims = store.claim(1).await.unwrap();
        server.ask(&[b"SCRIPT", b"FLUSH"]);
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
        server.ask(&[b"SCRIPT", b"FLUSH"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_comes_back_has_what_was_answered() {
    let mut server = RedisServer::durable();
    let store = open(&server).await;
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    prove(&store, row.id).await;
    let mut accepted = Vec::new();
    for _ in 0..5 {
        let new = acceptance(&[row.id]);
        assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Stored);
        accepted.push(new.deliveries[0].id);
        let held = store.claim(1).await.unwrap();
        server.kill();
        let while_away = acceptance(&[row.id]);
        let error = store.accept(while_away.clone()).await.unwrap_err();
        assert_eq!(reason(&error), "Redis cannot be reached");
        assert!(store.ready().await.is_err());
        server.start_again();
        // The same event again, as its provider posts it; and what was under way is still ours.
        accept_in_the_end(&store, while_away.clone()).await;
        accepted.push(while_away.deliveries[0].id);
        assert!(store.settle(delivered(&held[0])).await.unwrap());
        let claims = claim_in_the_end(&store, 1).await;
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
    }
    for id in accepted {
        assert_eq!(state_of(&store, id).await, DeliveryState::Delivered);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_loads_its_data_is_waited_for_and_has_what_was_answered() {
    let mut server = RedisServer::durable();
    let store = open(&server).await;
    // As long as a lease can be, so that it outlasts the loading on a busy machine.
    let row = CallbackRow { deadline: Duration::from_mins(1), ..callback(UNLIMITED) };
    store.put_callback(row.clone()).await.unwrap();
    prove(&store, row.id).await;
    queue(&store, row.id, 1).await;
    let held = store.claim(1).await.unwrap();
    let before = queue(&store, row.id, 3).await;
    server.make_loading_long();
    server.kill();
    server.start_loading();

    let is_loading = |error: StoreError| assert_eq!(reason(&error), "Redis is loading its data");
    // What was connected finds the connection gone at first.
    let until = Instant::now() + PATIENCE;
    while reason(&store.ready().await.unwrap_err()) != "Redis is loading its data" {
        assert!(Instant::now() < until, "{:?}", store.ready().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let while_loading = acceptance(&[row.id]);
    is_loading(store.accept(while_loading.clone()).await.unwrap_err());
    is_loading(store.put_callback(callback(UNLIMITED)).await.unwrap_err());
    is_loading(store.delivery(&account(), before[0]).await.unwrap_err());
    is_loading(store.settle(delivered(&held[0])).await.unwrap_err());
    // Whoever starts meanwhile waits for it.
    let opening = tokio::spawn({
        let url = server.url();
        async move { Arc::new(open_redis(&url).await) as SharedStore }
    });
    // Whoever waits for work is told so, or waits; either way the work comes in the end.
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { claim_in_the_end(&store, 1).await }
    });
    is_loading(store.ready().await.unwrap_err());
    assert!(!opening.is_finished() && !waiting.is_finished());

    server.finish_loading();
    let opened = tokio::time::timeout(PATIENCE, opening).await.unwrap().unwrap();
    let first = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(before.contains(&first[0].lease.delivery));
    assert!(store.settle(delivered(&held[0])).await.unwrap(), "a lease holds over it");
    assert!(store.settle(delivered(&first[0])).await.unwrap());
    // Nothing of it was written while it was refused.
    assert_eq!(store.accept(while_loading.clone()).await.unwrap(), Accepted::Stored);
    let mut open: Vec<_> = before.into_iter().filter(|id| *id != first[0].lease.delivery).collect();
    open.push(while_loading.deliveries[0].id);
    while !open.is_empty() {
        for claim in tokio::time::timeout(PATIENCE, store.claim(8)).await.unwrap().unwrap() {
            assert!(store.settle(delivered(&claim)).await.unwrap());
            open.retain(|id| *id != claim.lease.delivery);
        }
    }
    store.ready().await.unwrap();
    assert_eq!(opened.callbacks().await.unwrap(), [row]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_has_lost_its_data_is_not_used_any_more() {
    let mut server = RedisServer::start(&[]);
    let store = open(&server).await;
    store.put_callback(callback(UNLIMITED)).await.unwrap();
    server.kill();
    server.start_again();
    let until = Instant::now() + PATIENCE;
    loop {
        let error = store.accept(acceptance(&[])).await.unwrap_err();
        if reason(&error).contains("has lost its data") {
            break;
        }
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(store.ready().await.is_err());
    // Whoever starts again goes on with what is left.
    let store = open(&server).await;
    assert!(store.callbacks().await.unwrap().is_empty());
    store.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_set_aside_and_the_rest_goes_on() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    let mut ids = queue(&store, row.id, 4).await;
    ids.sort_unstable();
    let key =
        |kind: &str, index: usize| [format!("{{rb0}}:{kind}:").as_bytes(), &ids[index].to_bytes()].concat();
    server.ask(&[b"SET", &key("r", 0), b"no record"]);
    server.ask(&[b"DEL", &key("r", 1)]);
    server.ask(&[b"SET", &key("h", 2), b"q and no more"]);
    let claims = tokio::time::timeout(PATIENCE, store.claim(1)).await.unwrap().unwrap();
    assert_eq!(claims[0].lease.delivery, ids[3]);
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
    for id in &ids[..2] {
        let view = store.delivery(&account(), *id).await;
        match view {
            Ok(view) => {
                let row = view.unwrap().row;
                assert_eq!(row.state, DeliveryState::Dead);
                assert_eq!(row.reason.as_deref(), Some("its stored request cannot be read"));
            }
            Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_cannot_be_read_blocks_nobody_and_is_mended_by_its_next_registration() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let (damaged, whole) = (callback(UNLIMITED), callback(UNLIMITED));
    for row in [&damaged, &whole] {
        store.put_callback(row.clone()).await.unwrap();
        queue(&store, row.id, 3).await;
    }
    let key = [b"{rb0}:d:".as_slice(), &damaged.id.to_bytes()].concat();
    server.ask(&[b"SET", &key, b"short"]);
    let serve_three_of = async |id: CallbackId| {
        let mut count = 0;
        while count < 3 {
            for claim in tokio::time::timeout(PATIENCE, store.claim(10)).await.unwrap().unwrap() {
                assert_eq!(claim.callback, id);
                assert!(store.settle(delivered(&claim)).await.unwrap());
                count += 1;
            }
        }
    };
    serve_three_of(whole.id).await;
    let audit = redis_store::audit(&server.url()).await.unwrap();
    let found = audit.findings.iter().find(|finding| finding.subject == damaged.id.to_string()).unwrap();
    assert!(found.detail.contains("cannot be read"), "{found:?}");

    store.put_callback(damaged.clone()).await.unwrap();
    serve_three_of(damaged.id).await;
    assert_eq!(redis_store::audit(&server.url()).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_be_used_is_refused_with_what_to_do() {
    let mut server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let text = refusal(&server.url()).await;
    assert!(text.contains("CONFIG SET maxmemory-policy noeviction"), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{}", server.port())), "{text}");
    server.ask(&[b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]);

    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &server.port().to_string()]);
    let text = refusal(&replica.url()).await;
    assert!(text.contains("name its master"), "{text}");

    drop(open(&server).await);
    server.ask(&[b"HSET", b"{rb0}:n", b"F", b"99"]);
    let text = refusal(&server.url()).await;
    assert!(text.contains("newer ringback (format 99; this one reads up to "), "{text}");

    server.ask(&[b"CONFIG", b"SET", b"requirepass", b"s3cret"]);
    let with_password = format!("redis://:wrong-word@127.0.0.1:{}/0", server.port());
    let text = refusal(&with_password).await;
    assert!(text.contains("refuses the user or the password") && !text.contains("wrong-word"), "{text}");

    let url = server.url();
    server.kill();
    let text = refusal(&url).await;
    assert!(text.contains("cannot be reached"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_no_more_rights_than_needed_will_do() {
    let server = RedisServer::start(&[]);
    // As the README has it.
    let answer = server.ask(&[
        b"ACL",
        b"SETUSER",
        b"ringback",
        b"on",
        b">pass/word",
        b"~{rb0}:*",
        b"+@all",
        b"-@admin",
        b"-@dangerous",
        b"+info",
    ]);
    assert!(answer.starts_with(b"+OK"), "{}", String::from_utf8_lossy(&answer));
    let url = format!("redis://ringback:pass%2Fword@127.0.0.1:{}/0", server.port());
    let store: SharedStore = Arc::new(open_redis(&url).await);
    queue(&store, CallbackId::new(), 1).await;
    let claims = store.claim(1).await.unwrap();
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
    store.ready().await.unwrap();
}
