//! What is applied is there: through the batch, in memory, on the disk, and after a restart.

mod store_support;

use engine::store::{Cached, Done, Lack, StoreError};
use engine_core::command::{BatchOperation, Command, Operation, Outcome};
use engine_core::sessions::{SESSIONS_EVICTED_AT_ONCE, SESSIONS_MAX};
use engine_core::state_machine::OUTCOME_BYTES_MAX;
use engine_core::state_machine::model::Model;
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
fn the_old_values_of_all_groups_share_their_room_until_they_are_told() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1, 2, 3]);
    let mut clients = [1, 2, 3].map(|group| pair.client(group, 1));
    let large = vec![7; OUTCOME_BYTES_MAX / 2];
    for (group, client) in (1..).zip(&mut clients) {
        pair.commands(group, &[client.next(put(b"k", &large))]);
    }
    let (told, short) = (Outcome::Old(Some(large.clone())), Outcome::AlreadyApplied);
    let expected = [&told, &told, &short];
    for _ in 0..2 {
        let mut done = Done::new();
        for (group, client) in (1..).zip(&mut clients) {
            let mut run = run(group);
            let command = engine_core::command::encode(&client.next(put_old(b"k", &large)));
            run.push(pair.next(group), EntryKind::Command, &command);
            pair.applier.apply(vec![run.clone()], &mut done).unwrap();
            pair.model.apply(&[run]);
        }
        for lack in pair.applier.lacks() {
            pair.applier.fetched(pair.store.fetch(lack).unwrap(), &mut done).unwrap();
        }
        let outcomes: Vec<&Outcome> = done.iter().map(|(run, _)| &run.outcomes[0].1).collect();
        assert!(outcomes == expected, "an outcome is not told, or all are");
        pair.applier.answered();
    }
}

#[test]
fn a_command_of_a_later_version_stops_the_node() {
    for (at, byte) in [(0, 99), (1, 2)] {
        let directory = tempdir().unwrap();
        let mut pair = Pair::new(directory.path(), &[1]);
        let mut client = pair.client(1, 1);
        let mut command = engine_core::command::encode(&client.next(put(b"k", b"v")));
        command[at] = byte;
        let mut run = run(1);
        run.push(pair.next(1), EntryKind::Command, &command);
        let error = pair.applier.apply(vec![run], &mut Done::new()).expect_err("nobody knows what it does");
        let here = matches!(error, StoreError::UnknownCommand { group: GroupId(1), index: Index(2), .. });
        assert!(here, "{error}");
    }
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
    assert!(pair.lacked >= 2, "the disk was not asked which sessions there are");
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
    // Of each a key that no table holds.
    assert_eq!(reads(put(b"k2", b"2")), 0);
    assert_eq!(reads(delete(b"k3")), 0);
    assert_eq!(reads(Operation::Batch { operations: vec![BatchOperation::Delete { key: b"k4".to_vec() }] }), 0);
    assert!(reads(put_old(b"k5", b"3")) > 0, "the counter counts");
    assert_eq!(reads(put_old(b"k5", b"4")), 0, "what is in a table is not looked for in RocksDB");
    assert!(reads(swap(b"k6", None, None)) > 0);
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
    assert_eq!(pair.applier.get(group, key).unwrap(), value, "the memtable has it");
    // Opening writes what the log holds into a table, of which no block has been read.
    let pair = pair.reopen(directory.path());
    assert_eq!(pair.applier.get(group, key).unwrap(), Cached::NotInMemory);
    assert_eq!(pair.store.get(group, key).unwrap(), Some(vec![50; 1000]));
    assert_eq!(pair.applier.get(group, key).unwrap(), value, "now the cache has it");
    assert_ne!(pair.applier.get(group, b"absent").unwrap(), value);
    assert_eq!(pair.store.get(group, b"absent").unwrap(), None);
    assert_eq!(pair.applier.get(group, b"absent").unwrap(), Cached::Value(None), "the filter is in memory");
}

