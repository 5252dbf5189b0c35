//! What the writer writes with: the connection, the scheduler, and what it remembers of the file.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Notify, watch};

use super::announcements;
use super::search::Orders;
use super::seen::{Mark, Sightings};
use super::stored::Stored;
use crate::event::{AccountName, CallbackId, DeliveryId};
use crate::store::Retention;
use crate::store::scheduler::Scheduler;
use crate::store::{DestinationId, Lease};

/// How long a lease lasts: the longest deadline that a registration may set, and 5 s. Measured
/// with a clock that does not jump. A worker that lives settles long before.
const LEASE_TIME: Duration = Duration::from_secs(60 + 5);

/// Time as the file keeps it.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A span of time as the file keeps it.
pub(super) fn span_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Registrations that the store paused by itself, for those who hold them in memory. A revision
/// grows with each.
#[derive(Debug)]
pub(super) struct Pauses {
    revision: watch::Sender<u64>,
    /// By registration, so that there are never more than those.
    at: Mutex<HashMap<CallbackId, u64>>,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { revision: watch::Sender::new(1), at: Mutex::default() }
    }

    fn note(&self, callbacks: &mut Vec<CallbackId>) {
        if callbacks.is_empty() {
            return;
        }
        let revision = *self.revision.borrow() + 1;
        let paused = callbacks.drain(..).map(|callback| (callback, revision));
        self.at.lock().expect("no holder of this lock panics").extend(paused);
        self.revision.send_replace(revision);
    }

    pub(super) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Which were paused after this revision.
    pub(super) fn since(&self, revision: u64) -> HashSet<CallbackId> {
        let at = self.at.lock().expect("no holder of this lock panics");
        at.iter().filter(|(_, paused)| **paused > revision).map(|(callback, _)| *callback).collect()
    }
}

/// Everything that a write changes. What is in memory follows the transaction: [`Desk::commit`]
/// and [`Desk::rollback`] are called with it.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) connection: Connection,
    pub(super) scheduler: Scheduler,
    pub(super) retention: Retention,
    pub(super) lease_time: Duration,
    /// Registrations that were removed.
    pub(super) removed: HashSet<CallbackId>,
    removed_now: Vec<CallbackId>,
    /// Of the deliveries that are leased, those of calls that were erased meanwhile.
    erased: HashSet<DeliveryId>,
    erased_now: Vec<DeliveryId>,
    /// Registrations that the store paused by itself, and who is told of them.
    paused_now: Vec<CallbackId>,
    pauses: Arc<Pauses>,
    /// Who is told of calls that changed.
    pub(super) index: Orders,
    /// The version that the next new call begins with: behind all that a call had which was removed, so
    /// that whoever has read that one writes over no other of its name. Nobody has read anything before
    /// this process began.
    first_version: i64,
    /// Somebody is to look at the announcements.
    pub(super) announcing: Arc<Notify>,
    announced_now: Cell<bool>,
    accounts: Accounts,
    /// Which events were seen.
    pub(super) seen: Sightings,
    /// How many bytes this transaction stores.
    pub(super) stored: Stored,
    /// What is leased, by token, the oldest first.
    leased: BTreeMap<u64, Leased>,
    granted_now: Vec<u64>,
    ended_now: Vec<u64>,
}

/// What is known of a delivery as long as it is leased, so that its settlement need not read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leased {
    pub(super) delivery: DeliveryId,
    pub(super) account: i64,
    pub(super) callback: CallbackId,
    /// How many rows of attempts there are.
    pub(super) recorded: i64,
    pub(super) since: Instant,
}

#[derive(Debug, Default)]
struct Accounts {
    numbers: HashMap<AccountName, i64>,
    names: HashMap<i64, AccountName>,
}

