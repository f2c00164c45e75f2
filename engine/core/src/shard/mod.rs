//! All groups of one core: told one [`Event`] at a time, it fills one [`Effects`].
//!
//! A turn is any number of `handle` calls and then one `finish`. `handle` steps the group concerned at
//! once; `finish` lets every touched group emit what the turn has gathered (one AppendEntries per peer for
//! many proposals), and moves it into the effects. Nothing that promises durability is among the effects
//! before the persist number it belongs to has come back as [`Event::Persisted`] (rule 1). A shard begins with
//! [`RECOVERED`] outstanding: what its journal recovered may be known to no platter yet, so nothing is promised and
//! nothing applied on the strength of it before the first batch of the journal's new life is durable.
//!
//! Lives on one core. Knows no socket, file, clock or thread; the same code runs in the simulation.

mod batch;
mod cutting;
mod early;
pub mod effects;
pub mod event;
mod full;
mod group;
mod liveness;
mod members;
mod rounds;
mod serve;
mod snapshots;
mod touched;
mod view;
mod waiting;
mod wake;

pub use effects::{Answer, Effects, Refused};
pub use event::{Event, Pressure, Query, Ticket};
pub use group::{GroupStart, Serving};
pub use view::GroupView;

use crate::command::Limits;
use crate::group_map::GroupMap;
use crate::placement::map::ClusterMap;
use crate::placement::ring::Ring;
use effects::{Persist, SnapshotStep};
use full::{Former, Reserve};
use group::Group;
use liveness::Links;
use raft::ids::GroupId;
use raft::message::{Body, Message, Messages};
use raft::replica::Persisted;
use rounds::Rounds;
use snapshots::Slot;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use touched::Touched;

/// The persist number of what recovery wrote: the host reports it when the journal promises the batch that was open
/// when the shard was made.
pub const RECOVERED: u64 = 0;

/// Settings of a shard; times are in ticks of the raft clock.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of this node.
    pub node: u16,
    /// The number drawn at the start of this process; no two processes of a node have the same.
    pub start: u64,
    /// Where the random draws of this core start; the group's number is mixed in.
    pub seed: u64,
    /// The election timeout E.
    pub election_ticks: u32,
    /// Between two heartbeats.
    pub heartbeat_ticks: u32,
    /// Of a group with nothing to do before it is put to sleep.
    pub idle_ticks: u32,
    /// AppendEntries in flight to one peer of one group.
    pub inflight_messages_max: usize,
    /// Bytes of entries in flight to one peer of one group.
    pub inflight_bytes_max: usize,
    /// Bytes of entries in one AppendEntries.
    pub append_bytes_max: usize,
    /// Bytes of durable and applied entries a group keeps in memory for slow peers.
    pub window_bytes_max: usize,
    /// Bytes of uncommitted proposals of one group; above it writes are refused as busy.
    pub uncommitted_bytes_max: usize,
    /// Bytes of commands of former leaders that are taken while the disk is full: see `full`.
    pub full_disk_bytes_max: usize,
    /// Bytes handed to the store and not yet applied, over all groups: above it nothing more is handed over.
    pub apply_bytes_max: usize,
    /// Bytes of entries in one run for the store.
    pub run_bytes_max: usize,
    /// How long after its beginning a confirmed round makes others superfluous, in microseconds of the clock that
    /// [`Shard::finish_at`] is told; 0: no leases. See [`raft::Options::lease`].
    pub lease: u64,
    /// Requests of one group that wait for an answer; above it they are refused as busy.
    pub waiting_max: usize,
    /// With writes under way in so many groups, further ones of a group wait for those under way: see `batch`. At least 1.
    pub batching_groups: usize,
    /// A log longer than this many applied entries is compacted.
    pub snapshot_entries: u64,
    /// A log longer than this many bytes is compacted.
    pub snapshot_log_bytes: u64,
    /// Sizes of keys, values and batches.
    pub limits: Limits,
}

