//! Peer batches: one frame with Raft messages of many groups.
//!
//! ```text
//! body = message ...        message = group u32 | length u32 | rkyv archive of the message, `length` bytes
//! ```
//!
//! *Why rkyv, and why one archive a message.* The mirrors below describe `raft::Message` to rkyv field by field,
//! without owning it: a message is archived from where it lies, each payload goes from where it is shared straight into
//! the frame, and no intermediate `Vec` per message or entry exists. The root of an archive stands at its end, so
//! one archive for the whole batch would need the list of messages before the first byte; one per message lets a
//! turn's messages stream into the connection's buffer as they come. Reading is checked access in place; the only
//! copy is the one that payloads must have, into the pieces that the log keeps. rkyv's checks forbid overlapping
//! subtrees, so a small frame cannot unfold into large entries.
//!
//! A batch stops at 256 KiB, so that control messages never wait long behind entries; a message larger than that
//! travels alone, up to the frame's limit.

use crate::archive;
use crate::frame::{self, BODY_BYTES_MAX, Kind};
use raft::entry::{Entries, Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::{AppendReply, Body, Message};
use raft::payload::{Payload, Pieces};
use rkyv::boxed::{ArchivedBox, BoxResolver};
use rkyv::rancor::Fallible;
use rkyv::ser::{Allocator, Writer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::{ArchiveWith, SerializeWith, With};
use rkyv::{Place, SerializeUnsized};
use smallvec::SmallVec;
use std::ops::Range;

/// A batch that has reached this many bytes takes no further message.
pub const BATCH_BYTES_SOFT_MAX: usize = 256 << 10;

/// Bytes before each message's archive.
const PREFIX_BYTES: usize = 8;

/// Why a batch cannot be read. The sender is broken or not ours: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The batch ends inside a message.
    #[error("a batch ends inside a message")]
    Truncated,
    /// A message's archive fails its checks, or holds a number that means nothing.
    #[error("a message of group {group} cannot be read")]
    Message {
        /// The group it was for.
        group: GroupId,
    },
}

/// Appends `messages` to `out` as frames of about 256 KiB, in order, and returns how many frames that made.
///
/// Put what must not wait (votes, heartbeats, replies) first. Panics if one message is larger than a frame can be:
/// the limits on commands and on one Append keep far below that.
pub fn encode<'a>(out: &mut Vec<u8>, messages: impl IntoIterator<Item = (GroupId, &'a Message)>) -> usize {
    let mut frames = 0;
    let mut open: Option<frame::Begun> = None;
    for (group, message) in messages {
        let estimate = estimated_bytes(message);
        if let Some(begun) = open.take() {
            if out.len() - begun.body_start() + estimate > BATCH_BYTES_SOFT_MAX {
                frame::finish(out, begun);
            } else {
                open = Some(begun);
            }
        }
        if open.is_none() {
            out.reserve(estimate);
            open = Some(frame::begin(out, Kind::PeerBatch, 0, 0));
            frames += 1;
        }
        append(out, group, message);
    }
    if let Some(begun) = open {
        frame::finish(out, begun);
    }
    frames
}

/// The messages of a batch's body, in order. Each is checked as it is reached; the first error ends the batch.
pub fn decode(body: &[u8]) -> Messages<'_> {
    Messages { rest: body }
}

/// See [`decode`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl Iterator for Messages<'_> {
    type Item = Result<(GroupId, Message), PeerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = take(&mut self.rest);
        if next.is_err() {
            self.rest = &[];
        }
        Some(next)
    }
}

fn append(out: &mut Vec<u8>, group: GroupId, message: &Message) {
    out.extend_from_slice(&group.0.to_le_bytes());
    let prefix_end = out.len() + 4;
    out.extend_from_slice(&[0; 4]);
    archive::append(out, With::<Message, MessageMirror>::cast(message));
    let length = out.len() - prefix_end;
    assert!(length <= BODY_BYTES_MAX, "a message of {length} bytes for group {group}");
    out[prefix_end - 4..prefix_end].copy_from_slice(&(length as u32).to_le_bytes());
}

fn take(rest: &mut &[u8]) -> Result<(GroupId, Message), PeerError> {
    let (prefix, tail) = rest.split_first_chunk::<PREFIX_BYTES>().ok_or(PeerError::Truncated)?;
    let [g0, g1, g2, g3, l0, l1, l2, l3] = *prefix;
    let group = GroupId(u32::from_le_bytes([g0, g1, g2, g3]));
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (bytes, tail) = tail.split_at_checked(length).ok_or(PeerError::Truncated)?;
    *rest = tail;
    let archived: &ArchivedMessage = archive::read(bytes).ok_or(PeerError::Message { group })?;
    let message = to_message(archived, bytes).ok_or(PeerError::Message { group })?;
    Ok((group, message))
}

