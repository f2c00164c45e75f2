//! Every setting with its default. The names of sections and fields are those of the file.
//!
//! A loaded [`Settings`] is resolved and checked: where a field's description says "empty" or "0" stands for
//! something, that something is already filled in.

use crate::nodes::NodeAddress;
use crate::{cpus, nodes, units};
use engine_core::placement::founding::Blueprint;
use engine_core::placement::ring::VIRTUAL_NODES;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// All settings of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Who this node is, who the others are, and what they found together.
    pub node: Node,
    /// Elections, replication and the length of logs.
    pub raft: Raft,
    /// The durable log of each core.
    pub journal: Journal,
    /// RocksDB, which holds the applied state of each core.
    pub store: Store,
    /// What is refused, so that no queue grows without end.
    pub limits: Limits,
}

/// Section `node`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// This node's name, one of those in `nodes`.
    pub name: String,
    /// Where clients and peers connect, `host:port`. Empty: this node's address in `nodes`.
    pub listen: String,
    /// The data directory.
    pub data: PathBuf,
    /// Every founding node, `name=host:port`, in the same order on all nodes. Empty: this node alone.
    #[serde(with = "nodes")]
    pub nodes: Vec<NodeAddress>,
    /// The number of cores this node works on. Fixed in the data directory at the first start.
    #[serde(with = "units::count")]
    pub shards: u16,
    /// The number of data groups of the cluster. Fixed at the founding.
    #[serde(with = "units::count")]
    pub groups: u32,
    /// Replicas of each group: 1, 3 or 5. 0: 3, or the largest odd number of nodes below that. Fixed at the
    /// founding.
    #[serde(with = "units::count")]
    pub replication: u16,
    /// Nodes in each replica set, in the order of `nodes`; fewer than five nodes are never more than one set. 0: all
    /// nodes are one set. Fixed at the founding.
    #[serde(with = "units::count")]
    pub set_size: u16,
    /// Points of each group on the hash ring. Fixed at the founding.
    #[serde(with = "units::count")]
    pub virtual_nodes: u32,
    /// Where health is answered over HTTP, `host:port`. Empty: nowhere.
    pub admin: String,
    /// The CPUs that shards are pinned to, shard i to the i-th. Empty: shards are pinned only when there is
    /// one for every CPU of the machine.
    #[serde(with = "cpus")]
    pub cpus: Vec<usize>,
    /// Come into a formed cluster as a new node instead of asking to found one.
    pub new: bool,
    /// How long a stopping node may take to hand over what it leads.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
}

/// Section `raft`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raft {
    /// E: without a leader's sign for E/2 to E, a follower stands for election. A leader gives a sign every
    /// E/5 at least.
    #[serde(with = "units::duration")]
    pub election_timeout: Duration,
    /// A log longer than this many entries is cut; a follower still behind gets a snapshot.
    #[serde(with = "units::count")]
    pub snapshot_entries: u64,
    /// The same in bytes, per group.
    #[serde(with = "units::bytes")]
    pub snapshot_log_bytes: u64,
    /// Bytes per second of snapshots that one core sends.
    #[serde(with = "units::bytes")]
    pub snapshot_rate: u64,
    /// Whether a leader answers reads without asking the others for as long as none of them can have elected somebody else.
    pub leases: bool,
    /// AppendEntries messages on their way to one follower of one group.
    #[serde(with = "units::count")]
    pub inflight_messages: u32,
    /// Bytes of entries on their way to one follower of one group.
    #[serde(with = "units::bytes")]
    pub inflight_bytes: u64,
    /// Bytes of entries in one AppendEntries message; one entry always goes.
    #[serde(with = "units::bytes")]
    pub append_bytes: u64,
    /// Bytes of applied entries each group keeps in memory for slow followers.
    #[serde(with = "units::bytes")]
    pub window_bytes: u64,
}

/// Section `journal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// The size of one segment file.
    #[serde(with = "units::bytes")]
    pub segment: u64,
    /// Write past the page cache where the file system can.
    pub direct_io: bool,
    /// Wait for the disk before a write is acknowledged. Unsafe when false: a power cut may lose what was
    /// acknowledged.
    pub fsync: bool,
    /// With less than this left on the disk, writes are refused while reads and elections go on.
    #[serde(with = "units::bytes")]
    pub low_water: u64,
    /// A node whose disk has not taken a write of the journal for so long ends itself; never, if that is 0.
    #[serde(with = "units::duration")]
    pub sync_limit: Duration,
}

