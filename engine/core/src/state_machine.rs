//! What committed entries do to a group's data, the same on every replica.
//!
//! [`apply_run`] is given entries in log order and a [`Space`]: the group's data, sessions and few facts about it, as
//! they are when all entries before have been applied. The store implements it over tables in memory and RocksDB,
//! [`model::Model`] over maps. Nothing here depends on time, chance, settings or the machine: two
//! replicas with the same log have the same data, the same sessions and would give the same answers.
//!
//! Lives on the core. Knows nothing of bytes on a disk.

use crate::command::{
    self, ArchivedBatchOperation, ArchivedCommand, ArchivedOperation, CommandError, Outcome, RefusedBecause,
};
use crate::placement::map::{FOUNDING_EPOCH, MAP_GROUP};
use crate::sessions::{SESSIONS_EVICTED_AT_ONCE, SESSIONS_MAX, Session, SessionKey};
use raft::entry::{Entry, EntryKind};
use raft::ids::{GroupId, Index};

mod map_record;
pub mod model;
mod run;
mod view;

pub use map_record::MapRecord;
pub use run::{AppliedRun, ApplyRun, Applying, OUTCOME_BYTES_MAX};
pub use view::{Checksum, Hasher, Page, PageBuilder, StoredReplica};

/// The state of one group as entries change it. What it writes refers to the run it is written from (`'a`).
pub trait Space<'a> {
    /// Why the state cannot be read: the node stops.
    type Error;

    /// The node must stop: a later version of this program has put a command into the log that this one does not know.
    fn unknown(&self, index: Index, why: CommandError) -> Self::Error;

    /// The value of a key.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Sets a key. Must not read.
    fn put(&mut self, key: &'a [u8], value: &'a [u8]);
    /// Removes a key, which need not be there. Must not read.
    fn delete(&mut self, key: &'a [u8]);

    /// A session, to be changed.
    fn session(&mut self, key: SessionKey) -> Result<Option<&mut Session>, Self::Error>;
    /// Adds a session that is not there.
    fn add_session(&mut self, key: SessionKey, session: Session) -> Result<(), Self::Error>;
    /// Removes a session that is there.
    fn remove_session(&mut self, key: SessionKey) -> Result<(), Self::Error>;
    /// How many sessions there are.
    fn session_count(&self) -> usize;
    /// All sessions with the entry that used them last, in any order.
    fn session_uses(&mut self) -> Result<Vec<(Index, SessionKey)>, Self::Error>;

    /// Keeps the membership in force from this entry on.
    fn set_membership(&mut self, membership: &'a [u8]);
    /// The founding record of the cluster.
    fn founding_record(&mut self) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Keeps the founding record.
    fn set_founding_record(&mut self, record: &'a [u8]);
    /// The epoch of the cluster map; `None` while it is that of the founding.
    fn map_epoch(&mut self) -> Result<Option<u64>, Self::Error>;
    /// Keeps the cluster map of an epoch.
    fn set_map(&mut self, epoch: u64, map: &'a [u8]);
}

/// Applies what is left of a run to the space of its group. The run must continue where `done` stands.
///
/// An error leaves the space as it is before the entry that needed what cannot be read, but for marks in its session that
/// setting again does not change: the same call goes on there once it can be read. Keeping `done.applied` is up to the caller, in the
/// same atomic write as everything else.
pub fn apply_run<'a, S: Space<'a>>(space: &mut S, run: &'a ApplyRun, done: &mut Applying) -> Result<(), S::Error> {
    if run.answer && done.outcomes.is_empty() {
        done.outcomes.reserve(run.entries.len());
    }
    while let Some(entry) = run.entries.get(done.entries) {
        assert!(
            entry.index == done.applied.index.next() && entry.term >= done.applied.term,
            "group {}: entry {:?} cannot be applied after {:?}",
            run.group,
            entry.id(),
            done.applied,
        );
        match entry.kind {
            EntryKind::Noop => {}
            EntryKind::Membership => space.set_membership(&entry.payload),
            EntryKind::Command => {
                let outcome = apply(space, run.group, entry, &mut done.crowded)?;
                if run.answer {
                    done.answer(entry.index, outcome);
                }
            }
        }
        done.applied = entry.id();
        done.entries += 1;
    }
    Ok(())
}

/// What an entry reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryRead<'a> {
    /// The session of its client.
    Session(SessionKey),
    /// A key whose value decides what it does.
    Key(&'a [u8]),
}

/// Calls `take` with what the entries of a run from number `from` on read, but for what is rare.
pub fn reads_of<'a>(run: &'a ApplyRun, from: usize, mut take: impl FnMut(EntryRead<'a>)) {
    for entry in run.entries.iter().skip(from).filter(|entry| entry.kind == EntryKind::Command) {
        let Ok(command) = command::access(&entry.payload) else { continue };
        take(EntryRead::Session(SessionKey { client: command.client(), origin: command.session().group }));
        match &command.operation {
            ArchivedOperation::Put { key, return_old: true, .. }
            | ArchivedOperation::Delete { key, return_old: true }
            | ArchivedOperation::CompareAndSwap { key, .. } => take(EntryRead::Key(key)),
            _ => {}
        }
    }
}

/// Applies one command. Bytes that are no command do nothing, on every replica. Of another version's command nobody here knows what it
/// does: to skip it would make this replica another than those that know. The leaders of this version refuse such bytes.
fn apply<'a, S: Space<'a>>(
    space: &mut S,
    group: GroupId,
    entry: &'a Entry,
    crowded: &mut Vec<SessionKey>,
) -> Result<Outcome, S::Error> {
    let command = match command::access(&entry.payload) {
        Ok(command) => command,
        Err(why @ (CommandError::UnknownKind { .. } | CommandError::UnknownVersion { .. })) => {
            return Err(space.unknown(entry.index, why));
        }
        Err(_) => return Ok(Outcome::Refused(RefusedBecause::Malformed)),
    };
    match &command.operation {
        ArchivedOperation::Open => open(space, group, entry.index, command, crowded),
        ArchivedOperation::Found { record } => found(space, group, record),
        ArchivedOperation::Map { epoch, map } => change_map(space, group, epoch.to_native(), map),
        operation => execute_once(space, entry.index, command, operation, crowded),
    }
}

fn open<'a, S: Space<'a>>(
    space: &mut S,
    group: GroupId,
    index: Index,
    command: &ArchivedCommand,
    crowded: &mut Vec<SessionKey>,
) -> Result<Outcome, S::Error> {
    if command.session().group != group {
        return Ok(Outcome::Refused(RefusedBecause::WrongGroup));
    }
    let key = SessionKey { client: command.client(), origin: group };
    if let Some(session) = space.session(key)? {
        session.touch(index);
        name_if_crowded(key, session, crowded);
        return Ok(Outcome::Opened { session: session.opened() });
    }
    if space.session_count() >= SESSIONS_MAX {
        evict(space)?;
    }
    space.add_session(key, Session::new(index))?;
    Ok(Outcome::Opened { session: index })
}

/// Removes the sessions that were used longest ago.
fn evict<'a, S: Space<'a>>(space: &mut S) -> Result<(), S::Error> {
    let mut uses = space.session_uses()?;
    // Sessions that came by a move share an index: the key decides, so that every replica picks the same.
    uses.sort_unstable();
    for &(_, key) in uses.iter().take(SESSIONS_EVICTED_AT_ONCE) {
        space.remove_session(key)?;
    }
    Ok(())
}

fn found<'a, S: Space<'a>>(space: &mut S, group: GroupId, record: &'a [u8]) -> Result<Outcome, S::Error> {
    if group != MAP_GROUP {
        return Ok(Outcome::Refused(RefusedBecause::WrongGroup));
    }
    match space.founding_record()? {
        None => space.set_founding_record(record),
        Some(there) if there == record => {}
        Some(_) => return Ok(Outcome::Refused(RefusedBecause::AlreadyFounded)),
    }
    Ok(Outcome::Done)
}

/// The next map replaces the one it was made from, and no other: of two that were made from one, the first counts.
fn change_map<'a, S: Space<'a>>(space: &mut S, group: GroupId, epoch: u64, map: &'a [u8]) -> Result<Outcome, S::Error> {
    if group != MAP_GROUP {
        return Ok(Outcome::Refused(RefusedBecause::WrongGroup));
    }
    let current = space.map_epoch()?.unwrap_or(FOUNDING_EPOCH);
    if epoch != current + 1 {
        return Ok(Outcome::Refused(RefusedBecause::StaleMap));
    }
    space.set_map(epoch, map);
    Ok(Outcome::Done)
}

/// Executes a command unless its session says that this has been done, or is not there to say so.
fn execute_once<'a, S: Space<'a>>(
    space: &mut S,
    index: Index,
    command: &'a ArchivedCommand,
    operation: &'a ArchivedOperation,
    crowded: &mut Vec<SessionKey>,
) -> Result<Outcome, S::Error> {
    let named = command.session();
    let key = SessionKey { client: command.client(), origin: named.group };
    let sequence = command.sequence.to_native();
    let Some(session) = space.session(key)?.filter(|session| session.opened() == named.opened) else {
        return Ok(Outcome::SessionEvicted);
    };
    session.touch(index);
    session.acknowledge(command.acknowledged.to_native());
    if let Some(outcome) = session.executed(sequence) {
        name_if_crowded(key, session, crowded);
        return Ok(outcome);
    }
    // To refuse just this one would leave its other copies in the log free to happen later.
    if session.is_full() {
        space.remove_session(key)?;
        return Ok(Outcome::SessionEvicted);
    }
    if command::is_blind(command) {
        // It reads nothing, so nothing can keep it from being done: the session is found once.
        session.record(sequence, &Outcome::Done);
        name_if_crowded(key, session, crowded);
        let done = execute(space, operation);
        assert!(
            matches!(done, Ok(Outcome::Done)),
            "entry {index} is blind and has another outcome than its session says"
        );
        return Ok(Outcome::Done);
    }
    let outcome = execute(space, operation)?;
    let session = space.session(key)?.expect("it was there before the command");
    session.record(sequence, &outcome);
    name_if_crowded(key, session, crowded);
    Ok(outcome)
}

/// Whoever hears of a use of a session must hear that it may soon be full, whether or not that use added to it.
fn name_if_crowded(key: SessionKey, session: &Session, crowded: &mut Vec<SessionKey>) {
    if session.is_crowded() && crowded.last() != Some(&key) {
        crowded.push(key);
    }
}

fn execute<'a, S: Space<'a>>(space: &mut S, operation: &'a ArchivedOperation) -> Result<Outcome, S::Error> {
    match operation {
        ArchivedOperation::Put { key, value, return_old } => {
            let outcome = replaced(space, key, *return_old)?;
            space.put(key, value);
            Ok(outcome)
        }
        ArchivedOperation::Delete { key, return_old } => {
            let outcome = replaced(space, key, *return_old)?;
            space.delete(key);
            Ok(outcome)
        }
        ArchivedOperation::CompareAndSwap { key, expect, set } => {
            let current = space.get(key)?;
            if current.as_deref() != expect.as_ref().map(|expect| expect.as_slice()) {
                return Ok(Outcome::Mismatch { current });
            }
            match set.as_ref() {
                Some(value) => space.put(key, value),
                None => space.delete(key),
            }
            Ok(Outcome::Swapped)
        }
        ArchivedOperation::Batch { operations } => {
            for operation in operations.iter() {
                match operation {
                    ArchivedBatchOperation::Put { key, value } => space.put(key, value),
                    ArchivedBatchOperation::Delete { key } => space.delete(key),
                }
            }
            Ok(Outcome::Done)
        }
        ArchivedOperation::Open | ArchivedOperation::Found { .. } | ArchivedOperation::Map { .. } => {
            unreachable!("{:?} needs no session", operation.kind())
        }
    }
}

fn replaced<'a, S: Space<'a>>(space: &mut S, key: &[u8], return_old: bool) -> Result<Outcome, S::Error> {
    match return_old {
        true => Ok(Outcome::Old(space.get(key)?)),
        false => Ok(Outcome::Done),
    }
}
