//! Loads etcd, the way `kvctl bench run` loads this store: the same keys, values, clients, loops and figures.
//!
//! Kept out of the workspace, as nothing else needs gRPC. One thread: etcd saturates two cores before that thread is
//! half busy, and it says so when that is not true.

mod etcd;
mod figures;
mod load;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Send requests to an etcd cluster and say how many were answered and how soon
#[derive(Debug, Parser)]
struct Args {
    /// What to send
    workload: Workload,
    /// Client addresses of the members, with commas between them; connections are spread over them
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// Connect to the member that leads only, as requests to the others are forwarded there
    #[arg(long)]
    leader: bool,
    /// Clients, each waiting for its own answer; in open loop they only limit what is under way
    #[arg(long, default_value_t = 256)]
    clients: u32,
    /// HTTP/2 connections that the clients are spread over
    #[arg(long, default_value_t = 16)]
    connections: u32,
    /// Requests a second to send, whether answers come or not (open loop); latency counts from the moment a request was due
    #[arg(long)]
    rate: Option<f64>,
    /// Keys that requests are drawn from
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds to run before measuring
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// How to print the figures
    #[arg(short, long, value_enum, default_value = "plain")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Write every key once, for the runs that read; takes the time that it takes
    Load,
    /// Write keys of `--keys`, drawn uniformly
    Put,
    /// Read them, linearizable
    Get,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Name, operations a second, p50, p90, p99, p99.9 and maximum in microseconds, errors, misses
    Plain,
    /// The document of `kvctl bench run -o json`
    Json,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let figures = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(load::run(&args))?;
    figures.warn();
    match args.output {
        Output::Plain => println!("{}", figures.plain(&args)),
        Output::Json => println!("{}", figures.json(&args)),
    }
    Ok(())
}

impl Args {
    fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup)
    }

    fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::Load => "load",
            Workload::Put => "put",
            Workload::Get => "get",
        }
    }
}
