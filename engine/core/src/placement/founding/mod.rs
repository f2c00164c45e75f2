//! Whether there is a cluster, and which: how the nodes of a static list become one without an init command.
//!
//! An empty data directory is no founder: its node has drawn an incarnation and asks *every* node of the
//! list. Only if all answer with the same [`Blueprint`] and none has founded anything does it sync a
//! [`FoundingRecord`], which every node computes alike from everybody's incarnation, and then answers
//! "proposed". It is formed, and may vote, campaign or serve, only once every node has answered with that
//! same record, or one answers "formed" with it. A formed cluster never takes an empty directory for one of
//! its members: such a node comes in as new, by a membership change. So a wiped disk never votes under its
//! old name, and no two live nodes ever form from different records.
//!
//! This file has the words; [`decision`] has the rules. Nothing here knows sockets, disks or time.

pub mod decision;

use super::map::NodeEntry;
use rkyv::rancor;
use rkyv::{Archive, Deserialize, Serialize};

/// What the nodes of a list must agree on before they can be one cluster: the part of their settings that
/// decides where things lie. Nodes stand in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct Blueprint {
    /// Name and address (`host:port`) of every node, in the order of the list.
    pub nodes: Vec<(String, String)>,
    /// The number of data groups.
    pub groups: u32,
    /// Replicas of each data group.
    pub replication: u16,
    /// Nodes in each replica set; `None` spreads every group over all nodes.
    pub set_size: Option<u16>,
    /// Points of each data group on the ring.
    pub virtual_nodes: u32,
}

/// What a cluster was founded as. The first entry of the map group, and the source of its first map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct FoundingRecord {
    /// The name of the cluster for machines: a hash of everything below.
    pub cluster: u128,
    /// Every node with its incarnation. A node's position is its number.
    pub nodes: Vec<NodeEntry>,
    /// The number of data groups.
    pub groups: u32,
    /// Replicas of each data group.
    pub replication: u16,
    /// Nodes in each replica set; `None` spreads every group over all nodes.
    pub set_size: Option<u16>,
    /// Points of each data group on the ring.
    pub virtual_nodes: u32,
}

/// How far one node has come. This is what its data directory holds, synced before anybody is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub enum State {
    /// An incarnation and nothing else.
    Empty,
    /// The record it would found with. It has not voted or served.
    Proposed(FoundingRecord),
    /// A member of the cluster with this record.
    Formed(FoundingRecord),
}

/// The question to every node of the list: who are you, and how far have you come?
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Query {
    /// The name of the node that asks.
    pub name: String,
    /// Its incarnation.
    pub incarnation: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct Answer {
    /// Its name in the list.
    pub name: String,
    /// The random number its data directory drew.
    pub incarnation: u64,
    /// Its number of shards, fixed with the incarnation.
    pub shards: u16,
    /// What it would found.
    pub blueprint: Blueprint,
    /// How far it has come.
    pub state: State,
}

/// Why bytes are not a founding record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by another release. Upgrade this one.
    #[error("the founding record has format version {version}, this release reads version {VERSION}")]
    Version {
        /// The version found; 0 for no bytes at all.
        version: u8,
    },
    /// Not the bytes that were written, or a record no release writes.
    #[error("the founding record is damaged: {why}")]
    Damaged {
        /// What was found.
        why: String,
    },
}

const VERSION: u8 = 1;

/// The most nodes a cluster is founded with; node numbers have 16 bits and the map travels in one frame.
pub const NODES_MAX: usize = 1024;

/// The most data groups a cluster is founded with; every group needs slots enough to be shared evenly.
pub const GROUPS_MAX: u32 = 4096;

/// The most points a data group has on the ring.
pub const VIRTUAL_NODES_MAX: u32 = 4096;

impl Blueprint {
    /// The record that nodes with these incarnations and numbers of shards found, in the order of the list.
    pub fn record(&self, members: &[(u64, u16)]) -> FoundingRecord {
        assert_eq!(members.len(), self.nodes.len(), "every node of the list, and no other, founds");
        let entry = |((name, address), (incarnation, shards)): (&(String, String), &(u64, u16))| NodeEntry {
            name: name.clone(),
            address: address.clone(),
            incarnation: *incarnation,
            shards: *shards,
        };
        let mut record = FoundingRecord {
            cluster: 0,
            nodes: self.nodes.iter().zip(members).map(entry).collect(),
            groups: self.groups,
            replication: self.replication,
            set_size: self.set_size,
            virtual_nodes: self.virtual_nodes,
        };
        record.cluster = record.name();
        record
    }

