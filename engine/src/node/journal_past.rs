//! The thread of a core that reads old journal entries back, for slow peers and for the own store.

use super::journal_files::{self, ALIGNMENT, aligned_place};
use super::queue::{self, Sender, Work};
use engine_core::journal::SegmentId;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// Segment files kept open. One that is deleted meanwhile takes its place on the disk until others have been opened.
const OPEN_FILES_MAX: usize = 2;

/// Bytes of a segment that a task of the core waits for. Each task that asks waits for its answer, and each peer of a group has one,
/// so the queue needs no limit.
#[derive(Debug)]
pub struct Wanted {
    /// Of which segment.
    pub segment: SegmentId,
    /// From where.
    pub offset: u64,
    /// How many.
    pub length: usize,
    /// Who waits.
    pub reply: Sender<io::Result<Vec<u8>>>,
}

/// Starts the thread; `direct`: it reads past the page cache. It ends when its sender is gone.
pub fn start(core: u16, directory: PathBuf, direct: bool) -> io::Result<Sender<Wanted>> {
    let (sender, _) = queue::helper(format!("past-{core}"), move |work: Work<Wanted>| {
        let mut past = Past { directory, direct, open: BTreeMap::new(), room: Vec::new() };
        while let Some(wanted) = work.receive() {
            wanted.reply.send(past.read(wanted.segment, wanted.offset, wanted.length));
        }
    })?;
    Ok(sender)
}

struct Past {
    directory: PathBuf,
    direct: bool,
    open: BTreeMap<SegmentId, File>,
    /// Memory with an aligned place in it.
    room: Vec<u8>,
}

impl Past {
    fn read(&mut self, segment: SegmentId, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if !self.open.contains_key(&segment) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.pop_first();
            }
            let mut options = OpenOptions::new();
            options.read(true);
            if self.direct {
                options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
            }
            self.open.insert(segment, options.open(journal_files::path(&self.directory, segment))?);
        }
        let file = &self.open[&segment];
        let before = (offset % ALIGNMENT as u64) as usize;
        let whole = (before + length).next_multiple_of(ALIGNMENT);
        let place = aligned_place(&mut self.room, whole);
        let mut filled = 0;
        while filled < before + length {
            match file.read_at(&mut place[filled..], offset - before as u64 + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(place[before..before + length].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_of_any_segment_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().to_owned();
        let content = |id: u64| (0..3 * ALIGNMENT as u64 + 512).map(|at| (at / 7 + id) as u8).collect::<Vec<u8>>();
        for id in 0..20 {
            std::fs::write(journal_files::path(&home, SegmentId(id)), content(id)).unwrap();
        }
        for direct in [false, journal_files::direct_io_works(&home)] {
            let mut past = Past { directory: home.clone(), direct, open: BTreeMap::new(), room: Vec::new() };
            for id in (0..20).chain(0..20) {
                for (offset, length) in [(0, 1), (100, 4000), (4095, 2), (4096, 8192), (12_000, 700), (0, 12_800)] {
                    let bytes = past.read(SegmentId(id), offset as u64, length).unwrap();
                    assert_eq!(bytes, content(id)[offset..offset + length]);
                }
            }
            assert!(past.open.len() <= OPEN_FILES_MAX);
            let end = past.read(SegmentId(1), 12_000, 900).unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
            assert!(past.read(SegmentId(20), 0, 1).is_err(), "there is none");
        }
    }
}
