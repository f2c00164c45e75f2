//! What is applied is there: through the batch, in memory, on the disk, and after a restart.

mod store_support;

use engine::store::{Cached, StoreError};
use engine_core::command::{BatchOperation, Operation, Outcome};
use engine_core::sessions::{SESSIONS_EVICTED_AT_ONCE, SESSIONS_MAX};
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use store_support::*;
use tempfile::tempdir;

#[test]
fn every_operation_survives_a_restart() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    let operations = [
        put(b"a", b"1"),
        put(b"", b"empty key"),
        put(&[0, 255], b""),
        put(&[b'l'; 4096], &vec![9; 1 << 20]),
        put_old(b"a", b"2"),
        swap(b"b", None, Some(b"3")),
        swap(b"b", Some(b"wrong"), None),
        delete(b"not there"),
        Operation::Batch {
            operations: vec![
                BatchOperation::Put { key: b"c".to_vec(), value: b"4".to_vec() },
                BatchOperation::Delete { key: b"a".to_vec() },
            ],
        },
    ];
    for operation in operations {
        pair.commands(1, &[client.next(operation)]);
    }
    pair.compare();
    let pair = pair.reopen(directory.path());
    pair.compare();
    assert_eq!(pair.store.get(GroupId(1), b"").unwrap(), Some(b"empty key".to_vec()));
    assert_eq!(pair.store.get(GroupId(1), &[0, 255]).unwrap(), Some(vec![]));
    assert_eq!(pair.store.get(GroupId(1), b"a").unwrap(), None);
}

#[test]
fn commands_see_what_the_same_batch_wrote_before() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    let commands = [
        client.next(put(b"k", b"1")),
        client.next(put_old(b"k", b"2")),
        client.next(delete(b"k")),
        client.next(swap(b"k", None, Some(b"3"))),
        client.next(Operation::Batch { operations: vec![BatchOperation::Put { key: b"k".to_vec(), value: vec![4] }] }),
        client.next(swap(b"k", Some(&[4]), None)),
        client.next(put_old(b"k", b"5")),
    ];
    let outcomes = pair.commands(1, &commands);
    let old = |value: &[u8]| Outcome::Old(Some(value.to_vec()));
    assert_eq!(outcomes[1], old(b"1"));
    assert_eq!(outcomes[3..], [Outcome::Swapped, Outcome::Done, Outcome::Swapped, Outcome::Old(None)]);
    pair.compare();
}

#[test]
fn a_retry_in_the_same_batch_happens_once() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    let first = client.next(swap(b"k", None, Some(b"1")));
    let outcomes = pair.commands(1, &[first.clone(), first.clone(), client.next(delete(b"k")), first.clone()]);
    assert_eq!(outcomes, [Outcome::Swapped, Outcome::Swapped, Outcome::Done, Outcome::AlreadyApplied]);
    let mut pair = pair.reopen(directory.path());
    assert_eq!(pair.commands(1, &[first]), [Outcome::AlreadyApplied], "nor after a restart");
    pair.compare();
}

#[test]
fn one_batch_takes_several_groups_and_several_runs_of_one() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1, 2]);
    let (mut one, mut two) = (pair.client(1, 1), pair.client(2, 1));
    let entry = |group: u32, index: u64, command| {
        let mut run = run(group);
        let id = LogId { term: Term(3), index: Index(index) };
        run.push(id, EntryKind::Command, &engine_core::command::encode(command));
        run
    };
    let runs = [
        entry(1, 2, &one.next(put(b"k", b"one"))),
        entry(2, 2, &two.next(put_old(b"k", b"two"))),
        entry(1, 3, &one.next(put_old(b"k", b"one again"))),
        entry(2, 3, &two.next(put_old(b"k", b"two again"))),
    ];
    let outcomes = pair.apply(&runs);
    assert_eq!(outcomes[1], [Outcome::Old(None)], "the other group's key is another key");
    assert_eq!(outcomes[2], [Outcome::Old(Some(b"one".to_vec()))]);
    assert_eq!(outcomes[3], [Outcome::Old(Some(b"two".to_vec()))]);
    pair.compare();
    pair.reopen(directory.path()).compare();
}

