//! Taking what a leader says into the log, and nothing a leader of an older term says.

use crate::entry::{Entries, EntryKind, LogId};
use crate::ids::{Index, ReplicaId};
use crate::membership::Membership;
use crate::message::{AppendReply, Body};
use crate::payload::Payload;
use crate::ready::Ready;
use crate::replica::{Become, Replica, State};

/// Follows a leader, if it knows one.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    pub(crate) leader: Option<ReplicaId>,
    /// The highest index that every member holds durably, as the leader of this term told.
    pub(crate) settled: Index,
}

impl Replica {
    /// A message of the present term that only its leader sends. False if it is not to be believed.
    pub(crate) fn follow(&mut self, from: ReplicaId, ready: &mut Ready) -> bool {
        match &self.state {
            State::Leader(_) => {
                self.anomalies.second_leaders += 1;
                return false;
            }
            State::Follower(Follower { leader: Some(leader), .. }) => {
                if *leader != from {
                    self.anomalies.second_leaders += 1;
                    return false;
                }
            }
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => {
                self.change_role(Become::Follower { term: self.hard_state.term, leader: Some(from) }, ready);
            }
        }
        self.hear_leader();
        true
    }

    /// The leader that this replica follows lives, and will find it loyal for a while (rule 10). The host says so too, when it
    /// confirms to that leader that it [`Replica::follows`].
    pub fn hear_leader(&mut self) {
        self.loyal_since = Some(self.timeouts.now());
        self.timeouts.heard_leader();
    }

    /// AppendEntries (paper section 5.3).
    pub(crate) fn on_append(
        &mut self,
        from: ReplicaId,
        prev: LogId,
        commit: Index,
        mut entries: Entries,
        ready: &mut Ready,
    ) {
        if !self.follow(from, ready) {
            return;
        }
        // What lies before our start is committed, so any leader's log has the same there.
        if prev.index >= self.log.start().index && !self.log.contains(prev) {
            if prev.index <= self.log.commit() {
                self.anomalies.committed_conflicts += 1;
                return;
            }
            let hint = self.log.last_at_most(prev.index, prev.term).unwrap_or(self.log.start());
            let reply = AppendReply::Rejected { prev: prev.index, hint, last: self.log.last().index };
            ready.send.push(self.message(from, Body::AppendReply(reply)));
            return;
        }
        let matched = Index(prev.index.0 + entries.len() as u64);
        let start = self.log.start().index;
        let known = entries.iter().take_while(|entry| entry.index < start || self.log.contains(entry.id())).count();
        let last_known = entries.drain(..known).rfind(|entry| !entry.payload.is_empty());
        // What comes again and again while the disk stands still must not keep what is known with what is new.
        for entry in entries.iter_mut().filter(|entry| !entry.payload.is_empty()) {
            if !last_known.as_ref().is_some_and(|last| entry.payload.lies_with(&last.payload)) {
                break;
            }
            entry.payload = Payload::from(&*entry.payload);
        }
        if let Some(first) = entries.first()
            && first.index <= self.log.commit()
        {
            // A sound leader has every committed entry. To obey would lose one (rule 4), to die would
            // let one bad peer stop the group: refuse, and let the host raise the alarm.
            self.anomalies.committed_conflicts += 1;
            return;
        }
        self.take(entries, ready);
        self.follow_commit(commit.min(matched));
        // Even when nothing was new, it may still be on its way to the disk (rule 1).
        let reply = AppendReply::Accepted { matched };
        ready.send_after_persist.push(self.message(from, Body::AppendReply(reply)));
    }

    /// Puts entries of a leader into the log, over whatever contradicts the first of them.
    fn take(&mut self, entries: Entries, ready: &mut Ready) {
        let Some(first) = entries.first() else { return };
        self.memberships.truncate(first.index);
        let memberships: Vec<(Index, Membership)> = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Membership)
            .filter_map(|entry| Some((entry.index, Membership::decode(&entry.payload).ok()?)))
            .collect();
        self.log.append(entries, ready);
        for (index, membership) in memberships {
            self.adopt_membership(index, membership);
        }
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        from: ReplicaId,
        commit: Index,
        round: u64,
        settled: Index,
        ready: &mut Ready,
    ) {
        if self.hear_beat(from, commit, settled, ready) {
            ready.send.push(self.message(from, Body::HeartbeatReply { round }));
        }
    }

    /// What every kind of heartbeat says. False if it is not to be believed.
    pub(crate) fn hear_beat(&mut self, from: ReplicaId, commit: Index, settled: Index, ready: &mut Ready) -> bool {
        if !self.follow(from, ready) {
            return false;
        }
        if let State::Follower(follower) = &mut self.state {
            follower.settled = follower.settled.max(settled);
        }
        // The leader bounds it by what it knows to match here.
        self.follow_commit(commit.min(self.log.last().index));
        true
    }

    /// A read round of a leader: whoever follows it says so.
    pub(crate) fn on_ask(&mut self, from: ReplicaId, round: u64, ready: &mut Ready) {
        if self.follow(from, ready) {
            ready.send.push(self.message(from, Body::HeartbeatReply { round }));
        }
    }

    fn follow_commit(&mut self, commit: Index) {
        if commit > self.log.commit() {
            self.log.commit_to(commit);
        }
    }

    /// A message of a term that is over. Its sender is told, if it believes to lead or wants to: a leader that is
    /// cut off from what has happened since would otherwise never learn of it.
    pub(crate) fn on_old_term(&mut self, from: ReplicaId, body: Body, ready: &mut Ready) {
        let answer = match body {
            Body::Append { prev, .. } => {
                let last = self.log.last().index;
                Body::AppendReply(AppendReply::Rejected { prev: prev.index, hint: LogId::default(), last })
            }
            Body::Heartbeat { .. } | Body::Ask { .. } | Body::Sleep { .. } | Body::SnapshotOffer { .. } => {
                Body::HeartbeatReply { round: 0 }
            }
            Body::Vote { .. } => Body::VoteReply { granted: false },
            Body::PreVoteReply { granted: false } => return self.on_pre_vote_refused(from, ready),
            _ => return,
        };
        ready.send.push(self.message(from, answer));
    }
}
