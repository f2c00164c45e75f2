//! Watches the room on the disk: below the low-water mark writes are refused by name, before anything fails.
//!
//! Reads and votes go on in what is left; when there is room again, so do writes, by themselves. What the stores keep
//! of their logs for nobody but a curious operator is held to its limit, and goes first when room gets scarce.

use super::health::Health;
use super::mesh::{Mesh, ToCore};
use crate::store::trim_archive;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks. A disk that fills at 1 GB/s loses less than the low-water mark's default meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Between two looks at what the stores keep, in looks at the disk.
const ARCHIVES_EVERY: u32 = 10;

/// What is watched.
#[derive(Debug)]
pub struct Watched {
    /// The data directory.
    pub path: PathBuf,
    /// Less room than this, in bytes, is too little.
    pub low_water: u64,
    /// The directories of the stores.
    pub stores: Vec<PathBuf>,
    /// Bytes of old logs that each store may keep.
    pub archive_bytes_max: u64,
}

/// Starts the thread that watches.
pub fn start(watched: Watched, mesh: Mesh, health: Arc<Health>) -> io::Result<()> {
    let Watched { path, low_water, stores, archive_bytes_max } = watched;
    std::thread::Builder::new().name("space".into()).spawn(move || {
        let mut full = false;
        let mut looks: u32 = 0;
        while !health.is_draining() {
            looks = looks.wrapping_add(1);
            match rustix::fs::statvfs(&path) {
                Ok(stat) => {
                    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                    let scarce = free < low_water.saturating_mul(2);
                    if scarce || looks.is_multiple_of(ARCHIVES_EVERY) {
                        trim(&stores, if scarce { 0 } else { archive_bytes_max });
                    }
                    // A tenth more than the mark ends it, so that the state does not flicker.
                    let now = if full { free < low_water + low_water / 10 } else { free < low_water };
                    if now != full {
                        full = now;
                        tracing::warn!(free, low_water, full, "the disk has passed its low-water mark");
                        for core in 0..mesh.len() {
                            mesh.send(core, ToCore::DiskFull(full));
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, path = %path.display(), "cannot see how much room is left"),
            }
            std::thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(())
}

fn trim(stores: &[PathBuf], bytes_max: u64) {
    for store in stores {
        match trim_archive(store, bytes_max) {
            Ok(0) => {}
            Ok(freed) => tracing::debug!(freed, store = %store.display(), "old logs of a store are deleted"),
            Err(error) => tracing::warn!(%error, store = %store.display(), "cannot see the old logs of a store"),
        }
    }
}
