//! Bringing up what an older version has stored.
//!
//! Formats before 7 kept deliveries, destinations and events in other types of keys. An older process that
//! still runs would fail at those, and write such as it knows: so nothing is touched while one runs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::FORMAT;
use super::claiming::DELIVERIES;
use super::scripts::Scripts;
use super::shard::{Script, Shard};
use crate::store::StoreError;

/// Keys that one script brings up. An event may have megabytes, and Redis does nothing else meanwhile.
const CHUNK: usize = 20;

/// How many keys Redis is asked for at a time, more or less.
const SCAN: usize = 1_000;

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

/// Brings everything of a shard up to our format; the name of its data. One that was interrupted begins
/// again, and several processes may do it at a time.
pub(super) async fn bring_up(
    shard: &Shard,
    scripts: &Scripts,
    nobody_else: &mut bool,
) -> Result<Vec<u8>, StoreError> {
    tracing::info!("what an older ringback has stored is brought up to this one's format");
    if *nobody_else || wait_for_quiet(shard).await? {
        *nobody_else = true;
        let name = ulid::Ulid::generate().to_string();
        let _: () = shard
            .run(&scripts.take_over, |command| {
                command.arg(FORMAT).arg(&name);
            })
            .await?;
        // Until there is nothing more: a server that took over in the middle has its keys in another order.
        while pass(shard, &scripts.bring_up).await? > 0 {}
        let mut pipeline = redis::pipe();
        pipeline.cmd("HDEL").arg(shard.key("n", b"")).arg("U").ignore();
        let () = shard.ask(&pipeline).await?;
    }
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(shard.key("n", b"")).arg("E");
    let (name,): (Vec<u8>,) = shard.ask(&pipeline).await?;
    Ok(name)
}

/// Goes through all keys once; how many were brought up.
async fn pass(shard: &Shard, script: &Script) -> Result<usize, StoreError> {
    let mut cursor = "0".to_owned();
    let mut count = 0;
    loop {
        let mut pipeline = redis::pipe();
        let pattern = shard.key("[hdea]:*", b"");
        pipeline.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN);
        let ((next, keys),): ((String, Vec<Vec<u8>>),) = shard.ask(&pipeline).await?;
        for chunk in keys.chunks(CHUNK) {
            count += shard
                .run::<usize>(script, |command| {
                    for key in chunk {
                        command.arg(&key[shard.prefix().len()..]);
                    }
                })
                .await?;
        }
        if next == "0" {
            return Ok(count);
        }
        cursor = next;
    }
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

/// The format, whether something older may be there, and when somebody claimed last.
type Marks = (u32, Option<u8>, Option<i64>);

async fn look(shard: &Shard) -> Result<Traces, StoreError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HMGET").arg(shard.key("n", b"")).arg("F").arg("U").arg("t");
    pipeline.cmd("LLEN").arg(shard.key(DELIVERIES, b""));
    pipeline.cmd("ZCOUNT").arg(shard.key("l", b"")).arg(shard.now()).arg("+inf");
    let ((format, mark, claimed_at), words, leases): (Marks, usize, usize) = shard.ask(&pipeline).await?;
    Ok(Traces { is_old: format < 7 || mark.is_some(), claimed_at, is_word_there: words > 0, leases })
}
