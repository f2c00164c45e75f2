//! One group's log as the journal knows it: where every entry lies, and what stands beside the entries.
//!
//! Twelve bytes an entry. While a journal is replayed a log may have a *gap* behind its start: entries
//! known to have been there, which lie in segments that are gone. A gap that later records
//! drop was of no matter; one that stays makes the replica unsound.

use super::chain::Chain;
use super::record::Row;
use raft::entry::{HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use std::collections::VecDeque;
use std::rc::Rc;

/// Where an entry's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub segment: u32,
    pub offset: u32,
    /// Of the record, in bytes.
    pub length: u32,
}

/// Entries `log_start + 1 ..= end` are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    end: Index,
    /// The term of the entry at `end`, if that is known.
    term: Option<Term>,
}

/// What every entry needs comes first: a journal has thousands of them.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Log {
    pub sound: bool,
    log_start: LogId,
    positions: VecDeque<Position>,
    bytes: u64,
    /// The term of the last of `terms` once more: they lie elsewhere in memory.
    newest: Option<Term>,
    gap: Option<Gap>,
    /// The first index of each run of entries of one term, ascending; only of entries in `positions`.
    terms: VecDeque<(Index, Term)>,
    pub replica: ReplicaId,
    pub hard_state: HardState,
    pub membership: Rc<[u8]>,
}

/// Which rule a change would break.
pub(super) type Broken = &'static str;

impl Log {
    /// The log of `row`, whose entries, if it had any, are not known.
    pub fn new(row: &Row<'_>) -> Log {
        let gap = (row.last != row.log_start).then_some(Gap { end: row.last.index, term: Some(row.last.term) });
        Log {
            replica: row.replica,
            hard_state: row.hard_state,
            membership: Rc::from(row.membership),
            sound: row.sound,
            log_start: row.log_start,
            gap,
            positions: VecDeque::new(),
            terms: VecDeque::new(),
            newest: None,
            bytes: 0,
        }
    }

