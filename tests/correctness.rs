//! Every command and its limits, against real clusters.
//!
//! `data`: single keys and scans. `documents`: each command in each format, exit codes, JSON shapes. `library`: what
//! only the Rust client can ask. `shapes`: clusters with other numbers of shards. `files`: import. `nodes`: stop and
//! start, and what a server refuses to start with. `starts`: what is left of a start, and of its log. `metrics`: what a scrape says. `bench`: every workload and its results.
//! `leases`: while nodes have different election timeouts.
//! `admin`: what the admin port takes from whoever reaches it. `bare`: what
//! a connection may ask that no client library would.

mod harness;

// The other suites use the rest of it.
#[allow(dead_code)]
#[path = "nemesis/wire.rs"]
mod wire;

#[path = "correctness/admin.rs"]
mod admin;
#[path = "correctness/bare.rs"]
mod bare;
#[path = "correctness/bench.rs"]
mod bench;
#[path = "correctness/data.rs"]
mod data;
#[path = "correctness/documents.rs"]
mod documents;
#[path = "correctness/files.rs"]
mod files;
#[path = "correctness/leases.rs"]
mod leases;
#[path = "correctness/library.rs"]
mod library;
#[path = "correctness/metrics.rs"]
mod metrics;
#[path = "correctness/nodes.rs"]
mod nodes;
#[path = "correctness/shapes.rs"]
mod shapes;
#[path = "correctness/starts.rs"]
mod starts;
