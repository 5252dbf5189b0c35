//! The way to one Redis: a connection that everybody shares, made anew when it is lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Durability;
use super::failure::{Verdict, away, store_error, verdict};
use super::replicas::{self, Rounds};
use crate::metric::{Histogram, durations};
use crate::store::StoreError;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take: past it, Redis is away. Its slowest honest answer is a disk that
/// syncs each write.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nobody tries to connect after it failed. Everybody else is answered at once meanwhile.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// The way to one Redis.
pub(super) struct Link {
    client: Client,
    state: Mutex<State>,
    setup: Setup,
    /// Rounds of waiting for replicas, where they are waited for.
    rounds: Rounds,
}

/// What all links of a store share.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) durability: Durability,
    /// Numbers the connections.
    pub(super) generations: Arc<AtomicU64>,
    /// How long scripts take.
    pub(super) meter: Histogram,
}

impl Setup {
    pub(super) fn new(durability: Durability) -> Self {
        let meter = durations(
            "ringback_store_script_duration_seconds",
            "How long scripts of the store in Redis took, with the way there and back.",
        );
        Self { durability, generations: Arc::default(), meter }
    }
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    not_before: Option<Instant>,
}

/// A connection, and what tells it from all others.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) way: MultiplexedConnection,
    pub(super) generation: u64,
    /// The name of the server's history when it was made, where replicas are waited for.
    history: Option<Arc<str>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: it knows the password.
        f.debug_struct("Link").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(client: Client, setup: Setup) -> Self {
        Self { client, state: Mutex::default(), setup, rounds: Rounds::default() }
    }

    /// How long scripts take.
    pub(super) const fn meter(&self) -> &Histogram {
        &self.setup.meter
    }

    /// Its address, without user and password.
    pub(super) fn place(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A connection of its own, for commands that block it up to `patience`.
    pub(super) async fn separate(&self, patience: Duration) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(patience + RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(store_error)
    }

    /// The connection that everybody shares.
    pub(super) async fn connection(&self) -> Result<Connection, StoreError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.not_before.is_some_and(|time| time > Instant::now()) {
            return Err(away());
        }
        match self.connect().await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + CONNECT_PAUSE);
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, StoreError> {
        let mut way = self.separate(Duration::ZERO).await?;
        let history = match self.setup.durability {
            Durability::Local => None,
            Durability::Replica => Some(replicas::history(&mut way).await.map_err(store_error)?),
        };
        let generation = self.setup.generations.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Connection { way, generation, history })
    }

    /// Returns when what this connection has answered is kept as the store promises it. `prefix` begins
    /// keys that the server has.
    pub(super) async fn keep(&self, connection: &Connection, prefix: &str) -> Result<(), StoreError> {
        let Some(history) = &connection.history else { return Ok(()) };
        let kept = self.rounds.wait(self, prefix, history).await;
        if kept.is_err() {
            // Whatever it was: the next connection says which server and which history there is.
            self.drop_connection(connection.generation).await;
        }
        kept
    }

    async fn drop_connection(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|now| now.generation == generation) {
            state.connection = None;
        }
    }

    /// What an error says for a caller. A connection that is to blame for it is used no more.
    pub(super) async fn judge(&self, error: RedisError, generation: u64) -> StoreError {
        if verdict(&error) == Verdict::Drop {
            self.drop_connection(generation).await;
        }
        store_error(error)
    }

    /// Runs commands that concern the server, and no shard.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        match pipeline.query_async(&mut connection.way).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.judge(error, connection.generation).await),
        }
    }
}
