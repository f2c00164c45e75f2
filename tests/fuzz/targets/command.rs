//! A client's command, as the leader checks it and as the state machine reads it.
#![no_main]

use engine_core::command::{self, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = command::check(bytes, &Limits::default()) {
        let _ = command::keys(command).map(<[u8]>::len).sum::<usize>();
        assert!(command::access(bytes).is_ok(), "what is checked can be read");
    }
    let _ = command::access(bytes);
});