impl Desk {
    pub(super) fn new(
        connection: Connection,
        scheduler: Scheduler,
        retention: Retention,
        pauses: Arc<Pauses>,
        index: Orders,
    ) -> Self {
        Self {
            connection,
            scheduler,
            retention,
            lease_time: LEASE_TIME,
            removed: HashSet::new(),
            removed_now: Vec::new(),
            erased: HashSet::new(),
            erased_now: Vec::new(),
            paused_now: Vec::new(),
            pauses,
            index,
            first_version: 1,
            announcing: Arc::default(),
            announced_now: Cell::new(false),
            accounts: Accounts::default(),
            seen: Sightings::new(),
            stored: Stored::default(),
            leased: BTreeMap::new(),
            granted_now: Vec::new(),
            ended_now: Vec::new(),
        }
    }

    pub(super) const fn first_version(&self) -> i64 {
        self.first_version
    }

    /// A call of this version was removed. One whose removal is taken back costs some versions.
    pub(super) fn note_removed_version(&mut self, version: i64) {
        self.first_version = self.first_version.max(version + 1);
    }

    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    /// Makes everything since [`Self::begin`] final, and durable unless that is somebody else's; what
    /// was seen.
    pub(super) fn commit(&mut self) -> rusqlite::Result<Vec<Mark>> {
        self.stored.write(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.stored.clear();
        let seen = self.seen.commit();
        self.scheduler.commit();
        self.removed_now.clear();
        self.erased_now.clear();
        self.pauses.note(&mut self.paused_now);
        self.index.commit();
        if self.announced_now.take() {
            self.announcing.notify_one();
        }
        self.granted_now.clear();
        for token in self.ended_now.drain(..) {
            if let Some(leased) = self.leased.remove(&token) {
                self.erased.remove(&leased.delivery);
            }
        }
        Ok(seen)
    }

    /// Takes everything since [`Self::begin`] back.
    pub(super) fn rollback(&mut self) {
        // Some errors end the transaction by themselves.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
        self.stored.clear();
        self.seen.rollback();
        self.scheduler.rollback();
        for callback in self.removed_now.drain(..) {
            self.removed.remove(&callback);
        }
        for delivery in self.erased_now.drain(..) {
            self.erased.remove(&delivery);
        }
        self.paused_now.clear();
        self.index.rollback();
        self.announced_now.set(false);
        for token in self.granted_now.drain(..) {
            self.leased.remove(&token);
        }
        self.ended_now.clear();
        // A number may belong to a row that is gone again.
        self.accounts = Accounts::default();
    }

    /// The number of an account, which is given one if it is new.
    pub(super) fn account(&mut self, name: &AccountName) -> rusqlite::Result<i64> {
        if let Some(number) = self.accounts.numbers.get(name) {
            return Ok(*number);
        }
        let found = self
            .connection
            .prepare_cached("SELECT id FROM account WHERE name = ?1")?
            .query_row([name.as_ref()], |row| row.get(0))
            .optional()?;
        let number = match found {
            Some(number) => number,
            None => self
                .connection
                .prepare_cached("INSERT INTO account (name) VALUES (?1)")?
                .insert([name.as_ref()])?,
        };
        self.accounts.numbers.insert(Arc::clone(name), number);
        self.accounts.names.insert(number, Arc::clone(name));
        Ok(number)
    }

    /// The name of a numbered account.
    pub(super) fn account_name(&mut self, number: i64) -> rusqlite::Result<AccountName> {
        if let Some(name) = self.accounts.names.get(&number) {
            return Ok(Arc::clone(name));
        }
        let name: String = self
            .connection
            .prepare_cached("SELECT name FROM account WHERE id = ?1")?
            .query_row([number], |row| row.get(0))?;
        let name = AccountName::from(name);
        self.accounts.numbers.insert(Arc::clone(&name), number);
        self.accounts.names.insert(number, Arc::clone(&name));
        Ok(name)
    }

    pub(super) fn note_removed(&mut self, callback: CallbackId) {
        if self.removed.insert(callback) {
            self.removed_now.push(callback);
        }
    }

    /// A delivery under way is of a call that is erased.
    pub(super) fn note_erased(&mut self, delivery: DeliveryId) {
        if self.erased.insert(delivery) {
            self.erased_now.push(delivery);
        }
    }

    /// Whether a delivery that is leased is of a call that was erased meanwhile.
    pub(super) fn is_erased(&self, delivery: DeliveryId) -> bool {
        self.erased.contains(&delivery)
    }

    pub(super) fn note_paused(&mut self, callback: CallbackId) {
        self.paused_now.push(callback);
    }

    pub(super) fn note_announced(&self) {
        self.announced_now.set(true);
    }

    pub(super) fn note_granted(&mut self, token: u64, leased: Leased) {
        self.leased.insert(token, leased);
        self.granted_now.push(token);
    }

    /// What a lease is for, if it is held.
    pub(super) fn leased(&self, lease: Lease) -> Option<Leased> {
        if self.scheduler.holds(lease) { self.leased.get(&lease.token).copied() } else { None }
    }

    pub(super) fn note_ended(&mut self, lease: Lease) {
        self.ended_now.push(lease.token);
    }

    /// When the oldest lease runs out.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.leased.first_key_value().map(|(_, leased)| leased.since + self.lease_time)
    }

