//! Finds the callbacks that want an event without looking at those that do not.
//!
//! The index is a tree of facets: account, event type, source, call status, language. At each
//! facet a callback stands either under the value it asks for or under "any", so that an event
//! looks at two branches a facet, however many callbacks there are. What is left after the facets
//! are texts, which [`Texts`] narrows down, and ranges, which [`super::ranges`] does. What they leave
//! [`super::Filter`] checks callback by callback.

use std::collections::HashMap;
use std::sync::Arc;

use super::texts::Texts;
use super::{Callback, Occasion};
use crate::event::{AccountName, EventType};
use crate::filter::Needle;

/// A part of the tree that can be empty, and then goes.
trait Branch: Default {
    fn is_empty(&self) -> bool;
}

/// Callbacks that agree in all facets.
type Leaf = Texts;

impl Branch for Leaf {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// A facet: callbacks that ask for a value, by the value, and those that take any.
#[derive(Debug, Default)]
struct Facet<T> {
    any: T,
    by_value: HashMap<Box<str>, T>,
}

impl<T: Branch> Branch for Facet<T> {
    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.by_value.is_empty()
    }
}

impl<T: Branch> Facet<T> {
    /// Changes the branch of a value. One that is empty then is taken out: values are the
    /// customers' own texts, and would otherwise pile up.
    fn change(&mut self, value: Option<&str>, change: impl FnOnce(&mut T)) {
        let Some(value) = value else { return change(&mut self.any) };
        if let Some(branch) = self.by_value.get_mut(value) {
            change(branch);
            if branch.is_empty() {
                self.by_value.remove(value);
            }
        } else {
            let mut branch = T::default();
            change(&mut branch);
            if !branch.is_empty() {
                self.by_value.insert(value.into(), branch);
            }
        }
    }

    /// The branches that an event with this value has to do with.
    fn branches(&self, value: Option<&str>) -> impl Iterator<Item = &T> {
        let asked_for = value.and_then(|value| self.by_value.get(value));
        std::iter::once(&self.any).chain(asked_for)
    }

    /// The most that `load` says of the branches that one event has to do with: one with this
    /// value, or with whichever.
    fn load(&self, value: Option<&str>, load: impl Fn(&T) -> usize) -> usize {
        let asked_for = match value {
            Some(value) => self.by_value.get(value).map(&load),
            None => self.by_value.values().map(&load).max(),
        };
        load(&self.any) + asked_for.unwrap_or(0)
    }
}

type ByLanguage = Facet<Leaf>;
type ByStatus = Facet<ByLanguage>;
type BySource = Facet<ByStatus>;

/// All callbacks, paused ones too, by what they want.
#[derive(Debug, Default)]
pub(super) struct Index {
    accounts: HashMap<AccountName, HashMap<EventType, BySource>>,
}

impl Index {
    pub(super) fn insert(&mut self, callback: &Arc<Callback>) {
        self.change(callback, |leaf| leaf.insert(callback));
    }

    pub(super) fn remove(&mut self, callback: &Callback) {
        self.change(callback, |leaf| leaf.remove(callback));
    }

    /// Whether any callback of this account wants events of this type.
    pub(super) fn has_listener(&self, account: &AccountName, event_type: EventType) -> bool {
        self.accounts.get(account).is_some_and(|types| types.contains_key(&event_type))
    }

