//! What a scrape of the admin port says, and that it moves with what happens.

use crate::harness::{LocalCluster, eventually, kvctl, start, unique};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// The samples of one node, by name and labels.
pub fn scrape(cluster: &LocalCluster, position: usize) -> BTreeMap<String, f64> {
    let (code, text) = cluster.nodes[position].ask_admin("/metrics").expect("an answer");
    assert_eq!(code, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// The sum of all samples whose name and labels contain every part.
pub fn sum(samples: &[BTreeMap<String, f64>], parts: &[&str]) -> f64 {
    let wanted = |name: &String| parts.iter().all(|part| name.contains(part));
    samples.iter().flatten().filter(|(name, _)| wanted(name)).map(|(_, value)| value).sum()
}

#[test]
fn metrics_follow_what_happens() {
    let cluster = start("metrics", &[1, 2, 1]);
    let nodes = cluster.endpoints();
    let key = unique("metrics");
    for _ in 0..3 {
        kvctl(&nodes, &["put", &key, "v"]).exits(0);
    }
    kvctl(&nodes, &["get", &key]).exits(0);
    kvctl(&nodes, &["del", &key]).exits(0);
    let all = || (0..3).map(|position| scrape(&cluster, position)).collect::<Vec<_>>();
    let samples = all();
    assert!(sum(&samples, &["raft_request_latency_seconds_count", "operation=\"put\""]) >= 3.0);
    assert!(sum(&samples, &["raft_request_latency_seconds_count", "operation=\"get\""]) >= 1.0);
    assert!(sum(&samples, &["raft_request_latency_seconds_count", "operation=\"delete\""]) >= 1.0);
    assert!(sum(&samples, &["raft_request_latency_seconds_sum", "operation=\"put\""]) > 0.0);
    assert!(sum(&samples, &["kvd_journal_sync_seconds_count"]) > 0.0);
    let groups = kvctl(&nodes, &["status", "-o", "json"]).exits(0).json()["groups"].as_array().expect("groups").len();
    // Group 0 leads somewhere too; every group has one leader, and three replicas with a term.
    assert_eq!(sum(&samples, &["raft_state{"]), 2.0 * (groups + 1) as f64);
    let terms = samples.iter().flatten().filter(|(name, _)| name.starts_with("raft_term{"));
    assert_eq!(terms.filter(|(_, term)| **term >= 1.0).count(), 3 * (groups + 1));
    assert!(sum(&samples, &["raft_committed_index{"]) > 0.0 && sum(&samples, &["raft_log_size{"]) > 0.0);
    assert_eq!(sum(&samples, &["raft_node_health{"]), 6.0, "three nodes see two peers each");
    eventually(PATIENCE, "the followers to have everything", || {
        (sum(&all(), &["raft_replication_lag{"]) == 0.0).then_some(())
    });
}
