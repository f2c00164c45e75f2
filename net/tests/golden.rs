//! The bytes on the wire, pinned: a node and a client of different builds must understand each other.
//!
//! `KVD_REWRITE=1 cargo test -p net --test golden` rewrites the files. A changed golden file means that older nodes
//! read something else than what was meant: give the frame a new version instead.

use engine_core::command::Outcome;
use engine_core::exchange::{Answer, Beat, Question, Round, Word};
use engine_core::placement::founding::Query;
use net::exchange;
use net::frame::{self, Kind};
use net::hello::{Hello, HelloRefusal, HelloReply, Role};
use net::request::{self, ReadRequest, ScanRequest, StopRequest};
use net::response::{Refusal, Response};
use net::snapshot;
use net::status::{NodeStatus, ReplicaStatus};
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::{AppendReply, Body, Message};
use raft::payload::Payload;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

const CLUSTER: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;

fn check(name: &str, bytes: &[u8]) {
    let mut hex = String::new();
    for line in bytes.chunks(16) {
        let words: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(hex, "{}", words.join(" ")).unwrap();
    }
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = directory.join(format!("{name}.hex"));
    if env::var_os("KVD_REWRITE").is_some() {
        fs::create_dir_all(&directory).unwrap();
        fs::write(&path, &hex).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(hex, golden, "{name}: the bytes changed");
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn layout_of_hellos_is_frozen() {
    let hello = Hello {
        role: Role::Peer,
        forward: true,
        core: 0x1112,
        node: 0x1314,
        from_core: 0x1516,
        shards: 0x1718,
        cluster: CLUSTER,
        incarnation: 0x2122_2324_2526_2728,
        start: 0x3132_3334_3536_3738,
        election_timeout: 0x4142_4344,
    };
    check("hello", &hello.encode());
    let reply = HelloReply {
        status: Err(HelloRefusal::NoSuchCore),
        core: 0x1112,
        shards: 0x1718,
        node: 0x1314,
        cluster: CLUSTER,
        incarnation: 0x2122_2324_2526_2728,
        start: 0x3132_3334_3536_3738,
    };
    check("hello_reply", &reply.encode());
}

#[test]
fn layout_of_requests_is_frozen() {
    let read = ReadRequest { key: b"key", stale: true };
    let scan = ScanRequest { start: b"a", end: Some(b"key"), limit: 0x0102_0304, stale: false };
    check("frame_empty", &written(|out| frame::write(out, Kind::Ping, 0, 0x0102_0304_0506_0708, &[])));
    check("read", &written(|out| request::write_read(out, 7, 9, &read)));
    check("scan", &written(|out| request::write_scan(out, 7, 9, &scan)));
    check("scan_to_the_end", &written(|out| request::write_scan(out, 7, 9, &ScanRequest { end: None, ..scan })));
    check("stop", &written(|out| request::write_stop(out, 9, StopRequest { clean: true })));
    let query = Query { name: "a longer node name".to_owned(), incarnation: 0x0102_0304_0506_0708 };
    check("founding_query", &written(|out| net::founding::write_query(out, 9, &query)));
}

#[test]
fn layout_of_snapshots_is_frozen() {
    let begin =
        snapshot::Begin { from: 1, to: 2, term: 3, id: 4, last_term: 5, last_index: 6, membership: b"membership" };
    let bytes = written(|out| begin.write(out, 7));
    check("snapshot_begin", &bytes);
    assert_eq!(snapshot::begin(&bytes[frame::HEADER_BYTES..]), Ok(begin));
    check("snapshot_chunk", &written(|out| snapshot::write_chunk(out, 7, 8, b"chunk")));
    let end = snapshot::End { chunks: 1, digest: 0x0102_0304_0506_0708 };
    let bytes = written(|out| end.write(out, 7));
    check("snapshot_end", &bytes);
    assert_eq!(snapshot::end(&bytes[frame::HEADER_BYTES..]), Ok(end));
    let answers = [
        ("snapshot_from", snapshot::Answer::From(9)),
        ("snapshot_written", snapshot::Answer::Written(9)),
        ("snapshot_done", snapshot::Answer::Done),
        ("snapshot_refused", snapshot::Answer::Refused),
    ];
    for (name, answer) in answers {
        let bytes = written(|out| answer.write(out, 7));
        check(name, &bytes);
        assert_eq!(snapshot::answer(&bytes[frame::HEADER_BYTES..]), Ok(answer), "{name}");
    }
    assert!(snapshot::begin(b"nonsense").is_err() && snapshot::end(b"?").is_err() && snapshot::answer(b"").is_err());
}

#[test]
fn layout_of_answers_is_frozen() {
    let replica = ReplicaStatus {
        group: 1,
        role: 3,
        term: 2,
        commit: 3,
        applied: 4,
        first_log_index: 5,
        last_log_index: 6,
        leader: Some(7),
        snapshots_installed: 8,
        whole: true,
    };
    let status = NodeStatus {
        node: 1,
        name: "n1".to_owned(),
        shards: 2,
        epoch: 3,
        forwarded: 4,
        start: 5,
        groups: vec![replica],
        waiting_for: vec!["n2".to_owned()],
    };
    let answers = [
        ("value", Response::Value(Some(b"value".to_vec()))),
        ("value_none", Response::Value(None)),
        ("outcome_done", Response::Outcome(Outcome::Done)),
        ("page", Response::Page { entries: vec![(b"key".to_vec(), b"value".to_vec())], more: true }),
        ("status", Response::Status(status)),
        ("map", Response::Map(b"map".to_vec())),
        ("checksum", Response::Checksum { applied: 1, entries: 2, hash: 3 }),
        ("done", Response::Done),
        ("not_leader", Response::Refused(Refusal::NotLeader { leader: Some(0x0102) })),
        ("wrong_core", Response::Refused(Refusal::WrongCore { core: 0x0102 })),
        ("not_owner", Response::Refused(Refusal::NotOwner { epoch: 3 })),
        ("busy", Response::Refused(Refusal::Busy { retry_after_ms: 0x0102 })),
        ("too_large", Response::Refused(Refusal::TooLarge { limit: 0x0102 })),
        ("disk_full", Response::Refused(Refusal::DiskFull)),
        ("not_applied", Response::Refused(Refusal::NotApplied)),
        ("outcome_unknown", Response::Refused(Refusal::OutcomeUnknown)),
        ("not_formed", Response::Refused(Refusal::NotFormed { waiting_for: vec!["n2".to_owned()] })),
        ("bad_request", Response::Refused(Refusal::BadRequest { why: "why".to_owned() })),
        ("unsupported", Response::Refused(Refusal::Unsupported)),
        ("forbidden", Response::Refused(Refusal::Forbidden)),
    ];
    for (name, answer) in answers {
        check(name, &written(|out| answer.write(out, 9)));
    }
}

#[test]
fn layout_of_peer_messages_is_frozen() {
    let last = LogId { term: Term(3), index: Index(4) };
    let command =
        Entry { term: Term(3), index: Index(5), kind: EntryKind::Command, payload: Payload::from(&b"payload"[..]) };
    let noop = Entry { term: Term(3), index: Index(6), kind: EntryKind::Noop, payload: Payload::from(&b""[..]) };
    let bodies = [
        ("peer_pre_vote", Body::PreVote { last }),
        ("peer_pre_vote_reply", Body::PreVoteReply { granted: true }),
        ("peer_vote", Body::Vote { last, transfer: true }),
        ("peer_vote_reply", Body::VoteReply { granted: true }),
        ("peer_append", Body::Append { prev: last, commit: Index(2), entries: vec![command, noop].into() }),
        ("peer_append_accepted", Body::AppendReply(AppendReply::Accepted { matched: Index(6) })),
        (
            "peer_append_rejected",
            Body::AppendReply(AppendReply::Rejected { prev: Index(4), hint: last, last: Index(9) }),
        ),
        ("peer_heartbeat", Body::Heartbeat { commit: Index(2), round: 7, settled: Index(1) }),
        ("peer_heartbeat_reply", Body::HeartbeatReply { round: 7 }),
        ("peer_snapshot_offer", Body::SnapshotOffer { last }),
        ("peer_snapshot_grant", Body::SnapshotGrant { last }),
        ("peer_snapshot_progress", Body::SnapshotProgress { bytes: 8 }),
        ("peer_timeout_now", Body::TimeoutNow),
        ("peer_snapshot_request", Body::SnapshotRequest { least: Index(9) }),
        ("peer_ask", Body::Ask { round: 7 }),
        ("peer_sleep", Body::Sleep { commit: Index(6), attempt: 8 }),
        ("peer_asleep", Body::Asleep { attempt: 8 }),
    ];
    for (name, body) in bodies {
        let message = Message { from: ReplicaId(0x0001_0002), to: ReplicaId(0x0003), term: Term(3), body };
        let bytes = written(|out| {
            net::peer::encode(out, [(GroupId(0x0102), &message)]);
        });
        check(name, &bytes);
    }
}

#[test]
fn layout_of_words_between_cores_is_frozen() {
    let question = |group, term| Question { group: GroupId(group), to: ReplicaId::new(2, 1), term: Term(term) };
    let round = Round { start: 0x3132, number: 9, questions: vec![question(1, 3), question(0x0102, 4)] };
    let answer = Answer { start: 0x3132, number: 9, refused: vec![GroupId(0x0102)] };
    let beat = Beat { start: 0x3132, sequence: 9, given_up: 2, declines: true };
    let words = [
        ("exchange_round", Word::Round(round)),
        ("exchange_answer", Word::Answer(answer)),
        ("exchange_beat", Word::Beat(beat)),
    ];
    for (name, word) in words {
        let bytes = written(|out| exchange::write(out, &word));
        check(name, &bytes);
        let body = &bytes[frame::HEADER_BYTES..];
        assert_eq!(exchange::read(body), Ok(word));
        for end in 0..body.len() {
            // The root stands at the end: what is cut may be another word, but never this one, and never a panic.
            assert_ne!(exchange::read(&body[..end]), exchange::read(body), "{name} cut at {end}");
        }
    }
}
