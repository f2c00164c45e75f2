//! Founding: the cases by name, then every order of everything for three nodes.

use engine_core::placement::founding::decision::{Founding, Step};
use engine_core::placement::founding::{Blueprint, FoundingRecord, State};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

fn blueprint(nodes: u16) -> Blueprint {
    let node = |number| (format!("n{number}"), format!("h:{number}"));
    Blueprint { nodes: (1..=nodes).map(node).collect(), groups: 4, replication: 1, set_size: None, virtual_nodes: 8 }
}

/// Node number `own` of three with an empty directory of its `life`-th disk.
fn fresh(own: u16, life: u64) -> Founding {
    Founding::new(own, u64::from(own + 1) * 100 + life, 1, blueprint(3), State::Empty)
}

/// The record that three nodes found on these disks.
fn record(lives: [u64; 3]) -> FoundingRecord {
    let member = |(node, life): (usize, u64)| ((node as u64 + 1) * 100 + life, 1);
    blueprint(3).record(&lives.into_iter().enumerate().map(member).collect::<Vec<_>>())
}

fn proposed(own: u16, life: u64, record: &FoundingRecord) -> Founding {
    Founding::new(own, fresh(own, life).query().incarnation, 1, blueprint(3), State::Proposed(record.clone()))
}

fn formed(own: u16, life: u64, record: &FoundingRecord) -> Founding {
    Founding::new(own, fresh(own, life).query().incarnation, 1, blueprint(3), State::Formed(record.clone()))
}

/// What the first does after the others have answered.
fn after(mut node: Founding, others: &[&Founding]) -> Step {
    for other in others {
        let position = other.query().name[1..].parse::<u16>().unwrap() - 1;
        node.answered(position, other.answer());
    }
    node.step()
}

fn why(step: Step) -> String {
    match step {
        Step::Conflict { why } => why,
        Step::RefuseList { node, differences } => format!("{node}: {}", differences.join("; ")),
        other => panic!("{other:?} refuses nothing"),
    }
}

#[test]
fn a_list_of_one_founds_alone() {
    let mut node = Founding::new(0, 7, 2, blueprint(1), State::Empty);
    let Step::Propose(record) = node.step() else { panic!("{:?}", node.step()) };
    assert_eq!((record.nodes[0].incarnation, record.nodes[0].shards, record.contradiction()), (7, 2, None));
    node.proposed(record.clone());
    assert_eq!(node.step(), Step::Formed(record.clone()));
    node.formed(record.clone());
    assert_eq!((node.step(), node.answer().state), (Step::Formed(record.clone()), State::Formed(record)));
}

#[test]
fn everybody_is_asked_and_the_silent_are_named() {
    let mut node = fresh(0, 0);
    assert_eq!(node.step(), Step::Ask(vec![1, 2]));
    node.answered(1, fresh(1, 0).answer());
    assert_eq!(node.step(), Step::Ask(vec![2]));
    node.unreachable(2);
    assert_eq!(node.step(), Step::Wait { waiting_for: vec!["n3".into()] });
    node.next_round();
    assert_eq!(node.step(), Step::Ask(vec![1, 2]));
}

#[test]
fn all_compute_the_same_record_and_wait_until_all_have_proposed_it() {
    let founders = [fresh(0, 0), fresh(1, 0), fresh(2, 0)];
    let record = record([0, 0, 0]);
    assert_eq!(after(founders[0].clone(), &[&founders[1], &founders[2]]), Step::Propose(record.clone()));
    assert_eq!(after(founders[2].clone(), &[&founders[1], &founders[0]]), Step::Propose(record.clone()));
    let (one, two, three) = (proposed(0, 0, &record), proposed(1, 0, &record), proposed(2, 0, &record));
    assert_eq!(after(founders[1].clone(), &[&one, &three]), Step::Propose(record.clone()));
    assert_eq!(after(one.clone(), &[&founders[1], &three]), Step::Wait { waiting_for: vec!["n2".into()] });
    assert_eq!(after(one, &[&two, &three]), Step::Formed(record));
}

