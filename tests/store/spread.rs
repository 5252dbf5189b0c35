//! What a store keeps beside deliveries, with accounts in several shards of a Cluster: answers that are
//! remembered, speech jobs and those who wait for them, the index of calls.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ringback::context::{CallId, CallKey};
use ringback::event::{AccountName, CallbackId, SpeechRequestId};
use ringback::store::redis::{self as redis_store, Redis};
use ringback::store::{
    Acceptance, Accepted, Answered, AnsweredRequest, CallWrite, FinishJob, JobEnd, Jobs, NewJob,
    NewSpeechRequest, PutJob, PutSpeechRequest, Remember, RequestedCall, RequestedState, SharedStore,
    SourceShare, SpeechRequests, Store,
};

use super::cluster::{accounts, row_of};
use super::jobs::{job, past};
use super::open_redis;
use super::sample::{acceptance, dedupe, delivered};
use super::searching::World;
use super::speech_requests::request;
use crate::redis_cluster::RedisCluster;

/// So many that every master has some of them, in several shards.
const SOME: usize = 60;

/// A Cluster, and two processes over it.
struct Pair {
    cluster: RedisCluster,
    one: Redis,
    other: Redis,
}

impl Pair {
    async fn start() -> Self {
        let cluster = RedisCluster::start();
        let (one, other) = (open_redis(&cluster.url()).await, open_redis(&cluster.url()).await);
        Self { cluster, one, other }
    }

    async fn nothing_is_wrong(&self) {
        assert_eq!(redis_store::audit(&self.cluster.url()).await.unwrap().findings, []);
    }
}

