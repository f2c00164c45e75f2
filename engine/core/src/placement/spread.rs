//! The first map of a cluster: which nodes hold which group, and who leads it.
//!
//! Nodes are dealt out like cards. A deck holds every node of a replica set once; each group draws its
//! replicas from it, and an empty deck is followed by a newly shuffled one. All decks but the last are dealt
//! to the end, so no node holds more than one replica more than another, and the shuffling spreads the
//! companions of a node, so its load falls on many when it fails. Groups draw in the order of their cores,
//! and first the nodes whose core holds least, so the cores of a node come out even too. Then leaders are
//! chosen among the replicas, and moved along chains of groups until no node leads more than one group more
//! than another of its set.
//!
//! The result is frozen like the ring: every node computes it for itself.

use super::cores::core_of;
use super::founding::FoundingRecord;
use super::map::{ClusterMap, FOUNDING_EPOCH, GroupEntry, MAP_GROUP, NodeEntry};
use super::sets::{SET_SIZE_MAX, largest_odd, sets_of};
use raft::ids::{GroupId, ReplicaId};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

impl ClusterMap {
    /// The map at epoch 1 of the cluster that `record` founds. `record` must have no
    /// [`contradiction`](FoundingRecord::contradiction).
    pub fn founded(record: &FoundingRecord) -> ClusterMap {
        assert_eq!(record.contradiction(), None, "a map is made of a sound record");
        let mut spread = Spread::of(&record.nodes);
        let set_size = record.set_size.map_or(record.nodes.len(), usize::from);
        let sets = u32::from(sets_of(record.nodes.len() as u16, set_size as u16));
        for set in 0..sets {
            let first = set as usize * set_size;
            spread.deal(groups_of_set(set, sets, record.groups), first..first + set_size, record.replication);
        }
        spread.choose_leaders();
        spread.even_leaders();

        let mut groups = vec![spread.map_group()];
        groups.extend(spread.groups.iter().map(|(id, group)| entry(*id, group.leader, &group.nodes)));
        let nodes = record.nodes.clone();
        ClusterMap {
            epoch: FOUNDING_EPOCH,
            cluster: record.cluster,
            virtual_nodes: record.virtual_nodes,
            nodes,
            groups,
        }
    }
}

/// The data groups of one set: consecutive ones, as many as in any other set or one more.
fn groups_of_set(set: u32, sets: u32, groups: u32) -> Range<u32> {
    1 + set * groups / sets..1 + (set + 1) * groups / sets
}

/// Leader first, then the others in the order they were dealt.
fn entry(id: GroupId, leader: u16, nodes: &[u16]) -> GroupEntry {
    let followers = nodes.iter().filter(|node| **node != leader);
    let replicas = [&leader].into_iter().chain(followers).map(|node| ReplicaId::new(*node, 0)).collect();
    GroupEntry { id, replicas }
}

/// The spreading half-way.
struct Spread {
    shards: Vec<u16>,
    groups: BTreeMap<GroupId, Dealt>,
    /// Groups in the order in which they were dealt.
    order: Vec<GroupId>,
    /// How many replicas each core (node, shard) holds.
    on_cores: BTreeMap<(u16, u16), u32>,
}

struct Dealt {
    nodes: Vec<u16>,
    leader: u16,
}

impl Spread {
    fn of(nodes: &[NodeEntry]) -> Spread {
        let shards = nodes.iter().map(|node| node.shards).collect();
        Spread { shards, groups: BTreeMap::new(), order: Vec::new(), on_cores: BTreeMap::new() }
    }

    /// Gives each of these groups `replication` of the nodes of one set.
    fn deal(&mut self, groups: Range<u32>, nodes: Range<usize>, replication: u16) {
        let cores = self.shards[nodes.clone()].iter().copied().max().unwrap_or(1);
        let mut groups: Vec<GroupId> = groups.map(GroupId).collect();
        groups.sort_by_key(|group| (core_of(*group, cores), *group));
        let mut decks = 0;
        let mut deck = VecDeque::new();
        for group in groups {
            let mut hand: Vec<u16> = Vec::new();
            while hand.len() < usize::from(replication) {
                if deck.is_empty() {
                    deck = shuffled(nodes.clone(), decks);
                    decks += 1;
                }
                // Somebody is left: a hand that spans two decks took fewer nodes than the second one holds.
                let on_core = |node: u16| (node, core_of(group, self.shards[usize::from(node)]));
                let held = |node: u16| self.on_cores.get(&on_core(node)).copied().unwrap_or(0);
                let fresh = (0..deck.len()).filter(|place| !hand.contains(&deck[*place]));
                let place = fresh.min_by_key(|place| held(deck[*place]));
                let node = deck.remove(place.expect("a set has at least as many nodes as a group has replicas"));
                node.into_iter().for_each(|node| *self.on_cores.entry(on_core(node)).or_default() += 1);
                hand.extend(node);
            }
            self.order.push(group);
            self.groups.insert(group, Dealt { leader: hand[0], nodes: hand });
        }
    }

