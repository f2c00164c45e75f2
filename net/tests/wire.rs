//! Frames, hellos, requests and answers: round trips, and what damaged bytes do.

use engine_core::command::{Outcome, RefusedBecause};
use net::frame::{self, BODY_BYTES_MAX, FrameError, HEADER_BYTES, Header, Kind, Parsed, parse};
use net::hello::{HELLO_BYTES, Hello, HelloError, HelloRefusal, HelloReply, Role};
use net::receive::RecvBuffer;
use net::request::{self, ReadRequest, ScanRequest, StopRequest};
use net::response::{Refusal, Response};
use net::status::{NodeStatus, ReplicaStatus};
use proptest::prelude::*;
use raft::ids::Index;

fn one_frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, Kind::Write, 7, 0x1122_3344_5566_7788, body);
    out
}

#[test]
fn frame_comes_back_as_written() {
    let bytes = one_frame(b"hello");
    let header = Header { length: 5, kind: Kind::Write as u8, target: 7, id: 0x1122_3344_5566_7788 };
    assert_eq!(parse(&bytes, 100), Ok(Parsed::Frame { header, body: HEADER_BYTES..HEADER_BYTES + 5 }));
}

#[test]
fn every_flipped_bit_of_a_frame_is_detected() {
    let bytes = one_frame(b"the body of a frame");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match parse(&flipped, BODY_BYTES_MAX) {
            // A longer length waits for bytes that never come; followed by other bytes it must fail.
            Ok(Parsed::NeedMore(needed)) => {
                assert!(needed > bytes.len(), "bit {bit}");
                flipped.resize(needed, 0);
                assert!(parse(&flipped, BODY_BYTES_MAX).is_err(), "bit {bit}");
            }
            Ok(Parsed::Frame { .. }) => panic!("bit {bit} was not noticed"),
            Err(_) => {}
        }
    }
}

#[test]
fn every_cut_frame_waits_for_the_rest() {
    let bytes = one_frame(b"the body of a frame");
    for length in 0..bytes.len() {
        let needed = if length < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
        assert_eq!(parse(&bytes[..length], BODY_BYTES_MAX), Ok(Parsed::NeedMore(needed)), "{length} bytes");
    }
}

