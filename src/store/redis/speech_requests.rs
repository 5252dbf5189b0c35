//! Speech requests in Redis.

use async_trait::async_trait;

use super::failure::{full, taken};
use super::reading::{Row, id};
use super::writing::{add_answer, add_deliveries, call_name};
use super::{BACKLOG, Redis, Shared, form};
use crate::context::{CallId, CallKey};
use crate::event::{AccountName, SpeechRequestId};
use crate::store::{NewSpeechRequest, PutSpeechRequest, SpeechRequestView, SpeechRequests, StoreError};

#[async_trait]
impl SpeechRequests for Redis {
    async fn put_speech_request(&self, request: NewSpeechRequest) -> Result<PutSpeechRequest, StoreError> {
        let shared = self.open_only()?;
        let _turn = self.turn()?;
        shared.put_speech_request(&request).await
    }

    async fn speech_request(
        &self,
        account: &AccountName,
        id: SpeechRequestId,
    ) -> Result<Option<SpeechRequestView>, StoreError> {
        self.open_only()?.speech_request(account, id).await
    }

    async fn waiting_for(&self, call: &CallKey) -> Result<Vec<SpeechRequestId>, StoreError> {
        let shard = self.open_only()?.of(&call.account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HKEYS").arg(shard.key("uw:", &call_name(call)));
        let (waiting,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
        let ids = waiting.iter().map(|bytes| id(bytes).map(SpeechRequestId::from_bytes));
        let mut ids: Vec<_> = ids.collect::<Result<_, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }
}

impl Shared {
    async fn put_speech_request(&self, new: &NewSpeechRequest) -> Result<PutSpeechRequest, StoreError> {
        let shard = self.of(&new.account);
        let now = shard.now();
        let answer: Vec<Vec<u8>> = shard
            .run_kept(&self.scripts.put_speech_request, |command| {
                command
                    .arg(&new.id.to_bytes())
                    .arg(new.account.as_ref())
                    .arg(new.created_at.as_microsecond());
                match &new.remember {
                    Some(remember) => add_answer(command, &new.account, remember),
                    None => {
                        command.arg("").arg("").arg(0);
                    }
                }
                match &new.event {
                    Some(event) => command.arg(&event.id.to_bytes()).arg(form::write_event(event)),
                    None => command.arg("").arg(""),
                };
                command.arg(BACKLOG);
                add_deliveries(command, &new.deliveries, &new.failed, "", now);
                command.arg(new.calls.len());
                for call in &new.calls {
                    let (state, what) = form::write_state(&call.state);
                    let name = [call.key.space.as_bytes(), b"\0", call.key.id.as_str().as_bytes()].concat();
                    command.arg(name).arg(call.read_version).arg(state).arg(what);
                }
            })
            .await?;
        match (answer.first().map(Vec::as_slice), answer.get(1)) {
            (Some(b"stored"), _) => Ok(PutSpeechRequest::Stored),
            (Some(b"conflict"), _) => Ok(PutSpeechRequest::Conflict),
            (Some(b"answered"), Some(earlier)) => {
                form::read_answered(earlier).map(PutSpeechRequest::Answered)
            }
            (Some(b"full"), _) => Err(full()),
            _ => Err(taken()),
        }
    }

    pub(super) async fn speech_request(
        &self,
        account: &AccountName,
        id: SpeechRequestId,
    ) -> Result<Option<SpeechRequestView>, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(shard.key("u:", &id.to_bytes()));
        let (fields,) = shard.ask(&pipeline).await?;
        let row = Row { what: "speech request", fields };
        if row.fields.is_empty() || row.bytes("a")? != account.as_bytes() {
            return Ok(None);
        }
        let mut calls = Vec::new();
        for place in 1.. {
            let name = format!("k{place}");
            if !row.has(&name) {
                break;
            }
            let (space, id) = row.text(&name)?.split_once('\0').ok_or_else(|| row.damaged(&name))?;
            let call = CallKey {
                account: AccountName::clone(account),
                space: space.into(),
                id: CallId::from_text(id).ok_or_else(|| row.damaged(&name))?,
            };
            let what = row.bytes(&format!("r{place}"))?;
            calls.push((call, form::read_state(row.bytes(&format!("s{place}"))?, what)?));
        }
        Ok(Some(SpeechRequestView { created_at: row.time("m")?, calls }))
    }
}
