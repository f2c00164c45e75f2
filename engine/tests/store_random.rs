//! Random commands, syncs, restarts and power cuts, on the store and on the model: nothing tells them apart.

mod store_support;

use engine::store::{Options, Store};
use engine_core::command::{BatchOperation, ClientId, Command, Operation, SessionRef, VERSION, encode};
use engine_core::sessions::SessionKey;
use engine_core::state_machine::ApplyRun;
use engine_core::state_machine::model::Model;
use proptest::prelude::*;
use proptest::sample;
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use store_support::{Pair, found, open_session};
use tempfile::{TempDir, tempdir};

const GROUPS: [u32; 3] = [0, 1, 7];

#[derive(Clone, Debug)]
enum Step {
    /// Per run a group and its entries.
    Apply(Vec<(usize, Vec<EntrySpec>)>),
    WriteBack,
    Sync,
    Restart,
    /// Of the log since the last sync everything is lost from some point on, or, if torn, only the bytes there.
    PowerCut {
        at: sample::Index,
        torn: bool,
    },
    Replace(usize),
}

#[derive(Clone, Debug)]
enum EntrySpec {
    Noop,
    Membership(u8),
    Broken(Vec<u8>),
    Open(u128),
    Found(u8),
    Command { client: u128, sequence: u64, acknowledged: u64, right_session: bool, operation: Operation },
}

/// Few keys, so that commands meet; some large values, so that memtables are flushed.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        (0u8..6).prop_map(|key| vec![key]),
        (0u8..3).prop_map(|key| vec![key, 255]),
        (0u8..3).prop_map(|key| vec![key; 300]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(0u8..3, 0..3),
        2 => any::<u8>().prop_map(|byte| vec![byte; 70]),
        1 => any::<u8>().prop_map(|byte| vec![byte; 20_000]),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let write = prop_oneof![
        (key(), value()).prop_map(|(key, value)| BatchOperation::Put { key, value }),
        key().prop_map(|key| BatchOperation::Delete { key }),
    ];
    prop_oneof![
        4 => (key(), value(), any::<bool>()).prop_map(|(key, value, return_old)| Operation::Put { key, value, return_old }),
        2 => (key(), any::<bool>()).prop_map(|(key, return_old)| Operation::Delete { key, return_old }),
        3 => (key(), prop::option::of(value()), prop::option::of(value()))
            .prop_map(|(key, expect, set)| Operation::CompareAndSwap { key, expect, set }),
        1 => prop::collection::vec(write, 0..5).prop_map(|operations| Operation::Batch { operations }),
    ]
}

