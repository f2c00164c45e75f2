//! The values of what the store keeps about itself and its replicas. Little endian; [`FORMAT`] covers them all.

use super::StoreError;
use raft::entry::LogId;
use raft::ids::{Index, ReplicaId, Term};

/// The format of everything in the store. A later version may know earlier ones, never the reverse.
pub const FORMAT: u32 = 1;

/// A replica: changes when it is created, gets a snapshot or a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its id.
    pub id: ReplicaId,
    /// Where its data lie.
    pub generation: u64,
    /// The membership in force.
    pub membership: Vec<u8>,
}

/// What a group has applied: written with every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last applied entry.
    pub id: LogId,
    /// How many sessions there are.
    pub sessions: u32,
}

impl Replica {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&self.id.0.to_le_bytes()[..], &self.generation.to_le_bytes(), &self.membership].concat()
    }

    /// The replica with these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Replica, StoreError> {
        let mut rest = bytes;
        let (id, generation) = (number(&mut rest)?, number(&mut rest)?);
        Ok(Replica { id: ReplicaId(id), generation, membership: rest.to_vec() })
    }
}

impl Applied {
    /// Its bytes.
    pub fn encode(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.id.term.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.index.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.sessions.to_le_bytes());
        bytes
    }

    /// What these bytes say.
    pub fn decode(bytes: &[u8]) -> Result<Applied, StoreError> {
        let mut rest = bytes;
        let id = LogId { term: Term(number(&mut rest)?), index: Index(number(&mut rest)?) };
        let sessions = rest.try_into().map_err(|_| damaged())?;
        Ok(Applied { id, sessions: u32::from_le_bytes(sessions) })
    }
}

/// The u64 at the front of `rest`, which it leaves.
pub fn number(rest: &mut &[u8]) -> Result<u64, StoreError> {
    let bytes = rest.split_off(..8).ok_or_else(damaged)?;
    Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

fn damaged() -> StoreError {
    StoreError::corrupt("read a record of the store", "it has the wrong length")
}
