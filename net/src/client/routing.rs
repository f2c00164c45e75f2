//! Where a key's group is believed to be led: the cluster map, and what answers have taught since.

use engine_core::group_map::GroupMap;
use engine_core::placement::cores::core_of;
use engine_core::placement::map::ClusterMap;
use engine_core::placement::ring::Ring;
use raft::ids::GroupId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One version of the map, made ready for lookups.
#[derive(Debug)]
pub(super) struct Routing {
    pub(super) map: Rc<ClusterMap>,
    ring: Ring,
    /// Looked up for every request: with thousands of groups a search tree is several lines of memory away.
    groups: GroupMap<Route>,
    /// Cores that answers have named, by (node, group), where they differ from the rule.
    cores: BTreeMap<(u16, GroupId), u16>,
}

#[derive(Debug)]
struct Route {
    replicas: Vec<u16>,
    leader: u16,
}

impl Routing {
    /// The routes of `map`; of `before`, the leaders it had learned stay believed.
    pub(super) fn new(map: ClusterMap, before: Option<Routing>) -> Routing {
        let ring = map.ring();
        let mut groups = GroupMap::default();
        for group in &map.groups {
            let replicas: Vec<u16> = group.replicas.iter().map(|replica| replica.node()).collect();
            let known = before.as_ref().and_then(|before| before.groups.get(&group.id)).map(|route| route.leader);
            let leader = known.filter(|leader| replicas.contains(leader)).unwrap_or(replicas[0]);
            groups.insert(group.id, Route { replicas, leader });
        }
        Routing { map: Rc::new(map), ring, groups, cores: BTreeMap::new() }
    }

    pub(super) fn group_of(&self, key: &[u8]) -> GroupId {
        self.ring.group_of(key)
    }

    pub(super) fn data_groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.map.data_groups().map(|group| group.id)
    }

    /// The node believed to lead `group`; `None` if the map has no such group.
    pub(super) fn leader(&self, group: GroupId) -> Option<u16> {
        self.groups.get(&group).map(|route| route.leader)
    }

    /// The replica number `turn` of `group`, counted around.
    pub(super) fn replica(&self, group: GroupId, turn: usize) -> Option<u16> {
        self.groups.get(&group).map(|route| route.replicas[turn % route.replicas.len()])
    }

    /// The core of `node` that holds `group`; `shards` is what the node itself has said, which counts for more.
    pub(super) fn core(&self, node: u16, group: GroupId, shards: Option<u16>) -> u16 {
        if let Some(core) = self.cores.get(&(node, group)) {
            return *core;
        }
        let shards = shards.or(self.map.node(node).map(|entry| entry.shards));
        shards.filter(|shards| *shards > 0).map_or(0, |shards| core_of(group, shards))
    }

    /// `node` said that `group` is on its core `core`.
    pub(super) fn learn_core(&mut self, node: u16, group: GroupId, core: u16) {
        self.cores.insert((node, group), core);
    }

    /// `asked` does not lead `group`: it named another node, which is believed whoever says so, or cannot say, or could not
    /// be reached. That moves the belief on only if `asked` was taken for the leader: one failure of many requests moves it
    /// once. Returns whether the leader believed in now is another than `asked`.
    pub(super) fn not_leader(&mut self, group: GroupId, asked: u16, named: Option<u16>) -> bool {
        let nodes = self.map.nodes.len();
        let Some(route) = self.groups.get_mut(&group) else { return false };
        match named.filter(|named| *named != asked && usize::from(*named) < nodes) {
            Some(named) => route.leader = named,
            None if route.leader == asked => {
                let position = route.replicas.iter().position(|node| *node == asked).map_or(0, |position| position + 1);
                route.leader = route.replicas[position % route.replicas.len()];
            }
            None => {}
        }
        route.leader != asked
    }
}
