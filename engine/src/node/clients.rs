//! Clients of this core: their connections, what they ask, and what they are told.
//!
//! A connection's frames are handled where they lie in its receive buffer. Answers of a turn, on a busy core of a few, are
//! gathered per connection and leave in one send. A client that does not read its answers, or has too much in flight,
//! is not read from until that changes, and what it has asked before is answered in short (`owed`); when all of a core's
//! clients together have too much in flight, requests are refused as busy.

use super::client::Client;
use super::core::Core;
use super::counters::{self, Counters};
use super::large_frames::LargeFrames;
use super::mesh::{Mesh, ToCore};
use super::owed::{self, Owed};
use super::runtime;
use super::runtime::socket::{Reader, Socket};
use super::store_threads::Read;
use super::{peers, signals, snapshot_in};
use engine_core::placement::cores::core_of;
use engine_core::shard::{Event, Query, Ticket};
use net::frame::{self, Kind};
use net::hello::{Hello, HelloRefusal, HelloReply, Role};
use net::receive::RecvBuffer;
use net::request;
use net::response::{Refusal, Response};
use raft::ids::GroupId;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The first receive buffer of a client; it grows to one frame.
const RECEIVE_BYTES: usize = 64 << 10;

/// How long a client may take for a frame that it has begun, once it may send.
const FRAME_PATIENCE: Duration = Duration::from_secs(10);

/// A client whose system says nothing for so long, or takes nothing, is gone: its place is for others.
const SILENCE: Duration = Duration::from_secs(120);

/// When a busy server asks a client to come back, in milliseconds.
pub const RETRY_AFTER_MS: u32 = 5;

/// What a request is charged beyond its bytes: it waits in tables of its own.
const REQUEST_BYTES: usize = 256;

/// The connection number that stands for requests of clients of other cores of this node.
const FOREIGN: u64 = u64::MAX;

/// The clients of one core.
#[derive(Debug, Default)]
pub struct Clients {
    open: BTreeMap<u64, Rc<Client>>,
    last_number: u64,
    touched: Vec<Rc<Client>>,
    /// Requests that came over the mesh, by the number they got here.
    foreign: BTreeMap<u64, (u16, Ticket)>,
    last_foreign: u64,
    forwarded: u64,
    /// Requests of this core's clients in flight.
    inflight: usize,
    /// Bytes of all requests of this core's clients in flight.
    inflight_bytes: usize,
    owed: Owed,
    large_frames: LargeFrames,
    /// What the core counts.
    pub(super) counters: Counters,
    /// The core's clock when this turn began, in microseconds.
    pub(super) now: u64,
}

impl Clients {
    /// None yet; at most `bytes_max` bytes of answers wait for them, about, and as many of large frames are half there.
    pub fn new(bytes_max: usize) -> Clients {
        let (owed, large_frames) = (Owed::new(bytes_max), LargeFrames::new(bytes_max));
        Clients { owed, large_frames, ..Clients::default() }
    }

    /// Requests forwarded to other cores since the start.
    pub fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Open connections, and bytes of their requests in flight.
    pub fn load(&self) -> (u64, u64) {
        (self.open.len() as u64, self.inflight_bytes as u64)
    }

    /// Queues the answer to one request; a client that has gone gets none.
    pub fn answer(&mut self, mesh: &Mesh, ticket: Ticket, response: &Response) {
        self.answer_at(self.now, mesh, ticket, response);
    }

    /// The same for an answer that comes outside of a turn, at `now` by the core's clock.
    pub fn answer_at(&mut self, now: u64, mesh: &Mesh, ticket: Ticket, response: &Response) {
        if ticket.connection == FOREIGN {
            let Some((from, asked)) = self.foreign.remove(&ticket.request) else { return };
            self.counters.answered(ticket, response, now);
            let mut frame = Vec::new();
            response.write(&mut frame, asked.request);
            mesh.send(from, ToCore::Reply { ticket: asked, frame });
            return;
        }
        let mut short = None;
        if let Some(client) = self.open.get(&ticket.connection) {
            if owes_much(&mut self.owed, client, &self.open, self.now) {
                short = owed::short(response);
            }
            short.as_ref().unwrap_or(response).write(&mut client.socket.out(), ticket.request);
        }
        let response = short.as_ref().unwrap_or(response);
        self.counters.answered(ticket, response, now);
        self.answered(ticket);
    }

    /// Whether a read is worth its while: whoever asked is there, and is not owed so much that it gets short answers only.
    pub fn awaits(&mut self, ticket: Ticket) -> bool {
        match self.open.get(&ticket.connection) {
            Some(client) => !owes_much(&mut self.owed, client, &self.open, self.now),
            None => ticket.connection == FOREIGN,
        }
    }

