//! Clients: sessions, one sequence per write kept through every retry, and an honest account of what is unknown.

use crate::happening::{Happening, Reply, Request};
use crate::history::Begun;
use crate::plan::{LAST_OPERATION, MS, OPERATIONS_MIN, PEACE, Plan};
use crate::random::Random;
use crate::work::{self, Work};
use crate::world::{Checked, Violation, World};
use engine_core::command::{self, ClientId, Command, Operation, Outcome, SessionRef};
use engine_core::placement::cores::core_of;
use engine_core::shard::effects::StoreRead;
use engine_core::shard::{Answer, Query, Refused, Ticket};
use raft::ids::{GroupId, Index};
use std::collections::BTreeMap;
use std::rc::Rc;

/// One client process.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    /// Counts over all groups, which leaves gaps in each; the others count for each group, as the library does.
    wide: bool,
    last_sequence: BTreeMap<GroupId, u64>,
    sessions: BTreeMap<GroupId, Index>,
    leaders: BTreeMap<GroupId, u16>,
    /// The value of each key as this client saw it last.
    pub(crate) seen: BTreeMap<usize, Option<Vec<u8>>>,
    slots: Vec<Slot>,
}

/// Room for one operation at a time.
#[derive(Debug, Default)]
struct Slot {
    /// Counts what it does, so that what was planned for an earlier step is known to be late.
    step: u64,
    running: Option<Running>,
}

/// An operation under way.
#[derive(Debug)]
struct Running {
    group: GroupId,
    work: Work,
    begun: Vec<Begun>,
    started: u64,
    deadline: u64,
    /// Its command, the same in every attempt; made when its session is known.
    command: Option<(u64, Rc<[u8]>)>,
    /// An attempt may have reached a log.
    maybe_applied: bool,
    /// The attempt under way, and whether it opens the session.
    asked: Option<(u64, bool)>,
    attempts: u32,
}

impl Client {
    /// Client number `number`.
    pub fn new(number: usize, plan: &Plan, random: &mut Random) -> Client {
        let id = ClientId(u128::from(random.number()) << 64 | number as u128);
        Client::with_slots(id, plan.clients.1)
    }

    fn with_slots(id: ClientId, slots: usize) -> Client {
        Client {
            id,
            wide: id.0.is_multiple_of(3),
            last_sequence: BTreeMap::new(),
            sessions: BTreeMap::new(),
            leaders: BTreeMap::new(),
            seen: BTreeMap::new(),
            slots: (0..slots).map(|_| Slot::default()).collect(),
        }
    }

    fn next_sequence(&mut self, group: GroupId) -> u64 {
        let last = self.last_sequence.entry(if self.wide { GroupId(0) } else { group }).or_default();
        *last += 1;
        *last
    }

    /// Every sequence of `session` up to this one is answered or given up.
    fn acknowledged(&self, group: GroupId, sequence: u64) -> u64 {
        let open = self.slots.iter().filter_map(|slot| slot.running.as_ref()).filter(|running| running.group == group);
        let lowest = open.filter_map(|running| Some(running.command.as_ref()?.0)).min();
        lowest.map_or(sequence, |lowest| lowest.min(sequence)) - 1
    }
}

impl World {
    /// A slot's time has come: to begin something, to try again, or to stop waiting for an answer.
    pub(crate) fn client_step(&mut self, client: usize, slot: usize, step: u64) -> Checked {
        let state = &mut self.clients[client].slots[slot];
        if state.step != step {
            return Ok(());
        }
        let Some(running) = &mut state.running else {
            if self.now < LAST_OPERATION {
                let work = self.invent(client);
                self.begin(client, slot, work);
            }
            return Ok(());
        };
        if let Some((_, opens)) = running.asked.take() {
            // No answer in time. Whether it arrived, nobody knows.
            running.maybe_applied |= !opens;
            let group = running.group;
            self.clients[client].leaders.remove(&group);
        }
        self.ask(client, slot);
        Ok(())
    }

    fn begin(&mut self, client: usize, slot: usize, work: Work) {
        let key = work.keys()[0];
        let group = self.plan.ring.group_of(&self.plan.keys[key]);
        let short = !self.peace && self.random.per_mille(60);
        let patience = if short { self.random.between(2, 400) } else { self.random.between(2000, 2400) } * MS;
        let begun = work.begins().into_iter().map(|(key, did)| self.history.begin(key, self.now, did)).collect();
        let (started, deadline) = (self.now, self.now + patience);
        self.clients[client].slots[slot].running = Some(Running {
            group,
            work,
            begun,
            started,
            deadline,
            command: None,
            maybe_applied: false,
            asked: None,
            attempts: 0,
        });
        self.totals.count("operations");
        self.ask(client, slot);
    }

