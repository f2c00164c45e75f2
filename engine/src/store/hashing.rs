//! How keys and sessions are hashed. Clients choose both, so nobody outside may know how they fall.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What makes hashes of this store and this start differ from all others.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// A new one.
    pub fn random() -> Seed {
        Seed(RandomState::new().hash_one(0))
    }

    /// The hash of a key, for all tables of this seed.
    pub fn hash(self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.0)
    }
}

impl BuildHasher for Seed {
    type Hasher = Short;

    fn build_hasher(&self) -> Short {
        Short { seed: *self, bytes: [0; 32], length: 0 }
    }
}

/// Hashes at most 32 bytes: numbers, not keys.
#[derive(Debug)]
pub struct Short {
    seed: Seed,
    bytes: [u8; 32],
    length: usize,
}

impl Hasher for Short {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn finish(&self) -> u64 {
        self.seed.hash(&self.bytes[..self.length])
    }
}
