//! What many ask for at a time is done by one script: those that come while one runs go together in
//! the next. A script that does one thing costs several times what one thing more costs it.
//!
//! What writes events is told how many slots wait for work here (`vacancies.rs`).

use std::sync::Arc;
use std::time::Duration;

use redis::{Arg, Cmd, FromRedisValue, Value};
use tokio::sync::{Mutex, RwLockReadGuard, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::failure::{again, closed, refused, store_error};
use super::form::corrupt;
use super::shard::{Script, Shard, Witness};
use super::vacancies::{Leased, Reservation, claims_of};
use super::{LEASE_TIME, Shared, WAITING_WRITES, becomes_true, writing};
use crate::store::StoreError;
use crate::store::scheduler::GIVEN_UP;

/// The most that one script does. It keeps Redis from everything else for some milliseconds.
const MOST: usize = 64;

/// No more is put to a script that has so many bytes of arguments already.
const MOST_BYTES: usize = 1 << 20;

/// How many scripts of a kind a shard has under way: while one runs, the next is on its way.
const UNDER_WAY: usize = 2;

/// How long an event lets a claim go first, so that it finds the line empty.
const LINE_PATIENCE: Duration = Duration::from_millis(250);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accept,
    Settle,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Accept, Self::Settle];

    fn script(self, shared: &Shared) -> &Script {
        match self {
            Self::Accept => &shared.scripts.accept,
            Self::Settle => &shared.scripts.settle,
        }
    }

    /// What all things that go together are told, before the first.
    fn begin(self, shared: &Shared, (slots, trials): Vacant, command: &mut Cmd) {
        match self {
            Self::Accept => {
                command
                    .arg(slots)
                    .arg(trials)
                    .arg(u64::try_from(LEASE_TIME.as_micros()).expect("a minute is short"));
            }
            Self::Settle => {
                let rules = shared.options.circuit;
                command
                    .arg(rules.consecutive)
                    .arg(rules.share_of)
                    .arg(rules.slice)
                    .arg(rules.first_probe)
                    .arg(rules.longest_probe)
                    .arg(rules.give_up)
                    .arg(GIVEN_UP);
            }
        }
    }

    /// Whether its answer promises that something is kept.
    const fn is_kept(self) -> bool {
        matches!(self, Self::Accept)
    }
}

/// How many deliveries a script may lease, and how many of them on trial.
type Vacant = (usize, usize);

/// Somebody waits for a thing to be done, whose arguments these are.
struct Waiting {
    thing: Cmd,
    answer: oneshot::Sender<Result<Value, StoreError>>,
}

/// Where the things of each kind wait, for each shard.
#[derive(Debug)]
pub(super) struct Queues(Vec<[mpsc::Sender<Waiting>; Kind::ALL.len()]>);

/// From now on what comes together goes together.
pub(super) fn start(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    let queues = (0..shared.shards.len()).map(|shard| {
        Kind::ALL.map(|kind| {
            let (queue, waiting) = mpsc::channel(WAITING_WRITES);
            let waiting = Arc::new(Mutex::new(waiting));
            tasks.extend(
                (0..UNDER_WAY)
                    .map(|_| tokio::spawn(run(Arc::clone(shared), shard, kind, Arc::clone(&waiting)))),
            );
            queue
        })
    });
    let queues = Queues(queues.collect());
    shared.queues.set(queues).expect("a store is started once");
    tasks
}

/// Does what waits, until the store is closed and nothing waits.
async fn run(shared: Arc<Shared>, shard: usize, kind: Kind, waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut closing = shared.closing.subscribe();
    let mut unanswered = JoinSet::new();
    loop {
        let some = take(&mut *waiting.lock().await, &mut closing).await;
        if some.is_empty() {
            break;
        }
        let answering = begin(Arc::clone(&shared), shard, kind, some).await;
        // Others need not wait until it is kept: there are no more of these than callers.
        if kind.is_kept() {
            while unanswered.try_join_next().is_some() {}
            unanswered.spawn(answering);
        } else {
            answering.await;
        }
    }
    unanswered.join_all().await;
}

/// Does some things; what is left is to wait until they are kept, and to answer.
async fn begin(
    shared: Arc<Shared>,
    shard: usize,
    kind: Kind,
    some: Vec<Waiting>,
) -> impl Future<Output = ()> + Send {
    let (things, callers): (Vec<Cmd>, Vec<_>) = some.into_iter().map(|one| (one.thing, one.answer)).unzip();
    let wanted = if kind == Kind::Accept { things.iter().map(writing::deliveries_of).sum() } else { 0 };
    let (line, mut reservation) = reserve(&shared, &shared.shards[shard], wanted).await;
    let vacant = (reservation.slots, reservation.trials);
    let (mut answers, witness) = shared.put_together(&shared.shards[shard], kind, vacant, &things).await;
    let mut claims = Vec::new();
    for (thing, answer) in things.iter().zip(&mut answers) {
        let leased = answer.as_mut().map(take_leased).unwrap_or_default();
        claims.extend(claims_of(&shared.shards[shard], thing, &leased));
    }
    reservation.keep_filled(&claims);
    drop(line);
    async move {
        let shard = &shared.shards[shard];
        let kept = shared.is_kept(shard, kind, witness).await;
        if kept.is_ok() {
            reservation.fill(shard, claims);
        } else {
            for (claim, _) in claims {
                shard.give_back(claim.lease);
            }
        }
        for (caller, answer) in callers.into_iter().zip(answers) {
            // Whoever is gone does not care.
            let _ = caller.send(kept.as_ref().map_or_else(|error| Err(again(error)), |()| answer));
        }
    }
}

