//! The header that opens every batch: who wrote it, what precedes it, what it holds.

use super::{Place, SegmentId};

/// Bytes of a batch header.
pub(super) const HEADER_BYTES: usize = 96;

/// Every batch begins at a multiple of this, whatever block size wrote it, so headers can be looked for.
pub(super) const BLOCK_BYTES_MIN: usize = 512;

const MAGIC: u32 = u32::from_le_bytes(*b"KVDJ");
const VERSION: u16 = 1;
/// Batch numbers and sequences are below this: nothing overflows, whatever a disk says.
const NUMBER_MAX: u64 = 1 << 62;
const OPENING: u16 = 1;

/// A batch header. The layout is in the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The first batch of a segment: begins with the list of segments and the table of replicas.
    pub opening: bool,
    pub block_bytes: u32,
    pub life: u64,
    pub segment: SegmentId,
    pub number: u64,
    /// Sequence of the first record.
    pub sequence: u64,
    pub records: u32,
    pub record_bytes: u32,
    /// Everything below was synced before this header was written.
    pub durable: Place,
    /// The oldest segment that is still needed.
    pub first: SegmentId,
    /// A spare that exists and will follow this segment; 0 if none was ready.
    pub next: SegmentId,
    /// The crc of the header before this one.
    pub previous: u32,
    /// The crc of the last record; the seed if there is none.
    pub last: u32,
    /// The crc of this header.
    pub crc: u32,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// Nothing here that says it is one and keeps its word.
    Absent,
    /// One of this segment, but of a version this program does not know.
    Version(u16),
}

/// The segments that `bytes` name as a header of theirs would, wherever it began in them.
pub(super) fn named_in(bytes: &[u8]) -> impl Iterator<Item = SegmentId> {
    let begins = bytes.windows(32).filter(|bytes| bytes.starts_with(&MAGIC.to_le_bytes()));
    begins.map(|bytes| SegmentId(u64_at(bytes, 24)))
}

impl Header {
    /// Writes the header into the first bytes of `batch` and returns its crc.
    pub fn write(&self, batch: &mut [u8]) -> u32 {
        let mut fields = Fields { bytes: &mut batch[..HEADER_BYTES], at: 0 };
        fields.put(&MAGIC.to_le_bytes());
        fields.put(&[0; 4]);
        fields.put(&VERSION.to_le_bytes());
        fields.put(&(if self.opening { OPENING } else { 0 }).to_le_bytes());
        fields.put(&self.block_bytes.to_le_bytes());
        fields.put(&self.life.to_le_bytes());
        fields.put(&self.segment.0.to_le_bytes());
        fields.put(&self.number.to_le_bytes());
        fields.put(&self.sequence.to_le_bytes());
        fields.put(&self.records.to_le_bytes());
        fields.put(&self.record_bytes.to_le_bytes());
        fields.put(&self.durable.segment.0.to_le_bytes());
        fields.put(&self.durable.offset.to_le_bytes());
        fields.put(&self.first.0.to_le_bytes());
        fields.put(&self.next.0.to_le_bytes());
        fields.put(&self.previous.to_le_bytes());
        fields.put(&self.last.to_le_bytes());
        assert_eq!(fields.at, HEADER_BYTES);
        let crc = crc32fast::hash(&batch[8..HEADER_BYTES]);
        batch[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads a header that the file of `segment` holds at the beginning of `bytes`.
    ///
    /// What the journal left behind in an earlier use of the file names another segment, and is no header; of what values
    /// left there [`super::blank`] has seen to it.
    pub fn read(bytes: &[u8], segment: SegmentId) -> Result<Header, NoHeader> {
        if bytes.len() < HEADER_BYTES || u32_at(bytes, 0) != MAGIC {
            return Err(NoHeader::Absent);
        }
        let crc = crc32fast::hash(&bytes[8..HEADER_BYTES]);
        if u32_at(bytes, 4) != crc || u64_at(bytes, 24) != segment.0 {
            return Err(NoHeader::Absent);
        }
        let (version, flags) = (u16_at(bytes, 8), u16_at(bytes, 10));
        if version != VERSION || flags & !OPENING != 0 {
            return Err(NoHeader::Version(version));
        }
        let block_bytes = u32_at(bytes, 12);
        let numbers = u64_at(bytes, 32).max(u64_at(bytes, 40));
        if !block_bytes.is_power_of_two() || (block_bytes as usize) < BLOCK_BYTES_MIN || numbers >= NUMBER_MAX {
            return Err(NoHeader::Absent);
        }
        Ok(Header {
            opening: flags & OPENING != 0,
            block_bytes,
            life: u64_at(bytes, 16),
            segment,
            number: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            records: u32_at(bytes, 48),
            record_bytes: u32_at(bytes, 52),
            durable: Place { segment: SegmentId(u64_at(bytes, 56)), offset: u64_at(bytes, 64) },
            first: SegmentId(u64_at(bytes, 72)),
            next: SegmentId(u64_at(bytes, 80)),
            previous: u32_at(bytes, 88),
            last: u32_at(bytes, 92),
            crc,
        })
    }

    /// What the first record of the batch is chained to: it binds the record to life, segment and batch.
    pub fn seed(life: u64, segment: SegmentId, number: u64, previous: u32) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&life.to_le_bytes());
        hasher.update(&segment.0.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(&previous.to_le_bytes());
        hasher.finalize()
    }

    /// Bytes of the whole batch, padding included.
    pub fn batch_bytes(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.record_bytes)).next_multiple_of(u64::from(self.block_bytes))
    }

    /// Whether this is the header that was written right after `before`, in the same segment, at `offset`.
    pub fn follows(&self, before: &Header, offset: u64) -> bool {
        !self.opening
            && self.life == before.life
            && self.segment == before.segment
            && Some(self.number) == before.number.checked_add(1)
            && Some(self.sequence) == before.sequence.checked_add(u64::from(before.records))
            && self.previous == before.crc
            && self.durable == Place { segment: self.segment, offset }
    }
}

struct Fields<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put(&mut self, value: &[u8]) {
        self.bytes[self.at..self.at + value.len()].copy_from_slice(value);
        self.at += value.len();
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
