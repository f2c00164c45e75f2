//! Leading a term: proposals, commit, signs of life, reads.
//!
//! How entries get to the peers is in `replicate`; changes of membership and of leadership in `change`.

use crate::change::Transfer;
use crate::entry::{EntryKind, LogId};
use crate::ids::{Index, ReplicaId};
use crate::lease::Lease;
use crate::membership::Membership;
use crate::message::{Body, Message};
use crate::payload::Payload;
use crate::peers::Peers;
use crate::progress::{Flow, Progress};
use crate::quorum;
use crate::reads::Reads;
use crate::ready::Ready;
use crate::replica::{Become, Replica, State};
use crate::sleep::Calm;
use std::cmp::Reverse;
use std::fmt;

/// What only a leader knows. What every entry needs comes first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Leader {
    pub(crate) transfer: Option<Box<Transfer>>,
    /// Bytes of entries that wait for their commit.
    pub(crate) uncommitted_bytes: usize,
    pub(crate) peers: Peers,
    /// The membership in force is this replica and its peers, and all of them vote in one set: see [`Membership::is_this_and`].
    pub(crate) all_vote: bool,
    /// One that was asked may not answer: open reads ask others.
    pub(crate) ask_again: bool,
    pub(crate) reads: Reads,
    pub(crate) lease: Lease,
    /// The tick of the last heartbeat.
    pub(crate) beat: u64,
    /// Since when nothing has happened (rule 20).
    pub(crate) calm: Calm,
}

/// Why a proposal was not taken. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// Ask `leader`; `None` while nobody is known to lead.
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// Leadership is being handed over. Try again in a moment, wherever it went.
    Transferring,
    /// Too much waits for its commit. Try again later.
    Busy {
        /// Bytes that wait.
        bytes: usize,
    },
}

/// This replica does not lead. Ask `leader`; `None` while nobody is known to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader {
    /// Who leads, as far as this replica knows.
    pub leader: Option<ReplicaId>,
}

impl Leader {
    /// Elected at tick `now`, which counts as hearing every peer.
    pub(crate) fn new(now: u64) -> Leader {
        Leader {
            transfer: None,
            uncommitted_bytes: 0,
            peers: Peers::default(),
            all_vote: false,
            ask_again: false,
            reads: Reads::default(),
            lease: Lease::default(),
            beat: now,
            calm: Calm::default(),
        }
    }

    /// Peers that are new begin at `next`; peers that are gone are forgotten.
    pub(crate) fn follow_membership(&mut self, membership: &Membership, own: ReplicaId, next: Index, now: u64) {
        let mut members = membership.members();
        members.retain(|id| *id != own);
        self.peers.follow(&members, || Progress::new(next, now));
        self.all_vote = membership.is_this_and(self.peers.len());
        if self.transfer.as_ref().is_some_and(|transfer| membership.voters.binary_search(&transfer.to).is_err()) {
            self.transfer = None;
        }
    }

    /// Every peer has the log up to here; `None` without peers.
    pub(crate) fn matched_by_all(&self) -> Option<Index> {
        self.peers.values().map(|peer| peer.matched).min()
    }
}

impl Replica {
    /// Appends a command. It is committed when `Ready::commit` has reached its index while the entry there
    /// still has the returned term; after a change of leader it may or may not come to that.
    pub fn propose(&mut self, payload: Payload, ready: &mut Ready) -> Result<LogId, ProposeError> {
        self.stir();
        let State::Leader(leader) = &self.state else {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        };
        if leader.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        let bytes = leader.uncommitted_bytes;
        // A command larger than the limit still goes when nothing else waits.
        if bytes > 0 && bytes.saturating_add(payload.len()) > self.options.uncommitted_bytes_max {
            return Err(ProposeError::Busy { bytes });
        }
        Ok(self.append_own(EntryKind::Command, payload, ready))
    }

    /// Asks whether this replica still leads. The answer comes in `Ready::reads` under `token`, after a round of
    /// messages that begins with the next [`Replica::collect`]; or in `Ready::reads_failed`. The host
    /// bounds how many wait.
    pub fn read(&mut self, token: u64, _ready: &mut Ready) -> Result<(), NotLeader> {
        self.stir();
        match &mut self.state {
            State::Leader(leader) => {
                leader.reads.add(token);
                Ok(())
            }
            _ => Err(NotLeader { leader: self.leader() }),
        }
    }

