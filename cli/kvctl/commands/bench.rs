//! `bench run`: one kind of request, sent as fast as the answers come, and how long each took.
//!
//! A thread for each library client keeps the requests of all its clients under way; a client's next request
//! leaves when its answer has come, so the load is the same as with a thread for each.

use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use engine_core::command::Operation;
use hdrhistogram::Histogram;
use net::client::blocking::Client;
use net::client::{Answer as Reply, Request, RequestId};
use serde_json::{Value, json};

use crate::args::{BenchOperation, BenchRun, Globals};
use crate::connect::connect;
use crate::exit::{Code, Failure};
use crate::output::Answer;

/// Latencies are kept in microseconds to three digits, up to ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// How long one wait for answers is; the client ends every request by its own timeout.
const POLL: Duration = Duration::from_secs(1);

pub fn run(globals: &Globals, run: &BenchRun) -> Result<Answer, Failure> {
    let connections = run.connections.min(run.clients);
    // Nobody starts before all are connected: a cluster that cannot be reached is an error, not a result.
    let connected = Barrier::new(connections as usize);
    let measured: Vec<Result<Measured, Failure>> = thread::scope(|scope| {
        let start = |i: u32| {
            let connected = &connected;
            scope.spawn(move || {
                let client = connect(globals);
                connected.wait();
                let share = share(run.clients, connections, i);
                Ok(Connection::new(client?, run, u64::from(i), share).run(Schedule::starting_now(run)))
            })
        };
        let threads: Vec<_> = (0..connections).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a bench thread does not panic")).collect()
    });
    let mut all = Measured::new();
    for one in measured {
        all.add(&one?);
    }
    Ok(answer(run, &all))
}

/// When to begin and to end counting.
#[derive(Clone, Copy)]
struct Schedule {
    counted_from: Instant,
    counted_to: Instant,
}

impl Schedule {
    fn starting_now(run: &BenchRun) -> Schedule {
        let counted_from = Instant::now() + run.warmup;
        Schedule { counted_from, counted_to: counted_from + run.duration }
    }
}

/// How many of `clients` the library client number `i` of `connections` carries.
fn share(clients: u32, connections: u32, i: u32) -> u32 {
    clients / connections + u32::from(i < clients % connections)
}

struct Measured {
    latency_us: Histogram<u64>,
    errors: u64,
    misses: u64,
    first_error: Option<String>,
}

impl Measured {
    fn new() -> Measured {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are in order");
        Measured { latency_us, errors: 0, misses: 0, first_error: None }
    }

    fn add(&mut self, other: &Measured) {
        self.latency_us.add(&other.latency_us).expect("equal bounds");
        self.errors += other.errors;
        self.misses += other.misses;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }
}

struct Connection<'a> {
    client: Client,
    run: &'a BenchRun,
    under_way: HashMap<RequestId, Instant>,
    under_way_max: usize,
    value: Vec<u8>,
    random: u64,
    measured: Measured,
}

impl<'a> Connection<'a> {
    fn new(client: Client, run: &'a BenchRun, number: u64, clients: u32) -> Connection<'a> {
        // Bytes that do not compress to nothing, other ones on each connection.
        let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
        let value = (0..run.value_size).map(|_| next(&mut random) as u8).collect();
        let under_way_max = clients as usize * run.depth as usize;
        Connection { client, run, under_way: HashMap::new(), under_way_max, value, random, measured: Measured::new() }
    }

    fn run(mut self, schedule: Schedule) -> Measured {
        while Instant::now() < schedule.counted_to {
            while self.under_way.len() < self.under_way_max {
                let request = self.next_request();
                let begun = Instant::now();
                let id = self.client.submit(request);
                self.under_way.insert(id, begun);
            }
            self.complete(schedule);
        }
        // What is still under way is answered before the connection goes, so that the next run starts clean.
        while !self.under_way.is_empty() {
            self.complete(schedule);
        }
        self.measured
    }

    fn next_request(&mut self) -> Request {
        let key = format!("bench:{:012}", next(&mut self.random) % self.run.keys).into_bytes();
        match self.run.operation {
            BenchOperation::Get => Request::Get { key, stale: false },
            BenchOperation::Put => {
                let stamp = self.random.to_le_bytes();
                let length = stamp.len().min(self.value.len());
                self.value[..length].copy_from_slice(&stamp[..length]);
                Request::Write(Operation::Put { key, value: self.value.clone(), return_old: false })
            }
        }
    }

    fn complete(&mut self, schedule: Schedule) {
        let completions = self.client.poll(POLL);
        let now = Instant::now();
        let counted = now >= schedule.counted_from && now < schedule.counted_to;
        for completion in completions {
            let Some(begun) = self.under_way.remove(&completion.id) else { continue };
            if !counted {
                continue;
            }
            match completion.result {
                Ok(reply) => {
                    let latency = (now - begun).as_micros() as u64;
                    self.measured.latency_us.saturating_record(latency.max(1));
                    self.measured.misses += u64::from(reply == Reply::Value(None));
                }
                Err(error) => {
                    self.measured.errors += 1;
                    self.measured.first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }
}

fn answer(run: &BenchRun, measured: &Measured) -> Answer {
    let latency = &measured.latency_us;
    let rate = latency.len() as f64 / run.duration.max(Duration::from_micros(1)).as_secs_f64();
    let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| latency.value_at_quantile(quantile));
    let name = match run.operation {
        BenchOperation::Put => "put",
        BenchOperation::Get => "get",
    };
    let json = json!({
        "operations": { name: {
            "ops_per_second": (rate * 10.0).round() / 10.0,
            "latency_us": {
                "p50": quantiles[0], "p90": quantiles[1], "p99": quantiles[2], "p999": quantiles[3],
                "max": latency.max(),
            },
            "errors": measured.errors,
            "misses": measured.misses,
        } },
        "run": described(run),
    });
    if let Some(error) = &measured.first_error {
        eprintln!("kvctl: {} requests failed, the first with: {error}", measured.errors);
    }
    let row = [name.to_owned(), format!("{rate:.0}")]
        .into_iter()
        .chain(quantiles.into_iter().chain([latency.max(), measured.errors, measured.misses]).map(|n| n.to_string()))
        .collect();
    let header = ["OPERATION", "OPS/S", "P50 US", "P90 US", "P99 US", "P99.9 US", "MAX US", "ERRORS", "MISSES"];
    // A run without a single answer has measured nothing.
    let code = latency.is_empty().then_some(Code::Unavailable);
    Answer { code, ..Answer::row(json, &header, row) }
}

fn described(run: &BenchRun) -> Value {
    json!({
        "loop": "closed",
        "clients": run.clients,
        "connections": run.connections.min(run.clients),
        "depth": run.depth,
        "value_size": run.value_size,
        "keys": run.keys,
        "duration_seconds": run.duration.as_secs_f64(),
        "warmup_seconds": run.warmup.as_secs_f64(),
    })
}

/// SplitMix64 (Steele, Lea and Flood, 2014): even, and the same for the same seed.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_evenly_over_connections() {
        for (clients, connections) in [(1, 1), (256, 16), (17, 4), (5, 5)] {
            let shares: Vec<u32> = (0..connections).map(|i| share(clients, connections, i)).collect();
            assert_eq!(shares.iter().sum::<u32>(), clients);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }
}
