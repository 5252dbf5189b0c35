//! The contract of speech jobs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ringback::event::JobId;
use ringback::store::scheduler::CircuitRules;
use ringback::store::{
    Accepted, FinishJob, JobClaim, JobEnd, JobPhase, JobStanding, NewJob, PutJob, SharedJobs, SourceShare,
};

use super::sample::{acceptance, account, call_write, now};
use super::{Opened, Place, every_store_and_cluster};

/// A time that has passed for every clock.
pub(super) fn past() -> Timestamp {
    now() - SignedDuration::from_mins(5)
}

pub(super) fn standing(phase: JobPhase, due: Timestamp) -> JobStanding {
    JobStanding { phase, due, failures: 0, polls: 0, provider_job: None, task: b"{\"a\": \"\n\0\"}".to_vec() }
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

pub(super) fn shares(max_jobs: usize) -> Vec<SourceShare> {
    vec![SourceShare { account: account(), source: "symbl".into(), max_jobs }]
}

pub(super) async fn open(place: &dyn Place) -> Opened {
    place.open_all(CircuitRules::default()).await
}

fn ids(claims: &[JobClaim]) -> Vec<JobId> {
    claims.iter().map(|claim| claim.job.job.id).collect()
}

/// Claims again until there are so many: what was leased by somebody who died comes back by itself.
async fn claim_in_the_end(jobs: &SharedJobs, count: usize) -> Vec<JobClaim> {
    let claimed = async {
        let mut claims = Vec::new();
        while claims.len() < count {
            claims.extend(jobs.claim_jobs(count - claims.len(), &shares(9)).await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        claims
    };
    tokio::time::timeout(Duration::from_mins(1), claimed).await.expect("there are so many")
}

#[test]
fn a_job_is_made_once_by_its_key_and_again_when_it_failed() {
    every_store_and_cluster(|place| async move {
        let jobs = open(&*place).await.jobs;
        let first = job("a", past());
        assert_eq!(jobs.put_job(first.clone(), 2).await.unwrap(), PutJob::Stored);
        assert_eq!(jobs.put_job(job("a", past()), 2).await.unwrap(), PutJob::Known(first.id));
        assert_eq!(jobs.put_job(job("b", now()), 2).await.unwrap(), PutJob::Stored);
        assert_eq!(jobs.put_job(job("c", past()), 2).await.unwrap(), PutJob::Full);
        let elsewhere = NewJob { source: "other".to_owned(), ..job("a", past()) };
        assert_eq!(jobs.put_job(elsewhere, 9).await.unwrap(), PutJob::Stored, "a key is its source's");
        let kept = jobs.job(&account(), first.id).await.unwrap().unwrap();
        assert_eq!((kept.job, kept.end), (first.clone(), None));
        assert!(jobs.job(&account(), JobId::new()).await.unwrap().is_none());

        let claims = jobs.claim_jobs(1, &shares(1)).await.unwrap();
        assert_eq!(ids(&claims), [first.id]);
        assert_eq!(claims[0].job.job, first);
        let end = JobEnd::Failed("no".to_owned());
        let finished = jobs.finish_job(claims[0].lease, end.clone(), acceptance(&[])).await.unwrap();
        assert_eq!(finished, FinishJob::Accepted(Accepted::Stored));
        assert_eq!(jobs.job(&account(), first.id).await.unwrap().unwrap().end, Some(end));
        let again = job("a", past());
        assert_eq!(jobs.put_job(again.clone(), 9).await.unwrap(), PutJob::Stored);

        // One that was completed is known for good.
        let claims = jobs.claim_jobs(1, &shares(1)).await.unwrap();
        assert_eq!(ids(&claims), [again.id]);
        jobs.finish_job(claims[0].lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
        assert_eq!(jobs.put_job(job("a", past()), 9).await.unwrap(), PutJob::Known(again.id));
    });
}

#[test]
fn submissions_wait_for_room_and_the_rest_for_their_time() {
    every_store_and_cluster(|place| async move {
        let jobs = open(&*place).await.jobs;
        for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
            let due = past() + SignedDuration::from_secs(i64::try_from(number).unwrap());
            jobs.put_job(job(key, due), 9).await.unwrap();
        }
        let mut later = job("later", now() + SignedDuration::from_hours(1));
        later.standing.phase = JobPhase::Fetching;
        jobs.put_job(later.clone(), 9).await.unwrap();
        assert!(jobs.claim_jobs(9, &[]).await.unwrap().is_empty(), "of no source, none");
        assert_eq!(jobs.next_job(&shares(2)).await.unwrap(), Some(Duration::ZERO));
        let claims = jobs.claim_jobs(9, &shares(2)).await.unwrap();
        let keys: Vec<_> = claims.iter().map(|claim| claim.job.job.key.as_str()).collect();
        assert_eq!(keys, ["a", "b"], "those that are due longest");
        assert!(jobs.claim_jobs(9, &shares(2)).await.unwrap().is_empty(), "what is leased is not free");

        // The provider is at work on one of them; the other one's place is free again.
        let processing = JobStanding {
            provider_job: Some("p-1".to_owned()),
            failures: 2,
            polls: 3,
            ..standing(JobPhase::Processing, now() + SignedDuration::from_hours(2))
        };
        assert!(jobs.settle_job(claims[0].lease, processing.clone()).await.unwrap());
        assert!(
            !jobs.settle_job(claims[0].lease, processing.clone()).await.unwrap(),
            "a lease is good for once"
        );
        let found = jobs.job_of_provider(&account(), "symbl", "p-1").await.unwrap().unwrap();
        assert_eq!(found.job, NewJob { standing: processing, ..claims[0].job.job.clone() });
        assert!(jobs.job_of_provider(&account(), "other", "p-1").await.unwrap().is_none());
        assert!(jobs.job_of_provider(&account(), "symbl", "p-2").await.unwrap().is_none());
        let fetching = standing(JobPhase::Fetching, past());
        assert!(jobs.settle_job(claims[1].lease, fetching).await.unwrap());
        let next = jobs.claim_jobs(9, &shares(2)).await.unwrap();
        let phases: Vec<_> = next.iter().map(|claim| claim.job.job.standing.phase).collect();
        assert_eq!(phases, [JobPhase::Fetching, JobPhase::Submitted]);

        // A submission that the provider did not take gives its place back; one that it is at work on
        // does when it is over, and what waits for nothing but its time has none.
        let held = standing(JobPhase::Submitted, now() + SignedDuration::from_hours(3));
        assert!(jobs.settle_job(next[1].lease, held).await.unwrap());
        jobs.put_job(job("d", past()), 9).await.unwrap();
        assert_eq!(jobs.claim_jobs(9, &shares(1)).await.unwrap().len(), 0);
        assert_eq!(jobs.claim_jobs(9, &shares(2)).await.unwrap().len(), 1);
        assert!(jobs.hasten_job(&account(), claims[0].lease.job).await.unwrap());
        let processing = jobs.claim_jobs(9, &shares(2)).await.unwrap();
        assert_eq!(ids(&processing), [claims[0].lease.job]);
        jobs.finish_job(processing[0].lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
        jobs.put_job(job("e", past()), 9).await.unwrap();
        assert_eq!(jobs.claim_jobs(9, &shares(2)).await.unwrap().len(), 1);
    });
}

#[test]
fn slots_are_for_those_that_are_due_longest_over_all_sources() {
    every_store_and_cluster(|place| async move {
        let jobs = open(&*place).await.jobs;
        let mut made = Vec::new();
        for number in 0..6 {
            let due = past() + SignedDuration::from_secs(number);
            let source = if number % 2 == 0 { "symbl" } else { "other" };
            let phase = if number % 3 == 0 { JobPhase::Submitted } else { JobPhase::Fetching };
            let one = NewJob {
                source: source.to_owned(),
                standing: standing(phase, due),
                ..job(&number.to_string(), due)
            };
            made.push(one.id);
            jobs.put_job(one, 9).await.unwrap();
        }
        let both = [shares(9), vec![SourceShare { account: account(), source: "other".into(), max_jobs: 9 }]]
            .concat();
        let mut claimed = Vec::new();
        for slots in [1, 2, 9] {
            claimed.extend(ids(&jobs.claim_jobs(slots, &both).await.unwrap()));
        }
        assert_eq!(claimed, made);
    });
}

#[test]
fn a_job_that_is_hastened_is_due_now_or_right_after_its_step() {
    every_store_and_cluster(|place| async move {
        let jobs = open(&*place).await.jobs;
        let made = job("a", now() + SignedDuration::from_hours(1));
        jobs.put_job(made.clone(), 9).await.unwrap();
        assert!(jobs.claim_jobs(9, &shares(1)).await.unwrap().is_empty());
        let wait = jobs.next_job(&shares(1)).await.unwrap().unwrap();
        assert!((Duration::from_mins(50)..Duration::from_mins(61)).contains(&wait), "{wait:?}");
        assert!(jobs.hasten_job(&account(), made.id).await.unwrap());
        let claims = jobs.claim_jobs(9, &shares(1)).await.unwrap();
        assert_eq!(claims.len(), 1);
        // While it is worked on.
        assert!(jobs.hasten_job(&account(), made.id).await.unwrap());
        let late = standing(JobPhase::Processing, now() + SignedDuration::from_hours(1));
        assert!(jobs.settle_job(claims[0].lease, late.clone()).await.unwrap());
        let claims = jobs.claim_jobs(9, &shares(1)).await.unwrap();
        assert_eq!(claims.len(), 1);
        // Once: after the next step it is due when that says.
        assert!(jobs.settle_job(claims[0].lease, late).await.unwrap());
        assert!(jobs.claim_jobs(9, &shares(1)).await.unwrap().is_empty());
        assert!(!jobs.hasten_job(&account(), JobId::new()).await.unwrap());
        assert!(jobs.hasten_job(&account(), made.id).await.unwrap());
        let claims = jobs.claim_jobs(9, &shares(1)).await.unwrap();
        jobs.finish_job(claims[0].lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
        assert!(!jobs.hasten_job(&account(), made.id).await.unwrap(), "it is over");
    });
}

#[test]
fn an_end_is_written_with_its_event_once_or_not_at_all() {
    every_store_and_cluster(|place| async move {
        let Opened { store, jobs, .. } = open(&*place).await;
        let made = job("a", past());
        jobs.put_job(made.clone(), 9).await.unwrap();
        let lease = jobs.claim_jobs(1, &shares(1)).await.unwrap()[0].lease;
        let mut one = acceptance(&[]);
        let event = one.event.clone();
        one.call = Some(call_write("42", 7, "{}"));
        let conflict = jobs.finish_job(lease, JobEnd::Completed, one.clone()).await.unwrap();
        assert_eq!(conflict, FinishJob::Accepted(Accepted::Conflict));
        assert_eq!(jobs.job(&account(), made.id).await.unwrap().unwrap().end, None);
        assert!(store.event(&account(), event.id).await.unwrap().is_none());

        one.call = Some(call_write("42", 0, "{}"));
        let finished = jobs.finish_job(lease, JobEnd::Completed, one.clone()).await.unwrap();
        assert_eq!(finished, FinishJob::Accepted(Accepted::Stored));
        assert_eq!(jobs.job(&account(), made.id).await.unwrap().unwrap().end, Some(JobEnd::Completed));
        assert!(store.event(&account(), event.id).await.unwrap().is_some());
        let again = jobs.finish_job(lease, JobEnd::Completed, one.clone()).await.unwrap();
        assert_eq!(again, FinishJob::Lost);
        assert!(jobs.claim_jobs(9, &shares(9)).await.unwrap().is_empty());

        // An event that was written before ends another job all the same.
        let second = job("b", past());
        jobs.put_job(second.clone(), 9).await.unwrap();
        let lease = jobs.claim_jobs(1, &shares(1)).await.unwrap()[0].lease;
        one.call = None;
        let repeated = jobs.finish_job(lease, JobEnd::Completed, one).await.unwrap();
        assert_eq!(repeated, FinishJob::Accepted(Accepted::Duplicate(event.id)));
        assert_eq!(jobs.job(&account(), second.id).await.unwrap().unwrap().end, Some(JobEnd::Completed));
    });
}

#[test]
fn jobs_survive_a_power_cut_and_the_leases_of_those_who_died_do_not() {
    every_store_and_cluster(|place| async move {
        let before = open(&*place).await.jobs;
        let (taken, waiting) = (job("a", past()), job("b", past()));
        before.put_job(taken.clone(), 9).await.unwrap();
        let first = before.claim_jobs(1, &shares(1)).await.unwrap().remove(0);
        before.put_job(waiting.clone(), 9).await.unwrap();
        drop(before);
        place.cut_power().await;

        let jobs = open(&*place).await.jobs;
        let claims = claim_in_the_end(&jobs, 2).await;
        let second = claims.iter().find(|claim| claim.lease.job == taken.id).unwrap();
        assert_eq!(second.job.job, taken);
        assert_ne!(first.lease, second.lease);
        let lost = jobs.finish_job(first.lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
        assert_eq!(lost, FinishJob::Lost);
        assert!(!jobs.settle_job(first.lease, standing(JobPhase::Fetching, past())).await.unwrap());
        assert_eq!(jobs.job(&account(), taken.id).await.unwrap().unwrap().end, None);
        assert!(jobs.settle_job(second.lease, standing(JobPhase::Fetching, past())).await.unwrap());
    });
}

#[test]
fn leases_are_given_back_when_the_store_is_closed() {
    every_store_and_cluster(|place| async move {
        let Opened { store, jobs, .. } = open(&*place).await;
        let made = job("a", past());
        jobs.put_job(made.clone(), 9).await.unwrap();
        assert_eq!(jobs.claim_jobs(1, &shares(1)).await.unwrap().len(), 1);
        store.close().await;
        assert!(jobs.claim_jobs(1, &shares(1)).await.is_err());
        drop((store, jobs));
        let jobs = open(&*place).await.jobs;
        assert_eq!(ids(&claim_in_the_end(&jobs, 1).await), [made.id]);
    });
}

#[test]
fn what_is_over_is_removed_in_its_time_and_what_nobody_does_too() {
    every_store_and_cluster(|place| async move {
        let Opened { store, jobs, .. } = open(&*place).await;
        let (over, lost, leased) = (job("over", past()), job("lost", past()), job("leased", past()));
        jobs.put_job(over.clone(), 9).await.unwrap();
        let claims = jobs.claim_jobs(1, &shares(9)).await.unwrap();
        jobs.finish_job(claims[0].lease, JobEnd::Completed, acceptance(&[])).await.unwrap();
        jobs.put_job(leased.clone(), 9).await.unwrap();
        let claims = jobs.claim_jobs(1, &shares(9)).await.unwrap();
        let with_provider =
            JobStanding { provider_job: Some("p-1".to_owned()), ..standing(JobPhase::Processing, past()) };
        assert!(jobs.settle_job(claims[0].lease, with_provider).await.unwrap());
        assert_eq!(jobs.claim_jobs(1, &shares(9)).await.unwrap().len(), 1);
        jobs.put_job(lost.clone(), 9).await.unwrap();
        let sweep = async |days: i64| {
            let at = now() + SignedDuration::from_hours(24 * days);
            while store.sweep(at).await.unwrap() > 0 {}
        };
        sweep(29).await;
        for one in [&over, &lost, &leased] {
            assert!(jobs.job(&account(), one.id).await.unwrap().is_some(), "{}", one.key);
        }
        sweep(31).await;
        for one in [&over, &lost, &leased] {
            assert!(jobs.job(&account(), one.id).await.unwrap().is_none(), "{}", one.key);
        }
        assert!(jobs.job_of_provider(&account(), "symbl", "p-1").await.unwrap().is_none());
        assert!(jobs.claim_jobs(9, &shares(9)).await.unwrap().is_empty());
        assert_eq!(jobs.next_job(&shares(9)).await.unwrap(), None);
        // Nothing of them is in the way of new ones, which are as many as there may be.
        for key in ["over", "lost", "leased"] {
            assert_eq!(jobs.put_job(job(key, past()), 3).await.unwrap(), PutJob::Stored);
        }
        assert_eq!(jobs.claim_jobs(9, &shares(3)).await.unwrap().len(), 3);
    });
}
