//! Three nodes of one core each, whose network and disks do at once what they are told.

use engine_core::command::{self, ClientId, Command, Limits, Operation, Outcome, SessionRef};
use engine_core::exchange::Word;
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::ClusterMap;
use engine_core::shard::effects::SnapshotStep;
use engine_core::shard::{Effects, Event, GroupStart, Options, Query, RECOVERED, Serving, Shard, Ticket};
use engine_core::state_machine::{AppliedRun, ApplyRun};
use raft::Membership;
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::Message;
use raft::replica::{Restored, Role};
use std::collections::{BTreeMap, VecDeque};

/// The election timeout.
pub const ELECTION_TICKS: u64 = 10;

/// A log longer than this is cut.
pub const SNAPSHOT_ENTRIES: u64 = 100;

/// See the module.
pub struct Cluster {
    map: ClusterMap,
    idle_ticks: u32,
    nodes: Vec<Node>,
    network: VecDeque<(u16, u16, Packet)>,
    starts: u64,
    /// What was sent since the last [`Cluster::forget`].
    pub messages: Vec<(u16, GroupId, Message)>,
    /// The words, with their senders and receivers.
    pub words: Vec<(u16, u16, Word)>,
    /// Requests answered since then.
    pub answered: usize,
    /// Reads that may be answered, since then.
    pub reads: usize,
}

struct Node {
    shard: Shard,
    effects: Effects,
    paused: bool,
    /// While its disk does nothing: what it would report.
    disk: Option<u64>,
    /// What a restart finds.
    kept: Kept,
}

type Kept = BTreeMap<GroupId, (HardState, Vec<Entry>)>;

enum Packet {
    Message(GroupId, Message),
    Word(Word),
}

impl Cluster {
    /// Groups sleep after an election timeout.
    pub fn new(groups: u32) -> Cluster {
        Cluster::with_idle_ticks(groups, ELECTION_TICKS as u32)
    }

    pub fn with_idle_ticks(groups: u32, idle_ticks: u32) -> Cluster {
        let blueprint = Blueprint {
            nodes: (0..3).map(|node| (format!("n{node}"), format!("h{node}:1"))).collect(),
            groups,
            replication: 3,
            set_size: None,
            virtual_nodes: 8,
        };
        let map = ClusterMap::founded(&blueprint.record(&[(1, 1), (2, 1), (3, 1)]));
        let mut cluster = Cluster {
            nodes: (0..3)
                .map(|node| Node::new(&map, node, u64::from(node), idle_ticks, BTreeMap::new(), Serving::Whole))
                .collect(),
            map,
            idle_ticks,
            network: VecDeque::new(),
            starts: 3,
            messages: Vec::new(),
            words: Vec::new(),
            answered: 0,
            reads: 0,
        };
        for node in 0..3 {
            cluster.tell(node, Event::Persisted { through: RECOVERED });
        }
        cluster.settle();
        cluster
    }

