//! Heap allocations, and what is not to be counted among them: what peers, clients and the store would do elsewhere.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Told by the allocator, if the bench has one that counts.
pub fn allocated() {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many allocations `work` makes, without what it does aside.
pub fn counted(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    work();
    COUNTING.store(false, Ordering::Relaxed);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Does something that another core, thread or node would do.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let counting = COUNTING.swap(false, Ordering::Relaxed);
    let done = work();
    COUNTING.store(counting, Ordering::Relaxed);
    done
}
