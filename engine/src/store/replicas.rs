//! Which replicas the store holds, and making one.

use super::install::decode_installed;
use super::records::{Applied, Replica};
use super::{Store, StoreError, StoredReplica, keys, records};
use engine_core::state_machine::MapRecord;
use raft::ids::{GroupId, ReplicaId};
use rocksdb::{DB, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::PoisonError;

impl Store {
    /// The replicas, by group, as they are in RocksDB. Nothing may be written back meanwhile, as no snapshot is taken.
    pub fn replicas(&self) -> Result<Vec<StoredReplica>, StoreError> {
        let db = &self.shared.db;
        let mut options = ReadOptions::default();
        options.set_iterate_range(keys::replicas());
        let mut replicas = Vec::new();
        for record in db.iterator_opt(IteratorMode::Start, options) {
            let (key, value) = record.map_err(StoreError::of("read the replicas"))?;
            let group = keys::group_of_replica(&key)
                .ok_or_else(|| StoreError::corrupt("read the replicas", "a key of the wrong length"))?;
            let Replica { id, generation, membership } = Replica::decode(&value)?;
            let applied = db.get(keys::applied(group)).map_err(StoreError::of("read an applied index"))?;
            let applied = decode_applied(applied.as_deref())?.id;
            let installed = db.get(keys::installed(group)).map_err(StoreError::of("read an install record"))?;
            let installed = decode_installed(installed.as_deref())?;
            replicas.push(StoredReplica { group, replica: id, generation, applied, membership, installed });
        }
        Ok(replicas)
    }

    /// Adds an empty replica, or replaces the group's replica, whose id must be another one: its data are dropped.
    /// Synced when it returns. `membership` is in force until an entry or a snapshot brings another.
    pub fn create_replica(&self, group: GroupId, replica: ReplicaId, membership: &[u8]) -> Result<(), StoreError> {
        let db = &self.shared.db;
        let _one_at_a_time = self.shared.creating.lock().unwrap_or_else(PoisonError::into_inner);
        let old = read_replica(db, group)?;
        if let Some(old) = &old {
            assert!(old.id != replica, "group {group}: replica {replica} is there already");
        }
        let generation = next_generation(db)?;
        let record = Replica { id: replica, generation, membership: membership.to_vec() };
        let mut batch = WriteBatch::default();
        batch.put(keys::NEXT_GENERATION, (generation + 1).to_le_bytes());
        batch.put(keys::replica(group), record.encode());
        batch.put(keys::applied(group), Applied::default().encode());
        batch.delete(keys::installed(group));
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        db.write_opt(batch, &synced).map_err(StoreError::of("create a replica"))?;
        self.shared.generations.write().unwrap_or_else(PoisonError::into_inner).insert(group, generation);
        // Only now: a reader that still finds the old generation must find its data whole. If this is lost,
        // opening does it.
        match old {
            Some(old) => drop_generation(db, old.generation),
            None => Ok(()),
        }
    }

    /// The founding record, once group 0 has applied it here.
    pub fn founding_record(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.db.get(keys::FOUNDING_RECORD).map_err(StoreError::of("read the founding record"))
    }

    /// The cluster map, once group 0 has applied a change of it here.
    pub fn map(&self) -> Result<Option<MapRecord>, StoreError> {
        read_map(&self.shared.db)
    }

    /// The groups with a replica here.
    pub(super) fn groups(&self) -> Vec<GroupId> {
        let generations = self.shared.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.keys().copied().collect()
    }

    /// Fills the map of generations when the store is opened.
    pub(super) fn load_generations(&self) -> Result<(), StoreError> {
        let replicas = self.replicas()?;
        let mut generations = self.shared.generations.write().unwrap_or_else(PoisonError::into_inner);
        generations.extend(replicas.iter().map(|replica| (replica.group, replica.generation)));
        Ok(())
    }

    /// Drops what a crash left behind: data under generations that are no replica's.
    pub(super) fn drop_leftovers(&self) -> Result<(), StoreError> {
        let db = &self.shared.db;
        let generations = self.shared.generations.read().unwrap_or_else(PoisonError::into_inner);
        let live: BTreeSet<u64> = generations.values().copied().collect();
        let mut from = 1;
        for live in live {
            drop_generations(db, from..live)?;
            from = live + 1;
        }
        drop_generations(db, from..next_generation(db)?)
    }
}

/// The record of the cluster map.
pub(super) fn read_map(db: &DB) -> Result<Option<MapRecord>, StoreError> {
    decode_map(db.get(keys::MAP).map_err(StoreError::of("read the cluster map"))?.as_deref())
}

/// The cluster map, by its record.
pub(super) fn decode_map(record: Option<&[u8]>) -> Result<Option<MapRecord>, StoreError> {
    let damaged = || StoreError::corrupt("read the cluster map", "it has the wrong length");
    record.map(|record| MapRecord::decode(record).ok_or_else(damaged)).transpose()
}

/// The record of a group's replica.
pub(super) fn read_replica(db: &DB, group: GroupId) -> Result<Option<Replica>, StoreError> {
    let record = db.get_pinned(keys::replica(group)).map_err(StoreError::of("read a replica"))?;
    record.map(|record| Replica::decode(&record)).transpose()
}

/// What a group has applied, from its record, which every replica has.
pub(super) fn decode_applied(record: Option<&[u8]>) -> Result<Applied, StoreError> {
    Applied::decode(record.ok_or_else(|| StoreError::corrupt("read an applied index", "there is none"))?)
}

/// The generation that the next replica gets.
fn next_generation(db: &DB) -> Result<u64, StoreError> {
    match db.get_pinned(keys::NEXT_GENERATION).map_err(StoreError::of("read the next generation"))? {
        Some(bytes) => records::number(&mut &bytes[..]),
        None => Ok(1),
    }
}

/// Takes the next generation for a snapshot. Not synced: a log that loses this loses what lies under it, too.
pub(super) fn reserve_generation(store: &Store) -> Result<u64, StoreError> {
    let db = &store.shared.db;
    let _one_at_a_time = store.shared.creating.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = next_generation(db)?;
    let next = (generation + 1).to_le_bytes();
    db.put(keys::NEXT_GENERATION, next).map_err(StoreError::of("begin a snapshot"))?;
    Ok(generation)
}

/// Deletes all data and sessions of a generation, if there are any.
pub(super) fn drop_generation(db: &DB, generation: u64) -> Result<(), StoreError> {
    drop_generations(db, generation..generation + 1)
}

/// Deletes all data and sessions of some generations, if there are any.
fn drop_generations(db: &DB, generations: Range<u64>) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    for range in [keys::data_of(&generations), keys::sessions_of(&generations)] {
        let mut options = ReadOptions::default();
        options.set_iterate_range(range.clone());
        let mut iterator = db.raw_iterator_opt(options);
        iterator.seek_to_first();
        // A tombstone over nothing would be carried along for long.
        if iterator.valid() {
            batch.delete_range(range.start, range.end);
        }
        iterator.status().map_err(StoreError::of("look for leftovers"))?;
    }
    match batch.is_empty() {
        true => Ok(()),
        false => db.write(batch).map_err(StoreError::of("drop a replaced replica's data")),
    }
}
