//! The log of one replica: how far it is durable, committed and applied, and its recent entries in memory.
//!
//! ```text
//!   start         applied          commit           durable         last
//!     |  on disk     |   being applied |  may be cut off  | being written |
//!     +--------------+-----------------+------------------+---------------+
//!                 [ window ........................................ last ]
//! ```
//! `commit` may run ahead of `durable`: a quorum of others can commit what this disk does not hold yet.
//! Entries leave the window when they are durable and applied; the journal has them after that. When it is much too full, those
//! that are durable and committed leave it, too, and come back from there to be applied: a store may lag for long (rule 21).

use crate::entry::{Entries, Entry, LogId};
use crate::ids::{Index, Term};
use crate::queue::Queue;
use crate::ready::Ready;
use crate::terms::Terms;
use std::collections::VecDeque;

/// Entries that a slice has room for from its beginning; larger ones grow.
const SLICE_ROOM: u64 = 1024;

/// Room for so many is made at once when a turn has a second entry: more will follow.
const FURTHER_ENTRIES: usize = 7;

/// What is not applied yet stays in memory until the window holds so many times what it may: to read it again costs more.
const UNAPPLIED_FACTOR: usize = 4;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Log {
    durable: Index,
    commit: Index,
    terms: Terms,
    /// A suffix of the log, up to its last entry.
    window: VecDeque<Entry>,
    window_bytes: usize,
    /// What each `Ready` that is not yet persisted writes, oldest first.
    writes: Queue<Write>,
    applied: Index,
}

/// What one `Ready` does to the log on the disk: everything from `first` on is replaced, up to `last`.
#[derive(Debug)]
struct Write {
    first: Index,
    last: LogId,
}

impl Log {
    /// A log as the journal remembers it: everything in it is durable.
    pub(crate) fn new(terms: Terms, tail: Vec<Entry>, applied: Index) -> Log {
        let last = terms.last();
        assert!(applied <= last.index, "the store holds {applied}, the log ends at {last:?} (rule 14)");
        for (entry, behind) in tail.iter().rev().zip(0..) {
            let index = Index(last.index.0 - behind);
            let term = terms.term_of(index);
            assert!(
                entry.index == index && term == Some(entry.term) && index > terms.start().index,
                "the tail has {:?} where the log has {index} of {term:?}",
                entry.id(),
            );
        }
        let commit = applied.max(terms.start().index);
        let window_bytes = tail.iter().map(Entry::bytes).sum();
        Log { durable: last.index, commit, applied, terms, window: tail.into(), window_bytes, writes: Queue::default() }
    }

    /// Gives back memory for entries that are not there.
    pub(crate) fn shrink(&mut self) {
        self.window.shrink_to_fit();
        self.writes.shrink();
    }

    pub(crate) fn start(&self) -> LogId {
        self.terms.start()
    }

