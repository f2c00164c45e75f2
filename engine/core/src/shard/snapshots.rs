//! Snapshots of this core's groups: which one may come in, what is done with it, and what is sent to whom.
//!
//! One at a time comes in, whatever its group: the *slot*. A replica's grant leaves only with the slot in its hand
//! (rule 22), or waits for it a while. The rim carries the bytes; when all of them have come, the group stops feeding its store, the store switches,
//! and the replica is told. A slot falls empty when its leader's term ends, when neither bytes nor offers come for long, or
//! no bytes for very long.
//!
//! What is sent is remembered per peer: the log is held back for it, and it is called off when the peer has caught up
//! otherwise, has left, or this replica leads no more.

use super::effects::{Effects, SendSnapshot, SnapshotStep};
use super::group::Group;
use super::{Options, Shard};
use crate::snapshot::{End, Header};
use raft::entry::LogId;
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::membership::Membership;
use raft::message::{Body, Message};
use raft::progress::PeerState;
use raft::ready::{Ready, SnapshotWanted};

/// Election timeouts after which a slot is given up if neither a byte comes nor its leader offers again: who sends is gone.
const PATIENCE: u32 = 10;

/// Election timeouts without a byte after which a slot is given up whatever its leader says: who sends is stuck, and others
/// may wait for the slot. Far more than a store needs for one chunk, as all that came before it is lost.
const STUCK: u32 = 100;

/// The snapshot that may come in.
#[derive(Debug)]
pub(super) struct Slot {
    group: GroupId,
    from: ReplicaId,
    term: Term,
    /// Bytes so far.
    bytes: u64,
    /// Ticks since the last of them.
    quiet: u32,
    /// Ticks since its leader was last known to want it: since the last byte, or the last offer.
    unwanted: u32,
    /// All has come, and the store is at it.
    installing: bool,
}

/// A snapshot that a peer of a group this replica leads has granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    term: Term,
    /// The log is held from here on, as it is what the peer needs next.
    pub(super) last: LogId,
}

impl Shard {
    /// Whether a snapshot that begins like this is the one that was granted, and still of use.
    pub fn admits_snapshot(&self, header: &Header) -> bool {
        let Some(slot) = &self.slot else { return false };
        let Some(group) = self.groups.get(&header.group) else { return false };
        let granted = slot.group == header.group && slot.from == header.from && slot.term == header.term;
        granted && !slot.installing && group.can_install(header)
    }

    /// Whether the grant among what a group says may leave. A slot that another leader of the same group held
    /// goes to the new one.
    pub(super) fn lets_grant_go(
        slot: &mut Option<Slot>,
        closed: bool,
        group: GroupId,
        message: &Message,
        effects: &mut Effects,
    ) -> bool {
        if !matches!(message.body, Body::SnapshotGrant { .. }) {
            return true;
        }
        match slot {
            Some(held) if held.group != group || held.installing => return false,
            Some(held) if held.from == message.to && held.term == message.term => {
                // A leader that hears of no progress offers again about once per election timeout, while its disk works. What
                // looks dead from here may be its store, which takes long to find the next bytes: it sends still, and begins
                // nothing new.
                held.unwanted = 0;
                return true;
            }
            Some(_) => effects.snapshot_steps.push(SnapshotStep::Abandon { group }),
            None if closed => return false,
            None => {}
        }
        let (from, term) = (message.to, message.term);
        *slot = Some(Slot { group, from, term, bytes: 0, quiet: 0, unwanted: 0, installing: false });
        true
    }

    /// The slot is empty: the first grant that waits for it leaves, if its leader still waits for it. Without this the slot would stay
    /// empty until the next offer, which comes an election timeout after the last, and thousands of groups may wait.
    pub(super) fn let_next_grant_go(&mut self, effects: &mut Effects) {
        let closed = self.disk_full || !self.recovered;
        while let Some((id, (since, message))) = self.grants.pop_first() {
            let fresh = self.ticks - since < u64::from(self.options.election_ticks / 2).max(1);
            let current = self.groups.get(&id).is_some_and(|group| group.replica.term() == message.term);
            if fresh && current && Shard::lets_grant_go(&mut self.slot, closed, id, &message, effects) {
                effects.messages.push((id, message));
                return;
            }
        }
    }