#[test]
fn a_group_that_lacks_what_is_on_the_disk_waits_alone_and_asks_once() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1, 2]);
    let (mut one, mut two) = (pair.client(1, 1), pair.client(2, 2));
    let commands: Vec<_> = (0..100u8).map(|key| one.next(put(&[key], &[key; 1000]))).collect();
    pair.commands(1, &commands);
    let mut pair = pair.reopen(directory.path());
    let entries = |group: u32, commands: &[Command], mut id: LogId| {
        let mut run = run(group);
        for command in commands {
            run.push(id, EntryKind::Command, &engine_core::command::encode(command));
            id.index = id.index.next();
        }
        run
    };
    // Its keys lie in blocks that nobody has read.
    let reading = [one.next(put(b"x", b"y")), one.next(put_old(&[50], b"1")), one.next(swap(&[60], None, None))];
    let runs = [
        entries(1, &reading, pair.next(1)),
        entries(2, &[two.next(put(b"k", b"v"))], pair.next(2)),
        entries(1, &[one.next(delete(&[50]))], LogId { index: Index(pair.next(1).index.0 + 3), ..pair.next(1) }),
    ];
    let mut done = Vec::new();
    pair.applier.apply(runs.to_vec(), &mut done).unwrap();
    let mut places = Vec::new();
    while pair.applier.is_stalled(GroupId(1)) {
        let lacks = pair.applier.lacks();
        for lack in &lacks {
            let Lack::Places(GroupId(1), asked) = lack else { panic!("{lack:?}") };
            places.extend(asked.clone());
        }
        assert_eq!(done.len(), 1, "the other group goes on, the later run of this one does not");
        assert_eq!((done[0].0.group, lacks.len()), (GroupId(2), 1));
        assert_eq!(pair.applier.get(GroupId(1), &[50]).unwrap(), Cached::NotInMemory);
        for lack in lacks {
            let fetched = pair.store.fetch(lack).unwrap();
            pair.applier.fetched(fetched, &mut done).unwrap();
        }
    }
    let asked = |key: u8| places.iter().filter(|place| place.ends_with(&[key])).count();
    assert_eq!((asked(50), asked(60)), (1, 1), "both are asked for, at once: {places:?}");
    let outcomes: Vec<_> = done.iter().map(|(run, _)| (run.group, run.outcomes.len())).collect();
    assert_eq!(outcomes, [(GroupId(2), 1), (GroupId(1), 3), (GroupId(1), 1)]);
    let expected = pair.model.apply(&[runs[1].clone(), runs[0].clone(), runs[2].clone()]);
    assert_eq!(done.into_iter().map(|(run, _)| run).collect::<Vec<_>>(), expected);
    pair.write_back();
    pair.compare();
}

#[test]
fn what_the_disk_brings_at_once_is_limited_in_bytes() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    for key in 0..60u8 {
        pair.commands(1, &[client.next(put(&[key], &vec![key; 400_000]))]);
    }
    let mut pair = pair.reopen(directory.path());
    let delete = |key| Operation::Delete { key: vec![key], return_old: true };
    let deletes: Vec<_> = (0..60u8).map(|key| client.next(delete(key))).collect();
    let outcomes = pair.commands(1, &deletes);
    assert!(outcomes[0] == Outcome::Old(Some(vec![0; 400_000])) && outcomes.len() == 60);
    assert!(pair.lacked >= 3, "24 MB came in {} parts", pair.lacked);
    assert!(pair.fetched_most <= (8 << 20) + 400_000, "{} bytes came at once", pair.fetched_most);
    pair.compare();
}

