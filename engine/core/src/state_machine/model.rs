//! A store of maps: what the real store must be indistinguishable from.
//!
//! The simulation runs nodes over it, the store's tests run beside it. It is atomic per apply batch like the
//! real one, and its crash is a power cut's: batches since the last sync are lost from any point on, never
//! one of them without those after it, as point-in-time recovery promises.

use super::{
    AppliedRun, ApplyRun, Applying, Checksum, Hasher, MapRecord, Page, PageBuilder, Space, StoredReplica, apply_run,
};
use crate::command::CommandError;
use crate::sessions::{Session, SessionKey};
use crate::snapshot::stream::{Decoder, Encoder, Kind, Record, StreamError};
use crate::snapshot::{End, Header};
use raft::entry::LogId;
use raft::ids::{GroupId, Index, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound;

/// The state of all groups of a core, and how to get back to what is synced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    groups: BTreeMap<GroupId, Group>,
    founding_record: Option<Vec<u8>>,
    map: Option<MapRecord>,
    generations: u64,
    /// Snapshots on their way in.
    incoming: BTreeMap<GroupId, Partial>,
    /// For each batch since the last sync, oldest first, what it overwrote, in order.
    unsynced: Vec<Vec<Undo>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    replica: ReplicaId,
    generation: u64,
    applied: LogId,
    membership: Vec<u8>,
    installed: Option<LogId>,
    data: BTreeMap<Vec<u8>, Vec<u8>>,
    sessions: BTreeMap<SessionKey, Session>,
}

/// Part of a snapshot: nobody sees it, and a crash takes it.
#[derive(Clone, Debug, PartialEq)]
struct Partial {
    id: u64,
    generation: u64,
    chunks: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Undo {
    Data(GroupId, Vec<u8>, Option<Vec<u8>>),
    Session(GroupId, SessionKey, Option<Session>),
    Applied(GroupId, LogId),
    Membership(GroupId, Vec<u8>),
    Founding(Option<Vec<u8>>),
    Map(Option<MapRecord>),
    Generations(u64),
}

impl Model {
    /// An empty store.
    pub fn new() -> Model {
        Model::default()
    }

    /// The replicas, by group.
    pub fn replicas(&self) -> Vec<StoredReplica> {
        let view = |(&id, group): (&GroupId, &Group)| StoredReplica {
            group: id,
            replica: group.replica,
            generation: group.generation,
            applied: group.applied,
            membership: group.membership.clone(),
            installed: group.installed,
        };
        self.groups.iter().map(view).collect()
    }

    /// Adds an empty replica, or replaces the group's replica, whose id must be another one. Synced.
    pub fn create_replica(&mut self, group: GroupId, replica: ReplicaId, membership: &[u8]) {
        let there = self.groups.get(&group).map(|group| group.replica);
        assert!(there != Some(replica), "group {group}: replica {replica} is there already");
        self.generations += 1;
        let new = Group {
            replica,
            generation: self.generations,
            applied: LogId::default(),
            membership: membership.to_vec(),
            installed: None,
            data: BTreeMap::new(),
            sessions: BTreeMap::new(),
        };
        self.groups.insert(group, new);
        self.sync();
    }

    /// Applies runs as one atomic batch. Their groups must have replicas here.
    pub fn apply(&mut self, runs: &[ApplyRun]) -> Vec<AppliedRun> {
        let mut undo = Vec::new();
        let mut touched = BTreeSet::new();
        let mut applied = Vec::with_capacity(runs.len());
        for run in runs {
            let Some(group) = self.groups.get_mut(&run.group) else {
                panic!("group {} has no replica here", run.group);
            };
            undo.push(Undo::Applied(run.group, group.applied));
            let before = group.applied;
            let mut space = ModelSpace {
                id: run.group,
                group,
                founding_record: &mut self.founding_record,
                map: &mut self.map,
                undo: &mut undo,
                touched: &mut touched,
            };
            let mut done = Applying::after(before);
            let Ok(()) = apply_run(&mut space, run, &mut done);
            group.applied = done.applied;
            applied.push(done.finish(run.group));
        }
        self.unsynced.push(undo);
        applied
    }

    /// The value of a key; `None` also for a group without a replica here.
    pub fn get(&self, group: GroupId, key: &[u8]) -> Option<Vec<u8>> {
        self.groups.get(&group)?.data.get(key).cloned()
    }

    /// The entries from `start` up to, not including, `end`, to the page's limits.
    pub fn scan(&self, group: GroupId, start: &[u8], end: Option<&[u8]>, limit: usize, bytes_max: usize) -> Page {
        let mut page = PageBuilder::new(limit, bytes_max);
        if let Some(group) = self.groups.get(&group) {
            let range = group.data.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
            for (key, value) in range.take_while(|(key, _)| end.is_none_or(|end| key.as_slice() < end)) {
                if !page.push(key, value) {
                    break;
                }
            }
        }
        page.finish()
    }

