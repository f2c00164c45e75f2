//! The start of a core: what journal and store hold is compared, replica by replica, before anything is promised.
//!
//! | case | journal and store | the replica |
//! |---|---|---|
//! | (a) | log start <= applied <= last, and the terms agree | whole: the journal replays the rest |
//! | (b) | the store is ahead and an install record names it | comes with snapshots; nothing installs any yet |
//! | (c) | the store is ahead without one, or the log is not provably complete | amnesiac: says nothing (rule 7) |
//! | (d) | the store is behind the log's start | hollow: votes and appends, never campaigns or serves |

use super::NodeFacts;
use super::journal_files;
use crate::store::{Store, StoreError, StoredReplica};
use engine_core::command::{self, ClientId, Command, Operation, SessionRef};
use engine_core::journal::{self, Journal, RecoveredReplica, ReplicaState};
use engine_core::placement::cores::core_of;
use engine_core::placement::map::{GroupEntry, MAP_GROUP};
use engine_core::shard::{GroupStart, Serving};
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{Index, ReplicaId, Term};
use raft::membership::Membership;
use raft::replica::Restored;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// Why a core cannot start. Nothing was promised, nothing was changed but what recovery itself writes.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The files cannot be read.
    #[error("cannot read the journal in {path}: {error}")]
    Io {
        /// The directory.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The bytes make no journal.
    #[error(
        "the journal in {path} cannot be recovered: {why}; restore the directory, or join as a new node with an empty one"
    )]
    Journal {
        /// The directory.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A core's state, ready to start.
#[derive(Debug)]
pub struct Recovered {
    /// The journal, its life record not yet written.
    pub journal: Journal,
    /// One start per replica of the core.
    pub starts: Vec<GroupStart>,
}

/// Recovers core `core`. `created`: its replicas have all been created before, so one that is missing is lost.
pub fn recover(
    facts: &NodeFacts,
    core: u16,
    directory: &Path,
    store: &Store,
    life: u64,
    created: bool,
) -> Result<Recovered, RecoveryError> {
    let path = directory.display().to_string();
    let segments =
        journal_files::read_all(directory).map_err(|error| RecoveryError::Io { path: path.clone(), error })?;
    let options = journal::Options { segment_bytes: facts.settings.journal.segment, ..journal::Options::default() };
    let recovered = journal::recover(options, life, segments)
        .map_err(|error| RecoveryError::Journal { path: path.clone(), why: error.to_string() })?;
    if let Some(damage) = &recovered.damage {
        tracing::error!(core, path, ?damage, "the journal is damaged below what was durable");
    }
    let mut journal = recovered.journal;
    let mut logs = recovered.replicas;
    let stored = store.replicas()?;
    let shards = facts.map.nodes[usize::from(facts.node)].shards;
    let mut starts = Vec::new();
    for group in facts.map.groups.iter().filter(|group| core_of(group.id, shards) == core) {
        let Some(replica) = facts.map.replica_on(group.id, facts.node) else { continue };
        let position = logs.iter().position(|log| log.state.group == group.id && log.state.replica == replica);
        let log = position.map(|position| logs.swap_remove(position));
        let held = stored.iter().find(|held| held.group == group.id && held.replica == replica);
        let (restored, serving) = match (log, held) {
            (None, None) if !created => {
                store.create_replica(group.id, replica, &founders(group).encode())?;
                (create(&mut journal, facts, group, replica), Serving::Whole)
            }
            (None, Some(held)) if !created && held.applied.index == Index(0) => {
                (create(&mut journal, facts, group, replica), Serving::Whole)
            }
            (None, _) => {
                tracing::error!(core, group = %group.id, "the log of this replica is gone; it says nothing any more");
                (nothing(group), Serving::Amnesiac)
            }
            (Some(log), held) => {
                if held.is_none() {
                    store.create_replica(group.id, replica, &log.state.membership)?;
                }
                compare(&path, log, held)?
            }
        };
        starts.push(GroupStart { group: group.id, replica, restored, serving, preferred: group.replicas[0] });
    }
    Ok(Recovered { journal, starts })
}

/// Decides the case of one replica.
fn compare(
    path: &str,
    log: RecoveredReplica,
    held: Option<&StoredReplica>,
) -> Result<(Restored, Serving), RecoveryError> {
    let group = log.state.group;
    let applied = held.map_or(LogId::default(), |held| held.applied);
    let (start, last) = (log.state.log_start, log.last.index);
    let sound = log.sound;
    let mut restored = restored(path, log)?;
    let serving = if !sound {
        tracing::error!(%group, "the log of this replica cannot be proved complete; it says nothing any more");
        Serving::Amnesiac
    } else if applied.index < start.index {
        tracing::error!(%group, applied = %applied.index, start = %start.index, "the store is behind the log; it waits for a snapshot");
        Serving::Hollow
    } else if applied.index > last || term_at(&restored, applied.index) != applied.term {
        tracing::error!(%group, applied = %applied.index, %last, "the store is ahead of the log; this replica says nothing any more");
        Serving::Amnesiac
    } else {
        Serving::Whole
    };
    restored.applied = if serving == Serving::Whole { applied.index } else { start.index };
    Ok((restored, serving))
}

fn restored(path: &str, log: RecoveredReplica) -> Result<Restored, RecoveryError> {
    let decode = |bytes: &[u8]| {
        Membership::decode(bytes).map_err(|error| RecoveryError::Journal {
            path: path.into(),
            why: format!("a membership of group {} cannot be read ({error})", log.state.group),
        })
    };
    let memberships = log.memberships.iter().map(|(index, bytes)| Ok((*index, decode(bytes)?)));
    Ok(Restored {
        hard_state: log.state.hard_state,
        log_start: log.state.log_start,
        membership: decode(&log.state.membership)?,
        memberships: memberships.collect::<Result<_, RecoveryError>>()?,
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
    Membership::new(&group.replicas, &[]).expect("a checked record gives every group replicas on different nodes")
}

/// A replica of the founding, with an empty log; the map group's log begins with the founding record.
fn create(journal: &mut Journal, facts: &NodeFacts, group: &GroupEntry, replica: ReplicaId) -> Restored {
    let membership = founders(group);
    // Every founder starts with the same first entry, as if a leader of term 1 had sent it to all.
    let first = (group.id == MAP_GROUP).then(|| founding_entry(facts));
    let term = Term(u64::from(first.is_some()));
    let hard_state = HardState { term, vote: None };
    let state = ReplicaState {
        group: group.id,
        replica,
        hard_state,
        log_start: LogId::default(),
        membership: membership.encode(),
    };
    journal.create_replica(state);
    let tail: Vec<Entry> = first.into_iter().collect();
    if !tail.is_empty() {
        journal.append(group.id, None, None, &tail);
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

fn founding_entry(facts: &NodeFacts) -> Entry {
    let command = Command {
        client: ClientId(0),
        sequence: 0,
        acknowledged: 0,
        session: SessionRef { group: MAP_GROUP, opened: Index(0) },
        operation: Operation::Found { record: facts.record.encode() },
    };
    let payload: Rc<[u8]> = command::encode(&command).into();
    Entry { term: Term(1), index: Index(1), kind: EntryKind::Command, payload }
}

/// What an amnesiac replica is restored from: nothing it could speak of.
fn nothing(group: &GroupEntry) -> Restored {
    Restored {
        hard_state: HardState::default(),
        log_start: LogId::default(),
        membership: founders(group),
        terms: Vec::new(),
        last: Index(0),
        memberships: Vec::new(),
        tail: Vec::new(),
        applied: Index(0),
    }
}
