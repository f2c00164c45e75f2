//! A snapshot of one group, read a chunk at a time while writes go on.
//!
//! One RocksDB iterator is one moment: records of the replica, its sessions and its data are all read through it. It
//! holds back the deletion of what it sees, so whoever takes one must end it in bounded time.

use super::records::Replica;
use super::replicas::decode_applied;
use super::{Store, StoreError, keys};
use engine_core::snapshot::End;
use engine_core::snapshot::stream::{Encoder, Kind};
use raft::entry::LogId;
use raft::ids::GroupId;
use rocksdb::{DBRawIterator, ReadOptions};
use std::ops::Range;

/// Readahead of the iterator, in bytes.
const READAHEAD_BYTES: usize = 1 << 20;

/// One group at one moment.
pub struct SnapshotReader<'s> {
    iterator: DBRawIterator<'s>,
    encoder: Encoder,
    /// The last entry it covers.
    pub last: LogId,
    /// The membership in force there, encoded.
    pub membership: Vec<u8>,
    /// What is still to be read, the next one last.
    left: Vec<(Kind, Range<Vec<u8>>)>,
    begun: bool,
}

impl Store {
    /// A snapshot of a group as it is now. Reads little; may wait for the disk.
    pub fn snapshot(&self, group: GroupId) -> Result<SnapshotReader<'_>, StoreError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(READAHEAD_BYTES);
        let mut iterator = self.shared.db.raw_iterator_opt(options);
        let replica = get(&mut iterator, &keys::replica(group))?.ok_or(StoreError::NoReplica { group })?;
        let Replica { generation, membership, .. } = Replica::decode(&replica)?;
        let last = decode_applied(get(&mut iterator, &keys::applied(group))?.as_deref())?.id;
        let mut encoder = Encoder::default();
        // It is one of the whole store, but group 0 alone writes it.
        if group == GroupId(0)
            && let Some(record) = get(&mut iterator, keys::FOUNDING_RECORD)?
        {
            encoder.push(Kind::Founding, &[], &record);
        }
        if group == GroupId(0)
            && let Some(map) = get(&mut iterator, keys::MAP)?
        {
            encoder.push(Kind::Map, &[], &map);
        }
        let left = vec![(Kind::Data, keys::data(generation)), (Kind::Session, keys::sessions(generation))];
        Ok(SnapshotReader { iterator, encoder, last, membership, left, begun: false })
    }
}

impl SnapshotReader<'_> {
    /// The next chunk; what ends the stream comes with the last one, which may be empty.
    pub fn chunk(&mut self) -> Result<(Vec<u8>, Option<End>), StoreError> {
        while !self.encoder.is_full()
            && let Some((kind, range)) = self.left.last()
        {
            if !std::mem::replace(&mut self.begun, true) {
                self.iterator.seek(&range.start);
            }
            match self.iterator.item().filter(|(key, _)| *key < range.end.as_slice()) {
                Some((key, value)) => {
                    let key = match kind {
                        Kind::Data => keys::user_key(key),
                        _ => keys::session_part(key),
                    };
                    self.encoder.push(*kind, key, value);
                    self.iterator.next();
                }
                None => {
                    // The end of the range and a failed read look the same but for this.
                    self.iterator.status().map_err(StoreError::of("read a snapshot"))?;
                    self.left.pop();
                    self.begun = false;
                }
            }
        }
        let chunk = self.encoder.chunk();
        let end = if self.left.is_empty() { self.encoder.end() } else { None };
        Ok((chunk, end))
    }
}

/// The value of one key as the iterator sees it.
fn get(iterator: &mut DBRawIterator<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    iterator.seek(key);
    iterator.status().map_err(StoreError::of("read a snapshot"))?;
    Ok(iterator.item().filter(|(found, _)| *found == key).map(|(_, value)| value.to_vec()))
}
