//! What a run asks: kinds of requests in their shares, and how their keys are drawn.

use std::ops::Range;

use super::keys::{Chooser, Population};
use super::random::Random;
use crate::args::{BenchDistribution, BenchWork, BenchWorkload};
use crate::exit::Failure;

/// The longest scan, as in ycsb-e; lengths are even from 1 on.
const SCAN_ENTRIES_MAX: u64 = 100;

/// A kind of operation that has figures of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Get,
    Put,
    /// A put of a key that was not there.
    Insert,
    Scan,
    /// A get and then a put of the same key, measured as one.
    ReadModifyWrite,
    /// A get and then a compare-and-swap of what it found, measured as one.
    Cas,
    Delete,
}

impl Kind {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Put => "put",
            Kind::Insert => "insert",
            Kind::Scan => "scan",
            Kind::ReadModifyWrite => "read_modify_write",
            Kind::Cas => "cas",
            Kind::Delete => "delete",
        }
    }

    /// Whether the key is read before it is written.
    pub fn reads_first(self) -> bool {
        matches!(self, Kind::ReadModifyWrite | Kind::Cas)
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub kind: Kind,
    /// The number of the key.
    pub key: u64,
    /// Entries that a scan wants.
    pub entries: u32,
}

/// Kinds in their shares, and the distribution of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    shares: Vec<(Kind, f64)>,
    pub distribution: BenchDistribution,
}

impl Mix {
    /// The mix that was asked for, or why it makes no sense.
    pub fn of(work: &BenchWork) -> Result<Mix, Failure> {
        let refused = |option: &str, of: &str| {
            Err(Failure::usage(format!("{option} is for {of}; what {} sends is fixed", work.workload.name())))
        };
        if work.read_share.is_some() && work.workload != BenchWorkload::Mixed {
            return refused("--read-share", "mixed");
        }
        if work.distribution.is_some() && work.workload.is_ycsb() {
            return refused("--distribution", "what is not ycsb-*");
        }
        use BenchDistribution::{Latest, Uniform, Zipfian};
        use Kind::{Cas, Delete, Get, Insert, Put, ReadModifyWrite, Scan};
        let free = work.distribution.unwrap_or(Uniform);
        let reads = work.read_share.unwrap_or(0.5);
        let (shares, distribution) = match work.workload {
            BenchWorkload::Put => (vec![(Put, 1.0)], free),
            BenchWorkload::Get => (vec![(Get, 1.0)], free),
            BenchWorkload::Mixed => (vec![(Get, reads), (Put, 1.0 - reads)], free),
            BenchWorkload::Cas => (vec![(Cas, 1.0)], free),
            BenchWorkload::Delete => (vec![(Delete, 1.0)], free),
            BenchWorkload::Scan => (vec![(Scan, 1.0)], free),
            BenchWorkload::YcsbA => (vec![(Get, 0.5), (Put, 0.5)], Zipfian),
            BenchWorkload::YcsbB => (vec![(Get, 0.95), (Put, 0.05)], Zipfian),
            BenchWorkload::YcsbC => (vec![(Get, 1.0)], Zipfian),
            BenchWorkload::YcsbD => (vec![(Get, 0.95), (Insert, 0.05)], Latest),
            BenchWorkload::YcsbE => (vec![(Scan, 0.95), (Insert, 0.05)], Zipfian),
            BenchWorkload::YcsbF => (vec![(Get, 0.5), (ReadModifyWrite, 0.5)], Zipfian),
        };
        Ok(Mix { shares, distribution })
    }

    /// The kinds that come, in the order of their definition.
    pub fn kinds(&self) -> Vec<Kind> {
        self.shares.iter().filter(|(_, share)| *share > 0.0).map(|(kind, _)| *kind).collect()
    }

    /// The share of a kind, 0 to 1.
    pub fn share(&self, kind: Kind) -> f64 {
        self.shares.iter().filter(|(other, _)| *other == kind).map(|(_, share)| share).sum()
    }

    /// How its keys are drawn from `keys` keys.
    pub fn chooser(&self, keys: u64) -> Chooser {
        match self.distribution {
            BenchDistribution::Uniform => Chooser::uniform(keys),
            BenchDistribution::Latest => Chooser::latest(keys),
            // As many keys may come as there are; the favourites stay the same meanwhile.
            BenchDistribution::Zipfian if self.kinds().contains(&Kind::Insert) => Chooser::zipfian(keys, keys),
            BenchDistribution::Zipfian => Chooser::zipfian(keys, 0),
        }
    }

    fn pick(&self, mut fraction: f64) -> Kind {
        for (kind, share) in &self.shares {
            if fraction < *share {
                return *kind;
            }
            fraction -= share;
        }
        // Only rounding leads here.
        self.shares[0].0
    }
}

/// What one thread of a run does next.
#[derive(Debug)]
pub enum Tasks<'a> {
    /// One of a mix, without end.
    Mixed { mix: &'a Mix, chooser: Chooser, population: &'a Population, random: Random },
    /// A put of each of these keys.
    Each(Range<u64>),
}

