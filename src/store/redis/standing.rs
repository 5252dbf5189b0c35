//! How much waits, for operators.

use super::{Shared, form};
use crate::store::{Standing, StoreError};

/// What `standing.lua` answers.
type StandingNow = (u64, u64, i64, u64, u64, u64, u64);

/// Of how many destinations of each line the oldest delivery is looked for.
const LINE: usize = 100;

impl Shared {
    /// How much waits, in all shards. Accounts are those for which something is stored.
    pub(super) async fn standing(&self) -> Result<Standing, StoreError> {
        let mut all = Standing::default();
        for shard in &self.shards {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HKEYS").arg(shard.key("b", b""));
            let (accounts,): (Vec<Vec<u8>>,) = shard.ask(&pipeline).await?;
            let (open, leased, oldest, open_circuits, paused_callbacks, jobs, leased_jobs): StandingNow =
                shard
                    .run(&self.scripts.standing, |command| {
                        command.arg(LINE).arg(&accounts);
                    })
                    .await?;
            let oldest_due = if oldest == 0 { None } else { Some(form::time("delivery", oldest)?) };
            all.queued += open.saturating_sub(leased);
            all.leased += leased;
            all.oldest_due = [all.oldest_due, oldest_due].into_iter().flatten().min();
            all.open_circuits += open_circuits;
            all.paused_callbacks += paused_callbacks;
            all.waiting_jobs += jobs.saturating_sub(leased_jobs);
            all.leased_jobs += leased_jobs;
        }
        Ok(all)
    }
}
