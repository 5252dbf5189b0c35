//! The writing of the index: the process whose turn it is reads what is noted, makes of it what is to
//! be written, and has it written by one script.

mod draft;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use self::draft::Draft;
use super::{BlockOf, column_key, is_name, read_places};
use crate::context::CallContext;
use crate::event::AccountName;
use crate::store::StoreError;
use crate::store::redis::shard::Shard;
use crate::store::redis::{Shared, becomes_true};
use crate::store::seats::{Column, VALUES};

/// How often each process asks whether there is something to index.
const TICK: Duration = Duration::from_millis(500);

/// Notes of an account that the index need not know: until there are more, a search reads those
/// calls, and what is written for one of them is written for all at once.
const WORTH: usize = 128;

/// How often less than that is taken up too.
const ROUND: Duration = Duration::from_mins(1);

/// How long it is one process' turn. It asks again before each batch; if it dies, another goes on.
const TURN: Duration = Duration::from_secs(15);

/// Accounts that are named at once.
const ACCOUNTS: usize = 100;

/// The most notes, bytes of contexts, and blocks of a batch, whose script takes a few milliseconds.
const NOTES: usize = 500;
const BYTES: usize = 8 << 20;
const BLOCKS: usize = 8;

/// The most cells of a batch, or a few more: a call that is gone is wiped out of every lane.
const CELLS: usize = 4_000;

/// Calls of a format before that one script notes.
const OLD_CALLS: usize = 500;

/// Keys that Redis is asked for at a time, more or less, where it looks through all of them.
const SCAN: usize = 1_000;

/// Puts what is noted in a shard into the index, again and again, until the store is closed.
pub(in super::super) async fn index(shared: Arc<Shared>, shard: usize) {
    let mut closing = shared.closing.subscribe();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let shard = &shared.shards[shard];
    let indexer = Indexer { shared: &shared, shard, name: Some(ulid::Ulid::generate().to_string()) };
    let mut next_round = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            _ = ticks.tick() => {}
        }
        let is_round = next_round <= Instant::now();
        // A batch that was begun and not written does no harm.
        let done = tokio::select! {
            biased;
            () = becomes_true(&mut closing) => return,
            done = indexer.look(if is_round { 1 } else { WORTH }) => done,
        };
        match done {
            Ok(()) if is_round => next_round = Instant::now() + ROUND,
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "calls could not be indexed; trying again"),
        }
    }
}

/// Puts everything that is noted now into the index, whosever turn it is.
pub(in super::super) async fn index_all(shared: &Shared) -> Result<(), StoreError> {
    for shard in &shared.shards {
        Indexer { shared, shard, name: None }.look(1).await?;
    }
    Ok(())
}

struct Indexer<'s> {
    shared: &'s Shared,
    shard: &'s Shard,
    /// Under which it has its turn; one that has none needs no turn.
    name: Option<String>,
}

/// What became of a batch.
enum Indexed {
    /// It went up to this place.
    UpTo(u64),
    /// There was nothing more.
    All,
    /// Somebody else has written to the index meanwhile.
    TooLate,
}

