//! What it costs to find and render the ten registrations that an event matches, among a hundred
//! thousand and alone; and what it costs to register and to remove that many.
//!
//! `cargo bench --bench registrations`; with `-- --test` everything is done once.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use ringback::context::{CallId, CallKey, Json, Name, Value, Values};
use ringback::destination::AddressPolicy;
use ringback::event::{AccountName, CallbackId, EventId, EventType};
use ringback::filter::{Filter, Occasion};
use ringback::registration::{
    Bodies, Callback, DefinitionLimits, NewCallback, Registry, Rendered, Rendering,
};
use ringback::template::Limits;
use serde_json::json;

const ALL: u32 = 100_000;
const MATCHING: usize = 10;

/// How often an event is looked at for one measurement, and how many of those there are.
const LOOKS: u32 = 200;
const ROUNDS: usize = 51;

fn account() -> AccountName {
    "acme".into()
}

fn template() -> Callback {
    let request = json!({
        "callback_url": "https://example.com/hook?call={call_id}", "callback_method": "POST",
        "events": ["call.ended"], "callback_headers": {"x-call": "{call_id}"},
        "callback_data": "{\"call\": {call_id}, \"lead\": \"{first_name} {last_name}\", \"seconds\": {call_duration}, \
            \"rank\": {speech_rank}, \"status\": {call_status}, \"mail\": {email}, \"text\": {speech_result}}",
    });
    let limits = DefinitionLimits {
        template: Limits::default(),
        policy: AddressPolicy::default(),
        timeout: Duration::from_secs(15),
        sources: vec!["dialer".to_owned()],
    };
    NewCallback::read(request, &account(), &limits, Timestamp::now()).expect("it is one").callback
}

/// Registrations that the event does not match, each for a reason of its own.
fn others(kind: &str, template: &Callback, count: u32) -> Vec<Callback> {
    let at = |hours: u32| Some(start() + jiff::SignedDuration::from_hours(i64::from(hours)));
    let other = |number: u32| {
        let mut other = Callback { id: CallbackId::new(), ..template.clone() };
        let Filter { min_duration, max_duration, rank_min, rank_max, from, till, .. } = &mut other.filter;
        let reason = match kind {
            "durations" => 2,
            "windows" => 3,
            _ => number % 8,
        };
        match reason {
            0 => other.account = format!("account {}", number % 100).into(),
            1 => other.events = vec![EventType::SpeechCompleted],
            2 => *min_duration = Some(313 + u64::from(number)),
            // None of the three alone leaves out most of them.
            3 => match number % 3 {
                0 => {
                    (*min_duration, *max_duration) =
                        (Some(u64::from(number % 300)), Some(u64::from(number % 312)));
                }
                1 => (*rank_min, *rank_max) = (Some(88), Some(100)),
                _ => (*from, *till) = (at(1 + number % 1_000), at(2_000)),
            },
            4 => other.sources = vec!["elsewhere".to_owned()],
            5 => *rank_max = Some(u8::try_from(number % 87).expect("it is small")),
            6 => other.filter.call_status = Some(format!("status {number}").into()),
            _ => *till = Some(start() - jiff::SignedDuration::from_secs(1 + i64::from(number))),
        }
        other
    };
    (0..count).map(other).collect()
}

fn start() -> Timestamp {
    "2026-03-30T14:22:00Z".parse().expect("it is a time")
}

/// Those that it matches, in ways of their own.
fn matching(template: &Callback) -> Vec<Callback> {
    let filter = |number: usize| match number % 4 {
        0 => Filter { min_duration: Some(60), max_duration: Some(312), ..Filter::default() },
        1 => Filter { rank_min: Some(50), ..Filter::default() },
        2 => {
            Filter { from: Some(start()), call_status: Some("Ended".to_owned().into()), ..Filter::default() }
        }
        _ => Filter::default(),
    };
    let one = |number| Callback { id: CallbackId::new(), filter: filter(number), ..template.clone() };
    (0..MATCHING).map(one).collect()
}

fn values() -> Values<'static> {
    let mut values = Values::new();
    for (name, text) in [
        (Name::CallId, "8812345"),
        (Name::FirstName, "Ann"),
        (Name::LastName, "O'Brien"),
        (Name::Email, "ann@example.com"),
        (Name::CallStatus, "ended"),
        (Name::CallLanguage, "en"),
        (Name::StartAt, "2026-03-30T14:22:00Z"),
        (Name::SpeechResult, "agent: Good morning, this is Ben.\nlead: Hello, what is it about?"),
    ] {
        values.set(name, Value::Text(text));
    }
    values.set(Name::CallDuration, Value::Number("312"));
    values.set(Name::SpeechRank, Value::Number("87"));
    values
}

/// Finds and renders, as intake does for an event.
fn find_and_render(registry: &Registry, values: &Values<'_>, key: &CallKey, now: Timestamp) -> usize {
    let occasion = Occasion::new(values);
    let found = registry.matching(&key.account, "dialer", EventType::CallEnded, &occasion, now, |_| true);
    let rendering =
        Rendering { event: EventId::new(), event_type: EventType::CallEnded, call: Some(key), at: now };
    let mut bodies = Bodies::default();
    let is_made = |callback| matches!(rendering.make(callback, values, &mut bodies), Rendered::Delivery(_));
    found.callbacks.iter().map(|callback| &**callback).map(is_made).filter(|is_made| *is_made).count()
}

/// The time of one look, in the middle of all measurements. The two take turns, so that whatever
/// else the machine does falls on both.
fn race(alone: &Registry, among: &Registry, rounds: usize) -> [Duration; 2] {
    let values = values();
    let id = CallId::from_json(&Json::from("8812345")).expect("it is an id");
    let key = CallKey { account: account(), space: "default".into(), id };
    let now = Timestamp::now();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (registry, times) in [alone, among].into_iter().zip(&mut times) {
            let started = Instant::now();
            for _ in 0..LOOKS {
                assert_eq!(find_and_render(registry, &values, &key, now), MATCHING);
            }
            times.push(started.elapsed() / LOOKS);
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (all, rounds) = if is_test { (2_000, 1) } else { (ALL, ROUNDS) };
    let template = template();
    println!("{MATCHING} registrations match, of {all}; found and rendered for one event");
    println!(
        "{:<36} {:>10} {:>10} {:>7} {:>10} {:>10}",
        "", "alone", "among all", "ratio", "register", "remove"
    );
    for (kind, name) in [
        ("mixed", "others of every kind"),
        ("durations", "others: min_duration alone"),
        ("windows", "others: windows of three values"),
    ] {
        let (alone, among) = (Registry::default(), Registry::default());
        let matching = matching(&template);
        for callback in &matching {
            alone.put(callback.clone());
        }
        let others = others(kind, &template, all - u32::try_from(MATCHING).expect("it is small"));
        let started = Instant::now();
        // The ten come in the midst of the others.
        for (number, other) in others.iter().enumerate() {
            among.put(other.clone());
            if number == others.len() / 2 {
                for callback in &matching {
                    among.put(callback.clone());
                }
            }
        }
        let register = started.elapsed();
        let [of_ten, of_all] = race(&alone, &among, rounds);
        let started = Instant::now();
        for other in &others {
            assert!(among.remove(&other.account, other.id), "it was registered");
        }
        let remove = started.elapsed();
        let ratio = of_all.as_secs_f64() / of_ten.as_secs_f64();
        println!("{name:<36} {of_ten:>10.2?} {of_all:>10.2?} {ratio:>7.3} {register:>10.2?} {remove:>10.2?}");
    }
}
