//! Lists of events, of calls, and of deliveries from the oldest on, a bounded look at a time.

use jiff::{SignedDuration, Timestamp};

use super::reading::{first_id, id, key, list_of};
use super::{Shared, form};
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, DeliveryId, EventId};
use crate::store::{
    CALLS_LIMIT, CONTEXTS_LIMIT, CallMark, CallQuery, DeliveryFilter, DeliveryRow, EventFilter, EventRow,
    Found, ListedCall, SCAN_LIMIT, StoreError, StoredCall,
};

/// How far an event's or a delivery's id and its time may lie apart: what is outside is not read.
const ID_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// Ids that are read at once.
const CHUNK: usize = 500;

/// Bytes of records that one script goes through: Redis does nothing else meanwhile.
const HEADS_LIMIT: usize = 8 << 20;

/// A call's version, its context, and when its first event came in.
type Stored = (Option<u64>, Option<Vec<u8>>, Option<i64>);

impl Shared {
    pub(super) async fn events(
        &self,
        account: &AccountName,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Found<EventRow, EventId>, StoreError> {
        let events = key("ie:", account.as_bytes());
        let bound = |at: Timestamp| first_id(at.as_millisecond());
        let lowest = filter.since.map_or_else(
            || b"-".to_vec(),
            |since| {
                let since = since.saturating_sub(ID_SLACK).unwrap_or(Timestamp::MIN);
                [b"[".as_slice(), &bound(since)].concat()
            },
        );
        let mut highest = before.map(EventId::to_bytes);
        if let Some(until) = filter.until {
            let latest = bound(until.saturating_add(ID_SLACK).unwrap_or(Timestamp::MAX));
            highest = Some(highest.map_or(latest, |highest| highest.min(latest)));
        }
        let (mut rows, mut looked_at, mut last) = (Vec::new(), 0, None);
        loop {
            let from = highest.map_or_else(|| b"+".to_vec(), |highest| [b"(".as_slice(), &highest].concat());
            let mut pipeline = redis::pipe();
            pipeline.cmd("ZREVRANGEBYLEX").arg(&events).arg(from).arg(&lowest).arg("LIMIT").arg(0).arg(CHUNK);
            let (ids,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
            let ids: Vec<EventId> =
                ids.iter().map(|bytes| id(bytes).map(EventId::from_bytes)).collect::<Result<_, _>>()?;
            let is_last = ids.len() < CHUNK;
            let mut unread = ids.as_slice();
            while !unread.is_empty() {
                let heads = self.heads(unread).await?;
                for (event, head) in unread.iter().zip(heads.iter()) {
                    if rows.len() == limit || looked_at == SCAN_LIMIT {
                        return Ok(Found { rows, next: last });
                    }
                    looked_at += 1;
                    last = Some(*event);
                    // One that was removed at this moment has no record.
                    if !head.is_empty() {
                        let row = form::read_event(*event, head.clone())?;
                        if row.account == *account && filter.takes(&row) {
                            rows.push(row);
                        }
                    }
                }
                unread = &unread[heads.len().clamp(1, unread.len())..];
            }
            if is_last {
                return Ok(Found { rows, next: None });
            }
            highest = last.map(EventId::to_bytes);
        }
    }

    pub(super) async fn heads(&self, events: &[EventId]) -> Result<Vec<Vec<u8>>, StoreError> {
        self.link
            .run(&self.scripts.heads, |command| {
                command.arg(HEADS_LIMIT);
                for event in events {
                    command.arg(&event.to_bytes());
                }
            })
            .await
    }

    pub(super) async fn deliveries_after(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Found<DeliveryRow, DeliveryId>, StoreError> {
        let source = list_of(account, filter);
        let bound = |at: Timestamp| first_id(at.as_millisecond());
        let highest = filter.until.map_or_else(
            || b"+".to_vec(),
            |until| {
                let until = until.saturating_add(ID_SLACK).unwrap_or(Timestamp::MAX);
                [b"(".as_slice(), &bound(until)].concat()
            },
        );
        let earliest = filter.since.map(|since| {
            let since = since.saturating_sub(ID_SLACK).unwrap_or(Timestamp::MIN);
            [b"[".as_slice(), &bound(since)].concat()
        });
        let behind = |id: DeliveryId| [b"(".as_slice(), &id.to_bytes()].concat();
        let mut lowest = match (after.map(behind), earliest) {
            // Of both, the later.
            (Some(after), Some(earliest)) if after[1..] < earliest[1..] => earliest,
            (Some(after), _) => after,
            (None, Some(earliest)) => earliest,
            (None, None) => b"-".to_vec(),
        };
        let (mut rows, mut looked_at, mut last) = (Vec::new(), 0, None);
        loop {
            let mut pipeline = redis::pipe();
            pipeline
                .cmd("ZRANGEBYLEX")
                .arg(&source)
                .arg(&lowest)
                .arg(&highest)
                .arg("LIMIT")
                .arg(0)
                .arg(CHUNK);
            let (ids,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
            for row in self.rows(&ids, account).await? {
                // One more than is wanted, to know whether there is one more.
                if rows.len() == limit {
                    return Ok(Found { rows, next: last });
                }
                last = Some(row.id);
                if filter.takes(&row) {
                    rows.push(row);
                }
            }
            if ids.len() < CHUNK {
                return Ok(Found { rows, next: None });
            }
            looked_at += ids.len();
            // Some of them may be gone meanwhile.
            last = ids.last().map(|bytes| id(bytes)).transpose()?.map(DeliveryId::from_bytes);
            if looked_at >= SCAN_LIMIT {
                return Ok(Found { rows, next: last });
            }
            lowest = last.map(behind).unwrap_or(lowest);
        }
    }

    /// Calls that a query takes, found by reading one after the other.
    pub(super) async fn every_call(
        &self,
        account: &AccountName,
        query: &CallQuery,
        before: Option<&CallMark>,
        limit: usize,
    ) -> Result<Found<ListedCall, CallMark>, StoreError> {
        let mut rows: Vec<ListedCall> = Vec::new();
        let (mut others, mut bytes, mut last) = (0, 0, before.cloned());
        loop {
            // One more than is wanted, to know whether there is one more.
            let count = if query.takes_all() { limit.saturating_add(1).min(CHUNK) } else { CHUNK };
            let marks = self.call_marks(account, last.as_ref(), count).await?;
            let is_last = marks.len() < count;
            let mut unread = marks.as_slice();
            while !unread.is_empty() {
                let calls = self.contexts(account, unread).await?;
                for (mark, call) in unread.iter().zip(&calls) {
                    if rows.len() == limit || others == CALLS_LIMIT || bytes > CONTEXTS_LIMIT {
                        return Ok(Found { rows, next: last });
                    }
                    last = Some(mark.clone());
                    // One that was removed at this moment has no context.
                    match call {
                        Some((stored, made)) if query.takes(&stored.context) => {
                            bytes += stored.context.len();
                            rows.push(listed(account, mark, stored.clone(), *made)?);
                        }
                        Some(_) | None => others += 1,
                    }
                }
                unread = &unread[calls.len()..];
            }
            if is_last {
                return Ok(Found { rows, next: None });
            }
        }
    }

    /// What is known of calls, in their order, and when their first events came in: of as many as fit,
    /// and of one at least.
    async fn contexts(
        &self,
        account: &AccountName,
        marks: &[CallMark],
    ) -> Result<Vec<Option<(StoredCall, Option<i64>)>>, StoreError> {
        let names: Vec<Vec<u8>> = marks.iter().map(|mark| call_key(account, mark)).collect();
        let mut pipeline = redis::pipe();
        for name in &names {
            pipeline.cmd("HSTRLEN").arg(name).arg("b");
        }
        let sizes: Vec<usize> = self.link.ask(&pipeline).await?;
        let mut bytes = 0;
        let fitting = sizes.iter().take_while(|size| {
            let fits = bytes <= CONTEXTS_LIMIT;
            bytes += **size;
            fits
        });
        let mut pipeline = redis::pipe();
        for name in names.iter().take(fitting.count()) {
            pipeline.cmd("HMGET").arg(name).arg("v").arg("b").arg("m");
        }
        let calls: Vec<Stored> = self.link.ask(&pipeline).await?;
        let stored = |(version, context, made): Stored| {
            version.zip(context).map(|(version, context)| (StoredCall { version, context }, made))
        };
        Ok(calls.into_iter().map(stored).collect())
    }

    async fn call_marks(
        &self,
        account: &AccountName,
        before: Option<&CallMark>,
        count: usize,
    ) -> Result<Vec<CallMark>, StoreError> {
        let list = key("il:", account.as_bytes());
        let highest = before.map_or_else(|| "+inf".to_owned(), |mark| mark.place.to_string());
        let (mut marks, mut offset) = (Vec::new(), 0);
        loop {
            let mut pipeline = redis::pipe();
            pipeline
                .cmd("ZREVRANGEBYSCORE")
                .arg(&list)
                .arg(&highest)
                .arg("-inf")
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(offset)
                .arg(CHUNK);
            let (found,): (Vec<(Vec<u8>, i64)>,) = self.link.ask(&pipeline).await?;
            let is_last = found.len() < CHUNK;
            offset += found.len();
            for (name, created_at) in found {
                let mark = call_mark(name, created_at)?;
                // Those of the same microsecond begin with the last.
                if before.is_none_or(|before| mark < *before) {
                    marks.push(mark);
                }
                if marks.len() == count {
                    return Ok(marks);
                }
            }
            if is_last {
                return Ok(marks);
            }
        }
    }
}

fn call_key(account: &AccountName, mark: &CallMark) -> Vec<u8> {
    key("c:", &[account.as_bytes(), b"\0", mark.name.as_bytes()].concat())
}

/// Its name is its space and its id.
fn call_mark(name: Vec<u8>, created_at: i64) -> Result<CallMark, StoreError> {
    let name = String::from_utf8(name).map_err(|_| no_name())?;
    Ok(CallMark { place: u64::try_from(created_at).unwrap_or(0), name: name.into() })
}

/// A call of a format before 4 has its age as its place.
pub(super) fn listed(
    account: &AccountName,
    mark: &CallMark,
    stored: StoredCall,
    made: Option<i64>,
) -> Result<ListedCall, StoreError> {
    let (space, id) = mark.name.split_once('\0').ok_or_else(no_name)?;
    Ok(ListedCall {
        mark: mark.clone(),
        key: CallKey {
            account: AccountName::clone(account),
            space: space.into(),
            id: CallId::from_text(id).ok_or_else(no_name)?,
        },
        created_at: form::time(
            "list of calls",
            made.unwrap_or_else(|| i64::try_from(mark.place).unwrap_or(i64::MAX)),
        )?,
        stored,
    })
}

fn no_name() -> StoreError {
    form::corrupt("list of calls", "a name is not one")
}
