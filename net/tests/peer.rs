//! Peer batches: round trips, sizes, and what damaged bytes do.

use net::frame::{BODY_BYTES_MAX, HEADER_BYTES, Kind};
use net::peer::{BATCH_BYTES_SOFT_MAX, PeerError, decode, encode};
use net::receive::RecvBuffer;
use proptest::prelude::*;
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::{AppendReply, Body, Message};
use raft::payload::Payload;

fn any_log_id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64)>().prop_map(|(term, index)| LogId { term: Term(term), index: Index(index) })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![Just(EntryKind::Noop), Just(EntryKind::Command), Just(EntryKind::Membership)];
    (any::<(u64, u64)>(), kind, prop::collection::vec(any::<u8>(), 0..100)).prop_map(
        |((term, index), kind, payload)| Entry {
            term: Term(term),
            index: Index(index),
            kind,
            payload: Payload::from(payload),
        },
    )
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any_log_id().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
        (any_log_id(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        (any_log_id(), any::<u64>(), prop::collection::vec(any_entry(), 0..8)).prop_map(|(prev, commit, entries)| {
            Body::Append { prev, commit: Index(commit), entries: entries.into() }
        }),
        any::<u64>().prop_map(|matched| Body::AppendReply(AppendReply::Accepted { matched: Index(matched) })),
        (any::<u64>(), any_log_id(), any::<u64>()).prop_map(|(prev, hint, last)| {
            Body::AppendReply(AppendReply::Rejected { prev: Index(prev), hint, last: Index(last) })
        }),
        any::<(u64, u64, u64)>().prop_map(|(commit, round, settled)| Body::Heartbeat {
            commit: Index(commit),
            round,
            settled: Index(settled)
        }),
        any::<u64>().prop_map(|round| Body::HeartbeatReply { round }),
        any_log_id().prop_map(|last| Body::SnapshotOffer { last }),
        any_log_id().prop_map(|last| Body::SnapshotGrant { last }),
        any::<u64>().prop_map(|bytes| Body::SnapshotProgress { bytes }),
        Just(Body::TimeoutNow),
        any::<u64>().prop_map(|least| Body::SnapshotRequest { least: Index(least) }),
        any::<u64>().prop_map(|round| Body::Ask { round }),
        any::<(u64, u64)>().prop_map(|(commit, attempt)| Body::Sleep { commit: Index(commit), attempt }),
        any::<u64>().prop_map(|attempt| Body::Asleep { attempt }),
    ]
}

fn any_message() -> impl Strategy<Value = (GroupId, Message)> {
    (any::<u32>(), any::<(u64, u64, u64)>(), any_body()).prop_map(|(group, (from, to, term), body)| {
        (GroupId(group), Message { from: ReplicaId(from), to: ReplicaId(to), term: Term(term), body })
    })
}

fn append(entries: Vec<Entry>) -> Message {
    let prev = LogId { term: Term(1), index: Index(4) };
    let body = Body::Append { prev, commit: Index(3), entries: entries.into() };
    Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(2), body }
}

fn entry(index: u64, payload: &[u8]) -> Entry {
    Entry { term: Term(2), index: Index(index), kind: EntryKind::Command, payload: Payload::from(payload) }
}

fn encoded(messages: &[(GroupId, Message)]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let frames = encode(&mut out, messages.iter().map(|(group, message)| (*group, message)));
    (out, frames)
}

/// The messages of every frame in `bytes`, and how large the largest body was.
fn decoded(bytes: &[u8]) -> (Vec<(GroupId, Message)>, usize) {
    let mut recv = RecvBuffer::new(0, BODY_BYTES_MAX);
    recv.push(bytes);
    let (mut messages, mut largest) = (Vec::new(), 0);
    while let Some(frame) = recv.next_frame().expect("a sound frame") {
        assert_eq!(frame.header.kind(), Some(Kind::PeerBatch));
        largest = largest.max(frame.body.len());
        messages.extend(decode(frame.body).map(|message| message.expect("a sound message")));
    }
    (messages, largest)
}

#[test]
fn payloads_of_all_sizes_come_back_as_written() {
    let sizes = [0, 1, 300, 4_096, 4_097, 0, 4_000, 4_000, 4_000, 4_000, 40_000, 5, 0];
    let payload = |(number, size): (u64, usize)| entry(number, &vec![number as u8; size]);
    let messages = vec![(GroupId(1), append((1..).zip(sizes).map(payload).collect())), (GroupId(2), append(vec![]))];
    assert_eq!(decoded(&encoded(&messages).0).0, messages);
}