    /// Whether a client gets short answers only.
    fn owes_too_much(&mut self, client: &Client) -> bool {
        owes_much(&mut self.owed, client, &self.open, self.now)
    }

    /// Queues a response frame that another core has made.
    pub fn reply(&mut self, ticket: Ticket, frame: &[u8]) {
        let short = if self.awaits(ticket) { None } else { owed::short_frame(frame) };
        if let Some(client) = self.open.get(&ticket.connection) {
            match short {
                Some(short) => short.write(&mut client.socket.out(), ticket.request),
                None => client.socket.out().extend_from_slice(frame),
            }
        }
        self.answered(ticket);
    }

    /// A request is no longer in flight, whether or not its client is still there.
    fn answered(&mut self, ticket: Ticket) {
        let bytes = ticket.bytes as usize;
        assert!(self.inflight_bytes >= bytes, "{bytes} bytes answered, {} in flight", self.inflight_bytes);
        self.inflight_bytes -= bytes;
        self.inflight -= 1;
        let Some(client) = self.open.get(&ticket.connection) else { return };
        client.in_flight.discharge(ticket);
        self.owed.note(&client.owed, client.is_owed());
        client.held.add();
        if !client.touched.replace(true) {
            self.touched.push(client.clone());
        }
    }

    /// The end of a turn: sends answers, except those that wait for others ([`Held`]). Whether any wait.
    #[must_use = "whoever lets answers wait sees to it that they leave in time"]
    pub fn flush(&mut self) -> bool {
        let inflight = self.inflight;
        self.touched.retain(|client| {
            let queued = client.socket.queued();
            let waits = !client.starved.get() && client.held.wait(inflight, client.in_flight.requests(), queued);
            if !waits {
                client.send();
                self.owed.note(&client.owed, client.is_owed());
            }
            waits
        });
        !self.touched.is_empty()
    }

    /// Sends every connection's answers, those that wait, too.
    pub fn flush_all(&mut self) {
        for client in self.touched.drain(..) {
            client.send();
            self.owed.note(&client.owed, client.is_owed());
        }
    }

    /// Now and then: ends the connections that have been in the middle of a frame for too long, as whoever sends a byte now and then
    /// would hold its buffer and its place for ever; those that were sent much give memory back.
    pub fn look(&self) {
        for client in self.open.values() {
            client.socket.rest();
            let patience = if client.starved.get() { SILENCE } else { FRAME_PATIENCE };
            if client.half_since.get().is_some_and(|since| since.elapsed() > patience) {
                client.half_since.set(None);
                tracing::debug!("a client has not finished a frame in {patience:?}");
                client.socket.close();
            }
        }
    }

    /// A connection is over.
    fn forget(&mut self, number: u64) {
        if let Some(client) = self.open.remove(&number) {
            self.owed.note(&client.owed, 0);
            self.large_frames.leave(number);
            self.end_large(&client);
        }
    }

    /// A large frame is there, or will not come: others in the line have room for theirs.
    fn end_large(&mut self, client: &Client) {
        self.large_frames.give_back(client.large.take());
        while let Some((number, bytes)) = self.large_frames.next() {
            let next = self.open.get(&number).expect("who is gone has left the line");
            next.large.set(bytes);
            next.socket.room().ring();
        }
    }

    /// Ends all connections.
    pub fn close_all(&mut self) {
        self.flush_all();
        for client in self.open.values() {
            client.socket.close();
        }
    }
}

fn owes_much(owed: &mut Owed, client: &Client, all: &BTreeMap<u64, Rc<Client>>, now: u64) -> bool {
    let shares = all.values().map(|client| (&client.owed, client.is_owed()));
    owed.is_too_much(client.is_owed(), client.bytes_max, now, shares)
}

