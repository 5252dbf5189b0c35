//! A shard: all keys of some accounts, which one script can write, for they are in one slot.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, RwLock};
use tokio::time::Instant;

use super::cluster::slot_of;
use super::failure::lost;
use super::link::{Connection, Link};
use super::nodes::Nodes;
use crate::metric::Histogram;
use crate::store::{Lease, StoreError};

/// The most shards: a lease's token says in its first byte which is its own.
pub(super) const MOST_SHARDS: usize = 64;

/// The bits of a token that Redis knows. A script counts in doubles, which have fewer.
const TOKEN_BITS: u32 = 56;

/// One script, with what stands before and behind all of them.
#[derive(Debug)]
pub(super) struct Script(redis::Script);

impl Script {
    pub(super) fn new(text: &str) -> Self {
        let parts = [
            include_str!("prelude.lua"),
            include_str!("destination.lua"),
            include_str!("lease.lua"),
            include_str!("delivery.lua"),
            include_str!("event.lua"),
            "local function main()\n",
            text,
            "end\n",
            include_str!("main.lua"),
        ];
        Self(redis::Script::new(&parts.concat()))
    }
}

/// What is asked of a shard.
enum Question<'a> {
    Script(&'a Script, &'a Cmd),
    Commands(&'a Pipeline),
}

/// Which server answered, and when in its history.
pub(super) struct Witness {
    link: Arc<Link>,
    connection: Connection,
}

/// Why there is no answer.
enum Failed {
    /// Another node has the slot: nothing was done.
    Moved(StoreError),
    Else(StoreError),
}

/// A shard.
pub(super) struct Shard {
    number: usize,
    /// What its keys begin with. The hash tag keeps all of them in one slot of a Cluster.
    prefix: String,
    slot: u16,
    nodes: Arc<Nodes>,
    /// The name of the data that was found first; other data is not ours.
    epoch: OnceLock<Vec<u8>>,
    is_lost: AtomicBool,
    /// The connection over which that name was found last.
    looked_over: AtomicU64,
    /// The version of a Cluster's map after which something failed.
    suspected: AtomicU64,
    /// It did not answer last, and claims leave it alone until upkeep gets an answer.
    is_away: AtomicBool,
    /// There may be something to claim.
    is_woken: AtomicBool,
    /// Claims have it for themselves; events that are written share it.
    line: RwLock<()>,
    /// Leases that nobody took after all, on their way back. At most as many as there are slots.
    given_back: Mutex<Vec<Lease>>,
    given_back_some: Notify,
    /// The time in place of Redis' own, in µs; tests only.
    time: Option<Arc<AtomicI64>>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("prefix", &self.prefix)
            .field("is_lost", &self.is_lost)
            .finish_non_exhaustive()
    }
}

/// Which of so many shards (at most 64) an account's, or a source's, keys are in. Where stored data is
/// found depends on it.
pub(super) fn shard_of(name: &str, shards: usize) -> usize {
    usize::from(Sha256::digest(name)[0]) % shards
}

/// Which shard a token is of, and what Redis knows of it.
pub(super) fn of_token(token: u64) -> (usize, u64) {
    let shard = usize::try_from(token >> TOKEN_BITS).expect("a byte is a number of a shard");
    (shard, token & ((1 << TOKEN_BITS) - 1))
}

impl Shard {
    pub(super) fn new(number: usize, nodes: Arc<Nodes>, time: Option<Arc<AtomicI64>>) -> Self {
        let tag = format!("rb{number}");
        Self {
            number,
            prefix: format!("{{{tag}}}:"),
            slot: slot_of(tag.as_bytes()),
            nodes,
            epoch: OnceLock::new(),
            is_lost: AtomicBool::new(false),
            looked_over: AtomicU64::new(0),
            suspected: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
            is_woken: AtomicBool::new(false),
            line: RwLock::default(),
            given_back: Mutex::default(),
            given_back_some: Notify::new(),
            time,
        }
    }

    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// A token that is told from those of other shards.
    pub(super) fn token(&self, token: u64) -> u64 {
        ((self.number as u64) << TOKEN_BITS) | token
    }