    pub(crate) fn last(&self) -> LogId {
        self.terms.last()
    }

    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    pub(crate) fn applicable(&self) -> Index {
        self.commit.min(self.durable)
    }

    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        self.terms.term_of(index)
    }

    pub(crate) fn contains(&self, id: LogId) -> bool {
        self.terms.term_of(id.index) == Some(id.term)
    }

    pub(crate) fn last_at_most(&self, index: Index, term: Term) -> Option<LogId> {
        self.terms.last_at_most(index, term)
    }

    /// The first entry in memory; the one after the last if there is none. Without a look at it: it came long ago, and lies
    /// elsewhere in memory.
    pub(crate) fn window_start(&self) -> Index {
        Index(self.last().index.0 + 1 - self.window.len() as u64)
    }

    pub(crate) fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// Entries from `from` to `last`, as many as fit in `bytes_max`, but one in any case if there is one.
    /// `None` if `from` has left the memory.
    pub(crate) fn slice(&self, from: Index, last: Index, bytes_max: usize) -> Option<Entries> {
        let start = self.window_start();
        if from < start {
            return None;
        }
        let mut bytes: usize = 0;
        let skipped = (from.0 - start.0) as usize;
        let wanted = (last.0 + 1).saturating_sub(from.0).min(SLICE_ROOM) as usize;
        let there = self.window.len().saturating_sub(skipped);
        if wanted.min(there) == 1 {
            return Some(self.window.iter().skip(skipped).take(1).cloned().collect());
        }
        let mut entries = Vec::with_capacity(wanted.min(there));
        for entry in self.window.iter().skip(skipped).take_while(|entry| entry.index <= last) {
            bytes = bytes.saturating_add(entry.bytes());
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries.into())
    }

    /// Bytes of the entries in memory from `from` to `last`.
    pub(crate) fn bytes_between(&self, from: Index, last: Index) -> usize {
        let skipped = from.0.saturating_sub(self.window_start().0) as usize;
        self.window.iter().skip(skipped).take_while(|entry| entry.index <= last).map(Entry::bytes).sum()
    }

    /// Puts `entries` into the log and into `ready`. They replace everything from the first one's index on.
    ///
    /// # Panics
    /// If that would take back a committed entry (rule 4), or if they leave a gap.
    pub(crate) fn append(&mut self, entries: Entries, ready: &mut Ready) {
        let (Some(first), Some(last)) = (entries.first().map(Entry::id), entries.last().map(Entry::id)) else { return };
        self.begin_write(first.index, last, ready);
        ready.entries.reserve(entries.len());
        for entry in entries {
            self.push(entry, ready);
        }
    }

    /// The same for one entry: what a leader does for every command.
    pub(crate) fn append_one(&mut self, entry: Entry, ready: &mut Ready) {
        self.begin_write(entry.index, entry.id(), ready);
        self.push(entry, ready);
    }

    fn begin_write(&mut self, first: Index, last: LogId, ready: &mut Ready) {
        // One `Ready` is one write on the disk, however often it is added to.
        match self.writes.back_mut() {
            Some(write) if !ready.entries.is_empty() => {
                write.first = write.first.min(first);
                write.last = last;
            }
            _ => self.writes.push_back(Write { first, last }),
        }
        if first <= self.last().index {
            self.truncate(first);
            ready.entries.retain(|entry| entry.index < first);
        }
    }

    fn push(&mut self, entry: Entry, ready: &mut Ready) {
        self.terms.append(entry.id());
        self.window_bytes += entry.bytes();
        self.window.push_back(entry.clone());
        if ready.entries.len() == 1 {
            ready.entries.reserve(FURTHER_ENTRIES);
        }
        ready.entries.push(entry);
    }

    fn truncate(&mut self, from: Index) {
        assert!(from > self.commit, "cannot truncate at {from}: committed up to {} (rule 4)", self.commit);
        self.terms.truncate(from);
        while self.window.back().is_some_and(|entry| entry.index >= from) {
            self.window_bytes -= self.window.pop_back().map_or(0, |entry| entry.bytes());
        }
        self.durable = self.durable.min(from.prev());
    }

    /// Restarts the log, empty, after `start`, which a snapshot covers.
    pub(crate) fn restart(&mut self, start: LogId, ready: &mut Ready) {
        assert!(start.index > self.commit, "cannot restart after {start:?}: committed up to {}", self.commit);
        if !ready.entries.is_empty() {
            ready.entries.clear();
            self.writes.pop_back();
        }
        // Writes of the former log may still be on their way: none of them counts beyond the new start.
        self.writes.push_back(Write { first: start.index.next(), last: start });
        ready.log_start = Some(start);
        self.terms = Terms::new(start, Vec::new(), start.index);
        self.window.clear();
        self.window_bytes = 0;
        self.durable = start.index;
        self.commit = start.index;
        self.applied = start.index;
    }

    /// The write that ended in `id` is durable, and so is every one before it. False if there is no such write.
    ///
    /// It counts only up to where a later write begins: that one takes back what is above, and after a
    /// crash between the two the disk holds neither (rule 5). This is stricter than
    /// comparing terms, as the same entries can be written, cut off and written again.
    pub(crate) fn persisted(&mut self, id: LogId) -> bool {
        let Some(position) = self.writes.iter().position(|write| write.last == id) else { return false };
        for _ in 0..=position {
            self.writes.pop_front();
        }
        let taken_back = self.writes.iter().map(|write| write.first).min();
        let safe = taken_back.map_or(id.index, |first| id.index.min(first.prev()));
        self.durable = self.durable.max(safe);
        assert!(
            self.durable <= self.last().index,
            "durable up to {}, but the log ends at {:?}",
            self.durable,
            self.last()
        );
        true
    }

    /// # Panics
    /// If the commit index would fall or pass the end of the log.
    pub(crate) fn commit_to(&mut self, index: Index) {
        let last = self.last();
        assert!(index >= self.commit && index <= last.index, "commit from {} to {index} of {last:?}", self.commit);
        self.commit = index;
    }

    /// The store holds the effects of everything up to `index`.
    pub(crate) fn applied_to(&mut self, index: Index) {
        // A snapshot may have brought the store further than an apply that was reported late.
        if index > self.applied {
            assert!(index <= self.applicable(), "applied {index}, may apply up to {} (rule 14)", self.applicable());
            self.applied = index;
        }
    }

    /// A snapshot brought the store to `index`, an entry of this log.
    pub(crate) fn overtaken_by_snapshot(&mut self, index: Index) {
        self.commit = self.commit.max(index);
        self.applied = self.applied.max(index);
    }

    pub(crate) fn compact(&mut self, upto: Index) -> LogId {
        assert!(upto <= self.applied, "cannot drop the log up to {upto}: applied up to {} (rule 14)", self.applied);
        let start = self.terms.compact(upto);
        self.durable = self.durable.max(start.index);
        self.trim(start.index, usize::MAX);
        start
    }

    /// Drops from memory what is durable and applied: everything up to `wanted_above`, and beyond it the oldest as long as the
    /// window is larger than `bytes_max`; if it is much larger, the oldest of what is durable and committed.
    pub(crate) fn trim(&mut self, wanted_above: Index, bytes_max: usize) {
        let applied = self.applied.min(self.durable);
        let (settled, applicable) = (applied.min(wanted_above), self.applicable());
        let far_too_much = bytes_max.saturating_mul(UNAPPLIED_FACTOR);
        let goes = |first: Index, window_bytes: usize| {
            first <= settled
                || first <= applied && window_bytes > bytes_max
                || first <= applicable && window_bytes > far_too_much
        };
        let mut first = self.window_start();
        while goes(first, self.window_bytes)
            && let Some(entry) = self.window.pop_front()
        {
            assert_eq!(entry.index, first, "the window has a gap");
            self.window_bytes -= entry.bytes();
            first = first.next();
        }
        if self.window.is_empty() && self.window.capacity() > 64 {
            self.window = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryKind;

    fn entries(ids: &[(u64, u64)]) -> Entries {
        let entry = |&(term, index): &(u64, u64)| Entry {
            term: Term(term),
            index: Index(index),
            kind: EntryKind::Command,
            payload: vec![0; 68].into(),
        };
        ids.iter().map(entry).collect()
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: Index(index) }
    }

    fn empty() -> Log {
        Log::new(Terms::new(LogId::default(), vec![], Index(0)), vec![], Index(0))
    }

    #[test]
    fn a_late_write_does_not_vouch_for_what_replaced_it() {
        let mut log = empty();
        log.append(entries(&[(2, 1), (2, 2), (2, 3)]), &mut Ready::default());
        log.append(entries(&[(3, 2)]), &mut Ready::default());
        assert!(log.persisted(id(2, 3)));
        assert_eq!(log.durable(), Index(1));
        assert!(log.persisted(id(3, 2)));
        assert_eq!(log.durable(), Index(2));
    }

    #[test]
    fn the_same_entries_written_twice_count_only_the_second_time() {
        let mut log = empty();
        log.append(entries(&[(2, 1), (2, 2), (2, 3)]), &mut Ready::default());
        log.append(entries(&[(3, 2)]), &mut Ready::default());
        // The tail of term 3 was never committed; a leader of term 4 has the old one.
        let mut log_again = log;
        log_again.terms.truncate(Index(2));
        log_again.window.truncate(1);
        log_again.append(entries(&[(2, 2), (2, 3)]), &mut Ready::default());
        assert!(log_again.persisted(id(2, 3)));
        assert_eq!(log_again.durable(), Index(1), "a crash now could leave only the entry of term 3");
        assert!(log_again.persisted(id(3, 2)));
        assert_eq!(log_again.durable(), Index(1));
        assert!(log_again.persisted(id(2, 3)));
        assert_eq!(log_again.durable(), Index(3));
    }

    #[test]
    fn one_ready_is_one_write() {
        let mut log = empty();
        let mut ready = Ready::default();
        log.append(entries(&[(2, 1), (2, 2)]), &mut ready);
        log.append(entries(&[(3, 2)]), &mut ready);
        log.append(entries(&[(3, 3)]), &mut ready);
        assert_eq!(ready.entries.iter().map(Entry::id).collect::<Vec<_>>(), [id(2, 1), id(3, 2), id(3, 3)]);
        assert!(!log.persisted(id(2, 2)));
        assert!(log.persisted(id(3, 3)));
        assert_eq!(log.durable(), Index(3));
    }

    #[test]
    fn a_restart_after_a_snapshot_does_not_trust_writes_of_the_former_log() {
        let mut log = empty();
        log.append(entries(&[(2, 1), (2, 2), (2, 3)]), &mut Ready::default());
        let mut ready = Ready::default();
        log.restart(id(3, 2), &mut ready);
        assert_eq!(ready.log_start, Some(id(3, 2)));
        assert!(log.persisted(id(2, 3)));
        assert_eq!(log.durable(), Index(2));
        assert!(log.persisted(id(3, 2)));
        assert_eq!((log.durable(), log.last()), (Index(2), id(3, 2)));
    }

    #[test]
    fn memory_keeps_what_is_not_durable_or_not_committed() {
        let mut log = empty();
        log.append(entries(&[(1, 1), (1, 2), (1, 3), (1, 4)]), &mut Ready::default());
        log.commit_to(Index(4));
        log.trim(Index(9), 0);
        assert_eq!(log.window_start(), Index(1));

        let mut log = empty();
        log.append(entries(&[(1, 1), (1, 2), (1, 3), (1, 4)]), &mut Ready::default());
        log.persisted(id(1, 4));
        log.commit_to(Index(2));
        log.trim(Index(9), 100);
        assert_eq!(log.window_start(), Index(1), "there is room for what is not applied");
        log.trim(Index(9), 0);
        assert_eq!((log.window_start(), log.window_bytes()), (Index(3), 200));
        log.commit_to(Index(4));
        log.applied_to(Index(3));
        log.trim(Index(1), 250);
        assert_eq!(log.window_start(), Index(3), "there is room for what somebody wants");
        assert_eq!(log.slice(Index(2), Index(4), 1_000), None);
        assert_eq!(log.slice(Index(3), Index(9), 1).map(|entries| entries.len()), Some(1));
        assert_eq!(log.slice(Index(3), Index(9), 200).map(|entries| entries.len()), Some(2));
        assert_eq!(log.slice(Index(5), Index(9), 200), Some(Entries::new()));
        assert_eq!(log.bytes_between(Index(1), Index(3)), 100);
    }

    #[test]
    #[should_panic(expected = "cannot truncate at 2: committed up to 2")]
    fn committed_entries_are_never_taken_back() {
        let mut log = empty();
        log.append(entries(&[(1, 1), (1, 2)]), &mut Ready::default());
        log.commit_to(Index(2));
        log.append(entries(&[(2, 2)]), &mut Ready::default());
    }
}