#[test]
fn length_is_refused_before_the_header_is_complete() {
    let bytes = (1001u32).to_le_bytes();
    assert_eq!(parse(&bytes, 1000), Err(FrameError::TooLarge { length: 1001, limit: 1000 }));
    let mut recv = RecvBuffer::new(0, 1000);
    recv.spare()[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    recv.filled(4);
    recv.spare()[..20].copy_from_slice(&[0; 20]);
    recv.filled(20);
    assert_eq!(recv.next_frame(), Err(FrameError::TooLarge { length: u32::MAX, limit: 1000 }));
    assert!(recv.capacity() <= 8 << 10, "{} bytes for a frame that was refused", recv.capacity());
}

#[test]
fn announced_length_alone_makes_no_buffer_grow() {
    let mut bytes = one_frame(&vec![1; BODY_BYTES_MAX]);
    bytes.truncate(1000);
    let mut recv = RecvBuffer::new(0, BODY_BYTES_MAX);
    recv.spare()[..1000].copy_from_slice(&bytes);
    recv.filled(1000);
    assert_eq!(recv.next_frame(), Ok(None));
    assert!(recv.spare().len() >= 4096);
    assert_eq!(recv.capacity(), 8 << 10);
}

#[test]
fn a_buffer_starts_small_and_grows_with_what_arrives_at_once() {
    let mut recv = RecvBuffer::new(64 << 10, BODY_BYTES_MAX);
    let mut stream = Vec::new();
    for id in 0..10_000 {
        frame::write(&mut stream, Kind::Ping, 0, id, &[7; 5]);
    }
    recv.spare();
    assert_eq!(recv.capacity(), 8 << 10, "a connection that has said nothing");
    let (mut sent, mut taken) = (0, 0);
    while sent < stream.len() {
        let spare = recv.spare();
        let count = spare.len().min(stream.len() - sent);
        spare[..count].copy_from_slice(&stream[sent..sent + count]);
        recv.filled(count);
        sent += count;
        while let Some(frame) = recv.next_frame().expect("a frame") {
            assert_eq!(frame.header.id, taken);
            taken += 1;
        }
    }
    assert_eq!((taken, recv.capacity()), (10_000, 64 << 10));
}

#[test]
fn largest_frame_passes_a_buffer_which_then_gives_its_memory_back() {
    let body: Vec<u8> = (0..BODY_BYTES_MAX).map(|i| i as u8).collect();
    let bytes = one_frame(&body);
    let mut recv = RecvBuffer::new(0, BODY_BYTES_MAX);
    let mut left = &bytes[..];
    while !left.is_empty() {
        let spare = recv.spare();
        let count = spare.len().min(left.len());
        spare[..count].copy_from_slice(&left[..count]);
        recv.filled(count);
        left = &left[count..];
        if !left.is_empty() {
            assert_eq!(recv.next_frame(), Ok(None));
        }
    }
    assert_eq!(recv.next_frame().unwrap().unwrap().body, body);
    assert_eq!(recv.next_frame(), Ok(None));
    recv.spare();
    assert_eq!(recv.capacity(), 8 << 10);
}

#[test]
fn a_buffer_that_grew_gives_its_memory_back_although_a_small_frame_has_begun() {
    let mut stream = one_frame(&vec![1; 300 << 10]);
    let small = one_frame(b"small");
    stream.extend_from_slice(&small[..small.len() - 1]);
    let mut recv = RecvBuffer::new(64 << 10, BODY_BYTES_MAX);
    let mut left = &stream[..];
    while !left.is_empty() {
        let spare = recv.spare();
        let count = spare.len().min(left.len());
        spare[..count].copy_from_slice(&left[..count]);
        recv.filled(count);
        left = &left[count..];
        while recv.next_frame().expect("frames").is_some() {}
        let grew = recv.capacity() > 64 << 10;
        assert!(!grew || recv.awaited() > 64 << 10, "{} bytes for {}", recv.capacity(), recv.awaited());
    }
    recv.spare()[0] = small[small.len() - 1];
    recv.filled(1);
    assert_eq!(recv.next_frame().unwrap().unwrap().body, b"small");
}

#[test]
fn unknown_kind_is_a_frame_all_the_same() {
    let mut out = one_frame(b"x");
    out[8] = 99;
    let crc = {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&out[..4]);
        hasher.update(&out[8..]);
        hasher.finalize()
    };
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    let Ok(Parsed::Frame { header, .. }) = parse(&out, 100) else { panic!("refused") };
    assert_eq!((header.kind(), header.kind), (None, 99));
}

#[test]
fn abandoned_frame_leaves_nothing() {
    let mut out = b"before".to_vec();
    let begun = frame::begin(&mut out, Kind::Read, 1, 2);
    out.extend_from_slice(b"half a body");
    frame::abandon(&mut out, begun);
    assert_eq!(out, b"before");
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let role = prop_oneof![Just(Role::Client), Just(Role::Peer), Just(Role::Founding), Just(Role::Snapshot)];
    (role, any::<(bool, u16, u16, u16, u16)>(), any::<(u128, u64, u64, u32)>()).prop_map(
        |(role, (forward, core, node, from_core, shards), (cluster, incarnation, start, election_timeout))| Hello {
            role,
            forward,
            core,
            node,
            from_core,
            shards,
            cluster,
            incarnation,
            start,
            election_timeout,
        },
    )
}

fn any_refusal() -> impl Strategy<Value = HelloRefusal> {
    use HelloRefusal::*;
    prop::sample::select(vec![
        Malformed,
        Version,
        WrongCluster,
        UnknownIncarnation,
        NoSuchCore,
        TooManyConnections,
        Stopping,
        NotFormed,
        Forbidden,
    ])
}

