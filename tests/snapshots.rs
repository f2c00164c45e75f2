//! Nodes that are too far behind, or have lost their store, get a snapshot while clients write.
//!
//! The settings are small, so that a few seconds of writes leave a follower behind. What is seen is what an operator sees: the
//! status, the checksums, the log of a node.

mod harness;

#[path = "availability/writer.rs"]
mod writer;

use harness::{LocalCluster, START_PATIENCE, eventually, kvctl, start_with};
use std::collections::BTreeMap;
use std::time::Duration;
use writer::Writer;

const PATIENCE: Duration = Duration::from_secs(120);

/// The node that is away; none of the others may be needed for what it lacks.
const AWAY: usize = 2;

/// Writes while it is away.
const WRITES: usize = 30_000;

const SMALL: [&str; 2] = ["raft.snapshot_entries=1000", "raft.snapshot_log_bytes=8MiB"];

#[test]
fn a_follower_far_behind_comes_back_by_snapshot_while_clients_write() {
    let mut cluster = start_with("snapshot-behind", &[1, 1, 1], &SMALL);
    let writer = Writer::start(&cluster.endpoints());
    writer.wait_for_more(2_000, PATIENCE);
    cluster.kill(AWAY).expect("killed");
    let others = cluster.endpoints()[..AWAY].to_vec();
    let log_of = |node, field| logs(&cluster, others.clone(), node, field);
    // What it holds nobody can ask it any more, but it is no more than the others have by now.
    let held = [log_of(0, "last_log_index"), log_of(1, "last_log_index")];
    writer.wait_for_more(WRITES, PATIENCE);
    // Either of them may lead, and who leads sends entries as long as its own log has them.
    eventually(PATIENCE, "the logs of both others to be cut", || {
        let begin = [log_of(0, "first_log_index"), log_of(1, "first_log_index")];
        let lacks = |group: &u64| held.iter().all(|held| begin.iter().all(|begin| begin[group] > held[group] + 1));
        (1..=4).all(|group| lacks(&group)).then_some(())
    });
    assert_eq!(installed(&cluster), 0, "nobody needed a snapshot so far");
    cluster.restart(AWAY).expect("it starts");
    // Every data group has far more entries than a log keeps.
    wait_for_snapshots(&cluster, 4);
    writer.wait_for_more(2_000, PATIENCE);
    let written = writer.stop();
    all_is_well(&cluster);
    written.assert_all_there(&[cluster.nodes[AWAY].address.clone()]);
    println!("{} acknowledged writes, {} snapshots, 0 lost", written.count(), installed(&cluster));
}

#[test]
fn a_node_whose_store_is_gone_heals_by_snapshot() {
    let mut cluster = start_with("snapshot-hollow", &[1, 1, 1], &SMALL);
    let writer = Writer::start(&cluster.endpoints());
    writer.wait_for_more(10_000, PATIENCE);
    // Told before it is on the disk; the cut after it is told when it is.
    let mut before = BTreeMap::new();
    for cuts in ["one cut of its logs", "another one"] {
        before = eventually(PATIENCE, cuts, || {
            let begin = logs(&cluster, cluster.endpoints(), AWAY, "first_log_index");
            (1..=4).all(|group| begin[&group] > before.get(&group).copied().unwrap_or(1)).then_some(begin)
        });
    }
    cluster.kill(AWAY).expect("killed");
    let home = cluster.nodes[AWAY].data.join("core-000");
    std::fs::remove_dir_all(home.join("db")).expect("the store is there");
    cluster.restart(AWAY).expect("it starts");
    wait_for_snapshots(&cluster, 1);
    // The same with a store that does not open: it is set aside, and the file that is damaged is named.
    cluster.kill(AWAY).expect("killed");
    std::fs::write(home.join("db").join("CURRENT"), "nonsense\n").expect("it is damaged");
    cluster.restart(AWAY).expect("it starts");
    wait_for_snapshots(&cluster, 1);
    writer.wait_for_more(1_000, PATIENCE);
    let written = writer.stop();
    all_is_well(&cluster);
    let found = std::fs::read_to_string(home.join("db.damaged-1.txt")).expect("what was found is told");
    assert!(home.join("db.damaged-1").is_dir() && found.contains("CURRENT"), "{found}");
    written.assert_all_there(&[cluster.nodes[AWAY].address.clone()]);
    println!("{} acknowledged writes, 0 lost", written.count());
}

/// One number of each of a node's logs, by group, as these endpoints say.
fn logs(cluster: &LocalCluster, endpoints: Vec<String>, node: usize, field: &str) -> BTreeMap<u64, u64> {
    let status = kvctl(&endpoints, &["status", "-o", "json"]).json();
    let name = &cluster.nodes[node].name;
    let groups = status["groups"].as_array().expect("groups").iter();
    let of_group = |group: &serde_json::Value| {
        let replicas = group["replicas"].as_array().expect("replicas");
        let ours = replicas.iter().find(|replica| replica["node"] == *name)?;
        Some((group["id"].as_u64()?, ours[field].as_u64()?))
    };
    groups.filter_map(of_group).collect()
}

/// Snapshots that the node away has installed since its start.
fn installed(cluster: &LocalCluster) -> u64 {
    let status = kvctl(&cluster.endpoints()[..AWAY], &["status", "-o", "json"]).json();
    let groups = status["groups"].as_array().expect("groups");
    let replicas = groups.iter().flat_map(|group| group["replicas"].as_array().expect("replicas"));
    let name = &cluster.nodes[AWAY].name;
    let ours = replicas.filter(|replica| replica["node"] == *name);
    ours.filter_map(|replica| replica["snapshots_installed"].as_u64()).sum()
}

fn wait_for_snapshots(cluster: &LocalCluster, least: u64) {
    eventually(PATIENCE, "snapshots to be installed", || (installed(cluster) >= least).then_some(()));
}

/// Everybody leads or follows, and all replicas hold the same.
fn all_is_well(cluster: &LocalCluster) {
    eventually(START_PATIENCE, "all to be well", || (kvctl(&cluster.endpoints(), &["status"]).code == 0).then_some(()));
    kvctl(&cluster.endpoints(), &["group", "checksum", "--timeout", "60s"]).exits(0);
}