/// All groups of one core.
#[derive(Debug)]
pub struct Shard {
    options: Options,
    map: ClusterMap,
    ring: Ring,
    groups: GroupMap<Group>,
    /// Groups that count ticks; the others sleep.
    awake: BTreeSet<GroupId>,
    links: Links,
    rounds: Rounds,
    /// Cores of other nodes that promise a leader less than a lease of this core lasts: none holds as long as there are any.
    hasty: BTreeSet<(u16, u16)>,
    /// Groups touched in this turn.
    touched: Touched,
    /// How many groups have writes under way.
    writing: usize,
    /// What waits for the disk, in the order of its persist numbers.
    held: VecDeque<Held>,
    persist_number: u64,
    /// [`RECOVERED`] has come back.
    recovered: bool,
    next_token: u64,
    apply_bytes: usize,
    draining: bool,
    disk_full: bool,
    reserve: Reserve,
    sync_wanted: bool,
    ticks: u64,
    /// Groups whose members are not those that the map wants.
    unsettled: BTreeSet<GroupId>,
    /// The epoch of the map that was proposed last, and when.
    map_asked: Option<(u64, u64)>,
    /// The snapshot that may come in.
    slot: Option<Slot>,
    /// Grants that wait for the slot, and since which tick.
    grants: BTreeMap<GroupId, (u64, Message)>,
    /// Groups whose incoming snapshot was given up.
    abandoned: Vec<GroupId>,
    /// Snapshots that need not be sent any more.
    called_off: Vec<(GroupId, raft::ReplicaId)>,
}

/// What one group's Ready keeps back until the disk has the rest of it.
#[derive(Debug)]
struct Held {
    number: u64,
    /// The tick it has waited since.
    tick: u64,
    group: GroupId,
    messages: Messages,
    persisted: Persisted,
}

impl Shard {
    /// The shard of a core that holds `starts`, under the routing of `map`.
    pub fn new(options: Options, map: &ClusterMap, starts: Vec<GroupStart>) -> Shard {
        let groups: GroupMap<Group> =
            starts.into_iter().map(|start| (start.group, Group::new(&options, start))).collect();
        let waits = |group: &GroupId| {
            let (messages, persisted) = (Messages::new(), Persisted::default());
            Held { number: RECOVERED, tick: 0, group: *group, messages, persisted }
        };
        let mut shard = Shard {
            ring: map.ring(),
            map: map.clone(),
            awake: groups.keys().copied().collect(),
            links: Links::new(
                options.start,
                u64::from(options.election_ticks / 2).max(1),
                map,
                options.node,
                groups.keys().copied(),
            ),
            reserve: Reserve::new(options.full_disk_bytes_max),
            rounds: Rounds::new(options.start, map.nodes.iter().map(|node| node.shards).collect()),
            options,
            held: groups.keys().map(waits).collect(),
            groups,
            hasty: BTreeSet::new(),
            touched: Touched::default(),
            writing: 0,
            persist_number: RECOVERED,
            recovered: false,
            next_token: 0,
            apply_bytes: 0,
            draining: false,
            disk_full: false,
            sync_wanted: false,
            ticks: 0,
            unsettled: BTreeSet::new(),
            map_asked: None,
            slot: None,
            grants: BTreeMap::new(),
            abandoned: Vec::new(),
            called_off: Vec::new(),
        };
        shard.want_members();
        shard
    }

