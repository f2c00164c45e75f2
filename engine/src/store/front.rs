//! What lies before RocksDB: what has been applied since it was written back last, and what is being written back.
//!
//! ```text
//! active table    the core writes it and reads it
//! frozen tables   the store thread writes the newest into RocksDB; afterwards it stays a while, for reads
//! RocksDB         everything before
//! ```
//!
//! A table is frozen between two entries of the log and written back in one atomic batch, so RocksDB is always the state after
//! some entry of each group, and never forgets one group's entry but keeps a later one of another.

use super::hashing::Seed;
use super::table::Table;
use super::write_back::WriteBack;
use super::{Store, StoreError, keys};
use rocksdb::ErrorKind;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Frozen tables that are kept, at the most: a read looks into each of them.
const TABLES_MAX: usize = 3;

/// What the disk said of places that memory did not know.
pub type Found = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// Why a read of the core did not end.
#[derive(Debug)]
pub enum Stop {
    /// Only the disk can tell what this place holds.
    Place(Vec<u8>),
    /// Only the disk can tell which sessions there are.
    Sessions,
    /// The store failed.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Failed(error)
    }
}

/// See the module.
pub struct Front {
    /// What lies behind it.
    pub store: Store,
    seed: Seed,
    active: Table,
    /// The newest first.
    frozen: VecDeque<Arc<Table>>,
    /// The newest of them is on its way.
    in_flight: bool,
}

impl Front {
    /// Nothing before the store.
    pub fn new(store: Store) -> Front {
        Front { store, seed: Seed::random(), active: Table::default(), frozen: VecDeque::new(), in_flight: false }
    }

    /// Sets what a place holds.
    pub fn set(&mut self, place: &[u8], value: Option<&[u8]>) {
        self.active.set(self.seed.hash(place), place, value);
    }

    /// Calls `take` with what a place holds, from memory; `found` is what the disk has said of some places.
    pub fn with<T>(&self, place: &[u8], found: &Found, take: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, Stop> {
        let hash = self.seed.hash(place);
        // Nobody but the core writes below a generation that is in force. The records beside are also written when a snapshot is
        // installed: of them RocksDB has the newest as soon as it has this table.
        let current = match keys::is_of_generation(place) {
            true => self.frozen.len(),
            false => usize::from(self.in_flight),
        };
        let frozen = || self.frozen.iter().take(current).find_map(|frozen| frozen.get(hash, place));
        if let Some(value) = self.active.get(hash, place).or_else(frozen) {
            return Ok(take(value));
        }
        if let Some(value) = found.get(place) {
            return Ok(take(value.as_deref()));
        }
        let shared = &self.store.shared;
        match shared.db.get_pinned_opt(place, &shared.in_memory) {
            Ok(value) => Ok(take(value.as_deref())),
            Err(error) if error.kind() == ErrorKind::Incomplete => Err(Stop::Place(place.to_vec())),
            Err(error) => Err(Stop::Failed(StoreError::of("read from memory")(error))),
        }
    }

    /// Whether a table is on its way into RocksDB.
    pub fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Memory of what is to be written back and not yet on its way, in bytes.
    pub fn active_bytes(&self) -> usize {
        self.active.memory_bytes()
    }

    /// Memory of all of it, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.active.memory_bytes() + self.frozen.iter().map(|frozen| frozen.memory_bytes()).sum::<usize>()
    }

    /// Freezes what has been set; `None` if that is nothing. One at a time.
    pub fn freeze(&mut self) -> Option<WriteBack> {
        assert!(!self.in_flight, "one table is written back at a time");
        if self.active.is_empty() {
            return None;
        }
        let table = Arc::new(std::mem::take(&mut self.active));
        self.in_flight = true;
        self.frozen.push_front(table.clone());
        // The oldest goes first: what it holds may be of yesterday.
        let kept = |front: &Front| front.frozen.iter().skip(1).map(|table| table.memory_bytes()).sum::<usize>();
        while self.frozen.len() > TABLES_MAX || kept(self) > self.store.shared.table_bytes {
            self.frozen.pop_back();
        }
        Some(WriteBack { table })
    }

    /// The frozen table is in RocksDB.
    pub fn written_back(&mut self) {
        assert!(std::mem::take(&mut self.in_flight), "no table is on its way");
    }
}
