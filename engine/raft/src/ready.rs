//! What a replica wants done, in the two lists that keep promises honest.
//!
//! A host carries out one `Ready` like this: send `send` at once; make `entries`, `hard_state` and
//! `log_start` durable in that order of importance: all or a prefix, never a suffix alone; only when they
//! are, send `send_after_persist` and call `Replica::persisted`. There is no flag that moves a
//! message from one list to the other: a promise cannot be sent early by mistake (rule 1).

use crate::entry::{Entries, HardState, LogId};
use crate::ids::{Index, ReplicaId};
use crate::message::{Message, Messages};

/// The effects of what a replica was told since the last `Ready` was taken. Empty vectors own no memory.
#[derive(Debug, Default)]
pub struct Ready {
    /// Term or vote changed: make durable.
    pub hard_state: Option<HardState>,
    /// The log restarts after this entry, empty, as a snapshot covers what went before. Precedes `entries`.
    pub log_start: Option<LogId>,
    /// Contiguous entries to make durable. They replace everything from the first one's index on.
    pub entries: Entries,
    /// May leave at once: AppendEntries of a leader, heartbeats, pre-votes, questions.
    pub send: Vec<Message>,
    /// Leaves only when everything above is durable: votes and their requests, append acknowledgements.
    pub send_after_persist: Messages,
    /// `Replica::applicable` has grown to this: apply up to here, no further.
    pub commit: Option<Index>,
    /// Entries that are no longer in memory and are needed: read them from the journal, then call `Replica::fetched`.
    pub fetch: Vec<Fetch>,
    /// Reads that are confirmed: answer when applied has reached `index`.
    pub reads: Vec<ConfirmedRead>,
    /// Reads that can no longer be confirmed here, by their tokens: leadership was lost.
    pub reads_failed: Vec<u64>,
    /// The role, the term or the known leader changed: look at `Replica::role`, `term`, `leader`.
    pub role_changed: bool,
    /// Peers to which a granted snapshot must now be streamed by the host.
    pub snapshots: Vec<SnapshotWanted>,
}

/// A request for old entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// For which peer.
    pub peer: ReplicaId,
    /// First index wanted.
    pub from: Index,
    /// Last index that makes sense.
    pub last: Index,
    /// Stop after so many bytes of payload, but bring at least one entry.
    pub bytes_max: usize,
}

/// A read whose round a quorum has acknowledged, or that came while a lease held (paper section 8, thesis 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmedRead {
    /// What the host called it.
    pub token: u64,
    /// Answer when the state machine has applied this index.
    pub index: Index,
    /// It needed no round.
    pub leased: bool,
}

/// A peer has granted a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotWanted {
    /// The receiver.
    pub peer: ReplicaId,
    /// It must cover at least this entry.
    pub last: LogId,
}

impl Ready {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        !self.must_persist()
            && self.send.is_empty()
            && self.send_after_persist.is_empty()
            && self.commit.is_none()
            && self.fetch.is_empty()
            && self.reads.is_empty()
            && self.reads_failed.is_empty()
            && !self.role_changed
            && self.snapshots.is_empty()
    }

    /// Whether there is something to make durable.
    pub fn must_persist(&self) -> bool {
        self.hard_state.is_some() || self.log_start.is_some() || !self.entries.is_empty()
    }
}
