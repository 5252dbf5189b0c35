//! Speech jobs that several processes share over one Redis.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use ringback::event::JobId;
use ringback::store::redis::Redis;
use ringback::store::{JobEnd, JobPhase, Jobs, PutJob, Rate, StoreError, Turn};

use super::jobs::{job, past, shares, standing};
use super::open_redis;
use super::sample::{acceptance, account, now};
use crate::redis_server::RedisServer;

/// How long something may take that happens by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

async fn two(server: &RedisServer) -> [Arc<Redis>; 2] {
    [Arc::new(open_redis(&server.url()).await), Arc::new(open_redis(&server.url()).await)]
}

/// Puts so many submissions that are due.
async fn put(store: &Redis, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for number in 0..count {
        let made = job(&format!("call-{number}"), past());
        assert_eq!(store.put_job(made.clone(), count).await.unwrap(), PutJob::Stored);
        ids.push(made.id);
    }
    ids
}

fn score(answer: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(answer);
    text.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no score: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_has_no_more_jobs_at_work_than_it_may_whoever_claims() {
    let server = RedisServer::start(&[]);
    let both = two(&server).await;
    put(&both[0], 40).await;
    // Both at once, each again and again; what was claimed goes to the provider and stays there.
    let mut claimers = tokio::task::JoinSet::new();
    for store in &both {
        let store = Arc::clone(store);
        claimers.spawn(async move {
            let mut at_work = Vec::new();
            for round in 0..20 {
                for claim in store.claim_jobs(3, &shares(7)).await.unwrap() {
                    let next = if round % 2 == 0 { JobPhase::Processing } else { JobPhase::Submitted };
                    let due = now() + SignedDuration::from_hours(1);
                    assert!(store.settle_job(claim.lease, standing(next, due)).await.unwrap());
                    if next == JobPhase::Processing {
                        at_work.push(claim.lease.job);
                    }
                }
            }
            at_work
        });
    }
    let mut at_work = claimers.join_all().await.concat();
    // A place that was held for a moment at the very end.
    for claim in both[0].claim_jobs(9, &shares(7)).await.unwrap() {
        let at_provider = standing(JobPhase::Processing, now() + SignedDuration::from_hours(1));
        assert!(both[1].settle_job(claim.lease, at_provider).await.unwrap());
        at_work.push(claim.lease.job);
    }
    assert_eq!(at_work.len(), 7, "all places are used, and no place twice");
    at_work.sort_unstable();
    at_work.dedup();
    assert_eq!(at_work.len(), 7);

    // Each that ends makes room for one.
    for id in &at_work[..2] {
        assert!(both[1].hasten_job(&account(), *id).await.unwrap());
    }
    for claim in both[0].claim_jobs(9, &shares(7)).await.unwrap() {
        assert!(at_work.contains(&claim.lease.job));
        both[1].finish_job(claim.lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
    }
    let more =
        [both[0].claim_jobs(1, &shares(7)).await.unwrap(), both[1].claim_jobs(9, &shares(7)).await.unwrap()];
    assert_eq!(more.concat().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_jobs_is_told_by_another_process() {
    let server = RedisServer::start(&[]);
    let [desk, worker] = two(&server).await;
    // There is no other way to hear of it: without being told, this would pend for ever.
    let told = async || tokio::time::timeout(PATIENCE, worker.jobs_change()).await.expect("it is told");
    let made = put(&desk, 1).await[0];
    told().await;
    let claim = worker.claim_jobs(9, &shares(1)).await.unwrap().remove(0);
    let far = now() + SignedDuration::from_hours(1);
    assert!(worker.settle_job(claim.lease, standing(JobPhase::Processing, far)).await.unwrap());

    // A notice of the provider came to the other process.
    assert!(desk.hasten_job(&account(), made).await.unwrap());
    told().await;
    let claim = desk.claim_jobs(9, &shares(1)).await.unwrap().remove(0);

    // A submission waits for room, which the end of the other's job makes.
    let waiting = job("waiting", past());
    desk.put_job(waiting.clone(), 9).await.unwrap();
    told().await;
    assert!(worker.claim_jobs(9, &shares(1)).await.unwrap().is_empty());
    assert_eq!(worker.next_job(&shares(1)).await.unwrap(), None, "no time makes room");
    let (heard, ()) = tokio::join!(tokio::time::timeout(PATIENCE, worker.jobs_change()), async {
        desk.finish_job(claim.lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
    });
    heard.expect("it is told");
    assert_eq!(worker.claim_jobs(9, &shares(1)).await.unwrap()[0].lease.job, waiting.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_kept_while_its_process_lives_and_runs_out_when_it_is_dead() {
    let server = RedisServer::start(&[]);
    let [one, other] = two(&server).await;
    let made = put(&one, 1).await[0];
    let lease = one.claim_jobs(1, &shares(1)).await.unwrap()[0].lease;
    let runs_out = || score(&server.ask(&[b"ZSCORE", b"{rb0}:jl", &made.to_bytes()]));
    let at_first = runs_out();
    let kept = async {
        while runs_out() <= at_first {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("it is kept");
    assert!(other.claim_jobs(1, &shares(1)).await.unwrap().is_empty());

    drop(one);
    super::run_leases_out(&server);
    let again = async {
        loop {
            if let Some(claim) = other.claim_jobs(1, &shares(1)).await.unwrap().pop() {
                return claim.lease;
            }
            other.jobs_change().await;
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await.expect("another goes on");
    assert_eq!(again.job, made);
    assert!(again.token > lease.token);
    assert!(!other.settle_job(lease, standing(JobPhase::Fetching, past())).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_job_is_set_aside_and_the_others_go_on() {
    let server = RedisServer::start(&[]);
    let store = open_redis(&server.url()).await;
    let ids = put(&store, 5).await;
    let key = |id: JobId| [b"{rb0}:j:".as_slice(), &id.to_bytes()].concat();
    server.ask(&[b"HSET", &key(ids[0]), b"b", b"{\"account\": 5}\n"]);
    server.ask(&[b"HDEL", &key(ids[1]), b"g"]);
    server.ask(&[b"HSET", &key(ids[2]), b"p", b"done"]);
    server.ask(&[b"DEL", &key(ids[3])]);
    let claims = store.claim_jobs(9, &shares(9)).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.lease.job).collect::<Vec<_>>(), [ids[4]]);
    assert!(store.settle_job(claims[0].lease, standing(JobPhase::Processing, past())).await.unwrap());
    assert!(matches!(store.job(&account(), ids[0]).await, Err(StoreError::Corrupt { .. })));
    let next = store.claim_jobs(1, &shares(9)).await.unwrap();
    assert_eq!(next[0].lease.job, ids[4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_takes_no_new_job_and_lets_the_others_go_on() {
    let server = RedisServer::start(&[]);
    let store = open_redis(&server.url()).await;
    put(&store, 2).await;
    let first = store.claim_jobs(1, &shares(9)).await.unwrap()[0].lease;
    server.ask(&[b"CONFIG", b"SET", b"maxmemory", b"1mb"]);
    let refused = store.put_job(job("more", past()), 9).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    let second = store.claim_jobs(1, &shares(9)).await.unwrap()[0].lease;
    for lease in [first, second] {
        assert!(store.settle_job(lease, standing(JobPhase::Fetching, past())).await.unwrap());
        assert!(store.hasten_job(&account(), lease.job).await.unwrap());
    }
    let claims = store.claim_jobs(9, &shares(9)).await.unwrap();
    assert_eq!(claims.len(), 2);
    // Its event would need memory.
    let refused = store.finish_job(claims[0].lease, JobEnd::Completed, acceptance(&[])).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    server.ask(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    for claim in &claims {
        store.finish_job(claim.lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
        assert_eq!(
            store.job(&account(), claim.lease.job).await.unwrap().unwrap().end,
            Some(JobEnd::Completed)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_asked_no_more_often_than_it_may_whoever_asks() {
    let server = RedisServer::start(&[]);
    let both = two(&server).await;
    let rate = Rate { count: 5, period: Duration::from_hours(1) };
    let mut askers = tokio::task::JoinSet::new();
    for store in &both {
        let store = Arc::clone(store);
        askers.spawn(async move {
            let mut taken = 0;
            for _ in 0..20 {
                match store.take_turn("symbl", rate).await.unwrap() {
                    Turn::Taken => taken += 1,
                    // The next one comes back within a fifth of the hour.
                    Turn::Wait(wait) => assert!(wait <= Duration::from_mins(12), "{wait:?}"),
                    Turn::Own => panic!("it is shared"),
                }
            }
            taken
        });
    }
    let taken: u32 = askers.join_all().await.into_iter().sum();
    assert_eq!(taken, 5, "together");
    assert_eq!(both[0].take_turn("other", rate).await.unwrap(), Turn::Taken, "each source has its own");

    // Room comes back by itself, in its time and not at once.
    let quick = Rate { count: 1, period: Duration::from_millis(50) };
    for _ in 0..3 {
        while let Turn::Wait(wait) = both[1].take_turn("quick", quick).await.unwrap() {
            assert!(!wait.is_zero() && wait <= Duration::from_millis(50), "{wait:?}");
            tokio::time::sleep(wait).await;
        }
    }
}
