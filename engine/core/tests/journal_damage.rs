//! Every byte of a small journal damaged in turn, files removed, and what recovery may still call sound.

mod journal_support;

use engine_core::journal::{Damage, Journal, Options, RecoverError, Recovered, Rot, SegmentId, recover};
use journal_support::*;
use raft::ids::{GroupId, ReplicaId};

const SEGMENT: u64 = 4096;

fn small() -> Options {
    options(SEGMENT, 1024)
}

/// Three segments, several batches each, all kinds of records, sealed.
fn sealed() -> (Disk, Journal, Models) {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 1).journal;
    disk.flush(&mut journal, SEGMENT);
    let mut changes = Vec::new();
    for group in 1..=3 {
        let state = replica(group, 10 * u64::from(group));
        journal.create_replica(state.clone());
        changes.push(Change::Create(state));
    }
    for round in 1..=6u64 {
        for group in 1..=2u32 {
            let hard_state = vote(round, Some(u64::from(group)));
            let first = if round % 3 == 0 { round - 1 } else { round };
            let entries = [entry(round, first, &[round as u8; 150]), membership(round, first + 1, b"members")];
            let entries = if round == 1 { &entries[..1] } else { &entries[..] };
            journal.append(GroupId(group), Some(hard_state), None, entries);
            changes.push(Change::HardState(GroupId(group), hard_state));
            changes.extend(entries.iter().map(|entry| Change::Append(GroupId(group), entry.clone())));
        }
        if round == 4 {
            journal.append(GroupId(3), None, Some((id(3, 9), b"snapshot")), &[]);
            changes.push(Change::Restart(GroupId(3), id(3, 9), b"snapshot".to_vec()));
        }
        disk.flush(&mut journal, SEGMENT);
    }
    let mut models = Models::new();
    changes.iter().for_each(|change| apply(&mut models, change));
    disk.flush_and_seal(&mut journal, SEGMENT);
    assert_eq!(journal.segments().count(), 3);
    (disk, journal, models)
}

fn same_or_not_sound(recovered: &Recovered, models: &Models) {
    let found = found(recovered);
    for replica in recovered.replicas.iter().filter(|replica| replica.sound) {
        let group = replica.state.group;
        assert_eq!(found.get(&group), models.get(&group), "group {group} is called sound");
    }
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let (disk, journal, models) = sealed();
    let segments: Vec<SegmentId> = journal.segments().collect();
    let mut counts = [0; 3];
    for (segment, bytes) in &disk.files {
        let headers = disk.headers(*segment);
        // Below the last header of the newest segment (a seal), and in all of the others that was written.
        let synced = match segments.iter().position(|other| other == segment) {
            Some(2) => *headers.last().unwrap(),
            Some(_) => headers.last().unwrap() + 512,
            None => 0,
        };
        for at in 0..bytes.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut disk = disk.clone();
                disk.files.get_mut(segment).unwrap()[at] ^= mask;
                let recovered = recover(small(), 2, disk.contents()).expect("rot is no reason not to open");
                same_or_not_sound(&recovered, &models);
                let damage = recovered.damage;
                assert_eq!(damage.is_some(), (at as u64) < synced, "segment {segment} at {at}: {damage:?}");
                let harmless = recovered.replicas.iter().all(|replica| replica.sound);
                if damage.is_none() || harmless {
                    assert_eq!(found(&recovered), models, "segment {segment} at {at}");
                }
                counts[usize::from(damage.is_some()) + usize::from(damage.is_some() && !harmless)] += 1;
            }
        }
    }
    println!("{} flips harmless, {} noticed and harmless, {} noticed", counts[0], counts[1], counts[2]);
    assert!(counts.iter().all(|count| *count > 0));
}

#[test]
fn a_promised_vote_survives_any_flip_or_the_damage_is_noticed() {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 1).journal;
    journal.create_replica(replica(1, 10));
    disk.flush(&mut journal, SEGMENT);
    let hard_state = vote(7, Some(3));
    let batch = journal.append(GroupId(1), Some(hard_state), None, &[]);
    let write = journal.take_write().unwrap();
    disk.write(&write);
    assert_eq!(write.batch, batch);
    assert_eq!(journal.write_done(batch), batch - 1, "a vote is promised without a seal");
    let seal = journal.take_write().expect("the seal follows at once");
    disk.write(&seal);
    assert!(journal.write_done(seal.batch) >= batch);
    assert!(!journal.wants_seal() && journal.take_write().is_none());
    let segment = write.segment;
    for at in 0..SEGMENT as usize {
        let mut disk = disk.clone();
        disk.files.get_mut(&segment).unwrap()[at] ^= 0x10;
        let recovered = recover(small(), 2, disk.contents()).unwrap();
        let held = recovered.replicas.iter().all(|replica| replica.state.hard_state == hard_state);
        let sound = recovered.replicas.iter().any(|replica| replica.sound);
        assert!(held && sound || recovered.damage.is_some(), "the vote is gone without a word: byte {at}");
        assert!(held || !sound, "byte {at}");
    }
}