    /// Ticks everybody, and lets everything arrive after each tick.
    pub fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for node in 0..3 {
                if !self.nodes[usize::from(node)].paused {
                    self.tell(node, Event::Tick);
                }
            }
            self.settle();
        }
    }

    /// Everything that is on its way arrives.
    pub fn settle(&mut self) {
        self.deliver_until(|_| false);
    }

    /// What is on its way arrives, until all has or something is so.
    pub fn deliver_until(&mut self, is_so: impl Fn(&Cluster) -> bool) {
        while !is_so(self) {
            let Some((from, to, packet)) = self.network.pop_front() else { return };
            if self.nodes[usize::from(to)].paused || self.nodes[usize::from(from)].paused {
                continue;
            }
            match packet {
                Packet::Message(group, message) => self.tell(to, Event::Message { group, message }),
                Packet::Word(word) => self.tell(to, Event::Word { from: (from, 0), word }),
            }
        }
    }

    /// One event and the turn that it makes.
    pub fn tell(&mut self, number: u16, event: Event<'_>) {
        let node = &mut self.nodes[usize::from(number)];
        node.shard.handle(event, &mut node.effects);
        loop {
            node.shard.finish(&mut node.effects);
            let effects = &mut node.effects;
            for (to, word) in effects.words.drain(..) {
                self.words.push((number, to.0, word.clone()));
                self.network.push_back((number, to.0, Packet::Word(word)));
            }
            for (group, message) in effects.messages.drain(..) {
                self.messages.push((number, group, message.clone()));
                self.network.push_back((number, message.to.node(), Packet::Message(group, message)));
            }
            self.answered += effects.answers.drain(..).count();
            self.reads += effects.reads.drain(..).count();
            let runs: Vec<ApplyRun> = effects.apply.drain(..).collect();
            let persists = !effects.persist.is_empty();
            for persist in effects.persist.drain(..) {
                let (hard_state, log) = node.kept.entry(persist.group).or_default();
                *hard_state = persist.hard_state.unwrap_or(*hard_state);
                log.retain(|entry| persist.entries.first().is_none_or(|first| entry.index < first.index));
                log.extend(persist.entries);
            }
            let through = effects.persist_number;
            match &mut node.disk {
                Some(waits) if persists => *waits = through,
                None if persists => node.shard.handle(Event::Persisted { through }, &mut node.effects),
                _ if runs.is_empty() => return,
                _ => {}
            }
            for run in runs {
                let (applied, bytes) = (applied(&run), run.charge());
                node.shard.handle(Event::Applied { run: applied, bytes }, &mut node.effects);
            }
        }
    }

    /// A client opens its session.
    pub fn write(&mut self, node: u16, group: GroupId) {
        let session = SessionRef { group, opened: Index(0) };
        let open = Command { client: ClientId(1), sequence: 0, acknowledged: 0, session, operation: Operation::Open };
        let command = command::encode(&open);
        self.tell(
            node,
            Event::Write { ticket: Ticket { connection: 7, request: 1, bytes: 0, mark: 0 }, group, command: &command },
        );
    }

    /// A client reads; the messages wait until everybody has been told.
    pub fn read(&mut self, number: u16, group: GroupId) {
        let query = Query::Scan { start: Vec::new(), end: None, limit: 1 };
        let ticket = Ticket { connection: 7, request: u64::from(group.0), bytes: 0, mark: 0 };
        let node = &mut self.nodes[usize::from(number)];
        node.shard.handle(Event::Read { ticket, group, query, stale: false }, &mut node.effects);
        self.network.push_back((number, number, Packet::Word(nothing())));
    }

    /// Neither hears nor says nor counts anything.
    pub fn pause(&mut self, node: u16) {
        self.nodes[usize::from(node)].paused = true;
    }

    pub fn resume(&mut self, node: u16) {
        self.nodes[usize::from(node)].paused = false;
    }

    /// Another process takes over what the disk holds; nobody notices a connection.
    pub fn restart(&mut self, node: u16) {
        self.restart_as(node, Serving::Whole);
    }

    /// The same with replicas that may do so much.
    pub fn restart_as(&mut self, node: u16, serving: Serving) {
        self.starts += 1;
        let kept = std::mem::take(&mut self.nodes[usize::from(node)].kept);
        self.nodes[usize::from(node)] = Node::new(&self.map, node, self.starts, self.idle_ticks, kept, serving);
        self.tell(node, Event::Persisted { through: RECOVERED });
    }

    pub fn stop_disk(&mut self, node: u16) {
        self.nodes[usize::from(node)].disk = Some(0);
    }

    pub fn start_disk(&mut self, node: u16) {
        if let Some(through) = self.nodes[usize::from(node)].disk.take() {
            self.tell(node, Event::Persisted { through });
        }
    }

    /// Begins a new count.
    pub fn forget(&mut self) {
        self.messages.clear();
        self.words.clear();
        (self.answered, self.reads) = (0, 0);
    }

    /// How many groups each node's ticks look at.
    pub fn awake(&self) -> [usize; 3] {
        [0, 1, 2].map(|node: usize| self.nodes[node].shard.awake())
    }

    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    pub fn last(&self, node: u16, group: GroupId) -> Index {
        self.replica(node, group).last().index
    }

    pub fn term(&self, node: u16, group: GroupId) -> Term {
        self.replica(node, group).term()
    }

    pub fn membership(&self, node: u16, group: GroupId) -> &Membership {
        self.replica(node, group).membership()
    }

    pub fn shard(&self, node: u16) -> &Shard {
        &self.nodes[usize::from(node)].shard
    }

    /// Snapshots that a node was taking in and gave up, since it started.
    pub fn abandoned(&self, node: u16) -> usize {
        let steps = &self.nodes[usize::from(node)].effects.snapshot_steps;
        steps.iter().filter(|step| matches!(step, SnapshotStep::Abandon { .. })).count()
    }

    /// Snapshots that a node was sending and then called off, since it started.
    pub fn called_off(&self, node: u16) -> usize {
        self.nodes[usize::from(node)].effects.snapshots_over.len()
    }

    fn replica(&self, node: u16, group: GroupId) -> &raft::Replica {
        self.nodes[usize::from(node)].shard.replica(group).expect("everybody has every group")
    }

    pub fn to_hand_over(&self, node: u16) -> usize {
        self.nodes[usize::from(node)].shard.to_hand_over()
    }

    pub fn led(&self, node: u16) -> usize {
        self.nodes[usize::from(node)].shard.led()
    }

    pub fn role(&self, node: u16, group: GroupId) -> Role {
        self.nodes[usize::from(node)].shard.replica(group).expect("everybody has every group").role()
    }

    pub fn log_start(&self, node: u16, group: GroupId) -> Index {
        self.nodes[usize::from(node)].shard.replica(group).expect("everybody has every group").log_start().index
    }

    /// What the store of a node has applied.
    pub fn applied(&self, node: u16, group: GroupId) -> LogId {
        let shard = &self.nodes[usize::from(node)].shard;
        let view = shard.views().find(|view| view.group == group).expect("everybody has every group");
        let term = shard.replica(group).and_then(|replica| replica.term_of(view.applied));
        LogId { term: term.expect("it is in the log"), index: view.applied }
    }

    pub fn leader(&self, group: GroupId) -> u16 {
        (0..3).find(|node| self.role(*node, group) == Role::Leader).expect("it is led")
    }

    /// Runs until every group has a leader on another node.
    pub fn ticks_until_led_without(&mut self, without: u16) -> u64 {
        let groups: Vec<GroupId> = self.map.groups.iter().map(|group| group.id).collect();
        for ticks in 0..20 * ELECTION_TICKS {
            let led = |group| (0..3).any(|node| node != without && self.role(node, group) == Role::Leader);
            if groups.iter().all(|group| led(*group)) {
                return ticks;
            }
            self.run(1);
        }
        panic!("some group finds no leader without node {without}");
    }

    /// The term of every replica.
    pub fn terms(&self) -> Vec<Term> {
        self.nodes.iter().flat_map(|node| node.shard.views().map(|view| view.term)).collect()
    }
}

