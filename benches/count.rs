//! Counts what one part does, whatever the machine does beside it: heap allocations here, instructions under callgrind
//! (`sh benches/instructions.sh`).
//!
//! `count PART TIMES` does the part so many times and prints its allocations for each operation.

mod work;

use std::alloc::{GlobalAlloc, Layout, System};
use work::aside::{allocated, counted};
use work::frames::Wire;
use work::journal::Appending;
use work::leader::Leader;
use work::replica::Leading;
use work::store::Applying;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, and a count.
struct Counting;

// SAFETY: everything is the system allocator's work; the count touches no memory of it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        allocated();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Each part: its name, how many operations it does at a time, and how to do it.
type Part = (&'static str, usize, fn(usize) -> Box<dyn FnMut()>);

const PARTS: &[Part] = &[
    ("raft-1", 1, |n| turns(Leading::new(), move |it| it.turn(n))),
    ("raft-64", 64, |n| turns(Leading::new(), move |it| it.turn(n))),
    ("put-path-1", 1, |n| turns(Leader::new(4), move |it| it.turn(n))),
    ("put-path-16", 16, |n| turns(Leader::new(4), move |it| it.turn(n))),
    ("put-path-64", 64, |n| turns(Leader::new(4), move |it| it.turn(n))),
    ("put-path-64-of-1000", 64, |n| turns(Leader::new(1_000), move |it| it.turn(n))),
    ("journal-1", 1, |n| turns(Appending::new(), move |it| it.batch(n))),
    ("journal-64", 64, |n| turns(Appending::new(), move |it| it.batch(n))),
    ("frame", 1, |_| turns(Wire::new(), |it| _ = it.put_and_answer())),
    ("store-64", 64, |n| turns(Applying::new(), move |it| it.apply(n))),
    ("store-2048", 2048, |n| turns(Applying::new(), move |it| it.apply(n))),
    ("peer-frame", 16, |_| turns(Wire::new(), |it| _ = it.entries_to_peer())),
];

fn turns<T: 'static>(mut of: T, mut turn: impl FnMut(&mut T) + 'static) -> Box<dyn FnMut()> {
    Box::new(move || turn(&mut of))
}

fn main() {
    // Cargo adds flags of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = arguments.first().map(String::as_str);
    let times: usize = arguments.get(1).map_or(10_000, |times| times.parse().expect("a number of times"));
    for (name, operations, make) in PARTS.iter().filter(|part| chosen.is_none_or(|chosen| chosen == part.0)) {
        let mut part = make(*operations);
        // What grows once is not what a put costs.
        (0..2_000.max(10 * 2_048 / operations)).for_each(|_| part());
        let allocations = counted(|| (0..times).for_each(|_| part()));
        println!("{name} {operations} {:.3}", allocations as f64 / (times * operations) as f64);
    }
}
