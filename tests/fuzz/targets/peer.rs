//! A batch of Raft messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::peer;

fuzz_target!(|bytes: &[u8]| {
    for message in peer::decode(bytes) {
        if message.is_err() {
            return;
        }
    }
});