impl Indexer<'_> {
    /// Puts the accounts into the index that have so many notes.
    async fn look(&self, least: usize) -> Result<(), StoreError> {
        let (is_ours, is_all_noted, _) = self.turn(least, 0).await?;
        if is_ours && !is_all_noted {
            self.note_old_accounts().await?;
        }
        let mut seen = BTreeSet::new();
        loop {
            let (is_ours, _, accounts) = self.turn(least, seen.len() + ACCOUNTS).await?;
            let unseen: Vec<AccountName> =
                accounts.into_iter().filter(|account| seen.insert(AccountName::clone(account))).collect();
            if !is_ours || unseen.is_empty() {
                return Ok(());
            }
            for account in unseen {
                self.account(&account, u64::MAX).await?;
            }
        }
    }

    /// Whether it is its turn, whether calls of formats before are all noted, and whose calls are to
    /// be indexed.
    async fn turn(&self, least: usize, most: usize) -> Result<(bool, bool, Vec<AccountName>), StoreError> {
        let Some(name) = &self.name else {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HEXISTS").arg(self.shard.key("n", b"")).arg("C");
            pipeline.cmd("ZREVRANGE").arg(self.shard.key("nu", b"")).arg(0).arg(-1);
            let (is_all_noted, accounts): (bool, Vec<String>) = self.shard.ask(&pipeline).await?;
            return Ok((true, is_all_noted, accounts.into_iter().map(AccountName::from).collect()));
        };
        let (is_ours, is_all_noted, accounts): (bool, bool, Vec<String>) = self
            .shard
            .run(&self.shared.scripts.index_turn, |command| {
                let turn = u64::try_from(TURN.as_millis()).expect("it is short");
                command.arg(name).arg(turn).arg(least).arg(most);
            })
            .await?;
        Ok((is_ours, is_all_noted, accounts.into_iter().map(AccountName::from).collect()))
    }

    /// Goes once through what is noted of an account, up to a place; whether it came to the end.
    async fn account(&self, account: &AccountName, up_to: u64) -> Result<bool, StoreError> {
        let mut after = 0;
        loop {
            if self.name.is_some() && !self.turn(1, 1).await?.0 {
                return Ok(false);
            }
            match self.batch(account, after, up_to).await? {
                Indexed::UpTo(last) => after = last,
                Indexed::All => return Ok(true),
                Indexed::TooLate if self.name.is_none() => after = 0,
                Indexed::TooLate => return Ok(false),
            }
        }
    }

    /// Notes the calls of accounts of a format before 4, and puts them into the index.
    async fn note_old_accounts(&self) -> Result<(), StoreError> {
        let mut cursor = "0".to_owned();
        let list = self.shard.key("il:", b"");
        loop {
            let mut pipeline = redis::pipe();
            let pattern = [list.as_slice(), b"*"].concat();
            pipeline.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN);
            let ((next, keys),): ((String, Vec<Vec<u8>>),) = self.shard.ask(&pipeline).await?;
            for name in keys.iter().filter_map(|key| std::str::from_utf8(key.get(list.len()..)?).ok()) {
                if !self.note_old_calls(&AccountName::from(name)).await? {
                    return Ok(());
                }
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSET").arg(self.shard.key("n", b"")).arg("C").arg(1).ignore();
        self.shard.ask(&pipeline).await
    }

    /// A few at a time, so that there are never many notes; whether it came to the end. Only what is
    /// noted so far takes its seats, so that calls take them in the order of their places.
    async fn note_old_calls(&self, account: &AccountName) -> Result<bool, StoreError> {
        let mut after: i64 = -1;
        loop {
            let last: Option<i64> = self
                .shard
                .run(&self.shared.scripts.note_calls, |command| {
                    command.arg(account.as_bytes()).arg(after).arg(OLD_CALLS);
                })
                .await?;
            let Some(last) = last else { return Ok(true) };
            after = last;
            if !self.account(account, u64::try_from(after).unwrap_or(0)).await? {
                return Ok(false);
            }
        }
    }

    async fn batch(&self, account: &AccountName, after: u64, up_to: u64) -> Result<Indexed, StoreError> {
        let Some(read) = Read::read(self.shard, account, after, up_to).await? else {
            return Ok(Indexed::All);
        };
        let Some(last) = read.notes.last().map(|note| note.place) else { return Ok(Indexed::All) };
        let generation = read.generation.clone();
        let draft = Draft::make(read);
        let is_written: bool = self
            .shard
            .run(&self.shared.scripts.index, |command| draft.write(command, account, &generation))
            .await?;
        Ok(if is_written { Indexed::UpTo(last) } else { Indexed::TooLate })
    }
}

/// Something that is noted.
struct Note {
    member: Vec<u8>,
    place: u64,
    about: About,
}

/// What a note tells.
enum About {
    /// The call at this place was removed.
    Removed,
    /// There is no such call.
    Gone,
    /// It was removed and made anew, and is noted elsewhere.
    Elsewhere,
    /// The version of a call, and what is known of it.
    Call(String, CallContext),
}

/// What a batch is made of: notes in the order of their places, and the blocks that they touch.
struct Read {
    generation: String,
    notes: Vec<Note>,
    /// The newest block.
    newest: Option<u64>,
    /// The blocks of these notes, and the newest, from the oldest on.
    blocks: Vec<Block>,
    /// The tokens that have lanes.
    tokens: BTreeSet<Box<str>>,
}

/// The generation, whether the account is known, its blocks, the tokens that have lanes, and what is
/// noted, with its place.
type Answer = (Option<String>, bool, Vec<(u64, u64)>, BTreeSet<String>, Vec<(Vec<u8>, u64)>);

/// A call's version, its context and its place.
type Stored = (Option<String>, Option<Vec<u8>>, Option<u64>);

