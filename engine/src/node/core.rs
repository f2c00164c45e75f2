//! One core: its shard, its journal, its connections, and the turn that ties them together.
//!
//! Events come in from the tasks of connections, of the journal and of the inbox; each is handled on the spot,
//! in one borrow without an await. The turn task then finishes the turn and carries the effects out: messages first,
//! then what must be made durable, what the store may apply, answers and reads; at last one send per connection.

use super::clients::Clients;
use super::journal_disk::Batch;
use super::journal_files::Spare;
use super::journal_past::Wanted;
use super::mesh::{Mesh, ToCore};
use super::peers::Peers;
use super::queue::{Inbox, Sender};
use super::runtime;
use super::runtime::bell::{Bell, Slot};
use super::snapshot_in::{self, Receiving};
use super::snapshot_out::Sends;
use super::spare_orders::SpareOrders;
use super::status::Asked;
use super::store_threads::{Helpers, Read};
use super::storing::{Storing, Urgency};
use super::{NodeError, NodeFacts, answers, held, journal_task, owed, pace};
use crate::store::{Cached, Done, Store};
use config::Settings;
use engine_core::journal::Journal;
use engine_core::placement::map::ClusterMap;
use engine_core::shard::effects::{SnapshotStep, StoreRead};
use engine_core::shard::{Effects, Event, Query, RECOVERED, Shard};
use net::hello::Hello;
use net::response::Response;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads answered from the block cache in one turn before the sockets are looked at again.
const FLUSH_EVERY: usize = 512;

/// Messages of other threads that are taken before others have their turn.
const MESSAGES_MAX: usize = 128;

/// How a core tells main that it stands, or why not.
pub type Report = flume::Sender<Result<(), NodeError>>;

/// What a core is made of when it starts.
pub struct Parts {
    /// The number of the core.
    pub index: u16,
    /// What all cores know.
    pub facts: Arc<NodeFacts>,
    /// All inboxes of the node.
    pub mesh: Mesh,
    /// This core's inbox.
    pub inbox: Inbox<ToCore>,
    /// The store.
    pub store: Store,
    /// The store's threads.
    pub helpers: Helpers,
    /// The thread that writes the journal.
    pub disk: Sender<Batch>,
    /// The helper that makes segments.
    pub spares: Sender<Spare>,
    /// The thread that reads the journal back.
    pub past: Sender<Wanted>,
    /// Where the segments are.
    pub journal_directory: PathBuf,
}

/// See the module.
pub struct Core {
    pub(super) index: u16,
    pub(super) facts: Arc<NodeFacts>,
    pub(super) settings: Settings,
    map: RefCell<Arc<ClusterMap>>,
    pub(super) mesh: Mesh,
    pub(super) store: Store,
    pub(super) disk: Sender<Batch>,
    pub(super) spares: Sender<Spare>,
    pub(super) past: Sender<Wanted>,
    pub(super) state: RefCell<State>,
    pub(super) turn_bell: Bell,
    pub(super) journal_bell: Bell,
    /// The buffer of the batch that has been written.
    pub(super) written: Slot<Vec<u8>>,
    /// For how many ticks the disk has had a batch, if it has one.
    pub(super) writing: Cell<Option<u32>>,
    /// A task is about to send what waits.
    answers_wait: Cell<bool>,
    pub(super) stopping: Cell<bool>,
    /// There will be no further turn.
    done: Cell<bool>,
    started: Instant,
    /// The batch that completes what recovery wrote, and whom to tell.
    recovered: Cell<Option<(u64, Report)>>,
}

/// What a turn works on.
#[derive(Debug)]
pub struct State {
    pub(super) shard: Shard,
    pub(super) effects: Effects,
    pub(super) journal: Journal,
    /// Persist numbers in flight, each with the batch that completes it.
    pub(super) unpersisted: VecDeque<(u64, u64)>,
    pub(super) spare_orders: SpareOrders,
    pub(super) clients: Clients,
    pub(super) asked: Asked,
    pub(super) peers: Peers,
    pub(super) sends: Sends,
    pub(super) receiving: Option<Receiving>,
    pub(super) storing: Storing,
}

impl State {
    /// Whether everything handed to the journal is durable.
    pub fn is_persisted(&self) -> bool {
        self.unpersisted.is_empty()
    }

