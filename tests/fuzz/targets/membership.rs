//! A membership entry's payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raft::membership::Membership;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(membership) = Membership::decode(bytes) {
        assert_eq!(Membership::decode(&membership.encode()).ok(), Some(membership));
    }
});
