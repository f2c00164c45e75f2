//! Real `kvd` processes and real `kvctl` runs for the suites of this directory.
//!
//! The processes are handled by the demo's own module, so what is tested is what is shown. A suite shares one cluster
//! where it can ([`shared`]) and starts its own where it kills nodes ([`start`]).

// Every suite includes this and uses its part of it.
#![allow(dead_code, unused_imports)]

#[path = "../../cli/kvctl/local/mod.rs"]
mod local;
mod run;

pub use local::{Janitor, LocalCluster, LocalNode, Plan, free_port, until};
pub use run::{Run, kvctl, kvctl_with_input};

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The election timeout of these clusters, the unit E of the availability suite.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a cluster may take to found itself on a busy machine.
pub const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take to end cleanly.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Data groups of every cluster here.
pub const GROUPS: u32 = 4;

/// Starts a cluster of its own, one node for each number of shards, and waits until it is ready. Its data goes with it.
pub fn start(name: &str, shards: &[u16]) -> LocalCluster {
    start_with(name, shards, &[])
}

/// The same with further settings, `section.key=value`.
pub fn start_with(name: &str, shards: &[u16], settings: &[&str]) -> LocalCluster {
    let plan = plan(name, shards, settings);
    let mut cluster = LocalCluster::start(&plan, !keeps_data()).expect("the nodes start");
    cluster.wait_ready(START_PATIENCE).expect("the cluster founds itself");
    cluster
}

/// Sends SIGTERM to a node and waits until it has ended, which must be with exit status 0.
pub fn terminate(cluster: &mut LocalCluster, position: usize) {
    signal(cluster, position, Signal::TERM);
    cluster.wait_end(position, STOP_PATIENCE).expect("a clean end");
}

/// Sends a signal to a node.
pub fn signal(cluster: &LocalCluster, position: usize, signal: Signal) {
    let id = cluster.nodes[position].id().expect("a running node");
    let id = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("not 0");
    kill_process(id, signal).expect("the signal is sent");
}

/// What [`start_with`] starts.
pub fn plan(name: &str, shards: &[u16], settings: &[&str]) -> Plan {
    let election = format!("raft.election_timeout={}ms", ELECTION_TIMEOUT.as_millis());
    Plan {
        program: PathBuf::from(env!("CARGO_BIN_EXE_kvd")),
        root: scratch(name),
        shards: shards.to_vec(),
        groups: GROUPS,
        replication: 3,
        settings: std::iter::once(election).chain(settings.iter().map(|setting| setting.to_string())).collect(),
    }
}

/// A fresh directory for one test.
pub fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("an old directory can be removed");
    }
    std::fs::create_dir_all(&path).expect("a directory can be made");
    path
}

/// The endpoints of three nodes of one shard that all tests of a suite share; nobody may stop them.
pub fn shared() -> &'static [String] {
    static SHARED: OnceLock<(LocalCluster, Vec<String>)> = OnceLock::new();
    // A static is never dropped: the cluster's janitor ends the nodes with this process.
    let (_, endpoints) = SHARED.get_or_init(|| {
        let cluster = start("shared", &[1, 1, 1]);
        let endpoints = cluster.endpoints();
        (cluster, endpoints)
    });
    endpoints
}

/// [`until`], as an assertion.
pub fn eventually<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    until(Instant::now() + patience, what, || Ok(condition())).unwrap_or_else(|error| panic!("{error}"))
}

/// A number that no other call in any process gives, to keep tests of one cluster apart.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

// For a look at the logs after a failure.
fn keeps_data() -> bool {
    std::env::var_os("KV_KEEP_DATA").is_some()
}