    /// Whether nothing is left to be made durable or applied, and the store is being made durable.
    fn is_ended(&self) -> bool {
        self.is_persisted() && self.shard.is_quiet() && self.storing.is_settled()
    }

    /// The store has applied something.
    fn applied(&mut self, done: Done) {
        for (run, bytes) in done {
            self.shard.handle(Event::Applied { run, bytes }, &mut self.effects);
        }
    }
}

impl Core {
    /// A core over a shard and a journal that recovery has made.
    /// `reported` hears once everything that recovery wrote is durable.
    pub fn new(parts: Parts, shard: Shard, journal: Journal, reported: Report) -> (Rc<Core>, Inbox<ToCore>) {
        let map = Arc::new(parts.facts.map.clone());
        let open_batch = journal.open_batch();
        let recovered = Cell::new(Some((open_batch, reported)));
        let state = State {
            shard,
            effects: Effects::default(),
            journal,
            unpersisted: VecDeque::from([(RECOVERED, open_batch)]),
            spare_orders: SpareOrders::default(),
            clients: Clients::new(parts.facts.settings.limits.core_inflight_bytes as usize),
            asked: Asked::default(),
            peers: Peers::new(
                &map,
                parts.facts.node,
                parts.index,
                parts.facts.settings.limits.peer_queue_bytes as usize,
            ),
            sends: Sends::default(),
            receiving: None,
            storing: Storing::new(parts.index, parts.store.clone(), parts.helpers),
        };
        let core = Core {
            index: parts.index,
            settings: parts.facts.settings.clone(),
            map: RefCell::new(map),
            facts: parts.facts,
            mesh: parts.mesh,
            store: parts.store,
            disk: parts.disk,
            spares: parts.spares,
            past: parts.past,
            state: RefCell::new(state),
            turn_bell: Bell::default(),
            journal_bell: Bell::default(),
            written: Slot::default(),
            writing: Cell::new(None),
            answers_wait: Cell::new(false),
            stopping: Cell::new(false),
            done: Cell::new(false),
            started: Instant::now(),
            recovered,
        };
        (Rc::new(core), parts.inbox)
    }

    /// Runs the core until it has been drained.
    pub async fn run(self: Rc<Self>, inbox: Inbox<ToCore>) {
        let journal_ended = Rc::new(Bell::default());
        {
            let (core, ended) = (self.clone(), journal_ended.clone());
            runtime::spawn(async move {
                journal_task::run(core).await;
                ended.ring();
            });
        }
        super::peers::start(&self);
        {
            let core = self.clone();
            runtime::spawn(async move { core.tick_loop().await });
        }
        {
            let core = self.clone();
            runtime::spawn(async move {
                let mut taken: usize = 0;
                while let Some(message) = inbox.receive().await {
                    core.take(message);
                    taken += 1;
                    // Whoever sends faster than this would keep turns and ticks waiting.
                    if taken.is_multiple_of(MESSAGES_MAX) {
                        runtime::breathe().await;
                    }
                }
            });
        }
        while !self.is_stopping() {
            self.turn_bell.wait().await;
            if self.turn() {
                // The bell is rung already: ticks and sockets come first.
                runtime::breathe().await;
            }
        }
        // Everything that was promised is durable, and what was applied up to here goes into the store, before the journal's task
        // ends; then the store closes. What is applied meanwhile is in the journal.
        self.state.borrow_mut().storing.want_sync(Urgency::Now);
        let (mut ticked, mut looked) = (Instant::now(), Instant::now());
        while !self.state.borrow().is_ended() {
            self.turn_bell.wait_for(Duration::from_millis(10)).await;
            if self.turn() {
                runtime::breathe().await;
            }
            if ticked.elapsed() >= self.facts.tick {
                self.look_at_disk();
                ticked = Instant::now();
            }
            // What is to be made durable may wait for room.
            if looked.elapsed() > self.facts.tick * pace::LOOK_TICKS {
                journal_task::look_for_room(&mut self.state.borrow_mut(), &self.spares);
                looked = Instant::now();
            }
        }
        self.done.set(true);
        self.journal_bell.ring();
        while !journal_ended.wait_for(self.facts.tick).await {
            self.look_at_disk();
        }
        self.state.borrow_mut().clients.close_all();
        self.state.borrow_mut().peers.close_all();
        self.state.borrow_mut().sends.close_all();
    }

