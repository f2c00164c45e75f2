//! Checksums: RocksDB's CRC-32C by the instruction that the CPU has for it.
//!
//! RocksDB decides at compile time whether there is one, and is compiled for a CPU that has none, as the binary is to run
//! on any. It checks every byte of its log that way: 2.8 % of what puts cost. Here it is decided at run time. The linker of `kvd` sends
//! the calls of `rocksdb::crc32c::Extend` here (`build.rs`); the sums are the same, so stores are, too.

use std::ffi::c_char;
use std::slice;

/// The checksum of what `before` is the checksum of and `length` bytes from `bytes` behind it.
///
/// # Safety
///
/// `length` bytes can be read from `bytes`.
#[allow(unsafe_code)]
#[unsafe(export_name = "__wrap__ZN7rocksdb6crc32c6ExtendEjPKcm")]
unsafe extern "C" fn extend(before: u32, bytes: *const c_char, length: usize) -> u32 {
    if length == 0 {
        return before;
    }
    // SAFETY: the caller says so, and as there is one byte at least the pointer is none to nothing.
    let bytes = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), length) };
    #[cfg(test)]
    tests::CALLS.set(tests::CALLS.get() + 1);
    crc32c::crc32c_append(before, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::store::{Options, Store};
    use std::cell::Cell;

    thread_local! {
        /// How often this thread has asked. Each test has a thread of its own.
        pub static CALLS: Cell<u64> = const { Cell::new(0) };
    }

    #[allow(unsafe_code)]
    fn sum(before: u32, bytes: &[u8]) -> u32 {
        // SAFETY: the length is that of the slice.
        unsafe { extend(before, bytes.as_ptr().cast(), bytes.len()) }
    }

    #[test]
    fn the_sums_are_those_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(sum(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(sum(0, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(sum(0, b"123456789"), 0xe306_9283);
        assert_eq!(sum(sum(0, b"1234"), b"56789"), 0xe306_9283);
        assert_eq!(sum(7, b""), 7);
    }

    #[test]
    fn rocksdb_asks_here() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(&Options::new(directory.path(), 1)).unwrap();
        assert!(CALLS.get() > 0, "the linker did not send RocksDB's calls here");
    }
}
