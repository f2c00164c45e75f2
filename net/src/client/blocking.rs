//! The blocking client: the core over non-blocking sockets and epoll(7), on the caller's thread.
//!
//! There is no thread of its own: the client lives while one of its methods runs. One request at a time with
//! [`Client::put`] and its like, or many in flight with [`Client::submit`] and [`Client::poll`], or [`Pipeline`].
//! Host names are resolved anew whenever connections are opened; every address of a name is tried, the next one at the next
//! attempt if one says nothing.

use super::connection::Effect;
use super::core::Core;
use super::error::ClientError;
use super::options::ClientOptions;
use super::request::{Answer, CasResult, Checksum, Completion, Page, Request, RequestId, ScanOptions, Target};
use super::sockets::{Names, Sockets};
use engine_core::command::{BatchOperation, ClientId, Operation};
use engine_core::placement::map::ClusterMap;
use raft::ids::GroupId;
use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Who has not looked at the network for so long looks before it believes that time has run out.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// A client of one cluster. Not shared between threads: each opens its own.
#[derive(Debug)]
pub struct Client {
    core: Core,
    sockets: Sockets,
    endpoints: Vec<String>,
    timeout: Duration,
    started: Instant,
    completions: VecDeque<Completion>,
    /// When the network was looked at last.
    looked_at: Duration,
    /// Requests nobody waits for any more: their completions are dropped.
    abandoned: BTreeSet<RequestId>,
}

