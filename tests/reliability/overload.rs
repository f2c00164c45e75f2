//! Four times what a cluster can take: it goes on at its pace, grows no further than its settings say, and recovers at once.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{eventually, kvctl};
use crate::limits::memory;
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::stage::skip;
use crate::{PATIENCE, assert_replicas_agree, is_long, on_cluster, repeat, settings};

/// What one core may keep of requests, of entries to be applied and of messages to one peer.
const CORE_BYTES: u64 = 16 << 20;
/// Entries of one group that are not committed, and what one connection may keep.
const GROUP_BYTES: u64 = 4 << 20;
/// All of that for four groups and two peers, the caches of these nodes, and the tables of their stores.
const GROWTH_MAX: u64 = 2 * CORE_BYTES + 5 * GROUP_BYTES + 2 * CORE_BYTES + 64 * (1 << 20);
/// What is left of the pace while four times as much is asked for, at full length: a gate passes on busy machines, too.
const GOODPUT: f64 = 0.8;
/// How soon a write takes as long as before, within so much, at full length.
const RECOVERY: Duration = Duration::from_secs(10);
const NORMAL: f64 = 3.0;
/// Below this nobody could tell a slow cluster from a slow scheduler, in microseconds.
const P99_LEAST: f64 = 20_000.0;

#[test]
fn four_times_too_much_is_bounded_and_forgotten_at_once() {
    if !is_long() {
        return skip("overload", "it needs a machine of its own (KV_RELIABILITY_LONG=1)");
    }
    let core = format!("limits.core_inflight_bytes={CORE_BYTES}");
    let unapplied = format!("limits.core_unapplied_bytes={CORE_BYTES}");
    let peers = format!("limits.peer_queue_bytes={CORE_BYTES}");
    let group = format!("limits.group_uncommitted_bytes={GROUP_BYTES}");
    let connection = format!("limits.connection_inflight_bytes={GROUP_BYTES}");
    let with = settings(&[&core, &unapplied, &peers, &group, &connection, "store.wal_size_limit=32MiB"]);
    on_cluster("overload", Options { disk_bytes: 3 << 29, ..with }, |_, cluster| {
        cluster.wait_settled();
        let long = format!("{}s", repeat(3, 20));
        let calm = |cluster: &Cluster| {
            let result = bench(cluster, &["--clients", "8", "--duration", "1s", "--warmup", "0s"]);
            // Where nothing was answered nothing was fast.
            if rate(&result) > 0.0 { p99(&result) } else { f64::INFINITY }
        };
        let peak = rate(&bench(&cluster, &["--clients", "256", "--connections", "4", "--duration", &long]));
        let normal = calm(&cluster).max(P99_LEAST);
        let before: Vec<u64> = (0..cluster.nodes.len()).map(|node| memory(&cluster, node)).collect();

        let offered = format!("{:.0}", 4.0 * peak);
        let endpoints = cluster.endpoints();
        let asking = std::thread::spawn(move || {
            let more = ["--rate", &offered, "--clients", "4096", "--connections", "16", "--duration", &long];
            ask(&endpoints, &more)
        });
        let mut grown = vec![0; before.len()];
        while !asking.is_finished() {
            for (node, grown) in grown.iter_mut().enumerate() {
                *grown = memory(&cluster, node).saturating_sub(before[node]).max(*grown);
            }
            std::thread::sleep(Duration::from_millis(50)); // the pause between two looks
        }
        let during = rate(&asking.join().expect("the clients do not panic"));
        let ended = Instant::now();
        let patience = if is_long() { RECOVERY } else { PATIENCE };
        let after = eventually(patience, "writes to take as long as before", || {
            Some(calm(&cluster)).filter(|p99| *p99 <= NORMAL * normal)
        });
        println!(
            "{peak:.0} writes/s at best, {during:.0} while 4 times as many are asked for; nodes grew by {grown:?} bytes; \
             p99 {after:.0} us {:.1?} after it, {normal:.0} before",
            ended.elapsed()
        );
        assert!(!is_long() || during >= GOODPUT * peak, "only {during:.0} of {peak:.0} writes/s are left");
        let most = grown.iter().max().copied().unwrap_or(0);
        assert!(most <= GROWTH_MAX, "a node grew by {most} bytes, its settings allow {GROWTH_MAX}");
        assert_replicas_agree(&cluster);
    });
}

fn bench(cluster: &Cluster, more: &[&str]) -> Value {
    ask(&cluster.endpoints(), more)
}

fn ask(endpoints: &[String], more: &[&str]) -> Value {
    let put = ["bench", "run", "put", "--keys", "20000", "--value-size", "500", "-o", "json"];
    // Under too much, errors are part of the answer.
    kvctl(endpoints, &[&put, more].concat()).json()
}

fn rate(result: &Value) -> f64 {
    result["all"]["ops_per_second"].as_f64().unwrap_or_else(|| panic!("no rate: {result}"))
}

fn p99(result: &Value) -> f64 {
    result["operations"]["put"]["latency_us"]["p99"].as_f64().unwrap_or_else(|| panic!("no percentile: {result}"))
}
