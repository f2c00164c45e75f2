//! The task of a core that moves journal batches to the disk's thread (`journal_disk.rs`), one at a time.
//!
//! While a write and its sync are under way, turns go on and fill the next batch; when it completes, what it made
//! durable is told to the shard by persist number.

use super::core::{Core, State};
use super::journal_disk::Batch;
use super::journal_files::{Spare, is_shortage};
use super::journal_past::Wanted;
use super::last_words;
use super::queue::{self, Sender};
use super::runtime;
use super::storing::Urgency;
use engine_core::journal::{Extent, SegmentId};
use engine_core::shard::{Event, Pressure};
use raft::entry::{Entries, Entry};
use raft::ids::{GroupId, Index};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// After so long without a batch the last one is sealed, so that it can never be taken for a torn one.
const SEAL_AFTER: Duration = Duration::from_millis(10);

/// With more segments than this the store is asked to make durable what it holds, so that logs, however short, can be cut:
/// every start of a node opens a segment, and all of them are read at the next one.
const SEGMENTS_MAX: usize = 6;

/// With more segments than this, logs are cut whoever still lacks them: a group that is hardly written to, with a member
/// that is down, would keep every segment since.
const SEGMENTS_PRESSED: usize = 24;

/// With more segments than this, small logs that cannot be cut are written once more: one group that has lost its quorum must not keep
/// every segment of all the others until the disk is full.
const SEGMENTS_HELD: usize = 48;

/// Bytes of old entries read at once; more only for one that is larger.
const SPAN_BYTES_MAX: u64 = 256 << 10;

/// Between two looks whether an entry that is being written again is there.
const MOVES_FOR: Duration = Duration::from_millis(2);

/// Between two attempts to read when something ran out that this takes.
const SHORT_FOR: Duration = Duration::from_millis(100);

/// Bytes of other groups between two entries that are read along, as another read costs more.
const GAP_BYTES_MAX: u64 = 32 << 10;

/// Runs until the core stops and everything is durable and sealed.
pub async fn run(core: Rc<Core>) {
    loop {
        order_spares(&mut core.state.borrow_mut(), &core.spares, false);
        let write = core.state.borrow_mut().journal.take_write();
        let Some(write) = write else {
            if core.is_done() {
                if !core.state.borrow().journal.wants_seal() {
                    return;
                }
                core.state.borrow_mut().journal.seal();
                continue;
            }
            // A core with nothing to seal sleeps until something happens: a timer would wake it a hundred times a second.
            if !core.state.borrow().journal.wants_seal() {
                core.journal_bell.wait().await;
            } else if !core.journal_bell.wait_for(SEAL_AFTER).await {
                core.state.borrow_mut().journal.seal();
            }
            continue;
        };
        let (began, bytes) = (core.now(), write.bytes.len() as u64);
        let sync = core.settings.journal.fsync;
        core.disk.send(Batch { segment: write.segment, offset: write.offset, bytes: write.bytes, sync });
        core.writing.set(Some(0));
        let buffer = core.written.wait().await;
        core.writing.set(None);
        {
            let counters = &mut core.state.borrow_mut().clients.counters;
            counters.journal_batches.record(bytes);
            counters.journal_syncs.record(core.now() - began);
        }
        core.persisted(write.batch, buffer);
    }
}

/// Asks the helper for the spares that the journal wants.
fn order_spares(state: &mut State, spares: &Sender<Spare>, look: bool) {
    for order in state.spare_orders.next(&mut state.journal, look) {
        spares.send(order);
    }
}

/// How much logs are to be cut: there are many segments, or there is no room for another one.
pub fn pressure(state: &State) -> Pressure {
    if state.spare_orders.is_full() {
        Pressure::NoRoom
    } else if state.spare_orders.is_short() || state.journal.segments().count() > SEGMENTS_PRESSED {
        Pressure::Long
    } else {
        Pressure::None
    }
}

/// While there was no room for a spare: has logs cut, and sees whether there is some. To be called now and then.
pub fn look_for_room(state: &mut State, spares: &Sender<Spare>) {
    if state.spare_orders.is_short() {
        state.storing.want_sync(Urgency::Now);
        order_spares(state, spares, true);
    }
}

