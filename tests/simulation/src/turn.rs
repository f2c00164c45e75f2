//! The rim of a core, as `engine::node` has it: the end of a turn, the journal's task and the store's thread.
//!
//! The order of what is done here is the order there. Where the rim awaits, time passes and something is planned. The engine's core
//! applies in its turn what memory knows enough of, and later what needs the disk: here everything comes later.

use crate::happening::{Happening, Inside, Place};
use crate::node::{StoreBusy, StoreWork};
use crate::world::{Checked, Violation, World};
use engine_core::journal::Extent;
use engine_core::shard::effects::{Replay, SnapshotStep};
use engine_core::shard::{Event, Pressure};
use engine_core::state_machine::ApplyRun;
use raft::entry::Entry;
use raft::ids::{GroupId, Index};
use raft::replica::Role;

/// After so long without a batch the last one is sealed.
const SEAL_AFTER: u64 = 10_000;

/// Between two looks whether an entry that is being written again is there.
const MOVES_FOR: u64 = 1_000;

/// Idle segments kept to be recycled.
const IDLE_MAX: usize = 2;

/// With more segments than this, logs are cut whoever still lacks them.
const SEGMENTS_PRESSED: usize = 24;

/// Bytes of runs that are merged into one write of the store.
const WRITE_BYTES_MAX: usize = 16 << 10;

impl World {
    /// One thing inside a process that is not paused.
    pub(crate) fn inside(&mut self, place: Place, inside: Inside) -> Checked {
        match inside {
            Inside::Tick => {
                if !self.core(place).stopping {
                    self.plan_in(self.plan.tick_of(place.node), Happening::Inside(place, Inside::Tick));
                    self.handle(place, Event::Tick);
                    self.tick_sendings(place);
                    self.drain_on(place);
                    self.move_logs_up(place);
                }
                Ok(())
            }
            Inside::Turn => self.turn(place),
            Inside::WriteDone(batch) => self.write_done(place, batch),
            Inside::SealTime(stirred) => {
                let core = self.core(place);
                if core.stirred == stirred && core.journal.wants_seal() {
                    core.journal.seal();
                    self.stir_journal(place);
                }
                Ok(())
            }
            Inside::SpareMade(id) => {
                let bytes = self.plan.journal.segment_bytes;
                self.disks(place).journal.finish_spare(id, bytes);
                let core = self.core(place);
                core.spares_ordered -= 1;
                core.journal.spare_ready(id);
                self.stir_journal(place);
                Ok(())
            }
            Inside::StoreApplied => self.store_applied(place),
            Inside::StoreSynced => {
                let disks = self.disks(place);
                let durable = disks.store.replicas().iter().map(|held| (held.group, held.applied)).collect();
                disks.store.sync();
                let core = self.core(place);
                core.store_busy = None;
                core.store_syncing = false;
                let pressed = self.core(place).journal.segments().count() > SEGMENTS_PRESSED;
                let pressure = if pressed { Pressure::Long } else { Pressure::None };
                self.handle(place, Event::StoreSynced { durable, pressure });
                self.start_store_work(place);
                Ok(())
            }
            Inside::StoreSnapshot => {
                let busy = self.core(place).store_busy.take().expect("the thread was at it");
                self.store_did(place, busy.then.expect("it was at a snapshot"));
                self.look_at_stored_map(place);
                self.start_store_work(place);
                Ok(())
            }
            Inside::Fetched(group, peer, from, extents) => {
                let entries = self.read_entries(place, from, &extents)?;
                self.totals.add("entries fetched for peers", entries.as_ref().map_or(0, Vec::len) as u64);
                self.handle(place, Event::Fetched { group, peer, entries: entries.map(Into::into) });
                Ok(())
            }
            Inside::Replay(replay) => {
                self.begin_replay(place, replay);
                Ok(())
            }
            Inside::Replayed(group, from, extents) => {
                // Gone from the journal: the shard knows whether a snapshot has replaced them.
                let entries = self.read_entries(place, from, &extents)?.unwrap_or_default();
                self.totals.add("entries replayed from the journal", entries.len() as u64);
                self.handle(place, Event::Replayed { group, entries: entries.into() });
                Ok(())
            }
            Inside::Read(read) => {
                self.answer_read(place, read);
                Ok(())
            }
            Inside::PeerLost(node) => {
                self.handle(place, Event::PeerLost { node });
                Ok(())
            }
            Inside::Drain => {
                self.handle(place, Event::Drain);
                Ok(())
            }
            Inside::Petition(petition) => {
                self.handle(place, Event::Petition(&petition));
                Ok(())
            }
            Inside::MapStored => self.adopt_stored_map(place),
            Inside::DiskFull => {
                let full = self.nodes[usize::from(place.node)].disk_full;
                self.handle(place, Event::DiskFull(full));
                Ok(())
            }
        }
    }

