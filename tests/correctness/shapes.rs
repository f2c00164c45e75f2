//! The same promises on clusters of other shapes: more shards, and nodes that differ in theirs.

use crate::harness::{START_PATIENCE, eventually, kvctl, kvctl_with_input, start, start_with};

#[test]
fn three_nodes_of_two_shards() {
    serves(&[2, 2, 2]);
}

#[test]
fn nodes_of_one_two_and_three_shards_in_one_cluster() {
    serves(&[1, 2, 3]);
}

#[test]
fn five_nodes_with_three_replicas_of_each_group() {
    serves(&[1, 1, 1, 1, 1]);
}

#[test]
fn a_node_with_the_largest_limits() {
    let most = [
        "raft.snapshot_log_bytes=18446744073709551615",
        "raft.snapshot_rate=18446744073709551615",
        "raft.inflight_bytes=4GiB",
        "raft.append_bytes=2MiB",
        "raft.window_bytes=4GiB",
        "store.block_cache=1TiB",
        "store.wal_size_limit=1TiB",
        "limits.connection_inflight_bytes=1TiB",
        "limits.core_inflight_bytes=1TiB",
        "limits.group_uncommitted_bytes=1TiB",
        "limits.core_unapplied_bytes=1TiB",
        "limits.peer_queue_bytes=1TiB",
    ];
    let cluster = start_with("largest-limits", &[1, 1, 1], &most);
    let nodes = cluster.endpoints();
    for node in &nodes {
        kvctl(&[node], &["put", "key", node]).exits(0);
        assert_eq!(kvctl(&nodes, &["get", "key"]).exits(0).text(), format!("{node}\n"));
    }
    kvctl(&nodes, &["group", "checksum", "--timeout", "30s"]).exits(0);
}

/// Puts at each node, gets at each other, imports, scans, compares checksums, and finds nothing forwarded.
fn serves(shards: &[u16]) {
    let name = shards.iter().map(u16::to_string).collect::<Vec<_>>().join("-");
    let cluster = start(&format!("shape-{name}"), shards);
    let nodes = cluster.endpoints();
    for (i, writer) in nodes.iter().enumerate() {
        let key = format!("key-{i}");
        kvctl(&[writer], &["put", &key, &format!("value-{i}")]).exits(0);
        for reader in &nodes {
            assert_eq!(kvctl(&[reader], &["get", &key]).exits(0).text(), format!("value-{i}\n"));
        }
    }
    let rows: String = (0..2_000).map(|i| format!("row-{i:04}\t{i}\n")).collect();
    kvctl_with_input(&nodes, &["data", "import", "-", "--format", "tsv"], rows.as_bytes()).exits(0);
    let scanned = kvctl(&nodes, &["scan", "--prefix", "row-", "--limit", "5000", "-o", "plain"]).exits(0);
    assert_eq!(scanned.text(), rows);
    kvctl(&nodes, &["group", "checksum", "--timeout", "30s"]).exits(0);

    // Leaders that are on their way home just then make it unhealthy for a moment.
    let status = eventually(START_PATIENCE, "all groups to have leaders", || {
        let run = kvctl(&nodes, &["status", "-o", "json"]);
        (run.code == 0).then(|| run.json())
    });
    for (node, shards) in status["nodes"].as_array().expect("nodes").iter().zip(shards) {
        assert_eq!(node["shards"].as_u64(), Some(u64::from(*shards)), "{node}");
        assert_eq!(node["forwarded"].as_u64(), Some(0), "a client that routes needs nobody to forward: {node}");
    }
}

#[test]
fn replicas_are_spread_over_the_nodes() {
    let cluster = start("spread", &[1, 1, 1, 1]);
    let status = kvctl(&cluster.endpoints(), &["status", "-o", "json"]).exits(0).json();
    let mut held = std::collections::BTreeMap::new();
    for group in status["groups"].as_array().expect("groups") {
        for replica in group["replicas"].as_array().expect("replicas") {
            *held.entry(replica["node"].to_string()).or_insert(0) += 1;
        }
    }
    // 4 groups of 3 replicas on 4 nodes.
    assert_eq!(held.values().copied().collect::<Vec<_>>(), [3, 3, 3, 3], "{held:?}");
}

#[test]
fn a_setting_of_the_file_can_be_given_on_the_command_line() {
    let cluster = start_with("settings", &[1, 1, 1], &["raft.snapshot_entries=10000"]);
    kvctl(&cluster.endpoints(), &["put", "k", "v"]).exits(0);
}
