//! One group as its core sees it: the replica, who waits for it, and how far the store is.

use super::Options;
use super::effects::{Effects, Refused, Replay};
use super::event::{Query, Ticket};
use super::liveness::Links;
use super::snapshots::Sending;
use super::touched::Gathered;
use super::waiting::{Waiting, Write};
use crate::exchange::Question;
use crate::state_machine::{AppliedRun, ApplyRun};
use raft::Replica;
use raft::entry::{Entries, Entry, LogId};
use raft::ids::{GroupId, Index, ReplicaId};
use raft::message::Message;
use raft::payload::Payload;
use raft::progress::{PeerState, PeerView};
use raft::ready::Ready;
use raft::replica::{Persisted, ProposeError, Restored, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Fewer committed entries than these are kept from a store that nobody waits for, but not for long.
const RUN_ENTRIES: u64 = 2048;

/// One group may take so much of the room for what the store has not applied: one part of so many of what is left, so that some is
/// left for the others however many groups wait for the disk.
const APPLY_SHARES: usize = 7;

/// For so many ticks.
const KEPT_TICKS: u32 = 4;

/// What a replica may do with the state it found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Log and store are sound.
    Whole,
    /// The log is sound, the store is not: it votes and appends, never campaigns, applies or serves.
    Hollow,
    /// The log cannot be proved complete: it says nothing at all under this id (rule 7).
    Amnesiac,
}

/// One group at the start of a core.
#[derive(Debug)]
pub struct GroupStart {
    /// The group.
    pub group: GroupId,
    /// This node's replica of it.
    pub replica: ReplicaId,
    /// What the journal and the store hold.
    pub restored: Restored,
    /// What it may do.
    pub serving: Serving,
    /// The replica that should lead, all else being equal.
    pub preferred: ReplicaId,
    /// It has just been created: no earlier process can have promised anything in its name.
    pub new: bool,
}

/// What every entry needs comes first: a core has thousands of them, and each line of memory that it need not look at counts.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) serving: Serving,
    /// It is among those that will be looked at when the turn ends.
    pub(super) touched: bool,
    /// It counts as one with writes under way.
    pub(super) writes: bool,
    /// Whether it is among those that count ticks.
    pub(super) counts_ticks: bool,
    /// What is committed is handed over however little it is.
    apply_due: bool,
    /// The store is about to switch to a snapshot: nothing more is handed to it.
    pub(super) installing: bool,
    /// The ticks that something has been kept back.
    kept_ticks: u32,
    /// What is wanted since it was last looked at.
    pub(super) gathered: Gathered,
    /// The tick at which it fell asleep, if it sleeps.
    slept_at: Option<u64>,
    /// Bytes of the entries that came since the store was last fed.
    kept_back_bytes: usize,
    /// Bytes of entries in the log, about: those from before the start are not known.
    pub(super) log_bytes: u64,
    pub(super) waiting: Waiting,
    /// The highest index handed to the store.
    pub(super) handed: Index,
    pub(super) applied: LogId,
    /// A read of old entries for the own store is under way, from this one on.
    replaying: Option<Index>,
    /// What the store was handed and has not applied.
    unapplied_bytes: usize,
    pub(super) replica: Replica,
    /// Snapshots on their way to peers.
    pub(super) sending: BTreeMap<ReplicaId, Sending>,
    /// Peers that have got one, and lack much of what came since.
    pub(super) catching_up: BTreeSet<ReplicaId>,
    /// What the store holds durably.
    pub(super) store_durable: LogId,
    pub(super) sync_asked_at: Index,
    pub(super) snapshots_installed: u64,
    pub(super) preferred: ReplicaId,
    /// Who the map wants as voters, in order.
    pub(super) wanted: Vec<ReplicaId>,
}

