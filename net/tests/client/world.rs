//! A scripted cluster around the sans-IO client: the test says what every node does, and when.

use engine_core::command::{ArchivedCommand, ClientId, Command, Operation, Outcome, access};
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::ClusterMap;
use net::client::{Answer, ClientError, ClientOptions, Completion, ConnectionId, Core, Effect, Request, RequestId};
use net::frame::{BODY_BYTES_MAX, Kind};
use net::hello::{HELLO_BYTES, Hello, HelloRefusal, HelloReply};
use net::receive::RecvBuffer;
use net::response::{Refusal, Response};
use raft::ids::{GroupId, Index};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub const TIMEOUT: Duration = Duration::from_secs(5);

/// What a node takes of one connection before it reads it no further: requests, and bytes of them.
const INFLIGHT_MAX: usize = 16_384;
const INFLIGHT_BYTES_MAX: usize = 8 << 20;

/// Scans among them.
const INFLIGHT_SCANS_MAX: usize = 8;

/// What a node charges a request beyond its body.
const REQUEST_BYTES: usize = 256;

/// One request as a node reads it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub connection: ConnectionId,
    pub address: String,
    pub core: u16,
    pub kind: Kind,
    pub group: u32,
    pub id: u64,
    pub body: Vec<u8>,
}

impl Asked {
    /// The command of a write.
    pub fn command(&self) -> Command {
        assert_eq!(self.kind, Kind::Write);
        let archived: &ArchivedCommand = access(&self.body).expect("a sound command");
        rkyv::deserialize::<Command, rkyv::rancor::Error>(archived).expect("plain data")
    }

    pub fn is_open(&self) -> bool {
        self.kind == Kind::Write && self.command().operation == Operation::Open
    }
}

struct Line {
    address: String,
    core: u16,
    recv: RecvBuffer,
    greeted: bool,
    inflight: usize,
    inflight_bytes: usize,
    inflight_scans: usize,
}

pub struct World {
    pub core: Core,
    pub map: ClusterMap,
    pub now: Duration,
    /// What a connection to the address meets: `None` greets.
    pub refused: BTreeMap<String, Refused>,
    /// Connections of which the network takes nothing more.
    pub full: BTreeSet<ConnectionId>,
    /// Those that the client has named as having something to send.
    to_send: BTreeSet<ConnectionId>,
    /// Nodes that answer no ping.
    pub dead: BTreeSet<String>,
    lines: BTreeMap<ConnectionId, Line>,
    asked: VecDeque<Asked>,
    pub connects: Vec<(String, u16)>,
    /// Which address of its name each of them was to begin with.
    pub address_turns: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// Nobody listens.
    Connection,
    /// The connection opens and nothing is ever said.
    Silent,
    /// The hello is refused.
    Hello(HelloRefusal),
    /// It greets, as a node of another cluster.
    AsAnother,
    /// The hello is answered with these bytes.
    Says(&'static [u8]),
}

/// A cluster of `nodes` nodes called n0, n1, ... at n0:1, n1:1, ..., with four groups of up to three replicas.
pub fn map(nodes: u16, shards: u16) -> ClusterMap {
    let blueprint = Blueprint {
        nodes: (0..nodes).map(|node| (format!("n{node}"), format!("n{node}:1"))).collect(),
        groups: 4,
        replication: nodes.min(3),
        set_size: None,
        virtual_nodes: 64,
    };
    ClusterMap::founded(&blueprint.record(&(0..nodes).map(|node| (u64::from(node) + 100, shards)).collect::<Vec<_>>()))
}

impl World {
    pub fn new(options: ClientOptions) -> World {
        World::of(map(3, 1), &["n0:1"], options)
    }

    pub fn of(map: ClusterMap, endpoints: &[&str], options: ClientOptions) -> World {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        World {
            core: Core::new(&endpoints, options, ClientId(7), 1),
            map,
            now: Duration::from_secs(1000),
            refused: BTreeMap::new(),
            full: BTreeSet::new(),
            to_send: BTreeSet::new(),
            dead: BTreeSet::new(),
            lines: BTreeMap::new(),
            asked: VecDeque::new(),
            connects: Vec::new(),
            address_turns: Vec::new(),
        }
    }

    pub fn submit(&mut self, request: Request) -> RequestId {
        self.core.submit(request, TIMEOUT, self.now)
    }

    pub fn put(&mut self, key: &[u8], value: &[u8]) -> RequestId {
        self.submit(Request::Write(Operation::Put { key: key.to_vec(), value: value.to_vec(), return_old: false }))
    }

    pub fn get(&mut self, key: &[u8]) -> RequestId {
        self.submit(Request::Get { key: key.to_vec(), stale: false })
    }

    /// A key of the group.
    pub fn key_of(&self, group: u32) -> Vec<u8> {
        self.keys_of(group, 1).remove(0)
    }

