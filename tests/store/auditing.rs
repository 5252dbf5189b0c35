//! The audit of a store: what is damaged is found, and nothing else is changed.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ringback::event::{CallbackId, DeliveryId, EventId};
use ringback::store::audit::{Audit, FindingKind as Kind};
use ringback::store::redis as redis_store;
use ringback::store::{
    Accepted, CallbackRow, CallbackState, DefinitionVersion, DestinationLimits, FailedDelivery, Late, Next,
    OrderKey, Rendition, SharedStore, Snapshot, StoreError, embedded as embedded_store,
};

use super::sample::{UNLIMITED, acceptance, account, call_write, callback, delivered, failed, now, queue};
use super::{open_embedded, open_redis};
use crate::redis_server::RedisServer;

/// A delivery in each state, and what there is beside.
pub(super) struct Inhabitants {
    registration: CallbackId,
    paused: CallbackId,
    pub(super) event: EventId,
    waiting: DeliveryId,
    leased: DeliveryId,
    delivered: DeliveryId,
    pub(super) dead: DeliveryId,
    failed: DeliveryId,
    first: DeliveryId,
    held_back: DeliveryId,
    late: DeliveryId,
    late_event: EventId,
    version: DefinitionVersion,
}

pub(super) async fn inhabit(store: &SharedStore) -> Inhabitants {
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    let one = async || {
        queue(store, row.id, 1).await;
        store.claim(1).await.unwrap().remove(0)
    };
    let claim = one().await;
    assert!(store.settle(failed(&claim, Next::Dead("no".to_owned()))).await.unwrap());
    let dead = claim.lease.delivery;
    let claim = one().await;
    assert!(store.settle(delivered(&claim)).await.unwrap());
    let delivered = claim.lease.delivery;
    let leased = one().await.lease.delivery;
    // Behind a registration that is paused, so that nobody claims them.
    let paused = CallbackRow {
        limits: DestinationLimits { paused: true, ..UNLIMITED },
        state: CallbackState::Paused("by the customer".to_owned()),
        ..callback(UNLIMITED)
    };
    store.put_callback(paused.clone()).await.unwrap();
    let mut new = acceptance(&[paused.id, paused.id, row.id]);
    new.call = Some(call_write("42", 0, "{}"));
    for delivery in &mut new.deliveries[..2] {
        delivery.order = Some(OrderKey([7; 16]));
    }
    let event = new.event.id;
    let (first, held_back) = (new.deliveries[0].id, new.deliveries[1].id);
    let waiting = new.deliveries[2].id;
    // In an hour.
    new.deliveries[2].due = Timestamp::from_second(now().as_second() + 3_600).unwrap();
    let failed = FailedDelivery {
        id: super::sample::later_id(),
        account: account(),
        callback: row.id,
        event,
        event_type: new.event.types[0],
        call: None,
        created_at: now(),
        reason: "its template wants more".to_owned(),
    };
    let failed_id = failed.id;
    new.failed = vec![failed];
    assert_eq!(store.accept(new).await.unwrap(), Accepted::Stored);
    // Not rendered yet, with a definition that its registration has no more.
    let mut new = acceptance(&[paused.id]);
    let (late, late_event, version) = (new.deliveries[0].id, new.event.id, paused.version);
    new.deliveries[0].request =
        Rendition::Late(Late { event: late_event, event_type: new.event.types[0], version });
    new.snapshot = Some(Snapshot { event: late_event, bytes: "known".into() });
    assert_eq!(store.accept(new).await.unwrap(), Accepted::Stored);
    store.put_callback(CallbackRow { version: DefinitionVersion::new(), ..paused.clone() }).await.unwrap();
    Inhabitants {
        registration: row.id,
        paused: paused.id,
        event,
        waiting,
        leased,
        delivered,
        dead,
        failed: failed_id,
        first,
        held_back,
        late,
        late_event,
        version,
    }
}

fn has(audit: &Audit, kind: Kind, subject: &str) -> bool {
    audit.findings.iter().any(|finding| finding.kind == kind && finding.subject == subject)
}

/// That there is what [`inhabit`] brings.
fn assert_counts(audit: &Audit) {
    let counts: Vec<_> = audit.counts.iter().map(|(what, count)| (*what, *count)).collect();
    assert_eq!(
        counts,
        [
            ("calls", 1),
            ("dead", 1),
            ("delivered", 1),
            ("events", 5),
            ("failed", 1),
            ("leased", 1),
            ("not rendered yet", 1),
            ("queued", 4),
            ("registrations", 2),
        ]
    );
}