impl Group {
    pub(super) fn new(options: &Options, start: GroupStart) -> Group {
        let applied_index = start.restored.applied;
        let fresh = start.restored.hard_state.term.0 <= 1 && start.restored.last.0 <= 1;
        let replica = Replica::new(
            raft::Options {
                id: start.replica,
                seed: options.seed
                    ^ (u64::from(start.group.0) << 32)
                    ^ start.replica.0.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                election_ticks: options.election_ticks,
                heartbeat_ticks: options.heartbeat_ticks,
                idle_ticks: options.idle_ticks,
                inflight_messages_max: options.inflight_messages_max,
                inflight_bytes_max: options.inflight_bytes_max,
                append_bytes_max: options.append_bytes_max,
                window_bytes_max: options.window_bytes_max,
                uncommitted_bytes_max: options.uncommitted_bytes_max,
                lease: options.lease,
                may_be_loyal: !start.new,
                may_campaign: start.serving == Serving::Whole,
            },
            start.restored,
        );
        let applied = LogId { term: replica.term_of(applied_index).unwrap_or_default(), index: applied_index };
        let mut group = Group {
            id: start.group,
            replica,
            serving: start.serving,
            preferred: start.preferred,
            wanted: Vec::new(),
            gathered: Gathered::default(),
            touched: false,
            writes: false,
            waiting: Waiting::default(),
            handed: applied_index,
            applied,
            replaying: None,
            apply_due: false,
            kept_ticks: 0,
            store_durable: applied,
            kept_back_bytes: 0,
            unapplied_bytes: 0,
            log_bytes: 0,
            sync_asked_at: applied_index,
            counts_ticks: true,
            slept_at: None,
            installing: false,
            snapshots_installed: 0,
            sending: BTreeMap::new(),
            catching_up: BTreeSet::new(),
        };
        if fresh && start.preferred == start.replica && start.serving == Serving::Whole {
            // A new group need not wait for a timeout to find its leader: the pre-vote still asks.
            group.replica.campaign(group.gathered.get());
        }
        group
    }

    pub(super) fn serving(&self) -> Serving {
        self.serving
    }

    pub(super) fn leads(&self) -> bool {
        self.replica.role() == Role::Leader
    }

    /// Whether its log holds this entry, or did before it was cut.
    pub(super) fn holds(&self, entry: LogId) -> bool {
        let cut = entry.index <= self.replica.log_start().index;
        cut || self.replica.term_of(entry.index) == Some(entry.term)
    }

    pub(super) fn has_to_do(&self) -> bool {
        !self.gathered.is_empty() || self.apply_due
    }

    pub(super) fn has_unapplied(&self) -> bool {
        self.serving == Serving::Whole && self.replica.applicable() > self.handed
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.replica.is_asleep()
    }

    /// Takes note of `tick` if it has just fallen asleep: it counts no ticks from then on. To be told whenever it may have, and
    /// before anything wakes it: ticks that never were would end what it has promised (rule 10).
    fn note_sleep(&mut self, tick: u64) {
        match self.replica.is_asleep() {
            true => self.slept_at = self.slept_at.or(Some(tick)),
            false => self.slept_at = None,
        }
    }

    /// Ends its sleep, if it sleeps.
    pub(super) fn wake(&mut self, tick: u64, links: &Links) {
        let passed = tick - self.slept_at.take().unwrap_or(tick);
        self.replica.wake(passed, &|node| links.silence(self.id, node, tick));
    }

    /// It has fallen asleep: gives back the memory that only work needs. Thousands may sleep.
    pub(super) fn rest(&mut self) {
        if self.gathered.is_empty() {
            self.gathered = Gathered::default();
        }
        self.waiting.rest();
        self.replica.rest();
    }

    pub(super) fn set_may_sleep(&mut self, may_sleep: bool) {
        self.replica.set_may_sleep(may_sleep);
    }

