//! A frozen table on its way into RocksDB.

use super::table::Table;
use super::{Store, StoreError};
use rocksdb::WriteBatch;
use std::sync::Arc;

/// A table on its way into RocksDB.
///
/// The core reads it meanwhile; nobody writes it.
#[derive(Debug)]
pub struct WriteBack {
    pub(super) table: Arc<Table>,
}

impl Store {
    /// Writes a frozen table into RocksDB, all or nothing; returns how many keys it held. Visible to all reads when it returns; not
    /// synced. May wait for the disk.
    pub fn write_back(&self, back: &WriteBack) -> Result<u64, StoreError> {
        let mut batch = WriteBatch::with_capacity_bytes(back.table.memory_bytes());
        let records = back.table.sorted();
        // In the order of keys, neighbours find their places in the memtable along the same path.
        for (place, value) in &records {
            match value {
                Some(value) => batch.put(place, value),
                None => batch.delete(place),
            }
        }
        self.shared.db.write(batch).map_err(StoreError::of("write applied entries"))?;
        Ok(records.len() as u64)
    }
}
