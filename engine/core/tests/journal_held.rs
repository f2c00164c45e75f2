//! A log that cannot be cut keeps no segment of the others: it is written once more.

mod journal_support;

use journal_support::*;
use raft::ids::GroupId;

const SEGMENT: u64 = 8192;
const STUCK: GroupId = GroupId(1);
const BUSY: GroupId = GroupId(2);

#[test]
fn a_log_that_cannot_be_cut_does_not_keep_the_segments_of_all() {
    let options = options(SEGMENT, 1024);
    let mut disk = Disk::default();
    let mut journal = disk.recover(options, 1).journal;
    let mut models = Models::new();
    for group in [STUCK, BUSY] {
        let state = replica(group.0, 10);
        journal.create_replica(state.clone());
        apply(&mut models, &Change::Create(state));
    }
    // Nobody commits these.
    let stuck: Vec<_> = (1..=3).map(|index| entry(1, index, &[7; 300])).collect();
    journal.append(STUCK, None, None, &stuck);
    stuck.iter().for_each(|entry| apply(&mut models, &Change::Append(STUCK, entry.clone())));
    let mut most = 0;
    for index in 1..=200 {
        let entry = entry(1, index, &[9; 700]);
        journal.append(BUSY, None, None, std::slice::from_ref(&entry));
        journal.compact(BUSY, entry.id(), b"members");
        apply(&mut models, &Change::Append(BUSY, entry.clone()));
        apply(&mut models, &Change::Compact(BUSY, entry.id(), b"members".to_vec()));
        disk.flush(&mut journal, SEGMENT);
        disk.reclaim(&mut journal);
        most = most.max(journal.segments().count());
        if journal.segments().count() > 4 {
            assert_eq!(journal.cold(), [STUCK]);
            assert!(!journal.move_up(STUCK, &stuck[1..]), "not without its first");
            assert!(journal.move_up(STUCK, &stuck));
            assert!(journal.is_moving(STUCK, stuck[0].index));
            disk.flush(&mut journal, SEGMENT);
            assert!(!journal.is_moving(STUCK, stuck[0].index));
        }
    }
    assert!(most <= 5, "{most} segments in use");
    read_back(&disk, &journal, &models);
    assert_eq!(found(&disk.recover(options, 2)), models);
}
