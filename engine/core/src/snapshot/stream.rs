//! The records of a snapshot as bytes, cut into chunks wherever they are full.
//!
//! ```text
//! record = kind u8 | key length u32 | value length u32 | key | value        little endian
//! digest of n chunks = xxh3 of the last chunk, seeded with the digest of those before it
//! ```
//!
//! A chunk may end inside a record: the decoder keeps the rest until the next one comes. Each chunk's own
//! bytes are checked by the crc of the frame it travels in; the digest at the end speaks for all of them, in order.

use super::End;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A chunk is never larger.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// No key of a store is longer.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// No value of a store is longer.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

const HEAD_BYTES: usize = 9;

/// What a record is. The numbers are on the wire: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The founding record of the cluster; no key.
    Founding = 1,
    /// A session under its key.
    Session = 2,
    /// A user's key and value.
    Data = 3,
    /// The cluster map, if it is not that of the founding; no key.
    Map = 4,
}

/// One record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Why chunks are no snapshot. Nothing of it may be installed: drop what has come, and tell the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A kind this version does not know.
    #[error("a record of kind {0}")]
    Kind(u8),
    /// A key or value longer than any store has.
    #[error("a record with a key of {key} and a value of {value} bytes")]
    TooLong {
        /// Bytes of the key.
        key: usize,
        /// Bytes of the value.
        value: usize,
    },
    /// A key that no record of its kind has.
    #[error("a record of kind {0:?} with a key that is none")]
    Key(Kind),
    /// A value that no record of its kind has.
    #[error("a record of kind {0:?} with a value that is none")]
    Value(Kind),
    /// The stream ends inside a record.
    #[error("the snapshot ends inside a record")]
    CutOff,
    /// The chunks are not those that were sent.
    #[error("{found:?} came, {expected:?} was sent")]
    Digest {
        /// What the receiver computed.
        found: End,
        /// What the sender said.
        expected: End,
    },
}

/// Makes chunks of records.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    chunk_bytes: usize,
    sent: Digest,
}

/// Makes records of chunks.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The front of a record whose rest has not come yet.
    rest: Vec<u8>,
    taken: Digest,
}

#[derive(Clone, Copy, Debug, Default)]
struct Digest {
    chunks: u64,
    digest: u64,
}

impl Digest {
    fn add(&mut self, chunk: &[u8]) {
        self.chunks += 1;
        self.digest = xxh3_64_with_seed(chunk, self.digest);
    }

    fn end(self) -> End {
        End { chunks: self.chunks, digest: self.digest }
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new(CHUNK_BYTES_MAX)
    }
}

impl Encoder {
    /// One whose chunks have at most `chunk_bytes` bytes, from 1 to [`CHUNK_BYTES_MAX`].
    pub fn new(chunk_bytes: usize) -> Encoder {
        let chunk_bytes = chunk_bytes.clamp(1, CHUNK_BYTES_MAX);
        Encoder { bytes: Vec::new(), chunk_bytes, sent: Digest::default() }
    }

    /// Adds a record.
    pub fn push(&mut self, kind: Kind, key: &[u8], value: &[u8]) {
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// Whether a chunk is full.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.chunk_bytes
    }

    /// The next chunk: a full one, or what there is; empty if there is nothing.
    pub fn chunk(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.bytes.len().min(self.chunk_bytes));
        let chunk = std::mem::replace(&mut self.bytes, rest);
        if !chunk.is_empty() {
            self.sent.add(&chunk);
        }
        chunk
    }

    /// What ends the stream, once everything has been taken.
    pub fn end(&self) -> Option<End> {
        self.bytes.is_empty().then(|| self.sent.end())
    }
}

impl Decoder {
    /// Takes the next chunk and gives every record that it completes to `take`.
    pub fn take<E: From<StreamError>>(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.taken.add(chunk);
        let joined;
        let mut bytes = if self.rest.is_empty() {
            chunk
        } else {
            self.rest.extend_from_slice(chunk);
            joined = std::mem::take(&mut self.rest);
            &joined[..]
        };
        while let Some((record, length)) = first(bytes)? {
            take(record)?;
            bytes = &bytes[length..];
        }
        self.rest = bytes.to_vec();
        Ok(())
    }

