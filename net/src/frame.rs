//! The frame: a 24-byte header and a body, checked by one crc32.
//!
//! ```text
//!  0      4     8      9         10         12       16    24
//!  length crc   kind   version   reserved   target   id    body ...
//!  u32    u32   u8     u8        u16 = 0    u32      u64   `length` bytes
//! ```
//!
//! Little endian. The crc covers the length, bytes 8..24 and the body: everything but itself. `target` is the
//! group a request is for (0 where none is), `id` pairs an answer with its request. The length is compared with
//! the reader's limit before anything is allocated for it.
//!
//! Frames are encoded in place: [`begin`] leaves room for the header in the connection's own buffer, the body is
//! written behind it, [`finish`] fills the header in. They are parsed in place from a [`crate::receive::RecvBuffer`].

use std::ops::Range;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 24;

/// The largest body anyone may send, in bytes. Four times the default limit of a value, so that a batch
/// or a page of large values fits; small enough that a hostile length costs little.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// The version this code speaks. A frame of another version is refused by name ([`FrameError::Version`]).
pub const VERSION: u8 = 1;

/// What a frame's body is. The numbers are on the wire: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A command's bytes, as `engine_core::command` encodes them; `target` is the group.
    Write = 1,
    /// A [`crate::request::ReadRequest`]; `target` is the group.
    Read = 2,
    /// A [`crate::request::ScanRequest`]; `target` is the group.
    Scan = 3,
    /// No body: the node's [`crate::status::NodeStatus`] is wanted.
    Status = 4,
    /// No body: the cluster map is wanted.
    Routing = 5,
    /// No body: the checksum of the replica of group `target` on this node is wanted.
    Checksum = 6,
    /// A [`crate::request::StopRequest`].
    Stop = 7,
    /// No body: answered with `Done`.
    Ping = 8,
    /// A [`crate::response::Response`] to the request with the same id.
    Response = 64,
    /// Raft messages of many groups ([`crate::peer`]).
    PeerBatch = 128,
    /// One word between cores that concerns many groups ([`crate::exchange`]).
    Exchange = 129,
    /// What a node asks another before there is a cluster ([`crate::founding`]).
    FoundingQuery = 130,
    /// The answer to [`Kind::FoundingQuery`].
    FoundingAnswer = 131,
    /// A [`crate::snapshot::Begin`]; `target` is the group.
    SnapshotBegin = 132,
    /// A chunk's bytes; `id` is its number.
    SnapshotChunk = 133,
    /// A [`crate::snapshot::End`].
    SnapshotEnd = 134,
    /// A [`crate::snapshot::Answer`] of the receiver.
    SnapshotAnswer = 135,
    /// Whether there is a newer cluster map ([`crate::follow`]).
    MapQuery = 136,
    /// The answer to [`Kind::MapQuery`].
    MapAnswer = 137,
    /// A node with an empty disk asks to come back ([`crate::follow`]).
    Petition = 138,
    /// The answer to [`Kind::Petition`].
    PetitionAnswer = 139,
}

impl Kind {
    /// The kind with this number; `None` for one this version does not know.
    pub fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Write,
            2 => Kind::Read,
            3 => Kind::Scan,
            4 => Kind::Status,
            5 => Kind::Routing,
            6 => Kind::Checksum,
            7 => Kind::Stop,
            8 => Kind::Ping,
            64 => Kind::Response,
            128 => Kind::PeerBatch,
            129 => Kind::Exchange,
            130 => Kind::FoundingQuery,
            131 => Kind::FoundingAnswer,
            132 => Kind::SnapshotBegin,
            133 => Kind::SnapshotChunk,
            134 => Kind::SnapshotEnd,
            135 => Kind::SnapshotAnswer,
            136 => Kind::MapQuery,
            137 => Kind::MapAnswer,
            138 => Kind::Petition,
            139 => Kind::PetitionAnswer,
            _ => return None,
        })
    }
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub length: u32,
    /// What the body is, as a number: an unknown one is answered "unsupported", it does not end the connection.
    pub kind: u8,
    /// The group a request is for; 0 where none is meant.
    pub target: u32,
    /// Pairs an answer with its request. Chosen by the asker, meaningless to the other side.
    pub id: u64,
}

impl Header {
    /// The kind, if this version knows it.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind)
    }
}

