//! The commands of scenes. NODE is a letter, NODES several joined by commas, or `all`.
//!
//! ```text
//! group a b c [learns d] [leader=a] [KEY=N ...]   nodes with empty logs; leader: elects it; keys: see `set_option`
//! restored NODE terms=1,1,2 [term=2] [vote=b] [start=1] [applied=1] [tail=1] [hollow] [members=a,b]
//!                                                 the node as if it had run before: terms of its entries from 1 on
//! new NODE                                        a node with an empty disk that knows of no member
//! tick NODES N | run N                            time passes; run: for all, delivering everything after each tick
//! campaign NODE | elect NODE                      elect: as if its leader had told it to stand, until all is settled
//! propose NODE X Y:100 ...        Y:100 is padded to 100 bytes; all in one turn
//! read NODE TOKEN ... | transfer NODE TO | member NODE a b c [learns d]
//! compact NODE INDEX
//! quiet COMMAND                                   its messages are not printed
//! settle [loud] | deliver | drop | duplicate FROM TO [Kind] [N]     loud prints the messages; N oldest, default all
//! reverse FROM TO | delay FROM TO [Kind] | arrive FROM TO           delay keeps messages back until they arrive
//! isolate NODES | cut FROM TO | heal [NODE | FROM TO]               cut: one direction
//! hold|release NODE disk|apply|fetch | persist NODE [N] | apply NODE INDEX | serve NODE | fetch-fails NODE PEER
//! disk-reads NODE                                 what it was asked to fetch; serve: and the replica is told
//! crash NODE [kept=N] [applied=N] | restart NODE [tail=N] [hollow]  kept: how many held writes the disk still did
//! unreachable NODE PEER
//! may-sleep NODES | wake NODE [passed=N] [silent=N]                 the host lets them sleep; wakes one
//! take NODE NAME | install NODE NAME | sent NODE PEER ok|failed     a snapshot: made, put in place, sender's report
//! progress NODE BYTES | stream FROM TO                              stream: all three of them
//! ask NODE | whole NODE                                             ask: for a snapshot; whole: its store is sound again
//! show NODES | peers NODE | network | forge FROM TO Kind ...
//! ```

use super::forge;
use super::node::Node;
use super::parse::{number, payload, take_flag, take_setting};
use super::print;
use super::world::World;
use raft::{
    Body, Entry, EntryKind, HardState, Index, LogId, Membership, Message, Options, ReplicaId, Role, SnapshotInstalled,
    Term,
};

