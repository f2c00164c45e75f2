//! Entries on their way to the store thread, and what comes back.

use crate::command::Outcome;
use crate::sessions::SessionKey;
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index};

/// Committed and durable entries of one group, in log order without a gap, to be applied together.
///
/// The payloads lie one after another in `bytes`, so that a run crosses to the store thread as two vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyRun {
    /// Which group.
    pub group: GroupId,
    /// The entries.
    pub entries: Vec<ApplyEntry>,
    /// Their payloads.
    pub bytes: Vec<u8>,
    /// Whether somebody waits for the outcomes: the leader. Followers build none.
    pub answer: bool,
}

/// One entry of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyEntry {
    /// Its place in the log.
    pub id: LogId,
    /// What the payload is.
    pub kind: EntryKind,
    /// Where the payload begins in [`ApplyRun::bytes`].
    pub start: u32,
    /// How many bytes it has.
    pub length: u32,
}

/// A run that is applied: visible to reads, and atomic with its sessions, but not synced.
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

impl ApplyRun {
    /// The payload of one of its entries.
    pub fn payload(&self, entry: &ApplyEntry) -> &[u8] {
        let start = entry.start as usize;
        &self.bytes[start..start + entry.length as usize]
    }

    /// What it costs in a queue or backlog, in bytes: the payloads and a fixed share per entry.
    pub fn charge(&self) -> usize {
        self.bytes.len() + 64 * self.entries.len()
    }

    /// Appends an entry and its payload; a run holds less than 4 GiB.
    pub fn push(&mut self, id: LogId, kind: EntryKind, payload: &[u8]) {
        let start = u32::try_from(self.bytes.len()).expect("a run of less than 4 GiB");
        let length = u32::try_from(payload.len()).expect("a payload of less than 4 GiB");
        self.bytes.extend_from_slice(payload);
        self.entries.push(ApplyEntry { id, kind, start, length });
    }
}