proptest! {
    #[test]
    fn hello_comes_back_as_written(hello in any_hello()) {
        prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }

    #[test]
    fn reply_comes_back_as_written(
        refusal in prop::option::of(any_refusal()),
        (core, shards, node) in any::<(u16, u16, u16)>(),
        (cluster, incarnation, start) in any::<(u128, u64, u64)>(),
    ) {
        let status = refusal.map_or(Ok(()), Err);
        let reply = HelloReply { status, core, shards, node, cluster, incarnation, start };
        prop_assert_eq!(HelloReply::decode(&reply.encode()), Ok(reply));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, 100);
        let _ = Response::decode(&bytes);
        let _ = request::read(&bytes);
        let _ = request::scan(&bytes);
        let _ = request::stop(&bytes);
        let _ = net::founding::query(&bytes);
        let _ = net::founding::answer(&bytes);
        for message in net::peer::decode(&bytes) {
            let _ = message;
        }
    }

    #[test]
    fn frames_survive_every_way_of_being_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..20),
        cuts in prop::collection::vec(1usize..5000, 1..40),
    ) {
        let mut bytes = Vec::new();
        for (id, body) in bodies.iter().enumerate() {
            frame::write(&mut bytes, Kind::Write, 3, id as u64, body);
        }
        let mut recv = RecvBuffer::new(0, 3000);
        let (mut seen, mut left, mut cuts) = (0, &bytes[..], cuts.iter().cycle());
        while !left.is_empty() {
            let spare = recv.spare();
            let count = spare.len().min(left.len()).min(*cuts.next().unwrap());
            spare[..count].copy_from_slice(&left[..count]);
            recv.filled(count);
            left = &left[count..];
            while let Some(frame) = recv.next_frame().unwrap() {
                prop_assert_eq!(frame.header.id, seen as u64);
                prop_assert_eq!(frame.body, &bodies[seen][..]);
                seen += 1;
            }
        }
        prop_assert_eq!(seen, bodies.len());
        prop_assert!(recv.is_empty());
    }

    #[test]
    fn requests_come_back_as_written(
        key in prop::collection::vec(any::<u8>(), 0..100),
        end in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        limit in any::<u32>(),
        stale in any::<bool>(),
    ) {
        let mut out = b"what stands before".to_vec();
        let start = out.len();
        request::write_read(&mut out, 5, 6, &ReadRequest { key: &key, stale });
        let read = request::read(&out[start + HEADER_BYTES..]).unwrap();
        prop_assert_eq!((&*read.key, read.stale), (&key[..], stale));

        let start = out.len();
        request::write_scan(&mut out, 5, 6, &ScanRequest { start: &key, end: end.as_deref(), limit, stale });
        let scan = request::scan(&out[start + HEADER_BYTES..]).unwrap();
        prop_assert_eq!((&*scan.start, scan.limit.to_native(), scan.stale), (&key[..], limit, stale));
        prop_assert_eq!(scan.end.as_ref().map(|end| end.to_vec()), end);

        let start = out.len();
        request::write_stop(&mut out, 9, StopRequest { clean: stale });
        prop_assert_eq!(request::stop(&out[start + HEADER_BYTES..]), Ok(StopRequest { clean: stale }));
    }
}

