//! All nodes, the network between them, and what a scene has printed so far.

use super::node::{Node, Snapshot};
use super::oath::Oath;
use super::print;
use raft::{Body, Index, Message, Options, Ready, Replica, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// Deliveries in one `settle` after which a scene is taken to run for ever.
const DELIVERIES_MAX: usize = 5_000;

pub struct World {
    pub options: Options,
    pub nodes: BTreeMap<ReplicaId, Node>,
    /// Messages in flight, oldest first.
    pub net: Vec<Message>,
    /// Messages that a scene keeps back.
    pub late: Vec<Message>,
    /// Links that carry nothing, each in one direction.
    pub cut: BTreeSet<(ReplicaId, ReplicaId)>,
    pub snapshots: BTreeMap<String, Snapshot>,
    pub oath: Oath,
    /// Whether messages are printed.
    pub loud: bool,
    out: Vec<String>,
    /// State and members of each node as last printed.
    shown: BTreeMap<ReplicaId, (String, String)>,
}

impl World {
    pub fn new() -> World {
        World {
            options: Options {
                id: ReplicaId(0),
                seed: 0,
                election_ticks: 20,
                heartbeat_ticks: 2,
                idle_ticks: 6,
                inflight_messages_max: 8,
                inflight_bytes_max: 1 << 20,
                append_bytes_max: 1 << 20,
                window_bytes_max: 1 << 20,
                uncommitted_bytes_max: 1 << 20,
                lease: 0,
                may_be_loyal: false,
                may_campaign: true,
            },
            nodes: BTreeMap::new(),
            net: Vec::new(),
            late: Vec::new(),
            cut: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            oath: Oath::default(),
            loud: true,
            out: Vec::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Carries out commands and returns what they print, and at the end the nodes that are not as last shown.
    pub fn play<T: AsRef<str>>(&mut self, commands: &[T]) -> Vec<String> {
        for command in commands {
            self.command(command.as_ref());
        }
        let ids: Vec<ReplicaId> = self.nodes.keys().copied().collect();
        for id in ids {
            let node = &self.nodes[&id];
            if self.shown.get(&id) != Some(&(print::state(node), print::members(node))) {
                self.show(id);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// Prints the state of a node.
    pub fn show(&mut self, id: ReplicaId) {
        let (state, members) = (print::state(self.node(id)), print::members(self.node(id)));
        // Who belongs to the group seldom changes: it is not repeated.
        let same = self.shown.get(&id).is_some_and(|shown| shown.1 == members);
        self.out.push(format!("{state}{}", if same { "" } else { &members }));
        self.shown.insert(id, (state, members));
    }

    pub fn node(&mut self, id: ReplicaId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no {}", print::name(id)))
    }

    pub fn say(&mut self, id: ReplicaId, text: impl AsRef<str>) {
        self.out.push(format!("{}: {}", print::name(id), text.as_ref()));
    }

    pub fn print(&mut self, text: String) {
        self.out.push(text);
    }

    /// One turn of a node: an event, and the effects carried out. Nothing if it is down.
    pub fn turn<T>(&mut self, id: ReplicaId, event: impl FnOnce(&mut Replica, &mut Ready) -> T) -> Option<T> {
        let mut ready = Ready::default();
        let replica = self.node(id).replica.as_mut()?;
        let result = event(replica, &mut ready);
        replica.collect(&mut ready);
        self.carry_out(id, ready);
        Some(result)
    }

    /// What a host does with a `Ready`, in the order that its documentation demands.
    fn carry_out(&mut self, id: ReplicaId, mut ready: Ready) {
        self.send(id, std::mem::take(&mut ready.send));
        for read in std::mem::take(&mut ready.reads) {
            self.oath.confirmed(read.token, read.index);
            self.say(id, format!("read {} confirmed at {}", read.token, read.index));
        }
        for token in std::mem::take(&mut ready.reads_failed) {
            self.say(id, format!("read {token} failed"));
        }
        for wanted in std::mem::take(&mut ready.snapshots) {
            let (peer, last) = (print::name(wanted.peer), print::id(wanted.last));
            self.say(id, format!("streams a snapshot of {last} or later to {peer}"));
        }
        for fetch in std::mem::take(&mut ready.fetch) {
            if self.loud {
                self.say(id, format!("fetches {}..{} for {}", fetch.from, fetch.last, print::name(fetch.peer)));
            }
            self.node(id).fetches.push_back((fetch, None));
        }
        let loud = self.loud;
        let node = self.node(id);
        if node.queue(&mut ready) {
            if !node.hold_disk {
                self.persist(id, usize::MAX);
            } else if loud {
                let write = print::write(node.writes.back().expect("it was just queued"));
                self.say(id, format!("disk holds {write}"));
            }
        } else {
            self.send(id, ready.send_after_persist.into_vec());
        }
        self.oath.watch(&self.nodes[&id]);
        if !self.node(id).hold_apply {
            self.apply(id, Index(u64::MAX));
        }
        if !self.node(id).hold_fetch {
            self.serve(id);
        }
    }

    /// The disk does the `count` oldest writes.
    pub fn persist(&mut self, id: ReplicaId, count: usize) {
        for _ in 0..count {
            let node = self.node(id);
            let Some(write) = node.writes.pop_front() else { return };
            node.disk.write(&write);
            let persisted = write.is_write().then(|| write.persisted());
            self.send(id, write.then);
            if let Some(persisted) = persisted {
                self.turn(id, |replica, ready| replica.persisted(persisted, ready));
            }
        }
    }

    /// The store applies what it may, up to `upto`.
    pub fn apply(&mut self, id: ReplicaId, upto: Index) {
        let node = self.node(id);
        let Some(replica) = &mut node.replica else { return };
        let upto = upto.min(replica.applicable());
        if upto > node.applied {
            node.applied = upto;
            replica.applied(upto);
        }
    }

    /// The disk has read what was asked for, and nobody has been told.
    pub fn disk_reads(&mut self, id: ReplicaId) {
        let node = self.node(id);
        for (fetch, read) in &mut node.fetches {
            *read = Some(node.disk.read(*fetch));
        }
    }

    /// The disk reads what was asked for.
    pub fn serve(&mut self, id: ReplicaId) {
        while let Some((fetch, read)) = self.node(id).fetches.pop_front() {
            let entries = read.unwrap_or_else(|| self.node(id).disk.read(fetch));
            self.turn(id, |replica, ready| match entries.is_empty() {
                true => replica.fetch_failed(fetch.peer),
                false => replica.fetched(fetch.peer, entries.into(), ready),
            });
        }
    }

    /// Messages leave a node. Equal ones to several peers make one line.
    fn send(&mut self, id: ReplicaId, messages: Vec<Message>) {
        let mut lines: Vec<(String, String, Vec<String>)> = Vec::new();
        for message in messages {
            self.oath.sends(&self.nodes[&id], &message);
            let lost = self.is_lost(&message);
            // A pre-vote speaks of the next term: what interests is the sender's own.
            let of_next = matches!(message.body, Body::PreVote { .. } | Body::PreVoteReply { granted: true });
            let term = if of_next { self.nodes[&id].live().term() } else { message.term };
            let from = format!("{}@{term}", print::name(id));
            let text = format!("{}{}", print::body(&message), if lost { ": lost" } else { "" });
            let to = print::name(message.to);
            match lines.iter_mut().find(|line| line.0 == from && line.1 == text) {
                Some(line) => line.2.push(to),
                None => lines.push((from, text, vec![to])),
            }
            if !lost {
                self.net.push(message);
            }
        }
        if self.loud {
            self.out.extend(lines.iter().map(|(from, text, to)| format!("{from} to {}: {text}", to.join(", "))));
        }
    }

    pub fn is_lost(&self, message: &Message) -> bool {
        self.cut.contains(&(message.from, message.to)) || !self.nodes.contains_key(&message.to)
    }

    /// A message arrives, unless its link is cut or the receiver is down.
    pub fn deliver(&mut self, message: Message) {
        if !self.is_lost(&message) {
            self.turn(message.to, |replica, ready| replica.step(message, ready));
        }
    }

    /// Delivers everything, oldest first, until nothing is in flight.
    pub fn settle(&mut self) {
        let mut left = DELIVERIES_MAX;
        while !self.net.is_empty() {
            let message = self.net.remove(0);
            self.deliver(message);
            left = left.checked_sub(1).expect("the messages never end");
        }
    }

    /// Runs `act` without printing messages.
    pub fn quietly<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> T {
        let loud = std::mem::replace(&mut self.loud, false);
        let result = act(self);
        self.loud = loud;
        result
    }
}
