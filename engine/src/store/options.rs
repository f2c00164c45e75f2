//! How the RocksDB of one core is set up, and why.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, LruCacheOptions,
};
use std::path::PathBuf;

const MIB: usize = 1 << 20;

/// Settings of one store. All sizes are of this one store, which is one core's.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Its directory; made if it is not there.
    pub path: PathBuf,
    /// Memory for blocks, indexes and filters read from disk, in bytes.
    pub block_cache_bytes: usize,
    /// Size at which a memtable is flushed, in bytes. At most [`Options::write_buffers_max`] of them exist.
    pub write_buffer_bytes: usize,
    /// How many memtables may exist before writes wait for flushes.
    pub write_buffers_max: u32,
    /// Memory for the sessions in use, in bytes, and as much again for what has changed since a table was frozen. The default holds tens of
    /// thousands of idle clients, or some dozens of the most careless.
    pub session_cache_bytes: usize,
    /// How many flushes and compactions may run at once. The threads are shared by all stores of the process.
    pub background_jobs: u32,
    /// How long logs that are no longer needed are kept, in seconds.
    pub wal_ttl_seconds: u64,
    /// How much of such logs is kept, in MiB.
    pub wal_size_limit_mb: u64,
    /// Whether flushes and compactions go past the page cache, where the file system can.
    pub direct_io: bool,
    /// How many table files may be open at once.
    pub open_files_max: u32,
}

impl Options {
    /// The defaults for one of `cores` stores of a node in `path`: a node takes half a GiB of cache and memtables of
    /// 64 MiB per core, so that three nodes of two cores leave most of 24 GiB to the page cache and the system.
    pub fn new(path: impl Into<PathBuf>, cores: u16) -> Options {
        let cores = usize::from(cores.max(1));
        Options {
            path: path.into(),
            block_cache_bytes: (512 * MIB / cores).max(8 * MIB),
            write_buffer_bytes: 64 * MIB,
            write_buffers_max: 3,
            session_cache_bytes: 32 * MIB,
            background_jobs: 2,
            wal_ttl_seconds: 3600,
            wal_size_limit_mb: (512 / cores as u64).max(1),
            direct_io: true,
            open_files_max: 1024,
        }
    }

    /// RocksDB's own options. `direct_io` says what the file system really allows.
    pub(super) fn rocksdb(&self, direct_io: bool) -> rocksdb::Options {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        self.set_log(&mut options);
        self.set_memtables(&mut options);
        self.set_files(&mut options, direct_io);
        options.set_block_based_table_factory(&self.tables());
        // RocksDB's own log is for repair, and must not grow or write by the clock.
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(4 * MIB);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    fn set_log(&self, options: &mut rocksdb::Options) {
        // Stop at the first bad record: what was applied up to there is a state that has existed, and the journal
        // replays the rest.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // A synced log that is missing as a whole must not pass for a torn end.
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_wal_ttl_seconds(self.wal_ttl_seconds);
        options.set_wal_size_limit_mb(self.wal_size_limit_mb);
        // With one column family this sets nothing but the size of the blocks that RocksDB allocates ahead of a log. As
        // large as a memtable, which it takes otherwise, they would empty a nearly full disk at its start.
        options.set_max_total_wal_size(MIB as u64);
        options.set_manifest_preallocation_size(64 << 10);
        // Written back as it grows, so that a sync has little left to do.
        options.set_wal_bytes_per_sync(MIB as u64);
        options.set_bytes_per_sync(MIB as u64);
    }

    fn set_memtables(&self, options: &mut rocksdb::Options) {
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_max_write_buffer_number(self.write_buffers_max.max(2) as i32);
        // Reads while applying look for keys that are usually not in a memtable: a filter is cheaper than its skip list.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.02);
        // There is one writer: what several would need costs it only.
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
    }

    fn set_files(&self, options: &mut rocksdb::Options, direct_io: bool) {
        options.set_max_background_jobs(self.background_jobs.max(2) as i32);
        options.set_use_direct_io_for_flush_and_compaction(direct_io);
        options.set_compaction_readahead_size(2 * MIB);
        // Deleting files and memtables is the background's work, not a reader's.
        options.set_avoid_unnecessary_blocking_io(true);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_target_file_size_base(64 * MIB as u64);
        options.set_max_bytes_for_level_base(4 * self.write_buffer_bytes as u64);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options.set_max_open_files(self.open_files_max.min(i32::MAX as u32) as i32);
        options.set_skip_stats_update_on_db_open(true);
    }

    fn tables(&self) -> BlockBasedOptions {
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(self.block_cache_bytes);
        // Two threads use it: the core and its reader.
        cache.set_num_shard_bits(1);
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&Cache::new_lru_cache_opts(&cache));
        tables.set_format_version(5);
        // Two or three blocks of common values fit one read of the disk.
        tables.set_block_size(8 << 10);
        // Whole keys, as gets and compare-and-swaps of keys that are not there must not touch the disk.
        tables.set_bloom_filter(10.0, false);
        tables.set_whole_key_filtering(true);
        // Memory is what the cache says. Partitions keep a large bottom level from filling it with one filter.
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        tables.set_partition_filters(true);
        tables.set_pin_top_level_index_and_filter(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        tables
    }
}
