//! What a replica's machine remembers when it goes down.

use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{Index, ReplicaId, Term};
use raft::membership::Membership;
use raft::message::{Message, SnapshotInstalled};
use raft::replica::Restored;

#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub start: LogId,
    pub start_membership: Membership,
    pub entries: Vec<Entry>,
    /// The store's record of the last snapshot it switched to.
    pub installed: Option<SnapshotInstalled>,
}

/// One `Ready` on its way to the disk, with the messages that wait for it.
pub struct Pending {
    pub hard_state: Option<HardState>,
    pub log_start: Option<(LogId, Membership)>,
    pub entries: Vec<Entry>,
    pub messages: Vec<Message>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none() && self.log_start.is_none() && self.entries.is_empty() && self.messages.is_empty()
    }
}

impl Disk {
    pub fn founder(voters: &[u64]) -> Disk {
        let voters: Vec<ReplicaId> = voters.iter().copied().map(ReplicaId).collect();
        Disk { start_membership: Membership::new(&voters, &[]).expect("three voters"), ..Disk::default() }
    }

    /// Writes all of `pending`, or only its log start and first `entries` if there are more: a crash cut it short.
    pub fn write(&mut self, pending: &Pending, entries: usize) {
        if let Some((start, membership)) = &pending.log_start {
            self.start = *start;
            self.start_membership = membership.clone();
            self.entries.clear();
        }
        for (position, entry) in pending.entries.iter().take(entries).enumerate() {
            if position == 0 {
                self.entries.retain(|old| old.index < entry.index);
            }
            assert_eq!(entry.index, self.last().index.next(), "the disk has a gap");
            self.entries.push(entry.clone());
        }
        if entries > pending.entries.len() {
            self.hard_state = pending.hard_state.unwrap_or(self.hard_state);
        }
    }

    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.start, Entry::id)
    }

    pub fn term_of(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let position = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(position as usize).map(|entry| entry.term)
    }

    /// Whether this disk would still have `id` after a crash, in its log or below it.
    pub fn holds(&self, id: LogId) -> bool {
        id.index < self.start.index || self.term_of(id.index) == Some(id.term)
    }

    pub fn compact(&mut self, start: LogId, membership: Membership) {
        self.entries.retain(|entry| entry.index > start.index);
        self.start = start;
        self.start_membership = membership;
    }

    /// What a replica starts from, with at most `tail` entries in memory.
    pub fn restore(&mut self, applied: LogId, tail: usize) -> Restored {
        if self.term_of(applied.index) != Some(applied.term) {
            // The store is ahead: a snapshot was put in place and the log had not followed yet.
            let installed = self.installed.clone().expect("only a snapshot takes the store ahead of the log");
            assert_eq!(installed.last, applied, "the store holds something that nobody gave it");
            self.start = installed.last;
            self.start_membership = installed.membership;
            self.entries.clear();
        }
        let mut terms: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|run| run.1 < entry.term) {
                terms.push((entry.index, entry.term));
            }
            if entry.kind == EntryKind::Membership {
                memberships.push((entry.index, Membership::decode(&entry.payload).expect("a membership")));
            }
        }
        Restored {
            hard_state: self.hard_state,
            log_start: self.start,
            membership: self.start_membership.clone(),
            terms,
            last: self.last().index,
            memberships,
            tail: self.entries[self.entries.len().saturating_sub(tail)..].to_vec(),
            applied: applied.index,
        }
    }
}
