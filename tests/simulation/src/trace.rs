//! What happened, as a hash over everything and the last lines in full.

use crate::random::mix;
use std::collections::VecDeque;
use std::fmt;

/// Lines kept for the report of a failure.
const KEPT: usize = 400;

/// One thing that happened. The numbers mean what `what` says.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    at: u64,
    node: u16,
    core: u16,
    what: &'static str,
    numbers: [u64; 3],
}

/// The run so far.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    count: u64,
    last: VecDeque<Line>,
}

impl Trace {
    /// Something happened at `at` microseconds on a core of a node.
    pub fn note(&mut self, at: u64, node: u16, core: u16, what: &'static str, numbers: [u64; 3]) {
        let place = u64::from(node) << 16 | u64::from(core);
        let word = what.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        for number in [at, place, word, numbers[0], numbers[1], numbers[2]] {
            self.hash = mix(self.hash ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Line { at, node, core, what, numbers });
    }

    /// Everything that happened, in one number.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many things happened.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last `lines` lines, oldest first.
    pub fn last(&self, lines: usize) -> impl Iterator<Item = &Line> {
        self.last.iter().skip(self.last.len().saturating_sub(lines))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.numbers;
        write!(f, "{:>10} us  node {}.{}  {} {a} {b} {c}", self.at, self.node, self.core, self.what)
    }
}
