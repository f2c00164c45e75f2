//! A scan: pages of every group, merged in key order.
//!
//! Each group is asked for a page from the scan's start on, all in parallel. The smallest key may be given out as
//! long as every group either has entries here or has no more: a group whose entries are used up is asked for its
//! next page first. So no key is missed, and what one group sent too much of is never fetched twice.

use super::request::{FRAME_OVERHEAD, Page, ScanOptions};
use crate::frame::BODY_BYTES_MAX;
use raft::ids::GroupId;
use std::collections::VecDeque;
use std::rc::Rc;

/// Entries one page of one group is asked for, at most: the node may give fewer.
const PART_ENTRIES_MAX: u32 = 1024;

/// Bytes after which a page is complete, whatever its limit says; the rest is the next page's.
const PAGE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Scan {
    options: ScanOptions,
    end: Option<Rc<[u8]>>,
    parts: Vec<Part>,
    page: Page,
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    group: GroupId,
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Where its next page starts; `None` when it has no more.
    next: Option<Vec<u8>>,
    asked: bool,
}

/// One page to ask a group for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) part: usize,
    pub(super) group: GroupId,
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Rc<[u8]>>,
    pub(super) limit: u32,
    pub(super) stale: bool,
}

impl Scan {
    pub(super) fn new(options: ScanOptions) -> Scan {
        let end = options.end.as_deref().map(Rc::from);
        Scan { options, end, parts: Vec::new(), page: Page::default(), bytes: 0 }
    }

    /// The groups are known: the scan can begin.
    pub(super) fn begin(&mut self, groups: impl Iterator<Item = GroupId>) {
        let start = &self.options.start;
        let part = |group| Part { group, entries: VecDeque::new(), next: Some(start.clone()), asked: false };
        self.parts = groups.map(part).collect();
    }

    pub(super) fn has_begun(&self) -> bool {
        !self.parts.is_empty()
    }

    /// A group's page has come. `Err` says what is impossible about it.
    pub(super) fn arrived(&mut self, part: usize, entries: Vec<(Vec<u8>, Vec<u8>)>, more: bool) -> Result<(), String> {
        let part = &mut self.parts[part];
        let start = part.next.take().unwrap_or_default();
        part.asked = false;
        let ascending = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let inside = |key: &Vec<u8>| *key >= start && self.end.as_deref().is_none_or(|end| &key[..] < end);
        if !ascending || !entries.iter().all(|(key, _)| inside(key)) {
            return Err(format!("group {} answered a scan with keys out of order or range", part.group));
        }
        if more {
            let Some((last, _)) = entries.last() else {
                return Err(format!("group {} answered a scan with nothing, and more to come", part.group));
            };
            let mut next = last.clone();
            next.push(0);
            if next.len() + self.end.as_deref().map_or(0, <[u8]>::len) + FRAME_OVERHEAD > BODY_BYTES_MAX {
                return Err(format!("group {} answered a scan with a key of {} bytes", part.group, last.len()));
            }
            part.next = Some(next);
        }
        part.entries = entries.into();
        Ok(())
    }

    /// Gives out what can be given out. `Some` is the page, complete; else ask for [`Scan::wanted`] and wait.
    pub(super) fn merge(&mut self) -> Option<Page> {
        let full = |scan: &Scan| scan.page.entries.len() >= scan.options.limit as usize || scan.bytes >= PAGE_BYTES_MAX;
        while !full(self) {
            if self.parts.iter().any(|part| part.entries.is_empty() && part.next.is_some()) {
                return None;
            }
            let first = self.parts.iter_mut().filter(|part| !part.entries.is_empty());
            let Some(part) = first.min_by(|a, b| a.entries[0].0.cmp(&b.entries[0].0)) else { break };
            if let Some((key, value)) = part.entries.pop_front() {
                self.bytes += key.len() + value.len();
                self.page.entries.push((key, value));
            }
        }
        self.page.more = self.parts.iter().any(|part| !part.entries.is_empty() || part.next.is_some());
        // With a limit of 0 there is no last key to go on from.
        self.page.more &= !self.page.entries.is_empty();
        Some(std::mem::take(&mut self.page))
    }

    /// The pages to ask for now.
    pub(super) fn wanted(&mut self) -> Vec<Wanted> {
        let left = self.options.limit as usize - self.page.entries.len();
        let limit = (left as u32).min(PART_ENTRIES_MAX);
        let mut wanted = Vec::new();
        for (number, part) in self.parts.iter_mut().enumerate() {
            let Some(start) = part.next.as_ref().filter(|_| part.entries.is_empty() && !part.asked) else { continue };
            let start = start.clone();
            part.asked = true;
            let (group, end, stale) = (part.group, self.end.clone(), self.options.stale);
            wanted.push(Wanted { part: number, group, start, end, limit, stale });
        }
        wanted
    }
}
