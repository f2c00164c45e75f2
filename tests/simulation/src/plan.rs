//! What a seed decides before the first event: the cluster, its settings, how bad network and disks are.

use crate::random::Random;
use engine_core::command::Limits;
use engine_core::placement::founding::{Blueprint, FoundingRecord};
use engine_core::placement::map::ClusterMap;
use engine_core::placement::ring::Ring;
use engine_core::{journal, shard};
use raft::ids::GroupId;
use std::collections::BTreeMap;

/// A millisecond of virtual time.
pub const MS: u64 = 1000;

/// From here on no new fault begins and all old ones end.
pub const PEACE: u64 = 21_500 * MS;

/// Clients start no operation after this.
pub const LAST_OPERATION: u64 = 26_500 * MS;

/// Every key is read once more.
pub const FINAL_READS: u64 = 28_500 * MS;

/// The end of a world.
pub const END: u64 = 30_000 * MS;

/// The fewest operations a world has.
pub const OPERATIONS_MIN: u64 = 500;

/// See the module.
#[derive(Debug)]
pub struct Plan {
    /// What the cluster was founded as.
    pub record: FoundingRecord,
    /// Its map.
    pub map: ClusterMap,
    /// Who owns which slot.
    pub ring: Ring,
    /// Between two ticks, by the node's own clock.
    pub tick: u64,
    /// The clock of each node: what it showed at the beginning, and how much it goes on in a thousand microseconds.
    pub clocks: Vec<(u64, u64)>,
    /// The journal's sizes.
    pub journal: journal::Options,
    /// The settings every core shares; node and seed are filled in at each start.
    pub shard: shard::Options,
    /// The network.
    pub network: NetworkPlan,
    /// A sync takes from .0 to .1 microseconds.
    pub sync: (u64, u64),
    /// The mean pause between two faults.
    pub fault_pause: u64,
    /// How often in a thousand times a new leader is struck in its first moments.
    pub ambush: u64,
    /// Clients, and how many operations each has under way.
    pub clients: (usize, usize),
    /// The mean pause of a client between two operations.
    pub think: u64,
    /// The keys that are put, deleted, swapped and read, and those that are counted up with compare-and-swap.
    pub keys: Vec<Vec<u8>>,
    /// How many of `keys`, at its end, are counters.
    pub counters: usize,
}

/// How the network misbehaves, in times out of a thousand.
#[derive(Clone, Copy, Debug)]
pub struct NetworkPlan {
    /// Frames keep their order, and one that is lost takes the connection with it, as TCP has it.
    pub ordered: bool,
    /// Frames lost.
    pub lost: u64,
    /// Frames that arrive twice.
    pub repeated: u64,
    /// Frames that take very long.
    pub late: u64,
    /// A usual delay, from .0 to .1 microseconds.
    pub delay: (u64, u64),
}

