//! What the benches measure: the pure parts of a put, each as something that does so many of them when told to.
#![allow(dead_code)] // Each bench uses its own part.

pub mod aside;
pub mod frames;
pub mod journal;
pub mod leader;
pub mod replica;
pub mod store;

use engine_core::command::{self, ClientId, Command, Operation, SessionRef};
use raft::ids::{GroupId, Index};

pub const VALUE_BYTES: usize = 256;

/// A put of a value of 256 bytes, as a client encodes it.
pub fn put(group: GroupId, client: u128, opened: Index, sequence: u64, key: &[u8]) -> Vec<u8> {
    command::encode(&Command {
        client: ClientId(client),
        sequence,
        acknowledged: sequence - 1,
        session: SessionRef { group, opened },
        operation: Operation::Put { key: key.to_vec(), value: vec![7; VALUE_BYTES], return_old: false },
    })
}

/// A client comes to a group.
pub fn open(group: GroupId, client: u128) -> Vec<u8> {
    let session = SessionRef { group, opened: Index(0) };
    let client = ClientId(client);
    command::encode(&Command { client, sequence: 0, acknowledged: 0, session, operation: Operation::Open })
}
