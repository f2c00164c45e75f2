//! What makes a retry happen once: which commands of a client have been executed in a group.
//!
//! A session is opened by a logged Open. From then on it holds the *set* of executed sequences above the mark
//! up to which the client needs no answer any more (never a maximum: commands of one client overtake each other),
//! with their results while these are small. It is part of the replicated state: changed only by entries of
//! the log, written in the same atomic batch as the data, and therefore the same on every replica.
//!
//! A group keeps at most [`SESSIONS_MAX`] of them and drops those that were used longest ago, by log order.
//! A command of a session that is not there is never executed and never opens one.
//!
//! The constants below decide what replicas do, so all replicas must agree on them: they are no settings, and a
//! later version that changes one must do so at an entry of the log.
//!
//! Lives wherever a state machine lives. Knows nothing of keys, values or the store's bytes.

use crate::command::{ClientId, Outcome};
use raft::ids::{GroupId, Index};

mod bytes;
mod runs;

pub use bytes::{SessionError, header};
use runs::{Run, Runs};

/// The most sessions one group keeps. At about 100 bytes for an idle one a group spends 400 KiB of disk on them,
/// and it is far above the number of client processes that write to one group.
pub const SESSIONS_MAX: usize = 4096;

/// How many sessions go at once when there are too many: looking for the oldest ones reads them all.
pub const SESSIONS_EVICTED_AT_ONCE: usize = 64;

/// Results with more bytes of value than this are not kept for a retry.
pub const RESULT_BYTES_MAX: usize = 64;

/// The most runs of executed sequences in one session, at 3 to 70 bytes each. A client that does not acknowledge
/// loses its session here. One that keeps fewer commands than this between its mark and its newest never does.
pub const RUNS_MAX: usize = 16_384;

/// A session with more runs than these is named to the leader, which answers nothing of it ahead of the store.
pub const RUNS_CROWDED: usize = RUNS_MAX / 2;

/// Which session, within the group that holds it.
///
/// `origin` is the group whose log opened it: the holding group itself, or, after a move, the one the slot came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The client.
    pub client: ClientId,
    /// The group that opened it.
    pub origin: GroupId,
}

/// One session: what a group remembers of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    opened: Index,
    last_used: Index,
    acknowledged: u64,
    /// Executed sequences above `acknowledged`, ascending, disjoint, with what became of them.
    runs: Runs,
}

// Thousands of them are used in turns: see `runs`.
const _: () = assert!(size_of::<Session>() <= 64);

impl Session {
    /// A session that the entry at `opened` opens.
    pub fn new(opened: Index) -> Session {
        Session { opened, last_used: opened, acknowledged: 0, runs: Runs::new() }
    }

    /// The index of its Open, in the log of its origin.
    pub fn opened(&self) -> Index {
        self.opened
    }

    /// The entry that used it last, in the log of the group that holds it.
    pub fn last_used(&self) -> Index {
        self.last_used
    }

    /// Every sequence up to this one needs no answer any more.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The entry at `index` uses it.
    pub fn touch(&mut self, index: Index) {
        self.last_used = self.last_used.max(index);
    }

    /// The client needs no answer any more to sequences up to `acknowledged`. A mark that goes back says nothing.
    pub fn acknowledge(&mut self, acknowledged: u64) {
        if acknowledged <= self.acknowledged {
            return;
        }
        self.acknowledged = acknowledged;
        while self.runs.len() > 0 {
            let (first, last) = self.runs.span(0);
            if last > acknowledged {
                self.runs.set_first(0, first.max(acknowledged + 1));
                break;
            }
            self.runs.remove(0);
        }
    }

    /// What a retry of `sequence` is answered; `None` if it has not been executed.
    pub fn executed(&self, sequence: u64) -> Option<Outcome> {
        if sequence <= self.acknowledged {
            return Some(Outcome::AlreadyApplied);
        }
        // The newest command is the usual one.
        if self.runs.end().is_none_or(|end| end < sequence) {
            return None;
        }
        let at = self.runs.position(sequence);
        (self.runs.span(at).0 <= sequence).then(|| self.runs.outcome(at))
    }

