//! How processes start and how they end.

use crate::disk::Cut;
use crate::happening::{Happening, Inside, Place};
use crate::node::{Core, Process};
use crate::plan::MS;
use crate::transfer::Transfers;
use crate::world::{Checked, Violation, World};
use engine_core::journal;
use engine_core::recovery::{self, Finding};
use engine_core::shard::{Effects, RECOVERED, Shard};
use engine_core::state_machine::StoredReplica;
use std::collections::{BTreeMap, VecDeque};

/// Between two looks of a core that stops at whether it has ended.
const STOPPING_LOOK: u64 = 10 * MS;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process dies, the machine lives on.
    Kill,
    /// The machine loses its power.
    PowerCut,
}

impl World {
    /// Starts the process of a node, as `engine::node` does: every core recovers before anything is promised.
    pub(crate) fn start(&mut self, node: u16) -> Checked {
        if self.nodes[usize::from(node)].process.is_some() || self.nodes[usize::from(node)].wants_in() {
            return Ok(());
        }
        self.nodes[usize::from(node)].life += 1;
        self.nodes[usize::from(node)].paused_until = 0;
        let mut cores = Vec::new();
        for core in 0..self.plan.shards(node) {
            cores.push(self.recover(node, core)?);
        }
        self.nodes[usize::from(node)].process = Some(Process { cores, draining: None });
        for place in self.cores_of(node) {
            let phase = self.random.below(self.plan.tick_of(node));
            self.plan_in(phase, Happening::Inside(place, Inside::Tick));
            self.plan_turn(place);
            self.stir_journal(place);
            self.look_at_stored_map(place);
        }
        Ok(())
    }

    fn recover(&mut self, node: u16, core: u16) -> Result<Core, Violation> {
        let wrong = |why: String| Violation(format!("node {node} core {core} cannot start: {why}"));
        let random = self.random.number();
        let state = &mut self.nodes[usize::from(node)];
        let disks = &mut state.disks[usize::from(core)];
        disks.store.reopen();
        let recovered = journal::recover(self.plan.journal, random.max(1), disks.journal.segments())
            .map_err(|error| wrong(error.to_string()))?;
        if let Some(damage) = recovered.damage {
            return Err(wrong(damage.to_string()));
        }
        if recovered.torn.is_some() {
            self.totals.count("torn writes");
        }
        let mut journal = recovered.journal;
        self.checker.recovered(node, &recovered.replicas)?;
        let lasts: BTreeMap<_, _> =
            recovered.replicas.iter().map(|log| (log.state.group, log.state.log_start)).collect();
        let place = recovery::Place { map: &state.map, record: &self.plan.record, node, core, created: state.created };
        let stored = disks.store.replicas();
        let mut starts = recovery::start(place, &mut journal, recovered.replicas, &stored)
            .map_err(|error| wrong(error.to_string()))?;
        for (group, finding) in &starts.findings {
            // A store that was lost is hollow where the log had been cut; nothing else may be amiss.
            if !matches!(finding, Finding::StoreBehind { .. }) || !state.store_lost {
                return Err(wrong(format!("group {group}: {finding}")));
            }
            self.totals.count("replicas that started hollow");
        }
        for start in &starts.groups {
            let restarts = lasts.get(&start.group).is_some_and(|last| *last < start.restored.log_start);
            if restarts {
                self.totals.count("starts at an install the journal had not heard of");
            }
        }
        for new in &starts.create {
            disks.store.create_replica(new.group, new.replica, &new.membership);
        }
        for start in &mut starts.groups {
            // How much of the log's end comes with recovery is a matter of bytes: the rest is read back when it is wanted.
            let tail = &mut start.restored.tail;
            let cut = self.random.between(0, 2 * tail.len() as u64) as usize;
            tail.drain(..cut % (tail.len() + 1));
        }
        let place = Place { node, core, life: state.life };
        self.checker.starts(place, journal.open_batch(), &starts.groups);
        let options = engine_core::shard::Options {
            node,
            start: state.life,
            seed: self.random.number(),
            ..self.plan.shard.clone()
        };
        Ok(Core {
            shard: Shard::new(options, &self.nodes[usize::from(node)].map, starts.groups),
            effects: Effects::default(),
            recovered: Some(journal.open_batch()),
            unpersisted: VecDeque::from([(RECOVERED, journal.open_batch())]),
            journal,
            spares_ordered: 0,
            idle: Vec::new(),
            stirred: 0,
            store_work: VecDeque::new(),
            store_busy: None,
            store_syncing: false,
            transfers: Transfers::default(),
            turn_planned: false,
            stopping: false,
            look_at: 0,
            stopped: false,
        })
    }

