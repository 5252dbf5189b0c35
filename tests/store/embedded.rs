//! What only the embedded store has: a file.

use std::sync::Arc;
use std::time::Duration;

use ringback::event::DeliveryId;
use ringback::store::embedded::{Embedded, Options};
use ringback::store::{
    Accepted, CallbackRow, DeliveryFilter, DeliveryState, Jobs, Page, PutJob, SharedStore, Store, StoreError,
};

use super::jobs::job;
use super::sample::{UNLIMITED, acceptance, account, call_write, callback, now, queue};
use super::searching::World;
use super::{copy_as_after_power_cut, open_embedded};

fn refusal(path: &std::path::Path) -> String {
    match Embedded::open(path, Options::default()) {
        Ok(_) => panic!("it must not open"),
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("unexpected: {other}"),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn one_process_owns_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/store.db");
    let store = open_embedded(&path);
    let text = refusal(&path);
    assert!(text.contains("is in use by another ringback process"), "{text}");
    assert!(text.contains("new/folder/store.db"), "{text}");
    drop(store);
    // A store that was dropped has let it go.
    block_on(open_embedded(&path).close());
    open_embedded(&path);
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = refusal(folder.path());
    assert!(text.contains("is a folder"), "{text}");

    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "these are notes and no database, and long enough to be looked at twice").unwrap();
    let text = refusal(&path);
    assert!(text.contains("notes.txt is not an SQLite database"), "{text}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("these are notes"));

    let path = folder.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE recipe (name TEXT)").unwrap();
    drop(other);
    let text = refusal(&path);
    assert!(text.contains("of another program"), "{text}");
}

#[test]
fn a_newer_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open_embedded(&path));
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let text = refusal(&path);
    assert!(text.contains("newer ringback (format 99; this one reads up to "), "{text}");
}

/// What each format was before the one after it, newest first.
const STEPS_BACK: [&str; 10] = [
    "CREATE TRIGGER event_added AFTER INSERT ON event BEGIN \
     UPDATE account SET stored = stored + length(NEW.body) WHERE id = NEW.account; END; \
     CREATE TRIGGER call_added AFTER INSERT ON call BEGIN \
     UPDATE account SET stored = stored + length(NEW.context) WHERE id = NEW.account; END; \
     CREATE TRIGGER call_changed AFTER UPDATE OF context ON call BEGIN \
     UPDATE account SET stored = stored + length(NEW.context) - length(OLD.context) WHERE id = NEW.account; END; \
     CREATE TRIGGER request_added AFTER INSERT ON request BEGIN \
     UPDATE account SET stored = stored + length(NEW.body) WHERE id = NEW.account; END; \
     CREATE INDEX seen_by_expiry ON seen (expires_at); \
     INSERT INTO seen SELECT digest, source, event, expires_at FROM seen_log; \
     DROP TABLE seen_log; DROP TABLE seen_filed; PRAGMA user_version = 10",
    "DROP TRIGGER late_request_gone; DROP TRIGGER late_over; DROP TABLE late; DROP TABLE snapshot; \
     DROP TABLE former_definition; ALTER TABLE callback DROP COLUMN version; PRAGMA user_version = 9",
    "DROP TRIGGER event_added; DROP TRIGGER event_removed; DROP TRIGGER event_changed; DROP TRIGGER call_added; \
     DROP TRIGGER call_removed; DROP TRIGGER call_changed; DROP TRIGGER request_added; \
     DROP TRIGGER request_removed; DROP TRIGGER request_changed; ALTER TABLE account DROP COLUMN stored; \
     ALTER TABLE request DROP COLUMN account; PRAGMA user_version = 8",
    "DROP TABLE unindexed; DROP TABLE search_lane; DROP TABLE search_block; DROP TABLE search_column; \
     DROP TABLE search_gram; DROP INDEX event_by_call; DROP INDEX job_by_call; PRAGMA user_version = 7",
    "DROP TABLE speech_request; DROP TABLE requested_call; DROP INDEX call_by_account; PRAGMA user_version = 6",
    "DROP TABLE announcement; PRAGMA user_version = 5",
    "ALTER TABLE queue DROP COLUMN order_key; PRAGMA user_version = 4",
    "DROP TABLE circuit; PRAGMA user_version = 3",
    "DROP TABLE job; PRAGMA user_version = 2",
    "ALTER TABLE callback DROP COLUMN deadline; PRAGMA user_version = 1",
];

