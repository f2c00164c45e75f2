//! Writes `corpus/TARGET/NAME`, what each target starts from: the golden encodings, and what has no golden file of bytes.
//!
//!     cargo run --release --example seeds

use engine_core::command::Outcome;
use engine_core::journal::{self, Options, ReplicaState, SegmentId};
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::ClusterMap;
use engine_core::sessions::Session;
use engine_core::snapshot::stream::{Encoder, Kind};
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::membership::Membership;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of a frame's header: the bodies are what most decoders see.
const HEADER_BYTES: usize = net::frame::HEADER_BYTES;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    golden(&root.join("../../net/tests/golden"), |name, bytes| match name {
        "hello" | "hello_reply" => save("hello", name, bytes),
        _ => {
            save("frame", name, bytes);
            let target = match name.split('_').next() {
                Some("peer") => "peer",
                Some("exchange") => "exchange",
                Some("founding") => "founding",
                Some("snapshot") => "snapshot",
                Some("read" | "scan" | "stop") => "request",
                _ => "response",
            };
            save(target, name, bytes.get(HEADER_BYTES..).unwrap_or_default());
        }
    });
    golden(&root.join("../../engine/core/tests/golden/command"), |name, bytes| save("command", name, bytes));
    placement();
    let session = session();
    save("session", "runs", &session);
    let mut encoder = Encoder::default();
    encoder.push(Kind::Founding, &[], b"record");
    encoder.push(Kind::Session, &[1; 20], &session);
    encoder.push(Kind::Data, b"key", b"value");
    save("snapshot", "records", &encoder.chunk());
    for (name, segment) in journal() {
        save("journal", &name, &segment);
    }
}

fn golden(directory: &Path, mut each: impl FnMut(&str, &[u8])) {
    let files = std::fs::read_dir(directory).expect("golden files").flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "hex")) {
        let text = std::fs::read_to_string(&path).expect("text");
        let bytes: Vec<u8> = text.split_whitespace().map(|word| u8::from_str_radix(word, 16).expect("hex")).collect();
        each(path.file_stem().and_then(|stem| stem.to_str()).expect("a name"), &bytes);
    }
}

fn placement() {
    for (nodes, groups) in [(1, 1), (3, 4), (5, 12)] {
        let blueprint = Blueprint {
            nodes: (0..nodes).map(|node| (format!("n{node}"), format!("10.0.0.{node}:7400"))).collect(),
            groups,
            replication: nodes.min(3),
            set_size: None,
            virtual_nodes: 8,
        };
        let members: Vec<(u64, u16)> = (0..u64::from(nodes)).map(|node| (node + 1, 2)).collect();
        let record = blueprint.record(&members);
        let map = ClusterMap::founded(&record);
        save("founding", &format!("record_{nodes}"), &record.encode());
        save("map", &format!("nodes_{nodes}"), &map.encode());
    }
    let ids = |range: std::ops::Range<u64>| range.map(ReplicaId).collect::<Vec<_>>();
    let plain = Membership::new(&ids(1..4), &ids(4..6)).expect("a membership");
    let joint = plain.toward(&Membership::new(&ids(2..7), &[]).expect("a membership"));
    save("membership", "plain", &plain.encode());
    save("membership", "joint", &joint.encode());
}

fn session() -> Vec<u8> {
    let mut session = Session::new(Index(7));
    session.acknowledge(3);
    let outcomes =
        [Outcome::Done, Outcome::Swapped, Outcome::Old(Some(vec![5; 9])), Outcome::Mismatch { current: None }];
    for (sequence, outcome) in (10..).step_by(3).zip(outcomes) {
        session.record(sequence, &outcome);
        session.record(sequence + 1, &outcome);
    }
    let mut bytes = Vec::new();
    session.encode(&mut bytes);
    bytes
}

/// Segments with records of every kind, up to their last used byte.
fn journal() -> Vec<(String, Vec<u8>)> {
    // As in the target.
    let options = Options { segment_bytes: 1 << 14, block_bytes: 512, batch_bytes_max: 1 << 12 };
    let mut journal = journal::recover(options, 1, vec![]).expect("an empty disk").journal;
    let mut files: BTreeMap<SegmentId, Vec<u8>> = BTreeMap::new();
    let membership = Membership::new(&[ReplicaId(1)], &[]).expect("a membership").encode();
    let id = |term, index| LogId { term: Term(term), index: Index(index) };
    let group = GroupId(1);
    let state = ReplicaState {
        group,
        replica: ReplicaId(1),
        hard_state: HardState::default(),
        log_start: LogId::default(),
        membership: membership.clone(),
    };
    journal.create_replica(state);
    for index in 1..=40 {
        while journal.spares_wanted() > 0 {
            let segment = journal.new_segment();
            files.insert(segment, vec![0; 1 << 14]);
            journal.spare_ready(segment);
        }
        let kind = if index % 9 == 0 { EntryKind::Membership } else { EntryKind::Command };
        let payload = if index % 9 == 0 { membership.clone() } else { vec![index as u8; 40] };
        let entry = Entry { term: Term(2), index: Index(index), kind, payload: payload.into() };
        let hard_state = (index == 1).then_some(HardState { term: Term(2), vote: Some(ReplicaId(1)) });
        journal.append(group, hard_state, None, &[entry]);
        if index == 30 {
            journal.compact(group, id(2, 10), &membership);
            journal.append(group, None, Some((id(2, 50), &membership)), &[]);
            break;
        }
        // A batch is padded to a block: several entries to each.
        while index % 6 == 0
            && let Some(write) = journal.take_write()
        {
            let at = write.offset as usize;
            let file = files.get_mut(&write.segment).expect("a spare");
            file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            journal.write_done(write.batch);
        }
    }
    let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map(|last| last + 1);
    let named =
        |(id, bytes): (SegmentId, Vec<u8>)| Some((format!("segment_{}", id.0), bytes[..used(&bytes)?].to_vec()));
    files.into_iter().filter_map(named).collect()
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join(name), bytes).expect("a seed");
}