impl World {
    pub fn command(&mut self, command: &str) {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        match words.remove(0) {
            "group" => self.group(words),
            "restored" => self.restored(words),
            "new" => self.add(id(words[0]), Membership::default()),
            "tick" => self.tick(&self.ids(words[0]), number(words[1])),
            "run" => self.run(number(words[0])),
            "quiet" => {
                let rest = command.strip_prefix("quiet").expect("it begins so").trim();
                self.quietly(|world| world.command(rest));
            }
            "elect" => self.elect(id(words[0])),
            "campaign" => self.campaign(id(words[0])),
            "propose" => self.propose(id(words[0]), &words[1..]),
            "read" => self.read(id(words[0]), &words[1..]),
            "transfer" => self.transfer(id(words[0]), id(words[1])),
            "member" => self.member(id(words[0]), words[1..].to_vec()),
            "compact" => self.compact(id(words[0]), Index(number(words[1]))),
            "settle" if take_flag(&mut words, "loud") => self.settle(),
            "settle" => self.quietly(World::settle),
            "deliver" => self.picked(&words).into_iter().for_each(|message| self.deliver(message)),
            "drop" => assert!(!self.picked(&words).is_empty(), "{command}: there is nothing to drop"),
            "duplicate" => {
                let picked = self.picked(&words);
                self.net.extend(picked.iter().cloned().chain(picked.iter().cloned()));
            }
            "reverse" => {
                let picked = self.picked(&words);
                self.net.extend(picked.into_iter().rev());
            }
            "delay" => {
                let picked = self.picked(&words);
                assert!(!picked.is_empty(), "{command}: there is nothing to delay");
                self.late.extend(picked);
            }
            "arrive" => self.arrive(id(words[0]), id(words[1])),
            "isolate" => self.isolate(&self.ids(words[0])),
            "cut" => self.cut.extend([(id(words[0]), id(words[1]))]),
            "heal" => self.heal(&words),
            "hold" => self.hold(id(words[0]), words[1], true),
            "release" => self.hold(id(words[0]), words[1], false),
            "persist" => self.persist(id(words[0]), words.get(1).map_or(usize::MAX, |word| number(word) as usize)),
            "apply" => self.apply(id(words[0]), Index(number(words[1]))),
            "disk-reads" => self.disk_reads(id(words[0])),
            "serve" => self.serve(id(words[0])),
            "fetch-fails" => {
                self.node(id(words[0])).fetches.retain(|(fetch, _)| fetch.peer != id(words[1]));
                self.turn(id(words[0]), |replica, _| replica.fetch_failed(id(words[1])));
            }
            "crash" => self.crash(words),
            "restart" => self.restart(words),
            "may-sleep" => {
                for id in self.ids(words[0]) {
                    self.turn(id, |replica, _| replica.set_may_sleep(true));
                }
            }
            "wake" => {
                let passed = take_setting(&mut words, "passed").map_or(0, |value| number(&value));
                let silent = take_setting(&mut words, "silent").map_or(0, |value| number(&value));
                self.turn(id(words[0]), |replica, _| replica.wake(passed, &|_| silent));
            }
            "unreachable" => {
                self.turn(id(words[0]), |replica, _| replica.peer_unreachable(id(words[1])));
            }
            "take" => {
                let snapshot = self.node(id(words[0])).take_snapshot();
                self.snapshots.insert(words[1].into(), snapshot);
            }
            "install" => self.install(id(words[0]), words[1]),
            "sent" => self.sent(id(words[0]), id(words[1]), words[2] == "ok"),
            "progress" => {
                self.turn(id(words[0]), |replica, ready| replica.snapshot_progress(number(words[1]), ready));
            }
            "stream" => {
                let snapshot = self.node(id(words[0])).take_snapshot();
                self.snapshots.insert("streamed".into(), snapshot);
                self.install(id(words[1]), "streamed");
                self.sent(id(words[0]), id(words[1]), true);
            }
            "ask" => {
                self.turn(id(words[0]), |replica, ready| replica.request_snapshot(ready));
            }
            "whole" => {
                self.node(id(words[0])).options.may_campaign = true;
                self.turn(id(words[0]), |replica, _| replica.set_may_campaign(true));
            }
            "show" => self.ids(words[0]).into_iter().for_each(|id| self.show(id)),
            "peers" => {
                let peers: Vec<String> =
                    self.node(id(words[0])).live().peers().map(|peer| print::peer(&peer)).collect();
                peers.into_iter().for_each(|peer| self.print(format!("  {peer}")));
            }
            "network" => self.network(),
            "forge" => {
                let message = forge::message(id(words[0]), id(words[1]), words[2..].to_vec());
                self.turn(message.to, |replica, ready| replica.step(message, ready));
            }
            _ => panic!("no such command: {command}"),
        }
    }

    fn campaign(&mut self, id: ReplicaId) {
        self.turn(id, |replica, ready| replica.campaign(ready));
    }

    /// Makes it the leader without waiting until others have lost their patience.
    fn elect(&mut self, id: ReplicaId) {
        let replica = self.node(id).live();
        let (term, leader) = (replica.term(), replica.leader());
        let from = leader.unwrap_or(ReplicaId(99));
        self.quietly(|world| {
            world.turn(id, |replica, ready| {
                replica.step(Message { from, to: id, term, body: Body::TimeoutNow }, ready);
            });
            world.settle();
        });
        assert_eq!(self.node(id).live().role(), Role::Leader, "{} was not elected", print::name(id));
    }

    fn group(&mut self, mut words: Vec<&str>) {
        let leader = take_setting(&mut words, "leader");
        while let Some(position) = words.iter().position(|word| word.contains('=')) {
            let (key, value) = words.remove(position).split_once('=').expect("it has one");
            set_option(&mut self.options, key, number(value));
        }
        let membership = members(&words);
        for id in membership.members() {
            self.add(id, membership.clone());
        }
        if let Some(leader) = leader {
            self.quietly(|world| {
                world.command(&format!("campaign {leader}"));
                world.settle();
            });
        }
    }

    fn add(&mut self, id: ReplicaId, membership: Membership) {
        let options = Options { id, seed: id.0, ..self.options.clone() };
        let mut node = Node::new(options, membership);
        node.start(0);
        self.nodes.insert(id, node);
    }

