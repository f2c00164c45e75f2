//! Whole clusters in one thread, in virtual time, on a network and on disks that misbehave.
//!
//! A seed gives a [`world::World`]: nodes made of the production shards, journals, raft replicas and state machines, and
//! around them everything that can go wrong. The same seed gives the same world to the last bit. Checkers stand
//! outside of the code they check; see the README beside this crate.

mod account;
mod boot;
mod canon;
mod checker;
mod client;
mod disk;
mod happening;
mod history;
mod judge;
mod linear;
mod members;
mod nemesis;
mod network;
mod node;
mod plan;
mod queue;
mod random;
pub mod run;
pub mod totals;
mod trace;
mod transfer;
mod turn;
mod wire;
mod words;
mod work;
pub mod world;
