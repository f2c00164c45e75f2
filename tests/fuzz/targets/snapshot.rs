//! A snapshot's chunks, cut anywhere, and the frames around them.
#![no_main]

use engine_core::snapshot::stream::{Decoder, Record, StreamError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = net::snapshot::begin(bytes);
    let _ = net::snapshot::end(bytes);
    let _ = net::snapshot::answer(bytes);
    // The same records come out, however the chunks are cut.
    let whole = records(bytes, bytes.len().max(1));
    assert_eq!(records(bytes, 7), whole);
});

type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn records(bytes: &[u8], chunk: usize) -> Result<Records, StreamError> {
    let (mut decoder, mut records) = (Decoder::default(), Vec::new());
    for chunk in bytes.chunks(chunk) {
        decoder.take(chunk, |Record { key, value, .. }| {
            records.push((key.to_vec(), value.to_vec()));
            Ok::<(), StreamError>(())
        })?;
    }
    Ok(records)
}
