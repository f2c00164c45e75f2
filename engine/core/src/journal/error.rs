//! What can be wrong with bytes that come back from the disk.

use super::SegmentId;
use raft::ids::GroupId;

/// Synced bytes are not what was written. The disk rots, or somebody removed or changed a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} is damaged at offset {offset}: {rot}")]
pub struct Damage {
    /// The segment.
    pub segment: SegmentId,
    /// Where in it the first bad batch or record begins, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub rot: Rot,
}

/// What is wrong with damaged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rot {
    /// The file is not there, though something synced says that it was.
    #[error("the file is missing")]
    Missing,
    /// There is no batch header where one was synced.
    #[error("a batch header was here")]
    Header,
    /// The header does not continue the chain of the one before it.
    #[error("the chain of batches is broken")]
    Chain,
    /// A record's crc, sequence, chain or length is wrong.
    #[error("a record is not what was written")]
    Record,
    /// Zeros behind the records are no longer zeros; no record is affected.
    #[error("the padding is not zero")]
    Padding,
    /// An entry read back for [`super::Journal::decode_entry`] is damaged or is another one.
    #[error("an entry is not what was written")]
    Entry,
}

/// The end of the journal was cut: a write that was under way when the node died. Nothing promised is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub segment: SegmentId,
    /// Where the torn batch begins, in bytes.
    pub offset: u64,
    /// Its number.
    pub batch: u64,
}

/// Why a journal cannot be opened at all. The node stops; nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The options contradict each other. Change the settings.
    #[error("journal options: {why}")]
    Options {
        /// Which rule they break.
        why: &'static str,
    },
    /// The life number is 0 or has been used by this journal before. Draw another one.
    #[error("life {life:#x} is not new")]
    Life {
        /// The number.
        life: u64,
    },
    /// A file's number is beyond what a journal ever reaches: it is not ours. Move it away.
    #[error("segment number {0} is impossible")]
    SegmentNumber(SegmentId),
    /// A file cannot be read, or says something else than a moment ago. Look at the disk.
    #[error("segment {segment} cannot be read: {why}")]
    Read {
        /// The segment.
        segment: SegmentId,
        /// What the system said.
        why: String,
    },
    /// Written by another version of this program. Start that version.
    #[error("segment {segment} at offset {offset}: record kind {kind} of version {version} is unknown here")]
    Unsupported {
        /// The segment.
        segment: SegmentId,
        /// Where the record (or header, then `kind` is 0) begins, in bytes.
        offset: u64,
        /// The kind of record.
        kind: u8,
        /// Its version.
        version: u16,
    },
    /// Right checksums, but a sequence of records that this program never writes: a bug, or a forgery. Report it.
    #[error("segment {segment} at offset {offset}, group {group}: {why}")]
    Impossible {
        /// The segment.
        segment: SegmentId,
        /// Where the record begins, in bytes.
        offset: u64,
        /// The group it is about.
        group: GroupId,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// The table of replicas and the end of the old chain need more than a segment holds. Raise the segment size.
    #[error("segments are too small: an opening of {needed} bytes does not fit")]
    SegmentTooSmall {
        /// Bytes the opening needs.
        needed: u64,
    },
}
