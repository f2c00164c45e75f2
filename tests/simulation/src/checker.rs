//! What must hold after every step, looked at from outside of the code that is tested.
//!
//! The checker keeps its own account of what every replica was told to make durable and what was promised
//! to be, of every entry ever written and of every entry ever committed. It believes nothing that a replica says of itself but what
//! it sends, what it hands to its store, and what it claims to be committed.

use crate::account::Account;
use crate::canon::Canon;
use crate::happening::Place;
use crate::totals::Totals;
use crate::world::{Checked, Violation};
use engine_core::journal::RecoveredReplica;
use engine_core::shard::{Effects, GroupStart, Serving, Shard};
use engine_core::snapshot::Header;
use engine_core::state_machine::AppliedRun;
use raft::Replica;
use raft::entry::LogId;
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::{AppendReply, Body, Message};
use raft::replica::Role;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Checker {
    groups: BTreeMap<GroupId, Group>,
    replicas: BTreeMap<(u16, GroupId), Watched>,
    /// What every journal was told and has promised.
    account: Account,
    /// Nodes with a replica that has just become leader.
    pub new_leaders: Vec<u16>,
    /// Operations that were given up though all faults were over.
    pub starved: u64,
}

#[derive(Debug, Default)]
struct Group {
    canon: Canon,
    leaders: BTreeMap<Term, ReplicaId>,
    votes: BTreeMap<(ReplicaId, Term), ReplicaId>,
}

/// A replica in one life of its process.
#[derive(Debug)]
struct Watched {
    commit: Index,
    term: Term,
    handed: Index,
    applied: LogId,
    leads: Option<Term>,
    asleep: bool,
}

impl Checker {
    /// A journal was recovered: it must hold everything it has promised.
    pub fn recovered(&mut self, node: u16, replicas: &[RecoveredReplica]) -> Checked {
        for replica in replicas {
            if !replica.sound {
                return Err(Violation(format!("node {node} group {}: the log is not sound", replica.state.group)));
            }
            self.account.kept(node, replica)?;
        }
        Ok(())
    }

    /// A core starts; what its journal recovered is promised with `batch`.
    pub fn starts(&mut self, place: Place, batch: u64, starts: &[GroupStart]) {
        for start in starts {
            assert_ne!(start.serving, Serving::Amnesiac);
            let restored = &start.restored;
            self.account.starts(place, start.group, batch, restored);
            self.replicas.insert(
                (place.node, start.group),
                Watched {
                    commit: restored.applied,
                    term: restored.hard_state.term,
                    handed: restored.applied,
                    applied: LogId::default(),
                    leads: None,
                    asleep: false,
                },
            );
        }
    }

    /// The store has switched to a snapshot.
    pub fn installed(&mut self, place: Place, header: &Header) {
        let watched = self.watched(place, header.group);
        watched.handed = header.last.index;
        watched.applied = header.last;
    }

    /// A process has ended.
    pub fn ended(&mut self, node: u16) {
        self.replicas.retain(|(of, _), _| *of != node);
    }

    /// The disks of a node are gone, and with them everything it had promised under its ids.
    pub fn wiped(&mut self, node: u16) {
        self.account.wiped(node);
    }

    /// The journal promises everything up to `batch`.
    pub fn promised(&mut self, place: Place, batch: u64) {
        self.account.promised(place, batch);
    }

    /// The store has applied runs: in order, and nothing that was not handed to it.
    pub fn applied(&mut self, place: Place, runs: &[AppliedRun]) -> Checked {
        for run in runs {
            let watched = self.watched(place, run.group);
            if run.applied.index > watched.handed || run.applied.index <= watched.applied.index {
                let (group, applied) = (run.group, run.applied);
                return Err(Violation(format!("node {} group {group}: applied {applied:?} out of turn", place.node)));
            }
            watched.applied = run.applied;
        }
        Ok(())
    }

    /// What a group was told to persist in this turn lies in `batch`.
    pub fn lies_in(&mut self, place: Place, group: GroupId, batch: u64) {
        self.account.lies_in(place, group, batch);
    }

