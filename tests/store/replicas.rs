//! Answers that wait for a replica's disk, over a Redis that is made to look as if it had one: what is
//! asked of it goes to a real server, but for `WAITAOF`, which the tests answer, and for what `INFO`
//! says of its version and its replicas. (What apt installs has no `WAITAOF` yet.)

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ringback::event::AccountName;
use ringback::store::redis::{Durability, Options, Redis};
use ringback::store::{
    Acceptance, Accepted, Answered, Jobs, Next, PutJob, Remember, SharedStore, Store, StoreError,
};
use tokio::task::JoinHandle;

use super::MAX_IN_FLIGHT;
use super::jobs::{job, past};
use super::outages::is_in_step;
use super::redis::{accept_in_the_end, claim_in_the_end, reason};
use super::sample::{UNLIMITED, acceptance, account, callback, claim_now, delivered, event, failed};
use crate::redis_server::RedisServer;

/// How long something may take that happens by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the server seems to be, and how it answers `WAITAOF`.
#[derive(Clone, Debug)]
struct Seems {
    version: &'static str,
    replicas: u32,
    /// Other than the server's own after a replica has taken over.
    history: Option<&'static str>,
    /// How many disks have it: the master's and replicas'. Nothing: it is not answered yet.
    kept: Option<(u32, u32)>,
    /// It has become a replica while somebody waits.
    is_demoted: bool,
}

const GOOD: Seems =
    Seems { version: "7.2.4", replicas: 1, history: None, kept: Some((1, 1)), is_demoted: false };

/// What those who wait are answered by a master that becomes a replica.
const UNBLOCKED: &[u8] = b"-UNBLOCKED force unblock from blocking operation, instance state changed \
    (master -> replica?)\r\n";

struct State {
    seems: Seems,
    /// The port of the server behind its name.
    behind: u16,
    /// How many servers there were before it.
    takeovers: usize,
    /// How often `WAITAOF` was asked.
    asked: usize,
}

/// A server with a replica, as far as can be seen.
struct Replicated {
    server: RedisServer,
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Replicated {
    fn start() -> Self {
        let server = RedisServer::durable();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { seems: GOOD, behind: server.port(), takeovers: 0, asked: 0 };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = Arc::clone(&state);
        // It ends with the process: nobody connects to it any more when its test is over.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, shared) = (client.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || carry(&client, &shared));
            }
        });
        Self { server, port, state }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn seem(&self, seems: Seems) {
        self.state.0.lock().unwrap().seems = seems;
        self.state.1.notify_all();
    }

    /// Kills the server, whose name means another from now on.
    fn is_taken_over_by(&mut self, other: &RedisServer) {
        self.server.kill();
        let mut state = self.state.0.lock().unwrap();
        state.behind = other.port();
        state.takeovers += 1;
        state.seems = GOOD;
        self.state.1.notify_all();
    }

    fn asked(&self) -> usize {
        self.state.0.lock().unwrap().asked
    }

    /// Returns when `WAITAOF` was asked more often than so many times.
    fn is_asked_after(&self, count: usize) {
        let state = self.state.0.lock().unwrap();
        let waited =
            self.state.1.wait_timeout_while(state, PATIENCE, |state| state.asked <= count).unwrap().1;
        assert!(!waited.timed_out(), "nobody waits for a replica");
    }

    /// Hands in an event whose answer waits for a replica that says nothing, until something else seems.
    fn accept_unanswered(
        &self,
        store: &SharedStore,
        new: &Acceptance,
    ) -> JoinHandle<Result<Accepted, StoreError>> {
        self.seem(Seems { kept: None, ..GOOD });
        let before = self.asked();
        let (store, new) = (Arc::clone(store), new.clone());
        let waiting = tokio::spawn(async move { store.accept(new).await });
        self.is_asked_after(before);
        waiting
    }

    async fn try_open(&self) -> Result<Redis, StoreError> {
        let options =
            Options { max_in_flight: MAX_IN_FLIGHT, durability: Durability::Replica, ..Options::default() };
        Redis::open(&self.url(), options).await
    }

    async fn open(&self) -> SharedStore {
        Arc::new(self.try_open().await.unwrap())
    }

    async fn refusal(&self, seems: Seems) -> String {
        self.seem(seems);
        match self.try_open().await {
            Ok(_) => panic!("it must not open"),
            Err(StoreError::Unusable(text)) => text,
            Err(other) => panic!("unexpected: {other}"),
        }
    }
}

