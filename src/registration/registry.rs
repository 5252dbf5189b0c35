//! All registrations, in memory: what intake asks for each event and delivery for each attempt.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use jiff::Timestamp;

use super::index::Index;
use super::{Callback, DeliverySettings, Occasion};
use crate::event::{AccountName, CallbackId, EventType};
use crate::store::CallbackState;

/// The most deliveries that one event may cause for one event type.
pub const MATCH_LIMIT: usize = 1_000;

/// All registrations.
#[derive(Debug, Default)]
pub struct Registry {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    by_id: HashMap<CallbackId, Arc<Callback>>,
    by_account: HashMap<AccountName, BTreeSet<CallbackId>>,
    index: Index,
}

/// The callbacks that want an event.
#[derive(Debug)]
pub struct Matches {
    /// In the order of their ids, so the oldest first.
    pub callbacks: Vec<Arc<Callback>>,
    /// How many more there were than [`MATCH_LIMIT`].
    pub left_out: usize,
}

impl Registry {
    /// Adds a registration, or replaces the one with its id.
    pub fn put(&self, callback: Callback) {
        let callback = Arc::new(callback);
        let mut state = self.state.write().expect("no holder of this lock panics");
        if let Some(old) = state.by_id.insert(callback.id, Arc::clone(&callback)) {
            state.index.remove(&old);
        }
        state.by_account.entry(Arc::clone(&callback.account)).or_default().insert(callback.id);
        state.index.insert(&callback);
    }

    /// Puts a registration into another state, if there still is one.
    pub fn set_state(&self, id: CallbackId, state: CallbackState) {
        if let Some(callback) = self.by_id(id) {
            self.put(Callback { state, ..(*callback).clone() });
        }
    }

    /// Takes a registration of this account away.
    pub fn remove(&self, account: &AccountName, id: CallbackId) -> bool {
        let mut state = self.state.write().expect("no holder of this lock panics");
        let Some(callback) = state.by_id.get(&id).filter(|callback| callback.account == *account).cloned()
        else {
            return false;
        };
        state.by_id.remove(&id);
        state.index.remove(&callback);
        if let Some(ids) = state.by_account.get_mut(account) {
            ids.remove(&id);
        }
        true
    }

    /// A registration of this account.
    #[must_use]
    pub fn get(&self, account: &AccountName, id: CallbackId) -> Option<Arc<Callback>> {
        self.by_id(id).filter(|callback| callback.account == *account)
    }

    /// A registration of whichever account; for Ringback's own use.
    #[must_use]
    pub fn by_id(&self, id: CallbackId) -> Option<Arc<Callback>> {
        self.state.read().expect("no holder of this lock panics").by_id.get(&id).cloned()
    }

    /// Registrations of this account, newest first, at most `limit`, those before the cursor.
    #[must_use]
    pub fn list(
        &self,
        account: &AccountName,
        before: Option<CallbackId>,
        limit: usize,
    ) -> Vec<Arc<Callback>> {
        let state = self.state.read().expect("no holder of this lock panics");
        let Some(ids) = state.by_account.get(account) else { return Vec::new() };
        let listed: Box<dyn Iterator<Item = &CallbackId>> = match before {
            Some(before) => Box::new(ids.range(..before).rev()),
            None => Box::new(ids.iter().rev()),
        };
        listed.take(limit).filter_map(|id| state.by_id.get(id).cloned()).collect()
    }

    /// How many registrations this account has.
    #[must_use]
    pub fn count(&self, account: &AccountName) -> usize {
        let state = self.state.read().expect("no holder of this lock panics");
        state.by_account.get(account).map_or(0, BTreeSet::len)
    }

    /// The callbacks that want an event.
    #[must_use]
    pub fn matching(
        &self,
        account: &AccountName,
        source: &str,
        event_type: EventType,
        occasion: &Occasion<'_>,
        now: Timestamp,
    ) -> Matches {
        let state = self.state.read().expect("no holder of this lock panics");
        let mut callbacks = state.index.matching(account, source, event_type, occasion);
        drop(state);
        callbacks.retain(|callback| callback.is_live(now));
        let left_out = callbacks.len().saturating_sub(MATCH_LIMIT);
        callbacks.truncate(MATCH_LIMIT);
        Matches { callbacks, left_out }
    }

    /// How deliveries of this registration are sent now; `None` if it was removed.
    #[must_use]
    pub fn delivery_settings(&self, id: CallbackId) -> Option<Arc<DeliverySettings>> {
        self.by_id(id).map(|callback| Arc::clone(&callback.delivery))
    }
}
