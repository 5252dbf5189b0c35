//! Searches of calls: whatever the store does to be quick, they find what a look at every call finds.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ringback::context::{CallContext, CallId, CallKey, Facts, Json, Name};
use ringback::event::{AccountName, EventId};
use ringback::filter::{Filter, Needle};
use ringback::store::{Acceptance, Accepted, CallQuery, CallWrite, EventRow, SharedStore};

use super::every_store_and_cluster;
use super::sample::{dedupe, event, name, now};

/// The calls of a store, and how they came to be.
pub(super) struct World {
    runner: TestRunner,
    /// Whose calls they are; one that stands here more often has more of them.
    accounts: Vec<&'static str>,
    start: Timestamp,
    told: u64,
    /// In the order of their making.
    calls: Vec<(CallKey, CallContext)>,
    versions: HashMap<CallKey, u64>,
    /// Which were erased.
    erased: Vec<CallKey>,
}

/// What is told of a call: how long before now, by whose job, and its values.
#[derive(Clone, Debug)]
struct Told {
    /// Of a call that is known already, if there are so many.
    known: Option<usize>,
    account: &'static str,
    owner: Option<&'static str>,
    /// Minutes after the beginning, by the provider's clock.
    at: u64,
    values: Vec<(Name, &'static str)>,
}

const TEXTS: [&str; 9] = [
    "Grüß Gott, hier spricht ΣΊΣΥΦΟΣ",
    "the quick brown fox",
    "THE QUIET BROWN BOX",
    "x",
    "qu",
    "",
    "İstanbul é è",
    "agent: hello\nlead: hello again",
    "no no no no",
];

fn value() -> impl Strategy<Value = (Name, &'static str)> {
    let of =
        |name: Name, values: &[&'static str]| select(values.to_vec()).prop_map(move |value| (name, value));
    prop_oneof![
        of(Name::CallStatus, &["ended", "ENDED", "no-answer", "ÜBER"]),
        of(Name::CallLanguage, &["en", "de"]),
        of(Name::SpeechLanguage, &["EN", "fr"]),
        of(Name::CallDuration, &["0", "59.5", "60", "61", "1e3", "16777217"]),
        of(Name::SpeechRank, &["0", "49", "49.5", "50", "100"]),
        of(
            Name::StartAt,
            &[
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:00:00.5Z",
                "2026-01-02T00:00:00Z",
                "0001-01-01T00:00:00Z"
            ]
        ),
        of(Name::SpeechResult, &TEXTS),
        of(Name::SpeechSummary, &TEXTS),
        of(Name::SpeechRankDescription, &TEXTS),
    ]
}

fn told(accounts: &[&'static str]) -> impl Strategy<Value = Told> + use<> {
    (
        prop::option::of(0..400_usize),
        select(accounts.to_vec()),
        select(vec![None, None, Some("crm"), Some("ops")]),
        0..60_u64,
        prop::collection::vec(value(), 0..7),
    )
        .prop_map(|(known, account, owner, at, values)| Told { known, account, owner, at, values })
}

fn needle(texts: &[&'static str]) -> impl Strategy<Value = Option<Needle>> + use<> {
    prop::option::weighted(0.2, select(texts.to_vec()).prop_map(|text| Needle::from(text.to_owned())))
}

fn query() -> impl Strategy<Value = CallQuery> {
    let parts =
        ["QUI", "qu", "X", "", "grüß", "ß", "σ", "ΣΊΣΥΦΟΣ", "i̇s", "o\nl", "brown fox", "fox brown", "no no"];
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.4Z", "2026-01-01T12:00:00Z"];
    let time = || prop::option::weighted(0.2, select(times.to_vec()).prop_map(|at| at.parse().unwrap()));
    let seconds = || prop::option::weighted(0.2, select(vec![0_u64, 59, 60, 1_000, 16_777_217]));
    let rank = || prop::option::weighted(0.2, select(vec![0_u8, 49, 50, 100]));
    let filter = (
        (seconds(), seconds(), time(), time(), rank(), rank()),
        needle(&["Ended", "no-answer", "über"]),
        needle(&["en", "FR", "pt"]),
        (needle(&parts), needle(&parts), needle(&parts)),
    )
        .prop_map(|((min, max, from, till, low, high), status, language, texts)| Filter {
            min_duration: min,
            max_duration: max,
            call_status: status,
            from,
            till,
            language,
            phrase: texts.0,
            summary: texts.1,
            rank_description: texts.2,
            rank_min: low,
            rank_max: high,
        });
    (filter, select(vec![None, Some("crm"), Some("ops"), Some("other")]))
        .prop_map(|(filter, token)| CallQuery { filter, token: token.map(Into::into) })
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(&["acme", "acme", "acme", "umbrella"])
    }

    /// The same with calls of these accounts.
    pub(super) fn of(accounts: &[&'static str]) -> Self {
        Self {
            runner: TestRunner::deterministic(),
            accounts: accounts.to_vec(),
            start: now() - Duration::from_hours(12),
            told: 0,
            calls: Vec::new(),
            versions: HashMap::new(),
            erased: Vec::new(),
        }
    }

    fn some<T: std::fmt::Debug>(&mut self, strategy: &impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    /// Has something told of a new call, or of one that is known.
    pub(super) async fn tell(&mut self, store: &SharedStore) {
        let told = self.some(&told(&self.accounts));
        self.told += 1;
        let index = told.known.filter(|known| *known < self.calls.len()).unwrap_or_else(|| {
            let id = CallId::from_text(&format!("call {}", self.told)).unwrap();
            let new = CallKey { account: name(told.account), space: "main".into(), id };
            // Every other time, of one that was erased and is heard of again.
            let again = if self.told.is_multiple_of(2) { self.erased.pop() } else { None };
            self.calls.push((again.unwrap_or(new), CallContext::default()));
            self.calls.len() - 1
        });
        let mut facts = Facts::default();
        for (name, value) in told.values {
            facts.put(name, Json::from(value), &mut Vec::new());
        }
        let (key, context) = &mut self.calls[index];
        context.merge_owned(&facts, self.start + Duration::from_mins(told.at), told.owner);
        let key = key.clone();
        let read_version = self.versions.get(&key).copied().unwrap_or_default();
        let call = CallWrite { key: key.clone(), read_version, context: context.to_bytes() };
        let event = EventRow {
            id: EventId::new(),
            account: AccountName::clone(&key.account),
            call: Some(key.clone()),
            received_at: self.start + Duration::from_secs(self.told),
            ..event()
        };
        let acceptance = Acceptance {
            dedupe: dedupe(&event),
            event,
            call: Some(call),
            deliveries: Vec::new(),
            snapshot: None,
            failed: Vec::new(),
            answered: Vec::new(),
        };
        assert_eq!(store.accept(acceptance).await.unwrap(), Accepted::Stored);
        // That of a call which is made anew is the store's to choose.
        let version = match read_version {
            0 => store.call(&key).await.unwrap().expect("it was written").version,
            before => before + 1,
        };
        self.versions.insert(key, version);
    }

    /// Erases one of the calls.
    pub(super) async fn erase(&mut self, store: &SharedStore) {
        let index = self.some(&(0..self.calls.len()));
        let (key, _) = self.calls.remove(index);
        self.versions.remove(&key);
        assert!(store.erase_call(&key).await.unwrap());
        self.erased.push(key);
    }

    /// Searches so often for something, part by part.
    pub(super) async fn ask(&mut self, store: &SharedStore, times: usize) {
        let mut whose = self.accounts.clone();
        whose.dedup();
        for _ in 0..times {
            let query = self.some(&query());
            let limit = self.some(&(1..40_usize));
            let account = self.some(&select([&*whose, &["nobody"]].concat()));
            let matching = self
                .calls
                .iter()
                .rev()
                .filter(|(key, context)| &*key.account == account && query.takes(&context.to_bytes()));
            let expected: Vec<(CallKey, CallContext)> = matching.cloned().collect();
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let part = store.calls(&name(account), &query, before.as_ref(), limit).await.unwrap();
                assert!(part.rows.len() <= limit);
                for row in part.rows {
                    assert_eq!(row.stored.version, self.versions[&row.key]);
                    found.push((row.key, CallContext::from_bytes(&row.stored.context).unwrap()));
                }
                before = part.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{query:?} of {account}, {limit} at a time");
        }
    }
}

#[test]
fn a_search_finds_what_a_look_at_every_call_finds() {
    every_store_and_cluster(|place| async move {
        let mut world = World::new();
        {
            let store = place.open().await;
            for _ in 0..60 {
                for _ in 0..10 {
                    world.tell(&store).await;
                }
                world.erase(&store).await;
                world.ask(&store, 3).await;
            }
        }
        let store = place.open_after_power_cut().await;
        world.ask(&store, 40).await;
    });
}
