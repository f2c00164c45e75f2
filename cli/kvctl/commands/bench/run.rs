//! `bench run`: a few threads with a library client each, all counting over the same time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use net::client::Client;
use serde_json::{Value, json};

use super::arrivals::Arrivals;
use super::figures::FiguresByKind;
use super::generator::{self, Generator, Pace, Window};
use super::keys::Population;
use super::live::Live;
use super::random::Random;
use super::report::Outcome;
use super::strain::Strain;
use super::workload::{Kind, Mix, Tasks};
use crate::args::{BenchArrivals, BenchRun, BenchWork, BenchWorkload, Globals};
use crate::connect::connect_for_many;
use crate::exit::Failure;
use crate::output::Answer;

const CLIENTS_CLOSED: u32 = 16;
const CLIENTS_OPEN: u32 = 256;
const VALUE_BYTES: u32 = 100;
/// Ten fields of a hundred bytes.
const VALUE_BYTES_YCSB: u32 = 1_000;

pub fn run(globals: &Globals, run: &BenchRun) -> Result<Answer, Failure> {
    let load = Load::of(&run.work, run.rate.map(|rate| Offered { rate, arrivals: run.arrivals }))?;
    let outcome = load.measure(globals, &run.work.workload.name())?;
    Ok(outcome.answer(load.described()))
}

/// A rate to offer in open loop.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// Requests a second, all threads together.
    pub rate: f64,
    pub arrivals: BenchArrivals,
}

/// A run with everything decided.
#[derive(Debug)]
pub struct Load<'a> {
    work: &'a BenchWork,
    mix: Mix,
    offered: Option<Offered>,
    clients: u32,
    connections: u32,
    threads: u32,
    value_bytes: u32,
}

