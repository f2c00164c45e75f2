//! The cluster map: who is in the cluster and which nodes hold which group.
//!
//! Group 0 replicates it, every node follows it, clients carry its epoch. A node has a number, its position
//! in [`ClusterMap::nodes`], which stands in the low bits of every [`ReplicaId`] it holds; a number is never
//! given to another node.
//!
//! On the wire and on disk: one version byte, then an rkyv archive, read with checks only.

use super::founding::{GROUPS_MAX, VIRTUAL_NODES_MAX};
use super::ring::Ring;
use raft::ids::{GroupId, ReplicaId};
use rkyv::rancor;
use rkyv::{Archive, Deserialize, Serialize};

/// The group that holds the cluster map. It owns no slots.
pub const MAP_GROUP: GroupId = GroupId(0);

/// The epoch of the map of the founding.
pub const FOUNDING_EPOCH: u64 = 1;

/// No epoch and no replica id is above this; what a cluster counts never comes near.
const NUMBER_MAX: u64 = (1 << 47) - 1;

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct NodeEntry {
    /// What operators call it.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// The random number its data directory drew. Another number is another disk.
    pub incarnation: u64,
    /// How many shards it runs, at least 1.
    pub shards: u16,
}

/// One Raft group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct GroupEntry {
    /// Its number: 0 for the map group, 1, 2, 3.. for the data groups.
    pub id: GroupId,
    /// Its voters. The first is the preferred leader.
    pub replicas: Vec<ReplicaId>,
}

/// The whole map at one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ClusterMap {
    /// Counts the changes; [`FOUNDING_EPOCH`] is the map of the founding.
    pub epoch: u64,
    /// The name of the cluster for machines.
    pub cluster: u128,
    /// Points of each data group on the ring.
    pub virtual_nodes: u32,
    /// The nodes. A node's position is its number.
    pub nodes: Vec<NodeEntry>,
    /// The groups by ascending id: first the map group, then the data groups.
    pub groups: Vec<GroupEntry>,
}

/// Why bytes are not a cluster map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Written by another release. Upgrade this one.
    #[error("the cluster map has format version {version}, this release reads version {VERSION}")]
    Version {
        /// The version found; 0 for no bytes at all.
        version: u8,
    },
    /// Not the bytes that were written. Ask somebody else.
    #[error("the cluster map is damaged: {why}")]
    Damaged {
        /// What was found.
        why: String,
    },
}

const VERSION: u8 = 1;

