//! Single keys and scans through `kvctl`.

use crate::harness::{kvctl, kvctl_with_input, shared, unique};

const KEY_BYTES_MAX: usize = 4096;
const VALUE_BYTES_MAX: usize = 1 << 20;

#[test]
fn a_value_put_at_one_node_is_read_at_every_other() {
    let nodes = shared();
    for (i, writer) in nodes.iter().enumerate() {
        let (key, value) = (unique("across"), format!("from node {i}"));
        kvctl(&[writer], &["put", &key, &value]).exits(0);
        for reader in nodes {
            assert_eq!(kvctl(&[reader], &["get", &key]).exits(0).text(), format!("{value}\n"));
        }
    }
}

#[test]
fn the_latest_value_counts() {
    let key = unique("twice");
    kvctl(shared(), &["put", &key, "1"]).exits(0);
    kvctl(shared(), &["put", &key, "2"]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout, b"2");
}

#[test]
fn a_deleted_key_is_gone() {
    let key = unique("deleted");
    kvctl(shared(), &["put", &key, "1"]).exits(0);
    let deleted = kvctl(shared(), &["del", &key, "-o", "json"]).exits(0);
    assert_eq!(deleted.json()["deleted"], true);
    kvctl(shared(), &["get", &key]).exits(3);
    assert_eq!(kvctl(shared(), &["del", &key, "-o", "json"]).exits(0).json()["deleted"], false);
}

#[test]
fn a_stale_read_finds_the_value_at_last() {
    let key = unique("stale");
    kvctl(shared(), &["put", &key, "1"]).exits(0);
    crate::harness::eventually(std::time::Duration::from_secs(10), "a replica to have it", || {
        (kvctl(shared(), &["get", "--stale", &key]).code == 0).then_some(())
    });
}

#[test]
fn the_empty_key_and_the_empty_value_are_values_like_others() {
    kvctl(shared(), &["put", "", "of the empty key"]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", ""]).exits(0).stdout, b"of the empty key");
    let key = unique("empty");
    kvctl(shared(), &["put", &key, ""]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout, b"");
    assert_eq!(kvctl(shared(), &["get", &key, "-o", "json"]).exits(0).json()["value"], "");
}

#[test]
fn any_bytes_are_a_key_and_a_value() {
    let nodes = shared();
    let key = format!("{}\\x00\\xff\\n\\t\\\\", unique("binary"));
    let value: Vec<u8> = (0..=255).cycle().take(1000).collect();
    kvctl_with_input(nodes, &["--encoding", "escaped", "put", &key, "-"], &value).exits(0);
    let raw = kvctl(nodes, &["--encoding", "escaped", "get", "--raw", &key]).exits(0);
    assert_eq!(raw.stdout, value);
    let json = kvctl(nodes, &["--encoding", "escaped", "get", &key, "-o", "json"]).exits(0).json();
    assert_eq!(json["enc"], "base64");
    let encoded = json["key"].as_str().expect("a string");
    assert_eq!(kvctl(nodes, &["--encoding", "base64", "get", "--raw", encoded]).exits(0).stdout, value);
    let plain = kvctl(nodes, &["--encoding", "escaped", "get", &key, "-o", "plain"]).exits(0);
    assert!(plain.text().starts_with("\\x00\\x01"), "{}", plain.text());
    assert_eq!(plain.text().lines().count(), 1);
}

#[test]
fn values_come_from_standard_input_and_from_files() {
    let key = unique("sources");
    kvctl_with_input(shared(), &["put", &key, "-"], b"line\n").exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout, b"line\n");
    let file = crate::harness::scratch("sources").join("value");
    std::fs::write(&file, b"\x00from a file").expect("written");
    kvctl(shared(), &["put", &key, &format!("@{}", file.display())]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout, b"\x00from a file");
    kvctl(shared(), &["put", &key, "@/nowhere/at/all"]).exits(1);
}

