//! One group's entries as the world has seen them: every one ever written, and the one that was committed at each index.

use crate::random::mix;
use crate::world::{Checked, Violation};
use raft::Replica;
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index, Term};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// See the module.
#[derive(Debug, Default)]
pub struct Canon {
    /// Every entry anybody ever wrote: the term before it, and what it says.
    written: BTreeMap<LogId, (Term, u64)>,
    /// The committed entries, from index 1.
    committed: Vec<Committed>,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// The lowest term in which it was seen committed first.
    seen_in: Term,
    digest: Option<u64>,
}

impl Canon {
    /// Somebody writes entries behind one of term `before`. Log matching: whatever has the same index and term
    /// says the same and follows the same.
    pub fn written(&mut self, group: GroupId, mut before: Term, entries: &[Entry]) -> Checked {
        for entry in entries {
            let this = (before, digest(entry.kind, &entry.payload));
            let first = *self.written.entry(entry.id()).or_insert(this);
            if first != this {
                return Err(Violation(format!("group {group}: two entries {:?}: {first:?} and {this:?}", entry.id())));
            }
            if entry.term < before {
                return Err(Violation(format!("group {group}: {:?} follows term {before}", entry.id())));
            }
            before = entry.term;
        }
        Ok(())
    }

    /// A replica of node `node` says in `term` that an entry is committed.
    pub fn committed(&mut self, group: GroupId, id: LogId, term: Term, node: u16) -> Checked {
        let at = id.index.0 as usize - 1;
        if let Some(first) = self.committed.get(at) {
            if first.term != id.term {
                return Err(Violation(format!(
                    "group {group}: node {node} committed {id:?}, where term {} was committed before",
                    first.term
                )));
            }
            return Ok(());
        }
        if at > self.committed.len() {
            // A gap: the replica's log starts above it, so somebody else has committed it unseen. Cannot be.
            return Err(Violation(format!("group {group}: {id:?} is committed, {} before it is not", at)));
        }
        let digest = self.written.get(&id).map(|(_, digest)| *digest);
        self.committed.push(Committed { term: id.term, seen_in: term, digest });
        Ok(())
    }

    /// A store is handed an entry: it must be the committed one, byte for byte.
    pub fn applied(&mut self, group: GroupId, id: LogId, kind: EntryKind, payload: &[u8]) -> Checked {
        let Some(there) = self.committed.get_mut(id.index.0 as usize - 1) else {
            return Err(Violation(format!("group {group}: {id:?} is applied and was never committed")));
        };
        let this = digest(kind, payload);
        if there.term != id.term || *there.digest.get_or_insert(this) != this {
            return Err(Violation(format!("group {group}: {id:?} is applied in place of {there:?}")));
        }
        Ok(())
    }

    /// Leader completeness: a new leader holds every entry that was committed in a term before its own.
    pub fn complete(&self, group: GroupId, leader: &Replica) -> Checked {
        let before = self.committed.iter().rposition(|entry| entry.seen_in < leader.term());
        let Some(at) = before else { return Ok(()) };
        let index = Index(at as u64 + 1);
        if index < leader.log_start().index || leader.term_of(index) == Some(self.committed[at].term) {
            return Ok(());
        }
        Err(Violation(format!(
            "group {group}: {} leads term {} without entry {index} of term {}, committed in term {}",
            leader.id(),
            leader.term(),
            self.committed[at].term,
            self.committed[at].seen_in,
        )))
    }

    /// The last index that was ever committed.
    pub fn last(&self) -> Index {
        Index(self.committed.len() as u64)
    }
}

fn digest(kind: EntryKind, payload: &[u8]) -> u64 {
    // A no-op says nothing, whatever its bytes.
    let bytes = if kind == EntryKind::Noop { 0 } else { xxh3_64(payload) };
    mix(bytes ^ kind as u64)
}
