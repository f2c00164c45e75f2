//! Nodes that are about to end or whose disk is full or stuck: they hand their groups over, and nobody waits for them to take one.

#[allow(dead_code)] // each that shares it uses a part
mod shard_support;

use engine_core::shard::Event;
use raft::ids::GroupId;
use raft::message::Body;
use raft::replica::Role;
use shard_support::{Cluster, ELECTION_TICKS};

const GROUP: GroupId = GroupId(1);

/// A cluster whose group is led by another node than its home, which has just come back. Also gives that home, and the leader.
fn away_from_home() -> (Cluster, u16, u16) {
    let mut cluster = Cluster::new(3);
    cluster.run(6 * ELECTION_TICKS);
    let home = cluster.leader(GROUP);
    cluster.pause(home);
    cluster.ticks_until_led_without(home);
    let leader = (0..3).find(|node| *node != home && cluster.role(*node, GROUP) == Role::Leader).expect("it is led");
    cluster.resume(home);
    (cluster, home, leader)
}

/// Ticks until the leader has told the home to take over; that word has not arrived yet.
fn begin_transfer(cluster: &mut Cluster, leader: u16) {
    for _ in 0..20 * ELECTION_TICKS {
        for node in 0..3 {
            cluster.tell(node, Event::Tick);
            if was_told_to_lead(cluster, leader) {
                return;
            }
        }
        cluster.settle();
    }
    panic!("leadership never goes home");
}

/// Whether the leader has told somebody to take over.
fn was_told_to_lead(cluster: &Cluster, leader: u16) -> bool {
    cluster
        .messages
        .iter()
        .any(|(from, group, message)| (*from, *group) == (leader, GROUP) && matches!(message.body, Body::TimeoutNow))
}

/// Whether a write at the leader is appended.
fn takes_writes(cluster: &mut Cluster, leader: u16) -> bool {
    let before = cluster.last(leader, GROUP);
    cluster.write(leader, GROUP);
    cluster.last(leader, GROUP) > before
}

#[test]
fn leadership_does_not_go_to_a_node_that_leaves() {
    let (mut cluster, home, leader) = away_from_home();
    cluster.run(1);
    cluster.tell(home, Event::Drain);
    for _ in 0..12 * ELECTION_TICKS {
        cluster.run(1);
        assert!(takes_writes(&mut cluster, leader));
        cluster.settle();
    }
    assert!(!was_told_to_lead(&cluster, leader));
}

#[test]
fn leadership_on_its_way_to_a_node_that_leaves_stays() {
    let (mut cluster, home, leader) = away_from_home();
    begin_transfer(&mut cluster, leader);
    assert!(!takes_writes(&mut cluster, leader));
    cluster.tell(home, Event::Drain);
    cluster.settle();
    assert_eq!(cluster.leader(GROUP), leader);
    assert!(takes_writes(&mut cluster, leader));
}

#[test]
fn leadership_on_its_way_to_a_lost_connection_stays() {
    let (mut cluster, home, leader) = away_from_home();
    begin_transfer(&mut cluster, leader);
    cluster.pause(home);
    cluster.tell(leader, Event::PeerLost { node: home });
    assert!(takes_writes(&mut cluster, leader));
}

#[test]
fn a_node_that_leaves_waits_for_the_leadership_it_has_just_accepted() {
    let (mut cluster, home, leader) = away_from_home();
    begin_transfer(&mut cluster, leader);
    cluster.deliver_until(|cluster| cluster.role(home, GROUP) == Role::Candidate);
    cluster.tell(home, Event::Drain);
    assert!(cluster.to_hand_over(home) > 0);
    cluster.run(2);
    assert_eq!((cluster.to_hand_over(home), cluster.led(home)), (0, 0));
    assert!((0..3).any(|node| node != home && cluster.role(node, GROUP) == Role::Leader));
}

#[test]
fn leadership_that_was_accepted_just_before_is_not_called_off() {
    let (mut cluster, home, leader) = away_from_home();
    begin_transfer(&mut cluster, leader);
    // Its vote waits for the disk, and what it says of leaving does not.
    cluster.stop_disk(home);
    cluster.deliver_until(|cluster| cluster.role(home, GROUP) == Role::Candidate);
    cluster.tell(home, Event::Drain);
    cluster.settle();
    cluster.write(leader, GROUP);
    cluster.settle();
    cluster.start_disk(home);
    cluster.settle();
    cluster.run(2);
    assert!((0..3).any(|node| node != home && cluster.role(node, GROUP) == Role::Leader));
}

#[test]
fn a_node_that_leaves_with_a_stuck_disk_does_not_claim_to_live() {
    let (mut cluster, home, leader) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!(cluster.leader(GROUP), home);
    cluster.stop_disk(home);
    cluster.write(home, GROUP);
    cluster.run(ELECTION_TICKS);
    cluster.forget();
    cluster.tell(home, Event::Drain);
    assert!(!cluster.words.iter().any(|(from, ..)| *from == home), "to {leader}");
}

