//! The doorbell of a core: how other threads wake it.
//!
//! Whoever has left something for a core rings. That costs a system call only while the core sleeps; one that is awake
//! finds the state when it next looks. No ring relies on another: one that lost its CPU on the way keeps nobody waiting.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody has rung since the core last looked, and it is awake.
const AWAKE: u8 = 0;
/// Somebody has rung.
const RUNG: u8 = 1;
/// The core sleeps, or is about to: every ring must wake it.
const ASLEEP: u8 = 2;

/// See the module. Clones are the same doorbell.
#[derive(Clone, Debug)]
pub struct Doorbell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    event: OwnedFd,
}

impl Doorbell {
    /// The doorbell of a core that is awake. Errors: no descriptor is left.
    pub fn new() -> io::Result<Doorbell> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Doorbell { shared: Arc::new(Shared { state: AtomicU8::new(AWAKE), event }) })
    }

    /// Has the core look, after what it is to see has been left for it. From any thread.
    pub fn ring(&self) {
        if self.shared.state.fetch_or(RUNG, Ordering::AcqRel) & ASLEEP != 0 {
            // Fails only when as many rings as 64 bits count are unread, and then it is readable.
            let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
        }
    }

    /// The core is about to sleep: whether it may. It must call [`Doorbell::look`] when it is up again.
    pub fn lie_down(&self) -> bool {
        self.shared.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether it was rung since the last look, as far as can be seen without taking the ring.
    pub fn is_rung(&self) -> bool {
        self.shared.state.load(Ordering::Relaxed) & RUNG != 0
    }

    /// Whether it was rung since the last look; what was left before that ring can be seen now.
    pub fn look(&self) -> bool {
        self.shared.state.swap(AWAKE, Ordering::AcqRel) & RUNG != 0
    }
}

impl AsFd for Doorbell {
    /// Becomes readable with each ring that wakes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rings have written to the event, and back to none.
    fn written(doorbell: &Doorbell) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(doorbell, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    #[test]
    fn only_a_sleeper_is_woken() {
        let doorbell = Doorbell::new().unwrap();
        doorbell.ring();
        assert!(!doorbell.lie_down(), "it has not looked yet");
        assert!(doorbell.look() && !doorbell.look());
        assert_eq!(written(&doorbell), 0, "it was awake");
        assert!(doorbell.lie_down());
        doorbell.ring();
        doorbell.ring();
        assert_eq!(written(&doorbell), 2);
        assert!(doorbell.is_rung() && doorbell.look() && !doorbell.is_rung());
        assert!(doorbell.lie_down() && !doorbell.look(), "nobody rang");
    }
}
