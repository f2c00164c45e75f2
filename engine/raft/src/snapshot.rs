//! Snapshots: offered by the leader, granted by the receiver, carried by the host (rule 22).
//!
//! The bytes never pass through here. A replica only agrees with its leader that they should
//! flow, and takes note when the host has put them in place.
//!
//! A leader offers one to a peer whose next entry it has no more. A *hollow* peer, whose log is sound but whose
//! store is lost, asks for one; its log goes on growing meanwhile, as a quorum may need it.

use crate::entry::LogId;
use crate::ids::{Index, ReplicaId};
use crate::membership::Memberships;
use crate::message::{AppendReply, Body, SnapshotInstalled};
use crate::progress::{Asked, Flow};
use crate::ready::{Ready, SnapshotWanted};
use crate::replica::{Become, Replica, State};

impl Replica {
    /// Follower: the leader's log does not reach back to what we lack.
    pub(crate) fn on_snapshot_offer(&mut self, from: ReplicaId, last: LogId, ready: &mut Ready) {
        if !self.follow(from, ready) {
            return;
        }
        if !self.may_campaign {
            // The store is hollow: what the log holds is of no help, and what ends before the log begins neither.
            if last.index >= self.log.start().index {
                ready.send.push(self.message(from, Body::SnapshotGrant { last }));
            }
        } else if last.index <= self.log.commit() || self.log.contains(last) {
            // We have caught up in the meantime, or the leader missed our answer.
            let reply = AppendReply::Accepted { matched: last.index };
            ready.send_after_persist.push(self.message(from, Body::AppendReply(reply)));
        } else {
            // A host without room for a snapshot keeps this message back; the offer is repeated.
            ready.send.push(self.message(from, Body::SnapshotGrant { last }));
        }
    }

    /// Leader: the receiver is ready. A grant of something that is not on offer is late or repeated.
    pub(crate) fn on_snapshot_grant(&mut self, from: ReplicaId, last: LogId, ready: &mut Ready) {
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        let on_offer = match (&mut peer.flow, &mut peer.asked) {
            (Flow::Snapshot { offered, granted, heard }, _) if *offered == last => Some((granted, heard)),
            (_, Some(asked)) if asked.offered == last => Some((&mut asked.granted, &mut asked.heard)),
            _ => None,
        };
        if let Some((granted, heard)) = on_offer
            && !*granted
        {
            *granted = true;
            *heard = now;
            ready.snapshots.push(SnapshotWanted { peer: from, last });
        }
    }

    /// Leader: the peer's store is lost. It gets an offer, unless one is open already, or this store does not hold
    /// yet what the peer's log starts from: it will ask again.
    pub(crate) fn on_snapshot_request(&mut self, from: ReplicaId, least: Index, ready: &mut Ready) {
        let now = self.timeouts.now();
        let election = u64::from(self.options.election_ticks);
        let index = self.log.start().index.max(least);
        let term = self.log.term_of(index).filter(|_| index <= self.log.applied());
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        if let Some(asked) = &mut peer.asked {
            asked.wanted = now;
        }
        let open = peer.asked.as_ref().is_some_and(|asked| now - asked.heard < election);
        if open || matches!(peer.flow, Flow::Snapshot { .. }) {
            return;
        }
        let Some(term) = term else { return };
        let last = LogId { term, index };
        peer.asked = Some(Box::new(Asked { offered: last, granted: false, heard: now, wanted: now }));
        ready.send.push(self.message(from, Body::SnapshotOffer { last }));
    }

    /// Leader: bytes arrive at the receiver.
    pub(crate) fn on_snapshot_progress(&mut self, from: ReplicaId) {
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        if let Flow::Snapshot { heard, .. } = &mut peer.flow {
            *heard = now;
        }
        if let Some(asked) = &mut peer.asked {
            asked.heard = now;
        }
    }

    /// Leader's host: a snapshot has been sent to `peer` to its end, or has failed. After a failure it is offered
    /// again; after success the peer's own acknowledgement decides.
    pub fn snapshot_sent(&mut self, peer: ReplicaId, ok: bool, _ready: &mut Ready) {
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(progress) = leader.peers.get_mut(&peer) else { return };
        if let Flow::Snapshot { heard, .. } = &mut progress.flow {
            *heard = now;
            if !ok {
                progress.start_again();
            }
        }
        match &mut progress.asked {
            Some(asked) if ok => asked.heard = now,
            // It asks again.
            asked => *asked = None,
        }
    }

    /// Hollow receiver's host: asks the leader for a snapshot, if one is known. Call it about once per election
    /// timeout until one has come.
    pub fn request_snapshot(&mut self, ready: &mut Ready) {
        if let State::Follower(follower) = &self.state
            && let Some(leader) = follower.leader
        {
            let least = self.log.start().index;
            ready.send.push(self.message(leader, Body::SnapshotRequest { least }));
        }
    }

    /// Receiver's host: `bytes` of a snapshot have arrived so far. Tells the leader, so that it does not give up.
    /// Call it a few times per election timeout.
    pub fn snapshot_progress(&mut self, bytes: u64, ready: &mut Ready) {
        if let State::Follower(follower) = &self.state
            && let Some(leader) = follower.leader
        {
            ready.send.push(self.message(leader, Body::SnapshotProgress { bytes }));
        }
    }

