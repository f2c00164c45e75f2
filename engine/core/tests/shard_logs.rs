//! How long a leader keeps its log, and for whom.

#[allow(dead_code)] // each that shares it uses a part
mod shard_support;

use engine_core::shard::{Event, Pressure};
use raft::ids::{GroupId, Index};
use raft::message::Body;
use shard_support::{Cluster, ELECTION_TICKS, SNAPSHOT_ENTRIES};

const GROUP: GroupId = GroupId(1);

#[test]
fn a_log_is_held_for_who_gets_a_snapshot_but_not_for_ever() {
    let mut cluster = Cluster::new(1);
    let leader = cluster.leader(GROUP);
    let away = (leader + 1) % 3;
    cluster.pause(away);
    grow(&mut cluster, leader, SNAPSHOT_ENTRIES + 100);
    // Nobody has heard of it for so long that the log is not held for it.
    cluster.run(3 * ELECTION_TICKS);
    synced(&mut cluster, leader);
    let cut = cluster.log_start(leader, GROUP);
    assert!(cut > Index(0), "the log is cut without the one that is away");

    cluster.resume(away);
    cluster.run(2 * ELECTION_TICKS);
    let granted = cluster.messages.iter().rev().find_map(|(_, _, message)| match message.body {
        Body::SnapshotGrant { last } => Some(last.index),
        _ => None,
    });
    let granted = granted.expect("it is offered a snapshot and takes it");
    grow(&mut cluster, leader, 10 * SNAPSHOT_ENTRIES);
    synced(&mut cluster, leader);
    let held = cluster.log_start(leader, GROUP);
    assert!(held <= granted, "a log from {held} is no use after a snapshot of {granted}");

    grow(&mut cluster, leader, 60 * SNAPSHOT_ENTRIES);
    synced(&mut cluster, leader);
    assert!(cluster.log_start(leader, GROUP) > granted, "there is an end to it");
}

#[test]
fn the_next_snapshot_comes_in_as_soon_as_the_last_one_is_over() {
    let mut cluster = Cluster::new(6);
    cluster.run(ELECTION_TICKS);
    let away = 2;
    cluster.pause(away);
    cluster.ticks_until_led_without(away);
    let groups: Vec<GroupId> = (1..=6).map(GroupId).collect();
    for group in &groups {
        let leader = cluster.leader(*group);
        grow_group(&mut cluster, leader, *group, SNAPSHOT_ENTRIES + 100);
    }
    cluster.run(3 * ELECTION_TICKS);
    for group in &groups {
        let leader = cluster.leader(*group);
        let durable = vec![(*group, cluster.applied(leader, *group))];
        cluster.tell(leader, Event::StoreSynced { durable, pressure: Pressure::None });
    }
    cluster.resume(away);
    cluster.forget();
    let granted = |cluster: &Cluster| -> Vec<GroupId> {
        let grant = |(from, _, message): &&(u16, GroupId, raft::message::Message)| {
            *from == away && matches!(message.body, Body::SnapshotGrant { .. })
        };
        cluster.messages.iter().filter(grant).map(|(_, group, _)| *group).collect()
    };
    for _ in 0..20 * ELECTION_TICKS {
        if !granted(&cluster).is_empty() {
            break;
        }
        cluster.run(1);
    }
    // Whoever else has been offered one by now gets it without a tick in between.
    let mut over = 0;
    while let Some(group) = granted(&cluster).get(over).copied() {
        over += 1;
        cluster.tell(away, Event::SnapshotBroken { group });
    }
    assert!(over > 1, "{:?}", granted(&cluster));
}

#[test]
fn a_disk_without_room_holds_no_log_for_who_takes_no_entries() {
    let mut cluster = Cluster::new(1);
    cluster.run(ELECTION_TICKS);
    let leader = cluster.leader(GROUP);
    let full = (leader + 1) % 3;
    // Its own disk is full: it says so with every sign of life, and takes no entries.
    cluster.tell(full, Event::DiskFull(true));
    grow(&mut cluster, leader, 3 * SNAPSHOT_ENTRIES);
    cluster.run(ELECTION_TICKS);
    grow(&mut cluster, leader, SNAPSHOT_ENTRIES / 2);
    let durable = vec![(GROUP, cluster.applied(leader, GROUP))];
    cluster.tell(leader, Event::StoreSynced { durable: durable.clone(), pressure: Pressure::Long });
    assert!(cluster.log_start(leader, GROUP) < Index(SNAPSHOT_ENTRIES), "it is held for who is heard of");
    cluster.tell(leader, Event::StoreSynced { durable: durable.clone(), pressure: Pressure::NoRoom });
    assert_eq!(cluster.log_start(leader, GROUP), durable[0].1.index);
}

fn grow(cluster: &mut Cluster, leader: u16, entries: u64) {
    grow_group(cluster, leader, GROUP, entries);
}

fn grow_group(cluster: &mut Cluster, leader: u16, group: GroupId, entries: u64) {
    for _ in 0..entries {
        cluster.write(leader, group);
        cluster.settle();
        cluster.forget();
    }
}

fn synced(cluster: &mut Cluster, leader: u16) {
    let durable = vec![(GROUP, cluster.applied(leader, GROUP))];
    cluster.tell(leader, Event::StoreSynced { durable, pressure: Pressure::None });
}
