//! What a host may know of a replica. Nothing here changes anything.

use crate::anomalies::Anomalies;
use crate::entry::{Entries, HardState, LogId};
use crate::follower::Follower;
use crate::ids::{Index, ReplicaId, Term};
use crate::membership::Membership;
use crate::progress::PeerView;
use crate::replica::{Replica, Role, State};

impl Replica {
    /// Who it is.
    pub fn id(&self) -> ReplicaId {
        self.options.id
    }

    /// Whether it leads, and would answer reads without a round at `now`, by the clock of [`Replica::collect_at`].
    pub fn holds_lease(&self, now: u64) -> bool {
        matches!(&self.state, State::Leader(leader) if self.options.lease > 0 && leader.lease.holds(now))
    }

    /// What it is now.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Follower(_) if self.membership().is_voter(self.options.id) => Role::Follower,
            State::Follower(_) => Role::Learner,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Its term and vote, durable or not.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Who leads its term, itself included, as far as it knows.
    pub fn leader(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Leader(_) => Some(self.options.id),
            State::Follower(Follower { leader, .. }) => *leader,
            _ => None,
        }
    }

    /// Whether it follows a leader on node `node` in exactly this term: what that leader's read rounds ask. Whoever says
    /// yes has helped to elect nobody of a later term so far.
    pub fn follows(&self, node: u16, term: Term) -> bool {
        let led =
            matches!(&self.state, State::Follower(Follower { leader: Some(leader), .. }) if leader.node() == node);
        led && self.hard_state.term == term
    }

    /// Everything up to here is committed.
    pub fn commit(&self) -> Index {
        self.log.commit()
    }

    /// Everything up to here is on this disk, as the log has it now.
    pub fn durable(&self) -> Index {
        self.log.durable()
    }

    /// Everything up to here may be applied: it is committed and on this disk, so that the store is never
    /// ahead of the journal (rule 14).
    pub fn applicable(&self) -> Index {
        self.log.applicable()
    }

    /// The store holds everything up to here, as it last said.
    pub fn applied_index(&self) -> Index {
        self.log.applied()
    }

    /// The last entry of the log, or its start if it is empty.
    pub fn last(&self) -> LogId {
        self.log.last()
    }

    /// The entry before the first of the log.
    pub fn log_start(&self) -> LogId {
        self.log.start()
    }

    /// The term of the entry at `index`; `None` before the log's start and after its end.
    pub fn term_of(&self, index: Index) -> Option<Term> {
        self.log.term_of(index)
    }

    /// The membership in force, committed or not.
    pub fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    /// The index of the entry that put it in force; 0 if that lies before the log.
    pub fn membership_index(&self) -> Index {
        self.memberships.current_index()
    }

    /// The membership in force at `index`, for a log start or a snapshot there.
    ///
    /// # Panics
    /// If `index` lies before the log's start: what was in force there is forgotten.
    pub fn membership_at(&self, index: Index) -> &Membership {
        assert!(index >= self.log.start().index, "membership at {index} of a log from {:?}", self.log.start());
        self.memberships.at(index)
    }

    /// Every member holds the log durably up to here, so nobody needs that from a peer any more; learners count. A
    /// leader computes it, a follower knows what it was told in this term, others know nothing.
    pub fn settled(&self) -> Index {
        match &self.state {
            State::Leader(leader) => {
                leader.matched_by_all().map_or(self.log.durable(), |it| it.min(self.log.durable()))
            }
            State::Follower(follower) => follower.settled,
            State::PreCandidate(_) | State::Candidate(_) => Index(0),
        }
    }

    /// Entries from `from` to `last`, fewer if they exceed `bytes_max`, but at least one if there is one.
    /// `None` if `from` is not in memory any more: the journal has it.
    pub fn entries_in_memory(&self, from: Index, last: Index, bytes_max: usize) -> Option<Entries> {
        self.log.slice(from, last, bytes_max)
    }

    /// The peers, in order of their ids. None unless this replica leads.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> {
        let (now, election) = (self.timeouts.now(), u64::from(self.options.election_ticks));
        let leader = match &self.state {
            State::Leader(leader) => Some(leader),
            _ => None,
        };
        leader.into_iter().flat_map(|leader| leader.peers.iter()).map(move |(&id, peer)| PeerView {
            id,
            matched: peer.matched,
            next: peer.next,
            state: peer.state(),
            active: now - peer.heard < election,
            learner: !self.membership().is_voter(id),
            // Who asks may be told nothing yet, as an offer is open.
            hollow: peer.asked.as_ref().is_some_and(|asked| now - asked.heard.max(asked.wanted) < 2 * election),
        })
    }

    /// To whom this leader is handing over.
    pub fn transferring_to(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            _ => None,
        }
    }

    /// Reads that wait for their confirmation.
    pub fn reads_waiting(&self) -> usize {
        match &self.state {
            State::Leader(leader) => leader.reads.len(),
            _ => 0,
        }
    }

    /// Bytes of this leader's entries that wait for their commit.
    pub fn uncommitted_bytes(&self) -> usize {
        match &self.state {
            State::Leader(leader) => leader.uncommitted_bytes,
            _ => 0,
        }
    }

    /// Bytes of entries in memory.
    pub fn window_bytes(&self) -> usize {
        self.log.window_bytes()
    }

    /// What was ignored since the start.
    pub fn anomalies(&self) -> Anomalies {
        self.anomalies
    }

    /// Says whether this replica stands for election from now on: a store that had to wait for a snapshot has it.
    pub fn set_may_campaign(&mut self, may_campaign: bool) {
        self.may_campaign = may_campaign;
    }
}