    /// The digest of a group that has a replica here.
    pub fn checksum(&self, group: GroupId) -> Checksum {
        let group = &self.groups[&group];
        let mut hasher = Hasher::default();
        group.data.iter().for_each(|(key, value)| hasher.update(key, value));
        hasher.finish(group.applied)
    }

    /// The sessions a group holds.
    pub fn sessions(&self, group: GroupId) -> Vec<(SessionKey, Session)> {
        let sessions = self.groups.get(&group).into_iter().flat_map(|group| &group.sessions);
        sessions.map(|(&key, session)| (key, session.clone())).collect()
    }

    /// The founding record, once group 0 has applied it.
    pub fn founding_record(&self) -> Option<&[u8]> {
        self.founding_record.as_deref()
    }

    /// The cluster map, once group 0 has applied a change of it.
    pub fn map(&self) -> Option<&MapRecord> {
        self.map.as_ref()
    }

    /// A snapshot of a group that has a replica here: the last entry it covers, the membership there, its chunks of at most
    /// `chunk_bytes` and what ends them.
    pub fn snapshot(&self, group: GroupId, chunk_bytes: usize) -> (LogId, Vec<u8>, Vec<Vec<u8>>, End) {
        let held = &self.groups[&group];
        let mut encoder = Encoder::new(chunk_bytes);
        if let Some(record) = self.founding_record.as_ref().filter(|_| group == GroupId(0)) {
            encoder.push(Kind::Founding, &[], record);
        }
        if let Some(map) = self.map.as_ref().filter(|_| group == GroupId(0)) {
            encoder.push(Kind::Map, &[], &map.encode());
        }
        for (key, session) in &held.sessions {
            let mut bytes = Vec::new();
            session.encode(&mut bytes);
            encoder.push(Kind::Session, &key.to_bytes(), &bytes);
        }
        held.data.iter().for_each(|(key, value)| encoder.push(Kind::Data, key, value));
        let mut chunks = Vec::new();
        loop {
            chunks.push(encoder.chunk());
            if let Some(end) = encoder.end() {
                chunks.retain(|chunk| !chunk.is_empty());
                return (held.applied, held.membership.clone(), chunks, end);
            }
        }
    }

    /// Takes the next chunk of snapshot `id` of a group. Chunks of another snapshot of that group are dropped first.
    pub fn receive(&mut self, group: GroupId, id: u64, chunk: &[u8]) {
        self.begin(group, id);
        self.incoming.get_mut(&group).expect("it has begun").chunks.push(chunk.to_vec());
    }

    /// Makes the snapshot that has come in the state of its group. Synced.
    pub fn install(&mut self, header: &Header, end: End) -> Result<(), StreamError> {
        self.begin(header.group, header.id);
        let Partial { generation, chunks, .. } = self.incoming.remove(&header.group).expect("it has begun");
        let (mut data, mut sessions, mut founding, mut map) = (BTreeMap::new(), BTreeMap::new(), None, None);
        let mut decoder = Decoder::default();
        for chunk in &chunks {
            decoder.take(chunk, |Record { kind, key, value }| {
                match kind {
                    Kind::Founding | Kind::Map if header.group != GroupId(0) => return Err(StreamError::Key(kind)),
                    Kind::Founding => founding = Some(value.to_vec()),
                    Kind::Map => map = Some(MapRecord::decode(value).ok_or(StreamError::Value(kind))?),
                    Kind::Data => drop(data.insert(key.to_vec(), value.to_vec())),
                    Kind::Session => {
                        let key = SessionKey::from_bytes(key).map_err(|_| StreamError::Key(kind))?;
                        let session = Session::decode(value).map_err(|_| StreamError::Value(kind))?;
                        if sessions.insert(key, session).is_some() {
                            return Err(StreamError::Key(kind));
                        }
                    }
                }
                Ok::<(), StreamError>(())
            })?;
        }
        decoder.finish(end)?;
        self.sync();
        let group = self.group(header.group);
        let (replica, applied) = (group.replica, group.applied);
        assert_eq!(replica, header.to, "group {}: a snapshot for another replica", header.group);
        assert!(applied.index <= header.last.index, "group {}: {applied:?} is past {:?}", header.group, header.last);
        *group = Group {
            replica,
            generation,
            applied: header.last,
            membership: header.membership.clone(),
            installed: Some(header.last),
            data,
            sessions,
        };
        self.founding_record = founding.or(self.founding_record.take());
        self.map = map.or(self.map.take());
        Ok(())
    }

    /// Drops what has come in of a snapshot, if anything has.
    pub fn abandon(&mut self, group: GroupId) {
        self.incoming.remove(&group);
    }

