//! The world of the chaos test: replicas, their hosts, their disks, and the network between them.

mod check;
mod disk;
mod reached;

use check::Checks;
use disk::{Disk, Pending};
use raft::entry::LogId;
use raft::ids::{Index, ReplicaId};
use raft::message::{Message, SnapshotInstalled};
use raft::ready::{Fetch, Ready};
use raft::replica::{Persisted, Role};
use raft::{Options, Replica};
pub use reached::Reached;
use std::collections::{BTreeMap, VecDeque};

/// Replicas that exist; the first three found the group.
const REPLICAS: u64 = 5;
const ELECTION_TICKS: u32 = 8;

pub struct World {
    random: u64,
    hosts: BTreeMap<ReplicaId, Host>,
    network: Vec<Message>,
    snapshots: Vec<(ReplicaId, ReplicaId, SnapshotInstalled)>,
    fetches: Vec<(ReplicaId, Fetch)>,
    /// Nobody hears these, and they hear nobody; the clocks of some of them stand still.
    cut_off: BTreeMap<ReplicaId, bool>,
    proposals: u64,
    tokens: u64,
    calm: bool,
    checks: Checks,
    pub reached: Reached,
}

/// One replica and the machine it runs on.
struct Host {
    /// `None` while it is down.
    replica: Option<Replica>,
    ready: Ready,
    disk: Disk,
    /// What waits for the disk, oldest first.
    pending: VecDeque<Pending>,
    /// What the store holds, and what of it would survive a crash.
    applied: LogId,
    applied_durably: LogId,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut world = World {
            random: seed,
            hosts: BTreeMap::new(),
            network: Vec::new(),
            snapshots: Vec::new(),
            fetches: Vec::new(),
            cut_off: BTreeMap::new(),
            proposals: 0,
            tokens: 0,
            calm: false,
            checks: Checks::default(),
            reached: Reached::default(),
        };
        for id in (1..=REPLICAS).map(ReplicaId) {
            let disk = if id.0 <= 3 { Disk::founder(&[1, 2, 3]) } else { Disk::default() };
            world.hosts.insert(id, Host::new(disk));
            world.start(id);
        }
        world
    }

    /// One thing happens.
    pub fn act(&mut self) {
        let id = ReplicaId(1 + self.roll(REPLICAS));
        match self.roll(1_000) {
            0..250 => self.tick(id),
            250..600 => (0..self.roll(8)).for_each(|_| self.deliver()),
            600..780 => (0..self.roll(4)).for_each(|_| self.persist(id)),
            780..840 => self.propose(),
            840..880 => self.read(),
            880..930 => self.apply(id),
            930..940 => self.compact(id),
            940..948 => self.answer_fetch(),
            948..954 => self.deliver_snapshot(),
            954..958 => self.crash(id),
            958..976 => self.start(id),
            976..983 => self.change_membership(),
            983..986 => self.transfer(),
            986..990 => {
                // A leader that goes on alone makes entries that have to go again.
                let leader = self.leaders().first().copied().filter(|_| id.0.is_multiple_of(2));
                let stands_still = self.roll(2) == 0;
                self.cut_off.insert(leader.unwrap_or(id), stands_still);
            }
            990..996 => self.cut_off.clear(),
            996..998 => self.tell(id, |replica, ready, _| replica.campaign(ready)),
            _ => {
                let peer = ReplicaId(1 + self.roll(REPLICAS));
                self.tell(id, |replica, _, _| replica.peer_unreachable(peer));
            }
        }
    }

    /// The world behaves from now on: the group must get over everything and go on.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.cut_off.clear();
        let ids: Vec<ReplicaId> = self.hosts.keys().copied().collect();
        let mut proposed = Index(0);
        for round in 0..600 {
            for &id in &ids {
                self.start(id);
                self.tell(id, |replica, ready, _| {
                    if round == 0 {
                        replica.wake(0, &|_| 0);
                    }
                    replica.tick(ready);
                });
                self.settle();
                self.apply(id);
            }
            if round == 300 {
                self.propose();
                self.read();
                proposed = self.hosts.values().filter_map(Host::leader_last).max().expect("somebody leads by now");
            }
        }
        let leader = self.hosts.values().filter_map(|host| host.replica.as_ref()).find(|it| it.role() == Role::Leader);
        let leader = leader.expect("somebody leads at the end");
        self.reached.sleeps += u64::from(leader.is_asleep());
        assert!(leader.commit() >= proposed && leader.commit() == leader.last().index, "{leader:#?}");
        assert!(!leader.membership().is_joint(), "a joint membership is left in the end");
        for id in leader.membership().members() {
            let replica = self.hosts[&id].replica.as_ref().expect("everybody is up");
            assert_eq!(replica.commit(), leader.commit(), "{id} is behind the leader {}", leader.id());
            assert_eq!(replica.last(), leader.last(), "{id} differs from the leader {}", leader.id());
        }
        self.checks.assert_all_reads_answered();
    }

    /// Everything that is on its way arrives, in order.
    fn settle(&mut self) {
        for _ in 0..200 {
            let messages = std::mem::take(&mut self.network);
            let quiet = messages.is_empty() && self.fetches.is_empty() && self.snapshots.is_empty();
            for message in messages {
                self.tell(message.to, |replica, ready, _| replica.step(message, ready));
            }
            while !self.fetches.is_empty() {
                self.answer_fetch();
            }
            while !self.snapshots.is_empty() {
                self.deliver_snapshot();
            }
            let ids: Vec<ReplicaId> = self.hosts.keys().copied().collect();
            for id in ids {
                while !self.hosts[&id].pending.is_empty() {
                    self.persist(id);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn tick(&mut self, id: ReplicaId) {
        // Now and then the host finds out that somebody died, and wakes what rests on it.
        let (wakes, silent) = (self.roll(8) == 0, self.roll(12));
        if self.cut_off.get(&id) != Some(&true) {
            self.tell(id, |replica, ready, _| {
                if wakes {
                    replica.wake(silent, &|_| silent);
                }
                replica.tick(ready);
            });
            let replica = self.hosts[&id].replica.as_ref();
            self.reached.sleeps += u64::from(replica.is_some_and(|it| it.is_asleep() && it.role() == Role::Leader));
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        // Mostly the oldest, as on a connection; now and then any, as after a reconnect.
        let position = if self.roll(4) > 0 { 0 } else { self.roll(self.network.len() as u64) as usize };
        let message = match self.roll(20) {
            0 => self.network[position].clone(),
            _ => self.network.remove(position),
        };
        let lost = self.roll(20) == 0;
        if !lost && !self.cut_off.contains_key(&message.from) && !self.cut_off.contains_key(&message.to) {
            self.tell(message.to, |replica, ready, _| replica.step(message, ready));
        }
    }

    fn propose(&mut self) {
        for id in self.leaders() {
            self.proposals += 1;
            let payload = self.proposals.to_le_bytes();
            self.tell(id, |replica, ready, _| {
                let _ = replica.propose(payload.as_slice().into(), ready);
            });
        }
    }

    fn read(&mut self) {
        for id in self.leaders() {
            self.tokens += 1;
            let token = self.tokens;
            self.tell(id, |replica, ready, checks| {
                if replica.read(token, ready).is_ok() {
                    checks.read_asked(id, token);
                }
            });
        }
    }

    fn change_membership(&mut self) {
        let (mut voters, mut learners) = (Vec::new(), Vec::new());
        for id in (1..=REPLICAS).map(ReplicaId) {
            match self.roll(5) {
                0..3 => voters.push(id),
                3 => learners.push(id),
                _ => {}
            }
        }
        for id in self.leaders() {
            self.tell(id, |replica, ready, _| {
                let _ = replica.change_membership(&voters, &learners, ready);
            });
        }
    }

    fn transfer(&mut self) {
        let to = ReplicaId(1 + self.roll(REPLICAS));
        for id in self.leaders() {
            let mut begun = false;
            self.tell(id, |replica, ready, _| begun = replica.transfer_leadership(to, ready).is_ok());
            self.reached.transfers += u64::from(begun && to != id);
        }
    }

    fn leaders(&self) -> Vec<ReplicaId> {
        let leads = |host: &Host| host.leader_last().is_some();
        self.hosts.iter().filter(|(_, host)| leads(host)).map(|(id, _)| *id).collect()
    }

    /// Tells a replica something, mostly ends its turn, and checks everything.
    fn tell(&mut self, id: ReplicaId, event: impl FnOnce(&mut Replica, &mut Ready, &mut Checks)) {
        let ends_turn = self.calm || self.roll(3) > 0;
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        let Some(replica) = &mut host.replica else { return };
        event(replica, &mut host.ready, &mut self.checks);
        self.checks.replica(replica, &host.ready, &mut self.reached);
        self.checks.group(&self.hosts, id, &mut self.reached);
        if ends_turn {
            self.end_turn(id);
        }
    }

    fn end_turn(&mut self, id: ReplicaId) {
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        let Some(replica) = &mut host.replica else { return };
        replica.collect(&mut host.ready);
        let ready = std::mem::take(&mut host.ready);
        self.checks.answers(replica, &ready, &mut self.reached);
        ready.send.iter().for_each(|message| self.checks.promise(&host.disk, message));
        self.network.extend(ready.send);
        self.fetches.extend(ready.fetch.into_iter().map(|fetch| (id, fetch)));
        for wanted in ready.snapshots {
            let membership = replica.membership_at(host.applied.index).clone();
            self.snapshots.push((id, wanted.peer, SnapshotInstalled { last: host.applied, membership }));
        }
        let pending = Pending {
            hard_state: ready.hard_state,
            log_start: ready.log_start.map(|start| (start, replica.membership_at(start.index).clone())),
            entries: ready.entries.into_vec(),
            messages: ready.send_after_persist.into_vec(),
        };
        if !pending.is_empty() {
            host.pending.push_back(pending);
        }
        // A slow network does not grow without end.
        while self.network.len() > 300 {
            self.network.remove(0);
        }
    }

    /// The disk finishes the oldest of what it was given.
    fn persist(&mut self, id: ReplicaId) {
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        let Some(pending) = host.pending.pop_front() else { return };
        host.disk.write(&pending, usize::MAX);
        let persisted = Persisted {
            last: pending.entries.last().map(|entry| entry.id()),
            hard_state: pending.hard_state,
            log_start: pending.log_start.as_ref().map(|start| start.0),
        };
        pending.messages.iter().for_each(|message| self.checks.promise(&host.disk, message));
        self.network.extend(pending.messages);
        if persisted != Persisted::default() {
            self.tell(id, |replica, ready, _| replica.persisted(persisted, ready));
        }
    }

    fn apply(&mut self, id: ReplicaId) {
        let synced = self.roll(2) == 0;
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        let Some(replica) = &mut host.replica else { return };
        let index = replica.applicable();
        if index > host.applied.index {
            let from = host.applied.index.next();
            let term = replica.term_of(index).expect("what is applied is in the log");
            assert_eq!(host.disk.term_of(index), Some(term), "{id} applies {index}, which its disk does not hold");
            if let Some(entries) = replica.entries_in_memory(from, index, usize::MAX) {
                assert_eq!(entries.last().map(|entry| entry.id()), Some(LogId { term, index }));
            }
            host.applied = LogId { term, index };
            replica.applied(index);
        }
        if synced {
            host.applied_durably = host.applied;
        }
    }

    fn compact(&mut self, id: ReplicaId) {
        let polite = self.roll(2) == 0;
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        let Some(replica) = &mut host.replica else { return };
        let mut upto = host.applied_durably.index.min(replica.durable());
        if polite {
            upto = upto.min(replica.settled());
        }
        // A `Ready` that restarts the log has to reach the disk first.
        if upto > replica.log_start().index && host.ready.log_start.is_none() && host.pending.is_empty() {
            let start = replica.compact(upto);
            let membership = replica.membership_at(start.index).clone();
            host.disk.compact(start, membership);
        }
    }

    fn answer_fetch(&mut self) {
        if self.fetches.is_empty() {
            return;
        }
        let (id, fetch) = self.fetches.remove(0);
        let fails = !self.calm && self.roll(4) == 0;
        let entries = self.hosts[&id].read_journal(&fetch);
        self.reached.fetches += 1;
        self.tell(id, |replica, ready, _| match entries {
            Some(entries) if !fails => replica.fetched(fetch.peer, entries.into(), ready),
            _ => replica.fetch_failed(fetch.peer),
        });
    }

    fn deliver_snapshot(&mut self) {
        if self.snapshots.is_empty() {
            return;
        }
        let (from, to, snapshot) = self.snapshots.remove(0);
        let lost = !self.calm && self.roll(4) == 0;
        let host = self.hosts.get_mut(&to).expect("all replicas exist");
        let ok = host.replica.is_some() && !lost;
        // A host looks whether its store has passed the snapshot before it switches.
        if ok && snapshot.last.index > host.applied.index {
            host.applied = snapshot.last;
            host.applied_durably = snapshot.last;
            host.disk.installed = Some(snapshot.clone());
            self.reached.snapshots += 1;
            self.tell(to, |replica, ready, _| {
                replica.snapshot_progress(1, ready);
                replica.snapshot_installed(snapshot, ready);
            });
        }
        self.tell(from, |replica, ready, _| replica.snapshot_sent(to, ok, ready));
    }

    fn crash(&mut self, id: ReplicaId) {
        let (whole, entries) = (self.roll(3), self.roll(3) as usize);
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        if host.replica.take().is_none() {
            return;
        }
        // Some of what was on its way is on the disk; of one more, a part. Nobody was told.
        for _ in 0..whole {
            if let Some(pending) = host.pending.pop_front() {
                host.disk.write(&pending, usize::MAX);
            }
        }
        if let Some(pending) = host.pending.pop_front().filter(|_| entries > 0) {
            host.disk.write(&pending, entries);
        }
        host.pending.clear();
        host.ready = Ready::default();
        host.applied = host.applied_durably;
        self.fetches.retain(|fetch| fetch.0 != id);
        self.checks.crashed(id);
        self.reached.crashes += 1;
    }

    fn start(&mut self, id: ReplicaId) {
        let (seed, tail) = (self.next_random(), self.roll(6) as usize);
        let host = self.hosts.get_mut(&id).expect("all replicas exist");
        if host.replica.is_some() {
            return;
        }
        let restored = host.disk.restore(host.applied, tail);
        let options = Options {
            id,
            seed,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 1,
            idle_ticks: 1,
            inflight_messages_max: 3,
            inflight_bytes_max: 400,
            append_bytes_max: 100,
            window_bytes_max: 200,
            uncommitted_bytes_max: 2_000,
            lease: 0,
            may_be_loyal: false,
            may_campaign: true,
        };
        let mut replica = Replica::new(options, restored);
        replica.set_may_sleep(true);
        host.replica = Some(replica);
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.next_random() % sides
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Host {
    fn new(disk: Disk) -> Host {
        Host {
            replica: None,
            ready: Ready::default(),
            disk,
            pending: VecDeque::new(),
            applied: LogId::default(),
            applied_durably: LogId::default(),
        }
    }

    fn leader_last(&self) -> Option<Index> {
        self.replica.as_ref().filter(|replica| replica.role() == Role::Leader).map(|replica| replica.last().index)
    }

    /// The journal has what is on the disk and what is on its way there.
    fn read_journal(&self, fetch: &Fetch) -> Option<Vec<raft::Entry>> {
        let mut disk = self.disk.clone();
        for pending in &self.pending {
            disk.write(pending, usize::MAX);
        }
        let wanted = disk.entries.into_iter().filter(|entry| entry.index >= fetch.from && entry.index <= fetch.last);
        let entries: Vec<_> = wanted.take(2).collect();
        (entries.first()?.index == fetch.from).then_some(entries)
    }
}