/// Carries one connection, a command and its answer after the other, until either side ends it.
fn carry(client: &TcpStream, state: &(Mutex<State>, Condvar)) {
    let (behind, takeovers) = {
        let held = state.0.lock().unwrap();
        (held.behind, held.takeovers)
    };
    let Ok(server) = TcpStream::connect(("127.0.0.1", behind)) else { return };
    let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(&server));
    let (mut to_client, mut to_server) = (client, &server);
    while let Some(command) = message(&mut from_client) {
        let is =
            |name: &str| command.to_ascii_uppercase().windows(name.len()).any(|part| part == name.as_bytes());
        let answer = if is("\r\nWAITAOF\r\n") {
            let mut held = state.0.lock().unwrap();
            held.asked += 1;
            state.1.notify_all();
            let is_waiting = |state: &mut State| {
                state.takeovers == takeovers && !state.seems.is_demoted && state.seems.kept.is_none()
            };
            let held = state.1.wait_while(held, is_waiting).unwrap();
            match held.seems.kept {
                // The connections of a server that was killed end.
                _ if held.takeovers != takeovers => return,
                Some((local, replicas)) => format!("*2\r\n:{local}\r\n:{replicas}\r\n").into_bytes(),
                None => UNBLOCKED.to_vec(),
            }
        } else {
            if to_server.write_all(&command).is_err() {
                return;
            }
            let Some(answer) = message(&mut from_server) else { return };
            let is_info =
                command.starts_with(b"*1\r\n$4\r\nINFO") || command.starts_with(b"*2\r\n$4\r\nINFO");
            if is_info { info(&answer, &state.0.lock().unwrap().seems) } else { answer }
        };
        if to_client.write_all(&answer).is_err() {
            return;
        }
    }
}

/// One message of the protocol, with all that it holds; nothing at its end.
fn message(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    let mut left = 1_i64;
    while left > 0 {
        let start = whole.len();
        if from.read_until(b'\n', &mut whole).ok()? == 0 {
            return None;
        }
        left -= 1;
        let line = String::from_utf8_lossy(&whole[start..]).into_owned();
        let number = || line[1..].trim_end().parse::<i64>().unwrap();
        match line.as_bytes()[0] {
            b'*' => left += number().max(0),
            b'$' if number() >= 0 => {
                let length = usize::try_from(number()).unwrap() + 2;
                let start = whole.len();
                whole.resize(start + length, 0);
                from.read_exact(&mut whole[start..]).ok()?;
            }
            _ => {}
        }
    }
    Some(whole)
}