    /// Receiver's host: the store now holds the state at `installed.last`, durably.
    ///
    /// If the log has that very entry, nothing of the log changes: what follows it may be acknowledged and must
    /// stay. Otherwise the log restarts there, empty, and `Ready::log_start` says so.
    ///
    /// # Panics
    /// If the store went back, or if this replica leads a log that lacks a committed entry.
    pub fn snapshot_installed(&mut self, installed: SnapshotInstalled, ready: &mut Ready) {
        let SnapshotInstalled { last, membership } = installed;
        let applied = self.log.applied();
        assert!(last.index >= applied, "a snapshot took the store from {applied} back to {last:?}");
        if self.log.contains(last) {
            self.log.overtaken_by_snapshot(last.index);
            let (commit, end) = (self.log.commit(), self.log.last().index);
            if let State::Leader(leader) = &mut self.state {
                // What it has just learnt to be committed is not waited for any more.
                leader.uncommitted_bytes = self.log.bytes_between(commit.next(), end);
            }
        } else if last.index > self.log.commit() {
            assert!(!matches!(self.state, State::Leader(_)), "the leader of {} lacks {last:?}", self.hard_state.term);
            if !matches!(self.state, State::Follower(_)) {
                self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
            }
            self.log.restart(last, ready);
            self.memberships = Memberships::new(membership, Vec::new());
        } else {
            // It ends before our log begins: it brought nothing, and there is nothing to tell.
            self.anomalies.malformed += 1;
            return;
        }
        self.announced = self.announced.max(last.index);
        if ready.commit.is_some_and(|commit| commit <= last.index) {
            ready.commit = None;
        }
        self.advance_commit(ready);
        self.announce(ready);
        if let Some(leader) = self.leader().filter(|leader| *leader != self.options.id) {
            let reply = AppendReply::Accepted { matched: last.index };
            ready.send_after_persist.push(self.message(leader, Body::AppendReply(reply)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, EntryKind, HardState};
    use crate::ids::{Index, Term};
    use crate::membership::Membership;
    use crate::message::Message;
    use crate::options::{Options, Persisted, Restored};

    fn follower() -> Replica {
        let options = Options {
            id: ReplicaId(1),
            seed: 1,
            election_ticks: 10,
            heartbeat_ticks: 1,
            idle_ticks: 10,
            inflight_messages_max: 4,
            inflight_bytes_max: 1_000,
            append_bytes_max: 1_000,
            window_bytes_max: 1_000,
            uncommitted_bytes_max: 1_000,
            lease: 0,
            may_be_loyal: false,
            may_campaign: true,
        };
        let entry = |index| Entry { term: Term(2), index: Index(index), kind: EntryKind::Noop, payload: [].into() };
        let restored = Restored {
            hard_state: HardState { term: Term(2), vote: None },
            log_start: LogId::default(),
            membership: membership(),
            terms: vec![(Index(1), Term(2))],
            last: Index(6),
            memberships: vec![],
            tail: (1..=6).map(entry).collect(),
            applied: Index(2),
        };
        Replica::new(options, restored)
    }

    fn membership() -> Membership {
        Membership::new(&[ReplicaId(1), ReplicaId(2), ReplicaId(3)], &[]).expect("three voters")
    }

    fn install(replica: &mut Replica, term: u64, index: u64) -> Ready {
        let mut ready = Ready::default();
        let last = LogId { term: Term(term), index: Index(index) };
        replica.snapshot_installed(SnapshotInstalled { last, membership: membership() }, &mut ready);
        ready
    }

    #[test]
    fn a_snapshot_of_an_entry_of_the_log_leaves_what_follows() {
        let mut replica = follower();
        let ready = install(&mut replica, 2, 4);
        assert_eq!(ready.log_start, None);
        assert_eq!((replica.last().index, replica.commit(), replica.applied_index()), (Index(6), Index(4), Index(4)));
        assert_eq!(replica.compact(Index(4)).index, Index(4));
    }

    #[test]
    fn a_leader_that_learns_from_a_snapshot_what_is_committed_waits_for_nothing_of_it() {
        let mut replica = follower();
        let mut ready = Ready::default();
        replica.campaign(&mut ready);
        let vote = |term, body| Message { from: ReplicaId(2), to: ReplicaId(1), term: Term(term), body };
        replica.step(vote(3, Body::PreVoteReply { granted: true }), &mut ready);
        let hard_state = std::mem::take(&mut ready).hard_state;
        replica.persisted(Persisted { hard_state, ..Persisted::default() }, &mut ready);
        replica.step(vote(3, Body::VoteReply { granted: true }), &mut ready);
        let last = ready.entries.last().map(Entry::id);
        replica.persisted(Persisted { last, ..Persisted::default() }, &mut ready);
        install(&mut replica, 2, 4);
        let matched = Index(7);
        replica.step(vote(3, Body::AppendReply(AppendReply::Accepted { matched })), &mut ready);
        assert_eq!((replica.commit(), replica.uncommitted_bytes()), (matched, 0));
    }

    #[test]
    fn a_snapshot_that_contradicts_the_log_replaces_it() {
        let mut replica = follower();
        let ready = install(&mut replica, 3, 4);
        let start = LogId { term: Term(3), index: Index(4) };
        assert_eq!(ready.log_start, Some(start));
        assert_eq!((replica.last(), replica.log_start(), replica.durable()), (start, start, Index(4)));
    }

    #[test]
    #[should_panic(expected = "took the store from 2 back")]
    fn a_snapshot_never_takes_the_store_back() {
        install(&mut follower(), 2, 1);
    }
}
