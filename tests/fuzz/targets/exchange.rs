//! Words between cores: beats, read rounds and their answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::exchange;

fuzz_target!(|bytes: &[u8]| {
    let _ = exchange::read(bytes);
});
