//! What RocksDB says of itself, for whoever watches the node.

use super::Store;

/// One number of RocksDB's own, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Its name, without the prefix of the store.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its value.
    pub value: u64,
}

/// Name, RocksDB's property, and meaning.
const GAUGES: [(&str, &str, &str); 6] = [
    ("write_stopped", "rocksdb.is-write-stopped", "1 while RocksDB takes no writes at all"),
    ("delayed_write_bytes_per_second", "rocksdb.actual-delayed-write-rate", "the rate writes are slowed to, 0 if not"),
    ("memtable_bytes", "rocksdb.cur-size-all-mem-tables", "bytes of memtables that are not flushed yet"),
    ("block_cache_bytes", "rocksdb.block-cache-usage", "bytes in the block cache"),
    ("pending_compaction_bytes", "rocksdb.estimate-pending-compaction-bytes", "bytes that compactions have to rewrite"),
    ("level0_files", "rocksdb.num-files-at-level0", "files at level 0"),
];

impl Store {
    /// The gauges of this store; those RocksDB does not tell are left out.
    pub fn gauges(&self) -> Vec<Gauge> {
        let read = |(name, property, help): &(&'static str, &str, &'static str)| {
            let value = self.shared.db.property_int_value(*property).ok().flatten()?;
            Some(Gauge { name, help, value })
        };
        GAUGES.iter().filter_map(read).collect()
    }
}
