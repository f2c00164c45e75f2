//! The end of a world: everybody agrees, everything acknowledged is there, every history makes sense.

use crate::plan::OPERATIONS_MIN;
use crate::work;
use crate::world::{Checked, Violation, World};
use raft::ids::GroupId;
use raft::replica::Role;

impl World {
    /// Looks at everything once more, faults being over for more than eight seconds.
    pub(crate) fn judge(&mut self) -> Checked {
        let groups: Vec<GroupId> = self.plan.map.groups.iter().map(|group| group.id).collect();
        let map = self.nodes.iter().map(|node| &node.map).max_by_key(|map| map.epoch).expect("there are nodes").clone();
        for group in groups {
            self.as_wanted(&map, group)?;
            self.judge_group(group).map_err(|Violation(why)| Violation(format!("{why}{}", self.views(group))))?;
        }
        let operations = self.totals.of("operations");
        if operations < OPERATIONS_MIN {
            return Err(Violation(format!("clients began only {operations} operations")));
        }
        if self.checker.starved > 0 {
            let starved = self.checker.starved;
            return Err(Violation(format!("{starved} operations found no answer though nothing was wrong any more")));
        }
        if self.final_reads != self.plan.keys.len() {
            let (read, keys) = (self.final_reads, self.plan.keys.len());
            return Err(Violation(format!("the last reader has read {read} of {keys} keys")));
        }
        let last = self.clients.last().expect("the last reader");
        for key in self.plan.keys.len() - self.plan.counters..self.plan.keys.len() {
            let found = last.seen[&key].as_deref().map_or(0, work::count_of);
            self.history.check_counter(key, found)?;
        }
        self.history.check(&self.plan.keys)
    }

    /// What every replica of a group says of itself, and its leader of the others.
    fn views(&self, group: GroupId) -> String {
        let mut words = String::new();
        for node in &self.nodes {
            let cores = node.process.iter().flat_map(|process| &process.cores);
            for view in cores.flat_map(|core| core.shard.views().map(move |view| (core, view))) {
                let (core, view) = view;
                let Some(replica) = core.shard.replica(group).filter(|_| view.group == group) else { continue };
                words.push_str(&format!("\n  {view:?}"));
                replica.peers().for_each(|peer| words.push_str(&format!("\n    {peer:?}")));
            }
        }
        words
    }

    /// Every group has a leader, and what its replicas hold is the same.
    fn judge_group(&self, group: GroupId) -> Checked {
        let nodes: Vec<u16> = self.plan.nodes_of(group).collect();
        let mut leaders = 0;
        let mut first = None;
        for node in nodes {
            let core = engine_core::placement::cores::core_of(group, self.plan.shards(node));
            let process = self.nodes[usize::from(node)].process.as_ref();
            let replica = process.and_then(|process| process.cores[usize::from(core)].shard.replica(group));
            let Some(replica) = replica else {
                return Err(Violation(format!("group {group}: node {node} does not run at the end")));
            };
            leaders += usize::from(replica.role() == Role::Leader);
            let store = self.holds(node, group);
            let held = (store.checksum(group), store.sessions(group));
            if held.0.applied.index != self.checker.committed(group) {
                let (applied, committed) = (held.0.applied.index, self.checker.committed(group));
                return Err(Violation(format!(
                    "group {group}: node {node} has applied {applied} of {committed} at the end"
                )));
            }
            let (there, equal) = first.get_or_insert((node, held.clone()));
            if *equal != held {
                return Err(Violation(format!("group {group}: nodes {there} and {node} hold different things")));
            }
        }
        match leaders {
            1 => Ok(()),
            _ => Err(Violation(format!("group {group} has {leaders} leaders at the end"))),
        }
    }
}
