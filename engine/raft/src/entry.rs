//! What a log is made of, and what a replica must never forget.

use crate::ids::{Index, ReplicaId, Term};
use crate::payload::Payload;

/// What an entry's payload is. The numbers are on the disk and on the wire: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[repr(u8)]
pub enum EntryKind {
    /// The empty entry a new leader appends first (paper section 8).
    Noop = 0,
    /// A client's command, opaque here.
    Command = 1,
    /// A [`crate::membership::Membership`], in force from the moment it is appended.
    Membership = 2,
}

impl EntryKind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<EntryKind> {
        match number {
            0 => Some(EntryKind::Noop),
            1 => Some(EntryKind::Command),
            2 => Some(EntryKind::Membership),
            _ => None,
        }
    }
}

/// One entry of a group's log.
///
/// The payload is shared, not copied, between the log's window, the journal's batch and the frames to
/// the peers: all of them live on one core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its position.
    pub index: Index,
    /// What the payload is.
    pub kind: EntryKind,
    /// The bytes, as the client (or this crate, for a membership) encoded them.
    pub payload: Payload,
}

/// Entries in order, without a gap. A group with little to do has them one at a time, and a thousand such groups would ask for cold
/// memory for each: the first lies in the list itself.
pub type Entries = smallvec::SmallVec<[Entry; 1]>;

/// The identity of an entry: no two entries of a group share both (paper section 5.3, Log Matching).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct LogId {
    /// The term of the entry.
    pub term: Term,
    /// The index of the entry.
    pub index: Index,
}

/// What must be durable before any promise that follows from it leaves (paper figure 2, persistent state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
}

impl Entry {
    /// Its identity.
    pub fn id(&self) -> LogId {
        LogId { term: self.term, index: self.index }
    }

    /// What it counts for in a queue or window, in bytes: the payload and a fixed share for the rest. The last that is left of those
    /// that came together keeps a whole piece ([`crate::payload::PIECE_BYTES`]).
    pub fn bytes(&self) -> usize {
        self.payload.len() + 32
    }
}
