//! A batch being built, and what the groups look like through it.
//!
//! Nothing is in RocksDB before the whole batch is, so what reads a key while applying looks at the batch first.
//! Most commands are blind and most batches read nothing: writes are only listed as they come, and the list is
//! indexed when the first read asks. They reach RocksDB in key order, the last one of each key alone: neighbours find
//! their places in the memtable along the same path, which a batch in log order would fetch from memory again and again.

use super::records::Replica;
use super::replicas::read_map;
use super::sessions::SessionCache;
use super::{StoreError, keys};
use engine_core::sessions::{Session, SessionKey};
use engine_core::state_machine::{MapRecord, Space};
use raft::ids::{GroupId, Index};
use rocksdb::{DB, WriteBatch};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What several runs of entries write, until it is written as one.
pub struct Batch<'a> {
    /// As RocksDB takes it; the data come last, see [`Batch::finish`].
    pub writes: WriteBatch,
    overlay: Overlay<'a>,
    founding_record: Option<&'a [u8]>,
    map_epoch: Option<u64>,
}

/// What a group has applied through the batch.
#[derive(Clone, Copy, Debug)]
pub struct GroupState {
    /// Under which number its data lie.
    pub generation: u64,
    /// How many sessions it has.
    pub sessions: u32,
}

/// One group, through the batch.
pub struct BatchSpace<'s, 'a> {
    /// The database below the batch.
    pub db: &'s DB,
    /// The batch.
    pub batch: &'s mut Batch<'a>,
    /// The sessions in use, which are written when the batch is complete.
    pub sessions: &'s mut SessionCache,
    /// Which group.
    pub group: GroupId,
    /// Its state so far.
    pub state: &'s mut GroupState,
    /// The replica's record, once a membership has changed it.
    pub replica: &'s mut Option<Replica>,
}

impl<'a> Batch<'a> {
    /// An empty batch with room for `writes` writes of `bytes` bytes in all.
    pub fn new(writes: usize, bytes: usize) -> Batch<'a> {
        // RocksDB takes some 24 bytes per write for lengths, kind, generation.
        let writes_bytes = bytes + 24 * writes + 256;
        Batch {
            writes: WriteBatch::with_capacity_bytes(writes_bytes),
            overlay: Overlay {
                writes: Vec::with_capacity(writes),
                indexed: 0,
                index: HashMap::with_hasher(KeyHasher::default()),
            },
            founding_record: None,
            map_epoch: None,
        }
    }

    /// Everything, as RocksDB takes it.
    pub fn finish(mut self) -> WriteBatch {
        let data = &mut self.overlay.writes;
        // Stable: of several writes of a key the last one stays last.
        data.sort_by(|one, other| (one.generation, one.key).cmp(&(other.generation, other.key)));
        for (at, write) in data.iter().enumerate() {
            if data.get(at + 1).is_some_and(|next| (next.generation, next.key) == (write.generation, write.key)) {
                continue;
            }
            keys::with_data(write.generation, write.key, |place| match write.value {
                Some(value) => self.writes.put(place, value),
                None => self.writes.delete(place),
            });
        }
        self.writes
    }
}

impl<'a> Space<'a> for BatchSpace<'_, 'a> {
    type Error = StoreError;

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let generation = self.state.generation;
        if let Some(written) = self.batch.overlay.get(generation, key) {
            return Ok(written.map(<[u8]>::to_vec));
        }
        keys::with_data(generation, key, |place| self.db.get(place)).map_err(StoreError::of("read a key to change it"))
    }

    fn put(&mut self, key: &'a [u8], value: &'a [u8]) {
        let generation = self.state.generation;
        self.batch.overlay.writes.push(Write { generation, key, value: Some(value) });
    }

    fn delete(&mut self, key: &'a [u8]) {
        let generation = self.state.generation;
        self.batch.overlay.writes.push(Write { generation, key, value: None });
    }

    fn session(&mut self, key: SessionKey) -> Result<Option<&mut Session>, StoreError> {
        self.sessions.get(self.db, self.state.generation, key)
    }

    fn add_session(&mut self, key: SessionKey, session: Session) -> Result<(), StoreError> {
        self.sessions.add(self.state.generation, key, session);
        self.state.sessions += 1;
        Ok(())
    }

    fn remove_session(&mut self, key: SessionKey) -> Result<(), StoreError> {
        self.sessions.remove(self.state.generation, key);
        self.state.sessions -= 1;
        Ok(())
    }

    fn session_count(&self) -> usize {
        self.state.sessions as usize
    }

    fn session_uses(&mut self) -> Result<Vec<(Index, SessionKey)>, StoreError> {
        self.sessions.uses(self.db, self.state.generation)
    }

    fn set_membership(&mut self, membership: &'a [u8]) {
        let replica = self.replica.as_mut().expect("the applier loads the record of a run that has a membership");
        replica.membership = membership.to_vec();
        self.batch.writes.put(keys::replica(self.group), replica.encode());
    }

    fn founding_record(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(record) = self.batch.founding_record {
            return Ok(Some(record.to_vec()));
        }
        self.db.get(keys::FOUNDING_RECORD).map_err(StoreError::of("read the founding record"))
    }

    fn set_founding_record(&mut self, record: &'a [u8]) {
        self.batch.founding_record = Some(record);
        self.batch.writes.put(keys::FOUNDING_RECORD, record);
    }

    fn map_epoch(&mut self) -> Result<Option<u64>, StoreError> {
        match self.batch.map_epoch {
            Some(epoch) => Ok(Some(epoch)),
            None => Ok(read_map(self.db)?.map(|record| record.epoch)),
        }
    }

    fn set_map(&mut self, epoch: u64, map: &'a [u8]) {
        self.batch.map_epoch = Some(epoch);
        self.batch.writes.put(keys::MAP, MapRecord { epoch, map: map.to_vec() }.encode());
    }
}

/// The data writes of a batch.
struct Overlay<'a> {
    /// In order.
    writes: Vec<Write<'a>>,
    /// How many of them are in the index.
    indexed: usize,
    /// The last write of each key.
    index: HashMap<(u64, &'a [u8]), Option<&'a [u8]>, KeyHasher>,
}

struct Write<'a> {
    generation: u64,
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Overlay<'a> {
    /// What the batch does to a key: `Some(None)` if it removes it, `None` if it leaves it alone.
    fn get(&mut self, generation: u64, key: &[u8]) -> Option<Option<&'a [u8]>> {
        for write in &self.writes[self.indexed..] {
            self.index.insert((write.generation, write.key), write.value);
        }
        self.indexed = self.writes.len();
        self.index.get(&(generation, key)).copied()
    }
}

/// Hashes keys with xxh3. Lookups of a batch are over when it is written, so nobody can aim at its collisions for long.
#[derive(Clone, Copy, Default)]
struct KeyHasher(u64);

impl BuildHasher for KeyHasher {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(0)
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
