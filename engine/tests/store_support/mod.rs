//! What the tests of the store share: commands, runs, and looking at everything a store holds.
#![allow(dead_code)] // No suite uses all of it.

use engine::store::{Applier, Cached, Done, Fetched, Installer, Lack, Options, Store};
use engine_core::command::{ClientId, Command, Operation, Outcome, SessionRef, encode};
use engine_core::state_machine::model::Model;
use engine_core::state_machine::{ApplyRun, StoredReplica};
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use std::path::Path;

/// Options for a small store.
pub fn options(path: &Path) -> Options {
    Options { block_cache_bytes: 8 << 20, ..Options::new(path, 1) }
}

/// Opens a small store.
pub fn open(path: &Path) -> Store {
    Store::open(&options(path)).expect("the store opens")
}

/// An empty run of a group.
pub fn run(group: u32) -> ApplyRun {
    ApplyRun { group: GroupId(group), answer: true, ..ApplyRun::default() }
}

/// Entries of several groups, one index after the other, for the store and the model at once.
pub struct Pair {
    pub store: Store,
    pub applier: Applier,
    pub installer: Installer,
    pub model: Model,
    /// Whether what is applied stays in memory until [`Pair::write_back`] or a full table.
    pub lazy: bool,
    /// What RocksDB holds after each table since this was emptied: so many of the model's batches since its last sync, and these replicas.
    pub written: Vec<(usize, Vec<StoredReplica>)>,
    /// How often an entry had to wait for the disk.
    pub lacked: usize,
    /// The most that the disk has brought at once, in bytes.
    pub fetched_most: usize,
    /// A client of group 2 that has several tables written back whenever an entry waits for the disk.
    pub meanwhile: Option<Client>,
}

impl Pair {
    /// An empty store with replicas of these groups, and its model.
    pub fn new(path: &Path, groups: &[u32]) -> Pair {
        let store = open(path);
        let mut model = Model::new();
        for &group in groups {
            store.create_replica(GroupId(group), ReplicaId(7), b"founders").expect("a replica");
            model.create_replica(GroupId(group), ReplicaId(7), b"founders");
        }
        Pair::of(store, model)
    }

    /// A store and its model.
    pub fn of(store: Store, model: Model) -> Pair {
        let (applier, installer) = (store.applier().expect("an applier"), store.installer());
        Pair {
            store,
            applier,
            installer,
            model,
            lazy: false,
            written: Vec::new(),
            lacked: 0,
            fetched_most: 0,
            meanwhile: None,
        }
    }

    /// The store of another directory, or of the same after it was closed, beside the model as it is.
    pub fn reopen(mut self, path: &Path) -> Pair {
        assert!(self.applier.freeze().is_none(), "it would be lost");
        let model = self.close();
        Pair::of(open(path), model)
    }

    /// Closes the store; what is not written back is lost.
    pub fn close(self) -> Model {
        let Pair { store, applier, installer, model, .. } = self;
        drop((applier, installer, store));
        model
    }

    /// Writes back what is applied.
    pub fn write_back(&mut self) {
        if let Some(back) = self.applier.freeze() {
            assert!(self.applier.in_flight());
            self.store.write_back(&back).expect("a healthy disk");
            self.applier.written_back();
        }
        self.written.push((self.model.unsynced_batches(), self.model.replicas()));
    }

    /// Where the next entry of a group goes.
    pub fn next(&self, group: u32) -> LogId {
        let replicas = self.model.replicas();
        let replica = replicas.iter().find(|replica| replica.group == GroupId(group)).expect("a replica");
        LogId { term: Term(3), index: replica.applied.index.next() }
    }

