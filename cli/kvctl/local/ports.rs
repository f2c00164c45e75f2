//! Ports of the loopback interface that nobody uses.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

// Below the range that the kernel gives to outgoing connections: a node that is killed and started again must find its
// port free, and no client connection may have been given it meanwhile.
const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that was free just now, and that this process gives out once.
pub fn free_port() -> Result<u16> {
    // Processes start at different places, as they do not know of each other's choices.
    let offset = std::process::id().wrapping_mul(127);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + offset.wrapping_add(step) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