    fn restored(&mut self, mut words: Vec<&str>) {
        let mut setting = |key: &str| take_setting(&mut words, key);
        let terms = setting("terms").unwrap_or_default();
        let terms: Vec<u64> = terms.split(',').filter(|word| !word.is_empty()).map(number).collect();
        let vote = setting("vote").map(|word| id(&word));
        let start = setting("start").map_or(0, |word| number(&word));
        let applied = setting("applied").map_or(start, |word| number(&word));
        let tail = setting("tail").map_or(usize::MAX, |word| number(&word) as usize);
        let term = setting("term").map_or(terms.last().copied().unwrap_or(0), |word| number(&word));
        let members = setting("members").map(|word| self::members(&word.split(',').collect::<Vec<_>>()));
        let hollow = take_flag(&mut words, "hollow");
        let node = self.node(id(words[0]));
        node.disk.hard_state = HardState { term: Term(term), vote };
        node.disk.entries.clear();
        if start > 0 {
            node.disk.log_start = LogId { term: Term(terms[start as usize - 1]), index: Index(start) };
        }
        if let Some(members) = members {
            node.disk.membership = members;
        }
        for (&term, index) in terms.iter().zip(1..).filter(|(_, index)| *index > start) {
            let entry =
                Entry { term: Term(term), index: Index(index), kind: EntryKind::Command, payload: payload("old") };
            node.disk.entries.insert(Index(index), entry);
        }
        node.applied = Index(applied);
        node.options.may_campaign = !hollow;
        node.hold_apply = hollow;
        node.start(tail);
    }

    fn tick(&mut self, ids: &[ReplicaId], count: u64) {
        for _ in 0..count {
            for id in ids {
                self.turn(*id, |replica, ready| replica.tick(ready));
            }
        }
    }

    fn run(&mut self, ticks: u64) {
        let ids = self.ids("all");
        self.quietly(|world| {
            for _ in 0..ticks {
                world.tick(&ids, 1);
                world.settle();
            }
        });
    }

    fn propose(&mut self, id: ReplicaId, payloads: &[&str]) {
        let results = self.turn(id, |replica, ready| {
            payloads.iter().map(|word| replica.propose(payload(word), ready)).collect::<Vec<_>>()
        });
        for (word, result) in payloads.iter().zip(results.into_iter().flatten()) {
            if let Err(error) = result {
                self.say(id, format!("{word} {}", print::propose_error(error)));
            }
        }
    }

    fn read(&mut self, id: ReplicaId, tokens: &[&str]) {
        for token in tokens {
            self.oath.asked(number(token));
        }
        let results = self.turn(id, |replica, ready| {
            tokens.iter().map(|token| replica.read(number(token), ready)).collect::<Vec<_>>()
        });
        for (token, result) in tokens.iter().zip(results.into_iter().flatten()) {
            if let Err(error) = result {
                self.say(id, format!("read {token} {}", print::not_leader(error)));
            }
        }
    }

    fn transfer(&mut self, id: ReplicaId, to: ReplicaId) {
        let result = self.turn(id, |replica, ready| replica.transfer_leadership(to, ready));
        if let Some(Err(error)) = result {
            self.say(id, format!("transfer {}", print::transfer_error(error)));
        }
    }

    fn member(&mut self, id: ReplicaId, words: Vec<&str>) {
        let (voters, learners) = split_members(&words);
        let result = self.turn(id, |replica, ready| replica.change_membership(&voters, &learners, ready));
        if let Some(Err(error)) = result {
            self.say(id, format!("change {}", print::membership_error(error)));
        }
    }

    fn compact(&mut self, id: ReplicaId, upto: Index) {
        let node = self.node(id);
        let replica = node.replica.as_mut().expect("it is down");
        let start = replica.compact(upto);
        let membership = replica.membership_at(start.index).clone();
        node.disk.compact(start, membership);
    }

    fn crash(&mut self, mut words: Vec<&str>) {
        let kept = take_setting(&mut words, "kept").map_or(0, |word| number(&word) as usize);
        let applied = take_setting(&mut words, "applied").map(|word| Index(number(&word)));
        let node = self.node(id(words[0]));
        node.crash(kept);
        node.applied = applied.unwrap_or(node.applied);
    }

    fn restart(&mut self, mut words: Vec<&str>) {
        let tail = take_setting(&mut words, "tail").map_or(usize::MAX, |word| number(&word) as usize);
        let hollow = take_flag(&mut words, "hollow");
        let node = self.node(id(words[0]));
        assert!(node.replica.is_none(), "it is not down");
        node.options.may_campaign = !hollow;
        node.hold_disk = false;
        node.hold_apply = hollow;
        node.start(tail);
    }

    fn install(&mut self, id: ReplicaId, name: &str) {
        let snapshot = self.snapshots[name].clone();
        assert!(self.oath.is_committed(snapshot.last), "a snapshot of what is not committed");
        let node = self.node(id);
        if snapshot.last.index > node.applied {
            node.applied = snapshot.last.index;
        }
        let installed = SnapshotInstalled { last: snapshot.last, membership: snapshot.membership };
        self.turn(id, |replica, ready| replica.snapshot_installed(installed, ready));
    }

