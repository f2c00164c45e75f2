//! From verified batches to the state of every replica.
//!
//! The records come in the order in which they were written, segment after segment. Where something between is
//! lost, the next segment's table says what the logs must be; a log that is not that has a gap from then on.

use super::SegmentId;
use super::chain::Chain;
use super::error::RecoverError;
use super::log::{Broken, Log, Position};
use super::record::{ParseError, Raw, Record, Row, SegmentRow};
use super::scan::Batch;
use crate::group_map::GroupMap;
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Replay {
    pub logs: GroupMap<Log>,
    pub chain: Chain,
    /// Where the membership entries of each log lie, ascending.
    pub memberships: BTreeMap<GroupId, Vec<(Index, Position)>>,
}

/// Where a record lies.
#[derive(Clone, Copy)]
struct At {
    segment: SegmentId,
    offset: u64,
    length: usize,
}

impl Replay {
    /// Counts what it finds in the segments of `chain`.
    pub fn new(chain: Chain) -> Replay {
        Replay { logs: GroupMap::default(), chain, memberships: BTreeMap::new() }
    }

    /// Replays the first batch of a segment. `continuous`: nothing that precedes it in the chain is missing.
    pub fn opening(&mut self, segment: SegmentId, batch: &Batch<'_>, continuous: bool) -> Result<(), RecoverError> {
        let (mut table, mut in_table, mut life_begins) = (BTreeSet::new(), true, false);
        for (offset, raw) in batch.records() {
            let at = At { segment, offset, length: raw.length };
            let record = at.parse(&raw)?;
            match record {
                Record::Life { .. } if in_table => life_begins = true,
                Record::Segments(_) if in_table => {}
                Record::Row(row) if in_table => {
                    table.insert(row.group);
                    self.row(at, &row, continuous)?;
                }
                _ => {
                    if std::mem::take(&mut in_table) {
                        self.only(at, &table, continuous && !life_begins)?;
                    }
                    self.record(at, record)?;
                }
            }
        }
        if in_table {
            let at = At { segment, offset: batch.offset, length: 0 };
            self.only(at, &table, continuous && !life_begins)?;
        }
        Ok(())
    }

    /// Replays any other batch.
    pub fn batch(&mut self, segment: SegmentId, batch: &Batch<'_>) -> Result<(), RecoverError> {
        for (offset, raw) in batch.records() {
            let at = At { segment, offset, length: raw.length };
            self.record(at, at.parse(&raw)?)?;
        }
        Ok(())
    }

    fn row(&mut self, at: At, row: &Row<'_>, continuous: bool) -> Result<(), RecoverError> {
        let impossible = |why| at.impossible(row.group, why);
        if row.last.index < row.log_start.index || row.last.term < row.log_start.term {
            return Err(impossible("a log that ends before it starts"));
        }
        if self.logs.get(&row.group).is_some_and(|log| log.replica != row.replica) {
            self.remove(row.group);
        }
        match self.logs.get_mut(&row.group) {
            None if continuous && row.last != row.log_start => {
                Err(impossible("entries of a replica that was not here"))
            }
            None => {
                self.logs.insert(row.group, Log::new(row));
                Ok(())
            }
            Some(log) => {
                let held = log.reconcile(row, &mut self.chain);
                if !held && continuous {
                    return Err(impossible("a table that names entries which were never here"));
                }
                self.trim_memberships(row.group);
                Ok(())
            }
        }
    }

    /// Replicas that the table does not name are no longer here.
    fn only(&mut self, at: At, table: &BTreeSet<GroupId>, strict: bool) -> Result<(), RecoverError> {
        let others: Vec<GroupId> = self.logs.keys().filter(|group| !table.contains(group)).copied().collect();
        for group in others {
            if strict {
                return Err(at.impossible(group, "a table without a replica that is here"));
            }
            self.remove(group);
        }
        Ok(())
    }