#[test]
fn memberships_and_noops_are_kept_with_the_applied_index() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let entry = |kind, index, payload: &[u8]| {
        let mut run = run(1);
        run.push(LogId { term: Term(index), index: Index(index) }, kind, payload);
        run
    };
    pair.apply(&[entry(EntryKind::Noop, 1, b""), entry(EntryKind::Membership, 2, b"m2")]);
    pair.apply(&[entry(EntryKind::Membership, 3, b"m3"), entry(EntryKind::Membership, 4, b"m4")]);
    let pair = pair.reopen(directory.path());
    pair.compare();
    let replica = pair.store.replicas().unwrap().remove(0);
    assert_eq!(replica.applied, LogId { term: Term(4), index: Index(4) });
    assert_eq!((replica.replica, replica.membership.as_slice()), (ReplicaId(7), &b"m4"[..]));
}

#[test]
fn the_founding_record_is_kept() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[0]);
    assert_eq!(pair.store.founding_record().unwrap(), None);
    let same_batch = pair.commands(0, &[found(b"record"), found(b"record"), found(b"other")]);
    assert!(matches!(same_batch[..], [Outcome::Done, Outcome::Done, Outcome::Refused(_)]), "{same_batch:?}");
    let mut pair = pair.reopen(directory.path());
    assert!(matches!(pair.commands(0, &[found(b"other")])[..], [Outcome::Refused(_)]));
    assert_eq!(pair.store.founding_record().unwrap(), Some(b"record".to_vec()));
}

#[test]
fn sessions_make_room_across_a_restart() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let opens: Vec<_> = (0..SESSIONS_MAX as u128).map(|id| open_session(1, id)).collect();
    pair.commands(1, &opens);
    let mut pair = pair.reopen(directory.path());
    // One is used first, so that the oldest use is partly in memory and partly on the disk; then so many are opened
    // that room is made twice in one batch.
    let more = SESSIONS_EVICTED_AT_ONCE as u128 + 2;
    let commands: Vec<_> =
        std::iter::once(5).chain((0..more).map(|id| id + (1 << 100))).map(|id| open_session(1, id)).collect();
    let outcomes = pair.commands(1, &commands);
    assert_eq!(outcomes[0], Outcome::Opened { session: Index(6) });
    pair.compare();
    let held = pair.store.sessions(GroupId(1)).unwrap();
    assert_eq!(held.len(), SESSIONS_MAX - SESSIONS_EVICTED_AT_ONCE + 2);
    assert!(held.iter().any(|(key, _)| key.client.0 == 5), "the one just used stays");
    pair.reopen(directory.path()).compare();
}

#[test]
fn a_blind_put_reads_nothing() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    pair.commands(1, &[client.next(put(b"k", b"1"))]);
    let mut reads = |operation: Operation| {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut context = PerfContext::default();
        context.reset();
        pair.commands(1, &[client.next(operation)]);
        let reads = context.metric(PerfMetric::GetFromMemtableCount);
        set_perf_stats(PerfStatsLevel::Disable);
        reads
    };
    assert_eq!(reads(put(b"k", b"2")), 0);
    assert_eq!(reads(delete(b"k")), 0);
    assert_eq!(reads(Operation::Batch { operations: vec![BatchOperation::Delete { key: b"k".to_vec() }] }), 0);
    assert!(reads(put_old(b"k", b"3")) > 0, "the counter counts");
    assert!(reads(swap(b"k", None, None)) > 0);
}

#[test]
fn memory_says_when_only_the_disk_can_tell() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    // Opening reads some blocks, among them the first and the last: the key's must be another one.
    let key = &[50];
    let commands: Vec<_> = (0..100u8).map(|key| client.next(put(&[key], &[key; 1000]))).collect();
    pair.commands(1, &commands);
    let group = GroupId(1);
    let value = Cached::Value(Some(vec![50; 1000]));
    assert_eq!(pair.store.get_cached(group, key).unwrap(), value, "the memtable has it");
    // Opening writes what the log holds into a table, of which no block has been read.
    let pair = pair.reopen(directory.path());
    assert_eq!(pair.store.get_cached(group, key).unwrap(), Cached::NotInMemory);
    assert_eq!(pair.store.get(group, key).unwrap(), Some(vec![50; 1000]));
    assert_eq!(pair.store.get_cached(group, key).unwrap(), value, "now the cache has it");
    assert_ne!(pair.store.get_cached(group, b"absent").unwrap(), value);
    assert_eq!(pair.store.get(group, b"absent").unwrap(), None);
    assert_eq!(pair.store.get_cached(group, b"absent").unwrap(), Cached::Value(None), "the filter is in memory");
}

