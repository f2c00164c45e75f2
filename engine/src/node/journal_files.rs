//! The files of a core's journal, outside the core: found at start, made ahead of need, recycled.
//!
//! A segment file is *written* with zeros and synced under a name of its own before the journal hears of it,
//! so that a later synced write changes no metadata; its directory is synced after every rename (rule 15).

use super::last_words;
use super::mesh::{Mesh, ToCore};
use super::queue::{self, Sender, Work};
use engine_core::journal::{self, Files, SegmentId};
use rustix::io::Errno;
use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two attempts to use a file again that the disk has no room for, though it takes none.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Bytes of an old segment that are looked through at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Work for the helper.
#[derive(Debug)]
pub enum Spare {
    /// Make the file of this segment, of an old one if there is one to recycle.
    Make {
        /// The new segment.
        id: SegmentId,
        /// A segment nobody needs now.
        old: Option<SegmentId>,
    },
    /// Delete the file of a segment nobody needs.
    Delete(SegmentId),
}

/// The path of a segment's file in `directory`.
pub fn path(directory: &Path, id: SegmentId) -> PathBuf {
    directory.join(format!("segment-{:016x}", id.0))
}

/// The segment files of a directory, to be read one after the other.
#[derive(Debug)]
pub struct Found {
    directory: PathBuf,
    ids: Vec<SegmentId>,
}

impl Found {
    /// Looks for them in `directory`, after making sure that what will be read is on the disk: after a mere kill of the process it may
    /// sit in the page cache only.
    pub fn look(directory: &Path) -> io::Result<Found> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(number) = name.strip_prefix("segment-").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
                OpenOptions::new().read(true).write(true).open(entry.path())?.sync_data()?;
                ids.push(SegmentId(number));
            }
        }
        File::open(directory)?.sync_all()?;
        Ok(Found { directory: directory.to_owned(), ids })
    }
}

impl Files for Found {
    fn ids(&self) -> Vec<SegmentId> {
        self.ids.clone()
    }

    fn read(&self, id: SegmentId) -> io::Result<Cow<'_, [u8]>> {
        fs::read(path(&self.directory, id)).map(Cow::from)
    }
}

/// Removes what was half made when the last process ended, before anything needs the room.
pub fn drop_half_made(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("spare-") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether the file system of `directory` takes writes that bypass the page cache.
pub fn direct_io_works(directory: &Path) -> bool {
    const O_DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits() as i32;
    let probe = directory.join("spare-probe");
    let opened = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(O_DIRECT).open(&probe).is_ok();
    let _ = fs::remove_file(probe);
    opened
}

/// What memory, offsets and lengths have to be multiples of for any device, past the page cache.
pub const ALIGNMENT: usize = 4096;

/// `length` bytes in `room`, which grows if it must, where a device can reach them.
pub fn aligned_place(room: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if room.len() < length + ALIGNMENT {
        room.resize(length + ALIGNMENT, 0);
    }
    let start = room.as_ptr().align_offset(ALIGNMENT);
    &mut room[start..start + length]
}

/// Starts the helper that makes and deletes segment files of `bytes` bytes; `direct`: it looks through old ones past the page cache. It
/// ends when every sender is gone. What it is asked for is what the journal lacks and no longer needs, so the segments on the
/// disk limit its queue.
pub fn start_helper(core: u16, directory: PathBuf, bytes: u64, direct: bool, mesh: Mesh) -> io::Result<Sender<Spare>> {
    let (sender, _) = queue::helper(format!("spares-{core}"), move |work: Work<Spare>| {
        while let Some(spare) = work.receive() {
            match spare {
                Spare::Delete(id) => {
                    let deleted = fs::remove_file(path(&directory, id));
                    deleted.unwrap_or_else(|error| tracing::warn!(core, %error, "cannot delete an old segment"));
                }
                Spare::Make { id, old } => match make(&directory, id, old, bytes, direct) {
                    Ok(()) => mesh.send(core, ToCore::SpareReady(id)),
                    // A full disk is not a failed write: nothing of the journal was in that file, and the low-water
                    // mark has had writes refused before it came to this.
                    Err(error) if is_shortage(&error) => {
                        tracing::warn!(core, %error, "cannot make a spare segment; trying again");
                        let old = old.filter(|old| path(&directory, *old).exists());
                        if old.is_some() {
                            // It needed no room, and would fail again at once.
                            std::thread::sleep(RETRY_AFTER);
                        }
                        mesh.send(core, ToCore::SpareFailed { id, old, full: is_full(&error) });
                    }
                    Err(error) => last_words::stop(|| {
                        tracing::error!(core, %error, "cannot make a spare segment; stopping at once");
                    }),
                },
            }
        }
    })?;
    Ok(sender)
}

/// Whether something ran out that may be there again, and the disk is not at fault.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    is_full(error) || Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// Whether the disk has no room.
fn is_full(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| [Errno::NOSPC, Errno::DQUOT].contains(&errno))
}

