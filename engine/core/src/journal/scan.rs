//! Reading one segment: which batches continue which, and where that ends.
//!
//! A batch is whole or it is not: its header, each of its records and their chain must be right.

use super::SegmentId;
use super::error::{RecoverError, Rot};
use super::header::{BLOCK_BYTES_MIN, HEADER_BYTES, Header, NoHeader};
use super::record::Raw;
use std::borrow::Cow;

/// The contents of one segment file and every header in it that belongs to the file's present use.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub id: SegmentId,
    pub bytes: Cow<'a, [u8]>,
    /// Where, and what; ascending.
    pub headers: Vec<(u64, Header)>,
}

/// One batch that is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub offset: u64,
    pub header: Header,
    /// The bytes behind the records are zeros, as written.
    pub padded: bool,
    records: &'a [u8],
}

/// The batches of a segment up to the first that is not whole.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub batches: Vec<Batch<'a>>,
    /// Where the batches end, in bytes.
    pub end: u64,
    /// The crc of the last header.
    pub crc: u32,
    /// Why they end there.
    pub stopped: Rot,
}

/// Makes zeros of everything in `bytes` that would pass for a header of `segment`; whether there was anything. `bytes` are a part of a
/// file that is to be used again for that segment, and begin and end at multiples of 512 bytes, as batches do.
///
/// A value may hold anything, and numbers of segments can be guessed. Until the opening is written, and if it is torn, no life tells
/// such a header from a true one.
pub fn blank(segment: SegmentId, bytes: &mut [u8]) -> bool {
    let mut found = false;
    for block in bytes.chunks_mut(BLOCK_BYTES_MIN) {
        if Header::read(block, segment) != Err(NoHeader::Absent) {
            block.fill(0);
            found = true;
        }
    }
    found
}

impl<'a> Segment<'a> {
    /// Looks for headers at every place where one can be.
    ///
    /// A segment is written by one life. Where its opening can be read, what does not name that life is no header, whatever else it
    /// says: a value may hold anything, but nobody outside knows a life. Where it cannot, there is no such value: [`blank`] has been
    /// asked what the file held before, and the batch of an opening holds none that names its segment.
    pub fn new(id: SegmentId, bytes: Cow<'a, [u8]>) -> Result<Segment<'a>, RecoverError> {
        let life = Header::read(&bytes, id).ok().map(|opening| opening.life);
        let mut headers = Vec::new();
        for offset in (0..bytes.len()).step_by(BLOCK_BYTES_MIN) {
            match Header::read(&bytes[offset..], id) {
                Ok(header) if life.is_some_and(|life| life != header.life) => {}
                Ok(header) => headers.push((offset as u64, header)),
                Err(NoHeader::Absent) => {}
                Err(NoHeader::Version(_)) if life.is_some() => {}
                Err(NoHeader::Version(version)) => {
                    return Err(RecoverError::Unsupported { segment: id, offset: offset as u64, kind: 0, version });
                }
            }
        }
        Ok(Segment { id, bytes, headers })
    }

    /// The batches from the opening on, as far as they are whole; none at or behind `limit`.
    pub fn walk(&self, limit: u64) -> Walk<'_> {
        let mut walk = Walk { batches: Vec::new(), end: 0, crc: 0, stopped: Rot::Header };
        while walk.end < limit {
            match self.batch(walk.end, walk.batches.last().map(|batch| &batch.header)) {
                Ok(batch) => {
                    walk.end += batch.header.batch_bytes();
                    walk.crc = batch.header.crc;
                    walk.batches.push(batch);
                }
                Err(rot) => {
                    walk.stopped = rot;
                    break;
                }
            }
        }
        walk
    }

    fn batch(&self, offset: u64, before: Option<&Header>) -> Result<Batch<'_>, Rot> {
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).ok_or(Rot::Header)?;
        let header = Header::read(bytes, self.id).map_err(|_| Rot::Header)?;
        let follows = match before {
            Some(before) => header.follows(before, offset),
            None => header.opening && offset == 0,
        };
        if !follows {
            return Err(Rot::Chain);
        }
        let batch_bytes = usize::try_from(header.batch_bytes()).map_err(|_| Rot::Record)?;
        let bytes = bytes.get(..batch_bytes).ok_or(Rot::Record)?;
        let (records, padding) = bytes[HEADER_BYTES..].split_at(header.record_bytes as usize);
        let mut chain = Header::seed(header.life, self.id, header.number, header.previous);
        let (mut count, mut rest) = (0u32, records);
        while !rest.is_empty() {
            let raw = Raw::read(rest).ok_or(Rot::Record)?;
            if raw.previous != chain || Some(raw.sequence) != header.sequence.checked_add(u64::from(count)) {
                return Err(Rot::Record);
            }
            chain = raw.crc;
            count += 1;
            rest = &rest[raw.length..];
        }
        if count != header.records || chain != header.last {
            return Err(Rot::Record);
        }
        Ok(Batch { offset, header, padded: padding.iter().all(|byte| *byte == 0), records })
    }
}

impl<'a> Batch<'a> {
    /// Its records and where in the segment each begins.
    pub fn records(&self) -> impl Iterator<Item = (u64, Raw<'a>)> + use<'a> {
        let (mut offset, mut rest) = (self.offset + HEADER_BYTES as u64, self.records);
        std::iter::from_fn(move || {
            let raw = Raw::read(rest)?;
            let at = offset;
            offset += raw.length as u64;
            rest = &rest[raw.length..];
            Some((at, raw))
        })
    }
}