    /// Applies runs to both and returns the outcomes of each run.
    pub fn apply(&mut self, runs: &[ApplyRun]) -> Vec<Vec<Outcome>> {
        let mut done = Done::new();
        self.applier.apply(runs.to_vec(), &mut done).expect("a healthy disk");
        while done.len() < runs.len() {
            let full = self.applier.is_full();
            if full {
                self.write_back();
                self.applier.resume(&mut done).expect("a healthy disk");
            }
            let lacks = self.applier.lacks();
            assert!(full || !lacks.is_empty(), "runs wait for nothing");
            for lack in lacks {
                self.lacked += 1;
                if let Some(mut client) = self.meanwhile.take() {
                    for round in 0..5u8 {
                        self.commands(2, &[client.next(put(b"meanwhile", &[round]))]);
                    }
                    self.meanwhile = Some(client);
                }
                if matches!(lack, Lack::Sessions(_)) {
                    self.write_back();
                }
                let fetched = self.store.fetch(lack).expect("a healthy disk");
                if let Fetched::Places(_, places) = &fetched {
                    let bytes = places.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).sum();
                    self.fetched_most = self.fetched_most.max(bytes);
                }
                self.applier.fetched(fetched, &mut done).expect("a healthy disk");
            }
        }
        self.applier.answered();
        // Groups wait for the disk each for itself: the runs of one group are in order.
        let mut in_order = Vec::new();
        for run in runs {
            let at = done.iter().position(|(applied, _)| applied.group == run.group).expect("every run is applied");
            let (applied, charge) = done.remove(at);
            assert_eq!(charge, run.charge());
            in_order.push(applied);
        }
        assert_eq!(in_order, self.model.apply(runs), "the store answers as the model");
        if !self.lazy {
            self.write_back();
        }
        in_order.into_iter().map(|run| run.outcomes.into_iter().map(|(_, outcome)| outcome).collect()).collect()
    }

    /// Applies commands to one group in one batch.
    pub fn commands(&mut self, group: u32, commands: &[Command]) -> Vec<Outcome> {
        let mut run = run(group);
        let mut id = self.next(group);
        for command in commands {
            run.push(id, EntryKind::Command, &encode(command));
            id.index = id.index.next();
        }
        self.apply(&[run]).remove(0)
    }

    /// Opens the session of a client in a group.
    pub fn client(&mut self, group: u32, id: u128) -> Client {
        match self.commands(group, &[open_session(group, id)]).remove(0) {
            Outcome::Opened { session } => {
                Client { id, session: SessionRef { group: GroupId(group), opened: session }, sequence: 0 }
            }
            other => panic!("not opened: {other:?}"),
        }
    }

    /// Compares what memory says of a key, and the disk where memory cannot tell.
    pub fn compare_key(&self, group: GroupId, key: &[u8]) {
        let value = match self.applier.get(group, key).expect("a read") {
            Cached::Value(value) => value,
            Cached::NotInMemory => self.store.get(group, key).expect("a read"),
        };
        assert_eq!(value, self.model.get(group, key), "group {group}, key {key:?}");
    }

    /// Compares everything that can be read in RocksDB.
    pub fn compare(&self) {
        let replicas = self.store.replicas().expect("the replicas");
        assert_eq!(replicas, self.model.replicas());
        assert_eq!(self.store.founding_record().expect("a record").as_deref(), self.model.founding_record());
        for group in replicas.into_iter().map(|replica| replica.group) {
            let checksum = self.store.checksum(group).expect("a checksum");
            assert_eq!(checksum, self.model.checksum(group), "group {group}");
            let all = self.store.scan(group, b"", None, usize::MAX, usize::MAX).expect("a scan");
            assert_eq!(all, self.model.scan(group, b"", None, usize::MAX, usize::MAX), "group {group}");
            assert_eq!(self.store.sessions(group).expect("sessions"), self.model.sessions(group), "group {group}");
        }
    }
}

/// A client with a session in one group.
#[derive(Clone)]
pub struct Client {
    pub id: u128,
    pub session: SessionRef,
    pub sequence: u64,
}

impl Client {
    /// Its next command.
    pub fn next(&mut self, operation: Operation) -> Command {
        self.sequence += 1;
        Command {
            client: ClientId(self.id),
            sequence: self.sequence,
            acknowledged: self.sequence - 1,
            session: self.session,
            operation,
        }
    }
}

pub fn open_session(group: u32, id: u128) -> Command {
    Command {
        client: ClientId(id),
        sequence: 0,
        acknowledged: 0,
        session: SessionRef { group: GroupId(group), opened: Index(0) },
        operation: Operation::Open,
    }
}

pub fn found(record: &[u8]) -> Command {
    Command { operation: Operation::Found { record: record.to_vec() }, ..open_session(0, 0) }
}

pub fn put(key: &[u8], value: &[u8]) -> Operation {
    Operation::Put { key: key.to_vec(), value: value.to_vec(), return_old: false }
}

pub fn put_old(key: &[u8], value: &[u8]) -> Operation {
    Operation::Put { key: key.to_vec(), value: value.to_vec(), return_old: true }
}

pub fn delete(key: &[u8]) -> Operation {
    Operation::Delete { key: key.to_vec(), return_old: false }
}

pub fn swap(key: &[u8], expect: Option<&[u8]>, set: Option<&[u8]>) -> Operation {
    Operation::CompareAndSwap { key: key.to_vec(), expect: expect.map(<[u8]>::to_vec), set: set.map(<[u8]>::to_vec) }
}
