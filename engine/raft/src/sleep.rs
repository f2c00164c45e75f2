//! A group with nothing to do sleeps, and what wakes it (rule 20).
//!
//! ```text
//!            idle for a while, host agrees               every member answered "asleep"
//!   awake ---------------------------------> attempt ------------------------------------> asleep
//!     ^                                         |  anything happens                           |
//!     '-----------------------------------------'<-- any other message, proposal, read, host --'
//! ```
//!
//! Asleep means that no tick is counted and nothing is sent. Nothing is safe because of time but what a lease rests on (rule 10),
//! and who counts no tick is only loyal for longer; waking gives the ticks back. That a sleeping group finds out when it has to
//! wake is the host's part, and the README says why that is enough.

use crate::follower::Follower;
use crate::ids::{Index, ReplicaId};
use crate::message::{Body, Message};
use crate::progress::{Fetching, Flow, Progress};
use crate::ready::Ready;
use crate::replica::{Replica, State};

/// What a leader must see unchanged for a while before it calls its group idle.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Calm {
    last: Index,
    asked: u64,
    /// The tick since which nothing has happened. Names the attempt that follows, too: it only grows.
    pub(crate) since: u64,
}

impl Replica {
    /// Whether it counts no ticks and says nothing until it is woken. The host need not tick it.
    pub fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Says whether this replica may fall asleep from now on: the host has nothing for it to do, and will wake it when
    /// it can no longer vouch for the nodes of the other members. Does not wake a replica that sleeps.
    pub fn set_may_sleep(&mut self, may_sleep: bool) {
        self.may_sleep = may_sleep;
    }

    /// Gives back the memory that entries under way have needed. The host calls it when the replica has fallen asleep.
    pub fn rest(&mut self) {
        self.log.shrink();
        if let State::Leader(leader) = &mut self.state {
            for peer in leader.peers.values_mut() {
                if let Flow::Replicate(inflight) = &mut peer.flow {
                    inflight.shrink();
                }
            }
        }
    }

    /// Ends its sleep, if it sleeps, after `passed` ticks of it. `silent` tells for how many ticks the node of a member has
    /// not been heard: that counts as the last sign of life of the member there. A leader sends entries or heartbeats
    /// with its next tick, a follower has what is left of its patience with the leader.
    pub fn wake(&mut self, passed: u64, silent: &dyn Fn(u16) -> u64) {
        if !std::mem::take(&mut self.asleep) {
            return;
        }
        self.timeouts.pass(passed);
        let now = self.timeouts.now();
        match &mut self.state {
            State::Follower(Follower { leader: Some(leader), .. }) => {
                // Its last word here may be later than the last sign of its node: what was promised then still holds.
                let heard = now.saturating_sub(silent(leader.node())).max(self.loyal_since.unwrap_or(0));
                self.loyal_since = Some(heard);
                self.timeouts.silent_for(now - heard);
            }
            State::Leader(leader) => {
                leader.calm.since = now;
                for (id, peer) in leader.peers.iter_mut() {
                    peer.heard = now.saturating_sub(silent(id.node()));
                    peer.asleep = None;
                }
            }
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => {}
        }
    }

    /// Something happened that the host has not woken it for: it goes on as if no time had passed.
    pub(crate) fn stir(&mut self) {
        self.wake(0, &|_| 0);
    }

    /// Leader, at a tick: whether the group has been idle for long enough to sleep.
    pub(crate) fn is_idle(&mut self) -> bool {
        let (now, last) = (self.timeouts.now(), self.log.last().index);
        let nothing_to_do = self.may_sleep && self.has_nothing_to_do();
        let idle_ticks = u64::from(self.options.idle_ticks);
        let State::Leader(leader) = &mut self.state else { return false };
        let asked = leader.reads.asked();
        if !nothing_to_do || leader.calm.last != last || leader.calm.asked != asked {
            leader.calm = Calm { last, asked, since: now };
        }
        nothing_to_do && now - leader.calm.since >= idle_ticks
    }

    /// Everything is committed, durable here and known to be everywhere; nobody waits, no change of any kind is open.
    fn has_nothing_to_do(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let (now, last) = (self.timeouts.now(), self.log.last().index);
        let election = u64::from(self.options.election_ticks);
        let has_all = |peer: &Progress| {
            let in_step = matches!(&peer.flow, Flow::Replicate(inflight) if inflight.is_empty());
            in_step && peer.matched == last && peer.fetching == Fetching::No && now - peer.heard < election
        };
        self.has_committed_in_term()
            && self.is_settled_at(last)
            && !self.membership().is_joint()
            && self.membership().is_voter(self.options.id)
            && leader.transfer.is_none()
            && leader.reads.len() == 0
            && leader.peers.values().all(has_all)
    }

    /// The log ends at `commit`, and all of it is committed and on this disk, as are term and vote.
    fn is_settled_at(&self, commit: Index) -> bool {
        let log = &self.log;
        log.last().index == commit
            && log.commit() == commit
            && log.durable() == commit
            && self.durable_hard_state == self.hard_state
    }

    /// Leader: asks everybody to sleep, in place of a heartbeat. A group of one sleeps at once.
    pub(crate) fn send_sleep(&mut self, ready: &mut Ready) {
        let (from, term, commit) = (self.options.id, self.hard_state.term, self.log.commit());
        let State::Leader(leader) = &mut self.state else { return };
        leader.beat = self.timeouts.now();
        let body = Body::Sleep { commit, attempt: leader.calm.since };
        for &to in leader.peers.keys() {
            ready.send.push(Message { from, to, term, body: body.clone() });
        }
        self.sleep_if_all_do();
    }

    /// Follower: the leader has nothing more to say.
    pub(crate) fn on_sleep(&mut self, from: ReplicaId, commit: Index, attempt: u64, ready: &mut Ready) {
        // It is a heartbeat in any case, and all that it says is that everybody has everything.
        if !self.hear_beat(from, commit, commit, ready) {
            return;
        }
        self.asleep = self.may_sleep && self.is_settled_at(commit);
        let body = if self.asleep { Body::Asleep { attempt } } else { Body::HeartbeatReply { round: 0 } };
        ready.send.push(self.message(from, body));
    }

    /// Leader: a member sleeps. Only an answer to the present attempt counts: it may have been woken since an earlier one.
    pub(crate) fn on_asleep(&mut self, from: ReplicaId, attempt: u64) {
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        peer.asleep = Some(attempt);
        self.sleep_if_all_do();
    }

    fn sleep_if_all_do(&mut self) {
        let idle = self.is_idle();
        let State::Leader(leader) = &self.state else { return };
        let since = leader.calm.since;
        if idle && leader.peers.values().all(|peer| peer.asleep == Some(since)) {
            self.asleep = true;
        }
    }
}
