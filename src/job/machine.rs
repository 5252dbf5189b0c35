//! How a job goes on after a step. Pure: the time and the jitter are parameters.

use std::time::Duration;

use jiff::Timestamp;

use crate::provider::Pace;
use crate::store::JobPhase;

/// The first pause after an exchange that failed; each further one in a row is twice as long.
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);

/// The longest.
const LONGEST_BACK_OFF: Duration = Duration::from_mins(10);

/// How often in a row a provider may say that there is no such job, or refuse to tell of it, before
/// it is believed: what was handed over a moment ago may not be known everywhere yet.
const REFUSALS: u32 = 6;

/// The most that jitter lengthens a pause, as a share of it.
const MAX_JITTER: f64 = 0.1;

/// The most that a provider can put a step off.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How a job stands, as far as its course depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: JobPhase,
    pub(super) failures: u32,
    pub(super) polls: u32,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The provider has taken the job.
    Taken,
    /// It is at work.
    Running,
    /// It is done, and the results can be fetched.
    Done,
    /// The results are here.
    Results,
    /// The provider could not do it.
    Failed(String),
    /// It has too many jobs, or is asked too often.
    Busy(Option<Duration>),
    /// Our own rate for it is used up.
    Limited(Duration),
    /// It does not know what was asked for, or refuses it, with this status.
    Refused(u16),
    /// It could not be asked, or its answer could not be read.
    Unavailable(Option<Duration>),
}

/// How the job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With another step at this time.
    Wait(State, Timestamp),
    /// It ends with its results.
    Complete,
    /// It ends without, for this reason.
    Fail(String),
}

/// Decides how a job goes on after a step that ended at `now`.
///
/// Nothing puts it off beyond its deadline, and past that it ends: with its results, if the
/// provider has just said that they are there, else without. `jitter`, from 0 to 1, lengthens
/// pauses by up to [`MAX_JITTER`] of them.
pub(super) fn next(
    state: State,
    step: Step,
    pace: &Pace,
    deadline: Timestamp,
    now: Timestamp,
    jitter: f64,
) -> Next {
    let phase = state.phase;
    let wait = |state: State, pause: Duration| {
        if now >= deadline {
            return Next::Fail("it was not done in time".to_owned());
        }
        let pause = pause.mul_f64(1.0 + MAX_JITTER * jitter.clamp(0.0, 1.0));
        Next::Wait(state, now.saturating_add(pause).unwrap_or(deadline).min(deadline))
    };
    let failed = State { failures: state.failures.saturating_add(1), ..state };
    match step {
        Step::Results => Next::Complete,
        Step::Failed(reason) => Next::Fail(reason),
        Step::Done => Next::Wait(State { phase: JobPhase::Fetching, failures: 0, polls: state.polls }, now),
        Step::Taken => {
            wait(State { phase: phase.max(JobPhase::Processing), failures: 0, polls: 0 }, pace.first_poll)
        }
        Step::Running => {
            let polls = state.polls.saturating_add(1);
            wait(State { phase: phase.max(JobPhase::Processing), failures: 0, polls }, interval(pace, polls))
        }
        Step::Busy(wish) => wait(state, pace.hold.max(wish.unwrap_or_default().min(MAX_RETRY_AFTER))),
        Step::Limited(pause) => wait(state, pause),
        Step::Refused(status) if phase == JobPhase::Submitted => {
            Next::Fail(format!("the provider refused the job with status {status}"))
        }
        Step::Refused(status) if failed.failures >= REFUSALS => {
            Next::Fail(format!("the provider answers with status {status} when it is asked for the job"))
        }
        Step::Refused(_) => wait(failed, back_off(failed.failures)),
        Step::Unavailable(wish) => {
            wait(failed, back_off(failed.failures).max(wish.unwrap_or_default().min(MAX_RETRY_AFTER)))
        }
    }
}

/// The interval before the next poll: half as long again each time.
fn interval(pace: &Pace, polls: u32) -> Duration {
    let factor = 1.5_f64.powi(i32::try_from(polls.min(64)).expect("at most 64"));
    let longest = pace.longest_poll.as_secs_f64();
    Duration::from_secs_f64((pace.first_poll.as_secs_f64() * factor).min(longest))
}

