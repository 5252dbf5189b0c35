//! What is read: by commands that change nothing, a bounded number of rows at a time.

use std::collections::HashMap;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;

use super::link::PREFIX;
use super::writing::{answered_name, call_name, seen_name};
use super::{Shared, form};
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, CallbackId, DeliveryId, EventId};
use crate::store::{
    Announced, Announcement, Answered, CallbackChanges, CallbackRow, CallbackState, DedupeKey,
    DefinitionVersion, DeliveryFilter, DeliveryRow, DeliveryState, DeliveryView, DestinationLimits,
    EventView, Page, Rate, Recall, Rendition, Standing, StoreError, StoredCall,
};

/// Rows that are read at once.
const CHUNK: usize = 500;

/// How far a delivery's id and the time of its making may lie apart: what is outside is not read.
const ID_SLACK_MS: i64 = 3_600_000;

type Fields = HashMap<String, Vec<u8>>;

/// What `standing.lua` answers.
type StandingNow = (u64, u64, i64, u64, u64, u64, u64);

/// Of how many destinations of each line the oldest delivery is looked for.
const LINE: usize = 100;

/// One field, if it is there.
type Field = Option<Vec<u8>>;

pub(super) fn key(kind: &str, name: &[u8]) -> Vec<u8> {
    [PREFIX.as_bytes(), kind.as_bytes(), name].concat()
}

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
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(key("s:", &seen_name(dedupe)));
        if let Some(call) = call {
            pipeline.cmd("HMGET").arg(key("c:", &call_name(call))).arg("v").arg("b");
        }
        let mut answers: Vec<redis::Value> = self.link.ask(&pipeline).await?;
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
                (expires_at > self.link.now()).then(|| id(first)).transpose()?.map(EventId::from_bytes)
            }
            None => None,
        };
        Ok(Recall { duplicate_of, call: stored })
    }

    pub(super) async fn call(&self, call: &CallKey) -> Result<Option<StoredCall>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(key("c:", &call_name(call))).arg("v").arg("b");
        let (answer,): (redis::Value,) = self.link.ask(&pipeline).await?;
        stored_call(answer)
    }

    pub(super) async fn answered(
        &self,
        account: &AccountName,
        key_of: &[u8; 32],
    ) -> Result<Option<Answered>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(key("y:", &answered_name(account, key_of)));
        let (record,): (Option<Vec<u8>>,) = self.link.ask(&pipeline).await?;
        record.map(|record| form::read_answered(&record)).transpose()
    }

    /// The bytes of the records that are kept for an account. Those that a version wrote which did
    /// not count are missing, until they are written again or go.
    pub(super) async fn stored(&self, account: &AccountName) -> Result<u64, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(key("b", b"")).arg(account.as_bytes());
        let (stored,): (Option<i64>,) = self.link.ask(&pipeline).await?;
        Ok(stored.map_or(0, |stored| u64::try_from(stored).unwrap_or(0)))
    }

    /// Registrations whose revision is later than `since`. Reads the newest revision first: what
    /// changes meanwhile is read again the next time.
    pub(super) async fn callback_changes(&self, since: u64) -> Result<CallbackChanges, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(key("n", b"")).arg("v");
        let (revision,): (Option<u64>,) = self.link.ask(&pipeline).await?;
        let revision = revision.unwrap_or(0);
        // Redis may have lost its last second; then all is read again.
        let is_complete = since == 0 || revision < since;
        let from = if is_complete { "-inf".to_owned() } else { format!("({since}") };
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGEBYSCORE").arg(key("kr", b"")).arg(from).arg("+inf");
        let (ids,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
        let mut changes = CallbackChanges { revision, is_complete, changed: Vec::new(), removed: Vec::new() };
        for chunk in ids.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            for id in chunk {
                pipeline.cmd("HGETALL").arg(key("k:", id));
            }
            let rows: Vec<Fields> = self.link.ask(&pipeline).await?;
            for (bytes, fields) in chunk.iter().zip(rows) {
                let id = CallbackId::from_bytes(id(bytes)?);
                let row = Row { what: "registration", fields };
                if row.has("r") {
                    changes.removed.push(id);
                } else {
                    changes.changed.push(callback_row(id, &row)?);
                }
            }
        }
        changes.changed.sort_unstable_by_key(|row| row.id);
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        Ok(changes)
    }

    pub(super) async fn announcements(&self, limit: usize) -> Result<Vec<Announcement>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGE").arg(key("an", b"")).arg(0).arg(limit.max(1) - 1);
        let (marks,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
        marks.into_iter().map(announcement).collect()
    }

    pub(super) async fn forget_announcements(&self, marks: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZREM").arg(key("an", b"")).arg(marks).ignore();
        self.link.ask(&pipeline).await
    }

    pub(super) async fn event(
        &self,
        account: &AccountName,
        id: EventId,
    ) -> Result<Option<EventView>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(key("e:", &id.to_bytes())).arg("b");
        let (record,): (Option<Vec<u8>>,) = self.link.ask(&pipeline).await?;
        let event = record.map(|record| form::read_event(id, record)).transpose()?;
        Ok(event.filter(|event| event.account == *account))
    }

    /// How much waits. Accounts are those for which something is stored.
    pub(super) async fn standing(&self) -> Result<Standing, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HKEYS").arg(key("b", b""));
        let (accounts,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
        let (open, leased, oldest, open_circuits, paused_callbacks, jobs, leased_jobs): StandingNow = self
            .link
            .run(&self.scripts.standing, |command| {
                command.arg(LINE).arg(&accounts);
            })
            .await?;
        Ok(Standing {
            queued: open.saturating_sub(leased),
            leased,
            oldest_due: if oldest == 0 { None } else { Some(form::time("delivery", oldest)?) },
            open_circuits,
            paused_callbacks,
            waiting_jobs: jobs.saturating_sub(leased_jobs),
            leased_jobs,
        })
    }

    pub(super) async fn snapshot(
        &self,
        account: &AccountName,
        event: EventId,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(key("sn:", &event.to_bytes())).arg("a").arg("b");
        let ((owner, bytes),): ((Field, Field),) = self.link.ask(&pipeline).await?;
        Ok(bytes.filter(|_| owner.as_deref() == Some(account.as_bytes())).map(Bytes::from))
    }

    pub(super) async fn definition(
        &self,
        callback: CallbackId,
        version: DefinitionVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let callback = callback.to_bytes();
        let mut pipeline = redis::pipe();
        // In this order: one that is replaced in between is found among the former ones.
        pipeline.cmd("HMGET").arg(key("k:", &callback)).arg("r").arg("V").arg("b");
        pipeline.cmd("GET").arg(key("vd:", &[callback, version.0].concat()));
        let ((removed, stored, definition), former): ((Field, Field, Field), Field) =
            self.link.ask(&pipeline).await?;
        if removed.is_some() {
            return Ok(None);
        }
        let is_current = stored.as_deref().unwrap_or(&DefinitionVersion::default().0) == version.0;
        Ok(if is_current { definition } else { former })
    }

    pub(super) async fn delivery(
        &self,
        account: &AccountName,
        id: DeliveryId,
    ) -> Result<Option<DeliveryView>, StoreError> {
        let (fields, request, attempts): (Fields, Option<Vec<u8>>, Vec<Vec<u8>>) = self
            .link
            .run(&self.scripts.view, |command| {
                command.arg(&id.to_bytes());
            })
            .await?;
        let row = Row { what: "delivery", fields };
        if row.fields.is_empty() || row.bytes("a")? != account.as_bytes() {
            return Ok(None);
        }
        let (request, is_late) = match request.map(form::read_rendition).transpose()? {
            Some((_, Rendition::Done(request))) => (Some(request), false),
            Some((_, Rendition::Late(_))) => (None, true),
            None => (None, false),
        };
        Ok(Some(DeliveryView {
            row: delivery_row(id, &row)?,
            request,
            is_late,
            attempts: attempts.into_iter().map(form::read_attempt).collect::<Result<_, _>>()?,
        }))
    }

    pub(super) async fn deliveries(
        &self,
        account: &AccountName,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        if filter.state == Some(DeliveryState::Leased) {
            return self.leased_deliveries(account, filter, page).await;
        }
        let list = list_of(account, filter);
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
            let (ids,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
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
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZRANGE").arg(key("l", b"")).arg(0).arg(-1);
        let (mut ids,): (Vec<Vec<u8>>,) = self.link.ask(&pipeline).await?;
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
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("HGETALL").arg(key("h:", id));
        }
        let rows: Vec<Fields> = self.link.ask(&pipeline).await?;
        let mut found = Vec::new();
        for (bytes, fields) in ids.iter().zip(rows) {
            let row = Row { what: "delivery", fields };
            // One that is removed at this moment has no fields.
            if !row.fields.is_empty() && row.bytes("a")? == account.as_bytes() {
                found.push(delivery_row(DeliveryId::from_bytes(id(bytes)?), &row)?);
            }
        }
        Ok(found)
    }
}