    /// Once a tick on the last turns, as nothing ticks any more: a disk that hangs would be waited for for ever.
    fn look_at_disk(&self) {
        self.facts.health.beat(self.index);
        journal_task::watch_disk(self);
    }

    /// Whether the core is on its last turns.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether everything is durable and no turn will follow. Not before does the journal's task end: peers go on talking to a core
    /// that stops, and what its last turns persist must be written.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Tells the shard one thing; its effects are carried out at the end of the turn.
    pub fn handle(&self, event: Event<'_>) {
        let state = &mut *self.state.borrow_mut();
        state.shard.handle(event, &mut state.effects);
        self.turn_bell.ring();
    }

    /// A batch is promised: if it completes what recovery wrote, the node may call its replicas created.
    pub(super) fn report_recovered(&self, promised: u64) {
        match self.recovered.take() {
            // Only a main that has given up no longer listens.
            Some((batch, reported)) if batch <= promised => drop(reported.send(Ok(()))),
            waiting => self.recovered.set(waiting),
        }
    }

    /// The cluster map in force here.
    pub(super) fn map(&self) -> Arc<ClusterMap> {
        self.map.borrow().clone()
    }

    /// Whether a peer that says hello is in the map under its incarnation.
    pub(super) fn knows(&self, hello: &Hello) -> bool {
        self.map().node(hello.node).is_some_and(|entry| entry.incarnation == hello.incarnation)
    }

    /// A newer map is in force. Streams to and from a disk that is gone are over.
    fn follow(&self, map: &Arc<ClusterMap>) {
        let former = self.map.replace(map.clone());
        let replaced = (0u16..).zip(former.nodes.iter().zip(&map.nodes));
        for (node, _) in replaced.filter(|(_, (one, other))| one.incarnation != other.incarnation) {
            self.state.borrow().peers.close(node);
        }
        self.handle(Event::Map(map));
    }

    /// One message from another thread.
    fn take(self: &Rc<Self>, message: ToCore) {
        match message {
            ToCore::Connection { socket, hello, local } => self.adopt(socket, &hello, local),
            ToCore::Forwarded { from, ticket, kind, target, body } => self.forwarded(from, ticket, kind, target, &body),
            ToCore::Reply { ticket, frame } => {
                self.state.borrow_mut().clients.reply(ticket, &frame);
                self.turn_bell.ring();
            }
            ToCore::WrittenBack { records } => {
                let state = &mut *self.state.borrow_mut();
                state.clients.counters.written_back += records;
                let done = state.storing.written_back(self.now());
                state.applied(done);
                self.turn_bell.ring();
            }
            ToCore::Fetched(fetched) => {
                let state = &mut *self.state.borrow_mut();
                let done = state.storing.fetched(fetched, self.now());
                state.applied(done);
                self.turn_bell.ring();
            }
            ToCore::StoreSynced(durable) => {
                let mut state = self.state.borrow_mut();
                state.storing.synced();
                let pressure = journal_task::pressure(&state);
                drop(state);
                self.handle(Event::StoreSynced { durable, pressure });
            }
            ToCore::SnapshotOpened { id, found } => self.snapshot_opened(id, found),
            ToCore::SnapshotRead { id, chunk, end } => self.snapshot_read(id, chunk, end),
            ToCore::SnapshotWritten { id, chunk } => self.snapshot_written(id, chunk),
            ToCore::SnapshotInstalled(header) => self.snapshot_installed(header),
            ToCore::SnapshotBroken { group, id } => self.snapshot_broken(group, id),
            ToCore::Answer { ticket, response } => {
                let (now, mut state) = (self.now(), self.state.borrow_mut());
                state.clients.answer_at(now, &self.mesh, ticket, &response);
                drop(state);
                self.turn_bell.ring();
            }
            ToCore::JournalWritten(buffer) => self.written.give(buffer),
            // It is not the disk that keeps the batch waiting.
            ToCore::JournalShort => self.writing.set(Some(0)),
            ToCore::SpareReady(id) => journal_task::spare_ready(self, id),
            ToCore::SpareFailed { id, old, full } => journal_task::spare_failed(self, id, old, full),
            ToCore::Status(reply) => reply.give(self.status()),
            ToCore::Metrics(reply) => reply.give(self.metrics()),
            ToCore::DiskFull(full) => self.handle(Event::DiskFull(full)),
            ToCore::Map(map) => self.follow(&map),
            ToCore::Petition(petition) => self.handle(Event::Petition(&petition)),
            ToCore::Drain => {
                let core = self.clone();
                runtime::spawn(async move { core.drain().await });
            }
        }
    }

