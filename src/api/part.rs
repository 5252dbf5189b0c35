//! What is done with many deliveries is done in parts: which of them a request speaks of, and where
//! the next one goes on.

use jiff::Timestamp;

use super::call::{BodyMembers, MAX_LIMIT};
use crate::context::{Value, read_time};
use crate::event::DeliveryId;
use crate::registration::Issue;
use crate::store::DeliveryFilter;

/// A part of the deliveries of a time, from the oldest on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    since: Option<Timestamp>,
    /// What is made after the first part was asked for is in none.
    until: Timestamp,
    /// The last one of the part before.
    pub(super) after: Option<DeliveryId>,
    /// How many.
    pub(super) limit: usize,
}

impl Part {
    /// Takes `since`, `until`, `limit` and `cursor` out of a request that comes at `now`.
    pub(super) fn read(members: &mut BodyMembers, now: Timestamp, issues: &mut Vec<Issue>) -> Self {
        // As stores keep times, so that what is made from here on does not lie before it.
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let time = |text: &str| read_time(Value::Text(text));
        let since = members.text("since", issues, "a time", time);
        let until = members.text("until", issues, "a time", time);
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            issues.push(Issue::new("/until", "empty_range", "`until` lies before `since`"));
        }
        let cursor = members.text("cursor", issues, "the `next` of the answer before", read_cursor);
        let begun = cursor.map_or(now, |(begun, _)| begun.min(now));
        Self {
            since,
            until: until.map_or(begun, |until| until.min(begun)),
            after: cursor.map(|(_, after)| after),
            limit: read_limit(members, issues),
        }
    }

    /// Narrows a filter to the time.
    pub(super) fn of(self, filter: DeliveryFilter) -> DeliveryFilter {
        DeliveryFilter { since: self.since, until: Some(self.until), ..filter }
    }

    /// Whether something that was made together with this id was made in the time or before it.
    pub(super) fn is_before_the_end(self, id: DeliveryId) -> bool {
        let bytes = id.to_bytes();
        let millis = bytes[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
        millis < self.until.as_millisecond()
    }

    /// Where the part behind this one goes on.
    pub(super) fn cursor(self, after: DeliveryId) -> String {
        format!("{}.{after}", self.until.as_microsecond())
    }
}

fn read_cursor(text: &str) -> Option<(Timestamp, DeliveryId)> {
    let (begun, after) = text.split_once('.')?;
    Some((Timestamp::from_microsecond(begun.parse().ok()?).ok()?, after.parse().ok()?))
}

fn read_limit(members: &mut BodyMembers, issues: &mut Vec<Issue>) -> usize {
    let Some(limit) = members.take("limit") else { return MAX_LIMIT };
    let limit = limit.as_u64().and_then(|limit| usize::try_from(limit).ok());
    limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).unwrap_or_else(|| {
        let detail = format!("`limit` must be a whole number from 1 to {MAX_LIMIT}");
        issues.push(Issue::new("/limit", "out_of_range", detail));
        MAX_LIMIT
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_none() {
        let begun: Timestamp = "2026-03-30T12:00:00.000001Z".parse().unwrap();
        let part = Part { since: None, until: begun, after: None, limit: 1 };
        let id = DeliveryId::new();
        assert_eq!(read_cursor(&part.cursor(id)), Some((begun, id)));
        for other in
            ["", ".", "1", "1.", "x.dl_01JQKZ7T3V6W9X2Y4Z5A6B7C8D", "1.ev_01JQKZ7T3V6W9X2Y4Z5A6B7C8D"]
        {
            assert_eq!(read_cursor(other), None, "{other}");
        }
    }
}