    /// A key of this shard.
    pub(super) fn key(&self, kind: &str, name: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), kind.as_bytes(), name].concat()
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What time it is for this process, in µs: delays are told to Redis as spans from now, so that
    /// its clock and ours need not agree.
    pub(super) fn now(&self) -> i64 {
        self.time
            .as_ref()
            .map_or_else(|| Timestamp::now().as_microsecond(), |time| time.load(Ordering::Relaxed))
    }

    /// Runs a script; `arguments` adds those after the time.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut Cmd) + Send,
    ) -> Result<T, StoreError> {
        let command = self.command(script, arguments);
        Ok(self.put(Question::Script(script, &command)).await?.0)
    }

    fn command(&self, script: &Script, arguments: impl FnOnce(&mut Cmd)) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.0.get_hash()).arg(1).arg(&self.prefix);
        match &self.time {
            Some(time) => command.arg(time.load(Ordering::Relaxed)),
            None => command.arg(""),
        };
        arguments(&mut command);
        command
    }

    /// Runs a script, as [`Shard::run`] does, and returns when what it wrote or found is kept as the
    /// store promises it. If that cannot be said, the answer is an error, and the script has run.
    pub(super) async fn run_kept<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut Cmd) + Send,
    ) -> Result<T, StoreError> {
        let (answer, witness) = self.run_with(script, arguments).await?;
        self.keep(&witness).await?;
        Ok(answer)
    }

    /// Runs a script, as [`Shard::run`] does, and answers with what [`Shard::keep`] needs to know.
    pub(super) async fn run_with<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut Cmd) + Send,
    ) -> Result<(T, Witness), StoreError> {
        let command = self.command(script, arguments);
        self.put(Question::Script(script, &command)).await
    }

    /// Runs commands that only read, or one that stands alone.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        Ok(self.put(Question::Commands(pipeline)).await?.0)
    }

    /// The same, with what [`Shard::keep`] needs to know.
    pub(super) async fn ask_with<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<(T, Witness), StoreError> {
        self.put(Question::Commands(pipeline)).await
    }

    /// Returns when what was answered is kept as the store promises it: on a replica's disk too, where
    /// that is asked for.
    pub(super) async fn keep(&self, witness: &Witness) -> Result<(), StoreError> {
        let kept = witness.link.keep(&witness.connection, &self.prefix).await;
        if kept.is_err() {
            self.suspect();
        }
        kept
    }

    /// Returns when all that is here is kept so.
    pub(super) async fn keep_all(&self) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(self.key("n", b"")).arg("E");
        let ((_,), witness): ((Option<Vec<u8>>,), _) = self.ask_with(&pipeline).await?;
        self.keep(&witness).await
    }

    /// A connection of its own to where the shard is, for commands that block it up to `patience`.
    pub(super) async fn separate(&self, patience: Duration) -> Result<MultiplexedConnection, StoreError> {
        let link = self.link().await?;
        let connection = link.separate(patience).await;
        if connection.is_err() {
            self.suspect();
        }
        connection
    }

    /// A blocking command failed: its slot may be elsewhere.
    pub(super) fn suspect(&self) {
        if let Nodes::Cluster(cluster) = &*self.nodes {
            self.suspected.store(cluster.version(), Ordering::Release);
        }
    }

    async fn put<T: FromRedisValue>(&self, question: Question<'_>) -> Result<(T, Witness), StoreError> {
        let mut answer = self.put_once(&question).await;
        if let Err(Failed::Moved(_)) = &answer {
            // To where it is now; if that has moved on already, the caller comes again.
            answer = self.put_once(&question).await;
        }
        answer.map_err(|(Failed::Moved(error) | Failed::Else(error))| error)
    }

    async fn put_once<T: FromRedisValue>(&self, question: &Question<'_>) -> Result<(T, Witness), Failed> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(Failed::Else(lost()));
        }
        let link = self.link().await.map_err(Failed::Else)?;
        let mut connection = match link.connection().await {
            Ok(connection) => connection,
            Err(error) => {
                self.suspect();
                return Err(Failed::Else(error));
            }
        };
        let answer = match self.look_for_epoch(&mut connection).await {
            Ok(true) => question.put(&mut connection.way, link.meter()).await,
            Ok(false) => {
                self.is_lost.store(true, Ordering::Release);
                tracing::error!(
                    "Redis has lost its data, or is another Redis: what this process wrote is not in it. \
                     Nothing is accepted any more; bring the data back or start ringback again to go on \
                     without it"
                );
                return Err(Failed::Else(lost()));
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => Ok((answer, Witness { link, connection })),
            Err(error) => {
                self.suspect();
                let has_moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
                let error = link.judge(error, connection.generation).await;
                Err(if has_moved { Failed::Moved(error) } else { Failed::Else(error) })
            }
        }
    }

    /// The way to where it is.
    async fn link(&self) -> Result<Arc<Link>, StoreError> {
        match &*self.nodes {
            Nodes::One(link) => Ok(Arc::clone(link)),
            Nodes::Cluster(cluster) => {
                let suspected = self.suspected.load(Ordering::Acquire);
                if suspected == cluster.version() {
                    cluster.refresh(suspected).await;
                }
                cluster.link_of(self.slot)
            }
        }
    }

    /// Whether what is there over a new connection is ours.
    async fn look_for_epoch(&self, connection: &mut Connection) -> Result<bool, RedisError> {
        let Some(expected) = self.epoch.get() else { return Ok(true) };
        if self.looked_over.load(Ordering::Acquire) == connection.generation {
            return Ok(true);
        }
        let mut command = redis::cmd("HGET");
        command.arg(self.key("n", b"")).arg("E");
        let found: Option<Vec<u8>> = command.query_async(&mut connection.way).await?;
        let is_ours = found.as_ref() == Some(expected);
        if is_ours {
            self.looked_over.store(connection.generation, Ordering::Release);
        }
        Ok(is_ours)
    }

    /// From now on only this data is ours.
    pub(super) fn expect_epoch(&self, epoch: Vec<u8>) {
        self.epoch.get_or_init(|| epoch);
    }

    /// Notes whether it answers; whether that is news.
    pub(super) fn note_away(&self, is_away: bool) -> bool {
        self.is_away.swap(is_away, Ordering::AcqRel) != is_away
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// There may be something to claim.
    pub(super) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
    }

    /// Whether it was woken since this was asked last.
    pub(super) fn was_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }

    /// Whoever claims here keeps it for that time, and whoever writes events shares it: what is written while a
    /// claim is under way finds no slots, and the next claim would find it in line, and so on.
    pub(super) fn line(&self) -> &RwLock<()> {
        &self.line
    }

    /// Has leases given back that nobody took after all.
    pub(super) fn give_back(&self, lease: Lease) {
        self.given_back().push(lease);
        self.given_back_some.notify_one();
    }

    /// Returns when there are leases to give back.
    pub(super) async fn has_given_back(&self) {
        self.given_back_some.notified().await;
    }

    pub(super) fn given_back(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.given_back.lock().expect("no holder of this lock panics")
    }
}

