//! The bytes of the journal, pinned. Rewrite the files with `KVD_REWRITE=1` and look at the difference: what is on
//! disks already must stay readable.

mod journal_support;

use engine_core::journal::{Options, SegmentId};
use journal_support::*;
use raft::entry::{Entry, EntryKind};
use raft::ids::GroupId;
use std::fmt::Write as _;
use std::path::PathBuf;

const SEGMENT: u64 = 4096;

fn small() -> Options {
    options(SEGMENT, 2048)
}

/// A fresh journal: the opening of its first life and a seal.
fn fresh() -> (Disk, Models) {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 0x0102_0304_0506_0708).journal;
    disk.flush_and_seal(&mut journal, SEGMENT);
    (disk, Models::new())
}

/// Every kind of record.
fn records() -> (Disk, Models) {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 0xaaaa).journal;
    let mut models = Models::new();
    let changes = [
        Change::Create(replica(1, 0x1_0002)),
        Change::Create(replica(2, 0x1_0002)),
        Change::HardState(GroupId(1), vote(1, Some(0x1_0002))),
        Change::Append(GroupId(1), Entry { kind: EntryKind::Noop, ..entry(1, 1, b"") }),
        Change::Append(GroupId(1), entry(1, 2, b"a command")),
        Change::Append(GroupId(1), entry(1, 3, b"another")),
        Change::HardState(GroupId(1), vote(2, None)),
        Change::Append(GroupId(1), membership(2, 3, b"a membership")),
        Change::Compact(GroupId(1), id(1, 1), b"members at 1".to_vec()),
        Change::Remove(GroupId(2)),
        Change::Create(replica(3, 7)),
        Change::Restart(GroupId(3), id(5, 50), b"members at 50".to_vec()),
        Change::Append(GroupId(3), entry(6, 51, b"x")),
    ];
    for change in &changes {
        apply(&mut models, change);
        match change.clone() {
            Change::Create(state) => journal.create_replica(state),
            Change::Remove(group) => journal.remove_replica(group),
            Change::HardState(group, hard_state) => journal.append(group, Some(hard_state), None, &[]),
            Change::Restart(group, start, membership) => journal.append(group, None, Some((start, &membership)), &[]),
            Change::Compact(group, start, membership) => journal.compact(group, start, &membership),
            Change::Append(group, entry) => journal.append(group, None, None, &[entry]),
        };
    }
    disk.flush_and_seal(&mut journal, SEGMENT);
    (disk, models)
}

/// Two lives: the second lists the first one's segment and repeats its last batch.
fn lives() -> (Disk, Models) {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 0xaaaa).journal;
    let mut models = Models::new();
    journal.create_replica(replica(1, 4));
    apply(&mut models, &Change::Create(replica(1, 4)));
    for index in 1..=3 {
        let entry = entry(1, index, &[index as u8; 20]);
        journal.append(GroupId(1), None, None, std::slice::from_ref(&entry));
        apply(&mut models, &Change::Append(GroupId(1), entry));
        disk.flush(&mut journal, SEGMENT);
    }
    let mut journal = disk.recover(small(), 0xbbbb).journal;
    disk.flush_and_seal(&mut journal, SEGMENT);
    (disk, models)
}

#[test]
fn the_format_is_the_one_on_disks_already() {
    for (name, (disk, models)) in [("fresh", fresh()), ("records", records()), ("lives", lives())] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/journal/{name}.hex"));
        let text = dump(&disk);
        if std::env::var("KVD_REWRITE").is_ok_and(|value| value == "1") {
            std::fs::write(&path, &text).expect("the golden file can be written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == text, "{name}.hex is another format:\n{text}");
        let recovered = parse(&golden).recover(small(), 0xcccc);
        assert_eq!((recovered.damage, recovered.torn), (None, None));
        assert_eq!(found(&recovered), models, "{name}");
    }
}

/// Sixteen bytes a line; lines of zeros are left out.
fn dump(disk: &Disk) -> String {
    let mut text = String::new();
    for (id, bytes) in &disk.files {
        writeln!(text, "segment {id} {}", bytes.len()).unwrap();
        for (at, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
            write!(text, "{:06x}", at * 16).unwrap();
            line.iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

fn parse(text: &str) -> Disk {
    let mut disk = Disk::default();
    let mut segment = SegmentId(0);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "segment" {
            segment = SegmentId(words[1].parse().unwrap());
            disk.files.insert(segment, vec![0; words[2].parse().unwrap()]);
            continue;
        }
        let at = usize::from_str_radix(words[0], 16).unwrap();
        for (offset, byte) in words[1..].iter().enumerate() {
            disk.files.get_mut(&segment).unwrap()[at + offset] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
    disk
}
