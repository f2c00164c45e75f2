//! The segments in use, the spares that wait, and those that nobody needs any more.
//!
//! Numbers of segments only grow along the chain, and a number is never used twice. So the segment with
//! the highest number that holds a header of its own is the newest, and the headers that a recycled file still
//! holds of its earlier use name another segment.

use super::SegmentId;
use super::record::SegmentRow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Spares that must always be there: a full disk is then not a failed write.
const SPARES: usize = 2;

/// One segment of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub segment: SegmentId,
    pub life: u64,
    /// Where the chain leaves it, and with which crc; unknown (0) while it is the current one.
    pub end: u64,
    pub crc: u32,
    /// Entries in it that a log still holds.
    pub live: u64,
}

#[derive(Debug)]
pub(super) struct Chain {
    /// Ascending; the last is the current one.
    links: VecDeque<Link>,
    /// Numbers handed to the host for spares, and whether the file is ready.
    spares: BTreeMap<SegmentId, bool>,
    /// Segments already in the chain whose files the host still makes.
    awaited: BTreeSet<SegmentId>,
    /// Segments already in the chain whose numbers the host has not been told yet.
    unassigned: VecDeque<SegmentId>,
    next: SegmentId,
    /// No longer needed, and since which batch.
    retired: VecDeque<(u64, SegmentId)>,
}

impl Chain {
    /// A chain that goes on behind `links`, with numbers from `next` on.
    pub fn new(links: VecDeque<Link>, next: SegmentId) -> Chain {
        Chain {
            links,
            spares: BTreeMap::new(),
            awaited: BTreeSet::new(),
            unassigned: VecDeque::new(),
            next,
            retired: VecDeque::new(),
        }
    }

    /// Begins a segment: the lowest spare, or one that the host is yet to make.
    pub fn roll(&mut self, life: u64) -> SegmentId {
        let segment = match self.spares.pop_first() {
            Some((segment, true)) => segment,
            Some((segment, false)) => {
                self.awaited.insert(segment);
                segment
            }
            None => {
                let segment = self.number();
                self.unassigned.push_back(segment);
                segment
            }
        };
        self.links.push_back(Link { segment, life, end: 0, crc: 0, live: 0 });
        segment
    }

    /// The number of the segment that the next roll begins.
    pub fn following(&self) -> SegmentId {
        let spare = self.spares.keys().next().copied();
        spare.unwrap_or(self.next)
    }

    /// That number is not used; its file, if there is one, is not needed once batch `number` cannot be lost.
    pub fn skip(&mut self, number: u64) {
        match self.spares.pop_first() {
            Some((segment, _)) => self.retire(number, segment),
            None => drop(self.number()),
        }
    }

    /// The last segment turned out to hold nothing that stays.
    pub fn forget_last(&mut self) {
        let link = self.links.pop_back();
        assert!(link.is_none_or(|link| link.live == 0), "{link:?} still holds entries");
    }

    /// Records where the chain leaves the current segment.
    pub fn leave(&mut self, end: u64, crc: u32) {
        if let Some(link) = self.links.back_mut() {
            (link.end, link.crc) = (end, crc);
        }
    }

    fn number(&mut self) -> SegmentId {
        let segment = self.next;
        self.next = SegmentId(segment.0 + 1);
        segment
    }

    /// How many files are lacking, those that the host has begun to make included.
    pub fn spares_wanted(&self) -> usize {
        (SPARES + self.unassigned.len() + self.awaited.len()).saturating_sub(self.spares_ready())
    }

    /// The number of the next file to make: those that writes wait for come first.
    pub fn new_segment(&mut self) -> SegmentId {
        if let Some(segment) = self.unassigned.pop_front() {
            self.awaited.insert(segment);
            return segment;
        }
        let segment = self.number();
        self.spares.insert(segment, false);
        segment
    }

    /// The file exists, durably. `false`: nobody asked for it.
    pub fn spare_ready(&mut self, segment: SegmentId) -> bool {
        match self.spares.get_mut(&segment) {
            Some(ready) => {
                *ready = true;
                true
            }
            None => self.awaited.remove(&segment),
        }
    }

    /// A file that was found and can be used as it is.
    pub fn adopt(&mut self, segment: SegmentId) {
        self.spares.insert(segment, true);
    }

    /// Whether the segment's file exists.
    pub fn is_ready(&self, segment: SegmentId) -> bool {
        !self.awaited.contains(&segment) && !self.unassigned.contains(&segment)
    }

    /// The spare that will be used next, if its file exists; else 0.
    pub fn next_spare(&self) -> SegmentId {
        match self.spares.first_key_value() {
            Some((segment, true)) => *segment,
            _ => SegmentId(0),
        }
    }

    /// The oldest segment that is needed, after retiring, as of batch `number`, those that are not.
    pub fn first_needed(&mut self, number: u64) -> SegmentId {
        while self.links.len() > 1 && self.links[0].live == 0 {
            if let Some(link) = self.links.pop_front() {
                self.retire(number, link.segment);
            }
        }
        self.links.front().map_or(SegmentId(0), |link| link.segment)
    }

    /// The segment is not needed once the header of batch `number` cannot be lost.
    pub fn retire(&mut self, number: u64, segment: SegmentId) {
        self.retired.push_back((number, segment));
    }

    /// The segments that nobody needs, given that no header up to batch `sealed` can be lost.
    pub fn reclaim(&mut self, sealed: u64) -> Vec<SegmentId> {
        let count = self.retired.iter().take_while(|(number, _)| *number <= sealed).count();
        self.retired.drain(..count).map(|(_, segment)| segment).collect()
    }

    /// One more entry of `segment` is in a log.
    pub fn hold(&mut self, segment: u32) {
        self.link_mut(segment).live += 1;
    }

    /// One entry of `segment` fewer is in a log.
    pub fn release(&mut self, segment: u32) {
        let link = self.link_mut(segment);
        assert!(link.live > 0, "segment {} holds no entry to release", link.segment);
        link.live -= 1;
    }

    fn link_mut(&mut self, segment: u32) -> &mut Link {
        let last = self.links.len() - 1;
        let at = match self.links[last].segment.0 == u64::from(segment) {
            true => last,
            false => self.links.partition_point(|link| link.segment.0 < u64::from(segment)),
        };
        let link = &mut self.links[at];
        assert_eq!(link.segment.0, u64::from(segment), "an entry's segment is in the chain");
        link
    }

    /// Spares whose files exist.
    pub fn spares_ready(&self) -> usize {
        self.spares.values().filter(|ready| **ready).count()
    }

    /// The oldest segment before the current one that holds an entry of a log.
    pub fn oldest_held(&self) -> Option<SegmentId> {
        let before = self.links.iter().take(self.links.len().saturating_sub(1));
        before.filter(|link| link.live > 0).map(|link| link.segment).next()
    }

    /// All segments of the chain, oldest first.
    pub fn links(&self) -> impl DoubleEndedIterator<Item = &Link> {
        self.links.iter()
    }

    /// The list an opening carries: every segment of the chain but the one that begins.
    pub fn rows(&self) -> Vec<SegmentRow> {
        let rows = self.links.iter().take(self.links.len().saturating_sub(1));
        rows.map(|link| SegmentRow { segment: link.segment, life: link.life, end: link.end, crc: link.crc }).collect()
    }
}
