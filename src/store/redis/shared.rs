//! What the tasks of a store in Redis share with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex};

use redis::Client;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::jobs::HeldJob;
use super::link::Link;
use super::scripts::Scripts;
use super::{FORMAT, Options, inspection, newer, upkeep};
use crate::event::{DeliveryId, JobId};
use crate::store::{Lease, StoreError};

/// What the tasks share with the store.
pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) scripts: Scripts,
    pub(super) options: Options,
    pub(super) held: Mutex<HashMap<DeliveryId, Held>>,
    /// Something that was held is not any more.
    pub(super) freed: Notify,
    /// Leases that nobody took after all, on their way back. At most as many as are held.
    pub(super) given_back: Mutex<Vec<Lease>>,
    pub(super) given_back_some: Notify,
    /// The leases of jobs that this process holds, and keeps from running out.
    pub(super) held_jobs: Mutex<HashMap<JobId, HeldJob>>,
    /// Somebody waits for jobs here.
    pub(super) idle_for_jobs: watch::Sender<bool>,
    /// There are jobs again.
    pub(super) woken_for_jobs: Arc<Notify>,
    /// The newest revision of the registrations that is known of.
    pub(super) revision: watch::Sender<u64>,
    /// There is something to announce.
    pub(super) announcing: Notify,
    pub(super) closed: AtomicBool,
    pub(super) closing: watch::Sender<bool>,
}

/// A lease that this process holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) token: u64,
    pub(super) on_trial: bool,
    pub(super) since: Instant,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("link", &self.link)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) async fn connect(
        client: Client,
        options: Options,
        time: Option<Arc<AtomicI64>>,
    ) -> Result<Self, StoreError> {
        let shared = Self {
            link: Link::new(client, time),
            scripts: Scripts::new(),
            options,
            held: Mutex::default(),
            freed: Notify::new(),
            given_back: Mutex::default(),
            given_back_some: Notify::new(),
            held_jobs: Mutex::default(),
            idle_for_jobs: watch::Sender::new(false),
            woken_for_jobs: Arc::default(),
            revision: watch::Sender::new(0),
            announcing: Notify::new(),
            closed: AtomicBool::new(false),
            closing: watch::Sender::new(false),
        };
        let exposure = inspection::inspect(&shared.link).await?;
        let name = ulid::Ulid::generate().to_string();
        let (format, epoch): (u32, Vec<u8>) = shared
            .link
            .run(&shared.scripts.open, |command| {
                command.arg(FORMAT).arg(&name);
            })
            .await?;
        if format > FORMAT {
            return Err(newer(format));
        }
        shared.link.expect_epoch(epoch);
        if exposure.is_grave {
            tracing::warn!("the store is open; {}", exposure.sentence);
        } else {
            tracing::info!("the store is open; {}", exposure.sentence);
        }
        upkeep::tick(&shared, i64::MAX).await?;
        Ok(shared)
    }

    pub(super) fn held(&self) -> std::sync::MutexGuard<'_, HashMap<DeliveryId, Held>> {
        self.held.lock().expect("no holder of this lock panics")
    }

    /// A lease is not held any more, whoever ended it.
    pub(super) fn forget(&self, lease: Lease) {
        let mut held = self.held();
        if held.get(&lease.delivery).is_some_and(|one| one.token == lease.token) {
            held.remove(&lease.delivery);
            drop(held);
            self.freed.notify_one();
        }
    }
}
