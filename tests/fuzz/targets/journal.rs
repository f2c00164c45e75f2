//! A segment file of any content: recovery ends in a journal or in a typed error.
#![no_main]

use engine_core::journal::{self, Options, SegmentId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = Options { segment_bytes: 1 << 14, block_bytes: 512, batch_bytes_max: 1 << 12 };
    let mut segment = bytes.to_vec();
    segment.resize(1 << 14, 0);
    let _ = journal::recover(options, 7, vec![(SegmentId(1), segment)]);
});