    /// Changes every leaf that the callback belongs to.
    fn change(&mut self, callback: &Callback, mut change: impl FnMut(&mut Leaf)) {
        let (status, language) = facets(callback);
        let types = self.accounts.entry(Arc::clone(&callback.account)).or_default();
        for event_type in &callback.events {
            let sources = types.entry(*event_type).or_default();
            for source in sources_of(callback) {
                sources.change(source, |statuses| {
                    statuses.change(status, |languages| languages.change(language, &mut change));
                });
            }
            if sources.is_empty() {
                types.remove(event_type);
            }
        }
        if types.is_empty() {
            self.accounts.remove(&callback.account);
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
        let mut found: Vec<Arc<Callback>> = self
            .candidates(account, source, event_type, occasion)
            .into_iter()
            .filter(|callback| callback.filter.takes_apart_from_indexed(occasion))
            .cloned()
            .collect();
        found.sort_unstable_by_key(|callback| callback.id);
        found
    }

    /// The callbacks that an event agrees with in every facet, in ranges and texts, and a few others:
    /// nobody looks at any more.
    fn candidates(
        &self,
        account: &AccountName,
        source: &str,
        event_type: EventType,
        occasion: &Occasion<'_>,
    ) -> Vec<&Arc<Callback>> {
        let sources = self.accounts.get(account).and_then(|types| types.get(&event_type));
        let leaves = sources
            .into_iter()
            .flat_map(move |sources| sources.branches(Some(source)))
            .flat_map(|statuses| statuses.branches(occasion.call_status()))
            .flat_map(|languages| languages.branches(occasion.language()));
        let mut found = Vec::new();
        for leaf in leaves {
            leaf.candidates(occasion, &mut found);
        }
        found
    }

    /// How many callbacks, at most, one event could match that also matches this one; itself
    /// included where it is in the index. Ranges and texts are not looked at.
    pub(super) fn load(&self, callback: &Callback) -> usize {
        let (status, language) = facets(callback);
        let Some(types) = self.accounts.get(&callback.account) else { return 0 };
        let of_source = |sources: &BySource, source| {
            sources.load(source, |statuses| {
                statuses.load(status, |languages| languages.load(language, Texts::len))
            })
        };
        let of_type = |sources| sources_of(callback).map(|source| of_source(sources, source)).max();
        callback
            .events
            .iter()
            .filter_map(|event_type| types.get(event_type))
            .filter_map(of_type)
            .max()
            .unwrap_or(0)
    }
}

/// The call status and the language that a callback asks for, in lower case.
fn facets(callback: &Callback) -> (Option<&str>, Option<&str>) {
    let filter = &callback.filter;
    (filter.call_status.as_ref().map(Needle::lower), filter.language.as_ref().map(Needle::lower))
}

/// The sources that a callback asks for; where it takes all, that is the one branch "any".
fn sources_of(callback: &Callback) -> impl Iterator<Item = Option<&str>> {
    let any = callback.sources.is_empty().then_some(None);
    any.into_iter().chain(callback.sources.iter().map(|source| Some(source.as_str())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::context::{Name, Value, Values};
    use crate::event::CallbackId;
    use crate::registration::Filter;
    use crate::registration::callback::tests::callback;

    fn account() -> AccountName {
        "acme".into()
    }

    fn ids(callbacks: &[Arc<Callback>]) -> Vec<CallbackId> {
        callbacks.iter().map(|callback| callback.id).collect()
    }

    fn needle(text: &str) -> Needle {
        text.to_owned().into()
    }

    /// What an event shows to the index and to the filters.
    #[derive(Clone, Debug)]
    struct Shown {
        account: AccountName,
        source: String,
        event_type: EventType,
        call_status: Option<String>,
        speech_language: Option<String>,
        call_language: Option<String>,
        duration: Option<String>,
        result: Option<String>,
    }

    impl Shown {
        fn values(&self) -> Values<'_> {
            let text = |text| Option::map_or(text, Value::Missing, Value::Text);
            let mut values = Values::new();
            values.set(Name::CallStatus, text(self.call_status.as_deref()));
            values.set(Name::SpeechLanguage, text(self.speech_language.as_deref()));
            values.set(Name::CallLanguage, text(self.call_language.as_deref()));
            values.set(Name::SpeechResult, text(self.result.as_deref()));
            values.set(Name::CallDuration, self.duration.as_deref().map_or(Value::Missing, Value::Number));
            values
        }

        /// Whether a callback wants it, told from the documentation of the filters alone.
        fn is_wanted_by(&self, callback: &Callback) -> bool {
            let same = |wanted: &Option<Needle>, shown: Option<&String>| {
                wanted.as_ref().is_none_or(|wanted| {
                    shown.is_some_and(|shown| {
                        shown.to_lowercase() == String::from(wanted.clone()).to_lowercase()
                    })
                })
            };
            let duration = self.duration.as_ref().map(|duration| duration.parse::<f64>().unwrap());
            let filter = &callback.filter;
            callback.account == self.account
                && callback.events.contains(&self.event_type)
                && (callback.sources.is_empty() || callback.sources.contains(&self.source))
                && same(&filter.call_status, self.call_status.as_ref())
                && same(&filter.language, self.speech_language.as_ref().or(self.call_language.as_ref()))
                && filter.min_duration.is_none_or(|least| {
                    duration.is_some_and(|duration| duration >= f64::from(u32::try_from(least).unwrap()))
                })
                && filter.phrase.as_ref().is_none_or(|phrase| {
                    let phrase = String::from(phrase.clone()).to_lowercase();
                    self.result.as_ref().is_some_and(|result| result.to_lowercase().contains(&phrase))
                })
        }
    }

    fn source() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["dialer", "speech", "Dialer"]).prop_map(str::to_owned)
    }

    fn event_type() -> impl Strategy<Value = EventType> {
        prop::sample::select(vec![EventType::CallEnded, EventType::SpeechCompleted, EventType::CallStarted])
    }

    fn word() -> impl Strategy<Value = Option<String>> {
        prop::option::of(
            prop::sample::select(vec!["en", "EN", "de", "Ended", "ended", "ÉN", "én"])
                .prop_map(str::to_owned),
        )
    }

    fn some_account() -> impl Strategy<Value = AccountName> {
        prop::sample::select(vec!["acme", "other"]).prop_map(AccountName::from)
    }

