//! Opening the store, and what is refused at the door.

use super::{Options, Store, StoreError, keys, records};
use rocksdb::{DB, WriteOptions};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::path::Path;

impl Store {
    /// Opens the store of one core, or makes an empty one. Call it on a thread that is not pinned: RocksDB's
    /// threads inherit where it runs.
    pub fn open(options: &Options) -> Result<Store, StoreError> {
        let path = &options.path;
        make_directory(path).map_err(|error| cannot_open(path, error))?;
        let direct_io = options.direct_io && takes_direct_io(path).map_err(|error| cannot_open(path, error))?;
        if options.direct_io && !direct_io {
            tracing::warn!(path = %path.display(), "the file system has no direct I/O; flushes and compactions are buffered");
        }
        let db = DB::open(&options.rocksdb(direct_io), path)
            .map_err(|error| StoreError::opening(path, StoreError::of("open the store")(error)))?;
        check_format(&db, path)?;
        let store = Store::of(db, options, direct_io);
        store
            .load_generations()
            .and_then(|()| store.drop_leftovers())
            .map_err(|error| StoreError::opening(path, error))?;
        Ok(store)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

/// Makes the directory, and makes its entry in its parent survive a power cut.
fn make_directory(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Whether files in this directory can be written past the page cache.
fn takes_direct_io(path: &Path) -> std::io::Result<bool> {
    let probe = path.join("direct-io-probe");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR);
    // Linux makes the file before it refuses the flag.
    match fs::remove_file(&probe) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match opened {
        Ok(_) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn check_format(db: &DB, path: &Path) -> Result<(), StoreError> {
    let opening = |error| StoreError::opening(path, StoreError::of("read the store's format")(error));
    match db.get(keys::FORMAT).map_err(opening)? {
        Some(bytes) => {
            let bytes: [u8; 4] = bytes.as_slice().try_into().map_err(|_| damaged(path, "its format has no number"))?;
            let found = u32::from_le_bytes(bytes);
            if found != records::FORMAT {
                return Err(StoreError::UnknownFormat { path: path.to_owned(), found, known: records::FORMAT });
            }
            Ok(())
        }
        None if db.latest_sequence_number() > 0 => Err(damaged(path, "it has contents but no format")),
        None => {
            let mut synced = WriteOptions::default();
            synced.set_sync(true);
            db.put_opt(keys::FORMAT, records::FORMAT.to_le_bytes(), &synced).map_err(opening)
        }
    }
}

fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), detail: detail.to_owned() }
}

fn cannot_open(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::CannotOpen { path: path.to_owned(), detail: error.to_string() }
}
