//! The snapshot that comes in to this core: one at a time, as the shard lets only one grant go.
//!
//! Chunks go to the store thread in their order, and each is acknowledged when it is written: the sender's window is what
//! bounds the queue. What has come outlives its connection; a sender that begins again with the same snapshot is told where
//! to go on.

use super::core::Core;
use super::runtime::socket::{Reader, Socket};
use super::store_threads::Write;
use engine_core::shard::Event;
use engine_core::snapshot::incoming::Incoming;
use engine_core::snapshot::outgoing::WINDOW_CHUNKS;
use engine_core::snapshot::{End, Header, stream};
use net::frame::{self, Kind};
use net::receive::RecvBuffer;
use net::snapshot::{self, Answer};
use raft::entry::LogId;
use raft::ids::{GroupId, Index, ReplicaId, Term};
use std::rc::Rc;

/// The first receive buffer: a chunk fits.
const RECEIVE_BYTES: usize = stream::CHUNK_BYTES_MAX + 4096;

/// What has come of a snapshot, and whom to answer.
#[derive(Debug)]
pub struct Receiving {
    incoming: Incoming,
    /// Chunks the store has written.
    written: u64,
    /// Nothing more is to come: the store is at it.
    whole: bool,
    socket: Socket,
}

impl Receiving {
    fn is(&self, id: u64) -> bool {
        self.incoming.header.id == id
    }

    /// Whether it is this node that is waited for.
    fn is_behind(&self) -> bool {
        self.whole || self.incoming.next() > self.written
    }

    fn answer(&self, answer: Answer) {
        if !self.socket.is_closed() {
            answer.write(&mut self.socket.out(), self.incoming.header.group.0);
            self.socket.flush();
        }
    }
}

/// The shard wants no more of what comes in for `group`.
pub fn abandon(receiving: &mut Option<Receiving>, group: GroupId) {
    if let Some(given_up) = receiving.take_if(|receiving| receiving.incoming.header.group == group) {
        given_up.answer(Answer::Refused);
        given_up.socket.close();
    }
}

/// Reads the stream of a sender. Its node and incarnation are in the map.
pub async fn serve(core: Rc<Core>, socket: Socket, mut reader: Reader, node: u16) {
    let mut buffer = RecvBuffer::new(RECEIVE_BYTES, frame::BODY_BYTES_MAX);
    let mut id = None;
    'stream: while !core.is_stopping() {
        match reader.read(buffer.spare()).await {
            Ok(count) if count > 0 => buffer.filled(count),
            _ => break,
        }
        loop {
            let frame = match buffer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(core = core.index, node, %error, "a snapshot's stream is broken");
                    break 'stream;
                }
            };
            let group = GroupId(frame.header.target);
            let goes_on = match (frame.header.kind(), id) {
                (Some(Kind::SnapshotBegin), None) => {
                    id = core.snapshot_begins(group, node, frame.body, &socket);
                    id.is_some()
                }
                (Some(Kind::SnapshotChunk), Some(id)) => core.snapshot_chunk(id, frame.header.id, frame.body),
                (Some(Kind::SnapshotEnd), Some(id)) => core.snapshot_ends(id, frame.body),
                _ => false,
            };
            if !goes_on {
                break 'stream;
            }
        }
    }
    socket.close();
}

impl Core {
    /// A sender begins, or begins again; `None` if it is not welcome.
    fn snapshot_begins(&self, group: GroupId, node: u16, body: &[u8], socket: &Socket) -> Option<u64> {
        let begin = snapshot::begin(body).ok()?;
        let header = Header {
            group,
            from: ReplicaId(begin.from),
            to: ReplicaId(begin.to),
            term: Term(begin.term),
            id: begin.id,
            last: LogId { term: Term(begin.last_term), index: Index(begin.last_index) },
            membership: begin.membership.to_vec(),
        };
        let state = &mut *self.state.borrow_mut();
        // One that has come as a whole is admitted no more, and its sender may lose the connection while the store is at it.
        let goes_on = state.receiving.as_ref().is_some_and(|receiving| receiving.incoming.header == header);
        if header.from.node() != node || !goes_on && !state.shard.admits_snapshot(&header) {
            Answer::Refused.write(&mut socket.out(), group.0);
            socket.flush();
            return None;
        }
        let id = header.id;
        match &mut state.receiving {
            Some(receiving) if goes_on => {
                std::mem::replace(&mut receiving.socket, socket.clone()).close();
            }
            receiving => {
                if let Some(former) = receiving.take() {
                    former.socket.close();
                }
                let (incoming, socket) = (Incoming::new(header), socket.clone());
                *receiving = Some(Receiving { incoming, written: 0, whole: false, socket });
            }
        }
        let receiving = state.receiving.as_ref().expect("it was just put there");
        let next = receiving.incoming.next();
        tracing::info!(core = self.index, %group, node, chunk = next, "a snapshot comes in");
        receiving.answer(Answer::From(next));
        // What said so before may have been lost with the former connection, and the sender waits for room.
        receiving.answer(Answer::Written(receiving.written));
        Some(id)
    }

