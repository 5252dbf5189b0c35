//! Reads `retry`: a list of delays, or a preset with its numbers.

use std::time::Duration;

use serde_json::Value as Request;

use super::members::Members;
use crate::quantity::parse_duration;
use crate::registration::{Issue, RetrySchedule};

/// The factors of an exponential schedule.
const FACTORS: std::ops::RangeInclusive<f64> = 1.0..=100.0;

/// Reads a schedule.
///
/// # Errors
/// Every problem of it.
pub(super) fn read(value: Request) -> Result<RetrySchedule, Vec<Issue>> {
    let Request::Object(members) = value else { return Err(vec![shape()]) };
    let mut members = Members::new("/retry", members);
    let delays = match members.take("schedule") {
        Some(schedule) => listed(&mut members, &schedule),
        None => match members.take("preset").as_ref().and_then(Request::as_str) {
            Some("standard") => Some(RetrySchedule::standard().delays().to_vec()),
            Some("fixed") => fixed(&mut members),
            Some("exponential") => exponential(&mut members),
            _ => return Err(vec![shape()]),
        },
    };
    members.unknown_members();
    match delays {
        Some(delays) if members.issues.is_empty() => {
            RetrySchedule::new(delays).ok_or_else(|| vec![too_long()])
        }
        _ => Err(members.issues),
    }
}

fn listed(members: &mut Members, schedule: &Request) -> Option<Vec<Duration>> {
    let Some(spelt) = schedule.as_array() else {
        members.issues.push(shape());
        return None;
    };
    if !(1..=RetrySchedule::MAX_ATTEMPTS).contains(&spelt.len()) {
        members.issues.push(too_long());
        return None;
    }
    let mut delays = Vec::with_capacity(spelt.len());
    for (position, delay) in spelt.iter().enumerate() {
        // A number gets the sentence that shows the spelling.
        match parse_duration(delay.as_str().unwrap_or_default()) {
            Ok(delay) => delays.push(delay),
            Err(fault) => {
                members.issue::<()>(&format!("/schedule/{position}"), "bad_duration", fault.to_string());
            }
        }
    }
    Some(delays)
}

fn fixed(members: &mut Members) -> Option<Vec<Duration>> {
    let delay = members.required("delay", duration);
    let attempts = members.required("attempts", attempts);
    let delay = delay?;
    Some((0..attempts?).map(|number| if number == 0 { Duration::ZERO } else { delay }).collect())
}

fn exponential(members: &mut Members) -> Option<Vec<Duration>> {
    let first = members.required("delay", duration);
    let attempts = members.required("attempts", attempts);
    let most = duration(members, "max_delay").unwrap_or(RetrySchedule::MAX_DELAY);
    let factor = match members.take("factor") {
        None => Some(2.0),
        Some(value) => value.as_f64().filter(|factor| FACTORS.contains(factor)).or_else(|| {
            let detail = format!("`factor` must be a number from {} to {}", FACTORS.start(), FACTORS.end());
            members.issue("/factor", "out_of_range", detail)
        }),
    };
    let (first, attempts, factor) = (first?, attempts?, factor?);
    let mut next = first.min(most);
    let mut delays = vec![Duration::ZERO];
    for _ in 1..attempts {
        delays.push(next);
        next = Duration::try_from_secs_f64(next.as_secs_f64() * factor).unwrap_or(most).min(most);
    }
    Some(delays)
}

fn duration(members: &mut Members, name: &'static str) -> Option<Duration> {
    let text = members.text(name)?;
    parse_duration(&text)
        .map_err(|fault| members.issue::<()>(&format!("/{name}"), "bad_duration", fault.to_string()))
        .ok()
}

fn attempts(members: &mut Members, name: &'static str) -> Option<u64> {
    members.integer(name, 1, RetrySchedule::MAX_ATTEMPTS as u64)
}

