//! The records of a batch: how each is laid out, written and read.

use super::SegmentId;
use super::header::{u16_at, u32_at, u64_at};
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};

/// Bytes before the body of every record.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Bytes of an entry record beside its payload.
pub(super) const ENTRY_RECORD_BYTES: usize = RECORD_HEADER_BYTES + ENTRY_BODY_BYTES;

const ENTRY_BODY_BYTES: usize = 24;
const ROW_BODY_BYTES: usize = 64;
const SEGMENT_ROW_BYTES: usize = 32;
const VERSION: u8 = 1;
const PAYLOAD_VERSION: u8 = 1;
/// Terms and indexes are below this: nothing overflows, whatever a disk says.
const NUMBER_MAX: u64 = 1 << 62;
const HAS_VOTE: u8 = 1;
const UNSOUND: u8 = 2;

/// What a record is. The numbers are on the disk: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Life = 1,
    Segments = 2,
    Row = 3,
    Entry = 4,
    HardState = 5,
    LogStart = 6,
    Created = 7,
    Removed = 8,
}

/// Everything about one replica but its entries: a row of a segment's table, or a replica's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub group: GroupId,
    pub replica: ReplicaId,
    pub hard_state: HardState,
    pub log_start: LogId,
    pub last: LogId,
    pub sound: bool,
    pub membership: &'a [u8],
}

/// A segment that precedes the one whose opening names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentRow {
    pub segment: SegmentId,
    pub life: u64,
    /// Nothing from here on belongs to the chain.
    pub end: u64,
    /// The crc of the last header before `end`.
    pub crc: u32,
}

