//! The batches between `append` and the disk: one open, some closed, at most one being written.
//!
//! Where a record lies is decided when it is appended, so a batch is bound to its segment, offset and
//! number from its beginning. Only one write is in flight; therefore everything before a batch is synced when
//! the batch is written, and its header may say so.

use super::header::{HEADER_BYTES, Header};
use super::log::Position;
use super::record::Record;
use super::{Options, Place, SegmentId, Write};
use std::collections::VecDeque;

/// Buffers kept for the next batches.
const BUFFERS: usize = 4;

#[derive(Debug)]
pub(super) struct Writer {
    options: Options,
    life: u64,
    /// The batch that is being filled.
    batch: Batch,
    closed: VecDeque<Closed>,
    closed_bytes: usize,
    in_flight: Option<Flight>,
    /// Where the last closed batch ended: synced before the next one is written.
    durable: Place,
    /// The crc of the last closed header.
    previous: u32,
    /// Of the next record.
    sequence: u64,
    buffers: Vec<Vec<u8>>,
    /// The last batch that was written and synced, where it ended, and what it still lacks.
    written: Flight,
    seal_requested: bool,
}

#[derive(Debug)]
struct Batch {
    segment: SegmentId,
    offset: u64,
    number: u64,
    opening: bool,
    /// Holds a hard state or something like it: promised only when a header has followed.
    needs_seal: bool,
    bytes: Vec<u8>,
    records: u32,
    sequence: u64,
    /// What the next record is chained to.
    chain: u32,
}

#[derive(Debug)]
struct Closed {
    write: Write,
    flight: Flight,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    needs_seal: bool,
    is_seal: bool,
    end: Place,
}

/// What the chain knows when a batch is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments {
    pub first: SegmentId,
    pub next: SegmentId,
}

/// Where a chain that is continued was left.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub number: u64,
    pub sequence: u64,
    pub durable: Place,
    pub crc: u32,
}

impl Writer {
    /// Continues at `end`; nothing can be written before `open_segment`.
    pub fn new(options: Options, life: u64, end: End) -> Writer {
        let written = Flight { number: end.number, needs_seal: false, is_seal: true, end: end.durable };
        let batch = Batch {
            segment: SegmentId(0),
            offset: options.segment_bytes,
            number: end.number + 1,
            opening: false,
            needs_seal: false,
            bytes: vec![0; HEADER_BYTES],
            records: 0,
            sequence: end.sequence,
            chain: 0,
        };
        Writer {
            options,
            life,
            batch,
            closed: VecDeque::new(),
            closed_bytes: 0,
            in_flight: None,
            durable: end.durable,
            previous: end.crc,
            sequence: end.sequence,
            buffers: Vec::new(),
            written,
            seal_requested: false,
        }
    }

    /// The batch being filled.
    pub fn open_batch(&self) -> u64 {
        self.batch.number
    }

    /// The segment whose opening is in the batch being filled.
    pub fn opening(&self) -> Option<SegmentId> {
        self.batch.opening.then_some(self.batch.segment)
    }

    /// The last batch that holds a record.
    pub fn last_batch(&self) -> u64 {
        self.batch.number - u64::from(self.batch.records == 0)
    }

    pub fn has_records(&self) -> bool {
        self.batch.records > 0
    }

    /// Bytes appended and not yet taken.
    pub fn pending_bytes(&self) -> usize {
        self.closed_bytes + self.batch.bytes.len() - HEADER_BYTES
    }

    /// Where the chain is, and the crc it has there. Only between batches.
    pub fn position(&self) -> (Place, u32) {
        assert!(!self.has_records());
        (Place { segment: self.batch.segment, offset: self.batch.offset }, self.previous)
    }