    /// Whether nobody waits here, no snapshot is under way, and the store holds everything there is.
    pub(super) fn is_quiet(&self) -> bool {
        let last = self.replica.last().index;
        let still = self.replaying.is_none() && !self.installing && self.sending.is_empty();
        self.serving == Serving::Whole && self.waiting.len() == 0 && still && self.applied.index == last
    }

    /// Leader: whether nothing is to be done, every other member's core lives, and members and leadership are as the map
    /// wants them.
    pub(super) fn may_sleep(&self, links: &Links) -> bool {
        let own = self.replica.id();
        let at_home = self.preferred == own || !self.replica.membership().is_voter(self.preferred);
        let lives = |peer: raft::PeerView| links.is_up(self.id, peer.id.node());
        self.leads() && self.is_quiet() && at_home && self.has_wanted_members() && self.replica.peers().all(lives)
    }

    /// Whether it would not notice by itself, asleep, that a core of `node` is gone: as a follower if its leader is
    /// there, as the leader if any member is. Awake, it is told of a lost connection all the same.
    pub(super) fn rests_on(&self, node: u16) -> bool {
        match self.leads() {
            true => self.replica.peers().any(|peer| peer.id.node() == node),
            false => self.replica.leader().is_some_and(|leader| leader.node() == node),
        }
    }

    /// The leader has asked whether this replica follows it, which it does: it stays loyal for a while.
    pub(super) fn hear_leader(&mut self) {
        self.replica.hear_leader();
    }

    /// Whether this replica is the one that a read round of the leader on node `node` asks, and confirms it.
    pub(super) fn follows(&self, node: u16, question: &Question) -> bool {
        let asked = question.to == self.replica.id();
        asked && self.serving != Serving::Amnesiac && self.replica.follows(node, question.term)
    }

    /// Whether the store lacks more than is kept back for a moment, see [`Group::hand_to_store`].
    pub(super) fn is_behind(&self, options: &Options) -> bool {
        self.has_unapplied() && !self.keeps_back(options)
    }

    /// While no request waits for the store, entries go there some at a time, after a few ticks at the latest, as a
    /// large run costs it less than many small ones.
    fn keeps_back(&self, options: &Options) -> bool {
        let entries = self.replica.applicable().0 - self.handed.0;
        let few = entries < RUN_ENTRIES && self.kept_back_bytes < options.run_bytes_max;
        few && !self.apply_due && !self.waiting.wants_store()
    }

    /// The membership in force at `index`, encoded.
    pub(super) fn membership_at(&self, index: Index) -> Vec<u8> {
        self.replica.membership_at(index).encode()
    }

    /// The tick number `tick`; `ask`: a hollow replica asks for a snapshot.
    pub(super) fn tick(&mut self, tick: u64, ask: bool) {
        if self.serving != Serving::Amnesiac {
            self.replica.tick(self.gathered.get());
            self.note_sleep(tick);
        }
        self.kept_ticks = if self.has_unapplied() { self.kept_ticks + 1 } else { 0 };
        // Once due, what is left is due until it has been handed over.
        self.apply_due = self.has_unapplied() && (self.apply_due || self.kept_ticks >= KEPT_TICKS);
        if ask && self.serving == Serving::Hollow && !self.installing {
            self.replica.request_snapshot(self.gathered.get());
        }
    }

    pub(super) fn step(&mut self, tick: u64, message: Message) {
        if self.serving != Serving::Amnesiac {
            self.replica.step(message, self.gathered.get());
            self.note_sleep(tick);
        }
    }

    pub(super) fn write(&mut self, write: Write, command: Payload) -> Result<(), Refused> {
        let id = self.replica.propose(command, self.gathered.get()).map_err(|error| match error {
            ProposeError::NotLeader { leader } => Refused::NotLeader(leader),
            ProposeError::Transferring => Refused::NotLeader(None),
            ProposeError::Busy { .. } => Refused::Busy,
        })?;
        self.waiting.write(id, write);
        Ok(())
    }

