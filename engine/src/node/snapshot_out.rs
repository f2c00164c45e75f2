//! Snapshots this core sends: one task each, with a connection of its own.
//!
//! The reader thread holds the snapshot and reads a chunk when there is room in the window; what the receiver has
//! not written yet is kept, so that a broken connection is dialled again and the stream goes on where the receiver is. All
//! that a core sends shares one rate. It ends when the receiver has installed it, when the shard calls it off, when the receiver
//! wants none of it, or when no connection stood for a while: the shard is told, and offers another if one is still wanted.

use super::core::Core;
use super::peers;
use super::runtime;
use super::runtime::bell::Bell;
use super::runtime::socket::{Reader, Socket};
use super::store_threads::Read;
use engine_core::placement::cores::core_of;
use engine_core::shard::Event;
use engine_core::shard::effects::SendSnapshot;
use engine_core::snapshot::outgoing::{Outgoing, Send};
use engine_core::snapshot::{End, Header};
use net::frame::{self, Kind};
use net::hello::Role;
use net::receive::RecvBuffer;
use net::snapshot::{self, Answer};
use raft::entry::LogId;
use raft::ids::{GroupId, ReplicaId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the snapshot is kept without a connection to its receiver.
const RESUME_PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which nothing is heard for so long, although an answer is owed, is taken for lost.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

const RETRY: Duration = Duration::from_millis(100);

/// Before a failed sending is reported, so that offers do not chase each other.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// The snapshots a core sends, by group and receiver. As many as receivers have granted: one per peer core.
#[derive(Debug, Default)]
pub struct Sends {
    open: BTreeMap<(GroupId, ReplicaId), Rc<Sending>>,
    last_id: u64,
    /// When the rate allows the next chunk.
    free_at: Option<Instant>,
}

#[derive(Debug)]
struct Sending {
    id: u64,
    wanted: SendSnapshot,
    /// `None` until the reader thread has taken it.
    stream: RefCell<Option<Outgoing>>,
    socket: RefCell<Option<Socket>>,
    bell: Bell,
    over: Cell<bool>,
    /// When the receiver was heard last, or came to owe an answer after it had given all.
    heard: Cell<Instant>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Installed,
    /// The receiver does not want it, or has lost what it had.
    Refused,
    Broken,
}

impl Sends {
    /// Starts sending, unless the same snapshot is still good enough.
    pub fn start(&mut self, core: &Rc<Core>, wanted: SendSnapshot) {
        let key = (wanted.group, wanted.to);
        if let Some(open) = self.open.get(&key) {
            let reaches = open.stream.borrow().as_ref().is_none_or(|it| it.header.last.index >= wanted.least.index);
            if open.wanted.term == wanted.term && reaches && !open.over.get() {
                // It is on its way, or looks for a connection.
                return;
            }
            open.end();
        }
        self.last_id += 1;
        // Neither another process of this node nor another of its cores must be taken for this one.
        let of_core = core.facts.start.wrapping_add(u64::from(core.index) << 48);
        let id = of_core.wrapping_add(self.last_id).max(1);
        let sending = Rc::new(Sending {
            id,
            wanted,
            stream: RefCell::new(None),
            socket: RefCell::new(None),
            bell: Bell::default(),
            over: Cell::new(false),
            heard: Cell::new(Instant::now()),
        });
        self.open.insert(key, sending.clone());
        let core = core.clone();
        runtime::spawn(async move { run(core, sending).await });
    }

    /// Ends a sending that is not wanted any more.
    pub fn call_off(&mut self, group: GroupId, peer: ReplicaId) {
        if let Some(sending) = self.open.remove(&(group, peer)) {
            sending.end();
        }
    }

    /// Ends all of them.
    pub fn close_all(&mut self) {
        std::mem::take(&mut self.open).values().for_each(|sending| sending.end());
    }

    fn by_id(&self, id: u64) -> Option<&Rc<Sending>> {
        self.open.values().find(|sending| sending.id == id)
    }
}

impl Sending {
    fn end(&self) {
        self.over.set(true);
        if let Some(socket) = &*self.socket.borrow() {
            socket.close();
        }
        self.bell.ring();
    }
}

impl Core {
    pub(super) fn snapshot_opened(&self, id: u64, found: Option<(LogId, Vec<u8>)>) {
        let state = &mut *self.state.borrow_mut();
        let Some(sending) = state.sends.by_id(id) else { return };
        let SendSnapshot { group, from, to, term, least } = sending.wanted;
        match found {
            Some((last, membership)) if last.index >= least.index => {
                let header = Header { group, from, to, term, id, last, membership };
                *sending.stream.borrow_mut() = Some(Outgoing::new(header));
                sending.bell.ring();
                state.shard.handle(Event::SnapshotTaken { group, peer: to, last }, &mut state.effects);
            }
            _ => sending.end(),
        }
    }

    pub(super) fn snapshot_read(&self, id: u64, chunk: Vec<u8>, end: Option<End>) {
        let state = self.state.borrow();
        let Some(sending) = state.sends.by_id(id) else { return };
        if let Some(stream) = &mut *sending.stream.borrow_mut() {
            stream.read(chunk, end);
        }
        sending.bell.ring();
    }

    /// When the next chunk of `bytes` may leave at the rate of this core.
    fn reserve_rate(&self, bytes: usize) -> Duration {
        let now = Instant::now();
        let took = Duration::from_secs_f64(bytes as f64 / self.settings.raft.snapshot_rate as f64);
        let sends = &mut self.state.borrow_mut().sends;
        let at = sends.free_at.filter(|at| *at > now).unwrap_or(now);
        sends.free_at = Some(at + took);
        at - now
    }
}

async fn run(core: Rc<Core>, sending: Rc<Sending>) {
    let SendSnapshot { group, to, .. } = sending.wanted;
    core.state.borrow_mut().storing.read_behind(Read::SnapshotOpen { id: sending.id, group });
    core.turn_bell.ring();
    while sending.stream.borrow().is_none() && !sending.over.get() {
        sending.bell.wait().await;
    }
    let mut alone_since = Instant::now();
    let mut ended = Ended::Broken;
    while !sending.over.get() && !core.is_stopping() && alone_since.elapsed() < RESUME_PATIENCE {
        let peer_core = core_of(group, core.map().nodes[usize::from(to.node())].shards);
        match peers::connect(&core, Role::Snapshot, to.node(), peer_core).await {
            // Called off meanwhile: nobody else will close this one.
            Ok((socket, _)) if sending.over.get() => socket.close(),
            Ok((socket, reader)) => {
                ended = talk(&core, &sending, socket, reader).await;
                alone_since = Instant::now();
                if ended != Ended::Broken {
                    break;
                }
                tracing::info!(core = core.index, %group, %to, "a snapshot's connection is lost");
            }
            Err(why) => tracing::debug!(core = core.index, %group, %to, %why, "cannot reach a snapshot's receiver"),
        }
        runtime::sleep(RETRY).await;
    }
    core.state.borrow_mut().storing.end_read(Read::SnapshotClose { id: sending.id });
    core.turn_bell.ring();
    if ended != Ended::Installed && !sending.over.get() {
        runtime::sleep(FAILURE_PAUSE).await;
    }
    let called_off = {
        let sends = &mut core.state.borrow_mut().sends;
        let ours = sends.by_id(sending.id).is_some();
        if ours {
            sends.open.remove(&(group, to));
        }
        !ours
    };
    tracing::info!(core = core.index, %group, %to, ?ended, called_off, "a snapshot's sending has ended");
    if !called_off {
        core.handle(Event::SnapshotSent { group, peer: to, ok: ended == Ended::Installed });
    }
}

/// One connection, from its beginning to its end.
async fn talk(core: &Rc<Core>, sending: &Rc<Sending>, socket: Socket, mut reader: Reader) -> Ended {
    let group = sending.wanted.group;
    sending.heard.set(Instant::now());
    *sending.socket.borrow_mut() = Some(socket.clone());
    if let Some(stream) = &*sending.stream.borrow() {
        let Header { from, to, term, id, last, ref membership, .. } = stream.header;
        let (last_term, last_index) = (last.term.0, last.index.0);
        let begin = snapshot::Begin { from: from.0, to: to.0, term: term.0, id, last_term, last_index, membership };
        begin.write(&mut socket.out(), group.0);
    }
    socket.flush();
    let fed = Rc::new(Bell::default());
    {
        let (core, sending, socket, fed) = (core.clone(), sending.clone(), socket.clone(), fed.clone());
        runtime::spawn(async move {
            feed(&core, &sending, &socket).await;
            fed.ring();
        });
    }
    let ended = listen(sending, &mut reader).await;
    socket.close();
    sending.bell.ring();
    fed.wait().await;
    *sending.socket.borrow_mut() = None;
    if let Some(stream) = &mut *sending.stream.borrow_mut() {
        stream.interrupted();
    }
    ended
}

/// Sends what may be sent until the connection is closed.
async fn feed(core: &Core, sending: &Sending, socket: &Socket) {
    let group = sending.wanted.group.0;
    while !socket.is_closed() && !sending.over.get() {
        let (awaits_answer, next) = {
            let mut stream = sending.stream.borrow_mut();
            let stream = stream.as_mut().expect("there is a connection because it was taken");
            if stream.wants_chunk() {
                core.state.borrow().storing.read(Read::SnapshotChunk { id: sending.id });
            }
            (stream.awaits_answer(), stream.next_to_send())
        };
        match next {
            Some(Send::Chunk(number, chunk)) => {
                let wait = core.reserve_rate(chunk.len());
                if !wait.is_zero() {
                    runtime::sleep(wait).await;
                }
                snapshot::write_chunk(&mut socket.out(), group, number, &chunk);
                socket.flush();
            }
            Some(Send::End(End { chunks, digest })) => {
                snapshot::End { chunks, digest }.write(&mut socket.out(), group);
                socket.flush();
            }
            None => {
                let rung = sending.bell.wait_for(Duration::from_secs(1)).await;
                if !rung && awaits_answer && sending.heard.get().elapsed() > ANSWER_PATIENCE {
                    socket.close();
                }
                continue;
            }
        }
        // Reading it, and its turn by the rate, may have taken longer than anybody is waited for.
        sending.heard.set(Instant::now());
    }
}

/// Hears the receiver until it has said its last word, or the connection is lost.
async fn listen(sending: &Sending, reader: &mut Reader) -> Ended {
    let mut buffer = RecvBuffer::new(0, frame::BODY_BYTES_MAX);
    loop {
        match reader.read(buffer.spare()).await {
            Ok(count) if count > 0 => buffer.filled(count),
            _ => return Ended::Broken,
        }
        loop {
            let answer = match buffer.next_frame() {
                Ok(Some(frame)) if frame.header.kind() == Some(Kind::SnapshotAnswer) => snapshot::answer(frame.body),
                Ok(None) => break,
                _ => return Ended::Broken,
            };
            sending.heard.set(Instant::now());
            let mut stream = sending.stream.borrow_mut();
            let Some(stream) = stream.as_mut() else { return Ended::Broken };
            match answer {
                Ok(Answer::From(chunk)) => {
                    if chunk > 0 {
                        tracing::info!(group = %sending.wanted.group, chunk, "a snapshot's sending is resumed");
                    }
                    if stream.resume(chunk).is_err() {
                        return Ended::Refused;
                    }
                }
                Ok(Answer::Written(chunk)) => stream.written(chunk),
                Ok(Answer::Done) => return Ended::Installed,
                Ok(Answer::Refused) => return Ended::Refused,
                Err(_) => return Ended::Broken,
            }
            sending.bell.ring();
        }
    }
}
