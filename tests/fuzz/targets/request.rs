//! Bodies of requests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::request;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = request::read(bytes) {
        assert!(read.key.len() <= bytes.len());
    }
    if let Ok(scan) = request::scan(bytes) {
        assert!(scan.start.len() <= bytes.len());
    }
    let _ = request::stop(bytes);
});
