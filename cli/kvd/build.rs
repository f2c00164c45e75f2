//! Has the linker send what RocksDB's log asks of CRC-32C to `checksums.rs`.

/// `rocksdb::crc32c::Extend(unsigned int, char const*, unsigned long)`.
const EXTEND: &str = "_ZN7rocksdb6crc32c6ExtendEjPKcm";

fn main() {
    println!("cargo::rerun-if-changed=cli/kvd/build.rs");
    println!("cargo::rustc-link-arg-bin=kvd=-Wl,--wrap={EXTEND}");
}
