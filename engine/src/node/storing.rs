//! Between a core and its store: entries are applied at once, written back now and then, and what needs RocksDB waits for that.
//!
//! ```text
//! memory is full, a log is to be cut, or somebody wants RocksDB to have everything
//!   -> a frozen table goes to the store thread -> written back: what has waited goes on
//! ```

use super::store_threads::{Helpers, Read, Write, fail};
use crate::store::{Applier, Cached, Done, Fetched, Lack, Store, StoreError};
use engine_core::placement::map::MAP_GROUP;
use engine_core::shard::Query;
use engine_core::shard::effects::SnapshotStep;
use engine_core::state_machine::ApplyRun;
use raft::ids::GroupId;
use std::collections::VecDeque;
use std::fmt;

/// Logs that are long have the store made durable no more often than this, in microseconds. What is written again meanwhile reaches RocksDB
/// once, and a log of ten thousand entries is a fraction of a second under load; a start replays what came since.
const SYNC_EVERY: u64 = 2_000_000;

/// See the module.
pub struct Storing {
    core: u16,
    store: Store,
    applier: Applier,
    helpers: Helpers,
    /// What must find everything applied up to now in RocksDB, in order. Reads of clients, whose number is limited, and snapshots.
    waiting: VecDeque<Behind>,
    /// What waits for the table on its way alone.
    going: Vec<Behind>,
    /// A sync is wanted: soon, or at once.
    wanted: Option<Urgency>,
    syncing: bool,
    /// When the last sync began, in microseconds of the core's clock.
    synced_at: u64,
}

/// How soon the store is to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// When the last time is long enough ago.
    Soon,
    /// Now.
    Now,
}

#[derive(Debug)]
enum Behind {
    Read(Read),
    /// What a group lacks that stands still.
    Fetch(Lack),
    /// For the order alone: something before it waits.
    Write(Write),
    /// Nothing of this group may be applied in part.
    Install(GroupId, Write),
}

