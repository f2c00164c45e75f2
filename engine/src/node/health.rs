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
    beats: Vec<AtomicU64>,
    draining: AtomicBool,
}

impl Health {
    /// For `cores` cores, all alive now.
    pub fn new(cores: u16) -> Health {
        let beats = (0..cores).map(|_| AtomicU64::new(0)).collect();
        Health { started: Instant::now(), beats, draining: AtomicBool::new(false) }
    }

    /// `core` is alive.
    pub fn beat(&self, core: u16) {
        self.beats[usize::from(core)].store(self.now(), Ordering::Relaxed);
    }

    /// Whether every core has ticked lately.
    pub fn is_alive(&self) -> bool {
        let oldest = self.beats.iter().map(|beat| beat.load(Ordering::Relaxed)).min().unwrap_or(0);
        self.now().saturating_sub(oldest) < STALLED_AFTER.as_millis() as u64
    }

    /// The node is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