    /// Once a tick: who sends is told that it goes on, and a slot that nobody fills is given up.
    pub(super) fn tick_slot(&mut self) {
        let Some(slot) = &mut self.slot else { return };
        let Some(group) = self.groups.get_mut(&slot.group) else { return };
        slot.quiet = slot.quiet.saturating_add(1);
        slot.unwanted = slot.unwanted.saturating_add(1);
        let gone = slot.unwanted > PATIENCE.saturating_mul(self.options.election_ticks);
        let stuck = slot.quiet > STUCK.saturating_mul(self.options.election_ticks);
        let over = group.replica.term() != slot.term || gone || stuck;
        if over && !slot.installing {
            self.give_up_slot();
        } else if (slot.installing || slot.quiet < self.options.election_ticks)
            && self.ticks.is_multiple_of(u64::from(self.options.heartbeat_ticks.max(1)))
        {
            // Who hears no more of it takes the sending for failed, and offers again.
            group.tell_progress(slot.bytes);
            let group = slot.group;
            self.stir(group);
        }
    }

    /// The disk has no room for what is still to come. What has come is dropped, which makes some; the leader offers
    /// again, and the grant waits until there is enough.
    pub(super) fn give_up_slot(&mut self) {
        if let Some(slot) = self.slot.take_if(|slot| !slot.installing) {
            self.abandoned.push(slot.group);
        }
    }

    pub(super) fn snapshot_bytes(&mut self, group: GroupId, bytes: u64) {
        if let Some(slot) = self.slot.as_mut().filter(|slot| slot.group == group) {
            slot.bytes = bytes;
            (slot.quiet, slot.unwanted) = (0, 0);
        }
    }

    /// Everything has come: the store may switch, if that is still wanted.
    pub(super) fn snapshot_whole(&mut self, header: Header, end: End, effects: &mut Effects) {
        if self.slot.as_ref().is_some_and(|slot| slot.group == header.group && slot.installing) {
            return;
        }
        if !self.admits_snapshot(&header) {
            self.slot.take_if(|slot| slot.group == header.group);
            effects.snapshot_steps.push(SnapshotStep::Abandon { group: header.group });
            return;
        }
        let slot = self.slot.as_mut().expect("it is admitted");
        slot.installing = true;
        self.stir(header.group).expect("it is admitted").begin_install();
        effects.snapshot_steps.push(SnapshotStep::Install { header, end });
    }

    /// The store has switched, durably.
    pub(super) fn snapshot_installed(&mut self, header: &Header, effects: &mut Effects) {
        self.slot.take_if(|slot| slot.group == header.group);
        // Granted while this one came in: nobody sends it any more, and the slot would wait for it in vain.
        self.grants.remove(&header.group);
        if let Some(group) = self.stir(header.group)
            && !group.installed(header, effects)
        {
            // The log goes on as it was, so nothing more is to be durable before the old state may go.
            effects.snapshot_steps.push(SnapshotStep::DropReplaced { group: header.group });
        }
    }

    /// What came was no snapshot; the store has dropped it.
    pub(super) fn snapshot_broken(&mut self, id: GroupId) {
        self.slot.take_if(|slot| slot.group == id);
        if let Some(group) = self.stir(id) {
            group.end_install();
        }
    }

    pub(super) fn snapshot_sent(&mut self, id: GroupId, peer: ReplicaId, ok: bool) {
        if let Some(group) = self.stir(id) {
            group.snapshot_sent(peer, ok);
        }
    }
}

impl Group {
    /// Whether the store can take this snapshot in: it brings something, and leaves no hole before the log.
    fn can_install(&self, header: &Header) -> bool {
        let possible = header.last.is_sound() && header.last.index > Index(0) && header.last.term <= header.term;
        // What is committed here no sound snapshot contradicts (rule 26).
        let known = self.replica.term_of(header.last.index).filter(|_| header.last.index <= self.replica.commit());
        let agrees = known.is_none_or(|term| term == header.last.term);
        let sound = possible && agrees && Membership::decode(&header.membership).is_ok();
        let useful = match self.serving {
            super::Serving::Whole => header.last.index > self.handed,
            super::Serving::Hollow => header.last.index >= self.replica.log_start().index,
            super::Serving::Amnesiac => false,
        };
        sound && useful && !self.installing && header.to == self.replica.id() && header.term == self.replica.term()
    }

    /// Until the store has switched nothing more is handed to it; what was handed before is applied before.
    fn begin_install(&mut self) {
        self.installing = true;
    }

    fn end_install(&mut self) {
        self.installing = false;
    }

