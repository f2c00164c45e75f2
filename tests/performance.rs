//! Throughput and percentiles of every operation on a loaded cluster of three nodes.
//!
//! It fails on errors and missing figures, never on time: what a figure should be depends on the machine, and is judged
//! in `benches/`. Short within the gate; `KV_PERFORMANCE_LONG=1` loads more and measures longer.

mod harness;

use harness::{LocalCluster, kvctl, start};

/// Workloads in their order: the last ones add keys and take them away.
const WORKLOADS: [&str; 12] =
    ["put", "get", "mixed", "cas", "scan", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-f", "ycsb-d", "ycsb-e", "delete"];
const FIGURES: [&str; 5] = ["p50", "p90", "p99", "p999", "max"];

struct Extent {
    keys: &'static str,
    clients: &'static str,
    connections: &'static str,
    duration: &'static str,
    warmup: &'static str,
}

const SHORT: Extent = Extent { keys: "2000", clients: "16", connections: "2", duration: "500ms", warmup: "100ms" };
const LONG: Extent = Extent { keys: "100000", clients: "256", connections: "16", duration: "5s", warmup: "1s" };

#[test]
fn every_operation_is_answered_and_measured() {
    let extent = if std::env::var_os("KV_PERFORMANCE_LONG").is_some() { LONG } else { SHORT };
    let cluster = start("performance", &[1, 1, 1]);
    println!(
        "three nodes on this machine with fsync, three replicas, {} keys of 256 bytes, {} clients over {} connections",
        extent.keys, extent.clients, extent.connections
    );
    println!(
        "{:<8} {:<18} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>10}",
        "WORKLOAD", "OPERATION", "OPS/S", "P50 US", "P90 US", "P99 US", "P99.9 US", "MAX US", "MISSES", "CPU US/OP"
    );
    let sizes = ["--keys", extent.keys, "--value-size", "256", "--connections", extent.connections];
    measured(&cluster, "load", &[&["load"], &sizes[..]].concat(), 0.0);
    let times = ["--clients", extent.clients, "--duration", extent.duration, "--warmup", extent.warmup];
    let unmeasured = seconds(extent.warmup);
    for workload in WORKLOADS {
        measured(&cluster, workload, &[&["run", workload], &sizes[..], &times].concat(), unmeasured);
    }
    kvctl(&cluster.endpoints(), &["group", "checksum", "--timeout", "60s"]).exits(0);
}

/// One run and its lines. `unmeasured` seconds of it are work of the servers too.
fn measured(cluster: &LocalCluster, workload: &str, arguments: &[&str], unmeasured: f64) {
    let before = cpu_seconds(cluster);
    let result = kvctl(&cluster.endpoints(), &[&["bench"], arguments, &["-o", "json"]].concat()).exits(0).json();
    let used = cpu_seconds(cluster) - before;
    let operations = result["operations"].as_object().expect("operations");
    assert!(!operations.is_empty(), "{workload}: {result}");
    let rate = result["all"]["ops_per_second"].as_f64().expect("a rate");
    let duration = result["run"]["duration_seconds"].as_f64().expect("a duration");
    let cpu_us = used * 1e6 / (rate * (duration + unmeasured));
    for (name, figures) in operations {
        assert_eq!(figures["errors"], 0, "{name} of {workload}: {result}");
        let rate = figures["ops_per_second"].as_f64().expect("a rate");
        let latencies = FIGURES.map(|figure| figures["latency_us"][figure].as_u64().expect(figure));
        assert!(rate > 0.0 && latencies[0] > 0 && latencies.is_sorted(), "{name} of {workload}: {result}");
        let [p50, p90, p99, p999, max] = latencies;
        let misses = figures["misses"].as_u64().expect("misses");
        println!(
            "{workload:<8} {name:<18} {rate:>10.0} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {max:>9} {misses:>8} {cpu_us:>10.1}"
        );
    }
    for warning in result["generator"]["warnings"].as_array().expect("warnings") {
        println!("{workload:<8} note: {}", warning.as_str().expect("text"));
    }
}

/// User and system time of all servers so far.
fn cpu_seconds(cluster: &LocalCluster) -> f64 {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let ticks = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a running node");
        // The name in brackets may hold anything; the fields behind it are numbered from 3.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |number: usize| fields[number - 3].parse::<u64>().expect("a number of ticks");
        field(14) + field(15)
    };
    let total: u64 = cluster.nodes.iter().map(|node| ticks(node.id().expect("a running node"))).sum();
    total as f64 / ticks_per_second
}

fn seconds(duration: &str) -> f64 {
    humantime::parse_duration(duration).expect("a duration").as_secs_f64()
}
