//! Searches: the calls that the index names and those that it does not know yet, the newest first,
//! each read and held against the filter.

use super::{BlockOf, VACATED, column_key, is_name, read_places};
use crate::event::AccountName;
use crate::store::redis::lists::listed;
use crate::store::redis::reading::key;
use crate::store::redis::{Shared, form};
use crate::store::seats::{Column, Condition, SeatSet};
use crate::store::{
    CALLS_LIMIT, CONTEXTS_LIMIT, CallMark, CallQuery, Found, ListedCall, StoreError, StoredCall,
};

/// The most blocks that one look goes through: two million calls.
const BLOCKS: usize = 256;

/// The most blocks whose columns are asked for at once. A look begins with one.
const BLOCKS_AT_ONCE: usize = 16;

/// The most calls, and bytes of them but for the first, that one script reads: Redis does nothing else
/// meanwhile.
const CALLS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 1 << 20;

/// What is noted, and its place.
type Noted = (Vec<u8>, u64);

/// A block, and the place of the first call that sat in it.
type Block = (u64, u64);

/// What is read once a look.
struct Search<'s> {
    shared: &'s Shared,
    account: &'s AccountName,
    token: Option<&'s str>,
    conditions: Vec<(Column, Condition)>,
    /// Only what comes before this place.
    before: u64,
    /// Blocks that were not looked at, the newest last.
    blocks: Vec<Block>,
    /// Places of calls that the index does not know, the newest last.
    unindexed: Vec<u64>,
    /// There may be more notes below this place, and more blocks: a look ends here.
    floor: u64,
}

/// The calls that one look has found.
struct Look<'q> {
    query: &'q CallQuery,
    limit: usize,
    rows: Vec<ListedCall>,
    others: usize,
    bytes: usize,
    last: Option<CallMark>,
}

impl Shared {
    pub(in super::super) async fn calls(
        &self,
        account: &AccountName,
        query: &CallQuery,
        before: Option<&CallMark>,
        limit: usize,
    ) -> Result<Found<ListedCall, CallMark>, StoreError> {
        if !query.takes_all()
            && let Some(search) = Search::begin(self, account, query, before, limit).await?
        {
            let (rows, others, bytes) = (Vec::new(), 0, 0);
            let look = Look { query, limit, rows, others, bytes, last: before.cloned() };
            return search.run(look).await;
        }
        self.every_call(account, query, before, limit).await
    }
}

impl<'s> Search<'s> {
    /// Nothing if calls of the account may be neither in the index nor noted, because they are of a
    /// format before it.
    async fn begin(
        shared: &'s Shared,
        account: &'s AccountName,
        query: &'s CallQuery,
        before: Option<&CallMark>,
        limit: usize,
    ) -> Result<Option<Self>, StoreError> {
        let before = before.map_or(u64::MAX, |mark| mark.place);
        let highest = if before == u64::MAX { "+inf".to_owned() } else { format!("({before}") };
        // One more than a look reads.
        let most = CALLS_LIMIT.saturating_add(limit).saturating_add(1);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HEXISTS").arg(key("np", b"")).arg(account.as_bytes());
        // The notes before the blocks: what leaves the one is in the other.
        for (kind, most) in [("in:", most), ("ib:", BLOCKS + 1)] {
            pipeline
                .cmd("ZREVRANGEBYSCORE")
                .arg(key(kind, account.as_bytes()))
                .arg(&highest)
                .arg("-inf")
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(0)
                .arg(most);
        }
        let (is_known, notes, mut blocks): (bool, Vec<Noted>, Vec<Block>) =
            shared.link.ask(&pipeline).await?;
        if !is_known {
            return Ok(None);
        }
        let mut floor = 0;
        if notes.len() == most {
            floor = notes.last().map_or(0, |(_, place)| *place);
        }
        if blocks.len() > BLOCKS {
            blocks.truncate(BLOCKS);
            floor = floor.max(blocks.last().map_or(0, |(_, first)| *first));
        }
        blocks.reverse();
        let of_calls = notes.into_iter().filter(|(member, _)| is_name(member));
        let mut unindexed: Vec<u64> = of_calls.map(|(_, place)| place).collect();
        unindexed.reverse();
        Ok(Some(Self {
            shared,
            account,
            token: query.token.as_deref(),
            conditions: Condition::of(&query.filter),
            before,
            blocks,
            unindexed,
            floor,
        }))
    }

