//! The start of a core: what its journal and its store hold is compared, replica by replica, before anything is promised.
//!
//! | case | journal and store | the replica |
//! |---|---|---|
//! | (a) | log start <= applied <= last, and the terms agree | whole: the journal replays the rest |
//! | (b) | the store is ahead, or its term differs, and an install record names it | whole: the log restarts there, empty |
//! | (c) | the store is ahead without one, or the log is not provably complete | amnesiac: says nothing (rule 7) |
//! | (d) | the store is behind the log's start | hollow: votes and appends, never campaigns or serves |
//!
//! Pure: the host has read the journal's files and asked the store, and carries out what comes back. The
//! simulation starts its nodes with the same lines.

use crate::command::{self, ClientId, Command, Operation, SessionRef};
use crate::journal::{Journal, RecoveredReplica, ReplicaState};
use crate::placement::cores::core_of;
use crate::placement::founding::FoundingRecord;
use crate::placement::map::{ClusterMap, GroupEntry, MAP_GROUP};
use crate::shard::{GroupStart, Serving};
use crate::state_machine::StoredReplica;
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::membership::{DecodeError, Membership};
use raft::replica::Restored;

/// Which core starts, and in which cluster.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The map the node starts with.
    pub map: &'a ClusterMap,
    /// The record the cluster was formed with.
    pub record: &'a FoundingRecord,
    /// The number of the node.
    pub node: u16,
    /// The number of the core.
    pub core: u16,
    /// The replicas this node started with have all been created here before, so one that is missing is lost.
    pub created: bool,
}

/// How a core starts.
#[derive(Debug)]
pub struct Starts {
    /// One per replica of the core, by group.
    pub groups: Vec<GroupStart>,
    /// Replicas the store must create, synced, before anything of the journal's new life is written.
    pub create: Vec<NewReplica>,
    /// What the operator must hear of, by group.
    pub findings: Vec<(GroupId, Finding)>,
}

/// A replica that the journal has, or has just been given, and the store has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReplica {
    /// Its group.
    pub group: GroupId,
    /// Its id.
    pub replica: ReplicaId,
    /// The membership it starts from, encoded.
    pub membership: Vec<u8>,
}

/// Why a replica does not start whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The journal has nothing of it, though it was created: amnesiac.
    #[error("the log of this replica is gone; it says nothing any more")]
    LogGone,
    /// The journal was damaged where it may have held something of it: amnesiac.
    #[error("the log of this replica cannot be proved complete; it says nothing any more")]
    LogDoubtful,
    /// The store has applied what the journal does not hold: amnesiac.
    #[error("the store ({applied:?}) is ahead of the log ({last:?}); this replica says nothing any more")]
    StoreAhead {
        /// What the store has applied.
        applied: LogId,
        /// The last entry of the log.
        last: LogId,
    },
    /// The store lacks entries that the journal has dropped: hollow.
    #[error("the store ({applied}) is behind the log ({start}); this replica waits for a snapshot")]
    StoreBehind {
        /// What the store has applied.
        applied: Index,
        /// The entry before the first of the log.
        start: Index,
    },
}

/// Why a core cannot start. Nothing was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The journal vouches for the bytes of a membership that cannot be read: another version wrote them. Start that one.
    Membership {
        /// The group.
        group: GroupId,
        /// What is wrong with the bytes.
        why: DecodeError,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StartError::Membership { group, why } = self;
        write!(f, "a membership of group {group} cannot be read ({why})")
    }
}

impl std::error::Error for StartError {}

/// Decides how every replica of a core starts, from the `logs` its journal was recovered with and what is `stored`.
/// Replicas that were never created are created in `journal`.
pub fn start(
    place: Place<'_>,
    journal: &mut Journal,
    mut logs: Vec<RecoveredReplica>,
    stored: &[StoredReplica],
) -> Result<Starts, StartError> {
    let shards = place.map.nodes[usize::from(place.node)].shards;
    let founded = ClusterMap::founded(place.record);
    let mut starts = Starts { groups: Vec::new(), create: Vec::new(), findings: Vec::new() };
    for entry in place.map.groups.iter().filter(|entry| core_of(entry.id, shards) == place.core) {
        let group = entry.id;
        let Some(replica) = place.map.replica_on(group, place.node) else { continue };
        let position = logs.iter().position(|log| log.state.group == group && log.state.replica == replica);
        let log = position.map(|position| logs.swap_remove(position));
        let held = stored.iter().find(|held| held.group == group && held.replica == replica);
        let never_ran = !place.created && held.is_none_or(|held| held.applied.index == Index(0));
        let new = log.is_none() && never_ran;
        let (restored, serving, finding) = match log {
            Some(log) => {
                if held.is_none() {
                    starts.create.push(NewReplica { group, replica, membership: log.state.membership.clone() });
                }
                match installed(&log, held) {
                    Some(held) => (restart(journal, &log, held)?, Serving::Whole, None),
                    None => compare(log, held.map_or(LogId::default(), |held| held.applied))?,
                }
            }
            None if never_ran => {
                // What was in force before the first entry. A replica that replaces a lost one begins there like any other, is
                // no member until an entry says so, and is sent what the others have.
                let membership = founded.group(group).map_or(Membership::default(), founders);
                if held.is_none() {
                    starts.create.push(NewReplica { group, replica, membership: membership.encode() });
                }
                let first = group == MAP_GROUP && replica.generation() == 0;
                (create(journal, first.then_some(place.record), group, replica, membership), Serving::Whole, None)
            }
            None => (nothing(), Serving::Amnesiac, Some(Finding::LogGone)),
        };
        starts.findings.extend(finding.map(|finding| (group, finding)));
        starts.groups.push(GroupStart { group, replica, restored, serving, preferred: entry.replicas[0], new });
    }
    Ok(starts)
}

