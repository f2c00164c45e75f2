//! What goes into the journal and comes out of it.

use super::error::{Damage, RecoverError, Torn};
use super::header::BLOCK_BYTES_MIN;
use super::journal::Journal;
use raft::entry::{Entry, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::payload::Payload;
use std::fmt;

/// The number of a segment file, from 1. Never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A place in the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub segment: SegmentId,
    /// In bytes.
    pub offset: u64,
}

/// Sizes of a journal. They may change from one start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment file, a multiple of `block_bytes`, below 4 GiB. Must hold a table of all replicas and a
    /// batch.
    pub segment_bytes: u64,
    /// Every write begins and ends at a multiple of this: the device's logical block or a multiple; a power of two
    /// from 512 on.
    pub block_bytes: usize,
    /// Bytes of a batch after which the next one begins. A longer record goes alone.
    pub batch_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, block_bytes: 4096, batch_bytes_max: 4 << 20 }
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<(), RecoverError> {
        let wrong = |why| Err(RecoverError::Options { why });
        if !self.block_bytes.is_power_of_two() || !(BLOCK_BYTES_MIN..=1 << 20).contains(&self.block_bytes) {
            return wrong("block_bytes is a power of two from 512 bytes to 1 MiB");
        }
        if self.segment_bytes > u64::from(u32::MAX) || !self.segment_bytes.is_multiple_of(self.block_bytes as u64) {
            return wrong("segment_bytes is a multiple of block_bytes below 4 GiB");
        }
        if self.segment_bytes < 4 * self.block_bytes as u64 {
            return wrong("segment_bytes is at least four blocks");
        }
        if self.batch_bytes_max < self.block_bytes || self.batch_bytes_max as u64 > self.segment_bytes / 2 {
            return wrong("batch_bytes_max is between a block and half a segment");
        }
        Ok(())
    }
}

/// Everything of a replica but its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// Its group.
    pub group: GroupId,
    /// Its id.
    pub replica: ReplicaId,
    /// Its term and vote.
    pub hard_state: HardState,
    /// The entry before the first one of its log.
    pub log_start: LogId,
    /// The membership in force at `log_start`; opaque here.
    pub membership: Vec<u8>,
}

/// A journal that was opened, and what it held.
#[derive(Debug)]
pub struct Recovered {
    /// The journal, in a new life; its first batch is open.
    pub journal: Journal,
    /// Every replica of the core, by group.
    pub replicas: Vec<RecoveredReplica>,
    /// The first damage found, if any: report it, and look at [`RecoveredReplica::sound`].
    pub damage: Option<Damage>,
    /// The write that was cut off, if one was.
    pub torn: Option<Torn>,
}

/// A replica as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredReplica {
    /// Its ids, term, vote, log start and the membership there.
    pub state: ReplicaState,
    /// Its last entry; the log start if it has none.
    pub last: LogId,
    /// The first index of each run of entries of one term, ascending, above the log start.
    pub terms: Vec<(Index, Term)>,
    /// The payloads of its membership entries, ascending.
    pub memberships: Vec<(Index, Payload)>,
    /// Its last entries, at most 1 MiB of them, and 256 MiB of all replicas; contiguous up to `last`.
    pub tail: Vec<Entry>,
    /// Provably everything that was promised is here. If not, the replica must never vote or acknowledge
    /// again under this id; the journal remembers that until the group is created anew.
    pub sound: bool,
}

/// Bytes for the host to write, then sync, then report with [`Journal::write_done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The file.
    pub segment: SegmentId,
    /// Where in it, in bytes; a multiple of the block size.
    pub offset: u64,
    /// What; a multiple of the block size long.
    pub bytes: Vec<u8>,
    /// The number of the batch.
    pub batch: u64,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its group.
    pub group: GroupId,
    /// The file.
    pub segment: SegmentId,
    /// Where in it, in bytes; not aligned.
    pub offset: u64,
    /// How many bytes.
    pub length: usize,
    /// The entry.
    pub id: LogId,
}
