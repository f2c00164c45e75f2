//! Leases while nodes have different election timeouts, as when an operator changes it one node after the other.

use crate::harness::{ELECTION_TIMEOUT, LocalCluster, START_PATIENCE, eventually, start_with, unique};
use crate::metrics::{scrape, sum};
use net::client::{Client, ClientOptions};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The node whose election timeout is changed.
const CHANGED: usize = 2;

#[test]
fn no_lease_holds_while_a_node_has_a_shorter_election_timeout() {
    let mut cluster = start_with("leases-mixed", &[1, 1, 1], &["raft.leases=true"]);
    wait_for_leases(&cluster);
    let usual = format!("raft.election_timeout={}ms", ELECTION_TIMEOUT.as_millis());
    restart_with(&mut cluster, &usual, "raft.election_timeout=200ms");
    assert!(
        log(&cluster, CHANGED).contains("raft.election_timeout has become shorter"),
        "it waits for what it promised"
    );
    eventually(PATIENCE, "the others to hear of it", || {
        (0..CHANGED)
            .all(|node| log(&cluster, node).contains("its raft.election_timeout is shorter than here"))
            .then_some(())
    });
    let before = leased(&cluster);
    read(&cluster, 40);
    assert_eq!(leased(&cluster), before, "reads by leases of the two others");
    restart_with(&mut cluster, "raft.election_timeout=200ms", &usual);
    wait_for_leases(&cluster);
}

/// Starts the node again with one setting in place of another.
fn restart_with(cluster: &mut LocalCluster, former: &str, setting: &str) {
    cluster.kill(CHANGED).expect("killed");
    let arguments = &mut cluster.nodes[CHANGED].arguments;
    let argument = arguments.iter_mut().find(|argument| *argument == former).expect("it was given");
    *argument = setting.to_owned();
    cluster.restart(CHANGED).expect("it starts");
    cluster.wait_ready(START_PATIENCE).expect("it is ready");
}

/// Until a lease of one of the two other nodes answers.
fn wait_for_leases(cluster: &LocalCluster) {
    let before = leased(cluster);
    eventually(PATIENCE, "a read by a lease", || {
        read(cluster, 10);
        (leased(cluster) > before).then_some(())
    });
}

/// Gets of so many keys, all over the groups.
fn read(cluster: &LocalCluster, count: usize) {
    let mut client = Client::connect(&cluster.endpoints(), ClientOptions::default()).expect("a client");
    for _ in 0..count {
        client.get(unique("leased").as_bytes()).expect("an answer");
    }
}

/// Reads that leases of the two other nodes have answered.
fn leased(cluster: &LocalCluster) -> f64 {
    let others: Vec<_> = (0..CHANGED).map(|node| scrape(cluster, node)).collect();
    sum(&others, &["kvd_reads_leased"])
}

fn log(cluster: &LocalCluster, node: usize) -> String {
    std::fs::read_to_string(&cluster.nodes[node].log).expect("its log")
}
