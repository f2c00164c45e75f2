//! What can be seen of the state of a group: the same words for the store and for the model.

use raft::entry::LogId;
use raft::ids::{GroupId, ReplicaId};
use xxhash_rust::xxh3::Xxh3;

/// A replica that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReplica {
    /// Its group.
    pub group: GroupId,
    /// Its id.
    pub replica: ReplicaId,
    /// Under which local number its data lie. A snapshot comes in under a new one.
    pub generation: u64,
    /// The last entry that is applied.
    pub applied: LogId,
    /// The membership in force at `applied`, as raft encodes it.
    pub membership: Vec<u8>,
    /// The entry that the last snapshot it got ended with.
    pub installed: Option<LogId>,
}

/// Part of a scan, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the range holds more after the last entry.
    pub more: bool,
}

/// Collects a [`Page`] up to its limits.
#[derive(Debug)]
pub struct PageBuilder {
    page: Page,
    bytes: usize,
    limit: usize,
    bytes_max: usize,
}

/// A digest of all keys and values of a group at one moment. Equal on replicas that have applied the same entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// The last entry that was applied then.
    pub applied: LogId,
    /// How many keys there were.
    pub entries: u64,
    /// xxh3 over all keys and values in key order, each preceded by its length as u32, little endian.
    pub hash: u64,
}

/// Computes a [`Checksum`] from keys and values fed in key order.
#[derive(Default)]
pub struct Hasher {
    hash: Xxh3,
    entries: u64,
}

/// What an entry of a page takes beside its key and value, about: short ones must not make a page that no frame can hold.
const ENTRY_BYTES: usize = 32;

impl PageBuilder {
    /// An empty page that will hold at most `limit` entries and `bytes_max` bytes of keys, values and what they take on the wire. It takes one
    /// entry in any case, so that a scan never stands still.
    pub fn new(limit: usize, bytes_max: usize) -> PageBuilder {
        PageBuilder { page: Page::default(), bytes: 0, limit: limit.max(1), bytes_max }
    }

    /// Takes the next entry of the range, or, if the page is full, notes that there is more and says `false`.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let bytes = key.len() + value.len() + ENTRY_BYTES;
        let full = self.page.entries.len() >= self.limit || self.bytes + bytes > self.bytes_max;
        if full && !self.page.entries.is_empty() {
            self.page.more = true;
            return false;
        }
        self.bytes += bytes;
        self.page.entries.push((key.to_vec(), value.to_vec()));
        true
    }

    /// The page.
    pub fn finish(self) -> Page {
        self.page
    }
}

impl Hasher {
    /// The next key and its value.
    pub fn update(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.hash.update(&(part.len() as u32).to_le_bytes());
            self.hash.update(part);
        }
        self.entries += 1;
    }

    /// The digest of everything fed, at `applied`.
    pub fn finish(&self, applied: LogId) -> Checksum {
        Checksum { applied, entries: self.entries, hash: self.hash.digest() }
    }
}
