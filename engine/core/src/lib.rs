//! Everything of a core that is pure.
pub mod command;
pub mod exchange;
pub mod group_map;
pub mod journal;
pub mod placement;
pub mod recovery;
pub mod sessions;
pub mod shard;
pub mod snapshot;
pub mod state_machine;
