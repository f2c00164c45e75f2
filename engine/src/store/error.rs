//! What can go wrong with a store, and what to do about it.

use engine_core::command::CommandError;
use raft::ids::{GroupId, Index};
use rocksdb::ErrorKind;
use std::path::{Path, PathBuf};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Opening: another process has it open. Stop that one, or choose another data directory.
    #[error("the store in {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Opening: what is on the disk is not sound. The log is elsewhere and may be: the replicas of this core are hollow,
    /// they vote and append, and need a snapshot into a fresh store before they serve.
    #[error("the store in {} is damaged: {detail}", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// RocksDB's words.
        detail: String,
    },
    /// Opening: written by a later version. Start that version.
    #[error("the store in {} has format {found}, this version knows formats up to {known}", path.display())]
    UnknownFormat {
        /// The directory.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The format of this version.
        known: u32,
    },
    /// Opening: the operating system refuses. Set right what the detail says (rights, space, open files), start again.
    #[error("cannot open the store in {}: {detail}", path.display())]
    CannotOpen {
        /// The directory.
        path: PathBuf,
        /// What it says.
        detail: String,
    },
    /// Running: the disk failed. Stop the node at once; never try again.
    #[error("cannot {operation}: {detail}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// RocksDB's words.
        detail: String,
    },
    /// Running: the disk is full. Stop the node; the journal has what was not written.
    #[error("cannot {operation}, the disk is full: {detail}")]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// RocksDB's words.
        detail: String,
    },
    /// Running: what was read is not what was written. Stop the node at once.
    #[error("cannot {operation}, the store is corrupt: {detail}")]
    Corrupt {
        /// What was being done.
        operation: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Running: a leader of a later version has put this into the log. Stop the node, and start that version: nothing is lost.
    #[error("group {group}, entry {index} is of a later version of kvd, which must be started here: {why}")]
    UnknownCommand {
        /// The group.
        group: GroupId,
        /// The entry in its log.
        index: Index,
        /// What is not known.
        why: CommandError,
    },
    /// There is no replica of this group in this store: a caller's mistake, or it has been moved away.
    #[error("no replica of group {group} in this store")]
    NoReplica {
        /// The group.
        group: GroupId,
    },
}

impl StoreError {
    /// Turns RocksDB's error while `operation` into ours.
    pub(super) fn of(operation: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
        move |error| {
            let detail = error.to_string();
            match error.kind() {
                ErrorKind::Corruption => StoreError::Corrupt { operation, detail },
                _ if detail.contains("No space left on device") => StoreError::DiskFull { operation, detail },
                _ => StoreError::Io { operation, detail },
            }
        }
    }

    /// What is read while `operation` does not have the form it was written in.
    pub(super) fn corrupt(operation: &'static str, detail: impl ToString) -> StoreError {
        StoreError::Corrupt { operation, detail: detail.to_string() }
    }

    /// Turns an error while the database in `path` is opened, by RocksDB or by our first look into it, into one that
    /// says what to do.
    pub(super) fn opening(path: &Path, error: StoreError) -> StoreError {
        let path = path.to_owned();
        match error {
            StoreError::Corrupt { detail, .. } => StoreError::Damaged { path, detail },
            StoreError::Io { detail, .. } => match detail {
                // RocksDB has no kind for either: the texts are pinned by tests.
                detail if detail.contains("lock") && detail.contains("/LOCK") => StoreError::InUse { path },
                detail if detail.contains("No such file or directory") => StoreError::Damaged { path, detail },
                detail => StoreError::CannotOpen { path, detail },
            },
            StoreError::DiskFull { detail, .. } => StoreError::CannotOpen { path, detail },
            other => other,
        }
    }
}
