//! What was measured: latencies, errors and misses of each kind of operation.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use net::client::ClientError;

use super::workload::Kind;
use crate::exit::{Code, Failure};

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
    /// Of the codes of all errors the one that leaves most in doubt.
    pub worst: Option<Code>,
}

impl FiguresByKind {
    /// Empty figures for each of `kinds`: one that never came shows as such.
    pub fn of(kinds: &[Kind]) -> FiguresByKind {
        let kinds = kinds.iter().map(|kind| (*kind, Figures::new())).collect();
        FiguresByKind { kinds, first_error: None, worst: None }
    }

    pub fn kind(&mut self, kind: Kind) -> &mut Figures {
        self.kinds.entry(kind).or_insert_with(Figures::new)
    }

    pub fn failed(&mut self, kind: Kind, error: ClientError) {
        self.kind(kind).errors += 1;
        let Failure { code, message, .. } = error.into();
        self.first_error.get_or_insert(message);
        self.worst = Code::worst(self.worst.into_iter().chain([code]));
    }

    pub fn add(&mut self, other: &FiguresByKind) {
        for (kind, figures) in &other.kinds {
            self.kind(*kind).add(figures);
        }
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
        self.worst = Code::worst(self.worst.into_iter().chain(other.worst));
    }

    /// The code of a run without a single answer, which has measured nothing.
    pub fn unanswered(&self) -> Option<Code> {
        self.all().latency_us.is_empty().then(|| self.worst.unwrap_or(Code::Unavailable))
    }

    /// All kinds as one.
    pub fn all(&self) -> Figures {
        let mut all = Figures::new();
        self.kinds.values().for_each(|figures| all.add(figures));
        all
    }
}
