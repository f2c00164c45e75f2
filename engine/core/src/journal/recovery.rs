//! Opening a journal: which chain is the newest, how far it reaches, what it says, and how it goes on.
//!
//! How rot is told from a torn end stands in the module's documentation.

use super::chain::{Chain, Link};
use super::error::{Damage, RecoverError, Rot, Torn};
use super::files::{Files, Segments};
use super::header::{HEADER_BYTES, Header, named_in};
use super::journal::Journal;
use super::log::{Log, Position};
use super::record::{RECORD_HEADER_BYTES, Record, SegmentRow};
use super::replay::{Replay, segments_of};
use super::scan::{Batch, Segment, Walk};
use super::writer::{End, Writer};
use super::{Options, Place, Recovered, RecoveredReplica, ReplicaState, SegmentId};
use raft::entry::{Entry, LogId};
use raft::ids::GroupId;
use std::collections::{BTreeSet, VecDeque};

/// Bytes of the end of each log that come with [`RecoveredReplica::tail`].
const TAIL_BYTES_MAX: usize = 1 << 20;

/// Bytes of all of them together: with many groups each has less.
const TAILS_BYTES_MAX: usize = 256 << 20;

/// Opens the journal that lies in `segments`: the whole contents of every segment file found, in any order; none
/// for a fresh data directory. See [`recover_from`].
pub fn recover(options: Options, life: u64, segments: Vec<(SegmentId, Vec<u8>)>) -> Result<Recovered, RecoverError> {
    recover_from(options, life, &segments)
}

/// Opens the journal that lies in `files`. `life` is random and never 0.
///
/// The caller has synced every file and the directory before (after a mere process kill they may sit in the page
/// cache), and promises nothing before the first batch of the returned journal is promised.
///
/// # Errors
/// [`RecoverError`]; damage is not an error but comes with the result.
pub fn recover_from(options: Options, life: u64, files: &dyn Files) -> Result<Recovered, RecoverError> {
    options.check()?;
    let segments = Segments::look(files)?;
    let mut headers = segments.iter().flat_map(|(_, seen)| &seen.headers);
    if life == 0 || headers.any(|(_, header)| header.life == life) {
        return Err(RecoverError::Life { life });
    }
    let mut found = Found { life, torn: None, damage: None, all_unsound: false, highest: SegmentId(0) };
    found.highest = segments.iter().next_back().map(|(id, _)| id).unwrap_or_default();
    let head = found.head(&segments)?;
    let head = head.as_ref().map(|segment| (segment, segment.walk(u64::MAX)));
    let rows = match &head {
        Some(head) => rows(head)?,
        None => Vec::new(),
    };
    let mut replay = Replay::new(found.chain(&rows, head.as_ref()));
    found.replay(&segments, &rows, head.as_ref(), &mut replay)?;
    found.go_on(options, &segments, rows, head, replay)
}

/// The newest segment whose opening is whole, and its batches.
type Head<'a> = (&'a Segment<'a>, Walk<'a>);

struct Found {
    life: u64,
    torn: Option<Torn>,
    damage: Option<Damage>,
    /// Something is lost that no later table makes up for.
    all_unsound: bool,
    highest: SegmentId,
}

impl Found {
    fn damaged(&mut self, segment: SegmentId, offset: u64, rot: Rot) {
        self.damage.get_or_insert(Damage { segment, offset, rot });
    }

