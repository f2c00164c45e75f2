//! What was measured: latencies, errors and misses of each kind of operation.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::workload::Kind;

/// Latencies are kept in microseconds to three digits, up to ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// An empty histogram of latencies in microseconds.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are in order")
}

/// The figures of one kind.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Of the operations that began in the time that is measured and were answered, however late.
    pub latency_us: Histogram<u64>,
    /// Of those that began then.
    pub errors: u64,
    /// Reads that found nothing, and swaps that found another value.
    pub misses: u64,
    /// Operations answered in the time that is measured, whenever they began: what a rate is made of.
    pub in_time: u64,
}

impl Figures {
    pub fn new() -> Figures {
        Figures { latency_us: latencies(), errors: 0, misses: 0, in_time: 0 }
    }

    pub fn answered(&mut self, latency: Duration, found: bool) {
        self.latency_us.saturating_record((latency.as_micros() as u64).max(1));
        self.misses += u64::from(!found);
    }

    pub fn add(&mut self, other: &Figures) {
        self.latency_us.add(&other.latency_us).expect("equal bounds");
        self.errors += other.errors;
        self.misses += other.misses;
        self.in_time += other.in_time;
    }
}

/// The figures of all kinds of a run.
#[derive(Clone, Debug)]
pub struct FiguresByKind {
    pub kinds: BTreeMap<Kind, Figures>,
    pub first_error: Option<String>,
}

impl FiguresByKind {
    /// Empty figures for each of `kinds`: one that never came shows as such.
    pub fn of(kinds: &[Kind]) -> FiguresByKind {
        FiguresByKind { kinds: kinds.iter().map(|kind| (*kind, Figures::new())).collect(), first_error: None }
    }

    pub fn kind(&mut self, kind: Kind) -> &mut Figures {
        self.kinds.entry(kind).or_insert_with(Figures::new)
    }

    pub fn failed(&mut self, kind: Kind, error: impl ToString) {
        self.kind(kind).errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    pub fn add(&mut self, other: &FiguresByKind) {
        for (kind, figures) in &other.kinds {
            self.kind(*kind).add(figures);
        }
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }

    /// All kinds as one.
    pub fn all(&self) -> Figures {
        let mut all = Figures::new();
        self.kinds.values().for_each(|figures| all.add(figures));
        all
    }
}
