//! Whether the cores of this node are alive, and how many clients they have, readable from any thread.
//!
//! One atomic per core, written once a tick by the core and read by the admin thread, and one for the node, touched
//! once per connection: no data path touches either.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A core that has not ticked for so long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// When each core has ticked last, in milliseconds since the start; 0: it has not begun, as it waits for the
    /// founding of its cluster or recovers its journal.
    beats: Vec<AtomicU64>,
    draining: AtomicBool,
}

impl Health {
    /// For `cores` cores that have not begun.
    pub fn new(cores: u16) -> Health {
        let beats = (0..cores).map(|_| AtomicU64::new(0)).collect();
        Health { started: Instant::now(), beats, draining: AtomicBool::new(false) }
    }

    /// `core` is alive.
    pub fn beat(&self, core: u16) {
        self.beat_at(core, self.now());
    }

    /// Whether every core that has begun has ticked lately.
    pub fn is_alive(&self) -> bool {
        self.is_alive_at(self.now())
    }

    /// The node is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn beat_at(&self, core: u16, now: u64) {
        self.beats[usize::from(core)].store(now.max(1), Ordering::Relaxed);
    }

    fn is_alive_at(&self, now: u64) -> bool {
        let beats = self.beats.iter().map(|beat| beat.load(Ordering::Relaxed));
        let oldest = beats.filter(|beat| *beat > 0).min().unwrap_or(now);
        now.saturating_sub(oldest) < STALLED_AFTER.as_millis() as u64
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// The places for clients of a node.
#[derive(Debug)]
pub struct Connections {
    open: AtomicU32,
    max: u32,
}

impl Connections {
    /// Room for `max` clients.
    pub fn new(max: u32) -> Connections {
        Connections { open: AtomicU32::new(0), max }
    }

    /// Takes a place, if one is left.
    pub fn acquire(&self) -> bool {
        let taken = self.open.fetch_add(1, Ordering::Relaxed) < self.max;
        if !taken {
            self.release();
        }
        taken
    }

    /// Gives a place back.
    pub fn release(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_has_not_begun_is_not_stalled() {
        let health = Health::new(2);
        assert!(health.is_alive_at(0) && health.is_alive_at(3_600_000), "neither has begun");
        health.beat_at(1, 3_600_000);
        assert!(health.is_alive_at(3_600_000 + 4_999), "one recovers, the other has ticked");
        assert!(!health.is_alive_at(3_600_000 + 5_000), "the one that has begun stands still");
    }

    #[test]
    fn one_core_that_stands_still_is_enough() {
        let health = Health::new(2);
        health.beat_at(0, 0);
        health.beat_at(1, 4_000);
        assert!(health.is_alive_at(4_000));
        assert!(!health.is_alive_at(5_001), "a beat in the first millisecond counts");
        health.beat_at(0, 5_001);
        assert!(health.is_alive_at(5_001));
    }
}
