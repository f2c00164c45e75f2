//! The types of [`crate::response`]. In a file of their own so that what rkyv derives beside them stays private.

use crate::status::NodeStatus;
use engine_core::command::Outcome;
use rkyv::with::AsBox;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Response {
    /// A read: the value, `None` if the key is not there.
    Value(Option<Vec<u8>>),
    /// A write: what became of the command. It is committed and applied.
    Outcome(Outcome),
    /// A scan's part of one group.
    Page {
        /// Keys and values, ascending by key.
        entries: Vec<(Vec<u8>, Vec<u8>)>,
        /// There are more keys in the range, above the last one given.
        more: bool,
    },
    /// The node's status. Boxed in the archive, so that every other answer is not as large as this one's fields.
    Status(#[rkyv(with = AsBox)] NodeStatus),
    /// The cluster map's bytes (`engine_core::placement::ClusterMap::decode`).
    Map(Vec<u8>),
    /// What the store of this node holds for the group, as one instant.
    Checksum {
        /// The applied index it is the sum of.
        applied: u64,
        /// How many entries.
        entries: u64,
        /// Over every key and value, in order.
        hash: u64,
    },
    /// Stop and ping: as asked.
    Done,
    /// Not done; why, and what to do next.
    Refused(Refusal),
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Refusal {
    /// Ask the named node, or wait while an election runs. Nothing happened.
    NotLeader {
        /// The node that leads, by number, as far as this one knows.
        leader: Option<u16>,
    },
    /// The group lives on another core of this node: connect to that core. Nothing happened.
    WrongCore {
        /// The core.
        core: u16,
    },
    /// The group does not own the key's slot, or has no replica here: fetch a map of at least this epoch. Nothing happened.
    NotOwner {
        /// The epoch of the map this node follows.
        epoch: u64,
    },
    /// Too much is in flight. Come back later. Nothing happened.
    Busy {
        /// When to come back, in milliseconds.
        retry_after_ms: u32,
    },
    /// A key, value, batch or answer is larger than the setting allows. Nothing happened.
    TooLarge {
        /// The limit that was exceeded, in bytes (or operations, for a batch).
        limit: u64,
    },
    /// The node's disk is full: writes wait until there is room. Nothing happened.
    DiskFull,
    /// Taken, but lost to a change of leader before it could be committed, for sure. Ask again. Nothing happened. No node says
    /// so today: what was taken is either answered or [`Refusal::OutcomeUnknown`].
    NotApplied,
    /// Taken, and may or may not be committed: ask again with the same session and sequence, never with new ones.
    OutcomeUnknown,
    /// The node's cluster does not exist yet. Nothing happened.
    NotFormed {
        /// The names of the nodes it waits for.
        waiting_for: Vec<String>,
    },
    /// The request makes no sense. Asking again will not help. Nothing happened.
    BadRequest {
        /// What is wrong with it.
        why: String,
    },
    /// A kind or version this node does not know. Nothing happened.
    Unsupported,
    /// Not from here, or not by this role. Nothing happened.
    Forbidden,
}
