//! The way to Redis: one connection that everybody shares, made anew when it is lost, and scripts
//! that are loaded again when Redis has forgotten them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::failure::{Verdict, away, lost, store_error, verdict};
use crate::metric::{Histogram, durations};
use crate::store::StoreError;

/// What every key begins with. The hash tag keeps all of it in one slot of a Cluster.
pub(super) const PREFIX: &str = "{rb0}:";

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take: past it, Redis is away. Its slowest honest answer is a disk that
/// syncs each write.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nobody tries to connect after it failed. Everybody else is answered at once meanwhile.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// One script, with what stands before all of them.
#[derive(Debug)]
pub(super) struct Script(redis::Script);

impl Script {
    pub(super) fn new(text: &str) -> Self {
        Self(redis::Script::new(&[include_str!("prelude.lua"), text].concat()))
    }
}

/// The way to one Redis.
pub(super) struct Link {
    client: Client,
    state: Mutex<State>,
    /// The name of the data that was found first; other data is not ours.
    epoch: std::sync::OnceLock<Vec<u8>>,
    is_lost: AtomicBool,
    meter: Histogram,
    /// The time in place of Redis' own, in µs; tests only.
    time: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Tells the connection from those before it.
    generation: u64,
    not_before: Option<Instant>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: it knows the password.
        f.debug_struct("Link").field("is_lost", &self.is_lost).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(client: Client, time: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>) -> Self {
        Self {
            client,
            state: Mutex::default(),
            epoch: std::sync::OnceLock::new(),
            is_lost: AtomicBool::new(false),
            meter: durations(
                "ringback_store_script_duration_seconds",
                "How long scripts of the store in Redis took, with the way there and back.",
            ),
            time,
        }
    }

    /// A connection of its own, for commands that block it up to `patience`.
    pub(super) async fn separate(&self, patience: Duration) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(patience + RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(store_error)
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
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.0.get_hash()).arg(1).arg(PREFIX);
        match &self.time {
            Some(time) => command.arg(time.load(Ordering::Relaxed)),
            None => command.arg(""),
        };
        arguments(&mut command);
        let (mut connection, generation) = self.connection().await?;
        let began = Instant::now();
        let mut answer = command.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(is_forgotten) {
            answer = match script.0.load_async(&mut connection).await {
                Ok(_) => command.query_async(&mut connection).await,
                Err(error) => Err(error),
            };
        }
        self.meter.observe(began.elapsed().as_secs_f64());
        self.judge(answer, generation).await
    }

    /// Runs commands that only read, or one that stands alone.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let (mut connection, generation) = self.connection().await?;
        let answer = pipeline.query_async(&mut connection).await;
        self.judge(answer, generation).await
    }

    async fn judge<T>(&self, answer: Result<T, RedisError>, generation: u64) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if verdict(&error) == Verdict::Drop {
                    let mut state = self.state.lock().await;
                    if state.generation == generation {
                        state.connection = None;
                    }
                }
                Err(store_error(error))
            }
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(lost());
        }
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if state.not_before.is_some_and(|time| time > Instant::now()) {
            return Err(away());
        }
        match self.connect().await {
            Ok(connection) => {
                state.generation += 1;
                state.connection = Some(connection.clone());
                Ok((connection, state.generation))
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + CONNECT_PAUSE);
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(store_error)?;
        if let Some(expected) = self.epoch.get() {
            let found: Option<Vec<u8>> = redis::cmd("HGET")
                .arg(format!("{PREFIX}n"))
                .arg("E")
                .query_async(&mut connection)
                .await
                .map_err(store_error)?;
            if found.as_ref() != Some(expected) {
                self.is_lost.store(true, Ordering::Release);
                tracing::error!(
                    "Redis has lost its data, or is another Redis: what this process wrote is not in it. \
                     Nothing is accepted any more; bring the data back or start ringback again to go on \
                     without it"
                );
                return Err(lost());
            }
        }
        Ok(connection)
    }

    /// How long scripts take.
    pub(super) const fn meter(&self) -> &Histogram {
        &self.meter
    }

    /// From now on only this data is ours.
    pub(super) fn expect_epoch(&self, epoch: Vec<u8>) {
        self.epoch.get_or_init(|| epoch);
    }
}

fn is_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
