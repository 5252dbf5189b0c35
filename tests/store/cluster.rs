//! What only a Redis Cluster has: accounts in several shards, and nodes of which some are away.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringback::event::{AccountName, DeliveryId};
use ringback::store::redis::{self as redis_store, Options, Redis};
use ringback::store::{
    Acceptance, Accepted, CallbackRow, DeliveryState, Jobs, NewJob, Next, PutJob, SharedStore, SourceShare,
    Store, StoreError,
};

use super::jobs::{job, past};
use super::redis::{PATIENCE, accept_in_the_end, claim_in_the_end};
use super::sample::{UNLIMITED, acceptance, callback, delivered, failed, now};
use super::{MAX_IN_FLIGHT, open_redis};
use crate::redis_cluster::{RedisCluster, wait_for};
use crate::redis_server::RedisServer;

/// So many that every shard has some.
const ACCOUNTS: usize = 150;

pub(super) fn accounts() -> Vec<AccountName> {
    (0..ACCOUNTS).map(|number| AccountName::from(format!("account-{number}"))).collect()
}

async fn open(cluster: &RedisCluster) -> SharedStore {
    Arc::new(open_redis(&cluster.url()).await)
}

pub(super) fn row_of(account: &AccountName) -> CallbackRow {
    CallbackRow { account: account.clone(), ..callback(UNLIMITED) }
}

/// An event of this account that makes a delivery to its registration.
fn event_of(row: &CallbackRow) -> Acceptance {
    let mut new = acceptance(&[row.id]);
    new.event.account = row.account.clone();
    new.dedupe.account = row.account.clone();
    new.deliveries[0].account = row.account.clone();
    new
}