/// One record, borrowed from the bytes it was read from or will be copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// A life begins here.
    Life { life: u64 },
    /// The segments that are still needed, oldest first, without the one this stands in.
    Segments(Vec<SegmentRow>),
    /// One replica as it is where its segment begins.
    Row(Row<'a>),
    /// An entry; it replaces everything from its index on.
    Entry { group: GroupId, kind: EntryKind, id: LogId, payload: &'a [u8] },
    /// Term and vote.
    HardState { group: GroupId, hard_state: HardState },
    /// The log starts after `start`; with `restart`, empty.
    LogStart { group: GroupId, start: LogId, restart: bool, membership: &'a [u8] },
    /// A replica enters the journal; what the group had here before is gone.
    Created(Row<'a>),
    /// The replica left the journal.
    Removed { group: GroupId },
}

/// A record whose own crc is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub length: usize,
    pub crc: u32,
    pub previous: u32,
    pub sequence: u64,
    kind: u8,
    version: u8,
    body: &'a [u8],
}

/// Why a record with a right crc is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    /// Written by another version of this program.
    Unsupported { kind: u8, version: u8 },
    /// Shorter or longer than its kind is, or a field has an impossible value.
    Malformed,
}

impl<'a> Record<'a> {
    /// The record of `entry`.
    pub fn entry(group: GroupId, entry: &'a Entry) -> Record<'a> {
        Record::Entry { group, kind: entry.kind, id: entry.id(), payload: &entry.payload }
    }

    /// Bytes it takes in a batch.
    pub fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES
            + match self {
                Record::Life { .. } => 8,
                Record::Segments(rows) => rows.len() * SEGMENT_ROW_BYTES,
                Record::Row(row) | Record::Created(row) => ROW_BODY_BYTES + row.membership.len(),
                Record::Entry { payload, .. } => ENTRY_BODY_BYTES + payload.len(),
                Record::HardState { .. } => 24,
                Record::LogStart { membership, .. } => 24 + membership.len(),
                Record::Removed { .. } => 8,
            }
    }

    /// Appends the record to `batch`, chained to `previous`, and returns its crc.
    pub fn write(&self, batch: &mut Vec<u8>, previous: u32, sequence: u64) -> u32 {
        let start = batch.len();
        let length = u32::try_from(self.bytes()).expect("a record is smaller than a segment");
        batch.reserve(length as usize);
        batch.extend_from_slice(&[0; 4]);
        batch.extend_from_slice(&length.to_le_bytes());
        batch.extend_from_slice(&previous.to_le_bytes());
        batch.extend_from_slice(&[self.kind() as u8, VERSION, 0, 0]);
        batch.extend_from_slice(&sequence.to_le_bytes());
        self.write_body(batch);
        assert_eq!(batch.len() - start, length as usize);
        let crc = crc32fast::hash(&batch[start + 4..]);
        batch[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    fn kind(&self) -> Kind {
        match self {
            Record::Life { .. } => Kind::Life,
            Record::Segments(_) => Kind::Segments,
            Record::Row(_) => Kind::Row,
            Record::Entry { .. } => Kind::Entry,
            Record::HardState { .. } => Kind::HardState,
            Record::LogStart { .. } => Kind::LogStart,
            Record::Created(_) => Kind::Created,
            Record::Removed { .. } => Kind::Removed,
        }
    }

    fn write_body(&self, batch: &mut Vec<u8>) {
        match self {
            Record::Life { life } => batch.extend_from_slice(&life.to_le_bytes()),
            Record::Segments(rows) => {
                for row in rows {
                    batch.extend_from_slice(&row.segment.0.to_le_bytes());
                    batch.extend_from_slice(&row.life.to_le_bytes());
                    batch.extend_from_slice(&row.end.to_le_bytes());
                    batch.extend_from_slice(&row.crc.to_le_bytes());
                    batch.extend_from_slice(&[0; 4]);
                }
            }
            Record::Row(row) | Record::Created(row) => {
                let flags = vote_flag(&row.hard_state) | if row.sound { 0 } else { UNSOUND };
                write_group(batch, row.group, flags, 0);
                batch.extend_from_slice(&row.replica.0.to_le_bytes());
                write_hard_state(batch, &row.hard_state);
                write_id(batch, row.log_start);
                write_id(batch, row.last);
                batch.extend_from_slice(row.membership);
            }
            Record::Entry { group, kind, id, payload } => {
                write_group(batch, *group, *kind as u8, PAYLOAD_VERSION);
                write_id(batch, *id);
                batch.extend_from_slice(payload);
            }
            Record::HardState { group, hard_state } => {
                write_group(batch, *group, vote_flag(hard_state), 0);
                write_hard_state(batch, hard_state);
            }
            Record::LogStart { group, start, restart, membership } => {
                write_group(batch, *group, u8::from(*restart), 0);
                write_id(batch, *start);
                batch.extend_from_slice(membership);
            }
            Record::Removed { group } => write_group(batch, *group, 0, 0),
        }
    }
}

impl<'a> Raw<'a> {
    /// The record at the beginning of `bytes`, if its crc says that it is one.
    pub fn read(bytes: &'a [u8]) -> Option<Raw<'a>> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return None;
        }
        let length = u32_at(bytes, 4) as usize;
        if length < RECORD_HEADER_BYTES || length > bytes.len() {
            return None;
        }
        let crc = crc32fast::hash(&bytes[4..length]);
        (crc == u32_at(bytes, 0)).then(|| Raw {
            length,
            crc,
            previous: u32_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            kind: bytes[12],
            version: bytes[13],
            body: &bytes[RECORD_HEADER_BYTES..length],
        })
    }

    /// What the record says.
    pub fn parse(&self) -> Result<Record<'a>, ParseError> {
        let unsupported = ParseError::Unsupported { kind: self.kind, version: self.version };
        if self.version != VERSION {
            return Err(unsupported);
        }
        let body = self.body;
        let least = |bytes: usize| if body.len() < bytes { Err(ParseError::Malformed) } else { Ok(()) };
        let exactly = |bytes: usize| if body.len() != bytes { Err(ParseError::Malformed) } else { Ok(()) };
        if self.kind == Kind::Life as u8 {
            exactly(8)?;
            Ok(Record::Life { life: u64_at(body, 0) })
        } else if self.kind == Kind::Segments as u8 {
            exactly(body.len().next_multiple_of(SEGMENT_ROW_BYTES))?;
            Ok(Record::Segments(body.chunks_exact(SEGMENT_ROW_BYTES).map(segment_row).collect()))
        } else if self.kind == Kind::Row as u8 {
            least(ROW_BODY_BYTES)?;
            Ok(Record::Row(row(body)?))
        } else if self.kind == Kind::Entry as u8 {
            least(ENTRY_BODY_BYTES)?;
            let kind = EntryKind::from_number(body[4]).ok_or(ParseError::Malformed)?;
            if body[5] != PAYLOAD_VERSION {
                return Err(ParseError::Unsupported { kind: self.kind, version: body[5] });
            }
            Ok(Record::Entry { group: group(body), kind, id: id_at(body, 8)?, payload: &body[ENTRY_BODY_BYTES..] })
        } else if self.kind == Kind::HardState as u8 {
            exactly(24)?;
            Ok(Record::HardState { group: group(body), hard_state: hard_state_at(body, 8, body[4])? })
        } else if self.kind == Kind::LogStart as u8 {
            least(24)?;
            let restart = match body[4] {
                0 => false,
                1 => true,
                _ => return Err(ParseError::Malformed),
            };
            Ok(Record::LogStart { group: group(body), start: id_at(body, 8)?, restart, membership: &body[24..] })
        } else if self.kind == Kind::Created as u8 {
            least(ROW_BODY_BYTES)?;
            Ok(Record::Created(row(body)?))
        } else if self.kind == Kind::Removed as u8 {
            exactly(8)?;
            Ok(Record::Removed { group: group(body) })
        } else {
            Err(unsupported)
        }
    }
}

fn vote_flag(hard_state: &HardState) -> u8 {
    if hard_state.vote.is_some() { HAS_VOTE } else { 0 }
}

fn write_group(batch: &mut Vec<u8>, group: GroupId, flags: u8, version: u8) {
    batch.extend_from_slice(&group.0.to_le_bytes());
    batch.extend_from_slice(&[flags, version, 0, 0]);
}

fn write_id(batch: &mut Vec<u8>, id: LogId) {
    batch.extend_from_slice(&id.term.0.to_le_bytes());
    batch.extend_from_slice(&id.index.0.to_le_bytes());
}

fn write_hard_state(batch: &mut Vec<u8>, hard_state: &HardState) {
    batch.extend_from_slice(&hard_state.term.0.to_le_bytes());
    batch.extend_from_slice(&hard_state.vote.map_or(0, |vote| vote.0).to_le_bytes());
}

fn group(body: &[u8]) -> GroupId {
    GroupId(u32_at(body, 0))
}

fn id_at(body: &[u8], at: usize) -> Result<LogId, ParseError> {
    let (term, index) = (u64_at(body, at), u64_at(body, at + 8));
    if term.max(index) >= NUMBER_MAX {
        return Err(ParseError::Malformed);
    }
    Ok(LogId { term: Term(term), index: Index(index) })
}

fn hard_state_at(body: &[u8], at: usize, flags: u8) -> Result<HardState, ParseError> {
    if flags & !(HAS_VOTE | UNSOUND) != 0 || u16_at(body, 6) != 0 {
        return Err(ParseError::Malformed);
    }
    let vote = (flags & HAS_VOTE != 0).then(|| ReplicaId(u64_at(body, at + 8)));
    Ok(HardState { term: Term(u64_at(body, at)), vote })
}

fn row(body: &[u8]) -> Result<Row<'_>, ParseError> {
    Ok(Row {
        group: group(body),
        replica: ReplicaId(u64_at(body, 8)),
        hard_state: hard_state_at(body, 16, body[4])?,
        log_start: id_at(body, 32)?,
        last: id_at(body, 48)?,
        sound: body[4] & UNSOUND == 0,
        membership: &body[ROW_BODY_BYTES..],
    })
}

fn segment_row(bytes: &[u8]) -> SegmentRow {
    SegmentRow {
        segment: SegmentId(u64_at(bytes, 0)),
        life: u64_at(bytes, 8),
        end: u64_at(bytes, 16),
        crc: u32_at(bytes, 24),
    }
}
