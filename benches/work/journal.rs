//! The journal of a core with one group: entries appended, batches taken, written nowhere, and the log cut.

use engine_core::journal::{Journal, Options, ReplicaState, recover};
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::payload::Payload;

const GROUP: GroupId = GroupId(1);

pub struct Appending {
    journal: Journal,
    entries: Vec<Entry>,
    next: u64,
    start: u64,
    payload: Payload,
}

impl Appending {
    pub fn new() -> Appending {
        let mut journal = fresh();
        journal.create_replica(replica(GROUP, ReplicaId(1)));
        let payload = vec![7; super::VALUE_BYTES + 80].into();
        Appending { journal, entries: Vec::new(), next: 1, start: 0, payload }
    }

    /// One batch of so many entries, from `append` to the promise.
    pub fn batch(&mut self, entries: usize) {
        self.entries.clear();
        for _ in 0..entries {
            let (term, index) = (Term(1), Index(self.next));
            self.entries.push(Entry { term, index, kind: EntryKind::Command, payload: self.payload.clone() });
            self.next += 1;
        }
        self.journal.append(GROUP, None, None, &self.entries);
        write_out(&mut self.journal);
        if self.next - self.start > 20_000 {
            self.start = self.next - 10_000;
            self.journal.compact(GROUP, LogId { term: Term(1), index: Index(self.start) }, b"members");
        }
    }
}

/// An empty journal.
pub fn fresh() -> Journal {
    recover(Options::default(), 1, Vec::new()).expect("an empty journal").journal
}

/// A replica that has nothing yet.
pub fn replica(group: GroupId, replica: ReplicaId) -> ReplicaState {
    let (hard_state, log_start) = (HardState::default(), LogId::default());
    ReplicaState { group, replica, hard_state, log_start, membership: b"members".to_vec() }
}

/// Everything that waits is durable at once.
pub fn write_out(journal: &mut Journal) {
    loop {
        while journal.spares_wanted() > 0 {
            let id = journal.new_segment();
            journal.spare_ready(id);
        }
        let Some(write) = journal.take_write() else { break };
        journal.write_done(write.batch);
        journal.give_back(write.bytes);
    }
    journal.reclaim();
}
