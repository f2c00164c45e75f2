//! A snapshot of one group on its way from one store to another: what it is made of, and who has how much of it.
//!
//! ```text
//! store -> Encoder -> chunks -> Outgoing  ~~ a connection that may break ~~>  Incoming -> Decoder -> store
//! ```
//!
//! A snapshot is a stream of records ([`stream`]), cut into numbered chunks of at most 256 KiB, with a digest over
//! all of them at its end. The sender keeps what the receiver has not written yet ([`outgoing`]); after
//! a broken connection the receiver says which chunk it wants next ([`incoming`]), and the stream goes on there.
//!
//! Pure. Which snapshot is wanted, and what is done with a whole one, is the shard's to decide.

pub mod incoming;
pub mod outgoing;
pub mod stream;

use raft::entry::LogId;
use raft::ids::{GroupId, ReplicaId, Term};

/// What a sender says of a snapshot before its first chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The group.
    pub group: GroupId,
    /// The leader that sends it.
    pub from: ReplicaId,
    /// The replica it is for.
    pub to: ReplicaId,
    /// The leader's term: a later one ends the sending.
    pub term: Term,
    /// Tells this snapshot from any other of the same sender; never 0.
    pub id: u64,
    /// The last entry it covers.
    pub last: LogId,
    /// The membership in force at `last`, encoded.
    pub membership: Vec<u8>,
}

/// What a sender says behind the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many chunks there were.
    pub chunks: u64,
    /// The digest over all of them.
    pub digest: u64,
}