    /// Takes for each group the replica whose node leads least so far, then least on the group's core.
    fn choose_leaders(&mut self) {
        let mut leads = vec![0u32; self.shards.len()];
        let mut leads_on_core: BTreeMap<(u16, u16), u32> = BTreeMap::new();
        for group in &self.order {
            let dealt = self.groups.get_mut(group).expect("a group in the order was dealt");
            let on_core = |node: u16| (node, core_of(*group, self.shards[usize::from(node)]));
            let burden = |node: &u16| {
                let here = leads_on_core.get(&on_core(*node)).copied().unwrap_or(0);
                (leads[usize::from(*node)], here)
            };
            dealt.leader = dealt.nodes.iter().copied().min_by_key(burden).expect("a group has replicas");
            leads[usize::from(dealt.leader)] += 1;
            *leads_on_core.entry(on_core(dealt.leader)).or_default() += 1;
        }
    }

    /// Moves leaders until the numbers that nodes of one set lead differ by at most one.
    ///
    /// Always possible: if every group gave each of its nodes an equal part of its leadership, the parts of a
    /// node would lie within the same two whole numbers for all nodes, and such a flow has a whole solution,
    /// which chains of single moves reach.
    fn even_leaders(&mut self) {
        while let Some(chain) = self.relief() {
            for (group, node) in chain {
                self.groups.get_mut(&group).expect("a chain names groups of the map").leader = node;
            }
        }
    }

    /// A chain of moves that takes one group from a node and gives one to another that leads at least two
    /// fewer, and changes nothing for the nodes between.
    fn relief(&self) -> Option<Vec<(GroupId, u16)>> {
        let mut leads = vec![0u32; self.shards.len()];
        self.groups.values().for_each(|group| leads[usize::from(group.leader)] += 1);
        let mut givers: Vec<u16> = (0..self.shards.len() as u16).collect();
        givers.sort_by_key(|node| (u32::MAX - leads[usize::from(*node)], *node));
        givers.into_iter().find_map(|giver| self.relief_of(giver, &leads))
    }

    fn relief_of(&self, giver: u16, leads: &[u32]) -> Option<Vec<(GroupId, u16)>> {
        // For each node reached: the node before it, and the group that one would hand it.
        let mut from: BTreeMap<u16, (u16, GroupId)> = BTreeMap::new();
        let mut queue = VecDeque::from([giver]);
        while let Some(node) = queue.pop_front() {
            if leads[usize::from(node)] + 2 <= leads[usize::from(giver)] {
                let mut chain = Vec::new();
                let mut receiver = node;
                while receiver != giver {
                    let (before, group) = from[&receiver];
                    chain.push((group, receiver));
                    receiver = before;
                }
                return Some(chain);
            }
            for (id, group) in self.groups.iter().filter(|(_, group)| group.leader == node) {
                for next in group.nodes.iter().filter(|next| **next != giver) {
                    from.entry(*next).or_insert_with(|| {
                        queue.push_back(*next);
                        (node, *id)
                    });
                }
            }
        }
        None
    }

    /// The map group lies on the first nodes of the list, at most five of them and an odd number, and is led
    /// by the one that leads the fewest data groups.
    fn map_group(&self) -> GroupEntry {
        let count = largest_odd((self.shards.len() as u16).min(SET_SIZE_MAX));
        let nodes: Vec<u16> = (0..count).collect();
        let leads = |node: &u16| self.groups.values().filter(|group| group.leader == *node).count();
        let leader = nodes.iter().copied().min_by_key(leads).expect("the map group has replicas");
        entry(MAP_GROUP, leader, &nodes)
    }
}

/// The nodes in an order drawn from the number of the deck; the first deck is in the order of the list.
fn shuffled(nodes: Range<usize>, deck: u32) -> VecDeque<u16> {
    let mut cards: Vec<u16> = nodes.map(|node| node as u16).collect();
    if deck > 0 {
        cards.sort_by_key(|node| (xxh3_64(&[deck.to_le_bytes(), u32::from(*node).to_le_bytes()].concat()), *node));
    }
    cards.into()
}
