//! Waiting until what was written is on the disks of a master and of a replica.
//!
//! `WAITAOF` waits for what was written before on its connection, and holds up all that comes after it
//! there. So it has a connection of its own, on which a round first writes a mark: what the server
//! wrote before the mark is kept when the mark is. One round does for all who wrote before it began.
//!
//! That a round says nothing of what another server wrote is seen by the name of the server's history,
//! which Redis makes anew whenever a replica takes over or a server starts again
//! (`master_replid`): an answer counts only together with a round of the same history.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::failure::store_error;
use super::inspection;
use super::link::Link;
use crate::store::StoreError;

/// How long a round waits for the disks. With `appendfsync everysec` each of them takes a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to try again while no replica keeps up.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Writes a mark, also where memory is full: a script that has written once may go on writing.
const MARK: &str = "redis.call('DEL', KEYS[1] .. 'none') return redis.call('HSET', KEYS[1] .. 'n', 'W', 1)";

/// The rounds of one server.
#[derive(Default)]
pub(super) struct Rounds {
    /// How many have begun.
    begun: AtomicU64,
    last: Mutex<Round>,
}

#[derive(Default)]
struct Round {
    connection: Option<MultiplexedConnection>,
    number: u64,
    /// Of which history it was.
    outcome: Option<Result<Arc<str>, Reason>>,
}

/// Why a round failed: the parts of [`StoreError::Unavailable`].
#[derive(Clone, Copy)]
struct Reason {
    reason: &'static str,
    retry_after: Duration,
}

/// The name of a server's history, over a connection.
pub(super) async fn history(connection: &mut MultiplexedConnection) -> Result<Arc<str>, RedisError> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    Ok(history_in(&info))
}

fn history_in(info: &str) -> Arc<str> {
    inspection::parse(info).remove("master_replid").unwrap_or_default().into()
}

impl Rounds {
    /// Returns when all that the server behind `link` wrote before, in this history, is on its disk and
    /// on that of a replica. `prefix` begins keys that it has.
    pub(super) async fn wait(&self, link: &Link, prefix: &str, history: &str) -> Result<(), StoreError> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        // One that began afterwards, and for which this waited, does.
        if last.number <= begun || last.outcome.is_none() {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let outcome = run(link, prefix, &mut last.connection).await;
            last.number = number;
            last.outcome = Some(outcome);
        }
        match last.outcome.as_ref().expect("there was a round") {
            Ok(found) if **found == *history => Ok(()),
            Ok(_) => Err(unavailable("another Redis has taken over")),
            Err(Reason { reason, retry_after }) => {
                Err(StoreError::Unavailable { reason, retry_after: *retry_after, source: None })
            }
        }
    }
}

async fn run(
    link: &Link,
    prefix: &str,
    connection: &mut Option<MultiplexedConnection>,
) -> Result<Arc<str>, Reason> {
    let refused = |error| match error {
        StoreError::Unavailable { reason, retry_after, .. } => Reason { reason, retry_after },
        StoreError::Unusable(_) | StoreError::Corrupt { .. } => {
            Reason { reason: "Redis cannot be understood", retry_after: RETRY_AFTER }
        }
    };
    // One that fails, or whose round is given up, is not used again.
    let mut way = match connection.take() {
        Some(way) => way,
        None => link.separate(PATIENCE).await.map_err(refused)?,
    };
    let mut pipeline = redis::pipe();
    pipeline.cmd("EVAL").arg(MARK).arg(1).arg(prefix).ignore();
    pipeline.cmd("INFO").arg("replication");
    let patience = u64::try_from(PATIENCE.as_millis()).expect("it is short");
    pipeline.cmd("WAITAOF").arg(1).arg(1).arg(patience);
    let answer: Result<(String, (u64, u64)), RedisError> = pipeline.query_async(&mut way).await;
    let (info, (local, replicas)) = answer.map_err(|error| refused(store_error(error)))?;
    *connection = Some(way);
    match (local, replicas) {
        (0, _) => Err(Reason { reason: "Redis does not get it onto its disk", retry_after: RETRY_AFTER }),
        (_, 0) => Err(Reason { reason: "no replica of Redis keeps up", retry_after: RETRY_AFTER }),
        _ => Ok(history_in(&info)),
    }
}

fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable { reason, retry_after: RETRY_AFTER, source: None }
}