fn make(directory: &Path, id: SegmentId, old: Option<SegmentId>, bytes: u64, direct: bool) -> io::Result<()> {
    let target = path(directory, id);
    let has_size = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() == bytes);
    if has_size(&target) {
        // It was there when its directory could not be synced. What it was to be made of this time is nobody's any more.
        if let Some(old) = old.map(|old| path(directory, old)).filter(|old| old.exists()) {
            fs::remove_file(old)?;
        }
        return File::open(directory)?.sync_all();
    }
    match old.map(|old| path(directory, old)) {
        Some(old) if has_size(&old) && clear(&old, id, direct)? => fs::rename(old, target)?,
        old => {
            // Of another size only after the setting was changed, or not to be read: of no use, and in the way.
            if let Some(old) = old.filter(|old| old.exists()) {
                fs::remove_file(old)?;
            }
            let aside = directory.join(format!("spare-{:016x}", id.0));
            if let Err(error) = write_zeros(&aside, bytes) {
                // What it took of the room others need more.
                let _ = fs::remove_file(&aside);
                return Err(error);
            }
            fs::rename(aside, target)?;
        }
    }
    File::open(directory)?.sync_all()
}

/// Makes zeros of what would pass for a header of segment `id` in the file of another one, durably: values may hold anything. `false`
/// if the file cannot be read: nobody needs what it held.
fn clear(path: &Path, id: SegmentId, direct: bool) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if direct {
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
    }
    let file = options.open(path)?;
    let bytes = file.metadata()?.len();
    let (mut room, mut at, mut found) = (Vec::new(), 0, false);
    while at < bytes {
        let piece = aligned_place(&mut room, (bytes - at).min(PIECE_BYTES) as usize);
        match file.read_exact_at(piece, at) {
            Err(error) if !is_shortage(&error) => {
                tracing::warn!(file = %path.display(), %error, "an old segment cannot be read: it is not used again");
                return Ok(false);
            }
            done => done?,
        }
        if journal::blank(id, piece) {
            file.write_all_at(piece, at)?;
            found = true;
        }
        at += piece.len() as u64;
    }
    if found {
        file.sync_data()?;
    }
    Ok(true)
}

/// Writes a file of `bytes` zeros, if there is room for all of them.
fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let stat = rustix::fs::fstatvfs(&file)?;
    if stat.f_bavail.saturating_mul(stat.f_frsize) < bytes {
        return Err(Errno::NOSPC.into());
    }
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(zeros.len() as u64) as usize;
        file.write_all(&zeros[..count])?;
        left -= count as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_another_size_makes_way_for_the_next_one() {
        let temp = tempfile::tempdir().expect("a directory");
        let old = path(temp.path(), SegmentId(1));
        fs::write(&old, [1; 100]).expect("written");
        make(temp.path(), SegmentId(2), Some(SegmentId(1)), 4096, false).expect("there is room");
        assert!(!old.exists());
        make(temp.path(), SegmentId(3), Some(SegmentId(2)), 4096, false).expect("there is room");
        let names: Vec<_> =
            fs::read_dir(temp.path()).expect("read").map(|file| file.expect("one").file_name()).collect();
        assert_eq!(names, ["segment-0000000000000003"]);
    }

    #[test]
    fn a_segment_that_is_there_already_forgets_none_that_it_could_be_made_of() {
        let temp = tempfile::tempdir().expect("a directory");
        for id in [1, 2] {
            fs::write(path(temp.path(), SegmentId(id)), [0; 4096]).expect("written");
        }
        make(temp.path(), SegmentId(2), Some(SegmentId(1)), 4096, false).expect("it is there");
        assert!(!path(temp.path(), SegmentId(1)).exists(), "nobody would ever use or delete it");
        assert!(path(temp.path(), SegmentId(2)).exists());
    }

    /// What stands before a batch of segment 2, but for the rest of its fields.
    fn header() -> [u8; 96] {
        let mut bytes = [0; 96];
        bytes[..4].copy_from_slice(b"KVDJ");
        bytes[8] = 2;
        bytes[24] = 2;
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_segment_made_of_an_old_one_holds_no_header_that_somebody_put_there() {
        let temp = tempfile::tempdir().expect("a directory");
        let length = 2 * PIECE_BYTES as usize + ALIGNMENT;
        for direct in [false, direct_io_works(temp.path())] {
            let mut old: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
            let forged = [512, PIECE_BYTES as usize - 512, length - 512];
            for at in forged {
                old[at..at + 96].copy_from_slice(&header());
            }
            let target = path(temp.path(), SegmentId(2));
            fs::write(path(temp.path(), SegmentId(1)), &old).expect("written");
            make(temp.path(), SegmentId(2), Some(SegmentId(1)), length as u64, direct).expect("it needs no room");
            for at in forged {
                old[at..at + 512].fill(0);
            }
            assert!(fs::read(&target).expect("read") == old);
            fs::remove_file(target).expect("removed");
        }
    }

    #[test]
    fn what_there_is_no_room_for_leaves_nothing() {
        let temp = tempfile::tempdir().expect("a directory");
        let error = make(temp.path(), SegmentId(1), None, 1 << 60, false).expect_err("no disk has so much room");
        assert!(is_shortage(&error), "{error}");
        assert_eq!(fs::read_dir(temp.path()).expect("read").count(), 0);
    }
}