/// What `INFO` answers, as it seems to be.
fn info(answer: &[u8], seems: &Seems) -> Vec<u8> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (_, text) = text.split_once("\r\n").unwrap();
    let lines: Vec<String> = text
        .trim_end()
        .lines()
        .map(|line| match (line.split_once(':').map(|(name, _)| name), seems.history) {
            (Some("redis_version"), _) => format!("redis_version:{}", seems.version),
            (Some("connected_slaves"), _) => format!("connected_slaves:{}", seems.replicas),
            (Some("master_replid"), Some(history)) => format!("master_replid:{history}"),
            _ => line.to_owned(),
        })
        .collect();
    let text = lines.join("\r\n") + "\r\n";
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_until_a_replica_has_it_on_its_disk() {
    let redis = Replicated::start();
    let store = redis.open().await;
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    let new = acceptance(&[row.id]);
    let waiting = redis.accept_unanswered(&store, &new);
    // It is there, and may be delivered; who posted it is not told so yet.
    assert!(store.event(&account(), new.event.id).await.unwrap().is_some());
    let claims = store.claim(1).await.unwrap();
    assert!(store.settle(delivered(&claims[0])).await.unwrap(), "deliveries wait for no replica");
    assert!(!waiting.is_finished());
    // Those that come meanwhile wait together for one round, which begins after them.
    let more: Vec<_> = (0..20)
        .map(|_| {
            let (store, new) = (Arc::clone(&store), acceptance(&[]));
            tokio::spawn(async move { store.accept(new).await })
        })
        .collect();
    redis.seem(GOOD);
    assert_eq!(waiting.await.unwrap().unwrap(), Accepted::Stored);
    for one in more {
        assert_eq!(one.await.unwrap().unwrap(), Accepted::Stored);
    }
    assert!(matches!(store.accept(new).await.unwrap(), Accepted::Duplicate(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_together_wait_for_one_round() {
    let redis = Replicated::start();
    let store = redis.open().await;
    redis.seem(Seems { kept: None, ..GOOD });
    let before = redis.asked();
    let accept = || {
        let (store, new) = (Arc::clone(&store), acceptance(&[]));
        (new.event.id, tokio::spawn(async move { store.accept(new).await }))
    };
    let first = accept();
    redis.is_asked_after(before);
    let others: Vec<_> = (0..20).map(|_| accept()).collect();
    // Each is written, though none is answered.
    for (id, _) in &others {
        let written = async {
            while store.event(&account(), *id).await.unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.unwrap();
    }
    redis.seem(GOOD);
    for (_, one) in others.into_iter().chain([first]) {
        assert_eq!(one.await.unwrap().unwrap(), Accepted::Stored);
    }
    // One was under way, and one does for all who waited when it began.
    assert!(redis.asked() - before < 21, "{} rounds", redis.asked() - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_replica_keeps_is_not_answered_and_its_repeat_waits_too() {
    let redis = Replicated::start();
    let store = redis.open().await;
    let row = callback(UNLIMITED);
    store.put_callback(row.clone()).await.unwrap();
    for (kept, expected) in
        [((1, 0), "no replica of Redis keeps up"), ((0, 1), "Redis does not get it onto its disk")]
    {
        let new = acceptance(&[row.id]);
        redis.seem(Seems { kept: Some(kept), ..GOOD });
        let is_refused = |error: StoreError| assert_eq!(reason(&error), expected);
        is_refused(store.accept(new.clone()).await.unwrap_err());
        // It is there, and yet no repeat is told so.
        is_refused(store.accept(new.clone()).await.unwrap_err());
        is_refused(store.recall(&new.dedupe, None).await.unwrap_err());
        redis.seem(GOOD);
        let before = redis.asked();
        assert!(store.recall(&new.dedupe, None).await.unwrap().duplicate_of.is_some());
        assert!(redis.asked() > before, "it has waited");
        assert!(matches!(store.accept(new).await.unwrap(), Accepted::Duplicate(_)));
        for claim in claim_now(&store, 5).await {
            assert!(store.settle(delivered(&claim)).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_that_says_that_something_is_kept_waits() {
    let redis = Replicated::start();
    let opened = redis.try_open().await.unwrap();
    let made = job("call", past());
    assert_eq!(opened.put_job(made.clone(), 9).await.unwrap(), PutJob::Stored);
    let row = callback(UNLIMITED);
    opened.put_callback(row.clone()).await.unwrap();
    let key = [7; 32];
    let answered = Answered { fingerprint: [1; 32], answer: b"{}".to_vec() };
    let remember = Remember { key, answered: answered.clone(), keep: Duration::from_hours(1) };
    opened.put_callback_once(callback(UNLIMITED), remember.clone()).await.unwrap();
    opened.accept(acceptance(&[row.id])).await.unwrap();
    let claims = opened.claim(1).await.unwrap();
    assert!(opened.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());

    redis.seem(Seems { kept: Some((1, 0)), ..GOOD });
    let is_refused = |error: StoreError| assert_eq!(reason(&error), "no replica of Redis keeps up");
    is_refused(opened.put_job(made, 9).await.unwrap_err());
    is_refused(opened.put_job(job("other", past()), 9).await.unwrap_err());
    is_refused(opened.put_callback(row.clone()).await.unwrap_err());
    is_refused(opened.put_callback_once(row.clone(), remember).await.unwrap_err());
    is_refused(opened.answered(&account(), &key).await.unwrap_err());
    is_refused(opened.reject(event()).await.unwrap_err());
    is_refused(opened.retry(&account(), claims[0].lease.delivery).await.unwrap_err());
    is_refused(opened.remove_callback(&account(), row.id).await.unwrap_err());
    // What was never answered says nothing that must be kept.
    assert_eq!(opened.answered(&AccountName::from("acme"), &[8; 32]).await.unwrap(), None);
    redis.seem(GOOD);
    assert_eq!(opened.answered(&account(), &key).await.unwrap(), Some(answered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_one_history_is_not_kept_by_a_round_of_another() {
    let redis = Replicated::start();
    let store = redis.open().await;
    store.accept(acceptance(&[])).await.unwrap();
    // A replica took over in between, behind the same name.
    redis.seem(Seems { history: Some("another"), ..GOOD });
    let error = store.accept(acceptance(&[])).await.unwrap_err();
    assert_eq!(reason(&error), "another Redis has taken over");
    // From then on, what is answered is of the new one.
    assert_eq!(store.accept(acceptance(&[])).await.unwrap(), Accepted::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_while_an_answer_waits_makes_it_an_error_and_its_repeat_finds_what_is_there() {
    for has_it in [true, false] {
        let mut redis = Replicated::start();
        let port = redis.server.port().to_string();
        let replica = RedisServer::start(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]);
        // A server's history gets a new name when its first replica comes.
        is_in_step(&redis.server, &replica);
        let store = redis.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        is_in_step(&redis.server, &replica);
        let promote = || assert!(replica.ask(&[b"REPLICAOF", b"NO", b"ONE"]).starts_with(b"+OK"));
        if !has_it {
            promote();
        }
        let new = acceptance(&[row.id]);
        let waiting = redis.accept_unanswered(&store, &new);
        if has_it {
            is_in_step(&redis.server, &replica);
            promote();
        }
        redis.is_taken_over_by(&replica);
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");

        // The new one has a replica too; whose disk it is on is known only now.
        let before = redis.asked();
        let expected = if has_it { Accepted::Duplicate(new.event.id) } else { Accepted::Stored };
        assert_eq!(accept_in_the_end(&store, new.clone()).await, expected);
        assert!(redis.asked() > before, "it has waited");
        let claims = tokio::time::timeout(PATIENCE, claim_in_the_end(&store, 1)).await.unwrap();
        assert_eq!(claims[0].lease.delivery, new.deliveries[0].id);
        assert!(store.settle(delivered(&claims[0])).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_becomes_a_replica_while_an_answer_waits_makes_it_an_error() {
    let redis = Replicated::start();
    let store = redis.open().await;
    let new = acceptance(&[]);
    let waiting = redis.accept_unanswered(&store, &new);
    redis.seem(Seems { kept: None, is_demoted: true, ..GOOD });
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    // It is its master again: what was written is there, and is answered once a replica has it.
    redis.seem(GOOD);
    let before = redis.asked();
    assert_eq!(accept_in_the_end(&store, new.clone()).await, Accepted::Duplicate(new.event.id));
    assert!(redis.asked() > before, "it has waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_wait_for_replicas_is_refused_with_what_to_do() {
    let redis = Replicated::start();
    for (seems, expected) in [
        (Seems { version: "7.0.15", ..GOOD }, "is of version 7.0.15"),
        (Seems { replicas: 0, ..GOOD }, "has no replica"),
        (Seems { kept: Some((1, 0)), ..GOOD }, "see that a replica is connected and has appendonly yes"),
    ] {
        let text = redis.refusal(seems).await;
        assert!(text.contains(expected) && text.contains("durability = \"local\""), "{text}");
    }
    redis.server.ask(&[b"CONFIG", b"SET", b"appendonly", b"no"]);
    let text = redis.refusal(GOOD).await;
    assert!(text.contains("CONFIG SET appendonly yes"), "{text}");
}
