//! What cannot be seen from outside: an engine that fails, a writer that is slow, time that passes.

mod disk;

use std::path::Path;
use std::time::Instant;

use hyper::body::Bytes;

use super::failure::WriteError;
use super::syncing::Sync;
use super::*;
use crate::event::EventType;
use crate::store::{
    Attempt, DeliveryRequest, DeliveryState, EventState, NewDelivery, Next, OutcomeKind, Rendition,
    SharedStore,
};

/// Does something at the writer's desk, inside a transaction.
struct AtDesk<F>(F);

impl<F: Fn(&mut Desk) -> Result<(), WriteError> + Send + 'static> Write for AtDesk<F> {
    type Outcome = ();

    fn write(&self, desk: &mut Desk) -> Result<(), WriteError> {
        (self.0)(desk)
    }
}

struct Bench {
    store: Arc<Embedded>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(prepare: &str) -> Self {
        Self::open(tempfile::tempdir().unwrap(), prepare)
    }

    fn open(folder: tempfile::TempDir, prepare: &str) -> Self {
        let sync = |path: &Path| syncing::log_of(path).unwrap();
        Self::open_on(folder, prepare, sync)
    }

    /// On a disk that syncs when, and as, it is told; without being told once nobody tells any more.
    fn on_disk() -> (Self, std::sync::mpsc::Sender<std::io::Result<()>>) {
        let (disk, turns) = std::sync::mpsc::channel();
        let sync = |_: &Path| -> Sync { Box::new(move || turns.recv().unwrap_or(Ok(()))) };
        (Self::open_on(tempfile::tempdir().unwrap(), "", sync), disk)
    }

    fn open_on(folder: tempfile::TempDir, prepare: &str, sync: impl FnOnce(&Path) -> Sync) -> Self {
        let path = folder.path().join("store.db");
        let ownership = schema::own(&path).unwrap();
        let connection = schema::open_writer(&path).unwrap();
        connection.execute_batch(prepare).unwrap();
        let store = Embedded::start(&path, connection, sync(&path), ownership, Options::default()).unwrap();
        Self { store: Arc::new(store), folder }
    }

    /// Returns when so many events are committed, durable or not.
    async fn has_committed(&self, events: i64) {
        let reader = schema::open_reader(&self.folder.path().join("store.db")).unwrap();
        let count = || reader.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0));
        while count().unwrap() < events {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn shared(&self) -> SharedStore {
        self.store.clone()
    }

    async fn at_desk(
        &self,
        work: impl Fn(&mut Desk) -> Result<(), WriteError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.store.write_first(AtDesk(work)).await
    }

    async fn sql(&self, sql: &'static str) -> Result<(), StoreError> {
        self.at_desk(move |desk| Ok(desk.connection.execute_batch(sql)?)).await
    }
}

fn acceptance(body: usize) -> Acceptance {
    let account = AccountName::from("acme");
    let now = Timestamp::now();
    let event = EventRow {
        id: EventId::new(),
        account: account.clone(),
        source: "pbx".to_owned(),
        provider: "commpeak".to_owned(),
        state: EventState::Accepted,
        types: vec![EventType::CallEnded],
        call: None,
        received_at: now,
        method: "POST".to_owned(),
        path: String::new(),
        content_type: String::new(),
        body: Bytes::from(vec![b'x'; body]),
    };
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&event.id.to_bytes());
    let callback = CallbackId::new();
    Acceptance {
        dedupe: DedupeKey {
            account: account.clone(),
            source: "pbx".to_owned(),
            digest,
            expires_at: now + Duration::from_hours(24),
        },
        call: None,
        deliveries: vec![NewDelivery {
            id: DeliveryId::new(),
            account,
            callback,
            destination: callback.into(),
            event: event.id,
            event_type: EventType::CallEnded,
            call: None,
            created_at: now,
            due: now,
            order: None,
            request: Rendition::Done(DeliveryRequest {
                method: "POST".to_owned(),
                url: "https://receiver.example".to_owned(),
                content_type: String::new(),
                headers: Vec::new(),
                body: Bytes::from_static(b"{}"),
            }),
        }],
        snapshot: None,
        failed: Vec::new(),
        answered: Vec::new(),
        event,
    }
}

fn delivered(claim: &Claim) -> Settlement {
    Settlement {
        lease: claim.lease,
        attempt: Attempt {
            number: claim.attempt,
            started_at: Timestamp::now(),
            latency: Duration::from_millis(1),
            outcome: OutcomeKind::Delivered,
            status: Some(200),
            error: None,
            response: Bytes::new(),
        },
        next: Next::Delivered,
        pause_callback: None,
    }
}

