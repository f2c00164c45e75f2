//! Nodes that lose their whole disk, come back under a new incarnation, and how everybody follows the cluster map.
//!
//! As in `engine::node`: a node with an empty directory asks around until a map names it, and only then starts; a
//! node that runs asks another now and then whether there is a newer map, and hears of it from its own store if it
//! holds group 0. A map is kept before the cores are told.

use crate::happening::{Happening, Inside, Place};
use crate::nemesis::Relief;
use crate::plan::MS;
use crate::world::{Checked, Violation, World};
use engine_core::placement::cores::core_of;
use engine_core::placement::map::{ClusterMap, MAP_GROUP};
use engine_core::placement::petition::Petition;
use engine_core::shard::Event;
use raft::ids::GroupId;
use raft::replica::Role;

/// A node that comes back needs time for that before everything is looked at.
const LAST_WIPE: u64 = 19_000 * MS;

impl World {
    /// The disk of a node that does not run is gone, and it gets an empty one. One disk at a time: the next may go when
    /// every group has put the new replica in the place of the lost one, as else a majority could be gone.
    pub(crate) fn wipe(&mut self, node: u16) {
        // The same one may go again while it is being put back.
        let again = self.last_wiped == Some(node) && self.is_mending();
        if self.now > LAST_WIPE || self.is_mending() && !again || self.lacks_a_store() {
            return;
        }
        self.totals.count(if again { "disks wiped again before the node was back" } else { "disks wiped" });
        self.last_wiped = Some(node);
        let incarnation = self.random.number();
        let state = &mut self.nodes[usize::from(node)];
        state.wipe(incarnation);
        self.checker.wiped(node);
    }

    /// Whether a node that lost its disk has not been put back everywhere.
    pub(crate) fn is_mending(&self) -> bool {
        let newest = self.newest_map();
        let admitted = |(number, state): (usize, &crate::node::Node)| {
            newest.nodes[number].incarnation == state.incarnation && state.map.epoch == newest.epoch
        };
        let all_in = self.nodes.iter().enumerate().all(admitted);
        !all_in || newest.groups.iter().any(|group| self.as_wanted(&newest, group.id).is_err())
    }

    fn newest_map(&self) -> ClusterMap {
        self.nodes.iter().map(|node| &node.map).max_by_key(|map| map.epoch).expect("there are nodes").clone()
    }

    /// Whether the leader of a group has the members that the map wants, committed, and their states are whole.
    pub(crate) fn as_wanted(&self, map: &ClusterMap, group: GroupId) -> Checked {
        let mut wanted = map.group(group).map(|entry| entry.replicas.clone()).unwrap_or_default();
        wanted.sort_unstable();
        let mut found = "no leader".to_string();
        for (number, state) in self.nodes.iter().enumerate() {
            let core = core_of(group, self.plan.shards(number as u16));
            let Some(process) = &state.process else { continue };
            let shard = &process.cores[usize::from(core)].shard;
            let Some(replica) = shard.replica(group) else { continue };
            if replica.role() != Role::Leader {
                continue;
            }
            let there = replica.membership();
            let committed = replica.membership_index() <= replica.commit();
            if there.voters == wanted && !there.is_joint() && there.learners.is_empty() && committed {
                return Ok(());
            }
            found = format!("{there:?}, committed: {committed}");
        }
        Err(Violation(format!("group {group} should have the members {wanted:?} and has {found}")))
    }

    /// A node looks for a newer map; one that is in none asks to be taken in.
    pub(crate) fn follow(&mut self, node: u16) -> Checked {
        let pause = self.random.between(100, 500) * MS;
        self.plan_in(pause, Happening::Relief(Relief::Follow(node)));
        // One after the other, as only the leader of group 0 acts on a petition.
        let count = self.nodes.len() as u16;
        let asked = &mut self.nodes[usize::from(node)].asked;
        *asked = (*asked + 1) % count;
        let other = *asked;
        let passes = |from: u16, to: u16| !self.network.is_cut(((from, 0), (to, 0)), self.now);
        let asks = self.nodes[usize::from(node)].process.is_some() || self.nodes[usize::from(node)].wants_in();
        if !asks || other == node || !passes(node, other) || !passes(other, node) {
            return Ok(());
        }
        let paused = |node: u16| self.nodes[usize::from(node)].paused_until > self.now;
        if paused(node) || paused(other) || self.nodes[usize::from(other)].process.is_none() {
            return Ok(());
        }
        if self.nodes[usize::from(other)].map.epoch > self.nodes[usize::from(node)].map.epoch {
            let map = self.nodes[usize::from(other)].map.clone();
            return self.adopt_map(node, map);
        }
        if self.nodes[usize::from(node)].wants_in() {
            let state = &self.nodes[usize::from(node)];
            let entry = &state.map.nodes[usize::from(node)];
            let (name, replaces) = (entry.name.clone(), entry.incarnation);
            let (incarnation, shards) = (state.incarnation, self.plan.shards(node));
            // Whether it is passed on is decided before it comes to a core.
            let petition = Petition { name, incarnation, shards, replaces, insists: true };
            self.totals.count("petitions");
            if let Some(place) = self.open_core((other, core_of(MAP_GROUP, self.plan.shards(other)))) {
                let times = 1 + u64::from(self.random.per_mille(300));
                for time in 0..times {
                    let pause = self.random.tailed(50, 50_000) + time * self.random.tailed(50, 3_000_000);
                    self.plan_in(pause, Happening::Inside(place, Inside::Petition(petition.clone())));
                }
            }
        }
        Ok(())
    }

    /// The store of a core may hold a map that its node does not know yet.
    pub(crate) fn look_at_stored_map(&mut self, place: Place) {
        let stored = self.disks(place).store.map().map(|record| record.epoch);
        if stored.is_some_and(|epoch| epoch > self.nodes[usize::from(place.node)].map.epoch) {
            let pause = self.random.tailed(50, 50_000);
            self.plan_in(pause, Happening::Inside(place, Inside::MapStored));
        }
    }

    /// The node has heard of it.
    pub(crate) fn adopt_stored_map(&mut self, place: Place) -> Checked {
        let Some(record) = self.disks(place).store.map() else { return Ok(()) };
        let map = ClusterMap::decode(&record.map);
        let map = map.map_err(|error| Violation(format!("node {} holds a map that is none: {error}", place.node)))?;
        self.adopt_map(place.node, map)
    }

    fn adopt_map(&mut self, node: u16, map: ClusterMap) -> Checked {
        let state = &mut self.nodes[usize::from(node)];
        if map.epoch <= state.map.epoch {
            return Ok(());
        }
        self.totals.count("maps adopted");
        let was_in = !state.wants_in();
        state.map = map.clone();
        for place in self.cores_of(node) {
            self.handle(place, Event::Map(&map));
        }
        match (was_in, self.nodes[usize::from(node)].wants_in()) {
            (true, true) => Err(Violation(format!("node {node} was put out of the map though its disk is there"))),
            // Taken in: what waited for that goes on.
            (false, false) => self.start(node),
            _ => Ok(()),
        }
    }
}