#[test]
fn scans_keep_to_their_bounds_and_limits() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1, 2]);
    for group in [1, 2] {
        let mut client = pair.client(group, 1);
        let commands: Vec<_> = (0..20u8).map(|key| client.next(put(&[key], &[group as u8; 10]))).collect();
        pair.commands(group, &commands);
        pair.commands(group, &[client.next(put(b"", b"first")), client.next(put(&[255; 20], b"last"))]);
    }
    let all = usize::MAX;
    let ends = [None, Some(&[][..]), Some(&[3]), Some(&[3, 0]), Some(&[19]), Some(&[200]), Some(&[255; 30])];
    for start in [&b""[..], &[0], &[5], &[5, 0], &[255], &[255; 21]] {
        for end in ends {
            for (limit, bytes_max) in [(all, all), (1, all), (3, all), (0, all), (all, 0), (all, 22), (all, 33)] {
                let group = GroupId(2);
                let page = pair.store.scan(group, start, end, limit, bytes_max).unwrap();
                let expected = pair.model.scan(group, start, end, limit, bytes_max);
                assert_eq!(page, expected, "from {start:?} to {end:?}, {limit} entries, {bytes_max} bytes");
            }
        }
    }
    let page = pair.store.scan(GroupId(1), &[4], None, 2, all).unwrap();
    assert_eq!(page.entries, [(vec![4], vec![1; 10]), (vec![5], vec![1; 10])]);
    assert!(page.more);
    let page = pair.store.scan(GroupId(1), &[19], None, 2, all).unwrap();
    assert_eq!((page.entries.len(), page.more), (2, false), "a page that ends with the range says so");
}

#[test]
fn equal_data_have_equal_checksums_whatever_lies_beside_them() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let mut pair = Pair::new(here.path(), &[1]);
    let mut other = Pair::new(there.path(), &[5, 1]);
    let mut client = pair.client(1, 1);
    let mut noise = other.client(5, 9);
    other.commands(5, &[noise.next(put(b"a", b"noise"))]);
    other.client(1, 1);
    let commands = [client.next(put(b"a", b"1")), client.next(put(b"ab", b"")), client.next(delete(b"x"))];
    pair.commands(1, &commands);
    for command in commands {
        other.commands(1, &[command]);
    }
    let group = GroupId(1);
    let checksum = pair.store.checksum(group).unwrap();
    assert_eq!(checksum, other.store.checksum(group).unwrap());
    assert_eq!((checksum.entries, checksum.applied.index), (2, Index(4)));
    other.commands(1, &[client.next(put(b"a", b"2"))]);
    assert_ne!(checksum.hash, other.store.checksum(group).unwrap().hash);
}

#[test]
fn a_group_without_a_replica_is_refused() {
    let directory = tempdir().unwrap();
    let pair = Pair::new(directory.path(), &[1]);
    let group = GroupId(9);
    let refused = |error: StoreError| matches!(error, StoreError::NoReplica { group: GroupId(9) });
    assert!(refused(pair.store.get(group, b"k").unwrap_err()));
    assert!(refused(pair.store.get_cached(group, b"k").unwrap_err()));
    assert!(refused(pair.store.scan(group, b"", None, 1, 1).unwrap_err()));
    assert!(refused(pair.store.checksum(group).unwrap_err()));
    let mut applier = pair.applier;
    assert!(refused(applier.apply(&[run(9)]).unwrap_err()));
}

#[test]
fn a_replaced_replica_starts_empty() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1, 2]);
    for group in [1, 2] {
        let mut client = pair.client(group, 1);
        pair.commands(group, &[client.next(put(b"k", b"v"))]);
    }
    pair.store.create_replica(GroupId(1), ReplicaId(8), b"new").unwrap();
    pair.model.create_replica(GroupId(1), ReplicaId(8), b"new");
    pair.compare();
    assert_eq!(pair.store.get_cached(GroupId(1), b"k").unwrap(), Cached::Value(None));
    // The applier that knew the old one goes on with the new one.
    let mut client = pair.client(1, 1);
    assert_eq!(client.session.opened, Index(1));
    assert_eq!(pair.commands(1, &[client.next(put_old(b"k", b"w"))]), [Outcome::Old(None)]);
    pair.compare();
    pair.reopen(directory.path()).compare();
}

#[test]
fn closing_frees_the_store_for_another() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    pair.commands(1, &[client.next(put(b"k", b"v"))]);
    let Pair { store, applier, model } = pair;
    drop(applier);
    store.close().unwrap();
    let store = open(directory.path());
    Pair { applier: store.applier(), store, model }.compare();
}
