//! The contract of speech jobs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ringback::event::JobId;
use ringback::store::embedded::Embedded;
use ringback::store::{
    Accepted, FinishJob, JobEnd, JobPhase, JobStanding, Jobs, NewJob, PutJob, SourceShare, Store,
};

use super::open_embedded;
use super::sample::{acceptance, account, now};

fn standing(phase: JobPhase, due: Timestamp) -> JobStanding {
    JobStanding { phase, due, failures: 0, polls: 0, provider_job: None, task: b"{}".to_vec() }
}

pub(super) fn job(key: &str, due: Timestamp) -> NewJob {
    NewJob {
        id: JobId::new(),
        source: "symbl".to_owned(),
        key: key.to_owned(),
        call: ringback::context::CallKey {
            account: account(),
            space: "default".into(),
            id: ringback::context::CallId::from_text(key).unwrap(),
        },
        submitted_by: Some("crm".to_owned()),
        created_at: due,
        deadline: due + SignedDuration::from_hours(1),
        standing: standing(JobPhase::Submitted, due),
    }
}

fn shares(max_jobs: usize) -> Vec<SourceShare> {
    vec![SourceShare { source: "symbl".into(), max_jobs }]
}

fn open() -> (tempfile::TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let store = open_embedded(&folder.path().join("store.db"));
    (folder, store)
}

#[tokio::test]
async fn a_job_is_made_once_by_its_key_and_again_when_it_failed() {
    let (_folder, store) = open();
    let at = now();
    let first = job("a", at);
    assert_eq!(store.put_job(first.clone(), 2).await.unwrap(), PutJob::Stored);
    assert_eq!(store.put_job(job("a", at), 2).await.unwrap(), PutJob::Known(first.id));
    assert_eq!(store.put_job(job("b", at), 2).await.unwrap(), PutJob::Stored);
    assert_eq!(store.put_job(job("c", at), 2).await.unwrap(), PutJob::Full);
    assert_eq!(store.job(first.id).await.unwrap().unwrap().job, first);

    let claims = store.claim_jobs(at, 1, &shares(1)).await.unwrap();
    assert_eq!(claims[0].job.job.id, first.id);
    let end = JobEnd::Failed("no".to_owned());
    let finished = store.finish_job(claims[0].lease, end.clone(), acceptance(&[])).await.unwrap();
    assert_eq!(finished, FinishJob::Accepted(Accepted::Stored));
    assert_eq!(store.job(first.id).await.unwrap().unwrap().end, Some(end));
    assert_eq!(store.put_job(job("a", at), 2).await.unwrap(), PutJob::Stored);
}

#[tokio::test]
async fn submissions_wait_for_room_and_the_rest_for_their_time() {
    let (_folder, store) = open();
    let at = now();
    for key in ["a", "b", "c"] {
        store.put_job(job(key, at), 9).await.unwrap();
    }
    let mut later = job("later", at + SignedDuration::from_secs(60));
    later.standing.phase = JobPhase::Fetching;
    store.put_job(later.clone(), 9).await.unwrap();
    assert!(store.claim_jobs(at, 9, &[]).await.unwrap().is_empty(), "of no source, none");
    let claims = store.claim_jobs(at, 9, &shares(2)).await.unwrap();
    assert_eq!(claims.len(), 2);
    assert!(store.claim_jobs(at, 9, &shares(2)).await.unwrap().is_empty(), "what is leased is not free");

    // The provider is at work on one of them; the other one's place is free again.
    let processing = JobStanding {
        provider_job: Some("p-1".to_owned()),
        ..standing(JobPhase::Processing, at + SignedDuration::from_secs(5))
    };
    assert!(store.settle_job(claims[0].lease, processing.clone()).await.unwrap());
    assert!(!store.settle_job(claims[0].lease, processing).await.unwrap(), "a lease is good for once");
    let found = store.job_of_provider("symbl", "p-1").await.unwrap().unwrap();
    assert_eq!(found.job.id, claims[0].job.job.id);
    assert!(store.job_of_provider("other", "p-1").await.unwrap().is_none());
    let fetching = standing(JobPhase::Fetching, at);
    assert!(store.settle_job(claims[1].lease, fetching).await.unwrap());
    let next = store.claim_jobs(at, 9, &shares(2)).await.unwrap();
    let phases: Vec<_> = next.iter().map(|claim| claim.job.job.standing.phase).collect();
    assert!(phases.contains(&JobPhase::Fetching) && phases.contains(&JobPhase::Submitted), "{phases:?}");
    let after_a_minute = at + SignedDuration::from_secs(61);
    let due = store.claim_jobs(after_a_minute, 9, &shares(2)).await.unwrap();
    assert!(due.iter().any(|claim| claim.job.job.id == later.id));
}

