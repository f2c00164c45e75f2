//! Values that hold what looks like headers of the journal: a client may write any bytes. It does not know the life,
//! and where recovery cannot know it either, none of them may stand.

mod journal_support;

use engine_core::journal::{Journal, Options, Write};
use journal_support::*;
use raft::ids::GroupId;

const SEGMENT: u64 = 512 << 10;
const GROUP: GroupId = GroupId(1);

fn large() -> Options {
    options(SEGMENT, 128 << 10)
}

/// A header that segment `segment` could have, but for its life.
fn header(segment: u64, version: u16) -> [u8; 96] {
    let mut bytes = [0; 96];
    bytes[..4].copy_from_slice(b"KVDJ");
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    bytes[12..16].copy_from_slice(&512u32.to_le_bytes());
    bytes[16..24].copy_from_slice(&0x1234_5678u64.to_le_bytes());
    bytes[24..32].copy_from_slice(&segment.to_le_bytes());
    bytes[32..40].copy_from_slice(&900u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&900u64.to_le_bytes());
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Enough of them that one lies where a header can lie, wherever the value does.
fn forged(segment: u64, version: u16) -> Vec<u8> {
    (0..512).flat_map(|_| [&header(segment, version)[..], &[0]].concat()).collect()
}

/// A journal in which a replica was just created, its disk, and what is to be found there.
fn begun() -> (Disk, Journal, Models) {
    let disk = Disk::default();
    let mut journal = disk.recover(large(), 7).journal;
    let mut models = Models::new();
    journal.create_replica(replica(1, 10));
    apply(&mut models, &Change::Create(replica(1, 10)));
    (disk, journal, models)
}

#[test]
fn bytes_of_values_do_not_pass_for_headers() {
    for version in [1, 2] {
        let (mut disk, mut journal, mut models) = begun();
        disk.flush(&mut journal, SEGMENT);
        let segment = disk.newest_written().expect("it was just written").0;
        for (index, payload) in [(1, vec![1; 100]), (2, forged(segment, version)), (3, vec![3; 100])] {
            let entry = entry(1, index, &payload);
            journal.append(GROUP, None, None, std::slice::from_ref(&entry));
            apply(&mut models, &Change::Append(GROUP, entry));
            disk.flush(&mut journal, SEGMENT);
        }
        let recovered = disk.recover(large(), 8);
        assert_eq!((recovered.damage, found(&recovered)), (None, models.clone()), "version {version}");
        assert!(recovered.replicas.iter().all(|replica| replica.sound));

        // A batch but for its last block, and behind its header what looks like another.
        journal.append(GROUP, None, None, &[entry(1, 4, &forged(segment, version))]);
        let write = journal.take_write().expect("a batch");
        let most = write.bytes[..write.bytes.len() - 512].to_vec();
        disk.write(&Write { bytes: most, ..write });
        let recovered = disk.recover(large(), 8);
        assert!(recovered.torn.is_some());
        assert_eq!((recovered.damage, found(&recovered)), (None, models), "version {version}, torn");
        assert!(recovered.replicas.iter().all(|replica| replica.sound));
    }
}

#[test]
fn bytes_of_values_do_not_pass_for_headers_in_a_segment_made_of_theirs() {
    for version in [1, 2] {
        let (mut disk, mut journal, mut models) = begun();
        disk.flush_and_seal(&mut journal, SEGMENT);
        let first = disk.newest_written().expect("it was just written").0;
        for index in 1.. {
            let idle = disk.recycled.len();
            // Each segment names some of those to come, until one is made of the first.
            let entry = entry(1, index, &forged(first + index, version));
            journal.append(GROUP, None, None, std::slice::from_ref(&entry));
            journal.compact(GROUP, entry.id(), b"members");
            apply(&mut models, &Change::Append(GROUP, entry.clone()));
            apply(&mut models, &Change::Compact(GROUP, entry.id(), b"members".to_vec()));
            disk.flush_and_seal(&mut journal, SEGMENT);
            if disk.recycled.len() < idle {
                break;
            }
            disk.reclaim(&mut journal);
        }
        let recovered = disk.recover(large(), 8);
        assert_eq!(recovered.damage, None, "version {version}");
        assert!(found(&recovered) == models);
        assert!(recovered.replicas.iter().all(|replica| replica.sound));
    }
}

#[test]
fn bytes_of_values_do_not_pass_for_headers_behind_an_opening_that_was_torn() {
    for (version, of_a_life) in [(1, false), (2, false), (1, true), (2, true)] {
        let (mut disk, mut journal, mut models) = begun();
        disk.flush_and_seal(&mut journal, SEGMENT);
        let first = disk.newest_written().expect("it was just written").0;
        let mut index = 0;
        let torn = loop {
            index += 1;
            let payload: Vec<u8> = [1, 2].iter().flat_map(|next| forged(first + next, version)).collect();
            let entry = entry(1, index, &payload);
            journal.append(GROUP, None, None, std::slice::from_ref(&entry));
            if of_a_life {
                // What the last batch holds stands behind the next life's opening again.
                apply(&mut models, &Change::Append(GROUP, entry.clone()));
                disk.flush(&mut journal, SEGMENT);
                journal = disk.recover(large(), 8).journal;
                disk.spares(&mut journal, SEGMENT);
            }
            let write = journal.take_write().expect("a batch");
            if write.offset == 0 {
                break write;
            }
            disk.write(&write);
            journal.write_done(write.batch);
            apply(&mut models, &Change::Append(GROUP, entry));
            disk.spares(&mut journal, SEGMENT);
        };
        let (offset, bytes) = (512, torn.bytes[512..].to_vec());
        disk.write(&Write { offset, bytes, ..torn });
        let recovered = disk.recover(large(), 9);
        assert_eq!(recovered.damage, None, "version {version}, {of_a_life}");
        assert!(found(&recovered) == models);
        assert!(recovered.replicas.iter().all(|replica| replica.sound));
    }
}