    /// A write reaches the platters; or its sync fails, and the process ends itself.
    pub(crate) fn disk_written(&mut self, place: Place, batch: u64) -> Checked {
        if !self.lives(place) {
            return Ok(());
        }
        if self.nodes[usize::from(place.node)].failing_core == Some(place.core) {
            self.nodes[usize::from(place.node)].failing_core = None;
            self.totals.count("failed syncs");
            self.disks(place).journal.fail();
            self.crash(place.node, Ending::Kill)?;
            let pause = self.random.tailed(1_000, 1_500_000);
            self.plan_in(pause, Happening::Relief(crate::nemesis::Relief::Start(place.node)));
            return Ok(());
        }
        self.disks(place).journal.finish();
        self.happen_later(place, Inside::WriteDone(batch));
        Ok(())
    }

    fn happen_later(&mut self, place: Place, inside: Inside) {
        let pause = self.random.tailed(0, 100);
        self.plan_in(pause, Happening::Inside(place, inside));
    }

    /// The process of a node ends at once.
    pub(crate) fn crash(&mut self, node: u16, ending: Ending) -> Checked {
        self.check_disk_images(node)?;
        let Some(process) = self.nodes[usize::from(node)].process.take() else { return Ok(()) };
        self.totals.count("crashes");
        if process.cores.iter().any(|core| core.recovered.is_some()) {
            self.totals.count("crashes during recovery");
        }
        if process.cores.iter().any(|core| core.transfers.receiving.is_some()) {
            self.totals.count("crashes while a snapshot came in");
        }
        let bytes = self.plan.journal.segment_bytes;
        let mut lost = false;
        for disks in &mut self.nodes[usize::from(node)].disks {
            let unsynced = disks.store.unsynced_batches();
            match ending {
                Ending::Kill => disks.journal.kill(&mut self.random, bytes),
                Ending::PowerCut => {
                    let cut = disks.journal.power_cut(&mut self.random, bytes);
                    lost |= cut != Cut::Nothing;
                    let kept = self.random.between(0, unsynced as u64) as usize;
                    self.totals.add("store batches lost", (unsynced - kept) as u64);
                    lost |= kept < unsynced;
                    disks.store.crash(kept);
                }
            }
        }
        match ending {
            Ending::Kill => self.totals.count("crashes that spared the page cache"),
            Ending::PowerCut if lost => self.totals.count("crashes with lost writes"),
            Ending::PowerCut => {}
        }
        self.gone(node);
        Ok(())
    }

    /// What others notice of a process that is gone.
    fn gone(&mut self, node: u16) {
        self.checker.ended(node);
        self.network.disconnect(node, self.now);
        for other in (0..self.nodes.len() as u16).filter(|other| *other != node) {
            for place in self.cores_of(other) {
                if self.random.per_mille(800) {
                    let noticed = self.random.tailed(100, 30_000);
                    self.plan_in(noticed, Happening::Inside(place, Inside::PeerLost(node)));
                }
            }
        }
    }