#[test]
fn a_vote_is_promised_by_the_batch_behind_it() {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 1).journal;
    journal.create_replica(replica(1, 10));
    disk.flush_and_seal(&mut journal, SEGMENT);
    let voted = journal.append(GroupId(1), Some(vote(1, Some(1))), None, &[]);
    let write = journal.take_write().unwrap();
    disk.write(&write);
    let appended = journal.append(GroupId(1), None, None, &[entry(1, 1, b"x")]);
    assert!(appended > voted && journal.take_write().is_none(), "one write at a time");
    assert_eq!(journal.write_done(voted), voted - 1);
    let write = journal.take_write().expect("the next batch, and no seal");
    assert_eq!(write.batch, appended);
    disk.write(&write);
    assert_eq!(journal.write_done(appended), appended, "entries need no seal");
    assert!(journal.take_write().is_none() && journal.wants_seal());
}

#[test]
fn a_missing_segment_is_damage_and_only_who_needs_it_is_not_sound() {
    let (mut disk, mut journal, mut models) = sealed();
    let segments: Vec<SegmentId> = journal.segments().collect();
    let mut gone = disk.clone();
    gone.files.remove(&segments[1]);
    let recovered = gone.recover(small(), 2);
    assert_eq!(recovered.damage, Some(Damage { segment: segments[1], offset: 0, rot: Rot::Missing }));
    same_or_not_sound(&recovered, &models);
    // Group 3 has no entries: the table of the segment behind says all there is to say.
    let sound: Vec<bool> = recovered.replicas.iter().map(|replica| replica.sound).collect();
    assert_eq!(sound, [false, false, true]);

    // Group 1 no longer needs what lies there.
    let last = models[&GroupId(1)].last();
    journal.compact(GroupId(1), last, b"later");
    apply(&mut models, &Change::Compact(GroupId(1), last, b"later".to_vec()));
    disk.flush_and_seal(&mut journal, SEGMENT);
    disk.files.remove(&segments[1]);
    let recovered = disk.recover(small(), 2);
    same_or_not_sound(&recovered, &models);
    let sound: Vec<bool> = recovered.replicas.iter().map(|replica| replica.sound).collect();
    assert_eq!(sound, [true, false, true]);
}

#[test]
fn the_newest_segment_missing_is_damage() {
    let (mut disk, journal, _) = sealed();
    disk.files.remove(&journal.segments().last().unwrap());
    let recovered = disk.recover(small(), 2);
    assert_eq!(recovered.damage.map(|damage| damage.rot), Some(Rot::Missing));
    assert!(recovered.replicas.iter().all(|replica| !replica.sound));
}

#[test]
fn rot_before_a_torn_opening_is_no_torn_end() {
    let (mut disk, mut journal, models) = sealed();
    let mut next = models[&GroupId(1)].last().index.0;
    let full = journal.segments().last().unwrap();
    let opening = loop {
        next += 1;
        journal.append(GroupId(1), None, None, &[entry(6, next, &[1; 300])]);
        let write = journal.take_write().unwrap();
        if write.segment > full {
            break write;
        }
        disk.write(&write);
        journal.write_done(write.batch);
    };
    // Of the opening only the first block, with its header, has come to the disk.
    assert!(opening.bytes.len() > 512);
    disk.files.get_mut(&opening.segment).unwrap()[..512].copy_from_slice(&opening.bytes[..512]);
    let recovered = disk.recover(small(), 2);
    assert!(recovered.damage.is_none() && recovered.torn.is_some_and(|torn| torn.segment == opening.segment));
    // It says that everything before it was synced.
    let last = *disk.headers(full).last().unwrap() as usize;
    disk.files.get_mut(&full).unwrap()[last + 100] ^= 1;
    let recovered = disk.recover(small(), 2);
    assert_eq!(recovered.damage, Some(Damage { segment: full, offset: last as u64, rot: Rot::Record }));
    assert!(recovered.replicas.iter().all(|replica| !replica.sound));
}