    pub(crate) fn begin_read_round(&mut self, now: u64, ready: &mut Ready) {
        // Until an entry of this term is committed, the commit index may lag what a former leader acknowledged (rule 8).
        if !self.has_committed_in_term() {
            return;
        }
        let (from, term) = (self.options.id, self.hard_state.term);
        let leases = self.options.lease > 0 && now > 0;
        let State::Leader(leader) = &mut self.state else { return };
        if leases && leader.lease.holds(now) {
            leader.reads.confirm_waiting(self.log.commit(), ready);
        }
        let begins = leader.reads.begin_round(self.log.commit());
        let again = std::mem::take(&mut leader.ask_again) && leader.reads.len() > 0;
        if begins && self.options.lease > 0 {
            leader.lease.begin(leader.reads.round());
        }
        if begins || again {
            // Should question or answer be lost: every heartbeat carries the newest round, too.
            let body = Body::Ask { round: leader.reads.round() };
            let asked =
                if leader.reads.are_few() { leader.peers.keys().copied().collect() } else { self.nearest_quorum() };
            ready.send.extend(asked.into_iter().map(|to| Message { from, to, term, body: body.clone() }));
            self.confirm_reads(ready);
        }
    }

    /// The peers that make a quorum with this replica, and no more: those first that answered the newest rounds, then those that have
    /// acknowledged an entry of this term, as the former leader may be gone. Of two alike the one that follows this replica in the order of
    /// ids, so that not all leaders ask the same.
    ///
    /// One that does not answer is asked last when others have answered a heartbeat, which carries the round to everybody.
    fn nearest_quorum(&self) -> Vec<ReplicaId> {
        let State::Leader(leader) = &self.state else { return Vec::new() };
        let (own, membership) = (self.options.id, self.memberships.current());
        let votes =
            |id: &ReplicaId| [&membership.voters, &membership.outgoing].iter().any(|voters| voters.contains(id));
        let mut peers: Vec<_> = leader.peers.iter().filter(|(id, _)| votes(id)).collect();
        peers.sort_by_key(|(id, peer)| {
            let acknowledged = self.log.term_of(peer.matched) == Some(self.hard_state.term);
            (Reverse(peer.round), !acknowledged, id.0.wrapping_sub(own.0))
        });
        let enough = |count: &usize| {
            quorum::is_quorum(membership, &|id| id == own || peers[..*count].iter().any(|(asked, _)| **asked == id))
        };
        let count = (0..peers.len()).find(enough).unwrap_or(peers.len());
        peers[..count].iter().map(|(id, _)| **id).collect()
    }

    /// A round that began in this turn is sent after `now`. One that began in a turn without a clock counts for no lease.
    pub(crate) fn stamp_round(&mut self, now: u64) {
        if self.options.lease > 0
            && let State::Leader(leader) = &mut self.state
        {
            leader.lease.stamp(now);
        }
    }

    /// Who confirms rounds from now on may promise less than a lease lasts. Answers to rounds that have begun before, and the lease
    /// there is, count no more. Until it promises enough again, every turn has to be ended without a clock.
    pub fn forget_lease(&mut self) {
        if let State::Leader(leader) = &mut self.state {
            leader.lease.forget();
        }
    }

    fn confirm_reads(&mut self, ready: &mut Ready) {
        let own = self.options.id;
        let State::Leader(leader) = &mut self.state else { return };
        let Leader { peers, reads, lease, .. } = &mut **leader;
        let round_of = |id| if id == own { u64::MAX } else { peers.get(&id).map_or(0, |peer| peer.round) };
        let round = quorum::reached_by_quorum(self.memberships.current(), &round_of);
        reads.confirm(round, ready);
        lease.confirmed(round, self.options.lease);
    }

    pub(crate) fn on_heartbeat_reply(&mut self, from: ReplicaId, round: u64, ready: &mut Ready) {
        let now = self.timeouts.now();
        let heartbeat = u64::from(self.options.heartbeat_ticks);
        let State::Leader(leader) = &mut self.state else { return };
        if round > leader.reads.round() {
            self.anomalies.malformed += 1;
            return;
        }
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        peer.round = peer.round.max(round);
        // It lives. If a question to it stays open for long, the question or its answer was lost.
        match &mut peer.flow {
            Flow::Probe { sent, .. } if sent.is_some_and(|sent| now - sent >= heartbeat) => *sent = None,
            Flow::Replicate(inflight) if !inflight.is_empty() && now - inflight.moved >= heartbeat => {
                inflight.moved = now;
                self.send_news(from, ready);
            }
            _ => {}
        }
        self.confirm_reads(ready);
    }

