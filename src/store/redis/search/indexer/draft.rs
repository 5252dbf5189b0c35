//! What a batch writes to the index: made of what was read, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{BlockOf, VACATED};
use super::{About, Block, Read};
use crate::context::{CallContext, Values};
use crate::event::AccountName;
use crate::filter::Occasion;
use crate::store::seats::{Column, SEATS, VALUES, values, width, write_numbers};

/// What is to be written.
#[derive(Default)]
pub(super) struct Draft {
    /// The blocks that were read, and new ones behind them.
    blocks: Vec<Block>,
    newest: Option<u64>,
    tokens: BTreeSet<Box<str>>,
    /// What is to stand in seats, by column.
    cells: BTreeMap<(BlockOf, Column), BTreeMap<usize, Vec<u8>>>,
    /// Seats of calls that are gone, by block.
    wiped: BTreeMap<u64, BTreeSet<usize>>,
    /// What is noted no more.
    done: Vec<(Vec<u8>, u64, String)>,
}

impl Draft {
    pub(super) fn make(read: Read) -> Self {
        let mut draft =
            Self { blocks: read.blocks, newest: read.newest, tokens: read.tokens, ..Self::default() };
        for note in read.notes {
            let seat = draft.seat(note.place);
            let version = match note.about {
                About::Elsewhere => continue,
                About::Removed => String::new(),
                About::Gone => "0".to_owned(),
                About::Call(version, context) => {
                    // One that comes too late stays noted, where searches find it.
                    let Some((block, seat)) = seat.or_else(|| draft.seat_down(note.place)) else { continue };
                    draft.put_place(block, seat, note.place);
                    draft.describe(block, seat, &context);
                    draft.done.push((note.member, note.place, version));
                    continue;
                }
            };
            if let Some((block, seat)) = seat {
                draft.blocks[block].calls[seat] |= VACATED;
                draft.put_place(block, seat, note.place | VACATED);
                let number = draft.blocks[block].number;
                draft.wiped.entry(number).or_default().insert(seat);
            }
            draft.done.push((note.member, note.place, version));
        }
        draft
    }

    /// Where the call at a place sits, if it does: the index of the block, and the seat.
    fn seat(&self, place: u64) -> Option<(usize, usize)> {
        let block = self.blocks.iter().rposition(|block| block.first <= place)?;
        let seat = self.blocks[block].calls.binary_search_by_key(&place, |call| call & !VACATED).ok()?;
        Some((block, seat))
    }

    /// Gives a call the next seat; none if there is a call behind it that has one.
    fn seat_down(&mut self, place: u64) -> Option<(usize, usize)> {
        let newest = self.blocks.last();
        if newest.and_then(|block| block.calls.last()).is_some_and(|last| last & !VACATED >= place) {
            return None;
        }
        if newest.is_none_or(|block| block.calls.len() >= SEATS) {
            let number = self.newest.map_or(0, |newest| newest + 1);
            self.newest = Some(number);
            self.blocks.push(Block { number, first: place, calls: Vec::new(), is_new: true });
        }
        let block = self.blocks.len() - 1;
        self.blocks[block].calls.push(place);
        Some((block, self.blocks[block].calls.len() - 1))
    }

    fn put_place(&mut self, block: usize, seat: usize, place: u64) {
        let block = BlockOf::own(self.blocks[block].number);
        self.put(block, Column::Calls, seat, place.to_be_bytes().to_vec());
    }

    /// Writes what a call is to the account, and to each token that owns speech of it.
    fn describe(&mut self, block: usize, seat: usize, context: &CallContext) {
        let number = self.blocks[block].number;
        for owner in std::iter::once(None).chain(context.owners().map(Some)) {
            let block = BlockOf { lane: owner.unwrap_or_default().into(), block: number };
            let mut shown = Values::new();
            context.fill_for(owner, &mut shown);
            for (column, value) in VALUES.into_iter().zip(values(&Occasion::new(&shown))) {
                self.put(block.clone(), column, seat, write_numbers(column, &[value]));
            }
            if let Some(owner) = owner {
                self.put(block, Column::Present, seat, vec![1]);
                self.tokens.insert(owner.into());
            }
        }
    }

    fn put(&mut self, block: BlockOf, column: Column, seat: usize, cell: Vec<u8>) {
        self.cells.entry((block, column)).or_default().insert(seat, cell);
    }

    /// The arguments of `index.lua`.
    pub(super) fn write(mut self, command: &mut redis::Cmd, account: &AccountName, generation: &str) {
        command.arg(account.as_bytes()).arg(generation);
        // A block that nobody sits in any more goes, unless there is room for the next call in it.
        let is_empty = |block: &Block| block.calls.iter().all(|call| call & VACATED != 0);
        let gone: BTreeSet<u64> = self
            .blocks
            .iter()
            .filter(|block| Some(block.number) != self.newest && is_empty(block))
            .map(|block| block.number)
            .collect();
        self.cells.retain(|(block, _), _| !gone.contains(&block.block));
        self.wiped.retain(|block, _| !gone.contains(block));
        let lanes = || std::iter::once("").chain(self.tokens.iter().map(|token| &**token));
        let lane_of = |lane: &str, block| BlockOf { lane: lane.into(), block };

        let mut written = Vec::new();
        for ((block, column), cells) in &self.cells {
            let cells: Vec<(usize, &[u8])> = cells.iter().map(|(seat, cell)| (*seat, &**cell)).collect();
            for run in cells.chunk_by(|one, other| one.0 + 1 == other.0) {
                let data = run.iter().flat_map(|(_, cell)| cell.iter().copied()).collect::<Vec<u8>>();
                written.push((block.column(account, *column), run[0].0 * run[0].1.len(), data));
            }
        }
        command.arg(written.len());
        for (column, offset, data) in written {
            command.arg(column).arg(offset).arg(data);
        }

        let mut wiped = Vec::new();
        for (block, seats) in &self.wiped {
            for lane in lanes().map(|lane| lane_of(lane, *block)) {
                for column in [Column::Present].into_iter().chain(VALUES) {
                    for seat in seats {
                        wiped.push((lane.column(account, column), seat * width(column), width(column)));
                    }
                }
            }
        }
        command.arg(wiped.len());
        for (column, offset, count) in wiped {
            command.arg(column).arg(offset).arg(count);
        }

        let columns: Vec<Vec<u8>> = gone
            .iter()
            .flat_map(|block| lanes().map(|lane| lane_of(lane, *block)))
            .flat_map(|block| block.columns(account).collect::<Vec<_>>())
            .collect();
        command.arg(columns.len()).arg(columns);
        let new: Vec<&Block> = self.blocks.iter().filter(|block| block.is_new).collect();
        command.arg(new.len());
        for block in new {
            command.arg(block.number).arg(block.first);
        }
        command.arg(gone.len());
        for block in gone {
            command.arg(block);
        }
        command.arg(self.tokens.len());
        for token in &self.tokens {
            command.arg(&**token);
        }
        for (member, place, version) in self.done {
            command.arg(member).arg(place).arg(version);
        }
    }
}
