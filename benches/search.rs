//! How long a search over a million calls takes, by what it asks for, and over a hundred thousand in a
//! Redis; and how long the calls take to be put into the index.
//!
//! `cargo bench --bench search`; with `-- --test` over a few calls, once; with a name, `embedded` or
//! `redis`, in that store. The file, of about 2 GB, lies in `RINGBACK_BENCH_DIR`, or in the system's
//! temporary folder. Calls are put into it, and into Redis, past the store, which would take several
//! minutes to accept them.

#[allow(dead_code, reason = "it makes texts too")]
mod chance;
#[allow(dead_code, reason = "it can be stopped too")]
#[path = "../tests/redis_server.rs"]
mod redis_server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ringback::context::{CallContext, Facts, Json, Name};
use ringback::event::AccountName;
use ringback::filter::Filter;
use ringback::store::embedded::{Embedded, Options};
use ringback::store::redis::{Options as RedisOptions, Redis};
use ringback::store::{CallMark, CallQuery, Store};
use rusqlite::params;

use self::chance::Chance;
use self::redis_server::RedisServer;

/// Results of a search that are asked for.
const LIMIT: usize = 50;

const COMMON: [&str; 24] = [
    "the", "and", "you", "that", "have", "for", "not", "with", "this", "but", "from", "they", "say", "her",
    "she", "will", "one", "all", "would", "there", "their", "what", "about", "which",
];

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let times = if is_test { 1 } else { 100 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads start");
    let is_named = |name| std::env::args().any(|argument| argument == name);
    let either = is_named("embedded") || is_named("redis");
    if !either || is_named("embedded") {
        runtime.block_on(embedded(if is_test { 2_000 } else { 1_000_000 }, times));
    }
    if !either || is_named("redis") {
        runtime.block_on(redis(if is_test { 2_000 } else { 100_000 }, times));
    }
}

async fn embedded(calls: u64, times: usize) {
    let place = std::env::var_os("RINGBACK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(place).expect("the folder can be written");
    let path = folder.path().join("search.db");
    drop(Embedded::open(&path, Options::default()).expect("a new file opens"));
    let started = Instant::now();
    fill(&path, calls);
    println!("{calls} calls written in {:.1?}", started.elapsed());
    let store = Embedded::open(&path, Options::default()).expect("the file opens");
    let started = Instant::now();
    store.indexed().await;
    println!("and indexed in {:.1?}", started.elapsed());
    measure_all(&store, calls, times).await;
    store.close().await;
}

/// The calls are those of a key space of a format before the index, which is brought up.
async fn redis(calls: u64, times: usize) {
    let server = RedisServer::start(&[]);
    fill_redis(&server, calls).await;
    let memory = || {
        let info = server.ask(&[b"INFO", b"memory"]);
        let info = String::from_utf8_lossy(&info).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).map(str::to_owned);
        line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).expect("Redis tells it")
    };
    let before = memory();
    let started = Instant::now();
    let store = Redis::open(&server.url(), RedisOptions::default()).await.expect("it opens");
    store.indexed().await.expect("it writes");
    println!(
        "{calls} calls in a Redis indexed in {:.1?}, with {} bytes each",
        started.elapsed(),
        memory().saturating_sub(before) / calls
    );
    measure_all(&store, calls, times).await;
    store.close().await;
}

async fn fill_redis(server: &RedisServer, calls: u64) {
    let client = ::redis::Client::open(server.url()).expect("it is a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
    let mut chance = Chance::new(7);
    let mut pipeline = ::redis::pipe();
    pipeline.cmd("HSET").arg("{rb0}:n").arg(&["F", "3", "E", "search"]).ignore();
    for call in 0..calls {
        let context = context(call, &mut chance).to_bytes();
        let at = start(call).as_microsecond();
        let name = format!("default\0{call}");
        let key = format!("{{rb0}}:c:acme\0{name}");
        pipeline
            .cmd("HSET")
            .arg(key)
            .arg("v")
            .arg(1)
            .arg("b")
            .arg(&context)
            .arg("z")
            .arg(context.len())
            .ignore();
        pipeline.cmd("ZADD").arg("{rb0}:il:acme").arg(at).arg(&name).ignore();
        pipeline.cmd("ZADD").arg("{rb0}:xc").arg(at).arg(format!("acme\0{name}")).ignore();
        if call % 1_000 == 999 || call + 1 == calls {
            let _: () = pipeline.query_async(&mut connection).await.expect("there is room");
            pipeline = ::redis::pipe();
        }
    }
}

async fn measure_all(store: &dyn Store, calls: u64, times: usize) {
    println!("{:<58} {:>6} {:>6} {:>10} {:>10}", "", "found", "looks", "p50", "p99");
    for (name, filter) in searches(calls) {
        measure(store, name, filter, times).await;
    }
}

fn start(call: u64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + i64::try_from(call).expect("there are few") * 30)
        .expect("it is soon")
}