impl fmt::Debug for Storing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storing").field("core", &self.core).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Storing {
    /// For core `core`; nobody else applies to this store. May wait for the disk.
    pub fn new(core: u16, store: Store, helpers: Helpers) -> Storing {
        let applier = store.applier().unwrap_or_else(|error| fail(core, &store, &error));
        let (waiting, going) = (VecDeque::new(), Vec::new());
        let (wanted, syncing, synced_at) = (None, false, 0);
        Storing { core, store, applier, helpers, waiting, going, wanted, syncing, synced_at }
    }

    /// Applies runs; returns those that are done, of these and of earlier ones.
    pub fn apply(&mut self, runs: Vec<ApplyRun>, now: u64) -> Done {
        let mut done = Done::new();
        let applied = self.applier.apply(runs, &mut done);
        self.go_on(applied, done, now)
    }

    /// The disk has told what a group lacked.
    pub fn fetched(&mut self, fetched: Fetched, now: u64) -> Done {
        let mut done = Done::new();
        let applied = self.applier.fetched(fetched, &mut done);
        self.go_on(applied, done, now)
    }

    /// The frozen table is in RocksDB.
    pub fn written_back(&mut self, now: u64) -> Done {
        self.applier.written_back();
        for behind in std::mem::take(&mut self.going) {
            self.send(behind);
        }
        self.go_on(Ok(()), Done::new(), now)
    }

    /// A snapshot has replaced the state of a group: where that stands is read now, as what was just written is in memory.
    pub fn installed(&mut self, group: GroupId) {
        self.applier.installed(group).unwrap_or_else(|error| fail(self.core, &self.store, &error));
    }

    /// Everybody has been told what became of the runs that were done.
    pub fn answered(&mut self) {
        self.applier.answered();
    }

    /// The value of a key if memory can tell.
    pub fn get(&self, group: GroupId, key: &[u8]) -> Cached {
        self.applier.get(group, key).unwrap_or_else(|error| fail(self.core, &self.store, &error))
    }

    /// Has something read that what is applied later need not be seen by, and what is applied now may.
    pub fn read(&self, read: Read) {
        match &read {
            Read::Query { query: Query::Scan { .. }, .. } => self.helpers.scanner.send(read),
            Read::Query { .. } | Read::Checksum { .. } => self.helpers.reader.send(read),
            // One queue, so that none is closed before it is opened.
            _ => self.helpers.snapshots.send(read),
        }
    }

    /// Has something read when RocksDB has what is applied now.
    pub fn read_behind(&mut self, read: Read) {
        self.waiting.push_back(Behind::Read(read));
    }

    /// Has a read undone that [`Storing::read_behind`] may not have begun.
    pub fn end_read(&mut self, read: Read) {
        match self.waiting.is_empty() && self.going.is_empty() {
            true => self.read(read),
            false => self.read_behind(read),
        }
    }

    /// Has the next step of a snapshot done.
    pub fn step(&mut self, step: SnapshotStep) {
        match &step {
            SnapshotStep::Install { header, .. } => {
                self.waiting.push_back(Behind::Install(header.group, Write::Snapshot(step)));
            }
            _ => self.write(Write::Snapshot(step)),
        }
    }

    /// Has the store made durable.
    pub fn want_sync(&mut self, urgency: Urgency) {
        self.wanted = self.wanted.max(Some(urgency));
    }

    /// The store is durable, as far as was said when that was asked for.
    pub fn synced(&mut self) {
        self.syncing = false;
    }

    /// Whether every sync that was wanted at once has begun, with all that was applied by then on its way.
    pub fn is_settled(&self) -> bool {
        self.wanted != Some(Urgency::Now)
    }

    /// Memory of what is not in RocksDB, or was not lately, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.applier.memory_bytes()
    }

    /// Begins what can be begun; `now` is the core's clock. To be called at the end of every turn.
    pub fn settle(&mut self, now: u64) {
        if self.applier.in_flight() {
            return;
        }
        let stalled = |behind: &Behind| matches!(behind, Behind::Install(group, _) if self.applier.is_stalled(*group));
        let ready = self.waiting.iter().position(stalled).unwrap_or(self.waiting.len());
        let sync = !self.syncing
            && match self.wanted {
                None => false,
                Some(Urgency::Soon) => now.saturating_sub(self.synced_at) >= SYNC_EVERY,
                Some(Urgency::Now) => true,
            };
        if ready == 0 && !sync && !self.applier.is_full() {
            return;
        }
        if let Some(back) = self.applier.freeze() {
            self.helpers.writer.send(Write::Back(back));
        }
        for behind in self.waiting.drain(..ready).collect::<Vec<_>>() {
            match behind {
                Behind::Read(_) | Behind::Fetch(_) if self.applier.in_flight() => self.going.push(behind),
                // The writer has the table before this.
                behind => self.send(behind),
            }
        }
        if sync {
            (self.wanted, self.syncing, self.synced_at) = (None, true, now);
            self.helpers.writer.send(Write::Sync(self.applier.positions()));
        }
    }

    /// After something was applied or there may be room again.
    fn go_on(&mut self, applied: Result<(), StoreError>, mut done: Done, now: u64) -> Done {
        self.settle(now);
        applied
            .and_then(|()| self.applier.resume(&mut done))
            .unwrap_or_else(|error| fail(self.core, &self.store, &error));
        for lack in self.applier.lacks() {
            match lack {
                Lack::Places(..) => self.helpers.fetcher.send(lack),
                // Before an install of its group, which waits for the group.
                Lack::Sessions(..) => self.waiting.push_front(Behind::Fetch(lack)),
            }
        }
        if done.iter().any(|(run, _)| run.group == MAP_GROUP) {
            self.waiting.push_back(Behind::Write(Write::TellMap));
        }
        self.settle(now);
        done
    }

    fn send(&self, behind: Behind) {
        match behind {
            Behind::Read(read) => self.read(read),
            Behind::Fetch(lack) => self.helpers.fetcher.send(lack),
            Behind::Write(write) | Behind::Install(_, write) => self.helpers.writer.send(write),
        }
    }

    /// Has a part of a snapshot written, in its order.
    pub fn write(&mut self, write: Write) {
        let ordered = self.waiting.iter().any(|behind| matches!(behind, Behind::Write(_) | Behind::Install(..)));
        match ordered {
            true => self.waiting.push_back(Behind::Write(write)),
            false => self.helpers.writer.send(write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SYNC_EVERY, Storing, Urgency};
    use crate::node::queue;
    use crate::node::store_threads::{Helpers, Read, Write};
    use crate::store::{Lack, Options, Store};
    use engine_core::command::{ClientId, Command, Operation, SessionRef, encode};
    use engine_core::sessions::SESSIONS_MAX;
    use engine_core::shard::effects::SnapshotStep;
    use engine_core::shard::{Query, Ticket};
    use engine_core::snapshot::{End, Header};
    use engine_core::state_machine::ApplyRun;
    use raft::entry::{EntryKind, LogId};
    use raft::ids::{GroupId, Index, ReplicaId, Term};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;
    use tempfile::TempDir;

    const GROUP: GroupId = GroupId(1);

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A hundred of them fill several blocks of a file.
    const VALUE: &[u8] = &[7; 1000];

    /// A core's storing, and what its helpers are sent.
    struct Scene {
        storing: Storing,
        writes: Receiver<Write>,
        reads: Receiver<Read>,
        scans: Receiver<Read>,
        /// What is read of snapshots.
        opened: Receiver<Read>,
        lacks: Receiver<Lack>,
        store: Store,
        index: u64,
        directory: TempDir,
    }

    fn helper<T: Send + 'static>() -> (queue::Sender<T>, Receiver<T>) {
        let (to_test, from_helper) = channel();
        let body = move |work: queue::Work<T>| while work.receive().is_some_and(|item| to_test.send(item).is_ok()) {};
        (queue::helper("test".into(), body).unwrap().0, from_helper)
    }

    impl Scene {
        fn new() -> Scene {
            let mut scene = Scene::on(tempfile::tempdir().unwrap(), 0);
            assert_eq!(scene.apply_all(&[scene.opening()]), 1);
            scene
        }

        fn opening(&self) -> Command {
            let opened = SessionRef { group: GROUP, opened: Index(0) };
            Command { sequence: 0, session: opened, ..self.command(Operation::Open) }
        }

        /// Over a store that has applied the log up to `index`, or over a new one.
        fn on(directory: TempDir, index: u64) -> Scene {
            let store = Store::open(&Options::new(directory.path(), 1)).unwrap();
            if index == 0 {
                store.create_replica(GROUP, ReplicaId(1), b"members").unwrap();
            }
            let ((writer, writes), (reader, reads), (scanner, scans)) = (helper(), helper(), helper());
            let ((snapshots, opened), (fetcher, lacks)) = (helper(), helper());
            let storing = Storing::new(0, store.clone(), Helpers { writer, reader, scanner, snapshots, fetcher });
            Scene { storing, writes, reads, scans, opened, lacks, store, index, directory }
        }

        fn command(&self, operation: Operation) -> Command {
            let session = SessionRef { group: GROUP, opened: Index(1) };
            Command { client: ClientId(1), sequence: self.index, acknowledged: 0, session, operation }
        }

        /// Applies commands as one run; how many runs are done.
        fn apply_all(&mut self, commands: &[Command]) -> usize {
            let mut run = ApplyRun { group: GROUP, answer: true, ..ApplyRun::default() };
            for command in commands {
                self.index += 1;
                run.push(LogId { term: Term(1), index: Index(self.index) }, EntryKind::Command, &encode(command));
            }
            self.storing.apply(vec![run], 0).len()
        }

        fn put(&mut self, key: &[u8]) {
            let put = Operation::Put { key: key.to_vec(), value: VALUE.to_vec(), return_old: false };
            assert_eq!(self.apply_all(&[self.command(put)]), 1);
        }

        /// The table that the writer was sent is written back.
        fn write_back(&mut self) {
            let Ok(Write::Back(back)) = self.writes.recv() else { panic!("no table was sent") };
            self.store.write_back(&back).unwrap();
            self.storing.written_back(0);
        }

        /// Nothing more is on its way to the writer: the next is a mark behind everything that was sent.
        fn no_write(&self) {
            self.storing.helpers.writer.send(Write::TellMap);
            assert!(matches!(self.writes.recv(), Ok(Write::TellMap)));
        }

        /// Nothing more is on its way to the readers of gets and of snapshots.
        fn no_read(&self) {
            let helpers = &self.storing.helpers;
            for (helper, reads) in [(&helpers.reader, &self.reads), (&helpers.snapshots, &self.opened)] {
                helper.send(Read::SnapshotClose { id: u64::MAX });
                assert!(matches!(reads.recv(), Ok(Read::SnapshotClose { id: u64::MAX })));
            }
        }

        fn nothing_else(&self) {
            self.no_write();
            self.no_read();
        }
    }

    fn open(id: u64) -> Read {
        Read::SnapshotOpen { id, group: GROUP }
    }

    fn query(query: Query) -> Read {
        let ticket = Ticket { connection: 1, request: 1, bytes: 0, mark: 0 };
        Read::Query { ticket, group: GROUP, query }
    }

    fn install() -> SnapshotStep {
        let (from, to, last) = (ReplicaId(2), ReplicaId(1), LogId { term: Term(1), index: Index(9) });
        let header = Header { group: GROUP, from, to, term: Term(1), id: 5, last, membership: Vec::new() };
        SnapshotStep::Install { header, end: End { chunks: 0, digest: 0 } }
    }

    #[test]
    fn gets_scans_and_snapshots_do_not_hold_each_other_up() {
        let mut scene = Scene::new();
        let scan = || query(Query::Scan { start: Vec::new(), end: None, limit: 10 });
        scene.storing.read(scan());
        scene.storing.read_behind(scan());
        scene.storing.read(Read::SnapshotChunk { id: 1 });
        scene.storing.read(query(Query::Get { key: b"one".to_vec() }));
        assert!(matches!(scene.reads.recv(), Ok(Read::Query { query: Query::Get { .. }, .. })));
        assert!(matches!(scene.opened.recv(), Ok(Read::SnapshotChunk { id: 1 })));
        scene.storing.settle(0);
        scene.write_back();
        for _ in 0..2 {
            assert!(matches!(scene.scans.recv(), Ok(Read::Query { query: Query::Scan { .. }, .. })));
        }
        scene.nothing_else();
    }

    #[test]
    fn who_needs_everything_in_rocksdb_waits_for_the_table_that_holds_it() {
        let mut scene = Scene::new();
        scene.put(b"one");
        scene.nothing_else();
        scene.storing.read_behind(open(1));
        scene.storing.settle(0);
        // The first table is on its way: who comes now waits for the next.
        scene.put(b"two");
        scene.storing.read_behind(open(2));
        scene.storing.settle(0);
        scene.no_read();
        scene.write_back();
        assert!(matches!(scene.opened.recv(), Ok(Read::SnapshotOpen { id: 1, .. })));
        assert_eq!(scene.store.get(GROUP, b"one").unwrap(), Some(VALUE.to_vec()));
        assert_eq!(scene.store.get(GROUP, b"two").unwrap(), None);
        // What may undo a read does not overtake it.
        scene.storing.end_read(Read::SnapshotClose { id: 2 });
        scene.write_back();
        assert!(matches!(scene.opened.recv(), Ok(Read::SnapshotOpen { id: 2, .. })));
        assert_eq!(scene.store.get(GROUP, b"two").unwrap(), Some(VALUE.to_vec()));
        scene.storing.settle(0);
        assert!(matches!(scene.opened.recv(), Ok(Read::SnapshotClose { id: 2 })));
        // With nothing to be written back nobody waits.
        scene.storing.read_behind(open(3));
        scene.storing.settle(0);
        assert!(matches!(scene.opened.recv(), Ok(Read::SnapshotOpen { id: 3, .. })));
        scene.nothing_else();
    }

    #[test]
    fn a_sync_says_how_far_the_table_before_it_goes_and_comes_now_or_soon() {
        let mut scene = Scene::new();
        scene.put(b"one");
        scene.storing.want_sync(Urgency::Soon);
        scene.storing.settle(SYNC_EVERY - 1);
        scene.nothing_else();
        scene.storing.settle(SYNC_EVERY);
        scene.put(b"two");
        scene.write_back();
        let Ok(Write::Sync(durable)) = scene.writes.recv() else { panic!("no sync was sent") };
        assert_eq!(
            durable,
            [(GROUP, LogId { term: Term(1), index: Index(2) })],
            "the put of `two` is not in that table"
        );
        // One at a time, and however urgent.
        scene.storing.want_sync(Urgency::Now);
        scene.storing.settle(SYNC_EVERY + 1);
        scene.nothing_else();
        assert!(!scene.storing.is_settled());
        scene.storing.synced();
        scene.storing.want_sync(Urgency::Soon);
        scene.storing.settle(SYNC_EVERY + 2);
        assert!(scene.storing.is_settled());
        scene.write_back();
        assert!(matches!(scene.writes.recv(), Ok(Write::Sync(durable)) if durable[0].1.index == Index(3)));
        scene.nothing_else();
    }

    #[test]
    fn an_install_waits_for_its_group_and_everything_behind_it_waits_too() {
        let mut scene = Scene::new();
        for key in 0..100u8 {
            scene.put(&[key]);
        }
        let opening = scene.opening();
        let others = (2..=SESSIONS_MAX as u128).map(|client| Command { client: ClientId(client), ..opening.clone() });
        assert_eq!(scene.apply_all(&others.collect::<Vec<_>>()), 1);
        scene.storing.read_behind(open(1));
        scene.storing.settle(0);
        scene.write_back();
        // Opening writes what RocksDB's log holds into a table, of which no block has been read.
        let Scene { storing, store, index, directory, .. } = scene;
        drop((storing, store));
        let mut scene = Scene::on(directory, index);
        let swap = scene.command(Operation::CompareAndSwap { key: vec![50], expect: None, set: None });
        // One session too many: which of them goes only the disk can tell, behind what the group has applied.
        let open = Command { client: ClientId(u128::MAX), ..scene.opening() };
        assert_eq!(scene.apply_all(&[swap, open]), 0, "the disk must be asked");
        scene.storing.step(install());
        scene.storing.step(SnapshotStep::DropReplaced { group: GROUP });
        scene.storing.settle(0);
        // The group has applied a run in part.
        scene.no_write();
        let (mut done, mut asked) = (0, Vec::new());
        while done == 0 {
            if scene.storing.applier.in_flight() {
                scene.write_back();
            }
            let lack = scene.lacks.recv_timeout(PATIENCE).expect("something is asked for");
            asked.push(lack.clone());
            done = scene.storing.fetched(scene.store.fetch(lack).unwrap(), 0).len();
        }
        assert!(matches!(asked[..], [Lack::Places(..), .., Lack::Sessions(GROUP)]), "{asked:?}");
        scene.write_back();
        assert!(matches!(scene.writes.recv(), Ok(Write::Snapshot(SnapshotStep::Install { .. }))));
        assert!(matches!(scene.writes.recv(), Ok(Write::Snapshot(SnapshotStep::DropReplaced { .. }))));
        scene.nothing_else();
    }
}
