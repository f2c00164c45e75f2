//! A follower far behind, whose snapshots are interrupted again and again while clients write.

use std::time::{Duration, Instant};

use crate::harness::{eventually, kvctl, until};
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::elections;
use crate::nemesis::stage::{run_with_input, skip};
use crate::writer::Writer;
use crate::{PATIENCE, assert_replicas_agree, is_long, on_cluster, repeat, settings};

/// The node that is away; none of the others may be needed for what it lacks.
const AWAY: usize = 2;
/// Snapshots: one for each data group.
const SNAPSHOTS: u64 = 4;
/// What a sender says of a connection that was cut.
const LOST: &str = "a snapshot's connection is lost";
/// What the others must keep of their pace, at full length: a gate passes on busy machines, too.
const PACE: f64 = 0.7;

#[test]
fn a_follower_far_behind_catches_up_although_its_snapshots_are_interrupted() {
    if !is_long() {
        return skip(
            "behind",
            "it interrupts snapshots by the clock, which needs a machine of its own (KV_RELIABILITY_LONG=1)",
        );
    }
    // Slow enough to be interrupted on the way, on logs that hold far less than what is lacking.
    let with = [
        // At the pace of the writers, eight times this must last as long as an interrupted snapshot.
        if is_long() { "raft.snapshot_entries=10000" } else { "raft.snapshot_entries=3000" },
        if is_long() { "raft.snapshot_rate=2MiB" } else { "raft.snapshot_rate=1MiB" },
        "store.wal_size_limit=32MiB",
    ];
    let options = Options { disk_bytes: 3 << 29, ..settings(&with) };
    on_cluster("behind", options, |_, mut cluster| {
        let reject = |cluster: &Cluster| cluster.nodes[AWAY].room.run(|| run_with_input("nft", &["-f", "-"], REJECT));
        let accept = |cluster: &Cluster| cluster.nodes[AWAY].room.run(|| run_with_input("nft", &["-f", "-"], ACCEPT));
        if let Err(why) = reject(&cluster).and_then(|()| accept(&cluster)) {
            return skip("behind", &why);
        }
        let (entries, cuts) = (repeat(40_000, 1_000_000), repeat(2, 5) as usize);
        let keys = entries / repeat(4, 10);
        cluster.wait_settled();
        let writer = Writer::start(&cluster.endpoints());
        writer.wait_for_more(200, PATIENCE);
        let before = pace(&writer, || std::thread::sleep(Duration::from_secs(repeat(2, 10)))); // how long it is measured
        let first_written = writer.stop();
        cluster.kill(AWAY);
        let first = commit(&cluster);
        while commit(&cluster) - first < entries {
            load(&cluster, keys);
        }
        let lacking = commit(&cluster) - first;
        let writer = Writer::start(&cluster.endpoints());
        writer.wait_for_more(200, PATIENCE);
        cluster.start_node(AWAY);
        let started = Instant::now();
        let during = pace(&writer, || {
            let mut interrupted = 0;
            while interrupted < cuts {
                assert!(
                    started.elapsed() < 5 * PATIENCE,
                    "only {interrupted} interruptions after {:?}",
                    started.elapsed()
                );
                // A busy machine may let all of them end before the next interruption: the long form has time for each.
                let over = eventually(PATIENCE, "a snapshot on its way", || {
                    let over = installed(&cluster) >= SNAPSHOTS;
                    (over || is_on_its_way(&cluster)).then_some(over)
                });
                assert!(!(over && is_long()), "only {interrupted} interruptions came in time");
                if over {
                    break;
                }
                std::thread::sleep(Duration::from_millis(400)); // how long a connection lasts: some chunks come through
                let lost = told(&cluster, LOST);
                reject(&cluster).expect("connections are refused");
                // It may have come to its end just now: then the next one is interrupted.
                let noticed = Instant::now() + elections(4.0);
                let is_lost = until(noticed, "an interruption", || Ok((told(&cluster, LOST) > lost).then_some(())));
                accept(&cluster).expect("connections are accepted");
                interrupted += usize::from(is_lost.is_ok());
            }
            eventually(3 * PATIENCE, "all snapshots", || (installed(&cluster) >= SNAPSHOTS).then_some(()));
        });
        let took = started.elapsed();
        writer.wait_for_more(200, PATIENCE);
        let written = writer.stop();
        let resumed = told(&cluster, "a snapshot's sending is resumed");
        println!(
            "{lacking} entries behind, {cuts} interruptions, {resumed} resumed: caught up in {took:.1?}; \
             {during:.0} writes/s, {before:.0} before",
        );
        assert!(!is_long() || resumed > 0, "every snapshot began anew");
        assert_replicas_agree(&cluster);
        for written in [first_written, written] {
            written.assert_all_there(&[cluster.nodes[AWAY].address.clone()]);
        }
        let kept = during / before;
        assert!(!is_long() || kept >= PACE, "the others kept {kept:.2} of their pace");
    });
}

/// Connections to a node are reset, those that stand and new ones.
const REJECT: &str = "table inet nemesis\ndelete table inet nemesis\ntable inet nemesis {\n\
    chain in { type filter hook input priority 0;\ntcp dport 7400 reject with tcp reset\n}\n}\n";
const ACCEPT: &str = "table inet nemesis\ndelete table inet nemesis\n";

/// Acknowledged writes a second while `act` goes on.
fn pace(writer: &Writer, act: impl FnOnce()) -> f64 {
    let (begun, before) = (Instant::now(), writer.count());
    act();
    (writer.count() - before) as f64 / begun.elapsed().as_secs_f64()
}

/// Writes this many keys, the same every time.
fn load(cluster: &Cluster, keys: u64) {
    // Few entries must do for a snapshot of several chunks, too.
    let (keys, size) = (keys.to_string(), repeat(500, 100).to_string());
    let arguments = ["bench", "load", "--keys", &keys, "--value-size", &size, "--connections", "4", "--depth", "64"];
    kvctl(&cluster.endpoints()[..AWAY], &[&arguments[..], &["-o", "json"]].concat()).exits(0);
}

/// Entries committed in all groups.
fn commit(cluster: &Cluster) -> u64 {
    let status = cluster.status();
    let of = |group: usize| {
        let known = status.iter().flatten().filter_map(|node| node.groups.get(group));
        known.map(|replica| replica.commit).max().unwrap_or(0)
    };
    (0..=crate::GROUPS as usize).map(of).sum()
}

/// Snapshots that the node which was away has installed since its start.
fn installed(cluster: &Cluster) -> u64 {
    let status = cluster.status();
    status[AWAY].as_ref().map_or(0, |node| node.groups.iter().map(|replica| replica.snapshots_installed).sum())
}

/// Whether the node which was away has begun to take a snapshot in, and has not come to its end.
fn is_on_its_way(cluster: &Cluster) -> bool {
    let log = cluster.log(AWAY);
    log.rfind("a snapshot comes in") > log.rfind("a snapshot is installed")
}

/// How often the nodes have logged this.
fn told(cluster: &Cluster, what: &str) -> usize {
    (0..cluster.nodes.len()).map(|node| cluster.log(node).matches(what).count()).sum()
}
