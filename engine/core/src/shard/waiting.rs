//! Requests of this core that wait for their group.
//!
//! A write leaves a ticket here with the index of its entry. When that is committed it gets its answer, if there is but one
//! that the store can give ([`Early`]); else when it is applied. A read waits twice: for a quorum to
//! confirm its round, then for the store to reach the index it was given. If leadership is lost first, writes are
//! answered "outcome unknown", as they may still happen, and reads "not leader". Writes that are not proposed yet (`batch`) are in no log:
//! of them it is known that they do not happen.

use super::early::{Early, Named};
use super::effects::{Answer, Effects, Refused, StoreRead};
use super::event::{Query, Ticket};
use crate::command::Outcome;
use crate::state_machine::AppliedRun;
use raft::entry::LogId;
use raft::ids::{GroupId, Index, Term};
use raft::payload::{Payload, Pieces};
use std::collections::{BTreeMap, VecDeque};

/// The requests of one group. Bounded by `waiting_max` of the shard's options, as each may hold the bytes of a query or a command.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Waiting {
    /// How many reads wait, of either kind.
    reads: u32,
    /// How many writes are in `next`.
    next_count: u32,
    /// Not committed. With the term they were proposed in: an index alone may come to hold somebody else's entry.
    proposed: VecDeque<(LogId, Write)>,
    /// Committed, and only the store can say what became of them.
    unapplied: VecDeque<(LogId, Write)>,
    early: Early,
    /// The commands of `next`, one behind the other.
    next_commands: Vec<u8>,
    unconfirmed: BTreeMap<u64, (Ticket, Query)>,
    confirmed: VecDeque<(Index, Ticket, Query)>,
    /// Not proposed, see `batch`: in the order in which they came, with where their commands end.
    next: Vec<(Write, usize)>,
}

/// A write that waits.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// For whom.
    pub ticket: Ticket,
    /// The session that its command names.
    pub session: Named,
    /// See [`crate::command::is_blind`].
    pub blind: bool,
}

/// Writes that have waited for those before them.
#[derive(Debug)]
pub struct Next {
    writes: Vec<(Write, usize)>,
    commands: Vec<u8>,
}

impl Next {
    /// Calls `take` with each of them, in the order in which they came.
    pub fn each(&self, mut take: impl FnMut(Write, Payload)) {
        let (mut pieces, mut start) = (Pieces::of(&self.commands), 0);
        for (at, (write, end)) in self.writes.iter().enumerate() {
            let ends = self.writes[at + 1..].iter().map(|(_, end)| *end);
            take(*write, pieces.payload(start..*end, ends));
            start = *end;
        }
    }

    /// For whom they are.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.writes.iter().map(|(write, _)| write.ticket)
    }
}

