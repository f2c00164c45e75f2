//! Every way in which the last write can be torn, with zeros or old bytes behind.

mod journal_support;

use engine_core::journal::{Journal, Options, Write};
use journal_support::*;
use raft::ids::GroupId;

const SEGMENT: u64 = 16 << 10;

fn small() -> Options {
    options(SEGMENT, 8192)
}

/// A journal whose segments are recycled ones, full of old batches; two groups with some entries.
fn used() -> (Disk, Journal, Models) {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 1).journal;
    let mut models = Models::new();
    for group in 1..=2 {
        journal.create_replica(replica(group, 10));
        apply(&mut models, &Change::Create(replica(group, 10)));
    }
    for index in 1..=60u64 {
        for group in [GroupId(1), GroupId(2)] {
            let entry = entry(1, index, &[index as u8; 700]);
            journal.append(group, (index == 1).then_some(vote(1, None)), None, std::slice::from_ref(&entry));
            if index == 1 {
                apply(&mut models, &Change::HardState(group, vote(1, None)));
            }
            apply(&mut models, &Change::Append(group, entry));
            if index % 5 == 0 {
                let start = models[&group].id_at(index - 2);
                journal.compact(group, start, b"compacted");
                apply(&mut models, &Change::Compact(group, start, b"compacted".to_vec()));
            }
        }
        disk.flush(&mut journal, SEGMENT);
        if index == 50 {
            disk.flush_and_seal(&mut journal, SEGMENT);
            let recovered = disk.recover(small(), 2);
            assert_eq!(found(&recovered), models);
            journal = recovered.journal;
            disk.flush(&mut journal, SEGMENT);
        }
        disk.reclaim(&mut journal);
    }
    let stale = disk.files.iter().filter(|(id, bytes)| bytes[24..32] != id.0.to_le_bytes() && bytes[0] != 0);
    assert!(stale.count() > 0, "no spare is a recycled file");
    (disk, journal, models)
}

/// Appends a batch of several blocks with a vote and entries that replace others; returns its write.
fn last_batch(journal: &mut Journal, models: &mut Models) -> Write {
    let group = GroupId(1);
    let first = models[&group].last().index.0 - 1;
    let mut changes = vec![Change::HardState(group, vote(2, Some(5)))];
    let entries: Vec<_> = (first..first + 4).map(|index| entry(2, index, &[0xaa; 500])).collect();
    changes.extend(entries.iter().map(|entry| Change::Append(group, entry.clone())));
    journal.append(group, Some(vote(2, Some(5))), None, &entries);
    changes.iter().for_each(|change| apply(models, change));
    journal.take_write().unwrap()
}

/// With `torn` on the disk in the place of `write`, everything has happened (`true`) or nothing.
fn happened(disk: &Disk, write: &Write, torn: &[u8], before: &Models, after: &Models, go_on: bool) -> bool {
    let mut disk = disk.clone();
    disk.write(&Write { bytes: torn.to_vec(), ..write.clone() });
    let mut recovered = disk.recover(small(), 3);
    assert_eq!(recovered.damage, None);
    assert!(recovered.replicas.iter().all(|replica| replica.sound));
    let models = found(&recovered);
    assert!(models == *after || models == *before, "neither before nor after");
    if go_on {
        disk.flush_and_seal(&mut recovered.journal, SEGMENT);
        read_back(&disk, &recovered.journal, &models);
        assert_eq!(found(&disk.recover(small(), 4)), models, "it is so in the next life");
    }
    models == *after
}

fn every_tear(disk: &Disk, write: &Write, before: &Models, after: &Models) {
    let old = &disk.files[&write.segment][write.offset as usize..][..write.bytes.len()];
    let zeros = vec![0; old.len()];
    let padding = write.bytes.iter().rev().take_while(|byte| **byte == 0).count();
    for behind in [&zeros[..], old] {
        for cut in 0..=write.bytes.len() {
            let torn = [&write.bytes[..cut], &behind[cut..]].concat();
            let all = cut >= write.bytes.len() - padding || torn == write.bytes;
            let whole = happened(disk, write, &torn, before, after, cut % 16 == 0);
            assert!(whole == all || before == after, "cut at {cut}");
        }
        let blocks = write.bytes.len() / 512;
        assert!(blocks <= 12, "too many subsets");
        for subset in 0..1u32 << blocks {
            let mut torn = behind.to_vec();
            for block in (0..blocks).filter(|block| subset & 1 << block != 0) {
                torn[block * 512..][..512].copy_from_slice(&write.bytes[block * 512..][..512]);
            }
            let whole = happened(disk, write, &torn, before, after, subset % 16 == 0);
            assert!(whole == (torn == write.bytes) || before == after, "blocks {subset:b}");
        }
    }
}

#[test]
fn a_torn_batch_never_happened() {
    let (disk, mut journal, before) = used();
    let mut after = before.clone();
    let write = last_batch(&mut journal, &mut after);
    assert!(write.offset > 0 && write.bytes.len() >= 5 * 512);
    every_tear(&disk, &write, &before, &after);
}

