//! Opening: what is refused, in which words, and what a crash leaves.

mod store_support;

use engine::store::{Options, Store, StoreError};
use raft::ids::{GroupId, ReplicaId};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store_support::*;
use tempfile::tempdir;

fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// A closed store with some data in a table file and some in the log.
fn filled(path: &Path) {
    for round in 0..2u8 {
        let store = open(path);
        if round == 0 {
            store.create_replica(GroupId(1), ReplicaId(7), b"founders").unwrap();
        }
        let mut applier = store.applier().unwrap();
        let mut batch = run(1);
        let id = raft::entry::LogId { term: raft::ids::Term(1), index: raft::ids::Index(u64::from(round) + 1) };
        batch.push(id, raft::entry::EntryKind::Command, &engine_core::command::encode(&open_session(1, 9)));
        applier.apply(vec![batch], &mut Vec::new()).unwrap();
        store.write_back(&applier.freeze().unwrap()).unwrap();
        store.sync().unwrap();
    }
}

#[test]
fn what_is_written_back_survives_the_death_of_the_process() {
    let (alive, dead) = (tempdir().unwrap(), tempdir().unwrap());
    let mut pair = Pair::new(alive.path(), &[1]);
    let mut client = pair.client(1, 1);
    for key in 0..50u8 {
        pair.commands(1, &[client.next(put(&[key], &[key; 100]))]);
    }
    // Nothing was synced or closed; the page cache outlives a process.
    copy(alive.path(), dead.path());
    let store = open(dead.path());
    Pair::of(store, pair.model).compare();
}

#[test]
fn a_store_takes_no_more_of_the_disk_than_it_needs() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    pair.commands(1, &[client.next(put(b"key", b"value"))]);
    let taken: u64 = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512) // the unit of st_blocks
        .sum();
    assert!(taken < 4 << 20, "{taken} bytes for one value");
}

#[test]
fn a_hole_in_the_log_takes_everything_behind_it() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    // Enough for several of the log's blocks of 32 KiB: RocksDB could find its way behind the hole.
    for key in 0..50u8 {
        pair.commands(1, &[client.next(put(&[key], &[7; 4000]))]);
    }
    drop(pair);
    let logs = files(directory.path(), "log");
    let log = logs.last().unwrap();
    let mut bytes = fs::read(log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 16].fill(0);
    fs::write(log, bytes).unwrap();
    let store = open(directory.path());
    // Entry 1 opened the session, entry n put key n - 2.
    let applied = store.replicas().unwrap()[0].applied.index.0;
    assert!((10..40).contains(&applied), "{applied}");
    for key in 0..50u8 {
        let there = store.get(GroupId(1), &[key]).unwrap().is_some();
        assert_eq!(there, u64::from(key) + 2 <= applied, "key {key}, applied {applied}");
    }
}

#[test]
fn a_second_process_is_turned_away() {
    let directory = tempdir().unwrap();
    let _store = open(directory.path());
    let error = Store::open(&options(directory.path())).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { path } if path == directory.path()), "{error:?}");
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
}

#[test]
fn a_damaged_store_says_so() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("table file missing", |path| fs::remove_file(&files(path, "sst")[0]).unwrap()),
        ("table file cut", |path| {
            let file = fs::OpenOptions::new().write(true).open(&files(path, "sst")[0]).unwrap();
            file.set_len(100).unwrap();
        }),
        ("manifest missing", |path| {
            let current = fs::read_to_string(path.join("CURRENT")).unwrap();
            fs::remove_file(path.join(current.trim())).unwrap();
        }),
        ("manifest rotten", |path| {
            let manifest = path.join(fs::read_to_string(path.join("CURRENT")).unwrap().trim());
            let mut bytes = fs::read(&manifest).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x5a);
            bytes[10] ^= 0xff;
            fs::write(&manifest, bytes).unwrap();
        }),
        ("manifest unnamed", |path| fs::write(path.join("CURRENT"), "rubbish").unwrap()),
        ("format without a number", |path| {
            let mut options = rocksdb::Options::default();
            options.create_if_missing(true);
            rocksdb::DB::open(&options, path).unwrap().put([0], b"?").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let directory = tempdir().unwrap();
        filled(directory.path());
        damage(directory.path());
        let error = Store::open(&options(directory.path())).expect_err(name);
        assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error:?}");
    }
}

