//! A node whose disk was lost asks to come back: what it says, and the map that answers it.

use super::map::ClusterMap;
use rkyv::{Archive, Deserialize, Serialize};

/// What the new data directory of a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Petition {
    /// The name of the node in the list.
    pub name: String,
    /// The random number its directory has drawn.
    pub incarnation: u64,
    /// How many shards the directory was made for.
    pub shards: u16,
    /// The incarnation whose place it asks for, by the map it was shown: a petition that comes late or twice finds
    /// another one there, and changes nothing.
    pub replaces: u64,
    /// Whoever runs the node says that its former directory is lost for good: it is taken in also if a group has no quorum without
    /// that one.
    pub insists: bool,
}

/// Why a petition changes nothing. Asking again does not help before something else has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PetitionError {
    /// The cluster has no node of that name.
    #[error("no node of this cluster is called {name:?}: correct node.name")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The node had another number of shards, by which its groups lie on its cores.
    #[error("{name} had {had} shards and comes back with {has}: empty its data directory and set node.shards = {had}")]
    Shards {
        /// The node.
        name: String,
        /// What it had.
        had: u16,
        /// What it has.
        has: u16,
    },
    /// It is in the map already.
    #[error("{name} is a member already")]
    Member {
        /// The node.
        name: String,
    },
    /// Another directory has taken the place it asks for. Look at the newest map.
    #[error("another data directory of {name} was taken in meanwhile")]
    Late {
        /// The node.
        name: String,
    },
}

impl ClusterMap {
    /// The number of the node that asks, and the map that takes it in.
    pub fn admit(&self, petition: &Petition) -> Result<(u16, ClusterMap), PetitionError> {
        let name = petition.name.clone();
        let Some(number) = self.node_named(&name) else { return Err(PetitionError::Unknown { name }) };
        let entry = &self.nodes[usize::from(number)];
        if entry.incarnation == petition.incarnation {
            return Err(PetitionError::Member { name });
        }
        if entry.incarnation != petition.replaces {
            return Err(PetitionError::Late { name });
        }
        if entry.shards != petition.shards {
            return Err(PetitionError::Shards { name, had: entry.shards, has: petition.shards });
        }
        Ok((number, self.with_incarnation(number, petition.incarnation)))
    }
}
