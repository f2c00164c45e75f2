//! A node: disks and stores that outlive its processes, and the process, if one runs.

use crate::disk::Disk;
use crate::transfer::Transfers;
use engine_core::journal::{Journal, SegmentId};
use engine_core::placement::map::ClusterMap;
use engine_core::shard::effects::SnapshotStep;
use engine_core::shard::{Effects, Shard};
use engine_core::state_machine::ApplyRun;
use engine_core::state_machine::model::Model;
use raft::ids::GroupId;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub struct Node {
    /// One per core.
    pub disks: Vec<CoreDisks>,
    /// The random number that the data directory has drawn.
    pub incarnation: u64,
    /// Its number in the list.
    pub number: u16,
    /// The cluster map it keeps.
    pub map: ClusterMap,
    /// The data directory says that the first replicas have been created.
    pub created: bool,
    /// How many processes it has had.
    pub life: u64,
    /// The process, if one runs.
    pub process: Option<Process>,
    /// Until then its process is stopped; its disks are not.
    pub paused_until: u64,
    /// The node it last asked for a newer map.
    pub asked: u16,
    /// Syncs take this much longer.
    pub sync_extra: u64,
    /// A store of it was lost, and not all its replicas are whole again.
    pub store_lost: bool,
    /// Its disk is nearly full.
    pub disk_full: bool,
    /// The next sync on this core fails.
    pub failing_core: Option<u16>,
}

/// What a core has on its disks.
#[derive(Debug, Default)]
pub struct CoreDisks {
    /// The journal's.
    pub journal: Disk,
    /// The store.
    pub store: Model,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// Its cores.
    pub cores: Vec<Core>,
    /// It hands its leaderships over, to stop; at this time it stops in any case.
    pub draining: Option<u64>,
}

/// What the engine's rim keeps for a core, without its sockets.
#[derive(Debug)]
pub struct Core {
    /// The shard.
    pub shard: Shard,
    /// What it wants done.
    pub effects: Effects,
    /// The journal.
    pub journal: Journal,
    /// Persist numbers in flight, each with the batch that completes it.
    pub unpersisted: VecDeque<(u64, u64)>,
    /// The batch that completes what recovery wrote, until it is promised.
    pub recovered: Option<u64>,
    /// Spares under way.
    pub spares_ordered: usize,
    /// Segments that wait to be recycled.
    pub idle: Vec<SegmentId>,
    /// How often the journal has had something to do.
    pub stirred: u64,
    /// Work for the store thread.
    pub store_work: VecDeque<StoreWork>,
    /// What the store thread is at.
    pub store_busy: Option<StoreBusy>,
    /// A store sync is under way or in the queue.
    pub store_syncing: bool,
    /// Snapshots under way.
    pub transfers: Transfers,
    /// A turn is about to end.
    pub turn_planned: bool,
    /// It takes nothing from outside any more.
    pub stopping: bool,
    /// When it next looks by itself whether it has ended.
    pub look_at: u64,
    /// Everything is durable, sealed and closed.
    pub stopped: bool,
}

/// Work for the store thread.
#[derive(Debug)]
pub enum StoreWork {
    /// Apply these runs.
    Apply(Vec<ApplyRun>),
    /// Sync.
    Sync,
    /// A chunk of a snapshot.
    Chunk {
        /// The group.
        group: GroupId,
        /// Which snapshot.
        id: u64,
        /// The number of the chunk behind it.
        next: u64,
        /// The bytes.
        chunk: Vec<u8>,
    },
    /// What the shard decided about a snapshot.
    Snapshot(SnapshotStep),
}

/// What the store thread is at.
#[derive(Debug)]
pub struct StoreBusy {
    /// Runs that are being applied as one batch; empty while it syncs.
    pub runs: Vec<ApplyRun>,
    /// What follows.
    pub then: Option<StoreWork>,
}

impl Node {
    /// A founder with empty disks.
    pub fn new(number: u16, map: &ClusterMap) -> Node {
        let entry = &map.nodes[usize::from(number)];
        Node {
            disks: (0..entry.shards).map(|_| CoreDisks::default()).collect(),
            incarnation: entry.incarnation,
            number,
            map: map.clone(),
            created: false,
            life: 0,
            process: None,
            paused_until: 0,
            asked: 0,
            sync_extra: 0,
            store_lost: false,
            disk_full: false,
            failing_core: None,
        }
    }

    /// Its disks are gone, and it has others.
    pub fn wipe(&mut self, incarnation: u64) {
        self.disks = self.disks.iter().map(|_| CoreDisks::default()).collect();
        self.incarnation = incarnation;
        self.created = false;
    }

    /// Whether its map knows it under another incarnation: it asks to be taken in, and does not start.
    pub fn wants_in(&self) -> bool {
        self.map.nodes[usize::from(self.number)].incarnation != self.incarnation
    }
}