    /// Takes one event. Its effects are complete only after [`Shard::finish`].
    pub fn handle(&mut self, event: Event<'_>, effects: &mut Effects) {
        match event {
            Event::Tick => self.tick(effects),
            Event::Message { group, message } => self.message(group, message),
            Event::Word { from, word } => self.word(from, word, effects),
            Event::Write { ticket, group, command } => self.write(ticket, group, command, effects),
            Event::Read { ticket, group, query, stale } => self.read(ticket, group, query, stale, effects),
            Event::Persisted { through } => self.persisted(through, effects),
            Event::Applied { run, bytes } => {
                let was_full = self.apply_bytes >= self.options.apply_bytes_max;
                self.apply_bytes = self.apply_bytes.checked_sub(bytes).expect("a run is applied once");
                if let Some(group) = self.touch(run.group) {
                    group.applied(run, bytes, effects);
                }
                if was_full && self.apply_bytes < self.options.apply_bytes_max {
                    // Room in the store's queue may let any group go on.
                    let lagging = self.groups.iter_mut().filter(|(_, group)| group.has_unapplied());
                    lagging.for_each(|(id, group)| self.touched.add(*id, group));
                }
            }
            Event::Fetched { group, peer, entries } => {
                if let Some(group) = self.touch(group) {
                    group.fetched(peer, entries);
                }
            }
            Event::Replayed { group, entries } => {
                let mut bytes = 0;
                if let Some(group) = self.touch(group) {
                    bytes = group.replayed(entries, effects);
                }
                self.apply_bytes += bytes;
            }
            Event::StoreSynced { durable, pressure } => self.store_synced(durable, pressure, effects),
            Event::SnapshotTaken { group, peer, last } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.snapshot_taken(peer, last);
                }
            }
            Event::SnapshotSent { group, peer, ok } => self.snapshot_sent(group, peer, ok),
            Event::SnapshotBytes { group, bytes } => self.snapshot_bytes(group, bytes),
            Event::SnapshotWhole { header, end } => self.snapshot_whole(header, end, effects),
            Event::SnapshotInstalled { header } => self.snapshot_installed(&header, effects),
            Event::SnapshotBroken { group } => self.snapshot_broken(group),
            Event::PeerLost { node } => {
                self.rounds.lost(node);
                self.links.lost(node);
                let ids: Vec<GroupId> = self.groups.iter().filter(|it| it.1.rests_on(node)).map(|it| *it.0).collect();
                for id in ids {
                    self.stir(id).expect("it was listed").peer_lost(node);
                }
            }
            Event::PeerPromises { from, enough } => self.peer_promises(from, enough),
            Event::Map(map) => self.follow_map(map),
            Event::Petition(petition) => self.petition(petition),
            Event::Drain => {
                self.draining = true;
                if !self.is_stuck() {
                    self.links.say(self.declines(), effects);
                }
                self.hand_over();
            }
            Event::DiskFull(full) => {
                self.disk_full = full;
                self.reserve = Reserve::new(self.options.full_disk_bytes_max);
                if full {
                    self.groups.iter_mut().for_each(|(_, group)| group.refuse_next(&Refused::DiskFull, effects));
                    self.give_up_slot();
                    self.hand_over();
                }
            }
        }
    }

    /// Ends a turn without a clock, see [`Shard::finish_at`]: no lease holds in it, and none is renewed.
    pub fn finish(&mut self, effects: &mut Effects) {
        self.finish_at(0, effects);
    }

    /// Ends a turn: every touched group emits what it has gathered. `now` is a clock that goes on while the machine sleeps, in
    /// microseconds, not 0, read after every event of the turn was handled and before anything is sent.
    pub fn finish_at(&mut self, now: u64, effects: &mut Effects) {
        let mut number = None;
        let now = if self.hasty.is_empty() { now } else { 0 };
        let stuck = self.is_stuck();
        let touched = self.touched.take();
        for &id in &touched {
            let group = self.groups.get_mut(&id).expect("a touched group exists");
            group.propose_next_if_due(effects);
            let mut gathered = group.collect(now);
            let ready = &mut *gathered;
            let promises = !ready.send_after_persist.is_empty();
            if stuck {
                // Who hears no sign of life elects somebody whose disk works (rule 23): an append is one as good as a heartbeat.
                let sign = |body: &Body| {
                    let lives =
                        matches!(body, Body::Heartbeat { .. } | Body::Append { .. } | Body::SnapshotOffer { .. });
                    lives || matches!(body, Body::Ask { .. })
                };
                ready.send.retain(|message| !sign(&message.body));
            }
            // A store must not switch to a snapshot before the journal's new life is durable: a replica that has just been
            // created would be unknown to it.
            let closed = self.disk_full || !self.recovered;
            if !self.recovered {
                // A lease may rest on these: whoever gives them must know after a crash that it existed.
                ready.send.retain(|message| !matches!(message.body, Body::HeartbeatReply { .. }));
            }
            let (rounds, slot) = (&mut self.rounds, &mut self.slot);
            for message in ready.send.drain(..).filter_map(|message| rounds.take(id, message)) {
                if Shard::lets_grant_go(slot, closed, id, &message, effects) {
                    effects.messages.push((id, message));
                } else if !closed {
                    self.grants.insert(id, (self.ticks, message));
                }
            }
            if ready.must_persist() {
                let number = *number.get_or_insert_with(|| {
                    self.persist_number += 1;
                    self.persist_number
                });
                let persisted = group.persisted_by(ready);
                let log_start = ready.log_start.take().map(|start| (start, group.membership_at(start.index)));
                let messages = std::mem::take(&mut ready.send_after_persist);
                self.held.push_back(Held { number, tick: self.ticks, group: id, messages, persisted });
                effects.persist.push(Persist {
                    group: id,
                    hard_state: ready.hard_state.take(),
                    log_start,
                    entries: std::mem::take(&mut ready.entries),
                });
            } else if promises {
                let messages = std::mem::take(&mut ready.send_after_persist);
                if self.held.is_empty() {
                    // Whatever these promise is durable already.
                    effects.messages.extend(messages.into_iter().map(|message| (id, message)));
                } else {
                    let number = self.persist_number;
                    let (tick, persisted) = (self.ticks, Persisted::default());
                    self.held.push_back(Held { number, tick, group: id, messages, persisted });
                }
            }
            effects.fetch.extend(ready.fetch.drain(..).map(|fetch| (id, fetch)));
            group.send_snapshots(ready, effects);
            group.settle(ready, effects);
            Shard::note_writes(&mut self.writing, group);
            let room = self.options.apply_bytes_max.saturating_sub(self.apply_bytes);
            if self.recovered && room > 0 {
                self.apply_bytes += group.hand_to_store(room, &self.options, effects);
            }
            wake::note_sleep(&mut self.awake, group, id);
            gathered.commit = None;
            self.touched.spare(gathered);
        }
        if self.slot.is_none() && !self.grants.is_empty() {
            self.let_next_grant_go(effects);
        }
        if !stuck {
            self.rounds.begin(self.ticks, u64::from(self.options.election_ticks), effects);
        }
        if let Some(number) = number {
            effects.persist_number = number;
        }
        effects.snapshots_over.append(&mut self.called_off);
        effects.snapshot_steps.extend(self.abandoned.drain(..).map(|group| SnapshotStep::Abandon { group }));
        if std::mem::take(&mut self.sync_wanted) {
            effects.want_store_sync = true;
        }
        self.touched.give_back(touched);
    }

    /// What is to be seen of each group, by ascending id.
    pub fn views(&self) -> impl Iterator<Item = GroupView> + '_ {
        self.groups.values().map(Group::view)
    }

    /// How many groups this core leads.
    pub fn led(&self) -> usize {
        self.groups.values().filter(|group| group.leads()).count()
    }

    /// How many groups this core leads that somebody else could lead, as a voter was heard of lately, or is about to lead.
    pub fn to_hand_over(&self) -> usize {
        self.groups.values().filter(|group| group.stands() || group.has_successor(&self.links)).count()
    }

    /// Whether the store of every group has what is committed, but for the little that is kept back for a moment.
    pub fn caught_up(&self) -> bool {
        !self.groups.values().any(|group| group.is_behind(&self.options))
    }

    /// Whether something waits for the disk or the store.
    pub fn is_quiet(&self) -> bool {
        self.held.is_empty() && self.apply_bytes == 0
    }

    /// Bytes handed to the store and not applied yet.
    pub fn unapplied_bytes(&self) -> usize {
        self.apply_bytes
    }

    /// The group and its replica, for checkers that stand outside.
    pub fn replica(&self, group: GroupId) -> Option<&raft::Replica> {
        self.groups.get(&group).map(|group| &group.replica)
    }

    /// A group, which will be looked at when the turn ends.
    fn touch(&mut self, id: GroupId) -> Option<&mut Group> {
        let group = self.groups.get_mut(&id)?;
        self.touched.add(id, group);
        Some(group)
    }

    fn message(&mut self, id: GroupId, mut message: Message) {
        // A node that is leaving takes no leadership (its beats say so), one with a full disk neither; beats keep it in the group. What the
        // latter takes of entries is in `full`.
        if matches!(message.body, Body::TimeoutNow) && (self.draining || self.declines()) {
            return;
        }
        // What the disk has not taken for so long is repeated when it does again, and would pile up here until then.
        if self.has_waited(2 * self.options.election_ticks) && matches!(message.body, Body::Append { .. }) {
            return;
        }
        let mut former = Former::new();
        if self.disk_full {
            let Some(group) = self.groups.get(&id) else { return };
            match self.reserve.admits(&mut message, |entry| group.holds(entry)) {
                Some(some) => former = some,
                None => return,
            }
        }
        let tick = self.ticks;
        let sleep = matches!(message.body, Body::Sleep { .. } | Body::Asleep { .. });
        let may_sleep = sleep && self.may_sleep(id, message.from.node());
        let group = if may_sleep { self.touch(id) } else { self.stir(id) };
        if let Some(group) = group {
            group.set_may_sleep(may_sleep);
            group.step(tick, message);
        }
        if let Some(group) = self.groups.get(&id).filter(|_| !former.is_empty()) {
            self.reserve.charge(&former, |entry| group.holds(entry));
        }
    }

    fn persisted(&mut self, through: u64, effects: &mut Effects) {
        assert!(through <= self.persist_number, "{through} was never handed out, {} was", self.persist_number);
        self.recovered = true;
        while self.held.front().is_some_and(|held| held.number <= through) {
            let held = self.held.pop_front().expect("there is a front");
            effects.messages.extend(held.messages.into_iter().map(|message| (held.group, message)));
            if held.persisted.log_start.is_some() {
                // The journal knows of the snapshot now: no start will ask for the state before.
                effects.snapshot_steps.push(SnapshotStep::DropReplaced { group: held.group });
            }
            if let Some(group) = self.touch(held.group) {
                group.persisted(held.persisted);
            }
        }
    }

    fn store_synced(&mut self, durable: Vec<(GroupId, raft::entry::LogId)>, pressure: Pressure, effects: &mut Effects) {
        let pressure = if self.disk_full { Pressure::NoRoom } else { pressure };
        for (id, applied) in durable {
            if let Some(group) = self.groups.get_mut(&id) {
                group.store_synced(applied, pressure, &self.options, effects);
            }
        }
    }

    /// What is confirmed by a process that promises too little must count for no lease, also not for one that holds later.
    fn peer_promises(&mut self, from: (u16, u16), enough: bool) {
        if enough {
            self.hasty.remove(&from);
        } else if self.hasty.insert(from) {
            self.groups.iter_mut().for_each(|(_, group)| group.replica.forget_lease());
        }
    }

    /// Gives away what this core leads: when it leaves, everything; when its disk is full, what goes on without it.
    fn hand_over(&mut self) {
        let goes = |group: &Group| group.leads() && (self.draining || group.can_be_spared(&self.links));
        let ids: Vec<GroupId> = self.groups.iter().filter(|(_, group)| goes(group)).map(|(id, _)| *id).collect();
        for id in ids {
            self.stir(id);
            self.groups.get_mut(&id).expect("it was listed").hand_over(&self.links);
        }
    }
}
