//! The journal disk of one core, which keeps what was synced and of the rest what it likes.
//!
//! A power cut may keep any subset of the sectors that were being written, tear one of them, and undo a rename or
//! a deletion whose directory was not synced. A failed sync leaves *ghosts*: bytes that every read shows until
//! the power fails, though they never reached the platters and no later sync writes them.

use crate::random::Random;
use engine_core::journal::{Extent, SegmentId, Write, blank};
use std::collections::BTreeMap;

/// What a disk writes whole or not at all, mostly.
const SECTOR: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<SegmentId, Vec<u8>>,
    writing: Option<Write>,
    making: BTreeMap<SegmentId, Option<SegmentId>>,
    /// Deleted since the directory was synced last.
    deleted: BTreeMap<SegmentId, Vec<u8>>,
    ghosts: Vec<Ghost>,
}

/// Bytes that are not on the platters, and what is there instead.
#[derive(Clone, Debug)]
struct Ghost {
    segment: SegmentId,
    offset: usize,
    beneath: Vec<u8>,
}

/// What a power cut did to the write that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// There was none, or all of it survived.
    Nothing,
    /// All of it is lost.
    Whole,
    /// Part of it is lost.
    Torn,
}

impl Disk {
    /// A write and its sync begin. One at a time.
    pub fn begin(&mut self, write: Write) {
        assert!(self.writing.is_none(), "one write at a time");
        let file = self.files.get(&write.segment).map_or(0, Vec::len);
        assert!(write.offset as usize + write.bytes.len() <= file, "a write beyond the file of {}", write.segment);
        self.writing = Some(write);
    }

    /// The write is on the platters. Gives its buffer back.
    pub fn finish(&mut self) -> Vec<u8> {
        let write = self.writing.take().expect("a write is under way");
        let (start, end) = (write.offset as usize, write.offset as usize + write.bytes.len());
        self.put(&write, 0..write.bytes.len());
        // What was written anew is no ghost any more.
        self.ghosts.retain(|ghost| {
            ghost.segment != write.segment || ghost.offset + ghost.beneath.len() <= start || ghost.offset >= end
        });
        write.bytes
    }

    /// The sync of the write under way fails: the pages show what was written, the platters keep what they had.
    pub fn fail(&mut self) {
        let Some(write) = self.writing.take() else { return };
        for start in (0..write.bytes.len()).step_by(SECTOR) {
            let (offset, end) = (write.offset as usize + start, (start + SECTOR).min(write.bytes.len()));
            let beneath = self.files[&write.segment][offset..offset + end - start].to_vec();
            let known = self.ghosts.iter().any(|ghost| ghost.segment == write.segment && ghost.offset == offset);
            if !known {
                self.ghosts.push(Ghost { segment: write.segment, offset, beneath });
            }
        }
        self.put(&write, 0..write.bytes.len());
    }

    fn put(&mut self, write: &Write, range: std::ops::Range<usize>) {
        let at = write.offset as usize;
        let file = self.files.get_mut(&write.segment).expect("a file that is written exists");
        file[at + range.start..at + range.end].copy_from_slice(&write.bytes[range]);
    }

    /// Whether a write is under way.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The helper begins to make a spare, of `old` if it is to be recycled.
    pub fn begin_spare(&mut self, id: SegmentId, old: Option<SegmentId>) {
        self.making.insert(id, old);
    }

    /// The spare is there and its directory synced.
    pub fn finish_spare(&mut self, id: SegmentId, bytes: u64) {
        let old = self.making.remove(&id).expect("a spare that was begun");
        self.make(id, old, bytes);
        self.deleted.clear();
    }

    fn make(&mut self, id: SegmentId, old: Option<SegmentId>, bytes: u64) {
        let recycled = old.and_then(|old| {
            self.ghosts.retain(|ghost| ghost.segment != old);
            self.files.remove(&old)
        });
        let mut file = recycled.unwrap_or_else(|| vec![0; bytes as usize]);
        blank(id, &mut file);
        self.files.insert(id, file);
    }

    /// A segment's file is deleted; the directory is not synced for that.
    pub fn delete(&mut self, id: SegmentId) {
        if let Some(file) = self.files.remove(&id) {
            self.deleted.insert(id, file);
        }
        self.ghosts.retain(|ghost| ghost.segment != id);
    }

    /// The bytes of an entry, if its file is still there.
    pub fn read(&self, extent: &Extent) -> Option<&[u8]> {
        let start = extent.offset as usize;
        self.files.get(&extent.segment)?.get(start..start + extent.length)
    }

    /// Everything, as recovery reads it.
    pub fn segments(&self) -> Vec<(SegmentId, Vec<u8>)> {
        self.files.iter().map(|(id, bytes)| (*id, bytes.clone())).collect()
    }

    /// What would be found if the power failed now and nothing unsynced survived.
    pub fn worst(&self) -> Vec<(SegmentId, Vec<u8>)> {
        let mut segments = self.files.clone();
        for ghost in &self.ghosts {
            let file = segments.get_mut(&ghost.segment).expect("a ghost's file exists");
            file[ghost.offset..ghost.offset + ghost.beneath.len()].copy_from_slice(&ghost.beneath);
        }
        segments.into_iter().collect()
    }

    /// The process dies, the machine lives on: what was written is in the page cache and will reach the platters.
    pub fn kill(&mut self, random: &mut Random, bytes: u64) {
        if let Some(write) = self.writing.take() {
            let sectors = write.bytes.len().div_ceil(SECTOR) as u64;
            let kept = *random.pick(&[0, sectors, random.clone().between(0, sectors)]);
            self.put(&write, 0..(kept as usize * SECTOR).min(write.bytes.len()));
        }
        self.settle_directory(random, bytes);
    }

    /// The power fails.
    pub fn power_cut(&mut self, random: &mut Random, bytes: u64) -> Cut {
        for ghost in std::mem::take(&mut self.ghosts) {
            let file = self.files.get_mut(&ghost.segment).expect("a ghost's file exists");
            file[ghost.offset..ghost.offset + ghost.beneath.len()].copy_from_slice(&ghost.beneath);
        }
        let mut cut = Cut::Nothing;
        if let Some(write) = self.writing.take() {
            let sectors = write.bytes.len().div_ceil(SECTOR);
            let mut kept = vec![false; sectors];
            match random.below(4) {
                0 => {}
                1 => kept.fill(true),
                2 => {
                    let first = random.below(sectors as u64 + 1) as usize;
                    kept[..first].fill(true);
                }
                _ => kept.iter_mut().for_each(|kept| *kept = random.per_mille(500)),
            }
            for (sector, kept) in kept.iter().enumerate() {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(write.bytes.len());
                if *kept {
                    self.put(&write, start..end);
                } else if random.per_mille(50) {
                    self.put(&write, start..random.between(start as u64, end as u64) as usize);
                }
            }
            cut = match kept.iter().filter(|kept| **kept).count() {
                0 => Cut::Whole,
                count if count == sectors => Cut::Nothing,
                _ => Cut::Torn,
            };
        }
        self.settle_directory(random, bytes);
        cut
    }

    /// Renames and deletions under way have happened or not.
    fn settle_directory(&mut self, random: &mut Random, bytes: u64) {
        for (id, old) in std::mem::take(&mut self.making) {
            if random.per_mille(500) {
                self.make(id, old, bytes);
            }
        }
        for (id, file) in std::mem::take(&mut self.deleted) {
            if random.per_mille(500) {
                self.files.insert(id, file);
            }
        }
    }
}