fn shape() -> Issue {
    Issue::new(
        "/retry",
        "bad_retry",
        "`retry` is {\"schedule\": [\"0s\", \"5s\", \"5m\"]}, {\"preset\": \"standard\"}, \
         {\"preset\": \"fixed\", \"delay\": \"30s\", \"attempts\": 5} or \
         {\"preset\": \"exponential\", \"delay\": \"1s\", \"factor\": 2, \"max_delay\": \"1h\", \"attempts\": 10}",
    )
}

fn too_long() -> Issue {
    Issue::new(
        "/retry",
        "bad_retry",
        format!(
            "a schedule has 1 to {} attempts, each at most 7 days after the last",
            RetrySchedule::MAX_ATTEMPTS
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_presets_become_delays() {
        let standard = RetrySchedule::standard().delays().iter().map(Duration::as_millis).collect::<Vec<_>>();
        for (value, expected) in [
            (json!({"schedule": ["0s", "250ms", "5m"]}), vec![0, 250, 300_000]),
            (json!({"schedule": ["7d"]}), vec![604_800_000]),
            (json!({"preset": "standard"}), standard),
            (json!({"preset": "fixed", "delay": "30s", "attempts": 3}), vec![0, 30_000, 30_000]),
            (json!({"preset": "fixed", "delay": "30s", "attempts": 1}), vec![0]),
            (json!({"preset": "exponential", "delay": "1s", "attempts": 4}), vec![0, 1_000, 2_000, 4_000]),
            (
                json!({"preset": "exponential", "delay": "1s", "factor": 10, "max_delay": "30s", "attempts": 5}),
                vec![0, 1_000, 10_000, 30_000, 30_000],
            ),
            (
                json!({"preset": "exponential", "delay": "1s", "factor": 1.5, "attempts": 4}),
                vec![0, 1_000, 1_500, 2_250],
            ),
        ] {
            let delays: Vec<u128> =
                read(value.clone()).unwrap().delays().iter().map(Duration::as_millis).collect();
            assert_eq!(delays, expected, "{value}");
        }
        // No arithmetic of a long schedule goes past the longest delay.
        let long =
            read(json!({"preset": "exponential", "delay": "7d", "factor": 100, "attempts": 50})).unwrap();
        assert_eq!(long.delays().last(), Some(&RetrySchedule::MAX_DELAY));
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let found = |value: Request| -> Vec<(String, &'static str)> {
            read(value).unwrap_err().into_iter().map(|issue| (issue.pointer, issue.code)).collect()
        };
        let at = |pointer: &str, code| (pointer.to_owned(), code);
        for (value, expected) in [
            (json!("standard"), vec![at("/retry", "bad_retry")]),
            (json!({}), vec![at("/retry", "bad_retry")]),
            (json!({"preset": "often"}), vec![at("/retry", "bad_retry")]),
            (json!({"schedule": []}), vec![at("/retry", "bad_retry")]),
            (json!({"schedule": vec!["1s"; 51]}), vec![at("/retry", "bad_retry")]),
            (json!({"schedule": ["8d"]}), vec![at("/retry", "bad_retry")]),
            (
                json!({"schedule": ["0s", "x", 5, "1h"], "a/b": 1}),
                vec![
                    at("/retry/schedule/1", "bad_duration"),
                    at("/retry/schedule/2", "bad_duration"),
                    at("/retry/a~1b", "unknown_member"),
                ],
            ),
            (
                json!({"preset": "fixed", "attempts": 51, "factor": 2}),
                vec![
                    at("/retry/delay", "missing"),
                    at("/retry/attempts", "out_of_range"),
                    at("/retry/factor", "unknown_member"),
                ],
            ),
            (
                json!({"preset": "exponential", "delay": "soon", "max_delay": 5, "factor": 0.5, "attempts": 0}),
                vec![
                    at("/retry/delay", "bad_duration"),
                    at("/retry/attempts", "out_of_range"),
                    at("/retry/max_delay", "not_a_text"),
                    at("/retry/factor", "out_of_range"),
                ],
            ),
        ] {
            assert_eq!(found(value.clone()), expected, "{value}");
        }
    }
}
