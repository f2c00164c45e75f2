//! A node of a one-node cluster, bytes in and bytes out: enough of one to talk to a client over a real stream.

use engine_core::command::{ArchivedBatchOperation, ArchivedOperation, Outcome, access};
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::ClusterMap;
use net::frame::{BODY_BYTES_MAX, Kind};
use net::hello::{HELLO_BYTES, Hello, HelloReply};
use net::receive::RecvBuffer;
use net::request;
use net::response::{Refusal, Response};
use net::status::NodeStatus;
use raft::ids::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What the node keeps over all connections.
pub struct State {
    map: ClusterMap,
    data: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it has executed: no sequence of a client ever twice in a group.
    executed: BTreeSet<(u128, u32, u64)>,
    /// What each client needs no answers to any more, by group.
    marks: BTreeMap<(u128, u32), u64>,
    /// Writes that their own client had called answered.
    pub below_mark: u64,
    /// Connections that have said hello.
    pub greeted: u64,
    pub writes: u64,
    pub duplicates: u64,
    pub stopped: bool,
    /// Not formed yet, and waiting for these.
    pub waiting_for: Vec<String>,
}

/// One connection of it.
pub struct Line {
    recv: RecvBuffer,
    greeted: bool,
}

impl State {
    pub fn new(address: &str) -> State {
        let blueprint = Blueprint {
            nodes: vec![("n1".to_owned(), address.to_owned())],
            groups: 4,
            replication: 1,
            set_size: None,
            virtual_nodes: 64,
        };
        let map = ClusterMap::founded(&blueprint.record(&[(9, 1)]));
        let (data, executed) = (BTreeMap::new(), BTreeSet::new());
        State {
            map,
            data,
            executed,
            marks: BTreeMap::new(),
            below_mark: 0,
            greeted: 0,
            writes: 0,
            duplicates: 0,
            stopped: false,
            waiting_for: Vec::new(),
        }
    }

    fn write(&mut self, body: &[u8]) -> Response {
        let Ok(command) = access(body) else {
            return Response::Refused(Refusal::BadRequest { why: "not a command".to_owned() });
        };
        if let ArchivedOperation::Open = command.operation {
            return Response::Outcome(Outcome::Opened { session: Index(1) });
        }
        let group = command.session().group.0;
        let (client, sequence) = (command.client.0.to_native(), command.sequence.to_native());
        let mark = self.marks.entry((client, group)).or_default();
        *mark = command.acknowledged.to_native().max(*mark);
        self.below_mark += u64::from(sequence <= *mark);
        if !self.executed.insert((client, group, sequence)) {
            self.duplicates += 1;
            return Response::Outcome(Outcome::AlreadyApplied);
        }
        self.writes += 1;
        let outcome = |old, wanted: bool| if wanted { Outcome::Old(old) } else { Outcome::Done };
        Response::Outcome(match &command.operation {
            ArchivedOperation::Put { key, value, return_old } => {
                outcome(self.data.insert(key.to_vec(), value.to_vec()), *return_old)
            }
            ArchivedOperation::Delete { key, return_old } => outcome(self.data.remove(&**key), *return_old),
            ArchivedOperation::CompareAndSwap { key, expect, set } => {
                let current = self.data.get(&**key).cloned();
                if current.as_deref() != expect.as_ref().map(|expect| &**expect) {
                    Outcome::Mismatch { current }
                } else {
                    match set.as_ref() {
                        Some(set) => self.data.insert(key.to_vec(), set.to_vec()),
                        None => self.data.remove(&**key),
                    };
                    Outcome::Swapped
                }
            }
            ArchivedOperation::Batch { operations } => {
                for operation in operations.iter() {
                    match operation {
                        ArchivedBatchOperation::Put { key, value } => self.data.insert(key.to_vec(), value.to_vec()),
                        ArchivedBatchOperation::Delete { key } => self.data.remove(&**key),
                    };
                }
                Outcome::Done
            }
            _ => return Response::Refused(Refusal::Unsupported),
        })
    }

    fn answer(&mut self, kind: Option<Kind>, group: u32, body: &[u8]) -> Response {
        match kind {
            Some(Kind::Write | Kind::Read | Kind::Routing) if !self.waiting_for.is_empty() => {
                Response::Refused(Refusal::NotFormed { waiting_for: self.waiting_for.clone() })
            }
            Some(Kind::Write) => self.write(body),
            Some(Kind::Read) => Response::Value(self.data.get(&*request::read(body).unwrap().key).cloned()),
            Some(Kind::Scan) => {
                let scan = request::scan(body).unwrap();
                let ring = self.map.ring();
                let range = (Bound::Included(scan.start.to_vec()), Bound::Unbounded);
                let end = scan.end.as_ref().map(|end| end.to_vec());
                let mut entries: Vec<_> = self
                    .data
                    .range(range)
                    .filter(|(key, _)| ring.group_of(key).0 == group && end.as_ref().is_none_or(|end| *key < end))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .take(scan.limit.to_native() as usize + 1)
                    .collect();
                let more = entries.len() > scan.limit.to_native() as usize;
                entries.truncate(scan.limit.to_native() as usize);
                Response::Page { entries, more }
            }
            Some(Kind::Routing) => Response::Map(self.map.encode()),
            Some(Kind::Status) if !self.waiting_for.is_empty() => {
                let waiting_for = self.waiting_for.clone();
                Response::Status(NodeStatus { name: "n1".to_owned(), waiting_for, ..NodeStatus::default() })
            }
            Some(Kind::Status) => {
                Response::Status(NodeStatus { name: "n1".to_owned(), epoch: self.map.epoch, ..NodeStatus::default() })
            }
            Some(Kind::Stop) => {
                self.stopped = true;
                Response::Done
            }
            Some(Kind::Ping) => Response::Done,
            _ => Response::Refused(Refusal::Unsupported),
        }
    }
}

impl Line {
    pub fn new() -> Line {
        Line { recv: RecvBuffer::new(0, BODY_BYTES_MAX), greeted: false }
    }

    /// What the node answers to these bytes.
    pub fn feed(&mut self, state: &mut State, bytes: &[u8]) -> Vec<u8> {
        self.recv.push(bytes);
        let mut out = Vec::new();
        if !self.greeted {
            let Some(bytes) = self.recv.next_bytes(HELLO_BYTES) else { return out };
            let hello = Hello::decode(bytes.try_into().unwrap()).expect("a sound hello");
            let (cluster, core) = (state.map.cluster, hello.core);
            let reply = HelloReply { status: Ok(()), core, shards: 1, node: 0, cluster, incarnation: 9, start: 1 };
            out.extend_from_slice(&reply.encode());
            self.greeted = true;
            state.greeted += 1;
        }
        while let Some(frame) = self.recv.next_frame().expect("a sound frame") {
            let response = state.answer(frame.header.kind(), frame.header.target, frame.body);
            response.write(&mut out, frame.header.id);
        }
        out
    }
}
