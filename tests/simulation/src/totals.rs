//! What happened how often: a world in which something never happens has not tested it.

use std::collections::BTreeMap;
use std::fmt;

/// What even one seed must have seen.
pub const ALWAYS: [&str; 4] = ["leader changes", "crashes with lost writes", "truncations", "conflicts"];

/// What a run of many seeds must have seen.
pub const USUALLY: [&str; 52] = [
    "operations",
    "operations acknowledged",
    "outcomes unknown",
    "retries",
    "retries answered from the session",
    "reads confirmed",
    "reads under a lease",
    "read rounds",
    "groups in read rounds",
    "groups that confirm no read",
    "beats",
    "groups put to sleep",
    "replicas that fell asleep",
    "replicas that woke",
    "scans",
    "batches of writes",
    "frames lost",
    "frames repeated",
    "frames overtaken",
    "frames cut off",
    "connections lost",
    "crashes",
    "crashes of all nodes",
    "crashes that spared the page cache",
    "crashes during recovery",
    "failed syncs",
    "ambushes of new leaders",
    "torn writes",
    "store batches lost",
    "pauses",
    "slow disks",
    "full disks",
    "clean stops",
    "leaderships handed over",
    "logs compacted",
    "segments recycled",
    "segments deleted",
    "entries fetched for peers",
    "entries replayed from the journal",
    "disk images checked",
    "snapshots begun",
    "snapshots sent",
    "snapshots installed",
    "snapshots resumed",
    "crashes while a snapshot came in",
    "stores lost",
    "replicas that started hollow",
    "starts at an install the journal had not heard of",
    "disks wiped",
    "disks wiped again before the node was back",
    "petitions",
    "maps adopted",
];

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    counts: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// It happened once more.
    pub fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// It happened `times` more.
    pub fn add(&mut self, name: &'static str, times: u64) {
        *self.counts.entry(name).or_default() += times;
    }

    /// How often it happened.
    pub fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Adds those of another world.
    pub fn merge(&mut self, other: &Totals) {
        for (name, times) in &other.counts {
            self.add(name, *times);
        }
    }

    /// Which of `names` never happened.
    pub fn missing<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        names.iter().copied().filter(|name| self.of(name) == 0).collect()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, times) in &self.counts {
            writeln!(f, "{times:>12}  {name}")?;
        }
        Ok(())
    }
}
