//! What is read: by commands that change nothing, a bounded number of rows at a time.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::kept::{self, Kept};
use super::shard::Shard;
use super::writing::{answered_name, call_name, seen_name};
use super::{Shared, form};
use crate::context::CallKey;
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};
use crate::store::{
    Answered, CallbackChanges, CallbackRow, CallbackState, DedupeKey, DefinitionVersion, DeliveryFilter,
    DeliveryRow, DeliveryState, DeliveryView, DestinationLimits, EventView, Page, Rate, Recall, Rendition,
    StoreError, StoredCall,
};

/// Rows that are read at once.
const CHUNK: usize = 500;

/// How far a delivery's id and the time of its making may lie apart: what is outside is not read.
const ID_SLACK_MS: i64 = 3_600_000;

type Fields = HashMap<String, Vec<u8>>;

/// The fields of one hash.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) fields: Fields,
}

impl Row {
    pub(super) fn damaged(&self, field: &str) -> StoreError {
        form::corrupt(self.what, &format!("the field `{field}` is wrong"))
    }

    pub(super) fn bytes(&self, field: &str) -> Result<&[u8], StoreError> {
        self.fields.get(field).map(Vec::as_slice).ok_or_else(|| self.damaged(field))
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(super) fn text(&self, field: &str) -> Result<&str, StoreError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| self.damaged(field))
    }

    pub(super) fn optional_text(&self, field: &str) -> Result<Option<String>, StoreError> {
        if self.has(field) { Ok(Some(self.text(field)?.to_owned())) } else { Ok(None) }
    }

    pub(super) fn number<T: std::str::FromStr>(&self, field: &str) -> Result<T, StoreError> {
        self.text(field)?.parse().map_err(|_| self.damaged(field))
    }

    fn id(&self, field: &str) -> Result<[u8; 16], StoreError> {
        self.bytes(field)?.try_into().map_err(|_| self.damaged(field))
    }

    pub(super) fn time(&self, field: &str) -> Result<Timestamp, StoreError> {
        form::time(self.what, self.number(field)?)
    }
}

pub(super) fn id(bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| form::corrupt("list", "an id of another length"))
}

impl Shared {
    pub(super) async fn recall(
        &self,
        dedupe: &DedupeKey,
        call: Option<&CallKey>,
    ) -> Result<Recall, StoreError> {
        let shard = self.of(&dedupe.account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(shard.key("s:", &seen_name(dedupe)));
        if let Some(call) = call {
            pipeline.cmd("HMGET").arg(shard.key("c:", &call_name(call))).arg("v").arg("b");
        }
        let (mut answers, witness): (Vec<redis::Value>, _) = shard.ask_with(&pipeline).await?;
        let stored =
            if call.is_some() { answers.pop().map(stored_call).transpose()?.flatten() } else { None };
        let seen: Option<Vec<u8>> = read(answers.pop().unwrap_or_default())?;
        let duplicate_of = match seen {
            Some(seen) => {
                let damaged = || form::corrupt("dedupe key", "it is cut off");
                let (first, expires_at) = seen.split_at_checked(16).ok_or_else(damaged)?;
                let expires_at: i64 = std::str::from_utf8(expires_at)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(damaged)?;
                (expires_at > shard.now()).then(|| id(first)).transpose()?.map(EventId::from_bytes)
            }
            None => None,
        };
        if duplicate_of.is_some() {
            // Whoever posts it again may have been told that it is not kept.
            shard.keep(&witness).await?;
        }
        Ok(Recall { duplicate_of, call: stored })
    }

    pub(super) async fn call(&self, call: &CallKey) -> Result<Option<StoredCall>, StoreError> {
        let shard = self.of(&call.account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(shard.key("c:", &call_name(call))).arg("v").arg("b");
        let (answer,): (redis::Value,) = shard.ask(&pipeline).await?;
        stored_call(answer)
    }

    pub(super) async fn answered(
        &self,
        account: &AccountName,
        key_of: &[u8; 32],
    ) -> Result<Option<Answered>, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(shard.key("y:", &answered_name(account, key_of)));
        let ((record,), witness): ((Option<Vec<u8>>,), _) = shard.ask_with(&pipeline).await?;
        if record.is_some() {
            shard.keep(&witness).await?;
        }
        record.map(|record| form::read_answered(&record)).transpose()
    }

    /// The bytes of the records that are kept for an account. Those that a version wrote which did
    /// not count are missing, until they are written again or go.
    pub(super) async fn stored(&self, account: &AccountName) -> Result<u64, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(shard.key("b", b"")).arg(account.as_bytes());
        let (stored,): (Option<i64>,) = shard.ask(&pipeline).await?;
        Ok(stored.map_or(0, |stored| u64::try_from(stored).unwrap_or(0)))
    }

    /// Registrations whose revision is later than `since`. Reads the newest revisions first: what
    /// changes meanwhile is read again the next time.
    pub(super) async fn callback_changes(&self, since: u64) -> Result<CallbackChanges, StoreError> {
        let from = if since == 0 { None } else { self.revisions.up_to(since) };
        match self.changes_from(from).await? {
            Some(changes) => Ok(changes),
            // Redis has lost its last second; then all is read again.
            None => Ok(self.changes_from(None).await?.expect("nothing is before the beginning")),
        }
    }