    /// A node that hands over: once it leads nothing, or its patience ends, it stops.
    pub(crate) fn drain_on(&mut self, place: Place) {
        let now = self.now;
        let Some(process) = &mut self.nodes[usize::from(place.node)].process else { return };
        let Some(until) = process.draining else { return };
        let core = &mut process.cores[usize::from(place.core)];
        if core.shard.to_hand_over() == 0 || now >= until {
            core.stopping = true;
            self.plan_turn(place);
        }
    }

    /// A core that stops has ended once everything is durable, sealed and applied, and the store synced.
    pub(crate) fn stop_if_done(&mut self, place: Place) {
        let now = self.now;
        let core = self.core(place);
        if core.stopping && !core.stopped && now >= core.look_at {
            // What it waits for may end without a turn.
            core.look_at = now + STOPPING_LOOK;
            self.plan_in(STOPPING_LOOK, Happening::Inside(place, Inside::Turn));
        }
        let core = self.core(place);
        if !core.stopping || !core.unpersisted.is_empty() || !core.shard.is_quiet() {
            return;
        }
        let wants_seal = core.journal.wants_seal();
        let store_quiet = core.store_busy.is_none() && core.store_work.is_empty();
        if wants_seal {
            return self.stir_journal(place);
        }
        if self.disks(place).journal.is_writing() || !store_quiet {
            return;
        }
        self.disks(place).store.sync();
        self.core(place).stopped = true;
        let node = &mut self.nodes[usize::from(place.node)];
        let ended = node.process.as_ref().is_some_and(|process| process.cores.iter().all(|core| core.stopped));
        if ended {
            node.process = None;
            self.totals.count("clean stops");
            let bytes = self.plan.journal.segment_bytes;
            for disks in &mut self.nodes[usize::from(place.node)].disks {
                disks.journal.kill(&mut self.random, bytes);
            }
            self.gone(place.node);
            let pause = self.random.tailed(1_000, 1_500_000);
            self.plan_in(pause, Happening::Relief(crate::nemesis::Relief::Start(place.node)));
        }
    }

    /// What every store would find in its journal if the power failed now and nothing unsynced survived.
    pub(crate) fn check_disk_images(&mut self, node: u16) -> Checked {
        if self.nodes[usize::from(node)].process.is_none() {
            return Ok(());
        }
        for core in 0..self.plan.shards(node) {
            self.check_disk_image(node, core)?;
        }
        Ok(())
    }

    pub(crate) fn check_disk_image_sometimes(&mut self, place: Place) -> Checked {
        match self.random.per_mille(3) {
            true => self.check_disk_image(place.node, place.core),
            false => Ok(()),
        }
    }

    fn check_disk_image(&mut self, node: u16, core: u16) -> Checked {
        self.totals.count("disk images checked");
        let wrong = |why: String| Violation(format!("node {node} core {core}, if the power failed now: {why}"));
        let disks = &self.nodes[usize::from(node)].disks[usize::from(core)];
        let recovered = journal::recover(self.plan.journal, u64::MAX, disks.journal.worst())
            .map_err(|error| wrong(error.to_string()))?;
        if let Some(damage) = recovered.damage {
            return Err(wrong(damage.to_string()));
        }
        for StoredReplica { group, applied, installed, .. } in disks.store.replicas() {
            let log = recovered.replicas.iter().find(|log| log.state.group == group);
            if applied.index.0 == 0 {
                continue;
            }
            let last = log.map_or(Default::default(), |log| log.last);
            let start = log.map_or(Default::default(), |log| log.state.log_start);
            let of_run = log.and_then(|log| log.terms.iter().rev().find(|(first, _)| *first <= applied.index));
            let term = if applied.index == start.index { Some(start.term) } else { of_run.map(|(_, term)| *term) };
            // A store that has switched to a snapshot explains itself.
            let ahead = applied.index > last.index || term != Some(applied.term);
            if ahead && installed != Some(applied) || applied.index < start.index {
                return Err(wrong(format!(
                    "group {group}: the store has applied {applied:?}, the journal ends at {last:?}"
                )));
            }
        }
        Ok(())
    }
}