/// Section `store`. Sizes are of the whole node and divided among its shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Memory for blocks read from disk.
    #[serde(with = "units::bytes")]
    pub block_cache: u64,
    /// Memory for entries not yet in a table file: of each of the tables that a core fills and writes back, and of RocksDB's.
    #[serde(with = "units::bytes")]
    pub write_buffer: u64,
    /// How long RocksDB keeps logs it no longer needs.
    #[serde(with = "units::duration")]
    pub wal_ttl: Duration,
    /// How many bytes of such logs it keeps.
    #[serde(with = "units::bytes")]
    pub wal_size_limit: u64,
    /// Threads that flush and compact, for the whole node.
    #[serde(with = "units::count")]
    pub background_threads: u32,
}

/// Section `limits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest key.
    #[serde(with = "units::bytes")]
    pub key_bytes_max: u64,
    /// The longest value.
    #[serde(with = "units::bytes")]
    pub value_bytes_max: u64,
    /// The longest frame of a client: a batch, its keys and its values together.
    #[serde(with = "units::bytes")]
    pub frame_bytes_max: u64,
    /// Operations in one batch.
    #[serde(with = "units::count")]
    pub batch_operations_max: u32,
    /// Connections of clients to this node.
    #[serde(with = "units::count")]
    pub connections_max: u32,
    /// Requests of one connection that wait for their answer, in bytes; a quarter of what answers may take that wait for it.
    #[serde(with = "units::bytes")]
    pub connection_inflight_bytes: u64,
    /// Requests of one core that wait for their answer, in bytes, and answers that wait for its clients.
    #[serde(with = "units::bytes")]
    pub core_inflight_bytes: u64,
    /// Entries of one group that are not committed yet, in bytes.
    #[serde(with = "units::bytes")]
    pub group_uncommitted_bytes: u64,
    /// Committed entries of one core that are not applied yet, in bytes.
    #[serde(with = "units::bytes")]
    pub core_unapplied_bytes: u64,
    /// Messages of one core waiting for one peer's connection, in bytes. What is beyond is dropped: Raft
    /// sends it again.
    #[serde(with = "units::bytes")]
    pub peer_queue_bytes: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Default for Node {
    fn default() -> Node {
        Node {
            name: "n1".into(),
            listen: String::new(),
            data: "kvd-data".into(),
            nodes: Vec::new(),
            shards: 1,
            groups: 4,
            replication: 0,
            set_size: 0,
            virtual_nodes: VIRTUAL_NODES,
            admin: "127.0.0.1:9090".into(),
            cpus: Vec::new(),
            new: false,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Raft {
    fn default() -> Raft {
        Raft {
            election_timeout: Duration::from_secs(1),
            snapshot_entries: 10_000,
            snapshot_log_bytes: 64 * MIB,
            snapshot_rate: 64 * MIB,
            leases: false,
            inflight_messages: 256,
            inflight_bytes: 8 * MIB,
            append_bytes: 256 * KIB,
            window_bytes: 8 * MIB,
        }
    }
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            segment: 64 * MIB,
            direct_io: true,
            fsync: true,
            low_water: 256 * MIB,
            sync_limit: Duration::from_secs(60),
        }
    }
}

impl Default for Store {
    fn default() -> Store {
        Store {
            block_cache: 256 * MIB,
            write_buffer: 64 * MIB,
            wal_ttl: Duration::from_secs(3600),
            wal_size_limit: 512 * MIB,
            background_threads: 2,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: 4 * KIB,
            value_bytes_max: MIB,
            frame_bytes_max: 4 * MIB,
            batch_operations_max: 1024,
            connections_max: 10_000,
            connection_inflight_bytes: 8 * MIB,
            core_inflight_bytes: 256 * MIB,
            group_uncommitted_bytes: 16 * MIB,
            core_unapplied_bytes: 64 * MIB,
            peer_queue_bytes: 64 * MIB,
        }
    }
}

impl Settings {
    /// What this node means to found: the part of the settings that is equal on all nodes of the list.
    pub fn blueprint(&self) -> Blueprint {
        Blueprint {
            nodes: self.node.nodes.iter().map(|node| (node.name.clone(), node.address.clone())).collect(),
            groups: self.node.groups,
            replication: self.node.replication,
            set_size: Some(self.node.set_size).filter(|size| *size > 0),
            virtual_nodes: self.node.virtual_nodes,
        }
    }

    /// This node's position in the list, which is its number. The settings are checked: it is there.
    pub fn number(&self) -> u16 {
        let position = self.node.nodes.iter().position(|node| node.name == self.node.name);
        position.expect("a checked list holds this node") as u16
    }
}
