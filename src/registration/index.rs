//! Finds the callbacks that want an event without looking at those that do not.
//!
//! The index is a tree of facets: account, event type, source, call status, language. At each
//! facet a callback stands either under the value it asks for or under "any", so that an event
//! looks at two branches a facet, however many callbacks there are. What is left after the facets
//! are ranges and texts, which [`super::Filter`] checks callback by callback.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Callback, Occasion};
use crate::event::{AccountName, EventType};

/// A facet: callbacks that ask for a value, by the value, and those that take any.
#[derive(Debug, Default)]
struct Facet<T> {
    any: T,
    by_value: HashMap<Box<str>, T>,
}

impl<T: Default> Facet<T> {
    fn entry(&mut self, value: Option<&str>) -> &mut T {
        match value {
            None => &mut self.any,
            Some(value) => self.by_value.entry(value.into()).or_default(),
        }
    }

    fn visit(&self, value: Option<&str>, mut visit: impl FnMut(&T)) {
        visit(&self.any);
        if let Some(branch) = value.and_then(|value| self.by_value.get(value)) {
            visit(branch);
        }
    }
}

type ByLanguage = Facet<Vec<Arc<Callback>>>;
type ByStatus = Facet<ByLanguage>;
type BySource = Facet<ByStatus>;

/// All active callbacks, by what they want.
#[derive(Debug, Default)]
pub(super) struct Index {
    accounts: HashMap<AccountName, HashMap<EventType, BySource>>,
}

impl Index {
    pub(super) fn insert(&mut self, callback: &Arc<Callback>) {
        self.leaves(callback, |leaf| leaf.push(Arc::clone(callback)));
    }

    pub(super) fn remove(&mut self, callback: &Callback) {
        self.leaves(callback, |leaf| leaf.retain(|other| other.id != callback.id));
    }

    /// Calls `change` with every leaf that the callback belongs to.
    fn leaves(&mut self, callback: &Callback, mut change: impl FnMut(&mut Vec<Arc<Callback>>)) {
        let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase());
        let status = lower(&callback.filter.call_status);
        let language = lower(&callback.filter.language);
        let types = self.accounts.entry(Arc::clone(&callback.account)).or_default();
        for event_type in &callback.events {
            let sources = types.entry(*event_type).or_default();
            let mut change_under = |source: Option<&str>| {
                let statuses = sources.entry(source);
                change(statuses.entry(status.as_deref()).entry(language.as_deref()));
            };
            if callback.sources.is_empty() {
                change_under(None);
            }
            for source in &callback.sources {
                change_under(Some(source));
            }
        }
    }

    /// The callbacks that want an event, in the order of their ids.
    pub(super) fn matching(
        &self,
        account: &AccountName,
        source: &str,
        event_type: EventType,
        occasion: &Occasion<'_>,
    ) -> Vec<Arc<Callback>> {
        let mut found: Vec<Arc<Callback>> = Vec::new();
        let Some(sources) = self.accounts.get(account).and_then(|types| types.get(&event_type)) else {
            return found;
        };
        sources.visit(Some(source), |statuses| {
            statuses.visit(occasion.call_status(), |languages| {
                languages.visit(occasion.language(), |callbacks| {
                    let wanted = callbacks
                        .iter()
                        .filter(|callback| callback.filter.takes_apart_from_indexed(occasion));
                    found.extend(wanted.cloned());
                });
            });
        });
        found.sort_unstable_by_key(|callback| callback.id);
        found
    }
}