fn eval(script: &str) -> Vec<Vec<u8>> {
    vec![b"EVAL".to_vec(), script.as_bytes().to_vec(), b"0".to_vec()]
}

/// Puts a seat into the index in which there is no call.
fn seat_of_nobody() -> Vec<Vec<u8>> {
    eval(
        "redis.call('ZADD', '{rb0}:ib:acme', 5, 0) \
         redis.call('SET', '{rb0}:iv:acme\\0\\0000c', string.rep('\\0', 7) .. '\\5')",
    )
}

fn column_of_no_block() -> Vec<Vec<u8>> {
    eval("redis.call('SET', '{rb0}:iv:acme\\0\\0007r', '\\1')")
}

/// Forgets what the index knows and what is noted for it, whichever there is.
fn unknown_to_the_index() -> Vec<Vec<u8>> {
    eval("redis.call('DEL', '{rb0}:in:acme', '{rb0}:ib:acme')")
}

/// Notes something, and not that there is something noted.
fn note_for_nobody() -> Vec<Vec<u8>> {
    eval("redis.call('ZADD', '{rb0}:in:acme', 7, 7) redis.call('DEL', '{rb0}:nu')")
}

fn hex(bytes: [u8; 16]) -> String {
    format!("x'{}'", crate::support::hex(&bytes))
}