#[test]
fn a_key_may_start_with_a_dash() {
    let key = format!("--{}", unique("dash"));
    kvctl(shared(), &["put", "--", &key, "-1"]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", "--", &key]).exits(0).stdout, b"-1");
    kvctl(shared(), &["group", "locate", "--", &key]).exits(0);
    kvctl(shared(), &["del", "--", &key]).exits(0);
    kvctl(shared(), &["get", "--", &key]).exits(3);
}

#[test]
fn what_is_larger_than_the_limits_is_refused_by_name() {
    let longest = "k".repeat(KEY_BYTES_MAX);
    kvctl(shared(), &["put", &longest, "fits"]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", &longest]).exits(0).stdout, b"fits");
    let longer = "k".repeat(KEY_BYTES_MAX + 1);
    let refused = kvctl(shared(), &["put", &longer, "does not"]).exits(1);
    assert!(refused.stderr.contains("too large: the key has 4097 bytes, at most 4096"), "{}", refused.stderr);

    let key = unique("large");
    let value = vec![b'v'; VALUE_BYTES_MAX + 1];
    kvctl_with_input(shared(), &["put", &key, "-"], &value[1..]).exits(0);
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout.len(), VALUE_BYTES_MAX);
    let refused = kvctl_with_input(shared(), &["put", &key, "-"], &value).exits(1);
    assert!(refused.stderr.contains("too large: the value has 1048577 bytes, at most 1048576"), "{}", refused.stderr);
    // Only as much as one request may hold is known of that.
    let refused = kvctl_with_input(shared(), &["put", &key, "-"], &vec![b'v'; 5_000_000]).exits(1);
    assert!(refused.stderr.contains("limits.value_bytes_max"), "{}", refused.stderr);
    kvctl(shared(), &["del", &key]).exits(0);
}

#[test]
fn put_if_absent_writes_only_once() {
    let key = unique("absent");
    kvctl(shared(), &["put", "--if-absent", &key, "first"]).exits(0);
    let refused = kvctl(shared(), &["put", "--if-absent", &key, "second", "-o", "json"]).exits(4);
    assert_eq!(refused.json()["error"]["code"], "precondition_failed");
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout, b"first");
}

#[test]
fn compare_and_swap_swaps_only_what_is_expected() {
    let key = unique("cas");
    kvctl(shared(), &["cas", &key, "--expect", "1", "--set", "2"]).exits(4);
    kvctl(shared(), &["get", &key]).exits(3);
    kvctl(shared(), &["put", &key, "1"]).exits(0);
    kvctl(shared(), &["cas", &key, "--expect", "1", "--set", "2"]).exits(0);
    kvctl(shared(), &["cas", &key, "--expect", "1", "--set", "3"]).exits(4);
    assert_eq!(kvctl(shared(), &["get", "--raw", &key]).exits(0).stdout, b"2");
}

#[test]
fn of_many_swaps_from_one_value_exactly_one_succeeds() {
    let key = unique("race");
    kvctl(shared(), &["put", &key, "start"]).exits(0);
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let swap = |i: usize| {
            let key = &key;
            scope.spawn(move || {
                let node = &shared()[i % shared().len()];
                kvctl(&[node], &["cas", key, "--expect", "start", "--set", &i.to_string()]).code
            })
        };
        let runs: Vec<_> = (0..8).map(swap).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 4).count(), 7, "{codes:?}");
}

#[test]
fn a_scan_gives_the_keys_of_all_groups_in_order() {
    let prefix = format!("{}:", unique("scan"));
    let keys: Vec<String> = (0..40).map(|i| format!("{prefix}{i:02}")).collect();
    let rows: String = keys.iter().map(|key| format!("{key}\tv-{key}\n")).collect();
    kvctl_with_input(shared(), &["data", "import", "-", "--format", "tsv"], rows.as_bytes()).exits(0);

    let all = kvctl(shared(), &["scan", "--prefix", &prefix, "-o", "plain"]).exits(0);
    assert_eq!(all.text(), rows);
    let json = kvctl(shared(), &["scan", "--prefix", &prefix, "--limit", "7", "-o", "json"]).exits(0).json();
    let found: Vec<&str> =
        json["entries"].as_array().expect("a list").iter().map(|entry| entry["key"].as_str().expect("text")).collect();
    assert_eq!(found, keys[..7].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(json["more"], true);

    let (start, end) = (&keys[10], &keys[20]);
    let range = kvctl(shared(), &["scan", "--start", start, "--end", end, "-o", "json"]).exits(0).json();
    let found = range["entries"].as_array().expect("a list");
    assert_eq!((found.len(), found[0]["key"].as_str()), (10, Some(start.as_str())));
    assert_eq!(range["more"], false);

    let groups: std::collections::BTreeSet<String> = keys
        .iter()
        .map(|key| kvctl(shared(), &["group", "locate", key, "-o", "json"]).exits(0).json()["group"].to_string())
        .collect();
    assert!(groups.len() > 1, "40 keys in {groups:?}: the merge was not tested");
}

#[test]
fn a_scan_that_ends_exactly_at_its_limit_has_no_more() {
    let prefix = format!("{}:", unique("exact"));
    for i in 0..3 {
        kvctl(shared(), &["put", &format!("{prefix}{i}"), "v"]).exits(0);
    }
    let json = kvctl(shared(), &["scan", "--prefix", &prefix, "--limit", "3", "-o", "json"]).exits(0).json();
    assert_eq!(json["entries"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["more"], false);
    let none = kvctl(shared(), &["scan", "--prefix", &format!("{prefix}none"), "-o", "json"]).exits(0).json();
    assert_eq!(none, serde_json::json!({ "entries": [], "more": false }));
}