    fn record(&mut self, at: At, record: Record<'_>) -> Result<(), RecoverError> {
        match record {
            Record::Entry { group, kind, id, .. } => {
                let (log, chain) = self.log(at, group)?;
                log.check_append(id).map_err(|why| at.impossible(group, why))?;
                let position = at.position();
                log.append(id, position, chain);
                let memberships = self.memberships.entry(group).or_default();
                while memberships.last().is_some_and(|(index, _)| *index >= id.index) {
                    memberships.pop();
                }
                if kind == EntryKind::Membership {
                    memberships.push((id.index, position));
                }
            }
            Record::HardState { group, hard_state } => {
                let (log, _) = self.log(at, group)?;
                log.check_hard_state(&hard_state).map_err(|why| at.impossible(group, why))?;
                log.hard_state = hard_state;
            }
            Record::LogStart { group, start, restart, membership } => {
                let (log, chain) = self.log(at, group)?;
                if restart {
                    log.restart(start, membership, chain);
                } else {
                    log.check_compact(start).map_err(|why| at.impossible(group, why))?;
                    log.compact(start, membership, chain);
                }
                self.trim_memberships(group);
            }
            Record::Created(row) => {
                self.remove(row.group);
                self.logs.insert(row.group, Log::new(&Row { last: row.log_start, ..row }));
            }
            Record::Removed { group } => self.remove(group),
            Record::Life { .. } | Record::Segments(_) | Record::Row(_) => {
                return Err(at.impossible(GroupId(0), "a part of an opening behind the opening"));
            }
        }
        Ok(())
    }

    fn log(&mut self, at: At, group: GroupId) -> Result<(&mut Log, &mut Chain), RecoverError> {
        match self.logs.get_mut(&group) {
            Some(log) => Ok((log, &mut self.chain)),
            None => Err(at.impossible(group, "a record of a replica that is not here")),
        }
    }

    fn remove(&mut self, group: GroupId) {
        if let Some(mut log) = self.logs.remove(&group) {
            log.clear(&mut self.chain);
        }
        self.memberships.remove(&group);
    }

    fn trim_memberships(&mut self, group: GroupId) {
        if let (Some(log), Some(memberships)) = (self.logs.get(&group), self.memberships.get_mut(&group)) {
            memberships.retain(|(index, position)| log.position(*index) == Some(*position));
        }
    }

    /// A log with a gap cannot be used: its replica is not sound, and the log is empty from now on.
    pub fn settle_gaps(&mut self) {
        for log in self.logs.values_mut().filter(|log| !log.is_complete()) {
            let (start, membership) = (log.log_start(), log.membership.clone());
            log.restart(start, &membership, &mut self.chain);
            log.sound = false;
        }
        let groups: Vec<GroupId> = self.logs.keys().copied().collect();
        groups.into_iter().for_each(|group| self.trim_memberships(group));
    }

    /// Takes the entries that lie at or behind `offset` of `segment`, or in a later segment, out of the logs.
    pub fn take_behind(&mut self, segment: SegmentId, offset: u64) -> Vec<(GroupId, LogId, Position)> {
        let mut taken = Vec::new();
        for (group, log) in self.logs.iter_mut() {
            let from = taken.len();
            while let (Some(position), Some(id)) = (log.back(), log.last()) {
                if (u64::from(position.segment), u64::from(position.offset)) < (segment.0, offset) {
                    break;
                }
                taken.push((*group, id, position));
                log.pop_back(&mut self.chain);
            }
            taken[from..].reverse();
        }
        taken
    }
}

/// The segments that an opening names.
pub(super) fn segments_of(segment: SegmentId, opening: &Batch<'_>) -> Result<Vec<SegmentRow>, RecoverError> {
    for (offset, raw) in opening.records() {
        let at = At { segment, offset, length: raw.length };
        match at.parse(&raw)? {
            Record::Segments(rows) => return Ok(rows),
            Record::Life { .. } => {}
            _ => return Err(at.impossible(GroupId(0), "an opening without a list of segments")),
        }
    }
    Err(RecoverError::Impossible { segment, offset: 0, group: GroupId(0), why: "an empty opening" })
}

impl At {
    fn parse<'a>(self, raw: &Raw<'a>) -> Result<Record<'a>, RecoverError> {
        raw.parse().map_err(|error| match error {
            ParseError::Unsupported { kind, version } => {
                let (segment, offset, version) = (self.segment, self.offset, u16::from(version));
                RecoverError::Unsupported { segment, offset, kind, version }
            }
            ParseError::Malformed => self.impossible(GroupId(0), "a malformed record"),
        })
    }

    fn impossible(self, group: GroupId, why: Broken) -> RecoverError {
        RecoverError::Impossible { segment: self.segment, offset: self.offset, group, why }
    }

    fn position(self) -> Position {
        // Numbers and sizes of segments were checked to fit when the files were taken in.
        Position { segment: self.segment.0 as u32, offset: self.offset as u32, length: self.length as u32 }
    }
}
