//! The client without I/O: told what happened, says what to send, connect and report.
//!
//! A shell owns sockets and a clock. It opens the connections that [`Core::next_effect`] names, tells the core what
//! became of them, moves bytes ([`Core::output`], [`Core::spare`]), calls [`Core::tick`], and takes completions.
//! Time is a duration since any fixed moment. Given the same seed and the same events, the core does the same.
//!
//! The life of a request: submitted; routed by the map (`dispatch`), which it may have to wait for, as a write may
//! for its group's session; encoded into the buffer of the connection to the core that is believed to lead; answered
//! (`answer`), or paused and dispatched again, until its deadline (`clock`, `deadline`).

use super::connection::{Connection, ConnectionId, Effect, Hosts};
use super::error::ClientError;
use super::options::ClientOptions;
use super::pending::{Ask, Pending, PendingTable, Phase, Ticket, Work};
use super::request::{self, Answer, Completion, Request, RequestId};
use super::retry::Retry;
use super::routing::Routing;
use super::scan::Scan;
use super::sessions::Sessions;
use crate::frame::BODY_BYTES_MAX;
use engine_core::command::{ClientId, Command, SessionRef};
use engine_core::placement::map::ClusterMap;
use raft::ids::GroupId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Core {
    pub(super) options: ClientOptions,
    pub(super) client: ClientId,
    pub(super) now: Duration,
    pub(super) retry: Retry,
    pub(super) routing: Option<Routing>,
    /// The host of each node of the map.
    pub(super) node_hosts: Vec<usize>,
    pub(super) hosts: Hosts,
    /// The first so many hosts are the endpoints that were given.
    pub(super) endpoints: usize,
    /// Whose turn it is to be asked for the map.
    pub(super) map_turn: usize,
    /// The fetch of the map, while there is one, and who waits for it.
    pub(super) map_fetch: Option<Ticket>,
    pub(super) awaiting_map: Vec<Ticket>,
    /// Whom the cluster waits for, as the last node that was asked for the map said.
    pub(super) not_formed: Option<Vec<String>>,
    pub(super) sessions: Sessions,
    /// Groups that may take writes that were held back.
    pub(super) to_release: Vec<GroupId>,
    pub(super) pending: PendingTable,
    pub(super) pending_bytes: usize,
    /// Those of them that were submitted: the rest the client asks for its own sake.
    submitted: usize,
    pub(super) pausing: BinaryHeap<Reverse<(Duration, Ticket)>>,
    /// Deadlines are looked at together, at the earliest of them: nearly all requests are answered long before.
    pub(super) sweep_at: Duration,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Those the shell is to be told of, as they have something to send.
    pub(super) to_be_sent: VecDeque<ConnectionId>,
    /// Before this moment no connection is late or silent for long.
    pub(super) look_at: Duration,
    last_connection: u64,
    last_request: u64,
    effects: VecDeque<Effect>,
    completions: VecDeque<Completion>,
}

impl Core {
    /// A client of the cluster that any of `endpoints` (`host:port`, at least one) belongs to.
    ///
    /// `client` must be drawn at random and never be used by another client; `seed` is for jitter only.
    pub fn new(endpoints: &[String], options: ClientOptions, client: ClientId, seed: u64) -> Core {
        assert!(!endpoints.is_empty(), "a client without endpoints");
        let mut hosts = Hosts::default();
        for endpoint in endpoints {
            hosts.number(endpoint);
        }
        let (retry, endpoints) = (Retry::new(&options, seed), hosts.list.len());
        Core {
            options,
            client,
            now: Duration::ZERO,
            retry,
            routing: None,
            node_hosts: Vec::new(),
            hosts,
            endpoints,
            map_turn: 0,
            map_fetch: None,
            awaiting_map: Vec::new(),
            not_formed: None,
            sessions: Sessions::new(),
            to_release: Vec::new(),
            pending: PendingTable::default(),
            pending_bytes: 0,
            submitted: 0,
            pausing: BinaryHeap::new(),
            sweep_at: Duration::MAX,
            connections: BTreeMap::new(),
            to_be_sent: VecDeque::new(),
            look_at: Duration::MAX,
            last_connection: 0,
            last_request: 0,
            effects: VecDeque::new(),
            completions: VecDeque::new(),
        }
    }

    /// Starts a request that must be done with by `now + timeout`. Its completion comes from
    /// [`Core::next_completion`], at once if it cannot be started.
    pub fn submit(&mut self, request: Request, timeout: Duration, now: Duration) -> RequestId {
        self.now = self.now.max(now);
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let bytes = request::bytes(&request);
        let work = match self.work(request, bytes) {
            Ok(work) => work,
            Err(error) => {
                self.completions.push_back(Completion { id, result: Err(error) });
                return id;
            }
        };
        self.pending_bytes += bytes;
        self.submitted += 1;
        let ticket = self.start(Pending::new(Some(id), work, self.now.saturating_add(timeout), bytes));
        self.dispatch(ticket);
        id
    }

