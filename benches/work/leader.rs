//! A core that leads all its groups, from the bytes it receives to the bytes it sends: frames, shard, journal, answers.
//!
//! Everybody else is a stand-in that agrees at once: two peers with perfect disks, the own disk, a store that says yes. What
//! they do is done aside.

use super::aside::aside;
use super::journal::{fresh, replica, write_out};
use super::replica::answer;
use engine_core::command::{Limits, Outcome};
use engine_core::exchange::{self, Beat, Word};
use engine_core::journal::Journal;
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::{ClusterMap, GroupEntry};
use engine_core::shard::{Answer, Effects, Event, GroupStart, Options, Pressure, RECOVERED, Serving, Shard, Ticket};
use engine_core::state_machine::{AppliedRun, ApplyRun};
use net::frame::{self, BODY_BYTES_MAX, Kind};
use net::peer;
use net::receive::RecvBuffer;
use net::response::Response;
use raft::Membership;
use raft::entry::{EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId};
use raft::replica::Restored;
use std::collections::VecDeque;

const CLIENT: u128 = 77;

pub struct Leader {
    shard: Shard,
    effects: Effects,
    journal: Journal,
    /// What waits for the shard.
    inbox: VecDeque<Event<'static>>,
    from_clients: RecvBuffer,
    from_peers: RecvBuffer,
    /// To the clients, to each peer, and from them.
    to_clients: Vec<u8>,
    to_peers: [Vec<u8>; 2],
    answers: Vec<u8>,
    /// Frames of puts, of group after group.
    puts: Vec<Vec<u8>>,
    next_put: usize,
    beats: u64,
    pub answered: u64,
}

impl Leader {
    /// A core with so many groups.
    pub fn new(groups: u32) -> Leader {
        let blueprint = Blueprint {
            nodes: (0..3).map(|node| (format!("n{node}"), format!("h{node}:1"))).collect(),
            groups: 1,
            replication: 3,
            set_size: None,
            virtual_nodes: 8,
        };
        let mut map = ClusterMap::founded(&blueprint.record(&[(1, 1), (2, 1), (3, 1)]));
        // By hand, as a core may hold more groups than a cluster is founded with.
        let entry = map.groups[1].clone();
        map.groups.truncate(1);
        map.groups.extend((1..=groups).map(|id| GroupEntry { id: GroupId(id), ..entry.clone() }));
        let mut journal = fresh();
        for group in &map.groups {
            journal.create_replica(replica(group.id, own(group)));
        }
        write_out(&mut journal);
        let mut leader = Leader {
            shard: Shard::new(options(), &map, map.groups.iter().map(start).collect()),
            effects: Effects::default(),
            journal,
            inbox: VecDeque::from([Event::Persisted { through: RECOVERED }]),
            from_clients: RecvBuffer::new(64 << 10, BODY_BYTES_MAX),
            from_peers: RecvBuffer::new(512 << 10, BODY_BYTES_MAX),
            to_clients: Vec::new(),
            to_peers: [Vec::new(), Vec::new()],
            answers: Vec::new(),
            puts: Vec::new(),
            next_put: 0,
            beats: 0,
            answered: 0,
        };
        leader.settle();
        assert_eq!(leader.shard.led(), groups as usize + 1);
        leader.meet_client(&map);
        leader
    }

    /// The client opens a session in every group, and has a put ready for each.
    fn meet_client(&mut self, map: &ClusterMap) {
        let groups: Vec<GroupId> = map.groups.iter().map(|group| group.id).filter(|group| group.0 > 0).collect();
        for group in &groups {
            let mut bytes = Vec::new();
            frame::write(&mut bytes, Kind::Write, group.0, 1, &super::open(*group, CLIENT));
            self.from_clients.push(&bytes);
            self.receive();
            self.settle();
        }
        self.tick();
        let ring = map.ring();
        let mut keys: Vec<Option<String>> = vec![None; groups.len()];
        for number in 0.. {
            let key = format!("bench:{number:012x}");
            let of = ring.group_of(key.as_bytes());
            keys[groups.iter().position(|group| *group == of).expect("it is here")].get_or_insert(key);
            if number % 64 == 0 && keys.iter().all(Option::is_some) || number > 40 * groups.len() as u64 {
                break;
            }
        }
        for (group, key) in groups.iter().zip(keys) {
            // With very many groups a few own no slot.
            let Some(key) = key else { continue };
            let mut bytes = Vec::new();
            // Its Open was the entry behind the leader's first.
            let put = super::put(*group, CLIENT, Index(2), 1, key.as_bytes());
            frame::write(&mut bytes, Kind::Write, group.0, 1, &put);
            self.puts.push(bytes);
        }
    }

    /// One turn that takes so many puts, of as many groups as there are or as there are puts, and those that follow
    /// until all are answered.
    pub fn turn(&mut self, puts: usize) {
        aside(|| {
            for _ in 0..puts {
                self.from_clients.push(&self.puts[self.next_put]);
                self.next_put = (self.next_put + 1) % self.puts.len();
            }
        });
        self.receive();
        self.settle();
    }

    /// A tick passes, and the peers live.
    pub fn tick(&mut self) {
        self.inbox.push_back(Event::Tick);
        self.beats += 1;
        for node in [1, 2] {
            let word =
                Word::Beat(Beat { start: 100 + u64::from(node), sequence: self.beats, given_up: 0, declines: false });
            self.inbox.push_back(Event::Word { from: (node, 0), word });
        }
        self.settle();
    }

