//! What a client asks: the bodies of the request frames.
//!
//! A write's body is the command itself ([`engine_core::command`]): the very bytes that are replicated and applied.
//! Status, routing, checksum and ping have no body; the rest are rkyv archives that borrow what they are made of,
//! so a request is encoded once, into the connection's buffer, and read where it was received.
//! The group is in the frame's header.

use crate::archive;
use crate::frame::{self, Kind};
use rkyv::with::{InlineAsBox, Map};

/// One key is wanted. Read with [`read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct ReadRequest<'a> {
    /// The key.
    #[rkyv(with = InlineAsBox)]
    pub key: &'a [u8],
    /// Whatever this replica has is good enough; else the answer is linearizable and only the leader gives it.
    pub stale: bool,
}

/// A run of keys of one group is wanted, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct ScanRequest<'a> {
    /// The first key that counts.
    #[rkyv(with = InlineAsBox)]
    pub start: &'a [u8],
    /// The first key that counts no more; `None`: to the end.
    #[rkyv(with = Map<InlineAsBox>)]
    pub end: Option<&'a [u8]>,
    /// At most this many entries. The node may give fewer and say that there are more.
    pub limit: u32,
    /// As in [`ReadRequest::stale`].
    pub stale: bool,
}

/// The node shall stop. Accepted from its own machine only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct StopRequest {
    /// Hand leaders over and flush first; else exit at once, as if killed.
    pub clean: bool,
}

/// The body is not what the frame's kind says. Answer "bad request"; the connection is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the {what} cannot be read")]
pub struct BodyError {
    /// What it should have been.
    pub what: &'static str,
}

/// Reads the body of a [`Kind::Read`] frame, in place.
pub fn read(body: &[u8]) -> Result<&ArchivedReadRequest<'_>, BodyError> {
    archive::read(body).ok_or(BodyError { what: "read request" })
}

/// Reads the body of a [`Kind::Scan`] frame, in place.
pub fn scan(body: &[u8]) -> Result<&ArchivedScanRequest<'_>, BodyError> {
    archive::read(body).ok_or(BodyError { what: "scan request" })
}

/// Reads the body of a [`Kind::Stop`] frame.
pub fn stop(body: &[u8]) -> Result<StopRequest, BodyError> {
    let archived: &ArchivedStopRequest = archive::read(body).ok_or(BodyError { what: "stop request" })?;
    Ok(StopRequest { clean: archived.clean })
}

/// Appends a whole read frame to `out`.
pub fn write_read(out: &mut Vec<u8>, group: u32, id: u64, request: &ReadRequest<'_>) {
    let begun = frame::begin(out, Kind::Read, group, id);
    archive::append(out, request);
    frame::finish(out, begun);
}

/// Appends a whole scan frame to `out`.
pub fn write_scan(out: &mut Vec<u8>, group: u32, id: u64, request: &ScanRequest<'_>) {
    let begun = frame::begin(out, Kind::Scan, group, id);
    archive::append(out, request);
    frame::finish(out, begun);
}

/// Appends a whole stop frame to `out`.
pub fn write_stop(out: &mut Vec<u8>, id: u64, request: StopRequest) {
    let begun = frame::begin(out, Kind::Stop, 0, id);
    archive::append(out, &request);
    frame::finish(out, begun);
}

/// Appends a frame of a kind that has no body: status, routing, checksum, ping.
pub fn write_empty(out: &mut Vec<u8>, kind: Kind, target: u32, id: u64) {
    frame::write(out, kind, target, id, &[]);
}