/// What becomes of a file in which a late delivery, or what it is rendered from, is damaged.
fn damage_of_late_ones(there: &Inhabitants) -> Vec<(String, Kind, String)> {
    let late = there.late.to_string();
    let unneeded = "DROP TRIGGER late_gone; DELETE FROM late".to_owned();
    let over =
        "DROP TRIGGER late_over; UPDATE delivery SET state = 5, reason = '', finished_at = 1 WHERE id = ";
    vec![
        ("DELETE FROM snapshot".to_owned(), Kind::NoRequest, late.clone()),
        ("DELETE FROM former_definition".to_owned(), Kind::NoRequest, late.clone()),
        ("UPDATE late SET event = x'00'".to_owned(), Kind::NoRequest, late.clone()),
        ("UPDATE late SET request = 997".to_owned(), Kind::Orphan, "request 997".to_owned()),
        (unneeded.clone(), Kind::Orphan, "snapshot 1".to_owned()),
        (unneeded, Kind::Orphan, there.paused.to_string()),
        (format!("{over}{}", hex(there.late.to_bytes())), Kind::State, late),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_of_a_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (path, damaged) = (folder.path().join("store.db"), folder.path().join("damaged.db"));
    let store: SharedStore = Arc::new(open_embedded(&path));
    let there = inhabit(&store).await;
    // Beside the process that has it.
    let audit = embedded_store::audit(&path, false).unwrap();
    assert_eq!(audit.findings, []);
    assert_counts(&audit);
    store.close().await;
    let (waiting, dead, done) = (there.waiting, there.dead, there.delivered);
    let with = |sql: &str, id: DeliveryId| sql.replace('?', &hex(id.to_bytes()));
    let of = |id: DeliveryId| id.to_string();
    let cases = [
        (with("DELETE FROM queue WHERE delivery = ?", waiting), Kind::Lost, of(waiting)),
        (with("UPDATE delivery SET state = 2, finished_at = 1 WHERE id = ?", waiting), Kind::Revenant, of(waiting)),
        (with("DELETE FROM delivery WHERE id = ?", waiting), Kind::Dangling, of(waiting)),
        (with("UPDATE queue SET callback = x'00' WHERE delivery = ?", waiting), Kind::Disagreement, of(waiting)),
        (with("UPDATE queue SET request = 999 WHERE delivery = ?", waiting), Kind::NoRequest, of(waiting)),
        (
            with("DELETE FROM request WHERE number = (SELECT request FROM delivery WHERE id = ?)", dead),
            Kind::NoRequest,
            of(dead),
        ),
        (
            with("UPDATE delivery SET request = (SELECT request FROM delivery WHERE state = 2) WHERE id = ?", dead),
            Kind::Misplaced,
            of(dead),
        ),
        (
            "INSERT INTO request VALUES (998, 'POST', '', '', '[]', x'', NULL)".to_owned(),
            Kind::Orphan,
            "request 998".to_owned(),
        ),
        (with("DELETE FROM delivery WHERE id = ?", dead), Kind::Orphan, of(dead)),
        (with("UPDATE delivery SET attempts = 5 WHERE id = ?", dead), Kind::Disagreement, of(dead)),
        (with("UPDATE queue SET recorded = 5 WHERE delivery = ?", waiting), Kind::Disagreement, of(waiting)),
        (with("DELETE FROM attempt WHERE delivery = ?", done), Kind::Disagreement, of(done)),
        (with("UPDATE delivery SET state = 9 WHERE id = ?", dead), Kind::State, of(dead)),
        (with("UPDATE delivery SET finished_at = NULL WHERE id = ?", dead), Kind::State, of(dead)),
        (with("UPDATE delivery SET event = x'00' WHERE id = ?", dead), Kind::Unreadable, of(dead)),
        (
            with("UPDATE request SET headers = '[' WHERE number = (SELECT request FROM delivery WHERE id = ?)", dead),
            Kind::Unreadable,
            of(dead),
        ),
        ("UPDATE account SET stored = stored + 1".to_owned(), Kind::Disagreement, "account 1".to_owned()),
        ("UPDATE event SET keep = 0".to_owned(), Kind::KeptTooBriefly, of(dead)),
        ("DELETE FROM callback".to_owned(), Kind::Dangling, of(waiting)),
        (
            format!("INSERT INTO circuit VALUES ({}, 1, 0, 1)", hex([0; 16])),
            Kind::Dangling,
            CallbackId::from_bytes([0; 16]).to_string(),
        ),
        ("UPDATE announcement SET number = 7, callback = x'00'".to_owned(), Kind::Dangling, "announcement 7".to_owned()),
        ("DELETE FROM account".to_owned(), Kind::Dangling, "account 1".to_owned()),
        (
            "INSERT INTO requested_call VALUES (zeroblob(16), 0, 1, '', '', 'submitted', NULL, NULL)".to_owned(),
            Kind::Dangling,
            "sr_00000000000000000000000000".to_owned(),
        ),
        (
            "INSERT INTO speech_request VALUES (zeroblob(16), 1, 1)".to_owned(),
            Kind::Dangling,
            "sr_00000000000000000000000000".to_owned(),
        ),
        (
            "INSERT INTO job VALUES (zeroblob(16), 1, '', '', '', 'none', NULL, 1, 1, '', 1, 0, 0, NULL, x'', 0, \
             NULL, 0, NULL, NULL)"
                .to_owned(),
            Kind::Dangling,
            "sj_00000000000000000000000000".to_owned(),
        ),
        (
            "INSERT INTO job VALUES (zeroblob(16), 1, '', '', 'main', '42', NULL, 1, 1, '', 1, 0, 0, NULL, x'', 0, \
             NULL, 0, NULL, 1)"
                .to_owned(),
            Kind::State,
            "sj_00000000000000000000000000".to_owned(),
        ),
    ];
    for (damage, kind, subject) in cases.into_iter().chain(damage_of_late_ones(&there)) {
        std::fs::copy(&path, &damaged).unwrap();
        let connection = rusqlite::Connection::open(&damaged).unwrap();
        connection.execute_batch(&damage).unwrap();
        drop(connection);
        let audit = embedded_store::audit(&damaged, true).unwrap();
        assert!(has(&audit, kind, &subject), "{damage}: {subject} is not {kind} in {:#?}", audit.findings);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sqlite_itself_finds_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, damaged) = (folder.path().join("store.db"), folder.path().join("damaged.db"));
    let store: SharedStore = Arc::new(open_embedded(&path));
    inhabit(&store).await;
    store.close().await;
    // A page of an index that says nothing any more.
    let mut bytes = std::fs::read(&path).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let root: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'delivery_by_callback'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let page_at = |number: i64| usize::try_from(number * page).unwrap();
    bytes[page_at(root - 1)..page_at(root)].fill(0);
    std::fs::write(&damaged, bytes).unwrap();
    let audit = embedded_store::audit(&damaged, false).unwrap();
    assert!(has(&audit, Kind::Damaged, "the file"), "{:#?}", audit.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_changes_no_file_and_says_what_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let refusal = |path: &Path| match embedded_store::audit(path, false) {
        Err(StoreError::Unusable(text)) => text,
        other => panic!("unexpected: {other:?}"),
    };
    assert!(refusal(&path).contains("there is no file"));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(refusal(&path).contains("there is nothing in"));
    std::fs::write(&path, "not a database, and long enough to be none").unwrap();
    assert!(refusal(&path).contains("not an SQLite database"));
    std::fs::remove_file(&path).unwrap();

    let store: SharedStore = Arc::new(open_embedded(&path));
    inhabit(&store).await;
    store.close().await;
    drop(store);
    let before = std::fs::read(&path).unwrap();
    assert!(embedded_store::audit(&path, false).unwrap().is_clean());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(refusal(&path).contains("newer ringback (format 99"));
}

/// A command that damages what [`inhabit`] brings, and what is to be found then.
type Damage = (Vec<Vec<u8>>, Kind, String);

fn command(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    parts.iter().map(|part| part.to_vec()).collect()
}

fn key(kind: &str, name: &[u8]) -> Vec<u8> {
    [b"{rb0}:", kind.as_bytes(), name].concat()
}

fn add(set: &[u8], member: [u8; 16]) -> Vec<Vec<u8>> {
    command(&[b"ZADD", set, b"1", &member])
}

fn remove(set: &[u8], member: [u8; 16]) -> Vec<Vec<u8>> {
    command(&[b"ZREM", set, &member])
}

fn del(key: &[u8]) -> Vec<Vec<u8>> {
    command(&[b"DEL", key])
}

/// A delivery and a destination are numbers at fixed places (`delivery.lua`, `destination.lua`).
fn put(key: &[u8], place: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
    command(&[b"SETRANGE", key, place.to_string().as_bytes(), bytes])
}

fn damages_of_deliveries(there: &Inhabitants) -> Vec<Damage> {
    let (id, none) = (DeliveryId::to_bytes, [9; 16]);
    let (waiting, leased, done, dead) = (there.waiting, there.leased, there.delivered, there.dead);
    let (registration, paused) = (there.registration.to_bytes(), there.paused.to_bytes());
    let order = [paused.as_slice(), &[7; 16]].concat();
    let definition = [paused, there.version.0].concat();
    let text = |kind: &str, id: DeliveryId| key(kind, &id.to_bytes());
    let of = |id: DeliveryId| id.to_string();
    vec![
        (remove(&key("q:", &registration), id(waiting)), Kind::Lost, of(waiting)),
        (remove(&key("l", b""), id(leased)), Kind::Lost, of(leased)),
        (del(&key("l", b"")), Kind::Disagreement, there.registration.to_string()),
        (add(&key("q:", &registration), id(leased)), Kind::Misplaced, of(leased)),
        (add(&key("qx:", &registration), id(waiting)), Kind::Misplaced, of(waiting)),
        (add(&key("q:", &registration), id(dead)), Kind::Revenant, of(dead)),
        (add(&key("q:", &paused), id(there.held_back)), Kind::Misplaced, of(there.held_back)),
        (add(&key("q:", &paused), id(waiting)), Kind::Misplaced, of(waiting)),
        (add(&key("q:", &registration), none), Kind::Dangling, of(DeliveryId::from_bytes(none))),
        (add(&key("xd", b""), id(dead)), Kind::Misplaced, of(dead)),
        (remove(&key("xd", b""), id(done)), Kind::Unlisted, of(done)),
        (remove(&key("is:x:", b"acme"), id(dead)), Kind::Unlisted, of(dead)),
        (remove(&key("o:", b"acme"), id(waiting)), Kind::Unlisted, of(waiting)),
        (remove(&key("ic:", &registration), id(done)), Kind::Unlisted, of(done)),
        (remove(&key("g:", &order), id(there.first)), Kind::Unlisted, of(there.first)),
        (add(&key("g:", &order), id(dead)), Kind::Misplaced, of(dead)),
        (del(&text("r:", waiting)), Kind::NoRequest, of(waiting)),
        (del(&text("h:", dead)), Kind::Orphan, of(dead)),
        (put(&text("h:", dead), 0, b"?"), Kind::State, of(dead)),
        (command(&[b"SET", &text("h:", dead), b"x"]), Kind::State, of(dead)),
        (put(&text("h:", dead), 21, &[0, 0, 0, 7]), Kind::Disagreement, of(dead)),
        (command(&[b"SET", &text("r:", there.failed), b"x"]), Kind::State, of(there.failed)),
        (del(&key("sn:", &there.late_event.to_bytes())), Kind::NoRequest, of(there.late)),
        (del(&key("vd:", &definition)), Kind::NoRequest, of(there.late)),
        (del(&key("su:", &there.late_event.to_bytes())), Kind::Unlisted, of(there.late)),
        (del(&key("su:", &there.late_event.to_bytes())), Kind::Orphan, there.late_event.to_string()),
        (del(&key("vu:", &definition)), Kind::Unlisted, of(there.late)),
        (del(&key("vu:", &definition)), Kind::Orphan, there.paused.to_string()),
        (
            command(&[b"SADD", &key("su:", &there.event.to_bytes()), &id(waiting)]),
            Kind::Misplaced,
            of(waiting),
        ),
        (put(&text("h:", there.late), 0, b"c"), Kind::State, of(there.late)),
    ]
}

fn damages_of_the_rest(there: &Inhabitants) -> Vec<Damage> {
    let (registration, paused) = (there.registration.to_bytes(), there.paused.to_bytes());
    let of = there.registration.to_string();
    vec![
        (unknown_to_the_index(), Kind::Unlisted, "call acme/main/42".to_owned()),
        (note_for_nobody(), Kind::Stranded, "acme".to_owned()),
        (
            command(&[b"HSET", &key("c:", b"acme\0main\x0042"), b"p", b"1"]),
            Kind::Disagreement,
            "call acme/main/42".to_owned(),
        ),
        (
            add(&key("in:", b"acme"), *b"main\0no such one"),
            Kind::Dangling,
            "call acme/main/no such one".to_owned(),
        ),
        (seat_of_nobody(), Kind::Dangling, "call acme at 5".to_owned()),
        (column_of_no_block(), Kind::Dangling, "acme".to_owned()),
        (
            remove(&key("ce:", b"acme\0main\x0042"), there.event.to_bytes()),
            Kind::Unlisted,
            there.event.to_string(),
        ),
        (remove(&key("xk", b""), there.event.to_bytes()), Kind::Unlisted, there.event.to_string()),
        (add(&key("xe", b""), there.event.to_bytes()), Kind::KeptTooBriefly, there.failed.to_string()),
        (remove(&key("ie:", b"acme"), there.event.to_bytes()), Kind::Unlisted, there.event.to_string()),
        (del(&key("xc", b"")), Kind::Unlisted, "call acme/main/42".to_owned()),
        (del(&key("c:", b"acme\0main\x0042")), Kind::Dangling, "call acme/main/42".to_owned()),
        (put(&key("d:", &registration), 0, &[0, 0, 0, 4]), Kind::Disagreement, of.clone()),
        (put(&key("d:", &registration), 16, &[0, 0, 0, 4]), Kind::Disagreement, of.clone()),
        (remove(&key("w", b""), registration), Kind::Misplaced, of.clone()),
        (add(&key("lp", b""), paused), Kind::Misplaced, there.paused.to_string()),
        (put(&key("d:", &registration), 4, &[0]), Kind::Stranded, of.clone()),
        (remove(&key("kr", b""), registration), Kind::Unlisted, of.clone()),
        (remove(&key("kp", b""), paused), Kind::Misplaced, there.paused.to_string()),
        (del(&key("k:", &registration)), Kind::Dangling, there.waiting.to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_of_a_redis_is_found() {
    let server = RedisServer::start(&[]);
    for case in 0.. {
        server.ask(&[b"FLUSHALL"]);
        let store: SharedStore = Arc::new(open_redis(&server.url()).await);
        let there = inhabit(&store).await;
        let audit = redis_store::audit(&server.url()).await.unwrap();
        assert_eq!(audit.findings, [], "before {case}");
        assert_counts(&audit);
        // The upkeep would tidy some of it away.
        drop(store);
        let cases = [damages_of_deliveries(&there), damages_of_the_rest(&there)].concat();
        let Some((damage, kind, subject)) = cases.get(case) else { break };
        let parts: Vec<&[u8]> = damage.iter().map(Vec::as_slice).collect();
        let answer = server.ask(&parts);
        assert!(!answer.starts_with(b"-"), "{}", String::from_utf8_lossy(&answer));
        let audit = redis_store::audit(&server.url()).await.unwrap();
        assert!(has(&audit, *kind, subject), "case {case}: {subject} is not {kind} in {:#?}", audit.findings);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_redis_that_throw_data_away_are_found() {
    let server = RedisServer::start(&[]);
    drop(open_redis(&server.url()).await);
    let audit = redis_store::audit(&server.url()).await.unwrap();
    assert_eq!(audit.findings, []);
    server.ask(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]);
    let audit = redis_store::audit(&server.url()).await.unwrap();
    assert!(has(&audit, Kind::Settings, "maxmemory-policy"), "{:#?}", audit.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_a_store_is_said_to_be_none() {
    let server = RedisServer::start(&[]);
    let refusal = async |url: &str| match redis_store::audit(url).await {
        Err(StoreError::Unusable(text)) => text,
        other => panic!("unexpected: {other:?}"),
    };
    let text = refusal(&server.url()).await;
    assert!(text.contains("there is no store in this database"), "{text}");
    assert!(server.ask(&[b"DBSIZE"]).starts_with(b":0"), "nothing is written");
    server.ask(&[b"HSET", b"{rb0}:n", b"F", b"99"]);
    assert!(refusal(&server.url()).await.contains("newer ringback (format 99"));
    assert!(refusal("redis://127.0.0.1:1/0").await.contains("127.0.0.1:1"));
}