#[test]
fn a_node_restarted_between_proposing_and_forming_goes_on() {
    let record = record([0, 0, 0]);
    let restarted = proposed(1, 0, &record);
    assert_eq!(restarted.step(), Step::Ask(vec![0, 2]));
    // One formed node is enough, whoever else is silent.
    assert_eq!(after(restarted, &[&formed(2, 0, &record)]), Step::Formed(record));
}

#[test]
fn a_newcomer_founds_nothing() {
    let newcomer = fresh(0, 1).as_newcomer();
    let why = why(after(newcomer.clone(), &[&fresh(1, 0), &fresh(2, 0)]));
    assert!(why.starts_with("n1 is to come in as new"), "{why}");
    let record = record([0, 0, 0]);
    assert_eq!(after(newcomer, &[&fresh(1, 0), &formed(2, 0, &record)]), Step::JoinAsNew { record });
}

#[test]
fn a_wiped_node_comes_in_as_new() {
    let record = record([0, 0, 0]);
    let wiped = fresh(0, 1);
    assert_eq!(after(wiped.clone(), &[&formed(1, 0, &record)]), Step::JoinAsNew { record: record.clone() });
    assert_eq!(
        after(wiped, &[&formed(1, 0, &record), &proposed(2, 0, &record)]),
        Step::JoinAsNew { record: record.clone() }
    );
    // Not with another list, in which it would have another number.
    let mut other = blueprint(3);
    other.nodes.swap(0, 2);
    let turned = Founding::new(2, 400, 1, other, State::Empty);
    let Step::RefuseList { differences, .. } = after(turned, &[&formed(1, 0, &record)]) else {
        panic!("it would come in under another node's number");
    };
    assert!(differences[0].starts_with("nodes is"), "{differences:?}");
}

#[test]
fn a_wiped_node_among_proposers_is_named_and_nobody_forms() {
    let record = record([0, 0, 0]);
    let (one, two, wiped) = (proposed(0, 0, &record), proposed(1, 0, &record), fresh(2, 1));
    let reason = why(after(one.clone(), &[&two, &wiped]));
    assert!(reason.starts_with("n3 was emptied after n1 proposed"), "{reason}");
    let reason = why(after(wiped, &[&one, &two]));
    assert!(reason.starts_with("n1 proposed before n3 was emptied; n2 proposed before n3 was emptied"), "{reason}");
}

#[test]
fn differing_proposals_are_named() {
    let (mine, theirs) = (record([0, 0, 0]), record([0, 0, 1]));
    let reason = why(after(proposed(0, 0, &mine), &[&proposed(1, 0, &mine), &proposed(2, 1, &theirs)]));
    assert!(reason.contains(&format!("n3 has proposed cluster {:032x}, not {:032x}", theirs.cluster, mine.cluster)));
    let reason = why(after(proposed(0, 0, &mine), &[&formed(1, 0, &theirs)]));
    assert!(reason.contains("n2 is a member of"), "{reason}");
    let reason = why(after(fresh(0, 2), &[&formed(1, 0, &theirs), &formed(2, 0, &mine)]));
    assert!(reason.starts_with("n2 and n3 are members of different clusters"), "{reason}");
}

#[test]
fn other_lists_and_settings_are_refused_by_name() {
    let other = |change: fn(&mut Blueprint)| {
        let mut blueprint = blueprint(3);
        change(&mut blueprint);
        Founding::new(1, 200, 1, blueprint, State::Empty)
    };
    let refused = |change| why(after(fresh(0, 0), &[&other(change), &fresh(2, 0)]));
    assert_eq!(refused(|theirs| theirs.groups = 8), "n2: groups is 4 here and 8 there");
    assert_eq!(refused(|theirs| theirs.replication = 3), "n2: replication is 1 here and 3 there");
    assert_eq!(refused(|theirs| theirs.virtual_nodes = 9), "n2: virtual_nodes is 8 here and 9 there");
    assert_eq!(refused(|theirs| theirs.set_size = Some(1)), "n2: set_size is none here and 1 there");
    assert!(refused(|theirs| theirs.nodes.swap(0, 2)).contains("n3=h:3,n2=h:2,n1=h:1 there"));
    // Also before everybody has answered.
    assert!(why(after(fresh(0, 0), &[&other(|theirs| theirs.groups = 8)])).contains("groups"));
}