    /// Ends a turn and carries its effects out; whether it leaves something to the next.
    fn turn(self: &Rc<Self>) -> bool {
        let state = &mut *self.state.borrow_mut();
        let began = self.now();
        state.clients.now = began;
        let effects = &mut state.effects;
        if self.settings.raft.leases {
            state.shard.finish_at(runtime::clock(), effects);
        } else {
            state.shard.finish(effects);
        }
        state.clients.counters.became_leader += std::mem::take(&mut effects.elected);
        state.clients.counters.reads_leased += std::mem::take(&mut effects.leased);
        state.peers.send(&mut effects.words, &mut effects.messages);
        if !effects.persist.is_empty() {
            let mut batch = 0;
            for persist in effects.persist.drain(..) {
                state.clients.counters.journal_entries += persist.entries.len() as u64;
                let start = persist.log_start.as_ref().map(|(start, membership)| (*start, membership.as_slice()));
                batch = state.journal.append(persist.group, persist.hard_state, start, &persist.entries);
            }
            state.unpersisted.push_back((effects.persist_number, batch));
            self.journal_bell.ring();
        }
        let mut goes_on = false;
        if !effects.apply.is_empty() {
            let runs = std::mem::take(&mut effects.apply);
            let done = state.storing.apply(runs, began);
            // What it frees answers in this turn, what it lets go on comes with the next.
            goes_on = !done.is_empty();
            if goes_on {
                self.turn_bell.ring();
            }
            for (run, bytes) in done {
                state.shard.handle(Event::Applied { run, bytes }, effects);
            }
        }
        for (ticket, answer) in effects.answers.drain(..) {
            state.clients.answer(&self.mesh, ticket, &answers::response(answer, &self.map.borrow()));
        }
        state.storing.answered();
        for (count, read) in effects.reads.drain(..).enumerate() {
            if count % FLUSH_EVERY == FLUSH_EVERY - 1 {
                state.clients.flush_all();
            }
            let StoreRead { ticket, group, query } = read;
            if !state.clients.awaits(ticket) {
                state.clients.answer(&self.mesh, ticket, &owed::busy());
                continue;
            }
            let known = match &query {
                Query::Get { key } => state.storing.get(group, key),
                Query::Scan { .. } => Cached::NotInMemory,
            };
            if let Cached::Value(value) = known {
                state.clients.counters.reads_in_memory += 1;
                state.clients.answer(&self.mesh, ticket, &Response::Value(value));
                continue;
            }
            state.clients.counters.reads_elsewhere += 1;
            match query {
                Query::Get { .. } => state.storing.read(Read::Query { ticket, group, query }),
                Query::Scan { .. } => state.storing.read_behind(Read::Query { ticket, group, query }),
            }
        }
        for (group, log_start, membership) in effects.compact.drain(..) {
            state.journal.compact(group, log_start, &membership);
            self.journal_bell.ring();
        }
        if std::mem::take(&mut effects.want_store_sync) {
            state.storing.want_sync(Urgency::Soon);
        }
        for step in effects.snapshot_steps.drain(..) {
            if let SnapshotStep::Abandon { group } = &step {
                snapshot_in::abandon(&mut state.receiving, *group);
            }
            state.storing.step(step);
        }
        for wanted in effects.snapshots.drain(..) {
            state.sends.start(self, wanted);
        }
        for (group, peer) in effects.snapshots_over.drain(..) {
            state.sends.call_off(group, peer);
        }
        for (group, fetch) in effects.fetch.drain(..) {
            self.fetch(group, fetch);
        }
        for replay in effects.replay.drain(..) {
            self.replay(replay);
        }
        state.storing.settle(began);
        if state.clients.flush() {
            self.end_waiting();
        }
        state.clients.counters.turns.record(self.now() - began);
        goes_on
    }

    /// Sees to it that answers which wait leave in time, also if no turn follows.
    fn end_waiting(self: &Rc<Self>) {
        if !self.answers_wait.replace(true) {
            let core = self.clone();
            runtime::spawn(async move {
                runtime::sleep(held::TIME_MAX).await;
                core.answers_wait.set(false);
                core.state.borrow_mut().clients.flush_all();
            });
        }
    }

    /// The core's clock, in microseconds.
    pub(super) fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}