    fn work(&self, request: Request, bytes: usize) -> Result<Work, ClientError> {
        let is_write = matches!(request, Request::Write(_));
        if !self.has_room(bytes) {
            let why = format!("{} requests of {} bytes wait already", self.pending.len(), self.pending_bytes);
            return Err(if is_write { ClientError::NotApplied { why } } else { ClientError::Unavailable { why } });
        }
        if bytes + request::overhead(&request) > BODY_BYTES_MAX {
            return Err(ClientError::TooLarge { limit: BODY_BYTES_MAX as u64 });
        }
        Ok(match request {
            Request::Get { key, stale } => Work::Get { key, stale },
            Request::Write(operation) => {
                if request::keys(&operation).next().is_none() {
                    return Err(ClientError::BadInput { why: "a write without a key".to_owned() });
                }
                let session = SessionRef::default();
                Work::Write(Command { client: self.client, sequence: 0, acknowledged: 0, session, operation })
            }
            Request::Scan(options) => Work::Scan(Box::new(Scan::new(options))),
            Request::Map => Work::Map,
            Request::Status(target) => Work::Direct { target, ask: Ask::Status },
            Request::Checksum { group, node } => {
                Work::Direct { target: request::Target::Node(node), ask: Ask::Checksum(group) }
            }
            Request::Stop { of, clean } => Work::Direct { target: of, ask: Ask::Stop { clean } },
        })
    }

    /// What the shell must do next, if anything.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next request that is done with, if any.
    pub fn next_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Whether a request with so many bytes of keys and values is taken now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.pending.len() < self.options.requests_max && self.pending_bytes + bytes <= self.options.bytes_max
    }

    /// Requests submitted whose completions have not been taken yet.
    pub fn in_flight(&self) -> usize {
        self.submitted + self.completions.len()
    }

    /// How long opening a connection may take.
    pub fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout
    }

    /// The map in use, if one has been fetched.
    pub fn map(&self) -> Option<&ClusterMap> {
        self.routing.as_ref().map(|routing| &*routing.map)
    }

    /// The next connection that has something to send and was not named since; a shell that looks at all of them need not ask.
    pub fn next_to_send(&mut self) -> Option<ConnectionId> {
        let next = self.to_be_sent.pop_front()?;
        if let Some(connection) = self.connections.get_mut(&next) {
            connection.to_be_sent = false;
        }
        Some(next)
    }

    /// Bytes the shell should send on `connection`; empty if it is gone. Tell [`Core::sent`].
    pub fn output(&self, connection: ConnectionId) -> &[u8] {
        self.connections.get(&connection).map_or(&[], |connection| connection.out.unsent())
    }

    /// The first `count` bytes of [`Core::output`] have been handed to the network.
    pub fn sent(&mut self, connection: ConnectionId, count: usize) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.sent(count, self.now);
        }
        self.write_queued(connection);
    }

    /// Room to receive into; `None` if the connection is gone. Tell [`Core::received`].
    pub fn spare(&mut self, connection: ConnectionId) -> Option<&mut [u8]> {
        self.connections.get_mut(&connection).map(|connection| connection.recv.spare())
    }

    pub(super) fn start(&mut self, pending: Pending) -> Ticket {
        self.sweep_at = self.sweep_at.min(pending.deadline);
        self.pending.insert(pending)
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Something has been put into the buffer of a connection.
    pub(super) fn has_written(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.to_be_sent, true)
        {
            self.to_be_sent.push_back(id);
        }
    }

    pub(super) fn next_connection_id(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    /// Tries again after a pause that grows with the attempts, at least `at_least` long.
    pub(super) fn pause(&mut self, ticket: Ticket, why: String, at_least: Duration) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        pending.attempts += 1;
        pending.redirects = 0;
        pending.why = why;
        pending.phase = Phase::Pausing;
        let until = self.now + self.retry.pause(pending.attempts).max(at_least);
        self.pausing.push(Reverse((until, ticket)));
    }

    /// Tries again in this very turn.
    pub(super) fn at_once(&mut self, ticket: Ticket, why: String) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        pending.redirects += 1;
        pending.why = why;
        pending.phase = Phase::Pausing;
        self.pausing.push(Reverse((self.now, ticket)));
    }

    /// Ends a request. A failed write that may have happened by an earlier attempt says so, whatever failed now.
    pub(super) fn finish(&mut self, ticket: Ticket, result: Result<Answer, ClientError>) {
        let Some(pending) = self.pending.remove(ticket) else { return };
        self.pending_bytes -= pending.bytes;
        let result = match result {
            Err(error) if pending.is_write() && pending.maybe_applied && !error.may_have_happened() => {
                Err(ClientError::OutcomeUnknown { why: error.to_string() })
            }
            result => result,
        };
        match pending.work {
            Work::Write(command) if command.sequence > 0 => self.release(command.session, command.sequence),
            Work::ScanPart(part) => {
                if let Err(error) = result {
                    self.finish(part.scan, Err(error));
                }
                return;
            }
            Work::Open { group } => {
                if let Err(error) = result {
                    for waiting in self.sessions.failed(group) {
                        self.finish(waiting, Err(error.clone()));
                    }
                }
                return;
            }
            Work::FetchMap { .. } => {
                self.map_fetch = None;
                return;
            }
            _ => {}
        }
        if let Some(id) = pending.id {
            self.submitted -= 1;
            self.completions.push_back(Completion { id, result });
        }
    }
}
