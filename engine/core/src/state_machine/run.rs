//! Entries on their way to the store, and what comes back.

use crate::command::Outcome;
use crate::sessions::SessionKey;
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index};

/// Committed and durable entries of one group, in log order without a gap, to be applied together.
///
/// Their payloads are the log's own, shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyRun {
    /// Which group.
    pub group: GroupId,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether somebody waits for the outcomes: the leader. Followers build none.
    pub answer: bool,
}

/// A run that is applied: visible to reads, and atomic with its sessions, but in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRun {
    /// Which group.
    pub group: GroupId,
    /// Its last entry.
    pub applied: LogId,
    /// What became of its commands, in log order; empty unless [`ApplyRun::answer`].
    pub outcomes: Vec<(Index, Outcome)>,
    /// Sessions it has used that hold more than `RUNS_CROWDED` runs, whether or not there are outcomes; hardly ever any.
    pub crowded: Vec<SessionKey>,
}

/// How far a run is applied: what is needed from the disk may come in its middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applying {
    /// The last applied entry of the group.
    pub applied: LogId,
    /// How many entries of the run are applied.
    pub entries: usize,
    /// See [`AppliedRun::outcomes`].
    pub outcomes: Vec<(Index, Outcome)>,
    /// See [`AppliedRun::crowded`], with repetitions.
    pub crowded: Vec<SessionKey>,
}

impl Applying {
    /// The beginning of a run for a group that stands at `applied`.
    pub fn after(applied: LogId) -> Applying {
        Applying { applied, entries: 0, outcomes: Vec::new(), crowded: Vec::new() }
    }

    /// The whole run of this group is applied.
    pub fn finish(self, group: GroupId) -> AppliedRun {
        let Applying { applied, outcomes, mut crowded, .. } = self;
        crowded.sort_unstable();
        crowded.dedup();
        AppliedRun { group, applied, outcomes, crowded }
    }
}

impl ApplyRun {
    /// What it costs in a queue or backlog, in bytes: the payloads and a fixed share per entry.
    pub fn charge(&self) -> usize {
        self.entries.iter().map(|entry| entry.payload.len() + 64).sum()
    }

    /// Appends an entry.
    pub fn push(&mut self, id: LogId, kind: EntryKind, payload: &[u8]) {
        self.entries.push(Entry { term: id.term, index: id.index, kind, payload: payload.into() });
    }
}
