//! The applied state of one core: data, sessions and positions of all its replicas in tables in memory, and in one RocksDB.
//!
//! ```text
//! core          committed entries -> Applier::apply -> the active table; Applier::get: tables, memtable and block cache, never
//!               the disk; now and then Applier::freeze
//! store thread  Store::write_back: a frozen table as one atomic batch -> RocksDB; Store::sync; Installer
//! reader        Store::get, scan, checksum, snapshot, fetch: may block
//! ```
//!
//! RocksDB is written when memory is full, when a log shall be cut, and when somebody wants to read a range: a key that is written a
//! hundred times meanwhile is written there once. What is written is not synced: the journal holds every entry until [`Store::sync`] has been called. After a
//! crash the store is what it was when some earlier table was frozen, whole, and the journal replays the rest. It is never
//! ahead of the journal, and never knows what Raft is about beyond an entry's identity.
//!
//! The only room that knows RocksDB, but for the checksums that `kvd` lends it (`cli/kvd/checksums.rs`). A [`Store`] is a handle that
//! the threads of one core share; the core has the only [`Applier`], its store thread the only [`Installer`].

mod apply;
mod archive;
mod error;
mod front;
mod gauges;
mod hashing;
mod install;
mod keys;
mod lack;
mod open;
mod options;
mod read;
mod records;
mod replicas;
mod sessions;
mod snapshot;
mod space;
mod table;
mod write_back;

pub use apply::{Applier, Done};
pub use archive::trim_archive;
pub use engine_core::state_machine::{Checksum, Page, StoredReplica};
pub use error::StoreError;
pub use gauges::Gauge;
pub use install::{Installer, ReceiveError};
pub use lack::{Fetched, Lack};
pub use options::Options;
pub use read::Cached;
pub use snapshot::SnapshotReader;
pub use write_back::WriteBack;

use engine_core::sessions::{Session, SessionKey};
use raft::ids::GroupId;
use rocksdb::{DB, ReadOptions, ReadTier};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A handle to the RocksDB of one core. Cloning it shares the database.
///
/// The `RwLock` and the `Mutex` are the only ones of this room, and the `Arc` is, but for that of a frozen table. RocksDB is made to be shared by threads, and
/// three of one core need it. The `RwLock` guards the small map of generations, which changes when a replica is
/// created or a snapshot has come in; otherwise it is only read, for nanoseconds, and nobody waits inside. The `Mutex`
/// lets one replica be created at a time; no read and no apply takes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    db: DB,
    path: PathBuf,
    direct_io: bool,
    session_cache_bytes: usize,
    table_bytes: usize,
    /// Reads that must not touch the disk.
    in_memory: ReadOptions,
    generations: RwLock<BTreeMap<GroupId, u64>>,
    creating: Mutex<()>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Store {
    /// What applies entries to this store. The caller sees to it that there is no second one. May wait for the disk.
    pub fn applier(&self) -> Result<Applier, StoreError> {
        Applier::new(self.clone())
    }

    /// What takes snapshots into this store. The caller sees to it that there is no second one.
    pub fn installer(&self) -> Installer {
        Installer::new(self.clone())
    }

    /// Makes everything written back so far survive a power cut. Blocks on the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.db.flush_wal(true).map_err(StoreError::of("sync the write-ahead log"))
    }

    /// Syncs and ends the background work. The database is closed, and free for another process, when the last handle is
    /// gone.
    pub fn close(self) -> Result<(), StoreError> {
        self.sync()?;
        self.shared.db.cancel_all_background_work(true);
        Ok(())
    }

    /// Whether flushes and compactions go past the page cache; `false` if the file system refuses that.
    pub fn direct_io(&self) -> bool {
        self.shared.direct_io
    }

    /// The sessions a group holds in RocksDB, by key. Reads them all: for tests and repair.
    pub fn sessions(&self, group: GroupId) -> Result<Vec<(SessionKey, Session)>, StoreError> {
        let generation = self.generation(group)?;
        sessions::read_all(&self.shared.db, generation)
    }

    /// A handle to an open database, whose map of generations is still empty.
    fn of(db: DB, options: &Options, direct_io: bool) -> Store {
        let mut in_memory = ReadOptions::default();
        in_memory.set_read_tier(ReadTier::BlockCache);
        let shared = Shared {
            db,
            path: options.path.clone(),
            direct_io,
            session_cache_bytes: options.session_cache_bytes,
            table_bytes: options.write_buffer_bytes,
            in_memory,
            generations: RwLock::new(BTreeMap::new()),
            creating: Mutex::new(()),
        };
        Store { shared: Arc::new(shared) }
    }

    /// Under which number the data of a group lie at this moment.
    fn generation(&self, group: GroupId) -> Result<u64, StoreError> {
        let generations = self.shared.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.get(&group).copied().ok_or(StoreError::NoReplica { group })
    }
}