/// Slots for so many deliveries, and the right to fill them before the next claim.
async fn reserve<'a>(
    shared: &Arc<Shared>,
    shard: &'a Shard,
    deliveries: usize,
) -> (Option<RwLockReadGuard<'a, ()>>, Reservation) {
    let deliveries = if deliveries > 0 { shared.share_of_events(shard, deliveries) } else { 0 };
    if deliveries == 0 {
        return (None, Reservation::none(shared));
    }
    let _waits = shared.vacancies.events_wait();
    // If the claim does not come to an end, the server does not answer.
    let line = timeout(LINE_PATIENCE, shard.line().read()).await.ok();
    let reservation = shared.reserve(if line.is_some() { deliveries } else { 0 });
    (line, reservation)
}

/// Of the answer to an event, what was leased with it: three numbers each.
fn take_leased(answer: &mut Value) -> Vec<Leased> {
    let Value::Array(parts) = answer else { return Vec::new() };
    let Some(Value::Array(numbers)) = parts.pop_if(|part| matches!(part, Value::Array(_))) else {
        return Vec::new();
    };
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    let leased = |three: &[Value; 3]| {
        let [place, token, on_trial] = three.each_ref().map(number);
        (usize::try_from(place).unwrap_or(usize::MAX), token, on_trial == 1)
    };
    numbers.as_chunks().0.iter().map(leased).collect()
}

/// As many as wait and fit into a script; none, if nobody will ever wait again.
async fn take(waiting: &mut mpsc::Receiver<Waiting>, closing: &mut watch::Receiver<bool>) -> Vec<Waiting> {
    let first = tokio::select! {
        biased;
        first = waiting.recv() => first,
        () = becomes_true(closing) => {
            waiting.close();
            waiting.recv().await
        }
    };
    let Some(first) = first else { return Vec::new() };
    let mut bytes = size(&first.thing);
    let mut some = vec![first];
    while some.len() < MOST && bytes < MOST_BYTES {
        let Ok(one) = waiting.try_recv() else { break };
        bytes += size(&one.thing);
        some.push(one);
    }
    some
}

pub(super) fn arguments(thing: &Cmd) -> impl ExactSizeIterator<Item = &[u8]> {
    thing.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes,
        _ => unreachable!("nothing here goes by cursors"),
    })
}

fn size(thing: &Cmd) -> usize {
    arguments(thing).map(<[u8]>::len).sum()
}

impl Shared {
    /// Has a thing done, with others if some wait.
    pub(super) async fn put<T: FromRedisValue>(
        &self,
        shard: &Shard,
        kind: Kind,
        arguments: impl FnOnce(&mut Cmd) + Send,
    ) -> Result<T, StoreError> {
        let mut thing = Cmd::new();
        arguments(&mut thing);
        let answer = if let Some(Queues(queues)) = self.queues.get() {
            let (answer, answered) = oneshot::channel();
            let queue = &queues[shard.number()][kind as usize];
            // Those who wait here are no more than writes have turns, and settlements leases.
            queue.send(Waiting { thing, answer }).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())??
        } else {
            // Nobody works for a store that is not started.
            let (mut answers, witness) = self.put_together(shard, kind, (0, 0), &[thing]).await;
            self.is_kept(shard, kind, witness).await?;
            let mut answer = answers.pop().expect("each thing is answered")?;
            take_leased(&mut answer);
            answer
        };
        T::from_redis_value(answer).map_err(|error| store_error(error.into()))
    }

    /// Returns when what was answered is kept, if its kind promises that.
    async fn is_kept(&self, shard: &Shard, kind: Kind, witness: Option<Witness>) -> Result<(), StoreError> {
        match witness {
            Some(witness) if kind.is_kept() => shard.keep(&witness).await,
            _ => Ok(()),
        }
    }

    /// Has things done by one script; each is answered.
    async fn put_together(
        &self,
        shard: &Shard,
        kind: Kind,
        vacant: Vacant,
        things: &[Cmd],
    ) -> (Vec<Result<Value, StoreError>>, Option<Witness>) {
        let script = kind.script(self);
        let add = |command: &mut Cmd| {
            kind.begin(self, vacant, command);
            for thing in things {
                let arguments = arguments(thing);
                command.arg(arguments.len());
                for argument in arguments {
                    command.arg(argument);
                }
            }
        };
        let error = match shard.run_with::<Vec<Value>>(script, add).await {
            Ok((answers, witness)) if answers.len() == things.len() => {
                return (answers.into_iter().map(judged).collect(), Some(witness));
            }
            Ok(_) => corrupt("answer", "it is of another script"),
            Err(error) => error,
        };
        (things.iter().map(|_| Err(again(&error))).collect(), None)
    }
}

/// What one thing was answered, or why it was not done though others were.
fn judged(answer: Value) -> Result<Value, StoreError> {
    match &answer {
        Value::Array(parts) => match parts.as_slice() {
            [Value::BulkString(word), Value::BulkString(text)] if word == b"error" => Err(refused(text)),
            _ => Ok(answer),
        },
        _ => Ok(answer),
    }
}
