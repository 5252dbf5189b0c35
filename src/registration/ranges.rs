//! Callbacks that agree in all facets, by the ranges that they ask for.
//!
//! For each value that ranges are of, a [`Line`] knows which callbacks take a value: the bounds stand
//! on it in their order, and between two bounds it is always the same ones. Of every so many bounds
//! the set is kept, and the few bounds between the kept one and the value are gone over. The sets of
//! the lines are intersected, a bit a callback. So what an event costs is a few microseconds for a
//! hundred thousand callbacks, and the callbacks that it matches.
//!
//! A line is made once and never changed. Callbacks are gathered and made into parts, small ones into
//! larger ones as they come (the logarithmic method of Bentley and Saxe), so that each of a hundred
//! thousand is built into a part a dozen times at most. What is removed leaves a gap, until half of a
//! part is gaps.

use std::sync::Arc;

use super::{Callback, Occasion};
use crate::event::CallbackId;
use crate::filter::Filter;

/// So many callbacks are looked at one by one: that is as quick.
const GATHERED: usize = 64;

/// Into how many stretches a line is cut for each bound that all of its callbacks have.
const STRETCHES: usize = 128;

/// A set of callbacks of a part.
#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    fn set(&mut self, slot: usize) {
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    fn flip(&mut self, slot: usize) {
        self.0[slot / 64] ^= 1 << (slot % 64);
    }

    fn keep(&mut self, other: &[u64]) {
        for (ours, theirs) in self.0.iter_mut().zip(other) {
            *ours &= theirs;
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}

/// A value that ranges are of.
#[derive(Clone, Copy, Debug)]
enum Dimension {
    Duration,
    StartAt,
    Rank,
}

impl Dimension {
    const ALL: [Self; 3] = [Self::Duration, Self::StartAt, Self::Rank];

    /// The range that a filter asks for. It may be a little wider than the filter's own, which has
    /// the last word: turning into a float keeps the order.
    #[expect(clippy::cast_precision_loss, reason = "it keeps the order")]
    fn range(self, filter: &Filter) -> Option<(f64, f64)> {
        let (low, high) = match self {
            Self::Duration => {
                (filter.min_duration.map(|low| low as f64), filter.max_duration.map(|high| high as f64))
            }
            Self::StartAt => (filter.from.map(micros), filter.till.map(micros)),
            Self::Rank => (filter.rank_min.map(f64::from), filter.rank_max.map(f64::from)),
        };
        (low.is_some() || high.is_some())
            .then(|| (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)))
    }

    fn value(self, occasion: &Occasion<'_>) -> Option<f64> {
        match self {
            Self::Duration => occasion.duration(),
            Self::StartAt => occasion.start_at().map(micros),
            Self::Rank => occasion.rank(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "it keeps the order")]
fn micros(at: jiff::Timestamp) -> f64 {
    at.as_microsecond() as f64
}

/// Which callbacks of a part take a value.
#[derive(Debug)]
struct Line {
    dimension: Dimension,
    /// Those that take any, and a missing one too.
    any: Bits,
    /// Where a callback begins to take values (`false`), and behind what it ends (`true`).
    bounds: Vec<(f64, bool, u32)>,
    /// How many bounds lie between two of the sets that are kept.
    step: usize,
    /// Before the first bound, and then behind every `step` of them.
    kept: Vec<Bits>,
}

impl Line {
    /// `None` if every callback takes any value.
    fn new(dimension: Dimension, callbacks: &[Arc<Callback>]) -> Option<Self> {
        let mut any = Bits::new(callbacks.len());
        let mut bounds = Vec::new();
        for (slot, callback) in (0_u32..).zip(callbacks) {
            match dimension.range(&callback.filter) {
                // It takes nothing.
                Some((low, high)) if low > high => {}
                Some((low, high)) => bounds.extend([(low, false, slot), (high, true, slot)]),
                None => any.set(slot as usize),
            }
        }
        if bounds.is_empty() && callbacks.iter().all(|callback| dimension.range(&callback.filter).is_none()) {
            return None;
        }
        bounds.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let step = (callbacks.len() / STRETCHES).max(GATHERED);
        let mut kept = vec![any.clone()];
        let mut taking = any.clone();
        for bounds in bounds.chunks_exact(step) {
            for (_, _, slot) in bounds {
                taking.flip(*slot as usize);
            }
            kept.push(taking.clone());
        }
        Some(Self { dimension, any, bounds, step, kept })
    }

    /// Takes away those that do not take the event's value.
    fn narrow(&self, taking: &mut Bits, occasion: &Occasion<'_>) {
        let Some(value) = self.dimension.value(occasion) else { return taking.keep(&self.any.0) };
        // A bound counts once the value has reached the beginning, or has passed the end.
        let passed =
            self.bounds.partition_point(|(at, is_end, _)| if *is_end { *at < value } else { *at <= value });
        let at = passed / self.step;
        let between = &self.bounds[at * self.step..passed];
        if between.is_empty() {
            return taking.keep(&self.kept[at].0);
        }
        let mut here = self.kept[at].clone();
        for (_, _, slot) in between {
            here.flip(*slot as usize);
        }
        taking.keep(&here.0);
    }
}

/// Callbacks that were built together.
#[derive(Debug)]
struct Part {
    /// In the order of their ids.
    callbacks: Vec<Arc<Callback>>,
    /// Those that were not removed.
    live: Bits,
    count: usize,
    lines: Vec<Line>,
}

impl Part {
    fn new(mut callbacks: Vec<Arc<Callback>>) -> Self {
        callbacks.sort_unstable_by_key(|callback| callback.id);
        let mut live = Bits::new(callbacks.len());
        for slot in 0..callbacks.len() {
            live.set(slot);
        }
        let lines = Dimension::ALL.into_iter().filter_map(|dimension| Line::new(dimension, &callbacks));
        Self { lines: lines.collect(), count: callbacks.len(), live, callbacks }
    }

    fn remove(&mut self, id: CallbackId) -> bool {
        let Ok(slot) = self.callbacks.binary_search_by_key(&id, |callback| callback.id) else { return false };
        let is_live = self.live.0[slot / 64] & (1 << (slot % 64)) != 0;
        if is_live {
            self.live.flip(slot);
            self.count -= 1;
        }
        is_live
    }

    fn into_live(self) -> impl Iterator<Item = Arc<Callback>> {
        let Self { callbacks, live, .. } = self;
        let is_live = move |slot: usize| live.0[slot / 64] & (1 << (slot % 64)) != 0;
        callbacks
            .into_iter()
            .enumerate()
            .filter(move |(slot, _)| is_live(*slot))
            .map(|(_, callback)| callback)
    }
}

/// Callbacks by the ranges that they ask for.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    gathered: Vec<Arc<Callback>>,
    /// From the largest to the smallest.
    parts: Vec<Part>,
}

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.gathered.len() + self.parts.iter().map(|part| part.count).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.parts.is_empty()
    }

    pub(super) fn insert(&mut self, callback: &Arc<Callback>) {
        self.gathered.push(Arc::clone(callback));
        if self.gathered.len() == GATHERED {
            let callbacks = std::mem::take(&mut self.gathered);
            self.build(callbacks);
        }
    }

    pub(super) fn remove(&mut self, id: CallbackId) {
        if let Some(at) = self.gathered.iter().position(|callback| callback.id == id) {
            self.gathered.swap_remove(at);
            return;
        }
        let Some(at) = self.parts.iter_mut().position(|part| part.remove(id)) else { return };
        if self.parts[at].count * 2 <= self.parts[at].callbacks.len() {
            let left: Vec<_> = self.parts.remove(at).into_live().collect();
            if left.len() < GATHERED - self.gathered.len() {
                self.gathered.extend(left);
            } else {
                self.build(left);
            }
        }
    }

    /// Makes a part of these, and of all parts that are no larger than what it is by then.
    fn build(&mut self, mut callbacks: Vec<Arc<Callback>>) {
        while let Some(part) = self.parts.pop_if(|part| part.count <= callbacks.len()) {
            callbacks.extend(part.into_live());
        }
        let at = self.parts.partition_point(|part| part.count > callbacks.len());
        self.parts.insert(at, Part::new(callbacks));
    }

    /// Those that an event may concern: of all whose ranges its values lie in, and of a few others.
    pub(super) fn candidates<'r>(&'r self, occasion: &Occasion<'_>, found: &mut Vec<&'r Arc<Callback>>) {
        found.extend(&self.gathered);
        for part in &self.parts {
            let mut taking = part.live.clone();
            for line in &part.lines {
                line.narrow(&mut taking, occasion);
            }
            found.extend(taking.iter().map(|slot| &part.callbacks[slot]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::context::{Name, Value, Values};
    use crate::registration::callback::tests::callback;

    fn bound<T: Copy + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = Option<T>> {
        prop::option::of(prop::sample::select(of))
    }

    fn time() -> impl Strategy<Value = Option<jiff::Timestamp>> {
        let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z", "2026-01-02T00:00:00Z"];
        prop::option::of(prop::sample::select(times.to_vec()).prop_map(|at| at.parse().unwrap()))
    }

    prop_compose! {
        fn some_filter()(
            min_duration in bound(&[0, 1, 2, 3, 60, u64::MAX]),
            max_duration in bound(&[0, 1, 2, 3, 60, u64::MAX]),
            from in time(),
            till in time(),
            rank_min in bound(&[0, 50, 100]),
            rank_max in bound(&[0, 50, 100]),
        ) -> Filter {
            Filter { min_duration, max_duration, from, till, rank_min, rank_max, ..Filter::default() }
        }
    }

    type Event = (Option<&'static str>, Option<jiff::Timestamp>, Option<&'static str>);

    fn some_event() -> impl Strategy<Value = Event> {
        (bound(&["0", "1", "1.5", "2", "59.999", "60", "1e30"]), time(), bound(&["0", "49.9", "50", "100.0"]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn ranges_find_what_a_look_at_every_callback_finds(
            // More than are looked at one by one, in several parts.
            filters in prop::collection::vec((some_filter(), 0..4_u8), 0..600),
            events in prop::collection::vec(some_event(), 1..12),
        ) {
            let mut ranges = Ranges::default();
            let mut left: Vec<Arc<Callback>> = Vec::new();
            for (filter, fate) in filters {
                let new = Arc::new(Callback { id: CallbackId::new(), filter, ..callback() });
                ranges.insert(&new);
                left.push(new);
                // Some go again, the oldest of all among them.
                if fate == 0 {
                    let gone = left.remove(left.len() / 3);
                    ranges.remove(gone.id);
                    ranges.remove(gone.id);
                }
            }
            prop_assert_eq!(ranges.len(), left.len());
            for (duration, start_at, rank) in events {
                let start_at = start_at.map(|at| at.to_string());
                let mut values = Values::new();
                values.set(Name::CallDuration, duration.map_or(Value::Missing, Value::Number));
                values.set(Name::StartAt, start_at.as_deref().map_or(Value::Missing, Value::Text));
                values.set(Name::SpeechRank, rank.map_or(Value::Missing, Value::Number));
                let occasion = Occasion::new(&values);
                let mut found = Vec::new();
                ranges.candidates(&occasion, &mut found);
                let mut found: Vec<CallbackId> = found
                    .into_iter()
                    .filter(|callback| callback.filter.takes(&occasion))
                    .map(|callback| callback.id)
                    .collect();
                found.sort_unstable();
                let mut wanted: Vec<CallbackId> = left
                    .iter()
                    .filter(|callback| callback.filter.takes(&occasion))
                    .map(|callback| callback.id)
                    .collect();
                wanted.sort_unstable();
                prop_assert_eq!(found, wanted);
            }
            for callback in left {
                ranges.remove(callback.id);
            }
            prop_assert!(ranges.is_empty(), "what is removed leaves nothing behind");
        }
    }

    #[test]
    fn a_hundred_thousand_ranges_that_an_event_is_not_in_are_not_looked_at() {
        let mut ranges = Ranges::default();
        let template = callback();
        for number in 0..100_000_u64 {
            let mut filter = Filter::default();
            match number % 4 {
                0 => filter.min_duration = Some(100 + number),
                1 => filter.max_duration = Some(number % 60),
                2 => (filter.rank_min, filter.rank_max) = (Some(60), Some(100)),
                _ => (filter.min_duration, filter.rank_max) = (Some(0), Some(39)),
            }
            ranges.insert(&Arc::new(Callback { id: CallbackId::new(), filter, ..template.clone() }));
        }
        let mut values = Values::new();
        values.set(Name::CallDuration, Value::Number("60"));
        values.set(Name::SpeechRank, Value::Number("50"));
        let occasion = Occasion::new(&values);
        let mut found = Vec::new();
        ranges.candidates(&occasion, &mut found);
        assert!(found.len() < GATHERED, "{}", found.len());
    }
}
