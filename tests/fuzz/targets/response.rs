//! Bodies of responses, as a client reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::response::Response;

fuzz_target!(|bytes: &[u8]| {
    let _ = Response::decode(bytes);
});