fn entry() -> impl Strategy<Value = EntrySpec> {
    prop_oneof![
        1 => Just(EntrySpec::Noop),
        1 => any::<u8>().prop_map(EntrySpec::Membership),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(broken),
        2 => (0u128..4).prop_map(EntrySpec::Open),
        1 => (0u8..2).prop_map(EntrySpec::Found),
        20 => (0u128..4, 1u64..60, prop::option::weighted(0.3, 0u64..40), prop::bool::weighted(0.95), operation()).prop_map(
            |(client, sequence, acknowledged, right_session, operation)| EntrySpec::Command {
                client,
                sequence,
                acknowledged: acknowledged.unwrap_or(0),
                right_session,
                operation,
            }
        ),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let run = (0..GROUPS.len(), prop::collection::vec(entry(), 1..8));
    prop_oneof![
        20 => prop::collection::vec(run, 1..4).prop_map(Step::Apply),
        5 => Just(Step::WriteBack),
        3 => Just(Step::Sync),
        1 => Just(Step::Restart),
        4 => (any::<sample::Index>(), any::<bool>()).prop_map(|(at, torn)| Step::PowerCut { at, torn }),
        1 => (0..GROUPS.len()).prop_map(Step::Replace),
    ]
}

/// The store, the model, and what a power cut may do to them.
struct World {
    directory: TempDir,
    pair: Option<Pair>,
    /// The newest log file and its length when the last sync was done.
    synced: (PathBuf, u64),
    replacements: u32,
}

fn open(path: &Path) -> Store {
    // The smallest memtables RocksDB takes, so that some of the state is in tables, and room for a few sessions only.
    let small = store_support::options(path);
    let options = Options { write_buffer_bytes: 64 << 10, session_cache_bytes: 1500, ..small };
    Store::open(&options).expect("the store opens")
}

impl World {
    fn new() -> World {
        let directory = tempdir().expect("a directory");
        let store = open(directory.path());
        let mut pair = Pair::of(store, Default::default());
        pair.lazy = true;
        for group in GROUPS {
            pair.store.create_replica(GroupId(group), ReplicaId(1), b"founders").expect("a replica");
            pair.model.create_replica(GroupId(group), ReplicaId(1), b"founders");
        }
        let mut world = World { directory, pair: Some(pair), synced: Default::default(), replacements: 1 };
        world.mark_synced();
        world
    }

    fn pair(&mut self) -> &mut Pair {
        self.pair.as_mut().expect("it is open between steps")
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Apply(specs) => {
                // One by one: a table may be written back between any two.
                for run in self.runs(specs) {
                    self.pair().apply(&[run]);
                }
                for group in GROUPS {
                    for key in (0u8..6).flat_map(|key| [vec![key], vec![key, 255], vec![key; 300], vec![]]) {
                        self.pair().compare_key(GroupId(group), &key);
                    }
                }
            }
            Step::WriteBack => self.pair().write_back(),
            Step::Sync => {
                self.pair().write_back();
                self.pair().store.sync().expect("a healthy disk");
                self.pair().model.sync();
                self.mark_synced();
            }
            Step::Restart => {
                // The process dies: what was written back is in the page cache.
                let pair = self.pair.take().expect("it is open");
                let (kept, _) = pair.written.last().cloned().expect("the last sync");
                let mut model = pair.close();
                model.crash(kept);
                self.open(model, open(self.directory.path()));
            }
            Step::PowerCut { at, torn } => self.power_cut(at, *torn),
            Step::Replace(group) => {
                self.replacements += 1;
                let (group, replica) = (GroupId(GROUPS[*group]), ReplicaId::new(1, self.replacements));
                self.pair().write_back();
                self.pair().store.create_replica(group, replica, b"new").expect("a healthy disk");
                self.pair().model.create_replica(group, replica, b"new");
                self.mark_synced();
            }
        }
    }

    fn runs(&mut self, specs: &[(usize, Vec<EntrySpec>)]) -> Vec<ApplyRun> {
        let mut applied: Vec<LogId> = GROUPS.map(|group| self.pair().next(group)).to_vec();
        let model = &self.pair.as_ref().expect("it is open").model;
        let mut runs = Vec::new();
        for (at, entries) in specs {
            let group = GROUPS[*at];
            let sessions = model.sessions(GroupId(group));
            let mut run = ApplyRun { group: GroupId(group), answer: true, ..ApplyRun::default() };
            for spec in entries {
                let (kind, payload) = encoded(spec, group, &sessions);
                run.push(applied[*at], kind, &payload);
                applied[*at].index = applied[*at].index.next();
            }
            runs.push(run);
        }
        runs
    }

    fn open(&mut self, model: Model, store: Store) {
        let mut pair = Pair::of(store, model);
        pair.lazy = true;
        self.pair = Some(pair);
        // Opening has written what was left into tables and synced them.
        self.mark_synced();
    }

    fn power_cut(&mut self, at: &sample::Index, torn: bool) {
        // Closing a database does not sync its log: the file is as long as what was written.
        let pair = self.pair.take().expect("it is open");
        let history = pair.written.clone();
        let mut model = pair.close();
        let (newest, length) = newest_log(self.directory.path());
        let safe = if newest == self.synced.0 { self.synced.1 } else { 0 };
        let cut = safe + at.index((length - safe) as usize + 1) as u64;
        let log = OpenOptions::new().write(true).open(&newest).expect("the log");
        if torn {
            // Pages reach the disk in any order: a hole, and sound records behind it.
            let hole = (length - cut).min(64);
            log.write_all_at(&[0; 64][..hole as usize], cut).expect("a hole");
        } else {
            log.set_len(cut).expect("a cut");
        }
        let store = open(self.directory.path());
        let found = store.replicas().expect("the replicas");
        let past = history.iter().rfind(|(_, past)| *past == found);
        let (kept, _) = past.unwrap_or_else(|| panic!("{found:?} was never written back since the last sync"));
        model.crash(*kept);
        self.open(model, store);
    }

    /// Everything up to now survives a power cut.
    fn mark_synced(&mut self) {
        self.synced = newest_log(self.directory.path());
        let pair = self.pair();
        pair.model.sync();
        pair.written = vec![(0, pair.model.replicas())];
    }
}

fn newest_log(path: &Path) -> (PathBuf, u64) {
    let files = fs::read_dir(path).expect("the directory").map(|entry| entry.expect("an entry").path());
    let newest = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max();
    let newest = newest.expect("a log");
    let length = fs::metadata(&newest).expect("the log").len();
    (newest, length)
}

/// No command, but of a kind and version that are known: others stop the node.
fn broken(mut bytes: Vec<u8>) -> EntrySpec {
    if let [kind, version, ..] = &mut bytes[..] {
        (*kind, *version) = (1 + *kind % 7, VERSION);
    }
    EntrySpec::Broken(bytes)
}

fn encoded(
    spec: &EntrySpec,
    group: u32,
    sessions: &[(SessionKey, engine_core::sessions::Session)],
) -> (EntryKind, Vec<u8>) {
    match spec {
        EntrySpec::Noop => (EntryKind::Noop, vec![]),
        EntrySpec::Membership(byte) => (EntryKind::Membership, vec![*byte; 3]),
        EntrySpec::Broken(bytes) => (EntryKind::Command, bytes.clone()),
        EntrySpec::Open(client) => (EntryKind::Command, encode(&open_session(group, *client))),
        EntrySpec::Found(record) => (EntryKind::Command, encode(&found(&[*record]))),
        EntrySpec::Command { client, sequence, acknowledged, right_session, operation } => {
            let held = sessions.iter().find(|(key, _)| key.client == ClientId(*client));
            let opened = held.filter(|_| *right_session).map_or(Index(999), |(_, session)| session.opened());
            let command = Command {
                client: ClientId(*client),
                sequence: *sequence,
                acknowledged: *acknowledged,
                session: SessionRef { group: GroupId(group), opened },
                operation: operation.clone(),
            };
            (EntryKind::Command, encode(&command))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_its_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            if !matches!(step, Step::Apply(_)) {
                world.pair().compare();
            }
        }
        world.pair().write_back();
        world.pair().compare();
    }
}
