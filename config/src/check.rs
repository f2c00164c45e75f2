//! Whether settings can be meant, and what stands for what was left open.

use crate::nodes::NodeAddress;
use crate::settings::{Journal, Limits, Node, Raft, Settings, Store};
use crate::{address, units};
use engine_core::placement::founding::{GROUPS_MAX, NODES_MAX, VIRTUAL_NODES_MAX};
use engine_core::placement::sets::largest_odd;
use engine_core::snapshot::stream::CHUNK_BYTES_MAX;
use std::time::Duration;

/// Shards a node may have; core numbers travel in 16 bits, and no machine is larger yet.
pub const SHARDS_MAX: u16 = 1024;

/// The longest name of a node, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// More than any limit in bytes is meant to be. What is counted against one may be a few times as much, and is far from where
/// numbers end.
pub const LIMIT_BYTES_MAX: u64 = 1 << 40;

/// A setting that cannot be as it is: `section.key`, and in words why and what to do.
pub type Problem = (&'static str, String);

/// Fills in what empty and 0 stand for: a list with this node alone, this node's address in the list, and a
/// replication that suits the number of nodes. The error is a name or an address that nothing can be made of.
pub fn resolve(settings: &mut Settings) -> Result<(), Problem> {
    let node = &mut settings.node;
    if !node.listen.is_empty() {
        address::split(&node.listen).map_err(|why| ("node.listen", why))?;
    }
    if node.nodes.is_empty() {
        // Seen here, where it is still known that nobody gave a list.
        if let Some(why) = no_name(&node.name) {
            return Err(("node.name", why));
        }
        let address = if node.listen.is_empty() { "127.0.0.1:7400".into() } else { node.listen.clone() };
        node.nodes.push(NodeAddress { name: node.name.clone(), address });
    }
    if node.listen.is_empty()
        && let Some(own) = node.nodes.iter().find(|other| other.name == node.name)
    {
        node.listen = own.address.clone();
    }
    if node.replication == 0 {
        let candidates = if node.set_size > 0 { usize::from(node.set_size) } else { node.nodes.len() };
        node.replication = largest_odd(candidates.min(3) as u16);
    }
    Ok(())
}

/// The first thing that cannot be, in the order of the file. The settings are resolved.
pub fn first_problem(settings: &Settings) -> Option<Problem> {
    let checks = [
        in_list(&settings.node),
        in_addresses(&settings.node),
        in_numbers(&settings.node),
        in_raft(&settings.raft, &settings.limits),
        in_journal(&settings.journal, &settings.limits),
        in_store(&settings.store),
        in_limits(&settings.limits),
    ];
    checks.into_iter().flatten().next()
}

fn in_list(node: &Node) -> Option<Problem> {
    if node.nodes.len() > NODES_MAX {
        return Some(("node.nodes", format!("{} nodes; at most {NODES_MAX} are possible", node.nodes.len())));
    }
    for (position, other) in node.nodes.iter().enumerate() {
        if let Some(why) = no_name(&other.name) {
            return Some(("node.nodes", why));
        }
        if let Err(why) = address::split(&other.address) {
            return Some(("node.nodes", format!("{}: {why}", other.name)));
        }
        let earlier = &node.nodes[..position];
        if earlier.iter().any(|earlier| earlier.name == other.name) {
            return Some(("node.nodes", format!("{} is named twice: give every node its own name", other.name)));
        }
        if let Some(twin) = earlier.iter().find(|earlier| earlier.address == other.address) {
            let why = format!("{} and {} have the same address {}", twin.name, other.name, other.address);
            return Some(("node.nodes", why));
        }
    }
    if !node.nodes.iter().any(|other| other.name == node.name) {
        let names: Vec<&str> = node.nodes.iter().map(|other| other.name.as_str()).collect();
        let why = format!("{} is not in node.nodes, which has {}: use one of these", node.name, names.join(", "));
        return Some(("node.name", why));
    }
    None
}

/// Why a node cannot be named so.
fn no_name(name: &str) -> Option<String> {
    let strange = |letter: char| letter.is_whitespace() || letter.is_control() || "=,".contains(letter);
    let wrong = name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(strange);
    wrong.then(|| format!("{name:?} is no name: 1 to {NAME_BYTES_MAX} bytes without spaces, = and ,"))
}

fn in_addresses(node: &Node) -> Option<Problem> {
    let own = node.nodes.iter().find(|other| other.name == node.name)?;
    let (_, port) = address::split(&node.listen).ok()?;
    let (_, listed_port) = address::split(&own.address).ok()?;
    if port != listed_port {
        let why = format!(
            "port {port}, but the others find {} at {} (node.nodes): make the two ports equal",
            node.name, own.address
        );
        return Some(("node.listen", why));
    }
    if node.data.as_os_str().is_empty() {
        return Some(("node.data", "name a directory".into()));
    }
    if !node.admin.is_empty() {
        match address::split(&node.admin) {
            Err(why) => return Some(("node.admin", why)),
            Ok((_, admin_port)) if admin_port == port => {
                return Some(("node.admin", format!("port {port} is the one of node.listen: use another")));
            }
            Ok(_) => {}
        }
    }
    None
}

fn in_numbers(node: &Node) -> Option<Problem> {
    if node.shards == 0 || node.shards > SHARDS_MAX {
        return Some(("node.shards", between(node.shards, 1, SHARDS_MAX)));
    }
    if node.groups == 0 || node.groups > GROUPS_MAX {
        return Some(("node.groups", between(node.groups, 1, GROUPS_MAX)));
    }
    let nodes = node.nodes.len();
    if usize::from(node.set_size) > nodes {
        let why = format!("{} nodes in a replica set, but node.nodes has {nodes}", node.set_size);
        return Some(("node.set_size", why));
    }
    if ![1, 3, 5].contains(&node.replication) {
        return Some(("node.replication", format!("{}: it is 1, 3 or 5", node.replication)));
    }
    let candidates = if node.set_size > 0 { usize::from(node.set_size) } else { nodes };
    if usize::from(node.replication) > candidates {
        let most = largest_odd(candidates.min(5) as u16);
        let why = format!("{} replicas, but there are {candidates} nodes for them: at most {most}", node.replication);
        return Some(("node.replication", why));
    }
    if node.virtual_nodes == 0 || node.virtual_nodes > VIRTUAL_NODES_MAX {
        return Some(("node.virtual_nodes", between(node.virtual_nodes, 1, VIRTUAL_NODES_MAX)));
    }
    if !node.cpus.is_empty() && node.cpus.len() < usize::from(node.shards) {
        let why = format!("{} CPUs for {} shards: name one for each", node.cpus.len(), node.shards);
        return Some(("node.cpus", why));
    }
    if node.drain_timeout > Duration::from_secs(3600) {
        return Some(("node.drain_timeout", "at most 1h".into()));
    }
    None
}

fn in_raft(raft: &Raft, limits: &Limits) -> Option<Problem> {
    // Below 50 ms a slow sync looks like a dead leader; above a minute a dead leader looks like a slow sync.
    let bounds = Duration::from_millis(50)..=Duration::from_secs(60);
    if !bounds.contains(&raft.election_timeout) {
        return Some(("raft.election_timeout", "it is between 50ms and 60s".into()));
    }
    if raft.snapshot_entries < 10 {
        return Some(("raft.snapshot_entries", between(raft.snapshot_entries, 10, u64::MAX)));
    }
    if raft.snapshot_rate < 64 << 10 {
        return Some(("raft.snapshot_rate", between(raft.snapshot_rate, 64 << 10, u64::MAX)));
    }
    // A receiver gives a sender up of which nothing comes for a hundred election timeouts, and a core may send ten at once.
    let within = 10 * raft.election_timeout;
    let least = (1000 * CHUNK_BYTES_MAX as u64).div_ceil(within.as_millis() as u64);
    if raft.snapshot_rate < least {
        let why = format!("at least {}: a chunk of a snapshot in ten times raft.election_timeout", written(least));
        return Some(("raft.snapshot_rate", why));
    }
    if raft.snapshot_log_bytes < limits.frame_bytes_max {
        return Some(("raft.snapshot_log_bytes", holds_less(raft.snapshot_log_bytes, limits.frame_bytes_max)));
    }
    if raft.inflight_messages == 0 || raft.inflight_messages > 65_536 {
        return Some(("raft.inflight_messages", between(raft.inflight_messages, 1, 65_536)));
    }
    // A batch at the limit still goes, alone: these are soft limits, but 0 would stop replication.
    for (name, bytes, most) in [
        ("raft.inflight_bytes", raft.inflight_bytes, 4 << 30),
        // A message is one frame, with whatever each entry takes beside its bytes.
        ("raft.append_bytes", raft.append_bytes, FRAME_BYTES_MAX / 2),
        ("raft.window_bytes", raft.window_bytes, 4 << 30),
    ] {
        if !(4 << 10..=most).contains(&bytes) {
            return Some((name, between_bytes(bytes, 4 << 10, most)));
        }
    }
    None
}

fn in_journal(journal: &Journal, limits: &Limits) -> Option<Problem> {
    if !(1 << 20..=1 << 30).contains(&journal.segment) {
        return Some(("journal.segment", between_bytes(journal.segment, 1 << 20, 1 << 30)));
    }
    if !journal.segment.is_multiple_of(4096) {
        return Some(("journal.segment", "it is a multiple of 4KiB, the block of a disk".into()));
    }
    // A segment opens with a table of all replicas; the rest must hold the largest command.
    if journal.segment < limits.frame_bytes_max.saturating_mul(2) {
        let why = format!(
            "{} is too small for commands of up to {} (limits.frame_bytes_max): at least twice that",
            written(journal.segment),
            written(limits.frame_bytes_max)
        );
        return Some(("journal.segment", why));
    }
    if journal.low_water > LIMIT_BYTES_MAX {
        return Some(("journal.low_water", between_bytes(journal.low_water, 0, LIMIT_BYTES_MAX)));
    }
    let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
    if !journal.sync_limit.is_zero() && !allowed.contains(&journal.sync_limit) {
        return Some(("journal.sync_limit", "between 1s and 1h, or 0s for never".into()));
    }
    None
}

fn in_store(store: &Store) -> Option<Problem> {
    for (name, bytes, least) in [
        ("store.block_cache", store.block_cache, 1 << 20),
        ("store.write_buffer", store.write_buffer, 1 << 20),
        ("store.wal_size_limit", store.wal_size_limit, 0),
    ] {
        if !(least..=LIMIT_BYTES_MAX).contains(&bytes) {
            return Some((name, between_bytes(bytes, least, LIMIT_BYTES_MAX)));
        }
    }
    if store.background_threads == 0 || store.background_threads > 256 {
        return Some(("store.background_threads", between(store.background_threads, 1, 256)));
    }
    None
}

/// The protocol has no longer frames.
const FRAME_BYTES_MAX: u64 = 4 << 20;

/// The most that `limits.value_bytes_max` may be: two such values, and the longest key, fit a frame.
pub const VALUE_BYTES_MAX: u64 = 1984 << 10;

fn in_limits(limits: &Limits) -> Option<Problem> {
    if !(1..=64 << 10).contains(&limits.key_bytes_max) {
        return Some(("limits.key_bytes_max", between_bytes(limits.key_bytes_max, 1, 64 << 10)));
    }
    if !(1..=VALUE_BYTES_MAX).contains(&limits.value_bytes_max) {
        return Some(("limits.value_bytes_max", between_bytes(limits.value_bytes_max, 1, VALUE_BYTES_MAX)));
    }
    // A compare-and-swap carries a key and two values, and a little of its own.
    let least = limits.key_bytes_max + 2 * limits.value_bytes_max + 1024;
    if limits.frame_bytes_max < least {
        return Some(("limits.frame_bytes_max", holds_less(limits.frame_bytes_max, least)));
    }
    if limits.frame_bytes_max > FRAME_BYTES_MAX {
        return Some(("limits.frame_bytes_max", between_bytes(limits.frame_bytes_max, least, FRAME_BYTES_MAX)));
    }
    if limits.batch_operations_max == 0 || limits.connections_max == 0 {
        let name = if limits.connections_max == 0 { "limits.connections_max" } else { "limits.batch_operations_max" };
        return Some((name, "at least 1".into()));
    }
    for (name, bytes, least) in [
        ("limits.connection_inflight_bytes", limits.connection_inflight_bytes, limits.frame_bytes_max),
        ("limits.core_inflight_bytes", limits.core_inflight_bytes, limits.connection_inflight_bytes),
        ("limits.group_uncommitted_bytes", limits.group_uncommitted_bytes, limits.frame_bytes_max),
        ("limits.core_unapplied_bytes", limits.core_unapplied_bytes, limits.frame_bytes_max),
        ("limits.peer_queue_bytes", limits.peer_queue_bytes, limits.frame_bytes_max),
    ] {
        if bytes < least {
            return Some((name, holds_less(bytes, least)));
        }
        if bytes > LIMIT_BYTES_MAX {
            return Some((name, between_bytes(bytes, least, LIMIT_BYTES_MAX)));
        }
    }
    None
}

fn between<T: std::fmt::Display>(value: T, least: T, most: T) -> String {
    format!("{value}: it is between {least} and {most}")
}

fn between_bytes(value: u64, least: u64, most: u64) -> String {
    format!("{}: it is between {} and {}", written(value), written(least), written(most))
}

fn holds_less(value: u64, least: u64) -> String {
    format!("{} does not hold one frame, or what it must hold: at least {}", written(value), written(least))
}

fn written(bytes: u64) -> String {
    units::bytes::written(bytes)
}
