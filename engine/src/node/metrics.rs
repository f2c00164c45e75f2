//! What a scrape gets: the counters of all cores and what their replicas look like, as Prometheus text.
//!
//! The names that begin with `raft_` are fixed. Series per group exist up to [`GROUPS_MAX`] groups of a node; above
//! that a core sums its groups up under the group `all`, as thousands of series a node help nobody.

use super::counters::{Counters, Histogram, OPERATIONS, REASONS};
use crate::store::Gauge;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;

/// Groups of a node that have series of their own.
const GROUPS_MAX: usize = 64;

/// The first bucket of times ends at 16 us, that of sizes at 512 bytes.
const TIMES_FROM: usize = 4;
const SIZES_FROM: usize = 9;
const MICROSECONDS: f64 = 1e-6;

/// What one replica looks like.
#[derive(Clone, Debug)]
pub struct ReplicaMetrics {
    /// Its group.
    pub group: u32,
    /// 0 follower or learner, 1 candidate, 2 leader.
    pub state: u64,
    /// Its term.
    pub term: u64,
    /// Entries in its log.
    pub log_entries: u64,
    /// Its commit index.
    pub committed: u64,
    /// Entries committed and not applied yet.
    pub apply_lag: u64,
    /// Of a leader: entries each peer's log lacks, by node number.
    pub lag: Vec<(u16, u64)>,
}

/// What one core says when it is asked.
#[derive(Clone, Debug)]
pub struct CoreMetrics {
    /// Its number.
    pub core: u16,
    /// What it has counted.
    pub counters: Counters,
    /// Its replicas, ascending by group.
    pub replicas: Vec<ReplicaMetrics>,
    /// Its groups whose leader is not known here.
    pub leaderless: u64,
    /// Groups it leads.
    pub led: u64,
    /// The nodes it has peers on, and whether its stream to each stands.
    pub peers: Vec<(u16, bool)>,
    /// Open connections of clients.
    pub connections: u64,
    /// Bytes of requests in flight.
    pub inflight_bytes: u64,
    /// Bytes handed to the store and not yet applied.
    pub unapplied_bytes: u64,
    /// Memory of what lies before RocksDB, in bytes.
    pub table_bytes: u64,
    /// Requests forwarded to other cores.
    pub forwarded: u64,
    /// Segments of the journal.
    pub journal_segments: u64,
    /// Its RocksDB.
    pub store: Vec<Gauge>,
}

/// All of a node, ready to be written.
#[derive(Debug)]
struct Scrape {
    node: String,
    /// The names of the nodes, by number.
    nodes: Vec<String>,
    cores: Vec<CoreMetrics>,
}

/// The text of a scrape: `node` is this node's name, `nodes` are all names by number.
pub fn text(node: String, nodes: Vec<String>, cores: Vec<CoreMetrics>) -> String {
    let groups: usize = cores.iter().map(|core| core.replicas.len()).sum();
    let cores = cores.into_iter().map(|core| if groups > GROUPS_MAX { summed_up(core) } else { core }).collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { node, nodes, cores }));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

/// One replica in place of all: the highest term and role, sums of the rest, the worst lag of each peer.
fn summed_up(mut core: CoreMetrics) -> CoreMetrics {
    let mut all = ReplicaMetrics {
        group: u32::MAX,
        state: 0,
        term: 0,
        log_entries: 0,
        committed: 0,
        apply_lag: 0,
        lag: Vec::new(),
    };
    let mut lag: BTreeMap<u16, u64> = BTreeMap::new();
    for replica in &core.replicas {
        all.state = all.state.max(replica.state);
        all.term = all.term.max(replica.term);
        all.log_entries += replica.log_entries;
        all.committed += replica.committed;
        all.apply_lag += replica.apply_lag;
        for (node, entries) in &replica.lag {
            let worst = lag.entry(*node).or_default();
            *worst = (*worst).max(*entries);
        }
    }
    all.lag = lag.into_iter().collect();
    core.replicas = vec![all];
    core
}

