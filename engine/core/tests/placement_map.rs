//! The first map: the same on every node, even, frozen; and its bytes.

use engine_core::placement::cores::core_of;
use engine_core::placement::founding::{Blueprint, FoundingRecord, RecordError, VIRTUAL_NODES_MAX};
use engine_core::placement::map::{ClusterMap, GroupEntry, MAP_GROUP, MapError};
use engine_core::placement::petition::{Petition, PetitionError};
use engine_core::placement::sets::{GROUPS_PER_SET, ServerSets};
use raft::ids::{GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::path::Path;

fn blueprint(nodes: u16, groups: u32, replication: u16) -> Blueprint {
    let node = |number| (format!("n{number}"), format!("10.0.0.{number}:7400"));
    Blueprint { nodes: (1..=nodes).map(node).collect(), groups, replication, set_size: None, virtual_nodes: 16 }
}

fn record(blueprint: &Blueprint, shards: impl Fn(u16) -> u16) -> FoundingRecord {
    let members: Vec<_> =
        (0..blueprint.nodes.len() as u16).map(|node| (u64::from(node) + 1000, shards(node))).collect();
    blueprint.record(&members)
}

fn founded(nodes: u16, groups: u32, replication: u16, shards: u16) -> ClusterMap {
    ClusterMap::founded(&record(&blueprint(nodes, groups, replication), |_| shards))
}

/// The least and the most of what the closure counts per node.
fn extremes(map: &ClusterMap, nodes: std::ops::Range<u16>, count: impl Fn(&GroupEntry, u16) -> bool) -> (usize, usize) {
    let counts = nodes.map(|node| map.data_groups().filter(|group| count(group, node)).count());
    let counts: Vec<usize> = counts.collect();
    (*counts.iter().min().unwrap(), *counts.iter().max().unwrap())
}

fn holds(group: &GroupEntry, node: u16) -> bool {
    group.replicas.iter().any(|replica| replica.node() == node)
}

fn leads(group: &GroupEntry, node: u16) -> bool {
    group.replicas[0].node() == node
}

#[test]
fn a_group_is_stranded_without_a_node_if_the_others_that_are_whole_are_no_quorum() {
    let all = |_, _| true;
    let map = founded(6, 12, 3, 1);
    let node = map.groups[5].replicas[0].node();
    let others: Vec<u16> = map.groups[5].replicas[1..].iter().map(|replica| replica.node()).collect();
    assert_eq!(map.stranded_without(node, all), None);
    // One that is down, still a learner or without its store: of three, that leaves one.
    let (group, lacking) = (map.groups[5].id, others[1]);
    assert_eq!(map.stranded_without(node, |of, who| of != group || who != lacking), Some(group));
    assert_eq!(map.stranded_without(lacking, |of, who| of != group || who != node), Some(group));
    // What it has no replica of is not its affair.
    let elsewhere = |of, _| map.replica_on(of, node).is_some();
    assert_eq!(map.stranded_without(node, elsewhere), None);
    // The only copy.
    let single = founded(3, 6, 1, 1);
    let (holder, only) = (single.groups[1].replicas[0].node(), single.groups[1].id);
    assert_eq!(single.groups[1].replicas.len(), 1);
    let first = single.data_groups().find(|entry| entry.replicas[0].node() == holder).map(|entry| entry.id);
    assert_eq!(single.stranded_without(holder, all), first);
    assert!(first.is_some_and(|first| first <= only));
}

#[test]
fn a_node_with_another_disk_gets_new_replica_ids_and_nobody_else_does() {
    let map = founded(4, 8, 3, 2);
    let of =
        |incarnation, shards, replaces| Petition { name: "n2".into(), incarnation, shards, replaces, insists: false };
    let former = map.nodes[1].incarnation;
    let (number, next) = map.admit(&of(77, 2, former)).expect("it is another disk");
    assert_eq!((number, next.epoch, next.nodes[1].incarnation), (1, 2, 77));
    assert!(
        next.holds("n2", 77)
            && !next.holds("n2", map.nodes[1].incarnation)
            && next.holds("n3", map.nodes[2].incarnation)
    );
    for (before, after) in map.groups.iter().zip(&next.groups) {
        let renamed = |id: &ReplicaId| if id.node() == 1 { ReplicaId::new(1, 1) } else { *id };
        assert_eq!(before.replicas.iter().map(renamed).collect::<Vec<_>>(), after.replicas);
    }
    let (_, third) = next.admit(&of(78, 2, 77)).expect("and another");
    assert!(third.groups.iter().all(|group| !group.replicas.contains(&ReplicaId::new(1, 1))), "no id comes back");
    assert_eq!(ClusterMap::decode(&third.encode()), Ok(third.clone()));
    let name = || "n2".to_string();
    assert_eq!(next.admit(&of(77, 2, former)), Err(PetitionError::Member { name: name() }));
    assert_eq!(next.admit(&of(79, 2, former)), Err(PetitionError::Late { name: name() }));
    assert_eq!(next.admit(&of(79, 1, 77)), Err(PetitionError::Shards { name: name(), had: 2, has: 1 }));
    let stranger = Petition { name: "x".into(), ..of(79, 2, 77) };
    assert_eq!(next.admit(&stranger), Err(PetitionError::Unknown { name: "x".into() }));
    // What a node takes from another one must have come of what it has.
    assert!(third.comes_of(&map) && third.comes_of(&next) && !next.comes_of(&third) && !map.comes_of(&map));
    let changed = |change: fn(&mut ClusterMap)| {
        let mut changed = third.clone();
        change(&mut changed);
        changed.comes_of(&next)
    };
    assert!(changed(|_| {}));
    assert!(!changed(|map| map.cluster += 1));
    assert!(!changed(|map| map.nodes[0].address.push('0')));
    assert!(!changed(|map| map.nodes[0].shards += 1));
    assert!(!changed(|map| drop(map.nodes.pop())));
    assert!(!changed(|map| drop(map.groups.pop())));
    assert!(!changed(|map| map.groups[1].replicas.swap(0, 1)));
    assert!(!changed(|map| map.groups[0].replicas.iter_mut().for_each(|id| *id = ReplicaId::new(id.node(), 0))));
}

#[test]
fn replicas_and_leaders_are_even_over_nodes() {
    for nodes in 1..=13u16 {
        for replication in [1, 2, 3, 4, 5].into_iter().filter(|replication| *replication <= nodes) {
            for groups in (1..=30).chain([64, 100, 256]) {
                for shards in [1, 2, 3, 4] {
                    let map = founded(nodes, groups, replication, shards);
                    let case = format!("{nodes} nodes, {groups} groups, {replication} replicas, {shards} shards");
                    let (least, most) = extremes(&map, 0..nodes, holds);
                    assert!(most - least <= 1, "{case}: nodes hold {least} to {most} replicas");
                    let (least, most) = extremes(&map, 0..nodes, leads);
                    assert!(most - least <= 1, "{case}: nodes lead {least} to {most} groups");
                    assert!(map.data_groups().all(|group| group.replicas.len() == usize::from(replication)), "{case}");
                }
            }
        }
    }
}

#[test]
fn replicas_and_leaders_are_even_over_the_cores_of_a_node() {
    let mut worst = (0, 0);
    for nodes in 1..=9u16 {
        for replication in [1, 3, 5].into_iter().filter(|replication| *replication <= nodes) {
            for shards in [2, 3, 4, 8] {
                for groups in [4, 8, 12, 16, 24, 64, 100] {
                    let map = founded(nodes, groups, replication, shards);
                    for node in 0..nodes {
                        let spread = |count: fn(&GroupEntry, u16) -> bool| {
                            let mut cores = vec![0; usize::from(shards)];
                            let counted = map.data_groups().filter(|group| count(group, node));
                            counted.for_each(|group| cores[usize::from(core_of(group.id, shards))] += 1);
                            cores.iter().max().unwrap() - cores.iter().min().unwrap()
                        };
                        let case = format!("{nodes} nodes, {groups} groups, {replication} replicas, {shards} shards");
                        let (replicas, leaders) = (spread(holds), spread(leads));
                        worst = (worst.0.max(replicas), worst.1.max(leaders));
                        assert!(replicas <= 2, "{case}: the cores of a node differ by {replicas} replicas");
                        assert!(leaders <= 2, "{case}: the cores of a node differ by {leaders} leaders");
                    }
                }
            }
        }
    }
    println!("worst spread over the cores of a node: {worst:?} (replicas, leaders)");
}

#[test]
fn every_group_lies_on_different_nodes_and_the_map_group_on_an_odd_few() {
    for nodes in 1..=12u16 {
        let map = founded(nodes, 12, nodes.min(3), 2);
        assert_eq!(map.groups[0].id, MAP_GROUP);
        assert_eq!(map.groups[0].replicas.len(), [1, 1, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5][usize::from(nodes) - 1]);
        assert_eq!(map.groups.iter().map(|group| group.id.0).collect::<Vec<_>>(), (0..=12).collect::<Vec<_>>());
        for group in &map.groups {
            let mut replicas = group.replicas.clone();
            replicas.sort();
            replicas.dedup();
            assert_eq!(replicas.len(), group.replicas.len(), "{group:?}");
            assert!(replicas.iter().all(|replica| *replica == ReplicaId::new(replica.node(), 0)), "{group:?}");
        }
    }
}

#[test]
fn nodes_with_different_numbers_of_shards_share_evenly() {
    let record = record(&blueprint(3, 12, 3), |node| node + 1);
    let map = ClusterMap::founded(&record);
    assert_eq!(extremes(&map, 0..3, leads), (4, 4));
    for (node, shards) in [(1, 2), (2, 3)] {
        let mut cores = vec![0; shards];
        let led = map.data_groups().filter(|group| leads(group, node));
        led.for_each(|group| cores[usize::from(core_of(group.id, shards as u16))] += 1);
        assert!(cores.iter().all(|count| *count >= 1), "node {node} leads on its cores {cores:?}");
    }
}

#[test]
fn the_replicas_of_a_lost_node_are_led_by_many_others() {
    let map = founded(9, 108, 3, 4);
    for node in 0..9 {
        let mut heirs: BTreeMap<u16, u32> = BTreeMap::new();
        for group in map.data_groups().filter(|group| leads(group, node)) {
            group.replicas[1..].iter().for_each(|heir| *heirs.entry(heir.node()).or_default() += 1);
        }
        assert!(heirs.len() >= 6, "the groups of node {node} fall to {heirs:?}");
    }
}

#[test]
fn a_list_of_servers_makes_sets_that_share_nothing() {
    for servers in 1..=17u16 {
        let sets = ServerSets::of(servers);
        let mut blueprint = blueprint(servers, u32::from(sets.sets) * GROUPS_PER_SET, sets.set_size);
        blueprint.set_size = Some(sets.set_size);
        let map = ClusterMap::founded(&record(&blueprint, |_| 1));
        for group in map.data_groups() {
            let set = (group.id.0 - 1) / GROUPS_PER_SET;
            let mut nodes: Vec<u16> = group.replicas.iter().map(|replica| replica.node()).collect();
            nodes.sort();
            assert_eq!(nodes, sets.lines_of(set as u16).collect::<Vec<_>>(), "{servers} servers, group {}", group.id);
        }
        for set in 0..sets.sets {
            let (least, most) = extremes(&map, sets.lines_of(set), leads);
            assert!(most - least <= 1, "{servers} servers, set {set}: {least} to {most}");
        }
    }
}

#[test]
fn the_first_map_never_changes() {
    let mut text = String::new();
    let cases = [
        (1, 4, 1, 1, None),
        (3, 4, 3, 1, None),
        (3, 12, 3, 2, None),
        (5, 16, 3, 4, None),
        (7, 9, 5, 2, None),
        (13, 8, 5, 1, Some(5)),
    ];
    for (nodes, groups, replication, shards, set_size) in cases {
        let blueprint = Blueprint { set_size, ..blueprint(nodes, groups, replication) };
        let record = record(&blueprint, |_| shards);
        let map = ClusterMap::founded(&record);
        text += &format!(
            "{nodes} nodes, {groups} groups, {replication} replicas, {shards} shards, sets {set_size:?}: {:032x}\n",
            map.cluster
        );
        for group in &map.groups {
            let nodes: Vec<String> = group.replicas.iter().map(|replica| replica.node().to_string()).collect();
            text += &format!("  {} on {}\n", group.id, nodes.join(" "));
        }
    }
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let record = record(&blueprint(3, 2, 3), |_| 1);
    text += &format!("record of 3 nodes, 2 groups: {}\n", hex(record.encode()));
    text += &format!("map of 3 nodes, 2 groups: {}\n", hex(ClusterMap::founded(&record).encode()));

    // NB: every node computes its map from the record, releases included. A golden file is written once.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/placement/maps.txt");
    if std::env::var_os("KVD_REWRITE").is_some() && !path.exists() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (line, (now, then)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(now, then, "maps.txt:{}: placement has changed", line + 1);
    }
    assert_eq!(text.len(), golden.len());
}

#[test]
fn maps_and_records_survive_their_bytes() {
    let record = record(&blueprint(5, 8, 3), |node| node % 2 + 1);
    assert_eq!(FoundingRecord::decode(&record.encode()), Ok(record.clone()));
    let map = ClusterMap::founded(&record);
    assert_eq!(ClusterMap::decode(&map.encode()), Ok(map.clone()));
    assert_eq!(map.encode(), ClusterMap::founded(&record).encode());
}

#[test]
fn bytes_from_outside_are_refused_and_never_a_panic() {
    let record = record(&blueprint(3, 4, 3), |_| 1);
    let (record_bytes, map_bytes) = (record.encode(), ClusterMap::founded(&record).encode());
    assert_eq!(ClusterMap::decode(&[]), Err(MapError::Version { version: 0 }));
    assert_eq!(FoundingRecord::decode(&[9, 1]), Err(RecordError::Version { version: 9 }));
    for length in 0..map_bytes.len() {
        assert!(ClusterMap::decode(&map_bytes[..length]).is_err(), "the first {length} bytes of a map");
    }
    for length in 0..record_bytes.len() {
        assert!(FoundingRecord::decode(&record_bytes[..length]).is_err(), "the first {length} bytes of a record");
    }
    for position in 0..map_bytes.len() {
        for bit in 0..8 {
            let mut bytes = map_bytes.clone();
            bytes[position] ^= 1 << bit;
            // A flipped bit in a name or a number may well be a map; what comes back must be one to work with.
            if let Ok(map) = ClusterMap::decode(&bytes) {
                assert!(map.groups.iter().all(|group| !group.replicas.is_empty()));
                let known = |replica: &ReplicaId| map.node(replica.node()).is_some();
                assert!(map.groups.iter().all(|group| group.replicas.iter().all(known)));
                // As many points on its ring as a founding can ask for, at the most.
                assert!(map.virtual_nodes <= VIRTUAL_NODES_MAX);
            }
        }
    }
    for position in 0..record_bytes.len() {
        let mut bytes = record_bytes.clone();
        bytes[position] ^= 1;
        // The cluster id is a hash of all else; what may be flipped unseen is padding, which says nothing.
        if let Ok(read) = FoundingRecord::decode(&bytes) {
            assert_eq!(read, record, "byte {position} of a record was flipped unseen");
        }
    }
}

#[test]
fn a_map_answers_who_and_where() {
    let map = founded(5, 8, 3, 2);
    assert_eq!((map.epoch, map.node_named("n3"), map.node_named("n9")), (1, Some(2), None));
    assert_eq!(map.node(2).unwrap().address, "10.0.0.3:7400");
    assert_eq!(map.group(GroupId(9)), None);
    for group in &map.groups {
        assert_eq!(map.group(group.id), Some(group));
        for node in 0..5 {
            let expected = group.replicas.iter().copied().find(|replica| replica.node() == node);
            assert_eq!(map.replica_on(group.id, node), expected);
        }
    }
    let ring = map.ring();
    assert!((0..16_384).all(|slot| ring.group_of_slot(slot) != MAP_GROUP));
}
