//! Watches the room on the disk: below the low-water mark writes are refused by name, before anything fails.
//!
//! Reads and votes go on in what is left; when there is room again, so do writes, by themselves.

use super::health::Health;
use super::mesh::{Mesh, ToCore};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks. A disk that fills at 1 GB/s loses less than the low-water mark's default meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Starts the thread that watches `path`. `low_water` is in bytes.
pub fn start(path: PathBuf, low_water: u64, mesh: Mesh, health: Arc<Health>) -> io::Result<()> {
    std::thread::Builder::new().name("space".into()).spawn(move || {
        let mut full = false;
        while !health.is_draining() {
            match rustix::fs::statvfs(&path) {
                Ok(stat) => {
                    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
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