#[test]
fn a_node_with_a_full_disk_gives_up_what_goes_on_without_it_and_gets_it_back() {
    let (mut cluster, home, _) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!(cluster.leader(GROUP), home);
    cluster.tell(home, Event::DiskFull(true));
    cluster.run(2);
    let leader = cluster.leader(GROUP);
    assert_ne!(leader, home);
    for _ in 0..12 * ELECTION_TICKS {
        cluster.run(1);
        assert!(takes_writes(&mut cluster, leader));
        cluster.settle();
    }
    cluster.tell(home, Event::DiskFull(false));
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!(cluster.leader(GROUP), home);
}

#[test]
fn a_node_with_a_full_disk_keeps_what_nobody_else_could_write() {
    let (mut cluster, home, other) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!(cluster.leader(GROUP), home);
    cluster.tell(other, Event::DiskFull(true));
    cluster.run(2);
    cluster.tell(home, Event::DiskFull(true));
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!(cluster.leader(GROUP), home);
    assert!(!was_told_to_lead(&cluster, home));
}

#[test]
fn a_node_with_a_full_disk_is_not_sent_everything_again_and_again() {
    let (mut cluster, home, other) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    cluster.tell(other, Event::DiskFull(true));
    // Several messages full of entries.
    for _ in 0..5_000 {
        cluster.write(home, GROUP);
        cluster.settle();
    }
    cluster.run(2 * ELECTION_TICKS);
    cluster.forget();
    cluster.run(4 * ELECTION_TICKS);
    let entries = |body: &Body| matches!(body, Body::Append { entries, .. } if !entries.is_empty());
    let sent = |(from, group, message): &&(u16, GroupId, raft::message::Message)| {
        (*from, *group) == (home, GROUP) && message.to.node() == other && entries(&message.body)
    };
    let sent = cluster.messages.iter().filter(sent).count() as u64;
    assert!((1..=2 * ELECTION_TICKS + 2).contains(&sent), "{sent} in {} ticks", 4 * ELECTION_TICKS);
    cluster.tell(other, Event::DiskFull(false));
    cluster.run(ELECTION_TICKS);
    assert_eq!(cluster.last(other, GROUP), cluster.last(home, GROUP));
}

#[test]
fn a_leader_whose_peers_have_full_disks_reads_also_in_its_next_term() {
    let (mut cluster, home, _) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    let others = [0, 1, 2].into_iter().filter(|node| *node != home);
    others.clone().for_each(|node| cluster.tell(node, Event::DiskFull(true)));
    for _ in 0..200 {
        cluster.write(home, GROUP);
        cluster.settle();
    }
    // It leads again, as nobody else has all of that, and begins its term behind it.
    cluster.restart(home);
    cluster.run(8 * ELECTION_TICKS);
    assert_eq!(cluster.leader(GROUP), home);
    for node in others.clone() {
        assert_eq!(cluster.last(node, GROUP), cluster.last(home, GROUP), "node {node}");
    }
    cluster.forget();
    cluster.read(home, GROUP);
    cluster.run(1);
    assert_eq!(cluster.reads, 1);
    // What it takes in this term waits, as before.
    let before = others.clone().map(|node| cluster.last(node, GROUP)).collect::<Vec<_>>();
    cluster.write(home, GROUP);
    cluster.run(ELECTION_TICKS);
    assert_eq!(others.map(|node| cluster.last(node, GROUP)).collect::<Vec<_>>(), before);
}

#[test]
fn reads_at_a_leader_whose_disk_stands_still_end_with_its_leadership() {
    let (mut cluster, home, _) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    cluster.stop_disk(home);
    cluster.write(home, GROUP);
    cluster.settle();
    cluster.forget();
    cluster.read(home, GROUP);
    cluster.settle();
    assert_eq!((cluster.answered, cluster.reads), (0, 0), "what it has to wait for is on its own disk");
    cluster.ticks_until_led_without(home);
    cluster.run(1);
    assert_eq!(cluster.answered, 2, "the write and the read");
}

#[test]
fn what_a_disk_does_not_take_does_not_pile_up() {
    let (mut cluster, home, other) = away_from_home();
    cluster.run(12 * ELECTION_TICKS);
    cluster.stop_disk(other);
    cluster.write(home, GROUP);
    cluster.run(3 * ELECTION_TICKS);
    let last = cluster.last(other, GROUP);
    cluster.write(home, GROUP);
    cluster.run(3 * ELECTION_TICKS);
    assert_eq!(cluster.last(other, GROUP), last);
    cluster.start_disk(other);
    cluster.run(3 * ELECTION_TICKS);
    assert_eq!(cluster.last(other, GROUP), cluster.last(home, GROUP));
}
