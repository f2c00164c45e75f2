//! The runs of one session: up to two lie in the session itself, more of them and values on the heap, until none is left.
//!
//! With a thousand groups every client has a session in each of them, used in turns, and nearly all have one run. Without a place of its own
//! for that a session takes a third of the memory, and three times as many stay near the CPU.

use crate::command::Outcome;
use std::collections::VecDeque;

/// So many lie in the session itself.
const FEW: usize = 2;

/// What an allocation takes beside its bytes, about.
const ALLOCATION_BYTES: usize = 16;

/// Neighbouring sequences with the same result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) outcome: Outcome,
}

/// Runs in a row, see the module.
#[derive(Clone, Debug)]
pub(super) enum Runs {
    Few(Few),
    Many(Box<Many>),
}

/// Runs whose outcomes have no value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few {
    first: [u64; FEW],
    last: [u64; FEW],
    outcome: [Plain; FEW],
    count: u8,
}

#[derive(Clone, Debug)]
pub(super) struct Many {
    runs: VecDeque<Run>,
    /// What the values among their outcomes take beside them: a sum that is kept, as a session is measured with every put.
    value_bytes: usize,
}

/// An outcome without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Done,
    Swapped,
    OldNone,
    MismatchNone,
    AlreadyApplied,
}

impl Runs {
    /// None.
    pub(super) fn new() -> Runs {
        Runs::Few(Few { first: [0; FEW], last: [0; FEW], outcome: [Plain::Done; FEW], count: 0 })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Runs::Few(few) => usize::from(few.count),
            Runs::Many(many) => many.runs.len(),
        }
    }

    /// The first and the last sequence of a run that is there.
    pub(super) fn span(&self, at: usize) -> (u64, u64) {
        match self {
            Runs::Few(few) => (few.first[at], few.last[at]),
            Runs::Many(many) => (many.runs[at].first, many.runs[at].last),
        }
    }

    /// The last sequence of all.
    pub(super) fn end(&self) -> Option<u64> {
        self.len().checked_sub(1).map(|at| self.span(at).1)
    }

    /// The outcome of a run that is there.
    pub(super) fn outcome(&self, at: usize) -> Outcome {
        match self {
            Runs::Few(few) => few.outcome[at].outcome(),
            Runs::Many(many) => many.runs[at].outcome.clone(),
        }
    }

    /// Whether a run that is there and a sequence behind it with this outcome could be one run: neither has bytes of its own.
    pub(super) fn shares(&self, at: usize, outcome: &Outcome) -> bool {
        let Some(plain) = Plain::of(outcome) else { return false };
        match self {
            Runs::Few(few) => few.outcome[at] == plain,
            Runs::Many(many) => many.runs[at].outcome == *outcome,
        }
    }

    /// A run that is there begins at `first`.
    pub(super) fn set_first(&mut self, at: usize, first: u64) {
        match self {
            Runs::Few(few) => few.first[at] = first,
            Runs::Many(many) => many.runs[at].first = first,
        }
    }

    /// A run that is there ends at `last`.
    pub(super) fn set_last(&mut self, at: usize, last: u64) {
        match self {
            Runs::Few(few) => few.last[at] = last,
            Runs::Many(many) => many.runs[at].last = last,
        }
    }

    /// The first run that ends at or after `sequence`; the number of runs if none does.
    pub(super) fn position(&self, sequence: u64) -> usize {
        match self {
            Runs::Few(few) => few.last[..usize::from(few.count)].partition_point(|last| *last < sequence),
            Runs::Many(many) => many.runs.partition_point(|run| run.last < sequence),
        }
    }

    /// Puts a run before the one at `at`, or behind all.
    pub(super) fn insert(&mut self, at: usize, run: Run) {
        if let (Runs::Few(few), Some(outcome)) = (&mut *self, Plain::of(&run.outcome))
            && usize::from(few.count) < FEW
        {
            return few.insert(at, run.first, run.last, outcome);
        }
        if let Runs::Few(few) = self {
            let runs = few.runs().collect();
            *self = Runs::Many(Box::new(Many { runs, value_bytes: 0 }));
        }
        let Runs::Many(many) = self else { unreachable!("few were made many") };
        many.value_bytes += value_bytes(&run.outcome);
        many.runs.insert(at, run);
    }

    /// Takes out a run that is there.
    pub(super) fn remove(&mut self, at: usize) {
        match self {
            Runs::Few(few) => few.remove(at),
            Runs::Many(many) => {
                let gone = many.runs.remove(at).expect("a run that is there");
                many.value_bytes -= value_bytes(&gone.outcome);
                if many.runs.is_empty() {
                    *self = Runs::new();
                }
            }
        }
    }

    /// What they take on the heap, in bytes, about.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Runs::Few(_) => 0,
            Runs::Many(many) => {
                size_of::<Many>() + ALLOCATION_BYTES + many.runs.capacity() * size_of::<Run>() + many.value_bytes
            }
        }
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        (0..self.len()).map(|at| {
            let (first, last) = self.span(at);
            Run { first, last, outcome: self.outcome(at) }
        })
    }
}

impl PartialEq for Runs {
    fn eq(&self, other: &Runs) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Runs {}

impl Few {
    fn runs(&self) -> impl Iterator<Item = Run> {
        let run = |at: usize| Run { first: self.first[at], last: self.last[at], outcome: self.outcome[at].outcome() };
        (0..usize::from(self.count)).map(run)
    }

    fn insert(&mut self, at: usize, first: u64, last: u64, outcome: Plain) {
        let count = usize::from(self.count);
        assert!(at <= count, "a run at {at} of {count}");
        self.first.copy_within(at..count, at + 1);
        self.last.copy_within(at..count, at + 1);
        self.outcome.copy_within(at..count, at + 1);
        (self.first[at], self.last[at], self.outcome[at]) = (first, last, outcome);
        self.count += 1;
    }

    fn remove(&mut self, at: usize) {
        let count = usize::from(self.count);
        assert!(at < count, "a run at {at} of {count}");
        self.first.copy_within(at + 1..count, at);
        self.last.copy_within(at + 1..count, at);
        self.outcome.copy_within(at + 1..count, at);
        self.count -= 1;
    }
}

impl Plain {
    fn of(outcome: &Outcome) -> Option<Plain> {
        match outcome {
            Outcome::Done => Some(Plain::Done),
            Outcome::Swapped => Some(Plain::Swapped),
            Outcome::Old(None) => Some(Plain::OldNone),
            Outcome::Mismatch { current: None } => Some(Plain::MismatchNone),
            Outcome::AlreadyApplied => Some(Plain::AlreadyApplied),
            _ => None,
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Plain::Done => Outcome::Done,
            Plain::Swapped => Outcome::Swapped,
            Plain::OldNone => Outcome::Old(None),
            Plain::MismatchNone => Outcome::Mismatch { current: None },
            Plain::AlreadyApplied => Outcome::AlreadyApplied,
        }
    }
}

/// What an outcome takes on the heap, about.
fn value_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Old(Some(value)) | Outcome::Mismatch { current: Some(value) } => value.len() + ALLOCATION_BYTES,
        _ => 0,
    }
}
