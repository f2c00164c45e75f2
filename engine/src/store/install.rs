//! A snapshot that comes in: under a generation of its own, switched to in one synced record.
//!
//! ```text
//! receive      chunks become records under a new generation; nobody reads there
//! install      digest right -> sync -> one synced batch: replica, applied entry, install record -> reads go there
//! drop_replaced  once the journal's log start has moved: the old generation is deleted
//! ```
//!
//! A crash anywhere leaves the old state or the new one. Data under a generation that is no replica's are deleted when
//! the store is opened. The install record names the entry that a snapshot ended with, so that a start that finds
//! the store ahead of the journal knows why.

use super::records::{Applied, Replica};
use super::replicas::{decode_applied, drop_generation, read_replica, reserve_generation};
use super::{Store, StoreError, keys};
use engine_core::placement::map::MAP_GROUP;
use engine_core::sessions::Session;
use engine_core::snapshot::stream::{Decoder, Kind, Record, StreamError};
use engine_core::snapshot::{End, Header};
use engine_core::state_machine::MapRecord;
use raft::entry::LogId;
use raft::ids::GroupId;
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Why a snapshot was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The store failed: stop the node.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came is no snapshot. Nothing of it is kept; another one may be tried.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Part of a snapshot.
pub(super) struct Partial {
    id: u64,
    generation: u64,
    decoder: Decoder,
    sessions: u32,
    /// The place of the last one.
    last_session: Option<[u8; 29]>,
    founding_record: Option<Vec<u8>>,
    map: Option<Vec<u8>>,
}

/// Takes snapshots in. Lives on the store thread of a core; there is one per store.
pub struct Installer {
    store: Store,
    /// Snapshots on their way in.
    incoming: BTreeMap<GroupId, Partial>,
    /// Generations that snapshots have replaced, not deleted yet.
    replaced: BTreeMap<GroupId, Vec<u64>>,
}

impl Installer {
    pub(super) fn new(store: Store) -> Installer {
        Installer { store, incoming: BTreeMap::new(), replaced: BTreeMap::new() }
    }

    fn db(&self) -> &DB {
        &self.store.shared.db
    }

    /// Takes the next chunk of snapshot `id` of a group. Chunks of another snapshot of that group are dropped first. Not
    /// synced.
    pub fn receive(&mut self, group: GroupId, id: u64, chunk: &[u8]) -> Result<(), ReceiveError> {
        if self.incoming.get(&group).is_none_or(|partial| partial.id != id) {
            self.begin(group, id)?;
        }
        let partial = self.incoming.get_mut(&group).expect("it has begun");
        let mut batch = WriteBatch::default();
        let Partial { generation, decoder, sessions, last_session, founding_record, map, .. } = partial;
        let taken = decoder.take(chunk, |record: Record<'_>| {
            match record.kind {
                Kind::Founding | Kind::Map if group != MAP_GROUP => return Err(StreamError::Key(record.kind)),
                Kind::Founding => *founding_record = Some(record.value.to_vec()),
                Kind::Map if MapRecord::decode(record.value).is_none() => return Err(StreamError::Value(record.kind)),
                Kind::Map => *map = Some(record.value.to_vec()),
                Kind::Data => keys::with_data(*generation, record.key, |place| batch.put(place, record.value)),
                Kind::Session => {
                    let place = keys::session_place(*generation, record.key).ok_or(StreamError::Key(record.kind))?;
                    // They come in order: one that came twice would count twice.
                    if last_session.replace(place).is_some_and(|last| last >= place) {
                        return Err(StreamError::Key(record.kind));
                    }
                    Session::decode(record.value).map_err(|_| StreamError::Value(record.kind))?;
                    batch.put(place, record.value);
                    *sessions += 1;
                }
            }
            Ok::<(), StreamError>(())
        });
        if let Err(error) = taken {
            self.abandon(group)?;
            return Err(error.into());
        }
        Ok(self.db().write(batch).map_err(StoreError::of("write part of a snapshot"))?)
    }

    /// Makes the snapshot that has come in the state of its group. Synced when it returns. The old state stays on the disk,
    /// unseen, until [`Installer::drop_replaced`]. Everything the group has applied must be written back, and it applies nothing
    /// meanwhile.
    ///
    /// # Panics
    /// If the replica is another one, or has applied more than the snapshot covers: the shard's to prevent.
    pub fn install(&mut self, header: &Header, end: End) -> Result<(), ReceiveError> {
        let group = header.group;
        if self.incoming.get(&group).is_none_or(|partial| partial.id != header.id) {
            // Even an empty snapshot needs a generation of its own.
            self.begin(group, header.id)?;
        }
        if let Err(error) = self.incoming[&group].decoder.finish(end) {
            self.abandon(group)?;
            return Err(error.into());
        }
        let Partial { generation, sessions, founding_record, map, .. } =
            self.incoming.remove(&group).expect("it was just looked at");
        self.store.sync()?;
        let db = self.db();
        let old = read_replica(db, group)?.ok_or(StoreError::NoReplica { group })?;
        let applied = db.get(keys::applied(group)).map_err(StoreError::of("read an applied index"))?;
        let applied = decode_applied(applied.as_deref())?.id;
        assert_eq!(old.id, header.to, "group {group}: a snapshot for another replica");
        assert!(applied.index <= header.last.index, "group {group}: {applied:?} is past {:?}", header.last);
        let record = Replica { id: old.id, generation, membership: header.membership.clone() };
        let mut batch = WriteBatch::default();
        batch.put(keys::replica(group), record.encode());
        batch.put(keys::applied(group), Applied { id: header.last, sessions }.encode());
        batch.put(keys::installed(group), Applied { id: header.last, sessions }.encode());
        if let Some(record) = founding_record {
            batch.put(keys::FOUNDING_RECORD, record);
        }
        if let Some(map) = map {
            batch.put(keys::MAP, map);
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        db.write_opt(batch, &synced).map_err(StoreError::of("switch to a snapshot"))?;
        let shared = &self.store.shared;
        shared.generations.write().unwrap_or_else(PoisonError::into_inner).insert(group, generation);
        self.replaced.entry(group).or_default().push(old.generation);
        Ok(())
    }

    /// Drops what has come in of a snapshot, if anything has.
    pub fn abandon(&mut self, group: GroupId) -> Result<(), StoreError> {
        match self.incoming.remove(&group) {
            Some(partial) => drop_generation(self.db(), partial.generation),
            None => Ok(()),
        }
    }

    /// Deletes the states that snapshots have replaced. If this is lost, opening the store does it.
    pub fn drop_replaced(&mut self, group: GroupId) -> Result<(), StoreError> {
        let replaced = self.replaced.remove(&group).unwrap_or_default();
        replaced.into_iter().try_for_each(|generation| drop_generation(self.db(), generation))
    }

    fn begin(&mut self, group: GroupId, id: u64) -> Result<(), StoreError> {
        self.abandon(group)?;
        let generation = reserve_generation(&self.store)?;
        let decoder = Decoder::default();
        let partial =
            Partial { id, generation, decoder, sessions: 0, last_session: None, founding_record: None, map: None };
        self.incoming.insert(group, partial);
        Ok(())
    }
}

/// The entry that the last snapshot of a group ended with, by its record.
pub(super) fn decode_installed(record: Option<&[u8]>) -> Result<Option<LogId>, StoreError> {
    Ok(record.map(Applied::decode).transpose()?.map(|applied| applied.id))
}
