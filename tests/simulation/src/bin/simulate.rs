//! `simulate FIRST..LAST`: runs these seeds, prints what they saw, and fails if anything is amiss.

use simulation::run::{self, Report};
use simulation::totals::{ALWAYS, Totals, USUALLY};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// From so many seeds on, everything that can happen must have happened.
const MANY: u64 = 200;

/// Every so many seeds one is run twice.
const TWICE_EVERY: u64 = 50;

/// Failures shown in full.
const SHOWN_MAX: usize = 3;

fn main() -> ExitCode {
    let mut seeds = std::env::var("KVD_SIM_SEEDS").ok();
    let mut verbose = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "-v" | "--verbose" => verbose = true,
            "-h" | "--help" => {
                println!(
                    "usage: simulate [--verbose] [FIRST..LAST]   (or KVD_SIM_SEEDS=FIRST..LAST; 0..499 if neither)"
                );
                return ExitCode::SUCCESS;
            }
            _ => seeds = Some(argument),
        }
    }
    let (first, last) = match run::parse_seeds(seeds.as_deref().unwrap_or("0..499")) {
        Ok(seeds) => seeds,
        Err(why) => {
            eprintln!("simulate: {why}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let run = run_all(first, last, verbose);
    report(&run, first, last, begun.elapsed().as_secs_f64())
}

#[derive(Default)]
struct Run {
    seeds: u64,
    totals: Totals,
    failures: Vec<Report>,
    repeated: u64,
    different: Vec<u64>,
}

/// One seed at a time on each CPU.
fn run_all(first: u64, last: u64, verbose: bool) -> Run {
    let (next, run) = (AtomicU64::new(0), Mutex::new(Run::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let offset = next.fetch_add(1, Ordering::Relaxed);
            let Some(seed) = first.checked_add(offset).filter(|seed| *seed <= last) else { return };
            let report = run::run_seed(seed);
            let again = offset.is_multiple_of(TWICE_EVERY).then(|| run::run_seed(seed).hash);
            let mut run = run.lock().expect("no thread panics with it");
            if verbose {
                println!("seed {seed}: trace {:016x}, {} happenings", report.hash, report.happenings);
            }
            run.seeds += 1;
            run.totals.merge(&report.totals);
            if let Some(hash) = again {
                run.repeated += 1;
                if hash != report.hash {
                    run.different.push(seed);
                }
            }
            if let Some(why) = &report.failure {
                println!("seed {seed} FAILED: {}", why.lines().next().unwrap_or_default());
                run.failures.push(report);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    run.into_inner().expect("no thread panicked")
}

fn report(run: &Run, first: u64, last: u64, seconds: f64) -> ExitCode {
    let mut failures: Vec<&Report> = run.failures.iter().collect();
    failures.sort_by_key(|report| report.seed);
    for report in failures.iter().take(SHOWN_MAX) {
        let why = report.failure.as_deref().unwrap_or_default();
        println!("\nseed {} failed; see it again with `simulate {}..{}`\n{why}", report.seed, report.seed, report.seed);
    }
    println!("\n{}", run.totals);
    let mut missing = run.totals.missing(&ALWAYS);
    if run.seeds >= MANY {
        missing.extend(run.totals.missing(&USUALLY));
    }
    for name in &missing {
        println!("never happened: {name}");
    }
    for seed in &run.different {
        println!("seed {seed} took another course when it was run again");
    }
    let good = failures.is_empty() && missing.is_empty() && run.different.is_empty();
    println!(
        "{}: seeds {first}..{last}, {} run in {seconds:.1} s, {} of them twice with the same trace; {} violations{}",
        if good { "simulation passed" } else { "simulation FAILED" },
        run.seeds,
        run.repeated - run.different.len() as u64,
        failures.len(),
        failures.first().map_or(String::new(), |report| format!(", first in seed {}", report.seed)),
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
