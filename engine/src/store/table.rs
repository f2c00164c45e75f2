//! Keys and their newest values in memory, found by hash: what has been applied and is not in RocksDB yet.
//!
//! A write costs a look into the index and a copy, whatever the number of keys; RocksDB's skip list costs a search with a
//! comparison and a miss of the cache at every step. A key that is written again takes its place again, so what a busy
//! key costs RocksDB does not grow with how often it is written. Order is made once, when the table is written back.
//!
//! One thread writes; a table that nobody writes any more may be read by many.

use hashbrown::HashTable;

/// The first piece of memory; each further one is twice as large, up to [`CHUNK_BYTES_MAX`].
const CHUNK_BYTES_MIN: usize = 4 << 10;

/// Large enough that pieces are few, small enough that the last one wastes little.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Before the key of a record: the lengths of the key, of the room for the value, and of the value.
const HEADER_BYTES: usize = 12;

/// The length of a value that is none: the key is deleted.
const DELETED: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub struct Table {
    index: HashTable<Slot>,
    chunks: Vec<Vec<u8>>,
    chunk_bytes: usize,
}

/// Where the record of a key is.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    chunk: u32,
    at: u32,
}

/// A key, and its value or `None` if it is deleted.
pub type Record<'t> = (&'t [u8], Option<&'t [u8]>);

impl Table {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.chunk_bytes + self.index.capacity() * size_of::<Slot>()
    }

    /// What it says of a key with this hash: its value, `Some(None)` that it is deleted, `None` nothing.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        let chunks = &self.chunks;
        let slot = self.index.find(hash, |slot| slot.hash == hash && record(chunks, slot).0 == key)?;
        Some(record(chunks, slot).1)
    }

    /// Sets a key with this hash, or deletes it.
    pub fn set(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        let chunks = &self.chunks;
        let found = self.index.find_mut(hash, |slot| slot.hash == hash && record(chunks, slot).0 == key);
        if let Some(slot) = found {
            if overwrite(&mut self.chunks, *slot, value) {
                return;
            }
            // The former record is lost with the table.
            (slot.chunk, slot.at) = append(&mut self.chunks, &mut self.chunk_bytes, key, value);
            return;
        }
        let (chunk, at) = append(&mut self.chunks, &mut self.chunk_bytes, key, value);
        self.index.insert_unique(hash, Slot { hash, chunk, at }, |slot| slot.hash);
    }

    /// Everything, in any order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.index.iter().map(|slot| record(&self.chunks, slot))
    }

    /// Everything, by key.
    pub fn sorted(&self) -> Vec<Record<'_>> {
        // Most keys differ in their beginnings: a comparison of these looks into no far memory.
        let mut records: Vec<_> = self.records().map(|record| (beginning(record.0), record)).collect();
        records.sort_unstable_by(|(one, (one_key, _)), (other, (other_key, _))| {
            one.cmp(other).then_with(|| one_key.cmp(other_key))
        });
        records.into_iter().map(|(_, record)| record).collect()
    }
}

/// The first 32 bytes of a key, as numbers that compare as they do.
fn beginning(key: &[u8]) -> [u128; 2] {
    let mut bytes = [0; 32];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    let (one, other) = bytes.split_at(16);
    [one, other].map(|half| u128::from_be_bytes(half.try_into().expect("half of 32 bytes")))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn record<'t>(chunks: &'t [Vec<u8>], slot: &Slot) -> Record<'t> {
    let bytes = &chunks[slot.chunk as usize][slot.at as usize..];
    let (header, rest) = bytes.split_at(HEADER_BYTES);
    let (key, rest) = rest.split_at(number(header, 0) as usize);
    match number(header, 8) {
        DELETED => (key, None),
        length => (key, Some(&rest[..length as usize])),
    }
}

/// Puts a value in the place of the former one, if it has room there.
fn overwrite(chunks: &mut [Vec<u8>], slot: Slot, value: Option<&[u8]>) -> bool {
    let bytes = &mut chunks[slot.chunk as usize][slot.at as usize..];
    let (key, room) = (number(bytes, 0) as usize, number(bytes, 4) as usize);
    let length = match value {
        None => DELETED,
        Some(value) if value.len() <= room => value.len() as u32,
        Some(_) => return false,
    };
    bytes[8..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    if let Some(value) = value {
        bytes[HEADER_BYTES + key..][..value.len()].copy_from_slice(value);
    }
    true
}

/// Adds a record behind all others; says in which chunk, and where.
fn append(chunks: &mut Vec<Vec<u8>>, chunk_bytes: &mut usize, key: &[u8], value: Option<&[u8]>) -> (u32, u32) {
    let room = value.map_or(0, <[u8]>::len);
    let needed = HEADER_BYTES + key.len() + room;
    if chunks.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < needed) {
        let usual = (*chunk_bytes).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let chunk = Vec::with_capacity(usual.max(needed));
        *chunk_bytes += chunk.capacity();
        chunks.push(chunk);
    }
    let last = chunks.len() - 1;
    let chunk = &mut chunks[last];
    let at = chunk.len();
    let length = value.map_or(DELETED, |value| value.len() as u32);
    for number in [key.len() as u32, room as u32, length] {
        chunk.extend_from_slice(&number.to_le_bytes());
    }
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(value.unwrap_or_default());
    (u32::try_from(last).expect("few chunks"), u32::try_from(at).expect("a chunk of less than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::store::hashing::Seed;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_table_holds_what_a_map_holds(
            writes in prop::collection::vec(
                (prop::collection::vec(0u8..4, 0..5), prop::option::of(prop::collection::vec(any::<u8>(), 0..3000))),
                0..200,
            )
        ) {
            let seed = Seed::random();
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (key, value) in writes {
                table.set(seed.hash(&key), &key, value.as_deref());
                map.insert(key, value);
            }
            let expected: Vec<_> = map.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
            prop_assert_eq!(table.sorted(), expected);
            for (key, value) in &map {
                prop_assert_eq!(table.get(seed.hash(key), key), Some(value.as_deref()));
            }
            prop_assert_eq!(table.get(seed.hash(b"absent"), b"absent"), None);
            prop_assert_eq!(table.is_empty(), map.is_empty());
        }
    }

    #[test]
    fn keys_of_one_hash_are_told_apart_and_a_value_takes_its_place_again() {
        let mut table = Table::default();
        table.set(7, b"one", Some(b"long enough"));
        table.set(7, b"two", Some(b"2"));
        let before = table.memory_bytes();
        for round in 0..100_000u32 {
            table.set(7, b"one", Some(&round.to_le_bytes()));
        }
        assert_eq!(table.memory_bytes(), before, "it grew though every value fitted the place of the first");
        assert_eq!(table.get(7, b"one"), Some(Some(&99_999u32.to_le_bytes()[..])));
        assert_eq!(table.get(7, b"two"), Some(Some(&b"2"[..])));
        table.set(7, b"one", None);
        table.set(7, b"two", Some(&[3; 5_000_000]));
        assert_eq!(table.get(7, b"one"), Some(None));
        assert_eq!(table.get(7, b"two"), Some(Some(&[3; 5_000_000][..])));
    }
}
