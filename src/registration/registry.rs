//! All registrations, in memory: what intake asks for each event and delivery for each attempt.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use jiff::Timestamp;

use super::index::Index;
use super::{Callback, DeliverySettings, Occasion};
use crate::event::{AccountName, CallbackId, EventType};

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

    /// The ids of all registrations.
    #[must_use]
    pub fn ids(&self) -> Vec<CallbackId> {
        self.state.read().expect("no holder of this lock panics").by_id.keys().copied().collect()
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

    /// Whether any registration of this account wants events of this type.
    #[must_use]
    pub fn has_listener(&self, account: &AccountName, event_type: EventType) -> bool {
        self.state.read().expect("no holder of this lock panics").index.has_listener(account, event_type)
    }

    /// How many registrations this account has.
    #[must_use]
    pub fn count(&self, account: &AccountName) -> usize {
        let state = self.state.read().expect("no holder of this lock panics");
        state.by_account.get(account).map_or(0, BTreeSet::len)
    }

    /// How many callbacks, at most, one event could match that also matches this one, whether or
    /// not it is registered already. Ranges and texts are not looked at.
    #[must_use]
    pub fn load_with(&self, callback: &Callback) -> usize {
        let state = self.state.read().expect("no holder of this lock panics");
        let itself = usize::from(!state.by_id.contains_key(&callback.id));
        state.index.load(callback) + itself
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Values;
    use crate::registration::callback::tests::callback;

    fn matching(registry: &Registry, now: &str) -> Matches {
        let values = Values::new();
        let occasion = Occasion::new(&values);
        registry.matching(&"acme".into(), "dialer", EventType::CallEnded, &occasion, now.parse().unwrap())
    }

    #[test]
    fn a_registration_is_replaced_found_by_its_account_only_and_removed() {
        let registry = Registry::default();
        let first = callback();
        let (id, other) = (first.id, AccountName::from("other"));
        registry.put(first.clone());
        registry.put(Callback { events: vec![EventType::CallStarted], ..first.clone() });
        assert_eq!(registry.count(&first.account), 1);
        assert!(matching(&registry, "2026-01-01T00:00:00Z").callbacks.is_empty());
        registry.put(first.clone());
        assert_eq!(matching(&registry, "2026-01-01T00:00:00Z").callbacks.len(), 1);
        assert!(registry.get(&other, id).is_none() && !registry.remove(&other, id));
        assert!(registry.get(&first.account, id).is_some() && registry.delivery_settings(id).is_some());
        assert!(registry.remove(&first.account, id) && !registry.remove(&first.account, id));
        assert_eq!(registry.count(&first.account), 0);
        assert!(registry.by_id(id).is_none() && registry.delivery_settings(id).is_none());
        assert!(matching(&registry, "2026-01-01T00:00:00Z").callbacks.is_empty());
    }

    #[test]
    fn lists_go_from_the_newest_to_the_oldest_in_parts() {
        let registry = Registry::default();
        let mut ids: Vec<CallbackId> = (0..5).map(|_| callback().id).collect();
        for id in &ids {
            registry.put(Callback { id: *id, ..callback() });
        }
        ids.sort_unstable();
        ids.reverse();
        let list = |before, limit| -> Vec<CallbackId> {
            registry.list(&"acme".into(), before, limit).iter().map(|callback| callback.id).collect()
        };
        assert_eq!(list(None, 2), ids[..2]);
        assert_eq!(list(Some(ids[1]), 2), ids[2..4]);
        assert_eq!(list(Some(ids[3]), 2), ids[4..]);
        assert!(list(Some(ids[4]), 2).is_empty());
        assert!(registry.list(&"other".into(), None, 2).is_empty());
    }

    #[test]
    fn an_expired_registration_takes_no_events_from_that_moment_on() {
        let registry = Registry::default();
        registry.put(Callback { expires_at: "2026-01-01T00:00:00Z".parse().ok(), ..callback() });
        assert_eq!(matching(&registry, "2025-12-31T23:59:59.999Z").callbacks.len(), 1);
        assert!(matching(&registry, "2026-01-01T00:00:00Z").callbacks.is_empty());
    }

    #[test]
    fn an_event_matches_the_oldest_up_to_the_limit_and_says_how_many_were_left_out() {
        let registry = Registry::default();
        let template = callback();
        let mut ids = Vec::new();
        for _ in 0..MATCH_LIMIT + 3 {
            let callback = Callback { id: CallbackId::new(), ..template.clone() };
            assert_eq!(registry.load_with(&callback), ids.len() + 1);
            ids.push(callback.id);
            registry.put(callback);
        }
        ids.sort_unstable();
        let matches = matching(&registry, "2026-01-01T00:00:00Z");
        let found: Vec<_> = matches.callbacks.iter().map(|callback| callback.id).collect();
        assert_eq!((found.as_slice(), matches.left_out), (&ids[..MATCH_LIMIT], 3));
    }
}