impl Question<'_> {
    async fn put<T: FromRedisValue>(
        &self,
        way: &mut MultiplexedConnection,
        meter: &Histogram,
    ) -> Result<T, RedisError> {
        let (script, command) = match self {
            Self::Commands(pipeline) => return pipeline.query_async(way).await,
            Self::Script(script, command) => (script, command),
        };
        let began = Instant::now();
        let mut answer = command.query_async(way).await;
        if answer.as_ref().is_err_and(is_forgotten) {
            script.0.load_async(way).await?;
            answer = command.query_async(way).await;
        }
        meter.observe(began.elapsed().as_secs_f64());
        answer
    }
}

fn is_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is() {
        assert_eq!(of_token(1_700_000_000_000_000), (0, 1_700_000_000_000_000));
        assert_eq!(of_token((63 << TOKEN_BITS) | 7), (63, 7));
    }

    #[test]
    fn accounts_stay_in_their_shards() {
        // What is stored depends on it.
        assert_eq!([shard_of("acme", 1), shard_of("acme", 16), shard_of("globex", 16)], [0, 2, 11]);
        let mut shards: Vec<usize> =
            (0..1_000).map(|number| shard_of(&format!("account-{number}"), 16)).collect();
        shards.sort_unstable();
        let most = shards.chunk_by(|one, other| one == other).map(<[usize]>::len).max();
        assert!(most < Some(90), "{most:?}");
    }
}