#[test]
fn files_of_earlier_formats_are_read_and_take_jobs() {
    for steps in 1..=STEPS_BACK.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let row = callback(UNLIMITED);
        let mut stored = acceptance(&[row.id]);
        stored.call = Some(call_write("42", 0, "first"));
        let bytes = stored.event.body.len() + stored.deliveries[0].request.size() + "first".len();
        block_on(async {
            let store = open_embedded(&path);
            store.put_callback(row.clone()).await.unwrap();
            store.accept(stored.clone()).await.unwrap();
            store.close().await;
        });
        let connection = rusqlite::Connection::open(&path).unwrap();
        for step in &STEPS_BACK[..steps] {
            connection.execute_batch(step).unwrap();
        }
        drop(connection);
        // The first format did not know deadlines: each is taken for the longest.
        let deadline = if steps == STEPS_BACK.len() { Duration::from_mins(1) } else { row.deadline };
        let job = job("a", now());
        for expected in [PutJob::Stored, PutJob::Known(job.id)] {
            let store = open_embedded(&path);
            let rows = block_on(store.callbacks()).unwrap();
            assert_eq!(rows, [CallbackRow { deadline, ..row.clone() }]);
            assert_eq!(block_on(store.put_job(job.clone(), 9)).unwrap(), expected);
            assert_eq!(block_on(store.stored(&account())).unwrap(), bytes as u64);
            let first = block_on(store.recall(&stored.dedupe, None)).unwrap().duplicate_of;
            assert_eq!(first, Some(stored.event.id));
            assert_eq!(block_on(store.accept(stored.clone())).unwrap(), Accepted::Duplicate(stored.event.id));
            block_on(store.close());
        }
    }
}

#[test]
fn searches_find_the_same_calls_before_and_after_these_are_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut world = World::new();
    block_on(async {
        let store = Arc::new(open_embedded(&path));
        let shared: SharedStore = store.clone();
        for _ in 0..10 {
            for _ in 0..40 {
                world.tell(&shared).await;
            }
            // So few calls that nobody puts them into the index unasked.
            world.ask(&shared, 20).await;
            store.indexed().await;
            world.ask(&shared, 20).await;
        }
        store.close().await;
    });
    let connection = rusqlite::Connection::open(&path).unwrap();
    let count = |table| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("unindexed"), 0);
    assert!(count("search_gram") > 0 && count("search_lane") > 2);
    // A file of format 7 had no index.
    for step in &STEPS_BACK[..4] {
        connection.execute_batch(step).unwrap();
    }
    drop(connection);
    block_on(async {
        let store = Arc::new(open_embedded(&path));
        let shared: SharedStore = store.clone();
        world.ask(&shared, 20).await;
        store.indexed().await;
        world.ask(&shared, 20).await;
        store.close().await;
    });
}

#[test]
fn nothing_of_a_removed_call_is_left_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut world = World::new();
    block_on(async {
        let store = Arc::new(open_embedded(&path));
        let shared: SharedStore = store.clone();
        for _ in 0..100 {
            world.tell(&shared).await;
        }
        store.indexed().await;
        let later = now() + Duration::from_hours(366 * 24);
        while store.sweep(later).await.unwrap() > 0 {}
        store.indexed().await;
        // Their numbers are given to others.
        let mut world = World::new();
        for _ in 0..50 {
            world.tell(&shared).await;
        }
        world.ask(&shared, 20).await;
        store.indexed().await;
        world.ask(&shared, 20).await;
        while store.sweep(later).await.unwrap() > 0 {}
        store.indexed().await;
        store.close().await;
    });
    let connection = rusqlite::Connection::open(&path).unwrap();
    for table in ["call", "unindexed", "search_gram"] {
        let rows: i64 =
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = refusal(&file.join("store.db"));
    assert!(text.contains("the folder"), "{text}");
    assert!(text.contains("cannot be created"), "{text}");
}