    /// Registrations of all shards that were changed after these revisions, or all of them. Nothing if
    /// a shard is further back than that.
    async fn changes_from(&self, from: Option<Vec<u64>>) -> Result<Option<CallbackChanges>, StoreError> {
        let is_complete = from.is_none();
        let mut read = from.unwrap_or_else(|| vec![0; self.shards.len()]);
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        let mut refused = None;
        for (shard, read) in self.shards.iter().zip(&mut read) {
            match changes_of(shard, *read, is_complete, &mut changed, &mut removed).await {
                Ok(Some(revision)) => {
                    *read = revision;
                    self.revisions.note(shard.number(), revision);
                }
                Ok(None) => return Ok(None),
                // All, or nothing: what is missing would be taken for removed.
                Err(error) if is_complete => return Err(error),
                // The others go on; it is read when it is back.
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused.filter(|_| changed.is_empty() && removed.is_empty()) {
            return Err(error);
        }
        changed.sort_unstable_by_key(|row: &CallbackRow| row.id);
        let revision = self.revisions.remember(read);
        Ok(Some(CallbackChanges { revision, is_complete, changed, removed }))
    }

    /// Announcements of those shards that answer; an error, if none has any and some do not.
    pub(super) async fn event(
        &self,
        account: &AccountName,
        id: EventId,
    ) -> Result<Option<EventView>, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(shard.key("e:", &id.to_bytes()));
        let (kept,): (Option<Vec<u8>>,) = shard.ask(&pipeline).await?;
        let event = kept.map(|kept| form::read_event(id, kept::record_of_event(kept)?)).transpose()?;
        Ok(event.filter(|event| event.account == *account))
    }

    pub(super) async fn delivery(
        &self,
        account: &AccountName,
        id: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError> {
        let shard = self.of(account);
        // One command, so that they are as they are at one moment.
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET");
        for kind in ["h:", "r:", "a:"] {
            pipeline.arg(shard.key(kind, &id.to_bytes()));
        }
        let ([record, request, attempts],): ([Option<Vec<u8>>; 3],) = shard.ask(&pipeline).await?;
        let Some(record) = record else { return Ok(None) };
        let kept = kept::read_delivery(id, &record)?;
        if kept.account != account.as_bytes() {
            return Ok(None);
        }
        let (request, is_late) = match request.map(form::read_rendition).transpose()? {
            Some((_, Rendition::Done(request))) => (Some(request), false),
            Some((_, Rendition::Late(_))) => (None, true),
            None => (None, false),
        };
        Ok(Some(DeliveryView {
            row: kept.row,
            request,
            is_late,
            attempts: kept::read_attempts(&attempts.unwrap_or_default())?,
        }))
    }

    pub(super) async fn deliveries(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let shard = self.of(account);
        if filter.state == Some(DeliveryState::Leased) {
            return self.leased_deliveries(account, filter, page).await;
        }
        let list = list_of(shard, account, filter);
        let lowest = filter.since.map_or_else(
            || b"-".to_vec(),
            |since| [b"[".as_slice(), &first_id(since.as_millisecond() - ID_SLACK_MS)].concat(),
        );
        let mut before = page.before.map(DeliveryId::to_bytes);
        if let Some(until) = filter.until {
            let latest = first_id(until.as_millisecond() + ID_SLACK_MS);
            before = Some(before.map_or(latest, |before| before.min(latest)));
        }
        let mut found = Vec::new();
        loop {
            let highest = before.map_or_else(|| b"+".to_vec(), |before| [b"(".as_slice(), &before].concat());
            let mut pipeline = redis::pipe();
            pipeline
                .cmd("ZREVRANGEBYLEX")
                .arg(&list)
                .arg(highest)
                .arg(&lowest)
                .arg("LIMIT")
                .arg(0)
                .arg(CHUNK);
            let (ids,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
            let is_last = ids.len() < CHUNK;
            before = ids.last().map(|bytes| id(bytes)).transpose()?;
            for row in self.rows(&ids, account).await? {
                if filter.takes(&row) {
                    found.push(row);
                    if found.len() == page.limit {
                        return Ok(found);
                    }
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// What is leased is found among the leases of all: there are never many.
    async fn leased_deliveries(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGE").arg(shard.key("l", b"")).arg(0).arg(-1);
        let (mut ids,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let mut found = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            for row in self.rows(chunk, account).await? {
                let is_here = page.before.is_none_or(|before| row.id < before);
                if is_here && found.len() < page.limit && filter.takes(&row) {
                    found.push(row);
                }
            }
        }
        Ok(found)
    }

    /// The rows of these deliveries that are of this account, in their order.
    pub(super) async fn rows(
        &self,
        ids: &[Vec<u8>],
        account: &AccountName,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let kept = self.kept(ids, account).await?;
        kept.into_iter().map(|(_, kept)| Ok(kept?.row)).collect()
    }

    /// The same with what only the store asks for, and those that cannot be read.
    pub(super) async fn kept(
        &self,
        ids: &[Vec<u8>],
        account: &AccountName,
    ) -> Result<Vec<(DeliveryId, Result<Kept, StoreError>)>, StoreError> {
        let shard = self.of(account);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET");
        for id in ids {
            pipeline.arg(shard.key("h:", id));
        }
        let (records,): (Vec<Option<Vec<u8>>>,) = shard.ask(&pipeline).await?;
        let mut found = Vec::new();
        for (bytes, record) in ids.iter().zip(records) {
            // One that is removed at this moment has none.
            let Some(record) = record else { continue };
            let id = DeliveryId::from_bytes(id(bytes)?);
            let kept = kept::read_delivery(id, &record);
            if kept.as_ref().map_or(true, |kept| kept.account == account.as_bytes()) {
                found.push((id, kept));
            }
        }
        Ok(found)
    }
}

/// Reads the registrations of a shard that were changed after a revision, or all; up to which revision
/// that went. Nothing, if it is further back than that.
async fn changes_of(
    shard: &Shard,
    since: u64,
    is_complete: bool,
    changed: &mut Vec<CallbackRow>,
    removed: &mut Vec<CallbackId>,
) -> Result<Option<u64>, StoreError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(shard.key("n", b"")).arg("v");
    let (revision,): (Option<u64>,) = shard.ask(&pipeline).await?;
    let revision = revision.unwrap_or(0);
    if !is_complete && revision <= since {
        return Ok((revision == since).then_some(revision));
    }
    let from = if is_complete { "-inf".to_owned() } else { format!("({since}") };
    let mut pipeline = redis::pipe();
    pipeline.cmd("ZRANGEBYSCORE").arg(shard.key("kr", b"")).arg(from).arg("+inf");
    let (ids,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
    for chunk in ids.chunks(CHUNK) {
        let mut pipeline = redis::pipe();
        for id in chunk {
            pipeline.cmd("HGETALL").arg(shard.key("k:", id));
        }
        let rows: Vec<Fields> = shard.ask(&pipeline).await?;
        for (bytes, fields) in chunk.iter().zip(rows) {
            let id = CallbackId::from_bytes(id(bytes)?);
            let row = Row { what: "registration", fields };
            if row.has("r") {
                removed.push(id);
            } else {
                changed.push(callback_row(id, &row)?);
            }
        }
    }
    Ok(Some(revision))
}

/// The list with the fewest deliveries beside those that the filter takes. Most deliveries end well,
/// and a call has few.
pub(super) fn list_of(shard: &Shard, account: &AccountName, filter: &DeliveryFilter) -> Vec<u8> {
    let account = account.as_bytes();
    let key = |kind: &str, name: &[u8]| shard.key(kind, name);
    if let Some(call) = &filter.call {
        return key("ik:", &[account, b"\0", call.as_str().as_bytes()].concat());
    }
    match (filter.state, filter.callback) {
        (Some(DeliveryState::Dead), _) => key("is:x:", account),
        (Some(DeliveryState::Failed), _) => key("is:f:", account),
        (Some(DeliveryState::Cancelled), _) => key("is:c:", account),
        (_, Some(callback)) => key("ic:", &callback.to_bytes()),
        (Some(DeliveryState::Queued), None) => key("o:", account),
        (Some(DeliveryState::Delivered | DeliveryState::Leased) | None, None) => key("i:", account),
    }
}

/// The first id that can be made at this time, in ms.
pub(super) fn first_id(millis: i64) -> [u8; 16] {
    (u128::from(u64::try_from(millis).unwrap_or(0)) << 80).to_be_bytes()
}

fn callback_row(id: CallbackId, row: &Row) -> Result<CallbackRow, StoreError> {
    let rate = match row.text("R")? {
        "" => None,
        text => {
            let (count, period) = text.split_once('/').ok_or_else(|| row.damaged("R"))?;
            let count = count.parse().map_err(|_| row.damaged("R"))?;
            let period = period.parse().map_err(|_| row.damaged("R"))?;
            Some(Rate { count, period: Duration::from_micros(period) })
        }
    };
    Ok(CallbackRow {
        id,
        account: AccountName::from(row.text("a")?),
        state: row.optional_text("s")?.map_or(CallbackState::Active, CallbackState::Paused),
        limits: DestinationLimits { max_in_flight: row.number("m")?, rate, paused: row.bytes("p")? == b"1" },
        definition: row.bytes("b")?.to_vec(),
        deadline: Duration::from_micros(row.number("t")?),
        version: if row.has("V") { DefinitionVersion(row.id("V")?) } else { DefinitionVersion::default() },
    })
}

fn stored_call(answer: redis::Value) -> Result<Option<StoredCall>, StoreError> {
    let (version, context): (Option<u64>, Option<Vec<u8>>) = read(answer)?;
    Ok(version.zip(context).map(|(version, context)| StoredCall { version, context }))
}

fn read<T: redis::FromRedisValue>(value: redis::Value) -> Result<T, StoreError> {
    redis::from_redis_value(value).map_err(|error| form::corrupt("value", &error.to_string()))
}