/// Has the logs cut, or moved to the end, of those groups that keep the oldest segment. To be called now and then.
pub fn keep_short(core: &Core) {
    let state = &mut *core.state.borrow_mut();
    let segments = state.journal.segments().count();
    if segments > SEGMENTS_MAX {
        state.storing.want_sync(Urgency::Now);
    }
    look_for_room(state, &core.spares);
    if segments <= SEGMENTS_HELD {
        return;
    }
    // What is mostly of use is not made shorter by writing it again.
    let held: u64 = state.journal.groups().map(|group| state.journal.log_bytes(group)).sum();
    let segment = core.settings.journal.segment;
    // Nor does it help while the disk does not take what was moved before.
    let waits = state.journal.spares_ready() == 0 || state.journal.pending_bytes() as u64 > segment / 4;
    if held > segments as u64 * segment / 4 || waits {
        return;
    }
    let mut left = (segment / 4) as usize;
    for group in state.journal.cold() {
        if left == 0 {
            break;
        }
        let Some(replica) = state.shard.replica(group) else { continue };
        let (from, last) = (replica.log_start().index.next(), replica.last().index);
        let entries = replica.entries_in_memory(from, last, left).unwrap_or_default();
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        if state.journal.move_up(group, &entries) {
            tracing::info!(core = core.index, %group, bytes, segments, "a log that cannot be cut is written once more");
            left = left.saturating_sub(bytes);
            core.journal_bell.ring();
        }
    }
}

/// A spare that was ordered is there.
pub fn spare_ready(core: &Core, id: SegmentId) {
    let state = &mut *core.state.borrow_mut();
    state.spare_orders.made();
    state.journal.spare_ready(id);
    core.journal_bell.ring();
}

/// There was no room for a spare: it is ordered again, of a segment that has fallen idle meanwhile if there is one, as that needs none. So
/// that there is one, logs are cut: every start takes a spare, and without any the next one could not begin its life.
pub fn spare_failed(core: &Core, id: SegmentId, old: Option<SegmentId>, full: bool) {
    let state = &mut *core.state.borrow_mut();
    state.spare_orders.failed(id, old, full);
    state.storing.want_sync(Urgency::Now);
    core.turn_bell.ring();
    core.journal_bell.ring();
}

/// Reads old entries of a group back, for a slow peer or for the own store; `None` if they are not there any more.
pub async fn read_entries(core: &Core, group: GroupId, from: Index, last: Index, bytes_max: usize) -> Option<Entries> {
    while core.state.borrow().journal.is_moving(group, from) {
        runtime::sleep(MOVES_FOR).await;
    }
    let extents = core.state.borrow().journal.locate(group, from, last, bytes_max);
    let mut entries = Entries::with_capacity(extents.len());
    let mut left = extents.as_slice();
    while let Some(first) = left.first() {
        let (count, length) = span(left);
        let (together, rest) = left.split_at(count);
        left = rest;
        let Some(bytes) = read(core, first, length).await else { break };
        for extent in together {
            let begin = (extent.offset - first.offset) as usize;
            let entry = core.state.borrow().journal.decode_entry(extent, &bytes[begin..begin + extent.length]);
            match entry {
                Ok(entry) => entries.push(entry),
                Err(_) if !stays(core, extent) => return whole(entries, from),
                // Rot below the durable position: what this disk says can no longer be trusted.
                Err(damage) => {
                    let core = core.index;
                    let say = || tracing::error!(core, %group, ?damage, "a journal entry is damaged; stopping at once");
                    last_words::stop(say);
                }
            }
        }
    }
    whole(entries, from)
}

/// So many bytes from where `first` lies; `None` if it does not lie there any more.
async fn read(core: &Core, first: &Extent, length: usize) -> Option<Vec<u8>> {
    loop {
        let (reply, inbox) = queue::inbox_here();
        core.past.send(Wanted { segment: first.segment, offset: first.offset, length, reply });
        let bytes = inbox.receive().await.expect("whoever is asked answers");
        // While this task waited, the entry may have been dropped and its segment recycled.
        if !stays(core, first) {
            return None;
        }
        match bytes {
            // No descriptor for the file: the entry waits, as whoever wants it does.
            Err(error) if is_shortage(&error) => runtime::sleep(SHORT_FOR).await,
            bytes => return Some(bytes.unwrap_or_else(|error| fail(core, &error))),
        }
    }
}

/// Entries that begin where they were asked for, if there are any.
fn whole(entries: Entries, from: Index) -> Option<Entries> {
    match entries.first() {
        Some(first) if first.index == from => Some(entries),
        _ => None,
    }
}

/// Whether the entry still lies where it was found.
fn stays(core: &Core, extent: &Extent) -> bool {
    core.state.borrow().journal.locate(extent.group, extent.id.index, extent.id.index, 0) == [*extent]
}