impl Plan {
    /// The plan of a seed.
    pub fn new(random: &mut Random) -> Plan {
        let nodes = random.between(3, 5) as u16;
        let replication = if nodes == 5 && random.per_mille(400) { 5 } else { 3 };
        let mixed = random.per_mille(400);
        let shards = random.between(1, 3);
        let members: Vec<(u64, u16)> =
            (0..nodes).map(|_| (random.number(), if mixed { random.between(1, 3) } else { shards } as u16)).collect();
        let blueprint = Blueprint {
            nodes: (0..nodes).map(|node| (format!("n{node}"), format!("10.0.0.{node}:7400"))).collect(),
            groups: random.between(2, 5) as u32,
            replication,
            set_size: None,
            virtual_nodes: 8,
        };
        let record = blueprint.record(&members);
        let map = ClusterMap::founded(&record);
        let ring = map.ring();
        let block_bytes = *random.pick(&[512, 512, 1024, 4096]);
        let segment_bytes = *random.pick(&[32, 48, 64, 128]) << 10;
        let journal = journal::Options {
            segment_bytes,
            block_bytes,
            batch_bytes_max: *random.pick(&[block_bytes.max(2048), 8 << 10, segment_bytes as usize / 4]),
        };
        let election_ticks = random.between(8, 20) as u32;
        let shard = shard::Options {
            node: 0,
            start: 0,
            seed: 0,
            election_ticks,
            heartbeat_ticks: random.between(1, u64::from(election_ticks / 8)) as u32,
            idle_ticks: random.between(1, u64::from(election_ticks)) as u32,
            inflight_messages_max: *random.pick(&[1, 1, 2, 4, 16]),
            inflight_bytes_max: random.between(1, 64) as usize * 1024,
            append_bytes_max: *random.pick(&[1, 600, 4 << 10, 64 << 10]),
            window_bytes_max: *random.pick(&[0, 1 << 10, 8 << 10, 1 << 20]),
            uncommitted_bytes_max: *random.pick(&[4 << 10, 64 << 10, 1 << 20]),
            full_disk_bytes_max: 4 << 10,
            apply_bytes_max: *random.pick(&[1 << 10, 64 << 10, 1 << 20]),
            run_bytes_max: *random.pick(&[512, 4 << 10, 256 << 10]),
            lease: 0,
            waiting_max: *random.pick(&[4, 64, 1024]),
            batching_groups: *random.pick(&[1, 2, 3, 16]),
            snapshot_entries: random.between(10, 80),
            snapshot_log_bytes: random.between(4, 64) << 10,
            limits: Limits::default(),
        };
        // Leadership is contested: every leader is cut off as soon as it speaks, one entry at a time.
        let contested = random.per_mille(150);
        let network = NetworkPlan {
            ordered: random.per_mille(350),
            lost: *random.pick(&[0, 2, 10, 40]),
            repeated: *random.pick(&[0, 5, 30]),
            late: *random.pick(&[0, 2, 10]),
            delay: (random.between(30, 200), random.between(500, 8000)),
        };
        let (keys, counters) = keys(&ring, &map, random);
        let sync = (random.between(50, 500), *random.pick(&[1000, 4000, 15_000]));
        let tick = random.between(400, 700) * MS / u64::from(election_ticks);
        let clients = (random.between(3, 6) as usize, random.between(1, 3) as usize);
        // About 700 operations in all.
        let think = LAST_OPERATION * (clients.0 * clients.1) as u64 / 850;
        let fault_pause = random.between(250, 900) * MS;
        // Short of what the shortest wait of a follower is, by its slack and by what clocks differ (rule 10).
        let lease_ticks = u64::from(election_ticks / 2).saturating_sub(2);
        let leases = random.per_mille(500);
        let shard = shard::Options { lease: if leases { lease_ticks * tick } else { 0 }, ..shard };
        let clocks = (0..nodes).map(|_| (1 + random.below(1 << 50), random.between(980, 1_020))).collect();
        let (mut shard, mut sync, mut ambush) = (shard, sync, *random.pick(&[0, 50, 200]));
        if contested {
            (shard.append_bytes_max, shard.inflight_messages_max) = (1, 1);
            (sync, ambush) = ((50, 1000), random.between(600, 950));
        }
        Plan {
            record,
            map,
            ring,
            tick,
            clocks,
            journal,
            shard,
            network,
            sync,
            fault_pause: if contested { fault_pause * 4 } else { fault_pause },
            ambush,
            clients,
            think,
            keys,
            counters,
        }
    }

    /// The number of shards of a node.
    pub fn shards(&self, node: u16) -> u16 {
        self.map.nodes[usize::from(node)].shards
    }

    /// What a node's clock shows at `now`. It goes on whatever happens to the node.
    pub fn clock(&self, node: u16, now: u64) -> u64 {
        let (origin, speed) = self.clocks[usize::from(node)];
        origin + now * speed / 1_000
    }

    /// How long a tick of a node lasts.
    pub fn tick_of(&self, node: u16) -> u64 {
        self.tick * 1_000 / self.clocks[usize::from(node)].1
    }

    /// The nodes that hold a group.
    pub fn nodes_of(&self, group: GroupId) -> impl Iterator<Item = u16> + '_ {
        self.map.group(group).into_iter().flat_map(|group| &group.replicas).map(|replica| replica.node())
    }
}

/// Keys of every group, few enough that clients meet on each, among them the empty one and a binary one.
fn keys(ring: &Ring, map: &ClusterMap, random: &mut Random) -> (Vec<Vec<u8>>, usize) {
    let mut keys = vec![Vec::new(), vec![0, 0xff, 0x80, random.below(256) as u8]];
    let mut wanted: BTreeMap<GroupId, usize> = map.data_groups().map(|group| (group.id, 3)).collect();
    let mut number = 0;
    while wanted.values().any(|left| *left > 0) {
        let key = format!("key-{number}").into_bytes();
        number += 1;
        let left = wanted.get_mut(&ring.group_of(&key)).expect("the ring names data groups");
        if *left > 0 {
            *left -= 1;
            keys.push(key);
        }
    }
    let counters = 2;
    keys.extend((0..counters).map(|counter| format!("counter-{counter}").into_bytes()));
    (keys, counters)
}