/// The list with the fewest deliveries beside those that the filter takes. Most deliveries end well,
/// and a call has few.
pub(super) fn list_of(account: &AccountName, filter: &DeliveryFilter) -> Vec<u8> {
    let account = account.as_bytes();
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

fn delivery_row(id: DeliveryId, row: &Row) -> Result<DeliveryRow, StoreError> {
    let state = match row.bytes("s")? {
        b"q" => DeliveryState::Queued,
        b"l" => DeliveryState::Leased,
        b"d" => DeliveryState::Delivered,
        b"x" => DeliveryState::Dead,
        b"f" => DeliveryState::Failed,
        b"c" => DeliveryState::Cancelled,
        _ => return Err(row.damaged("s")),
    };
    let call = row.text("i")?;
    let call =
        if call.is_empty() { None } else { Some(CallId::from_text(call).ok_or_else(|| row.damaged("i"))?) };
    let is_queued = state == DeliveryState::Queued;
    Ok(DeliveryRow {
        id,
        callback: CallbackId::from_bytes(row.id("c")?),
        event: EventId::from_bytes(row.id("e")?),
        event_type: form::event_type(row.text("y")?)?,
        call,
        state,
        reason: row.optional_text("r")?,
        attempts: row.number("n")?,
        next_attempt_at: if is_queued { Some(row.time("u")?) } else { None },
        created_at: row.time("m")?,
        finished_at: if row.has("f") { Some(row.time("f")?) } else { None },
        replayed_as: if row.has("b") { Some(DeliveryId::from_bytes(row.id("b")?)) } else { None },
    })
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

/// Registration, delivery, and then time, account and reason as texts.
fn announcement(mark: Vec<u8>) -> Result<Announcement, StoreError> {
    let damaged = || form::corrupt("announcement", "it is cut off");
    let (ids, texts) = mark.split_at_checked(32).ok_or_else(damaged)?;
    let texts = std::str::from_utf8(texts).map_err(|_| damaged())?;
    let mut texts = texts.splitn(3, '\0');
    let mut text = || texts.next().ok_or_else(damaged);
    let at = form::time("announcement", text()?.parse().map_err(|_| damaged())?)?;
    let (account, reason) = (AccountName::from(text()?), text()?.to_owned());
    let delivery = id(&ids[16..])?;
    let what = if delivery == [0; 16] {
        Announced::Paused
    } else {
        Announced::Dead(DeliveryId::from_bytes(delivery))
    };
    Ok(Announcement { callback: CallbackId::from_bytes(id(&ids[..16])?), account, what, reason, at, mark })
}

fn stored_call(answer: redis::Value) -> Result<Option<StoredCall>, StoreError> {
    let (version, context): (Option<u64>, Option<Vec<u8>>) = read(answer)?;
    Ok(version.zip(context).map(|(version, context)| StoredCall { version, context }))
}

fn read<T: redis::FromRedisValue>(value: redis::Value) -> Result<T, StoreError> {
    redis::from_redis_value(value).map_err(|error| form::corrupt("value", &error.to_string()))
}