type Labels = Vec<(&'static str, String)>;

/// Name, meaning, first bucket, unit, and where it is.
type HistogramOf = (&'static str, &'static str, usize, f64, fn(&Counters) -> &Histogram);

impl Scrape {
    fn labels(&self, core: &CoreMetrics) -> Labels {
        vec![("node", self.node.clone()), ("core", core.core.to_string())]
    }

    fn group_labels(&self, core: &CoreMetrics, replica: &ReplicaMetrics) -> Labels {
        let group = if replica.group == u32::MAX { "all".into() } else { replica.group.to_string() };
        let mut labels = self.labels(core);
        labels.push(("group", group));
        labels
    }

    fn peer(&self, node: u16) -> String {
        self.nodes.get(usize::from(node)).cloned().unwrap_or_else(|| node.to_string())
    }

    /// One gauge or counter of every core.
    fn cores(
        &self,
        encoder: &mut DescriptorEncoder,
        (name, help, kind): (&str, &str, MetricType),
        value: impl Fn(&CoreMetrics) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for core in &self.cores {
            number(family.encode_family(&self.labels(core))?, kind, value(core))?;
        }
        Ok(())
    }

    /// One gauge of every replica.
    fn replicas(
        &self,
        encoder: &mut DescriptorEncoder,
        (name, help): (&str, &str),
        value: impl Fn(&ReplicaMetrics) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for core in &self.cores {
            for replica in &core.replicas {
                family.encode_family(&self.group_labels(core, replica))?.encode_gauge(&value(replica))?;
            }
        }
        Ok(())
    }

    fn raft(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        self.replicas(encoder, ("raft_term", "Term of a replica."), |replica| replica.term)?;
        self.replicas(encoder, ("raft_state", "0 follower, 1 candidate, 2 leader."), |replica| replica.state)?;
        self.replicas(encoder, ("raft_log_size", "Entries in the log of a replica."), |replica| replica.log_entries)?;
        self.replicas(encoder, ("raft_committed_index", "Commit index of a replica."), |replica| replica.committed)?;
        let lag = ("kvd_apply_lag_entries", "Entries committed and not applied by the store yet.");
        self.replicas(encoder, lag, |replica| replica.apply_lag)?;
        let help = "Entries of a leader's log that a peer has not acknowledged.";
        let mut family = encoder.encode_descriptor("raft_replication_lag", help, None, MetricType::Gauge)?;
        for core in &self.cores {
            for replica in &core.replicas {
                for (node, entries) in &replica.lag {
                    let mut labels = self.group_labels(core, replica);
                    labels.push(("peer", self.peer(*node)));
                    family.encode_family(&labels)?.encode_gauge(entries)?;
                }
            }
        }
        let mut health: BTreeMap<u16, bool> = BTreeMap::new();
        for (node, stands) in self.cores.iter().flat_map(|core| &core.peers) {
            *health.entry(*node).or_insert(true) &= stands;
        }
        let help = "1 if every stream of this node to that peer stands, else 0.";
        let mut family = encoder.encode_descriptor("raft_node_health", help, None, MetricType::Gauge)?;
        for (node, stands) in health {
            let labels = vec![("node", self.node.clone()), ("peer", self.peer(node))];
            family.encode_family(&labels)?.encode_gauge(&u64::from(stands))?;
        }
        let help = "Time from a request's frame, or its arrival from another core, to its answer.";
        let mut family =
            encoder.encode_descriptor("raft_request_latency_seconds", help, None, MetricType::Histogram)?;
        for core in &self.cores {
            for (operation, times) in OPERATIONS.iter().zip(&core.counters.latencies) {
                let mut labels = self.labels(core);
                labels.push(("operation", (*operation).into()));
                histogram(family.encode_family(&labels)?, times, TIMES_FROM, MICROSECONDS)?;
            }
        }
        Ok(())
    }

    fn core(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let histograms: [HistogramOf; 3] = [
            ("kvd_turn_seconds", "Length of the turns of a core.", TIMES_FROM, MICROSECONDS, |of| &of.turns),
            ("kvd_journal_sync_seconds", "Time to write and sync a journal batch.", TIMES_FROM, MICROSECONDS, |of| {
                &of.journal_syncs
            }),
            ("kvd_journal_batch_bytes", "Size of journal batches.", SIZES_FROM, 1.0, |of| &of.journal_batches),
        ];
        for (name, help, first, unit, of) in histograms {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for core in &self.cores {
                histogram(family.encode_family(&self.labels(core))?, of(&core.counters), first, unit)?;
            }
        }
        let counter = |name, help| (name, help, MetricType::Counter);
        let gauge = |name, help| (name, help, MetricType::Gauge);
        let entries = counter("kvd_journal_entries", "Entries handed to the journal.");
        self.cores(encoder, entries, |core| core.counters.journal_entries)?;
        let won = counter("kvd_leader_changes", "Times a replica of this core became leader.");
        self.cores(encoder, won, |core| core.counters.became_leader)?;
        let leased = counter("kvd_reads_leased", "Reads that a lease has confirmed, without a round.");
        self.cores(encoder, leased, |core| core.counters.reads_leased)?;
        let stalls = counter("kvd_core_stalls", "Ticks of a core that came more than 100 ms late.");
        self.cores(encoder, stalls, |core| core.counters.stalls)?;
        let forwarded = counter("kvd_forwarded_requests", "Requests passed to another core of the node.");
        self.cores(encoder, forwarded, |core| core.forwarded)?;
        let memory = counter("kvd_reads_in_memory", "Gets answered from tables, memtables or block cache.");
        self.cores(encoder, memory, |core| core.counters.reads_in_memory)?;
        let elsewhere = counter("kvd_reads_by_reader", "Gets and scans that went to the threads that read RocksDB.");
        self.cores(encoder, elsewhere, |core| core.counters.reads_elsewhere)?;
        let back =
            counter("kvd_written_back_keys", "Keys written back to RocksDB, each once for all writes in between.");
        self.cores(encoder, back, |core| core.counters.written_back)?;
        let tables = gauge("kvd_table_bytes", "Memory of what lies before RocksDB.");
        self.cores(encoder, tables, |core| core.table_bytes)?;
        let leaderless = gauge("kvd_groups_without_leader", "Groups of a core whose leader it does not know.");
        self.cores(encoder, leaderless, |core| core.leaderless)?;
        let led = gauge("kvd_groups_led", "Groups that a core leads.");
        self.cores(encoder, led, |core| core.led)?;
        let connections = gauge("kvd_connections", "Open connections of clients.");
        self.cores(encoder, connections, |core| core.connections)?;
        let inflight = gauge("kvd_inflight_bytes", "Bytes of requests in flight.");
        self.cores(encoder, inflight, |core| core.inflight_bytes)?;
        let unapplied = gauge("kvd_unapplied_bytes", "Bytes handed to the store and not yet applied.");
        self.cores(encoder, unapplied, |core| core.unapplied_bytes)?;
        let segments = gauge("kvd_journal_segments", "Segments of the journal.");
        self.cores(encoder, segments, |core| core.journal_segments)?;
        let help = "Requests refused, by reason.";
        let mut family = encoder.encode_descriptor("kvd_refused_requests", help, None, MetricType::Counter)?;
        for core in &self.cores {
            for (reason, count) in REASONS.iter().zip(&core.counters.refused) {
                let mut labels = self.labels(core);
                labels.push(("reason", (*reason).into()));
                number(family.encode_family(&labels)?, MetricType::Counter, *count)?;
            }
        }
        Ok(())
    }

    fn store(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some(first) = self.cores.first() else { return Ok(()) };
        for gauge in &first.store {
            let name = format!("kvd_store_{}", gauge.name);
            let mut family = encoder.encode_descriptor(&name, gauge.help, None, MetricType::Gauge)?;
            for core in &self.cores {
                for same in core.store.iter().filter(|other| other.name == gauge.name) {
                    family.encode_family(&self.labels(core))?.encode_gauge(&same.value)?;
                }
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.raft(&mut encoder)?;
        self.core(&mut encoder)?;
        self.store(&mut encoder)
    }
}

fn number(mut encoder: MetricEncoder, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

fn histogram(mut encoder: MetricEncoder, histogram: &Histogram, first: usize, unit: f64) -> fmt::Result {
    let (sum, count) = histogram.totals();
    encoder.encode_histogram::<NoLabelSet>(sum as f64 * unit, count, &histogram.buckets(first, unit), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(groups: u32) -> CoreMetrics {
        let replica = |group| ReplicaMetrics {
            group,
            state: u64::from(group == 1) * 2,
            term: u64::from(group) + 4,
            log_entries: 10,
            committed: 100,
            apply_lag: 1,
            lag: vec![(1, u64::from(group))],
        };
        CoreMetrics {
            core: 0,
            counters: Counters::default(),
            replicas: (1..=groups).map(replica).collect(),
            leaderless: u64::from(groups / 2),
            led: u64::from(groups - groups / 2),
            peers: vec![(1, true), (2, false)],
            connections: 3,
            inflight_bytes: 0,
            unapplied_bytes: 0,
            table_bytes: 0,
            forwarded: 0,
            journal_segments: 2,
            store: vec![Gauge { name: "level0_files", help: "files", value: 7 }],
        }
    }

    fn scrape(groups: u32) -> String {
        text("n1".into(), ["n1", "n2", "n3"].map(String::from).to_vec(), vec![core(groups)])
    }

    #[test]
    fn the_fixed_names_are_there_with_their_labels() {
        let text = scrape(2);
        for line in [
            "raft_term{node=\"n1\",core=\"0\",group=\"2\"} 6",
            "raft_state{node=\"n1\",core=\"0\",group=\"1\"} 2",
            "raft_log_size{node=\"n1\",core=\"0\",group=\"1\"} 10",
            "raft_committed_index{node=\"n1\",core=\"0\",group=\"1\"} 100",
            "raft_replication_lag{node=\"n1\",core=\"0\",group=\"2\",peer=\"n2\"} 2",
            "raft_node_health{node=\"n1\",peer=\"n2\"} 1",
            "raft_node_health{node=\"n1\",peer=\"n3\"} 0",
            "raft_request_latency_seconds_count{node=\"n1\",core=\"0\",operation=\"put\"} 0",
            "kvd_store_level0_files{node=\"n1\",core=\"0\"} 7",
            "kvd_groups_without_leader{node=\"n1\",core=\"0\"} 1",
            "kvd_groups_led{node=\"n1\",core=\"0\"} 1",
            "kvd_refused_requests_total{node=\"n1\",core=\"0\",reason=\"busy\"} 0",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn many_groups_are_summed_up() {
        let text = scrape(GROUPS_MAX as u32 + 1);
        for line in [
            "raft_term{node=\"n1\",core=\"0\",group=\"all\"} 69",
            "raft_state{node=\"n1\",core=\"0\",group=\"all\"} 2",
            "kvd_groups_without_leader{node=\"n1\",core=\"0\"} 32",
            "kvd_groups_led{node=\"n1\",core=\"0\"} 33",
            "raft_log_size{node=\"n1\",core=\"0\",group=\"all\"} 650",
            "raft_committed_index{node=\"n1\",core=\"0\",group=\"all\"} 6500",
            "raft_replication_lag{node=\"n1\",core=\"0\",group=\"all\",peer=\"n2\"} 65",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("group=\"1\""));
    }
}
