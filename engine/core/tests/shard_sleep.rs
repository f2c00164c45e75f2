//! Groups that sleep: what they cost, and everything that wakes them.

#[allow(dead_code)] // each that shares it uses a part
mod shard_support;

use engine_core::exchange::Word;
use engine_core::shard::{Event, Query};
use raft::ids::GroupId;
use raft::replica::Role;
use shard_support::{Cluster, ELECTION_TICKS};

const GROUP: GroupId = GroupId(1);

/// A cluster in which everything sleeps.
fn asleep(groups: u32) -> Cluster {
    let mut cluster = Cluster::new(groups);
    cluster.run(6 * ELECTION_TICKS);
    assert_eq!(cluster.awake(), [0, 0, 0]);
    cluster
}

#[test]
fn a_thousand_idle_groups_say_nothing_and_no_tick_looks_at_them() {
    let mut cluster = asleep(1000);
    cluster.forget();
    cluster.run(100);
    assert_eq!(cluster.awake(), [0, 0, 0]);
    assert!(cluster.messages.is_empty(), "{:?}", cluster.messages);
    assert_eq!(cluster.words.len(), 100 * 3 * 2, "one word for each pair of cores and heartbeat");
    assert!(cluster.words.iter().all(|(_, _, word)| matches!(word, Word::Beat(_))));
}

#[test]
fn reads_of_a_thousand_groups_are_one_round_for_each_pair_of_cores() {
    let mut cluster = asleep(1000);
    cluster.forget();
    for group in (1..=1000).map(GroupId) {
        let leader = cluster.leader(group);
        cluster.read(leader, group);
    }
    cluster.settle();
    assert_eq!(cluster.reads, 1000);
    let rounds = cluster.words.iter().filter(|(_, _, word)| matches!(word, Word::Round(_))).count();
    assert_eq!(rounds, 3 * 2);
    assert!(cluster.messages.is_empty(), "{:?}", cluster.messages);
}

#[test]
fn a_write_wakes_its_group_at_once_and_no_other() {
    let mut cluster = asleep(30);
    cluster.forget();
    let leader = cluster.leader(GROUP);
    cluster.write(leader, GROUP);
    cluster.settle();
    assert_eq!(cluster.answered, 1, "without a tick");
    assert_eq!(cluster.awake(), [1, 1, 1]);
    cluster.run(2 * ELECTION_TICKS);
    assert_eq!(cluster.awake(), [0, 0, 0]);
}

#[test]
fn a_lost_connection_wakes_what_rests_on_that_node_on_both_sides() {
    let mut cluster = asleep(30);
    let led = |cluster: &Cluster, node| cluster.led(node);
    let (zero, one) = (led(&cluster, 0), led(&cluster, 1));
    cluster.tell(0, Event::PeerLost { node: 1 });
    // What node 0 leads has a member on node 1; what node 1 leads, node 0 follows.
    assert_eq!(cluster.awake()[0], zero + one);
    // The next beat says that node 1 was given up, so it wakes the same groups.
    cluster.run(1);
    assert!(cluster.awake()[1] >= zero + one, "{:?}", cluster.awake());
    let terms = cluster.terms();
    cluster.run(3 * ELECTION_TICKS);
    assert_eq!((cluster.awake(), cluster.terms()), ([0, 0, 0], terms));
}

#[test]
fn silence_of_a_leaders_core_ends_in_elections_as_soon_as_if_nobody_had_slept() {
    // The same seeds draw the same waits: only the sleep differs.
    let elected = |idle_ticks| {
        let mut cluster = Cluster::with_idle_ticks(30, idle_ticks);
        cluster.run(6 * ELECTION_TICKS);
        let slept = cluster.awake() == [0, 0, 0];
        cluster.pause(0);
        let elected = cluster.ticks_until_led_without(0);
        (cluster, slept, elected)
    };
    let (_, slept, wide_awake) = elected(u32::MAX);
    assert!(!slept && wide_awake >= ELECTION_TICKS / 2, "elections after {wide_awake} ticks");
    let (mut cluster, slept, asleep) = elected(10);
    assert!(slept && asleep <= wide_awake, "elections after {asleep} ticks, and {wide_awake} if nobody had slept");
    // It comes back, finds out, and everything sleeps again where it belongs.
    cluster.resume(0);
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!((cluster.awake(), cluster.led(0) > 0), ([0, 0, 0], true));
}

#[test]
fn a_new_process_on_the_other_side_wakes_what_rests_on_it() {
    let mut cluster = asleep(30);
    let (led, others) = (cluster.led(0), cluster.led(1));
    cluster.restart(0);
    cluster.run(1);
    // What it led, and what it follows: nodes 1 and 2 have heard a beat of another process.
    assert!(cluster.awake()[1] >= led + others, "{:?}", cluster.awake());
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!(cluster.awake(), [0, 0, 0]);
}

#[test]
fn a_core_whose_disk_is_stuck_does_not_claim_to_live() {
    let mut cluster = asleep(30);
    let group =
        (0..30).map(GroupId).find(|group| group.0 > 0 && cluster.leader(*group) == 0).expect("node 0 leads some");
    cluster.stop_disk(0);
    cluster.write(0, group);
    cluster.settle();
    cluster.run(ELECTION_TICKS / 2);
    cluster.forget();
    cluster.run(1);
    assert!(!cluster.words.iter().any(|(from, _, word)| *from == 0 && matches!(word, Word::Beat(_))));
    assert!(cluster.ticks_until_led_without(0) <= 5 * ELECTION_TICKS);
    cluster.start_disk(0);
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!((cluster.awake(), cluster.led(0) > 0), ([0, 0, 0], true));
}

#[test]
fn writes_do_not_keep_a_leader_whose_disk_is_stuck() {
    let mut cluster = Cluster::new(3);
    cluster.run(8 * ELECTION_TICKS);
    let group = (1..=3).map(GroupId).find(|group| cluster.leader(*group) == 0).expect("node 0 leads some");
    cluster.stop_disk(0);
    let mut ticks = 0;
    while cluster.role(0, group) == Role::Leader {
        cluster.write(0, group);
        cluster.settle();
        cluster.run(1);
        ticks += 1;
        assert!(ticks <= 5 * ELECTION_TICKS, "it still leads after {ticks} ticks");
    }
}

#[test]
fn a_group_with_a_member_that_does_not_run_stays_awake() {
    let mut cluster = Cluster::new(30);
    cluster.pause(2);
    cluster.run(8 * ELECTION_TICKS);
    // The map group and 30 data groups: everybody has a member on every node.
    assert_eq!(cluster.awake()[..2], [31, 31]);
}

#[test]
fn a_leader_far_from_home_does_not_sleep_there() {
    let mut cluster = asleep(3);
    let home = cluster.leader(GROUP);
    cluster.pause(home);
    cluster.run(3 * ELECTION_TICKS);
    let away = (0..3).find(|node| cluster.role(*node, GROUP) == Role::Leader && *node != home);
    assert!(away.is_some());
    cluster.resume(home);
    cluster.run(12 * ELECTION_TICKS);
    assert_eq!((cluster.leader(GROUP), cluster.awake()), (home, [0, 0, 0]));
}

#[test]
fn a_stale_read_wakes_nobody() {
    let mut cluster = asleep(3);
    let ticket = engine_core::shard::Ticket { connection: 1, request: 1, bytes: 0, mark: 0 };
    let query = Query::Scan { start: Vec::new(), end: None, limit: 1 };
    cluster.tell(0, Event::Read { ticket, group: GROUP, query, stale: true });
    assert_eq!((cluster.reads, cluster.awake()), (1, [0, 0, 0]));
}
