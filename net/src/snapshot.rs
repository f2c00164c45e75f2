//! Snapshots between stores: the frames of a connection of their own.
//!
//! ```text
//! sender    Begin                 Chunk ... Chunk        End
//! receiver         Answer::From      Answer::Written ...     Answer::Done, or Answer::Refused at any time
//! ```
//!
//! The group is the frame's target; a chunk's number is the frame's id and its bytes are the body, as every frame's crc
//! speaks for them. After a broken connection the sender begins again, and the answer says where to go on.

use crate::archive;
use crate::frame::{self, Kind};
use crate::request::BodyError;
use rkyv::with::InlineAsBox;

/// What a sender says of a snapshot before its first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct Begin<'a> {
    /// The replica that sends.
    pub from: u64,
    /// The replica it is for.
    pub to: u64,
    /// The sender's term.
    pub term: u64,
    /// Tells this snapshot from any other of the same sender.
    pub id: u64,
    /// The term of the last entry it covers.
    pub last_term: u64,
    /// The index of that entry.
    pub last_index: u64,
    /// The membership in force there, as raft encodes it.
    #[rkyv(with = InlineAsBox)]
    pub membership: &'a [u8],
}

/// What a receiver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub enum Answer {
    /// Go on at this chunk: everything before it has come.
    From(u64),
    /// Everything before this chunk has been written.
    Written(u64),
    /// The snapshot is installed.
    Done,
    /// It is not wanted, or no snapshot.
    Refused,
}

/// What a sender says behind the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct End {
    /// How many chunks there were.
    pub chunks: u64,
    /// The digest over all of them.
    pub digest: u64,
}

impl Begin<'_> {
    /// Appends it as a frame for `group`.
    pub fn write(&self, out: &mut Vec<u8>, group: u32) {
        let begun = frame::begin(out, Kind::SnapshotBegin, group, 0);
        archive::append(out, self);
        frame::finish(out, begun);
    }
}

/// Reads the body of a [`Kind::SnapshotBegin`] frame, in place.
pub fn begin(body: &[u8]) -> Result<Begin<'_>, BodyError> {
    let read: &ArchivedBegin<'_> = archive::read(body).ok_or(BodyError { what: "beginning of a snapshot" })?;
    Ok(Begin {
        from: read.from.to_native(),
        to: read.to.to_native(),
        term: read.term.to_native(),
        id: read.id.to_native(),
        last_term: read.last_term.to_native(),
        last_index: read.last_index.to_native(),
        membership: &read.membership,
    })
}

/// Appends chunk `number` as a frame.
pub fn write_chunk(out: &mut Vec<u8>, group: u32, number: u64, chunk: &[u8]) {
    let begun = frame::begin(out, Kind::SnapshotChunk, group, number);
    out.extend_from_slice(chunk);
    frame::finish(out, begun);
}

impl End {
    /// Appends it as a frame for `group`.
    pub fn write(&self, out: &mut Vec<u8>, group: u32) {
        let begun = frame::begin(out, Kind::SnapshotEnd, group, 0);
        archive::append(out, self);
        frame::finish(out, begun);
    }
}

/// Reads the body of a [`Kind::SnapshotEnd`] frame.
pub fn end(body: &[u8]) -> Result<End, BodyError> {
    let read: &ArchivedEnd = archive::read(body).ok_or(BodyError { what: "end of a snapshot" })?;
    Ok(End { chunks: read.chunks.to_native(), digest: read.digest.to_native() })
}

impl Answer {
    /// Appends it as a frame for `group`.
    pub fn write(&self, out: &mut Vec<u8>, group: u32) {
        let begun = frame::begin(out, Kind::SnapshotAnswer, group, 0);
        archive::append(out, self);
        frame::finish(out, begun);
    }
}

/// Reads the body of a [`Kind::SnapshotAnswer`] frame.
pub fn answer(body: &[u8]) -> Result<Answer, BodyError> {
    let read: &ArchivedAnswer = archive::read(body).ok_or(BodyError { what: "answer to a snapshot" })?;
    Ok(match read {
        ArchivedAnswer::From(chunk) => Answer::From(chunk.to_native()),
        ArchivedAnswer::Written(chunk) => Answer::Written(chunk.to_native()),
        ArchivedAnswer::Done => Answer::Done,
        ArchivedAnswer::Refused => Answer::Refused,
    })
}
