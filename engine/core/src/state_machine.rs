//! What committed entries do to a group's data, the same on every replica.

use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index};

use crate::command::Outcome;

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
}
