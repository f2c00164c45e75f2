//! Snapshots: what one store gives another, and what a crash leaves between any two steps of an install.

mod store_support;

use engine::store::{ReceiveError, Store};
use engine_core::command::{ClientId, Operation};
use engine_core::snapshot::stream::{Encoder, Kind, StreamError};
use engine_core::snapshot::{End, Header};
use engine_core::state_machine::model::Model;
use raft::ids::{GroupId, ReplicaId, Term};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use store_support::{Pair, found, open, put};
use tempfile::tempdir;

const GROUP: GroupId = GroupId(1);

type Chunks = Vec<Vec<u8>>;

/// Kind, key and value.
type ARecord<'a> = (Kind, &'a [u8], &'a [u8]);

/// A store with sessions, values of many sizes, and another group that no snapshot of this one must show.
fn source(path: &Path, generations: u64) -> Pair {
    let mut pair = Pair::new(path, &[0, 1, 2]);
    for _ in 0..generations {
        // Generations differ from node to node: the receiver's are its own.
        let id = pair.store.replicas().expect("replicas")[1].replica.0 + 1;
        pair.store.create_replica(GROUP, ReplicaId(id), b"founders").expect("a replica");
        pair.model.create_replica(GROUP, ReplicaId(id), b"founders");
    }
    pair.commands(0, &[found(b"the founding record")]);
    let (mut one, mut other) = (pair.client(1, 11), pair.client(2, 12));
    let sizes = [0, 10, 5_000, 300_000, 1 << 20, 70];
    let writes: Vec<_> =
        sizes.iter().zip(0u8..).map(|(size, at)| one.next(put(&[b'k', at], &vec![at; *size]))).collect();
    pair.commands(1, &writes);
    let more: Vec<_> = (0u32..500).map(|at| one.next(put(&at.to_be_bytes(), &[7; 900]))).collect();
    pair.commands(1, &more);
    pair.commands(2, &[other.next(put(b"not yours", b"at all"))]);
    pair
}

/// Everything a snapshot of the group says.
fn take(store: &Store, group: GroupId, id: u64) -> (Header, Chunks, End) {
    let mut reader = store.snapshot(group).expect("a snapshot");
    let mut chunks = Vec::new();
    let end = loop {
        let (chunk, end) = reader.chunk().expect("a chunk");
        chunks.extend(Some(chunk).filter(|chunk| !chunk.is_empty()));
        if let Some(end) = end {
            break end;
        }
    };
    let (from, to, term) = (ReplicaId(1), ReplicaId(7), Term(3));
    let (last, membership) = (reader.last, reader.membership.clone());
    (Header { group, from, to, term, id, last, membership }, chunks, end)
}

#[test]
fn a_snapshot_is_what_the_model_says_it_is() {
    let directory = tempdir().expect("a directory");
    let pair = source(directory.path(), 0);
    for group in [GroupId(0), GROUP] {
        let (header, chunks, end) = take(&pair.store, group, 1);
        let (last, membership, expected, expected_end) = pair.model.snapshot(group, usize::MAX);
        assert_eq!((header.last, header.membership), (last, membership));
        assert_eq!((chunks, end), (expected, expected_end), "group {group}");
    }
}

