//! Real nodes on a stage of their own: namespaces, disks that can die, a network that can be cut, clocks that jump.
//!
//! [`stage`] is where a test plays: a thread in a mount and network namespace that nobody else sees, so that whatever a
//! run leaves behind is gone with its last process, however it ended. [`cluster`] starts three `kvd` on it, each in a
//! network namespace ([`room`]) and on a disk image ([`disk`]) of its own. [`faults`] are what happens to them, [`load`]
//! and [`history`] what clients did meanwhile and whether one order explains it.
//!
//! It needs root, and the packages that `setup_tests` of `cli/setup.sh` installs. What a machine cannot do is skipped
//! with a line `SKIPPED: name: why`, which `tests/run.sh` counts. Traffic stays in the namespaces; the only processes
//! that are ended are those started here, by their id; no real clock is touched.

// Every suite includes this and uses its part of it.
#![allow(dead_code)]

pub mod clock;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod history;
pub mod load;
pub mod network;
pub mod packets;
pub mod random;
pub mod room;
pub mod stage;
pub mod wire;

use std::time::Duration;

pub use crate::harness::ELECTION_TIMEOUT;

/// So many election timeouts.
pub fn elections(count: f64) -> Duration {
    ELECTION_TIMEOUT.mul_f64(count)
}

/// A number from the environment.
pub fn setting(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}
