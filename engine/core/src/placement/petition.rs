//! A node whose disk was lost asks to come back: what it says, and the map that answers it.

use super::map::ClusterMap;
use raft::ids::GroupId;
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
    /// Whoever runs the node says that its former directory is lost for good: whoever passes the petition on does not ask whether a
    /// group has a quorum without that one ([`ClusterMap::stranded_without`]).
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
    /// A group of node `number` that has no quorum without the replica there, where `is_whole` tells of another node whether its replica
    /// votes, has its data and belongs to members that do not change. Who is taken in for what that node has puts it out for good, and a disk
    /// that is only not mounted may be what the group needs.
    pub fn stranded_without(&self, number: u16, is_whole: impl Fn(GroupId, u16) -> bool) -> Option<GroupId> {
        let stranded = self.groups.iter().filter(|entry| self.replica_on(entry.id, number).is_some()).find(|entry| {
            let others = entry.replicas.iter().map(|replica| replica.node()).filter(|node| *node != number);
            others.filter(|node| is_whole(entry.id, *node)).count() <= entry.replicas.len() / 2
        });
        stranded.map(|entry| entry.id)
    }

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
