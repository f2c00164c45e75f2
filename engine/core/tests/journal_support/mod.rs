//! A disk in memory and a model of what a journal must hold, for the journal's tests.
#![allow(dead_code)] // Each test file uses its own part.

use engine_core::journal::{Journal, Options, Recovered, ReplicaState, SegmentId, Write, blank, recover};
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::payload::Payload;
use std::collections::BTreeMap;

/// splitmix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub fn options(segment_bytes: u64, batch_bytes_max: usize) -> Options {
    Options { segment_bytes, block_bytes: 512, batch_bytes_max }
}

pub fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: Index(index) }
}

pub fn entry(term: u64, index: u64, payload: &[u8]) -> Entry {
    Entry { term: Term(term), index: Index(index), kind: EntryKind::Command, payload: Payload::from(payload) }
}

pub fn membership(term: u64, index: u64, payload: &[u8]) -> Entry {
    Entry { kind: EntryKind::Membership, ..entry(term, index, payload) }
}

pub fn vote(term: u64, vote: Option<u64>) -> HardState {
    HardState { term: Term(term), vote: vote.map(ReplicaId) }
}

pub fn replica(group: u32, id: u64) -> ReplicaState {
    ReplicaState {
        group: GroupId(group),
        replica: ReplicaId(id),
        hard_state: HardState::default(),
        log_start: LogId::default(),
        membership: format!("members of {group}").into_bytes(),
    }
}

/// Segment files, as synced; files once used and renamed keep their old bytes.
#[derive(Clone, Default)]
pub struct Disk {
    pub files: BTreeMap<SegmentId, Vec<u8>>,
    pub recycled: Vec<Vec<u8>>,
}

impl Disk {
    pub fn recover(&self, options: Options, life: u64) -> Recovered {
        recover(options, life, self.contents()).expect("a journal that opens")
    }

    pub fn contents(&self) -> Vec<(SegmentId, Vec<u8>)> {
        self.files.iter().rev().map(|(id, bytes)| (*id, bytes.clone())).collect()
    }

    /// Makes the files that the journal wants, from recycled ones if there are any.
    pub fn spares(&mut self, journal: &mut Journal, segment_bytes: u64) {
        while journal.spares_wanted() > 0 {
            let id = journal.new_segment();
            let mut bytes = self.recycled.pop().unwrap_or_default();
            bytes.resize(segment_bytes as usize, 0);
            blank(id, &mut bytes);
            assert!(self.files.insert(id, bytes).is_none(), "segment {id} exists");
            journal.spare_ready(id);
        }
    }

    /// The newest segment that holds an opening of its own.
    pub fn newest_written(&self) -> Option<SegmentId> {
        let is_written = |(id, bytes): &(&SegmentId, &Vec<u8>)| bytes[24..32] == id.0.to_le_bytes();
        self.files.iter().rev().find(is_written).map(|(id, _)| *id)
    }

    /// Where the segment's own headers are.
    pub fn headers(&self, segment: SegmentId) -> Vec<u64> {
        let bytes = &self.files[&segment];
        let own = |at: &usize| bytes[*at..].starts_with(b"KVDJ") && bytes[at + 24..at + 32] == segment.0.to_le_bytes();
        (0..bytes.len()).step_by(512).filter(own).map(|at| at as u64).collect()
    }

    pub fn reclaim(&mut self, journal: &mut Journal) {
        for id in journal.reclaim() {
            self.recycled.push(self.files.remove(&id).expect("a reclaimed segment exists"));
        }
    }

    pub fn write(&mut self, write: &Write) {
        let file = self.files.get_mut(&write.segment).expect("a segment that is written exists");
        let offset = write.offset as usize;
        file[offset..offset + write.bytes.len()].copy_from_slice(&write.bytes);
    }

