//! Where a key's group is believed to be led: the cluster map, and what answers have taught since.

use engine_core::group_map::GroupMap;
use engine_core::placement::cores::core_of;
use engine_core::placement::map::{ClusterMap, MAP_GROUP};
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
    /// The groups with data that each core of a node is believed to lead, of those that lead any.
    led: BTreeMap<(u16, u16), Vec<GroupId>>,
    /// Cores that answers have named, by (node, group), where they differ from the rule.
    cores: BTreeMap<(u16, GroupId), u16>,
}

#[derive(Debug)]
struct Route {
    replicas: Vec<u16>,
    leader: u16,
    /// Where it stands among those that its leader's core leads.
    turn: usize,
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
            groups.insert(group.id, Route { replicas, leader, turn: 0 });
        }
        let map = Rc::new(map);
        let mut routing = Routing { map: map.clone(), ring, groups, led: BTreeMap::new(), cores: BTreeMap::new() };
        for group in map.data_groups() {
            if let Some(leader) = routing.leader(group.id) {
                routing.count(group.id, leader);
            }
        }
        routing
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

    /// Which of the connections to a core of `node` the request number `turn` of `group` takes, where there are `connections` to all
    /// that lead together. A group has one of them, or several in turn where there are more than groups.
    pub(super) fn lane(&self, node: u16, group: GroupId, turn: u32, connections: u16) -> u16 {
        if connections <= 1 {
            return 0;
        }
        let lanes = usize::from(connections).div_ceil(self.led.len().max(1));
        let led = self.led.get(&self.place(node, group)).map_or(1, Vec::len);
        let of_group = self.groups.get(&group).map_or(0, |route| route.turn);
        let each = lanes.div_ceil(led);
        ((of_group * each + turn as usize % each) % lanes) as u16
    }

    /// Where `group` is on `node` by the rule.
    fn place(&self, node: u16, group: GroupId) -> (u16, u16) {
        let shards = self.map.node(node).map_or(0, |entry| entry.shards);
        (node, if shards > 0 { core_of(group, shards) } else { 0 })
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
        let before = route.leader;
        match named.filter(|named| *named != asked && usize::from(*named) < nodes) {
            Some(named) => route.leader = named,
            None if route.leader == asked => {
                let position = route.replicas.iter().position(|node| *node == asked).map_or(0, |position| position + 1);
                route.leader = route.replicas[position % route.replicas.len()];
            }
            None => {}
        }
        let leader = route.leader;
        if leader != before {
            self.leads_now(group, before, leader);
        }
        leader != asked
    }

    /// The leader of a group is believed to be another one.
    fn leads_now(&mut self, group: GroupId, before: u16, leader: u16) {
        if group == MAP_GROUP {
            return;
        }
        let before = self.place(before, group);
        let turn = self.groups.get(&group).map_or(0, |route| route.turn);
        let led = self.led.get_mut(&before).expect("every group with data is listed where it is led");
        led.swap_remove(turn);
        if let Some(moved) = led.get(turn).and_then(|moved| self.groups.get_mut(moved)) {
            moved.turn = turn;
        }
        if led.is_empty() {
            self.led.remove(&before);
        }
        self.count(group, leader);
    }

    /// One more group with data is led there.
    fn count(&mut self, group: GroupId, leader: u16) {
        let led = self.led.entry(self.place(leader, group)).or_default();
        if let Some(route) = self.groups.get_mut(&group) {
            route.turn = led.len();
        }
        led.push(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::placement::founding::Blueprint;
    use std::collections::BTreeSet;

    fn routing(groups: u32, shards: u16) -> Routing {
        let blueprint = Blueprint {
            nodes: (0..3).map(|node| (format!("n{node}"), format!("n{node}:1"))).collect(),
            groups,
            replication: 3,
            set_size: None,
            virtual_nodes: 16,
        };
        let founded = blueprint.record(&[(1, shards), (2, shards), (3, shards)]);
        Routing::new(ClusterMap::founded(&founded), None)
    }

    /// How many connections there are to each core when many requests to all groups are under way.
    fn used(routing: &Routing, connections: u16) -> BTreeMap<(u16, u16), usize> {
        let mut used: BTreeMap<(u16, u16), BTreeSet<u16>> = BTreeMap::new();
        for group in routing.data_groups() {
            let node = routing.leader(group).unwrap();
            let core = routing.core(node, group, None);
            for turn in 0..1_000 {
                used.entry((node, core)).or_default().insert(routing.lane(node, group, turn, connections));
            }
        }
        used.into_iter().map(|(place, lanes)| (place, lanes.len())).collect()
    }

    #[test]
    fn connections_are_shared_out_among_those_that_lead() {
        for (groups, shards, connections, each) in
            [(1, 1, 8, 8), (1, 1, 1, 1), (30, 1, 9, 3), (1_000, 1, 8, 3), (300, 2, 12, 2), (30, 2, 1, 1)]
        {
            let used = used(&routing(groups, shards), connections);
            let lead = (usize::from(shards) * 3).min(groups as usize);
            assert_eq!(used.len(), lead);
            assert!(used.values().all(|lanes| *lanes == each), "{groups} groups, {connections} connections: {used:?}");
        }
    }

    /// How many groups take each of the connections to a node.
    fn loads(routing: &Routing, node: u16, connections: u16) -> Vec<usize> {
        let mut loads = BTreeMap::new();
        for group in routing.data_groups().filter(|group| routing.leader(*group) == Some(node)) {
            *loads.entry(routing.lane(node, group, 0, connections)).or_default() += 1;
        }
        loads.into_values().collect()
    }

    #[test]
    fn leaders_that_go_and_come_back_leave_connections_even() {
        let mut routing = routing(90, 1);
        assert_eq!(loads(&routing, 0, 6), [15, 15]);
        for lane in [0, 1, 0] {
            let of_node = |group: &GroupId| routing.leader(*group) == Some(0) && routing.lane(0, *group, 0, 6) == lane;
            let bounced: Vec<GroupId> = routing.data_groups().filter(of_node).collect();
            for group in &bounced {
                routing.not_leader(*group, 0, None);
            }
            assert_eq!(loads(&routing, 0, 6).iter().sum::<usize>(), 30 - bounced.len());
            for group in bounced {
                routing.not_leader(group, 1, Some(0));
            }
            assert_eq!(loads(&routing, 0, 6), [15, 15]);
        }
    }

    #[test]
    fn a_group_keeps_to_one_connection_where_there_are_more_groups_than_connections() {
        let routing = routing(100, 1);
        for group in routing.data_groups() {
            let node = routing.leader(group).unwrap();
            let lane = routing.lane(node, group, 0, 8);
            assert!((1..50).all(|turn| routing.lane(node, group, turn, 8) == lane));
        }
    }

    #[test]
    fn whoever_leads_all_groups_gets_all_connections() {
        let mut routing = routing(30, 1);
        for group in routing.data_groups().chain([MAP_GROUP]).collect::<Vec<_>>() {
            let asked = routing.leader(group).unwrap();
            routing.not_leader(group, asked, Some(2));
            routing.not_leader(group, 2, None);
            assert_eq!((routing.not_leader(group, 1, Some(2)), routing.leader(group)), (true, Some(2)));
        }
        assert_eq!(used(&routing, 9), BTreeMap::from([((2, 0), 9)]));
        // A replica that leads nothing may be asked for what is old.
        assert!(routing.lane(1, GroupId(5), 3, 9) < 9);
    }
}