    /// A chunk has come; whether the stream may go on.
    fn snapshot_chunk(&self, id: u64, number: u64, chunk: &[u8]) -> bool {
        let state = &mut *self.state.borrow_mut();
        let Some(receiving) = state.receiving.as_mut().filter(|receiving| receiving.is(id)) else { return false };
        let fits = number < receiving.written + 2 * WINDOW_CHUNKS as u64 && chunk.len() <= stream::CHUNK_BYTES_MAX;
        if !fits {
            return false;
        }
        let Ok(new) = receiving.incoming.take(number, chunk.len()) else { return false };
        if new {
            let group = receiving.incoming.header.group;
            let bytes = receiving.incoming.bytes();
            let write = Write::SnapshotChunk { group, id, next: number + 1, chunk: chunk.to_vec() };
            state.storing.write(write);
            state.shard.handle(Event::SnapshotBytes { group, bytes }, &mut state.effects);
        }
        true
    }

    /// All chunks were sent; whether that is so here.
    fn snapshot_ends(&self, id: u64, body: &[u8]) -> bool {
        let Ok(snapshot::End { chunks, digest }) = snapshot::end(body) else { return false };
        let header = {
            let mut state = self.state.borrow_mut();
            let receiving = state.receiving.as_mut().filter(|receiving| receiving.is(id));
            match receiving.filter(|receiving| receiving.incoming.next() == chunks) {
                Some(receiving) => {
                    receiving.whole = true;
                    receiving.incoming.header.clone()
                }
                None => return false,
            }
        };
        self.handle(Event::SnapshotWhole { header, end: End { chunks, digest } });
        true
    }

    /// Once a tick: while the store of this node is what keeps a snapshot waiting, neither side takes the other for silent.
    pub(super) fn tick_snapshot(&self) {
        let state = &mut *self.state.borrow_mut();
        if let Some(receiving) = state.receiving.as_ref().filter(|receiving| receiving.is_behind()) {
            receiving.answer(Answer::Written(receiving.written));
            let (group, bytes) = (receiving.incoming.header.group, receiving.incoming.bytes());
            state.shard.handle(Event::SnapshotBytes { group, bytes }, &mut state.effects);
        }
    }

    pub(super) fn snapshot_written(&self, id: u64, chunk: u64) {
        let state = &mut *self.state.borrow_mut();
        if let Some(receiving) = state.receiving.as_mut().filter(|receiving| receiving.is(id)) {
            receiving.written = chunk;
            receiving.answer(Answer::Written(chunk));
        }
    }

    pub(super) fn snapshot_installed(&self, header: Header) {
        tracing::info!(core = self.index, group = %header.group, last = %header.last.index, "a snapshot is installed");
        let received = self.state.borrow_mut().receiving.take_if(|receiving| receiving.is(header.id));
        if let Some(received) = received {
            received.answer(Answer::Done);
        }
        self.state.borrow_mut().storing.installed(header.group);
        self.handle(Event::SnapshotInstalled { header });
    }

    pub(super) fn snapshot_broken(&self, group: GroupId, id: u64) {
        let mut state = self.state.borrow_mut();
        if let Some(broken) = state.receiving.take_if(|receiving| receiving.is(id)) {
            broken.answer(Answer::Refused);
            broken.socket.close();
        }
        // Another one may have begun already; one that was being installed has not.
        let told = state.receiving.is_none();
        drop(state);
        if told {
            self.handle(Event::SnapshotBroken { group });
        }
    }
}