    prop_compose! {
        fn some_callback()(
            account in some_account(),
            events in prop::collection::hash_set(event_type(), 1..3),
            sources in prop::collection::hash_set(source(), 0..3),
            call_status in word(),
            language in word(),
            min_duration in prop::option::of(0_u64..4),
            phrase in word(),
        ) -> Callback {
            let needle = |text: Option<String>| text.map(Needle::from);
            Callback {
                account,
                events: events.into_iter().collect(),
                sources: sources.into_iter().collect(),
                filter: Filter {
                    call_status: needle(call_status),
                    language: needle(language),
                    min_duration,
                    phrase: needle(phrase),
                    ..Filter::default()
                },
                ..callback()
            }
        }
    }

    prop_compose! {
        fn some_event()(
            account in some_account(),
            source in source(),
            event_type in event_type(),
            call_status in word(),
            speech_language in word(),
            call_language in word(),
            duration in prop::option::of(prop::sample::select(vec!["0", "1.0", "2.5", "3e0"])),
            result in word(),
        ) -> Shown {
            let duration = duration.map(str::to_owned);
            Shown { account, source, event_type, call_status, speech_language, call_language, duration, result }
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_look_at_every_callback_finds(
            callbacks in prop::collection::vec((some_callback(), any::<bool>()), 0..40),
            events in prop::collection::vec(some_event(), 1..20),
        ) {
            let mut index = Index::default();
            let callbacks: Vec<_> =
                callbacks.into_iter().map(|(callback, stays)| (Arc::new(callback), stays)).collect();
            for (callback, _) in &callbacks {
                index.insert(callback);
            }
            for (callback, _) in callbacks.iter().filter(|(_, stays)| !stays) {
                index.remove(callback);
            }
            let mut left: Vec<_> =
                callbacks.iter().filter(|(_, stays)| *stays).map(|(callback, _)| Arc::clone(callback)).collect();
            left.sort_by_key(|callback| callback.id);
            for event in &events {
                let values = event.values();
                let found =
                    index.matching(&event.account, &event.source, event.event_type, &Occasion::new(&values));
                let wanted: Vec<_> =
                    left.iter().filter(|callback| event.is_wanted_by(callback)).cloned().collect();
                prop_assert_eq!(ids(&found), ids(&wanted));
                // Whoever would be told that an event matches too many is told rather too early.
                for callback in &found {
                    prop_assert!(index.load(callback) >= found.len());
                }
            }
            for callback in &left {
                index.remove(callback);
            }
            prop_assert!(index.accounts.is_empty(), "what is removed leaves nothing behind: {:?}", index);
        }
    }

    #[test]
    fn a_hundred_thousand_callbacks_that_do_not_match_are_not_looked_at() {
        let mut index = Index::default();
        let other = callback();
        for number in 0..100_000 {
            let mut callback = Callback { id: CallbackId::new(), ..other.clone() };
            match number % 5 {
                0 => callback.account = "other".into(),
                1 => callback.events = vec![EventType::CallStarted],
                2 => callback.sources = vec!["elsewhere".to_owned()],
                3 => callback.filter.call_status = Some(needle(&format!("status {number}"))),
                _ => callback.filter.language = Some(needle(&format!("language {number}"))),
            }
            index.insert(&Arc::new(callback));
        }
        let wanted = Arc::new(Callback {
            filter: Filter { call_status: Some(needle("ENDED")), ..Filter::default() },
            ..other
        });
        index.insert(&wanted);
        let mut values = Values::new();
        values.set(Name::CallStatus, Value::Text("ended"));
        values.set(Name::CallLanguage, Value::Text("en"));
        let occasion = Occasion::new(&values);
        let looked_at = index.candidates(&account(), "dialer", EventType::CallEnded, &occasion).len();
        assert_eq!(looked_at, 1);
        assert_eq!(ids(&index.matching(&account(), "dialer", EventType::CallEnded, &occasion)), [wanted.id]);
    }

    #[test]
    fn the_load_is_that_of_the_fullest_event() {
        let mut index = Index::default();
        let with = |sources: &[&str], status: &str| Callback {
            id: CallbackId::new(),
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            filter: Filter {
                call_status: (!status.is_empty()).then(|| status.to_owned().into()),
                ..Filter::default()
            },
            ..callback()
        };
        for callback in
            [with(&[], ""), with(&["a"], "x"), with(&["a"], "y"), with(&["a", "b"], "y"), with(&["b"], "")]
        {
            index.insert(&Arc::new(callback));
        }
        for (sources, status, expected) in [
            (&["c"][..], "", 1),
            (&["a"], "x", 2),
            (&["a"], "", 3),
            (&[], "y", 3),
            (&["b"], "z", 2),
            (&["b", "a"], "Y", 3),
        ] {
            assert_eq!(index.load(&with(sources, status)), expected, "{sources:?} {status}");
        }
        let elsewhere = Callback { events: vec![EventType::CallStarted], ..callback() };
        assert_eq!(index.load(&elsewhere), 0);
    }
}