    /// Groups that ticks look at.
    pub fn awake(&self) -> usize {
        self.shard.awake()
    }

    fn receive(&mut self) {
        while let Some(frame) = self.from_clients.next_frame().expect("clients are sound") {
            let ticket = Ticket { connection: 1, request: frame.header.id, bytes: frame.body.len() as u32, mark: 0 };
            let group = GroupId(frame.header.target);
            self.shard.handle(Event::Write { ticket, group, command: frame.body }, &mut self.effects);
        }
    }

    /// Turns, until nothing is left to do.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.inbox.pop_front() {
                self.shard.handle(event, &mut self.effects);
            }
            self.shard.finish(&mut self.effects);
            self.carry_out();
            if self.inbox.is_empty() {
                return;
            }
        }
    }

    fn carry_out(&mut self) {
        let effects = &mut self.effects;
        for (node, out) in [1, 2].into_iter().zip(&mut self.to_peers) {
            out.clear();
            let of = |(_, message): &&(GroupId, raft::message::Message)| message.to.node() == node;
            peer::encode(out, effects.messages.iter().filter(of).map(|(group, message)| (*group, message)));
        }
        effects.messages.clear();
        if !effects.persist.is_empty() {
            for persist in effects.persist.drain(..) {
                self.journal.append(persist.group, persist.hard_state, None, &persist.entries);
            }
            write_out(&mut self.journal);
            self.inbox.push_back(Event::Persisted { through: effects.persist_number });
        }
        for (ticket, answer) in effects.answers.drain(..) {
            let Answer::Outcome(outcome) = answer else { panic!("{answer:?}") };
            Response::Outcome(outcome).write(&mut self.to_clients, ticket.request);
            self.answered += 1;
        }
        self.to_clients.clear();
        for (group, start, membership) in effects.compact.drain(..) {
            self.journal.compact(group, start, &membership);
        }
        let runs = std::mem::take(&mut effects.apply);
        aside(|| {
            for run in runs {
                self.inbox.push_back(Event::Applied { bytes: run.charge(), run: applied(&run) });
            }
            for (to, word) in effects.words.drain(..) {
                if let Word::Round(round) = word {
                    let answer = exchange::Answer { start: round.start, number: round.number, refused: Vec::new() };
                    self.inbox.push_back(Event::Word { from: to, word: Word::Answer(answer) });
                }
            }
            if std::mem::take(&mut effects.want_store_sync) {
                let durable = self.shard.views().map(|view| {
                    let term = self.shard.replica(view.group).and_then(|replica| replica.term_of(view.applied));
                    (view.group, LogId { term: term.unwrap_or_default(), index: view.applied })
                });
                let durable = durable.collect();
                self.inbox.push_back(Event::StoreSynced { durable, pressure: Pressure::None });
            }
            self.answers.clear();
            for out in &self.to_peers {
                self.from_peers.push(out);
                while let Some(frame) = self.from_peers.next_frame().expect("frames are sound") {
                    for message in peer::decode(frame.body) {
                        let (group, message) = message.expect("messages are sound");
                        if let Some(answer) = answer(&message) {
                            peer::encode(&mut self.answers, [(group, &answer)]);
                        }
                    }
                }
            }
            self.from_peers.push(&self.answers);
        });
        while let Some(frame) = self.from_peers.next_frame().expect("frames are sound") {
            for message in peer::decode(frame.body) {
                let (group, message) = message.expect("messages are sound");
                self.inbox.push_back(Event::Message { group, message });
            }
        }
    }
}

fn applied(run: &ApplyRun) -> AppliedRun {
    let mut outcomes = Vec::new();
    for entry in run.entries.iter().filter(|entry| run.answer && entry.kind == EntryKind::Command) {
        // The first command of a group is the client's Open.
        let opened = entry.index == Index(2);
        outcomes.push((entry.index, if opened { Outcome::Opened { session: entry.index } } else { Outcome::Done }));
    }
    let last = run.entries.last().expect("a run has entries").id();
    AppliedRun { group: run.group, applied: last, outcomes, crowded: Vec::new() }
}

fn own(group: &GroupEntry) -> ReplicaId {
    *group.replicas.iter().find(|replica| replica.node() == 0).expect("three of three")
}

fn start(group: &GroupEntry) -> GroupStart {
    let restored = Restored {
        hard_state: HardState::default(),
        log_start: LogId::default(),
        membership: Membership::new(&group.replicas, &[]).expect("three voters"),
        terms: Vec::new(),
        last: Index(0),
        memberships: Vec::new(),
        tail: Vec::new(),
        applied: Index(0),
    };
    let replica = own(group);
    GroupStart { group: group.id, replica, restored, serving: Serving::Whole, preferred: replica, new: true }
}

/// As a node has them by default.
fn options() -> Options {
    Options {
        node: 0,
        start: 9,
        seed: 1,
        election_ticks: 20,
        heartbeat_ticks: 2,
        idle_ticks: 20,
        inflight_messages_max: 256,
        inflight_bytes_max: 8 << 20,
        append_bytes_max: 256 << 10,
        window_bytes_max: 8 << 20,
        uncommitted_bytes_max: 16 << 20,
        full_disk_bytes_max: 16 << 20,
        apply_bytes_max: 64 << 20,
        run_bytes_max: 1 << 20,
        lease: 0,
        waiting_max: 100_000,
        batching_groups: 16,
        snapshot_entries: 10_000,
        snapshot_log_bytes: 64 << 20,
        limits: Limits::default(),
    }
}