impl ClusterMap {
    /// The bytes of this map; the same map always gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let archive = rkyv::to_bytes::<rancor::Error>(self).expect("a map in memory can be archived");
        bytes.extend_from_slice(&archive);
        bytes
    }

    /// The map in these bytes. Whatever comes back keeps the promises of the fields' descriptions.
    pub fn decode(bytes: &[u8]) -> Result<ClusterMap, MapError> {
        let (&version, archive) = bytes.split_first().ok_or(MapError::Version { version: 0 })?;
        if version != VERSION {
            return Err(MapError::Version { version });
        }
        let map = rkyv::from_bytes::<ClusterMap, rancor::Error>(archive)
            .map_err(|error| MapError::Damaged { why: error.to_string() })?;
        match map.contradiction() {
            Some(why) => Err(MapError::Damaged { why }),
            None => Ok(map),
        }
    }

    /// The ring of the data groups. Building takes milliseconds: keep it as long as the epoch stays.
    pub fn ring(&self) -> Ring {
        let groups: Vec<GroupId> = self.data_groups().map(|group| group.id).collect();
        Ring::build(&groups, self.virtual_nodes)
    }

    /// The groups that hold keys, by ascending id.
    pub fn data_groups(&self) -> impl Iterator<Item = &GroupEntry> {
        self.groups.iter().filter(|group| group.id != MAP_GROUP)
    }

    /// The entry of a group.
    pub fn group(&self, id: GroupId) -> Option<&GroupEntry> {
        let position = self.groups.binary_search_by_key(&id, |group| group.id).ok()?;
        Some(&self.groups[position])
    }

    /// The replica of a group that a node holds, if it holds one.
    pub fn replica_on(&self, group: GroupId, node: u16) -> Option<ReplicaId> {
        self.group(group)?.replicas.iter().copied().find(|replica| replica.node() == node)
    }

    /// The node with a number.
    pub fn node(&self, number: u16) -> Option<&NodeEntry> {
        self.nodes.get(usize::from(number))
    }

    /// The number of the node with a name.
    pub fn node_named(&self, name: &str) -> Option<u16> {
        self.nodes.iter().position(|node| node.name == name).map(|position| position as u16)
    }

    /// Whether the node of this name runs on the disk that drew this incarnation.
    pub fn holds(&self, name: &str, incarnation: u64) -> bool {
        self.nodes.iter().any(|node| node.name == name && node.incarnation == incarnation)
    }

    /// The next map: the node numbered `number`, whose disk is lost, comes back with an empty one that has drawn `incarnation`. It
    /// gets a new replica id in each of its groups (rule 7); everything else stays where it was.
    pub fn with_incarnation(&self, number: u16, incarnation: u64) -> ClusterMap {
        let mut next = ClusterMap { epoch: self.epoch + 1, ..self.clone() };
        next.nodes[usize::from(number)].incarnation = incarnation;
        let replicas = next.groups.iter_mut().flat_map(|group| &mut group.replicas);
        for replica in replicas.filter(|replica| replica.node() == number) {
            *replica = ReplicaId::new(number, replica.generation() + 1);
        }
        next
    }

    /// Whether this map can have come of `older` by nodes that came back with other disks: whatever a node has built on
    /// the older one still stands. Ask it of every map that came from outside.
    pub fn comes_of(&self, older: &ClusterMap) -> bool {
        let same_node = |(one, other): (&NodeEntry, &NodeEntry)| {
            (&one.name, &one.address, one.shards) == (&other.name, &other.address, other.shards)
        };
        let same_place = |(one, other): (&ReplicaId, &ReplicaId)| {
            one.node() == other.node() && one.generation() >= other.generation()
        };
        let same_group = |(one, other): (&GroupEntry, &GroupEntry)| {
            let places = one.replicas.iter().zip(&other.replicas);
            one.id == other.id && one.replicas.len() == other.replicas.len() && places.into_iter().all(same_place)
        };
        (self.cluster, self.virtual_nodes) == (older.cluster, older.virtual_nodes)
            && self.epoch > older.epoch
            && (self.nodes.len(), self.groups.len()) == (older.nodes.len(), older.groups.len())
            && self.nodes.iter().zip(&older.nodes).all(same_node)
            && self.groups.iter().zip(&older.groups).all(same_group)
    }

    /// What makes this map impossible, if anything does.
    fn contradiction(&self) -> Option<String> {
        if self.epoch > NUMBER_MAX {
            return Some(format!("epoch {}", self.epoch));
        }
        if self.nodes.is_empty() || self.nodes.len() > usize::from(u16::MAX) {
            return Some(format!("{} nodes", self.nodes.len()));
        }
        // What no founding can make would take minutes to build a ring of.
        if self.virtual_nodes == 0 || self.virtual_nodes > VIRTUAL_NODES_MAX {
            return Some(format!("{} virtual nodes", self.virtual_nodes));
        }
        if let Some(node) = self.nodes.iter().find(|node| node.shards == 0) {
            return Some(format!("node {} has no shards", node.name));
        }
        if self.groups.len() < 2 || self.groups.len() > GROUPS_MAX as usize + 1 || self.groups[0].id != MAP_GROUP {
            return Some(format!("{} groups, beginning with {:?}", self.groups.len(), self.groups.first()));
        }
        if let Some(pair) = self.groups.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Some(format!("group {} stands before group {}", pair[0].id, pair[1].id));
        }
        self.groups.iter().find_map(|group| self.contradiction_in(group))
    }

    fn contradiction_in(&self, group: &GroupEntry) -> Option<String> {
        if let Some(replica) = group.replicas.iter().find(|replica| replica.0 > NUMBER_MAX) {
            return Some(format!("group {} has a replica {}", group.id, replica.0));
        }
        let mut nodes: Vec<u16> = group.replicas.iter().map(|replica| replica.node()).collect();
        nodes.sort();
        if nodes.is_empty() || nodes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some(format!("group {} lies on nodes {nodes:?}", group.id));
        }
        let unknown = nodes.into_iter().find(|node| usize::from(*node) >= self.nodes.len())?;
        Some(format!("group {} lies on node {unknown}, of {}", group.id, self.nodes.len()))
    }
}