    /// Tells the shard one thing; its effects are carried out at the end of the turn.
    pub(crate) fn handle(&mut self, place: Place, event: Event<'_>) {
        let core = self.core(place);
        core.shard.handle(event, &mut core.effects);
        self.plan_turn(place);
    }

    pub(crate) fn plan_turn(&mut self, place: Place) {
        let core = self.core(place);
        if !std::mem::replace(&mut core.turn_planned, true) {
            let pause = self.random.tailed(1, 300);
            self.plan_in(pause, Happening::Inside(place, Inside::Turn));
        }
    }

    /// While a lease holds by its leader's clock, nobody leads a later term (rule 10): not from now on, if somebody of this core
    /// has just been elected, and not yet, if a lease here has just been renewed.
    fn check_leases(&self, place: Place) -> Checked {
        if self.plan.shard.lease == 0 {
            return Ok(());
        }
        let holds = |node: u16, replica: &raft::Replica| replica.holds_lease(self.plan.clock(node, self.now));
        let process = self.nodes[usize::from(place.node)].process.as_ref().expect("it runs");
        let shard = &process.cores[usize::from(place.core)].shard;
        for group in shard.views().filter(|view| view.role == Role::Leader).map(|view| view.group) {
            let own = shard.replica(group).expect("it was listed");
            for other in self.plan.nodes_of(group).filter(|other| *other != place.node) {
                let Some(process) = &self.nodes[usize::from(other)].process else { continue };
                let replica = process.cores.iter().find_map(|core| core.shard.replica(group));
                let Some(replica) = replica.filter(|replica| replica.role() == Role::Leader) else { continue };
                let (stale, fresh, leased) = match own.term() < replica.term() {
                    true => (place.node, other, holds(place.node, own)),
                    false => (other, place.node, holds(other, replica)),
                };
                if leased {
                    let why = format!("group {group}: node {stale} has a lease, and node {fresh} leads a later term");
                    return Err(Violation(why));
                }
            }
        }
        Ok(())
    }

    /// Ends a turn and carries its effects out.
    fn turn(&mut self, place: Place) -> Checked {
        let clock = self.plan.clock(place.node, self.now);
        let core = self.core(place);
        core.turn_planned = false;
        let mut effects = std::mem::take(&mut core.effects);
        core.shard.finish_at(clock, &mut effects);
        let process = self.nodes[usize::from(place.node)].process.as_ref().expect("it runs");
        let shard = &process.cores[usize::from(place.core)].shard;
        self.checker.turn(place, shard, &effects, &mut self.totals)?;
        self.check_leases(place)?;
        self.ambush_leaders();
        self.send(place, &mut effects.words, &mut effects.messages);
        let mut stir = false;
        if !effects.persist.is_empty() {
            let mut batch = 0;
            for persist in effects.persist.drain(..) {
                let start = persist.log_start.as_ref().map(|(start, membership)| (*start, membership.as_slice()));
                let journal = &mut self.core(place).journal;
                batch = journal.append(persist.group, persist.hard_state, start, &persist.entries);
                self.checker.lies_in(place, persist.group, batch);
            }
            self.core(place).unpersisted.push_back((effects.persist_number, batch));
            stir = true;
        }
        if !effects.apply.is_empty() {
            let runs = std::mem::take(&mut effects.apply);
            self.core(place).store_work.push_back(StoreWork::Apply(runs));
            self.start_store_work(place);
        }
        self.totals.add("reads under a lease", std::mem::take(&mut effects.leased));
        for (ticket, answer) in effects.answers.drain(..) {
            self.answer(place, ticket, answer.into());
        }
        for read in effects.reads.drain(..) {
            self.totals.count("reads confirmed");
            if self.random.per_mille(500) {
                self.answer_read(place, read);
            } else {
                let pause = self.random.tailed(20, 5_000);
                self.plan_in(pause, Happening::Inside(place, Inside::Read(read)));
            }
        }
        for (group, log_start, membership) in effects.compact.drain(..) {
            self.totals.count("logs compacted");
            self.core(place).journal.compact(group, log_start, &membership);
            stir = true;
        }
        if std::mem::take(&mut effects.want_store_sync) && !self.core(place).store_syncing {
            let core = self.core(place);
            core.store_syncing = true;
            core.store_work.push_back(StoreWork::Sync);
            self.start_store_work(place);
        }
        for step in effects.snapshot_steps.drain(..) {
            if let SnapshotStep::Abandon { group } = &step {
                self.abandon_receiving(place, *group);
            }
            self.core(place).store_work.push_back(StoreWork::Snapshot(step));
            self.start_store_work(place);
        }
        for wanted in effects.snapshots.drain(..) {
            self.start_sending(place, wanted);
        }
        for (group, peer) in effects.snapshots_over.drain(..) {
            self.call_off(place, group, peer);
        }
        for (group, fetch) in effects.fetch.drain(..) {
            let extents = self.core(place).journal.locate(group, fetch.from, fetch.last, fetch.bytes_max);
            let pause = self.random.tailed(50, 20_000);
            let read = Inside::Fetched(group, fetch.peer, fetch.from, extents);
            self.plan_in(pause, Happening::Inside(place, read));
        }
        for replay in effects.replay.drain(..) {
            self.begin_replay(place, replay);
        }
        self.core(place).effects = effects;
        if stir {
            self.stir_journal(place);
        }
        self.stop_if_done(place);
        Ok(())
    }