fn back_off(failures: u32) -> Duration {
    FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const PACE: Pace = Pace {
        first_poll: Duration::from_secs(2),
        longest_poll: Duration::from_mins(1),
        max_jobs: 2,
        hold: Duration::from_secs(15),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(START.as_second() + seconds).unwrap()
    }

    fn state(phase: JobPhase, failures: u32, polls: u32) -> State {
        State { phase, failures, polls }
    }

    fn step_at(state: State, step: Step, now: i64) -> Next {
        next(state, step, &PACE, at(3600), at(now), 0.0)
    }

    #[test]
    fn a_job_goes_from_submitted_to_its_results() {
        use JobPhase::{Fetching, Processing, Submitted};
        let taken = step_at(state(Submitted, 3, 0), Step::Taken, 0);
        assert_eq!(taken, Next::Wait(state(Processing, 0, 0), at(2)));
        let running = step_at(state(Processing, 0, 0), Step::Running, 2);
        assert_eq!(running, Next::Wait(state(Processing, 0, 1), at(5)));
        assert_eq!(step_at(state(Processing, 0, 1), Step::Done, 5), Next::Wait(state(Fetching, 0, 1), at(5)));
        assert_eq!(step_at(state(Fetching, 0, 1), Step::Results, 6), Next::Complete);
    }

    #[test]
    fn intervals_grow_to_their_limit() {
        let mut pauses = Vec::new();
        for polls in 0..40 {
            let Next::Wait(_, due) = step_at(state(JobPhase::Processing, 0, polls), Step::Running, 0) else {
                panic!("it waits")
            };
            pauses.push(due.duration_since(START).as_millis());
        }
        assert!(pauses.is_sorted() && pauses[0] == 3000 && pauses[39] == 60_000, "{pauses:?}");
    }

    #[test]
    fn a_provider_that_is_busy_holds_a_submission_and_does_not_fail_it() {
        let mut now = 0;
        let mut standing = state(JobPhase::Submitted, 0, 0);
        while now < 3580 {
            match step_at(standing, Step::Busy(None), now) {
                Next::Wait(next, due) => {
                    assert_eq!((next.phase, next.failures), (JobPhase::Submitted, 0));
                    (standing, now) = (next, due.as_second() - START.as_second());
                }
                other => panic!("{other:?}"),
            }
        }
        let wish = Step::Busy(Some(Duration::from_secs(40)));
        assert_eq!(step_at(standing, wish, 0), Next::Wait(standing, at(40)));
    }

    #[test]
    fn what_a_provider_refuses_fails_at_once_and_what_it_does_not_know_later() {
        let refused = step_at(state(JobPhase::Submitted, 0, 0), Step::Refused(400), 0);
        assert_eq!(refused, Next::Fail("the provider refused the job with status 400".to_owned()));
        let mut standing = state(JobPhase::Processing, 0, 0);
        for count in 1..REFUSALS {
            match step_at(standing, Step::Refused(404), 0) {
                Next::Wait(next, _) => standing = next,
                other => panic!("{other:?}"),
            }
            assert_eq!(standing.failures, count);
        }
        assert!(matches!(step_at(standing, Step::Refused(404), 0), Next::Fail(_)));
    }

    #[test]
    fn at_the_deadline_it_ends() {
        for step in [
            Step::Running,
            Step::Taken,
            Step::Busy(None),
            Step::Limited(Duration::from_secs(1)),
            Step::Unavailable(None),
        ] {
            let ended = step_at(state(JobPhase::Processing, 0, 0), step, 3600);
            assert_eq!(ended, Next::Fail("it was not done in time".to_owned()));
        }
        assert_eq!(step_at(state(JobPhase::Processing, 0, 9), Step::Results, 4000), Next::Complete);
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let wish = proptest::option::of((0_u64..100_000).prop_map(Duration::from_secs));
        prop_oneof![
            Just(Step::Taken),
            Just(Step::Running),
            Just(Step::Done),
            Just(Step::Results),
            Just(Step::Failed("it could not be heard".to_owned())),
            wish.clone().prop_map(Step::Busy),
            (0_u64..100).prop_map(|seconds| Step::Limited(Duration::from_secs(seconds))),
            (400_u16..500).prop_map(Step::Refused),
            wish.prop_map(Step::Unavailable),
        ]
    }

    proptest! {
        /// Whatever a provider does: a job never goes back, never waits beyond its deadline, and
        /// is over at the latest two steps behind it.
        #[test]
        fn every_job_comes_to_its_end(steps in vec((any_step(), 0.0..=1.0_f64, 0_i64..900), 1..60)) {
            let deadline = at(7200);
            let mut now = START;
            let mut standing = state(JobPhase::Submitted, 0, 0);
            let mut late = 0;
            for (step, jitter, delay) in steps {
                late += u32::from(now >= deadline);
                match next(standing, step, &PACE, deadline, now, jitter) {
                    Next::Wait(next, due) => {
                        prop_assert!(next.phase >= standing.phase);
                        prop_assert!(due >= now && (due <= deadline || due == now));
                        prop_assert!(late <= 1 || next.phase == JobPhase::Fetching);
                        standing = next;
                        // The worker may come late.
                        now = due + jiff::SignedDuration::from_secs(delay);
                    }
                    Next::Complete => break,
                    Next::Fail(reason) => {
                        prop_assert!(!reason.is_empty());
                        break;
                    }
                }
            }
        }
    }
}
