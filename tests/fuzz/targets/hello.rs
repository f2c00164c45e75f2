//! Hello and reply: whatever is taken must encode to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::hello::{HELLO_BYTES, Hello, HelloReply};

fuzz_target!(|bytes: &[u8]| {
    let Ok(bytes) = <&[u8; HELLO_BYTES]>::try_from(bytes) else { return };
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(hello.encode(), *bytes);
    }
    if let Ok(reply) = HelloReply::decode(bytes) {
        assert_eq!(reply.encode(), *bytes);
    }
});
