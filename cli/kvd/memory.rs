//! Memory: mimalloc stands in for the system's allocator, under RocksDB and everything else.
//!
//! The system's has a lock for each of its arenas, and threads share arenas: a core waited on a store thread, or on another
//! core, that was descheduled inside. This one allocates without a lock. It is linked in place of `malloc` and its
//! relatives and declared nowhere, as Rust asks `malloc` for everything of an ordinary alignment; as Rust's
//! own allocator it would be asked for aligned memory always, which it has a slower path for.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// mimalloc's option of this name, which its bindings do not name: the number of its header.
const PURGE_DELAY: mi_option_t = 15;

/// For how long memory that was freed is kept for the next who asks, in milliseconds.
///
/// A tenth of that gave large buffers and memtables back to the system between two uses, on the core's thread, where each
/// page costs a fault and is cleared when it comes again.
const KEPT: i64 = 10_000;

/// Has memory kept for a while; `MIMALLOC_PURGE_DELAY` in the environment says otherwise. Call it before other threads start.
///
/// And has it come in small pages, unless `MIMALLOC_ALLOW_THP` is 1. With huge ones a node with nothing to do took 40 MiB instead of 25,
/// and 16 to 19 KiB for each of a thousand groups instead of 8; one busy group was 5 % faster, four were not, and one client waited 5 % longer.
pub fn keep() {
    if std::env::var_os("MIMALLOC_ALLOW_THP").is_none_or(|value| value != "1") {
        // A system that has no such pages, or does not let them be refused, has small ones or its own reasons.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
    // SAFETY: the option is known to this version (a test looks), and nobody else reads or sets options meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        mi_option_set_default(PURGE_DELAY, KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmimalloc_sys::{mi_is_in_heap_region, mi_option_get};

    #[test]
    fn malloc_is_mimalloc() {
        let block = Box::new([7u8; 40]);
        // SAFETY: looks the address up, and nothing else.
        #[allow(unsafe_code)]
        let ours = unsafe { mi_is_in_heap_region(block.as_ptr().cast()) };
        assert!(ours, "another allocator is linked in as malloc");
    }

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        #[allow(unsafe_code)]
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1_000, "what this version of mimalloc begins with");
        keep();
        assert_eq!(get(), KEPT);
    }
}
