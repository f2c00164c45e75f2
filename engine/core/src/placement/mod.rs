//! Where a key lives: key -> slot -> group -> replicas -> nodes and cores.
//!
//! [`ring`] turns a key into one of 16,384 slots and a slot into a group; [`map`] says which nodes hold a
//! group and is what all nodes and clients agree on; [`cores`] says which core of a node owns a group;
//! [`spread`] computes the first map of a cluster; [`founding`] decides whether there is a cluster at all;
//! [`petition`] takes a node with a new disk back in; [`sets`] reads replica sets off a plain list of servers.
//!
//! Everything here is a pure function of its arguments and must give every node of a cluster the same
//! answer, today's release and the next: golden files under `tests/` pin the ring and the first map.

pub mod cores;
pub mod founding;
pub mod map;
pub mod petition;
pub mod ring;
pub mod sets;
pub mod spread;