    /// The store has switched; whether the log restarts.
    fn installed(&mut self, header: &Header, effects: &mut Effects) -> bool {
        let membership = Membership::decode(&header.membership).expect("it was read before it was let in");
        self.installing = false;
        self.snapshots_installed += 1;
        let before = self.replica.log_start();
        let installed = raft::message::SnapshotInstalled { last: header.last, membership };
        self.replica.snapshot_installed(installed, self.gathered.get());
        (self.applied, self.handed, self.store_durable) = (header.last, header.last.index, header.last);
        self.sync_asked_at = header.last.index;
        self.waiting.installed(self.id, header.last.index, effects);
        if self.serving == super::Serving::Hollow {
            self.serving = super::Serving::Whole;
            self.replica.set_may_campaign(true);
        }
        let restarts = self.replica.log_start() != before;
        if restarts {
            self.log_bytes = 0;
            // What this turn was to cut lies below the new start.
            effects.compact.retain(|(group, ..)| *group != self.id);
        }
        restarts
    }

    fn tell_progress(&mut self, bytes: u64) {
        self.replica.snapshot_progress(bytes, self.gathered.get());
    }

    /// A peer has granted a snapshot: the rim sends it.
    pub(super) fn send_snapshots(&mut self, ready: &mut Ready, effects: &mut Effects) {
        for SnapshotWanted { peer, last } in ready.snapshots.drain(..) {
            let term = self.replica.term();
            // One that is on its way already covers more than is asked for again.
            let before = self.sending.get(&peer).filter(|sending| sending.term == term).map(|sending| sending.last);
            self.sending.insert(peer, Sending { term, last: before.map_or(last, |before| before.max(last)) });
            let (from, to) = (self.replica.id(), peer);
            effects.snapshots.push(SendSnapshot { group: self.id, from, to, term, least: last });
        }
    }

    /// The snapshot for `peer` covers everything up to `last`: from there on it needs the log.
    pub(super) fn snapshot_taken(&mut self, peer: ReplicaId, last: LogId) {
        if let Some(sending) = self.sending.get_mut(&peer) {
            sending.last = sending.last.max(last);
        }
    }

    fn snapshot_sent(&mut self, peer: ReplicaId, ok: bool) {
        self.replica.snapshot_sent(peer, ok, self.gathered.get());
        if ok {
            self.catching_up.insert(peer);
        } else {
            self.sending.remove(&peer);
        }
    }

    /// Who lacks less than what a log may hold without being cut, in entries and in bytes, needs no more patience.
    fn forget_caught_up(&mut self, options: &Options) {
        let (leads, commit) = (self.leads(), self.replica.commit().0);
        let held = commit.saturating_sub(self.replica.log_start().index.0).max(1);
        let bytes = |entries: u64| u128::from(self.log_bytes) * u128::from(entries) / u128::from(held);
        let lacks = |peer: &raft::PeerView| {
            let entries = commit.saturating_sub(peer.matched.0);
            entries > options.snapshot_entries || bytes(entries) > u128::from(options.snapshot_log_bytes)
        };
        let behind: Vec<ReplicaId> = self.replica.peers().filter(lacks).map(|peer| peer.id).collect();
        self.catching_up.retain(|peer| leads && behind.contains(peer));
    }

    /// Those of the peers to which a snapshot is sent that need it no more.
    pub(super) fn call_off(&mut self, options: &Options) -> Vec<ReplicaId> {
        if !self.catching_up.is_empty() {
            self.forget_caught_up(options);
        }
        if self.sending.is_empty() {
            return Vec::new();
        }
        let (leads, term) = (self.leads(), self.replica.term());
        let wants = |peer: &raft::PeerView| peer.state != PeerState::Replicate || peer.hollow;
        let wanting: Vec<ReplicaId> = self.replica.peers().filter(wants).map(|peer| peer.id).collect();
        let over = |(peer, sending): (&ReplicaId, &Sending)| {
            (!leads || sending.term != term || !wanting.contains(peer)).then_some(*peer)
        };
        let over: Vec<ReplicaId> = self.sending.iter().filter_map(over).collect();
        // Its answer may come before the word that it has got everything.
        let served = |peer: &&ReplicaId| leads && self.sending[*peer].term == term;
        self.catching_up.extend(over.iter().filter(served));
        self.sending.retain(|peer, _| !over.contains(peer));
        over
    }
}
