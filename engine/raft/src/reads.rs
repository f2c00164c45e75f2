//! Reads that wait until the leader knows that it still leads (ReadIndex, thesis 6.4).
//!
//! A read joins the *next* round. A round is a number that only grows within a term; questions carry it, to every peer for a
//! few reads and to a quorum for many, and so does each later heartbeat. A quorum of answers to this round or a later one proves that nobody else led
//! when the round began. A round that began before the read arrived proves nothing for it (rule 9).

use crate::ids::Index;
use crate::ready::{ConfirmedRead, Ready};
use std::collections::VecDeque;

/// Rounds that wait for their quorum at once. Reads that come while so many are open share the next one.
const ROUNDS_MAX: usize = 8;

/// So few reads ask every peer: whoever is fastest answers, and one that is gone is not waited for. More share what a round costs,
/// and ask no more than a quorum.
const FEW: usize = 2;

/// The reads of one leader in one term. The host bounds how many there are: each has a client that waits.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Reads {
    waiting: Vec<u64>,
    round: u64,
    /// Reads that have come in all.
    asked: u64,
    rounds: VecDeque<Round>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    index: Index,
    tokens: Vec<u64>,
}

impl Reads {
    /// The newest round.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// A round that nobody waits for.
    pub(crate) fn next_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// All that wait for a round need none: nobody else leads now. They will see the state at `commit`.
    pub(crate) fn confirm_waiting(&mut self, commit: Index, ready: &mut Ready) {
        ready.reads.extend(self.waiting.drain(..).map(|token| ConfirmedRead { token, index: commit, leased: true }));
    }

    /// Reads that have come in this term.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    pub(crate) fn add(&mut self, token: u64) {
        self.asked += 1;
        self.waiting.push(token);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.rounds.iter().map(|round| round.tokens.len()).sum::<usize>()
    }

    /// Begins a round for all that wait, if any do. They will see the state at `commit`.
    pub(crate) fn begin_round(&mut self, commit: Index) -> bool {
        if self.waiting.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return false;
        }
        self.round += 1;
        let tokens = std::mem::take(&mut self.waiting);
        self.rounds.push_back(Round { number: self.round, index: commit, tokens });
        true
    }

    /// Whether so few wait that their answer matters more than what it costs.
    pub(crate) fn are_few(&self) -> bool {
        self.len() <= FEW
    }

    /// A quorum has answered `round`, and so every one before it.
    pub(crate) fn confirm(&mut self, round: u64, ready: &mut Ready) {
        while let Some(first) = self.rounds.front()
            && first.number <= round
        {
            let index = first.index;
            ready.reads.extend(first.tokens.iter().map(|&token| ConfirmedRead { token, index, leased: false }));
            self.rounds.pop_front();
        }
    }

    /// Leadership is over: nothing here can be confirmed any more.
    pub(crate) fn fail(self, ready: &mut Ready) {
        for round in self.rounds {
            ready.reads_failed.extend(round.tokens);
        }
        ready.reads_failed.extend(self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_confirms_only_reads_from_before_it() {
        let mut reads = Reads::default();
        let mut ready = Ready::default();
        reads.add(1);
        assert!(reads.begin_round(Index(5)));
        reads.add(2);
        reads.confirm(1, &mut ready);
        assert_eq!(ready.reads, [ConfirmedRead { token: 1, index: Index(5), leased: false }]);
        assert!(reads.begin_round(Index(6)));
        reads.confirm(1, &mut ready);
        assert_eq!(ready.reads.len(), 1);
        reads.add(3);
        reads.fail(&mut ready);
        assert_eq!(ready.reads_failed, [2, 3]);
    }

    #[test]
    fn open_rounds_are_bounded() {
        let mut reads = Reads::default();
        for token in 0..20 {
            reads.add(token);
            reads.begin_round(Index(1));
        }
        assert_eq!((reads.round(), reads.len()), (8, 20));
        let mut ready = Ready::default();
        reads.confirm(1, &mut ready);
        assert!(reads.begin_round(Index(1)));
        reads.confirm(9, &mut ready);
        assert_eq!(ready.reads.len(), 20);
    }
}