    /// Finds the head and decides whether what lies behind its last whole batch was torn or has rotted.
    fn head<'a>(&mut self, segments: &Segments<'a>) -> Result<Option<Segment<'a>>, RecoverError> {
        // What headers of segments that cannot be read say was synced.
        let mut synced = Place::default();
        for (id, seen) in segments.iter().rev() {
            let Some((first, header)) = seen.headers.first() else { continue };
            let Some(segment) = segments.load(id)? else { continue };
            let walk = segment.walk(u64::MAX);
            if walk.batches.is_empty() {
                // Only an opening that nothing follows can be one that was under way.
                if *first == 0 && segment.headers.len() == 1 && header.opening {
                    self.torn.get_or_insert(Torn { segment: segment.id, offset: 0, batch: header.number });
                } else {
                    self.damaged(segment.id, 0, walk.stopped);
                    self.all_unsound = true;
                }
                synced = segment.headers.iter().map(|(_, header)| header.durable).max().unwrap_or_default().max(synced);
                continue;
            }
            self.end(&segment, &walk, synced, segments);
            return Ok(Some(segment));
        }
        if synced.segment != SegmentId(0) {
            self.damaged(synced.segment, 0, Rot::Missing);
            self.all_unsound = true;
        }
        Ok(None)
    }

    fn end(&mut self, head: &Segment<'_>, walk: &Walk<'_>, synced: Place, segments: &Segments<'_>) {
        let end = Place { segment: head.id, offset: walk.end };
        let behind = head.headers.iter().find(|(offset, _)| *offset >= walk.end);
        let last = walk.batches.last().map(|batch| batch.header);
        let torn = behind
            .filter(|(offset, header)| *offset == walk.end && last.is_some_and(|last| header.follows(&last, walk.end)));
        let headers_behind = head.headers.iter().filter(|(offset, _)| *offset >= walk.end).count();
        if headers_behind > usize::from(torn.is_some()) || synced > end {
            self.damaged(head.id, walk.end, walk.stopped);
            self.all_unsound = true;
        } else if let Some((offset, header)) = torn {
            self.torn = Some(Torn { segment: head.id, offset: *offset, batch: header.number });
        }
        // A spare that was ready when the last batch was written is in the directory, whatever it holds.
        let next = last.map_or(SegmentId(0), |last| last.next);
        if next != SegmentId(0) && !segments.contains(next) {
            self.damaged(next, 0, Rot::Missing);
            self.all_unsound = true;
        }
    }

    fn chain(&self, rows: &[SegmentRow], head: Option<&Head<'_>>) -> Chain {
        let link =
            |row: &SegmentRow| Link { segment: row.segment, life: row.life, end: row.end, crc: row.crc, live: 0 };
        let mut links: VecDeque<Link> = rows.iter().map(link).collect();
        links.extend(head.map(|(segment, walk)| {
            // All but the last batch: that one nobody has seen synced, and what it holds is written again.
            let last = &walk.batches[walk.batches.len() - 1];
            let (end, crc) = (last.offset, last.header.previous);
            Link { segment: segment.id, life: last.header.life, end, crc, live: 0 }
        }));
        Chain::new(links, SegmentId(self.highest.0 + 1))
    }

    fn replay(
        &mut self,
        segments: &Segments<'_>,
        rows: &[SegmentRow],
        head: Option<&Head<'_>>,
        replay: &mut Replay,
    ) -> Result<(), RecoverError> {
        // The crc at the end of the chain so far; `None` where something before is not there.
        let mut chain: Option<u32> = None;
        for row in rows {
            let Some(segment) = segments.load(row.segment)? else {
                self.damaged(row.segment, 0, Rot::Missing);
                chain = None;
                continue;
            };
            let walk = segment.walk(row.end);
            let of_life = walk.batches.first().is_some_and(|batch| batch.header.life == row.life);
            if walk.batches.is_empty() || !of_life {
                self.damaged(row.segment, 0, walk.stopped);
                chain = None;
                continue;
            }
            chain = self.replay_segment(&segment, &walk, chain, replay)?;
            self.padding(&segment, &walk.batches);
            if walk.end != row.end || walk.crc != row.crc {
                self.damaged(row.segment, walk.end, walk.stopped);
                chain = None;
            }
        }
        if let Some((segment, walk)) = head {
            self.replay_segment(segment, walk, chain, replay)?;
            // Behind the records of the very last batch a torn write may have left anything.
            self.padding(segment, &walk.batches[..walk.batches.len() - 1]);
        }
        replay.settle_gaps();
        if self.all_unsound {
            replay.logs.values_mut().for_each(|log| log.sound = false);
        }
        Ok(())
    }

    fn replay_segment(
        &mut self,
        segment: &Segment<'_>,
        walk: &Walk<'_>,
        chain: Option<u32>,
        replay: &mut Replay,
    ) -> Result<Option<u32>, RecoverError> {
        for batch in &walk.batches {
            if batch.offset == 0 {
                if chain.is_some_and(|crc| crc != batch.header.previous) {
                    self.damaged(segment.id, 0, Rot::Chain);
                }
                replay.opening(segment.id, batch, chain == Some(batch.header.previous))?;
            } else {
                replay.batch(segment.id, batch)?;
            }
        }
        Ok(Some(walk.crc))
    }

    fn padding(&mut self, segment: &Segment<'_>, synced: &[Batch<'_>]) {
        for batch in synced.iter().filter(|batch| !batch.padded) {
            self.damaged(segment.id, batch.offset, Rot::Padding);
        }
    }

    /// Begins the new life: an opening in a fresh segment that repeats what may never have been synced.
    fn go_on(
        self,
        options: Options,
        segments: &Segments<'_>,
        rows: Vec<SegmentRow>,
        head: Option<Head<'_>>,
        mut replay: Replay,
    ) -> Result<Recovered, RecoverError> {
        let replicas = replicas(segments, &replay)?;
        let end = end(&rows, head.as_ref());
        let mut again = Vec::new();
        if let Some((segment, walk)) = &head {
            let last = walk.batches.len() - 1;
            let taken = replay.take_behind(segment.id, walk.batches[last].offset);
            let entries = segments.entries(taken.iter().map(|(_, _, position)| *position))?;
            again.extend(taken.iter().map(|(group, id, position)| (*group, *id, entries.at(position))));
        }
        let number = end.number + 1;
        let mut chain = replay.chain;
        if chain.links().next_back().is_some_and(|link| link.end == 0) {
            chain.forget_last();
        }
        let written = segments.iter().filter(|(_, seen)| !seen.headers.is_empty()).map(|(id, _)| id);
        let written = written.max().unwrap_or_default();
        for (id, seen) in segments.iter() {
            if chain.links().any(|link| link.segment == id) {
                continue;
            }
            if id > written && seen.bytes == options.segment_bytes {
                chain.adopt(id);
            } else {
                chain.retire(number, id);
            }
        }
        let writer = Writer::new(options, self.life, end);
        let mut journal = Journal { options, life: self.life, logs: replay.logs, chain, writer };
        journal.begin_life(&again)?;
        Ok(Recovered { journal, replicas, damage: self.damage, torn: self.torn })
    }
}