    /// Whether it can take no more: its client does not acknowledge.
    pub fn is_full(&self) -> bool {
        self.runs.len() >= RUNS_MAX
    }

    /// Whether it has taken half of what it can take.
    pub fn is_crowded(&self) -> bool {
        self.runs.len() > RUNS_CROWDED
    }

    /// `sequence` has been executed with this outcome.
    pub fn record(&mut self, sequence: u64, outcome: &Outcome) {
        let outcome = kept(outcome);
        let count = self.runs.len();
        match self.runs.end() {
            Some(end) if end < sequence => {
                if sequence - end == 1 && self.runs.shares(count - 1, &outcome) {
                    self.runs.set_last(count - 1, sequence);
                } else {
                    self.runs.insert(count, Run { first: sequence, last: sequence, outcome });
                }
            }
            None => self.runs.insert(0, Run { first: sequence, last: sequence, outcome }),
            Some(_) => {
                self.insert(Run { first: sequence, last: sequence, outcome });
                // Its neighbours on both sides: the others are as they were.
                let at = self.runs.position(sequence);
                self.join(at);
                self.join(at.wrapping_sub(1));
            }
        }
    }

    /// Takes in another copy of the session, as a move brings it: what either has executed is executed.
    ///
    /// Of two sessions with different Opens the later one stays: commands sent under the earlier are refused,
    /// as the group that evicted it can no longer say what it had executed.
    pub fn merge(&mut self, other: &Session) {
        if other.opened != self.opened {
            if other.opened > self.opened {
                let last_used = self.last_used;
                *self = other.clone();
                self.last_used = last_used;
            }
            return;
        }
        self.acknowledge(other.acknowledged);
        let acknowledged = self.acknowledged;
        for run in other.runs.iter().filter(|run| run.last > acknowledged) {
            let first = run.first.max(acknowledged + 1);
            self.insert(Run { first, ..run });
        }
        self.coalesce();
    }

    /// How much memory it takes, in bytes, about.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Session>() + self.runs.heap_bytes()
    }

    /// Adds those sequences of `run` that are not there yet.
    fn insert(&mut self, run: Run) {
        let mut first = run.first;
        let mut at = self.runs.position(first);
        loop {
            let there = (at < self.runs.len()).then(|| self.runs.span(at));
            let Some((there_first, there_last)) = there.filter(|there| there.0 <= run.last) else {
                return self.runs.insert(at, Run { first, ..run });
            };
            if there_first > first {
                self.runs.insert(at, Run { first, last: there_first - 1, outcome: run.outcome.clone() });
                at += 1;
            }
            if there_last >= run.last {
                return;
            }
            first = there_last + 1;
            at += 1;
        }
    }

    /// Joins the run at `at`, if there is one, with the one behind it, if they make one run.
    fn join(&mut self, at: usize) {
        let next = at.wrapping_add(1);
        if at >= self.runs.len() || next >= self.runs.len() {
            return;
        }
        let (first, last) = self.runs.span(next);
        if first - self.runs.span(at).1 == 1 && self.runs.shares(at, &self.runs.outcome(next)) {
            self.runs.set_last(at, last);
            self.runs.remove(next);
        }
    }

    /// Joins neighbours, so that equal sets are equal runs.
    fn coalesce(&mut self) {
        let mut joined = Runs::new();
        for run in self.runs.iter() {
            match joined.len().checked_sub(1) {
                Some(back) if run.first - joined.span(back).1 == 1 && joined.shares(back, &run.outcome) => {
                    joined.set_last(back, run.last);
                }
                _ => joined.insert(joined.len(), run),
            }
        }
        self.runs = joined;
    }
}

/// What a retry will be told: an outcome without a value of more than [`RESULT_BYTES_MAX`] bytes.
pub fn kept(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Old(Some(value)) | Outcome::Mismatch { current: Some(value) } if value.len() > RESULT_BYTES_MAX => {
            Outcome::AlreadyApplied
        }
        outcome => outcome.clone(),
    }
}