    fn sent(&mut self, id: ReplicaId, peer: ReplicaId, ok: bool) {
        self.turn(id, |replica, ready| replica.snapshot_sent(peer, ok, ready));
    }

    /// Takes the messages `FROM TO [Kind] [N]` off the network.
    fn picked(&mut self, words: &[&str]) -> Vec<Message> {
        let (from, to) = (id(words[0]), id(words[1]));
        let count = words.last().and_then(|word| word.parse().ok()).unwrap_or(usize::MAX);
        let kind = words.get(2).filter(|word| word.parse::<usize>().is_err());
        let mut picked = Vec::new();
        let mut rest = Vec::new();
        for message in std::mem::take(&mut self.net) {
            let of_kind = kind.is_none_or(|kind| *kind == print::kind(&message.body));
            if message.from == from && message.to == to && of_kind && picked.len() < count {
                picked.push(message);
            } else {
                rest.push(message);
            }
        }
        self.net = rest;
        picked
    }

    fn arrive(&mut self, from: ReplicaId, to: ReplicaId) {
        let late = std::mem::take(&mut self.late);
        let (arriving, rest): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|message| message.from == from && message.to == to);
        self.late = rest;
        assert!(!arriving.is_empty(), "nothing was delayed on that link");
        arriving.into_iter().for_each(|message| self.deliver(message));
    }

    fn isolate(&mut self, apart: &[ReplicaId]) {
        for other in self.ids("all") {
            for id in apart.iter().filter(|id| **id != other) {
                self.cut.extend([(*id, other), (other, *id)]);
            }
        }
    }

    fn heal(&mut self, words: &[&str]) {
        match words {
            [] => self.cut.clear(),
            [from, to] => self.cut.retain(|link| *link != (id(from), id(to))),
            [one] => self.cut.retain(|link| link.0 != id(one) && link.1 != id(one)),
            _ => panic!("heal {words:?}"),
        }
    }

    fn hold(&mut self, id: ReplicaId, what: &str, hold: bool) {
        let node = self.node(id);
        match what {
            "disk" => node.hold_disk = hold,
            "apply" => node.hold_apply = hold,
            "fetch" => node.hold_fetch = hold,
            _ => panic!("nothing called {what} can be held"),
        }
        if !hold {
            self.persist(id, usize::MAX);
            if !self.node(id).hold_apply {
                self.apply(id, Index(u64::MAX));
            }
            self.serve(id);
        }
    }

    fn network(&mut self) {
        let lines: Vec<String> = self
            .net
            .iter()
            .map(|message| {
                let (from, to) = (print::name(message.from), print::name(message.to));
                format!("  in flight, {from} to {to}: {}", print::body(message))
            })
            .collect();
        lines.into_iter().for_each(|line| self.print(line));
    }

    fn ids(&self, names: &str) -> Vec<ReplicaId> {
        match names {
            "all" => self.nodes.keys().copied().collect(),
            _ => names.split(',').map(id).collect(),
        }
    }
}

pub fn id(name: &str) -> ReplicaId {
    match name.as_bytes() {
        [letter @ b'a'..=b'z'] => ReplicaId(u64::from(letter - b'a') + 1),
        _ => panic!("{name:?} is not the name of a node"),
    }
}

fn split_members(words: &[&str]) -> (Vec<ReplicaId>, Vec<ReplicaId>) {
    let voters = words.iter().take_while(|word| **word != "learns").count();
    let ids = |words: &[&str]| words.iter().filter(|word| **word != "learns").map(|word| id(word)).collect();
    (ids(&words[..voters]), ids(&words[voters..]))
}

fn members(words: &[&str]) -> Membership {
    let (voters, learners) = split_members(words);
    Membership::new(&voters, &learners).expect("a scene has sound members")
}

fn set_option(options: &mut Options, key: &str, value: u64) {
    match key {
        "election" => options.election_ticks = value as u32,
        "idle" => options.idle_ticks = value as u32,
        "heartbeat" => options.heartbeat_ticks = value as u32,
        "inflight" => options.inflight_messages_max = value as usize,
        "inflight-bytes" => options.inflight_bytes_max = value as usize,
        "append-bytes" => options.append_bytes_max = value as usize,
        "window-bytes" => options.window_bytes_max = value as usize,
        "uncommitted-bytes" => options.uncommitted_bytes_max = value as usize,
        _ => panic!("no setting {key}"),
    }
}