    async fn run(mut self, mut look: Look<'_>) -> Result<Found<ListedCall, CallMark>, StoreError> {
        let mut at_once = 1;
        loop {
            let blocks = self.blocks.split_off(self.blocks.len().saturating_sub(at_once));
            // Whatever is not below the first place of these blocks is in them or noted.
            let reached = if self.blocks.is_empty() { 0 } else { blocks.first().map_or(0, |block| block.1) };
            let reached = reached.max(self.floor);
            let mut places = self.named(&blocks).await?;
            let newer = self.unindexed.partition_point(|place| *place < reached);
            places.extend(self.unindexed.drain(newer..));
            places.retain(|place| *place >= reached);
            places.sort_unstable_by(|one, other| other.cmp(one));
            places.dedup();
            let mut next = self.read(&places, &mut look).await?;
            if next.is_none() && reached > self.floor {
                // Whether there is one more is not worth a look at the rest.
                next = look.end();
            }
            if next.is_some() {
                return Ok(Found { rows: look.rows, next });
            }
            if reached == self.floor {
                let next = (reached > 0).then(|| CallMark { place: reached, name: Box::default() });
                return Ok(Found { rows: look.rows, next });
            }
            at_once = (2 * at_once).min(BLOCKS_AT_ONCE);
        }
    }

    /// Reads the calls at these places, from the first to the last, and holds them against the filter.
    /// Where to go on, if that was enough for one look.
    async fn read(&self, places: &[u64], look: &mut Look<'_>) -> Result<Option<CallMark>, StoreError> {
        let mut unread = places;
        while !unread.is_empty() {
            if let Some(next) = look.end() {
                return Ok(Some(next));
            }
            // Where values are all that is asked for, hardly any is read in vain.
            let wanted = if look.query.filter.has_texts() { CALLS_AT_ONCE } else { look.wanted() };
            let chunk = &unread[..unread.len().min(wanted)];
            let calls: Vec<Vec<Vec<u8>>> = self
                .shared
                .link
                .run(&self.shared.scripts.found, |command| {
                    command.arg(self.account.as_bytes()).arg(BYTES_AT_ONCE).arg(chunk);
                })
                .await?;
            for (place, call) in chunk.iter().zip(&calls) {
                if let Some(next) = look.end() {
                    return Ok(Some(next));
                }
                look.take(self.account, *place, call)?;
            }
            unread = &unread[calls.len().clamp(1, unread.len())..];
        }
        Ok(None)
    }