impl Core {
    /// Takes over a connection whose hello named this core.
    pub(super) fn adopt(self: &Rc<Self>, socket: OwnedFd, hello: &Hello, local: bool) {
        let (socket, reader) = match Socket::adopt(socket) {
            Ok(halves) => halves,
            Err(error) => {
                tracing::warn!(core = self.index, %error, "cannot take a connection over");
                return self.release_place(hello);
            }
        };
        let refused = match hello.role {
            Role::Founding => Some(HelloRefusal::Forbidden),
            _ if self.is_stopping() => Some(HelloRefusal::Stopping),
            // The map may have changed since the front looked.
            Role::Peer | Role::Snapshot if !self.knows(hello) => Some(HelloRefusal::UnknownIncarnation),
            _ => None,
        };
        let reply = HelloReply {
            status: refused.map_or(Ok(()), Err),
            core: self.index,
            shards: self.mesh.len(),
            node: self.facts.node,
            cluster: self.map().cluster,
            incarnation: self.facts.incarnation,
            start: self.facts.start,
        };
        socket.out().extend_from_slice(&reply.encode());
        socket.flush();
        if refused.is_some() {
            socket.close();
            return self.release_place(hello);
        }
        if let Err(error) = socket.notice_silence(SILENCE) {
            tracing::warn!(core = self.index, %error, "a caller that is gone without a word will not be noticed");
        }
        let core = self.clone();
        if hello.role == Role::Peer {
            let from = (hello.node, hello.from_core);
            let own = self.settings.raft.election_timeout.as_micros();
            let enough = u128::from(hello.election_timeout) >= own;
            if !enough && self.settings.raft.leases {
                tracing::warn!(
                    core = self.index,
                    node = hello.node,
                    "its raft.election_timeout is shorter than here: no lease holds meanwhile"
                );
            }
            peers::admit(self, &socket, from, enough);
            return runtime::spawn(async move { peers::serve(core, socket, reader, from).await });
        }
        if hello.role == Role::Snapshot {
            let node = hello.node;
            return runtime::spawn(async move { snapshot_in::serve(core, socket, reader, node).await });
        }
        let bytes_max = self.settings.limits.connection_inflight_bytes as usize;
        let client = Rc::new(Client::new(socket, hello.forward, local, bytes_max));
        let number = {
            let clients = &mut self.state.borrow_mut().clients;
            clients.last_number += 1;
            clients.open.insert(clients.last_number, client.clone());
            clients.last_number
        };
        runtime::spawn(async move {
            core.serve(number, &client, reader).await;
            // What is answered is told, whatever ended the connection.
            client.send();
            client.socket.close();
            core.state.borrow_mut().clients.forget(number);
            core.facts.connections.release();
        });
    }

    /// The front has counted a client in that is not served after all.
    fn release_place(&self, hello: &Hello) {
        if hello.role == Role::Client {
            self.facts.connections.release();
        }
    }

    async fn serve(self: &Rc<Self>, number: u64, client: &Client, mut reader: Reader) {
        let mut buffer = RecvBuffer::new(RECEIVE_BYTES, frame::BODY_BYTES_MAX);
        while !self.is_stopping() {
            match reader.read(buffer.spare()).await {
                Ok(count) if count > 0 => buffer.filled(count),
                _ => return,
            }
            let now = self.now();
            loop {
                while !self.has_room(client) && !client.socket.is_closed() {
                    if !client.starved.replace(true) {
                        // What is missing of a frame may wait in the kernel: that is not the client's fault. But others may wait for its room.
                        client.half_since.set((client.large.get() > 0).then(Instant::now));
                    }
                    self.turn_bell.ring();
                    client.socket.room().wait().await;
                }
                if client.starved.replace(false) {
                    client.half_since.set(None);
                }
                if client.socket.is_closed() {
                    return;
                }
                match buffer.next_frame() {
                    Ok(Some(frame)) => {
                        client.half_since.set(None);
                        let bytes = frame.body.len() + REQUEST_BYTES;
                        let mark = counters::mark(frame.header.kind, frame.body, now);
                        let ticket = Ticket { connection: number, request: frame.header.id, bytes: bytes as u32, mark };
                        client.in_flight.charge(ticket);
                        let busy = {
                            let clients = &mut self.state.borrow_mut().clients;
                            clients.inflight += 1;
                            clients.inflight_bytes += bytes;
                            clients.inflight_bytes > self.settings.limits.core_inflight_bytes as usize
                        };
                        if busy {
                            self.answer(ticket, &owed::busy());
                            continue;
                        }
                        self.dispatch(ticket, client, frame.header.kind, frame.header.target, frame.body);
                    }
                    Ok(None) => break,
                    // Nothing behind a broken frame can be trusted to be one.
                    Err(error) => return tracing::debug!(core = self.index, %error, "a client's stream is broken"),
                }
            }
            if buffer.awaited() > RECEIVE_BYTES {
                self.room_for_large(number, client, buffer.awaited()).await;
            } else if client.large.get() > 0 {
                self.state.borrow_mut().clients.end_large(client);
            }
            if buffer.is_empty() {
                client.half_since.set(None);
            } else if client.half_since.get().is_none() {
                client.half_since.set(Some(Instant::now()));
            }
        }
    }

    /// Whether another request may be read: of a client that is owed a little, also while the core owes all together too much. Each send to
    /// it rings its bell, so it is seen when it has read what it is owed.
    fn has_room(&self, client: &Client) -> bool {
        client.has_room()
            && (client.is_owed() < owed::LITTLE_BYTES || !self.state.borrow_mut().clients.owes_too_much(client))
    }