fn call_of(account: &AccountName) -> CallKey {
    CallKey { account: account.clone(), space: "main".into(), id: CallId::from_text("42").unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_one_account_is_another_key_for_every_other() {
    let pair = Pair::start().await;
    let remember = |account: &AccountName| Remember {
        key: [7; 32],
        answered: Answered { fingerprint: [1; 32], answer: account.as_bytes().to_vec() },
        keep: Duration::from_hours(1),
    };
    let mut rows = Vec::new();
    for account in accounts().iter().take(SOME) {
        let row = row_of(account);
        assert_eq!(pair.one.put_callback_once(row.clone(), remember(account)).await.unwrap(), None);
        rows.push(row);
    }
    for row in &rows {
        let (account, first) = (&row.account, remember(&row.account).answered);
        // Wherever it is asked again.
        let again = Remember {
            answered: Answered { answer: b"another".to_vec(), ..first.clone() },
            ..remember(account)
        };
        let answered = pair.other.put_callback_once(row_of(account), again).await.unwrap();
        assert_eq!(answered, Some(first.clone()));
        assert_eq!(pair.other.answered(account, &[7; 32]).await.unwrap(), Some(first));
        assert_eq!(pair.other.answered(account, &[8; 32]).await.unwrap(), None);
    }
    rows.sort_unstable_by_key(|row| row.id);
    assert_eq!(pair.other.callbacks().await.unwrap(), rows, "each is registered once");
    pair.nothing_is_wrong().await;
}

/// What tells of the call of an account, over the version that was read.
fn telling(
    account: &AccountName,
    read_version: u64,
    context: &str,
    waiting: &[SpeechRequestId],
) -> Acceptance {
    let callbacks: Vec<CallbackId> = waiting.iter().map(|id| (*id).into()).collect();
    let key = call_of(account);
    let mut new = acceptance(&callbacks);
    new.event.account = account.clone();
    new.event.call = Some(key.clone());
    new.dedupe = dedupe(&new.event);
    for delivery in &mut new.deliveries {
        delivery.account = account.clone();
    }
    new.answered = waiting
        .iter()
        .zip(&new.deliveries)
        .map(|(id, delivery)| AnsweredRequest { id: *id, state: RequestedState::Ready(delivery.id) })
        .collect();
    new.call = Some(CallWrite { key, read_version, context: context.as_bytes().to_vec() });
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_one_account_ends_the_wait_of_its_own_requests() {
    let pair = Pair::start().await;
    let all: Vec<AccountName> = accounts().into_iter().take(SOME).collect();
    let mut shares = Vec::new();
    let mut waits = Vec::new();
    for (number, account) in all.iter().enumerate() {
        let stored = pair.one.accept(telling(account, 0, "{}", &[])).await.unwrap();
        assert_eq!(stored, Accepted::Stored);
        // A source is of one account.
        let source = format!("source-{number}");
        let new = NewJob { source, call: call_of(account), ..job("the job", past()) };
        assert_eq!(pair.one.put_job(new.clone(), 9).await.unwrap(), PutJob::Stored);
        let version = pair.other.call(&call_of(account)).await.unwrap().unwrap().version;
        let call =
            RequestedCall { key: call_of(account), read_version: version, state: RequestedState::Submitted };
        let waiting = NewSpeechRequest { account: account.clone(), ..request(vec![call]) };
        pair.other
            .put_callback(ringback::store::CallbackRow { id: waiting.id.into(), ..row_of(account) })
            .await
            .unwrap();
        assert_eq!(pair.other.put_speech_request(waiting.clone()).await.unwrap(), PutSpeechRequest::Stored);
        shares.push(SourceShare { account: account.clone(), source: new.source.into(), max_jobs: 1 });
        waits.push((account, new.id, waiting.id));
    }

    let mut ended = HashSet::new();
    while ended.len() < all.len() {
        for claim in pair.other.claim_jobs(7, &shares).await.unwrap() {
            let call = claim.job.job.call.clone();
            let waiting = pair.other.waiting_for(&call).await.unwrap();
            assert_eq!(waiting.len(), 1);
            let version = pair.other.call(&call).await.unwrap().unwrap().version;
            let brought = telling(&call.account, version, "speech", &waiting);
            let finished = pair.other.finish_job(claim.lease, JobEnd::Completed, brought).await.unwrap();
            assert_eq!(finished, FinishJob::Accepted(Accepted::Stored));
            assert!(ended.insert(call.account));
        }
    }

    let mut open = HashSet::new();
    for (number, (account, job, request)) in waits.iter().enumerate() {
        let kept = pair.one.job(account, *job).await.unwrap().unwrap();
        assert_eq!(kept.end, Some(JobEnd::Completed));
        assert!(pair.one.waiting_for(&call_of(account)).await.unwrap().is_empty());
        let view = pair.one.speech_request(account, *request).await.unwrap().unwrap();
        let [(key, RequestedState::Ready(delivery))] = view.calls.as_slice() else { panic!("{view:?}") };
        assert_eq!(*key, call_of(account));
        open.insert(*delivery);
        // Nobody sees another's, wherever it is.
        let next = &all[(number + 1) % all.len()];
        assert!(pair.one.speech_request(next, *request).await.unwrap().is_none());
        assert!(pair.one.job(next, *job).await.unwrap().is_none());
    }
    while !open.is_empty() {
        for claim in pair.one.claim(8).await.unwrap() {
            assert!(open.remove(&claim.lease.delivery));
            assert!(pair.one.settle(delivered(&claim)).await.unwrap());
        }
    }
    pair.nothing_is_wrong().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_shard_are_indexed_and_found_by_every_process() {
    let Pair { cluster, one, other } = Pair::start().await;
    let mut world =
        World::of(&["acme", "umbrella", "globex", "initech", "hooli", "stark", "wayne", "tyrell"]);
    let (one, other) = (Arc::new(one), Arc::new(other));
    let stores: [SharedStore; 2] = [one.clone(), other.clone()];
    for round in 0..6 {
        for _ in 0..40 {
            world.tell(&stores[round % 2]).await;
        }
        for _ in 0..4 {
            world.erase(&stores[round % 2]).await;
        }
        // What is indexed and what is not yet, at whichever process.
        world.ask(&stores[0], 10).await;
        world.ask(&stores[1], 10).await;
        if round % 2 == 1 {
            other.indexed().await.unwrap();
            world.ask(&stores[0], 20).await;
        }
    }
    let noted = "local count = 0 for _, kind in ipairs({ 'in:*', 'nu' }) do \
                 count = count + #redis.call('KEYS', '{rb*}:' .. kind) end return count";
    let columns = "return #redis.call('KEYS', '{rb*}:iv:*')";
    for master in &cluster.masters {
        assert_eq!(master.ask(&[b"EVAL", noted.as_bytes(), b"0"]), b":0\r\n", "nothing is left to index");
        assert_ne!(master.ask(&[b"EVAL", columns.as_bytes(), b"0"]), b":0\r\n", "each has its share");
    }
    assert_eq!(redis_store::audit(&cluster.url()).await.unwrap().findings, []);
}
