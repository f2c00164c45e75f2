//! Faults: what goes wrong, when, and for how long.

use crate::boot::Ending;
use crate::happening::{Happening, Inside};
use crate::plan::MS;
use crate::world::{Checked, World};
use engine_core::shard::Serving;
use engine_core::state_machine::model::Model;

/// The end of a fault, or its continuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// A node starts again.
    Start(u16),
    /// A node that has just started loses its power.
    Strike(u16),
    /// Something happens to a node that has just begun to lead.
    Ambush(u16),
    /// A node looks for a newer cluster map.
    Follow(u16),
    /// Cuts of the network may be over.
    Heal,
    /// Frames are lost no more often than usual.
    Calm,
    /// The disks of a node are as fast as usual.
    Fast(u16),
    /// The disks of a node have room.
    Room(u16),
}

impl World {
    /// One fault, and the time of the next.
    pub(crate) fn fault(&mut self) -> Checked {
        if self.peace {
            return Ok(());
        }
        let next = self.random.between(self.plan.fault_pause / 4, self.plan.fault_pause * 7 / 4);
        self.plan_in(next, Happening::Fault);
        let nodes = self.nodes.len() as u64;
        let node = match self.random.per_mille(500) {
            true => self.leading_node().unwrap_or(0),
            false => self.random.below(nodes) as u16,
        };
        match self.random.below(100) {
            0..24 => self.strike(node, 3_000)?,
            24..29 => {
                self.totals.count("crashes of all nodes");
                for node in 0..nodes as u16 {
                    self.strike(node, 800)?;
                }
            }
            29..37 => self.isolate(node),
            37..43 => self.cut_one_way(node),
            43..49 => self.split(),
            49..59 => {
                self.totals.count("pauses");
                let pause = self.random.tailed(20, 3_500) * MS;
                let state = &mut self.nodes[usize::from(node)];
                state.paused_until = state.paused_until.max(self.now + pause);
            }
            59..67 => {
                self.totals.count("slow disks");
                self.nodes[usize::from(node)].sync_extra = self.random.between(10, 400) * MS;
                let pause = self.random.between(200, 3_000) * MS;
                self.plan_in(pause, Happening::Relief(Relief::Fast(node)));
            }
            67..73 => {
                self.network.storm = self.random.between(50, 400);
                let pause = self.random.between(100, 1_500) * MS;
                self.plan_in(pause, Happening::Relief(Relief::Calm));
            }
            73..80 => {
                let other = self.random.below(nodes) as u16;
                self.lose_connection(node, other);
            }
            80..87 => {
                let core = self.random.below(u64::from(self.plan.shards(node))) as u16;
                self.nodes[usize::from(node)].failing_core = Some(core);
            }
            87..91 => {
                self.totals.count("full disks");
                self.nodes[usize::from(node)].disk_full = true;
                self.tell_all(node, || Inside::DiskFull);
                let pause = self.random.between(100, 1_500) * MS;
                self.plan_in(pause, Happening::Relief(Relief::Room(node)));
            }
            _ => {
                let patience = self.random.between(500, 3_000) * MS;
                let now = self.now;
                if let Some(process) = &mut self.nodes[usize::from(node)].process {
                    process.draining = Some(now + patience);
                }
                self.tell_all(node, || Inside::Drain);
            }
        }
        Ok(())
    }

    /// The end of a fault.
    pub(crate) fn relieve(&mut self, relief: Relief) -> Checked {
        match relief {
            Relief::Start(node) => {
                self.start(node)?;
                if !self.peace && self.random.per_mille(200) {
                    let pause = self.random.tailed(50, 60_000);
                    self.plan_in(pause, Happening::Relief(Relief::Strike(node)));
                }
            }
            Relief::Strike(node) if !self.peace => self.strike(node, 1_000)?,
            Relief::Ambush(node) if !self.peace => self.ambush(node)?,
            Relief::Strike(_) | Relief::Ambush(_) => {}
            Relief::Follow(node) => self.follow(node)?,
            Relief::Heal => self.heal(self.now),
            Relief::Calm => self.network.storm = 0,
            Relief::Fast(node) => self.nodes[usize::from(node)].sync_extra = 0,
            Relief::Room(node) => {
                self.nodes[usize::from(node)].disk_full = false;
                self.tell_all(node, || Inside::DiskFull);
            }
        }
        Ok(())
    }

    /// All faults end.
    pub(crate) fn make_peace(&mut self) -> Checked {
        self.peace = true;
        self.network.calm();
        self.heal(u64::MAX);
        for node in 0..self.nodes.len() as u16 {
            let state = &mut self.nodes[usize::from(node)];
            (state.sync_extra, state.failing_core, state.disk_full) = (0, None, false);
            state.paused_until = state.paused_until.min(self.now);
            if state.process.is_none() {
                let pause = self.random.between(0, 300) * MS;
                self.plan_in(pause, Happening::Relief(Relief::Start(node)));
            }
            self.tell_all(node, || Inside::DiskFull);
        }
        Ok(())
    }

    /// A node dies one way or the other, and comes back within `rest_max` milliseconds.
    fn strike(&mut self, node: u16, rest_max: u64) -> Checked {
        let ending = if self.random.per_mille(700) { Ending::PowerCut } else { Ending::Kill };
        if self.nodes[usize::from(node)].process.is_none() {
            return Ok(());
        }
        self.crash(node, ending)?;
        if !self.peace {
            match self.random.below(1_000) {
                0..120 => self.lose_store(node),
                120..400 => self.wipe(node),
                _ => {}
            }
        }
        let pause = self.random.tailed(1, rest_max) * MS;
        self.plan_in(pause, Happening::Relief(Relief::Start(node)));
        Ok(())
    }