    fn begin(&mut self, group: GroupId, id: u64) {
        if self.incoming.get(&group).is_none_or(|partial| partial.id != id) {
            self.unsynced.push(vec![Undo::Generations(self.generations)]);
            self.generations += 1;
            self.incoming.insert(group, Partial { id, generation: self.generations, chunks: Vec::new() });
        }
    }

    /// Another process opens the store: what had come of a snapshot was its predecessor's, and is dropped.
    pub fn reopen(&mut self) {
        self.incoming.clear();
    }

    /// Makes everything so far survive a crash.
    pub fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// How many batches a crash may take.
    pub fn unsynced_batches(&self) -> usize {
        self.unsynced.len()
    }

    /// A power cut that spares the first `kept` of the unsynced batches; what is left is synced.
    pub fn crash(&mut self, kept: usize) {
        let lost = self.unsynced.split_off(kept.min(self.unsynced.len()));
        self.incoming.clear();
        lost.into_iter().rev().flat_map(|batch| batch.into_iter().rev()).for_each(|undo| self.undo(undo));
        self.unsynced.clear();
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Data(id, key, value) => restore(&mut self.group(id).data, key, value),
            Undo::Session(id, key, session) => restore(&mut self.group(id).sessions, key, session),
            Undo::Applied(id, applied) => self.group(id).applied = applied,
            Undo::Membership(id, membership) => self.group(id).membership = membership,
            Undo::Founding(record) => self.founding_record = record,
            Undo::Map(map) => self.map = map,
            Undo::Generations(generations) => self.generations = generations,
        }
    }

    fn group(&mut self, id: GroupId) -> &mut Group {
        self.groups.get_mut(&id).unwrap_or_else(|| panic!("group {id} has no replica here"))
    }
}

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// One group of the model while a run is applied.
struct ModelSpace<'m> {
    id: GroupId,
    group: &'m mut Group,
    founding_record: &'m mut Option<Vec<u8>>,
    map: &'m mut Option<MapRecord>,
    undo: &'m mut Vec<Undo>,
    /// Sessions whose state before the batch is in `undo`.
    touched: &'m mut BTreeSet<(GroupId, SessionKey)>,
}

impl ModelSpace<'_> {
    fn remember(&mut self, key: SessionKey) {
        if self.touched.insert((self.id, key)) {
            self.undo.push(Undo::Session(self.id, key, self.group.sessions.get(&key).cloned()));
        }
    }
}

impl<'a> Space<'a> for ModelSpace<'_> {
    type Error = Infallible;

    fn unknown(&self, index: Index, why: CommandError) -> Infallible {
        panic!("group {}, entry {index}: {why}", self.id)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.group.data.get(key).cloned())
    }

    fn put(&mut self, key: &'a [u8], value: &'a [u8]) {
        let old = self.group.data.insert(key.to_vec(), value.to_vec());
        self.undo.push(Undo::Data(self.id, key.to_vec(), old));
    }

    fn delete(&mut self, key: &'a [u8]) {
        let old = self.group.data.remove(key);
        self.undo.push(Undo::Data(self.id, key.to_vec(), old));
    }

    fn session(&mut self, key: SessionKey) -> Result<Option<&mut Session>, Infallible> {
        self.remember(key);
        Ok(self.group.sessions.get_mut(&key))
    }

    fn add_session(&mut self, key: SessionKey, session: Session) -> Result<(), Infallible> {
        self.remember(key);
        let old = self.group.sessions.insert(key, session);
        assert!(old.is_none(), "group {}: session {key:?} is there already", self.id);
        Ok(())
    }

    fn remove_session(&mut self, key: SessionKey) -> Result<(), Infallible> {
        self.remember(key);
        let old = self.group.sessions.remove(&key);
        assert!(old.is_some(), "group {}: session {key:?} is not there", self.id);
        Ok(())
    }

    fn session_count(&self) -> usize {
        self.group.sessions.len()
    }

    fn session_uses(&mut self) -> Result<Vec<(Index, SessionKey)>, Infallible> {
        Ok(self.group.sessions.iter().map(|(&key, session)| (session.last_used(), key)).collect())
    }

    fn set_membership(&mut self, membership: &'a [u8]) {
        let old = std::mem::replace(&mut self.group.membership, membership.to_vec());
        self.undo.push(Undo::Membership(self.id, old));
    }

    fn founding_record(&mut self) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.founding_record.clone())
    }

    fn set_founding_record(&mut self, record: &'a [u8]) {
        let old = self.founding_record.replace(record.to_vec());
        self.undo.push(Undo::Founding(old));
    }

    fn map_epoch(&mut self) -> Result<Option<u64>, Infallible> {
        Ok(self.map.as_ref().map(|map| map.epoch))
    }

    fn set_map(&mut self, epoch: u64, map: &'a [u8]) {
        let old = self.map.replace(MapRecord { epoch, map: map.to_vec() });
        self.undo.push(Undo::Map(old));
    }
}
