//! What registrations may want to hear of: that one of them is paused, or a delivery dead.

use std::collections::BTreeMap;

use super::reading::id;
use super::{Shared, form};
use crate::event::{AccountName, CallbackId, DeliveryId};
use crate::store::{Announced, Announcement, StoreError};

impl Shared {
    pub(super) async fn announcements(&self, limit: usize) -> Result<Vec<Announcement>, StoreError> {
        let (mut found, mut refused) = (Vec::new(), None);
        for shard in &self.shards {
            let wanted = limit.max(1) - found.len();
            if wanted == 0 {
                break;
            }
            let mut pipeline = redis::pipe();
            pipeline.cmd("ZRANGE").arg(shard.key("an", b"")).arg(0).arg(wanted - 1);
            match shard.ask::<(Vec<Vec<u8>>,)>(&pipeline).await {
                Ok((marks,)) => {
                    for mark in marks {
                        found.push(announcement(mark)?);
                    }
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused.filter(|_| found.is_empty()) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    pub(super) async fn forget_announcements(&self, marks: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut by_shard: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for mark in marks {
            let shard = self.of(&announcement(mark.clone())?.account).number();
            by_shard.entry(shard).or_default().push(mark);
        }
        for (number, marks) in by_shard {
            let shard = &self.shards[number];
            let mut pipeline = redis::pipe();
            pipeline.cmd("ZREM").arg(shard.key("an", b"")).arg(marks).ignore();
            shard.ask::<()>(&pipeline).await?;
        }
        Ok(())
    }
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