    /// Leases that have run out by `now`, the oldest first.
    pub(super) fn expired(&self, now: Instant) -> Vec<Lease> {
        self.leased
            .iter()
            .take_while(|(_, leased)| leased.since + self.lease_time <= now)
            .map(|(token, leased)| Lease { delivery: leased.delivery, token: *token })
            .collect()
    }

    /// Ends a delivery that will never be sent: its row says why, and its queue row goes.
    pub(super) fn finish(
        &self,
        account: i64,
        delivery: DeliveryId,
        end: &End<'_>,
        at: i64,
    ) -> rusqlite::Result<()> {
        let id = delivery.to_bytes();
        self.connection.prepare_cached("DELETE FROM queue WHERE delivery = ?1")?.execute([id])?;
        self.connection
            .prepare_cached(
                "UPDATE delivery SET state = ?3, reason = ?4, attempts = attempts + ?5, finished_at = ?6 \
                 WHERE account = ?1 AND id = ?2",
            )?
            .execute(params![account, id, end.state, end.reason, end.attempts, at])?;
        if end.state == state::DEAD {
            announcements::dead(self, account, delivery, end.reason.unwrap_or_default(), at)?;
        }
        if end.state == state::DEAD || end.state == state::FAILED {
            // What a failed delivery came from is kept as long as the delivery.
            self.connection
                .prepare_cached(
                    "UPDATE event SET keep = 1 WHERE account = ?1 AND id = \
                     (SELECT event FROM delivery WHERE account = ?1 AND id = ?2)",
                )?
                .execute(params![account, id])?;
        }
        Ok(())
    }
}

/// How a delivery ends.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) state: i64,
    pub(super) reason: Option<&'a str>,
    /// Attempts that this ending adds: one, or none.
    pub(super) attempts: i64,
}

/// A delivery's state as a number. "Leased" is none: it is a mark on the queue's row.
pub(super) mod state {
    pub(in super::super) const OPEN: i64 = 0;
    pub(in super::super) const DELIVERED: i64 = 2;
    pub(in super::super) const DEAD: i64 = 3;
    pub(in super::super) const FAILED: i64 = 4;
    pub(in super::super) const CANCELLED: i64 = 5;
}

/// Why a delivery of a removed registration is cancelled.
pub(super) const REMOVED: &str = "its registration was removed";

/// Why a delivery of a call that was erased is cancelled.
pub(super) const ERASED: &str = "its call was erased";

/// A destination as rows keep it: nothing if it is the registration's own.
pub(super) fn stored_destination(callback: CallbackId, destination: DestinationId) -> Option<[u8; 16]> {
    (destination != DestinationId::from(callback)).then_some(destination.0)
}

/// The inverse of [`stored_destination`].
pub(super) fn read_destination(callback: CallbackId, stored: Option<[u8; 16]>) -> DestinationId {
    stored.map_or_else(|| callback.into(), DestinationId)
}