/// Claims and settles until nothing is due; how many that were.
async fn drain(store: &SharedStore) -> usize {
    let mut count = 0;
    while let Ok(claims) = tokio::time::timeout(Duration::from_millis(200), store.claim(100)).await {
        for claim in claims.unwrap() {
            assert!(store.settle(delivered(&claim)).await.unwrap());
            count += 1;
        }
    }
    count
}

fn reason(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { reason, .. } => reason,
        other => panic!("unexpected: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_work_goes_on_when_there_is_room() {
    let bench = Bench::new("");
    let store = bench.shared();
    bench.sql("PRAGMA max_page_count = 400").await.unwrap();
    let mut stored = 0;
    for round in 0.. {
        let writers: Vec<_> = (0..16)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let new = acceptance(8 << 10);
                    (store.accept(new.clone()).await, new)
                })
            })
            .collect();
        let mut refused = 0;
        for writer in writers {
            let (answer, new) = writer.await.unwrap();
            let known = store.recall(&new.dedupe, None).await.unwrap().duplicate_of.is_some();
            match answer {
                Ok(accepted) => {
                    assert_eq!(accepted, Accepted::Stored);
                    assert!(known);
                    stored += 1;
                }
                Err(error) => {
                    assert_eq!(reason(&error), "disk full");
                    assert!(std::error::Error::source(&error).is_some());
                    assert!(!known);
                    refused += 1;
                }
            }
        }
        if refused > 0 {
            break;
        }
        assert!(round < 100, "400 pages are never full");
    }
    assert!(stored > 0);

    bench.sql("PRAGMA max_page_count = 1000000").await.unwrap();
    store.ready().await.unwrap();
    assert_eq!(store.accept(acceptance(8 << 10)).await.unwrap(), Accepted::Stored);
    // What waits in memory is what is on the disk.
    assert_eq!(drain(&store).await, stored + 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_takes_nothing_with_it() {
    let bench = Bench::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (parent REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);",
    );
    let store = bench.shared();
    // The pragma does nothing within a transaction.
    bench
        .at_desk(|desk| {
            desk.connection.execute_batch("COMMIT; PRAGMA foreign_keys = ON; BEGIN IMMEDIATE")?;
            Ok(())
        })
        .await
        .unwrap();

    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.claim(1).await.unwrap() }
    });
    // While the writer is held up, a good and a bad write and the claim come into one batch.
    let hold = bench.at_desk(|_| {
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    });
    let bad = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.sql("INSERT INTO child (parent) VALUES (1)").await
    };
    let good = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.accept(acceptance(10)).await
    };
    let (hold, bad, good) = tokio::join!(hold, bad, good);
    hold.unwrap();
    assert_eq!(reason(&bad.unwrap_err()), "an id is stored already");
    assert_eq!(good.unwrap(), Accepted::Stored);
    let claims = waiting.await.unwrap();
    assert_eq!(claims.len(), 1);
    assert!(store.settle(delivered(&claims[0])).await.unwrap());
    assert_eq!(drain(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_seen_is_known_before_and_while_and_after_it_is_filed() {
    /// Fewer than a transaction files, so that each generation is filed at once.
    const GENERATION: usize = 10;
    /// Not a multiple, so that some are never filed.
    const EVENTS: usize = 10 * GENERATION + 5;
    let open = async |folder| {
        let bench = Bench::open(folder, "");
        let set = |desk: &mut Desk| {
            desk.seen.generation = GENERATION;
            Ok(())
        };
        bench.at_desk(set).await.unwrap();
        bench
    };
    let mut bench = open(tempfile::tempdir().unwrap()).await;
    let mut seen: Vec<Acceptance> = Vec::new();
    for _ in 0..2 {
        let store = bench.shared();
        for number in 0..EVENTS {
            let mut new = acceptance(8);
            // Those of two sources are not the same.
            if number % 3 == 1 {
                new.dedupe.digest = seen.last().unwrap().dedupe.digest;
                new.dedupe.source = "dialer".to_owned();
            }
            assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Stored);
            seen.push(new);
            let some = if number % GENERATION == 0 { 7 } else { EVENTS };
            for earlier in seen.iter().rev().step_by(some) {
                assert_eq!(
                    store.recall(&earlier.dedupe, None).await.unwrap().duplicate_of,
                    Some(earlier.event.id)
                );
                let mut again = acceptance(8);
                again.dedupe = earlier.dedupe.clone();
                assert_eq!(store.accept(again).await.unwrap(), Accepted::Duplicate(earlier.event.id));
            }
        }
        store.close().await;
        drop(store);
        bench = open(bench.folder).await;
    }
    // What has expired is a new event, and is removed.
    let store = bench.shared();
    let later = seen.last().unwrap().dedupe.expires_at;
    for old in &seen {
        let mut again = acceptance(8);
        again.dedupe = DedupeKey { expires_at: later + Duration::from_hours(24), ..old.dedupe.clone() };
        again.event.received_at = later;
        assert_eq!(store.accept(again.clone()).await.unwrap(), Accepted::Stored);
        let mut repeated = acceptance(8);
        repeated.dedupe = again.dedupe.clone();
        repeated.event.received_at = later;
        assert_eq!(store.accept(repeated).await.unwrap(), Accepted::Duplicate(again.event.id));
    }
    while store.sweep(later).await.unwrap() > 0 {}
    let reader = schema::open_reader(&bench.folder.path().join("store.db")).unwrap();
    let count = |table: &str| -> i64 {
        reader.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let all = i64::try_from(seen.len()).unwrap();
    assert_eq!(count("seen_log"), all);
    assert!((1..=all).contains(&count("seen")), "{} are filed", count("seen"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_writer_refuses_new_work_and_still_takes_outcomes() {
    let bench = Bench::new("");
    let store = bench.shared();
    store.accept(acceptance(10)).await.unwrap();
    let claims = store.claim(1).await.unwrap();
    let hold = tokio::spawn({
        let store = bench.store.clone();
        async move {
            store
                .write_first(AtDesk(|_: &mut Desk| {
                    std::thread::sleep(Duration::from_millis(500));
                    Ok(())
                }))
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    let writers: Vec<_> = (0..WAITING_WRITES + 500)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.accept(acceptance(10)).await })
        })
        .collect();
    let settled = store.settle(delivered(&claims[0])).await;
    let mut refused = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(accepted) => assert_eq!(accepted, Accepted::Stored),
            Err(error) => {
                assert_eq!(reason(&error), "queue full");
                refused += 1;
            }
        }
    }
    assert!(settled.unwrap());
    assert!(refused > 0 && refused <= 500, "{refused}");
    assert!(started.elapsed() < Duration::from_secs(30));
    hold.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_runs_out_counts_as_a_crash() {
    let bench = Bench::new("");
    let store = bench.shared();
    bench
        .at_desk(|desk| {
            desk.lease_time = Duration::from_millis(50);
            Ok(())
        })
        .await
        .unwrap();
    let new = acceptance(10);
    store.accept(new.clone()).await.unwrap();
    let mut lost = Vec::new();
    for _ in 0..10 {
        let claims = store.claim(1).await.unwrap();
        assert_eq!(claims[0].attempt, 1);
        lost.push(claims[0].lease);
    }
    // The tenth runs out as well.
    let account = AccountName::from("acme");
    let deadline = Instant::now() + Duration::from_secs(5);
    let view = loop {
        let view = store.delivery(&account, new.deliveries[0].id).await.unwrap().unwrap();
        if view.row.state == DeliveryState::Dead {
            break view;
        }
        assert!(Instant::now() < deadline, "{view:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(view.row.reason.as_deref(), Some("poison"));
    assert!(view.attempts.iter().all(|attempt| attempt.outcome == OutcomeKind::Crashed));
    assert_eq!(view.attempts.len(), 10);
    for lease in lost {
        let settlement = Settlement { lease, ..delivered_by(lease) };
        assert!(!store.settle(settlement).await.unwrap());
    }
}

fn delivered_by(lease: Lease) -> Settlement {
    delivered(&Claim {
        lease,
        account: AccountName::from("acme"),
        callback: CallbackId::new(),
        attempt: 1,
        request: acceptance(0).deliveries.remove(0).request,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_nobody_took_come_back_even_if_the_first_try_fails() {
    let bench = Bench::new("");
    let store = bench.shared();
    store.accept(acceptance(10)).await.unwrap();
    let claims = store.claim(1).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), store.claim(1)).await.is_err());
    store.release(vec![claims[0].lease]).await.unwrap();
    // A claim that is answered and dropped in one go, while nobody may write.
    for _ in 0..20 {
        let mut claim = std::pin::pin!(store.claim(1));
        let first_look =
            std::future::poll_fn(|context| std::task::Poll::Ready(claim.as_mut().poll(context).is_ready()));
        assert!(!first_look.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = tokio::time::timeout(Duration::from_secs(5), store.claim(1)).await.unwrap().unwrap();
    assert_eq!(again[0].lease.delivery, claims[0].lease.delivery);
    assert_ne!(again[0].lease.token, claims[0].lease.token);
}