impl Node {
    fn new(map: &ClusterMap, node: u16, start: u64, idle_ticks: u32, kept: Kept, serving: Serving) -> Node {
        let start_of = |group: &engine_core::placement::map::GroupEntry| GroupStart {
            group: group.id,
            replica: *group.replicas.iter().find(|replica| replica.node() == node).expect("three of three"),
            restored: restored(&group.replicas, kept.get(&group.id).cloned().unwrap_or_default()),
            serving,
            preferred: group.replicas[0],
            new: !kept.contains_key(&group.id),
        };
        let options = Options {
            node,
            start,
            seed: 1 + start,
            election_ticks: ELECTION_TICKS as u32,
            heartbeat_ticks: 1,
            idle_ticks,
            inflight_messages_max: 8,
            inflight_bytes_max: 1 << 20,
            append_bytes_max: 1 << 16,
            window_bytes_max: 1 << 20,
            uncommitted_bytes_max: 1 << 20,
            full_disk_bytes_max: 1 << 20,
            apply_bytes_max: 1 << 20,
            run_bytes_max: 1 << 20,
            lease: 0,
            waiting_max: 100,
            batching_groups: 16,
            snapshot_entries: SNAPSHOT_ENTRIES,
            snapshot_log_bytes: 1 << 20,
            limits: Limits::default(),
        };
        let shard = Shard::new(options, map, map.groups.iter().map(start_of).collect());
        Node { shard, effects: Effects::default(), paused: false, disk: None, kept }
    }
}

fn restored(replicas: &[ReplicaId], (hard_state, log): (HardState, Vec<Entry>)) -> Restored {
    let mut terms: Vec<(Index, Term)> = Vec::new();
    for entry in &log {
        if terms.last().is_none_or(|(_, term)| *term != entry.term) {
            terms.push((entry.index, entry.term));
        }
    }
    Restored {
        hard_state,
        log_start: LogId::default(),
        membership: Membership::new(replicas, &[]).expect("three voters"),
        terms,
        last: log.last().map_or(Index(0), |entry| entry.index),
        memberships: Vec::new(),
        tail: log,
        applied: Index(0),
    }
}

/// A word that says nothing to anybody: it only makes a turn.
fn nothing() -> Word {
    Word::Answer(engine_core::exchange::Answer { start: 0, number: 0, refused: Vec::new() })
}

fn applied(run: &ApplyRun) -> AppliedRun {
    let commands = run.entries.iter().filter(|entry| run.answer && entry.kind == EntryKind::Command);
    let outcomes = commands.map(|entry| (entry.index, Outcome::Opened { session: entry.index })).collect();
    let last = run.entries.last().expect("a run has entries").id();
    AppliedRun { group: run.group, applied: last, outcomes, crowded: Vec::new() }
}