    /// Between the steps of an install, so many times out of a thousand, a node dies.
    pub(crate) fn strike_soon(&mut self, node: u16, per_mille: u64) {
        if !self.peace && self.random.per_mille(per_mille) {
            let pause = self.random.tailed(0, 3_000);
            self.plan_in(pause, Happening::Relief(Relief::Strike(node)));
        }
    }

    /// The store of a core is gone when its node comes back; its log is not. One node at a time, as of a group
    /// whose stores are all lost nobody may lead.
    fn lose_store(&mut self, node: u16) {
        if self.lacks_a_store() || self.is_mending() {
            return;
        }
        self.totals.count("stores lost");
        let core = self.random.below(u64::from(self.plan.shards(node))) as usize;
        let state = &mut self.nodes[usize::from(node)];
        state.store_lost = true;
        state.disks[core].store = Model::new();
    }

    /// Whether a node that lost a store has not got everything back.
    pub(crate) fn lacks_a_store(&mut self) -> bool {
        for state in &mut self.nodes {
            let cores = state.process.iter().flat_map(|process| &process.cores);
            let mut views = cores.flat_map(|core| core.shard.views());
            if state.process.is_some() && views.all(|view| view.serving == Serving::Whole) {
                state.store_lost = false;
            }
        }
        self.nodes.iter().any(|state| state.store_lost)
    }

    /// A new leader's first words are its weakest moment: now and then something is planned for just then.
    pub(crate) fn ambush_leaders(&mut self) {
        for node in std::mem::take(&mut self.checker.new_leaders) {
            if !self.peace && self.random.per_mille(self.plan.ambush) {
                let pause = self.random.tailed(0, 30_000);
                self.plan_in(pause, Happening::Relief(Relief::Ambush(node)));
            }
        }
    }

    fn ambush(&mut self, node: u16) -> Checked {
        self.totals.count("ambushes of new leaders");
        match self.random.below(10) {
            0 => self.strike(node, 1_500)?,
            1 => self.cut_one_way(node),
            2..4 => {
                // Only one of the others hears it.
                let others: Vec<u16> = (0..self.nodes.len() as u16).filter(|other| *other != node).collect();
                let hears = *self.random.pick(&others);
                let deaf: Vec<(u16, u16)> =
                    others.iter().filter(|other| **other != hears).map(|other| (node, *other)).collect();
                self.cut_all(&deaf);
            }
            _ => self.isolate(node),
        }
        Ok(())
    }

    fn isolate(&mut self, node: u16) {
        let others = (0..self.nodes.len() as u16).filter(|other| *other != node);
        let cuts: Vec<(u16, u16)> = others.flat_map(|other| [(node, other), (other, node)]).collect();
        self.cut_all(&cuts);
    }

    fn cut_one_way(&mut self, node: u16) {
        let out = self.random.per_mille(500);
        let mut cuts = Vec::new();
        for other in (0..self.nodes.len() as u16).filter(|other| *other != node) {
            if self.random.per_mille(700) {
                cuts.push(if out { (node, other) } else { (other, node) });
            }
        }
        self.cut_all(&cuts);
    }

    fn split(&mut self) {
        let nodes = self.nodes.len() as u16;
        let side: Vec<bool> = (0..nodes).map(|_| self.random.per_mille(500)).collect();
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let cuts: Vec<(u16, u16)> =
            pairs.filter(|(from, to)| side[usize::from(*from)] != side[usize::from(*to)]).collect();
        self.cut_all(&cuts);
    }

    fn cut_all(&mut self, cuts: &[(u16, u16)]) {
        let pause = self.random.tailed(50, 5_000) * MS;
        for (from, to) in cuts {
            self.network.cut(*from, *to, self.now + pause);
        }
        self.plan_in(pause, Happening::Relief(Relief::Heal));
    }

    /// Both sides of a cut that is over notice that their old connections are gone.
    fn heal(&mut self, now: u64) {
        for (from, to) in self.network.healed(now) {
            self.tell_lost(from, to);
        }
    }

    fn lose_connection(&mut self, one: u16, other: u16) {
        if one != other {
            self.totals.count("connections lost");
            self.tell_lost(one, other);
            self.tell_lost(other, one);
        }
    }

    /// A node notices that its connections to another are gone.
    fn tell_lost(&mut self, node: u16, lost: u16) {
        for place in self.cores_of(node) {
            let noticed = self.random.tailed(50, 100_000);
            self.plan_in(noticed, Happening::Inside(place, Inside::PeerLost(lost)));
        }
    }

    fn tell_all(&mut self, node: u16, what: impl Fn() -> Inside) {
        for place in self.cores_of(node) {
            self.plan_in(0, Happening::Inside(place, what()));
        }
    }

    /// The node that leads most.
    fn leading_node(&self) -> Option<u16> {
        let led = |node: &crate::node::Node| {
            node.process.as_ref().map_or(0, |process| process.cores.iter().map(|core| core.shard.led()).sum())
        };
        let most = self.nodes.iter().map(led).enumerate().max_by_key(|(node, led): &(usize, usize)| (*led, *node))?;
        Some(most.0 as u16)
    }
}