    /// Old entries for the store are read, once they are where they can be.
    fn begin_replay(&mut self, place: Place, replay: Replay) {
        let journal = &self.core(place).journal;
        if journal.is_moving(replay.group, replay.from) {
            return self.plan_in(MOVES_FOR, Happening::Inside(place, Inside::Replay(replay)));
        }
        let extents = journal.locate(replay.group, replay.from, replay.last, replay.bytes_max);
        let pause = self.random.tailed(50, 20_000);
        self.plan_in(pause, Happening::Inside(place, Inside::Replayed(replay.group, replay.from, extents)));
    }

    /// Now and then every log that memory has all of is written once more, not only where the journal is too long.
    fn move_logs_up(&mut self, place: Place) {
        if !self.random.per_mille(20) {
            return;
        }
        let core = self.core(place);
        let groups: Vec<GroupId> = core.journal.groups().collect();
        let mut moved = 0;
        for group in groups {
            let Some(replica) = core.shard.replica(group) else { continue };
            let (from, last) = (replica.log_start().index.next(), replica.last().index);
            let entries = replica.entries_in_memory(from, last, usize::MAX).unwrap_or_default();
            moved += u64::from(core.journal.move_up(group, &entries));
        }
        if moved > 0 {
            self.totals.add("logs written once more", moved);
            self.stir_journal(place);
        }
    }

    /// One round of the journal's task: spares are ordered, the next write begins, or a seal is waited for.
    pub(crate) fn stir_journal(&mut self, place: Place) {
        self.order_spares(place);
        let core = self.core(place);
        core.stirred += 1;
        let stirred = core.stirred;
        let Some(write) = core.journal.take_write() else {
            if core.stopping && core.unpersisted.is_empty() && core.journal.wants_seal() {
                core.journal.seal();
                return self.stir_journal(place);
            }
            if core.journal.wants_seal() {
                self.plan_in(SEAL_AFTER, Happening::Inside(place, Inside::SealTime(stirred)));
            }
            return;
        };
        let batch = write.batch;
        self.disks(place).journal.begin(write);
        let (low, high) = self.plan.sync;
        let took = self.random.tailed(low, high) + self.sync_extra(place.node);
        self.plan_in(took, Happening::DiskWritten(place, batch));
    }

    fn order_spares(&mut self, place: Place) {
        let core = self.core(place);
        let reclaimed = core.journal.reclaim();
        core.idle.extend(reclaimed);
        let wanted = core.journal.spares_wanted().saturating_sub(core.spares_ordered);
        for _ in 0..wanted {
            let core = self.core(place);
            let id = core.journal.new_segment();
            core.spares_ordered += 1;
            let old = core.idle.pop();
            if old.is_some() {
                self.totals.count("segments recycled");
            }
            self.disks(place).journal.begin_spare(id, old);
            let (low, high) = self.plan.sync;
            let took = self.random.tailed(low, high) * 3 + self.sync_extra(place.node);
            self.plan_in(took, Happening::Inside(place, Inside::SpareMade(id)));
        }
        let core = self.core(place);
        let surplus: Vec<_> = core.idle.drain(..core.idle.len().saturating_sub(IDLE_MAX)).collect();
        for id in surplus {
            self.totals.count("segments deleted");
            self.disks(place).journal.delete(id);
        }
    }

    /// A batch is written and synced: tells the shard what is durable now.
    fn write_done(&mut self, place: Place, batch: u64) -> Checked {
        let core = self.core(place);
        let promised = core.journal.write_done(batch);
        let mut through = None;
        while core.unpersisted.front().is_some_and(|(_, batch)| *batch <= promised) {
            through = core.unpersisted.pop_front().map(|(number, _)| number);
        }
        if core.recovered.is_some_and(|recovered| recovered <= promised) {
            core.recovered = None;
            self.report_recovered(place);
        }
        self.checker.promised(place, promised);
        if let Some(through) = through {
            self.handle(place, Event::Persisted { through });
        }
        self.plan_turn(place);
        self.stir_journal(place);
        Ok(())
    }