#[tokio::test]
async fn a_job_that_is_hastened_is_due_now_or_right_after_its_step() {
    let (_folder, store) = open();
    let at = now();
    let made = job("a", at + SignedDuration::from_hours(1));
    store.put_job(made.clone(), 9).await.unwrap();
    assert!(store.claim_jobs(at, 9, &shares(1)).await.unwrap().is_empty());
    assert_eq!(store.next_job(&shares(1)).await.unwrap(), Some(made.standing.due));
    assert!(store.hasten_job(made.id, at).await.unwrap());
    let claims = store.claim_jobs(at, 9, &shares(1)).await.unwrap();
    assert_eq!(claims.len(), 1);
    // While it is worked on.
    assert!(store.hasten_job(made.id, at).await.unwrap());
    let late = standing(JobPhase::Processing, at + SignedDuration::from_hours(1));
    assert!(store.settle_job(claims[0].lease, late).await.unwrap());
    assert_eq!(store.claim_jobs(now(), 9, &shares(1)).await.unwrap().len(), 1);
    assert!(!store.hasten_job(JobId::new(), at).await.unwrap());
}

#[tokio::test]
async fn a_lost_lease_ends_nothing_and_a_repeated_end_writes_no_second_event() {
    let (_folder, store) = open();
    let at = now();
    let made = job("a", at);
    store.put_job(made.clone(), 9).await.unwrap();
    let first = store.claim_jobs(at, 1, &shares(1)).await.unwrap().remove(0);
    // Its worker did not come back, and another took the job.
    let much_later = at + SignedDuration::try_from(Duration::from_hours(1)).unwrap();
    let second = store.claim_jobs(much_later, 1, &shares(1)).await.unwrap().remove(0);
    assert_ne!(first.lease, second.lease);
    let lost = store.finish_job(first.lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
    assert_eq!(lost, FinishJob::Lost);
    assert!(!store.settle_job(first.lease, standing(JobPhase::Fetching, at)).await.unwrap());
    let one = acceptance(&[]);
    let event = one.event.clone();
    let finished = store.finish_job(second.lease, JobEnd::Completed, one.clone()).await.unwrap();
    assert_eq!(finished, FinishJob::Accepted(Accepted::Stored));
    assert!(store.event(&event.account, event.id).await.unwrap().is_some());
    let again = store.finish_job(second.lease, JobEnd::Completed, one).await.unwrap();
    assert_eq!(again, FinishJob::Lost);
    assert_eq!(store.job(made.id).await.unwrap().unwrap().end, Some(JobEnd::Completed));
    assert!(store.claim_jobs(much_later, 9, &shares(9)).await.unwrap().is_empty());
}

#[tokio::test]
async fn jobs_survive_a_restart_and_are_free_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let at = now();
    let made = job("a", at);
    {
        let store = open_embedded(&path);
        store.put_job(made.clone(), 9).await.unwrap();
        assert_eq!(store.claim_jobs(at, 1, &shares(1)).await.unwrap().len(), 1);
        store.close().await;
    }
    let store = open_embedded(&path);
    let claims = store.claim_jobs(at, 1, &shares(1)).await.unwrap();
    assert_eq!(claims[0].job.job.id, made.id);
    store.close().await;
}