    /// Commits what a quorum holds durably, this disk included like any other (rule 2).
    pub(crate) fn advance_commit(&mut self, ready: &mut Ready) {
        let (own, durable, before) = (self.options.id, self.log.durable(), self.log.commit());
        let State::Leader(leader) = &mut self.state else { return };
        let index = if leader.all_vote {
            let matched = leader.peers.values().map(|peer| peer.matched.0);
            quorum::majority_of(leader.peers.len() + 1, matched.chain([durable.0])).unwrap_or(0)
        } else {
            let matched = |id| match leader.peers.get(&id) {
                Some(peer) => peer.matched.0,
                None if id == own => durable.0,
                None => 0,
            };
            quorum::reached_by_quorum(self.memberships.current(), &matched)
        };
        let index = Index(index);
        // Only entries of our own term commit by counting copies (paper section 5.4.2, rule 3): an older entry on
        // a majority can still be overwritten. The older ones are carried along.
        if index <= before || self.log.term_of(index) != Some(self.hard_state.term) {
            return;
        }
        self.log.commit_to(index);
        let committed = self.log.bytes_between(before.next(), index);
        leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_sub(committed);
        self.leave_joint_if_due(ready);
    }

    /// Whether an entry of this leader's term is committed.
    pub(crate) fn has_committed_in_term(&self) -> bool {
        matches!(self.state, State::Leader(_)) && self.log.term_of(self.log.commit()) == Some(self.hard_state.term)
    }

    pub(crate) fn tick_leader(&mut self, ready: &mut Ready) {
        let (own, now) = (self.options.id, self.timeouts.now());
        let election = u64::from(self.options.election_ticks);
        let State::Leader(leader) = &mut self.state else { return };
        let heard = |id| id == own || leader.peers.get(&id).is_some_and(|peer| now - peer.heard < election);
        if !quorum::is_quorum(self.memberships.current(), &heard) {
            // Check-quorum (thesis 6.2): others may have elected somebody else, and clients wait here in vain.
            return self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
        }
        if leader.transfer.as_ref().is_some_and(|transfer| now - transfer.since >= election) {
            leader.transfer = None;
        }
        for peer in leader.peers.values_mut() {
            if matches!(peer.flow, Flow::Snapshot { heard, .. } if now - heard >= election) {
                peer.start_again();
            }
        }
        let due = now - leader.beat >= u64::from(self.options.heartbeat_ticks);
        self.send_commit(ready);
        match self.is_idle() {
            true if due => self.send_sleep(ready),
            false if due => self.beat(ready),
            _ => {}
        }
    }

    /// A heartbeat, with the newest read round, to every peer that needs one.
    ///
    /// One that was sent entries since the last beat and has been heard since knows all that a heartbeat says, and so do we. But
    /// open probes are repeated at a heartbeat's answer, open reads and leases need the round, and what is settled is told to
    /// everybody once in an election timeout.
    fn beat(&mut self, ready: &mut Ready) {
        let (from, term, commit) = (self.options.id, self.hard_state.term, self.log.commit());
        let now = self.timeouts.now();
        let settled = self.settled();
        let State::Leader(leader) = &mut self.state else { return };
        let former = std::mem::replace(&mut leader.beat, now);
        // A lease is renewed by the answers to a fresh round.
        if self.options.lease > 0 {
            leader.lease.begin(leader.reads.next_round());
        }
        let settling = now % u64::from(self.options.election_ticks) < u64::from(self.options.heartbeat_ticks);
        let all = settling || self.options.lease > 0 || leader.reads.len() > 0;
        let round = leader.reads.round();
        let busy = |peer: &Progress| matches!(peer.flow, Flow::Replicate(_)) && peer.sent.min(peer.heard) >= former;
        for (&to, peer) in leader.peers.iter().filter(|(_, peer)| all || !busy(peer)) {
            let body = Body::Heartbeat { commit: commit.min(peer.matched), round, settled };
            ready.send.push(Message { from, to, term, body });
        }
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProposeError::NotLeader { leader } => write!(f, "{}", NotLeader { leader: *leader }),
            ProposeError::Transferring => write!(f, "leadership is being handed over"),
            ProposeError::Busy { bytes } => write!(f, "{bytes} bytes of proposals wait for their commit"),
        }
    }
}

impl fmt::Display for NotLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(leader) => write!(f, "not the leader: {leader} is"),
            None => write!(f, "not the leader, and none is known"),
        }
    }
}

impl std::error::Error for ProposeError {}
impl std::error::Error for NotLeader {}
