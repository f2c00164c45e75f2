//! What entries must know and memory does not, and asking the disk for it.

use super::{Store, StoreError, sessions};
use engine_core::sessions::SessionKey;
use raft::ids::{GroupId, Index};

/// What is brought at once, in bytes, and one value more. What a run lacks then it asks for again.
const FETCHED_BYTES_MAX: usize = 8 << 20;

/// What the first entry reads is among so many places, and must come together: what came before is forgotten when a group waits again.
const PLACES_OF_ENTRY: usize = 3;

/// What only the disk can tell, before a group goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// What these places hold.
    Places(GroupId, Vec<Vec<u8>>),
    /// Which sessions the group has. To be asked when everything it has applied is written back.
    Sessions(GroupId),
}

/// What the disk says of a [`Lack`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// What places hold.
    Places(GroupId, Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// The last use of each session.
    Sessions(GroupId, Vec<(Index, SessionKey)>),
}

impl Store {
    /// What a group lacks, or the first part of it. May wait for the disk.
    pub fn fetch(&self, lack: Lack) -> Result<Fetched, StoreError> {
        let db = &self.shared.db;
        Ok(match lack {
            Lack::Places(group, places) => {
                let (mut read, mut bytes) = (Vec::new(), 0);
                for place in places {
                    if read.len() >= PLACES_OF_ENTRY && bytes >= FETCHED_BYTES_MAX {
                        break;
                    }
                    let value = db.get(&place).map_err(StoreError::of("read what an entry must know"))?;
                    bytes += value.as_ref().map_or(0, Vec::len);
                    read.push((place, value));
                }
                Fetched::Places(group, read)
            }
            Lack::Sessions(group) => Fetched::Sessions(group, sessions::uses(db, self.generation(group)?)?),
        })
    }
}