/// The segments before the head that are still needed.
fn rows((head, walk): &Head<'_>) -> Result<Vec<SegmentRow>, RecoverError> {
    let mut rows = segments_of(head.id, &walk.batches[0])?;
    let first = walk.batches.iter().map(|batch| batch.header.first).max().unwrap_or_default();
    rows.retain(|row| row.segment >= first);
    let ascending = rows.windows(2).all(|pair| pair[0].segment < pair[1].segment);
    if !ascending || rows.last().is_some_and(|row| row.segment >= head.id) {
        let (segment, group) = (head.id, GroupId(0));
        return Err(RecoverError::Impossible { segment, offset: 0, group, why: "segments out of order" });
    }
    Ok(rows)
}

impl Journal {
    fn begin_life(&mut self, again: &[(GroupId, LogId, Entry)]) -> Result<(), RecoverError> {
        let rows = self.chain.links().count() * 32 + 8 + 2 * RECORD_HEADER_BYTES;
        let table: usize = self.logs.iter().map(|(group, log)| Record::Row(log.row(*group)).bytes()).sum();
        let entries: usize = again.iter().map(|(group, _, entry)| Record::entry(*group, entry).bytes()).sum();
        let needed = (HEADER_BYTES + rows + table + entries).next_multiple_of(self.options.block_bytes);
        let needed = (needed + self.options.block_bytes) as u64;
        if needed > self.options.segment_bytes {
            return Err(RecoverError::SegmentTooSmall { needed });
        }
        // Behind an opening that is torn a value must not pass for a header.
        let named: BTreeSet<_> = again.iter().flat_map(|(_, _, entry)| named_in(&entry.payload)).collect();
        while named.contains(&self.chain.following()) {
            self.chain.skip(self.writer.open_batch());
        }
        self.roll(true);
        // All in the one batch, whatever its size: the life must not be durable without them.
        for (group, id, entry) in again {
            let position = self.writer.push(&Record::entry(*group, entry), false);
            let log = self.logs.get_mut(group).expect("the entry was taken from its log");
            log.append(*id, position, &mut self.chain);
        }
        Ok(())
    }
}

