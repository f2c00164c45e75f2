//! The journal of one core while it runs.

use super::chain::Chain;
use super::error::{Damage, Rot};
use super::header::named_in;
use super::log::Log;
use super::record::{ENTRY_RECORD_BYTES, Raw, Record, Row};
use super::writer::{Segments, Writer};
use super::{Extent, Options, ReplicaState, SegmentId, Write};
use crate::group_map::GroupMap;
use raft::entry::{Entry, HardState, LogId};
use raft::ids::{GroupId, Index};
use raft::payload::Payload;

/// The append-only log of all groups of one core. Lives on that core.
///
/// Made by [`super::recover`]. Every change goes to the open batch and is promised once [`Journal::write_done`] has
/// returned the number of that batch or a higher one.
#[derive(Debug)]
pub struct Journal {
    pub(super) options: Options,
    pub(super) life: u64,
    pub(super) logs: GroupMap<Log>,
    pub(super) chain: Chain,
    pub(super) writer: Writer,
}

impl Journal {
    /// A replica enters this core's journal, with an empty log behind its log start. What the group had here before,
    /// under another replica id, is gone. Returns the number of the batch that holds it.
    pub fn create_replica(&mut self, state: ReplicaState) -> u64 {
        let row = Row {
            group: state.group,
            replica: state.replica,
            hard_state: state.hard_state,
            log_start: state.log_start,
            last: state.log_start,
            sound: true,
            membership: &state.membership,
        };
        let record = Record::Created(row);
        self.reserve(record.bytes());
        self.writer.push(&record, true);
        if let Some(mut old) = self.logs.insert(state.group, Log::new(&row)) {
            old.clear(&mut self.chain);
        }
        self.writer.last_batch()
    }

    /// The group's replica leaves this core's journal. Returns the number of the batch that says so.
    pub fn remove_replica(&mut self, group: GroupId) -> u64 {
        let record = Record::Removed { group };
        self.reserve(record.bytes());
        self.writer.push(&record, true);
        if let Some(mut log) = self.logs.remove(&group) {
            log.clear(&mut self.chain);
        }
        self.writer.last_batch()
    }

    /// What one turn of one group must make durable, in this order: a hard state, a log start behind which the log is
    /// empty (a snapshot was installed) with the membership in force there, and entries, which replace everything
    /// from `entries[0].index` on. Returns the number of the batch in which the last of it will lie; if there is
    /// nothing, the number of the last batch that holds anything.
    ///
    /// # Panics
    /// The group is unknown, the term falls, a second vote in a term, entries that leave a hole or fall in term or
    /// lie at or below the log start, or an entry larger than [`Journal::entry_bytes_max`].
    pub fn append(
        &mut self,
        group: GroupId,
        hard_state: Option<HardState>,
        log_start: Option<(LogId, &[u8])>,
        entries: &[Entry],
    ) -> u64 {
        if let Some(hard_state) = hard_state {
            let record = Record::HardState { group, hard_state };
            self.reserve(record.bytes());
            let log = log(&mut self.logs, group);
            let checked = log.check_hard_state(&hard_state);
            assert!(checked.is_ok(), "group {group}: {checked:?}: {hard_state:?} after {:?}", log.hard_state);
            log.hard_state = hard_state;
            self.writer.push(&record, true);
        }
        if let Some((start, membership)) = log_start {
            let record = Record::LogStart { group, start, restart: true, membership };
            self.reserve(record.bytes());
            log(&mut self.logs, group).restart(start, membership, &mut self.chain);
            self.writer.push(&record, true);
        }
        for entry in entries {
            self.reserve_for(group, std::slice::from_ref(entry));
            let log = log(&mut self.logs, group);
            let checked = log.check_append(entry.id());
            assert!(checked.is_ok(), "group {group}: {checked:?}: {:?} after {:?}", entry.id(), log.last());
            let position = self.writer.push(&Record::entry(group, entry), false);
            log.append(entry.id(), position, &mut self.chain);
        }
        self.writer.last_batch()
    }

    /// The group's log starts after `log_start` from now on (purge), with the membership in force there; later entries
    /// stay. The store must hold the effect of what is dropped durably. Returns the number of the batch that says so.
    ///
    /// # Panics
    /// The group is unknown, or `log_start` is not in its log.
    pub fn compact(&mut self, group: GroupId, log_start: LogId, membership: &[u8]) -> u64 {
        let record = Record::LogStart { group, start: log_start, restart: false, membership };
        self.reserve(record.bytes());
        let log = log(&mut self.logs, group);
        let checked = log.check_compact(log_start);
        assert!(
            checked.is_ok(),
            "group {group}: {checked:?}: {log_start:?} in {:?}..{:?}",
            log.log_start(),
            log.last()
        );
        log.compact(log_start, membership, &mut self.chain);
        self.writer.push(&record, false);
        self.writer.last_batch()
    }

