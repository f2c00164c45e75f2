//! One world: everything a seed gives, and the loop that lets it happen.

use crate::checker::Checker;
use crate::client::Client;
use crate::happening::{Happening, Inside, Place};
use crate::history::History;
use crate::network::Network;
use crate::node::{Core, CoreDisks, Node};
use crate::plan::{END, FINAL_READS, PEACE, Plan};
use crate::queue::Queue;
use crate::random::Random;
use crate::totals::Totals;
use crate::trace::Trace;

/// What must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// Whether everything is still as it must be.
pub type Checked = Result<(), Violation>;

/// See the module.
#[derive(Debug)]
pub struct World {
    pub(crate) now: u64,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) queue: Queue,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) history: History,
    pub(crate) checker: Checker,
    pub(crate) next_ticket: u64,
    pub(crate) peace: bool,
    /// The node that lost its disk last.
    pub(crate) last_wiped: Option<u16>,
    pub(crate) final_reads: usize,
    /// What happened.
    pub trace: Trace,
    /// How often.
    pub totals: Totals,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(seed: u64) -> World {
        let mut random = Random::new(seed ^ 0x5eed_0000_0000_0000);
        let plan = Plan::new(&mut random);
        let nodes = (0..plan.map.nodes.len() as u16).map(|number| Node::new(number, &plan.map)).collect();
        let clients = (0..plan.clients.0).map(|number| Client::new(number, &plan, &mut random)).collect();
        World {
            now: 0,
            queue: Queue::default(),
            network: Network::new(plan.network),
            nodes,
            clients,
            history: History::default(),
            checker: Checker::default(),
            next_ticket: 0,
            peace: false,
            last_wiped: None,
            final_reads: 0,
            trace: Trace::default(),
            totals: Totals::default(),
            random,
            plan,
        }
    }

    /// Lets everything happen. A violation ends it.
    pub fn run(&mut self) -> Checked {
        for node in 0..self.nodes.len() as u16 {
            self.start(node)?;
            self.follow(node)?;
        }
        for client in 0..self.clients.len() {
            for slot in 0..self.plan.clients.1 {
                let at = self.random.below(1_000_000);
                self.queue.plan(at, Happening::Client { client, slot, step: 0 });
            }
        }
        let first = self.random.between(300_000, 1_500_000);
        self.queue.plan(first, Happening::Fault);
        self.queue.plan(PEACE, Happening::Peace);
        self.queue.plan(FINAL_READS, Happening::FinalReads);
        self.queue.plan(END, Happening::End);
        while let Some((at, happening)) = self.queue.next() {
            assert!(at >= self.now, "time goes on");
            self.now = at;
            if matches!(happening, Happening::End) {
                return self.judge();
            }
            self.happen(happening)?;
        }
        Err(Violation("nothing happens any more".into()))
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        if let Happening::Inside(place, inside) = happening {
            return self.happen_inside(place, inside);
        }
        let ((node, core), what, numbers) = happening.words();
        self.trace.note(self.now, node, core, what, numbers);
        match happening {
            Happening::Inside(..) | Happening::End => Ok(()),
            Happening::DiskWritten(place, batch) => self.disk_written(place, batch),
            Happening::Frames { from, to, connection, bytes } => self.frames(from, to, connection, bytes),
            Happening::Snapshot { from, to, thread, word } => self.snapshot_word(from, to, thread, word),
            Happening::Request { to, ticket, request } => self.request(to, ticket, request),
            Happening::Reply { ticket, reply } => self.reply(ticket, reply),
            Happening::Client { client, slot, step } => self.client_step(client, slot, step),
            Happening::Fault => self.fault(),
            Happening::Relief(relief) => self.relieve(relief),
            Happening::Peace => self.make_peace(),
            Happening::FinalReads => {
                self.read_everything();
                Ok(())
            }
        }
    }

    fn happen_inside(&mut self, place: Place, inside: Inside) -> Checked {
        if !self.lives(place) {
            return Ok(());
        }
        let paused_until = self.nodes[usize::from(place.node)].paused_until;
        if paused_until > self.now {
            self.queue.plan(paused_until, Happening::Inside(place, inside));
            return Ok(());
        }
        let (what, numbers) = inside.words();
        self.trace.note(self.now, place.node, place.core, what, numbers);
        self.inside(place, inside)
    }

    /// Whether the process that this was meant for still runs.
    pub(crate) fn lives(&self, place: Place) -> bool {
        let node = &self.nodes[usize::from(place.node)];
        node.life == place.life
            && node.process.as_ref().is_some_and(|process| !process.cores[usize::from(place.core)].stopped)
    }

    /// The core of a running process that takes what comes from outside, by node and core.
    pub(crate) fn open_core(&self, (node, core): (u16, u16)) -> Option<Place> {
        let state = &self.nodes[usize::from(node)];
        let running = state.process.as_ref()?.cores.get(usize::from(core))?;
        (!running.stopping).then_some(Place { node, core, life: state.life })
    }

    /// All cores of the process that runs on a node.
    pub(crate) fn cores_of(&self, node: u16) -> Vec<Place> {
        let state = &self.nodes[usize::from(node)];
        let cores = state.process.as_ref().map_or(0, |process| process.cores.len() as u16);
        (0..cores).map(|core| Place { node, core, life: state.life }).collect()
    }

    pub(crate) fn core(&mut self, place: Place) -> &mut Core {
        let process = self.nodes[usize::from(place.node)].process.as_mut().expect("its process runs");
        &mut process.cores[usize::from(place.core)]
    }

    pub(crate) fn disks(&mut self, place: Place) -> &mut CoreDisks {
        &mut self.nodes[usize::from(place.node)].disks[usize::from(place.core)]
    }

    pub(crate) fn sync_extra(&mut self, node: u16) -> u64 {
        match self.nodes[usize::from(node)].sync_extra {
            0 => 0,
            extra => self.random.between(extra / 4, extra),
        }
    }

    pub(crate) fn plan_in(&mut self, pause: u64, happening: Happening) {
        self.queue.plan(self.now + pause, happening);
    }
}