#[test]
fn a_node_at_another_nodes_address_is_named() {
    let mut node = fresh(0, 0);
    node.answered(1, fresh(2, 0).answer());
    assert_eq!(why(node.step()), "n2: at h:2 answers n3");
}

#[test]
fn settings_changed_after_proposing_are_named() {
    let record = record([0, 0, 0]);
    let changed = Blueprint { groups: 5, ..blueprint(3) };
    let node = Founding::new(0, 100, 1, changed, State::Proposed(record));
    assert_eq!(why(node.step()), "n1 (its founding record): groups is 5 here and 4 there");
}

#[test]
fn a_copied_data_directory_is_named() {
    let twin = Founding::new(1, 100, 1, blueprint(3), State::Empty);
    let reason = why(after(fresh(0, 0), &[&twin, &fresh(2, 0)]));
    assert!(reason.contains("copy"), "{reason}");
}

#[test]
fn a_directory_that_lost_its_record_does_not_come_back_under_its_old_name() {
    let record = record([0, 0, 0]);
    let reason = why(after(fresh(0, 0), &[&formed(1, 0, &record)]));
    assert!(reason.contains("lost the founding record"), "{reason}");
    // To say that it is new changes nothing while it keeps its identity; what is advised sets that aside.
    assert_eq!(why(after(fresh(0, 0).as_newcomer(), &[&formed(1, 0, &record)])), reason);
    assert!(reason.contains("`kvctl node start n1 --data DIR --new`"), "{reason}");
    let new = after(fresh(0, 1).as_newcomer(), &[&formed(1, 0, &record)]);
    assert_eq!(new, Step::JoinAsNew { record });
}

#[test]
fn an_impossible_record_counts_as_no_answer() {
    let mut answer = formed(1, 0, &record([0, 0, 0])).answer();
    let State::Formed(record) = &mut answer.state else { unreachable!() };
    record.nodes[0].incarnation += 1;
    let mut node = fresh(0, 0);
    node.answered(1, answer);
    node.unreachable(2);
    assert_eq!(node.step(), Step::Wait { waiting_for: vec!["n2".into(), "n3".into()] });
}

/// Three nodes and everything that can happen to them next.
#[derive(Clone)]
struct World {
    nodes: [Hashed; 3],
    lives: [u64; 3],
    wipes_left: u32,
}

/// A node, and the hash of all it is.
#[derive(Clone)]
struct Hashed(Rc<Founding>, u64);

impl Hashed {
    fn new(node: Founding) -> Hashed {
        let mut hasher = DefaultHasher::new();
        node.hash(&mut hasher);
        Hashed(Rc::new(node), hasher.finish())
    }
}