    pub fn keys_of(&self, group: u32, count: usize) -> Vec<Vec<u8>> {
        let ring = self.map.ring();
        let keys = (0..).map(|number| format!("key{number}").into_bytes());
        keys.filter(|key| ring.group_of(key) == GroupId(group)).take(count).collect()
    }

    /// The node the map prefers as the leader of the group.
    pub fn leader_of(&self, group: u32) -> u16 {
        self.map.group(GroupId(group)).expect("a group").replicas[0].node()
    }

    /// Another node with a replica of the group.
    pub fn follower_of(&self, group: u32) -> u16 {
        self.map.group(GroupId(group)).expect("a group").replicas[1].node()
    }

    /// Carries out effects, greets, and collects requests until nothing moves.
    pub fn settle(&mut self) {
        loop {
            self.core.tick(self.now);
            let mut moved = false;
            while let Some(effect) = self.core.next_effect() {
                moved = true;
                self.effect(effect);
            }
            self.to_send.extend(std::iter::from_fn(|| self.core.next_to_send()));
            for id in self.lines.keys().copied().collect::<Vec<_>>() {
                moved |= self.move_bytes(id);
            }
            if !moved {
                return;
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { connection, address, core, address_turn } => {
                self.address_turns.push(address_turn);
                self.connects.push((address.clone(), core));
                if let Some(Refused::Connection) = self.refused.get(&address) {
                    return self.core.lost(connection, "connection refused", self.now);
                }
                self.core.connected(connection, self.now);
                let recv = RecvBuffer::new(0, BODY_BYTES_MAX);
                let line =
                    Line { address, core, recv, greeted: false, inflight: 0, inflight_bytes: 0, inflight_scans: 0 };
                self.lines.insert(connection, line);
            }
            Effect::Close { connection } => {
                self.lines.remove(&connection);
            }
        }
    }

    fn move_bytes(&mut self, id: ConnectionId) -> bool {
        if self.full.contains(&id) || !self.to_send.remove(&id) {
            return self.read(id);
        }
        let output = self.core.output(id).to_vec();
        self.core.sent(id, output.len());
        let Some(line) = self.lines.get_mut(&id) else { return true };
        line.recv.push(&output);
        if !line.greeted {
            let bytes: [u8; HELLO_BYTES] = line.recv.next_bytes(HELLO_BYTES).expect("a hello").try_into().unwrap();
            let hello = Hello::decode(&bytes).expect("a sound hello");
            assert_eq!(hello.core, line.core);
            line.greeted = true;
            let status = match self.refused.get(&line.address) {
                Some(Refused::Silent) => return true,
                Some(Refused::Says(bytes)) => {
                    self.feed(id, bytes);
                    return true;
                }
                Some(Refused::Hello(refusal)) => Err(*refusal),
                _ => Ok(()),
            };
            let shards = self.map.nodes[0].shards;
            let another = matches!(self.refused.get(&line.address), Some(Refused::AsAnother));
            let (node, cluster, core) = (0, self.map.cluster ^ u128::from(another), line.core);
            let reply = HelloReply { status, core, shards, node, cluster, incarnation: 1, start: 1 };
            self.feed(id, &reply.encode());
            return true;
        }
        self.read(id);
        true
    }

    /// The network, full before, takes so many bytes more.
    pub fn squeeze(&mut self, id: ConnectionId, count: usize) {
        let output = self.core.output(id)[..count].to_vec();
        self.core.sent(id, count);
        self.lines.get_mut(&id).expect("an open connection").recv.push(&output);
    }

    /// A node reads what has come, as long as it has room. Pings are answered at once.
    fn read(&mut self, id: ConnectionId) -> bool {
        let (mut moved, mut pings) = (false, Vec::new());
        let Some(line) = self.lines.get_mut(&id).filter(|line| line.greeted) else { return false };
        while line.inflight < INFLIGHT_MAX
            && line.inflight_bytes < INFLIGHT_BYTES_MAX
            && line.inflight_scans < INFLIGHT_SCANS_MAX
            && let Some(frame) = line.recv.next_frame().expect("a sound frame")
        {
            moved = true;
            if frame.header.kind() == Some(Kind::Ping) {
                pings.push(frame.header.id);
                continue;
            }
            line.inflight += 1;
            line.inflight_scans += usize::from(frame.header.kind() == Some(Kind::Scan));
            line.inflight_bytes += frame.body.len() + REQUEST_BYTES;
            self.asked.push_back(Asked {
                connection: id,
                address: line.address.clone(),
                core: line.core,
                kind: frame.header.kind().expect("a known kind"),
                group: frame.header.target,
                id: frame.header.id,
                body: frame.body.to_vec(),
            });
        }
        let answers = !self.dead.contains(&line.address);
        for ping in pings.into_iter().filter(|_| answers) {
            let mut bytes = Vec::new();
            Response::Done.write(&mut bytes, ping);
            self.feed(id, &bytes);
        }
        moved
    }

    pub fn feed(&mut self, id: ConnectionId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(spare) = self.core.spare(id) else { return };
            let count = spare.len().min(bytes.len());
            spare[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.core.received(id, count, self.now);
        }
    }

    /// The requests that nodes have read, pings aside.
    pub fn asked(&mut self) -> Vec<Asked> {
        self.settle();
        self.asked.drain(..).collect()
    }

    /// The one request that has arrived.
    pub fn one(&mut self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    /// The one request that arrives within `limit`.
    pub fn one_within(&mut self, limit: Duration) -> Asked {
        let mut asked = self.some_within(limit);
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    /// The first requests to arrive within `limit`.
    pub fn some_within(&mut self, limit: Duration) -> Vec<Asked> {
        let until = self.now + limit;
        loop {
            let asked = self.asked();
            if !asked.is_empty() {
                return asked;
            }
            assert!(self.advance(until), "nothing was asked within {limit:?}");
        }
    }

    /// To the next moment the client wants something, at most `until`. `false` if time stands there already.
    pub fn advance(&mut self, until: Duration) -> bool {
        if self.now >= until {
            return false;
        }
        let next = self.core.next_wakeup().unwrap_or(until).min(until);
        self.now = next.max(self.now + Duration::from_micros(1));
        self.settle();
        true
    }

    pub fn answer(&mut self, asked: &Asked, response: &Response) {
        if let Some(line) = self.lines.get_mut(&asked.connection) {
            line.inflight -= 1;
            line.inflight_scans -= usize::from(asked.kind == Kind::Scan);
            line.inflight_bytes -= asked.body.len() + REQUEST_BYTES;
        }
        let mut bytes = Vec::new();
        response.write(&mut bytes, asked.id);
        self.feed(asked.connection, &bytes);
    }

    pub fn refuse(&mut self, asked: &Asked, refusal: Refusal) {
        self.answer(asked, &Response::Refused(refusal));
    }

    pub fn done(&mut self, asked: &Asked) {
        self.answer(asked, &Response::Outcome(Outcome::Done));
    }

    /// Breaks a connection, as if the node had died.
    pub fn cut(&mut self, connection: ConnectionId) {
        self.lines.remove(&connection);
        self.core.lost(connection, "connection reset", self.now);
    }

    /// Breaks every connection to the address.
    pub fn cut_all(&mut self, address: &str) {
        for (id, line) in &self.lines {
            if line.address == address {
                self.core.lost(*id, "connection reset", self.now);
            }
        }
        self.lines.retain(|_, line| line.address != address);
    }

    /// Answers the question for the map, and gives back the other requests.
    pub fn give_map(&mut self) -> Vec<Asked> {
        let asked = self.one();
        assert_eq!(asked.kind, Kind::Routing);
        self.answer(&asked, &Response::Map(self.map.encode()));
        self.asked()
    }

    /// The error that the one request in flight ends with at its deadline, all nodes answering as `answer` does.
    pub fn error(&mut self, mut answer: impl FnMut(&mut World, &Asked)) -> ClientError {
        let until = self.now + TIMEOUT;
        loop {
            for asked in self.asked() {
                answer(self, &asked);
            }
            if let Some((_, result)) = self.completion() {
                assert_eq!(self.now, until, "{result:?} came too early");
                return result.unwrap_err();
            }
            assert!(self.advance(until), "nothing completed");
        }
    }

    /// Reads a key of group 1. Returns the connection that took.
    pub fn get_and_answer(&mut self) -> ConnectionId {
        let key = self.key_of(1);
        self.get(&key);
        let asked = self.one();
        self.answer(&asked, &Response::Value(None));
        assert!(self.completion().is_some());
        asked.connection
    }

    /// A world whose client has the map and an open session (of index 50) in the group.
    pub fn with_session(options: ClientOptions, group: u32) -> World {
        let mut world = World::new(options);
        let key = world.key_of(group);
        let id = world.put(&key, b"warm up");
        let open = world.give_map().remove(0);
        assert!(open.is_open());
        world.answer(&open, &Response::Outcome(Outcome::Opened { session: Index(50) }));
        let put = world.one();
        world.done(&put);
        assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
        world
    }

    pub fn completion(&mut self) -> Option<(RequestId, Result<Answer, ClientError>)> {
        self.settle();
        self.core.next_completion().map(|Completion { id, result }| (id, result))
    }

    /// The next completion, time passing as far as it must, at most `limit`.
    pub fn completion_within(&mut self, limit: Duration) -> (RequestId, Result<Answer, ClientError>) {
        let until = self.now + limit;
        loop {
            if let Some(completion) = self.completion() {
                return completion;
            }
            assert!(self.advance(until), "nothing completed within {limit:?}");
        }
    }
}