    /// A turn of a core has ended in `effects`, which are not carried out yet.
    pub fn turn(&mut self, place: Place, shard: &Shard, effects: &Effects, totals: &mut Totals) -> Checked {
        for (group, message) in &effects.messages {
            self.message(place, *group, message, totals)?;
        }
        for persist in &effects.persist {
            let replica = shard.replica(persist.group).expect("it persists");
            if let Some(first) = persist.entries.first() {
                let before = replica.term_of(first.index.prev()).unwrap_or_default();
                self.group(persist.group).canon.written(persist.group, before, &persist.entries)?;
            }
            if self.account.told(place, persist) {
                totals.count("truncations");
            }
        }
        for view in shard.views() {
            let replica = shard.replica(view.group).expect("it has a view");
            self.replica(place, view.group, replica, totals)?;
        }
        for run in &effects.apply {
            let watched = self.watched(place, run.group);
            let first = run.entries.first().map_or(Index(0), |entry| entry.index);
            if first != watched.handed.next() {
                return Err(Violation(format!(
                    "node {} group {}: {first} is applied out of order",
                    place.node, run.group
                )));
            }
            watched.handed = run.entries.last().expect("there is a first").index;
            let commit = watched.commit;
            self.account.may_apply(place, run.group, &run.entries, commit)?;
            let canon = &mut self.group(run.group).canon;
            for entry in &run.entries {
                canon.applied(run.group, entry.id(), entry.kind, &entry.payload)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, place: Place, id: GroupId, message: &Message, totals: &mut Totals) -> Checked {
        let Message { from, to, term, body } = message;
        match body {
            Body::VoteReply { granted: true } => {
                self.account.may_vote(place, id, *term, *to)?;
                self.vote(id, *from, *term, *to)
            }
            Body::Vote { .. } => {
                self.account.may_vote(place, id, *term, *from)?;
                self.vote(id, *from, *term, *from)
            }
            Body::AppendReply(AppendReply::Accepted { matched }) => self.account.may_accept(place, id, *term, *matched),
            Body::AppendReply(AppendReply::Rejected { .. }) => {
                totals.count("conflicts");
                Ok(())
            }
            Body::TimeoutNow => {
                totals.count("leaderships handed over");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Nobody votes twice in a term, whatever it has forgotten.
    fn vote(&mut self, id: GroupId, voter: ReplicaId, term: Term, candidate: ReplicaId) -> Checked {
        let first = *self.group(id).votes.entry((voter, term)).or_insert(candidate);
        match first == candidate {
            true => Ok(()),
            false => {
                Err(Violation(format!("group {id}: {voter} voted for {first} and for {candidate} in term {term}")))
            }
        }
    }

    fn replica(&mut self, place: Place, id: GroupId, replica: &Replica, totals: &mut Totals) -> Checked {
        let node = place.node;
        let watched = self.replicas.get_mut(&(node, id)).expect("a replica that runs is watched");
        let group = self.groups.entry(id).or_default();
        let (commit, term) = (replica.commit(), replica.term());
        if std::mem::replace(&mut watched.asleep, replica.is_asleep()) != replica.is_asleep() {
            totals.count(if replica.is_asleep() { "replicas that fell asleep" } else { "replicas that woke" });
            if replica.is_asleep() && replica.role() == Role::Leader {
                totals.count("groups put to sleep");
            }
        }
        if commit < watched.commit || term < watched.term {
            let (was, then) = (watched.commit, watched.term);
            return Err(Violation(format!("node {node} group {id}: commit {was} to {commit}, term {then} to {term}")));
        }
        for index in watched.commit.0 + 1..=commit.0 {
            let index = Index(index);
            let Some(at) = replica.term_of(index) else { continue };
            group.canon.committed(id, LogId { term: at, index }, term, node)?;
        }
        (watched.commit, watched.term) = (commit, term);
        if replica.role() != Role::Leader {
            watched.leads = None;
            return Ok(());
        }
        if watched.leads == Some(term) {
            return Ok(());
        }
        watched.leads = Some(term);
        totals.count("leader changes");
        self.new_leaders.push(node);
        let leader = *group.leaders.entry(term).or_insert(replica.id());
        if leader != replica.id() {
            return Err(Violation(format!("group {id}: {leader} and {} both lead term {term}", replica.id())));
        }
        group.canon.complete(id, replica)
    }

    /// How many entries of a group were ever committed.
    pub fn committed(&self, group: GroupId) -> Index {
        self.groups.get(&group).map_or(Index(0), |group| group.canon.last())
    }

    fn group(&mut self, id: GroupId) -> &mut Group {
        self.groups.entry(id).or_default()
    }

    fn watched(&mut self, place: Place, id: GroupId) -> &mut Watched {
        self.replicas.get_mut(&(place.node, id)).expect("a replica that runs is watched")
    }
}
