//! Right checksums do not make records believed: each sequence that is never written is refused by name.

use super::record::{Record, Row, SegmentRow};
use super::{Journal, Options, RecoverError, ReplicaState, SegmentId, recover};
use raft::entry::{EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};

const OPTIONS: Options = Options { segment_bytes: 8192, block_bytes: 512, batch_bytes_max: 4096 };
const GROUP: GroupId = GroupId(1);

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: Index(index) }
}

fn entry(term: u64, index: u64) -> Record<'static> {
    Record::Entry { group: GROUP, kind: EntryKind::Command, id: id(term, index), payload: b"x" }
}

/// A journal with one replica whose log is 4..=6, of terms 2, 2, 3, and `record` behind.
fn after(record: &Record<'_>) -> Result<(), RecoverError> {
    let mut journal = recover(OPTIONS, 1, Vec::new())?.journal;
    journal.create_replica(ReplicaState {
        group: GROUP,
        replica: ReplicaId(1),
        hard_state: HardState { term: Term(3), vote: Some(ReplicaId(1)) },
        log_start: id(1, 3),
        membership: Vec::new(),
    });
    for record in [entry(2, 4), entry(2, 5), entry(3, 6)] {
        journal.writer.push(&record, false);
    }
    journal.writer.push(record, false);
    recover(OPTIONS, 2, written(&mut journal)).map(|_| ())
}

fn written(journal: &mut Journal) -> Vec<(SegmentId, Vec<u8>)> {
    let segment = journal.new_segment();
    journal.spare_ready(segment);
    let write = journal.take_write().expect("a batch waits");
    let mut bytes = write.bytes;
    bytes.resize(OPTIONS.segment_bytes as usize, 0);
    vec![(segment, bytes)]
}

fn refused(record: &Record<'_>) -> &'static str {
    match after(record) {
        Err(RecoverError::Impossible { why, .. }) => why,
        other => panic!("{record:?} gave {other:?}"),
    }
}

fn row(log_start: LogId, last: LogId) -> Row<'static> {
    let (replica, hard_state) = (ReplicaId(1), HardState::default());
    Row { group: GROUP, replica, hard_state, log_start, last, sound: true, membership: b"" }
}

#[test]
fn possible_records_are_taken() {
    for record in [entry(3, 7), entry(4, 4), entry(3, 6)] {
        assert_eq!(after(&record), Ok(()));
    }
}

#[test]
fn what_raft_takes_from_others_can_be_read_back() {
    let last = (1 << 62) - 1;
    assert_eq!(after(&entry(last, 7)), Ok(()));
    assert!(id(last, last).is_sound());
    assert!(!id(1 << 62, 7).is_sound() && !id(3, 1 << 62).is_sound());
}

#[test]
fn impossible_records_are_refused() {
    assert_eq!(refused(&entry(3, 8)), "an entry that leaves a hole");
    assert_eq!(refused(&entry(3, u64::MAX)), "a malformed record");
    assert_eq!(refused(&entry(u64::MAX, 7)), "a malformed record");
    assert_eq!(refused(&entry(1 << 62, 7)), "a malformed record");
    assert_eq!(refused(&entry(3, 3)), "an entry at or below the log start");
    assert_eq!(refused(&entry(2, 7)), "terms that fall");
    let hard_state = |term, vote| Record::HardState {
        group: GROUP,
        hard_state: HardState { term: Term(term), vote: Some(ReplicaId(vote)) },
    };
    assert_eq!(refused(&hard_state(2, 1)), "a term that falls");
    assert_eq!(refused(&hard_state(3, 2)), "a second vote in one term");
    let start = |id| Record::LogStart { group: GROUP, start: id, restart: false, membership: b"" };
    assert_eq!(refused(&start(id(3, 7))), "a log start outside the log");
    assert_eq!(refused(&start(id(1, 2))), "a log start outside the log");
    assert_eq!(refused(&start(id(3, 5))), "a log start of another term than the entry");
    let other = Record::HardState { group: GroupId(9), hard_state: HardState::default() };
    assert_eq!(refused(&other), "a record of a replica that is not here");
    assert_eq!(refused(&Record::Row(row(id(1, 3), id(1, 3)))), "a part of an opening behind the opening");
    assert_eq!(refused(&Record::Life { life: 3 }), "a part of an opening behind the opening");
}

#[test]
fn impossible_openings_are_refused() {
    let open = |record: &Record<'_>| {
        let mut journal = recover(OPTIONS, 1, Vec::new()).expect("a fresh journal").journal;
        journal.writer.push(record, false);
        recover(OPTIONS, 2, written(&mut journal)).map(|recovered| recovered.replicas)
    };
    let upside_down = open(&Record::Row(row(id(2, 5), id(2, 4))));
    assert!(matches!(upside_down, Err(RecoverError::Impossible { why: "a log that ends before it starts", .. })));
    let far = id(u64::MAX, u64::MAX);
    assert!(matches!(
        open(&Record::Row(row(far, far))),
        Err(RecoverError::Impossible { why: "a malformed record", .. })
    ));
    // Entries that no segment holds: nothing wrong appears, but the replica is not sound.
    let gap = open(&Record::Row(row(id(1, 3), id(2, 9)))).expect("a journal with a gap opens");
    assert!(!gap[0].sound && gap[0].last == id(1, 3) && gap[0].tail.is_empty());
    // A second list is not looked at.
    let list = [SegmentRow { segment: SegmentId(9), life: 7, end: 512, crc: 1 }];
    assert!(open(&Record::Segments(list.to_vec())).is_ok());
}