#[test]
fn a_table_that_rots_is_found_when_it_is_read() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    for key in 0..200u8 {
        pair.commands(1, &[client.next(put(&[key], &[key; 100]))]);
    }
    // The second opening finds the first one's log in a table.
    drop(pair.reopen(directory.path()));
    for file in files(directory.path(), "sst") {
        let mut bytes = fs::read(&file).unwrap();
        let end = bytes.len().min(2000);
        bytes[..end].iter_mut().for_each(|byte| *byte = !*byte);
        fs::write(&file, bytes).unwrap();
    }
    let result = Store::open(&options(directory.path())).and_then(|store| store.checksum(GroupId(1)));
    match result.unwrap_err() {
        StoreError::Damaged { .. } | StoreError::Corrupt { .. } => {}
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_later_format_is_refused() {
    let directory = tempdir().unwrap();
    filled(directory.path());
    let db = rocksdb::DB::open_default(directory.path()).unwrap();
    db.put([0], 2u32.to_le_bytes()).unwrap();
    drop(db);
    let error = Store::open(&options(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::UnknownFormat { found: 2, known: 1, .. }), "{error:?}");
}

#[test]
fn a_database_that_is_not_ours_is_refused() {
    let directory = tempdir().unwrap();
    let mut theirs = rocksdb::Options::default();
    theirs.create_if_missing(true);
    rocksdb::DB::open(&theirs, directory.path()).unwrap().put(b"their key", b"their value").unwrap();
    let error = Store::open(&options(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(&options(&file.join("store"))).unwrap_err();
    assert!(matches!(error, StoreError::CannotOpen { .. }), "{error:?}");
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[test]
fn a_replaced_replica_leaves_nothing_behind() {
    let directory = tempdir().unwrap();
    let mut pair = Pair::new(directory.path(), &[1]);
    let mut client = pair.client(1, 1);
    pair.commands(1, &[client.next(put(b"k", b"v"))]);
    pair.store.create_replica(GroupId(1), ReplicaId(8), b"new").unwrap();
    drop(pair);
    let db = rocksdb::DB::open_default(directory.path()).unwrap();
    let kinds: Vec<u8> = db.iterator(rocksdb::IteratorMode::Start).map(|record| record.unwrap().0[0]).collect();
    assert_eq!(kinds, [0, 1, 3, 4], "format, next generation, replica and applied, no data and no session");
}

#[test]
fn a_crash_between_the_steps_of_a_replacement_leaves_nothing_behind() {
    let directory = tempdir().unwrap();
    let pair = Pair::new(directory.path(), &[1]);
    drop(pair);
    // Data and a session under generations that no replica has: below, between and above the live ones.
    let db = rocksdb::DB::open_default(directory.path()).unwrap();
    db.put([1], 9u64.to_le_bytes()).unwrap();
    let stray = |kind: u8, generation: u64, rest: &[u8]| [&[kind][..], &generation.to_be_bytes(), rest].concat();
    for generation in [2, 5, 8] {
        db.put(stray(6, generation, b"user key"), b"stray").unwrap();
        db.put(stray(5, generation, &[0; 20]), b"stray").unwrap();
    }
    db.put(stray(6, 1, b"user key"), b"live").unwrap();
    drop(db);
    let store = open(directory.path());
    assert_eq!(store.get(GroupId(1), b"user key").unwrap(), Some(b"live".to_vec()));
    drop(store);
    let db = rocksdb::DB::open_default(directory.path()).unwrap();
    for generation in [2, 5, 8] {
        assert_eq!(db.get(stray(6, generation, b"user key")).unwrap(), None);
        assert_eq!(db.get(stray(5, generation, &[0; 20])).unwrap(), None);
    }
}

#[test]
fn direct_and_buffered_files_hold_the_same() {
    let directory = tempdir().unwrap();
    let direct = Options { direct_io: true, ..options(directory.path()) };
    let buffered = Options { direct_io: false, ..options(directory.path()) };
    filled(directory.path());
    for options in [&direct, &buffered, &direct] {
        let store = Store::open(options).unwrap();
        assert!(options.direct_io || !store.direct_io());
        assert_eq!(store.replicas().unwrap()[0].applied.index.0, 2);
        assert_eq!(store.sessions(GroupId(1)).unwrap().len(), 1);
    }
    assert_eq!(files(directory.path(), "direct-io-probe"), Vec::<PathBuf>::new());
    assert!(!directory.path().join("direct-io-probe").exists());
}