#[test]
fn a_torn_opening_never_happened() {
    let (mut disk, mut journal, mut before) = used();
    let room = |disk: &Disk, journal: &Journal| {
        let last = disk.headers(journal.segments().last().unwrap()).last().copied();
        SEGMENT - last.unwrap_or(0)
    };
    while room(&disk, &journal) > 2048 {
        let next = before[&GroupId(2)].last().index.0 + 1;
        let entry = entry(1, next, &[9; 400]);
        journal.append(GroupId(2), None, None, std::slice::from_ref(&entry));
        apply(&mut before, &Change::Append(GroupId(2), entry));
        disk.flush(&mut journal, SEGMENT);
    }
    let mut after = before.clone();
    // The first part still fits the segment; what is torn is the opening that follows.
    let write = last_batch(&mut journal, &mut after);
    disk.write(&write);
    journal.write_done(write.batch);
    let between = found(&disk.recover(small(), 9));
    let opening = journal.take_write().unwrap();
    assert!(opening.offset == 0 && opening.segment > write.segment && between != after);
    every_tear(&disk, &opening, &between, &after);
}

#[test]
fn a_torn_life_never_happened() {
    let (mut disk, mut journal, before) = used();
    let mut after = before.clone();
    let write = last_batch(&mut journal, &mut after);
    disk.write(&write);
    // Crashed after the write, before any seal: the new life repeats what the last batch held.
    let mut journal = disk.recover(small(), 10).journal;
    disk.spares(&mut journal, SEGMENT);
    let opening = journal.take_write().unwrap();
    assert!(opening.offset == 0 && opening.bytes.len() > 2048);
    every_tear(&disk, &opening, &after, &after);
}

/// One life of a journal whose last write has a record to every block; the payloads are of `fill`.
fn lined_up(life: u64, fill: u8) -> (Disk, Write, Models, Models) {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), life).journal;
    let mut before = Models::new();
    journal.create_replica(replica(1, 10));
    apply(&mut before, &Change::Create(replica(1, 10)));
    disk.flush_and_seal(&mut journal, SEGMENT);
    let mut after = before.clone();
    for index in 1..=8 {
        // The batch's header and the first record fill a block, and so does every other record.
        let bytes = if index == 1 { 512 - 96 - 48 } else { 512 - 48 };
        let entry = entry(1, index, &vec![fill + index as u8; bytes]);
        journal.append(GroupId(1), None, None, std::slice::from_ref(&entry));
        apply(&mut after, &Change::Append(GroupId(1), entry));
    }
    let write = journal.take_write().unwrap();
    assert_eq!(write.bytes.len(), 8 * 512);
    (disk, write, before, after)
}

#[test]
fn old_records_that_line_up_are_not_taken_for_new_ones() {
    let (disk, write, before, after) = lined_up(5, 0x10);
    let (_, old, ..) = lined_up(6, 0x20);
    // The header is on the disk; of the rest, any block is the new one or that of another life.
    for subset in (1..1u32 << 8).step_by(2) {
        let mut torn = old.bytes.clone();
        for block in (0..8).filter(|block| subset & 1 << block != 0) {
            torn[block * 512..][..512].copy_from_slice(&write.bytes[block * 512..][..512]);
        }
        let whole = happened(&disk, &write, &torn, &before, &after, false);
        assert_eq!(whole, subset == 0xff, "blocks {subset:b}");
    }
}

#[test]
fn what_nobody_saw_synced_is_written_again() {
    let (mut disk, mut journal, before) = used();
    let mut after = before.clone();
    let write = last_batch(&mut journal, &mut after);
    // In the page cache when the process is killed, so the next one reads it; yet the disk never took it.
    let taken = disk.clone();
    disk.write(&write);
    let mut journal = disk.recover(small(), 10).journal;
    disk.flush(&mut journal, SEGMENT);
    disk.files.insert(write.segment, taken.files[&write.segment].clone());
    let recovered = disk.recover(small(), 11);
    assert_eq!(recovered.damage, None);
    assert_eq!(found(&recovered), after);
}

#[test]
fn what_a_life_left_behind_stays_behind_when_it_appears_again() {
    let (mut disk, mut journal, before) = used();
    let lost = last_batch(&mut journal, &mut before.clone());
    journal.write_done(lost.batch);
    let lost_seal = journal.take_write().unwrap();
    // Both writes are lost, a new life begins, and goes on differently.
    let mut journal = disk.recover(small(), 10).journal;
    disk.flush_and_seal(&mut journal, SEGMENT);
    let mut models = before.clone();
    let entry = entry(3, before[&GroupId(1)].last().index.0 + 1, b"another");
    journal.append(GroupId(1), Some(vote(3, Some(6))), None, std::slice::from_ref(&entry));
    apply(&mut models, &Change::HardState(GroupId(1), vote(3, Some(6))));
    apply(&mut models, &Change::Append(GroupId(1), entry));
    disk.flush_and_seal(&mut journal, SEGMENT);
    // Now the lost writes are there after all.
    disk.write(&lost);
    disk.write(&lost_seal);
    let recovered = disk.recover(small(), 11);
    assert_eq!((recovered.damage, recovered.torn), (None, None));
    assert_eq!(found(&recovered), models);
}