    pub(super) fn read(&mut self, token: u64, ticket: Ticket, query: Query) -> Result<(), Refused> {
        let leader = self.replica.leader();
        self.replica.read(token, self.gathered.get()).map_err(|_| Refused::NotLeader(leader))?;
        self.waiting.read(token, ticket, query);
        Ok(())
    }

    pub(super) fn persisted(&mut self, persisted: Persisted) {
        self.replica.persisted(persisted, self.gathered.get());
    }

    pub(super) fn fetched(&mut self, peer: ReplicaId, entries: Option<Entries>) {
        match entries {
            Some(entries) => self.replica.fetched(peer, entries, self.gathered.get()),
            None => self.replica.fetch_failed(peer),
        }
    }

    pub(super) fn peer_lost(&mut self, node: u16) {
        let lost: Vec<ReplicaId> = self.replica.peers().map(|peer| peer.id).filter(|id| id.node() == node).collect();
        for peer in lost {
            self.replica.peer_unreachable(peer);
        }
    }

    /// Lets the replica emit the turn's messages and gives away what was gathered.
    pub(super) fn collect(&mut self, now: u64) -> Box<Ready> {
        if self.serving != Serving::Amnesiac {
            self.replica.collect_at(now, self.gathered.get());
        }
        let out = self.gathered.take();
        let bytes: usize = out.entries.iter().map(Entry::bytes).sum();
        self.log_bytes += bytes as u64;
        self.kept_back_bytes += bytes;
        self.touched = false;
        out
    }

    /// What the persist of `ready` will have made durable.
    pub(super) fn persisted_by(&self, ready: &Ready) -> Persisted {
        Persisted {
            last: ready.entries.last().map(Entry::id),
            hard_state: ready.hard_state,
            log_start: ready.log_start,
        }
    }

    /// Reads and roles of `ready`: who waits gets its answer or goes on to the store.
    pub(super) fn settle(&mut self, ready: &mut Ready, effects: &mut Effects) {
        for read in ready.reads.drain(..) {
            effects.leased += u64::from(read.leased);
            self.waiting.confirmed(self.id, read.token, read.index, self.applied.index, effects);
        }
        let leader = self.replica.leader().filter(|leader| *leader != self.replica.id());
        for token in ready.reads_failed.drain(..) {
            self.waiting.read_failed(token, Refused::NotLeader(leader), effects);
        }
        if std::mem::take(&mut ready.role_changed) {
            // A turn may have seen more than one change: what counts is the term that each write was proposed in.
            self.waiting.fail_writes(self.leads().then(|| self.replica.term()), effects);
            if !self.leads() {
                self.waiting.fail_reads(&Refused::NotLeader(leader), effects);
            }
            effects.elected += u64::from(self.leads());
            if self.serving == Serving::Hollow && !self.installing {
                // At the next tick: until it has asked, its leader takes it for a successor like any other.
                self.replica.request_snapshot(self.gathered.get());
            }
        }
        self.waiting.committed(self.replica.commit(), self.applied.index, effects);
    }

    /// Hands committed, durable entries to the store, which has room for `room` bytes; returns the bytes it was charged with.
    pub(super) fn hand_to_store(&mut self, room: usize, options: &Options, effects: &mut Effects) -> usize {
        if self.serving != Serving::Whole || self.replaying.is_some() || self.installing {
            return 0;
        }
        // Never beyond min(commit, own durable index): a store is never ahead of its journal (rule 14).
        let last = self.replica.applicable();
        if last <= self.handed || self.keeps_back(options) {
            return 0;
        }
        // It waits for the disk: the others of the core need the rest of the room.
        if self.unapplied_bytes > room / APPLY_SHARES {
            return 0;
        }
        self.apply_due = false;
        self.kept_ticks = 0;
        let from = self.handed.next();
        match self.replica.entries_in_memory(from, last, options.run_bytes_max) {
            Some(entries) => {
                let charge = self.hand(entries, effects);
                // What did not fit the run has waited as long: it goes with the next turn of the group.
                self.apply_due = self.handed < last;
                charge
            }
            None => {
                self.replaying = Some(from);
                effects.replay.push(Replay { group: self.id, from, last, bytes_max: options.run_bytes_max });
                0
            }
        }
    }