impl Client {
    /// A client of the cluster that any of `endpoints` (`host:port`) belongs to. Nothing is connected before the first
    /// request. Fails if there are no endpoints, one is not `host:port`, or the system gives no randomness or no descriptor.
    pub fn connect(endpoints: &[String], options: ClientOptions) -> Result<Client, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::BadInput { why: "no server is named".to_owned() });
        }
        if let Some(wrong) = endpoints.iter().find(|endpoint| !is_host_and_port(endpoint)) {
            return Err(ClientError::BadInput { why: format!("{wrong} is not host:port") });
        }
        let mut random = [0; 24];
        let drawn = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
        drawn.map_err(|error| ClientError::Unavailable { why: format!("no randomness: {error}") })?;
        let (mut client, mut seed) = ([0; 16], [0; 8]);
        client.copy_from_slice(&random[..16]);
        seed.copy_from_slice(&random[16..]);
        let seed = options.seed.unwrap_or(u64::from_le_bytes(seed));
        let timeout = options.timeout;
        let sockets = Sockets::new().map_err(|error| ClientError::Unavailable { why: format!("epoll: {error}") })?;
        let core = Core::new(endpoints, options, ClientId(u128::from_le_bytes(client)), seed);
        Ok(Client {
            core,
            sockets,
            endpoints: endpoints.to_vec(),
            timeout,
            started: Instant::now(),
            completions: VecDeque::new(),
            looked_at: Duration::ZERO,
            abandoned: BTreeSet::new(),
        })
    }

    /// How long each request may take from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// How long each request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Starts a request. Nothing is sent before [`Client::poll`], so that many leave together.
    pub fn submit(&mut self, request: Request) -> RequestId {
        self.core.submit(request, self.timeout, self.started.elapsed())
    }

    /// Whether a request with so many bytes of keys and values is taken now; else it is refused as long as those under way
    /// hold what [`ClientOptions`] allow.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.core.has_room(bytes)
    }

    /// Requests submitted whose completions [`Client::poll`] has not returned yet.
    pub fn in_flight(&self) -> usize {
        self.core.in_flight() + self.completions.len()
    }

    /// Moves everything on, waiting up to `timeout` for the first completion, and returns all there are.
    pub fn poll(&mut self, timeout: Duration) -> Vec<Completion> {
        let until = self.started.elapsed().saturating_add(timeout);
        loop {
            self.turn(until);
            if !self.completions.is_empty() || self.started.elapsed() >= until {
                return self.completions.drain(..).collect();
            }
        }
    }

    /// One request from beginning to end. Completions of others that come meanwhile are kept for [`Client::poll`].
    pub fn call(&mut self, request: Request) -> Result<Answer, ClientError> {
        let id = self.submit(request);
        // Put aside: a turn waits for nothing while there are completions.
        let mut others = std::mem::take(&mut self.completions);
        loop {
            // The core ends every request by its deadline, so this does too.
            self.turn(Duration::MAX);
            let position = self.completions.iter().position(|completion| completion.id == id);
            let found = position.and_then(|position| self.completions.remove(position));
            others.append(&mut self.completions);
            if let Some(completion) = found {
                self.completions = others;
                return completion.result;
            }
        }
    }

    /// Sets a key and returns its old value. [`ClientError::ResultGone`]: it is set, but the old value is not known.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        let put = Operation::Put { key: key.to_vec(), value: value.to_vec(), return_old: true };
        old(self.call(Request::Write(put))?)
    }

    /// Sets a key.
    pub fn put_blind(&mut self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        let put = Operation::Put { key: key.to_vec(), value: value.to_vec(), return_old: false };
        done(self.call(Request::Write(put))?)
    }

    /// The value of a key, linearizable.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        value(self.call(Request::Get { key: key.to_vec(), stale: false })?)
    }

    /// The value of a key as any replica has it: it may be old.
    pub fn get_stale(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        value(self.call(Request::Get { key: key.to_vec(), stale: true })?)
    }

    /// Removes a key and returns its old value; `None`: it was not there. [`ClientError::ResultGone`] as in `put`.
    pub fn delete(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        old(self.call(Request::Write(Operation::Delete { key: key.to_vec(), return_old: true }))?)
    }

    /// Removes a key.
    pub fn delete_blind(&mut self, key: &[u8]) -> Result<(), ClientError> {
        done(self.call(Request::Write(Operation::Delete { key: key.to_vec(), return_old: false }))?)
    }

    /// Sets (or with `set` none removes) a key if its value is `expect` (none: if it does not exist).
    pub fn cas(&mut self, key: &[u8], expect: Option<&[u8]>, set: Option<&[u8]>) -> Result<CasResult, ClientError> {
        let (expect, set) = (expect.map(<[u8]>::to_vec), set.map(<[u8]>::to_vec));
        match self.call(Request::Write(Operation::CompareAndSwap { key: key.to_vec(), expect, set }))? {
            Answer::Cas(result) => Ok(result),
            other => Err(unexpected(&other)),
        }
    }

    /// Entries in key order over all groups.
    pub fn scan(&mut self, options: ScanOptions) -> Result<Page, ClientError> {
        match self.call(Request::Scan(options))? {
            Answer::Page(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// Several writes, all or none, to keys of one group; else [`ClientError::CrossGroupBatch`] and nothing happens.
    pub fn batch(&mut self, operations: Vec<BatchOperation>) -> Result<(), ClientError> {
        done(self.call(Request::Write(Operation::Batch { operations }))?)
    }

    /// The cluster map, fetched anew.
    pub fn map(&mut self) -> Result<Rc<ClusterMap>, ClientError> {
        match self.call(Request::Map)? {
            Answer::Map(map) => Ok(map),
            other => Err(unexpected(&other)),
        }
    }

    /// What the replica of `group` on node number `node` holds, as one instant.
    pub fn checksum(&mut self, group: GroupId, node: u16) -> Result<Checksum, ClientError> {
        match self.call(Request::Checksum { group, node })? {
            Answer::Checksum(checksum) => Ok(checksum),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops a node, named by its name in the map or its `host:port`: handing leaders over first if `clean`. Success
    /// means that it will stop or has; it may still be at it.
    pub fn stop(&mut self, server: &str, clean: bool) -> Result<(), ClientError> {
        let of = if is_host_and_port(server) {
            Target::Address(server.to_owned())
        } else {
            let number = self.map()?.node_named(server);
            let unknown = || ClientError::BadInput { why: format!("no node is called {server}") };
            Target::Node(number.ok_or_else(unknown)?)
        };
        done(self.call(Request::Stop { of, clean })?)
    }

    /// The endpoints that were given.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// One turn: carries out what the core wants, sends, waits for the network until `until` at most, receives.
    fn turn(&mut self, until: Duration) {
        let wait = self.begin_turn(until);
        self.sockets.wait_and_receive(&mut self.core, wait, self.started);
        self.end_turn();
    }

    /// What comes before the wait, and how long that may be.
    fn begin_turn(&mut self, until: Duration) -> Duration {
        let mut now = self.started.elapsed();
        if now.saturating_sub(self.looked_at) >= LOOK_AFTER {
            // The caller, or the whole process, was away: answers may lie there.
            self.sockets.wait_and_receive(&mut self.core, Duration::ZERO, self.started);
            now = self.started.elapsed();
            self.looked_at = now;
        }
        self.core.tick(now);
        self.connect_and_close(now);
        self.collect();
        let all_there = self.sockets.send(&mut self.core, now);
        let due = self.core.next_wakeup().unwrap_or(Duration::MAX);
        // What is done already is not kept waiting; the network still gets its look.
        match self.completions.is_empty() && all_there {
            true => due.min(until).saturating_sub(now),
            false => Duration::ZERO,
        }
    }

    fn end_turn(&mut self) {
        let now = self.started.elapsed();
        self.looked_at = now;
        self.core.tick(now);
        self.connect_and_close(now);
        self.collect();
    }

    fn connect_and_close(&mut self, now: Duration) {
        let mut names = Names::new();
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Connect { connection, address, address_turn, .. } => {
                    self.sockets.connect(&mut self.core, connection, &address, address_turn, &mut names, now);
                }
                Effect::Close { connection } => self.sockets.close(connection),
            }
        }
    }

    fn collect(&mut self) {
        while let Some(completion) = self.core.next_completion() {
            if self.abandoned.is_empty() || !self.abandoned.remove(&completion.id) {
                self.completions.push_back(completion);
            }
        }
    }

    /// Puts completions back that belong to somebody else, and forgets requests nobody waits for.
    pub(super) fn keep(&mut self, others: Vec<Completion>, abandoned: BTreeSet<RequestId>) {
        self.completions.extend(others);
        self.abandoned.extend(abandoned);
    }
}

/// Many requests in flight on one client, at most `depth`: for imports and benchmarks.
#[derive(Debug)]
pub struct Pipeline<'a> {
    client: &'a mut Client,
    depth: usize,
    in_flight: usize,
}

impl<'a> Pipeline<'a> {
    /// A pipeline over `client` that keeps at most `depth` (at least 1) requests in flight.
    pub fn new(client: &'a mut Client, depth: usize) -> Pipeline<'a> {
        Pipeline { client, depth: depth.max(1), in_flight: 0 }
    }

    /// Whether [`Pipeline::submit`] may be called.
    pub fn has_room(&self) -> bool {
        self.in_flight < self.depth
    }

    /// Requests whose completions have not been returned yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Starts a request. Panics if there is no room: [`Pipeline::wait`] makes some.
    pub fn submit(&mut self, request: Request) -> RequestId {
        assert!(self.has_room(), "{} requests in a pipeline of {}", self.in_flight, self.depth);
        self.in_flight += 1;
        self.client.submit(request)
    }

    /// Waits for completions, at least one if any request is in flight.
    pub fn wait(&mut self) -> Vec<Completion> {
        let mut completions = Vec::new();
        while completions.is_empty() && self.in_flight > 0 {
            completions = self.client.poll(Duration::from_secs(1));
        }
        self.in_flight -= completions.len().min(self.in_flight);
        completions
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn old(answer: Answer) -> Result<Option<Vec<u8>>, ClientError> {
    match answer {
        Answer::Old(value) => Ok(value),
        Answer::OldGone => Err(ClientError::ResultGone),
        other => Err(unexpected(&other)),
    }
}

fn done(answer: Answer) -> Result<(), ClientError> {
    match answer {
        Answer::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn value(answer: Answer) -> Result<Option<Vec<u8>>, ClientError> {
    match answer {
        Answer::Value(value) => Ok(value),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    ClientError::Protocol { why: format!("the node answered another question: {answer:?}") }
}