#[test]
fn a_replica_stays_unsound_until_it_is_replaced() {
    let (mut disk, journal, _) = sealed();
    let segments: Vec<SegmentId> = journal.segments().collect();
    disk.files.get_mut(&segments[1]).unwrap()[600] ^= 1;
    let mut recovered = disk.recover(small(), 2);
    assert!(recovered.damage.is_some() && !recovered.replicas[0].sound);
    disk.flush_and_seal(&mut recovered.journal, SEGMENT);
    for life in 3..6 {
        recovered = disk.recover(small(), life);
        assert!(!recovered.replicas[0].sound, "life {life}");
        disk.flush_and_seal(&mut recovered.journal, SEGMENT);
    }
    let mut journal = recovered.journal;
    journal.create_replica(replica(1, 11));
    journal.append(GroupId(1), Some(vote(1, None)), None, &[entry(1, 1, b"new")]);
    disk.flush_and_seal(&mut journal, SEGMENT);
    let recovered = disk.recover(small(), 7);
    assert!(recovered.replicas[0].sound);
    assert_eq!(recovered.replicas[0].state.replica, ReplicaId(11));
    assert_eq!(recovered.replicas[0].tail, [entry(1, 1, b"new")]);
}

#[test]
fn garbage_is_no_journal() {
    let mut rng = Rng(7);
    let garbage: Vec<u8> = (0..SEGMENT).map(|_| rng.next() as u8).collect();
    let files = vec![(SegmentId(5), garbage), (SegmentId(2), vec![]), (SegmentId(9), vec![0; 100])];
    let mut recovered = recover(small(), 1, files).unwrap();
    assert!(recovered.replicas.is_empty() && recovered.damage.is_none() && recovered.torn.is_none());
    let mut disk = Disk::default();
    let ids = [SegmentId(2), SegmentId(5), SegmentId(9)];
    ids.iter().for_each(|id| drop(disk.files.insert(*id, vec![0; SEGMENT as usize])));
    assert!(recovered.journal.reclaim().is_empty(), "before the life is on the disk");
    disk.flush_and_seal(&mut recovered.journal, SEGMENT);
    // The file of the right size is a spare already; the others are of no use.
    assert_eq!(recovered.journal.segments().collect::<Vec<_>>(), [SegmentId(5)]);
    assert_eq!(recovered.journal.reclaim(), [SegmentId(2), SegmentId(9)]);
    assert!(recovered.journal.new_segment() > SegmentId(9));
}

#[test]
fn a_life_is_never_lived_twice() {
    let (disk, ..) = sealed();
    assert_eq!(recover(small(), 1, disk.contents()).unwrap_err(), RecoverError::Life { life: 1 });
    assert_eq!(recover(small(), 0, Vec::new()).unwrap_err(), RecoverError::Life { life: 0 });
}

#[test]
fn an_entry_read_back_is_the_one_that_was_asked_for() {
    let (disk, journal, models) = sealed();
    read_back(&disk, &journal, &models);
    let last = models[&GroupId(1)].last().index;
    let extents = journal.locate(GroupId(1), last.prev(), last, usize::MAX);
    let read = |at: usize| {
        let start = extents[at].offset as usize;
        disk.files[&extents[at].segment][start..start + extents[at].length].to_vec()
    };
    for at in 0..extents[0].length {
        let mut bytes = read(0);
        bytes[at] ^= 4;
        assert!(journal.decode_entry(&extents[0], &bytes).is_err(), "byte {at}");
    }
    assert!(journal.decode_entry(&extents[1], &read(0)).is_err());
    assert!(journal.decode_entry(&extents[0], &[]).is_err());
    assert_eq!(journal.locate(GroupId(1), last.prev(), last, 0).len(), 1);
    assert!(journal.locate(GroupId(1), last.next(), last.next(), 100).is_empty());
    assert!(journal.locate(GroupId(77), last, last, 100).is_empty());
}

#[test]
fn an_entry_is_located_only_once_it_is_written() {
    let mut disk = Disk::default();
    let mut journal = disk.recover(small(), 1).journal;
    journal.create_replica(replica(1, 10));
    disk.flush_and_seal(&mut journal, SEGMENT);
    journal.append(GroupId(1), Some(vote(1, None)), None, &[entry(1, 1, b"x")]);
    let first = entry(1, 1, b"").index;
    let located = |journal: &Journal| journal.locate(GroupId(1), first, first, 100).len();
    assert_eq!(located(&journal), 0, "in the open batch");
    let write = journal.take_write().unwrap();
    assert_eq!(located(&journal), 0, "in flight");
    journal.write_done(write.batch);
    assert_eq!(located(&journal), 1);
}