/// What stands at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The front of a frame. The buffer must hold this many bytes before it is worth asking again.
    NeedMore(usize),
    /// A whole frame, its crc right. The body is at `body`; the next frame starts at `body.end`.
    Frame {
        /// The header.
        header: Header,
        /// Where the body lies in the buffer that was given.
        body: Range<usize>,
    },
}

/// Why a stream of frames cannot be read any further. The connection is of no more use: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced body is larger than the reader takes. Nothing was allocated for it.
    #[error("a frame of {length} bytes, the limit is {limit}")]
    TooLarge {
        /// The announced length.
        length: u32,
        /// The reader's limit.
        limit: usize,
    },
    /// Another version of the frame format, or reserved bits that this version does not know.
    #[error("a frame of version {version}, this side speaks {VERSION}")]
    Version {
        /// What the frame says.
        version: u8,
    },
    /// The bytes changed on their way, or were never a frame.
    #[error("the frame's crc is {found:08x}, its bytes give {computed:08x}")]
    Crc {
        /// What the frame says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
}

/// Reads the frame at the front of `bytes`, without copying. `body_bytes_max` is the reader's limit.
pub fn parse(bytes: &[u8], body_bytes_max: usize) -> Result<Parsed, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        // The length is judged as soon as it is there, so a hostile one never waits for the rest.
        if let Some(length) = bytes.first_chunk::<4>() {
            check_length(u32::from_le_bytes(*length), body_bytes_max)?;
        }
        return Ok(Parsed::NeedMore(HEADER_BYTES));
    };
    let length = word(header, 0);
    check_length(length, body_bytes_max)?;
    let version = header[9];
    if version != VERSION {
        return Err(FrameError::Version { version });
    }
    let end = HEADER_BYTES + length as usize;
    if bytes.len() < end {
        return Ok(Parsed::NeedMore(end));
    }
    let (found, computed) = (word(header, 4), crc_of(&bytes[..end]));
    if found != computed {
        return Err(FrameError::Crc { found, computed });
    }
    if header[10..12] != [0, 0] {
        return Err(FrameError::Version { version });
    }
    let mut id = [0; 8];
    id.copy_from_slice(&header[16..24]);
    let header = Header { length, kind: header[8], target: word(header, 12), id: u64::from_le_bytes(id) };
    Ok(Parsed::Frame { header, body: HEADER_BYTES..end })
}

/// A frame whose body is being written. Hand it to [`finish`], or to [`abandon`].
#[must_use = "the header is not there before finish()"]
#[derive(Debug)]
pub struct Begun {
    start: usize,
}

impl Begun {
    /// Where the body starts in the buffer.
    pub fn body_start(&self) -> usize {
        self.start + HEADER_BYTES
    }
}

/// Starts a frame at the end of `out`: append the body, then call [`finish`].
pub fn begin(out: &mut Vec<u8>, kind: Kind, target: u32, id: u64) -> Begun {
    let start = out.len();
    let mut header = [0; HEADER_BYTES];
    header[8] = kind as u8;
    header[9] = VERSION;
    header[12..16].copy_from_slice(&target.to_le_bytes());
    header[16..24].copy_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&header);
    Begun { start }
}

/// Ends the frame: everything appended to `out` since [`begin`] is its body.
///
/// Panics if the body is larger than [`BODY_BYTES_MAX`]: the limits on what may be asked for and answered are
/// checked before anything is encoded, so that is a broken invariant of the sender.
pub fn finish(out: &mut [u8], begun: Begun) {
    let frame = &mut out[begun.start..];
    let length = frame.len() - HEADER_BYTES;
    assert!(length <= BODY_BYTES_MAX, "a frame with a body of {length} bytes");
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    let crc = crc_of(frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Takes a begun frame back: `out` is as it was before [`begin`].
pub fn abandon(out: &mut Vec<u8>, begun: Begun) {
    out.truncate(begun.start);
}

/// Appends a whole frame with a ready body.
pub fn write(out: &mut Vec<u8>, kind: Kind, target: u32, id: u64, body: &[u8]) {
    let begun = begin(out, kind, target, id);
    out.extend_from_slice(body);
    finish(out, begun);
}

fn check_length(length: u32, limit: usize) -> Result<(), FrameError> {
    if length as usize > limit { Err(FrameError::TooLarge { length, limit }) } else { Ok(()) }
}

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// The crc of everything in `frame` but the crc itself.
fn crc_of(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}
