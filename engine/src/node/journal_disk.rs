//! The thread of a core that writes journal batches: each is written and synced before the next.
//!
//! A plain thread that blocks in two system calls. Through the core's ring a batch woke the core twice, for the write and for the sync,
//! and a worker of the kernel in between, as a sync always blocks: a lonely write waits for each of these, and a busy core
//! pays for its own. An error ends the process on the spot: no retry, no further answer (rule 12).

use super::journal_files;
use super::mesh::{Mesh, ToCore};
use super::queue::{self, Sender, Work};
use engine_core::journal::SegmentId;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What memory has to be aligned to for any device.
const ALIGNMENT: usize = 4096;

/// A batch for the disk. One is under way at a time, so the queue needs no limit.
#[derive(Debug)]
pub struct Batch {
    /// Into which segment.
    pub segment: SegmentId,
    /// Where in it; a multiple of the device's block.
    pub offset: u64,
    /// The bytes, as many as some blocks.
    pub bytes: Vec<u8>,
    /// Whether they must be durable before the answer.
    pub sync: bool,
}

/// Starts the thread; `direct`: it writes past the page cache. It answers each batch with [`ToCore::JournalWritten`], and ends
/// when its sender is gone.
pub fn start(core: u16, directory: PathBuf, direct: bool, mesh: Mesh) -> io::Result<Sender<Batch>> {
    let (sender, _) = queue::helper(format!("journal-{core}"), move |work: Work<Batch>| {
        let mut disk = Disk { directory, direct, current: None, room: Vec::new() };
        while let Some(batch) = work.receive() {
            if let Err(error) = disk.write(&batch) {
                tracing::error!(core, %error, "the journal failed; stopping at once without another answer");
                std::process::abort();
            }
            mesh.send(core, ToCore::JournalWritten(batch.bytes));
        }
    })?;
    Ok(sender)
}

struct Disk {
    directory: PathBuf,
    direct: bool,
    current: Option<(SegmentId, File)>,
    /// Memory that holds an aligned copy of a batch.
    room: Vec<u8>,
}

impl Disk {
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|(id, _)| *id != batch.segment) {
            self.current =
                Some((batch.segment, open(&journal_files::path(&self.directory, batch.segment), self.direct)?));
        }
        let (_, file) = self.current.as_ref().expect("it was just opened");
        match self.direct {
            true => file.write_all_at(aligned(&mut self.room, &batch.bytes), batch.offset)?,
            false => file.write_all_at(&batch.bytes, batch.offset)?,
        }
        if batch.sync { file.sync_data() } else { Ok(()) }
    }
}

fn open(path: &Path, direct: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if direct {
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
    }
    options.open(path)
}

/// A copy of `bytes` in `room`, where a device can fetch it.
fn aligned<'a>(room: &'a mut Vec<u8>, bytes: &[u8]) -> &'a [u8] {
    if room.len() < bytes.len() + ALIGNMENT {
        room.resize(bytes.len() + ALIGNMENT, 0);
    }
    let start = room.as_ptr().align_offset(ALIGNMENT);
    let copy = &mut room[start..start + bytes.len()];
    copy.copy_from_slice(bytes);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_aligned_whatever_comes() {
        let mut room = Vec::new();
        for length in [4096, 512, 40_960, 0, 8192] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let copy = aligned(&mut room, &bytes);
            assert_eq!(copy, bytes);
            assert_eq!(copy.as_ptr().addr() % ALIGNMENT, 0);
        }
    }
}