    /// Writes the whole log of a group once more, so that the segments it lies in are not needed for it any more. `entries` are all of it. In
    /// one batch, so that no crash leaves a part: until that is durable the old segments stay, and [`Journal::is_moving`].
    ///
    /// `false`, and nothing is done: these are not the entries that the log has, or they are more than a quarter of a segment.
    pub fn move_up(&mut self, group: GroupId, entries: &[Entry]) -> bool {
        let Some(log) = self.logs.get(&group) else { return false };
        let whole = log.is_complete() && entries.len() as u64 == log.entries();
        let mut next = log.log_start().index;
        let mut here = |entry: &Entry| {
            next = next.next();
            entry.index == next && log.term_of(next) == Some(entry.term)
        };
        let bytes: usize = entries.iter().map(|entry| Record::entry(group, entry).bytes()).sum();
        if !whole || !entries.iter().all(&mut here) || bytes as u64 > self.options.segment_bytes / 4 {
            return false;
        }
        self.reserve_for(group, entries);
        let log = self.logs.get_mut(&group).expect("it was just there");
        for entry in entries {
            let position = self.writer.push(&Record::entry(group, entry), false);
            log.append(entry.id(), position, &mut self.chain);
        }
        true
    }

    /// Whether the entry is here and not where it can be read yet: it will be when what is pending is written.
    pub fn is_moving(&self, group: GroupId, index: Index) -> bool {
        let position = self.logs.get(&group).and_then(|log| log.position(index));
        position.is_some_and(|position| !self.writer.is_written(position))
    }

    /// How many segment files are lacking: two spares always wait. Those begun with [`Journal::new_segment`] and not
    /// yet ready count as lacking, so the host subtracts what it has under way.
    pub fn spares_wanted(&self) -> usize {
        self.chain.spares_wanted()
    }

    /// The number of the next segment file to make. The host writes `segment_bytes` of zeros, or takes a reclaimed file,
    /// has [`super::blank`] look through it, and renames it; it syncs file and directory, then calls
    /// [`Journal::spare_ready`]. If that fails, try the same number again.
    pub fn new_segment(&mut self) -> SegmentId {
        self.chain.new_segment()
    }

    /// The file of `segment` exists and is durable in its directory.
    ///
    /// # Panics
    /// [`Journal::new_segment`] did not give that number.
    pub fn spare_ready(&mut self, segment: SegmentId) {
        assert!(self.chain.spare_ready(segment), "segment {segment} was not asked for");
    }

    /// Spares that are ready. New commands should be refused while there is none.
    pub fn spares_ready(&self) -> usize {
        self.chain.spares_ready()
    }

    /// The next write, closing the open batch if need be; `None` while one is in flight, when nothing is to be
    /// written, or while the file of the segment it goes to is not ready. Gives a seal when a hard state waits for
    /// one and nothing else is to be written, or after [`Journal::seal`].
    pub fn take_write(&mut self) -> Option<Write> {
        if self.writer.is_in_flight() {
            return None;
        }
        if !self.writer.has_closed() {
            if !self.writer.has_records() && !self.writer.must_seal() {
                return None;
            }
            self.close();
        }
        let segment = self.writer.next_segment()?;
        if !self.chain.is_ready(segment) {
            return None;
        }
        self.writer.take()
    }

    /// The write of `batch` is done *and synced*. Returns the highest batch that is promised now: a batch with a hard
    /// state (or a replica's creation) counts only once the header after it is durable too.
    ///
    /// # Panics
    /// `batch` is not in flight.
    pub fn write_done(&mut self, batch: u64) -> u64 {
        self.writer.done(batch);
        self.writer.promised()
    }