#[test]
fn an_installed_snapshot_is_the_senders_state_and_the_log_goes_on_behind_it() {
    let (from, to) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let sender = source(from.path(), 2);
    let mut receiver = Pair::new(to.path(), &[0, 1]);
    receiver.client(1, 99);
    for group in [GroupId(0), GROUP] {
        let (header, chunks, end) = take(&sender.store, group, 5);
        for chunk in &chunks {
            receiver.installer.receive(group, 5, chunk).expect("a chunk");
            receiver.model.receive(group, 5, chunk);
        }
        let seen = receiver.store.checksum(group).expect("a checksum");
        assert_ne!(seen, sender.store.checksum(group).expect("a checksum"), "nobody sees it before the switch");
        receiver.installer.install(&header, end).expect("it is whole");
        receiver.model.install(&header, end).expect("it is whole");
        receiver.compare();
        assert_eq!(receiver.store.sessions(group).unwrap(), sender.store.sessions(group).unwrap());
    }
    assert_eq!(receiver.store.checksum(GROUP).unwrap(), sender.store.checksum(GROUP).unwrap());
    assert_eq!(receiver.store.founding_record().unwrap().as_deref(), Some(&b"the founding record"[..]));
    // A retry of what the sender has applied has no effect here either.
    let sessions = sender.store.sessions(GROUP).expect("sessions");
    let (key, session) = sessions.first().expect("the client's");
    assert_eq!(key.client, ClientId(11));
    let mut client = store_support::Client {
        id: 11,
        session: engine_core::command::SessionRef { group: GROUP, opened: session.opened() },
        sequence: 505,
    };
    let retry = client.next(Operation::Put { key: b"k".to_vec(), value: b"twice".to_vec(), return_old: false });
    receiver.commands(1, &[retry]);
    assert_eq!(receiver.store.get(GROUP, b"k").expect("a read"), None, "sequence 506 was executed before the snapshot");
    let fresh = client.next(put(b"after", b"the snapshot"));
    receiver.commands(1, &[fresh]);
    receiver.installer.drop_replaced(GROUP).expect("the old state goes");
    receiver.compare();
}

#[test]
fn what_is_no_snapshot_is_not_installed() {
    let (from, to) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let sender = source(from.path(), 0);
    let mut receiver = Pair::new(to.path(), &[1]);
    let (header, chunks, end) = take(&sender.store, GROUP, 5);
    for chunk in &chunks[1..] {
        // The first chunk is missing: the rest may be read as records or not.
        let _ = receiver.installer.receive(GROUP, 5, chunk);
    }
    let error = receiver.installer.install(&header, end).expect_err("a chunk is missing");
    assert!(matches!(error, ReceiveError::Stream(StreamError::Digest { .. })), "{error}");
    receiver.installer.receive(GROUP, 6, &chunks[0]).expect("a chunk");
    // Another snapshot begins: what has come of the former one is dropped.
    for chunk in &chunks {
        receiver.installer.receive(GROUP, 7, chunk).expect("a chunk");
    }
    receiver.installer.install(&Header { id: 7, ..header }, end).expect("it is whole");
    assert_eq!(receiver.store.checksum(GROUP).unwrap(), sender.store.checksum(GROUP).unwrap());
}

#[test]
fn records_that_no_store_has_are_refused() {
    let (from, to) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let sender = source(from.path(), 0);
    let (key, session) = sender.store.sessions(GROUP).expect("sessions").remove(0);
    let (key, mut value) = (key.to_bytes(), Vec::new());
    session.encode(&mut value);
    let mut receiver = Pair::new(to.path(), &[0, 1]);
    let records: [&[ARecord<'_>]; 5] = [
        &[(Kind::Founding, b"", b"of another group")],
        &[(Kind::Map, b"", b"of another group")],
        &[(Kind::Session, &key[..19], &value)],
        &[(Kind::Session, &key, b"no session")],
        &[(Kind::Session, &key, &value), (Kind::Session, &key, &value)],
    ];
    for (id, records) in (1..).zip(records) {
        let mut encoder = Encoder::new(1 << 20);
        records.iter().for_each(|(kind, key, value)| encoder.push(*kind, key, value));
        let chunk = encoder.chunk();
        let error = receiver.installer.receive(GROUP, id, &chunk).expect_err("it is no snapshot of this group");
        assert!(matches!(error, ReceiveError::Stream(StreamError::Key(_) | StreamError::Value(_))), "{error}");
    }
    let mut encoder = Encoder::new(1 << 20);
    encoder.push(Kind::Session, &key, &value);
    receiver.installer.receive(GROUP, 9, &encoder.chunk()).expect("a sound one");
}

#[test]
fn a_snapshot_does_not_see_what_is_written_while_it_is_read() {
    let directory = tempdir().expect("a directory");
    let mut pair = source(directory.path(), 0);
    let (_, expected, expected_end) = take(&pair.store, GROUP, 1);
    let store = pair.store.clone();
    let mut reader = store.snapshot(GROUP).expect("a snapshot");
    let mut chunks = Vec::new();
    let mut client = pair.client(1, 13);
    let end = loop {
        pair.commands(1, &[client.next(put(&[chunks.len() as u8; 3], &[1; 2000]))]);
        let (chunk, end) = reader.chunk().expect("a chunk");
        chunks.extend(Some(chunk).filter(|chunk| !chunk.is_empty()));
        if let Some(end) = end {
            break end;
        }
    };
    assert_eq!((chunks, end), (expected, expected_end));
}

/// How far an install came before the crash.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Step {
    Nothing,
    OneChunk,
    AllChunks,
    Synced,
    Installed,
    Dropped,
}