    /// Writes and syncs everything that waits; returns what is promised.
    pub fn flush(&mut self, journal: &mut Journal, segment_bytes: u64) -> u64 {
        self.spares(journal, segment_bytes);
        while let Some(write) = journal.take_write() {
            self.write(&write);
            journal.write_done(write.batch);
            journal.give_back(write.bytes);
            self.spares(journal, segment_bytes);
        }
        journal.promised()
    }

    pub fn flush_and_seal(&mut self, journal: &mut Journal, segment_bytes: u64) {
        self.flush(journal, segment_bytes);
        if journal.wants_seal() {
            journal.seal();
        }
        let promised = self.flush(journal, segment_bytes);
        assert!(!journal.wants_seal() && promised == journal.open_batch() - 1);
    }
}

/// What one replica must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub state: ReplicaState,
    pub entries: Vec<Entry>,
}

pub type Models = BTreeMap<GroupId, Model>;

/// One record's worth of change.
#[derive(Clone, Debug)]
pub enum Change {
    Create(ReplicaState),
    Remove(GroupId),
    HardState(GroupId, HardState),
    Restart(GroupId, LogId, Vec<u8>),
    Compact(GroupId, LogId, Vec<u8>),
    Append(GroupId, Entry),
}

impl Model {
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.state.log_start, Entry::id)
    }

    pub fn id_at(&self, index: u64) -> LogId {
        let start = self.state.log_start;
        if index == start.index.0 { start } else { self.entries[(index - start.index.0 - 1) as usize].id() }
    }
}

pub fn apply(models: &mut Models, change: &Change) {
    match change {
        Change::Create(state) => {
            models.insert(state.group, Model { state: state.clone(), entries: Default::default() });
        }
        Change::Remove(group) => {
            models.remove(group);
        }
        Change::HardState(group, hard_state) => models.get_mut(group).unwrap().state.hard_state = *hard_state,
        Change::Restart(group, start, membership) => {
            let model = models.get_mut(group).unwrap();
            (model.state.log_start, model.state.membership) = (*start, membership.clone());
            model.entries.clear();
        }
        Change::Compact(group, start, membership) => {
            let model = models.get_mut(group).unwrap();
            (model.state.log_start, model.state.membership) = (*start, membership.clone());
            model.entries.retain(|entry| entry.index > start.index);
        }
        Change::Append(group, entry) => {
            let model = models.get_mut(group).unwrap();
            model.entries.retain(|old| old.index < entry.index);
            model.entries.push(entry.clone());
        }
    }
}

/// What a recovery found, as a model. Checks that its parts agree.
pub fn found(recovered: &Recovered) -> Models {
    let mut models = Models::new();
    for replica in &recovered.replicas {
        let model = Model { state: replica.state.clone(), entries: replica.tail.clone() };
        assert_eq!(replica.last, model.last());
        assert_eq!(replica.last.index.0 - replica.state.log_start.index.0, model.entries.len() as u64);
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for entry in &model.entries {
            if terms.last().is_none_or(|(_, term)| *term != entry.term) {
                terms.push((entry.index, entry.term));
            }
        }
        assert_eq!(replica.terms, terms);
        let memberships = model.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
        let memberships: Vec<_> = memberships.map(|entry| (entry.index, entry.payload.clone())).collect();
        assert_eq!(replica.memberships, memberships);
        models.insert(replica.state.group, model);
    }
    models
}

/// Reads every entry back from the disk.
pub fn read_back(disk: &Disk, journal: &Journal, models: &Models) {
    for (group, model) in models {
        let Some(first) = model.entries.first() else { continue };
        let extents = journal.locate(*group, first.index, model.last().index, usize::MAX);
        assert_eq!(extents.len(), model.entries.len());
        for (extent, entry) in extents.iter().zip(&model.entries) {
            let at = extent.offset as usize;
            let bytes = &disk.files[&extent.segment][at..at + extent.length];
            assert_eq!(journal.decode_entry(extent, bytes).as_ref(), Ok(entry));
        }
    }
}
