//! The buffer a connection receives into and frames are read from, in place.
//!
//! Bytes are received into [`RecvBuffer::spare`], frames are taken from the front. What is left of a cut-off
//! frame moves to the front when room runs out; the buffer grows only as bytes really arrive (doubling), never to
//! an announced length, and never beyond one frame of the largest size. It starts small and doubles up to its initial
//! size as long as receives fill it; what it grew beyond that for a large frame it gives back once that is taken and no other is half there.

use crate::frame::{self, FrameError, HEADER_BYTES, Header, Parsed};

/// Below this much spare room a receive is not worth its system call.
const SPARE_BYTES_MIN: usize = 4 << 10;

/// What a connection starts with: many wait for a long time and say nothing.
const QUIET_BYTES: usize = 2 * SPARE_BYTES_MIN;

/// One connection's received bytes.
#[derive(Debug)]
pub struct RecvBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    needed: usize,
    initial: usize,
    body_bytes_max: usize,
}

/// One frame, borrowed from the buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// Its body, its crc right, its content unchecked.
    pub body: &'a [u8],
}

impl RecvBuffer {
    /// An empty buffer, of up to `initial` bytes (raised to 8 KiB) beside a large frame, that takes frames with bodies of
    /// up to `body_bytes_max` bytes.
    pub fn new(initial: usize, body_bytes_max: usize) -> RecvBuffer {
        let initial = initial.max(QUIET_BYTES);
        RecvBuffer { bytes: Vec::new(), start: 0, end: 0, needed: HEADER_BYTES, initial, body_bytes_max }
    }

    /// Room to receive into, at least one byte. Tell [`RecvBuffer::filled`] how much of it was used.
    ///
    /// Take all frames out first: a buffer that holds a whole frame and is full panics here.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes.resize(QUIET_BYTES, 0);
        }
        if self.bytes.len() - self.end < SPARE_BYTES_MIN && self.start > 0 {
            let was_full = self.end == self.bytes.len();
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if was_full {
                self.grow();
            }
        }
        if self.end == self.bytes.len() {
            // Room for one frame of the largest size and the start of the next, so that a read never brings 0 bytes.
            let cap = self.body_bytes_max + HEADER_BYTES + SPARE_BYTES_MIN;
            let grown = (2 * self.bytes.len()).min(cap.max(self.initial));
            assert!(grown > self.end, "a buffer of {grown} bytes is full: take the frames out first");
            self.bytes.resize(grown, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes of [`RecvBuffer::spare`] have been written.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "{count} bytes into {}", self.bytes.len() - self.end);
        self.end += count;
    }

    /// Appends a copy of `bytes`, growing as needed: for callers that own no buffer of their own (tests, simulations).
    pub fn push(&mut self, bytes: &[u8]) {
        let wanted = self.end + bytes.len();
        if wanted > self.bytes.len() {
            self.bytes.resize(wanted.max(self.initial), 0);
        }
        self.bytes[self.end..wanted].copy_from_slice(bytes);
        self.end = wanted;
    }

    /// The next whole frame, if there is one. After an error the connection cannot be read any further.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let held = self.end - self.start;
        if held < self.needed {
            self.rest();
            return Ok(None);
        }
        match frame::parse(&self.bytes[self.start..self.end], self.body_bytes_max)? {
            Parsed::NeedMore(needed) => {
                self.needed = needed;
                self.rest();
                Ok(None)
            }
            Parsed::Frame { header, body } => {
                let body = self.start + body.start..self.start + body.end;
                self.start = body.end;
                self.needed = HEADER_BYTES;
                Ok(Some(Frame { header, body: &self.bytes[body] }))
            }
        }
    }

    /// The next `count` bytes, if they are there, outside of any frame: a hello's.
    pub fn next_bytes(&mut self, count: usize) -> Option<&[u8]> {
        if self.len() < count {
            return None;
        }
        self.start += count;
        Some(&self.bytes[self.start - count..self.start])
    }

    /// Bytes held that belong to no frame taken so far.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How long the frame that is half there will be, as far as is known: a header at least.
    pub fn awaited(&self) -> usize {
        self.needed
    }

    /// Bytes of memory held, for the account of a connection's memory.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// More arrives at once than there is room for.
    fn grow(&mut self) {
        let grown = (2 * self.bytes.len()).min(self.initial);
        if grown > self.bytes.len() {
            self.bytes.resize(grown, 0);
        }
    }

    /// Nothing to take: an empty buffer starts from its front again, and one that grew gives its memory back, also if what it holds
    /// is the beginning of a small frame.
    fn rest(&mut self) {
        let grew = self.bytes.len() > self.initial;
        if self.start == self.end {
            let was_full = self.end == self.bytes.len();
            (self.start, self.end) = (0, 0);
            if grew {
                self.bytes = Vec::new();
            } else if was_full {
                self.grow();
            }
        } else if grew && self.needed <= self.initial {
            let held = self.start..self.end;
            let mut bytes = vec![0; self.initial];
            bytes[..held.len()].copy_from_slice(&self.bytes[held.clone()]);
            (self.start, self.end, self.bytes) = (0, held.len(), bytes);
        }
    }
}
