//! A session, as the store keeps it and a snapshot carries it: whatever is taken encodes and decodes to the same.
#![no_main]

use engine_core::sessions::{self, Session, SessionKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = SessionKey::from_bytes(bytes);
    let _ = sessions::header(bytes);
    if let Ok(session) = Session::decode(bytes) {
        let mut again = Vec::new();
        session.encode(&mut again);
        assert_eq!(Session::decode(&again).as_ref(), Ok(&session));
    }
});
