//! What must never happen, whatever a scene does. Watched from outside: nothing here asks a replica's opinion.

use super::node::Node;
use super::print;
use raft::{AppendReply, Body, Index, LogId, Message, ReplicaId, Role, Term};
use std::collections::BTreeMap;

/// What the group has done so far.
#[derive(Default)]
pub struct Oath {
    leaders: BTreeMap<Term, ReplicaId>,
    votes: BTreeMap<(ReplicaId, Term), ReplicaId>,
    committed: BTreeMap<Index, Term>,
    /// The commit index of the whole group when a read was asked.
    reads: BTreeMap<u64, Index>,
}

impl Oath {
    /// After every turn of a node.
    pub fn watch(&mut self, node: &Node) {
        let Some(replica) = &node.replica else { return };
        let name = print::name(replica.id());
        if replica.role() == Role::Leader {
            let leader = *self.leaders.entry(replica.term()).or_insert(replica.id());
            assert_eq!(leader, replica.id(), "{name} leads term {}, which had a leader", replica.term());
        }
        for index in replica.log_start().index.0 + 1..=replica.commit().0 {
            let term = replica.term_of(Index(index)).expect("what is committed is in the log");
            let first = *self.committed.entry(Index(index)).or_insert(term);
            assert_eq!(first, term, "{name} has {index}@{term} committed where {index}@{first} was");
        }
    }

    /// Before a message leaves a node: what it promises is on the node's disk.
    pub fn sends(&mut self, node: &Node, message: &Message) {
        let (name, disk) = (print::name(message.from), &node.disk);
        let vote = match message.body {
            Body::Vote { .. } => Some(message.from),
            Body::VoteReply { granted: true } => Some(message.to),
            _ => None,
        };
        if let Some(vote) = vote {
            let on_disk = disk.hard_state.term == message.term && disk.hard_state.vote == Some(vote);
            let later = disk.hard_state.term > message.term;
            assert!(on_disk || later, "{name} speaks of a vote that its disk does not hold");
            let first = *self.votes.entry((message.from, message.term)).or_insert(vote);
            assert_eq!(first, vote, "{name} votes twice in term {}", message.term);
        }
        if let Body::AppendReply(AppendReply::Accepted { matched }) = message.body {
            let last = disk.last();
            assert!(matched <= last.index, "{name} acknowledges {matched}, its disk ends at {}", last.index);
        }
    }

    pub fn asked(&mut self, token: u64) {
        let known = self.committed.last_key_value().map_or(Index(0), |(index, _)| *index);
        self.reads.insert(token, known);
    }

    pub fn confirmed(&self, token: u64, index: Index) {
        let asked = self.reads[&token];
        assert!(index >= asked, "read {token} would see {index}, but {asked} was committed when it was asked");
    }

    /// Whether this very entry is known to be committed.
    pub fn is_committed(&self, id: LogId) -> bool {
        self.committed.get(&id.index) == Some(&id.term)
    }
}