    /// One attempt, or the end of all patience.
    fn ask(&mut self, client: usize, slot: usize) {
        let state = &mut self.clients[client];
        let running = state.slots[slot].running.as_ref().expect("an operation is under way");
        if self.now >= running.deadline && client < self.plan.clients.0 {
            return self.give_up(client, slot);
        }
        let (group, writes) = (running.group, running.work.operation(&self.plan.keys).is_some());
        if running.attempts > 0 {
            self.totals.count("retries");
        }
        let session = state.sessions.get(&group).copied();
        let (request, opens) = match (running.work.operation(&self.plan.keys), session) {
            (None, _) => (Request::Read(group, running.work.query(&self.plan.keys)), false),
            (Some(_), None) => (Request::Write(group, open(state.id, group)), true),
            (Some(operation), Some(opened)) => {
                if running.command.is_none() {
                    let sequence = state.next_sequence(group);
                    let acknowledged = state.acknowledged(group, sequence);
                    let session = SessionRef { group, opened };
                    let command = Command { client: state.id, sequence, acknowledged, session, operation };
                    let bytes: Rc<[u8]> = command::encode(&command).into();
                    state.slots[slot].running.as_mut().expect("it is").command = Some((sequence, bytes));
                }
                let running = state.slots[slot].running.as_ref().expect("it is");
                (Request::Write(group, running.command.as_ref().expect("it was just made").1.clone()), false)
            }
        };
        let nodes: Vec<u16> = self.plan.nodes_of(group).collect();
        let node = state.leaders.get(&group).copied().unwrap_or_else(|| *self.random.pick(&nodes));
        let to = (node, core_of(group, self.plan.shards(node)));
        self.next_ticket += 1;
        let request_number = self.next_ticket;
        let running = state.slots[slot].running.as_mut().expect("it is");
        running.asked = Some((request_number, opens));
        running.attempts += 1;
        let remaining = running.deadline.saturating_sub(self.now).max(1);
        let wait = self.random.between(200, 900) * MS;
        let wait = if client < self.plan.clients.0 { wait.min(remaining) } else { wait };
        let ticket =
            Ticket { connection: client as u64 * 64 + slot as u64, request: request_number, bytes: 0, mark: 0 };
        debug_assert!(!opens || writes);
        if let Some(delay) = self.network.client_delay(&mut self.random) {
            self.plan_in(delay, Happening::Request { to, ticket, request });
        }
        self.pause(client, slot, wait);
    }

    fn pause(&mut self, client: usize, slot: usize, pause: u64) {
        let state = &mut self.clients[client].slots[slot];
        state.step += 1;
        let step = state.step;
        self.plan_in(pause, Happening::Client { client, slot, step });
    }

    /// The operation has taken too long: what it did is unknown, unless no attempt can have reached a log.
    fn give_up(&mut self, client: usize, slot: usize) {
        let running = self.clients[client].slots[slot].running.take().expect("an operation is under way");
        if running.started > PEACE + 4_000 * MS {
            self.checker.starved += 1;
        }
        let writes = running.work.operation(&self.plan.keys).is_some();
        if writes && running.maybe_applied {
            self.totals.count("outcomes unknown");
        } else {
            running.begun.into_iter().for_each(|begun| self.history.forget(begun));
        }
        self.rest(client, slot);
    }

    /// Thinks until the next operation; hardly, if the world is behind its number of operations.
    fn rest(&mut self, client: usize, slot: usize) {
        let due = OPERATIONS_MIN * 6 / 5 * self.now / LAST_OPERATION;
        let think = if self.totals.of("operations") < due { 10 * MS } else { self.plan.think };
        let pause = self.random.between(1, 2 * think);
        self.pause(client, slot, pause);
    }

    /// A request arrives at a core, if one is there to take it.
    pub(crate) fn request(&mut self, to: (u16, u16), ticket: Ticket, request: Request) -> Checked {
        let paused_until = self.nodes[usize::from(to.0)].paused_until;
        if paused_until > self.now {
            self.queue.plan(paused_until, Happening::Request { to, ticket, request });
            return Ok(());
        }
        let Some(place) = self.open_core(to) else { return Ok(()) };
        match request {
            Request::Write(group, bytes) => {
                self.handle(place, engine_core::shard::Event::Write { ticket, group, command: &bytes });
            }
            Request::Read(group, query) => {
                self.handle(place, engine_core::shard::Event::Read { ticket, group, query, stale: false });
            }
        }
        Ok(())
    }