    /// The places of the calls in these blocks that may be what is looked for.
    async fn named(&self, blocks: &[Block]) -> Result<Vec<u64>, StoreError> {
        if blocks.is_empty() {
            return Ok(Vec::new());
        }
        let blocks = blocks.iter().map(|(block, _)| *block);
        let own: Vec<BlockOf> = blocks.clone().map(BlockOf::own).collect();
        let lane: Option<Vec<BlockOf>> =
            self.token.map(|token| blocks.map(|block| BlockOf { lane: token.into(), block }).collect());
        let mut pipeline = redis::pipe();
        for block in &own {
            self.ask_for_values(&mut pipeline, block);
        }
        for block in lane.iter().flatten() {
            pipeline.cmd("GET").arg(column_key(self.account, block, Column::Present));
        }
        let mut answers = self.answers(&pipeline).await?;
        let mut seats: Vec<SeatSet> = own.iter().map(|_| self.narrow(SeatSet::all(), &mut answers)).collect();
        let mut pipeline = redis::pipe();
        let mut lanes = Vec::new();
        for (index, block) in lane.iter().flatten().enumerate() {
            let mut owned = SeatSet::new();
            for (seat, byte) in answers.next().iter().enumerate().take(crate::store::seats::SEATS) {
                if *byte != 0 {
                    owned.insert(seat);
                }
            }
            if !owned.is_empty() {
                seats[index].take_away(&owned);
                self.ask_for_values(&mut pipeline, block);
                lanes.push((index, owned));
            }
        }
        let hits: Vec<usize> = (0..own.len())
            .filter(|index| !seats[*index].is_empty() || lanes.iter().any(|(lane, _)| lane == index))
            .collect();
        for index in &hits {
            pipeline.cmd("GET").arg(column_key(self.account, &own[*index], Column::Calls));
        }
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = self.answers(&pipeline).await?;
        for (index, owned) in lanes {
            let owned = self.narrow(owned, &mut answers);
            seats[index].add(&owned);
        }
        let mut places = Vec::new();
        for index in hits {
            let calls = read_places(&answers.next());
            let sitting = seats[index].iter().map_while(|seat| calls.get(seat));
            places.extend(sitting.filter(|place| **place & VACATED == 0 && **place < self.before));
        }
        Ok(places)
    }

    fn ask_for_values(&self, pipeline: &mut redis::Pipeline, block: &BlockOf) {
        for (column, _) in &self.conditions {
            pipeline.cmd("GET").arg(column_key(self.account, block, *column));
        }
    }

    async fn answers(&self, pipeline: &redis::Pipeline) -> Result<Answers, StoreError> {
        let columns = if pipeline.is_empty() { Vec::new() } else { self.shared.link.ask(pipeline).await? };
        Ok(Answers(columns.into_iter()))
    }

    fn narrow(&self, mut seats: SeatSet, answers: &mut Answers) -> SeatSet {
        for (column, condition) in &self.conditions {
            condition.narrow(*column, &answers.next(), &mut seats);
        }
        seats
    }
}

/// Columns, in the order in which they were asked for.
struct Answers(std::vec::IntoIter<Option<Vec<u8>>>);

impl Answers {
    /// The next; one that is not there is empty.
    fn next(&mut self) -> Vec<u8> {
        self.0.next().flatten().unwrap_or_default()
    }
}

impl Look<'_> {
    /// How many calls more are wanted, and one more, to know whether there is one.
    fn wanted(&self) -> usize {
        (self.limit - self.rows.len()).saturating_add(1).min(CALLS_AT_ONCE)
    }

    /// Where to go on, if this was enough.
    fn end(&self) -> Option<CallMark> {
        let is_enough =
            self.rows.len() == self.limit || self.others == CALLS_LIMIT || self.bytes > CONTEXTS_LIMIT;
        if is_enough { self.last.clone() } else { None }
    }

    fn take(&mut self, account: &AccountName, place: u64, call: &[Vec<u8>]) -> Result<(), StoreError> {
        let [name, version, context, created_at] = call else {
            // One that was removed at this moment.
            self.others += 1;
            self.last = Some(CallMark { place, name: Box::default() });
            return Ok(());
        };
        let damaged = |reason: &str| form::corrupt("call", reason);
        let name = std::str::from_utf8(name).map_err(|_| damaged("its name is no text"))?;
        self.last = Some(CallMark { place, name: name.into() });
        if !self.query.takes(context) {
            self.others += 1;
            return Ok(());
        }
        let number = |bytes: &[u8]| {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
            number.ok_or_else(|| damaged("a number of it is none"))
        };
        let version = u64::try_from(number(version)?).map_err(|_| damaged("its version is none"))?;
        self.bytes += context.len();
        let (mark, stored) =
            (CallMark { place, name: name.into() }, StoredCall { version, context: context.clone() });
        self.rows.push(listed(account, &mark, stored, Some(number(created_at)?))?);
        Ok(())
    }
}