async fn state_in_the_end(store: &SharedStore, account: &AccountName, id: DeliveryId) -> DeliveryState {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.delivery(account, id).await {
            Ok(view) => return view.expect("it is there").row.state,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Delivers whatever comes until these are all delivered.
async fn deliver_all(store: &SharedStore, mut open: HashSet<DeliveryId>) {
    let until = Instant::now() + PATIENCE;
    while !open.is_empty() {
        assert!(Instant::now() < until, "{} are not delivered", open.len());
        for claim in claim_in_the_end(store, MAX_IN_FLIGHT).await {
            loop {
                match store.settle(delivered(&claim)).await {
                    Ok(is_ours) => {
                        // A settlement that was repeated finds the first one's.
                        let _ = is_ours;
                        break;
                    }
                    Err(error) => assert!(Instant::now() < until, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            open.remove(&claim.lease.delivery);
        }
    }
}

/// Which of the masters has the keys of an account.
fn master_of<'a>(cluster: &'a RedisCluster, account: &AccountName) -> &'a RedisServer {
    let script = "return #redis.call('KEYS', '{rb*}:ie:' .. ARGV[1])";
    let has =
        |node: &&RedisServer| node.ask(&[b"EVAL", script.as_bytes(), b"0", account.as_bytes()]) == b":1\r\n";
    cluster.masters.iter().find(has).expect("one of them has it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_spread_and_each_process_serves_all_of_them() {
    let cluster = RedisCluster::start();
    let (intake, worker) = (open(&cluster).await, open(&cluster).await);
    let mut rows = Vec::new();
    for account in accounts() {
        let row = row_of(&account);
        intake.put_callback(row.clone()).await.unwrap();
        rows.push(row);
    }
    // One hears of them from the other, all at first and then what changes.
    let all = worker.callback_changes(0).await.unwrap();
    assert!(all.is_complete);
    rows.sort_unstable_by_key(|row| row.id);
    assert_eq!(all.changed, rows);
    let first = &rows[0];
    assert!(intake.remove_callback(&first.account, first.id).await.unwrap());
    let another = row_of(&rows[1].account);
    intake.put_callback(another.clone()).await.unwrap();
    let (mut known, mut heard, mut gone) = (all.revision, Vec::new(), Vec::new());
    while heard.is_empty() || gone.is_empty() {
        tokio::time::timeout(PATIENCE, worker.callbacks_changed(known)).await.unwrap();
        let changes = worker.callback_changes(known).await.unwrap();
        assert!(!changes.is_complete);
        heard.extend(changes.changed);
        gone.extend(changes.removed);
        known = changes.revision;
    }
    assert_eq!((heard, gone), (vec![another], vec![first.id]));

    let mut open = HashSet::new();
    for row in &rows[1..] {
        let new = event_of(row);
        assert_eq!(intake.accept(new.clone()).await.unwrap(), Accepted::Stored);
        assert!(matches!(intake.accept(new.clone()).await.unwrap(), Accepted::Duplicate(_)));
        open.insert(new.deliveries[0].id);
    }
    for node in &cluster.masters {
        let keys = String::from_utf8(node.ask(&[b"DBSIZE"])).unwrap();
        assert!(keys[1..].trim_end().parse::<usize>().unwrap() > ACCOUNTS, "each has its share: {keys}");
    }
    deliver_all(&worker, open).await;
    let audit = redis_store::audit(&cluster.url()).await.unwrap();
    assert!(audit.is_clean(), "{audit:?}");
    let delivered = ("delivered".to_owned(), ACCOUNTS as u64 - 1);
    let counts: Vec<(String, u64)> =
        audit.counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    assert!(counts.contains(&delivered), "{counts:?}");
    assert_eq!(audit.notes.len(), 3, "each master's settings are told: {:?}", audit.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_waits_is_woken_from_every_shard() {
    let cluster = RedisCluster::start();
    let (intake, worker) = (open(&cluster).await, open(&cluster).await);
    for account in accounts().iter().take(40) {
        let row = row_of(account);
        let waiting = tokio::spawn({
            let worker = Arc::clone(&worker);
            async move { worker.claim(5).await.unwrap() }
        });
        let new = event_of(&row);
        intake.accept(new.clone()).await.unwrap();
        let claims = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
        assert_eq!(claims[0].lease.delivery, new.deliveries[0].id);
        assert!(worker.settle(delivered(&claims[0])).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_one_account_delays_no_other() {
    let cluster = RedisCluster::start();
    let store = open(&cluster).await;
    let all = accounts();
    let busy = row_of(&all[0]);
    for _ in 0..100 {
        store.accept(event_of(&busy)).await.unwrap();
    }
    let others: Vec<CallbackRow> = all[1..30].iter().map(row_of).collect();
    for row in &others {
        store.accept(event_of(row)).await.unwrap();
    }
    // Each claim asks for one; no more than a round over all shards for each that the others have.
    let mut served = HashSet::new();
    let mut claimed = 0;
    while served.len() < others.len() {
        for claim in store.claim(1).await.unwrap() {
            claimed += 1;
            served.insert(claim.callback);
            assert!(store.settle(delivered(&claim)).await.unwrap());
        }
        served.remove(&busy.id);
        assert!(claimed <= 2 * others.len() + 16, "{claimed} claims for {} of the others", served.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_all_shards_are_claimed_and_announcements_of_all_told() {
    let cluster = RedisCluster::start();
    let store = open_redis(&cluster.url()).await;
    let all = accounts();
    let mut shares = Vec::new();
    let mut made = HashSet::new();
    for (number, account) in all.iter().take(40).enumerate() {
        let source = format!("source-{number}");
        let mut new = NewJob { source: source.clone(), ..job("call", past()) };
        new.call.account = account.clone();
        assert_eq!(store.put_job(new.clone(), 9).await.unwrap(), PutJob::Stored);
        assert_eq!(store.job(account, new.id).await.unwrap().unwrap().job, new);
        assert!(store.hasten_job(account, new.id).await.unwrap());
        shares.push(SourceShare { account: account.clone(), source: source.into(), max_jobs: 1 });
        made.insert(new.id);
    }
    assert_eq!(store.next_job(&shares).await.unwrap(), Some(Duration::ZERO));
    while !made.is_empty() {
        let claims = store.claim_jobs(3, &shares).await.unwrap();
        assert!((1..=3).contains(&claims.len()));
        for claim in claims {
            assert!(made.remove(&claim.lease.job));
            let far =
                super::jobs::standing(ringback::store::JobPhase::Processing, now() + Duration::from_hours(1));
            assert!(store.settle_job(claim.lease, far).await.unwrap());
        }
    }

    let store: SharedStore = Arc::new(store);
    let mut dead = HashSet::new();
    for account in all.iter().take(40) {
        let row = row_of(account);
        store.put_callback(row.clone()).await.unwrap();
        store.accept(event_of(&row)).await.unwrap();
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());
        dead.insert(row.id);
    }
    while !dead.is_empty() {
        let told = store.announcements(7).await.unwrap();
        assert!((1..=7).contains(&told.len()));
        let marks: Vec<Vec<u8>> = told.iter().map(|one| one.mark.clone()).collect();
        for one in told {
            assert!(dead.remove(&one.callback));
        }
        store.forget_announcements(&marks).await.unwrap();
    }
    assert_eq!(store.announcements(7).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_away_holds_up_its_own_accounts_only_and_comes_back() {
    let mut cluster = RedisCluster::start();
    let store = open(&cluster).await;
    let mut rows = Vec::new();
    for account in accounts() {
        let row = row_of(&account);
        store.put_callback(row.clone()).await.unwrap();
        // Something that says where it is.
        store.accept(event_of(&row)).await.unwrap();
        rows.push(row);
    }
    let first = cluster.masters[0].port();
    let (there, elsewhere): (Vec<CallbackRow>, Vec<CallbackRow>) =
        rows.into_iter().partition(|row| master_of(&cluster, &row.account).port() == first);
    assert!(!there.is_empty() && !elsewhere.is_empty());
    cluster.masters[0].kill();

    let error = store.accept(event_of(&there[0])).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    // The others go on, and whoever asks is told that events are taken.
    let mut open = HashSet::new();
    for row in elsewhere.iter().take(30) {
        let new = event_of(row);
        assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Stored);
        open.insert(new.deliveries[0].id);
    }
    store.ready().await.unwrap();
    deliver_all(&store, open).await;

    cluster.masters[0].start_again();
    let mut open = HashSet::new();
    for row in &there {
        let new = event_of(row);
        accept_in_the_end(&store, new.clone()).await;
        open.insert(new.deliveries[0].id);
    }
    deliver_all(&store, open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_when_its_master_is_killed_and_nothing_is_lost_that_it_had() {
    let mut cluster = RedisCluster::with_replica("2000");
    let store = open(&cluster).await;
    let rows: Vec<CallbackRow> = accounts().iter().map(row_of).collect();
    let mut accepted: Vec<(AccountName, DeliveryId)> = Vec::new();
    for row in &rows {
        store.put_callback(row.clone()).await.unwrap();
        let new = event_of(row);
        accept_in_the_end(&store, new.clone()).await;
        accepted.push((row.account.clone(), new.deliveries[0].id));
    }
    let held = claim_in_the_end(&store, 3).await;
    // Until the replica has what was accepted: a failover loses what has not reached it.
    let replica = cluster.replica.as_ref().unwrap();
    let offset = |node: &RedisServer, name: &str| {
        let info = String::from_utf8(node.ask(&[b"INFO", b"replication"])).unwrap();
        info.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    wait_for("the replica stays behind", || {
        let written = offset(&cluster.masters[0], "master_repl_offset:");
        written.is_some() && offset(replica, "slave_repl_offset:") == written
    });

    // Under load: events go on coming in while the master dies and the replica takes over.
    let load = tokio::spawn({
        let (store, rows) = (Arc::clone(&store), rows.clone());
        async move {
            let mut accepted = Vec::new();
            for row in &rows {
                let new = event_of(row);
                accept_in_the_end(&store, new.clone()).await;
                accepted.push((row.account.clone(), new.deliveries[0].id));
            }
            accepted
        }
    });
    cluster.masters[0].kill();
    let while_away = load.await.unwrap();
    // What was answered by the old master at its very end may not have reached the new one. Whatever
    // was accepted since by the new one, and all that the replica had, is there and is delivered.
    let mut open: HashSet<DeliveryId> = accepted.iter().map(|(_, id)| *id).collect();
    for claim in &held {
        // A lease of the old master holds.
        let until = Instant::now() + PATIENCE;
        while let Err(error) = store.settle(delivered(claim)).await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        open.remove(&claim.lease.delivery);
    }
    deliver_all(&store, open).await;
    for (account, id) in &accepted {
        assert_eq!(state_in_the_end(&store, account, *id).await, DeliveryState::Delivered);
    }
    assert_eq!(while_away.len(), ACCOUNTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_waited_for_and_found_where_it_went() {
    let cluster = RedisCluster::start();
    let store = open(&cluster).await;
    let row = row_of(&accounts()[0]);
    store.put_callback(row.clone()).await.unwrap();
    let before = event_of(&row);
    store.accept(before.clone()).await.unwrap();
    let from = master_of(&cluster, &row.account);
    let to = cluster.masters.iter().find(|node| node.port() != from.port()).unwrap();
    let text =
        |node: &RedisServer, command: &[&[u8]]| String::from_utf8_lossy(&node.ask(command)).into_owned();
    let id = |node: &RedisServer| text(node, &[b"CLUSTER", b"MYID"]).lines().nth(1).unwrap().to_owned();
    let key = "return redis.call('KEYS', '{rb*}:ie:' .. ARGV[1])[1]";
    let key = text(from, &[b"EVAL", key.as_bytes(), b"0", row.account.as_bytes()]);
    let key = key.lines().nth(1).unwrap().to_owned();
    let slot = text(from, &[b"CLUSTER", b"KEYSLOT", key.as_bytes()]);
    let slot = slot.trim_start_matches(':').trim_end().to_owned();
    let slot = slot.as_bytes();
    assert!(text(to, &[b"CLUSTER", b"SETSLOT", slot, b"IMPORTING", id(from).as_bytes()]).starts_with("+OK"));
    assert!(text(from, &[b"CLUSTER", b"SETSLOT", slot, b"MIGRATING", id(to).as_bytes()]).starts_with("+OK"));
    // Half of its keys here and half there: no script may run on a half.
    let error = store.accept(event_of(&row)).await.unwrap_err();
    assert!(error.to_string().contains("moving the slot"), "{error}");
    let port = to.port().to_string();
    loop {
        let keys = from.ask(&[b"CLUSTER", b"GETKEYSINSLOT", slot, b"1"]);
        // `*1`, `$length`, and the key, which may hold anything.
        let Some(start) = keys.strip_prefix(b"*1\r\n") else { break };
        let behind = start.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let key = &start[behind..start.len() - 2];
        let moved = from.ask(&[b"MIGRATE", b"127.0.0.1", port.as_bytes(), key, b"0", b"5000"]);
        assert!(moved.starts_with(b"+OK"), "{}", String::from_utf8_lossy(&moved));
    }
    for node in [to, from] {
        assert!(text(node, &[b"CLUSTER", b"SETSLOT", slot, b"NODE", id(to).as_bytes()]).starts_with("+OK"));
    }
    let after = event_of(&row);
    accept_in_the_end(&store, after.clone()).await;
    deliver_all(&store, [before, after].iter().map(|new| new.deliveries[0].id).collect()).await;
    assert_eq!(master_of(&cluster, &row.account).port(), to.port());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_cluster_or_one_that_loses_data_is_refused_by_name() {
    let refusal = async |url: &str| match Redis::open(url, Options::default()).await {
        Ok(_) => panic!("it must not open"),
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("unexpected: {other}"),
    };
    let single = RedisServer::start(&[]);
    let text = refusal(&single.url().replace("redis://", "redis-cluster://")).await;
    assert!(text.contains("name it as one, redis://"), "{text}");
    let cluster = RedisCluster::start();
    let node = format!("redis://127.0.0.1:{}/0", cluster.masters[1].port());
    let text = refusal(&node).await;
    assert!(text.contains("name it as one, redis-cluster://"), "{text}");

    cluster.masters[2].ask(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]);
    let text = refusal(&cluster.url()).await;
    let place = format!("127.0.0.1:{}", cluster.masters[2].port());
    assert!(text.contains("noeviction") && text.contains(&place), "{text}");
    cluster.masters[2].ask(&[b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]);
    // One that answers is enough to find the others.
    let named = format!("redis-cluster://127.0.0.1:1,127.0.0.1:{}", cluster.masters[1].port());
    let store = open_redis(&named).await;
    for account in accounts().iter().take(40) {
        assert_eq!(store.accept(event_of(&row_of(account))).await.unwrap(), Accepted::Stored);
    }
}