#[test]
fn a_crash_between_any_two_steps_leaves_the_old_state_or_the_new_one() {
    let from = tempdir().expect("a directory");
    let sender = source(from.path(), 0);
    let (header, chunks, end) = take(&sender.store, GROUP, 5);
    for step in [Step::Nothing, Step::OneChunk, Step::AllChunks, Step::Synced, Step::Installed, Step::Dropped] {
        for power_cut in [false, true] {
            let to = tempdir().expect("a directory");
            let mut receiver = Pair::new(to.path(), &[1]);
            let mut client = receiver.client(1, 99);
            receiver.commands(1, &[client.next(put(b"old", b"state"))]);
            receiver.store.sync().expect("a sync");
            let old: Model = receiver.model.clone();
            let mut synced = log_length(to.path());
            if step >= Step::OneChunk {
                receiver.installer.receive(GROUP, 5, &chunks[0]).expect("a chunk");
            }
            if step >= Step::AllChunks {
                chunks[1..].iter().for_each(|chunk| receiver.installer.receive(GROUP, 5, chunk).expect("a chunk"));
            }
            if step >= Step::Synced {
                receiver.store.sync().expect("a sync");
                synced = log_length(to.path());
            }
            if step >= Step::Installed {
                receiver.installer.install(&header, end).expect("it is whole");
                synced = log_length(to.path());
            }
            if step >= Step::Dropped {
                receiver.installer.drop_replaced(GROUP).expect("the old state goes");
            }
            drop((receiver.applier, receiver.installer, receiver.store));
            if power_cut {
                let (log, length) = log_length(to.path());
                assert_eq!(log, synced.0, "the scene is small enough for one log");
                assert!(length >= synced.1);
                OpenOptions::new().write(true).open(&log).expect("the log").set_len(synced.1).expect("a cut");
            }
            let store = open(to.path());
            let held = store.replicas().expect("replicas").remove(0);
            let sum = store.checksum(GROUP).expect("a checksum");
            let context = format!("crash after {step:?}, power cut: {power_cut}");
            if step >= Step::Installed {
                assert_eq!(sum, sender.store.checksum(GROUP).unwrap(), "{context}");
                assert_eq!((held.applied, held.installed), (header.last, Some(header.last)), "{context}");
                assert_eq!(store.sessions(GROUP).unwrap(), sender.store.sessions(GROUP).unwrap(), "{context}");
            } else {
                assert_eq!(sum, old.checksum(GROUP), "{context}");
                assert_eq!((held.installed, store.sessions(GROUP).unwrap()), (None, old.sessions(GROUP)), "{context}");
            }
            // Nothing of the other state is left, and a snapshot can be taken in as if nothing had been.
            let mut installer = store.installer();
            let later = Header { id: 6, ..header.clone() };
            chunks.iter().for_each(|chunk| installer.receive(GROUP, 6, chunk).expect("a chunk"));
            installer.install(&later, end).expect("it is whole");
            installer.drop_replaced(GROUP).expect("the old state goes");
            assert_eq!(store.checksum(GROUP).unwrap(), sender.store.checksum(GROUP).unwrap(), "{context}");
        }
    }
}

fn log_length(path: &Path) -> (PathBuf, u64) {
    let files = fs::read_dir(path).expect("the directory").map(|entry| entry.expect("an entry").path());
    let newest = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max();
    let newest = newest.expect("a log");
    let length = fs::metadata(&newest).expect("the log").len();
    (newest, length)
}
