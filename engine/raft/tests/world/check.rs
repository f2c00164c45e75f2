//! What must hold whatever happens. The checks look from outside: at views, at disks, at what was answered.

use super::disk::Disk;
use super::{Host, Reached};
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{Index, ReplicaId, Term};
use raft::message::{AppendReply, Body, Message};
use raft::quorum;
use raft::ready::Ready;
use raft::replica::{Replica, Role};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Checks {
    leaders: BTreeMap<Term, ReplicaId>,
    /// Every entry ever made, by its identity: no two differ (Log Matching).
    entries: BTreeMap<LogId, Entry>,
    /// Every committed index, its entry, and the term whose leader committed it.
    committed: BTreeMap<Index, (LogId, Term)>,
    /// How far each replica's log was looked at, in its present life.
    commits: BTreeMap<ReplicaId, Index>,
    lasts: BTreeMap<ReplicaId, LogId>,
    /// Open reads, whom they were asked of, and what was committed when they were asked.
    reads: BTreeMap<u64, (ReplicaId, Index)>,
}

impl Checks {
    pub fn read_asked(&mut self, id: ReplicaId, token: u64) {
        let committed = self.committed.last_key_value().map_or(Index(0), |(index, _)| *index);
        self.reads.insert(token, (id, committed));
    }

    pub fn crashed(&mut self, id: ReplicaId) {
        self.commits.remove(&id);
        self.lasts.remove(&id);
        // Whoever asked a replica that died gets no answer.
        self.reads.retain(|_, (of, _)| *of != id);
    }

    /// One replica, right after it was told something.
    pub fn replica(&mut self, replica: &Replica, ready: &Ready, reached: &mut Reached) {
        let id = replica.id();
        assert!(replica.applicable() <= replica.durable() && replica.commit() <= replica.last().index);
        assert!(replica.applied_index() <= replica.commit());
        let anomalies = replica.anomalies();
        let alarms = (anomalies.regressed_peers, anomalies.committed_conflicts, anomalies.second_leaders);
        assert_eq!(alarms, (0, 0, 0), "{id} raises an alarm: {anomalies:?}");
        assert_eq!((anomalies.malformed, anomalies.writes_unknown), (0, 0), "{id} was told nonsense: {anomalies:?}");
        for entry in &ready.entries {
            let first = self.entries.entry(entry.id()).or_insert_with(|| entry.clone());
            assert_eq!(first, entry, "two entries of one identity");
        }
        let last = self.lasts.insert(id, replica.last()).unwrap_or_default();
        if replica.term_of(last.index).is_some_and(|term| term != last.term) {
            reached.truncations += 1;
        }
        if replica.role() == Role::Leader && !self.leaders.contains_key(&replica.term()) {
            self.leaders.insert(replica.term(), id);
            reached.elections += 1;
            for (committed, term) in self.committed.values() {
                let has = replica.term_of(committed.index).is_none_or(|term| term == committed.term);
                let within = committed.index <= replica.last().index;
                assert!(
                    *term >= replica.term() || has && within,
                    "leader {id} of {} lacks {committed:?}",
                    replica.term()
                );
            }
        }
        if replica.role() == Role::Leader {
            assert_eq!(self.leaders[&replica.term()], id, "two leaders of term {}", replica.term());
        }
    }

    /// The group, right after `id` was told something.
    pub fn group(&mut self, hosts: &BTreeMap<ReplicaId, Host>, id: ReplicaId, reached: &mut Reached) {
        let host = &hosts[&id];
        let Some(replica) = &host.replica else { return };
        let durable = replica.durable();
        if let Some(term) = replica.term_of(durable)
            && durable > replica.log_start().index
        {
            assert!(host.disk.holds(LogId { term, index: durable }), "{id} takes {durable} for durable; it is not");
            let first =
                host.pending.iter().filter_map(|pending| pending.entries.first()).map(|entry| entry.index).min();
            assert!(
                first.is_none_or(|first| first > durable),
                "{id}: {first:?} will be replaced, yet {durable} counts"
            );
        }
        let from = self.commits.insert(id, replica.commit()).unwrap_or(replica.log_start().index);
        assert!(replica.commit() >= from, "{id}: commit fell from {from} to {}", replica.commit());
        for index in (from.0 + 1..=replica.commit().0).map(Index) {
            let Some(term) = replica.term_of(index) else { continue };
            let entry = LogId { term, index };
            match self.committed.get(&index) {
                Some((first, _)) => assert_eq!(*first, entry, "{id} commits another entry at {index}"),
                None => self.first_commit(hosts, replica, entry, reached),
            }
        }
    }

    /// A message leaves a host: if it promises something, the disk holds it (rule 1).
    pub fn promise(&self, disk: &Disk, message: &Message) {
        let kept = match &message.body {
            Body::VoteReply { granted: true } => {
                let promised = HardState { term: message.term, vote: Some(message.to) };
                disk.hard_state == promised || disk.hard_state.term > message.term
            }
            Body::Vote { .. } => {
                let promised = HardState { term: message.term, vote: Some(message.from) };
                disk.hard_state == promised || disk.hard_state.term > message.term
            }
            Body::AppendReply(AppendReply::Accepted { matched }) => *matched <= disk.last().index,
            _ => true,
        };
        assert!(kept, "{message:?} leaves, and the disk has {:?} and a log up to {:?}", disk.hard_state, disk.last());
    }

    /// Somebody is the first to say that `entry` is committed: then it would survive all of a minority's disks.
    fn first_commit(
        &mut self,
        hosts: &BTreeMap<ReplicaId, Host>,
        leader: &Replica,
        entry: LogId,
        reached: &mut Reached,
    ) {
        assert_eq!(leader.role(), Role::Leader, "{} knows of a commit before any leader does", leader.id());
        let holds = |id| hosts.get(&id).is_some_and(|host| host.disk.holds(entry));
        // The membership may be a newer one than the one that counted, so only those that had to agree are asked.
        let membership = leader.membership_at(entry.index.max(leader.log_start().index));
        let safe = quorum::is_quorum(membership, &holds) || quorum::is_quorum(leader.membership(), &holds);
        assert!(safe, "{entry:?} counts as committed by {}, but no quorum of {membership:?} holds it", leader.id());
        reached.commits += 1;
        reached.memberships +=
            u64::from(self.entries.get(&entry).is_some_and(|entry| entry.kind == EntryKind::Membership));
        self.committed.insert(entry.index, (entry, leader.term()));
    }

    /// What a host is about to tell its clients.
    pub fn answers(&mut self, replica: &Replica, ready: &Ready, reached: &mut Reached) {
        for read in &ready.reads {
            reached.reads += 1;
            let Some((id, committed)) = self.reads.remove(&read.token) else {
                panic!("{} answers {read:?}, which nobody waits for", replica.id());
            };
            assert!(id == replica.id() && read.index >= committed, "{id}: {read:?}, yet {committed} was committed");
        }
        for token in &ready.reads_failed {
            reached.reads_failed += 1;
            assert!(self.reads.remove(token).is_some(), "{} fails read {token}, which nobody waits for", replica.id());
        }
    }

    pub fn assert_all_reads_answered(&self) {
        assert!(self.reads.is_empty(), "reads {:?} are neither confirmed nor failed", self.reads);
    }
}
