//! A node as a host would be: a replica, its disk, the writes on their way to it, and its store.

use raft::{
    Entry, EntryKind, Fetch, HardState, Index, LogId, Membership, Message, Options, Persisted, Ready, Replica,
    ReplicaId, Restored, Term,
};
use std::collections::{BTreeMap, VecDeque};

/// What a journal would bring back after a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub log_start: LogId,
    /// The membership in force at `log_start`.
    pub membership: Membership,
    pub entries: BTreeMap<Index, Entry>,
}

/// One write that the disk has not done yet, and the promises that wait for it.
#[derive(Debug, Default)]
pub struct Write {
    pub hard_state: Option<HardState>,
    pub log_start: Option<(LogId, Membership)>,
    pub entries: Vec<Entry>,
    pub then: Vec<Message>,
}

/// A state of the store, and where it stands in the log.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub last: LogId,
    pub membership: Membership,
}

pub struct Node {
    pub replica: Option<Replica>,
    pub options: Options,
    pub disk: Disk,
    pub writes: VecDeque<Write>,
    /// What was asked of the disk, with what it has read already.
    pub fetches: VecDeque<(Fetch, Option<Vec<Entry>>)>,
    /// What the store holds.
    pub applied: Index,
    pub hold_disk: bool,
    pub hold_apply: bool,
    pub hold_fetch: bool,
}

impl Disk {
    pub fn last(&self) -> LogId {
        self.entries.last_key_value().map_or(self.log_start, |(_, entry)| entry.id())
    }

    pub fn write(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some((start, membership)) = &write.log_start {
            self.log_start = *start;
            self.membership = membership.clone();
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            self.entries.split_off(&first.index);
        }
        for entry in &write.entries {
            assert_eq!(entry.index, self.last().index.next(), "the host is asked to leave a gap in the log");
            self.entries.insert(entry.index, entry.clone());
        }
    }

    pub fn compact(&mut self, start: LogId, membership: Membership) {
        self.log_start = start;
        self.membership = membership;
        self.entries = self.entries.split_off(&start.index.next());
    }

    fn memberships(&self) -> Vec<(Index, Membership)> {
        let entries = self.entries.values().filter(|entry| entry.kind == EntryKind::Membership);
        entries.map(|entry| (entry.index, Membership::decode(&entry.payload).expect("it was sound"))).collect()
    }

    fn terms(&self) -> Vec<(Index, Term)> {
        let mut runs: Vec<(Index, Term)> = Vec::new();
        for entry in self.entries.values() {
            if runs.last().is_none_or(|run| run.1 != entry.term) {
                runs.push((entry.index, entry.term));
            }
        }
        runs
    }

    /// Entries as a journal reads them: at least one, if there is one.
    pub fn read(&self, fetch: Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = self.entries.range(fetch.from..=fetch.last).map(|(_, entry)| entry.clone());
        wanted
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry.bytes();
                first || bytes <= fetch.bytes_max
            })
            .collect()
    }
}

impl Write {
    pub fn is_write(&self) -> bool {
        self.hard_state.is_some() || self.log_start.is_some() || !self.entries.is_empty()
    }

    pub fn persisted(&self) -> Persisted {
        Persisted {
            last: self.entries.last().map(Entry::id),
            hard_state: self.hard_state,
            log_start: self.log_start.as_ref().map(|start| start.0),
        }
    }
}

impl Node {
    /// A node with an empty disk. It does not run before [`Node::start`].
    pub fn new(options: Options, membership: Membership) -> Node {
        Node {
            replica: None,
            options,
            disk: Disk { membership, ..Disk::default() },
            writes: VecDeque::new(),
            fetches: VecDeque::new(),
            applied: Index(0),
            hold_disk: false,
            hold_apply: false,
            hold_fetch: false,
        }
    }

    pub fn id(&self) -> ReplicaId {
        self.options.id
    }

    pub fn live(&self) -> &Replica {
        self.replica.as_ref().expect("it is down")
    }

    /// Starts a replica from the disk, with the last `tail` entries in memory.
    pub fn start(&mut self, tail: usize) {
        let skipped = self.disk.entries.len().saturating_sub(tail);
        let restored = Restored {
            hard_state: self.disk.hard_state,
            log_start: self.disk.log_start,
            membership: self.disk.membership.clone(),
            terms: self.disk.terms(),
            last: self.disk.last().index,
            memberships: self.disk.memberships(),
            tail: self.disk.entries.values().skip(skipped).cloned().collect(),
            applied: self.applied,
        };
        self.replica = Some(Replica::new(self.options.clone(), restored));
    }

    /// The memory is gone, and all writes but the first `kept`.
    pub fn crash(&mut self, kept: usize) {
        for write in self.writes.drain(..).take(kept) {
            self.disk.write(&write);
        }
        self.fetches.clear();
        self.replica = None;
    }

    /// Takes what `ready` wants written, with its promises. False if there is nothing to wait for.
    pub fn queue(&mut self, ready: &mut Ready) -> bool {
        let must_persist = ready.must_persist();
        if !must_persist && (self.writes.is_empty() || ready.send_after_persist.is_empty()) {
            return false;
        }
        let start = ready.log_start.take();
        self.writes.push_back(Write {
            hard_state: ready.hard_state.take(),
            log_start: start.map(|start| (start, self.live().membership_at(start.index).clone())),
            entries: std::mem::take(&mut ready.entries).into_vec(),
            then: std::mem::take(&mut ready.send_after_persist).into_vec(),
        });
        true
    }

    /// The state of the store now.
    pub fn take_snapshot(&self) -> Snapshot {
        let term = self.live().term_of(self.applied).expect("what is applied is in the log");
        let last = LogId { term, index: self.applied };
        Snapshot { last, membership: self.live().membership_at(self.applied).clone() }
    }
}