proptest! {
    #[test]
    fn messages_come_back_as_written(messages in prop::collection::vec(any_message(), 0..20)) {
        let (bytes, frames) = encoded(&messages);
        prop_assert_eq!(frames, usize::from(!messages.is_empty()));
        prop_assert_eq!(decoded(&bytes).0, messages);
    }

    #[test]
    fn damaged_batches_never_panic_and_never_grow(
        messages in prop::collection::vec(any_message(), 1..6),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, _) = encoded(&messages);
        let mut body = bytes[HEADER_BYTES..].to_vec();
        let at = at.index(body.len());
        body[at] = value;
        body.truncate(cut.index(body.len() + 1));
        let mut held = 0;
        for message in decode(&body) {
            if let Ok((_, Message { body: Body::Append { entries, .. }, .. })) = message {
                let mut pieces: Vec<_> = entries.iter().map(|entry| &entry.payload).filter(|it| !it.is_empty()).collect();
                pieces.dedup_by(|later, former| later.lies_with(former));
                held += pieces.iter().map(|payload| payload.piece_bytes()).sum::<usize>();
            }
        }
        prop_assert!(held <= body.len(), "{held} bytes of payload from a body of {}", body.len());
    }
}

#[test]
fn every_byte_of_a_batch_may_be_anything() {
    let entries = vec![entry(5, b"first"), entry(6, b""), entry(7, &[9; 50])];
    let (bytes, _) = encoded(&[(GroupId(1), append(entries)), (GroupId(2), append(vec![]))]);
    let body = &bytes[HEADER_BYTES..];
    for at in 0..body.len() {
        for value in 0..=255 {
            let mut damaged = body.to_vec();
            damaged[at] = value;
            assert!(decode(&damaged).count() <= 3, "byte {at} as {value}");
        }
    }
}

#[test]
fn cut_batch_ends_with_an_error() {
    let (bytes, _) = encoded(&[(GroupId(1), append(vec![entry(5, b"first")])), (GroupId(2), append(vec![]))]);
    let body = &bytes[HEADER_BYTES..];
    let first = {
        let (one, _) = encoded(&[(GroupId(1), append(vec![entry(5, b"first")]))]);
        one.len() - HEADER_BYTES
    };
    for at in 0..body.len() {
        let results: Vec<_> = decode(&body[..at]).collect();
        let sound = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(sound, usize::from(at >= first), "cut at {at}");
        let whole = at == 0 || at == first;
        assert_eq!(results.last() == Some(&Err(PeerError::Truncated)), !whole, "cut at {at}");
    }
}

#[test]
fn unknown_kind_of_entry_is_an_error_of_its_group() {
    let of_kind = |kind| {
        let entry = Entry { kind, ..entry(5, b"payload") };
        encoded(&[(GroupId(9), append(vec![entry]))]).0[HEADER_BYTES..].to_vec()
    };
    let (mut body, noop) = (of_kind(EntryKind::Command), of_kind(EntryKind::Noop));
    // The one byte in which the two differ is the kind.
    let differ: Vec<usize> = (0..body.len()).filter(|at| body[*at] != noop[*at]).collect();
    assert_eq!(differ.len(), 1);
    for kind in 3..=255 {
        body[differ[0]] = kind;
        let unknown = Err(PeerError::Message { group: GroupId(9) });
        assert_eq!(decode(&body).collect::<Vec<_>>(), [unknown], "kind {kind}");
    }
}

#[test]
fn batch_stops_at_its_soft_limit() {
    let messages: Vec<(GroupId, Message)> =
        (0..100).map(|group| (GroupId(group), append(vec![entry(5, &[7; 10_000])]))).collect();
    let (bytes, frames) = encoded(&messages);
    let (back, largest) = decoded(&bytes);
    assert_eq!(back, messages);
    assert_eq!(frames, 4);
    assert!(largest <= BATCH_BYTES_SOFT_MAX, "{largest} bytes");
}

#[test]
fn huge_entry_travels_alone() {
    let huge = vec![7; 3 << 20];
    let messages = vec![
        (GroupId(1), append(vec![entry(5, b"small")])),
        (GroupId(2), append(vec![entry(5, &huge)])),
        (GroupId(3), append(vec![entry(5, b"small")])),
    ];
    let (bytes, frames) = encoded(&messages);
    assert_eq!((decoded(&bytes).0, frames), (messages, 3));
    assert!(bytes.len() < huge.len() + 1000);
}