impl<'a> Load<'a> {
    /// In open loop if a rate is offered.
    pub fn of(work: &'a BenchWork, offered: Option<Offered>) -> Result<Load<'a>, Failure> {
        let clients = work.clients.unwrap_or(if offered.is_some() { CLIENTS_OPEN } else { CLIENTS_CLOSED });
        let value_bytes = if work.workload.is_ycsb() { VALUE_BYTES_YCSB } else { VALUE_BYTES };
        let connections = work.connections.min(clients);
        Ok(Load {
            mix: Mix::of(work)?,
            offered,
            clients,
            connections,
            threads: threads(work.threads, connections),
            value_bytes: work.value_size.unwrap_or(value_bytes),
            work,
        })
    }

    /// The same in closed loop with the clients of an open one.
    pub fn of_closed_with_many(work: &'a BenchWork) -> Result<Load<'a>, Failure> {
        let clients = work.clients.unwrap_or(CLIENTS_OPEN);
        let connections = work.connections.min(clients);
        Ok(Load { clients, connections, threads: threads(work.threads, connections), ..Load::of(work, None)? })
    }

    /// Runs it, with `title` on the progress line.
    pub fn measure(&self, globals: &Globals, title: &str) -> Result<Outcome, Failure> {
        let population = Population::new(self.work.keys);
        let chooser = self.mix.chooser(self.work.keys);
        // Nobody starts before all have found the cluster: one that cannot be reached is an error, not a result.
        let (ready, lost) = (Barrier::new(self.threads as usize), AtomicBool::new(false));
        let live = Live::new(title, None);
        let results: Vec<Result<(FiguresByKind, Strain), Failure>> = thread::scope(|scope| {
            let one = |i: u32| {
                let (chooser, pulse) = (chooser.clone(), live.as_ref().map(Live::pulse));
                let (ready, lost, population) = (&ready, &lost, &population);
                scope.spawn(move || {
                    let under_way_max = share(self.clients, self.threads, i) as usize * self.work.depth as usize;
                    let client = found(globals, share(self.connections, self.threads, i), under_way_max);
                    lost.fetch_or(client.is_err(), Ordering::Relaxed);
                    ready.wait();
                    let client = client?;
                    if lost.load(Ordering::Relaxed) {
                        return Ok((FiguresByKind::of(&self.mix.kinds()), Strain::default()));
                    }
                    let begun = Instant::now();
                    let from = begun + self.work.warmup;
                    let window = Window { from, to: Some(from + self.work.duration) };
                    let random = Random::new(seed(i));
                    let tasks = Tasks::Mixed { mix: &self.mix, chooser, population, random };
                    let pace = self.pace(begun, i);
                    let mut generator =
                        Generator::new(client, tasks, pace, window, under_way_max, self.value_bytes, !seed(i));
                    generator.report_to(pulse);
                    Ok(generator::run(generator))
                })
            };
            let threads: Vec<_> = (0..self.threads).map(one).collect();
            if let Some(live) = live {
                live.draw();
            }
            threads.into_iter().map(|thread| thread.join().expect("a bench thread does not panic")).collect()
        });
        gathered(results, FiguresByKind::of(&self.mix.kinds()), self.work.duration)
    }

    fn pace(&self, start: Instant, thread: u32) -> Pace {
        match self.offered {
            None => Pace::Closed,
            Some(Offered { rate, arrivals }) => {
                let arrivals = Arrivals::new(arrivals, rate, thread, self.threads, seed(thread));
                Pace::Open { start, arrivals }
            }
        }
    }

    /// What was run, for the document.
    pub fn described(&self) -> Value {
        let work = self.work;
        let mut run = json!({
            "workload": work.workload.name(),
            "loop": "closed",
            "clients": self.clients,
            "connections": self.connections,
            "threads": self.threads,
            "depth": work.depth,
            "value_size": self.value_bytes,
            "keys": work.keys,
            "distribution": self.mix.distribution.name(),
            "duration_seconds": work.duration.as_secs_f64(),
            "warmup_seconds": work.warmup.as_secs_f64(),
        });
        if work.workload == BenchWorkload::Mixed {
            run["read_share"] = json!(self.mix.share(Kind::Get));
        }
        if let Some(offered) = self.offered {
            run["loop"] = json!("open");
            run["offered_per_second"] = json!(offered.rate);
            run["arrivals"] = json!(if offered.arrivals == BenchArrivals::Even { "even" } else { "poisson" });
        }
        run
    }
}

/// A client that has found the cluster.
fn found(globals: &Globals, connections: u32, requests: usize) -> Result<Client, Failure> {
    let mut client = connect_for_many(globals, connections, requests)?;
    client.map()?;
    Ok(client)
}

/// Puts the results of all threads together.
pub fn gathered(
    results: Vec<Result<(FiguresByKind, Strain), Failure>>,
    mut figures: FiguresByKind,
    measured: Duration,
) -> Result<Outcome, Failure> {
    let mut strain = Strain::default();
    for result in results {
        let (of_thread, strain_of_thread) = result?;
        figures.add(&of_thread);
        strain.add(&strain_of_thread);
    }
    Ok(Outcome { figures, strain, measured })
}

/// How many threads share `connections`: as many as were asked for, or one for each CPU.
pub fn threads(asked: Option<u32>, connections: u32) -> u32 {
    let cpus = || thread::available_parallelism().map_or(1, |count| count.get() as u32);
    asked.unwrap_or_else(cpus).clamp(1, connections)
}

/// How many of `all` are the part of thread number `i` of `threads`.
pub fn share(all: u32, threads: u32, i: u32) -> u32 {
    all / threads + u32::from(i < all % threads)
}

/// Another one for each thread and each run.
pub fn seed(thread: u32) -> u64 {
    u64::from(thread).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::compare::differences;
    use super::*;
    use crate::args::{Bench, Cli, Command};

    /// What a result says of the run that these words start.
    fn described(words: &str) -> Value {
        let words = ["kvctl", "bench", "run"].into_iter().chain(words.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Bench(Bench::Run(run)) => Load::of(&run.work, None).unwrap().described(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn runs_whose_keys_or_shares_differ_say_so_and_defaults_are_what_they_stand_for() {
        let between = |a: &str, b: &str| differences(&json!({ "run": described(a) }), &json!({ "run": described(b) }));
        assert_eq!(between("get", "get --distribution zipfian"), ["distribution: uniform and zipfian"]);
        assert_eq!(between("get --distribution latest", "get"), ["distribution: latest and uniform"]);
        assert_eq!(between("mixed", "mixed --read-share 0.9"), ["read_share: 0.5 and 0.9"]);
        let none: [String; 0] = [];
        assert_eq!(between("mixed", "mixed --read-share 0.5 --distribution uniform"), none);
        assert_eq!(described("ycsb-d")["distribution"], "latest");
    }

    #[test]
    fn no_thread_is_without_a_connection() {
        assert_eq!((threads(Some(9), 4), threads(Some(0), 4), threads(Some(2), 4)), (4, 1, 2));
    }

    #[test]
    fn clients_and_connections_are_spread_evenly_over_threads() {
        for (all, threads) in [(1, 1), (256, 16), (17, 4), (5, 5)] {
            let shares: Vec<u32> = (0..threads).map(|i| share(all, threads, i)).collect();
            assert_eq!(shares.iter().sum::<u32>(), all);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }
}