/// Calls of one account, a fifth of them without speech. Durations, ranks and statuses are such that
/// what is short is never good, and one call in 50,000 was busy.
fn fill(path: &Path, calls: u64) {
    let mut connection = rusqlite::Connection::open(path).expect("the file opens");
    connection.pragma_update(None, "synchronous", "off").expect("it is a setting");
    let transaction = connection.transaction().expect("nobody else writes");
    transaction.execute("INSERT INTO account (id, name) VALUES (1, 'acme')", []).expect("it is new");
    let mut chance = Chance::new(7);
    for call in 0..calls {
        let context = context(call, &mut chance).to_bytes();
        let at = start(call).as_microsecond();
        transaction
            .prepare_cached(
                "INSERT INTO call (number, account, space, id, version, created_at, updated_at, context) \
                 VALUES (?1, 1, 'default', ?2, 1, ?3, ?3, ?4)",
            )
            .and_then(|mut insert| {
                insert.execute(params![(call + 1).cast_signed(), call.to_string(), at, context])
            })
            .expect("there is room");
    }
    transaction
        .execute("INSERT INTO unindexed (account, call, removals) SELECT account, number, 0 FROM call", [])
        .expect("there is room");
    transaction.commit().expect("there is room");
}

fn context(call: u64, chance: &mut Chance) -> CallContext {
    let status = match chance.below(100) {
        _ if call % 50_000 == 1_000 => "busy",
        0..70 => "ended",
        _ => "no-answer",
    };
    let duration = if status == "ended" { 30 + chance.below(600) } else { chance.below(30) };
    let mut values = vec![
        (Name::CallId, call.to_string()),
        (Name::StartAt, start(call).to_string()),
        (Name::CallStatus, status.to_owned()),
        (Name::CallDuration, duration.to_string()),
        (Name::CallLanguage, ["en", "en", "de", "fr"][chance.below(4)].to_owned()),
        (Name::FirstName, "Ann".to_owned()),
        (Name::PhoneNormalized, format!("+1202555{:04}", chance.below(10_000))),
    ];
    if chance.below(5) > 0 {
        let mut text = String::from("agent:");
        for _ in 0..40 {
            text.push(' ');
            if chance.below(4) > 0 {
                text.push_str(COMMON[chance.below(24)]);
            } else {
                let letters =
                    (0..3 + chance.below(5)).map(|_| char::from(b"aeioulnrstdmcpbgfhkw"[chance.below(20)]));
                text.extend(letters);
            }
        }
        if call % 10_000 == 5_000 {
            text.push_str(" a zebra crossing, QZ");
        }
        let rank = if duration < 300 { chance.below(50) } else { chance.below(101) };
        values.push((Name::SpeechResult, text));
        values.push((Name::SpeechRank, rank.to_string()));
        values.push((Name::SpeechSummary, "They talked about the weather.".to_owned()));
    }
    let mut facts = Facts::default();
    for (name, value) in values {
        facts.put(name, Json::from(&*value), &mut Vec::new());
    }
    let mut context = CallContext::default();
    context.merge(&facts, start(call));
    context
}

fn searches(calls: u64) -> Vec<(&'static str, Filter)> {
    let text = |text: &str| Some(text.to_owned().into());
    let all = Filter::default();
    let (from, till) = (Some(start(calls / 3)), Some(start(calls / 3 + calls / 10)));
    vec![
        ("everything", all.clone()),
        (
            "status, language, min_duration: many",
            Filter {
                call_status: text("ended"),
                language: text("EN"),
                min_duration: Some(60),
                ..all.clone()
            },
        ),
        (
            "status, language, min_duration: few",
            Filter { call_status: text("busy"), language: text("en"), min_duration: Some(5), ..all.clone() },
        ),
        (
            "rank_min, max_duration, status: each many, together none",
            Filter { rank_min: Some(50), max_duration: Some(250), call_status: text("ended"), ..all.clone() },
        ),
        ("from, till, rare status", Filter { from, till, call_status: text("busy"), ..all.clone() }),
        ("from, till, min_duration: many", Filter { from, till, min_duration: Some(60), ..all.clone() }),
        ("phrase: few", Filter { phrase: text("Zebra Crossing"), ..all.clone() }),
        ("phrase: many", Filter { phrase: text("that have"), ..all.clone() }),
        ("phrase: none, of common words", Filter { phrase: text("zebra have"), ..all.clone() }),
        ("phrase of two characters: few", Filter { phrase: text("qz"), ..all.clone() }),
        ("phrase of one character: many", Filter { phrase: text("e"), ..all.clone() }),
        (
            "phrase of two characters, status, rank_min: few",
            Filter { phrase: text("th"), call_status: text("busy"), rank_min: Some(10), ..all.clone() },
        ),
        (
            "phrase, summary, max_duration: each many, together none",
            Filter {
                phrase: text("there"),
                summary: text("weather"),
                max_duration: Some(0),
                rank_min: Some(60),
                ..all
            },
        ),
    ]
}

async fn measure(store: &dyn Store, name: &str, filter: Filter, times: usize) {
    let account = AccountName::from("acme");
    let query = CallQuery { filter, token: Some("crm".into()) };
    // How many looks it takes until there are 50, or no more.
    let (mut found, mut looks) = (0, 0);
    let mut before: Option<CallMark> = None;
    loop {
        let part = store.calls(&account, &query, before.as_ref(), LIMIT - found).await.expect("it reads");
        (found, looks) = (found + part.rows.len(), looks + 1);
        before = part.next;
        if found == LIMIT || before.is_none() {
            break;
        }
    }
    let mut latencies: Vec<Duration> = Vec::new();
    for _ in 0..times {
        let started = Instant::now();
        store.calls(&account, &query, None, LIMIT).await.expect("it reads");
        latencies.push(started.elapsed());
    }
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    println!("{name:<58} {found:>6} {looks:>6} {:>10.2?} {:>10.2?}", at(50), at(99));
}