/// Case (b): the store switched to a snapshot, and the journal never heard of it. Nothing was applied since: that waits
/// for the journal.
fn installed<'a>(log: &RecoveredReplica, held: Option<&'a StoredReplica>) -> Option<&'a StoredReplica> {
    let held = held.filter(|held| log.sound && held.installed == Some(held.applied))?;
    let start = log.state.log_start;
    let run = log.terms.iter().rev().find(|(first, _)| *first <= held.applied.index);
    let term = if held.applied.index == start.index { start.term } else { run.map_or(Term(0), |(_, term)| *term) };
    let explained =
        held.applied.index < start.index || held.applied.index <= log.last.index && term == held.applied.term;
    (!explained).then_some(held)
}

/// The log restarts after what the snapshot covers. What it held is covered, too, or contradicts what was committed there.
fn restart(journal: &mut Journal, log: &RecoveredReplica, held: &StoredReplica) -> Result<Restored, StartError> {
    let group = held.group;
    let membership = Membership::decode(&held.membership).map_err(|why| StartError::Membership { group, why })?;
    journal.append(group, None, Some((held.applied, &held.membership)), &[]);
    Ok(Restored {
        hard_state: log.state.hard_state,
        log_start: held.applied,
        membership,
        terms: Vec::new(),
        last: held.applied.index,
        memberships: Vec::new(),
        tail: Vec::new(),
        applied: held.applied.index,
    })
}

/// Decides the case of one replica.
fn compare(log: RecoveredReplica, applied: LogId) -> Result<(Restored, Serving, Option<Finding>), StartError> {
    let (start, last, sound) = (log.state.log_start, log.last, log.sound);
    let mut restored = restored(log)?;
    let (serving, finding) = if !sound {
        (Serving::Amnesiac, Some(Finding::LogDoubtful))
    } else if applied.index < start.index {
        (Serving::Hollow, Some(Finding::StoreBehind { applied: applied.index, start: start.index }))
    } else if applied.index > last.index || term_at(&restored, applied.index) != applied.term {
        (Serving::Amnesiac, Some(Finding::StoreAhead { applied, last }))
    } else {
        (Serving::Whole, None)
    };
    restored.applied = if serving == Serving::Whole { applied.index } else { start.index };
    Ok((restored, serving, finding))
}

fn restored(log: RecoveredReplica) -> Result<Restored, StartError> {
    let group = log.state.group;
    let decode = |bytes: &[u8]| Membership::decode(bytes).map_err(|why| StartError::Membership { group, why });
    let memberships = log.memberships.iter().map(|(index, bytes)| Ok((*index, decode(bytes)?)));
    Ok(Restored {
        hard_state: log.state.hard_state,
        log_start: log.state.log_start,
        membership: decode(&log.state.membership)?,
        memberships: memberships.collect::<Result<_, StartError>>()?,
        terms: log.terms,
        last: log.last.index,
        tail: log.tail,
        applied: Index(0),
    })
}

fn term_at(restored: &Restored, index: Index) -> Term {
    if index == restored.log_start.index {
        return restored.log_start.term;
    }
    let run = restored.terms.iter().rev().find(|(first, _)| *first <= index);
    run.map_or(Term(0), |(_, term)| *term)
}

fn founders(group: &GroupEntry) -> Membership {
    Membership::new(&group.replicas, &[]).expect("the map names every replica of a group once")
}

/// A replica with an empty log; that of a founder of the map group begins with the founding `record`.
fn create(
    journal: &mut Journal,
    record: Option<&FoundingRecord>,
    group: GroupId,
    replica: ReplicaId,
    membership: Membership,
) -> Restored {
    // Every founder starts with the same first entry, as if a leader of term 1 had sent it to all.
    let first = record.map(founding_entry);
    let hard_state = HardState { term: Term(u64::from(first.is_some())), vote: None };
    journal.create_replica(ReplicaState {
        group,
        replica,
        hard_state,
        log_start: LogId::default(),
        membership: membership.encode(),
    });
    let tail: Vec<Entry> = first.into_iter().collect();
    if !tail.is_empty() {
        journal.append(group, None, None, &tail);
    }
    Restored {
        hard_state,
        log_start: LogId::default(),
        membership,
        terms: tail.iter().map(|entry| (entry.index, entry.term)).collect(),
        last: Index(tail.len() as u64),
        memberships: Vec::new(),
        tail,
        applied: Index(0),
    }
}

fn founding_entry(record: &FoundingRecord) -> Entry {
    let command = Command {
        client: ClientId(0),
        sequence: 0,
        acknowledged: 0,
        session: SessionRef { group: MAP_GROUP, opened: Index(0) },
        operation: Operation::Found { record: record.encode() },
    };
    let payload = command::encode(&command).into();
    Entry { term: Term(1), index: Index(1), kind: EntryKind::Command, payload }
}

/// What an amnesiac replica is restored from: nothing it could speak of.
fn nothing() -> Restored {
    Restored {
        hard_state: HardState::default(),
        log_start: LogId::default(),
        membership: Membership::default(),
        terms: Vec::new(),
        last: Index(0),
        memberships: Vec::new(),
        tail: Vec::new(),
        applied: Index(0),
    }
}