    /// Whether `bytes` more would make the batch longer than one write may be.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.has_records() && self.batch.bytes.len() + bytes > self.options.batch_bytes_max
    }

    /// Whether `bytes` more fit the segment, with a block left for a seal.
    pub fn fits(&self, bytes: usize) -> bool {
        self.end_with(bytes) + self.options.block_bytes as u64 <= self.options.segment_bytes
    }

    /// Where the batch would end.
    pub fn end_with(&self, bytes: usize) -> u64 {
        self.batch.offset + (self.batch.bytes.len() + bytes).next_multiple_of(self.options.block_bytes) as u64
    }

    /// The next batch is the first one of `segment`.
    pub fn open_segment(&mut self, segment: SegmentId) {
        assert!(!self.has_records(), "batch {} is not closed", self.batch.number);
        (self.batch.segment, self.batch.offset, self.batch.opening) = (segment, 0, true);
    }

    /// Appends a record to the open batch. There is room: the caller has looked.
    pub fn push(&mut self, record: &Record<'_>, needs_seal: bool) -> Position {
        let batch = &mut self.batch;
        if batch.records == 0 {
            batch.sequence = self.sequence;
            batch.chain = Header::seed(self.life, batch.segment, batch.number, self.previous);
        }
        let at = batch.bytes.len();
        batch.chain = record.write(&mut batch.bytes, batch.chain, self.sequence);
        batch.records += 1;
        batch.needs_seal |= needs_seal;
        self.sequence += 1;
        let number = |value: u64| u32::try_from(value).expect("options keep segments below 4 GiB");
        Position {
            segment: number(batch.segment.0),
            offset: number(batch.offset + at as u64),
            length: number((batch.bytes.len() - at) as u64),
        }
    }

    /// Closes the open batch: its header is written, the next one begins behind it.
    pub fn close(&mut self, segments: Segments) {
        let mut bytes = std::mem::take(&mut self.batch.bytes);
        let record_bytes = u32::try_from(bytes.len() - HEADER_BYTES).expect("options keep batches below 4 GiB");
        if self.batch.records == 0 {
            // A seal. Its seed is made here, as no record was.
            self.batch.sequence = self.sequence;
            self.batch.chain = Header::seed(self.life, self.batch.segment, self.batch.number, self.previous);
        }
        let header = Header {
            opening: self.batch.opening,
            block_bytes: self.options.block_bytes as u32,
            life: self.life,
            segment: self.batch.segment,
            number: self.batch.number,
            sequence: self.batch.sequence,
            records: self.batch.records,
            record_bytes,
            durable: self.durable,
            first: segments.first,
            next: segments.next,
            previous: self.previous,
            last: self.batch.chain,
            crc: 0,
        };
        self.previous = header.write(&mut bytes);
        bytes.resize(bytes.len().next_multiple_of(self.options.block_bytes), 0);
        let end = Place { segment: header.segment, offset: self.batch.offset + bytes.len() as u64 };
        self.closed_bytes += bytes.len();
        self.closed.push_back(Closed {
            flight: Flight {
                number: header.number,
                needs_seal: self.batch.needs_seal,
                is_seal: header.records == 0,
                end,
            },
            write: Write { segment: header.segment, offset: self.batch.offset, bytes, batch: header.number },
        });
        self.durable = end;
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.resize(HEADER_BYTES, 0);
        self.batch = Batch {
            segment: end.segment,
            offset: end.offset,
            number: header.number + 1,
            opening: false,
            needs_seal: false,
            bytes,
            records: 0,
            sequence: self.sequence,
            chain: 0,
        };
        self.seal_requested = false;
    }

    /// Whether a batch waits to be taken: closed, or open with records in it.
    pub fn has_pending(&self) -> bool {
        !self.closed.is_empty() || self.has_records()
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Whether everything is written and the last batch is not sealed.
    pub fn wants_seal(&self) -> bool {
        !self.is_in_flight() && !self.has_pending() && !self.written.is_seal
    }

    /// Whether a seal should go out without further ado.
    pub fn must_seal(&self) -> bool {
        self.wants_seal() && (self.seal_requested || self.written.needs_seal)
    }

    pub fn request_seal(&mut self) {
        self.seal_requested = self.wants_seal() || self.is_in_flight();
    }

    /// The segment that the next closed batch goes to.
    pub fn next_segment(&self) -> Option<SegmentId> {
        self.closed.front().map(|closed| closed.write.segment)
    }

    /// The next closed batch, which now is in flight.
    pub fn take(&mut self) -> Option<Write> {
        assert!(self.in_flight.is_none(), "one write at a time");
        let Closed { write, flight } = self.closed.pop_front()?;
        self.closed_bytes -= write.bytes.len();
        self.in_flight = Some(flight);
        Some(write)
    }

    /// The write in flight is durable.
    pub fn done(&mut self, batch: u64) {
        let flight = self.in_flight.take();
        assert_eq!(flight.map(|flight| flight.number), Some(batch), "the batch that is in flight");
        self.written = flight.unwrap_or(self.written);
    }

    /// The last batch whose promises hold.
    pub fn promised(&self) -> u64 {
        self.written.number - u64::from(self.written.needs_seal)
    }

    /// The last batch behind which a header is durable, or that is nothing but a header.
    pub fn sealed(&self) -> u64 {
        self.written.number - u64::from(!self.written.is_seal)
    }

    /// Whether the record at `position` is durable, so that it can be read.
    pub fn is_written(&self, position: Position) -> bool {
        let end = self.written.end;
        (u64::from(position.segment), u64::from(position.offset)) < (end.segment.0, end.offset)
    }

    /// A buffer whose bytes are written.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
