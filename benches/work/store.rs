//! The store of a core with one group: puts of 100,000 keys, applied some at a time.

use engine::store::{Applier, Options, Store};
use engine_core::state_machine::ApplyRun;
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};

const GROUP: GroupId = GroupId(1);

pub struct Applying {
    store: Store,
    applier: Applier,
    index: u64,
    random: u64,
    /// Deleted when the store has closed.
    _directory: tempfile::TempDir,
}

impl Applying {
    pub fn new() -> Applying {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&Options::new(directory.path(), 1)).expect("a store");
        store.create_replica(GROUP, ReplicaId(1), b"members").expect("a replica");
        let mut applier = store.applier().expect("an applier");
        let mut run = ApplyRun { group: GROUP, answer: true, ..ApplyRun::default() };
        run.push(LogId { term: Term(1), index: Index(1) }, EntryKind::Command, &super::open(GROUP, 1));
        applier.apply(vec![run], &mut Vec::new()).expect("a healthy disk");
        Applying { store, applier, index: 1, random: 1, _directory: directory }
    }

    /// So many puts in one run.
    pub fn apply(&mut self, puts: usize) {
        let mut run = ApplyRun { group: GROUP, ..ApplyRun::default() };
        for _ in 0..puts {
            self.index += 1;
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = format!("bench:{:012x}", (self.random >> 33) % 100_000);
            let put = super::put(GROUP, 1, Index(1), self.index, key.as_bytes());
            run.push(LogId { term: Term(1), index: Index(self.index) }, EntryKind::Command, &put);
        }
        self.applier.apply(vec![run], &mut Vec::new()).expect("a healthy disk");
    }

    /// Writes everything back that was applied since the last time.
    pub fn write_back(&mut self) {
        if let Some(back) = self.applier.freeze() {
            self.store.write_back(&back).expect("a healthy disk");
            self.applier.written_back();
        }
    }
}
