//! Node 0 of three, alone with its one group: the test says what the others say and what the disk has done.

use engine_core::command::Limits;
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::ClusterMap;
use engine_core::shard::{Effects, Event, GroupStart, Options, RECOVERED, Serving, Shard};
use engine_core::snapshot::Header;
use raft::Membership;
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::{Body, Message};
use raft::payload::Payload;
use raft::replica::Restored;

/// What the store may be behind.
pub const APPLY_BYTES_MAX: usize = 1 << 20;

/// Requests that may wait.
pub const WAITING_MAX: usize = 100;

/// The group.
pub const GROUP: GroupId = GroupId(1);

/// Ends the turn, and its persist is durable.
pub fn synced(shard: &mut Shard, effects: &mut Effects) {
    shard.finish(effects);
    let through = effects.persist_number;
    shard.handle(Event::Persisted { through }, effects);
    shard.finish(effects);
}

/// What recovery wrote is durable, and with the vote of `voter` the own replica leads in term 1. Its turn is not over.
pub fn elect(shard: &mut Shard, effects: &mut Effects, voter: ReplicaId) {
    shard.handle(Event::Persisted { through: RECOVERED }, effects);
    shard.finish(effects);
    tell(shard, effects, voter, Term(1), Body::PreVoteReply { granted: true });
    synced(shard, effects);
    tell(shard, effects, voter, Term(1), Body::VoteReply { granted: true });
}

/// Another replica of the group says something.
pub fn tell(shard: &mut Shard, effects: &mut Effects, from: ReplicaId, term: Term, body: Body) {
    let message = Message { from, to: ReplicaId::new(0, 0), term, body };
    shard.handle(Event::Message { group: GROUP, message }, effects);
}

/// A snapshot of everything up to `last` that the first of the other replicas sends to the own one in term 1.
pub fn snapshot(others: [ReplicaId; 2], last: LogId) -> Header {
    let voters = [ReplicaId::new(0, 0), others[0], others[1]];
    let membership = Membership::new(&voters, &[]).expect("three voters").encode();
    Header { group: GROUP, from: others[0], to: voters[0], term: Term(1), id: 5, last, membership }
}

/// Node 0 of three with one group, whose log held `entries` no-ops of term 1 when it started; and the other replicas.
pub fn shard(entries: u64) -> (Shard, [ReplicaId; 2]) {
    serving(entries, Serving::Whole)
}

/// The same with a replica that may do so much.
pub fn serving(entries: u64, serving: Serving) -> (Shard, [ReplicaId; 2]) {
    leasing(entries, serving, 0)
}

/// The same with leases of so many microseconds.
pub fn leasing(entries: u64, serving: Serving, lease: u64) -> (Shard, [ReplicaId; 2]) {
    changed(entries, serving, |options| options.lease = lease)
}

/// The same with other settings.
pub fn changed(entries: u64, serving: Serving, change: impl FnOnce(&mut Options)) -> (Shard, [ReplicaId; 2]) {
    let blueprint = Blueprint {
        nodes: (0..3).map(|node| (format!("n{node}"), format!("h{node}:1"))).collect(),
        groups: 1,
        replication: 3,
        set_size: None,
        virtual_nodes: 8,
    };
    let map = ClusterMap::founded(&blueprint.record(&[(1, 1), (2, 1), (3, 1)]));
    let replicas = [0, 1, 2].map(|node| ReplicaId::new(node, 0));
    let tail: Vec<Entry> = (1..=entries)
        .map(|index| Entry { term: Term(1), index: Index(index), kind: EntryKind::Noop, payload: Payload::from([]) })
        .collect();
    let restored = Restored {
        hard_state: HardState { term: Term(u64::from(entries > 0)), vote: None },
        log_start: LogId::default(),
        membership: Membership::new(&replicas, &[]).unwrap(),
        terms: tail.iter().take(1).map(|entry| (entry.index, entry.term)).collect(),
        last: Index(entries),
        memberships: Vec::new(),
        tail,
        applied: Index(0),
    };
    let start =
        GroupStart { group: GROUP, replica: replicas[0], restored, serving, preferred: replicas[0], new: entries == 0 };
    let mut options = Options {
        node: 0,
        start: 1,
        seed: 1,
        election_ticks: 10,
        heartbeat_ticks: 1,
        idle_ticks: 10,
        inflight_messages_max: 8,
        inflight_bytes_max: 1 << 20,
        append_bytes_max: 1 << 16,
        window_bytes_max: 1 << 20,
        uncommitted_bytes_max: 1 << 20,
        full_disk_bytes_max: 1 << 20,
        apply_bytes_max: APPLY_BYTES_MAX,
        run_bytes_max: 1 << 20,
        lease: 0,
        waiting_max: WAITING_MAX,
        batching_groups: 16,
        snapshot_entries: 1000,
        snapshot_log_bytes: 1 << 20,
        limits: Limits::default(),
    };
    change(&mut options);
    (Shard::new(options, &map, vec![start]), [replicas[1], replicas[2]])
}