    /// Whether what was taken is the whole stream that ends in `expected`.
    pub fn finish(&self, expected: End) -> Result<(), StreamError> {
        let found = self.taken.end();
        if found != expected {
            return Err(StreamError::Digest { found, expected });
        }
        if !self.rest.is_empty() {
            return Err(StreamError::CutOff);
        }
        Ok(())
    }
}

/// The record at the front and how long it is; `None` if it is not whole.
fn first(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, StreamError> {
    let Some((&[kind, k0, k1, k2, k3, v0, v1, v2, v3], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let key = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
    let value = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
    let kind = match kind {
        1 => Kind::Founding,
        2 => Kind::Session,
        3 => Kind::Data,
        4 => Kind::Map,
        other => return Err(StreamError::Kind(other)),
    };
    if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
        return Err(StreamError::TooLong { key, value });
    }
    if rest.len() < key + value {
        return Ok(None);
    }
    let record = Record { kind, key: &rest[..key], value: &rest[key..key + value] };
    Ok(Some((record, HEAD_BYTES + key + value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (Kind, Vec<u8>, Vec<u8>);

    fn records() -> Vec<Owned> {
        let mut records = vec![(Kind::Founding, vec![], vec![9; 40]), (Kind::Session, vec![1; 20], vec![2; 90])];
        let sizes = [0, 1, 1000, 100_000, 1 << 20, 3];
        records.extend(sizes.iter().zip(0u8..).map(|(&size, key)| (Kind::Data, vec![key; 5], vec![key; size])));
        records
    }

    fn chunks(records: &[Owned]) -> (Vec<Vec<u8>>, End) {
        let (mut encoder, mut chunks) = (Encoder::default(), Vec::new());
        for (kind, key, value) in records {
            encoder.push(*kind, key, value);
            while encoder.is_full() {
                chunks.push(encoder.chunk());
            }
        }
        // Nobody sends an empty chunk.
        chunks.extend(Some(encoder.chunk()).filter(|chunk| !chunk.is_empty()));
        (chunks, encoder.end().expect("everything was taken"))
    }

    fn decode(chunks: &[Vec<u8>], end: End) -> Result<Vec<Owned>, StreamError> {
        let (mut decoder, mut records) = (Decoder::default(), Vec::new());
        for chunk in chunks {
            decoder.take(chunk, |record| {
                records.push((record.kind, record.key.to_vec(), record.value.to_vec()));
                Ok::<(), StreamError>(())
            })?;
        }
        decoder.finish(end).map(|()| records)
    }

    #[test]
    fn what_was_pushed_comes_out_again_and_no_chunk_is_too_large() {
        let (chunks, end) = chunks(&records());
        assert!(chunks.len() > 4 && chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
        assert_eq!(decode(&chunks, end), Ok(records()));
    }

    #[test]
    fn a_chunk_that_is_missing_or_changed_or_out_of_order_is_noticed() {
        let (sent, end) = chunks(&records());
        let mut fewer = sent.clone();
        fewer.pop();
        assert!(decode(&fewer, end).is_err());
        let mut other = sent.clone();
        *other[0].last_mut().expect("it has bytes") ^= 1;
        assert!(decode(&other, end).is_err());
        let small: Vec<Owned> = (0u8..3).map(|key| (Kind::Data, vec![key], vec![7; CHUNK_BYTES_MAX - 10])).collect();
        let (mut sent, end) = chunks(&small);
        assert!(decode(&sent, end).is_ok());
        sent.swap(0, 1);
        assert!(matches!(decode(&sent, end), Err(StreamError::Digest { .. })));
    }

    #[test]
    fn a_lying_length_is_refused_before_it_is_waited_for() {
        let mut bytes = vec![3];
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        assert!(matches!(decode(&[bytes], End { chunks: 1, digest: 0 }), Err(StreamError::TooLong { .. })));
        assert_eq!(decode(&[vec![77; 9]], End { chunks: 1, digest: 0 }), Err(StreamError::Kind(77)));
    }
}