impl Read {
    /// The first notes behind a place; `None` if calls behind them may not be noted yet.
    async fn read(
        shard: &Shard,
        account: &AccountName,
        after: u64,
        up_to: u64,
    ) -> Result<Option<Self>, StoreError> {
        let name = account.as_bytes();
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(shard.key("ng", b"")).arg(name);
        pipeline.cmd("HEXISTS").arg(shard.key("np", b"")).arg(name);
        pipeline.cmd("ZRANGE").arg(shard.key("ib:", name)).arg(0).arg(-1).arg("WITHSCORES");
        pipeline.cmd("SMEMBERS").arg(shard.key("it:", name));
        pipeline.cmd("ZRANGEBYSCORE").arg(shard.key("in:", name)).arg(format!("({after}"));
        pipeline.arg(if up_to == u64::MAX { "+inf".to_owned() } else { up_to.to_string() });
        pipeline.arg("WITHSCORES").arg("LIMIT").arg(0).arg(NOTES);
        let (generation, is_known, blocks, tokens, found): Answer = shard.ask(&pipeline).await?;
        if !is_known && up_to == u64::MAX {
            return Ok(None);
        }
        let block_of = |place: u64| blocks.iter().rposition(|(_, first)| *first <= place);
        let (mut touched, mut cells) = (BTreeSet::new(), 0);
        let within = found.iter().take_while(|(member, place)| {
            touched.insert(block_of(*place));
            let fits = touched.len() <= BLOCKS && cells < CELLS;
            let lanes = if is_name(member) { 1 } else { 1 + tokens.len() };
            cells += lanes * (1 + VALUES.len());
            fits
        });
        let within = within.count();
        let notes = Self::calls(shard, account, &found[..within]).await?;
        let mut touched: BTreeSet<usize> = notes.iter().filter_map(|note| block_of(note.place)).collect();
        touched.extend(blocks.len().checked_sub(1));
        let touched: Vec<(u64, u64)> = touched.into_iter().map(|index| blocks[index]).collect();
        let mut pipeline = redis::pipe();
        for (block, _) in &touched {
            pipeline.cmd("GET").arg(column_key(shard, account, &BlockOf::own(*block), Column::Calls));
        }
        let columns: Vec<Option<Vec<u8>>> =
            if touched.is_empty() { Vec::new() } else { shard.ask(&pipeline).await? };
        let columns = columns.into_iter().map(|column| read_places(&column.unwrap_or_default()));
        Ok(Some(Self {
            generation: generation.unwrap_or_else(|| "0".to_owned()),
            notes,
            newest: blocks.last().map(|(block, _)| *block),
            blocks: touched
                .into_iter()
                .zip(columns)
                .map(|((number, first), calls)| Block { number, first, calls, is_new: false })
                .collect(),
            tokens: tokens.into_iter().map(String::into_boxed_str).collect(),
        }))
    }

    /// What is known of those calls that are noted: of as many as fit, and of one at least.
    async fn calls(
        shard: &Shard,
        account: &AccountName,
        noted: &[(Vec<u8>, u64)],
    ) -> Result<Vec<Note>, StoreError> {
        if noted.is_empty() {
            return Ok(Vec::new());
        }
        let name = |member: &[u8]| shard.key("c:", &[account.as_bytes(), b"\0", member].concat());
        let mut pipeline = redis::pipe();
        for (member, _) in noted {
            pipeline.cmd("HSTRLEN").arg(name(member)).arg("b");
        }
        let sizes: Vec<usize> = shard.ask(&pipeline).await?;
        let mut bytes = 0;
        let fitting = sizes.iter().take_while(|size| {
            let fits = bytes <= BYTES;
            bytes += **size;
            fits
        });
        let noted = &noted[..fitting.count()];
        let mut pipeline = redis::pipe();
        for (member, _) in noted {
            pipeline.cmd("HMGET").arg(name(member)).arg("v").arg("b").arg("p");
        }
        let calls: Vec<Stored> = shard.ask(&pipeline).await?;
        let mut read = Vec::new();
        for ((member, place), (version, context, now_at)) in noted.iter().zip(calls) {
            let about = match version.zip(context) {
                _ if !is_name(member) => About::Removed,
                None => About::Gone,
                Some(_) if now_at.is_some_and(|now_at| now_at != *place) => About::Elsewhere,
                Some((version, context)) => {
                    // One that cannot be read has nothing that a filter could take.
                    About::Call(version, CallContext::from_bytes(&context).unwrap_or_default())
                }
            };
            read.push(Note { member: member.clone(), place: *place, about });
        }
        Ok(read)
    }
}

/// A block, and the places of the calls in its seats.
struct Block {
    number: u64,
    first: u64,
    calls: Vec<u64>,
    is_new: bool,
}
