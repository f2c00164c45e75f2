//! Nodes killed with SIGKILL again and again under a writing client: no acknowledged write may be lost.
//!
//! `sh tests/run.sh --long` runs 100 cycles of a random node and 30 of all nodes; by itself the suite runs a few, so that
//! it stays alive. The numbers come from `KV_CRASH_CYCLES_ONE` and `KV_CRASH_CYCLES_ALL`, the choice of nodes from
//! `KV_CRASH_SEED`, which is printed.
//!
//! A cycle: at least 200 acknowledged writes of unique values, the kill with writes under way, the restart, and every
//! value read back through a node other than the killed one. A cycle with fewer writes is void and fails the run.

mod harness;

#[path = "availability/writer.rs"]
mod writer;

use std::time::{Duration, Instant, SystemTime};

use harness::{LocalCluster, START_PATIENCE, eventually, kvctl, start};
use writer::Writer;

const WRITES_MIN: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_random_node_killed_again_and_again_loses_nothing() {
    let mut random = seed();
    let mut cluster = start("crash-one", &[1, 1, 1]);
    let mut total = 0;
    for cycle in 1..=cycles("KV_CRASH_CYCLES_ONE", 3) {
        let victim = (next(&mut random) % cluster.nodes.len() as u64) as usize;
        total += cycle_of(&mut cluster, &[victim], cycle);
    }
    finish(&cluster, total);
}

#[test]
fn all_nodes_killed_again_and_again_lose_nothing() {
    let mut random = seed();
    let mut cluster = start("crash-all", &[1, 1, 1]);
    let mut total = 0;
    for cycle in 1..=cycles("KV_CRASH_CYCLES_ALL", 2) {
        // The order of the kills differs, so that another node is the last to hold on.
        let first = (next(&mut random) % cluster.nodes.len() as u64) as usize;
        let victims: Vec<usize> = (0..cluster.nodes.len()).map(|i| (first + i) % cluster.nodes.len()).collect();
        total += cycle_of(&mut cluster, &victims, cycle);
    }
    finish(&cluster, total);
}

/// One cycle; gives the acknowledged writes.
fn cycle_of(cluster: &mut LocalCluster, victims: &[usize], cycle: u64) -> usize {
    let writer = Writer::start(&cluster.endpoints());
    writer.wait_for_more(WRITES_MIN, PATIENCE);
    let begun = Instant::now();
    for victim in victims {
        cluster.kill(*victim).expect("killed");
    }
    // With a majority left, writes must go on while the node is away.
    if victims.len() == 1 {
        writer.wait_for_more(WRITES_MIN, PATIENCE);
    }
    for victim in victims {
        cluster.restart(*victim).expect("it starts");
    }
    writer.wait_for_more(1, PATIENCE);
    let written = writer.stop();
    assert!(written.count() >= WRITES_MIN, "cycle {cycle} is void: {} acknowledged writes", written.count());
    let other = (victims[victims.len() - 1] + 1) % cluster.nodes.len();
    written.assert_all_there(&[cluster.nodes[other].address.clone()]);
    cluster.wait_ready(PATIENCE).expect("ready");
    let killed: Vec<&str> = victims.iter().map(|victim| cluster.nodes[*victim].name.as_str()).collect();
    let gap = written.longest_gap_since(begun).as_millis();
    println!("cycle {cycle}: killed {killed:?}, {} acknowledged writes, 0 lost, {gap} ms stall", written.count());
    written.count()
}

fn finish(cluster: &LocalCluster, total: usize) {
    eventually(START_PATIENCE, "all to be well", || (kvctl(&cluster.endpoints(), &["status"]).code == 0).then_some(()));
    kvctl(&cluster.endpoints(), &["group", "checksum", "--timeout", "60s"]).exits(0);
    println!("{total} acknowledged writes in all, 0 lost");
}

fn cycles(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number of cycles"))
}

fn seed() -> u64 {
    let drawn = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let seed = std::env::var("KV_CRASH_SEED").map_or_else(|_| drawn(), |text| text.parse().expect("a seed"));
    println!("KV_CRASH_SEED={seed}");
    seed
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
