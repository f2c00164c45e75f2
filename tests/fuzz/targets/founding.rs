//! Founding queries, answers and records.
#![no_main]

use engine_core::placement::founding::FoundingRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = net::founding::query(bytes);
    let _ = net::founding::answer(bytes);
    let _ = FoundingRecord::decode(bytes);
});
