//! Callbacks that agree in all facets, by a run of characters that their texts have.
//!
//! One that looks for a text stands under one run of that text, the one under which the fewest stand
//! so far: an event whose texts do not have it does not concern the callback. So of a hundred thousand
//! texts an event looks at those that begin to look like its own.

use std::collections::HashMap;
use std::sync::Arc;

use super::ranges::Ranges;
use super::{Callback, Occasion};
use crate::event::CallbackId;
use crate::filter::Wanted;

/// So many are looked at whatever the event's texts have: to take these apart costs more.
const FEW: usize = 64;

/// Callbacks by what their texts have.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Those that look for no text.
    without: Ranges,
    by_gram: HashMap<u32, Ranges>,
    /// Under which run each stands.
    grams: HashMap<CallbackId, u32>,
}

impl Texts {
    pub(super) fn len(&self) -> usize {
        self.without.len() + self.grams.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.without.is_empty() && self.grams.is_empty()
    }

    pub(super) fn insert(&mut self, callback: &Arc<Callback>) {
        let wanted = Wanted::of(&callback.filter);
        let under = |gram: &u32| self.by_gram.get(gram).map_or(0, Ranges::len);
        let rarest = wanted.iter().flat_map(|wanted| &wanted.all_of).copied().min_by_key(under);
        match rarest {
            Some(gram) => {
                self.grams.insert(callback.id, gram);
                self.by_gram.entry(gram).or_default().insert(callback);
            }
            None => self.without.insert(callback),
        }
    }

    pub(super) fn remove(&mut self, callback: &Callback) {
        let Some(gram) = self.grams.remove(&callback.id) else { return self.without.remove(callback.id) };
        if let Some(ranges) = self.by_gram.get_mut(&gram) {
            ranges.remove(callback.id);
            if ranges.is_empty() {
                self.by_gram.remove(&gram);
            }
        }
    }

    /// Those that an event may concern: of all that its texts and its ranges agree with, and of a few
    /// others.
    pub(super) fn candidates<'t>(&'t self, occasion: &Occasion<'_>, found: &mut Vec<&'t Arc<Callback>>) {
        self.without.candidates(occasion, found);
        if self.grams.is_empty() {
            return;
        }
        if self.grams.len() > FEW && !Wanted::may_be_dense(occasion) {
            for gram in occasion.grams() {
                if let Some(ranges) = self.by_gram.get(gram) {
                    ranges.candidates(occasion, found);
                }
            }
        } else {
            for ranges in self.by_gram.values() {
                ranges.candidates(occasion, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::context::{Name, Value, Values};
    use crate::registration::Filter;
    use crate::registration::callback::tests::callback;

    fn text() -> impl Strategy<Value = String> {
        let words = ["", "x", "ab", "ABC", "quick brown", "BROWN fox", "fox quick", "Straße", "ÇÉ", "no"];
        prop::collection::vec(select(words.to_vec()), 0..3).prop_map(|words| words.join(" "))
    }

    fn some_text() -> impl Strategy<Value = Option<String>> {
        prop::option::of(text())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn texts_find_what_a_look_at_every_callback_finds(
            filters in prop::collection::vec((some_text(), some_text(), some_text(), any::<bool>()), 0..300),
            events in prop::collection::vec((text(), text(), text()), 1..8),
        ) {
            let mut texts = Texts::default();
            let mut left = Vec::new();
            for (phrase, summary, rank_description, stays) in filters {
                let filter = Filter {
                    phrase: phrase.map(Into::into),
                    summary: summary.map(Into::into),
                    rank_description: rank_description.map(Into::into),
                    ..Filter::default()
                };
                let new = Arc::new(Callback { id: CallbackId::new(), filter, ..callback() });
                texts.insert(&new);
                if stays {
                    left.push(new);
                } else {
                    texts.remove(&new);
                }
            }
            prop_assert_eq!(texts.len(), left.len());
            for (result, summary, rank_description) in &events {
                let mut values = Values::new();
                values.set(Name::SpeechResult, Value::Text(result));
                values.set(Name::SpeechSummary, Value::Text(summary));
                values.set(Name::SpeechRankDescription, Value::Text(rank_description));
                let occasion = Occasion::new(&values);
                let ids = |callbacks: &mut dyn Iterator<Item = &Arc<Callback>>| -> Vec<CallbackId> {
                    let taken = callbacks.filter(|callback| callback.filter.takes(&occasion));
                    let mut ids: Vec<CallbackId> = taken.map(|callback| callback.id).collect();
                    ids.sort_unstable();
                    ids
                };
                let mut found = Vec::new();
                texts.candidates(&occasion, &mut found);
                prop_assert_eq!(ids(&mut found.into_iter()), ids(&mut left.iter()));
            }
            for callback in left {
                texts.remove(&callback);
            }
            prop_assert!(texts.is_empty() && texts.by_gram.is_empty(), "what is removed leaves nothing behind");
        }
    }

    #[test]
    fn a_text_of_too_many_runs_is_held_against_every_callback() {
        let text: String = (0x3400..0x9fff).chain(0xac00..0xd7a3).filter_map(char::from_u32).collect();
        let mut texts = Texts::default();
        for number in 0..200 {
            let filter = Filter { phrase: Some(format!("number {number}").into()), ..Filter::default() };
            texts.insert(&Arc::new(Callback { id: CallbackId::new(), filter, ..callback() }));
        }
        let mut values = Values::new();
        values.set(Name::SpeechResult, Value::Text(&text));
        let mut found = Vec::new();
        texts.candidates(&Occasion::new(&values), &mut found);
        assert_eq!(found.len(), 200);
        values.set(Name::SpeechResult, Value::Text("is it number 7?"));
        found.clear();
        texts.candidates(&Occasion::new(&values), &mut found);
        assert!((1..40).contains(&found.len()), "{}", found.len());
    }
}
