//! The wire: what travels between nodes and between clients and nodes, and the client itself.
//!
//! - [`hello`]: the fixed 64 bytes that open a connection and name the core it is for.
//! - [`frame`]: the 24-byte header and checksum of everything that follows; [`receive`]: the buffer it is found in.
//! - [`request`], [`response`], [`status`]: what a client asks and what it is answered.
//! - [`peer`]: Raft messages of many groups in one frame; [`exchange`]: what concerns all groups of two cores;
//!   [`founding`]: what nodes ask before there is a cluster; [`snapshot`]: the state
//!   of a group on its way.
//!
//! Decides nothing about consensus or placement: it carries, checks and retries. Everything that came from
//! outside is checked before it is believed; wrong bytes are an error value, never a panic.

mod archive;
pub mod client;
pub mod exchange;
pub mod follow;
pub mod founding;
pub mod frame;
pub mod hello;
pub mod peer;
pub mod receive;
pub mod request;
pub mod response;
pub mod snapshot;
pub mod status;
