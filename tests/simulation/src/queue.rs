//! Virtual time: what will happen, in the order in which it will.

use crate::happening::Happening;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Everything that lies ahead. Two things at one time happen in the order in which they were planned.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Happening>>,
    free: Vec<usize>,
    planned: u64,
}

impl Queue {
    /// `happening` will happen at `at` microseconds.
    pub fn plan(&mut self, at: u64, happening: Happening) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(happening);
        self.planned += 1;
        self.heap.push(Reverse((at, self.planned, slot)));
    }

    /// The next thing and its time.
    pub fn next(&mut self) -> Option<(u64, Happening)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let happening = self.slots[slot].take().expect("a planned slot is filled");
        Some((at, happening))
    }
}