    /// The store answers a read that is confirmed.
    pub(crate) fn answer_read(&mut self, place: crate::happening::Place, read: StoreRead) {
        let store = self.holds(place.node, read.group);
        let reply = match &read.query {
            Query::Get { key } => Reply::Value(store.get(read.group, key)),
            Query::Scan { start, end, limit } => {
                Reply::Page(store.scan(read.group, start, end.as_deref(), *limit as usize, 1 << 20).entries)
            }
        };
        self.answer(place, read.ticket, reply);
    }

    /// An answer leaves a core.
    pub(crate) fn answer(&mut self, _from: crate::happening::Place, ticket: Ticket, reply: Reply) {
        if let Some(delay) = self.network.client_delay(&mut self.random) {
            self.plan_in(delay, Happening::Reply { ticket, reply });
        }
    }

    /// An answer arrives at a client.
    pub(crate) fn reply(&mut self, ticket: Ticket, reply: Reply) -> Checked {
        let (client, slot) = (ticket.connection as usize / 64, ticket.connection as usize % 64);
        let state = &mut self.clients[client];
        let Some(running) = &mut state.slots[slot].running else { return Ok(()) };
        // An answer to an attempt that was given up comes too late.
        let Some((_, opens)) = running.asked.take_if(|(request, _)| *request == ticket.request) else {
            return Ok(());
        };
        let group = running.group;
        let refused = match reply {
            Reply::Refused(refused) => refused,
            Reply::Outcome(Outcome::Opened { session }) if opens => {
                state.sessions.insert(group, session);
                self.ask(client, slot);
                return Ok(());
            }
            reply => return self.done(client, slot, &reply),
        };
        let mut again = self.random.between(5, 60) * MS;
        match refused {
            Refused::NotLeader(Some(leader)) => {
                again = self.random.between(1, 3 * MS);
                state.leaders.insert(group, leader.node());
            }
            Refused::NotLeader(None) | Refused::NotServing => {
                state.leaders.remove(&group);
            }
            Refused::OutcomeUnknown => {
                running.maybe_applied |= !opens;
                state.leaders.remove(&group);
            }
            Refused::Busy | Refused::DiskFull => {}
            refused => return Err(Violation(format!("group {group} refused a client: {refused:?}"))),
        }
        self.pause(client, slot, again);
        Ok(())
    }

    fn done(&mut self, client: usize, slot: usize, reply: &Reply) -> Checked {
        let running = self.clients[client].slots[slot].running.take().expect("an operation is under way");
        let learnt = running.work.learn(reply, &self.plan).map_err(|why| {
            Violation(format!("client {client}: {:?} of group {} was answered: {why}", running.work, running.group))
        })?;
        if matches!(reply, Reply::Outcome(Outcome::AlreadyApplied)) {
            self.totals.count("retries answered from the session");
        }
        for (begun, did) in running.begun.into_iter().zip(learnt.did) {
            self.history.end(begun, self.now, did);
        }
        self.clients[client].seen.extend(learnt.seen);
        self.totals.count("operations acknowledged");
        if client == self.plan.clients.0 {
            self.final_reads += 1;
            return Ok(());
        }
        self.rest(client, slot);
        Ok(())
    }

    /// A reader who has done nothing else reads every key.
    pub(crate) fn read_everything(&mut self) {
        let client = self.clients.len();
        let keys = self.plan.keys.len();
        self.clients.push(Client::with_slots(ClientId(1), keys));
        for key in 0..keys {
            self.begin(client, key, Work::Get { key });
        }
    }

    fn invent(&mut self, client: usize) -> Work {
        let seen = &self.clients[client].seen;
        let work = work::invent(&self.plan, seen, &mut self.random);
        match &work {
            Work::Scan { .. } => self.totals.count("scans"),
            Work::Batch { .. } => self.totals.count("batches of writes"),
            _ => {}
        }
        work
    }
}

fn open(client: ClientId, group: GroupId) -> Rc<[u8]> {
    let session = SessionRef { group, opened: Index(0) };
    command::encode(&Command { client, sequence: 0, acknowledged: 0, session, operation: Operation::Open }).into()
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        match answer {
            Answer::Outcome(outcome) => Reply::Outcome(outcome),
            Answer::Refused(refused) => Reply::Refused(refused),
        }
    }
}
