//! One replica of one Raft group.
pub mod entry;
pub mod ids;