/// What a message takes in a frame, from above: 32 bytes an entry beside its payload, 64 for everything else.
fn estimated_bytes(message: &Message) -> usize {
    let entries = match &message.body {
        Body::Append { entries, .. } => entries.iter().map(Entry::bytes).sum(),
        _ => 0,
    };
    PREFIX_BYTES + 64 + entries
}

// The mirrors are never built: rkyv's derive reads their fields as the description of raft's types. A field added
// there and forgotten here does not compile: `to_message` names every field.

/// How rkyv sees a [`Message`]. Field names and types are raft's; the archive's layout is pinned by a golden file.
#[derive(rkyv::Archive, rkyv::Serialize)]
#[expect(dead_code, reason = "describes, is never built")]
#[rkyv(remote = Message, archived = ArchivedMessage)]
struct MessageMirror {
    from: ReplicaId,
    to: ReplicaId,
    term: Term,
    #[rkyv(with = BodyMirror)]
    body: Body,
}

/// How rkyv sees a [`Body`]. The order of variants is on the wire: append, never reorder.
#[derive(rkyv::Archive, rkyv::Serialize)]
#[expect(dead_code, reason = "describes, is never built")]
#[rkyv(remote = Body, archived = ArchivedBody)]
enum BodyMirror {
    PreVote {
        last: LogId,
    },
    PreVoteReply {
        granted: bool,
    },
    Vote {
        last: LogId,
        transfer: bool,
    },
    VoteReply {
        granted: bool,
    },
    Append {
        prev: LogId,
        commit: Index,
        #[rkyv(with = EntryList)]
        entries: Entries,
    },
    AppendReply(#[rkyv(with = AppendReplyMirror)] AppendReply),
    Heartbeat {
        commit: Index,
        round: u64,
        settled: Index,
    },
    HeartbeatReply {
        round: u64,
    },
    SnapshotOffer {
        last: LogId,
    },
    SnapshotGrant {
        last: LogId,
    },
    SnapshotProgress {
        bytes: u64,
    },
    TimeoutNow,
    SnapshotRequest {
        least: Index,
    },
    Ask {
        round: u64,
    },
    Sleep {
        commit: Index,
        attempt: u64,
    },
    Asleep {
        attempt: u64,
    },
}

#[derive(rkyv::Archive, rkyv::Serialize)]
#[expect(dead_code, reason = "describes, is never built")]
#[rkyv(remote = AppendReply, archived = ArchivedAppendReply)]
enum AppendReplyMirror {
    Accepted { matched: Index },
    Rejected { prev: Index, hint: LogId, last: Index },
}

#[derive(rkyv::Archive, rkyv::Serialize)]
#[expect(dead_code, reason = "describes, is never built")]
#[rkyv(remote = Entry, archived = ArchivedEntry)]
struct EntryMirror {
    term: Term,
    index: Index,
    #[rkyv(with = KindNumber)]
    kind: EntryKind,
    #[rkyv(with = SharedBytes)]
    payload: Payload,
}

/// Entries as a list of archived ones, whether they lie in their list itself or elsewhere in memory.
struct EntryList;

impl ArchiveWith<Entries> for EntryList {
    type Archived = ArchivedVec<ArchivedEntry>;
    type Resolver = VecResolver;

    fn resolve_with(entries: &Entries, resolver: VecResolver, out: Place<ArchivedVec<ArchivedEntry>>) {
        ArchivedVec::resolve_from_len(entries.len(), resolver, out);
    }
}

impl<S: Fallible + Writer + Allocator + ?Sized> SerializeWith<Entries, S> for EntryList {
    fn serialize_with(entries: &Entries, serializer: &mut S) -> Result<VecResolver, S::Error> {
        let each = entries.iter().map(With::<Entry, EntryMirror>::cast);
        ArchivedVec::<ArchivedEntry>::serialize_from_iter::<With<Entry, EntryMirror>, _, _>(each, serializer)
    }
}

/// An entry's kind as its number: raft's own table decides what a number means.
struct KindNumber;

impl ArchiveWith<EntryKind> for KindNumber {
    type Archived = u8;
    type Resolver = ();

