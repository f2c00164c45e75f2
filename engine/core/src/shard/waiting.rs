//! Requests of this core that wait for their group.
//!
//! A write leaves a ticket here with the index of its entry and gets its answer when that index is
//! applied. A read waits twice: for a quorum to confirm its round, then for the store to reach the index it was
//! given. If leadership is lost first, writes are answered "outcome unknown", as they may still happen,
//! and reads "not leader".

use super::effects::{Answer, Effects, Refused, StoreRead};
use super::event::{Query, Ticket};
use crate::command::Outcome;
use raft::entry::LogId;
use raft::ids::{GroupId, Index, Term};
use std::collections::{BTreeMap, VecDeque};

/// The requests of one group. Bounded by `waiting_max` of the shard's options, as each holds a query's bytes.
#[derive(Debug, Default)]
pub struct Waiting {
    /// With the term they were proposed in: an index alone may come to hold somebody else's entry.
    writes: VecDeque<(LogId, Ticket)>,
    unconfirmed: BTreeMap<u64, (Ticket, Query)>,
    confirmed: VecDeque<(Index, Ticket, Query)>,
}

impl Waiting {
    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.writes.len() + self.unconfirmed.len() + self.confirmed.len()
    }

    /// Whether any write waits for an answer.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// A write was proposed as the entry `id`.
    pub fn write(&mut self, id: LogId, ticket: Ticket) {
        let in_order = self.writes.back().is_none_or(|(last, _)| last.index < id.index && last.term <= id.term);
        assert!(in_order, "proposals come in order, {id:?} did not");
        self.writes.push_back((id, ticket));
    }

    /// A read was given to the group under `token`.
    pub fn read(&mut self, token: u64, ticket: Ticket, query: Query) {
        self.unconfirmed.insert(token, (ticket, query));
    }

    /// The round of `token` is confirmed: it may be answered once `index` is applied.
    pub fn confirmed(&mut self, group: GroupId, token: u64, index: Index, applied: Index, effects: &mut Effects) {
        let Some((ticket, query)) = self.unconfirmed.remove(&token) else { return };
        if index <= applied {
            effects.reads.push(StoreRead { ticket, group, query });
        } else {
            self.confirmed.push_back((index, ticket, query));
        }
    }

    /// The round of `token` can no longer be confirmed here.
    pub fn read_failed(&mut self, token: u64, why: Refused, effects: &mut Effects) {
        if let Some((ticket, _)) = self.unconfirmed.remove(&token) {
            effects.answers.push((ticket, Answer::Refused(why)));
        }
    }

    /// The store has applied up to `applied`, with these outcomes.
    pub fn applied(&mut self, group: GroupId, applied: Index, outcomes: Vec<(Index, Outcome)>, effects: &mut Effects) {
        for (index, outcome) in outcomes {
            match self.writes.front() {
                Some((waiting, ticket)) if waiting.index == index => {
                    effects.answers.push((*ticket, Answer::Outcome(outcome)));
                    self.writes.pop_front();
                }
                Some((waiting, _)) => assert!(waiting.index > index, "the answer of {waiting:?} was passed over"),
                None => {}
            }
        }
        let mut later = VecDeque::new();
        for (index, ticket, query) in self.confirmed.drain(..) {
            if index <= applied {
                effects.reads.push(StoreRead { ticket, group, query });
            } else {
                later.push_back((index, ticket, query));
            }
        }
        self.confirmed = later;
    }

    /// Leadership is lost, or was and is regained in the term `leads`: nobody here can tell what becomes of the writes of
    /// another term.
    pub fn fail_writes(&mut self, leads: Option<Term>, effects: &mut Effects) {
        let theirs = self.writes.partition_point(|(id, _)| leads != Some(id.term));
        for (_, ticket) in self.writes.drain(..theirs) {
            effects.answers.push((ticket, Answer::Refused(Refused::OutcomeUnknown)));
        }
    }
}