/// Where the chain is left: before the last whole batch, which nobody has seen synced.
fn end(rows: &[SegmentRow], head: Option<&Head<'_>>) -> End {
    let Some((segment, walk)) = head else {
        return End { number: 0, sequence: 0, durable: Place::default(), crc: 0 };
    };
    let header: &Header = &walk.batches[walk.batches.len() - 1].header;
    let offset = walk.batches[walk.batches.len() - 1].offset;
    let durable = match (offset, rows.last()) {
        (0, Some(row)) => Place { segment: row.segment, offset: row.end },
        (0, None) => Place::default(),
        _ => Place { segment: segment.id, offset },
    };
    let sequence = header.sequence + u64::from(header.records);
    End { number: header.number, sequence, durable, crc: header.previous }
}

fn replicas(segments: &Segments<'_>, replay: &Replay) -> Result<Vec<RecoveredReplica>, RecoverError> {
    let bytes_max = tail_bytes_max(replay.logs.len());
    let tails: Vec<Vec<Position>> = replay.logs.values().map(|log| tail(log, bytes_max)).collect();
    let memberships = replay.memberships.values().flatten().map(|(_, position)| *position);
    let entries = segments.entries(tails.iter().flatten().copied().chain(memberships))?;
    let mut replicas = Vec::new();
    for ((group, log), tail) in replay.logs.iter().zip(&tails) {
        let memberships = replay.memberships.get(group).map_or(&[][..], Vec::as_slice).iter();
        replicas.push(RecoveredReplica {
            state: ReplicaState {
                group: *group,
                replica: log.replica,
                hard_state: log.hard_state,
                log_start: log.log_start(),
                membership: log.membership.to_vec(),
            },
            last: log.last().unwrap_or(log.log_start()),
            terms: log.terms().collect(),
            memberships: memberships.map(|(index, position)| (*index, entries.at(position).payload)).collect(),
            tail: tail.iter().map(|position| entries.at(position)).collect(),
            sound: log.sound,
        });
    }
    Ok(replicas)
}

/// Bytes of the end of each of so many logs.
fn tail_bytes_max(logs: usize) -> usize {
    TAIL_BYTES_MAX.min(TAILS_BYTES_MAX / logs.max(1))
}

/// Where the last entries of a log lie, `bytes_max` of them.
fn tail(log: &Log, bytes_max: usize) -> Vec<Position> {
    let mut tail = Vec::new();
    let (mut bytes, mut index) = (0, log.last_index());
    while let Some(position) = log.position(index) {
        bytes += position.length as usize;
        if bytes > bytes_max {
            break;
        }
        tail.push(position);
        index = index.prev();
    }
    tail.reverse();
    tail
}

#[cfg(test)]
mod tests {
    use super::{TAIL_BYTES_MAX, TAILS_BYTES_MAX, tail_bytes_max};

    #[test]
    fn many_tails_are_short_ones() {
        assert_eq!([tail_bytes_max(0), tail_bytes_max(1), tail_bytes_max(256)], [TAIL_BYTES_MAX; 3]);
        for logs in [257, 1000, 20_000] {
            assert!(logs * tail_bytes_max(logs) <= TAILS_BYTES_MAX, "{logs}");
        }
    }
}
