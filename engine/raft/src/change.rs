//! Changes of who belongs to the group (paper section 6) and of who leads it (thesis 3.10).

use crate::entry::{EntryKind, LogId};
use crate::ids::{Index, ReplicaId};
use crate::membership::{Invalid, Membership};
use crate::message::Body;
use crate::ready::Ready;
use crate::replica::{Become, Replica, State};
use std::fmt;

/// Leadership on its way to `to`.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) to: ReplicaId,
    /// The tick it began at; it is given up an election timeout later.
    pub(crate) since: u64,
    /// The successor was told to stand.
    told: bool,
}

/// Why a change of membership was not begun. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipError {
    /// Ask `leader`; `None` while nobody is known to lead.
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// The leader is new and has not committed anything yet. Try again in a moment.
    NotReady,
    /// The change at `index` is not over. Try again when it is.
    InProgress {
        /// The index of the membership that is not committed, or is joint.
        index: Index,
    },
    /// Leadership is being handed over. Try again in a moment, wherever it went.
    Transferring,
    /// It is as wanted already.
    Unchanged,
    /// These lists cannot be a membership. Trying again will not help.
    Invalid(Invalid),
}

/// Why leadership cannot be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// Ask `leader`; `None` while nobody is known to lead.
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// The successor has no vote, or will not have one when the present change is over.
    NotVoter,
    /// It is on its way to another replica. Try again within an election timeout.
    InProgress {
        /// The other one.
        to: ReplicaId,
    },
}

impl Replica {
    /// Begins the change to these voters and learners, in any order, by any difference. The
    /// leader takes the second step, out of the joint membership, by itself. Watch [`Replica::membership`].
    pub fn change_membership(
        &mut self,
        voters: &[ReplicaId],
        learners: &[ReplicaId],
        ready: &mut Ready,
    ) -> Result<LogId, MembershipError> {
        self.stir();
        let State::Leader(leader) = &self.state else {
            return Err(MembershipError::NotLeader { leader: self.leader() });
        };
        if leader.transfer.is_some() {
            return Err(MembershipError::Transferring);
        }
        // A change that begins before a commit of this term could overlap one of a former leader (rule 6).
        if !self.has_committed_in_term() {
            return Err(MembershipError::NotReady);
        }
        if self.membership_index() > self.log.commit() || self.membership().is_joint() {
            return Err(MembershipError::InProgress { index: self.membership_index() });
        }
        let target = Membership::new(voters, learners).map_err(MembershipError::Invalid)?;
        if target == *self.membership() {
            return Err(MembershipError::Unchanged);
        }
        let next = self.membership().toward(&target);
        next.check().map_err(MembershipError::Invalid)?;
        let id = self.append_membership(next, ready);
        // With fewer voters, what was short of a majority may have one.
        self.advance_commit(ready);
        self.announce(ready);
        Ok(id)
    }

    /// A joint membership is left as soon as it is committed, which takes both its majorities (rule 6); whoever
    /// leads then does it, so a new leader does it for a former one.
    pub(crate) fn leave_joint_if_due(&mut self, ready: &mut Ready) {
        if self.membership().is_joint() && self.membership_index() <= self.log.commit() && self.has_committed_in_term()
        {
            let next = self.membership().without_outgoing();
            self.append_membership(next, ready);
            self.advance_commit(ready);
        }
    }

    fn append_membership(&mut self, membership: Membership, ready: &mut Ready) -> LogId {
        let id = self.append_own(EntryKind::Membership, membership.encode().into(), ready);
        self.adopt_membership(id.index, membership);
        id
    }

    /// A leader that the committed membership gives no vote has led the change to its end and goes, and lets the
    /// best of the others begin at once.
    pub(crate) fn resign_if_removed(&mut self, ready: &mut Ready) {
        let State::Leader(leader) = &self.state else { return };
        let votes = || self.membership().is_voter(self.options.id) || self.membership_index() > self.log.commit();
        // With these members, the usual ones, it votes: nothing more to look up.
        if leader.all_vote || votes() {
            return;
        }
        let voters = leader.peers.iter().filter(|(id, _)| self.membership().is_voter(**id));
        if let Some((&best, _)) = voters.max_by_key(|(_, peer)| peer.matched) {
            ready.send.push(self.message(best, Body::TimeoutNow));
        }
        self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
    }

    /// Hands leadership to `to`: proposals are refused until it has the whole log, then it is told to stand
    /// without waiting. Given up after an election timeout; then this replica leads on. Handing it
    /// to the leader itself is nothing.
    pub fn transfer_leadership(&mut self, to: ReplicaId, ready: &mut Ready) -> Result<(), TransferError> {
        self.stir();
        let known = self.leader();
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return Err(TransferError::NotLeader { leader: known }) };
        if to == self.options.id {
            return Ok(());
        }
        if self.memberships.current().voters.binary_search(&to).is_err() {
            return Err(TransferError::NotVoter);
        }
        match &leader.transfer {
            Some(transfer) if transfer.to != to => return Err(TransferError::InProgress { to: transfer.to }),
            Some(_) => {}
            None => leader.transfer = Some(Box::new(Transfer { to, since: now, told: false })),
        }
        self.hand_over_if_ready(ready);
        Ok(())
    }

    /// `to` will not lead: if leadership is on its way there, this replica leads on.
    pub fn call_off_transfer(&mut self, to: ReplicaId) {
        let State::Leader(leader) = &mut self.state else { return };
        leader.transfer.take_if(|transfer| transfer.to == to);
    }

    pub(crate) fn hand_over_if_ready(&mut self, ready: &mut Ready) {
        let last = self.log.last().index;
        let State::Leader(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to;
        if !transfer.told && leader.peers.get(&to).is_some_and(|peer| peer.matched == last) {
            transfer.told = true;
            leader.lease.give_up();
            ready.send.push(self.message(to, Body::TimeoutNow));
        }
    }
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MembershipError::NotLeader { leader: Some(leader) } => write!(f, "not the leader: {leader} is"),
            MembershipError::NotLeader { leader: None } => write!(f, "not the leader, and none is known"),
            MembershipError::NotReady => write!(f, "the leader is new and has committed nothing yet"),
            MembershipError::InProgress { index } => write!(f, "the change at {index} is not over"),
            MembershipError::Transferring => write!(f, "leadership is being handed over"),
            MembershipError::Unchanged => write!(f, "the membership is as wanted"),
            MembershipError::Invalid(invalid) => write!(f, "no membership: {invalid}"),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::NotLeader { leader: Some(leader) } => write!(f, "not the leader: {leader} is"),
            TransferError::NotLeader { leader: None } => write!(f, "not the leader, and none is known"),
            TransferError::NotVoter => write!(f, "the successor has no vote"),
            TransferError::InProgress { to } => write!(f, "leadership is on its way to {to}"),
        }
    }
}

impl std::error::Error for MembershipError {}
impl std::error::Error for TransferError {}