impl Waiting {
    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.reads as usize + self.next_count as usize + self.proposed.len() + self.unapplied.len()
    }

    /// Gives back the memory of requests that wait no more.
    pub fn rest(&mut self) {
        self.proposed.shrink_to_fit();
        self.unapplied.shrink_to_fit();
        self.confirmed.shrink_to_fit();
        self.next.shrink_to_fit();
        self.next_commands.shrink_to_fit();
    }

    /// The newest write that is proposed and was not committed when a turn last ended.
    pub fn last_proposed(&self) -> Option<LogId> {
        self.proposed.back().map(|(id, _)| *id)
    }

    /// Whether any write waits to be proposed.
    pub fn has_next(&self) -> bool {
        self.next_count > 0
    }

    /// Bytes of the commands of those, and how many there are.
    pub fn next_size(&self) -> (usize, usize) {
        (self.next_commands.len(), self.next_count as usize)
    }

    /// A write will be proposed with those that come after it.
    pub fn put_off(&mut self, write: Write, command: &[u8]) {
        self.next_count += 1;
        self.next_commands.extend_from_slice(command);
        self.next.push((write, self.next_commands.len()));
    }

    /// What is to be proposed now.
    pub fn take_next(&mut self) -> Next {
        self.next_count = 0;
        Next { writes: std::mem::take(&mut self.next), commands: std::mem::take(&mut self.next_commands) }
    }

    /// Whether any write waits for what the store says of it.
    pub fn wants_outcomes(&self) -> bool {
        !self.unapplied.is_empty()
    }

    /// Whether any request waits, or will wait, for the store.
    pub fn wants_store(&self) -> bool {
        !self.unapplied.is_empty() || self.reads > 0
    }

    /// A write was proposed as the entry `id`.
    pub fn write(&mut self, id: LogId, write: Write) {
        let in_order = self.proposed.back().is_none_or(|(last, _)| last.index < id.index && last.term <= id.term);
        assert!(in_order, "proposals come in order, {id:?} did not");
        self.proposed.push_back((id, write));
    }

    /// The log is committed up to `commit`, and this replica leads in the term of every write that was proposed here.
    pub fn committed(&mut self, commit: Index, applied: Index, effects: &mut Effects) {
        while let Some((id, write)) = pop_if(&mut self.proposed, |id| id.index <= commit) {
            if write.blind && self.early.is_sure(write.session, id.index, applied) {
                effects.answers.push((write.ticket, Answer::Outcome(Outcome::Done)));
            } else {
                self.unapplied.push_back((id, write));
            }
        }
    }

    /// A read was given to the group under `token`.
    pub fn read(&mut self, token: u64, ticket: Ticket, query: Query) {
        self.reads += 1;
        self.unconfirmed.insert(token, (ticket, query));
    }

    /// The round of `token` is confirmed: it may be answered once `index` is applied.
    pub fn confirmed(&mut self, group: GroupId, token: u64, index: Index, applied: Index, effects: &mut Effects) {
        let Some((ticket, query)) = self.unconfirmed.remove(&token) else { return };
        if index <= applied {
            self.reads -= 1;
            effects.reads.push(StoreRead { ticket, group, query });
        } else {
            self.confirmed.push_back((index, ticket, query));
        }
    }

    /// The round of `token` can no longer be confirmed here.
    pub fn read_failed(&mut self, token: u64, why: Refused, effects: &mut Effects) {
        if let Some((ticket, _)) = self.unconfirmed.remove(&token) {
            self.reads -= 1;
            effects.answers.push((ticket, Answer::Refused(why)));
        }
    }

    /// The store has applied a run.
    pub fn applied(&mut self, group: GroupId, run: AppliedRun, effects: &mut Effects) {
        for (index, outcome) in run.outcomes {
            let front = self.unapplied.front().map(|(id, _)| id.index);
            assert!(front.is_none_or(|front| front >= index), "group {group}: the answer of {front:?} was passed over");
            if let Some((_, write)) = pop_if(&mut self.unapplied, |id| id.index == index) {
                self.early.answered(write.session, index, &outcome);
                effects.answers.push((write.ticket, Answer::Outcome(outcome)));
            }
        }
        self.early.crowded(&run.crowded);
        self.reached(group, run.applied.index, effects);
    }

    /// A snapshot has brought the store to `applied`.
    pub fn installed(&mut self, group: GroupId, applied: Index, effects: &mut Effects) {
        self.early.forget();
        self.reached(group, applied, effects);
    }

    fn reached(&mut self, group: GroupId, applied: Index, effects: &mut Effects) {
        if self.reads == 0 {
            return;
        }
        let mut later = VecDeque::new();
        for (index, ticket, query) in self.confirmed.drain(..) {
            if index <= applied {
                self.reads -= 1;
                effects.reads.push(StoreRead { ticket, group, query });
            } else {
                later.push_back((index, ticket, query));
            }
        }
        self.confirmed = later;
    }

    /// Leadership is lost: what waits for the store here may wait for a disk that stands still, and whoever leads now can answer it.
    pub fn fail_reads(&mut self, why: &Refused, effects: &mut Effects) {
        self.reads -= self.confirmed.len() as u32;
        let refused = self.confirmed.drain(..).map(|(_, ticket, _)| (ticket, Answer::Refused(why.clone())));
        effects.answers.extend(refused);
    }

    /// Leadership is lost, or was and is regained in the term `leads`: nobody here can tell what becomes of the writes of
    /// another term.
    pub fn fail_writes(&mut self, leads: Option<Term>, effects: &mut Effects) {
        for writes in [&mut self.unapplied, &mut self.proposed] {
            let theirs = writes.partition_point(|(id, _)| leads != Some(id.term));
            for (_, write) in writes.drain(..theirs) {
                effects.answers.push((write.ticket, Answer::Refused(Refused::OutcomeUnknown)));
            }
        }
    }
}

fn pop_if(writes: &mut VecDeque<(LogId, Write)>, wanted: impl FnOnce(LogId) -> bool) -> Option<(LogId, Write)> {
    if !writes.front().is_some_and(|(id, _)| wanted(*id)) {
        return None;
    }
    let write = writes.pop_front();
    if writes.is_empty() {
        // The next one lies where this one lay, and not further on in memory that was not looked at for long.
        writes.clear();
    }
    write
}
