//! Between a core and its store: entries are applied at once, written back now and then, and what needs RocksDB waits for that.
//!
//! ```text
//! memory is full, a log is to be cut, or somebody wants RocksDB to have everything
//!   -> a frozen table goes to the store thread -> written back: what has waited goes on
//! ```

use super::queue::Sender;
use super::store_threads::{Read, Write, fail};
use crate::store::{Applier, Cached, Done, Fetched, Lack, Store, StoreError};
use engine_core::placement::map::MAP_GROUP;
use engine_core::shard::effects::SnapshotStep;
use engine_core::state_machine::ApplyRun;
use raft::ids::GroupId;
use std::collections::VecDeque;
use std::fmt;

/// Logs that are long have the store made durable no more often than this, in microseconds. What is written again meanwhile reaches RocksDB
/// once, and a log of ten thousand entries is a fraction of a second under load; a start replays what came since.
const SYNC_EVERY: u64 = 4_000_000;

/// See the module.
pub struct Storing {
    core: u16,
    store: Store,
    applier: Applier,
    writer: Sender<Write>,
    reader: Sender<Read>,
    /// What must find everything applied up to now in RocksDB, in order. Reads of clients, whose number is limited, and snapshots.
    waiting: VecDeque<Behind>,
    /// What waits for the table on its way alone.
    going: Vec<Read>,
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
    pub fn new(core: u16, store: Store, writer: Sender<Write>, reader: Sender<Read>) -> Storing {
        let applier = store.applier().unwrap_or_else(|error| fail(core, &store, &error));
        let (waiting, going) = (VecDeque::new(), Vec::new());
        let (wanted, syncing, synced_at) = (None, false, 0);
        Storing { core, store, applier, writer, reader, waiting, going, wanted, syncing, synced_at }
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
        self.going.drain(..).for_each(|read| self.reader.send(read));
        self.go_on(Ok(()), Done::new(), now)
    }

    /// The value of a key if memory can tell.
    pub fn get(&self, group: GroupId, key: &[u8]) -> Cached {
        self.applier.get(group, key).unwrap_or_else(|error| fail(self.core, &self.store, &error))
    }

    /// Has something read that what is applied later need not be seen by, and what is applied now may.
    pub fn read(&self, read: Read) {
        self.reader.send(read);
    }

    /// Has something read when RocksDB has what is applied now.
    pub fn read_behind(&mut self, read: Read) {
        self.waiting.push_back(Behind::Read(read));
    }

    /// Has a read undone that [`Storing::read_behind`] may not have begun.
    pub fn end_read(&mut self, read: Read) {
        match self.waiting.is_empty() && self.going.is_empty() {
            true => self.reader.send(read),
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

    /// Whether every sync that was wanted has begun, with all that was applied by then on its way.
    pub fn is_settled(&self) -> bool {
        self.wanted.is_none()
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
            self.writer.send(Write::Back(back));
        }
        for behind in self.waiting.drain(..ready) {
            match behind {
                Behind::Read(read) if self.applier.in_flight() => self.going.push(read),
                Behind::Read(read) => self.reader.send(read),
                Behind::Write(write) | Behind::Install(_, write) => self.writer.send(write),
            }
        }
        if sync {
            (self.wanted, self.syncing, self.synced_at) = (None, true, now);
            self.writer.send(Write::Sync(self.applier.positions()));
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
                Lack::Places(..) => self.reader.send(Read::Fetch(lack)),
                Lack::Sessions(..) => self.read_behind(Read::Fetch(lack)),
            }
        }
        if done.iter().any(|(run, _)| run.group == MAP_GROUP) {
            self.waiting.push_back(Behind::Write(Write::TellMap));
        }
        self.settle(now);
        done
    }

    /// Has a part of a snapshot written, in its order.
    pub fn write(&mut self, write: Write) {
        let ordered = self.waiting.iter().any(|behind| !matches!(behind, Behind::Read(_)));
        match ordered {
            true => self.waiting.push_back(Behind::Write(write)),
            false => self.writer.send(write),
        }
    }
}
