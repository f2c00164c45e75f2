//! What must hold when one thing goes wrong with real nodes, a test for each.
//!
//! `power`: power cuts. `pauses`: nodes that stand still. `links`: partitions, loss, delay. `disks`: errors, no room, slow.
//! `damage`, `damage_everywhere`: flipped bits. `wiped`: lost disks. `limits`: descriptors, half and oversize frames, idle
//! connections. `clocks`: jumps. `behind`: a follower far behind whose snapshots are interrupted. `again`: writes that come twice.
//! `overload`: too many of them.
//!
//! Short in the gate; `KV_RELIABILITY_LONG=1` (`sh tests/run.sh --long`) repeats each as often as it must hold.
//! `KV_NEMESIS_SEED` repeats the choices of an earlier run. Needs root and the tools that `nemesis` names; what is missing
//! is skipped by name. Bounds on time are in units of E, the election timeout, with room for a slow, shared machine.

mod harness;
mod nemesis;

#[path = "availability/writer.rs"]
mod writer;

#[path = "reliability/again.rs"]
mod again;
#[path = "reliability/behind.rs"]
mod behind;
#[path = "reliability/clocks.rs"]
mod clocks;
#[path = "reliability/damage.rs"]
mod damage;
#[path = "reliability/damage_everywhere.rs"]
mod damage_everywhere;
#[path = "reliability/disks.rs"]
mod disks;
#[path = "reliability/edges.rs"]
mod edges;
#[path = "reliability/limits.rs"]
mod limits;
#[path = "reliability/links.rs"]
mod links;
#[path = "reliability/overload.rs"]
mod overload;
#[path = "reliability/pauses.rs"]
mod pauses;
#[path = "reliability/power.rs"]
mod power;
#[path = "reliability/wiped.rs"]
mod wiped;

use std::time::Duration;

use harness::{GROUPS, kvctl};
use nemesis::cluster::{Cluster, Options};
use nemesis::stage::{Stage, on_stage, skip};

/// How long anything may take that has no bound of its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many in the gate, so many at full length.
fn repeat(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

fn is_long() -> bool {
    std::env::var_os("KV_RELIABILITY_LONG").is_some()
}

/// Runs `play` with a cluster, or skips the test by name.
fn on_cluster(name: &str, options: Options, play: impl FnOnce(&Stage, Cluster) + Send + 'static) {
    let named = name.to_owned();
    on_stage(name, move |stage| match Cluster::start(stage, &options) {
        Ok(cluster) => play(stage, cluster),
        Err(why) => skip(&named, &why),
    });
}

/// The same for tests that cut the power of disks.
fn on_powered_cluster(name: &'static str, options: Options, play: impl FnOnce(Cluster) + Send + 'static) {
    on_cluster(name, options, move |_, cluster| match &cluster.power {
        Ok(()) => play(cluster),
        Err(why) => skip(name, why),
    });
}

/// All replicas of every group hold the same.
fn assert_replicas_agree(cluster: &Cluster) {
    cluster.wait_healthy();
    let sums = kvctl(&cluster.endpoints(), &["group", "checksum", "-o", "json", "--timeout", "60s"]).exits(0).json();
    assert_eq!(sums["groups"].as_array().map(Vec::len), Some(GROUPS as usize), "{sums}");
}

fn settings(settings: &[&str]) -> Options {
    Options { settings: settings.iter().map(|setting| setting.to_string()).collect(), ..Options::default() }
}