#[test]
fn what_the_disk_said_is_forgotten_when_a_run_has_to_wait_again() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1, 2]);
    // Between others, as opening reads the first block and the last.
    let middle = &[0, 0, 1, 44, 1];
    let (mut client, meanwhile) = (pair.client(1, 1), pair.client(2, 2));
    pair.commands(1, &[client.next(put(middle, b"old"))]);
    // More keys than are asked for at once, in many blocks, so that the run waits several times.
    let keys: Vec<[u8; 4]> = (0..600u32).map(u32::to_be_bytes).collect();
    let puts: Vec<_> = keys.iter().map(|key| client.next(put(key, &[7; 1000]))).collect();
    pair.commands(1, &puts);
    let mut pair = pair.reopen(directory.path());
    pair.meanwhile = Some(meanwhile);
    let mut commands = vec![client.next(swap(middle, Some(b"old"), Some(b"new")))];
    commands.extend(keys.iter().map(|key| client.next(put_old(key, b"y"))));
    commands.push(client.next(swap(middle, Some(b"old"), Some(b"twice"))));
    commands.push(client.next(put_old(middle, b"last")));
    let outcomes = pair.commands(1, &commands);
    assert!(pair.lacked >= 2, "{}", pair.lacked);
    assert_eq!(
        outcomes[601..],
        [Outcome::Mismatch { current: Some(b"new".to_vec()) }, Outcome::Old(Some(b"new".to_vec()))]
    );
    pair.compare();
}

#[test]
fn reads_see_what_is_being_written_back_and_what_comes_after() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    pair.lazy = true;
    let mut client = pair.client(1, 1);
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    pair.commands(1, &keys.map(|key| client.next(put(key, b"1"))));
    let back = pair.applier.freeze().unwrap();
    pair.commands(1, &[client.next(put(b"b", b"2")), client.next(delete(b"c")), client.next(put(b"d", b"2"))]);
    let compare = |pair: &Pair| [&b"a"[..], b"b", b"c", b"d", b"e"].map(|key| pair.compare_key(GroupId(1), key));
    compare(&pair);
    assert_eq!(pair.store.get(GroupId(1), b"a").unwrap(), None, "RocksDB has none of it");
    pair.store.write_back(&back).unwrap();
    compare(&pair);
    pair.applier.written_back();
    compare(&pair);
    assert_eq!(pair.store.get(GroupId(1), b"c").unwrap(), Some(b"1".to_vec()), "as it was when the table was frozen");
    assert_eq!(pair.store.replicas().unwrap()[0].applied.index, Index(4), "and no further than that");
    pair.write_back();
    compare(&pair);
    pair.compare();
    assert!(pair.applier.freeze().is_none());
}

#[test]
fn a_full_table_holds_runs_back_until_it_is_frozen() {
    let directory = tempdir().unwrap();
    let small = engine::store::Options { write_buffer_bytes: 64 << 10, ..options(directory.path()) };
    let store = engine::store::Store::open(&small).unwrap();
    store.create_replica(GroupId(1), ReplicaId(7), b"founders").unwrap();
    let mut model = Model::new();
    model.create_replica(GroupId(1), ReplicaId(7), b"founders");
    let mut pair = Pair::of(store, model);
    pair.lazy = true;
    let mut client = pair.client(1, 1);
    for key in 0..100u8 {
        pair.commands(1, &[client.next(put(&[key], &[key; 2000]))]);
        assert!(pair.applier.memory_bytes() < 512 << 10);
    }
    assert!(pair.written.len() >= 2, "it was never full");
    pair.write_back();
    pair.compare();
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
    assert!(refused(pair.applier.get(group, b"k").unwrap_err()));
    assert!(refused(pair.store.scan(group, b"", None, 1, 1).unwrap_err()));
    assert!(refused(pair.store.checksum(group).unwrap_err()));
    let mut applier = pair.applier;
    assert!(refused(applier.apply(vec![run(9)], &mut Vec::new()).unwrap_err()));
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
    assert_eq!(pair.applier.get(GroupId(1), b"k").unwrap(), Cached::Value(None));
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
    let Pair { store, applier, installer, model, .. } = pair;
    drop((applier, installer));
    store.close().unwrap();
    Pair::of(open(directory.path()), model).compare();
}