    /// A buffer of [`Write::bytes`] to be used again.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.writer.give_back(buffer);
    }

    /// The number of the batch that the next record goes to, if it fits. A seal may take this number while the batch
    /// is empty.
    pub fn open_batch(&self) -> u64 {
        self.writer.open_batch()
    }

    /// The highest batch that is promised.
    pub fn promised(&self) -> u64 {
        self.writer.promised()
    }

    /// Bytes appended and not yet taken: bounded by what the host admits, not here.
    pub fn pending_bytes(&self) -> usize {
        self.writer.pending_bytes()
    }

    /// Whether everything is written and the last batch is not sealed: when it stays so for 10 ms, call
    /// [`Journal::seal`].
    pub fn wants_seal(&self) -> bool {
        self.writer.wants_seal()
    }

    /// The next [`Journal::take_write`] gives a seal, unless a batch makes it superfluous.
    pub fn seal(&mut self) {
        self.writer.request_seal();
    }

    /// Where the durable entries `from..=last` of a group lie: as many as there are, without a gap, up to `bytes_max`
    /// bytes of payload but at least one. Empty if `from` is not in the journal, or not durable yet.
    ///
    /// Read them before their segment is recycled; [`Journal::decode_entry`] tells if it was too late.
    pub fn locate(&self, group: GroupId, from: Index, last: Index, bytes_max: usize) -> Vec<Extent> {
        let Some(log) = self.logs.get(&group) else { return Vec::new() };
        let (mut extents, mut bytes) = (Vec::new(), 0);
        let mut index = from;
        while index <= last {
            let (Some(position), Some(term)) = (log.position(index), log.term_of(index)) else { break };
            bytes += position.length as usize - ENTRY_RECORD_BYTES;
            if !self.writer.is_written(position) || (bytes > bytes_max && !extents.is_empty()) {
                break;
            }
            extents.push(Extent {
                group,
                segment: SegmentId(u64::from(position.segment)),
                offset: u64::from(position.offset),
                length: position.length as usize,
                id: LogId { term, index },
            });
            index = index.next();
        }
        extents
    }

    /// The entry at `extent`, from the `extent.length` bytes read there.
    ///
    /// # Errors
    /// They are not that entry: the disk rots, or the segment was recycled since [`Journal::locate`].
    pub fn decode_entry(&self, extent: &Extent, bytes: &[u8]) -> Result<Entry, Damage> {
        decode_entry(extent, bytes).ok_or(Damage { segment: extent.segment, offset: extent.offset, rot: Rot::Entry })
    }

    /// The largest payload of an entry, in bytes: what fits a segment of its own behind the smallest opening.
    pub fn entry_bytes_max(&self) -> u64 {
        self.options.segment_bytes / 2
    }

    /// Bytes of a group's log in the journal.
    pub fn log_bytes(&self, group: GroupId) -> u64 {
        self.logs.get(&group).map_or(0, Log::bytes)
    }

    /// The groups of this journal, ascending.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.logs.keys().copied()
    }

    /// Segments that nobody needs and no crash can bring back: rename each to a number of [`Journal::new_segment`],
    /// or delete it. Each is named once; after a crash, [`super::recover`] names the rest again.
    pub fn reclaim(&mut self) -> Vec<SegmentId> {
        self.chain.reclaim(self.writer.sealed())
    }

    /// The segments in use, oldest first; the last is the one being written, or to be written next.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> {
        self.chain.links().map(|link| link.segment)
    }

    /// The groups whose entries keep the oldest segment from being reclaimed: compact them. Empty if the current one
    /// is the only one.
    pub fn cold(&self) -> Vec<GroupId> {
        let oldest = self.chain.oldest_held();
        let holds = |log: &Log| log.front().is_some_and(|front| oldest == Some(SegmentId(u64::from(front.segment))));
        self.logs.iter().filter(|(_, log)| holds(log)).map(|(group, _)| *group).collect()
    }

    /// Makes room in the open batch for a record of `bytes`.
    fn reserve(&mut self, bytes: usize) {
        if self.writer.is_full(bytes) {
            self.close();
        }
        if self.writer.fits(bytes) {
            return;
        }
        if self.writer.has_records() {
            self.close();
        }
        self.roll(false);
        if self.writer.is_full(bytes) || !self.writer.fits(bytes) {
            self.close();
        }
        assert!(self.writer.fits(bytes), "a record of {bytes} bytes does not fit a segment");
    }

    /// Makes room in the open batch for entries, which is not that of an opening whose segment they name: if the opening were torn, they
    /// could pass for headers of it.
    fn reserve_for(&mut self, group: GroupId, entries: &[Entry]) {
        let bytes = entries.iter().map(|entry| Record::entry(group, entry).bytes()).sum();
        self.reserve(bytes);
        while let Some(segment) = self.writer.opening()
            && entries.iter().any(|entry| named_in(&entry.payload).any(|named| named == segment))
        {
            self.close();
            self.reserve(bytes);
        }
    }

    /// Begins the next segment with its opening: the list of segments and the table of replicas.
    pub(super) fn roll(&mut self, life_begins: bool) {
        let (place, crc) = self.writer.position();
        if !life_begins {
            self.chain.leave(place.offset, crc);
        }
        let segment = self.chain.roll(self.life);
        self.writer.open_segment(segment);
        if life_begins {
            self.writer.push(&Record::Life { life: self.life }, true);
        }
        self.writer.push(&Record::Segments(self.chain.rows()), false);
        for (group, log) in self.logs.iter() {
            self.writer.push(&Record::Row(log.row(*group)), false);
        }
        assert!(self.writer.fits(0), "an opening of {} groups does not fit segment {segment}", self.logs.len());
    }

    fn close(&mut self) {
        let segments =
            Segments { first: self.chain.first_needed(self.writer.open_batch()), next: self.chain.next_spare() };
        self.writer.close(segments);
    }
}

fn log(logs: &mut GroupMap<Log>, group: GroupId) -> &mut Log {
    let log = logs.get_mut(&group);
    assert!(log.is_some(), "group {group} is not in this journal");
    log.expect("the line above")
}

fn decode_entry(extent: &Extent, bytes: &[u8]) -> Option<Entry> {
    let raw = Raw::read(bytes).filter(|raw| raw.length == extent.length)?;
    match raw.parse().ok()? {
        Record::Entry { group, kind, id, payload } if group == extent.group && id == extent.id => {
            Some(Entry { term: id.term, index: id.index, kind, payload: Payload::from(payload) })
        }
        _ => None,
    }
}
