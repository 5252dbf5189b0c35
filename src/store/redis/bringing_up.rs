//! Bringing up what an older version has stored.
//!
//! Formats before 7 kept deliveries, destinations and events in other types of keys. An older process that
//! still runs would fail at those, and write such as it knows: so nothing is touched while one runs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::claiming::DELIVERIES;
use super::shard::{Script, Shard};
use crate::store::StoreError;

/// Keys that one script brings up.
const CHUNK: usize = 100;

/// How long nobody must have done anything: whoever has nothing to do waits for work, and takes what
/// is put into its list at once.
const QUIET: Duration = Duration::from_secs(6);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What a script looked at.
struct Traces {
    is_old: bool,
    /// When somebody claimed last.
    claimed_at: Option<i64>,
    /// Whether the word is still there that somebody who waits for work would have taken.
    is_word_there: bool,
    /// Leases that have not run out: those of a process that was killed do within a minute.
    leases: usize,
}

/// Brings everything of a shard up to our format. One that was interrupted begins again, and several
/// processes may do it at a time.
pub(super) async fn bring_up(
    shard: &Shard,
    script: &Script,
    nobody_else: &mut bool,
) -> Result<(), StoreError> {
    tracing::info!("what an older ringback has stored is brought up to this one's format");
    if !*nobody_else && !wait_for_quiet(shard).await? {
        return Ok(());
    }
    *nobody_else = true;
    let mut cursor = "0".to_owned();
    loop {
        let mut pipeline = redis::pipe();
        let pattern = shard.key("[hdea]:*", b"");
        pipeline.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(10 * CHUNK);
        let ((next, keys),): ((String, Vec<Vec<u8>>),) = shard.ask(&pipeline).await?;
        for chunk in keys.chunks(CHUNK) {
            let _: () = shard
                .run(script, |command| {
                    for key in chunk {
                        command.arg(&key[shard.prefix().len()..]);
                    }
                })
                .await?;
        }
        if next == "0" {
            break;
        }
        cursor = next;
    }
    let mut pipeline = redis::pipe();
    pipeline.cmd("HDEL").arg(shard.key("n", b"")).arg("U").ignore();
    shard.ask(&pipeline).await
}

/// Waits until it is plain that no other process works here; whether there is still something to bring up.
async fn wait_for_quiet(shard: &Shard) -> Result<bool, StoreError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("LPUSH").arg(shard.key(DELIVERIES, b"")).arg(1).ignore();
    let () = shard.ask(&pipeline).await?;
    let first = look(shard).await?;
    let until = Instant::now() + QUIET;
    loop {
        let traces = look(shard).await?;
        if !traces.is_old {
            return Ok(false);
        }
        if traces.claimed_at != first.claimed_at || !traces.is_word_there {
            return Err(StoreError::Unusable(
                "an older ringback still runs over it, which cannot read what this one writes: stop every older \
                 one, then start this one again"
                    .to_owned(),
            ));
        }
        if Instant::now() >= until {
            if traces.leases == 0 {
                return Ok(true);
            }
            tracing::info!(leases = traces.leases, "waiting for the leases of an older ringback to run out");
        }
        sleep(LOOK).await;
    }
}

async fn look(shard: &Shard) -> Result<Traces, StoreError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HMGET").arg(shard.key("n", b"")).arg("U").arg("t");
    pipeline.cmd("LLEN").arg(shard.key(DELIVERIES, b""));
    pipeline.cmd("ZCOUNT").arg(shard.key("l", b"")).arg(shard.now()).arg("+inf");
    let ((is_old, claimed_at), words, leases): ((Option<u8>, Option<i64>), usize, usize) =
        shard.ask(&pipeline).await?;
    Ok(Traces { is_old: is_old.is_some(), claimed_at, is_word_there: words > 0, leases })
}
