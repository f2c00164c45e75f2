//! Power cuts: what was not synced is gone. The only way to see an fsync that is missing.

use std::time::Duration;

use crate::nemesis::cluster::Cluster;
use crate::nemesis::random::Random;
use crate::writer::{Writer, Written};
use crate::{PATIENCE, assert_replicas_agree, on_powered_cluster, repeat, settings};

const WRITES_MIN: usize = 200;

#[test]
fn a_node_that_loses_its_power_loses_no_acknowledged_write() {
    one_node("power-one", &[]);
}

#[test]
fn a_node_that_loses_its_power_with_a_buffered_journal_loses_no_acknowledged_write() {
    one_node("power-one-buffered", &["journal.direct_io=false"]);
}

#[test]
fn all_nodes_that_lose_their_power_lose_no_acknowledged_write() {
    all_nodes("power-all", &[]);
}

#[test]
fn all_nodes_that_lose_their_power_with_a_buffered_journal_lose_no_acknowledged_write() {
    all_nodes("power-all-buffered", &["journal.direct_io=false"]);
}

/// The control: what the others show means nothing if this cut loses nothing.
#[test]
fn without_fsync_a_power_cut_loses_acknowledged_writes() {
    on_powered_cluster(
        "power-control",
        settings(&["journal.direct_io=false", "journal.fsync=false"]),
        |mut cluster| {
            let written = write_until_the_power_is_gone(&mut cluster);
            (0..cluster.nodes.len()).for_each(|position| cluster.restore_power(position));
            // A cluster that lost its votes too may not even come back to say so.
            let lost = written.lost(&cluster.endpoints(), Duration::from_secs(10), 1);
            println!("without fsync: at least {} of {} acknowledged writes lost", lost.len(), written.count());
            assert!(
                !lost.is_empty(),
                "the power cut cuts nothing: {} writes survived it without fsync",
                written.count()
            );
        },
    );
}

/// One node after another, each cut while the one before has hardly come back: what only two of them have
/// acknowledged must be on both.
fn one_node(name: &'static str, with: &[&str]) {
    on_powered_cluster(name, settings(with), |mut cluster| {
        let mut random = Random::seeded();
        let mut total = 0;
        for cycle in 1..=repeat(2, 34) {
            let writer = Writer::start(&cluster.endpoints());
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            for victim in order {
                writer.wait_for_more(WRITES_MIN, PATIENCE);
                cluster.cut_power(victim);
                writer.wait_for_more(WRITES_MIN, PATIENCE);
                cluster.restore_power(victim);
            }
            let written = writer.stop();
            written.assert_all_there(&cluster.endpoints());
            total += written.count();
            println!("cycle {cycle}: {} acknowledged writes, 3 power cuts, 0 lost", written.count());
        }
        assert_replicas_agree(&cluster);
        println!("{total} acknowledged writes, 0 lost");
    });
}

fn all_nodes(name: &'static str, with: &[&str]) {
    on_powered_cluster(name, settings(with), |mut cluster| {
        let mut total = 0;
        for cycle in 1..=repeat(2, 100) {
            let written = write_until_the_power_is_gone(&mut cluster);
            (0..cluster.nodes.len()).for_each(|position| cluster.restore_power(position));
            written.assert_all_there(&cluster.endpoints());
            total += written.count();
            println!("cycle {cycle}: {} acknowledged writes, all power cut, 0 lost", written.count());
        }
        assert_replicas_agree(&cluster);
        println!("{total} acknowledged writes, 0 lost");
    });
}

fn write_until_the_power_is_gone(cluster: &mut Cluster) -> Written {
    let writer = Writer::start(&cluster.endpoints());
    writer.wait_for_more(WRITES_MIN, PATIENCE);
    // All disks before any process: nothing becomes durable on one that another has not acknowledged.
    cluster.nodes.iter().for_each(|node| node.disk.cut_power().expect("the power is cut"));
    (0..cluster.nodes.len()).for_each(|position| cluster.kill(position));
    writer.abandon()
}
