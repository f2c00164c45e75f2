//! The task of a core that moves journal batches to the disk, one at a time.
//!
//! While a write and its sync are under way, turns go on and fill the next batch; when it completes, what it made
//! durable is told to the shard by persist number. An error ends the process: no retry, no answer (rule 12).

use super::core::Core;
use super::journal_files::{self, Spare};
use super::runtime::{self, file::SegmentFile};
use engine_core::journal::SegmentId;
use engine_core::shard::Event;
use raft::entry::Entry;
use raft::ids::{GroupId, Index};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// After so long without a batch the last one is sealed, so that it can never be taken for a torn one.
const SEAL_AFTER: Duration = Duration::from_millis(10);

/// Idle segments kept to be recycled.
const IDLE_MAX: usize = 2;

/// Segment files kept open for reading old entries back.
const OPEN_FILES_MAX: usize = 8;

/// The open files of a journal. Lives in the journal task and in the reads it serves.
#[derive(Debug, Default)]
pub struct Files {
    open: BTreeMap<SegmentId, Rc<SegmentFile>>,
}

/// Runs until the core stops and everything is durable and sealed.
pub async fn run(core: Rc<Core>) {
    let mut current: Option<(SegmentId, SegmentFile)> = None;
    loop {
        order_spares(&core);
        let write = core.state.borrow_mut().journal.take_write();
        let Some(write) = write else {
            if core.is_done() {
                if !core.state.borrow().journal.wants_seal() {
                    return;
                }
                core.state.borrow_mut().journal.seal();
                continue;
            }
            if !core.journal_bell.wait_for(SEAL_AFTER).await && core.state.borrow().journal.wants_seal() {
                core.state.borrow_mut().journal.seal();
            }
            continue;
        };
        if current.as_ref().is_none_or(|(id, _)| *id != write.segment) {
            if let Some((_, old)) = current.take() {
                old.close().await.unwrap_or_else(|error| fail(&core, &error));
            }
            let path = journal_files::path(&core.journal_directory, write.segment);
            let file = SegmentFile::open(&path, core.direct_io).await.unwrap_or_else(|error| fail(&core, &error));
            current = Some((write.segment, file));
        }
        let (_, file) = current.as_ref().expect("it was just opened");
        let sync = core.settings.journal.fsync;
        let (began, bytes) = (core.now(), write.bytes.len() as u64);
        let buffer = file.write(write.bytes, write.offset, sync).await.unwrap_or_else(|error| fail(&core, &error));
        {
            let counters = &mut core.state.borrow_mut().clients.counters;
            counters.journal_batches.record(bytes);
            counters.journal_syncs.record(core.now() - began);
        }
        core.persisted(write.batch, buffer);
    }
}

/// Asks the helper for spares the journal wants, out of segments it needs no more.
fn order_spares(core: &Core) {
    let state = &mut *core.state.borrow_mut();
    state.idle.extend(state.journal.reclaim());
    for _ in 0..state.journal.spares_wanted().saturating_sub(state.spares_ordered) {
        let id = state.journal.new_segment();
        state.spares_ordered += 1;
        let old = state.idle.pop();
        core.spares.send(Spare::Make { id, old });
    }
    // A segment falls idle long before the next spare is wanted: some wait for that.
    for id in state.idle.drain(..state.idle.len().saturating_sub(IDLE_MAX)) {
        core.spares.send(Spare::Delete(id));
    }
}

/// Reads old entries of a group back, for a slow peer or for the own store; `None` if they are not there any more.
pub async fn read_entries(
    core: &Core,
    group: GroupId,
    from: Index,
    last: Index,
    bytes_max: usize,
) -> Option<Vec<Entry>> {
    let extents = core.state.borrow().journal.locate(group, from, last, bytes_max);
    let mut entries = Vec::with_capacity(extents.len());
    for extent in &extents {
        let file = open(core, extent.segment).await;
        // While this task waited, the entry may have been dropped and its segment recycled.
        if core.state.borrow().journal.locate(group, extent.id.index, extent.id.index, 0) != [*extent] {
            break;
        }
        let file = file.unwrap_or_else(|error| fail(core, &error));
        let bytes = file.read(extent.offset, extent.length).await.unwrap_or_else(|error| fail(core, &error));
        let (entry, stays) = {
            let journal = &core.state.borrow().journal;
            let stays = journal.locate(group, extent.id.index, extent.id.index, 0) == [*extent];
            (journal.decode_entry(extent, &bytes), stays)
        };
        match entry {
            Ok(entry) => entries.push(entry),
            Err(_) if !stays => break,
            // Rot below the durable position: what this disk says can no longer be trusted.
            Err(damage) => {
                tracing::error!(core = core.index, %group, ?damage, "a journal entry is damaged; stopping at once");
                std::process::abort();
            }
        }
    }
    match entries.first() {
        Some(first) if first.index == from => Some(entries),
        _ => None,
    }
}

async fn open(core: &Core, id: SegmentId) -> io::Result<Rc<SegmentFile>> {
    if let Some(file) = core.files.borrow().open.get(&id) {
        return Ok(file.clone());
    }
    let path = journal_files::path(&core.journal_directory, id);
    let file = Rc::new(SegmentFile::open(&path, core.direct_io).await?);
    let mut files = core.files.borrow_mut();
    if files.open.len() >= OPEN_FILES_MAX {
        files.open.pop_first();
    }
    files.open.insert(id, file.clone());
    Ok(file)
}

fn fail(core: &Core, error: &io::Error) -> ! {
    tracing::error!(core = core.index, %error, "the journal failed; stopping at once without another answer");
    std::process::abort()
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
