//! Opening the store: what is in the file is read, and the threads begin.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::checkpoint::Checkpoints;
use super::desk::{Desk, Pauses};
use super::reader::Readers;
use super::schema::Ownership;
use super::search::Indexer;
use super::standing::Meter;
use super::syncing::{Durability, Sync, Syncs};
use super::writer::{GivenBack, Writer};
use super::{
    Embedded, Options, WAITING_OTHERS, WAITING_WRITES, checkpoint, recovery, schema, search, syncing,
};
use crate::store::StoreError;
use crate::store::scheduler::Scheduler;

impl Embedded {
    /// Opens the file at `path`, making it and its folder if there are none, and reads what waits
    /// in it: about a second for each million deliveries. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: another process owns the file, it cannot be written, it is
    /// something else than a store, is damaged, or was written by a newer version.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let path = std::path::absolute(path)
            .map_err(|error| StoreError::Unusable(format!("{} is no path: {error}", path.display())))?;
        let ownership = schema::own(&path)?;
        let connection = schema::open_writer(&path)?;
        let sync = syncing::log_of(&path)?;
        Self::start(&path, connection, sync, ownership, options)
    }

    pub(super) fn start(
        path: &Path,
        connection: Connection,
        sync: Sync,
        ownership: Ownership,
        options: Options,
    ) -> Result<Self, StoreError> {
        let now = Timestamp::now();
        // Tokens of an earlier process stay different from ours.
        let first_token = now.as_microsecond().unsigned_abs();
        let scheduler = Scheduler::new(options.max_in_flight, first_token, options.circuit);
        let pauses = Arc::new(Pauses::new());
        let (index, to_index) = search::orders();
        let mut desk = Desk::new(connection, scheduler, options.retention, Arc::clone(&pauses), index);
        let announcing = Arc::clone(&desk.announcing);
        let recent = desk.seen.recent.clone();
        recovery::recover(&mut desk, now).map_err(|error| schema::unusable(path, &error))?;
        let durability = Arc::new(Durability::new());
        let file = checkpoint::sync_of(path)?;
        let checkpoints = Checkpoints::start(path, &mut desk.connection, file, Arc::clone(&durability))?;
        schema::leave_syncs(path, &desk.connection)?;
        let readers = Readers::open(path, Arc::clone(&durability))?;
        let (outbox, inbox) = sync_channel(WAITING_WRITES + options.max_in_flight + WAITING_OTHERS);
        let outbox = Arc::new(outbox);
        let indexer = Arc::new(Indexer::start(path, to_index, Arc::downgrade(&outbox))?);
        let meter = Meter::new();
        let syncs = Syncs::start(path, sync, durability, recent.clone(), meter.clone())?;
        let writer = Writer::new(desk, inbox, GivenBack::default(), checkpoints, syncs);
        let thread = std::thread::Builder::new()
            .name("ringback-store".to_owned())
            .spawn(move || {
                writer.run();
                // The last to go: nobody else may open the file before the writer is done.
                drop(ownership);
            })
            .map_err(|error| schema::no_thread(path, &error))?;
        Ok(Self {
            outbox,
            indexer,
            turns: Arc::new(Semaphore::new(WAITING_WRITES)),
            readers,
            recent,
            pauses,
            announcing,
            meter,
            closed: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        })
    }
}