    /// The row of a table that says this.
    pub fn row(&self, group: GroupId) -> Row<'_> {
        Row {
            group,
            replica: self.replica,
            hard_state: self.hard_state,
            log_start: self.log_start,
            last: self.last().unwrap_or(self.log_start),
            sound: self.sound,
            membership: &self.membership,
        }
    }

    /// The entry before the first one.
    pub fn log_start(&self) -> LogId {
        self.log_start
    }

    /// The last entry, or `log_start`; `None` if it lies in a gap and its term is not known.
    pub fn last(&self) -> Option<LogId> {
        match (self.positions.is_empty(), self.gap, self.newest) {
            (false, _, Some(term)) => Some(LogId { term, index: self.last_index() }),
            (_, Some(Gap { end, term }), _) => term.map(|term| LogId { term, index: end }),
            _ => Some(self.log_start),
        }
    }

    pub fn last_index(&self) -> Index {
        Index(self.first_index().0 + self.positions.len() as u64 - 1)
    }

    /// The index of the first entry whose position is known.
    fn first_index(&self) -> Index {
        self.gap.map_or(self.log_start.index, |gap| gap.end).next()
    }

    /// Entries whose positions are known.
    pub fn entries(&self) -> u64 {
        self.positions.len() as u64
    }

    /// Bytes of their records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether every entry's position is known.
    pub fn is_complete(&self) -> bool {
        self.gap.is_none()
    }

    pub fn terms(&self) -> impl Iterator<Item = (Index, Term)> {
        self.terms.iter().copied()
    }

    /// The oldest entry's position.
    pub fn front(&self) -> Option<Position> {
        self.positions.front().copied()
    }

    pub fn back(&self) -> Option<Position> {
        self.positions.back().copied()
    }

    pub fn position(&self, index: Index) -> Option<Position> {
        let at = index.0.checked_sub(self.first_index().0)?;
        self.positions.get(usize::try_from(at).ok()?).copied()
    }

    /// The term at `index`, if it is known.
    pub fn term_of(&self, index: Index) -> Option<Term> {
        if index == self.log_start.index {
            return Some(self.log_start.term);
        }
        match self.gap {
            Some(gap) if index <= gap.end => return gap.term.filter(|_| index == gap.end),
            _ if index < self.first_index() || index > self.last_index() => return None,
            _ => {}
        }
        let run = self.terms.partition_point(|(first, _)| *first <= index);
        Some(self.terms[run - 1].1)
    }

    /// Whether an entry may be appended here, replacing everything from its index on.
    pub fn check_append(&self, id: LogId) -> Result<(), Broken> {
        if id.index <= self.log_start.index {
            return Err("an entry at or below the log start");
        }
        if id.index > self.last_index().next() {
            return Err("an entry that leaves a hole");
        }
        // The usual entry follows the last one.
        let at_end = id.index == self.last_index().next();
        let before = if at_end { self.last().map(|last| last.term) } else { self.term_of(id.index.prev()) };
        if before.is_some_and(|term| term > id.term) {
            return Err("terms that fall");
        }
        Ok(())
    }

    /// Appends, after `check_append`.
    pub fn append(&mut self, id: LogId, position: Position, chain: &mut Chain) {
        if id.index <= self.last_index() {
            self.truncate(id.index, chain);
        }
        chain.hold(position.segment);
        self.bytes += u64::from(position.length);
        self.positions.push_back(position);
        if self.newest != Some(id.term) {
            self.newest = Some(id.term);
            self.terms.push_back((id.index, id.term));
        }
    }

    /// Drops the entries from `from` on.
    pub fn truncate(&mut self, from: Index, chain: &mut Chain) {
        let first = self.first_index();
        while !self.positions.is_empty() && self.last_index() >= from {
            self.pop_back(chain);
        }
        if from < first {
            // Into the gap, which then ends earlier, or not to be at all.
            self.gap = self.gap.filter(|_| from.prev() > self.log_start.index);
            if let Some(gap) = &mut self.gap {
                *gap = Gap { end: from.prev(), term: None };
            }
        }
    }

    /// Drops the last entry.
    pub fn pop_back(&mut self, chain: &mut Chain) {
        if let Some(position) = self.positions.pop_back() {
            self.drop_position(position, chain);
            let last = self.last_index();
            while self.terms.back().is_some_and(|(first, _)| *first > last) {
                self.terms.pop_back();
            }
            self.newest = self.terms.back().map(|run| run.1);
        }
    }

    /// Whether the log may start after `start`, keeping what lies behind it.
    pub fn check_compact(&self, start: LogId) -> Result<(), Broken> {
        if start.index < self.log_start.index || start.index > self.last_index() {
            return Err("a log start outside the log");
        }
        if self.term_of(start.index).is_some_and(|term| term != start.term) {
            return Err("a log start of another term than the entry");
        }
        Ok(())
    }

    /// Raises the log start, after `check_compact`.
    pub fn compact(&mut self, start: LogId, membership: &[u8], chain: &mut Chain) {
        for _ in self.first_index().0..start.index.next().0 {
            if let Some(position) = self.positions.pop_front() {
                self.drop_position(position, chain);
            }
        }
        self.gap = self.gap.filter(|gap| gap.end > start.index);
        self.log_start = start;
        self.membership = Rc::from(membership);
        let first = self.first_index();
        while self.terms.get(1).is_some_and(|(run, _)| *run <= first) {
            self.terms.pop_front();
        }
        match self.terms.front_mut() {
            Some(run) if !self.positions.is_empty() => run.0 = first,
            _ => self.terms.clear(),
        }
        self.newest = self.terms.back().map(|run| run.1);
    }

    /// The log starts after `start`, empty.
    pub fn restart(&mut self, start: LogId, membership: &[u8], chain: &mut Chain) {
        self.clear(chain);
        self.log_start = start;
        self.membership = Rc::from(membership);
    }

    /// Drops all entries, known or not.
    pub fn clear(&mut self, chain: &mut Chain) {
        while let Some(position) = self.positions.pop_front() {
            self.drop_position(position, chain);
        }
        self.terms.clear();
        self.newest = None;
        self.gap = None;
    }

    fn drop_position(&mut self, position: Position, chain: &mut Chain) {
        chain.release(position.segment);
        self.bytes -= u64::from(position.length);
    }

    /// Whether term and vote may change to this: terms grow, and a vote given in a term stays.
    pub fn check_hard_state(&self, next: &HardState) -> Result<(), Broken> {
        let (now, then) = (&self.hard_state, next);
        if then.term < now.term {
            return Err("a term that falls");
        }
        if then.term == now.term && now.vote.is_some() && then.vote != now.vote {
            return Err("a second vote in one term");
        }
        Ok(())
    }

    /// Makes the log what a table says it is where the table stands. `false`: entries it names are not here.
    pub fn reconcile(&mut self, row: &Row<'_>, chain: &mut Chain) -> bool {
        self.hard_state = row.hard_state;
        self.sound = row.sound;
        if row.log_start.index > self.last_index()
            || self.term_of(row.log_start.index).is_some_and(|t| t != row.log_start.term)
        {
            self.restart(row.log_start, row.membership, chain);
        } else {
            self.compact(row.log_start, row.membership, chain);
        }
        let held = match self.term_of(row.last.index) {
            Some(term) => term == row.last.term,
            None => self.gap.is_some_and(|gap| row.last.index <= gap.end),
        };
        if held {
            self.truncate(row.last.index.next(), chain);
            if let Some(gap) = self.gap.as_mut().filter(|gap| gap.end == row.last.index) {
                gap.term = Some(row.last.term);
            }
            return true;
        }
        self.clear(chain);
        self.gap = Some(Gap { end: row.last.index, term: Some(row.last.term) });
        false
    }
}
