//! A stream of frames, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::receive::RecvBuffer;

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = RecvBuffer::new(0, 1 << 16);
    for chunk in bytes.chunks(7) {
        buffer.push(chunk);
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => assert_eq!(frame.body.len(), frame.header.length as usize),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
