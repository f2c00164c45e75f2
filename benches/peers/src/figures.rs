//! What a run measured, and how it is printed.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::Args;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
/// Whatever takes longer counts as this long.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Above this share of its time the thread of the generator has little left.
const BUSY_MAX: f64 = 0.9;

pub struct Figures {
    latency_us: Histogram<u64>,
    errors: u64,
    misses: u64,
    first_error: Option<String>,
    pub measured: Duration,
    /// Requests due and not sent at the end of an open loop.
    pub behind: u64,
    pub busy: Busy,
}

impl Figures {
    pub fn new() -> Figures {
        Figures {
            latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds are in order"),
            errors: 0,
            misses: 0,
            first_error: None,
            measured: Duration::ZERO,
            behind: 0,
            busy: Busy::default(),
        }
    }

    pub fn answered(&mut self, latency: Duration, found: bool) {
        self.latency_us.saturating_record(latency.as_micros() as u64);
        self.misses += u64::from(!found);
    }

    pub fn failed(&mut self, error: &Status) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{:?}: {}", error.code(), error.message()));
    }

    fn rate(&self) -> f64 {
        self.latency_us.len() as f64 / self.measured.as_secs_f64().max(1e-6)
    }

    pub fn plain(&self, args: &Args) -> String {
        let mut line = format!("{} {:.0}", args.workload.name(), self.rate());
        for (_, quantile) in QUANTILES {
            line += &format!(" {}", self.latency_us.value_at_quantile(quantile));
        }
        line + &format!(" {} {} {}", self.latency_us.max(), self.errors, self.misses)
    }

    pub fn json(&self, args: &Args) -> Value {
        let mut latencies: Map<String, Value> = QUANTILES
            .iter()
            .map(|(name, quantile)| (name.to_string(), self.latency_us.value_at_quantile(*quantile).into()))
            .collect();
        latencies.insert("max".into(), self.latency_us.max().into());
        latencies.insert("mean".into(), self.latency_us.mean().into());
        let one = json!({
            "ops_per_second": self.rate(), "latency_us": latencies, "errors": self.errors, "misses": self.misses,
        });
        let mut run = json!({
            "workload": args.workload.name(), "loop": "closed", "clients": args.clients, "connections": args.connections,
            "depth": 1, "value_size": args.value_size, "keys": args.keys,
            "duration_seconds": args.seconds, "warmup_seconds": args.warmup,
        });
        if let Some(rate) = args.rate {
            run["loop"] = json!("open");
            run["offered_per_second"] = json!(rate);
        }
        json!({
            "operations": { args.workload.name(): one }, "all": one, "run": run,
            "generator": { "running": self.busy.running, "wanting": self.busy.wanting, "behind": self.behind },
        })
    }

    /// Says on standard error what casts doubt on the figures.
    pub fn warn(&self) {
        if let Some(error) = &self.first_error {
            eprintln!("peers: {} requests failed, the first with: {error}", self.errors);
        }
        if self.busy.wanting > BUSY_MAX {
            eprintln!(
                "peers: this generator was busy {:.0} % of the time, {:.0} % with the wait for a CPU",
                self.busy.running * 100.0,
                self.busy.wanting * 100.0
            );
        }
        if self.behind > 0 {
            eprintln!("peers: {} requests that were due had not left at the end", self.behind);
        }
    }
}

/// How much of its time the thread ran, and ran or waited for a CPU; of one moment in seconds, of a run as shares.
#[derive(Clone, Copy, Debug, Default)]
pub struct Busy {
    running: f64,
    wanting: f64,
}

impl Busy {
    /// Zero where the kernel does not count it.
    pub fn now() -> Busy {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut seconds = text.split_whitespace().map(|word| word.parse::<f64>().unwrap_or(0.0) / 1e9);
        let (running, waiting) = (seconds.next().unwrap_or(0.0), seconds.next().unwrap_or(0.0));
        Busy { running, wanting: running + waiting }
    }

    pub fn since(self, before: Busy, elapsed: Duration) -> Busy {
        let share = |now: f64, before: f64| (now - before) / elapsed.as_secs_f64().max(1e-9);
        Busy { running: share(self.running, before.running), wanting: share(self.wanting, before.wanting) }
    }
}