#[cfg(unix)]
#[test]
fn other_users_cannot_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store: SharedStore = Arc::new(open_embedded(&path));
    block_on(async {
        store.accept(acceptance(&[])).await.unwrap();
    });
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{entry:?}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_set_aside_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let row = callback(UNLIMITED);
    let store: SharedStore = Arc::new(open_embedded(&path));
    let ids = block_on(async {
        let ids = queue(&store, row.id, 3).await;
        store.close().await;
        ids
    });
    let mut ids = ids;
    ids.sort_unstable();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let request_of = |id: DeliveryId| {
        connection
            .query_row("SELECT request FROM delivery WHERE id = ?1", [id.to_bytes()], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
    };
    let (first, second) = (request_of(ids[0]), request_of(ids[1]));
    connection.execute("UPDATE request SET headers = 'no JSON' WHERE number = ?1", [first]).unwrap();
    connection.execute("DELETE FROM request WHERE number = ?1", [second]).unwrap();
    drop(connection);
    let store: SharedStore = Arc::new(open_embedded(&path));
    block_on(async {
        let claims = store.claim(5).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].lease.delivery, ids[2]);
        let dead = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
        let page = Page { before: None, limit: 10 };
        let rows = store.deliveries(&account(), &dead, page).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| ids[..2].contains(&row.id)));
        assert_eq!(rows[0].reason.as_deref(), Some("its stored request cannot be read"));
    });
}

#[test]
fn a_log_that_was_cut_short_loses_only_what_was_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (path, cut) = (folder.path().join("store.db"), folder.path().join("cut.db"));
    let store: SharedStore = Arc::new(open_embedded(&path));
    let first = acceptance(&[]);
    let second = acceptance(&[]);
    let log = folder.path().join("store.db-wal");
    let after_first = block_on(async {
        store.accept(first.clone()).await.unwrap();
        let after_first = std::fs::metadata(&log).unwrap().len();
        store.accept(second.clone()).await.unwrap();
        after_first
    });
    assert!(std::fs::metadata(&log).unwrap().len() > after_first);
    copy_as_after_power_cut(&path, &cut);
    let torn = std::fs::OpenOptions::new().write(true).open(folder.path().join("cut.db-wal")).unwrap();
    torn.set_len(after_first + 100).unwrap();
    let store: SharedStore = Arc::new(open_embedded(&cut));
    block_on(async {
        assert!(store.recall(&first.dedupe, None).await.unwrap().duplicate_of.is_some());
        assert!(store.recall(&second.dedupe, None).await.unwrap().duplicate_of.is_none());
    });
}

/// The log is written back while events come in, and begins anew: it does not grow with them.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_bounded_under_load() {
    /// The log begins anew at 160 MiB.
    const LOAD: usize = 640 << 20;
    const BODY: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open_embedded(&path);
    let mut largest = 0;
    for _ in 0..LOAD / BODY {
        let mut acceptance = acceptance(&[]);
        acceptance.event.body = vec![b'x'; BODY].into();
        store.accept(acceptance).await.unwrap();
        largest = largest.max(std::fs::metadata(path.with_extension("db-wal")).unwrap().len());
    }
    assert!(largest < LOAD as u64 / 2, "{largest} bytes of log");
    assert!(std::fs::metadata(&path).unwrap().len() > LOAD as u64 / 2, "most is in the file");
    store.close().await;
}