    /// Old entries came from the journal: hand them over; returns the bytes charged.
    pub(super) fn replayed(&mut self, entries: Entries, effects: &mut Effects) -> usize {
        let asked = self.replaying.take();
        // A snapshot may have moved the state past them meanwhile, or is about to.
        if self.installing || asked != Some(self.handed.next()) {
            return 0;
        }
        let first = entries.first().map(|first| first.index);
        assert_eq!(first, asked, "group {}: an entry is committed, not applied, and not in the journal", self.id);
        let charge = self.hand(entries, effects);
        self.apply_due = self.has_unapplied();
        charge
    }

    fn hand(&mut self, entries: Entries, effects: &mut Effects) -> usize {
        for entry in &entries {
            assert_eq!(entry.index, self.handed.next(), "group {}: the store is fed in order", self.id);
            self.handed = entry.index;
        }
        let bytes = entries.iter().map(Entry::bytes).sum();
        let run = ApplyRun { group: self.id, entries, answer: self.waiting.wants_outcomes() };
        // Entries that were cut off again count until everything has been handed over.
        let all = self.handed == self.replica.last().index;
        self.kept_back_bytes = if all { 0 } else { self.kept_back_bytes.saturating_sub(bytes) };
        let charge = run.charge();
        effects.apply.push(run);
        self.unapplied_bytes += charge;
        charge
    }

    /// The store has applied a run of `bytes` bytes.
    pub(super) fn applied(&mut self, run: AppliedRun, bytes: usize, effects: &mut Effects) {
        self.unapplied_bytes = self.unapplied_bytes.checked_sub(bytes).expect("a run is applied once");
        assert!(run.applied.index <= self.handed, "group {}: applied what was never handed over", self.id);
        self.applied = run.applied;
        self.replica.applied(run.applied.index);
        self.waiting.applied(self.id, run, effects);
    }

    /// The voters heard of lately on nodes that take leadership, if this replica leads.
    fn successors(&self, links: &Links) -> impl Iterator<Item = PeerView> {
        let fit = self.replica.peers().filter(|peer| peer.active && !peer.learner && !peer.hollow);
        fit.filter(|peer| links.may_lead(self.id, peer.id.node()))
    }

    /// Whether this replica leads and somebody else could.
    pub(super) fn has_successor(&self, links: &Links) -> bool {
        self.successors(links).next().is_some()
    }

    /// Whether a quorum of the voters has room for what would be written, this replica not counted: who takes no leadership has none.
    pub(super) fn can_be_spared(&self, links: &Links) -> bool {
        let there = self.replica.membership();
        !there.is_joint() && self.successors(links).count() > there.voters.len() / 2
    }

    /// Whether this replica stands for election.
    pub(super) fn stands(&self) -> bool {
        self.replica.role() == Role::Candidate
    }

    /// A core of `node` takes no leadership: what is on its way there stays here.
    pub(super) fn peer_declines(&mut self, node: u16) {
        if let Some(to) = self.replica.transferring_to().filter(|to| to.node() == node) {
            self.replica.call_off_transfer(to);
        }
    }

    /// Moves leadership to the voter that lacks least, once there is one that follows the log: writes are refused until it has all.
    pub(super) fn hand_over(&mut self, links: &Links) {
        let follow = self.successors(links).filter(|peer| peer.state == PeerState::Replicate);
        if let Some(successor) = follow.max_by_key(|peer| peer.matched).map(|peer| peer.id) {
            // One transfer at a time; a later tick asks again if this one gives up.
            let _ = self.replica.transfer_leadership(successor, self.gathered.get());
        }
    }
}
