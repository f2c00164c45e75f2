//! The thread of a core that writes journal batches: each is written and synced before the next.
//!
//! A plain thread that blocks in two system calls. Through the core's ring a batch woke the core twice, for the write and for the sync,
//! and a worker of the kernel in between, as a sync always blocks. An error ends the process at once: no write is tried again, and
//! nothing that rests on the batch is ever answered (rule 12).

use super::journal_files::{self, aligned_place};
use super::last_words;
use super::mesh::{Mesh, ToCore};
use super::queue::{self, Sender, Work};
use engine_core::journal::SegmentId;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two attempts to open a segment when something ran out that this takes.
const RETRY_AFTER: Duration = Duration::from_millis(100);

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
            let short = || mesh.send(core, ToCore::JournalShort);
            disk.write(&batch, short).unwrap_or_else(|error| stop(core, &error));
            mesh.send(core, ToCore::JournalWritten(batch.bytes));
        }
    })?;
    Ok(sender)
}

/// Ends the process.
fn stop(core: u16, error: &io::Error) -> ! {
    last_words::stop(|| tracing::error!(core, %error, "the journal failed; stopping at once"))
}

struct Disk {
    directory: PathBuf,
    direct: bool,
    current: Option<(SegmentId, File)>,
    /// Memory that holds an aligned copy of a batch.
    room: Vec<u8>,
}

impl Disk {
    fn write(&mut self, batch: &Batch, short: impl Fn()) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|(id, _)| *id != batch.segment) {
            // The file before, too, is a descriptor.
            self.current = None;
            let file = open_in_time(&journal_files::path(&self.directory, batch.segment), self.direct, short)?;
            self.current = Some((batch.segment, file));
        }
        let (_, file) = self.current.as_ref().expect("it was just opened");
        match self.direct {
            true => file.write_all_at(aligned(&mut self.room, &batch.bytes), batch.offset)?,
            false => file.write_all_at(&batch.bytes, batch.offset)?,
        }
        if batch.sync { file.sync_data() } else { Ok(()) }
    }
}

/// Opens a segment; waits while there is no descriptor or memory for that, and tells `short` again and again. Nothing has been written
/// that could be lost.
fn open_in_time(path: &Path, direct: bool, short: impl Fn()) -> io::Result<File> {
    loop {
        match open(path, direct) {
            Err(error) if journal_files::is_shortage(&error) => {
                tracing::warn!(%error, "cannot open a segment of the journal; trying again");
                short();
                std::thread::sleep(RETRY_AFTER);
            }
            opened => return opened,
        }
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
    let copy = aligned_place(room, bytes.len());
    copy.copy_from_slice(bytes);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::journal_files::ALIGNMENT;

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

    #[test]
    fn batches_go_where_they_belong() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().to_owned();
        let path = |id| journal_files::path(&home, SegmentId(id));
        for id in [1, 2] {
            std::fs::write(path(id), [0; 3 * ALIGNMENT]).unwrap();
        }
        for direct in [false, journal_files::direct_io_works(&home)] {
            let mut disk = Disk { directory: home.clone(), direct, current: None, room: Vec::new() };
            let mut write = |id, block: usize, fill: u8| {
                let bytes = vec![fill; ALIGNMENT];
                disk.write(
                    &Batch { segment: SegmentId(id), offset: (block * ALIGNMENT) as u64, bytes, sync: true },
                    || {},
                )
            };
            write(1, 1, 7).unwrap();
            write(2, 0, 8).unwrap();
            write(1, 2, 9).unwrap();
            assert!(write(3, 0, 1).is_err(), "no segment is made here");
            let block = |id, block: usize| std::fs::read(path(id)).unwrap()[block * ALIGNMENT];
            assert_eq!([block(1, 0), block(1, 1), block(1, 2)], [0, 7, 9]);
            assert_eq!([block(2, 0), block(2, 1), block(2, 2)], [8, 0, 0]);
        }
    }
}
