//! A cluster map, as a client gets it.
#![no_main]

use engine_core::placement::map::ClusterMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(map) = ClusterMap::decode(bytes) {
        let _ = map.ring();
    }
});