    /// All cores have what recovery wrote on their disks: the directory says so.
    fn report_recovered(&mut self, place: Place) {
        let node = &mut self.nodes[usize::from(place.node)];
        let process = node.process.as_ref().expect("it runs");
        node.created |= process.cores.iter().all(|core| core.recovered.is_none());
    }

    fn read_entries(&self, place: Place, from: Index, extents: &[Extent]) -> Result<Option<Vec<Entry>>, Violation> {
        let node = &self.nodes[usize::from(place.node)];
        let disk = &node.disks[usize::from(place.core)].journal;
        let journal = &node.process.as_ref().expect("it runs").cores[usize::from(place.core)].journal;
        let mut entries = Vec::with_capacity(extents.len());
        for extent in extents {
            let read = disk.read(extent).and_then(|bytes| journal.decode_entry(extent, bytes).ok());
            match read {
                Some(entry) => entries.push(entry),
                None if journal.locate(extent.group, extent.id.index, extent.id.index, 0) != [*extent] => break,
                None => return Err(Violation(format!("entry {:?} of group {} is rotten", extent.id, extent.group))),
            }
        }
        Ok(entries.first().is_some_and(|first| first.index == from).then_some(entries))
    }

    /// The store's thread takes what has gathered: runs up to a limit, and a sync behind them.
    pub(crate) fn start_store_work(&mut self, place: Place) {
        let extra = self.sync_extra(place.node);
        let core = self.core(place);
        if core.store_busy.is_some() || core.store_work.is_empty() {
            return;
        }
        let (mut runs, mut bytes, mut then) = (Vec::<ApplyRun>::new(), 0, None);
        while bytes < WRITE_BYTES_MAX {
            match core.store_work.pop_front() {
                Some(StoreWork::Apply(more)) => {
                    bytes += more.iter().map(ApplyRun::charge).sum::<usize>();
                    runs.extend(more);
                }
                after => {
                    then = after;
                    break;
                }
            }
        }
        let applies = !runs.is_empty();
        core.store_busy = Some(StoreBusy { runs, then });
        if applies {
            let took = self.random.tailed(10, 3_000) + extra / 8;
            self.plan_in(took, Happening::Inside(place, Inside::StoreApplied));
        } else {
            self.plan_store_rest(place);
        }
    }

    /// Plans what the store thread does behind the runs it took, if it took more than runs.
    fn plan_store_rest(&mut self, place: Place) {
        match self.core(place).store_busy.as_ref().and_then(|busy| busy.then.as_ref()) {
            Some(StoreWork::Sync) => self.plan_store_sync(place),
            Some(StoreWork::Snapshot(SnapshotStep::Install { .. })) => {
                let (low, high) = self.plan.sync;
                let took = 2 * self.random.tailed(low, high) + self.sync_extra(place.node);
                self.plan_in(took, Happening::Inside(place, Inside::StoreSnapshot));
            }
            Some(_) => {
                let took = self.random.tailed(10, 3_000);
                self.plan_in(took, Happening::Inside(place, Inside::StoreSnapshot));
            }
            None => self.start_store_work(place),
        }
    }

    fn plan_store_sync(&mut self, place: Place) {
        let (low, high) = self.plan.sync;
        let took = self.random.tailed(low, high) + self.sync_extra(place.node);
        self.plan_in(took, Happening::Inside(place, Inside::StoreSynced));
    }

    fn store_applied(&mut self, place: Place) -> Checked {
        let core = self.core(place);
        let busy = core.store_busy.take().expect("the thread was at it");
        let more = busy.then.is_some();
        if more {
            core.store_busy = Some(StoreBusy { runs: Vec::new(), then: busy.then });
        }
        let applied = self.disks(place).store.apply(&busy.runs);
        self.checker.applied(place, &applied)?;
        self.look_at_stored_map(place);
        for (run, charge) in applied.into_iter().zip(busy.runs.iter().map(ApplyRun::charge)) {
            self.handle(place, Event::Applied { run, bytes: charge });
        }
        if more {
            self.plan_store_rest(place);
        } else {
            self.start_store_work(place);
        }
        self.check_disk_image_sometimes(place)
    }

    /// A group's share of what the store of a node holds, for the checkers.
    pub(crate) fn holds(&self, node: u16, group: GroupId) -> &engine_core::state_machine::model::Model {
        let core = engine_core::placement::cores::core_of(group, self.plan.shards(node));
        &self.nodes[usize::from(node)].disks[usize::from(core)].store
    }
}
