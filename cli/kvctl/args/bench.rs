//! The grammar of `kvctl bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{bounded, examples};

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Write every key once, for the runs that read
    #[command(after_help = examples::BENCH_LOAD)]
    Load(BenchLoad),
    /// Send requests and say how many were answered and how soon
    #[command(after_help = examples::BENCH_RUN)]
    Run(BenchRun),
    /// Latency against offered rate: one run in open loop for each rate
    #[command(after_help = examples::BENCH_SWEEP)]
    Sweep(BenchSweep),
    /// Set two results side by side
    #[command(after_help = examples::BENCH_COMPARE)]
    Compare(BenchCompare),
}

#[derive(Debug, Args)]
pub struct BenchLoad {
    /// Keys to write
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    pub keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=67_108_864))]
    pub value_size: u32,
    /// Connections, those to all nodes together; each thread has at least one to each core of a node
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub connections: u32,
    /// Threads that share them, each a client of the cluster with its own sessions, no more than connections [default: one for
    /// each CPU]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub threads: Option<u32>,
    /// Requests under way for each connection; fewer if they hold more than 256 MiB
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub depth: u32,
}

#[derive(Debug, Args)]
pub struct BenchRun {
    #[command(flatten)]
    pub work: BenchWork,
    /// Requests a second to send, such as 5000 or 40k, whether answers come or not (open loop); latency then counts
    /// from the moment a request was due
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// When requests are due in open loop
    #[arg(long, value_enum, default_value = "even", requires = "rate")]
    pub arrivals: BenchArrivals,
}

#[derive(Debug, Args)]
pub struct BenchSweep {
    #[command(flatten)]
    pub work: BenchWork,
    /// Rates to offer, such as 5k,10k,20k [default: the highest of a closed loop first, then 1/16 of it, 1/8 .. 1]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = rate)]
    pub rates: Vec<f64>,
    /// When requests are due
    #[arg(long, value_enum, default_value = "even")]
    pub arrivals: BenchArrivals,
    /// Draw p50 and p99 against the rate into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BenchCompare {
    /// What `kvctl bench run -o json` printed
    pub a: PathBuf,
    /// The same of another run; ratios are B to A
    pub b: PathBuf,
}

/// What is sent, and by how many.
#[derive(Clone, Debug, Args)]
pub struct BenchWork {
    /// What to send
    pub workload: BenchWorkload,
    /// Clients, each waiting for its own answers [default: 16; 256 in open loop, where they only limit what is under way]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clients: Option<u32>,
    /// Connections that the clients are spread over, those to all nodes together; each thread has at least one to each core
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub connections: u32,
    /// Threads that share them, each a client of the cluster with its own sessions, no more than connections [default: one for
    /// each CPU]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub threads: Option<u32>,
    /// Requests that each client keeps under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub depth: u32,
    /// Bytes of a value [default: 100; 1000 in ycsb-*]
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=67_108_864))]
    pub value_size: Option<u32>,
    /// Keys that requests are drawn from
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    pub keys: u64,
    /// How keys are drawn where ycsb-* does not fix it [default: uniform]
    #[arg(long, value_enum)]
    pub distribution: Option<BenchDistribution>,
    /// Share of gets in mixed, 0 to 1 [default: 0.5]
    #[arg(long, value_parser = share)]
    pub read_share: Option<f64>,
    /// How long to measure (in sweep, each rate)
    #[arg(long, default_value = "10s", value_parser = some_time)]
    pub duration: Duration,
    /// How long to run before measuring
    #[arg(long, default_value = "2s", value_parser = bounded)]
    pub warmup: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchWorkload {
    /// Write existing or new keys of `--keys`; fills what the others read, as `load` does
    Put,
    /// Read keys, linearizable
    Get,
    /// Gets and puts in the shares of `--read-share`
    Mixed,
    /// A get, then a compare-and-swap of what it found, measured as one; who is overtaken in between is a miss
    Cas,
    /// Delete keys, also ones that are gone already
    Delete,
    /// Scans of 1 to 100 entries
    Scan,
    /// Half gets, half puts; zipfian
    YcsbA,
    /// 95 % gets, 5 % puts; zipfian
    YcsbB,
    /// Gets; zipfian
    YcsbC,
    /// 95 % gets of the latest keys, 5 % inserts of new keys
    YcsbD,
    /// 95 % scans of 1 to 100 entries, 5 % inserts of new keys; zipfian
    YcsbE,
    /// Half gets, half reads followed by a put of the same key; zipfian
    YcsbF,
}

impl BenchWorkload {
    /// As it is typed.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub fn is_ycsb(self) -> bool {
        self.name().starts_with("ycsb-")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchDistribution {
    /// Every key equally often
    Uniform,
    /// A few keys much more often than the rest, spread over all keys
    Zipfian,
    /// The highest numbered keys much more often than the rest
    Latest,
}

impl BenchDistribution {
    /// As it is typed.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchArrivals {
    /// At equal distances
    Even,
    /// At random, independent of each other
    Poisson,
}

/// Numbers of keys have 48 bits in a key; half of them are left to inserts.
const KEYS_MAX: u64 = 1 << 47;
/// One request in eleven days. Moments that lie much further apart could not be counted.
const RATE_MIN: f64 = 1e-6;
const RATE_MAX: f64 = 1e9;

fn rate(text: &str) -> Result<f64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>().map(|number| number * unit) {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("requests a second are wanted, from {RATE_MIN} to {RATE_MAX}, such as 5000 or 40k")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is wanted".to_owned()),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let duration = bounded(text)?;
    if duration.is_zero() { Err("nothing can be measured in no time".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_may_be_written_in_thousands_and_millions() {
        assert_eq!(rate("40k"), Ok(40_000.0));
        assert_eq!(rate("1.5M"), Ok(1_500_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(rate("0.000001"), Ok(RATE_MIN));
        for wrong in ["", "k", "0", "1e-20", "0.0000009", "-5", "NaN", "inf", "2000M", "5K"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_lie_between_0_and_1() {
        assert_eq!(share("0.95"), Ok(0.95));
        for wrong in ["", "-0.1", "1.1", "NaN", "95%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