#[test]
fn every_flipped_bit_of_a_hello_is_detected() {
    let bytes = Hello::client(3, 99).encode();
    for bit in 0..HELLO_BYTES * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Hello::decode(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn hello_that_cannot_be_read_is_refused_by_name() {
    assert_eq!(Hello::decode(&[b'G'; 64]), Err(HelloError::Magic));
    let mut other = Hello::client(0, 0).encode();
    other[4] = 4;
    let error = Hello::decode(&other).unwrap_err();
    assert_eq!((error, error.refusal()), (HelloError::Version { version: 4 }, HelloRefusal::Version));
    assert_eq!(HelloRefusal::WrongCluster.to_string(), "the node belongs to another cluster");
}

/// One of every answer.
fn answers() -> Vec<Response> {
    let replica = ReplicaStatus { group: 3, role: 3, term: 4, commit: 5, leader: Some(1), ..ReplicaStatus::default() };
    let status = NodeStatus {
        node: 2,
        name: "n2".to_owned(),
        shards: 1,
        epoch: 1,
        groups: vec![replica],
        waiting_for: vec!["n3".to_owned(), "a name longer than eight bytes".to_owned()],
        ..NodeStatus::default()
    };
    vec![
        Response::Value(None),
        Response::Value(Some(b"value".to_vec())),
        Response::Outcome(Outcome::Opened { session: Index(77) }),
        Response::Outcome(Outcome::Done),
        Response::Outcome(Outcome::Old(Some(b"old".to_vec()))),
        Response::Outcome(Outcome::Swapped),
        Response::Outcome(Outcome::Mismatch { current: None }),
        Response::Outcome(Outcome::AlreadyApplied),
        Response::Outcome(Outcome::SessionEvicted),
        Response::Outcome(Outcome::Refused(RefusedBecause::WrongGroup)),
        Response::Page { entries: vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), vec![])], more: true },
        Response::Status(status),
        Response::Map(b"map".to_vec()),
        Response::Checksum { applied: 1, entries: 2, hash: 3 },
        Response::Done,
        Response::Refused(Refusal::NotLeader { leader: Some(2) }),
        Response::Refused(Refusal::NotLeader { leader: None }),
        Response::Refused(Refusal::WrongCore { core: 3 }),
        Response::Refused(Refusal::NotOwner { epoch: 4 }),
        Response::Refused(Refusal::Busy { retry_after_ms: 5 }),
        Response::Refused(Refusal::TooLarge { limit: 6 }),
        Response::Refused(Refusal::DiskFull),
        Response::Refused(Refusal::NotApplied),
        Response::Refused(Refusal::OutcomeUnknown),
        Response::Refused(Refusal::NotFormed { waiting_for: vec!["n3".to_owned()] }),
        Response::Refused(Refusal::BadRequest { why: "no".to_owned() }),
        Response::Refused(Refusal::Unsupported),
        Response::Refused(Refusal::Forbidden),
    ]
}

#[test]
fn every_answer_comes_back_as_written() {
    for answer in answers() {
        let mut out = Vec::new();
        answer.write(&mut out, 42);
        let Ok(Parsed::Frame { header, body }) = parse(&out, BODY_BYTES_MAX) else { panic!("{answer:?}") };
        assert_eq!((header.kind(), header.id, body.end), (Some(Kind::Response), 42, out.len()));
        assert_eq!(Response::decode(&out[body]), Ok(answer));
    }
}

#[test]
fn damaged_answers_never_panic() {
    for answer in answers() {
        let mut out = Vec::new();
        answer.write(&mut out, 42);
        let body = &out[HEADER_BYTES..];
        for at in 0..body.len() {
            let _ = Response::decode(&body[..at]);
            let _ = Response::decode(&body[at..]);
            for value in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff] {
                let mut damaged = body.to_vec();
                damaged[at] = value;
                let _ = Response::decode(&damaged);
            }
        }
    }
}

#[test]
fn answer_too_large_for_a_frame_leaves_as_a_refusal() {
    let mut out = b"before".to_vec();
    Response::Value(Some(vec![0; BODY_BYTES_MAX])).write(&mut out, 1);
    Response::Done.write(&mut out, 2);
    let mut recv = RecvBuffer::new(0, BODY_BYTES_MAX);
    recv.push(&out[6..]);
    let too_large = Response::Refused(Refusal::TooLarge { limit: BODY_BYTES_MAX as u64 });
    for (id, answer) in [(1, too_large), (2, Response::Done)] {
        let frame = recv.next_frame().unwrap().unwrap();
        assert_eq!((frame.header.id, Response::decode(frame.body)), (id, Ok(answer)));
    }
}
