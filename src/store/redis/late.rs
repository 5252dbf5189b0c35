//! Late deliveries: what they are rendered from, and their rendering.

use hyper::body::Bytes;

use super::{Shared, form};
use crate::event::{AccountName, CallbackId, EventId};
use crate::store::{DefinitionVersion, LateRendering, StoreError};

/// One field, if it is there.
type Field = Option<Vec<u8>>;

impl Shared {
    pub(super) async fn snapshot(
        &self,
        account: &AccountName,
        event: EventId,
    ) -> Result<Option<Bytes>, StoreError> {
        let shard = self.of(account);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(shard.key("sn:", &event.to_bytes())).arg("a").arg("b");
        let ((owner, bytes),): ((Field, Field),) = shard.ask(&pipeline).await?;
        Ok(bytes.filter(|_| owner.as_deref() == Some(account.as_bytes())).map(Bytes::from))
    }

    pub(super) async fn definition(
        &self,
        account: &AccountName,
        callback: CallbackId,
        version: DefinitionVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (shard, callback) = (self.of(account), callback.to_bytes());
        let mut pipeline = redis::pipe();
        // In this order: one that is replaced in between is found among the former ones.
        pipeline.cmd("HMGET").arg(shard.key("k:", &callback)).arg("r").arg("V").arg("b");
        pipeline.cmd("GET").arg(shard.key("vd:", &[callback, version.0].concat()));
        let ((removed, stored, definition), former): ((Field, Field, Field), Field) =
            shard.ask(&pipeline).await?;
        if removed.is_some() {
            return Ok(None);
        }
        let is_current = stored.as_deref().unwrap_or(&DefinitionVersion::default().0) == version.0;
        Ok(if is_current { definition } else { former })
    }

    pub(super) async fn put_rendering(&self, rendering: &LateRendering) -> Result<bool, StoreError> {
        let (shard, token) = self.of_token(rendering.lease.token);
        // Kept before it is sent: what took its place after a failover would be other bytes.
        let is_to_be_sent: bool = shard
            .run_kept(&self.scripts.render, |command| {
                command.arg(&rendering.lease.delivery.to_bytes()).arg(token);
                match &rendering.rendered {
                    Ok(request) => command.arg(form::write_request(&rendering.account, request)).arg(""),
                    Err(reason) => command.arg("").arg(reason.as_str()),
                };
            })
            .await?;
        if !is_to_be_sent {
            self.forget(rendering.lease);
        }
        Ok(is_to_be_sent)
    }
}
