//! The term of every entry of the log, without the entries.
//!
//! Terms never fall along a log, so the whole of it is a few runs of equal terms. They
//! fit in memory however long the log is; that is why this crate never has to read the disk to answer a
//! question about its own log.

use crate::entry::LogId;
use crate::ids::{Index, Term};

/// The identities of all entries above `start`, and of `start` itself.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Terms {
    start: LogId,
    last: Index,
    /// The last of `runs` once more: nearly every question is about it, and they lie elsewhere in memory.
    newest: Option<(Index, Term)>,
    /// First index of each run, ascending; the first is `start.index + 1`.
    runs: Vec<(Index, Term)>,
}

impl Terms {
    /// A log from `start` (exclusive) to `last`, as the journal remembers it.
    ///
    /// # Panics
    /// If the runs are not ascending in index and term, or do not cover exactly that range.
    pub(crate) fn new(start: LogId, runs: Vec<(Index, Term)>, last: Index) -> Terms {
        assert!(last >= start.index, "the log ends at {last}, before its start {start:?}");
        assert!(runs.is_empty() == (last == start.index), "runs {runs:?} for a log from {start:?} to {last}");
        let mut before = (start.index, start.term);
        for &(index, term) in &runs {
            let fits = if before.0 == start.index { index == start.index.next() } else { index > before.0 };
            let rises = if before.0 == start.index { term >= before.1 } else { term > before.1 };
            assert!(fits && rises && index <= last, "runs {runs:?} for a log from {start:?} to {last}");
            before = (index, term);
        }
        Terms { start, last, newest: runs.last().copied(), runs }
    }

    /// The entry before the first one.
    pub(crate) fn start(&self) -> LogId {
        self.start
    }

    /// The last entry, or `start` if there is none.
    pub(crate) fn last(&self) -> LogId {
        LogId { term: self.newest.map_or(self.start.term, |run| run.1), index: self.last }
    }

    /// The term of the entry at `index`; `None` before the start and after the end.
    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last {
            return None;
        }
        if let Some((first, term)) = self.newest
            && index >= first
        {
            return Some(term);
        }
        let after = self.runs.partition_point(|run| run.0 <= index);
        Some(self.runs[after - 1].1)
    }

    /// Adds one entry at the end.
    ///
    /// # Panics
    /// If it is not the next one, or its term falls.
    pub(crate) fn append(&mut self, id: LogId) {
        let last = self.last();
        assert!(id.index == last.index.next() && id.term >= last.term, "{id:?} cannot follow {last:?}");
        if self.newest.is_none() || id.term > last.term {
            self.newest = Some((id.index, id.term));
            self.runs.push((id.index, id.term));
        }
        self.last = id.index;
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(from > self.start.index, "cannot truncate at {from}: the log starts after {:?}", self.start);
        self.runs.retain(|run| run.0 < from);
        self.newest = self.runs.last().copied();
        self.last = self.last.min(from.prev());
    }

    /// Forgets the entries up to `upto`, which becomes the start.
    pub(crate) fn compact(&mut self, upto: Index) -> LogId {
        if upto <= self.start.index {
            return self.start;
        }
        let term = self.term_of(upto);
        let term = term.unwrap_or_else(|| panic!("cannot compact to {upto}: the log ends at {}", self.last));
        let of_next = self.term_of(upto.next());
        self.runs.retain(|run| run.0 > upto);
        if let Some(next) = of_next
            && self.runs.first().is_none_or(|run| run.0 > upto.next())
        {
            self.runs.insert(0, (upto.next(), next));
        }
        self.newest = self.runs.last().copied();
        self.start = LogId { term, index: upto };
        self.start
    }

    /// The last entry at or before `index` whose term is at most `term`; `None` if it would lie before the start.
    pub(crate) fn last_at_most(&self, index: Index, term: Term) -> Option<LogId> {
        let mut index = index.min(self.last);
        for &(first, of_run) in self.runs.iter().rev() {
            if first > index {
                continue;
            }
            if of_run <= term {
                return Some(LogId { term: of_run, index });
            }
            index = first.prev();
        }
        (index == self.start.index && self.start.term <= term).then_some(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: Index(index) }
    }

    /// start 10 in term 2 | 11, 12 in term 2 | 13 in term 4 | 14, 15 in term 5
    fn terms() -> Terms {
        let mut terms = Terms::new(id(2, 10), vec![], Index(10));
        for (term, index) in [(2, 11), (2, 12), (4, 13), (5, 14), (5, 15)] {
            terms.append(id(term, index));
        }
        terms
    }

    #[test]
    fn every_entry_has_its_term() {
        let terms = terms();
        let known: Vec<_> = (9..=16).map(|index| terms.term_of(Index(index)).map(|term| term.0)).collect();
        assert_eq!(known, [None, Some(2), Some(2), Some(2), Some(4), Some(5), Some(5), None]);
        assert_eq!(terms.last(), id(5, 15));
    }

    #[test]
    fn truncation_and_compaction_keep_the_rest() {
        let mut terms = terms();
        terms.truncate(Index(15));
        assert_eq!(terms.last(), id(5, 14));
        assert_eq!(terms.compact(Index(11)), id(2, 11));
        assert_eq!(terms.term_of(Index(12)), Some(Term(2)));
        assert_eq!(terms.compact(Index(14)), id(5, 14));
        assert_eq!(terms.last(), id(5, 14));
        assert_eq!(terms.term_of(Index(13)), None);
        terms.append(id(5, 15));
        assert_eq!(terms.term_of(Index(15)), Some(Term(5)));
    }

    #[test]
    fn a_truncation_across_runs_leaves_the_newest_of_the_rest() {
        let mut terms = terms();
        terms.truncate(Index(13));
        assert_eq!(
            (terms.last(), terms.term_of(Index(12)), terms.term_of(Index(13))),
            (id(2, 12), Some(Term(2)), None)
        );
        terms.append(id(3, 13));
        assert_eq!((terms.last(), terms.term_of(Index(12))), (id(3, 13), Some(Term(2))));
        terms.truncate(Index(11));
        assert_eq!((terms.last(), terms.term_of(Index(11))), (id(2, 10), None));
    }

    #[test]
    fn the_last_entry_of_at_most_a_term_is_found_across_runs() {
        let terms = terms();
        assert_eq!(terms.last_at_most(Index(99), Term(9)), Some(id(5, 15)));
        assert_eq!(terms.last_at_most(Index(15), Term(4)), Some(id(4, 13)));
        assert_eq!(terms.last_at_most(Index(15), Term(3)), Some(id(2, 12)));
        assert_eq!(terms.last_at_most(Index(10), Term(3)), Some(id(2, 10)));
        assert_eq!(terms.last_at_most(Index(15), Term(1)), None);
        assert_eq!(terms.last_at_most(Index(9), Term(9)), None);
    }

    #[test]
    #[should_panic(expected = "cannot follow")]
    fn a_falling_term_is_a_broken_invariant() {
        terms().append(id(4, 16));
    }
}