impl Tasks<'_> {
    /// The next task; `None`: there is nothing left to do.
    pub fn next(&mut self) -> Option<Task> {
        match self {
            Tasks::Mixed { mix, chooser, population, random } => {
                let kind = mix.pick(random.fraction());
                let key = if kind == Kind::Insert { population.add() } else { chooser.draw(random, population) };
                let entries = if kind == Kind::Scan { 1 + random.below(SCAN_ENTRIES_MAX) as u32 } else { 0 };
                Some(Task { kind, key, entries })
            }
            Tasks::Each(range) => range.next().map(|key| Task { kind: Kind::Put, key, entries: 0 }),
        }
    }

    /// A task has ended, well or not.
    pub fn ended(&self, task: &Task) {
        if let (Tasks::Mixed { population, .. }, Kind::Insert) = (self, task.kind) {
            population.added(task.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn work(workload: BenchWorkload) -> BenchWork {
        BenchWork {
            workload,
            clients: None,
            connections: 1,
            threads: None,
            depth: 1,
            value_size: None,
            keys: 1_000,
            distribution: None,
            read_share: None,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
        }
    }

    /// Draws 100,000 tasks and gives the share of each kind in percent, and all tasks.
    fn drawn(work: &BenchWork) -> (BTreeMap<&'static str, u32>, Vec<Task>) {
        let (mix, population) = (Mix::of(work).unwrap(), Population::new(work.keys));
        let chooser = mix.chooser(work.keys);
        let mut tasks = Tasks::Mixed { mix: &mix, chooser, population: &population, random: Random::new(4) };
        let all: Vec<Task> = (0..100_000).filter_map(|_| tasks.next().inspect(|task| tasks.ended(task))).collect();
        let mut counts = BTreeMap::new();
        all.iter().for_each(|task| *counts.entry(task.kind.name()).or_insert(0) += 1);
        (counts.into_iter().map(|(kind, count): (_, u32)| (kind, (count + 500) / 1_000)).collect(), all)
    }

    #[test]
    fn each_workload_of_the_benchmark_has_its_shares() {
        let defined: [(BenchWorkload, &[(&str, u32)]); 6] = [
            (BenchWorkload::YcsbA, &[("get", 50), ("put", 50)]),
            (BenchWorkload::YcsbB, &[("get", 95), ("put", 5)]),
            (BenchWorkload::YcsbC, &[("get", 100)]),
            (BenchWorkload::YcsbD, &[("get", 95), ("insert", 5)]),
            (BenchWorkload::YcsbE, &[("insert", 5), ("scan", 95)]),
            (BenchWorkload::YcsbF, &[("get", 50), ("read_modify_write", 50)]),
        ];
        for (workload, shares) in defined {
            assert_eq!(drawn(&work(workload)).0, shares.iter().copied().collect(), "{workload:?}");
        }
    }

    #[test]
    fn each_workload_draws_its_keys_from_its_distribution() {
        use BenchDistribution::{Latest, Zipfian};
        use BenchWorkload::{YcsbA, YcsbB, YcsbC, YcsbD, YcsbE, YcsbF};
        for workload in [YcsbA, YcsbB, YcsbC, YcsbE, YcsbF] {
            assert_eq!(Mix::of(&work(workload)).unwrap().distribution, Zipfian, "{workload:?}");
        }
        assert_eq!(Mix::of(&work(YcsbD)).unwrap().distribution, Latest);
    }

    #[test]
    fn scans_are_evenly_1_to_100_entries_long() {
        let (_, tasks) = drawn(&work(BenchWorkload::YcsbE));
        let mut seen = [0u32; 101];
        tasks.iter().filter(|task| task.kind == Kind::Scan).for_each(|task| seen[task.entries as usize] += 1);
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|count| count.abs_diff(950) < 200), "{seen:?}");
    }

    #[test]
    fn inserts_are_new_keys_and_the_rest_existing_ones() {
        for workload in [BenchWorkload::YcsbD, BenchWorkload::YcsbE] {
            let mut next = 1_000;
            for task in drawn(&work(workload)).1 {
                if task.kind == Kind::Insert {
                    assert_eq!(task.key, next);
                    next += 1;
                } else {
                    assert!(task.key < next, "{task:?} of {next}");
                }
            }
            assert!(next > 5_000);
        }
    }

    #[test]
    fn mixed_takes_the_share_that_was_given() {
        let mixed = BenchWork { read_share: Some(0.9), ..work(BenchWorkload::Mixed) };
        assert_eq!(drawn(&mixed).0, [("get", 90), ("put", 10)].into());
        let all_reads = BenchWork { read_share: Some(1.0), ..mixed };
        assert_eq!(Mix::of(&all_reads).unwrap().kinds(), [Kind::Get]);
    }

    #[test]
    fn what_a_workload_fixes_cannot_be_given() {
        let share = BenchWork { read_share: Some(0.9), ..work(BenchWorkload::YcsbA) };
        assert!(Mix::of(&share).unwrap_err().message.contains("--read-share is for mixed"));
        let uniform = BenchWork { distribution: Some(BenchDistribution::Uniform), ..work(BenchWorkload::YcsbC) };
        assert!(Mix::of(&uniform).unwrap_err().message.contains("--distribution is for what is not ycsb-*"));
    }

    #[test]
    fn a_load_writes_each_key_once() {
        let mut tasks = Tasks::Each(3..6);
        let keys: Vec<u64> = std::iter::from_fn(|| tasks.next()).map(|task| task.key).collect();
        assert_eq!(keys, [3, 4, 5]);
    }
}