    /// What makes this impossible to found, if anything does, in words for an operator.
    pub fn contradiction(&self) -> Option<String> {
        let nodes = self.nodes.len();
        let set_size = self.set_size.map_or(nodes, usize::from);
        if nodes == 0 || nodes > NODES_MAX {
            return Some(format!("the list has {nodes} nodes; 1 to {NODES_MAX} are possible"));
        }
        if self.groups == 0 || self.groups > GROUPS_MAX {
            return Some(format!("groups is {}; 1 to {GROUPS_MAX} are possible", self.groups));
        }
        if set_size == 0 || set_size > nodes {
            return Some(format!("a replica set has {set_size} nodes, of {nodes} in the list"));
        }
        if self.replication == 0 || usize::from(self.replication) > set_size {
            return Some(format!(
                "replication is {}; with {set_size} nodes 1 to {set_size} are possible",
                self.replication
            ));
        }
        if self.virtual_nodes == 0 || self.virtual_nodes > VIRTUAL_NODES_MAX {
            return Some(format!("virtual_nodes is {}; 1 to {VIRTUAL_NODES_MAX} are possible", self.virtual_nodes));
        }
        None
    }

    /// Every way in which `theirs` differs, in words: "groups is 8 here and 4 there". Empty if they agree.
    pub fn differences(&self, theirs: &Blueprint) -> Vec<String> {
        let list = |nodes: &[(String, String)]| {
            nodes.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(",")
        };
        let optional = |number: Option<u16>| number.map_or("none".into(), |number| number.to_string());
        let pairs = [
            ("nodes", list(&self.nodes), list(&theirs.nodes)),
            ("groups", self.groups.to_string(), theirs.groups.to_string()),
            ("replication", self.replication.to_string(), theirs.replication.to_string()),
            ("set_size", optional(self.set_size), optional(theirs.set_size)),
            ("virtual_nodes", self.virtual_nodes.to_string(), theirs.virtual_nodes.to_string()),
        ];
        let differing = pairs.into_iter().filter(|(_, here, there)| here != there);
        differing.map(|(setting, here, there)| format!("{setting} is {here} here and {there} there")).collect()
    }
}

impl FoundingRecord {
    /// The blueprint this record was made from.
    pub fn blueprint(&self) -> Blueprint {
        Blueprint {
            nodes: self.nodes.iter().map(|node| (node.name.clone(), node.address.clone())).collect(),
            groups: self.groups,
            replication: self.replication,
            set_size: self.set_size,
            virtual_nodes: self.virtual_nodes,
        }
    }

    /// Whether the node of this name was a founder under this incarnation.
    pub fn holds(&self, name: &str, incarnation: u64) -> bool {
        self.nodes.iter().any(|node| node.name == name && node.incarnation == incarnation)
    }

    /// The bytes of this record; the same record always gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let archive = rkyv::to_bytes::<rancor::Error>(self).expect("a record in memory can be archived");
        bytes.extend_from_slice(&archive);
        bytes
    }

    /// The record in these bytes, of which a map can be made.
    pub fn decode(bytes: &[u8]) -> Result<FoundingRecord, RecordError> {
        let (&version, archive) = bytes.split_first().ok_or(RecordError::Version { version: 0 })?;
        if version != VERSION {
            return Err(RecordError::Version { version });
        }
        let record = rkyv::from_bytes::<FoundingRecord, rancor::Error>(archive)
            .map_err(|error| RecordError::Damaged { why: error.to_string() })?;
        match record.contradiction() {
            Some(why) => Err(RecordError::Damaged { why }),
            None => Ok(record),
        }
    }

    /// What makes this record impossible, if anything does. Ask it of every record that came from outside.
    pub fn contradiction(&self) -> Option<String> {
        if let Some(node) = self.nodes.iter().find(|node| node.shards == 0) {
            return Some(format!("node {} has no shards", node.name));
        }
        if self.cluster != self.name() {
            return Some(format!("cluster {:032x} is not the name of what it holds", self.cluster));
        }
        self.blueprint().contradiction()
    }

    /// The cluster id: a hash over every other field, so that equal records have equal names and differing
    /// ones have not.
    fn name(&self) -> u128 {
        let nameless = FoundingRecord { cluster: 0, ..self.clone() };
        xxhash_rust::xxh3::xxh3_128(&nameless.encode())
    }
}