impl World {
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.nodes.each_ref().map(|node| node.1), self.wipes_left).hash(&mut hasher);
        hasher.finish()
    }

    fn changed(&self, node: usize, change: impl FnOnce(&mut Founding)) -> World {
        let mut world = self.clone();
        let mut changed = (*self.nodes[node].0).clone();
        change(&mut changed);
        world.nodes[node] = Hashed::new(changed);
        world
    }

    /// Every world that one event can make of this one: an answer arrives or (where a question can be lost)
    /// does not, what a step asks for reaches the disk, a node is restarted, a disk is lost.
    fn next(&self, questions_are_lost: bool) -> Vec<World> {
        let mut worlds = Vec::new();
        for node in 0..3 {
            match self.nodes[node].0.step() {
                Step::Ask(positions) => {
                    for position in positions {
                        let answer = self.nodes[usize::from(position)].0.answer();
                        worlds.push(self.changed(node, |asker| asker.answered(position, answer)));
                        if questions_are_lost {
                            worlds.push(self.changed(node, |asker| asker.unreachable(position)));
                        }
                    }
                }
                Step::Propose(record) => worlds.push(self.changed(node, |node| node.proposed(record))),
                Step::Formed(record) => worlds.push(self.changed(node, |node| node.formed(record))),
                Step::Wait { .. } | Step::Conflict { .. } | Step::RefuseList { .. } | Step::JoinAsNew { .. } => {}
            }
            // A new round and a restart are one and the same: only what is on the disk stays.
            worlds.push(self.changed(node, |node| node.next_round()));
            if self.wipes_left > 0 {
                let mut world = self.clone();
                world.wipes_left -= 1;
                world.lives[node] += 1;
                world.nodes[node] = Hashed::new(fresh(node as u16, world.lives[node]));
                worlds.push(world);
            }
        }
        worlds
    }

    fn formed(&self) -> Vec<&FoundingRecord> {
        let records = self.nodes.iter().filter_map(|node| match node.0.state() {
            State::Formed(record) => Some(record),
            _ => None,
        });
        records.collect()
    }
}

/// Walks through every world that three empty nodes can come to, and gives the edges by key and the keys of
/// worlds in which all are formed.
fn walk(wipes: u32, questions_are_lost: bool) -> (BTreeMap<u64, Vec<u64>>, BTreeSet<u64>) {
    let nodes = [0, 1, 2].map(|node| Hashed::new(fresh(node, 0)));
    let start = World { nodes, lives: [0; 3], wipes_left: wipes };
    let (mut edges, mut complete) = (BTreeMap::from([(start.key(), Vec::new())]), BTreeSet::new());
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        let formed = world.formed();
        assert!(formed.windows(2).all(|pair| pair[0] == pair[1]), "two clusters are formed: {formed:#?}");
        if formed.len() == 3 {
            for Hashed(node, _) in &world.nodes {
                let (name, incarnation) = (node.query().name, node.query().incarnation);
                assert!(formed[0].holds(&name, incarnation), "a stranger is formed: {node:#?}");
            }
            complete.insert(world.key());
        }
        let mut keys = Vec::new();
        for next in world.next(questions_are_lost) {
            let key = next.key();
            keys.push(key);
            edges.entry(key).or_insert_with(|| {
                open.push(next);
                Vec::new()
            });
        }
        edges.insert(world.key(), keys);
    }
    (edges, complete)
}

#[test]
fn in_any_order_three_nodes_can_still_form() {
    let (edges, complete) = walk(0, true);
    let mut backwards: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (from, to) in &edges {
        to.iter().for_each(|to| backwards.entry(*to).or_default().push(*from));
    }
    let (mut reaching, mut open) = (complete.clone(), complete.into_iter().collect::<Vec<_>>());
    while let Some(key) = open.pop() {
        open.extend(backwards[&key].iter().filter(|from| reaching.insert(**from)));
    }
    println!("{} worlds without a lost disk", edges.len());
    assert!(edges.len() > 1000, "only {} worlds", edges.len());
    assert_eq!(reaching.len(), edges.len(), "some orders end with nodes that can never form");
}

#[test]
fn with_a_lost_disk_no_two_nodes_form_different_clusters() {
    let (edges, complete) = walk(1, false);
    println!("{} worlds with one lost disk, {} of them formed", edges.len(), complete.len());
    assert!(edges.len() > 10_000 && !complete.is_empty(), "only {} worlds", edges.len());
}

/// Every pair of lost disks, at every moment: a larger walk, run with `-- --ignored`.
#[test]
#[ignore = "takes most of a minute"]
fn with_two_lost_disks_no_two_nodes_form_different_clusters() {
    let (edges, complete) = walk(2, false);
    println!("{} worlds with two lost disks, {} of them formed", edges.len(), complete.len());
}
