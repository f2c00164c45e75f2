//! What entries must know and memory does not, and asking the disk for it.

use super::{Store, StoreError, sessions};
use engine_core::sessions::SessionKey;
use raft::ids::{GroupId, Index};

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
    /// What a group lacks. May wait for the disk.
    pub fn fetch(&self, lack: Lack) -> Result<Fetched, StoreError> {
        let db = &self.shared.db;
        Ok(match lack {
            Lack::Places(group, places) => {
                let read = |place: Vec<u8>| {
                    let value = db.get(&place).map_err(StoreError::of("read what an entry must know"))?;
                    Ok((place, value))
                };
                Fetched::Places(group, places.into_iter().map(read).collect::<Result<_, StoreError>>()?)
            }
            Lack::Sessions(group) => Fetched::Sessions(group, sessions::uses(db, self.generation(group)?)?),
        })
    }
}