    fn resolve_with(kind: &EntryKind, (): (), out: Place<u8>) {
        out.write(*kind as u8);
    }
}

impl<S: Fallible + ?Sized> SerializeWith<EntryKind, S> for KindNumber {
    fn serialize_with(_: &EntryKind, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

/// A payload's bytes, written from where they are shared.
struct SharedBytes;

impl ArchiveWith<Payload> for SharedBytes {
    type Archived = ArchivedBox<[u8]>;
    type Resolver = BoxResolver;

    fn resolve_with(bytes: &Payload, resolver: BoxResolver, out: Place<ArchivedBox<[u8]>>) {
        ArchivedBox::resolve_from_ref(&**bytes, resolver, out);
    }
}

impl<S: Fallible + Writer + Allocator + ?Sized> SerializeWith<Payload, S> for SharedBytes
where
    [u8]: SerializeUnsized<S>,
{
    fn serialize_with(bytes: &Payload, serializer: &mut S) -> Result<BoxResolver, S::Error> {
        ArchivedBox::serialize_from_ref(&**bytes, serializer)
    }
}

/// `bytes` is what the message was read from.
fn to_message(archived: &ArchivedMessage, bytes: &[u8]) -> Option<Message> {
    let body = match &archived.body {
        ArchivedBody::PreVote { last } => Body::PreVote { last: log_id(last) },
        ArchivedBody::PreVoteReply { granted } => Body::PreVoteReply { granted: *granted },
        ArchivedBody::Vote { last, transfer } => Body::Vote { last: log_id(last), transfer: *transfer },
        ArchivedBody::VoteReply { granted } => Body::VoteReply { granted: *granted },
        ArchivedBody::Append { prev, commit, entries } => {
            Body::Append { prev: log_id(prev), commit: index(commit), entries: to_entries(entries, bytes)? }
        }
        ArchivedBody::AppendReply(reply) => Body::AppendReply(match reply {
            ArchivedAppendReply::Accepted { matched } => AppendReply::Accepted { matched: index(matched) },
            ArchivedAppendReply::Rejected { prev, hint, last } => {
                AppendReply::Rejected { prev: index(prev), hint: log_id(hint), last: index(last) }
            }
        }),
        ArchivedBody::Heartbeat { commit, round, settled } => {
            Body::Heartbeat { commit: index(commit), round: round.to_native(), settled: index(settled) }
        }
        ArchivedBody::HeartbeatReply { round } => Body::HeartbeatReply { round: round.to_native() },
        ArchivedBody::SnapshotOffer { last } => Body::SnapshotOffer { last: log_id(last) },
        ArchivedBody::SnapshotGrant { last } => Body::SnapshotGrant { last: log_id(last) },
        ArchivedBody::SnapshotProgress { bytes } => Body::SnapshotProgress { bytes: bytes.to_native() },
        ArchivedBody::TimeoutNow => Body::TimeoutNow,
        ArchivedBody::SnapshotRequest { least } => Body::SnapshotRequest { least: index(least) },
        ArchivedBody::Ask { round } => Body::Ask { round: round.to_native() },
        ArchivedBody::Sleep { commit, attempt } => Body::Sleep { commit: index(commit), attempt: attempt.to_native() },
        ArchivedBody::Asleep { attempt } => Body::Asleep { attempt: attempt.to_native() },
    };
    Some(Message {
        from: ReplicaId(archived.from.0.to_native()),
        to: ReplicaId(archived.to.0.to_native()),
        term: Term(archived.term.0.to_native()),
        body,
    })
}

/// Their payloads lie one behind the other in `bytes`, before everything else.
fn to_entries(archived: &[ArchivedEntry], bytes: &[u8]) -> Option<Entries> {
    let start = |entry: &ArchivedEntry| entry.payload.as_ptr().addr().checked_sub(bytes.as_ptr().addr());
    let mut parts = SmallVec::<[Range<usize>; 1]>::with_capacity(archived.len());
    let mut before = 0;
    for entry in archived {
        // One without bytes may point anywhere.
        let length = entry.payload.len();
        let start = if length > 0 { start(entry)? } else { before };
        let end = start.checked_add(length)?;
        // The checks of the archive have seen to that; others would be copied again and again.
        if start < before || end > bytes.len() {
            return None;
        }
        parts.push(start..end);
        before = end;
    }
    let mut pieces = Pieces::of(bytes);
    let to_entry = |(at, entry): (usize, &ArchivedEntry)| {
        Some(Entry {
            term: Term(entry.term.0.to_native()),
            index: index(&entry.index),
            kind: EntryKind::from_number(entry.kind)?,
            payload: pieces.payload(parts[at].clone(), parts[at + 1..].iter().map(|part| part.end)),
        })
    };
    let each = archived.iter().enumerate().map(to_entry);
    match archived.len() {
        1 => each.collect(),
        _ => each.collect::<Option<Vec<Entry>>>().map(Entries::from),
    }
}

fn index(archived: &rkyv::Archived<Index>) -> Index {
    Index(archived.0.to_native())
}

fn log_id(archived: &rkyv::Archived<LogId>) -> LogId {
    LogId { term: Term(archived.term.0.to_native()), index: index(&archived.index) }
}