    /// Returns when there is room for a frame of `bytes` bytes, which is half there, or the connection is over.
    async fn room_for_large(&self, number: u64, client: &Client, bytes: usize) {
        let has = client.large.get();
        if has >= bytes {
            return;
        }
        if has > 0 {
            if self.state.borrow_mut().clients.large_frames.take_more(bytes - has) {
                return client.large.set(bytes);
            }
            // Who waits must hold nothing that others wait for.
            tracing::debug!(core = self.index, "no room for a client's frame, which is larger than the one before");
            return client.socket.close();
        }
        if self.state.borrow_mut().clients.large_frames.take(number, bytes) {
            return client.large.set(bytes);
        }
        // Waiting in line is not the client's fault.
        client.half_since.set(None);
        while client.large.get() == 0 && !client.socket.is_closed() {
            client.socket.room().wait().await;
        }
    }

    fn dispatch(self: &Rc<Self>, ticket: Ticket, client: &Client, kind: u8, target: u32, body: &[u8]) {
        let home = core_of(GroupId(target), self.mesh.len());
        let of_a_group =
            matches!(Kind::from_number(kind), Some(Kind::Write | Kind::Read | Kind::Scan | Kind::Checksum));
        if of_a_group && home != self.index {
            if !client.forward {
                return self.answer(ticket, &Response::Refused(Refusal::WrongCore { core: home }));
            }
            self.state.borrow_mut().clients.forwarded += 1;
            let message = ToCore::Forwarded { from: self.index, ticket, kind, target, body: body.to_vec() };
            self.mesh.send(home, message);
            return;
        }
        if Kind::from_number(kind) == Some(Kind::Stop) {
            return self.stop(ticket, client, body);
        }
        self.request(ticket, kind, target, body);
    }

    /// A request of a simple client of another core.
    pub(super) fn forwarded(self: &Rc<Self>, from: u16, asked: Ticket, kind: u8, target: u32, body: &[u8]) {
        let request = {
            let clients = &mut self.state.borrow_mut().clients;
            clients.last_foreign += 1;
            clients.foreign.insert(clients.last_foreign, (from, asked));
            clients.last_foreign
        };
        // The core that holds the connection has charged it. It is timed and counted here, by this core's clock.
        let mark = counters::mark(kind, body, self.now());
        self.request(Ticket { connection: FOREIGN, request, bytes: 0, mark }, kind, target, body);
    }

    fn request(self: &Rc<Self>, ticket: Ticket, kind: u8, target: u32, body: &[u8]) {
        let group = GroupId(target);
        match Kind::from_number(kind) {
            Some(Kind::Write) => self.handle(Event::Write { ticket, group, command: body }),
            Some(Kind::Read) => match request::read(body) {
                Ok(read) => {
                    let query = Query::Get { key: read.key.to_vec() };
                    self.handle(Event::Read { ticket, group, query, stale: read.stale });
                }
                Err(error) => self.bad_request(ticket, error.to_string()),
            },
            Some(Kind::Scan) => match request::scan(body) {
                Ok(scan) => {
                    let end = scan.end.as_ref().map(|end| end.to_vec());
                    let query = Query::Scan { start: scan.start.to_vec(), end, limit: scan.limit.to_native() };
                    self.handle(Event::Read { ticket, group, query, stale: scan.stale });
                }
                Err(error) => self.bad_request(ticket, error.to_string()),
            },
            Some(Kind::Checksum) if self.state.borrow().shard.replica(group).is_some() => {
                self.state.borrow_mut().storing.read_behind(Read::Checksum { ticket, group });
                self.turn_bell.ring();
            }
            Some(Kind::Checksum) => {
                self.answer(ticket, &Response::Refused(Refusal::NotOwner { epoch: self.map().epoch }));
            }
            Some(Kind::Status) => self.ask_status(ticket),
            Some(Kind::Routing) => self.answer(ticket, &Response::Map(self.map().encode())),
            Some(Kind::Ping) => self.answer(ticket, &Response::Done),
            _ => self.answer(ticket, &Response::Refused(Refusal::Unsupported)),
        }
    }

    fn stop(&self, ticket: Ticket, client: &Client, body: &[u8]) {
        match request::stop(body) {
            // Until there are roles, only this machine may stop a node.
            Ok(_) if !client.local => self.answer(ticket, &Response::Refused(Refusal::Forbidden)),
            Ok(stop) => {
                self.answer(ticket, &Response::Done);
                self.state.borrow_mut().clients.flush_all();
                signals::stop_this_process(stop.clean);
            }
            Err(error) => self.bad_request(ticket, error.to_string()),
        }
    }

    fn bad_request(&self, ticket: Ticket, why: String) {
        self.answer(ticket, &Response::Refused(Refusal::BadRequest { why }));
    }

    pub(super) fn answer(&self, ticket: Ticket, response: &Response) {
        self.state.borrow_mut().clients.answer(&self.mesh, ticket, response);
        self.turn_bell.ring();
    }
}