/// How many of `extents`, of which there is one at least, are worth one read, and of how many bytes.
fn span(extents: &[Extent]) -> (usize, usize) {
    let first = &extents[0];
    let mut end = first.offset + first.length as u64;
    let mut count = 1;
    for extent in &extents[1..] {
        let next = extent.offset + extent.length as u64;
        let near = extent.segment == first.segment && extent.offset >= end && extent.offset - end <= GAP_BYTES_MAX;
        if !near || next - first.offset > SPAN_BYTES_MAX {
            break;
        }
        end = next;
        count += 1;
    }
    (count, (end - first.offset) as usize)
}

/// A tick passes. A disk that does not answer for so long that settings forbid it ends the process (rule 23). In ticks, as those that pass
/// while the process stands still are not the disk's.
pub fn watch_disk(core: &Core) {
    let Some(ticks) = core.writing.get() else { return };
    core.writing.set(Some(ticks + 1));
    let limit = core.settings.journal.sync_limit;
    // Others must have had the time to lead.
    let least = core.settings.raft.election_timeout * 4;
    if !limit.is_zero() && core.facts.tick * ticks > limit.max(least) {
        let say = || tracing::error!(core = core.index, ?limit, "the disk does not take the journal; stopping at once");
        last_words::stop(say);
    }
}

fn fail(core: &Core, error: &io::Error) -> ! {
    last_words::stop(|| tracing::error!(core = core.index, %error, "the journal failed; stopping at once"))
}

impl Core {
    /// A batch is written and synced: tells the shard what is durable now.
    fn persisted(&self, batch: u64, buffer: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        state.journal.give_back(buffer);
        let promised = state.journal.write_done(batch);
        let mut through = None;
        while state.unpersisted.front().is_some_and(|(_, batch)| *batch <= promised) {
            through = state.unpersisted.pop_front().map(|(number, _)| number);
        }
        drop(state);
        self.report_recovered(promised);
        if let Some(through) = through {
            self.handle(Event::Persisted { through });
        }
    }

    /// Fetches entries for a peer, in a task of its own.
    pub(super) fn fetch(self: &Rc<Self>, group: GroupId, fetch: raft::ready::Fetch) {
        let core = self.clone();
        runtime::spawn(async move {
            let entries = read_entries(&core, group, fetch.from, fetch.last, fetch.bytes_max).await;
            core.handle(Event::Fetched { group, peer: fetch.peer, entries });
        });
    }

    /// Fetches entries for the own store, in a task of its own.
    pub(super) fn replay(self: &Rc<Self>, replay: engine_core::shard::effects::Replay) {
        let core = self.clone();
        runtime::spawn(async move {
            let entries = read_entries(&core, replay.group, replay.from, replay.last, replay.bytes_max).await;
            // Gone from the journal: the shard knows whether a snapshot has replaced them.
            let entries = entries.unwrap_or_default();
            core.handle(Event::Replayed { group: replay.group, entries });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{GAP_BYTES_MAX, SPAN_BYTES_MAX, span};
    use engine_core::journal::{Extent, SegmentId};
    use raft::entry::LogId;
    use raft::ids::GroupId;

    fn extent(segment: u64, offset: u64, length: usize) -> Extent {
        Extent { group: GroupId(1), segment: SegmentId(segment), offset, length, id: LogId::default() }
    }

    #[test]
    fn neighbours_are_read_at_once_and_nobody_else() {
        let gap = GAP_BYTES_MAX;
        assert_eq!(span(&[extent(1, 100, 50)]), (1, 50));
        assert_eq!(span(&[extent(1, 100, 50), extent(1, 150, 50), extent(1, 200 + gap, 50)]), (3, 150 + gap as usize));
        assert_eq!(span(&[extent(1, 100, 50), extent(1, 151 + gap, 50)]), (1, 50), "too far");
        assert_eq!(span(&[extent(1, 100, 50), extent(2, 150, 50)]), (1, 50), "another segment");
        assert_eq!(span(&[extent(2, 100, 50), extent(2, 40, 50)]), (1, 50), "a recycled place before it");
        let large = SPAN_BYTES_MAX as usize;
        assert_eq!(span(&[extent(1, 0, 2 * large), extent(1, 2 * large as u64, 1)]), (1, 2 * large));
        assert_eq!(span(&[extent(1, 0, large), extent(1, large as u64, 1)]), (1, large));
    }
}
