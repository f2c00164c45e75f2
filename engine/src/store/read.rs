//! Reads that may wait for the disk. They see what has been written back, and no table in part.

use super::{Checksum, Page, Store, StoreError, keys};
use crate::store::records::Replica;
use crate::store::replicas::decode_applied;
use engine_core::state_machine::{Hasher, PageBuilder};
use raft::ids::GroupId;
use rocksdb::{DBRawIterator, ReadOptions};
use std::ops::Range;

/// Readahead of a pass over a whole group, in bytes.
const PASS_READAHEAD_BYTES: usize = 2 << 20;

/// What memory knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// Its value; `None`: there is none.
    Value(Option<Vec<u8>>),
    /// Only the disk can tell: ask [`Store::get`] on a thread that may wait. What is written meanwhile it sees or not, as is
    /// right for a read that is under way.
    NotInMemory,
}

impl Store {
    /// The value in RocksDB of a key that [`super::Applier::get`] does not know. May wait for the disk.
    pub fn get(&self, group: GroupId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.in_one_generation(group, |generation| {
            keys::with_data(generation, key, |place| self.shared.db.get(place)).map_err(StoreError::of("read a key"))
        })
    }

    /// The entries from `start` up to, not including, `end`, in key order: at most `limit` of them and at most
    /// `bytes_max` bytes of keys and values, but at least one if there is one. May wait for the disk.
    pub fn scan(
        &self,
        group: GroupId,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        if end.is_some_and(|end| end <= start) {
            return Ok(Page::default());
        }
        let iterator = self.in_one_generation(group, |generation| {
            Ok(self.shared.db.raw_iterator_opt(between(keys::data_between(generation, start, end))))
        })?;
        let mut page = PageBuilder::new(limit, bytes_max);
        for_each(iterator, |key, value| page.push(key, value))?;
        Ok(page.finish())
    }

    /// The digest of everything a group holds, at one moment. Reads it all.
    pub fn checksum(&self, group: GroupId) -> Result<Checksum, StoreError> {
        let snapshot = self.shared.db.snapshot();
        let read = |key: [u8; 5]| snapshot.get(key).map_err(StoreError::of("read a replica"));
        let replica = read(keys::replica(group))?.ok_or(StoreError::NoReplica { group })?;
        let generation = Replica::decode(&replica)?.generation;
        let applied = decode_applied(read(keys::applied(group))?.as_deref())?;
        let mut options = between(keys::data(generation));
        options.fill_cache(false);
        options.set_readahead_size(PASS_READAHEAD_BYTES);
        let mut hasher = Hasher::default();
        for_each(snapshot.raw_iterator_opt(options), |key, value| {
            hasher.update(key, value);
            true
        })?;
        Ok(hasher.finish(applied.id))
    }

    /// Runs `read` with the generation of a group, again if it changed meanwhile: the old one may have been emptied
    /// under the read.
    pub(super) fn in_one_generation<T>(
        &self,
        group: GroupId,
        read: impl Fn(u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut generation = self.generation(group)?;
        loop {
            let result = read(generation)?;
            let now = self.generation(group)?;
            if now == generation {
                return Ok(result);
            }
            generation = now;
        }
    }
}

fn between(range: Range<Vec<u8>>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_range(range);
    options
}

/// Feeds the user's keys and values of a data range to `take` until it says `false`.
fn for_each(mut iterator: DBRawIterator, mut take: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        if !take(keys::user_key(key), value) {
            return Ok(());
        }
        iterator.next();
    }
    // The end of the range and a failed read look the same but for this.
    iterator.status().map_err(StoreError::of("read a range of keys"))
}
