//! What is on the wire: a put and its answer, and a batch of entries between peers.

use engine_core::command::Outcome;
use net::frame::{self, BODY_BYTES_MAX, Kind};
use net::peer;
use net::receive::RecvBuffer;
use net::response::Response;
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::{Body, Message};

const GROUP: GroupId = GroupId(1);

pub struct Wire {
    command: Vec<u8>,
    message: Message,
    out: Vec<u8>,
    buffer: RecvBuffer,
}

impl Wire {
    pub fn new() -> Wire {
        let command = super::put(GROUP, 1, Index(2), 1, b"bench:0123456789ab");
        let entry = |index| Entry {
            term: Term(1),
            index: Index(index),
            kind: EntryKind::Command,
            payload: command.as_slice().into(),
        };
        let (prev, commit) = (LogId { term: Term(1), index: Index(9) }, Index(9));
        let body = Body::Append { prev, commit, entries: (10..26).map(entry).collect() };
        let message = Message { from: ReplicaId::new(0, 0), to: ReplicaId::new(1, 0), term: Term(1), body };
        Wire { command, message, out: Vec::new(), buffer: RecvBuffer::new(512 << 10, BODY_BYTES_MAX) }
    }

    /// A put is framed, received, checked; its answer, too. Returns what was read, so that nobody leaves it out.
    pub fn put_and_answer(&mut self) -> u64 {
        self.out.clear();
        frame::write(&mut self.out, Kind::Write, GROUP.0, 77, &self.command);
        self.buffer.push(&self.out);
        let request = self.buffer.next_frame().expect("it is sound").expect("it is whole");
        let (id, read) = (request.header.id, request.body.len() as u64);
        assert!(matches!(self.buffer.next_frame(), Ok(None)));
        self.out.clear();
        Response::Outcome(Outcome::Done).write(&mut self.out, id);
        self.buffer.push(&self.out);
        let answer = self.buffer.next_frame().expect("it is sound").expect("it is whole");
        let answered = matches!(Response::decode(answer.body), Ok(Response::Outcome(Outcome::Done)));
        assert!(matches!(self.buffer.next_frame(), Ok(None)));
        read + u64::from(answered)
    }

    /// An AppendEntries of 16 puts goes to a peer.
    pub fn entries_to_peer(&mut self) -> u64 {
        self.out.clear();
        peer::encode(&mut self.out, [(GROUP, &self.message)]);
        self.buffer.push(&self.out);
        let batch = self.buffer.next_frame().expect("it is sound").expect("it is whole");
        let read = peer::decode(batch.body).map(|message| message.expect("it can be read").1.term.0).sum();
        assert!(matches!(self.buffer.next_frame(), Ok(None)));
        read
    }
}
