//! Getting elected: first asking whether it would succeed (thesis 9.6), then the election (paper section 5.2).

use crate::entry::LogId;
use crate::ids::{ReplicaId, Term};
use crate::message::{Body, Message};
use crate::options::Options;
use crate::quorum::{self, VoteResult};
use crate::ready::Ready;
use crate::replica::{Become, Replica, State};
use std::collections::BTreeMap;

/// Asks whether it would be elected, still in its old term.
#[derive(Debug, Default)]
pub(crate) struct PreCandidate {
    pub(crate) votes: BTreeMap<ReplicaId, bool>,
}

/// Stands for election in its term.
#[derive(Debug, Default)]
pub(crate) struct Candidate {
    pub(crate) votes: BTreeMap<ReplicaId, bool>,
    /// The former leader asked for this election.
    pub(crate) transfer: bool,
}

impl Replica {
    /// The first act of a pre-candidate.
    pub(crate) fn ask_for_pre_votes(&mut self, ready: &mut Ready) {
        let term = Term(self.hard_state.term.0 + 1);
        let last = self.log.last();
        let from = self.options.id;
        for to in self.other_voters() {
            ready.send.push(Message { from, to, term, body: Body::PreVote { last } });
        }
        // Nothing is promised by a pre-vote, so its own counts at once.
        self.on_pre_vote_granted(from, term, ready);
    }

    /// The first act of a candidate. Its own vote counts, and the question leaves, only when its hard state is
    /// durable (rule 1): otherwise it could vote again in this term after a crash.
    pub(crate) fn ask_for_votes(&mut self, ready: &mut Ready) {
        let State::Candidate(candidate) = &self.state else { return };
        let body = Body::Vote { last: self.log.last(), transfer: candidate.transfer };
        for to in self.other_voters() {
            ready.send_after_persist.push(self.message(to, body.clone()));
        }
    }

    /// A candidate votes for itself as soon as its disk knows it.
    pub(crate) fn count_own_vote(&mut self, ready: &mut Ready) {
        if matches!(self.state, State::Candidate(_)) && self.durable_hard_state == self.hard_state {
            self.on_vote_reply(self.options.id, true, ready);
        }
    }

    pub(crate) fn on_pre_vote(&mut self, from: ReplicaId, term: Term, last: LogId, ready: &mut Ready) {
        let granted = term > self.hard_state.term && last >= self.log.last() && !self.hears_a_leader();
        let term = if granted { term } else { self.hard_state.term };
        ready.send.push(Message { from: self.options.id, to: from, term, body: Body::PreVoteReply { granted } });
    }

    pub(crate) fn on_pre_vote_granted(&mut self, from: ReplicaId, term: Term, ready: &mut Ready) {
        // An answer to an earlier attempt in the same term is as good: it promises nothing either.
        if term.0 == self.hard_state.term.0 + 1
            && let State::PreCandidate(pre_candidate) = &mut self.state
        {
            pre_candidate.votes.insert(from, true);
            self.settle_pre_vote(ready);
        }
    }

    pub(crate) fn on_pre_vote_refused(&mut self, from: ReplicaId, ready: &mut Ready) {
        if let State::PreCandidate(pre_candidate) = &mut self.state {
            pre_candidate.votes.entry(from).or_insert(false);
            self.settle_pre_vote(ready);
        }
    }

    fn settle_pre_vote(&mut self, ready: &mut Ready) {
        let State::PreCandidate(pre_candidate) = &self.state else { return };
        match quorum::vote_result(self.membership(), &|id| pre_candidate.votes.get(&id).copied()) {
            VoteResult::Pending => {}
            // While it asked, a snapshot may have shown that its removal is committed, or the host may have
            // taken back its leave to stand.
            VoteResult::Won if !self.can_lead() || self.is_loyal() => {
                self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
            }
            VoteResult::Won => {
                self.timeouts.supported();
                self.change_role(Become::Candidate { transfer: false }, ready);
            }
            VoteResult::Lost => {
                self.timeouts.refused();
                self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
            }
        }
    }

    /// Somebody stands for election in our term.
    ///
    /// A replica that is no voter in its own log answers, too: it may have been made one by an entry it
    /// lacks. Whether the vote counts, the candidate's membership decides.
    pub(crate) fn on_vote(&mut self, from: ReplicaId, last: LogId, transfer: bool, ready: &mut Ready) {
        let free = match self.hard_state.vote {
            Some(vote) => vote == from,
            // A leader of an earlier term may still rest on what this replica has confirmed (rule 10).
            None => self.leader().is_none() && (transfer || !self.is_loyal()),
        };
        let granted = free && last >= self.log.last();
        let reply = self.message(from, Body::VoteReply { granted });
        if !granted {
            ready.send.push(reply);
            return;
        }
        if self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            ready.hard_state = Some(self.hard_state);
        }
        if matches!(self.state, State::PreCandidate(_)) {
            self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
        }
        self.timeouts.draw();
        ready.send_after_persist.push(reply);
    }

    pub(crate) fn on_vote_reply(&mut self, from: ReplicaId, granted: bool, ready: &mut Ready) {
        let State::Candidate(candidate) = &mut self.state else { return };
        candidate.votes.entry(from).or_insert(granted);
        let State::Candidate(candidate) = &self.state else { return };
        match quorum::vote_result(self.membership(), &|id| candidate.votes.get(&id).copied()) {
            VoteResult::Pending => {}
            VoteResult::Won => self.change_role(Become::Leader, ready),
            VoteResult::Lost => {
                self.change_role(Become::Follower { term: self.hard_state.term, leader: None }, ready);
            }
        }
    }

    /// The leader wants us to succeed it (thesis 3.10): the pre-vote is skipped, it would be refused while it lives.
    pub(crate) fn on_timeout_now(&mut self, from: ReplicaId, ready: &mut Ready) {
        if matches!(self.state, State::Follower(_))
            && self.leader().is_none_or(|leader| leader == from)
            && self.can_lead()
        {
            self.change_role(Become::Candidate { transfer: true }, ready);
        }
    }

    fn other_voters(&self) -> Vec<ReplicaId> {
        let Options { id, .. } = self.options;
        self.membership().all_voters().into_iter().filter(|voter| *voter != id).collect()
    }
}
