//! What a core has its helper make and delete, so that its journal has spares.

use super::journal_files::Spare;
use engine_core::journal::{Journal, SegmentId};
use std::collections::BTreeSet;

/// Idle segments kept to be recycled: logs under load are cut by about so many at once, and to make a new one is to write it twice.
const IDLE_MAX: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub struct SpareOrders {
    under_way: usize,
    /// Spares that there was no room for: to be ordered again. The journal uses them in their order, so it waits for the lowest.
    failed: BTreeSet<SegmentId>,
    /// The last spare that was ordered could not be made.
    is_short: bool,
    /// For want of room on the disk, not of descriptors or memory.
    is_full: bool,
    /// Segments that wait to be recycled.
    idle: Vec<SegmentId>,
}

impl SpareOrders {
    /// Spares the journal wants, out of segments it needs no more. While there is no room only out of those, unless it is to be seen
    /// whether there is some again (`look`).
    pub fn next(&mut self, journal: &mut Journal, look: bool) -> Vec<Spare> {
        let mut orders = Vec::new();
        self.idle.extend(journal.reclaim());
        for _ in 0..journal.spares_wanted().saturating_sub(self.under_way) {
            let old = self.idle.pop();
            if self.is_short && old.is_none() && !look {
                return orders;
            }
            let id = self.failed.pop_first().unwrap_or_else(|| journal.new_segment());
            self.under_way += 1;
            orders.push(Spare::Make { id, old });
        }
        // A segment falls idle long before the next spare is wanted: some wait for that.
        orders.extend(self.idle.drain(..self.idle.len().saturating_sub(IDLE_MAX)).map(Spare::Delete));
        orders
    }

    /// One that was ordered is there.
    pub fn made(&mut self) {
        self.under_way -= 1;
        (self.is_short, self.is_full) = (false, false);
    }

    /// Something ran out for one, room on the disk (`full`) or something else; `old` could not be used for it either.
    pub fn failed(&mut self, id: SegmentId, old: Option<SegmentId>, full: bool) {
        self.under_way -= 1;
        self.failed.insert(id);
        self.idle.extend(old);
        (self.is_short, self.is_full) = (true, full);
    }

    /// Whether the last that was ordered could not be made.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Whether it found no room on the disk.
    pub fn is_full(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::{Spare, SpareOrders};
    use engine_core::journal::{Options, SegmentId, recover};

    #[test]
    fn what_little_room_there_is_goes_to_the_spare_that_is_used_next() {
        let mut journal = recover(Options::default(), 1, Vec::new()).expect("a fresh journal").journal;
        let mut orders = SpareOrders::default();
        let wanted = orders.next(&mut journal, false);
        let ids: Vec<SegmentId> = wanted.iter().map(id).collect();
        assert!(ids.len() > 1 && ids.is_sorted());
        ids[1..].iter().for_each(|id| orders.failed(*id, None, true));
        assert!(orders.next(&mut journal, false).is_empty(), "there is no room");
        orders.failed(ids[0], Some(SegmentId(99)), false);
        assert!(orders.is_short() && !orders.is_full());
        let again = orders.next(&mut journal, false);
        assert!(matches!(again[..], [Spare::Make { id, old: Some(SegmentId(99)) }] if id == ids[0]), "{again:?}");
        orders.made();
        journal.spare_ready(ids[0]);
        let rest: Vec<SegmentId> = orders.next(&mut journal, false).iter().map(id).collect();
        assert_eq!(rest, ids[1..]);
    }

    fn id(spare: &Spare) -> SegmentId {
        match spare {
            Spare::Make { id, .. } | Spare::Delete(id) => *id,
        }
    }
}
